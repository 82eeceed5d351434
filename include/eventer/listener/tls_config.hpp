// tls_config: what [listener.tls] says, as plain data. What makes TLS of it is in eventer/tls.hpp; see
// connection_layer.hpp.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "eventer/base/clock.hpp"

namespace eventer::inline EVENTER_ABI {

enum class tls_client_certificates : std::uint8_t { none, optional, required };
enum class tls_min_version : std::uint8_t { tls_1_2, tls_1_3 };

// PEM files; the certificate's with those in between behind it.
struct tls_certificate {
  std::string certificate = {}, key = {};
  std::vector<std::string> names = {};  // for which it is (SNI); empty: those that it names itself
};

// Members are only ever appended.
struct tls_config {
  tls_certificate main;                       // for clients that ask for no name, or for none of those below
  std::vector<tls_certificate> certificates;  // more
  std::vector<std::string> alpn;              // "h2", "http/1.1", best first; empty: none
  tls_client_certificates client_certificates = tls_client_certificates::none;
  std::string client_ca;  // a PEM file with whom to trust with clients' certificates
  duration handshake_timeout = std::chrono::seconds(10);
  tls_min_version min_version = tls_min_version::tls_1_2;
  std::string source;   // where it was written, "service.toml:12", for messages
  std::string ciphers;  // of TLS 1.2, as OpenSSL writes them; empty: those that are sound
};

}  // namespace eventer::inline EVENTER_ABI
