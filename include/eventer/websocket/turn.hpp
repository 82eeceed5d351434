// turn: whose turn it is to write, among the coroutines of a loop, first come first served. A mutex that takes nothing
// while nobody waits for it, and for which one waits no longer than a cancellation or a deadline_scope allows.
#pragma once

#include <cstdint>
#include <memory>
#include <system_error>

#include "eventer/coro/sync/semaphore.hpp"

namespace eventer::inline EVENTER_ABI::http::detail {

class turn {
 public:
  bool try_get() noexcept {
    if (taken_) return false;
    return taken_ = true;
  }
  // Errors: timed_out; operation_canceled where `cancelled` can't be thrown. It is not got then.
  std::error_code get(time_point until = no_deadline) { return try_get() ? std::error_code() : wait(until); }
  // Never waits; from callbacks too. Requires: it was got.
  void give() {
    if (waiting_ > 0) return queue_->release();  // it stays taken: by whoever has waited longest
    queue_.reset();
    taken_ = false;
  }
  bool is_waited_for() const noexcept { return waiting_ > 0; }

 private:
  EVENTER_NOINLINE std::error_code wait(time_point until) {
    if (queue_ == nullptr) queue_ = std::make_unique<semaphore>(0);
    struct counted {
      turn& self;
      bool has_it = false;
      explicit counted(turn& t) noexcept : self(t) { ++self.waiting_; }
      counted(const counted&) = delete;
      counted& operator=(const counted&) = delete;
      ~counted() {
        --self.waiting_;
        // It was this one's turn already when it was cancelled, and is nobody else's now.
        if (!has_it && self.waiting_ == 0 && self.queue_->try_acquire()) self.give();
      }
    } mine(*this);
    const io_result<void> got = queue_->acquire_for(until);
    mine.has_it = got.has_value();
    return got ? std::error_code() : got.error();
  }

  std::unique_ptr<semaphore> queue_;
  std::uint32_t waiting_ = 0;
  bool taken_ = false;
};

}  // namespace eventer::inline EVENTER_ABI::http::detail
