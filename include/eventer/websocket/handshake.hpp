// The opening handshake (RFC 6455 4) from the server's side: whether a request asks for a WebSocket, and may.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "eventer/http/bad_argument.hpp"
#include "eventer/http/request.hpp"
#include "eventer/http/response.hpp"
#include "eventer/http/target_form.hpp"
#include "eventer/websocket/options.hpp"
#include "eventer/websocket/sha1.hpp"

namespace eventer::inline EVENTER_ABI::http::detail {

// What a server answers to a key.
inline std::string websocket_accept(std::string_view key) {
  return base64(sha1(std::string(key).append("258EAFA5-E914-47DA-95CA-C5AB0DC85B11")));
}

// "Example.org:443" as "example.org", for `own_port` ":443": the ports of http and https are left out where they are
// the scheme's.
inline std::string comparable_authority(std::string_view authority, std::string_view own_port) {
  std::string result;
  if (authority.ends_with(own_port)) authority.remove_suffix(own_port.size());
  for (const char each : authority) result += lower_case(each);
  return result;
}
// Whether a page of this origin may connect to this host. A page that has come in the clear is not that of a host which
// is reached over the server's own TLS; where a proxy may do the TLS nobody can tell.
inline bool is_same_host(std::string_view origin, std::string_view host, bool is_over_tls) {
  const std::size_t end = origin.find("://");
  if (end == std::string_view::npos || host.empty()) return false;  // "null": a page that tells nobody whose it is
  const bool is_https = equals_any_case(origin.substr(0, end), "https");
  if (!is_https && (is_over_tls || !equals_any_case(origin.substr(0, end), "http"))) return false;
  const std::string_view own_port = is_https ? ":443" : ":80";
  return comparable_authority(origin.substr(end + 3), own_port) == comparable_authority(host, own_port);
}
// Of websocket_options: what no browser would say is a mistake. std::invalid_argument.
inline void check_origins(const std::vector<std::string>& origins) {
  for (const std::string_view each : origins) {
    const std::size_t end = each.find("://");
    const bool is_one = end != std::string_view::npos && end > 0 && http_authority::is_valid(each.substr(end + 3));
    if (!is_one && each != "*" && each != "null")
      refuse_argument("an origin is scheme://host or scheme://host:port, and this is " + eventer::detail::quoted(each));
  }
}
inline bool may_connect(request& asked, const std::vector<std::string>& origins) {
  const value origin = asked.header("Origin");
  if (!origin) return true;
  if (origins.empty())
    return is_same_host(origin, asked.host(), asked.stream().is_open() && asked.stream().file()->is_layered());
  for (const std::string& each : origins)
    if (each == "*" || equals_any_case(each, origin)) return true;
  return false;
}

// The client's first that is known here, or nothing.
inline std::string chosen_protocol(const request& asked, const std::vector<std::string>& known) {
  for (std::size_t i = 0; i < asked.header_count(); ++i) {
    const header_field field = asked.header(i);
    if (!equals_any_case(field.name, "Sec-WebSocket-Protocol")) continue;
    std::string_view list = field.value;
    while (!list.empty()) {
      const std::string_view offered = take_element(list);
      for (const std::string& each : known)
        if (each == offered) return each;
    }
  }
  return {};
}

inline std::size_t count_of(const request& asked, std::string_view name) {
  std::size_t found = 0;
  for (std::size_t i = 0; i < asked.header_count(); ++i) found += equals_any_case(asked.header(i).name, name) ? 1u : 0u;
  return found;
}

struct handshake_refusal {
  int status = 0;  // 0: none
  const char* sentence = "";
};

inline handshake_refusal judge_handshake(request& asked, const websocket_options& options) {
  if (asked.method() != "GET" || asked.minor_version() == 0 || !asked.has_token("Upgrade", "websocket") ||
      !asked.has_token("Connection", "Upgrade"))
    return {426, "this is for WebSocket clients: a GET over HTTP/1.1 with Upgrade: websocket\n"};
  // A proxy or a log in front might go by the other one (RFC 6455 11.3.5, RFC 6454 7.3).
  for (const char* once : {"Sec-WebSocket-Version", "Origin"})
    if (count_of(asked, once) > 1) return {400, "a WebSocket handshake has one version, and one origin\n"};
  if (asked.header("Sec-WebSocket-Version") != "13") return {426, "only version 13 of WebSocket is spoken here\n"};
  if (count_of(asked, "Sec-WebSocket-Key") != 1 || !is_base64_of_16(asked.header("Sec-WebSocket-Key")))
    return {400, "Sec-WebSocket-Key is not 16 bytes in base64\n"};
  if (asked.content_length() != std::optional<std::uint64_t>(0)) return {400, "a WebSocket handshake has no body\n"};
  if (!may_connect(asked, options.origins)) return {403, "pages of this origin may not connect here\n"};
  return {};
}

}  // namespace eventer::inline EVENTER_ABI::http::detail
