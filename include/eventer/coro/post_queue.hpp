// post_queue: functions that other threads hand to a loop. Many producers push without a lock; the loop takes all of
// them at once.
//
// The producer that finds the loop announced as asleep, and no other, has to wake it: at most one system call a sleep,
// none while the loop is awake.
#pragma once

#include <atomic>
#include <type_traits>
#include <utility>

#include "eventer/base/config.hpp"

namespace eventer::inline EVENTER_ABI {

class post_queue {
 public:
  struct message {
    message* next = nullptr;
    // Runs the function if `run`, and destroys it in either case.
    void (*finish)(message*, bool run) = nullptr;
  };

  post_queue() = default;
  post_queue(const post_queue&) = delete;
  post_queue& operator=(const post_queue&) = delete;
  ~post_queue() { discard(); }

  struct not_looked_at {
    template <class F>
    void operator()(const F&) const noexcept {}
  };
  // Any thread. `look` sees the function where it stays, before it is published. True if the caller has to wake the
  // consumer.
  template <class F, class Look = not_looked_at>
  bool push(F&& function, Look look = {}) {
    struct typed : message {
      explicit typed(F&& f) : callable(std::forward<F>(f)) {}
      std::decay_t<F> callable;
    };
    auto* const node = new typed(std::forward<F>(function));
    node->finish = [](message* base, bool run) {
      auto* const self = static_cast<typed*>(base);
      struct destroy_at_end {
        typed* node;
        ~destroy_at_end() { delete node; }
      } guard{self};
      if (run) self->callable();
    };
    look(std::as_const(node->callable));
    return push(static_cast<message&>(*node));
  }
  bool push(message& which) noexcept {
    message* head = head_.load(std::memory_order_relaxed);
    do which.next = head;
    while (!head_.compare_exchange_weak(head, &which, std::memory_order_seq_cst, std::memory_order_relaxed));
    return asleep_.load(std::memory_order_seq_cst) && asleep_.exchange(false, std::memory_order_seq_cst);
  }

  // The consumer is about to block. False if it must not: something has been posted, or is left from before.
  bool announce_sleep() noexcept {
    // An exchange, where a store would do: qemu-user 7.2 lets AArch64's `stlr` pass a later `ldar`, which the
    // architecture does not, and a loop slept beside its mail (docs/testing.md). On x86-64 both are one xchg.
    (void)asleep_.exchange(true, std::memory_order_seq_cst);
    if (taken_ == nullptr && head_.load(std::memory_order_seq_cst) == nullptr) return true;
    announce_awake();
    return false;
  }
  void announce_awake() noexcept { asleep_.store(false, std::memory_order_relaxed); }

  bool empty() const noexcept { return head_.load(std::memory_order_relaxed) == nullptr && taken_ == nullptr; }

  // The consumer: runs everything that was posted before the call, oldest first. If one throws, the rest stays queued.
  void run_all() {
    if (taken_ == nullptr) {
      if (EVENTER_LIKELY(head_.load(std::memory_order_relaxed) == nullptr)) return;
      taken_ = in_order(head_.exchange(nullptr, std::memory_order_acquire));
    }
    while (taken_ != nullptr) {
      message* const node = std::exchange(taken_, taken_->next);
      node->finish(node, true);
    }
  }

  // Destroys what is queued without running it.
  void discard() {
    for (;;) {
      message* node = std::exchange(taken_, nullptr);
      if (node == nullptr) node = in_order(head_.exchange(nullptr, std::memory_order_acquire));
      if (node == nullptr) return;
      while (node != nullptr) {
        message* const next = node->next;
        node->finish(node, false);
        node = next;
      }
    }
  }

 private:
  static message* in_order(message* newest) noexcept {
    message* oldest = nullptr;
    while (newest != nullptr) {
      message* const next = newest->next;
      newest->next = oldest;
      oldest = newest;
      newest = next;
    }
    return oldest;
  }

  std::atomic<message*> head_{nullptr};
  std::atomic<bool> asleep_{false};
  message* taken_ = nullptr;
};

}  // namespace eventer::inline EVENTER_ABI
