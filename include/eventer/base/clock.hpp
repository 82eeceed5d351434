// Time: every time limit of the library is a duration or a time_point of this steady clock; the wall clock is never
// looked at.
#pragma once

#include <chrono>

#include "eventer/base/config.hpp"

namespace eventer::inline EVENTER_ABI {

using clock = std::chrono::steady_clock;
using duration = clock::duration;
using time_point = clock::time_point;

inline constexpr time_point no_deadline = time_point::max();

// start + limit, where a limit too long to add means "none". A limit of zero or less has passed already.
constexpr time_point deadline_after(time_point start, duration limit) noexcept {
  return limit >= no_deadline - start ? no_deadline : start + limit;
}

}  // namespace eventer::inline EVENTER_ABI
