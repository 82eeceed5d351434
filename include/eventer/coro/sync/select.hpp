// select: sends to or receives from exactly one of several channels, whichever can first.
//
//   auto which = select(1s,
//       on_receive(jobs, [&](io_result<job> j) { ... }),       // closed counts as ready: j says so
//       on_send(results, std::move(r), [&](io_result<void> sent) { ... }));
//   if (!which && which.error() == std::errc::timed_out) ...
#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <memory>
#include <tuple>
#include <utility>

#include "eventer/coro/sync/channel.hpp"

namespace eventer::inline EVENTER_ABI {

namespace detail {

// One case: what is wanted of which channel, and what is called with the answer.
template <class State>
struct select_case {
  using state_type = State;

  counted_ptr<State> state;
  typename State::request what;
  counted_ptr<waiter<State>> listed;

  typename State::request& request() noexcept { return listed ? listed->what : what; }
};
template <class State, class F>
struct receive_case : select_case<State> {
  F handler;

  void call() {
    using T = typename decltype(select_case<State>::what.value)::value_type;
    auto& got = this->request();
    handler(got.error ? io_result<T>(got.error) : io_result<T>(std::move(*got.value)));
  }
};
template <class State, class F>
struct send_case : select_case<State> {
  F handler;

  void call() { handler(this->request().error ? io_result<void>(this->request().error) : io_result<void>()); }
};

template <class T>
inline constexpr bool is_select_case = false;
template <class State, class F>
inline constexpr bool is_select_case<receive_case<State, F>> = true;
template <class State, class F>
inline constexpr bool is_select_case<send_case<State, F>> = true;

// The locks of several channels, each once, in the order of their addresses.
template <std::size_t N>
class locks_of_all {
 public:
  struct one {
    void* which;
    void (*lock)(void*);
    void (*unlock)(void*);
  };
  template <class Lock>
  static one of(Lock& lock) noexcept {
    return {&lock, [](void* which) { static_cast<Lock*>(which)->lock(); },
            [](void* which) { static_cast<Lock*>(which)->unlock(); }};
  }

  explicit locks_of_all(std::array<one, N> all) : all_(all) {
    std::sort(all_.begin(), all_.end(), [](const one& a, const one& b) {
      return reinterpret_cast<std::uintptr_t>(a.which) < reinterpret_cast<std::uintptr_t>(b.which);
    });
    count_ = static_cast<std::size_t>(
        std::unique(all_.begin(), all_.end(), [](const one& a, const one& b) { return a.which == b.which; }) -
        all_.begin());
    for (std::size_t i = 0; i < count_; ++i) all_[i].lock(all_[i].which);
  }
  locks_of_all(const locks_of_all&) = delete;
  locks_of_all& operator=(const locks_of_all&) = delete;
  ~locks_of_all() {
    while (count_ > 0) {
      --count_;
      all_[count_].unlock(all_[count_].which);
    }
  }

 private:
  std::array<one, N> all_;
  std::size_t count_ = 0;
};

// The cases of a select, on the heap: whoever ends a wait of it from outside reaches all of them.
template <class... Cases>
class select_state : public selection {
 public:
  static constexpr std::size_t count = sizeof...(Cases);
  static constexpr bool across_threads = (... || Cases::state_type::domain::across_threads);

  explicit select_state(Cases&&... cases) : selection(across_threads), cases_(std::move(cases)...) {
    abandon = [](wait_source& source, wait_node&) noexcept { static_cast<select_state&>(source).unlist(); };
  }

  // Each is tried once, beginning with case number `first`. Answers which was done, or `nobody`.
  std::uint32_t try_all(std::size_t first) {
    const auto locked = lock_all();
    return try_locked(first);
  }
  // What list() needs of memory.
  void prepare_to_wait(scheduler* home, waiting_thread* thread) {
    each([&](auto& one, std::uint32_t index) {
      using state_type = typename std::remove_cvref_t<decltype(one)>::state_type;
      one.what.select = this;
      one.what.index = index;
      one.listed = make_counted<waiter<state_type>>(one.state, std::move(one.what));
      one.listed->home = home;
      one.listed->thread = thread;
    });
  }
  // Waits in all channels; `who`, or the thread, will be woken. Answers which was done in their place, or `nobody`.
  std::uint32_t list(wait_node* who) {
    const auto locked = lock_all();
    if constexpr (across_threads)
      if (const std::uint32_t done = try_locked(0); done != nobody) return done;
    each([&](auto& one, std::uint32_t) {
      one.listed->node = who;
      one.state->begin_wait(one.listed->what).push_back(*one.listed);
    });
    if (who != nullptr) who->waiting_on = this;
    return nobody;
  }
  void unlist() noexcept {
    const auto locked = lock_all();
    each([](auto& one, std::uint32_t) {
      if (!one.listed) return;
      one.listed->node = nullptr;
      if (one.listed->in != nullptr) one.listed->in->remove(*one.listed);
    });
  }
  // Nobody wants what the case has received: back to its channel.
  void take_back(std::uint32_t which) noexcept {
    const auto locked = lock_all();
    each([&](auto& one, std::uint32_t index) {
      if (index == which) one.state->take_back(one.request());
    });
  }
  void call_handler(std::uint32_t which) {
    each([&](auto& one, std::uint32_t index) {
      if (index == which) one.call();
    });
  }

 private:
  template <class F>
  void each(F&& visit) {
    std::uint32_t index = 0;
    std::apply([&](auto&... one) { (visit(one, index++), ...); }, cases_);
  }
  auto lock_all() {
    return std::apply([](auto&... one) { return locks_of_all<count>({locks_of_all<count>::of(one.state->lock)...}); },
                      cases_);
  }
  std::uint32_t try_locked(std::size_t first) {
    std::uint32_t done = nobody;
    for (std::size_t i = 0; i < count && done == nobody; ++i)
      each([&](auto& one, std::uint32_t index) {
        if (index == (first + i) % count && one.state->try_now(one.request())) done = index;
      });
    return done;
  }

  std::tuple<Cases...> cases_;
};

template <class... Cases>
class select_operation {
  using state = select_state<Cases...>;

 public:
  explicit select_operation(time_limit limit, Cases&&... cases)
      : state_(std::make_unique<state>(std::move(cases)...)), limit_(limit) {}
  select_operation(select_operation&& other) noexcept  // before it begins
      : state_(std::move(other.state_)), limit_(other.limit_) {}
  select_operation& operator=(select_operation&&) = delete;
  ~select_operation() { give_up(); }

  void block() {
    scheduler* const here = scheduler::current();
    in_coroutine_ = here != nullptr && here->running() != nullptr;
    if (in_coroutine_ && must_not_go_on(*here)) return;
    done_ = state_->try_all(here != nullptr ? here->next_select() : 0);
    if (done_ != selection::nobody) return;
    if (in_coroutine_) {
      wait_node& me = *here->running();
      state_->prepare_to_wait(here, nullptr);
      here->arm(me, here->within_scope(here->resolve(limit_)));  // which may throw: nobody has been told yet
      others_.begin(*here);
      here->operation_waited();
      done_ = state_->list(&me);
      return done_ == selection::nobody ? conclude(here->park()) : here->disarm(me);
    }
    if (here != nullptr)
      broken_rule("a select in a callback would block its loop: spawn a coroutine that waits, or co_await");
    if constexpr (!state::across_threads)
      broken_rule(
          "a select over channels of one loop, on a thread that does not run it: use shared_channel, or a coroutine");
    waiting_thread me;
    state_->prepare_to_wait(nullptr, &me);
    done_ = state_->list(nullptr);
    if (done_ != selection::nobody) return;
    me.wait(limit_.resolve(clock::now()));
    conclude(wake_reason::timed_out);
  }
  bool advance(continuation& who) {
    if (listed_) {
      conclude(who.wake);
      return true;
    }
    scheduler& here = scheduler_for_continuations();
    if (gave_way_ && who.wake == wake_reason::canceled) return true;
    if (!std::exchange(gave_way_, true) && gives_way(here, who)) return false;
    done_ = state_->try_all(here.next_select());
    if (done_ != selection::nobody) return true;
    state_->prepare_to_wait(&here, nullptr);
    here.attach(who);
    here.arm(who, here.resolve(limit_));
    others_.begin(here);
    listed_ = true;
    done_ = state_->list(&who);
    return done_ != selection::nobody;
  }
  bool lose() noexcept {
    give_up();
    return true;
  }
  // Calls the handler of the case that was done.
  io_result<std::size_t> result() {
    const std::uint32_t index = std::exchange(done_, selection::nobody);
    if (index != selection::nobody) {
      state_->call_handler(index);
      return index;
    }
    if (reason_ == wake_reason::timed_out) return errc::timed_out;
    if (in_coroutine_) throw_if_canceled(wake_reason::canceled);
    return errc::canceled;
  }

 private:
  void conclude(wake_reason reason) {
    others_.end();
    state_->unlist();
    reason_ = reason;
    concluded_ = true;
    done_ = state_->claimed();
  }
  void give_up() noexcept {
    if (state_ == nullptr || std::exchange(gave_up_, true)) return;
    state_->unlist();
    if (!concluded_) done_ = done_ != selection::nobody ? done_ : state_->claimed();
    if (const std::uint32_t index = std::exchange(done_, selection::nobody); index != selection::nobody)
      state_->take_back(index);
  }

  std::unique_ptr<state> state_;
  time_limit limit_;
  wait_for_others<std::conditional_t<state::across_threads, any_thread, one_loop>> others_;
  std::uint32_t done_ = selection::nobody;
  wake_reason reason_ = wake_reason::canceled;
  bool in_coroutine_ = false, listed_ = false, gave_way_ = false, concluded_ = false, gave_up_ = false;
};

}  // namespace detail

// One case of a select: what is received goes to `handler(io_result<T>)`, which runs on the selecting coroutine. Closed
// counts as ready: the handler hears of it. The channel's handle is copied.
template <class T, class Domain, class F>
requires std::invocable<F&, io_result<T>>
auto on_receive(const basic_channel<T, Domain>& channel, F handler) {
  using state = detail::channel_state<T, Domain>;
  return detail::receive_case<state, F>{{channel.state(), {.sends = false, .value = std::nullopt}, {}},
                                        std::move(handler)};
}
// `handler(io_result<void>)` hears whether it was sent, or the channel is closed. The value is gone in either case;
// where another case was done it is destroyed.
template <class T, class Domain, class F>
requires std::invocable<F&, io_result<void>>
auto on_send(const basic_channel<T, Domain>& channel, T value, F handler) {
  using state = detail::channel_state<T, Domain>;
  return detail::send_case<state, F>{{channel.state(), {.sends = true, .value = std::move(value)}, {}},
                                     std::move(handler)};
}

// Does exactly one of several cases: the first that can be done, or, of several, each in its turn. Waits until one can.
//
// Returns: the number of the case, whose handler has been called. Errors: timed_out; operation_canceled where
// `cancelled` can't be thrown; nothing was sent or received then. A limit of zero gives the others one turn.
template <class... Cases>
requires(sizeof...(Cases) > 0 && (... && detail::is_select_case<Cases>)) io_result<std::size_t> select(time_limit limit,
                                                                                                       Cases... cases) {
  detail::select_operation<Cases...> operation(limit, std::move(cases)...);
  operation.block();
  return operation.result();
}
template <class... Cases>
requires(sizeof...(Cases) > 0 && (... && detail::is_select_case<Cases>)) io_result<std::size_t> select(Cases... cases) {
  return select(time_limit(), std::move(cases)...);
}
// To await, in any C++20 coroutine.
template <class... Cases>
requires(sizeof...(Cases) > 0 && (... && detail::is_select_case<Cases>)) auto async_select(time_limit limit,
                                                                                           Cases... cases) {
  return detail::select_operation<Cases...>(limit, std::move(cases)...);
}

}  // namespace eventer::inline EVENTER_ABI
