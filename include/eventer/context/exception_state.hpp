// exception_state: the C++ runtime's two words per thread about exceptions in flight and caught, which belong to the coroutine.
//
// Without exchanging them, an await inside a catch block mixes up the exceptions of two coroutines.
#pragma once

#include <cxxabi.h>

#include <utility>

#include "eventer/base/config.hpp"

namespace eventer::inline EVENTER_ABI::context {

// The layout of __cxa_eh_globals in the Itanium C++ ABI, which libstdc++ and libc++abi keep.
struct exception_state {
  void* caught;
  unsigned int uncaught;
};

// This thread's; the address does not change while the thread lives.
inline exception_state* thread_exception_state() noexcept {
#if EVENTER_EXCEPTIONS
  return reinterpret_cast<exception_state*>(abi::__cxa_get_globals());
#else
  return nullptr;
#endif
}

// Exchanges the thread's state with a stored one; writes only where there is something on either side.
EVENTER_ALWAYS_INLINE void exchange_exception_state([[maybe_unused]] exception_state* thread, [[maybe_unused]] void*& caught,
                                                    [[maybe_unused]] unsigned int& uncaught) noexcept {
#if EVENTER_EXCEPTIONS
  if (EVENTER_UNLIKELY(thread->caught != caught)) std::swap(thread->caught, caught);
  if (EVENTER_UNLIKELY(thread->uncaught != uncaught)) std::swap(thread->uncaught, uncaught);
#endif
}

}  // namespace eventer::inline EVENTER_ABI::context
