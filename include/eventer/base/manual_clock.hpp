// manual_clock: time that moves when it is told to, for tests. A loop made with it (loop_options::clock) fires its
// timers and time limits by it, so that a test of a ten-second timeout takes no time and gives the same result every
// time.
//
//   eventer::manual_clock time;                      // jumps to the next deadline when its loop has nothing else to do
//   eventer::event_loop loop({.clock = &time});
//
// It knows nothing of real descriptors: a loop looks at them once, without waiting, before time jumps.
#pragma once

#include <atomic>
#include <mutex>
#include <vector>

#include "eventer/base/clock.hpp"

namespace eventer::inline EVENTER_ABI {

class manual_clock {
 public:
  // What happens when a loop of this clock has nothing to do but to wait for a time.
  enum class when_idle {
    jump,  // the clock goes to that time
    wait,  // the loop waits for advance()
  };

  // Begins an hour after the epoch, so that "an hour ago" is a time too.
  explicit manual_clock(when_idle idle = when_idle::jump) noexcept : idle_(idle) {}
  manual_clock(const manual_clock&) = delete;
  manual_clock& operator=(const manual_clock&) = delete;

  time_point now() const noexcept { return time_point(duration(now_.load(std::memory_order_acquire))); }
  bool jumps_when_idle() const noexcept { return idle_ == when_idle::jump; }

  // Any thread. Timers whose time has come with it fire in the next turns of the clock's loops, in the order of their
  // deadlines. A negative duration is none: the clock is steady.
  void advance(duration by) {
    if (by > duration::zero()) now_.fetch_add(by.count(), std::memory_order_acq_rel);
    wake_all_but(nullptr);
  }
  // The same, to a time. Never backwards.
  void advance_to(time_point when) { advance_to(when, nullptr); }

  // --- for loops ---

  // For one that jumps, and hears of it by itself.
  void advance_to(time_point when, const void* loop) {
    duration::rep present = now_.load(std::memory_order_relaxed);
    while (present < when.time_since_epoch().count() &&
           !now_.compare_exchange_weak(present, when.time_since_epoch().count(), std::memory_order_acq_rel)) {
    }
    wake_all_but(loop);
  }
  struct listener {
    void* loop;
    void (*wake)(void* loop);
  };
  void attach(listener who) {
    const std::lock_guard lock(mutex_);
    listeners_.push_back(who);
  }
  void detach(const void* loop) noexcept {
    const std::lock_guard lock(mutex_);
    for (std::size_t i = listeners_.size(); i-- > 0;)
      if (listeners_[i].loop == loop) listeners_.erase(listeners_.begin() + static_cast<std::ptrdiff_t>(i));
  }

 private:
  void wake_all_but(const void* loop) {
    const std::lock_guard lock(mutex_);
    for (const listener& each : listeners_)
      if (each.loop != loop) each.wake(each.loop);
  }

  std::atomic<duration::rep> now_{duration(std::chrono::hours(1)).count()};
  const when_idle idle_;
  std::mutex mutex_;
  std::vector<listener> listeners_;
};

}  // namespace eventer::inline EVENTER_ABI
