// control_block: what a coroutine is to the scheduler. One aligned 64-byte line that the resume path touches, and 24
// cold bytes beside it.
//
// Everything that the loop, a timer or another coroutine may reach of a coroutine is here or on the heap, never on its
// stack: that stack is somebody else's as soon as it is parked.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "eventer/base/split_slab.hpp"
#include "eventer/base/timer_heap.hpp"
#include "eventer/context/resume_point.hpp"
#include "eventer/stack/shared_stack.hpp"

namespace eventer::inline EVENTER_ABI {

struct control_block;
class scheduler;

// Why a parked coroutine goes on.
enum class wake_reason : std::uint8_t {
  parked,     // it does not: it still waits
  ready,      // what it waited for has come
  timed_out,  // its time limit has passed
  closed,     // what it waited on was closed here
  canceled,   // somebody cancelled it, or its loop ends
};

// Something that a coroutine can wait on and that must forget it when a time limit or a cancellation comes first.
struct wait_source {
  // Called on the loop's thread, never on a coroutine's stack.
  void (*abandon)(wait_source&, control_block&) noexcept = nullptr;
};

// How a coroutine has ended.
enum class outcome : std::uint8_t { none, value, exception, canceled };

namespace coroutine_flag {
inline constexpr std::uint8_t own_stack = 1;         // has a stack of its own, never copied
inline constexpr std::uint8_t ended = 2;             // will not run again
inline constexpr std::uint8_t has_handle = 4;        // a join_handle may still ask for the result
inline constexpr std::uint8_t cancel_requested = 8;  // the next await is to throw `cancelled`
inline constexpr std::uint8_t shielded = 16;         // inside a cancel_shield
inline constexpr std::uint8_t own_fp = 32;           // switches the floating-point control registers
inline constexpr std::uint8_t has_callable = 64;     // its callable has not been destroyed yet
inline constexpr std::uint8_t timed = 128;           // its timer is armed
}  // namespace coroutine_flag

struct alignas(64) control_block : stack_segment {
  std::uint8_t flags = 0;
  wake_reason wake = wake_reason::ready;
  timer_node timer;
  std::uint32_t entry = 0;   // which of the scheduler's entry records
  std::uint32_t number = 0;  // of its spawn
  wait_source* waiting_on = nullptr;
  [[no_unique_address]] context::sanitizer_notes notes;

  // A timer's node lies in the first of its block's lines.
  static control_block& of_timer(timer_node& node) noexcept {
    return *reinterpret_cast<control_block*>(reinterpret_cast<std::uintptr_t>(&node) & ~std::uintptr_t{63});
  }

  bool has(std::uint8_t flag) const noexcept { return (flags & flag) != 0; }
  void set(std::uint8_t flag) noexcept { flags = static_cast<std::uint8_t>(flags | flag); }
  void clear(std::uint8_t flag) noexcept { flags = static_cast<std::uint8_t>(flags & ~flag); }
  // Unique among the coroutines of a loop: no two that live have the same address, no two of the same address the same
  // number.
  std::uint64_t id() const noexcept {
    return (std::uint64_t{number} << 32) | ((reinterpret_cast<std::uintptr_t>(this) >> 6) & 0xffffffff);
  }
};
#if !EVENTER_ASAN && !EVENTER_TSAN
static_assert(sizeof(control_block) == 64, "the resume path touches one cache line");
#endif

// What is not needed to resume.
struct control_block_details {
  static constexpr std::size_t inline_bytes = 16;

  alignas(
      8) unsigned char storage[inline_bytes];  // the callable, or where it is; after the end the result, or where it is
  control_block* joiner = nullptr;
};
static_assert(sizeof(control_block_details) == 24);

using control_block_slab = split_slab<control_block, control_block_details>;

inline control_block_details& details_of(control_block& block) noexcept { return control_block_slab::cold_of(&block); }

}  // namespace eventer::inline EVENTER_ABI
