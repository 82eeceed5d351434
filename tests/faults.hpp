// Makes chosen system calls of this thread fail, and counts all of them, through the one place where the library makes
// them.
#pragma once

#include <array>
#include <cstddef>

#include "eventer/base/syscalls.hpp"

class faults {
 public:
  using call = eventer::syscalls::call;

  faults() {
    table_ = {};
    eventer::syscalls::fault_hook = &answer;
  }
  faults(const faults&) = delete;
  faults& operator=(const faults&) = delete;
  ~faults() { eventer::syscalls::fault_hook = nullptr; }

  // The next `times` of these calls fail with `error`.
  void fail(call which, int error, int times = 1) {
    at(which).error = error;
    at(which).left = times;
  }
  int calls(call which) const { return at(which).calls; }
  int faults_left(call which) const { return at(which).left; }

 private:
  struct one_call {
    int error, left, calls;
  };
  static one_call& at(call which) { return table_[static_cast<std::size_t>(which)]; }
  static int answer(call which) {
    one_call& here = at(which);
    ++here.calls;
    if (here.left == 0) return 0;
    --here.left;
    return here.error;
  }

  static inline thread_local std::array<one_call, 64> table_;
};
