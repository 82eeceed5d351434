// parse_date: the three forms of a date in HTTP (RFC 9110, section 5.6.7), whatever the program's locale is.
#pragma once

#include <cstdint>
#include <ctime>
#include <optional>
#include <string_view>

#include "eventer/http/date.hpp"

namespace eventer::inline EVENTER_ABI::http {

namespace detail {

class date_parser {
 public:
  explicit date_parser(std::string_view text) noexcept : left_(text) {}

  std::optional<std::time_t> parse() noexcept {
    const std::size_t comma = left_.find(',');
    if (comma == std::string_view::npos) return asctime_form();
    return comma == 3 ? preferred_form() : old_form();
  }

 private:
  static constexpr std::string_view days[] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                              "Thursday", "Friday", "Saturday"};

  // "Sun, 06 Nov 1994 08:49:37 GMT"
  std::optional<std::time_t> preferred_form() noexcept {
    if (day_name(true) && skip(", ") && number(2, day_) && skip(" ") && month() && skip(" ") && number(4, year_) &&
        skip(" ") && time() && skip(" GMT"))
      return result();
    return std::nullopt;
  }
  // "Sunday, 06-Nov-94 08:49:37 GMT"
  std::optional<std::time_t> old_form() noexcept {
    if (!(day_name(false) && skip(", ") && number(2, day_) && skip("-") && month() && skip("-") && number(2, year_) &&
          skip(" ") && time() && skip(" GMT")))
      return std::nullopt;
    // More than fifty years in the future is the past.
    std::tm now{};
    const std::time_t present = std::time(nullptr);
    ::gmtime_r(&present, &now);
    const int this_year = now.tm_year + 1900;
    year_ += this_year - this_year % 100;
    if (year_ > this_year + 50) year_ -= 100;
    return result();
  }
  // "Sun Nov  6 08:49:37 1994"
  std::optional<std::time_t> asctime_form() noexcept {
    if (day_name(true) && skip(" ") && month() && skip(" ") && (skip(" ") ? number(1, day_) : number(2, day_)) &&
        skip(" ") && time() && skip(" ") && number(4, year_))
      return result();
    return std::nullopt;
  }

  bool skip(std::string_view text) noexcept {
    if (!left_.starts_with(text)) return false;
    left_.remove_prefix(text.size());
    return true;
  }
  bool number(std::size_t digits, int& into) noexcept {
    if (left_.size() < digits) return false;
    into = 0;
    for (std::size_t i = 0; i < digits; ++i) {
      if (left_[i] < '0' || left_[i] > '9') return false;
      into = into * 10 + (left_[i] - '0');
    }
    left_.remove_prefix(digits);
    return true;
  }
  bool day_name(bool is_short) noexcept {
    for (const std::string_view each : days)
      if (skip(is_short ? each.substr(0, 3) : each)) return true;
    return false;
  }
  bool month() noexcept {
    for (month_ = 1; month_ <= 12; ++month_)
      if (skip(month_names[month_ - 1])) return true;
    return false;
  }
  bool time() noexcept {
    return number(2, hour_) && skip(":") && number(2, minute_) && skip(":") && number(2, second_) && hour_ < 24 &&
           minute_ < 60 && second_ <= 60;
  }
  std::optional<std::time_t> result() const noexcept {
    constexpr int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    const bool is_leap = year_ % 4 == 0 && (year_ % 100 != 0 || year_ % 400 == 0);
    const int length = lengths[month_ - 1] + (month_ == 2 && is_leap ? 1 : 0);
    if (!left_.empty() || day_ < 1 || day_ > length || year_ < 1) return std::nullopt;
    // Days since the epoch, with years that begin in March, so that the leap day is their last.
    const std::int64_t year = month_ <= 2 ? year_ - 1 : year_;
    const std::int64_t since_march = (month_ + 9) % 12;
    const std::int64_t days_of_year = (153 * since_march + 2) / 5 + day_ - 1;
    const std::int64_t all = year * 365 + year / 4 - year / 100 + year / 400 + days_of_year - 719'468;
    return static_cast<std::time_t>(((all * 24 + hour_) * 60 + minute_) * 60 + second_);
  }

  std::string_view left_;
  int year_ = 0, month_ = 0, day_ = 0, hour_ = 0, minute_ = 0, second_ = 0;
};

}  // namespace detail

// Nothing for what is no date.
inline std::optional<std::time_t> parse_date(std::string_view text) noexcept {
  return detail::date_parser(text).parse();
}

}  // namespace eventer::inline EVENTER_ABI::http
