// What a WebSocket is told, beside its peer.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "eventer/base/clock.hpp"

namespace eventer::inline EVENTER_ABI::http {

// Use designated initialisers; members are only ever appended. Zero: none, for times.
struct websocket_options {
  // Bytes of one message, however many frames it comes in; beyond it the connection ends with 1009. Memory is taken as
  // bytes come, not as they are announced.
  std::size_t max_message = std::size_t{1} << 20;
  // When nothing has come for so long, read() asks whether the peer is there; and if then nothing comes for
  // `pong_within`, it answers timed_out. Only while somebody reads.
  duration ping_every = std::chrono::seconds(30);
  duration pong_within = std::chrono::seconds(20);
  // read() answers timed_out where no message has come for so long, whether the peer answers pings or not, and the
  // connection ends with 1008.
  duration idle = duration::zero();
  // While the peer takes nothing of what is written.
  duration write_stall = std::chrono::seconds(30);
  // For a close: until it is its turn to be sent, and until the peer has answered it.
  duration close_within = std::chrono::seconds(5);
  // Of a server: what it speaks; of a client: what it offers, the best first. The client's first that the server knows
  // is chosen; none is no error.
  std::vector<std::string> protocols = {};
  // Of a server: which pages may connect, as their browsers say it: "https://example.org"; "*": all. What is no browser
  // sends no Origin, and may. Empty: only pages of the host that is asked, over http or https. What no browser would
  // say, "https://example.org/", is refused where the options are given: std::invalid_argument.
  std::vector<std::string> origins = {};
};

}  // namespace eventer::inline EVENTER_ABI::http
