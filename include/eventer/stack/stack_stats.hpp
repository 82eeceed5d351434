// stack_stats: what copying has cost so far, counted where it happens.
#pragma once

#include <cstddef>
#include <cstdint>

#include "eventer/base/clock.hpp"

namespace eventer::inline EVENTER_ABI {

struct stack_stats {
  std::uint64_t evictions = 0;      // stacks copied out because another coroutine needed the place
  std::uint64_t restores = 0;       // stacks copied back in
  std::uint64_t bytes_evicted = 0;
  std::uint64_t bytes_restored = 0;
  std::uint64_t timed_swaps = 0;    // one swap (evict and restore) in 256 is timed
  std::uint64_t timed_nanoseconds = 0;
  std::size_t high_water_mark = 0;  // deepest suspension seen, bytes
  std::size_t saved_bytes = 0;      // capacity of the save stacks in use now

  std::uint64_t bytes_copied() const noexcept { return bytes_evicted + bytes_restored; }
  // Mean of the timed swaps; 0 where none was timed yet.
  double nanoseconds_per_swap() const noexcept {
    return timed_swaps == 0 ? 0.0 : static_cast<double>(timed_nanoseconds) / static_cast<double>(timed_swaps);
  }
};

}  // namespace eventer::inline EVENTER_ABI
