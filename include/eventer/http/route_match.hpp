// route_match: what a route table answers for a method and a path. Its captures are views into that path, and their
// names belong to the table: both must outlive it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "eventer/base/config.hpp"
#include "eventer/http/percent.hpp"

namespace eventer::inline EVENTER_ABI::http {

namespace detail {
class route_regex;
}

// No allocation with up to 10 captures, unless the method is not allowed.
class route_match {
 public:
  route_match() noexcept {}  // what lies behind the captures is not looked at, and not written

  enum class status : std::uint8_t {
    not_found,           // 404
    found,               // route() serves it
    method_not_allowed,  // 405, with allow()
    options,             // OPTIONS on a path that has routes, but none for OPTIONS: to be answered with allow()
  };

  status what() const noexcept { return what_; }
  explicit operator bool() const noexcept { return what_ == status::found; }
  std::size_t route() const noexcept { return route_; }         // what add() or add_template() returned
  const std::string& allow() const noexcept { return allow_; }  // "GET, HEAD, POST"

  // Number 0 is what the regex matched, or the whole path for a template; then groups or parameters in order. As they
  // are in the path: %2F and %25 stay. Beyond their number, and where a group took no part, empty and data() null.
  std::size_t captures() const noexcept { return count_; }
  std::string_view capture(std::size_t index) const noexcept {
    if (index >= count_) return {};
    return index < inline_captures ? few_[index] : more_[index - inline_captures];
  }
  // The parameter {name} of a template or the group (?P<name>...) of a regex, decoded: "a%2Fb" is "a/b" here.
  std::optional<std::string> parameter(std::string_view name) const {
    if (names_ == nullptr || name.empty()) return std::nullopt;
    for (std::size_t i = 0; i < names_->size(); ++i)
      if ((*names_)[i] == name && capture(i).data() != nullptr) return percent_decode(capture(i));
    return std::nullopt;
  }

 private:
  friend class route_table;
  friend class detail::route_regex;
  static constexpr std::size_t inline_captures = 10;

  void reset() noexcept {
    what_ = status::not_found;
    count_ = 0;
    names_ = nullptr;
    allow_.clear();
  }
  void set_captures(std::size_t count) {
    count_ = count;
    if (count > inline_captures) more_.resize(count - inline_captures);
  }
  void set_capture(std::size_t index, std::string_view text) noexcept {
    (index < inline_captures ? few_[index] : more_[index - inline_captures]) = text;
  }

  status what_ = status::not_found;
  std::size_t route_ = 0, count_ = 0;
  const std::vector<std::string>* names_ = nullptr;  // by number; empty where a capture has none
  std::array<std::string_view, inline_captures> few_;
  std::vector<std::string_view> more_;
  std::string allow_;
};

}  // namespace eventer::inline EVENTER_ABI::http
