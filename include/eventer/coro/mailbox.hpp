// mailbox: where other threads leave messages for a loop that may have ended by then.
//
// It outlives its loop until every message that the loop expects has been delivered, or has found it closed: the loop
// counts them, so that a delivery costs two atomic additions on a line that the loop does not touch. What must not be
// broken: the loop closes it before anything that a delivery touches is destroyed.
#pragma once

#include <sched.h>

#include <atomic>
#include <cstdint>

#include "eventer/coro/post_queue.hpp"

namespace eventer::inline EVENTER_ABI {

// `Loop` has post_message(); the scheduler.
template <class Loop>
class basic_mailbox {
 public:
  explicit basic_mailbox(Loop& loop) noexcept : loop_(loop) {}
  basic_mailbox(const basic_mailbox&) = delete;
  basic_mailbox& operator=(const basic_mailbox&) = delete;

  // --- the loop's thread ---

  // One message more will be delivered, or has been, or will not any more.
  void expect() noexcept { ++expected_; }
  void no_longer_expected() noexcept { --expected_; }
  // From now on nothing comes. Waits for deliveries in progress, which take some instructions and a write.
  void close() noexcept {
    deliveries_.fetch_or(closed, std::memory_order_release);  // whoever comes too late sees what was done before
    while (deliveries_.load(std::memory_order_acquire) != closed) ::sched_yield();
  }
  // After close(), when all that came has been taken: it goes with the last message that is expected still.
  void leave() noexcept {
    const std::int64_t left = expected_;  // read before: once they are told, the last of them deletes this
    if (too_late_.fetch_add(left, std::memory_order_acq_rel) + left == 0) delete this;
  }

  // --- any thread ---

  // Once for each message that is expected. False: the loop has ended, the message is the caller's still, and the
  // mailbox is gone perhaps.
  bool deliver(post_queue::message& what) noexcept {
    const bool open = (deliveries_.fetch_add(one, std::memory_order_acquire) & closed) == 0;
    if (EVENTER_LIKELY(open)) loop_.post_message(what);
    deliveries_.fetch_sub(one, std::memory_order_release);
    if (EVENTER_LIKELY(open)) return true;
    if (too_late_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
    return false;
  }

 private:
  static constexpr std::uint32_t closed = 1, one = 2;

  Loop& loop_;
  std::int64_t expected_ = 0;
  // Those that come too late count down, perhaps before leave() says how many there are.
  std::atomic<std::int64_t> too_late_{0};
  alignas(64) std::atomic<std::uint32_t> deliveries_{0};
};

}  // namespace eventer::inline EVENTER_ABI
