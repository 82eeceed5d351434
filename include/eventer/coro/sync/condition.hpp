// condition: waiting, with a mutex, for something that others change under it.
#pragma once

#include <concepts>
#include <mutex>

#include "eventer/coro/sync/mutex.hpp"

namespace eventer::inline EVENTER_ABI {

// For the coroutines of one loop; shared_condition is the same for all loops and plain threads. Copies are handles to
// one condition. All who wait at the same time do so with the same mutex.
//
// Who is notified goes on when it has the mutex again; as many as are notified wait for it in its own queue, so that a
// notify_all wakes them one after the other. There are no spurious wake-ups; still, another one may have run in
// between.
template <class Domain>
class basic_condition {
  using mutex_type = basic_mutex<Domain>;
  using mutex_state = detail::mutex_state<Domain>;

 public:
  basic_condition() : state_(make_counted<state>()) {}

  // Lets go of the mutex, waits for a notification, and takes the mutex again before it returns or throws. Errors:
  // `cancelled`; std::system_error(timed_out) at the end of a deadline_scope. Requires: `held` is locked.
  void wait(std::unique_lock<mutex_type>& held) {
    if (const io_result<void> done = wait(held, time_limit()); !done)
      throw_error(done.error(), "waiting for a condition without a limit of its own");
  }
  // Not longer than `limit`. Errors: timed_out; operation_canceled where `cancelled` can't be thrown.
  io_result<void> wait(std::unique_lock<mutex_type>& held, time_limit limit) {
    if (!held.owns_lock()) broken_rule("waiting for a condition without its mutex being locked");
    const counted_ptr<state> kept = state_;  // its list is waited in
    const counted_ptr<mutex_state> with = held.mutex()->state_;
    bind(with);
    typename mutex_state::request what;
    what.condition = &state_->waiting;
    detail::sync_wait<mutex_state> waits(with, std::move(what), limit);
    waits.block();
    const bool granted = waits.how() == detail::wait_end::granted;
    const bool notified = waits.answer().notified;
    if (!granted && waits.has_waited()) relock(held);
    if (notified) return {};
    return waits.error();
  }
  // Until `wanted()` holds, which is asked under the mutex. The second form answers what it was at last.
  template <class Predicate>
  requires std::predicate<Predicate&>
  void wait(std::unique_lock<mutex_type>& held, Predicate wanted) {
    while (!wanted()) wait(held);
  }
  template <class Predicate>
  bool wait(std::unique_lock<mutex_type>& held, time_limit limit, Predicate wanted) {
    if (scheduler* const here = scheduler::current(); here != nullptr)
      (void)here->resolve(limit);
    else
      (void)limit.resolve(clock::now());
    while (!wanted())
      if (!wait(held, limit)) return wanted();
    return true;
  }

  // Ends the wait of whoever has waited longest, or of all. With or without the mutex.
  void notify_one() {
    const std::lock_guard binding(state_->lock);
    if (!state_->with) return;
    const std::lock_guard guard(state_->with->lock);
    if (state_->waiting.front() != nullptr) notify(*state_->with);
  }
  void notify_all() {
    const std::lock_guard binding(state_->lock);
    if (!state_->with) return;
    const std::lock_guard guard(state_->with->lock);
    while (state_->waiting.front() != nullptr) notify(*state_->with);
  }

 private:
  struct state : detail::sync_state<Domain> {
    counted_ptr<mutex_state> with;           // under the lock
    detail::wait_list<mutex_state> waiting;  // under the lock of `with`
  };

  void bind(const counted_ptr<mutex_state>& with) {
    const std::lock_guard guard(state_->lock);
    if (state_->with == with) return;
    if (state_->with) {
      const std::lock_guard other(state_->with->lock);
      if (!state_->waiting.empty()) broken_rule("a condition is waited for with two mutexes at the same time");
    }
    state_->with = with;
  }
  // Under the lock of `with`.
  void notify(mutex_state& with) {
    detail::waiter<mutex_state>& who = *state_->waiting.front();
    who.what.notified = true;
    if (!with.locked) {
      with.take(who.what);
      who.grant();
    } else {
      state_->waiting.remove(who);
      with.waiting.push_back(who);
    }
  }
  // The wait has ended without a notification. At a loop's end the mutex may be out of reach: then it is not held.
  static void relock(std::unique_lock<mutex_type>& held) {
    mutex_type& which = *held.release();
    which.lock();
    held = std::unique_lock<mutex_type>(which, std::adopt_lock);
  }

  counted_ptr<state> state_;
};

using condition = basic_condition<detail::one_loop>;
using shared_condition = basic_condition<detail::any_thread>;

}  // namespace eventer::inline EVENTER_ABI
