// needing_memory: for what allocates inside of a C function that has no way to answer that there was no memory.
#pragma once

#include <new>
#include <utility>

#include "eventer/base/config.hpp"
#include "eventer/compat/eventer_aco.h"

namespace eventer::inline EVENTER_ABI::compat {

// Answers what `function` answers. Where there is no memory the process ends with a line: no exception may reach C.
template <class Function>
auto needing_memory(Function&& function) noexcept -> decltype(function()) {
#if EVENTER_EXCEPTIONS
  try {
    return function();
  } catch (const std::bad_alloc&) {
    mtevFatal(mtev_error, "out of memory\n");
  }
#else
  return function();
#endif
}

}  // namespace eventer::inline EVENTER_ABI::compat
