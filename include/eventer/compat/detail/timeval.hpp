// struct timeval, the time of the C interface, in the library's terms.
#pragma once

#include <sys/time.h>

#include "eventer/base/clock.hpp"

namespace eventer::inline EVENTER_ABI::compat {

inline duration duration_of(const timeval& time) noexcept {
  constexpr std::int64_t most = 4'000'000'000;  // seconds: more than a century, and within what a duration holds
  const std::int64_t seconds = time.tv_sec > most ? most : time.tv_sec < -most ? -most : time.tv_sec;
  return std::chrono::seconds(seconds) + std::chrono::microseconds(time.tv_usec);
}
// A limit that a call was given; no pointer, no limit.
inline time_limit limit_of(const timeval* time) noexcept {
  return time == nullptr ? time_limit() : time_limit(duration_of(*time));
}
inline timeval wall_clock() noexcept {
  timeval now{};
  ::gettimeofday(&now, nullptr);
  return now;
}
// How long it is until a time of the wall clock; below zero: it has passed.
inline duration until(const timeval& when) noexcept { return duration_of(when) - duration_of(wall_clock()); }

}  // namespace eventer::inline EVENTER_ABI::compat
