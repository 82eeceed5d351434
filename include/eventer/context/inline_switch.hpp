// The inline form of the x86-64 switch: the compiler saves what is live, so that no register is saved twice and no call
// is made.
//
// A suspended context is its stack pointer, where rip lies and above it rbp. What must not be broken: the clobber list
// names every register file that the compiler may use (tests run at x86-64-v2 to v4), and the function that contains
// the switch makes a real call, so that neither compiler keeps data below the stack pointer (the red zone), where the
// other side's pushes go.
#pragma once

#include <cstdint>

#include "eventer/base/config.hpp"

extern "C" __attribute__((visibility("hidden"))) void eventer_start_context();

namespace eventer::inline EVENTER_ABI::context::inlined {

#if defined(__AVX512F__)
#define EVENTER_AVX512_CLOBBERS                                                                                 \
  , "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25", "xmm26", "xmm27", \
      "xmm28", "xmm29", "xmm30", "xmm31", "k1", "k2", "k3", "k4", "k5", "k6", "k7"
#else
#define EVENTER_AVX512_CLOBBERS
#endif

// Not inlined and not pure, so that a call of it makes its caller a non-leaf function. Never reached.
__attribute__((noinline, cold)) inline void never_called() { asm volatile("ud2"); }

EVENTER_ALWAYS_INLINE void switch_context(void** save_sp, void* to_sp) {
  std::uintptr_t zero = 0;
  asm volatile(
      "leaq 1f(%%rip), %%rax\n\t"
      "pushq %%rbp\n\t"  // by hand: a compiler refuses it as a clobber where it is the frame pointer
      "pushq %%rax\n\t"
      "movq %%rsp, (%%rdi)\n\t"
      "movq %%rsi, %%rsp\n\t"
      "popq %%rcx\n\t"
      "notrack jmp *%%rcx\n"
      "1:\n\t"
      "popq %%rbp\n\t"
      "xorl %%edx, %%edx"
      : "+D"(save_sp), "+S"(to_sp), "=d"(zero)
      :
      : "rax", "rbx", "rcx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc", "xmm0", "xmm1",
        "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14",
        "xmm15", "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)" EVENTER_AVX512_CLOBBERS);
  if (EVENTER_UNLIKELY(zero != 0)) never_called();
}
#undef EVENTER_AVX512_CLOBBERS

inline void* make_context(void* stack_top, void* (*function)(void*), void* argument) noexcept {
  std::uintptr_t* const frame = static_cast<std::uintptr_t*>(stack_top) - 3;
  frame[0] = reinterpret_cast<std::uintptr_t>(&eventer_start_context);  // rip
  frame[1] = reinterpret_cast<std::uintptr_t>(function);
  frame[2] = reinterpret_cast<std::uintptr_t>(argument);
  return frame;
}

}  // namespace eventer::inline EVENTER_ABI::context::inlined
