// await: waits for anything awaitable, from a coroutine of a loop or from a plain thread, which blocks then.
//
// Awaitables of the library wait without leaving the stack. Those of others (anything that co_await takes) are moved to
// the heap first, because whoever holds their address may use it while this stack belongs to another coroutine.
#pragma once

#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include "eventer/coro/completion.hpp"
#include "eventer/coro/operation.hpp"
#include "eventer/coro/this_coroutine.hpp"

namespace eventer::inline EVENTER_ABI {

template <class T>
class task;

namespace detail {

template <class A>
inline constexpr bool is_task = false;
template <class T>
inline constexpr bool is_task<task<T>> = true;

template <class A>
concept has_member_co_await = requires(A&& what) {
  std::forward<A>(what).operator co_await();
};
template <class A>
concept has_free_co_await = requires(A&& what) {
  operator co_await(std::forward<A>(what));
};
template <class A>
concept awaiter = requires(A& what) {
  what.await_ready() ? 0 : 1;
  what.await_resume();
};
template <class A>
concept foreign_awaitable = !own_awaitable<A> && !is_task<std::remove_cvref_t<A>> &&
                            (has_member_co_await<A> || has_free_co_await<A> || awaiter<std::remove_reference_t<A>>);

template <class A>
decltype(auto) get_awaiter(A&& what) {
  if constexpr (has_member_co_await<A>)
    return std::forward<A>(what).operator co_await();
  else if constexpr (has_free_co_await<A>)
    return operator co_await(std::forward<A>(what));
  else
    return std::forward<A>(what);
}
template <class A>
using foreign_resume = decltype(get_awaiter(std::declval<A>()).await_resume());
// What an await gives. A T&& becomes a T, as what it refers to may be a part of the awaitable, which is gone by then.
template <class A>
using foreign_result = std::conditional_t<std::is_lvalue_reference_v<foreign_resume<A>>, foreign_resume<A>,
                                          std::remove_cvref_t<foreign_resume<A>>>;

// A coroutine that nobody waits for and that destroys itself.
struct detached_coroutine {
  struct promise_type {
    detached_coroutine get_return_object() noexcept { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() noexcept {}
    [[noreturn]] void unhandled_exception() noexcept { std::terminate(); }
  };
};

// The end of a foreign awaitable, which may come on any thread.
template <class R>
class foreign_completion final : public completion {
 public:
  using value_type = std::conditional_t<std::is_void_v<R>, char, typename result_of_reference<R>::type>;

  // On the heap: the frame of this coroutine, and in it the awaitable and its awaiter. They are gone before the waiter
  // goes on, as they are after a co_await.
  template <class A>
  static detached_coroutine drive(std::shared_ptr<foreign_completion> self, A&& given) {
#if EVENTER_EXCEPTIONS
    try {
#endif
      A what = static_cast<A&&>(given);  // which is not looked at any more: it may lie on a stack
      if constexpr (std::is_void_v<R>)
        co_await static_cast<A&&>(what);
      else if constexpr (std::is_reference_v<R>)
        self->value_.emplace(std::addressof(co_await static_cast<A&&>(what)));
      else
        self->value_.emplace(co_await static_cast<A&&>(what));
#if EVENTER_EXCEPTIONS
    } catch (...) {
      self->failure_ = std::current_exception();
    }
#endif
    self->complete([] {});
  }

  // Whatever it gave is the waiter's then: the thread that resumed it may hold this object a little longer.
  completed_by who_completes(const scheduler&) const noexcept override { return completed_by::anybody; }

  R take() {
#if EVENTER_EXCEPTIONS
    if (failure_ != nullptr) std::rethrow_exception(std::exchange(failure_, nullptr));
#endif
    struct clear {
      std::optional<value_type>& value;
      ~clear() { value.reset(); }
    } const at_end{value_};
    if constexpr (std::is_reference_v<R>)
      return static_cast<R>(**value_);
    else if constexpr (!std::is_void_v<R>)
      return std::move(*value_);
  }

 private:
  std::optional<value_type> value_;
  std::exception_ptr failure_;
};

template <foreign_awaitable A>
foreign_result<A> await_foreign(A&& what) {
  static_assert(
      !std::is_lvalue_reference_v<A> || has_member_co_await<A> || has_free_co_await<A>,
      "await of an awaiter that is a variable: others would hold its address while this stack is swapped out. Move it in "
      "(await(std::move(x))), or keep it on the heap");
  using R = foreign_result<A>;
  if (scheduler* const here = scheduler::current(); here != nullptr && here->running() == nullptr)
    broken_rule("await in a callback would block its loop: spawn a coroutine that waits, or co_await");
  const auto state = std::make_shared<foreign_completion<R>>();
  foreign_completion<R>::template drive<A>(state, std::forward<A>(what));
  switch (state->wait({})) {
    case wake_reason::canceled:
#if EVENTER_EXCEPTIONS
      if (std::uncaught_exceptions() == 0) throw cancelled{};
#endif
      throw_error(make_error_code(errc::canceled), "await in a coroutine that is cancelled");
    case wake_reason::timed_out:
      throw_error(make_error_code(errc::timed_out), "await in a deadline_scope that has expired");
    default:
      return state->take();
  }
}

template <class T>
T run_task(task<T>&& what);  // in task.hpp

}  // namespace detail

template <class A>
concept awaitable = detail::own_awaitable<A> || detail::is_task<std::remove_cvref_t<A>> || detail::foreign_awaitable<A>;

// Waits for `what` and gives what it gives: await(readable(fd)), await(after(10ms)), await(handle), await(task()), or
// anything that co_await takes.
//
// Completes, errors: those of the awaitable. Every await of a cancelled coroutine throws `cancelled`. What belongs to
// others can't be cancelled: it is left to end on its own then, with its result dropped; the same where a
// deadline_scope ends, which throws std::system_error(timed_out) where there is no io_result. Stack: an awaitable of
// the library may lie anywhere. One of others is moved to the heap; given as a variable, it and what it points at must
// not lie on a shared stack. Requires: not in a callback of this thread's running loop, which it would block.
template <awaitable A>
decltype(auto) await(A&& what) {
  if constexpr (detail::is_task<std::remove_cvref_t<A>>) {
    static_assert(!std::is_lvalue_reference_v<A>, "a task is awaited once: await(std::move(task))");
    return detail::run_task(std::move(what));
  } else if constexpr (detail::own_awaitable<A>) {
    if constexpr (detail::waitable<A>) {
      auto operation = detail::operation_of(std::forward<A>(what));
      operation.block();
      return operation.result();
    } else {
      what.block();
      return what.result();
    }
  } else {
    return detail::await_foreign(std::forward<A>(what));
  }
}

// So much time, from the await on; or a time of the loop's clock.
class after {
 public:
  explicit after(time_limit limit) noexcept : limit_(limit) {}

  void block() const { detail::sleep(limit_); }
  bool advance(continuation& who) {
    if (who.home != nullptr) {
      canceled_ = who.wake == wake_reason::canceled;
      return true;
    }
    scheduler& here = detail::scheduler_for_continuations();
    here.attach(who);
    here.arm(who, here.resolve(limit_));
    return false;
  }
  void result() const { detail::throw_if_canceled(canceled_ ? wake_reason::canceled : wake_reason::ready); }

 private:
  time_limit limit_;
  bool canceled_ = false;
};

}  // namespace eventer::inline EVENTER_ABI
