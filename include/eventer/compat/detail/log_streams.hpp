// The log's streams: a tree by their names, in which each is on or off. A stream is made once, and is there until the
// process ends, so that its address may be kept and whether it is on costs one load.
//
// The four standard ones are constants that need no constructor: they work before main, and in a destructor after it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <string_view>

#include "eventer/base/config.hpp"

namespace eventer::inline EVENTER_ABI::compat {

enum class stream_wish : unsigned char { inherited, off, on };

struct log_stream {
  const char* name;
  log_stream* parent;             // nullptr: none, and then it is on unless it was turned off
  stream_wish wish;               // what was asked for; guarded by streams_mutex
  std::atomic<bool> on;           // what comes of it and of the parents' wishes
  std::atomic<log_stream*> next;  // in the order in which they were made, so that parents come first
};

inline constinit log_stream debug_stream{"debug", nullptr, stream_wish::off, false, nullptr};
inline constinit log_stream notice_stream{"notice", nullptr, stream_wish::inherited, true, &debug_stream};
inline constinit log_stream error_stream{"error", nullptr, stream_wish::inherited, true, &notice_stream};
inline constinit log_stream stderr_stream{"stderr", nullptr, stream_wish::inherited, true, &error_stream};

inline constinit std::mutex streams_mutex;                 // for changes; who only reads needs none
inline constinit log_stream* last_stream = &debug_stream;  // guarded by it
// Called after each change of what is on, without the mutex; nullptr: nobody is.
inline constinit std::atomic<void (*)() noexcept> streams_changed{nullptr};

inline log_stream* existing_stream(std::string_view name) noexcept {
  log_stream* each = &stderr_stream;
  while (each != nullptr && name != each->name) each = each->next.load(std::memory_order_acquire);
  return each;
}

// Requires: streams_mutex is held.
inline bool is_wanted(const log_stream& stream) noexcept {
  if (stream.wish != stream_wish::inherited) return stream.wish == stream_wish::on;
  return stream.parent == nullptr || stream.parent->on.load(std::memory_order_relaxed);
}

// Requires: streams_mutex is held. nullptr: no memory.
inline log_stream* make_stream(std::string_view name, log_stream* parent) noexcept {
  char* const own_name = static_cast<char*>(std::malloc(name.size() + 1));
  if (own_name == nullptr) return nullptr;
  std::memcpy(own_name, name.data(), name.size());
  own_name[name.size()] = '\0';
  auto* const made = new (std::nothrow) log_stream{own_name, parent, stream_wish::inherited, false, nullptr};
  if (made == nullptr) {
    std::free(own_name);
    return nullptr;
  }
  made->on.store(is_wanted(*made), std::memory_order_relaxed);
  last_stream->next.store(made, std::memory_order_release);
  return last_stream = made;
}

// The stream of that name, made if need be, and with it those of which the name tells: "a" and "a/b" for "a/b/c".
// nullptr: the name is empty, or there is no memory.
inline log_stream* find_stream(std::string_view name) noexcept {
  if (name.empty()) return nullptr;
  if (log_stream* const known = existing_stream(name); known != nullptr) return known;
  const std::lock_guard lock(streams_mutex);
  log_stream* parent = nullptr;
  for (std::size_t end = 0; end < name.size();) {
    end = name.find('/', end + 1);
    const std::string_view part = name.substr(0, end);
    log_stream* stream = existing_stream(part);
    if (stream == nullptr) stream = make_stream(part, parent);
    if (stream == nullptr) return nullptr;
    parent = stream;
  }
  return parent;
}

inline void turn_stream(log_stream& stream, bool on) noexcept {
  {
    const std::lock_guard lock(streams_mutex);
    stream.wish = on ? stream_wish::on : stream_wish::off;
    for (log_stream* each = &stderr_stream; each != nullptr; each = each->next.load(std::memory_order_relaxed))
      each->on.store(is_wanted(*each), std::memory_order_relaxed);
  }
  if (const auto call = streams_changed.load(); call != nullptr) call();
}

}  // namespace eventer::inline EVENTER_ABI::compat
