// mailbox: where other threads leave messages for a loop that may have ended by then.
//
// It outlives its loop for as long as somebody holds it. What must not be broken: the loop closes it before anything
// that a delivery touches is destroyed, and waits for those in progress; they take some instructions and a write.
#pragma once

#include <sched.h>

#include <atomic>

#include "eventer/base/counted_ptr.hpp"
#include "eventer/coro/post_queue.hpp"

namespace eventer::inline EVENTER_ABI {

// `Loop` has post_message(); the scheduler.
template <class Loop>
class basic_mailbox : public counted<std::atomic<std::uint32_t>> {
 public:
  explicit basic_mailbox(Loop& loop) noexcept : loop_(loop) {}

  // Any thread. False: the loop has ended, and the message is the caller's still.
  bool deliver(post_queue::message& what) noexcept {
    const bool open = (state_.fetch_add(one_delivery, std::memory_order_acquire) & closed) == 0;
    if (EVENTER_LIKELY(open)) loop_.post_message(what);
    state_.fetch_sub(one_delivery, std::memory_order_release);
    return open;
  }
  // The loop's thread, when it ends.
  void close() noexcept {
    state_.fetch_or(closed, std::memory_order_relaxed);
    while (state_.load(std::memory_order_acquire) != closed) ::sched_yield();
  }

 private:
  static constexpr std::uint32_t closed = 1, one_delivery = 2;

  Loop& loop_;
  std::atomic<std::uint32_t> state_{0};
};

}  // namespace eventer::inline EVENTER_ABI
