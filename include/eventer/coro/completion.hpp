// completion: something that happens once, on any thread, and that coroutines of any loop, continuations and plain
// threads wait for.
//
// It is shared by all of them. Each waiter has a record on the heap; completing posts it to the waiter's loop while the
// lock is held, and the waiter goes on when the lock is free, so that its loop can't end in between.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <new>

#include "eventer/base/process_mark.hpp"
#include "eventer/coro/cancelled.hpp"
#include "eventer/coro/scheduler.hpp"

namespace eventer::inline EVENTER_ABI::detail {

// Who completes one, as its waiter's loop sees it.
enum class completed_by { this_loop, another_thread, anybody };

class completion : public std::enable_shared_from_this<completion> {
 public:
  completion() = default;
  completion(const completion&) = delete;
  completion& operator=(const completion&) = delete;

  bool done() const {
    const std::lock_guard lock(mutex_);
    return done_;
  }

  // Waits here: ready, timed_out or canceled.
  wake_reason wait(time_limit limit) { return wait(limit, false); }
  // The same, not shortened by a deadline_scope.
  wake_reason wait_beyond_scopes(time_limit limit) { return wait(limit, true); }
  // Waits until it has happened, whatever happens meanwhile: shielded, and beyond a deadline_scope. Where no coroutine
  // can park, and in one whose loop waits no longer, the thread blocks.
  void wait_shielded() noexcept {
    const cancel_shield shield;
    if (!parked_to_the_end()) (void)wait_on_thread(no_deadline);
  }
  // True: it has happened. False: `who` is called when it does, or at the limit.
  bool start_wait(continuation& who, time_limit& limit) {
    scheduler& here = scheduler_for_waiters();
    here.attach(who);
    return !add_waiter(here, who, here.resolve(limit));
  }

 protected:
  virtual ~completion() = default;

  // Any thread. `change` runs under the lock, unless it has happened already. All that waited go on.
  template <class F>
  void complete(F&& change) {
    const std::lock_guard lock(mutex_);
    if (done_) return;
    change();
    done_ = true;
    changed_.notify_all();
    while (record* const each = waiters_) {
      unlink(*each);
      each->posted = true;
      each->home->post([owned = std::unique_ptr<record>(each)] {
        // Who has completed it may be about to wake this loop, which would not be there any more if it ended now.
        if (std::unique_lock<std::mutex> left; owned->of->lock_if_possible(left)) left.unlock();
        wait_node* const node = owned->node;
        if (node == nullptr) return;
        node->waiting_on = nullptr;
        owned->home->wake(*node, wake_reason::ready);
      });
    }
  }

  // Where it is another thread, the virtual time of `here`, where it is waited for, has to stand still. Where nobody
  // can know, time goes on: what is waited for may depend on it.
  virtual completed_by who_completes(const scheduler& here) const noexcept = 0;

  mutable std::mutex mutex_;
  bool done_ = false;

 private:
  // `node` is read and written by the home's thread, or before the record is posted; `posted` under the lock.
  struct record : wait_source {
    record(std::shared_ptr<completion> what, scheduler& here, wait_node& who, completed_by whom) noexcept
        : of(std::move(what)), home(&here), node(&who), by(whom) {
      count(true);
    }
    // On the home's thread.
    ~record() { count(false); }
    void count(bool begins) const noexcept {
      if (by == completed_by::another_thread) home->count_outside_wait(begins);
      if (by == completed_by::anybody) home->count_shared_wait(begins);
    }

    std::shared_ptr<completion> of;
    scheduler* home;
    wait_node* node;
    const completed_by by;
    bool posted = false;
    record* next = nullptr;
    record** link = nullptr;
  };

  wake_reason wait(time_limit limit, bool beyond_scopes) {
    if (done()) return wake_reason::ready;
    scheduler* const here = scheduler::current();
    if (here == nullptr) return wait_on_thread(limit.resolve(clock::now()));
    if (here->running() == nullptr)
      broken_rule("waiting in a callback would block its loop: wait in a coroutine, or co_await");
    if (here->cancellation_due()) return wake_reason::canceled;
    wait_node& me = *here->running();
    const time_point end = here->resolve(limit);
    return add_waiter(*here, me, beyond_scopes ? end : here->within_scope(end)) ? here->park() : wake_reason::ready;
  }
  static scheduler& scheduler_for_waiters() {
    scheduler* const here = scheduler::current();
    if (here == nullptr) broken_rule("an operation is started on a thread without a running loop");
    return *here;
  }
  // False: it has happened.
  bool add_waiter(scheduler& here, wait_node& who, time_point deadline) {
    auto mine = std::make_unique<record>(shared_from_this(), here, who, who_completes(here));
    mine->abandon = [](wait_source& source, wait_node&) noexcept {
      auto& self = static_cast<record&>(source);
      const std::shared_ptr<completion> keep = self.of;  // let go outside the lock
      self.node = nullptr;
      std::unique_lock<std::mutex> lock;
      if (!keep->lock_if_possible(lock)) return;  // the record is given up
      if (self.posted) return;                    // the message has it
      unlink(self);
      delete &self;
    };
    here.arm(who, deadline);  // which may throw: nobody has been told yet
    const std::lock_guard lock(mutex_);
    if (done_) {
      here.disarm(who);
      return false;
    }
    mine->next = waiters_;
    mine->link = &waiters_;
    if (waiters_ != nullptr) waiters_->link = &mine->next;
    who.waiting_on = mine.get();
    waiters_ = mine.release();
    return true;
  }
  static void unlink(record& which) noexcept {
    *which.link = which.next;
    if (which.next != nullptr) which.next->link = which.link;
  }
  // False in a forked child, where a thread that is not there may hold it for ever.
  bool lock_if_possible(std::unique_lock<std::mutex>& lock) {
    if (EVENTER_UNLIKELY(process_.forked())) {
      lock = std::unique_lock(mutex_, std::try_to_lock);
      return lock.owns_lock();
    }
    lock = std::unique_lock(mutex_);
    return true;
  }
  bool parked_to_the_end() noexcept {
    scheduler* const here = scheduler::current();
    if (here == nullptr || here->running() == nullptr) return false;
#if EVENTER_EXCEPTIONS
    try {
      if (!add_waiter(*here, *here->running(), no_deadline)) return true;
    } catch (const std::bad_alloc&) {
      return false;
    }
#else
    if (!add_waiter(*here, *here->running(), no_deadline)) return true;
#endif
    return here->park() == wake_reason::ready;
  }
  wake_reason wait_on_thread(time_point deadline) {
    std::unique_lock lock(mutex_);
    const auto happened = [this] { return done_; };
    if (deadline == no_deadline) {
      changed_.wait(lock, happened);
      return wake_reason::ready;
    }
    return changed_.wait_until(lock, deadline, happened) ? wake_reason::ready : wake_reason::timed_out;
  }

  const process_mark process_;
  std::condition_variable changed_;
  record* waiters_ = nullptr;
};

}  // namespace eventer::inline EVENTER_ABI::detail
