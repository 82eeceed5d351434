// resume_point: where the code that resumes coroutines goes on, with what the sanitizers must be told about its stack.
//
// Both halves of every switch between a resumer and a coroutine are here, for the loop and for coroutines without one.
// What must not be broken: enter and suspend are always inlined (docs/switch.md).
#pragma once

#include <cstddef>

#include "eventer/context/sanitizer.hpp"
#include "eventer/context/switch.hpp"

namespace eventer::inline EVENTER_ABI::context {

// What the sanitizers keep for a coroutine; nothing without them.
struct sanitizer_notes {
#if EVENTER_ASAN
  void* fake_stack = nullptr;
#endif
#if EVENTER_TSAN
  void* fiber = nullptr;
#endif
};

class resume_point {
 public:
  // The resumer: goes on with the coroutine that is suspended at `sp`, on the stack of `size` bytes from `bottom` on.
  // Completes: when that coroutine suspends, or is over.
  EVENTER_ALWAYS_INLINE void enter(void* sp, [[maybe_unused]] sanitizer_notes& notes,
                                   [[maybe_unused]] const void* bottom, [[maybe_unused]] std::size_t size) {
#if EVENTER_ASAN
    before_switch(&fake_stack_, bottom, size);
#endif
#if EVENTER_TSAN
    fiber_ = current_fiber();
    switch_fiber(notes.fiber);
#endif
    switch_context(&sp_, sp);
#if EVENTER_ASAN
    after_switch(fake_stack_, nullptr, nullptr);
#endif
  }

  // The coroutine, before anything else.
  EVENTER_ALWAYS_INLINE void arrive() {
#if EVENTER_ASAN
    after_switch(nullptr, &bottom_, &size_);
#endif
  }

  // The coroutine: back to the resumer. Completes: when the coroutine is entered again.
  EVENTER_ALWAYS_INLINE void suspend(void** save_sp, [[maybe_unused]] sanitizer_notes& notes) {
#if EVENTER_ASAN
    before_switch(&notes.fake_stack, bottom_, size_);
#endif
#if EVENTER_TSAN
    switch_fiber(fiber_);
#endif
    switch_context(save_sp, sp_);
#if EVENTER_ASAN
    after_switch(notes.fake_stack, &bottom_, &size_);
#endif
  }

  // The coroutine, at last: answers where the resumer goes on, for the context's function to return. The sanitizers
  // want the switch made here, as what they add to the end of a function must not run after they were told of it.
  EVENTER_ALWAYS_INLINE void* leave([[maybe_unused]] void** save_sp) {
#if EVENTER_ASAN
    before_switch(nullptr, bottom_, size_);
#endif
#if EVENTER_TSAN
    switch_fiber(fiber_);
#endif
#if EVENTER_ASAN || EVENTER_TSAN
    switch_context(save_sp, sp_);
    __builtin_unreachable();
#else
    return sp_;
#endif
  }

 private:
  void* sp_ = nullptr;
#if EVENTER_ASAN
  void* fake_stack_ = nullptr;
  const void* bottom_ = nullptr;
  std::size_t size_ = 0;
#endif
#if EVENTER_TSAN
  void* fiber_ = nullptr;
#endif
};

}  // namespace eventer::inline EVENTER_ABI::context
