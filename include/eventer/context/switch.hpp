// switch_context and make_context: the bare switch between two stacks. asm/<architecture>.S describes it register by register.
//
// A suspended context is its stack pointer. What must not be broken: a switch out of line on both sides of a busy path costs return
// mispredictions (docs/switch.md), so these wrappers are always inlined and the loop that resumes is flat.
#pragma once

#include <cstdint>

#include "eventer/base/config.hpp"

#if defined(__x86_64__)
#include "eventer/context/x86_64.inc"
#elif defined(__aarch64__)
#include "eventer/context/aarch64.inc"
#endif

extern "C" {
__attribute__((visibility("hidden"))) void eventer_switch_context(void** save_sp, void* to_sp);
__attribute__((visibility("hidden"))) void eventer_entry_context();
}

namespace eventer::inline EVENTER_ABI::context {

using entry_function = void (*)(void*);

// Suspends the running context, stores its stack pointer in *save_sp and goes on with the one that was stored as to_sp.
// Completes: when somebody switches back to *save_sp.
// Stack: *save_sp must be reachable whatever stack is in place then. Floating-point control registers stay with the thread.
EVENTER_ALWAYS_INLINE void switch_context(void** save_sp, void* to_sp) { eventer_switch_context(save_sp, to_sp); }

// Lays the first frame of a context below `stack_top` and answers its stack pointer: the first switch to it calls
// function(argument), which must not return.
// Requires: stack_top is a multiple of 16; 176 bytes below it are writable now and untouched until that switch.
inline void* make_context(void* stack_top, entry_function function, void* argument) noexcept {
  auto* const top = static_cast<std::uintptr_t*>(stack_top);
#if defined(__x86_64__)
  std::uintptr_t* const frame = top - 7;  // six registers and rip: the entry then finds rsp at the top
  frame[0] = frame[1] = frame[2] = 0;
  frame[3] = reinterpret_cast<std::uintptr_t>(function);  // r12
  frame[4] = reinterpret_cast<std::uintptr_t>(argument);  // rbx
  frame[5] = 0;                                           // rbp
  frame[6] = reinterpret_cast<std::uintptr_t>(&eventer_entry_context);
  return frame;
#elif defined(__aarch64__)
  std::uintptr_t* const frame = top - 20;
  for (int i = 0; i < 20; ++i) frame[i] = 0;
  frame[0] = reinterpret_cast<std::uintptr_t>(argument);  // x19
  frame[1] = reinterpret_cast<std::uintptr_t>(function);  // x20
  // pacia1716 signs x17 with x16: what autiasp expects of a return address that leaves with this stack pointer.
  register std::uintptr_t address asm("x17") = reinterpret_cast<std::uintptr_t>(&eventer_entry_context);
  register std::uintptr_t modifier asm("x16") = reinterpret_cast<std::uintptr_t>(top);
  asm("hint #8" : "+r"(address) : "r"(modifier));
  frame[11] = address;  // x30
  return frame;
#endif
}

}  // namespace eventer::inline EVENTER_ABI::context
