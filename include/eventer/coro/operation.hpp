// operation: what every awaitable of the library is underneath, so that a stackful coroutine, a plain thread and any
// C++20 coroutine wait for the same thing in the same way.
//
//   block()         waits here: parks the running coroutine, or blocks a thread without a loop
//   advance(who)    tries; true: it has ended. false: `who` is attached and will be called, and calls advance again
//   result()        once it has ended
//
// An operation that waits as a continuation is in a C++20 coroutine's frame or on the heap, and never moves.
#pragma once

#include <concepts>
#include <coroutine>
#include <type_traits>
#include <utility>

#include "eventer/coro/cancelled.hpp"
#include "eventer/coro/scheduler.hpp"

namespace eventer::inline EVENTER_ABI {

namespace detail {

template <class A>
concept operation = requires(A& what, continuation& who) {
  what.block();
  { what.advance(who) } -> std::same_as<bool>;
  what.result();
};

// A handle that gives an operation of its own for each wait: join_handle, signal_set.
template <class A>
concept waitable = requires(A&& what) {
  { std::forward<A>(what).async_wait() } -> operation;
};

// The operation behind an awaitable: itself, or what it gives.
template <class A>
auto operation_of(A&& what) {
  if constexpr (waitable<A>)
    return std::forward<A>(what).async_wait();
  else
    return std::remove_cvref_t<A>(std::forward<A>(what));
}

template <class A>
concept own_awaitable = operation<std::remove_cvref_t<A>> || waitable<A>;

template <class A>
using operation_type = decltype(operation_of(std::declval<A>()));
template <class Operation>
using result_of = decltype(std::declval<Operation&>().result());

// The loop on which a continuation is to wait.
inline scheduler& scheduler_for_continuations() {
  scheduler* const here = scheduler::current();
  if (here == nullptr) broken_rule("an operation is started on a thread without a running loop");
  return *here;
}

// co_await of an operation, in any promise type. It lies in the frame of the C++20 coroutine.
template <operation Operation>
class co_awaiter : continuation {
 public:
  // `hosted`: the C++20 coroutine runs on a stackful one, or on a plain thread, which waits in its place.
  explicit co_awaiter(Operation&& what, bool hosted = false) noexcept(std::is_nothrow_move_constructible_v<Operation>)
      : continuation(&go_on), operation_(std::move(what)), hosted_(hosted) {}
  ~co_awaiter() { scheduler::forget(*this); }  // also where the frame is destroyed while it waits

  bool await_ready() {
    if (hosted_ || scheduler::current() == nullptr) {
      operation_.block();
      return true;
    }
    check_place();
    return operation_.advance(*this);
  }
  void await_suspend(std::coroutine_handle<> waiting) noexcept { waiting_ = waiting; }
  decltype(auto) await_resume() {
    scheduler::forget(*this);
    return operation_.result();
  }

 private:
  static void go_on(continuation& who) {
    auto& self = static_cast<co_awaiter&>(who);
    if (!self.operation_.advance(self)) return;
    scheduler::forget(self);
    self.waiting_.resume();
  }
  // The loop will reach this object while the stack that it might lie on belongs to another coroutine.
  void check_place() const {
    const control_block* const running = scheduler::running_block();
    if (EVENTER_LIKELY(running == nullptr) || !scheduler::shares_stack(*running)) return;
    const char* const place = reinterpret_cast<const char*>(this);
    if (place >= running->stack->memory().bottom() && place < running->stack->top())
      broken_rule(
          "co_await in a C++20 coroutine whose frame the compiler has put onto a shared stack (clang does so where it can): start it with "
          "spawn or await, or keep its handle where the compiler can't follow it");
  }

  Operation operation_;
  const bool hosted_;
  std::coroutine_handle<> waiting_;
};

// co_await x, for every awaitable of the library, in every C++20 coroutine.
//
// Completes, errors: those of the awaitable. In a task that was awaited or spawned, exactly as await(x). Elsewhere the
// coroutine goes on on the loop's own stack, where nothing may block; it has nobody who could cancel it but the end of
// its loop: then a call that answers an io_result answers operation_canceled, any other throws `cancelled`.
template <own_awaitable A>
auto operator co_await(A&& what) {
  return co_awaiter<operation_type<A>>(operation_of(std::forward<A>(what)));
}

}  // namespace detail

using detail::operator co_await;

}  // namespace eventer::inline EVENTER_ABI
