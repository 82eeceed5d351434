// proxy_header: who a proxy in front says has connected to it, in the PROXY protocol, versions 1 and 2 (HAProxy's
// proxy-protocol.txt). Not one byte behind the header is read: what follows is for whoever reads next.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "eventer/base/buffer.hpp"
#include "eventer/base/clock.hpp"
#include "eventer/base/result.hpp"
#include "eventer/net/endpoint.hpp"
#include "eventer/net/stream.hpp"

namespace eventer::inline EVENTER_ABI {

struct proxy_header {
  int version = 0;  // 1 or 2
  // What the proxy's own client has connected from and to. Without address where the header names none (LOCAL, as
  // proxies check whether a server is up, UNKNOWN and UNSPEC): then the connection's own addresses hold.
  endpoint source, destination;

  bool names_addresses() const noexcept { return source.family() != AF_UNSPEC; }

  static constexpr std::size_t longest_v1 = 107;
  static constexpr std::size_t longest_v2_body = 4096;  // behind the first 16 bytes, with all extensions
};

// What a part of a header's bytes, from the first on, says.
struct proxy_header_state {
  enum class status : std::uint8_t { incomplete, complete, malformed };
  status what = status::incomplete;
  // Complete: the header's length; what was given beyond it is not looked at. Incomplete: how many more bytes belong to
  // it for certain, at least 1. Malformed: 0.
  std::size_t bytes = 0;
};

namespace detail {

inline constexpr proxy_header_state malformed_proxy_header{proxy_header_state::status::malformed, 0};
constexpr proxy_header_state incomplete_proxy_header(std::size_t at_least) noexcept {
  return {proxy_header_state::status::incomplete, at_least};
}
constexpr proxy_header_state complete_proxy_header(std::size_t length) noexcept {
  return {proxy_header_state::status::complete, length};
}

// The line "PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n", in one form only: one space between the words, numbers
// without leading zeros.
class proxy_line {
 public:
  static proxy_header_state parse(std::string_view bytes, proxy_header& into) {
    bytes = bytes.substr(0, proxy_header::longest_v1);
    const std::size_t end = bytes.find('\r');
    const std::string_view line = bytes.substr(0, end);
    if (!is_begin(line)) return malformed_proxy_header;
    if (line.size() + 1 < bytes.size())
      return bytes[end + 1] == '\n' && parse_words(line, into) ? complete_proxy_header(end + 2)
                                                               : malformed_proxy_header;
    if (bytes.size() == proxy_header::longest_v1) return malformed_proxy_header;
    return incomplete_proxy_header(line.size() < bytes.size() ? 1 : rest_at_least(line));
  }

 private:
  static constexpr std::string_view unknown = "PROXY UNKNOWN", v4 = "PROXY TCP4 ", v6 = "PROXY TCP6 ";

  static bool is_begin(std::string_view bytes) noexcept {
    for (const std::string_view form : {unknown, v4, v6})
      if (form.substr(0, bytes.size()) == bytes.substr(0, form.size()))
        return bytes.find('\n') == std::string_view::npos;
    return false;
  }
  // The least that turns the beginning of a line into a whole one: reading so much reads nothing that follows.
  static std::size_t rest_at_least(std::string_view bytes) noexcept {
    constexpr std::size_t line_end = 2;
    if (bytes.size() < unknown.size()) return unknown.size() + line_end - bytes.size();  // the shortest line
    if (bytes.starts_with(unknown)) return line_end;
    const std::size_t address = bytes.starts_with(v4) ? sizeof "1.1.1.1" - 1 : sizeof "::" - 1;
    const std::size_t words[] = {address, address, 1, 1};  // each at least so long
    bytes.remove_prefix(v4.size());
    std::size_t rest = line_end;
    for (const std::size_t& least : words) {
      const std::size_t length = std::min(bytes.find(' '), bytes.size());
      const bool is_over = length < bytes.size();
      if (!is_over) rest += length < least ? least - length : 0;
      if (!is_over && &least != &words[3]) ++rest;  // the space behind it
      bytes.remove_prefix(is_over ? length + 1 : length);
    }
    return rest;
  }

  static bool parse_words(std::string_view line, proxy_header& into) {
    into.version = 1;
    if (line.starts_with(unknown)) return line.size() == unknown.size() || line[unknown.size()] == ' ';
    const bool is_v4 = line.starts_with(v4);
    if (!is_v4 && !line.starts_with(v6)) return false;
    line.remove_prefix(v4.size());
    std::string_view words[4];
    for (std::string_view& word : words) {
      const std::size_t length = std::min(line.find(' '), line.size());
      if ((length == line.size()) != (&word == &words[3])) return false;  // too few words, or too many
      word = line.substr(0, length);
      line.remove_prefix(std::min(length + 1, line.size()));
    }
    return parse_endpoint(words[0], words[2], is_v4, into.source) &&
           parse_endpoint(words[1], words[3], is_v4, into.destination);
  }
  static bool parse_endpoint(std::string_view host, std::string_view digits, bool is_v4, endpoint& into) {
    std::uint16_t port = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
    if (digits.empty() || error != std::errc() || end != digits.data() + digits.size()) return false;
    if (digits.size() > 1 && digits.front() == '0') return false;
    // Zones are nobody else's matter; numbers with leading zeros could be octal.
    if (host.find('%') != std::string_view::npos || (host.find(':') != std::string_view::npos) == is_v4) return false;
    for (std::size_t i = 0; is_v4 && i + 1 < host.size(); ++i)
      if (host[i] == '0' && host[i + 1] != '.' && (i == 0 || host[i - 1] == '.')) return false;
    const io_result<endpoint> parsed = endpoint::from_host(host, port);
    if (parsed) into = *parsed;
    return parsed.has_value();
  }
};

// Sixteen bytes: a signature, version and command, family and transport, the length of what follows; then the
// addresses and extensions (TLVs), which are skipped.
class proxy_block {
 public:
  static constexpr std::string_view signature{"\r\n\r\n\0\r\nQUIT\n", 12};

  static proxy_header_state parse(std::string_view bytes, proxy_header& into) {
    constexpr std::size_t head = 16;
    if (signature.substr(0, bytes.size()) != bytes.substr(0, signature.size())) return malformed_proxy_header;
    if (bytes.size() > 12 && byte(bytes, 12) != with_addresses && byte(bytes, 12) != local)
      return malformed_proxy_header;
    if (bytes.size() > 13 && !is_family(byte(bytes, 13))) return malformed_proxy_header;
    if (bytes.size() < head) return incomplete_proxy_header(head - bytes.size());
    const std::size_t body = byte(bytes, 14) * 256u + byte(bytes, 15);
    const bool is_local = byte(bytes, 12) == local;
    const std::size_t named_bytes = is_local ? 0 : address_bytes(byte(bytes, 13));
    if (body > proxy_header::longest_v2_body || body < named_bytes) return malformed_proxy_header;
    if (bytes.size() < head + body) return incomplete_proxy_header(head + body - bytes.size());
    into.version = 2;
    const std::string_view rest = bytes.substr(head, body);
    if (!is_local && !are_extensions(rest.substr(named_bytes))) return malformed_proxy_header;
    if (!is_local) parse_addresses(byte(bytes, 13), rest, into);
    return complete_proxy_header(head + body);
  }

 private:
  static constexpr unsigned local = 0x20, with_addresses = 0x21;
  static constexpr std::size_t path_bytes = 108;

  static unsigned byte(std::string_view bytes, std::size_t at) noexcept {
    return static_cast<unsigned char>(bytes[at]);
  }
  // UNSPEC, or one of three families with one of two transports. All else "must be rejected".
  static bool is_family(unsigned family) noexcept {
    return family == 0 || (family >> 4 >= 1 && family >> 4 <= 3 && ((family & 15) == 1 || (family & 15) == 2));
  }
  static std::size_t address_bytes(unsigned family) noexcept {
    constexpr std::size_t bytes[] = {0, 2 * (4 + 2), 2 * (16 + 2), 2 * path_bytes};
    return bytes[family >> 4];
  }
  // Each has a type, a length of two bytes and so many bytes.
  static bool are_extensions(std::string_view rest) noexcept {
    while (!rest.empty()) {
      if (rest.size() < 3) return false;
      const std::size_t size = 3 + byte(rest, 1) * 256u + byte(rest, 2);
      if (size > rest.size()) return false;
      rest.remove_prefix(size);
    }
    return true;
  }
  static void parse_addresses(unsigned family, std::string_view from, proxy_header& into) noexcept {
    const bool is_v4 = family >> 4 == 1;
    const std::size_t size = is_v4 ? 4 : 16;
    if (family >> 4 == 0) return;
    if (family >> 4 == 3) {
      into.source = path_at(from.data());
      into.destination = path_at(from.data() + path_bytes);
      return;
    }
    into.source = is_v4 ? v4_at(from.data(), from.data() + 2 * size) : v6_at(from.data(), from.data() + 2 * size);
    into.destination = is_v4 ? v4_at(from.data() + size, from.data() + 2 * size + 2)
                             : v6_at(from.data() + size, from.data() + 2 * size + 2);
  }
  // In network order there as here.
  static endpoint v4_at(const char* address, const char* port) noexcept {
    sockaddr_in v4{};
    v4.sin_family = AF_INET;
    std::memcpy(&v4.sin_addr, address, sizeof v4.sin_addr);
    std::memcpy(&v4.sin_port, port, sizeof v4.sin_port);
    return endpoint(reinterpret_cast<const sockaddr*>(&v4), sizeof v4);
  }
  static endpoint v6_at(const char* address, const char* port) noexcept {
    sockaddr_in6 v6{};
    v6.sin6_family = AF_INET6;
    std::memcpy(&v6.sin6_addr, address, sizeof v6.sin6_addr);
    std::memcpy(&v6.sin6_port, port, sizeof v6.sin6_port);
    return endpoint(reinterpret_cast<const sockaddr*>(&v6), sizeof v6);
  }
  // Filled up with NULs; one that begins with NUL is abstract, all NULs an unnamed socket.
  static endpoint path_at(const char* path) noexcept {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    static_assert(sizeof address.sun_path == path_bytes);
    std::memcpy(address.sun_path, path, path_bytes);
    std::size_t length = path[0] != '\0' ? ::strnlen(path, path_bytes) : path_bytes;
    while (length > 0 && path[length - 1] == '\0') --length;
    if (length > 0 && path[0] != '\0' && length < path_bytes) ++length;  // with the NUL that ends it
    return endpoint(reinterpret_cast<const sockaddr*>(&address),
                    static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length));
  }
};

}  // namespace detail

// Looks at all bytes that have come so far, from the first on. Pure; `into` is written where they are complete, and
// otherwise is as it was.
inline proxy_header_state parse_proxy_header(const_buffer received, proxy_header& into) {
  const std::string_view bytes(received.data(), received.size());
  if (bytes.empty()) return detail::incomplete_proxy_header(15);  // the shortest header of all
  proxy_header parsed;
  const bool is_block = bytes.front() == detail::proxy_block::signature.front();
  const proxy_header_state state =
      is_block ? detail::proxy_block::parse(bytes, parsed) : detail::proxy_line::parse(bytes, parsed);
  if (state.what == proxy_header_state::status::complete) into = parsed;
  return state;
}

// Reads one header. Completes: when it has all come, or can't be one. The limit is for all of it. Reads no more than
// what certainly belongs to the header: three reads for version 2, six to sixteen short ones for version 1.
// Errors: bad_proxy_header for whatever is none, end_of_stream before it was complete; the stream should then be
// closed, as a part of it is read.
inline io_result<proxy_header> read_proxy_header(stream& from, time_limit limit = {}) {
  limit = detail::fixed(limit);  // not anew for each piece
  std::string bytes;
  proxy_header header;
  for (;;) {
    const proxy_header_state state = parse_proxy_header(bytes, header);
    if (state.what == proxy_header_state::status::malformed) return errc::bad_proxy_header;
    if (state.what == proxy_header_state::status::complete) return header;
    const std::size_t before = bytes.size();
    bytes.resize(before + state.bytes);
    const io_result<std::size_t> got = from.read_some({bytes.data() + before, state.bytes}, limit);
    if (!got) return got.error();
    bytes.resize(before + *got);  // looked at at once: who speaks another protocol may wait for an answer
  }
}

}  // namespace eventer::inline EVENTER_ABI
