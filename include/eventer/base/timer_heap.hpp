// timer_heap: deadlines in a four-ary heap; arm, cancel and take the earliest in O(log n), 16 bytes a timer, no
// allocation each.
//
// Each timer owner holds a timer_node with its place in the heap, so that a cancelled timer is gone at once and cannot
// pile up.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <type_traits>
#include <utility>

#include "eventer/base/clock.hpp"

namespace eventer::inline EVENTER_ABI {

struct timer_node {
  std::uint32_t place = 0;  // 1-based place in the heap; 0: not armed
  bool armed() const noexcept { return place != 0; }
};

class timer_heap {
 public:
  timer_heap() noexcept = default;
  timer_heap(const timer_heap&) = delete;
  timer_heap& operator=(const timer_heap&) = delete;
  ~timer_heap() { release(slots_); }

  bool empty() const noexcept { return end_ == root; }
  std::size_t size() const noexcept { return end_ - root; }
  // Requires: not empty.
  time_point earliest() const noexcept { return slots_[root].deadline; }

  // Requires: `node` is not armed, and stays where it is until it has fired or was cancelled. Throws std::bad_alloc.
  void arm(timer_node& node, time_point deadline) {
    if (EVENTER_UNLIKELY(end_ >= capacity_)) resize(capacity_ == 0 ? 64 : std::size_t{capacity_} * 2);
    sift_up(end_++, {deadline, &node});
  }

  void cancel(timer_node& node) noexcept {
    if (!node.armed()) return;
    const std::uint32_t hole = node.place;
    node.place = 0;
    const entry last = slots_[--end_];
    if (hole != end_) {
      // Compared with what goes, not with the parent, which would be one more line from memory.
      if (last.deadline < slots_[hole].deadline)
        sift_up(hole, last);
      else
        sift_down(hole, last);
    }
    if (EVENTER_UNLIKELY(capacity_ > 4096 && end_ * 8 < capacity_)) shrink();
  }

  // Disarms and answers the earliest timer if its deadline is at or before `now`; nullptr otherwise.
  timer_node* take_expired(time_point now) noexcept {
    if (empty() || slots_[root].deadline > now) return nullptr;
    timer_node* const node = slots_[root].node;
    cancel(*node);
    return node;
  }

 private:
  struct entry {
    time_point deadline;
    timer_node* node;
  };
  static_assert(std::is_trivially_copyable_v<entry>);
  // The root is in slot 3, so that four siblings fill one cache line: LaMarca, Ladner, "The influence of caches on the
  // performance of heaps", 1996.
  static constexpr std::uint32_t root = 3;
  static constexpr std::uint32_t parent_of(std::uint32_t slot) noexcept { return slot / 4 + 2; }
  static constexpr std::uint32_t first_child_of(std::uint32_t slot) noexcept { return slot * 4 - 8; }

  void place(std::uint32_t slot, const entry& value) noexcept {
    slots_[slot] = value;
    value.node->place = slot;
  }
  void sift_up(std::uint32_t slot, const entry moving) noexcept {
    while (slot != root) {
      const std::uint32_t parent = parent_of(slot);
      if (!(moving.deadline < slots_[parent].deadline)) break;
      place(slot, slots_[parent]);
      slot = parent;
    }
    place(slot, moving);
  }
  void sift_down(std::uint32_t slot, const entry moving) noexcept {
    for (;;) {
      const std::uint32_t first = first_child_of(slot);
      if (first >= end_) break;
      const std::uint32_t end = first + 4 < end_ ? first + 4 : end_;
      std::uint32_t least = first;
      for (std::uint32_t child = first + 1; child < end; ++child)
        if (slots_[child].deadline < slots_[least].deadline) least = child;
      if (!(slots_[least].deadline < moving.deadline)) break;
      place(slot, slots_[least]);
      slot = least;
    }
    place(slot, moving);
  }

  static constexpr std::align_val_t line{64};
  static void release(entry* slots) noexcept { ::operator delete(slots, line); }
  EVENTER_NOINLINE void resize(std::size_t capacity) {
    if (capacity > UINT32_MAX) capacity = SIZE_MAX / sizeof(entry);  // more than any machine has: bad_alloc
    auto* const moved = static_cast<entry*>(::operator new(capacity * sizeof(entry), line));
    if (slots_ != nullptr) std::memcpy(moved + root, slots_ + root, (end_ - root) * sizeof(entry));
    release(std::exchange(slots_, moved));
    capacity_ = static_cast<std::uint32_t>(capacity);
  }
  // Gives memory back that a peak has left behind.
  EVENTER_NOINLINE void shrink() noexcept {
#if EVENTER_EXCEPTIONS
    try {
      resize(capacity_ / 4);
    } catch (...) {  // no memory to become smaller: nothing is lost by staying
    }
#else
    resize(capacity_ / 4);
#endif
  }

  entry* slots_ = nullptr;
  std::uint32_t end_ = root;
  std::uint32_t capacity_ = 0;
};

}  // namespace eventer::inline EVENTER_ABI
