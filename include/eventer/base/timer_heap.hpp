// timer_heap: deadlines in a four-ary heap; arm, cancel and take the earliest in O(log n), 16 bytes a timer, no
// allocation each.
//
// Each timer owner holds a timer_node with its place in the heap, so that a cancelled timer is gone at once and cannot
// pile up.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "eventer/base/clock.hpp"

namespace eventer::inline EVENTER_ABI {

struct timer_node {
  std::uint32_t place = 0;  // 1-based place in the heap; 0: not armed
  bool armed() const noexcept { return place != 0; }
};

class timer_heap {
 public:
  bool empty() const noexcept { return entries_.empty(); }
  std::size_t size() const noexcept { return entries_.size(); }
  // Requires: not empty.
  time_point earliest() const noexcept { return entries_.front().deadline; }

  // Requires: `node` is not armed, and stays where it is until it has fired or was cancelled.
  void arm(timer_node& node, time_point deadline) {
    entries_.push_back({deadline, &node});
    sift_up(entries_.size() - 1);
  }

  void cancel(timer_node& node) noexcept {
    if (!node.armed()) return;
    const std::size_t hole = node.place - 1;
    node.place = 0;
    const entry last = entries_.back();
    entries_.pop_back();
    if (hole == entries_.size()) return give_back_memory();
    place(hole, last);
    if (hole > 0 && last.deadline < entries_[(hole - 1) / 4].deadline)
      sift_up(hole);
    else
      sift_down(hole);
    give_back_memory();
  }

  // Disarms and answers the earliest timer if its deadline is at or before `now`; nullptr otherwise.
  timer_node* take_expired(time_point now) noexcept {
    if (empty() || entries_.front().deadline > now) return nullptr;
    timer_node* const node = entries_.front().node;
    cancel(*node);
    return node;
  }

 private:
  struct entry {
    time_point deadline;
    timer_node* node;
  };

  void place(std::size_t index, const entry& value) noexcept {
    entries_[index] = value;
    value.node->place = static_cast<std::uint32_t>(index + 1);
  }
  void sift_up(std::size_t index) noexcept {
    const entry moving = entries_[index];
    while (index > 0) {
      const std::size_t parent = (index - 1) / 4;
      if (!(moving.deadline < entries_[parent].deadline)) break;
      place(index, entries_[parent]);
      index = parent;
    }
    place(index, moving);
  }
  void sift_down(std::size_t index) noexcept {
    const entry moving = entries_[index];
    for (;;) {
      const std::size_t first = index * 4 + 1;
      if (first >= entries_.size()) break;
      const std::size_t end = first + 4 < entries_.size() ? first + 4 : entries_.size();
      std::size_t least = first;
      for (std::size_t child = first + 1; child < end; ++child)
        if (entries_[child].deadline < entries_[least].deadline) least = child;
      if (!(entries_[least].deadline < moving.deadline)) break;
      place(index, entries_[least]);
      index = least;
    }
    place(index, moving);
  }
  void give_back_memory() noexcept {
    if (EVENTER_LIKELY(entries_.capacity() <= 4096 || entries_.size() * 8 > entries_.capacity())) return;
#if EVENTER_EXCEPTIONS
    try {
      std::vector<entry> smaller;
      smaller.reserve(entries_.size() * 2);
      smaller.assign(entries_.begin(), entries_.end());
      entries_.swap(smaller);
    } catch (...) {  // no memory to become smaller: nothing is lost by staying
    }
#endif
  }

  std::vector<entry> entries_;
};

}  // namespace eventer::inline EVENTER_ABI
