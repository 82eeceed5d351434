// Cancellation: the exception that unwinds a cancelled coroutine, and the scope in which it is not delivered.
#pragma once

#include "eventer/coro/scheduler.hpp"

namespace eventer::inline EVENTER_ABI {

// While one lives, no cancellation is delivered to this coroutine: its awaits wait as if nobody had asked. Nests. Lives
// on the coroutine's own stack, and only there.
class cancel_shield {
 public:
  cancel_shield() noexcept : block_(scheduler::running_block()) {
    if (block_ == nullptr) return;
    outer_ = block_->has(coroutine_flag::shielded);
    block_->set(coroutine_flag::shielded);
  }
  cancel_shield(const cancel_shield&) = delete;
  cancel_shield& operator=(const cancel_shield&) = delete;
  ~cancel_shield() {
    if (block_ != nullptr && !outer_) block_->clear(coroutine_flag::shielded);
  }

 private:
  control_block* block_;
  bool outer_ = false;
};

}  // namespace eventer::inline EVENTER_ABI
