// http_client.hpp for https, too: every client that is given no tls::context of its own speaks TLS over OpenSSL, with
// certificates verified against whom the system trusts. Including it in one unit of a program is enough.
//
//   const auto answer = eventer::http::get("https://example.org/");
//
// Needs what eventer/tls.hpp needs. Where the system's certificates can't be read, the first https URL throws
// std::system_error with the reason.
#pragma once

#include "eventer/http_client.hpp"
#include "eventer/tls.hpp"

namespace eventer::inline EVENTER_ABI::http::detail {

inline const any_client_security& system_trust() {
  static const auto& instance = *new typed_client_security<tls::context>(tls::context::client({.alpn = {"http/1.1"}}));
  return instance;
}
inline const bool speaks_https = (default_client_security().store(&system_trust), true);

}  // namespace eventer::inline EVENTER_ABI::http::detail
