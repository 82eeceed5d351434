// fp_environment: the floating-point control bits (rounding, exception masks, flush to zero), which by default stay
// with the thread.
#pragma once

#include <cstdint>

#include "eventer/base/config.hpp"

namespace eventer::inline EVENTER_ABI::context {

class fp_environment {
 public:
  static fp_environment current() noexcept {
    fp_environment now;
#if defined(__x86_64__)
    asm volatile("stmxcsr %0" : "=m"(now.sse_));
    asm volatile("fnstcw %0" : "=m"(now.x87_));
#elif defined(__aarch64__)
    asm volatile("mrs %0, fpcr" : "=r"(now.fpcr_));
#endif
    return now;
  }

  // Makes the control bits this one's. On x86-64 the status flags of mxcsr come along.
  void load() const noexcept {
#if defined(__x86_64__)
    asm volatile("ldmxcsr %0" : : "m"(sse_));
    asm volatile("fldcw %0" : : "m"(x87_));
#elif defined(__aarch64__)
    asm volatile("msr fpcr, %0" : : "r"(fpcr_));
#endif
  }

  // Whether the control bits are the same; status flags do not count.
  friend bool operator==(const fp_environment& a, const fp_environment& b) noexcept {
#if defined(__x86_64__)
    constexpr std::uint32_t status = 0x3f;
    return (a.sse_ & ~status) == (b.sse_ & ~status) && a.x87_ == b.x87_;
#else
    return a.fpcr_ == b.fpcr_;
#endif
  }

 private:
#if defined(__x86_64__)
  std::uint32_t sse_ = 0;
  std::uint16_t x87_ = 0;
#else
  std::uint64_t fpcr_ = 0;
#endif
};

}  // namespace eventer::inline EVENTER_ABI::context
