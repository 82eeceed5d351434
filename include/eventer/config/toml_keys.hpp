// toml_keys: the keys that a table may have, and what to say of one that it may not.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "eventer/listener/nearest_name.hpp"

namespace eventer::inline EVENTER_ABI::detail {

// Keys: a span of what has a member `name`. nullptr: none of this name.
template <class Keys>
auto find_key(Keys keys, std::string_view name) noexcept -> decltype(&keys[0]) {
  for (const auto& each : keys)
    if (each.name == name) return &each;
  return nullptr;
}
template <class Keys>
std::string unknown_key(std::string_view name, Keys keys) {
  std::vector<std::string_view> known;
  for (const auto& each : keys) known.push_back(each.name);
  if (const std::string_view nearest = nearest_name(name, known); !nearest.empty())
    return std::string("unknown key; did you mean ").append(nearest).append("?");
  std::string message = "unknown key; expected one of";
  for (const std::string_view each : known) message.append(each == known.front() ? " " : ", ").append(each);
  return message;
}

}  // namespace eventer::inline EVENTER_ABI::detail
