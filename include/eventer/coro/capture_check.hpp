// The capture check: looks whether a closure that is about to run somewhere else holds the address of something that
// lies on a shared stack, where other frames will lie by then.
//
// It looks at the words of the closure where it has been moved to, on the heap, so that what it holds by value is no
// false alarm. A word may look like such an address without being one, as in bytes that were never set: so it says
// "may", once for each kind of closure.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "eventer/coro/scheduler.hpp"

namespace eventer::inline EVENTER_ABI {

// Wraps a function that holds addresses of a shared stack on purpose, because it will have run before the stack's owner
// waits, or never looks at them: spawn(unchecked(f)).
template <class F>
class unchecked_function {
 public:
  explicit unchecked_function(F&& function) : function_(std::move(function)) {}
  explicit unchecked_function(const F& function) : function_(function) {}

  template <class... Arguments>
  requires std::is_invocable_v<F&, Arguments...>
  decltype(auto) operator()(Arguments&&... arguments) { return function_(std::forward<Arguments>(arguments)...); }

 private:
  F function_;
};
template <class F>
auto unchecked(F&& function) {
  return unchecked_function<std::decay_t<F>>(std::forward<F>(function));
}

namespace detail {

template <class T>
inline constexpr bool is_checked = true;
template <class F>
inline constexpr bool is_checked<unchecked_function<F>> = false;
template <class F, class... Arguments>
inline constexpr bool is_checked<bound_call<F, Arguments...>> = is_checked<F>;

// `running`: the scheduler in whose coroutine the closure was made. `all_stacks`: an own stack's locals are no better,
// as nobody waits for the closure's end.
EVENTER_NOINLINE inline void check_words(scheduler& running, const void* closure, std::size_t size, const char* call,
                                         const char* (*signature)() noexcept, std::atomic<bool>& reported,
                                         bool all_stacks = false) {
  if (running.options().checks == capture_checks::off || reported.load(std::memory_order_relaxed)) return;
  for (std::size_t offset = 0; offset + sizeof(void*) <= size; offset += sizeof(void*)) {
    void* word;
    std::memcpy(&word, static_cast<const char*>(closure) + offset, sizeof word);
    context::mark_defined(&word, sizeof word);  // memcheck: bytes that were never set are looked at too
    if (!running.lies_on_shared_stack(word) && !(all_stacks && running.lies_on_running_stack(word))) continue;
    if (reported.exchange(true)) return;
    running.report_capture(call, type_in_signature(signature()).c_str(), offset, word);
    return;
  }
}

// Looks at a closure that has just been moved to where it stays, if it was made by a coroutine.
template <class Call>
void check_captures_always(const Call& closure, const char* call, bool all_stacks = false) {
  if constexpr (is_checked<Call> && sizeof(Call) >= sizeof(void*)) {
    static constinit std::atomic<bool> reported{false};
    scheduler* const running = scheduler::current();
    if (running != nullptr && running->running() != nullptr)
      check_words(*running, &closure, sizeof(Call), call, &signature_of<Call>, reported, all_stacks);
  }
}
// In debug builds: where it costs as much as what it checks.
template <class Call>
EVENTER_ALWAYS_INLINE void check_captures([[maybe_unused]] const Call& closure, [[maybe_unused]] const char* call) {
#if !defined(NDEBUG)
  check_captures_always(closure, call);
#endif
}

}  // namespace detail
}  // namespace eventer::inline EVENTER_ABI
