// stack_set: the stacks of a scheduler. The shared ones, made when first needed and bound at a coroutine's first run,
// and a pool of own ones.
#pragma once

#include <cstddef>
#include <exception>
#include <memory>
#include <utility>
#include <vector>

#include "eventer/base/log.hpp"
#include "eventer/base/syscalls.hpp"
#include "eventer/stack/shared_stack.hpp"

namespace eventer::inline EVENTER_ABI {

class stack_set {
 public:
  // At most `count` shared ones. Their bytes are copied to `saves`, which must outlive the set.
  stack_set(save_stack_pool& saves, unsigned count, std::size_t bytes)
      : saves_(saves), most_(count == 0 ? 1 : count), bytes_(bytes) {
    shared_.reserve(most_);
  }

  const std::vector<std::unique_ptr<shared_stack>>& shared() const noexcept { return shared_; }
  // Whether an address lies on a shared stack.
  bool contains(const void* address) const noexcept {
    for (const auto& each : shared_)
      if (address >= each->memory().bottom() && address < each->top()) return true;
    return false;
  }

  // A shared one that nobody's bytes lie on, if there is one; else the least recently used. Throws where not even one
  // can be made.
  shared_stack* choose() {
    if (free_ != nullptr && free_->occupant() == nullptr) return free_;
    shared_stack* best = nullptr;
    for (const auto& each : shared_) {
      if (each->occupant() == nullptr) return each.get();
      if (best == nullptr || each->last_used < best->last_used) best = each.get();
    }
    if (shared_.size() < most_) {
#if EVENTER_EXCEPTIONS
      try {
#endif
        shared_.push_back(std::make_unique<shared_stack>(saves_, bytes_, static_cast<unsigned>(shared_.size())));
        return shared_.back().get();
#if EVENTER_EXCEPTIONS
      } catch (const std::exception& failure) {
        if (best == nullptr) throw;
        log(log_level::warning, "only %zu shared stacks: %s", shared_.size(), failure.what());
        most_ = shared_.size();
      }
#endif
    }
    return best;
  }
  // Nobody's bytes lie on it any more, and they are still in the cache.
  EVENTER_ALWAYS_INLINE void now_free(shared_stack* stack) noexcept { free_ = stack; }

  // One for a single coroutine, of at least so many bytes.
  EVENTER_NOINLINE shared_stack* take_own(std::size_t bytes) {
    for (std::size_t i = own_.size(); i-- > 0;) {
      if (own_[i]->size() < bytes || own_[i]->size() > 2 * bytes + syscalls::page_size()) continue;
      shared_stack* const found = own_[i].release();
      own_[i] = std::move(own_.back());
      own_.pop_back();
      return found;
    }
    own_.reserve(own_.size() + 1);
    return std::make_unique<shared_stack>(saves_, bytes, own_colour_++).release();
  }
  EVENTER_NOINLINE void give_back_own(shared_stack* stack) noexcept {
#if EVENTER_ASAN
    // LeakSanitizer would take what has been left there for pointers.
    (void)syscalls::advise(stack->memory().bottom(), stack->size(), MADV_DONTNEED);
#endif
    if (own_.size() < own_kept) {
#if EVENTER_EXCEPTIONS
      try {
#endif
        own_.emplace_back(stack);
        return;
#if EVENTER_EXCEPTIONS
      } catch (...) {
      }
#endif
    }
    delete stack;
  }

 private:
  static constexpr std::size_t own_kept = 64;

  save_stack_pool& saves_;
  std::size_t most_;
  std::size_t bytes_;
  shared_stack* free_ = nullptr;
  std::vector<std::unique_ptr<shared_stack>> shared_;
  std::vector<std::unique_ptr<shared_stack>> own_;  // free ones
  unsigned own_colour_ = 0;
};

}  // namespace eventer::inline EVENTER_ABI
