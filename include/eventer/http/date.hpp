// The Date field of answers, formatted once a second and thread (RFC 9110, section 5.6.7).
#pragma once

#include <cstdio>
#include <ctime>
#include <string_view>

#include "eventer/base/config.hpp"

namespace eventer::inline EVENTER_ABI::http {

namespace detail {
inline constexpr const char* month_names[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                              "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
}

// "Thu, 26 Nov 2026 02:25:28 GMT", in 30 bytes with the NUL. Whatever the program's locale is.
inline void format_date(std::time_t when, char (&into)[30]) noexcept {
  static constexpr const char* days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  std::tm at{};
  ::gmtime_r(&when, &at);
  // Each number is bounded for the compiler, which would warn that it might not fit.
  std::snprintf(into, sizeof into, "%s, %02u %s %04u %02u:%02u:%02u GMT", days[at.tm_wday % 7],
                static_cast<unsigned>(at.tm_mday) % 100, detail::month_names[at.tm_mon % 12],
                static_cast<unsigned>(at.tm_year + 1900) % 10000, static_cast<unsigned>(at.tm_hour) % 100,
                static_cast<unsigned>(at.tm_min) % 100, static_cast<unsigned>(at.tm_sec) % 100);
}

namespace detail {

// The present time; valid until the next call on this thread.
inline std::string_view date_now() noexcept {
  struct cache {
    std::time_t second;
    char text[30];
  };
  static constinit thread_local cache last{-1, {}};
  const std::time_t now = std::time(nullptr);  // without a system call
  if (EVENTER_UNLIKELY(now != last.second)) {
    format_date(now, last.text);
    last.second = now;
  }
  return {last.text, sizeof last.text - 1};
}

}  // namespace detail

}  // namespace eventer::inline EVENTER_ABI::http
