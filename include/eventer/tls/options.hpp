// What a TLS context is to do. Use designated initialisers; members are only ever appended.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "eventer/base/clock.hpp"
#include "eventer/tls/ticket_keys.hpp"

namespace eventer::inline EVENTER_ABI::tls {

enum class version : std::uint8_t { tls_1_2, tls_1_3 };

// Whether a server asks for its clients' certificates. `optional`: who sends one must send one that verifies.
enum class client_certificates : std::uint8_t { none, optional, required };

// A certificate, and what it is for. PEM files, the certificate's with those in between behind it.
struct certificate_files {
  std::string certificate = {}, key = {};
  // Such as "example.org" or "*.example.org", which stands for one label; empty: those that it names itself.
  std::vector<std::string> names = {};
};

inline constexpr duration default_handshake_timeout = std::chrono::seconds(10);

struct server_options {
  // More, of which the one is taken that has the name that a client asks for (SNI); the first where none has.
  std::vector<certificate_files> certificates = {};
  std::vector<std::string> alpn =
      {};  // "h2", "http/1.1", best first; who offers none of them is refused. Empty: no ALPN
  client_certificates clients = client_certificates::none;
  std::string client_ca = {};  // a PEM file with whom to trust with clients' certificates
  version min_version = version::tls_1_2, max_version = version::tls_1_3;
  duration handshake_timeout = default_handshake_timeout;  // where accept() is given none
  std::string ciphers = {};  // of TLS 1.2, as OpenSSL writes them; empty: those that are sound
  bool session_tickets = true;
  ticket_keys tickets = {};    // the same for all who are to accept each other's
  bool allow_expired = false;  // a certificate that has expired, or is not valid yet, is an error otherwise
};

struct client_options {
  std::string ca_file = {};  // a PEM file with whom to trust; empty: whom the system trusts
  std::vector<std::string> alpn = {};
  std::string certificate = {}, key = {};  // the client's own, for servers that ask for one; empty: none
  version min_version = version::tls_1_2, max_version = version::tls_1_3;
  duration handshake_timeout = default_handshake_timeout;  // where connect() is given none
  std::string ciphers = {};                                // of TLS 1.2, as above
  bool verify = true;  // false: whoever answers is believed, and can read and change everything
  bool resume = true;  // keeps a ticket for each host, so that coming back takes less
};

}  // namespace eventer::inline EVENTER_ABI::tls
