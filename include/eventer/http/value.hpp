// value: a piece of text that a request may or may not have: a header field, a parameter, a cookie. It is a
// std::string_view, empty where there is none, that also knows which of the two it is.
#pragma once

#include <string_view>

#include "eventer/base/config.hpp"

namespace eventer::inline EVENTER_ABI::http {

//   if (const auto name = request.query("name")) ...
//   request.header("Accept") == "text/plain"
//   request.query("page").value_or("1")
// Valid as long as the request that it comes from.
class value : public std::string_view {
 public:
  constexpr value() noexcept = default;  // none
  constexpr value(std::string_view text) noexcept : std::string_view(text), there_(true) {}

  constexpr explicit operator bool() const noexcept { return there_; }
  constexpr bool has_value() const noexcept { return there_; }
  constexpr std::string_view operator*() const noexcept { return *this; }
  constexpr std::string_view value_or(std::string_view other) const noexcept {
    return there_ ? std::string_view(*this) : other;
  }

 private:
  bool there_ = false;
};

}  // namespace eventer::inline EVENTER_ABI::http
