// udp_socket and unix_datagram_socket: datagrams, whose calls read as if they blocked.
//
//   auto socket = eventer::udp_socket::bind("0.0.0.0:9999").value();
//   std::array<char, 1500> bytes;
//   while (auto got = socket.receive_from(bytes)) (void)socket.send_to({bytes.data(), got->size}, got->from);
//
// A call tries the kernel first; only where that answers EAGAIN does the coroutine park. One receiver and one sender
// may use a socket at the same time. Nothing but the calling coroutine ever touches its buffers, slots and addresses,
// so they may be locals on a shared stack.
#pragma once

#include <climits>
#include <memory>
#include <span>
#include <string_view>
#include <utility>

#include "eventer/net/datagram_steps.hpp"

namespace eventer::inline EVENTER_ABI {

namespace detail {

struct internet_datagrams {
  static constexpr bool speaks(int family) noexcept { return family == AF_INET || family == AF_INET6; }
};
struct unix_datagrams {
  static constexpr bool speaks(int family) noexcept { return family == AF_UNIX; }
};

}  // namespace detail

// Errors of every call, beside those named at each: what the kernel answers (message_size, network_unreachable, ...),
// `timed_out` when a limit was given, `closed` when the socket is closed here meanwhile, `busy` for a second receiver
// or sender, and for a cancelled coroutine the exception `cancelled`. An error does not break the socket.
template <class Kind>
class basic_datagram_socket {
 public:
  basic_datagram_socket() noexcept = default;  // not open: every call answers `closed`
  basic_datagram_socket(basic_datagram_socket&&) noexcept = default;
  basic_datagram_socket& operator=(basic_datagram_socket&&) noexcept = default;

  // A socket with an address of its own, to which others send. Port 0 lets the kernel choose: ask local(). A unix path
  // must not exist yet, and stays: unlink it. Errors: bad_address, address_in_use, permission_denied, ...
  static io_result<basic_datagram_socket> bind(std::string_view address) {
    const auto where = endpoint::parse(address);
    if (!where) return where.error();
    return bind(*where);
  }
  static io_result<basic_datagram_socket> bind(const endpoint& where) {
    return opened_and(where, &basic_datagram_socket::bind_to);
  }
  // One that sends to `peer` and receives from nobody else. Nothing is sent yet, so nobody need be there. Names are not
  // looked up: see resolve(). Errors: bad_address, network_unreachable, ...
  static io_result<basic_datagram_socket> connect(std::string_view address) {
    const auto peer = endpoint::parse(address);
    if (!peer) return peer.error();
    return connect(*peer);
  }
  static io_result<basic_datagram_socket> connect(const endpoint& peer) {
    return opened_and(peer, &basic_datagram_socket::connect_to);
  }
  // One without an address yet: set options, then bind_to() or connect_to(), or just send. `family`: AF_INET, AF_INET6,
  // AF_UNIX. Errors: bad_address for a family of the other kind.
  static io_result<basic_datagram_socket> open(int family) {
    if (!Kind::speaks(family)) return errc::bad_address;
    const int fd = syscalls::socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return error_from_errno(errno);
    return made_of(fd);
  }
  // Two unix sockets that are connected to each other.
  static io_result<std::pair<basic_datagram_socket, basic_datagram_socket>> pair() requires(Kind::speaks(AF_UNIX)) {
    int ends[2];
    if (syscalls::socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0)
      return error_from_errno(errno);
    return std::pair(made_of(ends[0]), made_of(ends[1]));
  }
  // Adopts a datagram socket and sets it non-blocking; it is closed with the object. Errors: what fcntl answers.
  static io_result<basic_datagram_socket> from_fd(int fd) {
    if (const std::error_code error = detail::set_non_blocking(fd)) return error;
    return made_of(fd);
  }

  io_result<void> bind_to(const endpoint& where) {
    return answer([&](int fd) { return syscalls::bind(fd, where.data(), where.size()); });
  }
  io_result<void> connect_to(const endpoint& peer) {
    return answer([&](int fd) { return syscalls::connect(fd, peer.data(), peer.size()); });
  }

  // Every call that waits takes a time limit: a duration, which counts from when the call first has to wait, or a
  // time_point.

  // Receives one datagram. Completes: when one has come; one of 0 bytes too. Errors: connection_refused on a connected
  // socket to whose peer an earlier datagram could not be delivered.
  io_result<datagram> receive_from(buffer into, time_limit limit = {}) {
    io_result<datagram> result = detail::empty_datagram();
    const auto received = detail::perform<detail::receive_into_step>(descriptor_, limit, into, &*result);
    if (!received) detail::set_error(result, received.error());
    return result;
  }
  auto async_receive_from(buffer into, time_limit limit = {}) {
    return operation(detail::receive_from_step(into), limit);
  }
  // The same without the sender. A longer datagram is cut without a word: the buffer should be larger than any.
  io_result<std::size_t> receive(buffer into, time_limit limit = {}) {
    return detail::perform<detail::receive_step>(descriptor_, limit, into);
  }
  auto async_receive(buffer into, time_limit limit = {}) { return operation(detail::receive_step(into), limit); }

  // Sends one datagram. Completes: when the kernel has taken it; whether it arrives nobody knows. Errors: message_size
  // for one too long; permission_denied for a broadcast address before set_broadcast(true). Returns: its size.
  io_result<std::size_t> send_to(const_buffer from, const endpoint& to, time_limit limit = {}) {
    return detail::perform<detail::send_to_step<const endpoint*>>(descriptor_, limit, from, &to);
  }
  auto async_send_to(const_buffer from, const endpoint& to, time_limit limit = {}) {
    return operation(detail::send_to_step<endpoint>(from, to), limit);
  }
  // To the peer of a connected socket. Errors: destination_address_required for another one; connection_refused, see
  // receive_from.
  io_result<std::size_t> send(const_buffer from, time_limit limit = {}) {
    return detail::perform<detail::send_step>(descriptor_, limit, from);
  }
  auto async_send(const_buffer from, time_limit limit = {}) { return operation(detail::send_step(from), limit); }

  // Receives what is there, at least one datagram and at most one for each slot or 64, with one system call. Returns:
  // how many slots are filled, from the first on. No slots answer 0 at once.
  io_result<std::size_t> receive_batch(std::span<datagram_slot> into, time_limit limit = {}) {
    return detail::perform<detail::receive_batch_step>(descriptor_, limit, into);
  }
  auto async_receive_batch(std::span<datagram_slot> into, time_limit limit = {}) {
    return operation(detail::receive_batch_step(into), limit);
  }
  // Sends all of them in their order, 64 with one system call. `done`, where given, is how many were sent, also after
  // an error: the one after them is the one that failed. Returns: their number.
  io_result<std::size_t> send_batch(std::span<const outgoing_datagram> all, time_limit limit = {}) {
    return detail::perform<detail::send_batch_step>(descriptor_, limit, all);
  }
  io_result<std::size_t> send_batch(std::span<const outgoing_datagram> all, std::size_t& done, time_limit limit = {}) {
    return detail::perform<detail::send_batch_step>(descriptor_, limit, all, &done);
  }
  auto async_send_batch(std::span<const outgoing_datagram> all, time_limit limit = {}) {
    return operation(detail::send_batch_step(all), limit);
  }
  auto async_send_batch(std::span<const outgoing_datagram> all, std::size_t& done, time_limit limit = {}) {
    return operation(detail::send_batch_step(all, &done), limit);
  }

  // Allows sending to broadcast addresses.
  io_result<void> set_broadcast(bool on) { return set(SOL_SOCKET, SO_BROADCAST, on); }
  // Several sockets share an address, and the kernel spreads the datagrams over them. Before bind_to().
  io_result<void> set_reuse_port(bool on) { return set(SOL_SOCKET, SO_REUSEPORT, on); }
  // An IPv6 socket receives from IPv6 peers alone. Before bind_to().
  io_result<void> set_v6_only(bool on) { return set(IPPROTO_IPV6, IPV6_V6ONLY, on); }
  // Bytes of datagrams that the kernel keeps until they are received; it cuts the number to net.core.rmem_max.
  io_result<void> set_receive_buffer(std::size_t bytes) {
    return set(SOL_SOCKET, SO_RCVBUF, bytes < INT_MAX ? static_cast<int>(bytes) : INT_MAX);
  }

  // Closes at once. Coroutines that wait on this socket go on with `closed`. Closing twice is harmless.
  void close() noexcept {
    if (descriptor_ != nullptr) descriptor_->close();
  }
  // Gives the descriptor to the caller, still non-blocking; -1 if there is none. Who waits goes on with `closed`.
  int release() noexcept { return descriptor_ == nullptr ? -1 : descriptor_->release(); }
  // Takes the socket from its loop, so that it can be used on another one. Errors: busy while somebody waits on it.
  io_result<void> detach() noexcept {
    if (!is_open()) return errc::closed;
    return io_result<void>(descriptor_->detach());
  }
  bool is_open() const noexcept { return descriptor_ != nullptr && descriptor_->is_open(); }
  // -1 if there is none.
  int native_handle() const noexcept { return descriptor_ == nullptr ? -1 : descriptor_->fd(); }
  // Asked of the kernel at each call; an endpoint without address where it has none.
  endpoint local() const { return endpoint::local_of(native_handle()); }
  endpoint peer() const { return endpoint::peer_of(native_handle()); }

 private:
  explicit basic_datagram_socket(std::unique_ptr<descriptor> owned) noexcept : descriptor_(std::move(owned)) {}

  // As an adopted one, because what is known of descriptors made here is true of stream sockets alone.
  static basic_datagram_socket made_of(int fd) {
    return basic_datagram_socket(std::make_unique<descriptor>(fd, descriptor::origin::adopted));
  }
  static io_result<basic_datagram_socket> opened_and(const endpoint& where,
                                                     io_result<void> (basic_datagram_socket::*then)(const endpoint&)) {
    auto made = open(where.family());
    if (made)
      if (const io_result<void> done = ((*made).*then)(where); !done) return done.error();
    return made;
  }

  template <class Call>
  io_result<void> answer(const Call& call) {
    if (!is_open()) return errc::closed;
    if (call(native_handle()) != 0) return error_from_errno(errno);
    return {};
  }
  io_result<void> set(int level, int name, int value) {
    return answer([&](int fd) { return syscalls::setsockopt(fd, level, name, &value, sizeof value); });
  }
  template <class Step>
  detail::descriptor_operation<Step> operation(Step&& step, time_limit limit) {
    return detail::descriptor_operation<Step>(descriptor_, std::move(step), limit);
  }

  std::unique_ptr<descriptor> descriptor_;
};

using udp_socket = basic_datagram_socket<detail::internet_datagrams>;
// Reliable and in order, unlike UDP: a sender waits while its peer's queue is full. Only a bound one can be answered.
using unix_datagram_socket = basic_datagram_socket<detail::unix_datagrams>;

}  // namespace eventer::inline EVENTER_ABI
