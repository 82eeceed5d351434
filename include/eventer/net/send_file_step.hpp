// The step of stream::send_file: the kernel takes bytes of a file for a socket, and they are never in this process.
#pragma once

#include <cerrno>
#include <cstdint>

#include "eventer/net/stream_steps.hpp"

namespace eventer::inline EVENTER_ABI::detail {

struct send_file_step : step_of<std::size_t> {
  send_file_step(int f, std::uint64_t at, std::size_t most) noexcept : file(f), offset(at), size(most) {}
  attempt try_once(descriptor& to) const {
    if (size == 0) return attempt::done();
    if (!to.is_socket() || to.other() != nullptr) return attempt::failed(EOPNOTSUPP);
    const ssize_t sent =
        without_pipe_signal([&] { return syscalls::sendfile(to.fd(), file, static_cast<off_t>(offset), size); }, size);
    if (EVENTER_UNLIKELY(sent < 0 && (errno == EINVAL || errno == ENOSYS))) return attempt::failed(EOPNOTSUPP);
    return attempt_of_write(to, sent);
  }
  static result_type result(std::size_t value) noexcept { return value; }

  int file;
  std::uint64_t offset;
  std::size_t size;
};

}  // namespace eventer::inline EVENTER_ABI::detail
