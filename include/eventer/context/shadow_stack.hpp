// Shadow stacks (x86 CET, AArch64 GCS): a header cannot opt out of the -fcf-protection marking of its user's unit, so
// it looks.
//
// A thread that runs with one cannot switch stacks with this library yet: a loop refuses to be made, with the remedy in
// the message, instead of crashing at its first switch.
#pragma once

#include <cstdint>

#include "eventer/base/config.hpp"

namespace eventer::inline EVENTER_ABI::context {

// Whether the calling thread has an active shadow stack.
inline bool shadow_stack_active() noexcept {
#if defined(__x86_64__)
  std::uint64_t pointer = 0;
  asm volatile("rdsspq %0" : "+r"(pointer));  // a no-op, leaving 0, where there is none
  return pointer != 0;
#elif defined(__aarch64__)
  register std::uint64_t features asm("x16") = 1;
  asm volatile("hint #40" : "+r"(features));  // chkfeat x16: clears bit 0 where GCS is on; a no-op on older cores
  return (features & 1) == 0;
#endif
}

// What to tell the user, or nullptr where switching is possible.
constexpr const char* shadow_stack_refusal(bool active) noexcept {
  if (!active) return nullptr;
#if defined(__x86_64__)
  return "this thread has a CET shadow stack, which eventer does not switch: run with GLIBC_TUNABLES=glibc.cpu.x86_shstk=off, or build "
         "with -fcf-protection=branch";
#else
  return "this thread has a guarded control stack (GCS), which eventer does not switch: run with GLIBC_TUNABLES=glibc.cpu.aarch64_gcs=0, or "
         "build with -mbranch-protection=pac-ret+bti";
#endif
}
inline const char* shadow_stack_refusal() noexcept { return shadow_stack_refusal(shadow_stack_active()); }

}  // namespace eventer::inline EVENTER_ABI::context
