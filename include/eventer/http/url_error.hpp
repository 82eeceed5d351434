// What can be wrong with a URL, each with a sentence that says what to do.
#pragma once

#include <string>
#include <system_error>

#include "eventer/base/result.hpp"

namespace eventer::inline EVENTER_ABI::http {

enum class url_errc {
  no_scheme = 1,
  unknown_scheme,
  no_host,
  bad_host,
  bad_port,
  has_user,
  bad_character,
  bad_escape,
  too_long,
};

class EVENTER_API url_error_category final : public std::error_category {
 public:
  const char* name() const noexcept override { return "eventer.http.url"; }
  std::string message(int code) const override {
    switch (static_cast<url_errc>(code)) {
      case url_errc::no_scheme:
        return "a URL begins with http://, https://, ws:// or wss://";
      case url_errc::unknown_scheme:
        return "the URL's scheme is none of http, https, ws and wss";
      case url_errc::no_host:
        return "the URL has no host behind its //";
      case url_errc::bad_host:
        return "the URL's host is neither a name of letters, digits, '-', '.' and '_' nor an IPv4 address nor an IPv6 "
               "address in brackets; names in other alphabets are written as xn--";
      case url_errc::bad_port:
        return "the URL's port is not a number from 1 to 65535";
      case url_errc::has_user:
        return "the URL has a user or a password in it, which are not sent from there: give an Authorization field";
      case url_errc::bad_character:
        return "the URL has a blank, a control character, a backslash or a character beyond ASCII in it: percent_encode "
               "what is put into it";
      case url_errc::bad_escape:
        return "the URL has a '%' without two hexadecimal digits behind it: a '%' itself is written as %25";
      case url_errc::too_long:
        return "the URL is longer than 32 KiB";
    }
    return "unknown eventer.http.url error";
  }
};

EVENTER_API inline const std::error_category& url_category() noexcept {
  static const url_error_category& instance = *new url_error_category;
  return instance;
}
inline std::error_code make_error_code(url_errc code) noexcept { return {static_cast<int>(code), url_category()}; }

}  // namespace eventer::inline EVENTER_ABI::http

template <>
struct std::is_error_code_enum<eventer::http::url_errc> : std::true_type {};
