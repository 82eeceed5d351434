// What the synchronisation types are made of: lists of those who wait, first come first served, and the one operation
// with which coroutines, co_await and plain threads wait in them.
//
// A type is a `state` on the heap and handles to it; whoever has to wait leaves a `waiter` there, also on the heap. Who
// ends a wait hands over what was waited for: nobody wakes up to find it gone, nobody overtakes, and no more are woken
// than can go on. Each type is made for two domains, one loop and any thread.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <utility>

#include "eventer/base/counted_ptr.hpp"
#include "eventer/coro/operation.hpp"
#include "eventer/coro/this_coroutine.hpp"

namespace eventer::inline EVENTER_ABI::detail {

// Everything happens on one thread: no locks, no atomics.
struct one_loop {
  static constexpr bool across_threads = false;
  using counter = std::uint32_t;

  class lock_type {
   public:
    // The first use binds the state to its thread, and to the loop that runs there: when that one goes on, or ends, on
    // another thread, the state does, too.
    void lock() noexcept {
#if !defined(NDEBUG)
      if (EVENTER_UNLIKELY(thread_ != scheduler::this_thread())) bind();
#endif
    }
    void unlock() noexcept {}

   private:
    EVENTER_NOINLINE void bind() noexcept {
      const scheduler* const here = scheduler::current();
      if (thread_ != nullptr && (here == nullptr || here != loop_))
        broken_rule(
            "a mutex, semaphore, channel or the like of one loop is used on another thread: between threads use its twin with the prefix "
            "shared_");
      thread_ = scheduler::this_thread();
      loop_ = here;
    }
    const void* thread_ = nullptr;
    const scheduler* loop_ = nullptr;
  };
};
// Loops and plain threads, under a mutex that is held for some instructions at a time.
struct any_thread {
  static constexpr bool across_threads = true;
  using counter = std::atomic<std::uint32_t>;
  using lock_type = std::mutex;
};

// A plain thread that waits, on that thread's own stack. Whoever wakes it holds the lock of the state that it waits
// for, which it takes before it goes on.
class waiting_thread {
 public:
  void wake() {
    const std::lock_guard guard(lock_);
    woken_ = true;
    changed_.notify_one();
  }
  // Until it is woken, or the deadline.
  void wait(time_point deadline) {
    std::unique_lock guard(lock_);
    if (deadline == no_deadline)
      changed_.wait(guard, [this] { return woken_; });
    else
      (void)changed_.wait_until(guard, deadline, [this] { return woken_; });
  }

 private:
  std::mutex lock_;
  std::condition_variable changed_;
  bool woken_ = false;
};

// Tells a loop that one of its coroutines waits for what other threads may do. On the loop's thread.
template <class Domain>
class wait_for_others {
 public:
  wait_for_others() noexcept = default;
  wait_for_others(const wait_for_others&) = delete;
  wait_for_others& operator=(const wait_for_others&) = delete;
  ~wait_for_others() { end(); }
  void begin(scheduler& here) noexcept {
    if constexpr (Domain::across_threads) (loop_ = &here)->count_shared_wait(true);
  }
  void end() noexcept {
    if (loop_ != nullptr) std::exchange(loop_, nullptr)->count_shared_wait(false);
  }

 private:
  scheduler* loop_ = nullptr;
};

// What is tried under an armed time limit may throw, or need no wait.
struct disarm_unless_listed {
  scheduler& here;
  wait_node& who;
  bool listed = false;
  ~disarm_unless_listed() {
    if (!listed) here.disarm(who);
  }
};

// Asked by a coroutine before it tries: whether it is cancelled. After many tries in a row that did not have to wait
// others get their turn.
inline bool must_not_go_on(scheduler& here) {
  return here.cancellation_due() || (here.count_operation() && here.let_others_run());
}
// The same for a continuation, which is called again.
inline bool gives_way(scheduler& here, continuation& who) {
  if (EVENTER_LIKELY(!here.count_operation())) return false;
  here.operation_waited();
  here.attach(who);
  here.make_ready(who, wake_reason::ready);
  return true;
}

template <class State>
struct waiter;

// A doubly linked list of waiters; they belong to those who wait. Under the state's lock.
template <class State>
class wait_list {
 public:
  using waiter_type = waiter<State>;

  bool empty() const noexcept { return first_ == nullptr; }
  waiter_type* front() const noexcept { return first_; }
  void push_back(waiter_type& who) noexcept {
    who.in = this;
    who.next = nullptr;
    who.previous = last_;
    (last_ != nullptr ? last_->next : first_) = &who;
    last_ = &who;
  }
  void remove(waiter_type& who) noexcept {
    (who.previous != nullptr ? who.previous->next : first_) = who.next;
    (who.next != nullptr ? who.next->previous : last_) = who.previous;
    who.in = nullptr;
  }

 private:
  waiter_type *first_ = nullptr, *last_ = nullptr;
};

// One who waits. `request` says for what, and takes the answer.
template <class State>
struct waiter final : wait_source, counted<typename State::domain::counter> {
  using domain = typename State::domain;
  using request = typename State::request;

  waiter(counted_ptr<State> state, request&& wanted) : of(std::move(state)), what(std::move(wanted)) {}

  // Everything but `node` is under the state's lock once it is listed.
  counted_ptr<State> of;
  request what;
  wait_list<State>* in = nullptr;
  waiter *next = nullptr, *previous = nullptr;
  bool granted = false;
  scheduler* home = nullptr;  // nullptr: a plain thread
  wait_node* node = nullptr;  // the home's thread alone looks at it
  waiting_thread* thread = nullptr;

  struct wake_message : post_queue::message {
    counted_ptr<waiter> kept;
  };
  struct no_message {};
  [[no_unique_address]] std::conditional_t<domain::across_threads, wake_message, no_message> message;

  // Under the lock: it has what it waited for, and goes on.
  void grant() {
    in->remove(*this);
    granted = true;
    if constexpr (domain::across_threads) {
      if (home == nullptr) return thread->wake();
      // Whoever waited takes the lock before it goes on, so that its loop can't end while this thread still wakes it.
      // The message is a part of the waiter: there is nothing to allocate here.
      message.kept = counted_ptr<waiter>(this);
      message.finish = [](post_queue::message* base, bool run) {
        const counted_ptr<waiter> self = std::move(static_cast<wake_message*>(base)->kept);
        if (run) self->wake();
      };
      home->post_message(message);
    } else {
      wake();
    }
  }
  // On the home's thread.
  void wake() {
    wait_node* const who = std::exchange(node, nullptr);
    if (who == nullptr) return;  // a time limit or a cancellation came first
    who->waiting_on = nullptr;
    home->wake(*who, wake_reason::ready);
  }
};

// What all states have.
template <class Domain>
struct sync_state : counted<typename Domain::counter> {
  using domain = Domain;
  typename Domain::lock_type lock;
};

enum class wait_kind : unsigned char {
  cancellable,
  uncancellable,  // taking a lock, which is no cancellation point
};

// How a wait went.
enum class wait_end : unsigned char { granted, timed_out, canceled };

// Waits for what a request wants of a state. A State has, all of it called under its lock:
//   bool try_now(request&)             answers it at once, if nobody who came before has to wait
//   wait_list<State>& begin_wait(request&)   it has to wait: where
//   void left(request&)                one who waited has given up
//   void take_back(request&)           what was granted is not wanted any more
template <class State, wait_kind Kind = wait_kind::cancellable>
class sync_wait {
 public:
  using request = typename State::request;
  using domain = typename State::domain;

  sync_wait(counted_ptr<State> state, request&& what, time_limit limit = {})
      : state_(std::move(state)), what_(std::move(what)), limit_(limit) {}
  sync_wait(sync_wait&& other) noexcept
      : state_(std::move(other.state_)), what_(std::move(other.what_)), limit_(other.limit_) {}  // before it begins
  sync_wait& operator=(sync_wait&&) = delete;
  ~sync_wait() { give_up(); }

  void block() {
    scheduler* const here = scheduler::current();
    in_coroutine_ = here != nullptr && here->running() != nullptr;
    if constexpr (Kind == wait_kind::cancellable)
      if (in_coroutine_ && must_not_go_on(*here)) return end(wait_end::canceled);
    {
      const std::lock_guard guard(state_->lock);
      if (state_->try_now(what_)) return end(wait_end::granted);
    }
    if (in_coroutine_) return wait_in_coroutine(*here);
    if (here != nullptr)
      broken_rule("waiting in a callback would block its loop: spawn a coroutine that waits, or co_await");
    if constexpr (domain::across_threads)
      wait_on_thread();
    else
      broken_rule(
          "a wait for what belongs to one loop, on a thread that does not run it: use the twin with the prefix shared_");
  }
  bool advance(continuation& who) {
    if (waiter_) {
      conclude(who.wake);
      return true;
    }
    scheduler& here = scheduler_for_continuations();
    // It goes on on the loop's own stack, whoever has begun it.
    if constexpr (requires(request & what) { what.who; }) what_.who = nullptr;
    if (gave_way_ && who.wake == wake_reason::canceled) return true;
    if (!std::exchange(gave_way_, true) && gives_way(here, who)) return false;
    {
      const std::lock_guard guard(state_->lock);
      if (state_->try_now(what_)) {
        end(wait_end::granted);
        return true;
      }
    }
    here.attach(who);
    return !list(here, who, here.resolve(limit_));
  }
  // It has lost a when_any, or is over without a result being asked for.
  bool lose() noexcept {
    give_up();
    return true;
  }

  wait_end how() const noexcept { return how_; }
  // Whether it was not answered at once.
  bool has_waited() const noexcept { return static_cast<bool>(waiter_); }
  // The error of a wait that was not granted. A stackful coroutine that was cancelled gets the exception.
  std::error_code error() const {
    if (how_ == wait_end::granted) return {};
    if (how_ == wait_end::timed_out) return make_error_code(errc::timed_out);
    if (in_coroutine_) throw_if_canceled(wake_reason::canceled);
    return make_error_code(errc::canceled);
  }
  // The answer, once it was granted. Whoever looks at it has taken it.
  request& answer() noexcept {
    taken_ = true;
    return waiter_ ? waiter_->what : what_;
  }
  const counted_ptr<State>& state() const noexcept { return state_; }

 private:
  using waiter_type = waiter<State>;

  void end(wait_end how) noexcept {
    how_ = how;
    ended_ = true;
  }
  // False: it was answered at once.
  bool list(scheduler& here, wait_node& who, time_point deadline) {
    waiter_ = make_counted<waiter_type>(state_, std::move(what_));
    waiter_->home = &here;
    waiter_->abandon = &on_abandon;
    here.arm(who, deadline);  // which may throw: nobody has been told yet
    disarm_unless_listed armed{here, who};
    const std::lock_guard guard(state_->lock);
    if constexpr (domain::across_threads) {
      if (state_->try_now(waiter_->what)) {
        waiter_->granted = true;
        end(wait_end::granted);
        return false;
      }
    }
    others_.begin(here);
    waiter_->node = &who;
    who.waiting_on = waiter_.get();
    state_->begin_wait(waiter_->what).push_back(*waiter_);
    armed.listed = true;
    return true;
  }
  EVENTER_NOINLINE void wait_in_coroutine(scheduler& here) {
    wait_node& me = *here.running();
    if constexpr (Kind == wait_kind::cancellable) {
      here.operation_waited();
      if (list(here, me, here.within_scope(here.resolve(limit_)))) conclude(here.park());
    } else {
      const cancel_shield waits;
      time_point deadline = here.resolve(limit_);
      while (!ended_) {
        if (list(here, me, deadline)) conclude(here.park());
        if (how_ != wait_end::canceled) return;
        // The loop is being destroyed, and so is, sooner or later, whoever holds the lock.
        if (here.unwinding_is_stuck()) return;
        ended_ = false;
        what_ = std::move(waiter_->what);
      }
    }
  }
  void wait_on_thread() {
    waiting_thread me;
    waiter_ = make_counted<waiter_type>(state_, std::move(what_));
    waiter_->thread = &me;
    {
      const std::lock_guard guard(state_->lock);
      if (state_->try_now(waiter_->what)) {
        waiter_->granted = true;
        return end(wait_end::granted);
      }
      state_->begin_wait(waiter_->what).push_back(*waiter_);
    }
    me.wait(limit_.resolve(clock::now()));
    const std::lock_guard guard(state_->lock);
    unlist();
    end(waiter_->granted ? wait_end::granted : wait_end::timed_out);
  }

  // It was woken, for whatever reason: what counts is whether it was granted before.
  void conclude(wake_reason reason) {
    others_.end();
    const std::lock_guard guard(state_->lock);
    waiter_->node = nullptr;
    if (waiter_->granted) return end(wait_end::granted);
    end(reason == wake_reason::timed_out ? wait_end::timed_out : wait_end::canceled);
  }
  static void on_abandon(wait_source& source, wait_node&) noexcept {
    auto& self = static_cast<waiter_type&>(source);
    const std::lock_guard guard(self.of->lock);
    self.node = nullptr;
    if (self.in == nullptr) return;
    self.in->remove(self);
    self.of->left(self.what);
  }
  // Under the lock.
  void unlist() {
    if (waiter_->in == nullptr) return;
    waiter_->in->remove(*waiter_);
    state_->left(waiter_->what);
  }
  // Nobody will ask for the result: it goes to somebody else.
  void give_up() noexcept {
    if (!state_ || taken_) return;
    taken_ = true;
    const std::lock_guard guard(state_->lock);
    if (waiter_ ? waiter_->granted : (ended_ && how_ == wait_end::granted))
      state_->take_back(waiter_ ? waiter_->what : what_);
    else if (waiter_)
      unlist();
  }

  counted_ptr<State> state_;
  request what_;
  time_limit limit_;
  counted_ptr<waiter_type> waiter_;
  wait_for_others<domain> others_;
  wait_end how_ = wait_end::canceled;
  bool ended_ = false, taken_ = false, in_coroutine_ = false, gave_way_ = false;
};

// A wait that answers nothing but whether it was granted.
template <class State>
class plain_wait : public sync_wait<State> {
 public:
  using sync_wait<State>::sync_wait;
  io_result<void> result() {
    if (const std::error_code error = this->error()) return error;
    (void)this->answer();
    return {};
  }
};

// The same for a caller who gave no time limit and expects no error: what comes in spite of that is thrown.
template <class Operation>
void wait_without_limit(Operation&& what, const char* sentence) {
  what.block();
  if (const io_result<void> done = what.result(); !done) throw_error(done.error(), sentence);
}
template <class Operation>
io_result<void> wait_with_limit(Operation&& what) {
  what.block();
  return what.result();
}

}  // namespace eventer::inline EVENTER_ABI::detail
