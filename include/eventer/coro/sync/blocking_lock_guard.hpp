// blocking_lock_guard: std::lock_guard for a mutex that blocks threads, in code that coroutines run.
//
//   std::mutex table_lock;                              // shared with plain threads, held for a few instructions
//   {
//     const eventer::blocking_lock_guard held(table_lock);
//     table.insert(entry);
//   }
//
// A coroutine must not wait while it holds such a lock: another one of its thread that wants it stops the thread, and
// with it the one that would release it. Debug builds report the first such wait of a thread, with the coroutine and
// the guard's line. For what is held over waits there is eventer::mutex.
#pragma once

#include "eventer/coro/held_locks.hpp"

namespace eventer::inline EVENTER_ABI {

template <class Mutex>
class [[nodiscard]] blocking_lock_guard {
 public:
  explicit blocking_lock_guard(Mutex& which, const char* file = __builtin_FILE(), unsigned line = __builtin_LINE())
      : mutex_(which) {
    mutex_.lock();
    detail::held_locks& held = detail::held_locks::of_thread();
    before_ = held;
    ++held.count;
    held.file = file;
    held.line = line;
  }
  blocking_lock_guard(const blocking_lock_guard&) = delete;
  blocking_lock_guard& operator=(const blocking_lock_guard&) = delete;
  ~blocking_lock_guard() {
    detail::held_locks& held = detail::held_locks::of_thread();
    before_.reported = held.reported;
    held = before_;
    mutex_.unlock();
  }

 private:
  Mutex& mutex_;
  detail::held_locks before_;
};

}  // namespace eventer::inline EVENTER_ABI
