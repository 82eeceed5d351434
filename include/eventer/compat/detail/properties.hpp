// What eventer_propset has set: texts by name, read when the loops and the queues are made.
#pragma once

#include <charconv>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

#include "eventer/base/log.hpp"
#include "eventer/base/quoted.hpp"

namespace eventer::inline EVENTER_ABI::compat {

class properties {
 public:
  static properties& of_process() {
    static properties& all = *new properties;
    return all;
  }

  void set(std::string_view name, std::string_view value) {
    const std::lock_guard lock(mutex_);
    values_.insert_or_assign(std::string(name), std::string(value));
  }
  std::optional<std::string> find(std::string_view name) const {
    const std::lock_guard lock(mutex_);
    const auto found = values_.find(name);
    if (found == values_.end()) return std::nullopt;
    return found->second;
  }
  // Those whose names begin so, without that beginning, in the order of their names.
  std::map<std::string, std::string> beginning(std::string_view prefix) const {
    const std::lock_guard lock(mutex_);
    std::map<std::string, std::string> result;
    for (auto each = values_.lower_bound(prefix); each != values_.end() && each->first.starts_with(prefix); ++each)
      result.emplace(each->first.substr(prefix.size()), each->second);
    return result;
  }

 private:
  mutable std::mutex mutex_;
  std::map<std::string, std::string, std::less<>> values_;
};

// A whole number up to `most`; nothing for any other text.
inline std::optional<unsigned> number_in(std::string_view text, unsigned most = 1'000'000'000) {
  unsigned value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value > most) return std::nullopt;
  return value;
}

}  // namespace eventer::inline EVENTER_ABI::compat
