// The steps of a stream's operations: each tries the kernel once (see descriptor_operation.hpp). Nothing here waits.
#pragma once

#include <signal.h>

#include <cstddef>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "eventer/base/buffer.hpp"
#include "eventer/event/descriptor_operation.hpp"

namespace eventer::inline EVENTER_ABI::detail {

// SIGPIPE must never reach the program: sockets say so in the call, for the rest it is blocked around the call and
// consumed. `asked`: for a call that may raise it and answer fewer bytes than that all the same, as sendfile does.
template <class Write>
ssize_t without_pipe_signal(const Write& write, std::size_t asked = 0) {
  sigset_t pipe, old, pending;
  ::sigemptyset(&pipe);
  ::sigaddset(&pipe, SIGPIPE);
  ::sigpending(&pending);
  const bool pending_before = ::sigismember(&pending, SIGPIPE) == 1;
  ::pthread_sigmask(SIG_BLOCK, &pipe, &old);
  const ssize_t written = write();
  const int error = errno;
  const bool may_be_raised = written < 0 ? error == EPIPE : static_cast<std::size_t>(written) < asked;
  if (may_be_raised && !pending_before) {
    const timespec now{};
    while (::sigtimedwait(&pipe, nullptr, &now) == -1 && errno == EINTR) {
    }
  }
  ::pthread_sigmask(SIG_SETMASK, &old, nullptr);
  errno = error;
  return written;
}

inline ssize_t write_without_signal(const descriptor& to, const void* data, std::size_t size) {
  if (EVENTER_LIKELY(to.is_socket())) return syscalls::send(to.fd(), data, size, MSG_NOSIGNAL);
  if (transport* const other = to.other(); other != nullptr) return other->write(data, size);
  return without_pipe_signal([&] { return syscalls::write(to.fd(), data, size); });
}
// A unix socket gives no more than the bytes that descriptors were sent along with, whatever is behind them. They are
// not taken, and the kernel says so.
EVENTER_NOINLINE inline ssize_t read_from_local(descriptor& from, void* data, std::size_t size) {
  iovec part{data, size};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  const ssize_t got = syscalls::recvmsg(from.fd(), &message, 0);
  if (got > 0 && (message.msg_flags & MSG_CTRUNC) != 0) from.note_descriptors_came();
  return got;
}
inline ssize_t read_from(descriptor& from, void* data, std::size_t size) {
  if (EVENTER_UNLIKELY(from.is_made_here_local())) return read_from_local(from, data, size);
  if (EVENTER_LIKELY(from.is_socket())) return syscalls::recv(from.fd(), data, size, 0);
  if (transport* const other = from.other(); other != nullptr) return other->read(data, size);
  return syscalls::read(from.fd(), data, size);
}

// What lies in the loop's scratch buffer does not survive a wait: it goes to the heap first. (Steps lie in the frames
// of parked coroutines: they are small, and no function gets their address.)
class kept_bytes {
 public:
  const_buffer keep(const_buffer from) {
    scheduler* const here = scheduler::current();
    if (EVENTER_LIKELY(here == nullptr || !static_cast<event_loop*>(here)->in_scratch(from.data()))) return from;
    bytes_.reset(copy_of(from.data(), from.size()));
    return {bytes_.get(), from.size()};
  }

 private:
  EVENTER_NOINLINE static char* copy_of(const char* data, std::size_t size) {
    char* const copy = new char[size];
    std::memcpy(copy, data, size);
    return copy;
  }
  std::unique_ptr<char[]> bytes_;
};

template <class Value>
struct step_of {
  using result_type = io_result<Value>;
  static result_type failed(std::error_code error) noexcept { return error; }
  static void before_waiting() noexcept {}
  static bool survives(descriptor&, std::error_code) noexcept { return false; }
  static time_point resume_at() noexcept { return no_deadline; }
};

inline std::error_code set_non_blocking(int fd) noexcept {
  const int flags = syscalls::fcntl(fd, F_GETFL);
  if (flags < 0) return error_from_errno(errno);
  if ((flags & O_NONBLOCK) == 0 && syscalls::fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0)
    return error_from_errno(errno);
  return {};
}

// A read found nothing.
EVENTER_ALWAYS_INLINE attempt wait_or_end(const descriptor& from) noexcept {
  return EVENTER_UNLIKELY(from.ends_now()) ? attempt::failed(errc::end_of_stream) : attempt::wait_readable();
}

// One try of reading at least a byte; the value is how many.
EVENTER_ALWAYS_INLINE attempt try_read(descriptor& from, void* into, std::size_t size) {
  if (from.known_empty()) return attempt::wait_readable();
  const ssize_t got = read_from(from, into, size);
  if (EVENTER_LIKELY(got > 0)) {
    from.note_read(size, static_cast<std::size_t>(got));
    return attempt::done(static_cast<std::size_t>(got));
  }
  if (got == 0) return attempt::failed(errc::end_of_stream);
  if (!would_block(errno)) return attempt::failed(errno);
  from.note_read_would_block();
  return wait_or_end(from);
}
// What a call that writes has answered.
EVENTER_ALWAYS_INLINE attempt attempt_of_write(descriptor& to, ssize_t written) {
  if (EVENTER_LIKELY(written >= 0)) {
    to.note_answered();
    return attempt::done(static_cast<std::size_t>(written));
  }
  return would_block(errno) ? attempt::wait_writable() : attempt::failed(errno);
}
EVENTER_ALWAYS_INLINE attempt try_write(descriptor& to, const void* from, std::size_t size) {
  return attempt_of_write(to, write_without_signal(to, from, size));
}
// What follows at once is sent along with it: the kernel waits for that, for 200 ms at most.
inline attempt try_write_before_more(descriptor& to, const void* from, std::size_t size) {
  if (!to.is_socket()) return try_write(to, from, size);
  return attempt_of_write(to, syscalls::send(to.fd(), from, size, MSG_NOSIGNAL | MSG_MORE));
}
// Several buffers with one system call. Requires: no transport.
inline attempt try_write_gathered(descriptor& to, iovec* parts, std::size_t count) {
  if (EVENTER_UNLIKELY(!to.is_socket()))
    return attempt_of_write(
        to, without_pipe_signal([&] { return syscalls::writev(to.fd(), parts, static_cast<int>(count)); }));
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = count;
  return attempt_of_write(to, syscalls::sendmsg(to.fd(), &message, MSG_NOSIGNAL));
}
// Two buffers, or only the first of them, likewise.
inline attempt try_write_two(descriptor& to, const_buffer first, const_buffer second) {
  if (first.size() == 0) return try_write(to, second.data(), second.size());
  if (transport* const other = to.other(); other != nullptr) {
    const const_buffer both[] = {first, second};
    return attempt_of_write(to, other->write_parts(both, 2));
  }
  iovec parts[] = {{const_cast<char*>(first.data()), first.size()}, {const_cast<char*>(second.data()), second.size()}};
  return try_write_gathered(to, parts, 2);
}

struct read_some_step : step_of<std::size_t> {
  explicit read_some_step(buffer b) noexcept : into(b) {}
  attempt try_once(descriptor& from) {
    if (EVENTER_UNLIKELY(into.size() == 0)) return attempt::done();
    return try_read(from, into.data(), into.size());
  }
  static result_type result(std::size_t value) noexcept { return value; }

  buffer into;
};

struct write_some_step : step_of<std::size_t> {
  explicit write_some_step(const_buffer b) noexcept : from(b) {}
  attempt try_once(descriptor& to) {
    if (EVENTER_UNLIKELY(from.size() == 0)) return attempt::done();
    return try_write(to, from.data(), from.size());
  }
  void before_waiting() { from = kept.keep(from); }
  static result_type result(std::size_t value) noexcept { return value; }

  const_buffer from;
  kept_bytes kept;
};

struct read_exact_step : step_of<std::size_t> {
  // `done`: where the caller wants the count, also after an error; may be nullptr.
  explicit read_exact_step(buffer b, std::size_t* done = nullptr) noexcept : left(b), total(b.size()), count(done) {
    if (count != nullptr) *count = 0;
  }
  attempt try_once(descriptor& from) {
    for (;;) {
      if (count != nullptr) *count = total - left.size();
      if (left.size() == 0) return attempt::done(total);
      const attempt tried = try_read(from, left.data(), left.size());
      if (!tried.is_done()) return tried;
      left = left.after(tried.value());
    }
  }
  static result_type result(std::size_t value) noexcept { return value; }

  buffer left;
  const std::size_t total;
  std::size_t* const count;
};

struct write_all_step : step_of<std::size_t> {
  explicit write_all_step(const_buffer b, std::size_t* done = nullptr) noexcept
      : left(b), total(b.size()), count(done) {
    if (count != nullptr) *count = 0;
  }
  attempt try_once(descriptor& to) {
    for (;;) {
      if (count != nullptr) *count = total - left.size();
      if (left.size() == 0) return attempt::done(total);
      const attempt tried = try_write(to, left.data(), left.size());
      if (!tried.is_done()) return tried;
      left = left.after(tried.value());
    }
  }
  void before_waiting() { left = kept.keep(left); }
  static result_type result(std::size_t value) noexcept { return value; }

  const_buffer left;
  const std::size_t total;
  std::size_t* const count;
  kept_bytes kept;
};

inline constexpr std::size_t buffers_at_once = 16;

// Reads into several buffers with one system call.
struct read_scattered_step : step_of<std::size_t> {
  explicit read_scattered_step(std::span<const buffer> b) noexcept : into(b) {}
  attempt try_once(descriptor& from) {
    if (from.other() != nullptr) {  // into the first that has room: a short read
      for (const buffer& each : into)
        if (each.size() > 0) return try_read(from, each.data(), each.size());
      return attempt::done();
    }
    iovec parts[buffers_at_once];
    std::size_t count = 0, asked = 0;
    for (const buffer& each : into) {
      if (each.size() == 0) continue;
      parts[count++] = {each.data(), each.size()};
      asked += each.size();
      if (count == buffers_at_once) break;
    }
    if (count == 0) return attempt::done();
    if (from.known_empty()) return attempt::wait_readable();
    const ssize_t got = syscalls::readv(from.fd(), parts, static_cast<int>(count));
    if (EVENTER_LIKELY(got > 0)) {
      from.note_unanswered();
      if (!from.is_made_here_local()) from.note_read(asked, static_cast<std::size_t>(got));  // see read_from_local
      return attempt::done(static_cast<std::size_t>(got));
    }
    if (got == 0) return attempt::failed(errc::end_of_stream);
    if (!would_block(errno)) return attempt::failed(errno);
    from.note_read_would_block();
    return wait_or_end(from);
  }
  static result_type result(std::size_t value) noexcept { return value; }

  std::span<const buffer> into;
};

// Writes several buffers, sixteen with one system call. `from` and what it views are the caller's until the end.
struct write_gathered_step : step_of<std::size_t> {
  explicit write_gathered_step(std::span<const const_buffer> b, std::size_t* done = nullptr) noexcept
      : left(b), count(done) {
    if (count != nullptr) *count = 0;
  }
  attempt try_once(descriptor& to) {
    for (;;) {
      while (!left.empty() && left.front().size() == begun) {
        left = left.subspan(1);
        begun = 0;
      }
      if (count != nullptr) *count = written;
      if (left.empty()) return attempt::done(written);
      const attempt tried = try_write_some_buffers(to);
      if (!tried.is_done()) return tried;
      written += tried.value();
      skip(tried.value());
    }
  }
  void before_waiting() {
    scheduler* const here = scheduler::current();
    if (here == nullptr) return;
    bool borrowed = false;
    for (const const_buffer& each : left)
      borrowed = borrowed || static_cast<event_loop*>(here)->in_scratch(each.data());
    if (!borrowed) return;
    std::vector<char> bytes;
    for (const const_buffer& each : left) bytes.insert(bytes.end(), each.data(), each.data() + each.size());
    kept = std::make_unique<kept_copy>();
    kept->bytes = std::move(bytes);
    kept->whole = kept->bytes;
    left = {&kept->whole, 1};
  }
  static result_type result(std::size_t value) noexcept { return value; }

 private:
  struct kept_copy {
    std::vector<char> bytes;
    const_buffer whole;
  };

  attempt try_write_some_buffers(descriptor& to) {
    if (to.other() != nullptr) return try_transport(to);
    iovec parts[buffers_at_once];
    std::size_t used = 0, skipped = begun;
    for (const const_buffer& each : left) {
      if (used == buffers_at_once) break;
      const const_buffer rest = each.after(std::exchange(skipped, 0));
      if (rest.size() > 0) parts[used++] = {const_cast<char*>(rest.data()), rest.size()};
    }
    return try_write_gathered(to, parts, used);
  }
  // Out of line: its array would be in the frames of all that write.
  EVENTER_NOINLINE attempt try_transport(descriptor& to) const {
    const_buffer parts[buffers_at_once];
    std::size_t used = 0, skipped = begun;
    for (const const_buffer& each : left) {
      if (used == buffers_at_once) break;
      const const_buffer rest = each.after(std::exchange(skipped, 0));
      if (rest.size() > 0) parts[used++] = rest;
    }
    return used == 0 ? attempt::done() : attempt_of_write(to, to.other()->write_parts(parts, used));
  }
  void skip(std::size_t bytes) noexcept {
    while (bytes > 0 && bytes >= left.front().size() - begun) {
      bytes -= left.front().size() - begun;
      begun = 0;
      left = left.subspan(1);
    }
    begun += bytes;
  }

  std::span<const const_buffer> left;
  std::size_t begun = 0;  // bytes of the first buffer that are written
  std::size_t written = 0;
  std::size_t* count;
  std::unique_ptr<kept_copy> kept;
};

struct read_until_step : step_of<std::string_view> {
  read_until_step(std::string* text, std::string_view until, std::size_t most) noexcept
      : into(text), delimiter(until), limit(most) {}
  attempt try_once(descriptor& from) {
    for (;;) {
      const std::size_t found = into->find(delimiter, searched);
      if (found != std::string::npos && found + delimiter.size() <= limit)
        return attempt::done(found + delimiter.size());
      if (into->size() >= limit || found != std::string::npos) return attempt::failed(errc::would_not_fit);
      searched = into->size() < delimiter.size() ? 0 : into->size() - delimiter.size() + 1;
      const std::size_t before = into->size();
      if (before > 0) from.note_unanswered();  // a part of the next request is here
      into->resize(before + (limit - before < piece ? limit - before : piece));
      const attempt tried = try_read(from, into->data() + before, into->size() - before);
      into->resize(before + (tried.is_done() ? tried.value() : 0));
      if (!tried.is_done()) return tried;
    }
  }
  result_type result(std::size_t length) const noexcept { return std::string_view(into->data(), length); }

  static constexpr std::size_t piece = 4096;
  std::string* into;
  std::string_view delimiter;
  std::size_t limit;
  std::size_t searched = 0;
};

struct read_borrowed_step : step_of<std::span<const char>> {
  static attempt try_once(descriptor& from) {
    return try_read(from, event_loop::current().scratch(), event_loop::scratch_bytes);
  }
  static result_type result(std::size_t size) { return std::span<const char>(event_loop::current().scratch(), size); }
};

}  // namespace eventer::inline EVENTER_ABI::detail
