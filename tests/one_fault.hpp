// Lets chosen system calls of one kind fail, for tests that sweep over all of them: each in turn, with each errno.
#pragma once

#include "eventer/base/syscalls.hpp"

class one_fault {
 public:
  using call = eventer::syscalls::call;

  // The nth call of one kind, and the `times - 1` behind it.
  one_fault(call which, int error, int nth, int times = 1) : one_fault(plan{which, error, nth, times, 0, 0, false}) {}
  // Every nth call, from the nth on.
  static one_fault every(int nth, call which, int error) { return one_fault(plan{which, error, 0, 0, nth, 0, false}); }
  one_fault(const one_fault&) = delete;
  one_fault& operator=(const one_fault&) = delete;
  ~one_fault() { eventer::syscalls::fault_hook = nullptr; }

  bool happened() const { return now_.happened; }

 private:
  struct plan {
    call which;
    int error, nth, times, every, seen;
    bool happened;

    bool hits() const { return every != 0 ? seen % every == 0 : seen >= nth && seen < nth + times; }
  };
  explicit one_fault(const plan& what) {
    now_ = what;
    eventer::syscalls::fault_hook = &answer;
  }
  static int answer(call which) {
    if (which != now_.which) return 0;
    ++now_.seen;
    if (!now_.hits()) return 0;
    now_.happened = true;
    return now_.error;
  }
  static inline thread_local plan now_{};
};
