// control_block: what a coroutine is to the scheduler. One aligned 64-byte line that the resume path touches, and 32
// cold bytes beside it.
//
// Everything that the loop, a timer or another coroutine may reach of a coroutine is here or on the heap, never on its
// stack: that stack is somebody else's as soon as it is parked.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "eventer/base/split_slab.hpp"
#include "eventer/context/resume_point.hpp"
#include "eventer/coro/wait_node.hpp"
#include "eventer/stack/shared_stack.hpp"

namespace eventer::inline EVENTER_ABI {

// How a coroutine has ended.
enum class outcome : std::uint8_t { none, value, exception, canceled };

namespace coroutine_flag {
using node_flag::timed;
inline constexpr std::uint16_t own_stack = 16;          // has a stack of its own, never copied
inline constexpr std::uint16_t ended = 32;              // will not run again
inline constexpr std::uint16_t has_handle = 64;         // a join_handle may still ask for the result
inline constexpr std::uint16_t cancel_requested = 128;  // the next await is to throw `cancelled`
inline constexpr std::uint16_t shielded = 256;          // inside a cancel_shield
inline constexpr std::uint16_t own_fp = 512;            // switches the floating-point control registers
inline constexpr std::uint16_t has_callable = 1024;     // its callable has not been destroyed yet
inline constexpr std::uint16_t scoped = 2048;           // inside a deadline_scope
inline constexpr std::uint16_t in_own_call = 4096;      // on a stack of its own for the time of a call
inline constexpr std::uint16_t guarded = 16384;         // its stack can't be touched while it waits
inline constexpr std::uint16_t adapted = 8192;          // its stack is its own because others of its kind copied much
inline constexpr std::uint16_t has_locals = 32768;      // values of coroutine_local objects
}  // namespace coroutine_flag

// Stands behind the segment's 42 bytes, so that both fill three quarters of the line.
struct coroutine_identity : stack_segment {
  std::uint16_t entry = 0;   // which of the scheduler's entry records
  std::uint32_t number = 0;  // of its spawn
};

struct alignas(64) control_block : coroutine_identity, wait_node {
  [[no_unique_address]] context::sanitizer_notes notes;

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
  wait_node* joiner = nullptr;
  time_point scope_deadline = no_deadline;  // of the innermost deadline_scope, or of one around it that ends earlier
};
static_assert(sizeof(control_block_details) == 32);

using control_block_slab = split_slab<control_block, control_block_details>;

inline control_block_details& details_of(control_block& block) noexcept { return control_block_slab::cold_of(&block); }

}  // namespace eventer::inline EVENTER_ABI
