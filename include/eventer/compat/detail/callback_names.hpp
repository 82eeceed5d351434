// The names of callbacks, in both directions. A function may have several names, a name stands for one function; what
// was named stays named, so that a name which was handed out may be kept.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <string_view>

#include "eventer/base/config.hpp"
#include "eventer/compat/eventer_aco.h"

namespace eventer::inline EVENTER_ABI::compat {

using callback_description = void (*)(char* buf, int len, eventer_t e, void* cl);

struct callback_name {
  char* name;
  eventer_func_t function;
  callback_description describe;
  void* closure;
  callback_name* next;
};

inline constinit std::mutex callback_names_mutex;
inline constinit callback_name* callback_names = nullptr;  // the latest first; guarded by it

// Requires: callback_names_mutex is held. The pointer that points to the entry; to nullptr where there is none.
template <class Predicate>
callback_name** position_of_name(Predicate&& is_it) noexcept {
  callback_name** position = &callback_names;
  while (*position != nullptr && !is_it(**position)) position = &(*position)->next;
  return position;
}

// Returns 0, or the errno that says why not: EINVAL, ENOMEM, EEXIST where the name is another function's.
inline int name_callback(const char* name, eventer_func_t function, callback_description describe,
                         void* closure) noexcept {
  if (name == nullptr || function == nullptr) return EINVAL;
  const std::lock_guard lock(callback_names_mutex);
  callback_name** const position =
      position_of_name([&](const callback_name& each) { return std::strcmp(each.name, name) == 0; });
  callback_name* entry = *position;
  if (entry != nullptr) {
    if (entry->function != function) return EEXIST;
    *position = entry->next;
  } else {
    char* const own_name = ::strdup(name);
    entry =
        own_name == nullptr ? nullptr : new (std::nothrow) callback_name{own_name, function, nullptr, nullptr, nullptr};
    if (entry == nullptr) {
      std::free(own_name);
      return ENOMEM;
    }
  }
  entry->describe = describe;
  entry->closure = closure;
  entry->next = callback_names;
  callback_names = entry;
  return 0;
}

// nullptr: nobody has that name. Any thread.
inline eventer_func_t find_callback(std::string_view name) noexcept {
  const std::lock_guard lock(callback_names_mutex);
  const callback_name* const entry = *position_of_name([&](const callback_name& each) { return name == each.name; });
  return entry == nullptr ? nullptr : entry->function;
}

// What the function was last named: a copy, whose name stays. Without a name: all nullptr.
inline callback_name name_of_callback(eventer_func_t function) noexcept {
  const std::lock_guard lock(callback_names_mutex);
  const callback_name* const entry =
      *position_of_name([&](const callback_name& each) { return each.function == function; });
  return entry == nullptr ? callback_name{} : *entry;
}

}  // namespace eventer::inline EVENTER_ABI::compat
