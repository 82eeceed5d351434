// tcp_stream and tcp_acceptor: TCP over IPv4 and IPv6.
//
// They rest on stream and basic_acceptor; connecting is in connect.hpp, connect_race.hpp and connect_operation.hpp.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "eventer/net/acceptor.hpp"
#include "eventer/net/connect_operation.hpp"
#include "eventer/net/stream.hpp"

namespace eventer::inline EVENTER_ABI {

class tcp_stream : public stream {
  using operation = detail::connect_operation<tcp_stream>;

 public:
  tcp_stream() noexcept = default;

  // Adopts a descriptor and sets it non-blocking; it is closed with the stream. Errors: what fcntl answers.
  static io_result<tcp_stream> from_fd(int fd) {
    auto owned = adopt(fd);
    if (!owned) return owned.error();
    return tcp_stream(std::move(*owned));
  }

  // Connects to "127.0.0.1:80", "[::1]:80" or to a name: "example.org:443", "localhost:http". A name is looked up (see
  // resolve()), and of its addresses that one is taken which answers first: IPv6 and IPv4 take turns, the next one
  // begins when one has failed or has not answered for 250 ms (RFC 8305), and all but the winner are closed.
  //
  // Completes: when a peer has answered. The limit is for all of it. Errors: bad_address; those of resolve();
  // connection_refused, network_unreachable, ..., of several addresses the last error that tells most; timed_out.
  static io_result<tcp_stream> connect(std::string_view address, time_limit limit = {}) {
    if (const auto peer = endpoint::parse(address); peer) return connect(*peer, limit);
    auto owned = detail::connect_by_name(address, limit);
    if (!owned) return owned.error();
    return accepted(std::move(*owned));
  }
  static io_result<tcp_stream> connect(const endpoint& peer, time_limit limit = {}) {
    if (!speaks(peer.family())) return errc::bad_address;
    auto owned = detail::connect_socket(peer, limit);
    if (!owned) return owned.error();
    return accepted(std::move(*owned));
  }
  // The same with addresses that are known, best first: connect(*resolve(host, service)).
  static io_result<tcp_stream> connect(std::span<const endpoint> peers, time_limit limit = {}) {
    if (!speaks_all(peers)) return errc::bad_address;
    auto owned = detail::connect_any(peers, limit);
    if (!owned) return owned.error();
    return accepted(std::move(*owned));
  }

  // As something to await, in any C++20 coroutine. What it is given is copied.
  static operation async_connect(std::string_view address, time_limit limit = {}) {
    if (const auto peer = endpoint::parse(address); peer) return async_connect(*peer, limit);
    const auto parts = detail::split_address(address);
    if (!parts) return operation(parts.error());
    return operation(resolver::shared().async_resolve(parts->host, parts->service), limit);
  }
  static operation async_connect(const endpoint& peer, time_limit limit = {}) {
    return async_connect(std::span(&peer, 1), limit);
  }
  static operation async_connect(std::span<const endpoint> peers, time_limit limit = {}) {
    if (!speaks_all(peers)) return operation(make_error_code(errc::bad_address));
    return operation(std::vector<endpoint>(peers.begin(), peers.end()), limit);
  }

  // True sends small writes at once instead of gathering them (TCP_NODELAY). Streams made by connect and accept start
  // with true.
  io_result<void> set_no_delay(bool on) {
    const int value = on ? 1 : 0;
    if (!is_open()) return errc::closed;
    if (syscalls::setsockopt(native_handle(), IPPROTO_TCP, TCP_NODELAY, &value, sizeof value) != 0)
      return error_from_errno(errno);
    return {};
  }

  // For the library: a stream over a descriptor that is connected.
  static tcp_stream over(std::unique_ptr<descriptor> owned) noexcept { return tcp_stream(std::move(owned)); }

 private:
  friend class basic_acceptor<tcp_stream>;
  friend struct detail::accept_step<tcp_stream>;
  friend class detail::connect_operation<tcp_stream>;
  explicit tcp_stream(std::unique_ptr<descriptor> owned) noexcept : stream(std::move(owned)) {}

  static constexpr auto origin_of_accepted = descriptor::origin::made_here;
  static bool speaks(int family) noexcept { return family == AF_INET || family == AF_INET6; }
  static bool speaks_all(std::span<const endpoint> peers) noexcept {
    bool all = true;
    for (const endpoint& each : peers) all = all && speaks(each.family());
    return all;
  }
  static tcp_stream accepted(std::unique_ptr<descriptor> owned) {
    tcp_stream connected(std::move(owned));
    (void)connected.set_no_delay(true);
    return connected;
  }
};

using tcp_acceptor = basic_acceptor<tcp_stream>;

}  // namespace eventer::inline EVENTER_ABI
