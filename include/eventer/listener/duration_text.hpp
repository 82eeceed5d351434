// Durations as people write them: a whole number with its unit, "500ms", "30s", "1h". For configurations, and for the
// settings of a listener's function.
#pragma once

#include <charconv>
#include <optional>
#include <string_view>

#include "eventer/base/clock.hpp"

namespace eventer::inline EVENTER_ABI {

// Units: ns, us, ms, s, m, h, d. Empty for all else, also for numbers without unit, fractions, signs, and what a
// duration can't hold.
inline std::optional<duration> parse_duration(std::string_view text) noexcept {
  struct unit {
    std::string_view name;
    duration length;
  };
  using namespace std::chrono;
  constexpr unit units[] = {{"ns", nanoseconds(1)}, {"us", microseconds(1)}, {"ms", milliseconds(1)}, {"s", seconds(1)},
                            {"m", minutes(1)},      {"h", hours(1)},         {"d", hours(24)}};
  duration::rep count = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  if (text.empty() || text.front() == '-' || error != std::errc()) return {};
  const std::string_view name = text.substr(static_cast<std::size_t>(end - text.data()));
  for (const unit& each : units)
    if (each.name == name && count <= duration::max() / each.length) return count * each.length;
  return {};
}

}  // namespace eventer::inline EVENTER_ABI
