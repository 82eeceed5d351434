// unix_stream and unix_acceptor: unix sockets by path or abstract name, socket pairs, pipes, and any descriptor that
// was got elsewhere (a terminal, a device, a file).
//
// They rest on stream and basic_acceptor. Datagrams over unix sockets are in udp.hpp.
#pragma once

#include <string_view>
#include <utility>
#include <vector>

#include "eventer/net/acceptor.hpp"
#include "eventer/net/connect_operation.hpp"
#include "eventer/net/stream.hpp"

namespace eventer::inline EVENTER_ABI {

class unix_stream : public stream {
  using operation = detail::connect_operation<unix_stream>;

 public:
  unix_stream() noexcept = default;

  // Adopts a descriptor of any kind and sets it non-blocking; it is closed with the stream. A regular file is read and
  // written, at its own position, on the threads of job_queue::files(). Errors: what fcntl answers.
  static io_result<unix_stream> from_fd(int fd) {
    auto owned = adopt(fd);
    if (!owned) return owned.error();
    return unix_stream(std::move(*owned));
  }

  // Connects to "unix:/path" or, on Linux, the abstract "unix:@name". Errors: bad_address, no_such_file_or_directory,
  // connection_refused, ..., timed_out. A full backlog is waited for.
  static io_result<unix_stream> connect(std::string_view address, time_limit limit = {}) {
    const auto peer = endpoint::parse(address);
    if (!peer) return peer.error();
    return connect(*peer, limit);
  }
  static io_result<unix_stream> connect(const endpoint& peer, time_limit limit = {}) {
    if (!speaks(peer.family())) return errc::bad_address;
    auto owned = detail::connect_socket(peer, limit);
    if (!owned) return owned.error();
    return unix_stream(std::move(*owned));
  }

  // As something to await, in any C++20 coroutine. The address is copied.
  static operation async_connect(std::string_view address, time_limit limit = {}) {
    const auto peer = endpoint::parse(address);
    return peer ? async_connect(*peer, limit) : operation(peer.error());
  }
  static operation async_connect(const endpoint& peer, time_limit limit = {}) {
    if (!speaks(peer.family())) return operation(make_error_code(errc::bad_address));
    return operation(std::vector<endpoint>{peer}, limit);
  }

  // Two streams that are connected to each other. Errors: what socketpair answers.
  static io_result<std::pair<unix_stream, unix_stream>> pair() {
    int ends[2];
    if (syscalls::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0)
      return error_from_errno(errno);
    return std::pair(made_here(ends[0]), made_here(ends[1]));
  }
  // A pipe: what is written to the second can be read from the first. Errors: what pipe answers.
  static io_result<std::pair<unix_stream, unix_stream>> pipe() {
    int ends[2];
    if (syscalls::pipe2(ends, O_NONBLOCK | O_CLOEXEC) != 0) return error_from_errno(errno);
    return std::pair(unix_stream(std::make_unique<descriptor>(ends[0], descriptor::origin::adopted)),
                     unix_stream(std::make_unique<descriptor>(ends[1], descriptor::origin::adopted)));
  }

  // For the library: a stream over a descriptor that is connected.
  static unix_stream over(std::unique_ptr<descriptor> owned) noexcept { return unix_stream(std::move(owned)); }

 private:
  friend class basic_acceptor<unix_stream>;
  friend struct detail::accept_step<unix_stream>;
  friend class detail::connect_operation<unix_stream>;
  explicit unix_stream(std::unique_ptr<descriptor> owned) noexcept : stream(std::move(owned)) {}

  static unix_stream made_here(int fd) {
    return unix_stream(std::make_unique<descriptor>(fd, descriptor::origin::made_here_local));
  }
  static constexpr auto origin_of_accepted = descriptor::origin::made_here_local;
  static bool speaks(int family) noexcept { return family == AF_UNIX; }
  static unix_stream accepted(std::unique_ptr<descriptor> owned) noexcept { return unix_stream(std::move(owned)); }
};

// A path must not exist when it is listened on, and stays when the acceptor goes: unlink it.
using unix_acceptor = basic_acceptor<unix_stream>;

}  // namespace eventer::inline EVENTER_ABI
