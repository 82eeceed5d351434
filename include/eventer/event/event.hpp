// event: a handle to a classic event, a callback that the loop calls when a descriptor is ready, at a time, or each
// turn.
//
// The callback's state is on the heap, owned by the loop for as long as the event is active and by the handle.
// Callbacks run on the loop's native stack, where nothing may block. What must not be broken: an event is asked whether
// it is active right before each call, so that one which removes itself, or another of the same batch, is never called
// again.
#pragma once

#include <atomic>
#include <exception>
#include <memory>
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
    release();
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
  // Holds a state for the time of a call, in which it may be stopped.
  class held {
   public:
    explicit held(event_state& state) noexcept : state_(state) { state.hold(); }
    held(const held&) = delete;
    held& operator=(const held&) = delete;
    ~held() { state_.release(); }

   private:
    event_state& state_;
  };

 protected:
  virtual ~event_state() = default;
  virtual std::error_code begin() = 0;
  virtual void end() noexcept = 0;
  virtual bool holds_loop() const noexcept { return true; }

  scheduler& loop_;
  event_registry& registry_;

 private:
  std::atomic<unsigned> owners_{1};
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
        continuation(&always_ready),
        find_(find),
        fd_(fd),
        function_(std::forward<F>(function)) {
    interest = wanted;
    on_ready = [](watcher& self, io_mask ready) { static_cast<watch_event&>(self).call(ready); };
    on_lost = [](watcher& self, std::error_code error) {
      log(log_level::error, "a watched descriptor can't be watched any more (was it closed before its event?): %s",
          error.message().c_str());
      static_cast<watch_event&>(self).stop();
    };
  }

  void set_interest(io_mask wanted) override {
    interest = wanted;
    if (file_)
      queue();
    else if (any(wanted))
      (void)on_->arm();
  }

 private:
  std::error_code begin() override {
    on_ = find_(loop_, fd_);
    const std::error_code error = on_->watch(*this);
    if (error != std::errc::operation_not_permitted) return error;
    file_ = true;  // a file or a device that is always ready: it is called once a turn
    queue();
    return {};
  }
  void end() noexcept override {
    on_->unwatch(*this);
    scheduler::forget(*this);
  }
  void call(io_mask ready) {
    if (!active()) return stop();
    const held alive(*this);
    const io_mask wanted = function_(ready);
    if (!active()) return;
    if (!any(wanted & (io_mask::read | io_mask::write | io_mask::error))) return stop();
    interest = wanted;
  }

  void queue() {
    if (!any(interest) || has(node_flag::queued)) return;
    loop_.attach(*this);
    loop_.make_ready(*this, wake_reason::ready);
  }
  static void always_ready(continuation& who) {
    auto& self = static_cast<watch_event&>(who);
    if (who.wake == wake_reason::canceled) return self.stop();
    const held alive(self);
    self.call(self.interest & (io_mask::read | io_mask::write));
    if (self.active()) self.queue();
  }

  const finder find_;
  const int fd_;
  foreign_descriptor* on_ = nullptr;
  std::decay_t<F> function_;
  bool file_ = false;
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
        function_(std::forward<F>(function)) {}

 private:
  std::error_code begin() override {
    loop_.attach(*this);
    loop_.arm(*this, when_);
    return {};
  }
  void end() noexcept override { scheduler::forget(*this); }

  static void on_time(continuation& who) {
    auto& self = static_cast<timer_event&>(who);
    if (!self.active() || who.wake == wake_reason::canceled) return self.stop();
    const held alive(self);
    if (self.period_ == duration::zero())
      self.stop();
    else
      self.arm_next();  // before the call: it may throw, or stop the event
    self.function_();
  }
  // Ticks that were missed are one tick, and the rhythm stays.
  void arm_next() {
    const time_point now = loop_.now();
    when_ += period_;
    if (when_ <= now) when_ += period_ * ((now - when_) / period_ + 1);
    loop_.attach(*this);
    loop_.arm(*this, when_);
  }

  time_point when_;
  const duration period_;  // zero: once
  std::decay_t<F> function_;
};

// Called once in every turn of the loop; it neither keeps the loop alive nor awake.
class turn_event : public event_state {
 public:
  turn_event(scheduler& loop, event_registry& registry) noexcept : event_state(loop, registry) {}
  static void call_all(event_registry& registry) {
    for (event_state* each = registry.first_turn; each != nullptr;) {
      auto& self = static_cast<turn_event&>(*each);
      const held alive(self);
      if (self.active())
        self.call();
      else
        self.stop();
      each = self.next_turn_;  // what was stopped meanwhile keeps its way on
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
      : turn_event(loop, registry), function_(std::forward<F>(function)) {}

 private:
  void call() override { function_(); }
  std::decay_t<F> function_;
};

}  // namespace detail

// What event_loop::watch, at, after, every and each_turn give. Dropping it leaves the event running. Any thread may use
// it; from others than the loop's the loop acts at its next turn.
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
