// semaphore: so many at a time.
#pragma once

#include "eventer/coro/sync/wait_list.hpp"

namespace eventer::inline EVENTER_ABI {

namespace detail {

template <class Domain>
struct semaphore_state : sync_state<Domain> {
  struct request {
    std::size_t units;
  };

  explicit semaphore_state(std::size_t units) noexcept : free(units) {}

  bool try_now(request& what) noexcept {
    if (!waiting.empty() || free < what.units) return false;
    free -= what.units;
    return true;
  }
  wait_list<semaphore_state>& begin_wait(request&) noexcept { return waiting; }
  void left(request&) { hand_out(); }  // it may have been the first, who wanted more than the next
  void take_back(request& what) {
    free += what.units;
    hand_out();
  }

  void hand_out() {
    while (waiter<semaphore_state>* const first = waiting.front()) {
      if (first->what.units > free) return;
      free -= first->what.units;
      first->grant();
    }
  }

  std::size_t free;
  wait_list<semaphore_state> waiting;
};

}  // namespace detail

// For the coroutines of one loop; shared_semaphore is the same for all loops and plain threads. Copies are handles to
// one semaphore. First come, first served, also for those who want several units at once: they are not overtaken.
template <class Domain>
class basic_semaphore {
  using state_type = detail::semaphore_state<Domain>;

 public:
  explicit basic_semaphore(std::size_t units) : state_(make_counted<state_type>(units)) {}

  // Waits until so many units are free, and takes them. Errors: `cancelled`; std::system_error(timed_out) at the end of
  // a deadline_scope. Nothing is taken then.
  void acquire(std::size_t units = 1) {
    detail::wait_without_limit(async_acquire(units), "acquiring a semaphore without a limit of its own");
  }
  // Not longer than `limit`. Errors: timed_out; operation_canceled where `cancelled` can't be thrown.
  io_result<void> acquire_for(time_limit limit, std::size_t units = 1) {
    return detail::wait_with_limit(async_acquire(units, limit));
  }
  bool try_acquire(std::size_t units = 1) {
    const std::lock_guard guard(state_->lock);
    typename state_type::request mine{units};
    return state_->try_now(mine);
  }
  // Never waits; from callbacks too. There may be more units than there were at first.
  void release(std::size_t units = 1) {
    const std::lock_guard guard(state_->lock);
    state_->free += units;
    state_->hand_out();
  }
  std::size_t available() const {
    const std::lock_guard guard(state_->lock);
    return state_->free;
  }

  // To await. If it loses a when_any, nothing is taken.
  auto async_acquire(std::size_t units = 1, time_limit limit = {}) {
    return detail::plain_wait<state_type>(state_, {units}, limit);
  }

 private:
  counted_ptr<state_type> state_;
};

using semaphore = basic_semaphore<detail::one_loop>;
using shared_semaphore = basic_semaphore<detail::any_thread>;

}  // namespace eventer::inline EVENTER_ABI
