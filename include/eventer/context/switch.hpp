// switch_context and make_context: the bare switch between two stacks.
//
// There are two forms, each with its own shape of a suspended context: the stub of asm/<architecture>.S, and on x86-64
// an inline one (EVENTER_INLINE_SWITCH; settings that differ live in different inline namespaces). What must not be
// broken: a switch out of line on both sides of a busy path costs return mispredictions (docs/switch.md), so these are
// always inlined and the loop that resumes is flat.
#pragma once

#include "eventer/context/stub_switch.hpp"
#if defined(__x86_64__)
#include "eventer/context/inline_switch.hpp"
#endif

namespace eventer::inline EVENTER_ABI::context {

#if EVENTER_INLINE_SWITCH
namespace form = inlined;
#else
namespace form = stub;
#endif

// Returns the stack pointer of the context that goes on when this one is over.
using entry_function = void* (*)(void*);

// Suspends the running context, stores its stack pointer in *save_sp and goes on with the one that was stored as to_sp.
// Completes: when somebody switches back to *save_sp.
// Stack: *save_sp must be reachable whatever stack is in place then. Floating-point control registers stay with the
// thread.
EVENTER_ALWAYS_INLINE void switch_context(void** save_sp, void* to_sp) { form::switch_context(save_sp, to_sp); }

// Lays the first frame of a context below `stack_top` and answers its stack pointer: the first switch to it calls
// function(argument), which must not let an exception out.
// Requires: stack_top is a multiple of 16; 176 bytes below it are writable now and untouched until that switch.
inline void* make_context(void* stack_top, entry_function function, void* argument) noexcept {
  return form::make_context(stack_top, function, argument);
}

}  // namespace eventer::inline EVENTER_ABI::context
