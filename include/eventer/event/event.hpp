// event: a handle to a classic event, a callback that the loop calls when a descriptor is ready, at a time, or each
// turn.
//
// The state is on the heap, owned by the loop for as long as the event is active and by the handle; the callback itself
// is destroyed when the event has ended, so that it may own the handle. Callbacks run on the loop's native stack, where
// nothing may block. What must not be broken: an event is asked whether it is active right before each call, so that
// one which removes itself, or another of the same batch, is never called again.
#pragma once

#include <atomic>
#include <exception>
#include <memory>
#include <optional>
#include <utility>

#include "eventer/base/log.hpp"
#include "eventer/coro/scheduler.hpp"
#include "eventer/event/foreign_descriptor.hpp"

namespace eventer::inline EVENTER_ABI {

namespace detail {

class event_state;

// The active events of a loop.
struct event_registry {
  event_state* first = nullptr;
  std::size_t holding = 0;            // that keep run() from returning
  event_state* first_turn = nullptr;  // of those that are called each turn
  event_state* next_turn = nullptr;   // which of them is called next; nullptr: all were called
};

class event_state {
 public:
  event_state(scheduler& loop, event_registry& registry) noexcept : loop_(loop), registry_(registry) {}
  event_state(const event_state&) = delete;
  event_state& operator=(const event_state&) = delete;

  // On the loop's thread: begins. Errors leave it inactive.
  std::error_code start() {
    if (!active()) return {};  // cancelled before it began
    const std::error_code error = begin();
    if (error) {
      active_.store(false, std::memory_order_relaxed);
      return error;
    }
    next_ = registry_.first;
    link_ = &registry_.first;
    if (next_ != nullptr) next_->link_ = &next_;
    registry_.first = this;
    if (holds_loop()) ++registry_.holding;
    hold();
    ++users_;
    return {};
  }
  // On the loop's thread: ends it, now and for good.
  void stop() noexcept {
    active_.store(false, std::memory_order_relaxed);
    if (link_ == nullptr) return;
    *link_ = next_;
    if (next_ != nullptr) next_->link_ = link_;
    link_ = nullptr;
    if (holds_loop()) --registry_.holding;
    end();
    let_function_go();
  }
  // On the loop's thread, when there was the chance to begin: the loop may have ended first.
  void end_unless_begun() noexcept {
    if (users_ > 0) return;
    deactivate();
    destroy_function();
  }
  // Any thread: it is not called any more after the call that may be in progress.
  void deactivate() noexcept { active_.store(false, std::memory_order_relaxed); }
  bool active() const noexcept { return active_.load(std::memory_order_relaxed); }
  scheduler& loop() const noexcept { return loop_; }

  virtual void set_interest(io_mask) {}

  void hold() noexcept { owners_.fetch_add(1, std::memory_order_relaxed); }
  void release() noexcept {
    if (owners_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
  }
  // Holds an active event's function and state for the time of a call, in which it may be stopped.
  class held {
   public:
    explicit held(event_state& state) noexcept : state_(state) { ++state.users_; }
    held(const held&) = delete;
    held& operator=(const held&) = delete;
    ~held() { state_.let_function_go(); }

   private:
    event_state& state_;
  };

 protected:
  virtual ~event_state() = default;
  virtual std::error_code begin() = 0;
  virtual void end() noexcept = 0;
  virtual bool holds_loop() const noexcept { return true; }
  virtual void destroy_function() noexcept = 0;

  scheduler& loop_;
  event_registry& registry_;

 private:
  void let_function_go() noexcept {
    if (--users_ > 0) return;
    destroy_function();  // which may drop the handle
    release();
  }

  std::atomic<unsigned> owners_{1};
  unsigned users_ = 0;  // of the function: the registry, and the calls in progress; together they are one owner
  std::atomic<bool> active_{true};
  event_state* next_ = nullptr;
  event_state** link_ = nullptr;  // nullptr: not in the registry
};

// Called when a descriptor is ready, with level semantics.
template <class F>
class watch_event final : public event_state, foreign_descriptor::watcher, continuation {
 public:
  using finder = foreign_descriptor* (*)(scheduler& loop, int fd);

  watch_event(scheduler& loop, event_registry& registry, finder find, int fd, io_mask wanted, F&& function)
      : event_state(loop, registry),
        continuation(&on_turn),
        find_(find),
        fd_(fd),
        function_(std::in_place, std::forward<F>(function)) {
    interest = wanted;
    on_ready = [](watcher& self, io_mask ready) { static_cast<watch_event&>(self).call(ready); };
    on_lost = [](watcher& self, std::error_code error) {
      log(log_level::error, "a watched descriptor can't be watched any more (was it closed before its event?): %s",
          error.message().c_str());
      static_cast<watch_event&>(self).stop();
    };
  }

  void set_interest(io_mask wanted) override {
    on_ = find_(loop_, fd_);  // the same, or, in a forked child, an exception
    interest = wanted;
    if (const std::error_code error = on_->watch(*this))
      on_lost(*this, error);
    else
      queue();
  }

 private:
  std::error_code begin() override {
    on_ = find_(loop_, fd_);
    if (on_ == nullptr) return std::make_error_code(std::errc::bad_file_descriptor);
    const std::error_code error = on_->watch(*this);
    if (!error) queue();
    return error;
  }
  void end() noexcept override {
    on_->unwatch(*this);
    scheduler::forget(*this);
  }
  void destroy_function() noexcept override { function_.reset(); }
  void call(io_mask ready) {
    if (!active()) return stop();
    const held alive(*this);
    const io_mask wanted = (*function_)(ready);
    if (!active()) return;
    if (!any(wanted & (io_mask::read | io_mask::write | io_mask::error))) return stop();
    interest = wanted;
  }

  // A file or a device that is always ready is called once a turn: by a timer that is due, as a place in the ready
  // queue would come round many times before anybody else is looked at.
  void queue() {
    if (!always_ready || !any(interest & (io_mask::read | io_mask::write)) || home != nullptr) return;
    loop_.attach(*this);
    loop_.arm(*this, loop_.now());
  }
  static void on_turn(continuation& who) {
    auto& self = static_cast<watch_event&>(who);
    const bool ends = who.wake == wake_reason::canceled || self.loop_.stopping();
    scheduler::forget(self);
    if (ends) return self.stop();
    const io_mask ready = self.interest & (io_mask::read | io_mask::write);
    self.queue();  // before the call: it may throw, or stop the event
    if (any(ready)) self.call(ready);
  }

  const finder find_;
  const int fd_;
  foreign_descriptor* on_ = nullptr;
  std::optional<std::decay_t<F>> function_;
};

// Called at a time, once or again and again.
template <class F>
class timer_event final : public event_state, continuation {
 public:
  timer_event(scheduler& loop, event_registry& registry, time_point when, duration period, F&& function)
      : event_state(loop, registry),
        continuation(&on_time),
        when_(when),
        period_(period),
        function_(std::in_place, std::forward<F>(function)) {}

 private:
  std::error_code begin() override {
    loop_.attach(*this);
    loop_.arm(*this, when_);
    return {};
  }
  void end() noexcept override { scheduler::forget(*this); }
  void destroy_function() noexcept override { function_.reset(); }

  static void on_time(continuation& who) {
    auto& self = static_cast<timer_event&>(who);
    if (!self.active() || who.wake == wake_reason::canceled || self.loop_.stopping()) return self.stop();
    const held alive(self);
    if (self.period_ == duration::zero())
      self.stop();
    else
      self.arm_next();  // before the call: it may throw, or stop the event
    (*self.function_)();
  }
  // Ticks that were missed are one tick, and the rhythm stays.
  void arm_next() {
    const time_point now = loop_.now();
    when_ = deadline_after(when_, period_);
    if (when_ <= now) when_ = deadline_after(when_, period_ * ((now - when_) / period_ + 1));
    loop_.attach(*this);
    loop_.arm(*this, when_);
  }

  time_point when_;
  const duration period_;  // zero: once
  std::optional<std::decay_t<F>> function_;
};

// Called once in every turn of the loop; it neither keeps the loop alive nor awake.
class turn_event : public event_state {
 public:
  turn_event(scheduler& loop, event_registry& registry) noexcept : event_state(loop, registry) {}
  static void call_all(event_registry& registry) {
    // After an exception it goes on where that left it, so that one which throws can't keep the others from their turn.
    if (registry.next_turn == nullptr) registry.next_turn = registry.first_turn;
    while (registry.next_turn != nullptr) {
      auto& self = static_cast<turn_event&>(*registry.next_turn);
      registry.next_turn = self.next_turn_;
      const held alive(self);
      if (self.active())
        self.call();
      else
        self.stop();
    }
  }

 protected:
  virtual void call() = 0;

 private:
  std::error_code begin() override {
    next_turn_ = registry_.first_turn;
    registry_.first_turn = this;
    return {};
  }
  void end() noexcept override {
    if (registry_.next_turn == this) registry_.next_turn = next_turn_;
    for (event_state** link = &registry_.first_turn; *link != nullptr;
         link = &static_cast<turn_event*>(*link)->next_turn_)
      if (*link == this) {
        *link = next_turn_;
        return;
      }
  }
  bool holds_loop() const noexcept override { return false; }

  event_state* next_turn_ = nullptr;
};

template <class F>
class typed_turn_event final : public turn_event {
 public:
  typed_turn_event(scheduler& loop, event_registry& registry, F&& function)
      : turn_event(loop, registry), function_(std::in_place, std::forward<F>(function)) {}

 private:
  void call() override { (*function_)(); }
  void destroy_function() noexcept override { function_.reset(); }
  std::optional<std::decay_t<F>> function_;
};

}  // namespace detail

// What event_loop::watch, at, after, every and each_turn give. Dropping it leaves the event running. Any thread may use
// it; from others than the loop's the loop acts at its next turn. Where a loop is made on one thread to be run on
// another, its maker uses its events before the other thread is started, or posts.
class event {
 public:
  event() noexcept = default;
  event(event&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
  event& operator=(event&& other) noexcept {
    std::swap(state_, other.state_);
    return *this;
  }
  ~event() {
    if (state_ != nullptr) state_->release();
  }

  // Ends it: on the loop's thread its callback is not called any more, also not for what has been reported already;
  // from other threads one call may still be in progress. Harmless for one that has ended. Requires: the loop lives.
  void cancel() {
    if (state_ == nullptr || !state_->active()) return;
    state_->deactivate();
    on_loop([](detail::event_state& state) { state.stop(); });
  }
  // What a watched descriptor is watched for from now on; none: for nothing, until it is set again.
  void set_interest(io_mask interest) {
    if (state_ == nullptr || !state_->active()) return;
    on_loop([interest](detail::event_state& state) {
      if (state.active()) state.set_interest(interest);
    });
  }
  // False once it was cancelled, released by its callback, or has fired for the only time.
  bool active() const noexcept { return state_ != nullptr && state_->active(); }

  // For the loop: shares `state`.
  explicit event(detail::event_state& state) noexcept : state_(&state) {}

  struct released {
    void operator()(detail::event_state* state) const noexcept { state->release(); }
  };
  struct begun_or_ended {
    void operator()(detail::event_state* state) const noexcept {
      state->end_unless_begun();
      state->release();
    }
  };

 private:
  template <class F>
  void on_loop(F&& function) {
    if (state_->loop().is_on_this_thread()) return function(*state_);
    state_->hold();
    state_->loop().post([state = std::unique_ptr<detail::event_state, released>(state_),
                         function = std::forward<F>(function)] { function(*state); });
  }
  detail::event_state* state_ = nullptr;
};

}  // namespace eventer::inline EVENTER_ABI
