// when_any and when_all: several awaitables at the same time.
//
// All of them wait as continuations in one block on the heap, so that nothing of them lies on a shared stack. Tasks and
// handles that were moved in are coroutines of their own; one that loses is cancelled and has ended before the winner's
// result is given.
#pragma once

#include <array>
#include <exception>
#include <memory>
#include <optional>
#include <tuple>
#include <utility>
#include <variant>

#include "eventer/coro/spawn.hpp"

namespace eventer::inline EVENTER_ABI {

// What has come first: the awaitable's place among the arguments, and its result in the same place of the variant
// (std::monostate for one that gives nothing).
template <class... Results>
struct any_result {
  std::size_t index = 0;
  std::variant<Results...> results;

  // So that co_await when_any(...) and await(when_any(...)) are the same as when_any(...).
  bool await_ready() const noexcept { return true; }
  void await_suspend(std::coroutine_handle<>) const noexcept {}
  any_result await_resume() { return std::move(*this); }
};

namespace detail {

template <class R>
using element = std::conditional_t<std::is_void_v<R>, std::monostate, typename result_of_reference<R>::type>;

// A task becomes a coroutine; everything else is the operation that it is.
template <class A>
auto combinable(A&& what) {
  if constexpr (is_task<std::remove_cvref_t<A>>)
    return operation_of(spawn(std::forward<A>(what)));
  else
    return operation_of(std::forward<A>(what));
}
template <class A>
concept combines = own_awaitable<A> || is_task<std::remove_cvref_t<A>>;
template <class A>
using combined = decltype(combinable(std::declval<A>()));

// The operations of a when_any or when_all, each with a continuation of its own, and the one that waits for them. A
// coroutine that waits goes on with each operation itself, on its own stack, because its buffers may lie there, and so
// do combinations within its combinations; for other continuations that is done where the loop calls back.
template <class Derived, class... Operations>
class combination {
 public:
  static constexpr std::size_t count = sizeof...(Operations);

  explicit combination(Operations&&... operations) : parts_(part<Operations>(std::move(operations))...) {}
  combination(const combination&) = delete;
  combination& operator=(const combination&) = delete;

  // Begins all. True: it has ended. False: `who` is woken when there is something to do: call go_on().
  bool start(wait_node& who) {
    waiter_ = &who;
    deferred_ = !who.has(node_flag::continuation) || who.has(node_flag::deferred);
    each([this](auto& one, std::size_t index) {
      one.owner = this;
      one.index = index;
      if (deferred_) one.set(node_flag::deferred);
      if (one.state == progress::idle) this->advance(one);  // else it has lost already
    });
    return has_ended();
  }
  // Goes on with what was woken. True: it has ended.
  bool go_on() {
    each([this](auto& one, std::size_t) {
      if (one.state == progress::woken) this->advance(one);
    });
    return has_ended();
  }
  // The waiter was cancelled, perhaps before start(). What is left is cancelled too; true if nothing of it has to end
  // first.
  bool cancel() {
    static_cast<Derived&>(*this).stop_others(count);
    return go_on();
  }

 protected:
  enum class progress : unsigned char { idle, waiting, woken, done, dropped };

  template <class Operation>
  struct part : continuation {
    explicit part(Operation&& what) : continuation(&on_wake), operation(std::move(what)) {}
    // Only before it begins to wait: the tuple is made of them.
    part(part&& other) noexcept : continuation(&on_wake), operation(std::move(other.operation)) {}
    ~part() {
      scheduler::forget(*this);
      // Whoever waited was destroyed: what was moved in must not go on for nobody.
      if constexpr (requires { operation.lose(); }) (void)operation.lose();
    }

    static void on_wake(continuation& who) {
      auto& self = static_cast<part&>(who);
      self.state = progress::woken;
      self.owner->on_wake();
    }

    Operation operation;
    combination* owner = nullptr;
    std::size_t index = 0;
    progress state = progress::idle;
  };

  template <std::size_t I>
  auto& at() noexcept {
    return std::get<I>(parts_);
  }
  // Gives up on a part. One that takes coroutines along is told that it has lost, and waited for until they have ended.
  template <class Part>
  static void drop(Part& which) {
    if (which.state == progress::done || which.state == progress::dropped) return;
    if constexpr (requires { which.operation.lose(); })
      if (!which.operation.lose()) return;
    scheduler::forget(which);
    which.state = progress::dropped;
  }

 private:
  template <class F>
  void each(F&& call) {
    std::size_t index = 0;
    std::apply([&](auto&... parts) { (call(parts, index++), ...); }, parts_);
  }
  template <class Part>
  void advance(Part& which) {
    which.state = progress::waiting;
    if (!which.operation.advance(which)) return;
    scheduler::forget(which);
    which.state = progress::done;
    static_cast<Derived&>(*this).on_end(which.index);
  }
  bool has_ended() const noexcept {
    return std::apply(
        [](const auto&... parts) {
          return (... && (parts.state == progress::done || parts.state == progress::dropped));
        },
        parts_);
  }
  // On the loop's native stack.
  void on_wake() {
    if (!deferred_ && !go_on()) return;
    scheduler::current()->wake(*waiter_, wake_reason::ready);
  }

  std::tuple<part<Operations>...> parts_;
  wait_node* waiter_ = nullptr;
  bool deferred_ = false;
};

template <class... Operations>
class any_combination : public combination<any_combination<Operations...>, Operations...> {
 public:
  using base = combination<any_combination, Operations...>;
  using base::base;
  using result_type = any_result<element<result_of<Operations>>...>;

  void on_end(std::size_t index) {
    if (stopped_) return;
    winner_ = index;
    stop_others(index);
  }
  void stop_others(std::size_t winner) {
    stopped_ = true;
    stop(winner, std::index_sequence_for<Operations...>());
  }

  result_type result() { return result_from<0>(); }

 private:
  template <std::size_t... I>
  void stop(std::size_t winner, std::index_sequence<I...>) {
    ((I != winner ? base::drop(this->template at<I>()) : void()), ...);
  }
  template <std::size_t I>
  result_type result_from() {
    if constexpr (I + 1 < sizeof...(Operations))
      if (winner_ != I) return result_from<I + 1>();
    auto& operation = this->template at<I>().operation;
    using R = result_of<std::remove_reference_t<decltype(operation)>>;
    using variant = decltype(result_type::results);
    if constexpr (std::is_void_v<R>) {
      operation.result();
      return {I, variant(std::in_place_index<I>)};
    } else if constexpr (std::is_reference_v<R>) {
      return {I, variant(std::in_place_index<I>, std::addressof(operation.result()))};
    } else {
      return {I, variant(std::in_place_index<I>, operation.result())};
    }
  }

  std::size_t winner_ = base::count;
  bool stopped_ = false;
};

template <class... Operations>
class all_combination : public combination<all_combination<Operations...>, Operations...> {
 public:
  using base = combination<all_combination, Operations...>;
  using base::base;
  using result_type = std::tuple<element<result_of<Operations>>...>;

  void on_end(std::size_t) {}
  void stop_others(std::size_t) { stop(std::index_sequence_for<Operations...>()); }

  // Every result is taken, so that each coroutine is joined; the first exception among them is thrown then.
  result_type result() { return take(std::index_sequence_for<Operations...>()); }

 private:
  template <std::size_t... I>
  void stop(std::index_sequence<I...>) {
    (base::drop(this->template at<I>()), ...);
  }
  template <std::size_t... I>
  result_type take(std::index_sequence<I...>) {
    std::tuple<std::optional<element<result_of<Operations>>>...> values;
#if EVENTER_EXCEPTIONS
    std::exception_ptr first;
    const auto take_one = [&](auto& value, auto& operation) {
      try {
        emplace(value, operation);
      } catch (...) {
        if (first == nullptr) first = std::current_exception();
      }
    };
    (take_one(std::get<I>(values), this->template at<I>().operation), ...);
    if (first != nullptr) std::rethrow_exception(first);
#else
    (emplace(std::get<I>(values), this->template at<I>().operation), ...);
#endif
    return result_type(std::move(*std::get<I>(values))...);
  }
  template <class Value, class Operation>
  static void emplace(Value& value, Operation& operation) {
    using R = result_of<Operation>;
    if constexpr (std::is_void_v<R>) {
      operation.result();
      value.emplace();
    } else if constexpr (std::is_reference_v<R>) {
      value.emplace(std::addressof(operation.result()));
    } else {
      value.emplace(operation.result());
    }
  }
};

// A combination as an operation.
template <class Combination>
class combined_operation {
 public:
  template <class... Operations>
  explicit combined_operation(std::in_place_t, Operations&&... operations)
      : state_(std::make_unique<Combination>(std::forward<Operations>(operations)...)) {}

  void block() {
    scheduler& here = suspending_scheduler(
        "when_any or when_all outside a coroutine: spawn one; in a C++20 coroutine that is no task, co_await async_when_any(...)");
    if (here.cancellation_requested()) {
      here.yield();  // whoever swallows it in a loop can't stop the others
      (void)lose();
    }
    bool ended = state_->start(*here.running());
    while (!ended) {
      if (canceled_) {  // until what was moved in has ended, however long that takes
        here.park();
        ended = state_->go_on();
        continue;
      }
      const wake_reason reason = here.cancellation_requested() ? wake_reason::canceled : here.park_until(no_deadline);
      timed_out_ = reason == wake_reason::timed_out;
      ended = reason == wake_reason::ready ? state_->go_on() : lose();
    }
  }
  bool advance(continuation& who) {
    if (who.home == nullptr) {
      scheduler_for_continuations().attach(who);
      return state_->start(who);
    }
    const bool ended = who.wake == wake_reason::ready ? state_->go_on() : lose();
    if (!ended) who.wake = wake_reason::parked;
    return ended;
  }
  // Cancels what has not ended; true if nothing of it has to end first. Else it goes on when that has.
  bool lose() {
    if (state_ == nullptr) return true;  // moved from
    return std::exchange(canceled_, true) ? state_->go_on() : state_->cancel();
  }
  auto result() {
    if (timed_out_)
      throw_error(make_error_code(errc::timed_out), "when_any or when_all in a deadline_scope that has expired");
    if (canceled_) {
      throw_if_canceled(wake_reason::canceled);
      throw_error(make_error_code(errc::canceled), "when_any or when_all in a coroutine that is cancelled");
    }
    return state_->result();
  }

 private:
  std::unique_ptr<Combination> state_;
  bool canceled_ = false, timed_out_ = false;
};

}  // namespace detail

// The same as when_any and when_all, as something to await: co_await async_when_any(...) in any C++20 coroutine. If
// that one is destroyed while it waits, what was moved in is cancelled.
template <detail::combines... As>
auto async_when_any(As&&... what) {
  static_assert(sizeof...(As) > 0, "when_any of nothing would wait for ever");
  return detail::combined_operation<detail::any_combination<detail::combined<As>...>>(
      std::in_place, detail::combinable(std::forward<As>(what))...);
}
template <detail::combines... As>
auto async_when_all(As&&... what) {
  return detail::combined_operation<detail::all_combination<detail::combined<As>...>>(
      std::in_place, detail::combinable(std::forward<As>(what))...);
}

// Waits until the first of several awaitables of the library has ended: auto first = when_any(after(1s), readable(fd)).
//
// Returns: which it was, and its result; what it throws. The others are over when this returns: a wait is given up,
// with nothing read or written by it; a task, or a join_handle that was moved in, is cancelled and has ended. (A handle
// given as a variable only stops being waited for.) Errors: `cancelled`; std::system_error(timed_out) at the end of a
// deadline_scope. Requires: in a coroutine or a task of a loop.
template <detail::combines... As>
auto when_any(As&&... what) {
  return await(async_when_any(std::forward<As>(what)...));
}

// Waits until all have ended. Returns: a tuple of the results (std::monostate for one that gives nothing); what the
// first of those that threw has thrown, but only when all have ended. Errors, requires: as when_any.
template <detail::combines... As>
auto when_all(As&&... what) {
  return await(async_when_all(std::forward<As>(what)...));
}

}  // namespace eventer::inline EVENTER_ABI
