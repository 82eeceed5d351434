// The out-of-line form of the switch: the functions that asm/<architecture>.S describes register by register.
//
// It is what AArch64 and the sanitizers use; on x86-64 it keeps to the same behaviour as the inline form, and tests
// hold both to it.
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

namespace eventer::inline EVENTER_ABI::context::stub {

EVENTER_ALWAYS_INLINE void switch_context(void** save_sp, void* to_sp) { eventer_switch_context(save_sp, to_sp); }

inline void* make_context(void* stack_top, void* (*function)(void*), void* argument) noexcept {
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

}  // namespace eventer::inline EVENTER_ABI::context::stub
