// manual_reset_event: a flag that coroutines wait for.
#pragma once

#include "eventer/coro/sync/wait_list.hpp"

namespace eventer::inline EVENTER_ABI {

namespace detail {

// Waits until a condition of the state holds, all at once; nothing is taken.
template <class Derived, class Domain>
struct level_state : sync_state<Domain> {
  struct request {};

  bool try_now(request&) noexcept { return static_cast<Derived&>(*this).holds(); }
  wait_list<Derived>& begin_wait(request&) noexcept { return waiting; }
  void left(request&) noexcept {}
  void take_back(request&) noexcept {}

  void changed() {
    if (!static_cast<Derived&>(*this).holds()) return;
    while (waiter<Derived>* const first = waiting.front()) first->grant();
  }

  wait_list<Derived> waiting;
};

template <class Domain>
struct event_state_of : level_state<event_state_of<Domain>, Domain> {
  explicit event_state_of(bool s) noexcept : set(s) {}
  bool holds() const noexcept { return set; }
  bool set;
};

}  // namespace detail

// For the coroutines of one loop; shared_event is the same for all loops and plain threads. Copies are handles to one
// event.
template <class Domain>
class basic_manual_reset_event {
  using state_type = detail::event_state_of<Domain>;

 public:
  explicit basic_manual_reset_event(bool set = false) : state_(make_counted<state_type>(set)) {}

  // Everybody who waits goes on, and nobody waits until reset(). Never waits itself; from callbacks too.
  void set() {
    const std::lock_guard guard(state_->lock);
    state_->set = true;
    state_->changed();
  }
  void reset() {
    const std::lock_guard guard(state_->lock);
    state_->set = false;
  }
  bool is_set() const {
    const std::lock_guard guard(state_->lock);
    return state_->set;
  }

  // Waits until it is set. Errors: `cancelled`; std::system_error(timed_out) at the end of a deadline_scope.
  void wait() { detail::wait_without_limit(async_wait(), "waiting for an event without a limit of its own"); }
  // Not longer than `limit`. Errors: timed_out; operation_canceled where `cancelled` can't be thrown.
  io_result<void> wait(time_limit limit) { return detail::wait_with_limit(async_wait(limit)); }

  // To await.
  auto async_wait(time_limit limit = {}) { return detail::plain_wait<state_type>(state_, {}, limit); }

 private:
  counted_ptr<state_type> state_;
};

using manual_reset_event = basic_manual_reset_event<detail::one_loop>;
using shared_event = basic_manual_reset_event<detail::any_thread>;

}  // namespace eventer::inline EVENTER_ABI
