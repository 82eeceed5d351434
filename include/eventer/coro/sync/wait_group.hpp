// wait_group: waits until as many things are done as were added.
#pragma once

#include "eventer/coro/sync/manual_reset_event.hpp"

namespace eventer::inline EVENTER_ABI {

namespace detail {

template <class Domain>
struct wait_group_state : level_state<wait_group_state<Domain>, Domain> {
  bool holds() const noexcept { return count == 0; }
  std::size_t count = 0;
};

}  // namespace detail

// For the coroutines of one loop; shared_wait_group is the same for all loops and plain threads. Copies are handles to
// one group. For coroutines that are to be cancelled together, and whose exceptions count: task_group.
template <class Domain>
class basic_wait_group {
  using state_type = detail::wait_group_state<Domain>;

 public:
  basic_wait_group() : state_(make_counted<state_type>()) {}

  void add(std::size_t count = 1) {
    const std::lock_guard guard(state_->lock);
    state_->count += count;
  }
  // Never waits; from callbacks too. Requires: as many were added.
  void done(std::size_t count = 1) {
    const std::lock_guard guard(state_->lock);
    if (count > state_->count) broken_rule("wait_group::done() was called more often than was added");
    state_->count -= count;
    state_->changed();
  }
  std::size_t count() const {
    const std::lock_guard guard(state_->lock);
    return state_->count;
  }

  // Waits until the count is zero. Errors: `cancelled`; std::system_error(timed_out) at the end of a deadline_scope.
  void wait() { detail::wait_without_limit(async_wait(), "waiting for a wait_group without a limit of its own"); }
  // Not longer than `limit`. Errors: timed_out; operation_canceled where `cancelled` can't be thrown.
  io_result<void> wait(time_limit limit) { return detail::wait_with_limit(async_wait(limit)); }

  // To await.
  auto async_wait(time_limit limit = {}) { return detail::plain_wait<state_type>(state_, {}, limit); }

 private:
  counted_ptr<state_type> state_;
};

using wait_group = basic_wait_group<detail::one_loop>;
using shared_wait_group = basic_wait_group<detail::any_thread>;

}  // namespace eventer::inline EVENTER_ABI
