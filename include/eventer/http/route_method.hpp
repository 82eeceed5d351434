// Which methods a rule serves, and what an Allow header says of several rules.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "eventer/base/config.hpp"
#include "eventer/http/bad_argument.hpp"
#include "eventer/http/characters.hpp"

namespace eventer::inline EVENTER_ABI::http::detail {

// Methods differ by case, so that a rule for "get" would never be asked for. `rule` begins the sentence that says so.
inline void check_method(std::string_view method, const std::string& rule) {
  if (method.empty()) refuse_argument(rule + ": a rule has a method, such as GET, or * for all of them");
  for (const char each : method) {
    if (each >= 'a' && each <= 'z') refuse_argument(rule + ": methods are written in capitals, such as GET");
    if (!is_http(http_class::token, each))
      refuse_argument(rule + ": a method has no blanks, commas or other such characters");
  }
}

// HEAD goes to a rule of its own, otherwise to one for GET.
enum class method_fit : std::uint8_t { none, stands_in, own };
inline method_fit fit_of(std::string_view rule, std::string_view asked) noexcept {
  if (rule == asked) return method_fit::own;
  return rule == "*" || (rule == "GET" && asked == "HEAD") ? method_fit::stands_in : method_fit::none;
}

class allow_list {
 public:
  void add(std::string_view method) {
    add_one(method);
    if (method == "GET") add_one("HEAD");
  }
  bool empty() const noexcept { return methods_.empty(); }
  std::string to_string() const {
    std::string result;
    for (const std::string_view each : methods_) result.append(result.empty() ? "" : ", ").append(each);
    return result;
  }

 private:
  void add_one(std::string_view method) {
    const auto at = std::lower_bound(methods_.begin(), methods_.end(), method);
    if (method != "*" && (at == methods_.end() || *at != method)) methods_.insert(at, method);
  }
  std::vector<std::string_view> methods_;  // sorted
};

}  // namespace eventer::inline EVENTER_ABI::http::detail
