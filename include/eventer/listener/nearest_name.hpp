// nearest_name: which of the known names a misspelt one was probably meant to be.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <string_view>

#include "eventer/base/config.hpp"

namespace eventer::inline EVENTER_ABI::detail {

inline constexpr std::size_t longest_compared_name = 40;

// How many letters have to be changed, inserted, left out, or swapped with their neighbour. Requires: both names are at
// most `longest_compared_name` long.
inline std::size_t edit_distance(std::string_view a, std::string_view b) noexcept {
  std::array<std::array<std::size_t, longest_compared_name + 1>, 3> rows{};
  for (std::size_t j = 0; j <= b.size(); ++j) rows[0][j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    auto& row = rows[i % 3];
    const auto &above = rows[(i + 2) % 3], &above_that = rows[(i + 1) % 3];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({above[j] + 1, row[j - 1] + 1, above[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        row[j] = std::min(row[j], above_that[j - 2] + 1);
    }
  }
  return rows[a.size() % 3][b.size()];
}

// Returns: one of `known`, or empty where none is near. Of long names nobody knows what they were meant to be.
template <class Names>
std::string_view nearest_name(std::string_view name, const Names& known) noexcept {
  std::string_view nearest;
  std::size_t least = name.size() / 3 + 2;  // one letter of three
  if (name.empty() || name.size() > longest_compared_name) return nearest;
  for (const std::string_view each : known) {
    if (each.size() > longest_compared_name) continue;
    const std::size_t distance = edit_distance(name, each);
    if (distance < least && distance < each.size()) {
      least = distance;
      nearest = each;
    }
  }
  return nearest;
}

}  // namespace eventer::inline EVENTER_ABI::detail
