// limits: how much a client may send, and how long it may take. Each bounds what one connection costs a server; none
// is there to be raised for a single large upload, which a handler reads piece by piece.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "eventer/base/clock.hpp"

namespace eventer::inline EVENTER_ABI::http {

// Use designated initialisers; members are only ever appended.
struct limits {
  // Bytes, line ends included. Beyond them 414, and for whole heads and for trailers 431.
  std::size_t request_line = std::size_t{8} << 10;   // what RFC 9112 asks of everybody: 8,000
  std::size_t header_bytes = std::size_t{16} << 10;  // the whole head, from the method to the empty line
  std::size_t header_count = 100;                    // lines; they are searched one by one
  // Bytes of one body, in chunks with their extensions, of which there could be 256 for each byte that a handler sees;
  // 413 beyond, at once where the length is declared.
  std::uint64_t body = std::uint64_t{1} << 20;
  // Bytes of one chunk's extensions, which nobody reads; 400 beyond.
  std::size_t chunk_extension = 256;
  std::size_t trailer_bytes = std::size_t{8} << 10;  // what follows the last chunk, the empty line included

  // Zero: none.
  duration header_time = std::chrono::seconds(10);      // for a whole head, from its first byte, however it drips in
  duration body_idle = std::chrono::seconds(30);        // between two pieces of a body
  duration request_time = duration::zero();             // from the first byte until the body is read
  duration response_stall = std::chrono::seconds(30);   // while a client takes nothing of its answer
  duration keep_alive_idle = std::chrono::seconds(60);  // between an answer and the next request
  // Then the connection is closed, so that a balancer in front can move its clients. 0: no limit.
  std::uint64_t requests_per_connection = 10'000;

  // Places in a head are kept in 16 bits, which is half of what a parsed head takes: no head is larger, whatever
  // header_bytes says.
  static constexpr std::size_t largest_head = 65'535;
  constexpr std::size_t head_most() const noexcept { return std::min(header_bytes, largest_head); }
  constexpr std::size_t request_line_most() const noexcept { return std::min(request_line, head_most()); }
};

}  // namespace eventer::inline EVENTER_ABI::http
