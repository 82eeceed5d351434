// target_form: the second word of a request line taken apart, and the host that a request is for (RFC 9112 3.2).
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "eventer/http/characters.hpp"
#include "eventer/http/refusal.hpp"

namespace eventer::inline EVENTER_ABI::http::detail {

// host [":" port], of a Host field, of a target in absolute form or of CONNECT: a name, an IPv4 address, or an IPv6
// address in brackets. No user, no zone, no IPvFuture.
class http_authority {
 public:
  static bool is_valid(std::string_view text) noexcept {
    const std::size_t host = text.starts_with('[') ? bracketed(text) : named(text);
    return host > 0 && is_port(text.substr(host));
  }

 private:
  // How many bytes of it are the host; 0: it begins with none.
  static std::size_t bracketed(std::string_view text) noexcept {
    const std::size_t close = text.find(']');
    char address[INET6_ADDRSTRLEN] = "";
    in6_addr parsed;
    if (close == std::string_view::npos || close - 1 >= sizeof address) return 0;
    std::memcpy(address, text.data() + 1, close - 1);
    return ::inet_pton(AF_INET6, address, &parsed) == 1 ? close + 1 : 0;
  }
  static std::size_t named(std::string_view text) noexcept {
    std::size_t size = 0;
    for (; size < text.size() && text[size] != ':'; ++size) {
      const bool is_escape = text[size] == '%' && size + 2 < text.size() && is_http(http_class::hex, text[size + 1]) &&
                             is_http(http_class::hex, text[size + 2]);
      if (is_escape)
        size += 2;
      else if (!is_http(http_class::host, text[size]))
        return 0;
    }
    return size;
  }
  static bool is_port(std::string_view rest) noexcept {
    if (rest.empty() || rest == ":") return true;  // RFC 3986 3.2.3 allows the second
    std::uint16_t port = 0;
    const char* const end = rest.data() + rest.size();
    const auto [stopped, error] = std::from_chars(rest.data() + 1, end, port);
    return rest.front() == ':' && error == std::errc() && stopped == end;
  }
};

// All parts are views of the target.
struct http_target {
  std::string_view authority;  // of the absolute form, and of CONNECT
  std::string_view path;       // "*" for the asterisk form; empty where an absolute form has none, which means "/"
  std::string_view query;      // behind the question mark

  static http::refusal parse(std::string_view method, std::string_view target, http_target& into) noexcept {
    into = {};
    if (!is_escaped(target)) return {400, "a target with a malformed percent escape, or a character that none has"};
    if (method == "CONNECT") {
      into.authority = target;
      if (!http_authority::is_valid(target) || target.find(':') == std::string_view::npos)
        return {400, "CONNECT to something else than host:port"};
      return {501, "CONNECT, which is a proxy's"};
    }
    if (target == "*") {
      into.path = target;
      return method == "OPTIONS" ? http::refusal{} : http::refusal{400, "the target * of another method than OPTIONS"};
    }
    if (target.starts_with('/')) return into.split(target), http::refusal{};
    const std::size_t scheme = scheme_size(target);
    if (scheme == 0) return {400, "a target that is neither a path nor an http or https URL"};
    target.remove_prefix(scheme);
    into.authority = target.substr(0, target.find_first_of("/?"));
    if (!http_authority::is_valid(into.authority)) return {400, "a target whose host or port is none"};
    into.split(target.substr(into.authority.size()));
    return {};
  }

 private:
  static bool is_escaped(std::string_view target) noexcept {
    const char* p = target.data();
    const char* const end = p + target.size();
    for (; p != end; ++p) {
      if (!is_http(http_class::target, *p)) return false;
      if (*p != '%') continue;
      if (end - p < 3 || !is_http(http_class::hex, p[1]) || !is_http(http_class::hex, p[2])) return false;
      p += 2;
    }
    return true;
  }
  static std::size_t scheme_size(std::string_view target) noexcept {
    for (const std::string_view scheme : {"http://", "https://"})
      if (equals_any_case(target.substr(0, scheme.size()), scheme)) return scheme.size();
    return 0;
  }
  void split(std::string_view text) noexcept {
    const std::size_t mark = text.find('?');
    path = text.substr(0, mark);
    query = mark == std::string_view::npos ? std::string_view() : text.substr(mark + 1);
  }
};

}  // namespace eventer::inline EVENTER_ABI::http::detail
