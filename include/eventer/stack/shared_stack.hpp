// shared_stack: one guarded stack that many coroutines use in turn. Its occupant's bytes stay in place until another
// one needs them.
//
// `stack_segment` is what a stack must know of a coroutine; `occupy` is the one place where stacks are copied.
// Invariants kept here: copying happens on a native stack; the stack pointer alone decides what is copied, [sp, top);
// an occupant is never copied for its own resume; nothing that anybody else can reach lies in those bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "eventer/base/clock.hpp"
#include "eventer/stack/copy.hpp"
#include "eventer/stack/save_stack.hpp"
#include "eventer/stack/stack_memory.hpp"
#include "eventer/stack/stack_stats.hpp"

namespace eventer::inline EVENTER_ABI {

inline constexpr std::size_t default_shared_stack_bytes = std::size_t{1} << 20;

class shared_stack;

// The stack's view of one coroutine: the first 42 bytes of its control block.
struct stack_segment {
  void* sp = nullptr;                 // saved at suspension; nullptr before the first run
  char* saved = nullptr;              // the save stack; nullptr before the first eviction
  shared_stack* stack = nullptr;      // where it lives once it has run; nullptr: not bound yet
  std::uint32_t saved_bytes = 0;      // how much of `saved` is valid; 0 while its bytes are on the stack itself
  std::uint32_t high_water_mark = 0;  // deepest suspension, bytes
  std::uint32_t copies = 0;           // evictions so far
  std::uint32_t copied_units = 0;     // bytes that they moved out, in units of 16
  save_stack_pool::size_class saved_class = save_stack_pool::no_class;
  std::uint8_t slack = 0;  // evictions in a row that needed less than a quarter of the save stack
};

class shared_stack {
 public:
  // A stack with a save-stack pool of its own: for coroutines without a loop.
  explicit shared_stack(std::size_t bytes = default_shared_stack_bytes)
      : own_pool_(std::make_unique<own_pool>()), memory_(bytes) {
    pool_ = &own_pool_->pool;
    top_ = memory_.top() - top_margin;
  }

  // A stack of a scheduler: `number` colours its top, so that the hot lines of several stacks do not share cache sets.
  shared_stack(save_stack_pool& pool, std::size_t bytes, unsigned number) : pool_(&pool), memory_(bytes) {
    top_ = memory_.top() - top_margin - (number % 32) * 192;
  }

  shared_stack(const shared_stack&) = delete;
  shared_stack& operator=(const shared_stack&) = delete;

  std::size_t size() const noexcept { return memory_.size(); }
  const stack_memory& memory() const noexcept { return memory_; }
  stack_memory& memory() noexcept { return memory_; }
  save_stack_pool& pool() const noexcept { return *pool_; }
  stack_segment* occupant() const noexcept { return occupant_; }
  // Coroutines start here; aligned to 64 bytes, so that copies move whole lines.
  char* top() const noexcept { return top_; }

  stack_stats stats() const noexcept {
    stack_stats result = stats_;
    result.saved_bytes = pool_->bytes_in_use();
    return result;
  }

  // Bytes between a suspended coroutine's stack pointer and the top.
  std::size_t used_by(const stack_segment& segment) const noexcept {
    return segment.sp == nullptr ? 0 : static_cast<std::size_t>(top_ - static_cast<char*>(segment.sp));
  }

  // Makes `next` the occupant: the present one's bytes go to its save stack, those of `next` come back. Requires:
  // called on another stack; the present occupant is suspended. False, with nothing changed, where there is no memory
  // for the save stack.
  EVENTER_ALWAYS_INLINE bool occupy(stack_segment& next) noexcept {
    if (EVENTER_LIKELY(occupant_ == &next)) return true;
    return swap_in(next);
  }

  // Copies the occupant out, so that the stack is free. False where there is no memory.
  bool evict() noexcept {
    if (occupant_ == nullptr) return true;
    if (!save(*occupant_)) return false;
    stats_.bytes_copied += occupant_->saved_bytes;
    occupant_ = nullptr;
    return true;
  }

  // `segment` has ended or is destroyed: nothing of it is to be kept.
  EVENTER_ALWAYS_INLINE void forget(stack_segment& segment) noexcept {
    if (occupant_ == &segment) occupant_ = nullptr;
    if (EVENTER_UNLIKELY(segment.saved != nullptr)) release_saved(segment);
  }

  // Records how deep `segment` has just been suspended. Called on the native stack, after each switch back to it.
  EVENTER_ALWAYS_INLINE void mark(stack_segment& segment) noexcept {
    const auto used = static_cast<std::uint32_t>(top_ - static_cast<const char*>(segment.sp));
    if (EVENTER_UNLIKELY(used > segment.high_water_mark)) raise_mark(segment, used);
  }

  // The scheduler's count of resumes when a coroutine last ran here; the least recently used stack takes the next new
  // one.
  std::uint64_t last_used = 0;

 private:
  static constexpr std::size_t top_margin = 64;
  static constexpr std::uint64_t timed_every = 256;
  static constexpr std::uint8_t shrink_after = 4;

  struct own_pool {
    chunk_source source;
    save_stack_pool pool{source};
  };

  EVENTER_NOINLINE bool swap_in(stack_segment& next) noexcept {
    if (EVENTER_UNLIKELY((stats_.swaps & (timed_every - 1)) == timed_every - 1)) return timed_swap_in(next);
    return swap_in_untimed(next);
  }
  EVENTER_NOINLINE bool timed_swap_in(stack_segment& next) noexcept {
    const time_point before = clock::now();
    const time_point start = clock::now();
    const bool good = swap_in_untimed(next);
    // Less what reading the clock takes.
    const duration taken = (clock::now() - start) - (start - before);
    ++stats_.timed_swaps;
    if (taken > duration::zero())
      stats_.timed_nanoseconds += static_cast<std::uint64_t>(taken / std::chrono::nanoseconds(1));
    return good;
  }
  EVENTER_ALWAYS_INLINE bool swap_in_untimed(stack_segment& next) noexcept {
    std::size_t moved = 0;
    if (EVENTER_LIKELY(occupant_ != nullptr)) {
      if (EVENTER_UNLIKELY(!save(*occupant_))) return false;
      moved = occupant_->saved_bytes;
    }
    if (EVENTER_LIKELY(next.saved_bytes != 0)) {
      moved += next.saved_bytes;
      restore(next);
    }
    occupant_ = &next;
    ++stats_.swaps;
    stats_.bytes_copied += moved;
    return true;
  }

  EVENTER_ALWAYS_INLINE bool save(stack_segment& segment) noexcept {
    const std::size_t grain =
        save_stack_pool::grain_of(static_cast<std::size_t>(top_ - static_cast<char*>(segment.sp)));
    char* const low = reinterpret_cast<char*>(reinterpret_cast<std::uintptr_t>(segment.sp) & ~(grain - 1));
    const auto bytes = static_cast<std::size_t>(top_ - low);
    const std::size_t needed = bytes + context::shadow_bytes(bytes);
    if (EVENTER_UNLIKELY(!fits(segment, needed)) && !resize(segment, needed)) return false;
#if EVENTER_ASAN
    detail::copy_stack(segment.saved, low, bytes);
    context::copy_shadow_out(low, bytes, reinterpret_cast<unsigned char*>(segment.saved) + bytes);
    context::unpoison_memory(low, bytes);
#else
    if (EVENTER_UNLIKELY(!avx_ && on_valgrind_))
      context::mark_accessible(low, static_cast<std::size_t>(static_cast<char*>(segment.sp) - low));
    detail::copy_stack(segment.saved, low, bytes, avx_);
#endif
    segment.saved_bytes = static_cast<std::uint32_t>(bytes);
    ++segment.copies;
    segment.copied_units += static_cast<std::uint32_t>(bytes / 16);
    return true;
  }

  EVENTER_ALWAYS_INLINE void restore(stack_segment& segment) noexcept {
    const std::size_t bytes = segment.saved_bytes;
#if EVENTER_ASAN
    context::unpoison_memory(top_ - bytes, bytes);
    detail::copy_stack(top_ - bytes, segment.saved, bytes);
    context::copy_shadow_in(top_ - bytes, bytes, reinterpret_cast<unsigned char*>(segment.saved) + bytes);
#else
    if (EVENTER_UNLIKELY(!avx_ && on_valgrind_)) context::mark_accessible(top_ - bytes, bytes);
    detail::copy_stack(top_ - bytes, segment.saved, bytes, avx_);
#endif
    segment.saved_bytes = 0;
  }

  EVENTER_NOINLINE void raise_mark(stack_segment& segment, std::uint32_t used) noexcept {
    segment.high_water_mark = used;
    if (used > stats_.high_water_mark) stats_.high_water_mark = used;
  }

  // Large enough, and not far too large for several evictions in a row. Most coroutines are always parked at the same
  // depth.
  EVENTER_ALWAYS_INLINE static bool fits(stack_segment& segment, std::size_t bytes) noexcept {
    const save_stack_pool::size_class wanted = save_stack_pool::class_of(bytes);
    if (EVENTER_UNLIKELY(wanted != segment.saved_class || wanted == save_stack_pool::mapped_class))
      return fits_anyway(segment, bytes);
    segment.slack = 0;
    return true;
  }
  EVENTER_NOINLINE static bool fits_anyway(stack_segment& segment, std::size_t bytes) noexcept {
    if (segment.saved_class == save_stack_pool::no_class) return false;
    const std::size_t capacity = save_stack_pool::block_bytes(segment.saved, segment.saved_class);
    if (bytes * 4 < capacity) return ++segment.slack < shrink_after;
    segment.slack = 0;
    return bytes <= capacity;
  }
  EVENTER_NOINLINE bool resize(stack_segment& segment, std::size_t bytes) noexcept {
    char* const block = pool_->allocate(bytes);
    if (block == nullptr) return segment.slack >= shrink_after;  // staying too large is no failure
    if (segment.saved != nullptr) release_saved(segment);
    segment.saved = block;
    segment.saved_class = save_stack_pool::class_of(bytes);
    segment.slack = 0;
    return true;
  }
  EVENTER_NOINLINE void release_saved(stack_segment& segment) noexcept {
    pool_->release(segment.saved, segment.saved_class);
    segment.saved = nullptr;
    segment.saved_class = save_stack_pool::no_class;
    segment.saved_bytes = 0;
  }

  // What a swap touches comes first.
  char* top_ = nullptr;
  stack_segment* occupant_ = nullptr;
  save_stack_pool* pool_ = nullptr;
#if !EVENTER_ASAN
  const bool on_valgrind_ = context::running_on_valgrind();
#if defined(__x86_64__)
  const bool avx_ = !on_valgrind_ && detail::cpu_has_avx();
#else
  static constexpr bool avx_ = false;
#endif
#endif
  stack_stats stats_;
  std::unique_ptr<own_pool> own_pool_;
  stack_memory memory_;
};

}  // namespace eventer::inline EVENTER_ABI
