// connection_set: the connections of one server on one loop, so that they can be told to end: first those that are
// idle, then the rest.
//
// But for the count, it is used on its loop's thread. What must not be broken: a member lies where its connection's
// coroutine does not take it along, in that coroutine's closure.
#pragma once

#include <atomic>
#include <cstddef>

#include "eventer/coro/sync/manual_reset_event.hpp"
#include "eventer/event/event_loop.hpp"
#include "eventer/net/any_stream.hpp"

namespace eventer::inline EVENTER_ABI::detail {

class connection_set {
 public:
  explicit connection_set(event_loop& loop) noexcept : loop_(&loop) {}
  connection_set(const connection_set&) = delete;
  connection_set& operator=(const connection_set&) = delete;

  class member {
   public:
    member() noexcept = default;
    member(member&&) noexcept {}  // before it has entered

   private:
    friend class connection_set;
    control_block* block_ = nullptr;
    descriptor::idle_hold file_;
    member *next_ = nullptr, *previous_ = nullptr;
  };

  event_loop& loop() const noexcept { return *loop_; }

  // --- how many there are, with those that are on their way here; any thread ---

  void count_one() noexcept { open_.fetch_add(1); }
  void discount_one() {
    if (open_.fetch_sub(1) == 1) empty_.set();
  }
  std::size_t open() const noexcept { return open_.load(std::memory_order_relaxed); }

  // --- by the coroutine of a connection ---

  // False: all were cancelled already.
  EVENTER_NOINLINE bool enter(member& who, const any_stream& stream) noexcept {
    if (canceled_) return false;
    who.block_ = scheduler::running_block();
    who.file_.follow(*stream.file());
    if (draining_) stream.file()->begin_draining();
    if (ending_) stream.file()->end_when_idle();
    who.next_ = first_;
    if (who.next_ != nullptr) who.next_->previous_ = &who;
    first_ = &who;
    return true;
  }
  EVENTER_NOINLINE void leave(member& who) noexcept {
    (who.previous_ != nullptr ? who.previous_->next_ : first_) = who.next_;
    if (who.next_ != nullptr) who.next_->previous_ = who.previous_;
    (void)who.file_.let_go();
  }

  // --- ending them ---

  // They may learn from their streams that they should end.
  void begin_draining() noexcept {
    draining_ = true;
    for (member* each = first_; each != nullptr; each = each->next_)
      if (descriptor* const file = each->file_.held()) file->begin_draining();
  }
  // Ends idle connections at a time, cancels the rest at a second, and waits for their end. Returns: how many were
  // cancelled. `name` is for the log. Requires: a coroutine; no connection is added any more.
  std::size_t finish(time_point idle, time_point limit, const char* name) {
    if (wait_until_empty(idle)) return 0;
    ending_ = true;
    for (member* each = first_; each != nullptr; each = each->next_)
      if (descriptor* const file = each->file_.held()) file->end_when_idle();
    if (wait_until_empty(limit)) return 0;
    const std::size_t left = open_.load();
    cancel_all();
    if (!wait_until_empty(deadline_after(loop_->now(), farewell_time)))
      log(log_level::error, "%s: %zu connections do not end although they were cancelled", name, open_.load());
    return left;
  }
  void cancel_all() {
    canceled_ = true;
    for (member* each = first_; each != nullptr; each = each->next_) loop_->cancel(*each->block_);
  }

 private:
  static constexpr duration farewell_time = std::chrono::seconds(1);  // of those that were cancelled

  // False: not until then.
  bool wait_until_empty(time_point until) {
    while (open_.load() > 0) {
      empty_.reset();
      if (open_.load() > 0 && !empty_.wait(until)) return open_.load() == 0;
    }
    return true;
  }

  event_loop* loop_;
  std::atomic<std::size_t> open_{0};
  shared_event empty_{true};  // set whenever `open_` becomes 0
  member* first_ = nullptr;
  bool draining_ = false, ending_ = false, canceled_ = false;
};

}  // namespace eventer::inline EVENTER_ABI::detail
