// brief_wait: looks for some microseconds whether something happens, before its thread sleeps for it. What another core
// does meanwhile is seen without two system calls and the time that a sleeper needs to wake up.
//
// It is given up where it does not help: after each look in vain it is left out twice as often, up to 1,023 times.
#pragma once

#include "eventer/base/clock.hpp"
#include "eventer/base/usable_cpus.hpp"

namespace eventer::inline EVENTER_ABI {

// Tells the processor that the thread waits for another one.
inline void relax() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("isb" ::: "memory");  // yield does nothing on most cores
#endif
}

class brief_wait {
 public:
  // Whether it has happened. Never with a single CPU, where whoever is waited for could not run.
  template <class F>
  bool until(const F& happened) {
    if (left_out_ > 0) {
      --left_out_;
      return false;
    }
    if (!may_help()) return false;
    const time_point end = clock::now() + longest;
    do {
      for (int i = 0; i < looks; ++i) {
        if (happened()) {
          in_vain_ = 0;
          return true;
        }
        relax();
      }
    } while (clock::now() < end);
    if (in_vain_ < most_left_out) in_vain_ = in_vain_ * 2 + 1;
    left_out_ = in_vain_;
    return false;
  }

 private:
  // Looked up once, for all.
  static bool may_help() {
    static const bool several = usable_cpus() > 1;
    return several;
  }

  static constexpr duration longest = std::chrono::microseconds(10);
  static constexpr int looks = 16;  // between two looks at the clock
  static constexpr unsigned most_left_out = 1023;

  unsigned in_vain_ = 0, left_out_ = 0;
};

}  // namespace eventer::inline EVENTER_ABI
