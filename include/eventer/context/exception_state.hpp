// exception_state: the C++ runtime's two words per thread about exceptions in flight and caught, which belong to the
// coroutine.
//
// Without taking them along, an await inside a catch block mixes up the exceptions of two coroutines. They are zero
// nearly always, so a switch only looks; what is there is kept on the stack of whoever leaves.
#pragma once

#include <cxxabi.h>

#include "eventer/base/config.hpp"

namespace eventer::inline EVENTER_ABI::context {

// The layout of __cxa_eh_globals in the Itanium C++ ABI, which libstdc++ and libc++abi keep.
struct exception_state {
  void* caught;
  unsigned int uncaught;
};

// This thread's; the address does not change while the thread lives. nullptr without exceptions.
inline exception_state* thread_exception_state() noexcept {
#if EVENTER_EXCEPTIONS
  return reinterpret_cast<exception_state*>(abi::__cxa_get_globals());
#else
  return nullptr;
#endif
}

// Whether the running code is inside a catch block, or in a destructor that an exception has called.
EVENTER_ALWAYS_INLINE bool exceptions_in_use([[maybe_unused]] const exception_state* thread) noexcept {
#if EVENTER_EXCEPTIONS
  return thread->caught != nullptr || thread->uncaught != 0;
#else
  return false;
#endif
}

// Takes the thread's exceptions away while it lives. It must lie on the stack of whoever they belong to.
class exceptions_set_aside {
 public:
  explicit exceptions_set_aside(exception_state* thread) noexcept : thread_(thread) {
    if (thread == nullptr) return;
    mine_ = *thread;
    *thread = {};
  }
  exceptions_set_aside(const exceptions_set_aside&) = delete;
  exceptions_set_aside& operator=(const exceptions_set_aside&) = delete;
  ~exceptions_set_aside() {
    if (thread_ == nullptr) return;
    thread_->caught = mine_.caught;
    thread_->uncaught += mine_.uncaught;  // an exception may be on its way out of the scope of this object
  }

 private:
  exception_state* thread_;
  exception_state mine_{};
};

}  // namespace eventer::inline EVENTER_ABI::context
