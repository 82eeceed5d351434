// stream: a connected byte stream whose calls read as if they blocked. tcp_stream and unix_stream add how to get one.
//
// A call tries the kernel first; only where that answers EAGAIN does the coroutine park. One reader and one writer may
// use a stream at the same time; a second reader gets `busy`. Nothing but the calling coroutine ever touches the
// caller's buffer, so buffers may be locals on a shared stack.
//
// Errors of every call, beside those named at each: what the kernel answers (connection_reset, broken_pipe, ...),
// `timed_out` when a limit was given, `closed` when the stream is closed here meanwhile, `busy`, and for a cancelled
// coroutine the exception `cancelled`.
#pragma once

#include <signal.h>

#include <cstddef>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "eventer/base/buffer.hpp"
#include "eventer/event/event_loop.hpp"
#include "eventer/net/endpoint.hpp"

namespace eventer::inline EVENTER_ABI {

namespace detail {

// SIGPIPE must never reach the program: sockets say so in the call, for the rest it is blocked around the call and
// consumed.
inline ssize_t write_without_signal(const descriptor& to, const void* data, std::size_t size) {
  if (EVENTER_LIKELY(to.is_socket())) return system::send(to.fd(), data, size, MSG_NOSIGNAL);
  sigset_t pipe, old, pending;
  ::sigemptyset(&pipe);
  ::sigaddset(&pipe, SIGPIPE);
  ::sigpending(&pending);
  const bool pending_before = ::sigismember(&pending, SIGPIPE) == 1;
  ::pthread_sigmask(SIG_BLOCK, &pipe, &old);
  const ssize_t written = system::write(to.fd(), data, size);
  const int error = errno;
  if (written < 0 && error == EPIPE && !pending_before) {
    const timespec now{};
    while (::sigtimedwait(&pipe, nullptr, &now) == -1 && errno == EINTR) {
    }
  }
  ::pthread_sigmask(SIG_SETMASK, &old, nullptr);
  errno = error;
  return written;
}

inline ssize_t read_from(const descriptor& from, void* data, std::size_t size) noexcept {
  return EVENTER_LIKELY(from.is_socket()) ? system::recv(from.fd(), data, size, 0)
                                          : system::read(from.fd(), data, size);
}

inline bool would_block(int error) noexcept { return error == EAGAIN || error == EWOULDBLOCK; }

// Asked before each try of an operation, as it may otherwise never wait: then others get their turn, and a cancellation
// is delivered.
EVENTER_ALWAYS_INLINE bool turn_is_over() noexcept {
  scheduler* const here = scheduler::current();
  return EVENTER_LIKELY(here != nullptr) && static_cast<event_loop*>(here)->count_operation();
}
inline std::error_code let_others_run() { return event_loop::current().let_others_run(); }

}  // namespace detail

class stream {
 public:
  stream() noexcept = default;  // not connected: every call answers `closed`
  stream(stream&&) noexcept = default;
  stream& operator=(stream&&) noexcept = default;

  // Reads what is there, at least one byte. Completes: when bytes have come. Errors: end_of_stream when the peer has
  // closed its side. A buffer of size 0 answers 0 at once.
  io_result<std::size_t> read_some(buffer into) { return read_some_until(into, no_deadline); }
  io_result<std::size_t> read_some(buffer into, duration limit) { return read_some_until(into, deadline_of(limit)); }

  // Writes what the kernel takes, at least one byte.
  io_result<std::size_t> write_some(const_buffer from) { return write_some_until(from, no_deadline); }
  io_result<std::size_t> write_some(const_buffer from, duration limit) {
    return write_some_until(from, deadline_of(limit));
  }

  // Fills the whole buffer. The limit is for all of it. `done`, where given, is how many bytes were read, also after an
  // error: a time-out must not lose the count. Errors: end_of_stream before the buffer was full.
  io_result<std::size_t> read_exact(buffer into) {
    std::size_t done = 0;
    return read_exact_until(into, done, no_deadline);
  }
  io_result<std::size_t> read_exact(buffer into, duration limit) {
    std::size_t done = 0;
    return read_exact_until(into, done, deadline_of(limit));
  }
  io_result<std::size_t> read_exact(buffer into, std::size_t& done) {
    return read_exact_until(into, done, no_deadline);
  }
  io_result<std::size_t> read_exact(buffer into, std::size_t& done, duration limit) {
    return read_exact_until(into, done, deadline_of(limit));
  }

  // Writes the whole buffer; otherwise as read_exact.
  io_result<std::size_t> write_all(const_buffer from) {
    std::size_t done = 0;
    return write_all_until(from, done, no_deadline);
  }
  io_result<std::size_t> write_all(const_buffer from, duration limit) {
    std::size_t done = 0;
    return write_all_until(from, done, deadline_of(limit));
  }
  io_result<std::size_t> write_all(const_buffer from, std::size_t& done) {
    return write_all_until(from, done, no_deadline);
  }
  io_result<std::size_t> write_all(const_buffer from, std::size_t& done, duration limit) {
    return write_all_until(from, done, deadline_of(limit));
  }

  // Reads what is there into the loop's scratch buffer (64 KiB): a parked reader holds no buffer at all. The view is
  // valid until the next await of any kind; writing it back through write_some or write_all is safe. Requires: in a
  // coroutine.
  io_result<std::span<const char>> read_borrowed() { return read_borrowed_until(no_deadline); }
  io_result<std::span<const char>> read_borrowed(duration limit) { return read_borrowed_until(deadline_of(limit)); }

  // Tells the peer that no more bytes come (half-close). Reading goes on.
  io_result<void> shutdown_write() {
    if (!usable()) return errc::closed;
    if (system::shutdown(descriptor_->fd(), SHUT_WR) != 0) return error_from_errno(errno);
    return {};
  }

  // Closes at once. Coroutines that wait on this stream go on with `closed`. Closing twice is harmless.
  void close() noexcept {
    if (descriptor_ != nullptr) descriptor_->close();
  }

  // Gives the descriptor to the caller, still non-blocking; -1 if there is none. Who waits goes on with `closed`.
  int release() noexcept { return descriptor_ == nullptr ? -1 : descriptor_->release(); }

  // Takes the stream from its loop, so that it can be used on another one. Errors: busy while somebody waits on it.
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

 protected:
  explicit stream(std::unique_ptr<descriptor> owned) noexcept : descriptor_(std::move(owned)) {}

  static io_result<std::unique_ptr<descriptor>> adopt(int fd) {
    const int flags = system::fcntl(fd, F_GETFL);
    if (flags < 0) return error_from_errno(errno);
    if ((flags & O_NONBLOCK) == 0 && system::fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0)
      return error_from_errno(errno);
    return std::make_unique<descriptor>(fd, descriptor::origin::adopted);
  }

 private:
  static time_point deadline_of(duration limit) noexcept { return deadline_after(clock::now(), limit); }
  bool usable() const noexcept { return descriptor_ != nullptr && descriptor_->is_usable(); }

  // The deadline is looked at only where the call has to wait: a limit on a call that does not block costs reading the
  // clock.
  io_result<std::size_t> read_some_until(buffer into, time_point deadline) {
    if (EVENTER_UNLIKELY(detail::turn_is_over()))
      if (const std::error_code error = detail::let_others_run()) return error;
    if (EVENTER_UNLIKELY(!usable())) return errc::closed;
    if (EVENTER_UNLIKELY(into.size() == 0)) return std::size_t{0};
    descriptor& from = *descriptor_;
    for (;;) {
      if (!from.known_empty()) {
        const ssize_t got = detail::read_from(from, into.data(), into.size());
        if (EVENTER_LIKELY(got > 0)) {
          from.note_read(into.size(), static_cast<std::size_t>(got));
          return static_cast<std::size_t>(got);
        }
        if (got == 0) return errc::end_of_stream;
        if (!detail::would_block(errno)) return error_from_errno(errno);
        from.note_read_would_block();
      }
      if (const std::error_code error = from.wait_readable(deadline)) return error;
    }
  }

  io_result<std::size_t> write_some_until(const_buffer from, time_point deadline) {
    std::vector<char> kept;
    if (EVENTER_UNLIKELY(detail::turn_is_over())) {
      from = keep_scratch(from, kept);
      if (const std::error_code error = detail::let_others_run()) return error;
    }
    if (EVENTER_UNLIKELY(!usable())) return errc::closed;
    if (EVENTER_UNLIKELY(from.size() == 0)) return std::size_t{0};
    descriptor& to = *descriptor_;
    for (;;) {
      const ssize_t written = detail::write_without_signal(to, from.data(), from.size());
      if (EVENTER_LIKELY(written >= 0)) return static_cast<std::size_t>(written);
      if (!detail::would_block(errno)) return error_from_errno(errno);
      from = keep_scratch(from, kept);
      if (const std::error_code error = to.wait_writable(deadline)) return error;
    }
  }

  io_result<std::size_t> read_exact_until(buffer into, std::size_t& done, time_point deadline) {
    done = 0;
    if (EVENTER_UNLIKELY(!usable())) return errc::closed;
    while (done < into.size()) {
      const auto got = read_some_until(into.after(done), deadline);
      if (!got) return got.error();
      done += *got;
    }
    return done;
  }

  io_result<std::size_t> write_all_until(const_buffer from, std::size_t& done, time_point deadline) {
    done = 0;
    std::vector<char> kept;
    const_buffer left = from;
    for (;;) {
      if (EVENTER_UNLIKELY(detail::turn_is_over())) {
        left = keep_scratch(left, kept);
        if (const std::error_code error = detail::let_others_run()) return error;
      }
      if (EVENTER_UNLIKELY(!usable())) return errc::closed;
      if (left.size() == 0) return done;
      const ssize_t written = detail::write_without_signal(*descriptor_, left.data(), left.size());
      if (EVENTER_LIKELY(written >= 0)) {
        done += static_cast<std::size_t>(written);
        left = left.after(static_cast<std::size_t>(written));
        if (EVENTER_LIKELY(left.size() == 0)) return done;
        continue;
      }
      if (!detail::would_block(errno)) return error_from_errno(errno);
      left = keep_scratch(left, kept);
      if (const std::error_code error = descriptor_->wait_writable(deadline)) return error;
    }
  }

  io_result<std::span<const char>> read_borrowed_until(time_point deadline) {
    if (EVENTER_UNLIKELY(detail::turn_is_over()))
      if (const std::error_code error = detail::let_others_run()) return error;
    if (EVENTER_UNLIKELY(!usable())) return errc::closed;
    descriptor& from = *descriptor_;
    for (;;) {
      if (!from.known_empty()) {
        char* const scratch = event_loop::current().scratch();
        const ssize_t got = detail::read_from(from, scratch, event_loop::scratch_bytes);
        if (EVENTER_LIKELY(got > 0)) {
          from.note_read(event_loop::scratch_bytes, static_cast<std::size_t>(got));
          return std::span<const char>(scratch, static_cast<std::size_t>(got));
        }
        if (got == 0) return errc::end_of_stream;
        if (!detail::would_block(errno)) return error_from_errno(errno);
        from.note_read_would_block();
      }
      if (const std::error_code error = from.wait_readable(deadline)) return error;
    }
  }

  // What lies in the loop's scratch buffer does not survive a wait: it goes to the heap first.
  static const_buffer keep_scratch(const_buffer from, std::vector<char>& kept) {
    scheduler* const here = scheduler::current();
    if (EVENTER_LIKELY(here == nullptr || !static_cast<event_loop*>(here)->in_scratch(from.data()))) return from;
    kept.assign(from.data(), from.data() + from.size());
    return kept;
  }

 protected:
  std::unique_ptr<descriptor> descriptor_;
};

namespace detail {

// A non-blocking, close-on-exec stream socket that is connected to `peer`, or an error.
inline io_result<std::unique_ptr<descriptor>> connect_socket(const endpoint& peer, time_point deadline) {
  unique_fd fd(system::socket(peer.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return error_from_errno(errno);
  auto owned = std::make_unique<descriptor>(fd.release(), descriptor::origin::made_here);
  if (system::connect(owned->fd(), peer.data(), peer.size()) == 0) return owned;
  if (errno != EINPROGRESS && errno != EINTR) return error_from_errno(errno);
  for (;;) {
    if (const std::error_code error = owned->wait_writable(deadline)) return error;
    int failure = 0;
    socklen_t size = sizeof failure;
    if (system::getsockopt(owned->fd(), SOL_SOCKET, SO_ERROR, &failure, &size) != 0) return error_from_errno(errno);
    if (failure != 0) return error_from_errno(failure);
    // Writable before the handshake has ended happens (a fresh registration reports hang-up): ask who is there.
    sockaddr_storage there{};
    socklen_t there_size = sizeof there;
    if (system::getpeername(owned->fd(), reinterpret_cast<sockaddr*>(&there), &there_size) == 0) return owned;
    if (errno != ENOTCONN) return error_from_errno(errno);
  }
}

}  // namespace detail

}  // namespace eventer::inline EVENTER_ABI
