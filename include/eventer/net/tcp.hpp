// tcp_stream and tcp_acceptor: TCP over IPv4 and IPv6.
#pragma once

#include <string_view>

#include "eventer/net/acceptor.hpp"
#include "eventer/net/connect.hpp"
#include "eventer/net/stream.hpp"

namespace eventer::inline EVENTER_ABI {

class tcp_stream : public stream {
 public:
  tcp_stream() noexcept = default;

  // Adopts a descriptor and sets it non-blocking; it is closed with the stream. Errors: what fcntl answers.
  static io_result<tcp_stream> from_fd(int fd) {
    auto owned = adopt(fd);
    if (!owned) return owned.error();
    return tcp_stream(std::move(*owned));
  }

  // Connects to an address ("127.0.0.1:80", "[::1]:80"; no names yet). Completes: when the peer has answered. Errors:
  // bad_address, connection_refused, network_unreachable, ..., timed_out.
  static io_result<tcp_stream> connect(std::string_view address, time_limit limit = {}) {
    const auto peer = endpoint::parse(address);
    if (!peer) return peer.error();
    return connect(*peer, limit);
  }
  static io_result<tcp_stream> connect(const endpoint& peer, time_limit limit = {}) {
    if (!speaks(peer.family())) return errc::bad_address;
    auto owned = detail::connect_socket(peer, limit);
    if (!owned) return owned.error();
    return accepted(std::move(*owned));
  }

  // True sends small writes at once instead of gathering them (TCP_NODELAY). Streams made by connect and accept start
  // with true.
  io_result<void> set_no_delay(bool on) {
    const int value = on ? 1 : 0;
    if (!is_open()) return errc::closed;
    if (system::setsockopt(native_handle(), IPPROTO_TCP, TCP_NODELAY, &value, sizeof value) != 0)
      return error_from_errno(errno);
    return {};
  }

  // For the library: a stream over a descriptor that is connected.
  static tcp_stream over(std::unique_ptr<descriptor> owned) noexcept { return tcp_stream(std::move(owned)); }

 private:
  friend class basic_acceptor<tcp_stream>;
  friend struct detail::accept_step<tcp_stream>;
  explicit tcp_stream(std::unique_ptr<descriptor> owned) noexcept : stream(std::move(owned)) {}

  static bool speaks(int family) noexcept { return family == AF_INET || family == AF_INET6; }
  static tcp_stream accepted(std::unique_ptr<descriptor> owned) {
    tcp_stream connected(std::move(owned));
    (void)connected.set_no_delay(true);
    return connected;
  }
};

using tcp_acceptor = basic_acceptor<tcp_stream>;

}  // namespace eventer::inline EVENTER_ABI
