// call_on_own_stack: runs a part of a coroutine on a stack of its own, whose locals anybody may point at.
//
//   eventer::call_on_own_stack([&] {
//     std::array<char, 4096> page;              // its address holds while this waits: children, jobs and the kernel
//     eventer::task_group all;                  // may be given it
//     all.spawn([&page] { fill(page); });
//     all.join();
//   });
//
// The frames around the call stay on the shared stack. When the call waits, it switches to them, and they leave the
// stack to others as any coroutine does; when it is to go on, their bytes are brought back first. So the call may use
// the locals around it, and what is copied is their bytes alone.
#pragma once

#include <exception>
#include <optional>
#include <type_traits>
#include <utility>

#include "eventer/coro/coroutine.hpp"
#include "eventer/coro/scheduler.hpp"

namespace eventer::inline EVENTER_ABI {

namespace detail {

// The call, in the frame that waits for it: only the coroutine itself looks at it.
template <class F>
class own_stack_call : own_call {
 public:
  using call_type = std::decay_t<F>;
  using result_type = std::invoke_result_t<call_type>;

  explicit own_stack_call(std::remove_reference_t<F>& function) noexcept : function_(function) {}

  // Requires: in a coroutine on a shared stack.
  result_type run(scheduler& here, std::size_t bytes) {
    struct lent {
      scheduler& here;
      shared_stack* stack;
      ~lent() { here.give_back_own_stack(stack); }
    } const mine{here, here.take_own_stack(bytes)};
    memory = &mine.stack->memory();
    frame = __builtin_frame_address(0);
    context::unpoison_memory(memory->bottom(), memory->size());  // what an ended one has left
    sp = context::make_context(mine.stack->top(), &entry, this);
#if EVENTER_TSAN
    notes.fiber = context::fiber_pool::take();
#endif
    for (here.enter_call(*this); !ended_; here.enter_call(*this)) here.suspend_around_call();
#if EVENTER_TSAN
    context::fiber_pool::give_back(notes.fiber);
#endif
#if EVENTER_EXCEPTIONS
    if (failure_ != nullptr) std::rethrow_exception(std::exchange(failure_, nullptr));
#endif
    if constexpr (std::is_reference_v<result_type>)
      return static_cast<result_type>(**result_);
    else if constexpr (!std::is_void_v<result_type>)
      return std::move(*result_);
  }

 private:
  struct nothing {};
  using kept = std::conditional_t<
      std::is_void_v<result_type>, nothing,
      std::conditional_t<std::is_reference_v<result_type>, std::add_pointer_t<result_type>, result_type>>;

  static void* entry(void* argument) {
    auto& self = *static_cast<own_stack_call*>(argument);
    self.outer.arrive();
#if EVENTER_EXCEPTIONS
    try {
      self.call();
    }
    EVENTER_REFUSE_THREAD_EXIT
    catch (...) {
      self.failure_ = std::current_exception();
    }
#else
    self.call();
#endif
    self.ended_ = true;
    return self.outer.leave(&self.sp);
  }
  void call() {
    call_type here(std::forward<F>(function_));  // what it captures by value has a stable address too
    if constexpr (std::is_void_v<result_type>)
      std::move(here)();
    else if constexpr (std::is_reference_v<result_type>)
      result_.emplace(std::addressof(std::move(here)()));
    else
      result_.emplace(std::move(here)());
  }

  std::remove_reference_t<F>& function_;
  bool ended_ = false;
  std::exception_ptr failure_;
  std::optional<kept> result_;
};

template <class F>
EVENTER_NOINLINE std::invoke_result_t<std::decay_t<F>> call_on_own_stack_of(scheduler& here, std::size_t bytes,
                                                                            std::remove_reference_t<F>& function) {
  return own_stack_call<F>(function).run(here, bytes);
}

// A call that asks for no size is made where it is if so much is left there.
inline constexpr std::size_t room_enough = std::size_t{32} << 10;

// Out of line: inlined, the locals of `function` would be a part of the frame around it, which may be on a small stack.
template <class F>
EVENTER_NOINLINE std::invoke_result_t<std::decay_t<F>> call_here(std::remove_reference_t<F>& function) {
  return std::decay_t<F>(std::forward<F>(function))();
}

}  // namespace detail

// Calls `function()` on a stack of its own, of `loop_options::own_stack_bytes` or so many bytes, and gives what it
// gives. It may wait, throw, be cancelled, and call this again. On a plain thread, in a callback, and on a stack of its
// own with so many bytes left (32 KiB where no size is given) it is called as it is.
//
// Stack: the locals of `function`, and what it captures by value, may be pointed at by others while it runs. The locals
// around the call may not. Costs: two more switches a suspension; the stack comes from a pool. Errors:
// std::system_error(not_enough_memory) where none can be mapped.
template <class F>
requires std::is_invocable_v<std::decay_t<F>> std::invoke_result_t<std::decay_t<F>> call_on_own_stack(std::size_t bytes,
                                                                                                      F&& function) {
  scheduler* const here = scheduler::current();
  if (coroutine::is_on_shared_stack())
    broken_rule("call_on_own_stack in a coroutine without a loop: make it with eventer::own_stack{bytes} instead");
  if (here == nullptr || here->running() == nullptr ||
      here->room_on_own_stack(__builtin_frame_address(0)) > (bytes != 0 ? bytes : detail::room_enough))
    return detail::call_here<F>(function);
  return detail::call_on_own_stack_of<F>(*here, bytes, function);
}
template <class F>
requires std::is_invocable_v<std::decay_t<F>> std::invoke_result_t<std::decay_t<F>> call_on_own_stack(F&& function) {
  return call_on_own_stack(0, std::forward<F>(function));
}

}  // namespace eventer::inline EVENTER_ABI
