// What a coroutine may ask about itself, and the two ways to let others run: yield and sleep.
#pragma once

#include <cstddef>
#include <cstdint>

#include "eventer/coro/cancelled.hpp"
#include "eventer/coro/scheduler.hpp"

namespace eventer::inline EVENTER_ABI {

// Whether the caller runs as a coroutine of a loop.
inline bool in_coroutine() noexcept { return scheduler::running_block() != nullptr; }

namespace detail {

// The current scheduler, for a call that has to suspend. Requires: in a coroutine.
EVENTER_ALWAYS_INLINE scheduler& suspending_scheduler(const char* sentence) {
  scheduler* const here = scheduler::current();
  if (EVENTER_UNLIKELY(here == nullptr || here->running() == nullptr)) broken_rule(sentence);
  return *here;
}

// The wait that is behind us ended in `canceled`: throws, unless an exception is in flight or exceptions are off.
inline void throw_if_canceled(wake_reason reason) {
#if EVENTER_EXCEPTIONS
  if (EVENTER_UNLIKELY(reason == wake_reason::canceled) && std::uncaught_exceptions() == 0) throw cancelled{};
#else
  (void)reason;
#endif
}

}  // namespace detail

namespace this_coroutine {

// The spawn name, or an empty text. Requires: in a coroutine.
inline const char* name() {
  scheduler& here = detail::suspending_scheduler("this_coroutine::name() outside a coroutine");
  const char* const text = here.name_of(*here.running());
  return text == nullptr ? "" : text;
}
inline std::uint64_t id() {
  return detail::suspending_scheduler("this_coroutine::id() outside a coroutine").running()->id();
}
// How deep the caller's stack is now: what would be copied if it suspended here, less the switch's own 56 to 160 bytes.
// In call_on_own_stack: of the frames around the call.
inline std::size_t stack_bytes() {
  const scheduler& here = detail::suspending_scheduler("this_coroutine::stack_bytes() outside a coroutine");
  const own_call* call = here.running_call();
  while (call != nullptr && call->around != nullptr) call = call->around;
  const void* const from = call != nullptr ? call->frame : __builtin_frame_address(0);
  return static_cast<std::size_t>(here.running()->stack->top() - static_cast<const char*>(from));
}
inline bool cancel_requested() {
  return detail::suspending_scheduler("this_coroutine::cancel_requested() outside a coroutine")
      .running()
      ->has(coroutine_flag::cancel_requested);
}

}  // namespace this_coroutine

// Lets every other ready coroutine, and the loop's events, have their turn first. Errors: `cancelled`.
inline void yield() {
  scheduler& here =
      detail::suspending_scheduler("yield() outside a coroutine: a callback returns to its loop by returning");
  if (EVENTER_UNLIKELY(here.cancellation_due())) return;
  here.yield();
}

namespace detail {

// Out of line: what only a plain thread needs must not be in the frame of a parked coroutine.
EVENTER_NOINLINE inline void sleep_on_thread(time_point deadline) noexcept {
  for (time_point now = clock::now(); now < deadline; now = clock::now()) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - now).count() + 1;
    syscalls::poll(nullptr, 0, left > 1'000'000 ? 1'000'000 : static_cast<int>(left));
  }
}

}  // namespace detail

namespace detail {

inline void sleep(time_limit limit) {
  if (scheduler::current() == nullptr) return sleep_on_thread(limit.resolve(clock::now()));
  scheduler& here = suspending_scheduler("sleep in a callback would block its loop: spawn a coroutine that sleeps");
  if (EVENTER_UNLIKELY(here.cancellation_due())) return;
  throw_if_canceled(here.park_until(here.resolve(limit)));
}

}  // namespace detail

// Waits for so long, or until a time of the loop's clock; not longer than a deadline_scope around it lasts. On a thread
// without a running loop the thread sleeps. Errors: `cancelled`.
inline void sleep_for(duration time) { detail::sleep(time); }
inline void sleep_until(time_point when) { detail::sleep(when); }

}  // namespace eventer::inline EVENTER_ABI
