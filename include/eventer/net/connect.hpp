// Connecting a socket to one address. connect_race.hpp does it with several.
//
// It rests on descriptor_operation. What must not be broken: a step makes one call of connect for each socket and then
// only asks how it went, because asking again would answer EALREADY.
#pragma once

#include <memory>

#include "eventer/base/unique_fd.hpp"
#include "eventer/net/endpoint.hpp"
#include "eventer/net/stream_steps.hpp"

namespace eventer::inline EVENTER_ABI::detail {

// A unix socket's full backlog or queue is announced by no event: tried again after this time.
inline constexpr duration unix_retry_delay = std::chrono::milliseconds(1);
inline time_point unix_retry_time() noexcept {
  scheduler* const here = scheduler::current();
  return (here != nullptr ? here->now() : clock::now()) + unix_retry_delay;
}

struct connect_step : step_of<void> {
  explicit connect_step(const endpoint& to) noexcept : peer(to) {}
  attempt try_once(descriptor& socket) {
    if (!std::exchange(begun, true)) {
      if (syscalls::connect(socket.fd(), peer.data(), peer.size()) == 0) return attempt::done();
      if (errno == EAGAIN) return begun = false, resume = unix_retry_time(), attempt::again_at();
      return errno == EINPROGRESS || errno == EINTR ? attempt::wait_writable() : attempt::failed(errno);
    }
    int failure = 0;
    socklen_t size = sizeof failure;
    if (syscalls::getsockopt(socket.fd(), SOL_SOCKET, SO_ERROR, &failure, &size) != 0) return attempt::failed(errno);
    if (failure != 0) return attempt::failed(failure);
    // Writable before the handshake has ended happens (a fresh registration reports hang-up): ask who is there.
    sockaddr_storage there{};
    socklen_t there_size = sizeof there;
    if (syscalls::getpeername(socket.fd(), reinterpret_cast<sockaddr*>(&there), &there_size) == 0)
      return attempt::done();
    return errno == ENOTCONN ? attempt::wait_writable() : attempt::failed(errno);
  }
  static result_type result(std::size_t) noexcept { return {}; }
  time_point resume_at() const noexcept { return resume; }

 private:
  const endpoint peer;
  bool begun = false;
  time_point resume = no_deadline;
};

// A non-blocking, close-on-exec stream socket.
inline io_result<std::unique_ptr<descriptor>> make_stream_socket(int family) {
  const int fd = syscalls::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return error_from_errno(errno);
  return std::make_unique<descriptor>(
      fd, family == AF_UNIX ? descriptor::origin::made_here_local : descriptor::origin::made_here);
}

// One that is connected to `peer`.
inline io_result<std::unique_ptr<descriptor>> connect_socket(const endpoint& peer, time_limit limit) {
  auto socket = make_stream_socket(peer.family());
  if (!socket) return socket;
  const io_result<void> connected = perform<connect_step>(*socket, limit, peer);
  if (!connected) return connected.error();
  return socket;
}

}  // namespace eventer::inline EVENTER_ABI::detail
