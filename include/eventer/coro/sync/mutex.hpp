// mutex: mutual exclusion between coroutines that wait while they hold it.
//
//   eventer::mutex m;                                   // a handle: copies are the same mutex
//   spawn([m]() mutable { std::lock_guard held(m); stream.write_all(record); });
//
// Unlocking hands it to whoever has waited longest.
#pragma once

#include "eventer/coro/sync/wait_list.hpp"

namespace eventer::inline EVENTER_ABI {

namespace detail {

// Who asks: a coroutine or a thread; nullptr for a callback and what it resumes, which nobody can tell apart.
inline const void* caller_identity() noexcept {
  scheduler* const here = scheduler::current();
  if (here == nullptr) return scheduler::this_thread();
  return here->running();
}

template <class Domain>
struct mutex_state : sync_state<Domain> {
  struct request {
    const void* who = caller_identity();
    wait_list<mutex_state>* condition = nullptr;  // to wait in, before it gets the mutex
    bool deadlock = false, notified = false;
  };

  bool try_now(request& what) noexcept {
    if (what.condition != nullptr) return false;
    if (!locked) return take(what);
    return what.deadlock = what.who != nullptr && what.who == owner;
  }
  wait_list<mutex_state>& begin_wait(request& what) {
    if (what.condition == nullptr) return waiting;
    release();
    return *what.condition;
  }
  void left(request&) noexcept {}
  void take_back(request& what) {
    if (!what.deadlock) release();
  }

  bool take(const request& what) noexcept {
    owner = what.who;
    return locked = true;
  }
  void release() {
    locked = false;
    owner = nullptr;
    if (waiter<mutex_state>* const next = waiting.front(); next != nullptr) {
      take(next->what);
      next->grant();
    }
  }

  bool locked = false;
  const void* owner = nullptr;
  wait_list<mutex_state> waiting;
};

}  // namespace detail

template <class Domain>
class basic_condition;

// For the coroutines of one loop; Lockable, so that std::lock_guard, std::unique_lock and std::scoped_lock hold it.
// shared_mutex_handle is the same for the coroutines of all loops, and for plain threads, which block.
//
// Taking it is no cancellation point, and no deadline_scope ends it: it waits. Copies are handles to one mutex; a copy
// of a struct that holds one shares it.
template <class Domain>
class basic_mutex {
  using state_type = detail::mutex_state<Domain>;

 public:
  basic_mutex() : state_(make_counted<state_type>()) {}

  // Waits until it is free and everybody who came before has had it. Errors:
  // std::system_error(resource_deadlock_would_occur) where the caller holds it already.
  void lock() { (void)lock_until({}); }
  bool try_lock() {
    const std::lock_guard guard(state_->lock);
    typename state_type::request mine;
    return !state_->locked && state_->take(mine);
  }
  // Not longer than `limit`; answers whether it is held now.
  bool try_lock_for(time_limit limit) { return lock_until(limit); }
  // Requires: the caller has locked it.
  void unlock() {
    const std::lock_guard guard(state_->lock);
    const void* const me = detail::caller_identity();
    if (!state_->locked) broken_rule("a mutex is unlocked that is not locked");
    if (state_->owner != nullptr && me != nullptr && state_->owner != me)
      broken_rule("a mutex is unlocked by another coroutine or thread than the one that holds it");
    state_->release();
  }

  // co_await m.async_lock(): the same for C++20 coroutines. Errors: resource_deadlock_would_occur; operation_canceled,
  // at the loop's end.
  auto async_lock() { return operation(state_, {}); }

 private:
  class operation : public detail::sync_wait<state_type, detail::wait_kind::uncancellable> {
   public:
    using detail::sync_wait<state_type, detail::wait_kind::uncancellable>::sync_wait;
    io_result<void> result() {
      if (const std::error_code error = this->error()) return error;
      if (this->answer().deadlock) return std::make_error_code(std::errc::resource_deadlock_would_occur);
      return {};
    }
  };

  bool lock_until(time_limit limit) {
    operation mine(state_, {}, limit);
    mine.block();
    const io_result<void> done = mine.result();
    if (done) return true;
    if (done.error() == std::errc::timed_out) return false;
    throw_error(done.error(), "locking a mutex that the caller holds already, or at the loop's end");
  }

  counted_ptr<state_type> state_;
  template <class>
  friend class basic_condition;
};

using mutex = basic_mutex<detail::one_loop>;
using shared_mutex_handle = basic_mutex<detail::any_thread>;

}  // namespace eventer::inline EVENTER_ABI
