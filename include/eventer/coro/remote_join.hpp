// remote_join<R>: the outcome of a coroutine that another thread has spawned, shared by the spawning thread and the
// loop.
//
// It is on the heap, with two or more owners; a plain thread that joins blocks on a condition variable, a coroutine of
// another loop parks.
#pragma once

#include <condition_variable>
#include <exception>
#include <mutex>
#include <optional>
#include <type_traits>

#include "eventer/base/clock.hpp"
#include "eventer/coro/scheduler.hpp"

namespace eventer::inline EVENTER_ABI::detail {

struct void_value {};
template <class R>
using value_or_void = std::conditional_t<std::is_void_v<R>, void_value, typename result_of_reference<R>::type>;

class remote_join_base : public wait_source {
 public:
  remote_join_base() noexcept {
    abandon = [](wait_source& self, control_block&) noexcept {
      auto& join = static_cast<remote_join_base&>(self);
      std::shared_ptr<remote_join_base> keep;  // let go outside the lock
      const std::lock_guard lock(join.mutex_);
      join.waiter_ = nullptr;
      keep = std::move(join.keep_alive_);
    };
  }
  remote_join_base(const remote_join_base&) = delete;
  remote_join_base& operator=(const remote_join_base&) = delete;

  bool done() const {
    const std::lock_guard lock(mutex_);
    return outcome_ != outcome::none;
  }
  outcome how() const noexcept { return outcome_; }
  std::exception_ptr exception() const noexcept { return exception_; }
  std::uint64_t id() const {
    const std::lock_guard lock(mutex_);
    return id_;
  }

  // Waits until the coroutine has ended: ready, timed_out or canceled. May be called by a coroutine or by a plain
  // thread.
  wake_reason wait(const std::shared_ptr<remote_join_base>& self, time_point deadline) {
    std::unique_lock lock(mutex_);
    if (outcome_ != outcome::none) return wake_reason::ready;
    scheduler* const here = scheduler::current();
    if (here == nullptr) return wait_on_thread(lock, deadline);
    if (here->running() == nullptr)
      broken_rule("join() in a callback would block its loop: join from a coroutine, or spawn one that joins");
    lock.unlock();
    if (here->cancellation_due()) return wake_reason::canceled;
    lock.lock();
    if (outcome_ != outcome::none) return wake_reason::ready;
    waiter_ = here->running();
    waiter_scheduler_ = here;
    keep_alive_ = self;
    lock.unlock();
    here->running()->waiting_on = this;
    return here->park_until(deadline);
  }

  void started(scheduler& where, std::uint64_t id, control_block& block) {
    const std::lock_guard lock(mutex_);
    id_ = id;
    target_ = &block;
    target_scheduler_ = &where;
  }
  // Where cancel() is to be posted; nullptr before the start and after the end.
  scheduler* target_scheduler() const {
    const std::lock_guard lock(mutex_);
    return target_scheduler_;
  }
  // On the loop's thread.
  void cancel_target() {
    if (target_ != nullptr) scheduler::of(*target_).cancel(*target_);
    cancel_before_start_ = true;
  }
  bool cancel_before_start() const noexcept { return cancel_before_start_; }

  void fail(std::exception_ptr exception) { complete(outcome::exception, std::move(exception)); }
  void complete(outcome how, std::exception_ptr exception = nullptr) {
    std::shared_ptr<remote_join_base> keep;
    scheduler* wake_here = nullptr;
    {
      const std::lock_guard lock(mutex_);
      if (outcome_ != outcome::none) return;
      outcome_ = how;
      exception_ = std::move(exception);
      target_ = nullptr;
      target_scheduler_ = nullptr;
      if (waiter_ != nullptr) {
        wake_here = waiter_scheduler_;
        keep = std::move(keep_alive_);
      }
      changed_.notify_all();
    }
    if (wake_here == nullptr) return;
    wake_here->post([keep = std::move(keep), wake_here] {
      control_block* waiter = nullptr;
      {
        const std::lock_guard lock(keep->mutex_);
        waiter = std::exchange(keep->waiter_, nullptr);
      }
      if (waiter != nullptr) wake_here->wake(*waiter, wake_reason::ready);
    });
  }

 protected:
  ~remote_join_base() = default;

 private:
  wake_reason wait_on_thread(std::unique_lock<std::mutex>& lock, time_point deadline) {
    const auto done = [this] { return outcome_ != outcome::none; };
    if (deadline == no_deadline) {
      changed_.wait(lock, done);
      return wake_reason::ready;
    }
    return changed_.wait_until(lock, deadline, done) ? wake_reason::ready : wake_reason::timed_out;
  }

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  outcome outcome_ = outcome::none;
  std::exception_ptr exception_;
  std::uint64_t id_ = 0;
  control_block* target_ = nullptr;
  scheduler* target_scheduler_ = nullptr;
  bool cancel_before_start_ = false;
  control_block* waiter_ = nullptr;
  scheduler* waiter_scheduler_ = nullptr;
  std::shared_ptr<remote_join_base> keep_alive_;
};

template <class R>
class remote_join final : public remote_join_base {
 public:
  std::optional<value_or_void<R>> value;
};

}  // namespace eventer::inline EVENTER_ABI::detail
