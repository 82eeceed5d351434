// What a client allows a server, how long it waits for it, and which connections it keeps. Use designated initialisers;
// members are only ever appended.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "eventer/base/clock.hpp"

namespace eventer::inline EVENTER_ABI::http {

struct client_options {
  // --- times; zero: no limit ---

  duration connect_time = std::chrono::seconds(10);    // the name's lookup, all its addresses
  duration handshake_time = std::chrono::seconds(10);  // of TLS
  duration queue_time = std::chrono::seconds(30);      // for one of max_connections to become free
  duration head_time = std::chrono::seconds(30);       // from the request's last byte until the answer's head is there
  duration body_idle = std::chrono::seconds(30);       // between two pieces of an answer's body
  duration send_stall = std::chrono::seconds(30);      // while a server takes nothing of the request
  duration continue_time = std::chrono::seconds(1);    // for a 100 (Continue); then the body is sent without it
  // The whole exchange, redirects and the body of the answer included: against a server that sends a byte now and then.
  duration total_time = std::chrono::minutes(5);

  // --- sizes ---

  std::size_t header_bytes = std::size_t{64} << 10;  // of an answer's head; limits::largest_head at most
  std::size_t header_count = 200;
  std::uint64_t body = std::uint64_t{8} << 20;  // of body(), which is whole in memory; pieces have no limit

  // --- connections; of each loop, and each origin: scheme, host and port ---

  std::size_t max_connections = 32;  // in use; who wants one more waits, first come, first served. 0: no limit
  std::size_t max_idle = 16;
  std::size_t max_idle_of_all = 256;  // origins together
  // An idle connection is kept for so long, or a second less than what the server says in Keep-Alive. Below the 5 s of
  // the servers that close first (node, Apache): the server's close must not meet the next request on its way.
  duration idle = std::chrono::seconds(4);

  // --- redirects ---

  unsigned redirects = 10;          // followed; 0: they are given to the caller. One more is an error
  bool insecure_redirects = false;  // from https to http

  std::string user_agent = "eventer";  // empty: none
  // Whom to connect to in the place of the URL's host: "127.0.0.1:8080", "unix:/run/app.sock". Host field, certificate
  // and origin stay the URL's. Empty: the URL's host.
  std::string connect_to = {};
};

// What one request has of its own, for http::get(url, {...}).
struct request_options {
  std::vector<std::pair<std::string, std::string>> headers = {};
  std::optional<duration> total_time = {};  // in the place of the client's
  std::optional<unsigned> redirects = {};   // likewise
  std::optional<std::uint64_t> body = {};   // likewise: the limit of body()
};

}  // namespace eventer::inline EVENTER_ABI::http
