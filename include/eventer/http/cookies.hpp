// Cookies (RFC 6265bis): what a Cookie header holds, and the Set-Cookie header that makes a browser send one. A cookie
// that browsers would drop or read differently is refused where it is made, with a sentence.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>

#include "eventer/base/config.hpp"
#include "eventer/base/quoted.hpp"
#include "eventer/http/bad_argument.hpp"
#include "eventer/http/characters.hpp"
#include "eventer/http/date.hpp"
#include "eventer/http/percent.hpp"

namespace eventer::inline EVENTER_ABI::http {

// Calls f(std::string_view name, std::string_view value) for each "name=value" of a Cookie header, as views into it,
// until f returns false. Values lose one pair of quotes; nothing is decoded. What has no '=' is passed over.
template <class F>
void for_each_cookie(std::string_view header, F&& f) {
  const auto trimmed = [](std::string_view text) {
    constexpr std::string_view blanks = " \t";
    const std::size_t begin = text.find_first_not_of(blanks);
    if (begin == std::string_view::npos) return std::string_view();
    return text.substr(begin, text.find_last_not_of(blanks) + 1 - begin);
  };
  for (std::size_t begin = 0; begin < header.size();) {
    const std::string_view rest = header.substr(begin);
    const std::string_view pair = rest.substr(0, rest.find(';'));
    begin += pair.size() + 1;
    const std::size_t equals = pair.find('=');
    if (equals == std::string_view::npos) continue;
    std::string_view value = trimmed(pair.substr(equals + 1));
    if (value.size() >= 2 && value.front() == '"' && value.back() == '"') value = value.substr(1, value.size() - 2);
    if (!f(trimmed(pair.substr(0, equals)), value)) return;
  }
}

// The first of that name: browsers send the one with the longest path first. Names differ by case.
inline std::optional<std::string_view> find_cookie(std::string_view header, std::string_view name) noexcept {
  std::optional<std::string_view> result;
  for_each_cookie(header, [&](std::string_view each, std::string_view value) {
    if (each == name) result = value;
    return !result;
  });
  return result;
}

enum class same_site : std::uint8_t { unset, strict, lax, none };

// What a browser is asked to keep:
//   answer.add_header("Set-Cookie", http::cookie{.name = "id", .value = id, .secure = true}.to_string());
// Nothing is encoded: a value with other bytes than a cookie may have goes through percent_encode() first.
struct cookie {
  std::string name = {}, value = {};
  std::string path = "/";   // empty: the folder of the request's path
  std::string domain = {};  // empty: this host alone, without its subdomains
  std::optional<std::chrono::seconds> max_age =
      std::nullopt;  // zero or less: forget it. Neither: until the browser ends
  std::optional<std::chrono::system_clock::time_point> expires = std::nullopt;  // for old browsers; max_age wins
  bool secure = false;
  bool http_only = true;  // scripts of the page don't see it
  same_site site = same_site::lax;

  // Returns: the header's value. Errors: std::invalid_argument with a sentence that names the cookie.
  std::string to_string() const {
    check();
    std::string result = name + "=" + value;
    if (!path.empty()) result += "; Path=" + path;
    if (!domain.empty()) result += "; Domain=" + domain;
    if (max_age) result += "; Max-Age=" + std::to_string(max_age->count());
    if (expires) result += "; Expires=" + date(*expires);
    if (secure) result += "; Secure";
    if (http_only) result += "; HttpOnly";
    if (site == same_site::strict) result += "; SameSite=Strict";
    if (site == same_site::lax) result += "; SameSite=Lax";
    if (site == same_site::none) result += "; SameSite=None";
    return result;
  }

 private:
  static constexpr std::size_t most_bytes = 4096, most_attribute_bytes = 1024;  // browsers drop what is longer

  void check() const {
    check_name();
    check_value();
    if (name.size() + value.size() > most_bytes) refuse("browsers drop a cookie of more than 4096 bytes");
    if (path.size() > most_attribute_bytes || domain.size() > most_attribute_bytes)
      refuse("browsers pass over a path or a domain of more than 1024 bytes");
    if (!path.empty() && path.front() != '/') refuse("a path begins with a slash, and this is ", path);
    for (const char each : path)
      if (detail::is_control(each) || each == ';') refuse("a path has no semicolon and no control character: ", path);
    check_domain();
    if (site == same_site::none && !secure) refuse("browsers drop SameSite=None without Secure: set secure as well");
    if (begins_with("__Secure-") && !secure) refuse("a name with __Secure- needs secure");
    if (begins_with("__Host-") && (!secure || path != "/" || !domain.empty()))
      refuse("a name with __Host- needs secure, the path \"/\" and no domain");
  }
  void check_name() const {
    if (name.empty()) refuse("a cookie has a name");
    if (!detail::is_all(detail::http_class::token, name)) refuse("a name has letters, digits and !#$%&'*+-.^_`|~ only");
  }
  void check_value() const {
    std::string_view inner = value;
    if (inner.size() >= 2 && inner.front() == '"' && inner.back() == '"') inner = inner.substr(1, inner.size() - 2);
    for (const char each : inner)
      if (each <= ' ' || each >= 0x7f || each == '"' || each == ',' || each == ';' || each == '\\')
        refuse("a value has neither blanks nor \",;\\ nor other bytes than visible ASCII: use percent_encode() on ",
               value);
  }
  void check_domain() const {
    for (std::size_t i = 0; i < domain.size(); ++i) {
      const bool is_dot = domain[i] == '.';
      const bool is_bad = !is_dot && domain[i] != '-' && !detail::is_letter_or_digit(domain[i]);
      if (is_bad || (is_dot && (i + 1 == domain.size() || domain[i + 1] == '.')))
        refuse("a domain is a host's name such as example.org, and this is ", domain);
    }
  }
  // As browsers compare it: without case.
  bool begins_with(std::string_view prefix) const noexcept {
    return detail::equals_any_case(std::string_view(name).substr(0, prefix.size()), prefix);
  }

  // "Wed, 09 Jun 2021 10:18:14 GMT", whatever the locale is.
  std::string date(std::chrono::system_clock::time_point when) const {
    const auto second = std::chrono::floor<std::chrono::seconds>(when);
    const int year =
        static_cast<int>(std::chrono::year_month_day(std::chrono::floor<std::chrono::days>(second)).year());
    if (year < 1601 || year > 9999) refuse("browsers read expiry dates of the years 1601 to 9999");
    char text[30];
    format_date(std::chrono::system_clock::to_time_t(second), text);
    return text;
  }

  [[noreturn]] void refuse(std::string_view why) const {
    detail::refuse_argument("cookie " + eventer::detail::quoted(name) + ": " + std::string(why));
  }
  [[noreturn]] void refuse(std::string_view why, std::string_view what) const {
    refuse(std::string(why) + eventer::detail::quoted(what));
  }
};

}  // namespace eventer::inline EVENTER_ABI::http
