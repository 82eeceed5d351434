// stack_stats: what copying has cost so far, counted where it happens.
#pragma once

#include <cstddef>
#include <cstdint>

#include "eventer/base/clock.hpp"

namespace eventer::inline EVENTER_ABI {

struct stack_stats {
  std::uint64_t swaps =
      0;  // a coroutine came in: its predecessor's bytes were copied out, its own, if it had run before, back
  std::uint64_t bytes_copied = 0;  // both ways
  std::uint64_t timed_swaps = 0;   // one swap in 256 is timed
  std::uint64_t timed_nanoseconds = 0;
  std::size_t high_water_mark = 0;  // deepest suspension seen, bytes
  std::size_t saved_bytes = 0;      // capacity of the save stacks in use now

  // Mean of the timed swaps; 0 where none was timed yet.
  double nanoseconds_per_swap() const noexcept {
    return timed_swaps == 0 ? 0.0 : static_cast<double>(timed_nanoseconds) / static_cast<double>(timed_swaps);
  }
};

}  // namespace eventer::inline EVENTER_ABI
