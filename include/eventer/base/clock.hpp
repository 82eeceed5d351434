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

// When an operation is to give up: at a time, or so long after it first has to wait. The second kind reads no clock
// unless the operation does wait, so that a limit on one that does not costs nothing. One word.
class time_limit {
 public:
  constexpr time_limit() noexcept = default;  // none
  constexpr time_limit(time_point deadline) noexcept : value_(deadline.time_since_epoch().count()) {
    if (value_ < 0) value_ = 0;  // before the clock began: passed in any case
  }
  constexpr time_limit(duration limit) noexcept : value_(limit == duration::max() ? none : -1 - positive(limit)) {}
  // hours::max() and the like are no limit either.
  template <class Count, class Period>
  constexpr time_limit(std::chrono::duration<Count, Period> limit) noexcept : time_limit(in_ticks(limit)) {}

  constexpr bool unlimited() const noexcept { return value_ == none; }
  // From the first call on it stands for a fixed time.
  constexpr time_point resolve(time_point now) noexcept {
    if (value_ < 0) value_ = deadline_after(now, duration(-1 - value_)).time_since_epoch().count();
    return time_point(duration(value_));
  }
  // Requires: resolved, or made of a time.
  constexpr time_point deadline() const noexcept { return time_point(duration(value_)); }
  // Whether resolve() needs the present time.
  constexpr bool needs_clock() const noexcept { return value_ < 0; }

 private:
  using ticks = duration::rep;
  static constexpr ticks none = no_deadline.time_since_epoch().count();
  template <class Count, class Period>
  static constexpr duration in_ticks(std::chrono::duration<Count, Period> limit) noexcept {
    using wide = std::chrono::duration<double, Period>;  // in which nothing overflows
    if (limit <= limit.zero()) return duration::zero();
    if (wide(limit) >= wide(duration::max())) return duration::max();
    return std::chrono::duration_cast<duration>(limit);
  }
  static constexpr ticks positive(duration limit) noexcept { return limit.count() > 0 ? limit.count() : 0; }

  ticks value_ = none;
};

}  // namespace eventer::inline EVENTER_ABI
