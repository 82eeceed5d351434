// The values of coroutine_local objects: a list for each coroutine that has any, found by its control block, and one
// for each thread. A coroutine without them costs nothing.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "eventer/base/log.hpp"
#include "eventer/coro/control_block.hpp"

namespace eventer::inline EVENTER_ABI::detail {

struct local_kind {
  void* (*make)(const void* initial);
  void (*destroy)(void* value) noexcept;
  void* (*inherit)(const void* value);  // a copy for a coroutine that is spawned; nullptr: it gets none
};

class EVENTER_API local_list {
 public:
  local_list() = default;
  local_list(const local_list&) = delete;
  local_list& operator=(const local_list&) = delete;
  ~local_list() { clear(); }

  void* find(std::uint32_t number) const noexcept {
    for (const entry& each : entries_)
      if (each.number == number) return each.value;
    return nullptr;
  }
  // Takes `value`, made with new, in any case.
  void add(std::uint32_t number, const local_kind& kind, void* value) {
    std::unique_ptr<void, void (*)(void*) noexcept> mine(value, kind.destroy);
    entries_.push_back({number, &kind, value});
    (void)mine.release();
  }
  bool has_inherited() const noexcept {
    for (const entry& each : entries_)
      if (each.kind->inherit != nullptr) return true;
    return false;
  }
  void inherit(const local_list& from) {
    // A copy constructor may make further values there.
    for (std::size_t i = 0; i < from.entries_.size(); ++i)
      if (const entry each = from.entries_[i]; each.kind->inherit != nullptr)
        add(each.number, *each.kind, each.kind->inherit(each.value));
  }
  // The newest first. Their destructors may look at those that are left, and make new ones.
  void clear() noexcept {
    for (std::size_t left = entries_.size() + 1000; !entries_.empty(); --left) {
      if (left == 0) broken_rule("the destructor of a coroutine_local's value goes on making new values");
      const entry last = entries_.back();
      entries_.pop_back();
      last.kind->destroy(last.value);
    }
    std::vector<entry>().swap(entries_);
  }

  // Usable until the thread's memory goes: what other destructors at its end make once more stays.
  static local_list& of_thread() noexcept {
    union kept {
      kept() : list() {}
      ~kept() {}
      local_list list;
    };
    struct clears {
      local_list& list;
      ~clears() { list.clear(); }
    };
    thread_local kept mine;
    thread_local const clears at_end{mine.list};
    return at_end.list;
  }
  // For a coroutine_local that has none yet; never 0.
  static std::uint32_t next_number() noexcept {
    static constinit std::atomic<std::uint32_t> last{0};
    return last.fetch_add(1, std::memory_order_relaxed) + 1;
  }

 private:
  struct entry {
    std::uint32_t number;
    const local_kind* kind;
    void* value;
  };
  std::vector<entry> entries_;
};

// The lists of a scheduler's coroutines; those that have one bear a flag.
class local_table {
 public:
  local_list* find(const control_block& owner) const noexcept {
    if (!owner.has(coroutine_flag::has_locals)) return nullptr;
    node* each = chains_[place_of(owner)].get();
    while (each->owner != &owner) each = each->next.get();
    return &each->list;
  }
  local_list& of(control_block& owner) {
    if (local_list* const found = find(owner); found != nullptr) return *found;
    if (count_ >= chains_.size()) grow();
    auto made = std::make_unique<node>();
    made->owner = &owner;
    std::unique_ptr<node>& chain = chains_[place_of(owner)];
    made->next = std::move(chain);
    chain = std::move(made);
    ++count_;
    owner.set(coroutine_flag::has_locals);
    return chain->list;
  }
  // `owner` is spawned by `parent`.
  void inherit(control_block& owner, const control_block& parent) {
    if (const local_list* const from = find(parent); from != nullptr && from->has_inherited()) of(owner).inherit(*from);
  }
  // Destroys them. What their destructors wait for, if they do, is waited for meanwhile.
  void drop(control_block& owner) noexcept {
    find(owner)->clear();
    std::unique_ptr<node>* link = &chains_[place_of(owner)];
    while ((*link)->owner != &owner) link = &(*link)->next;
    const std::unique_ptr<node> gone = std::exchange(*link, std::move((*link)->next));
    --count_;
    owner.clear(coroutine_flag::has_locals);
  }

 private:
  struct node {
    const control_block* owner = nullptr;
    local_list list;
    std::unique_ptr<node> next;
  };

  std::size_t place_of(const control_block& owner) const noexcept {
    // The multiplier is 2^64 over the golden ratio: Knuth, The Art of Computer Programming, volume 3, 6.4.
    return static_cast<std::size_t>((reinterpret_cast<std::uintptr_t>(&owner) * 0x9E3779B97F4A7C15u) >> 32) &
           (chains_.size() - 1);
  }
  void grow() {
    std::vector<std::unique_ptr<node>> before(chains_.empty() ? 16 : chains_.size() * 2);
    before.swap(chains_);
    for (std::unique_ptr<node>& chain : before)
      while (chain != nullptr) {
        std::unique_ptr<node> each = std::exchange(chain, std::move(chain->next));
        std::unique_ptr<node>& to = chains_[place_of(*each->owner)];
        each->next = std::move(to);
        to = std::move(each);
      }
  }

  std::vector<std::unique_ptr<node>> chains_;  // a power of two of them, or none
  std::size_t count_ = 0;
};

}  // namespace eventer::inline EVENTER_ABI::detail
