// What a thread's running coroutine holds of locks that block threads: a coroutine that waits with one is reported.
#pragma once

#include "eventer/base/config.hpp"

namespace eventer::inline EVENTER_ABI::detail {

struct EVENTER_API held_locks {
  unsigned count = 0;
  bool reported = false;
  const char* file = nullptr;  // of the last one taken
  unsigned line = 0;

  static held_locks& of_thread() noexcept { return of_thread_; }

 private:
  static constinit thread_local held_locks of_thread_;
};
inline constinit thread_local held_locks held_locks::of_thread_;

}  // namespace eventer::inline EVENTER_ABI::detail
