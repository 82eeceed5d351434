// url: an absolute URL of http, https, ws or wss as a client needs it: whom to connect to, whom to ask for, and what
// for. And what a reference in an answer, a redirect's Location, means beside it (RFC 3986 5).
//
//   const auto where = http::url::parse("http://[::1]:8080/notes?page=2#top");
//   where->host() == "::1"; where->port() == 8080; where->authority() == "[::1]:8080"; where->target() ==
//   "/notes?page=2";
#pragma once

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>

#include "eventer/base/result.hpp"
#include "eventer/http/characters.hpp"
#include "eventer/http/percent.hpp"
#include "eventer/http/target_form.hpp"
#include "eventer/http/url_error.hpp"

namespace eventer::inline EVENTER_ABI::http {

enum class url_scheme : std::uint8_t { http, https, ws, wss };

// A value. All views are of its text, and valid as long as it is there and is not assigned to.
class url {
 public:
  static constexpr std::size_t longest = std::size_t{32} << 10;

  // Scheme and host get lower case, a port that is the scheme's own and the fragment are left out, an empty path
  // becomes "/"; path and query stay as they are. Errors: url_errc.
  static io_result<url> parse(std::string_view text) {
    url result;
    if (const std::error_code error = result.take(text)) return error;
    return result;
  }
  // What `reference` means in a document that was found here: a whole URL, "//host/path", "/path", "path", "../path",
  // "?query". Blanks and bytes beyond ASCII in it, which servers send, are escaped. Errors: url_errc.
  io_result<url> resolve(std::string_view reference) const {
    if (reference.size() > longest) return make_error_code(url_errc::too_long);
    const std::string escaped = escape(reference.substr(0, reference.find('#')));
    std::string_view rest = escaped;
    if (has_scheme(rest)) return without_dots(parse(rest));
    std::string result(rest.starts_with("//") ? origin().substr(0, scheme().size() + 1) : origin());
    if (rest.starts_with('/'))
      result.append(rest);
    else if (rest.empty())
      result.append(target());
    else if (rest.starts_with('?'))
      result.append(path()).append(rest);
    else
      result.append(path().substr(0, path().rfind('/') + 1)).append(rest);
    return without_dots(parse(result));
  }

  url_scheme kind() const noexcept { return kind_; }
  std::string_view scheme() const noexcept { return names[static_cast<std::size_t>(kind_)]; }
  // Over TLS.
  bool is_secure() const noexcept { return kind_ == url_scheme::https || kind_ == url_scheme::wss; }
  // Whom to connect to and whom a certificate has to be for: a name or an address, without brackets.
  std::string_view host() const noexcept {
    const std::string_view host = view().substr(host_at(), host_size_);
    return host.starts_with('[') ? host.substr(1, host.size() - 2) : host;
  }
  std::uint16_t port() const noexcept { return port_; }
  // What the Host field says: with brackets, and with the port where it is not the scheme's own.
  std::string_view authority() const noexcept { return view().substr(host_at(), target_at_ - host_at()); }
  // Scheme and authority: "https://example.org". What two URLs have in common whose server is the same.
  std::string_view origin() const noexcept { return view().substr(0, target_at_); }
  // What the request line says: path and query.
  std::string_view target() const noexcept { return view().substr(target_at_); }
  std::string_view path() const noexcept { return target().substr(0, target().find('?')); }
  // Behind the question mark; empty where there is none.
  std::string_view query() const noexcept {
    const std::size_t mark = target().find('?');
    return mark == std::string_view::npos ? std::string_view() : target().substr(mark + 1);
  }
  const std::string& text() const noexcept { return text_; }

  friend bool operator==(const url& a, const url& b) noexcept { return a.text_ == b.text_; }

 private:
  static constexpr std::string_view names[] = {"http", "https", "ws", "wss"};
  static constexpr std::uint16_t own_ports[] = {80, 443, 80, 443};

  url() noexcept = default;
  std::string_view view() const noexcept { return text_; }
  std::size_t host_at() const noexcept { return scheme().size() + 3; }

  // scheme ":", whatever it is: then it is no path.
  static bool has_scheme(std::string_view text) noexcept {
    const std::size_t end = text.find_first_of(":/?#");
    if (end == 0 || end == std::string_view::npos || text[end] != ':' || (text[0] >= '0' && text[0] <= '9'))
      return false;
    for (const char each : text.substr(0, end))
      if (!detail::is_letter_or_digit(each) && each != '+' && each != '-' && each != '.') return false;
    return true;
  }

  std::error_code take(std::string_view text) {
    if (text.size() > longest) return url_errc::too_long;
    text = text.substr(0, text.find('#'));
    if (const std::error_code error = check_characters(text)) return error;
    if (!has_scheme(text)) return url_errc::no_scheme;
    const std::size_t colon = text.find(':');
    if (!take_scheme(text.substr(0, colon))) return url_errc::unknown_scheme;
    text.remove_prefix(colon + 1);
    if (!text.starts_with("//")) return url_errc::no_host;
    text.remove_prefix(2);
    const std::size_t end = std::min(text.find_first_of("/?"), text.size());
    text_.append(scheme()).append("://");
    if (const std::error_code error = take_authority(text.substr(0, end))) return error;
    target_at_ = static_cast<std::uint16_t>(text_.size());
    if (!text.substr(end).starts_with('/')) text_ += '/';
    text_.append(text.substr(end));
    return {};
  }
  static std::error_code check_characters(std::string_view text) noexcept {
    for (std::size_t i = 0; i < text.size(); ++i) {
      // Browsers take a backslash for a slash, others don't: what is behind it would be a host to some.
      if (!detail::is_http(detail::http_class::target, text[i]) || text[i] == '\\') return url_errc::bad_character;
      if (text[i] == '%' && detail::escaped_byte(text, i) < 0) return url_errc::bad_escape;
    }
    return {};
  }
  bool take_scheme(std::string_view name) noexcept {
    for (std::size_t i = 0; i < std::size(names); ++i) {
      if (!detail::equals_any_case(name, names[i])) continue;
      kind_ = static_cast<url_scheme>(i);
      return true;
    }
    return false;
  }
  std::error_code take_authority(std::string_view authority) {
    if (authority.find('@') != std::string_view::npos) return url_errc::has_user;
    const std::size_t bracket = authority.starts_with('[') ? authority.find(']') : 0;
    if (bracket == std::string_view::npos) return url_errc::bad_host;
    const std::size_t colon = authority.find(':', bracket);
    const std::string_view host = authority.substr(0, colon);
    if (host.empty()) return url_errc::no_host;
    if (!is_host(host)) return url_errc::bad_host;
    for (const char each : host) text_ += detail::lower_case(each);
    host_size_ = static_cast<std::uint16_t>(host.size());
    return take_port(colon == std::string_view::npos ? std::string_view() : authority.substr(colon + 1));
  }
  static bool is_host(std::string_view host) noexcept {
    if (host.starts_with('[')) return detail::http_authority::is_valid(host);
    constexpr std::size_t longest_name = 254;  // with its last dot
    if (host.size() > longest_name) return false;
    for (const char each : host)
      if (!detail::is_letter_or_digit(each) && each != '-' && each != '.' && each != '_') return false;
    return true;
  }
  // Empty: the scheme's own, as RFC 3986 3.2.3 allows "host:".
  std::error_code take_port(std::string_view digits) {
    const std::uint16_t own = own_ports[static_cast<std::size_t>(kind_)];
    port_ = own;
    if (digits.empty()) return {};
    const char* const end = digits.data() + digits.size();
    const auto [stopped, error] = std::from_chars(digits.data(), end, port_);
    if (error != std::errc() || stopped != end || port_ == 0) return url_errc::bad_port;
    if (port_ != own) text_.append(":").append(std::to_string(port_));
    return {};
  }

  static std::string escape(std::string_view reference) {
    std::string result;
    for (const char each : reference) {
      if (each == ' ' || static_cast<unsigned char>(each) >= 0x80)
        result.append(percent_encode({&each, 1}));
      else
        result += each;
    }
    return result;
  }
  // RFC 3986 5.2.4, which is for references only. The path begins with a slash, and stays so.
  static io_result<url> without_dots(io_result<url> found) {
    if (!found) return found;
    const std::string_view path = found->path();
    std::string result;  // ends in a slash before each segment
    for (std::size_t begin = 0; begin < path.size();) {
      const std::size_t end = std::min(path.find('/', begin + 1), path.size());
      const std::string_view segment = path.substr(begin + 1, end - begin - 1);
      begin = end;
      const bool is_last = end == path.size(), up = segment == "..";
      if (!up && segment != ".") {
        result.append(1, '/').append(segment);
        continue;
      }
      if (up) result.resize(result.empty() ? 0 : result.rfind('/'));  // never above the root
      if (is_last) result += '/';
    }
    found->text_.replace(found->target_at_, path.size(), result);
    return found;
  }

  std::string text_;
  std::uint16_t target_at_ = 0, host_size_ = 0, port_ = 0;
  url_scheme kind_ = url_scheme::http;
};

}  // namespace eventer::inline EVENTER_ABI::http
