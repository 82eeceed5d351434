// Section 1.5 of eventer_aco.h: input and output through classic events, which never waits.
#pragma once

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include "eventer/compat/detail/frame.hpp"
#include "eventer/compat/eventer_aco.h"

namespace eventer::inline EVENTER_ABI::compat {

// What a try through a connection with a layer (TLS) has come to.
inline int layered(const detail::attempt tried, event_io& io, int wanted, int* mask) {
  bool& is_dry = wanted == EVENTER_READ ? io.read_is_dry : io.write_is_dry;
  is_dry = !tried.is_final();
  if (tried.is_done()) return static_cast<int>(tried.value());
  if (!tried.is_final()) {
    *mask = wanted | EVENTER_EXCEPTION;
    errno = EAGAIN;
    return -1;
  }
  const std::error_code error = detail::error_of(*io.stream.file(), tried);
  if (error == make_error_code(errc::end_of_stream)) return 0;
  return failed(error);
}
inline std::size_t at_most_int(std::size_t length) noexcept { return length > INT_MAX ? INT_MAX : length; }

inline int would_block(ssize_t result, int wanted, int* mask) noexcept {
  if (result < 0 && detail::would_block(errno)) *mask = wanted | EVENTER_EXCEPTION;
  return static_cast<int>(result);
}

// Both directions end at once, whoever else has the file open; closing it may take its time where the program has asked
// for that (SO_LINGER), and is a job then.
inline void end_descriptor(int fd) {
  (void)syscalls::shutdown(fd, SHUT_RDWR);
  linger how{};
  socklen_t size = sizeof how;
  if (::getsockopt(fd, SOL_SOCKET, SO_LINGER, &how, &size) == 0 && how.l_onoff != 0 && how.l_linger > 0)
    if (!job_queue::files().post_at_once([fd] { syscalls::close(fd); })) return;
  syscalls::close(fd);
}

}  // namespace eventer::inline EVENTER_ABI::compat

extern "C" {

int eventer_read(eventer_t e, void* buff, size_t len, int* mask) {
  namespace compat = eventer::compat;
  if (e->is_aco) return eventer_aco_read(reinterpret_cast<eventer_aco_t>(e), buff, len, nullptr);
  len = compat::at_most_int(len);
  if (e->io != nullptr && e->io->stream.is_open())
    return compat::layered(eventer::detail::try_read(*e->io->stream.file(), buff, len), *e->io, EVENTER_READ, mask);
  ssize_t got;
  do got = eventer::syscalls::read(e->fd, buff, len);
  while (got < 0 && errno == EINTR);
  return compat::would_block(got, EVENTER_READ, mask);
}
int eventer_write(eventer_t e, const void* buff, size_t len, int* mask) {
  namespace compat = eventer::compat;
  if (e->is_aco) return eventer_aco_write(reinterpret_cast<eventer_aco_t>(e), buff, len, nullptr);
  len = compat::at_most_int(len);
  if (e->io != nullptr && e->io->stream.is_open())
    return compat::layered(eventer::detail::try_write(*e->io->stream.file(), buff, len), *e->io, EVENTER_WRITE, mask);
  ssize_t written;
  do {
    written = eventer::syscalls::send(e->fd, buff, len, MSG_NOSIGNAL);
    if (written < 0 && errno == ENOTSOCK) written = eventer::syscalls::write(e->fd, buff, len);
  } while (written < 0 && errno == EINTR);
  return compat::would_block(written, EVENTER_WRITE, mask);
}
int eventer_accept(eventer_t e, struct sockaddr* addr, socklen_t* len, int* mask) {
  if (e->is_aco) return eventer_aco_accept(reinterpret_cast<eventer_aco_t>(e), addr, len, nullptr);
  int fd;
  do fd = eventer::syscalls::accept4(e->fd, addr, len, SOCK_CLOEXEC);
  while (fd < 0 && errno == EINTR);
  return eventer::compat::would_block(fd, EVENTER_READ, mask);
}
int eventer_close(eventer_t e, int* mask) {
  namespace compat = eventer::compat;
  if (mask != nullptr) *mask = 0;
  const int fd = std::exchange(e->fd, -1);
  if (fd < 0) {
    errno = EBADFD;
    return -1;
  }
  // A callback that closes without removing keeps its reference until it answers 0.
  compat::descriptor_table::take(fd, e);
  compat::on_thread_of(e->loop_thread(), [mine = compat::held_event(e), fd, here = &e->loop_thread(), io = e->io] {
    if (!mine->is_aco) compat::unregister(*mine, *here, fd);
    if (io != nullptr)
      io->stream.close();
    else
      compat::end_descriptor(fd);
  });
  return 0;
}
int eventer_set_fd_nonblocking(int fd) {
  const int flags = eventer::syscalls::fcntl(fd, F_GETFL);
  return flags < 0 || eventer::syscalls::fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -1 : 0;
}
int eventer_set_fd_blocking(int fd) {
  const int flags = eventer::syscalls::fcntl(fd, F_GETFL);
  return flags < 0 || eventer::syscalls::fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0 ? -1 : 0;
}

}  // extern "C"
