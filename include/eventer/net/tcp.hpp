// tcp_stream and tcp_acceptor: TCP over IPv4 and IPv6.
#pragma once

#include <string_view>

#include "eventer/net/acceptor.hpp"
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
  static io_result<tcp_stream> connect(std::string_view address) { return connect_text(address, no_deadline); }
  static io_result<tcp_stream> connect(std::string_view address, duration limit) {
    return connect_text(address, deadline_after(clock::now(), limit));
  }
  static io_result<tcp_stream> connect(const endpoint& peer) { return connect_until(peer, no_deadline); }
  static io_result<tcp_stream> connect(const endpoint& peer, duration limit) {
    return connect_until(peer, deadline_after(clock::now(), limit));
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

 private:
  friend class basic_acceptor<tcp_stream>;
  explicit tcp_stream(std::unique_ptr<descriptor> owned) noexcept : stream(std::move(owned)) {}

  static io_result<tcp_stream> connect_text(std::string_view address, time_point deadline) {
    const auto peer = endpoint::parse(address);
    if (!peer) return peer.error();
    return connect_until(*peer, deadline);
  }
  static io_result<tcp_stream> connect_until(const endpoint& peer, time_point deadline) {
    if (!speaks(peer.family())) return errc::bad_address;
    auto owned = detail::connect_socket(peer, deadline);
    if (!owned) return owned.error();
    tcp_stream connected(std::move(*owned));
    (void)connected.set_no_delay(true);
    return connected;
  }
  static bool speaks(int family) noexcept { return family == AF_INET || family == AF_INET6; }
  void prepare_accepted() { (void)set_no_delay(true); }
};

using tcp_acceptor = basic_acceptor<tcp_stream>;

}  // namespace eventer::inline EVENTER_ABI
