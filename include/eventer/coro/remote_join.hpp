// remote_join<R>: the outcome of a coroutine that another thread has spawned, shared by the spawning thread and the
// loop.
#pragma once

#include <atomic>
#include <exception>
#include <optional>
#include <type_traits>
#include <utility>

#include "eventer/coro/completion.hpp"

namespace eventer::inline EVENTER_ABI::detail {

struct void_value {};
template <class R>
using value_or_void = std::conditional_t<std::is_void_v<R>, void_value, typename result_of_reference<R>::type>;

class remote_join_base : public completion {
 public:
  explicit remote_join_base(const scheduler& target) noexcept : target_of_(&target) {}

  // Once it is done.
  outcome how() const noexcept { return outcome_; }
  std::exception_ptr take_exception() noexcept {
    taken_ = true;
    return exception_;
  }
  // Nobody is to hear of an exception.
  void keep_to_itself() noexcept { taken_ = true; }

  std::uint64_t id() const {
    const std::lock_guard lock(mutex_);
    return id_;
  }
  // On the loop's thread. True if it was cancelled before.
  bool started(scheduler& where, control_block& block) {
    const std::lock_guard lock(mutex_);
    id_ = block.id();
    target_ = &block;
    target_scheduler_ = &where;
    return cancel_requested_;
  }
  // Any thread. Under the lock, so that the target's loop can't end in between.
  void request_cancel() {
    const std::lock_guard lock(mutex_);
    cancel_requested_ = true;
    if (target_scheduler_ == nullptr) return;  // not started yet, or ended
    target_scheduler_->post([self = std::static_pointer_cast<remote_join_base>(shared_from_this())] {
      if (self->target_ != nullptr) scheduler::of(*self->target_).cancel(*self->target_);
    });
  }

  void fail(std::exception_ptr exception) { end(outcome::exception, std::move(exception)); }
  void end(outcome how, std::exception_ptr exception = nullptr) {
    complete([&] {
      outcome_ = how;
      exception_ = std::move(exception);
      target_ = nullptr;
      target_scheduler_ = nullptr;
    });
  }

 protected:
  // The last of both sides has gone.
  ~remote_join_base() override {
    if (outcome_ == outcome::exception && !taken_) log_not_taken(id_, exception_);
  }

 private:
  completed_by who_completes(const scheduler& here) const noexcept override {
    return target_of_ == &here ? completed_by::this_loop : completed_by::another_thread;
  }

  const scheduler* const target_of_;  // to be compared, not looked at: it may be gone
  outcome outcome_ = outcome::none;
  std::exception_ptr exception_;
  std::uint64_t id_ = 0;
  control_block* target_ = nullptr;
  scheduler* target_scheduler_ = nullptr;
  bool cancel_requested_ = false;
  std::atomic<bool> taken_{false};  // the handle's side has asked for the exception
};

template <class R>
class remote_join final : public remote_join_base {
 public:
  using remote_join_base::remote_join_base;
  std::optional<value_or_void<R>> value;
};

}  // namespace eventer::inline EVENTER_ABI::detail
