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

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "eventer/base/buffer.hpp"
#include "eventer/event/file_transport.hpp"
#include "eventer/net/endpoint.hpp"
#include "eventer/net/send_file_step.hpp"
#include "eventer/net/stream_steps.hpp"

namespace eventer::inline EVENTER_ABI {

class stream {
 public:
  stream() noexcept = default;  // not connected: every call answers `closed`
  stream(stream&&) noexcept = default;
  stream& operator=(stream&&) noexcept = default;

  // Every call takes a time limit: a duration, which counts from when the call first has to wait, or a time_point.

  // Reads what is there, at least one byte. Completes: when bytes have come. Errors: end_of_stream when the peer has
  // closed its side. A buffer of size 0 answers 0 at once.
  io_result<std::size_t> read_some(buffer into, time_limit limit = {}) {
    return detail::perform<detail::read_some_step>(descriptor_, limit, into);
  }
  auto async_read_some(buffer into, time_limit limit = {}) { return operation(detail::read_some_step(into), limit); }

  // Writes what the kernel takes, at least one byte.
  io_result<std::size_t> write_some(const_buffer from, time_limit limit = {}) {
    return detail::perform<detail::write_some_step>(descriptor_, limit, from);
  }
  auto async_write_some(const_buffer from, time_limit limit = {}) {
    return operation(detail::write_some_step(from), limit);
  }

  // Fills the whole buffer. The limit is for all of it. `done`, where given, is how many bytes were read, also after an
  // error: a time-out must not lose the count. Errors: end_of_stream before the buffer was full.
  io_result<std::size_t> read_exact(buffer into, time_limit limit = {}) {
    return detail::perform<detail::read_exact_step>(descriptor_, limit, into);
  }
  io_result<std::size_t> read_exact(buffer into, std::size_t& done, time_limit limit = {}) {
    return detail::perform<detail::read_exact_step>(descriptor_, limit, into, &done);
  }
  auto async_read_exact(buffer into, time_limit limit = {}) { return operation(detail::read_exact_step(into), limit); }
  auto async_read_exact(buffer into, std::size_t& done, time_limit limit = {}) {
    return operation(detail::read_exact_step(into, &done), limit);
  }

  // Writes the whole buffer, or all of several in their order (gathered into as few system calls as the kernel takes);
  // otherwise as read_exact.
  io_result<std::size_t> write_all(const_buffer from, time_limit limit = {}) {
    return detail::perform<detail::write_all_step>(descriptor_, limit, from);
  }
  io_result<std::size_t> write_all(const_buffer from, std::size_t& done, time_limit limit = {}) {
    return detail::perform<detail::write_all_step>(descriptor_, limit, from, &done);
  }
  io_result<std::size_t> write_all(std::span<const const_buffer> from, time_limit limit = {}) {
    return detail::perform<detail::write_gathered_step>(descriptor_, limit, from);
  }
  io_result<std::size_t> write_all(std::span<const const_buffer> from, std::size_t& done, time_limit limit = {}) {
    return detail::perform<detail::write_gathered_step>(descriptor_, limit, from, &done);
  }
  auto async_write_all(const_buffer from, time_limit limit = {}) {
    return operation(detail::write_all_step(from), limit);
  }
  auto async_write_all(const_buffer from, std::size_t& done, time_limit limit = {}) {
    return operation(detail::write_all_step(from, &done), limit);
  }
  auto async_write_all(std::span<const const_buffer> from, time_limit limit = {}) {
    return operation(detail::write_gathered_step(from), limit);
  }
  auto async_write_all(std::span<const const_buffer> from, std::size_t& done, time_limit limit = {}) {
    return operation(detail::write_gathered_step(from, &done), limit);
  }

  // Sends bytes of a file without copying them: `size` of them at most, from `offset` on, as many as the kernel takes,
  // at least one. Completes: when it has taken some. What is not in the page cache is read first, which stops the
  // thread. Returns: how many; 0 where the file has none there any more, or size is 0. Errors: operation_not_supported
  // where this is not a plain socket (over TLS, say) or the file's system can't do it: then read it and write.
  // Requires: the file stays open until the end.
  io_result<std::size_t> send_file(int file, std::uint64_t offset, std::size_t size, time_limit limit = {}) {
    return detail::perform<detail::send_file_step>(descriptor_, limit, file, offset, size);
  }
  auto async_send_file(int file, std::uint64_t offset, std::size_t size, time_limit limit = {}) {
    return operation(detail::send_file_step(file, offset, size), limit);
  }

  // Fills several buffers in their order, as far as the bytes that are there go; otherwise as read_some.
  io_result<std::size_t> read_some(std::span<const buffer> into, time_limit limit = {}) {
    return detail::perform<detail::read_scattered_step>(descriptor_, limit, into);
  }
  auto async_read_some(std::span<const buffer> into, time_limit limit = {}) {
    return operation(detail::read_scattered_step(into), limit);
  }

  // Reads into the text until it contains `delimiter`. Returns: a view of the text up to and with the delimiter, valid
  // as long as the text is not changed; what was read beyond it stays in the text behind the view, so the caller erases
  // the view's bytes before the next call. What the text contains already is looked at first.
  // Errors: would_not_fit when `limit` bytes hold no delimiter; end_of_stream before one came: what came stays in the
  // text. An empty delimiter is found at once.
  io_result<std::string_view> read_until(std::string& into, std::string_view delimiter, std::size_t limit,
                                         time_limit time = {}) {
    return detail::perform<detail::read_until_step>(descriptor_, time, &into, delimiter, limit);
  }
  auto async_read_until(std::string& into, std::string_view delimiter, std::size_t limit, time_limit time = {}) {
    return operation(detail::read_until_step(&into, delimiter, limit), time);
  }

  // Reads what is there into the loop's scratch buffer (64 KiB): a parked reader holds no buffer at all. The view is
  // valid until the next await of any kind; writing it back through write_some or write_all is safe. Requires: a loop
  // runs on this thread.
  io_result<std::span<const char>> read_borrowed(time_limit limit = {}) {
    return detail::perform<detail::read_borrowed_step>(descriptor_, limit);
  }
  auto async_read_borrowed(time_limit limit = {}) { return operation(detail::read_borrowed_step(), limit); }

  // Tells the peer that no more bytes come (half-close). Reading goes on.
  io_result<void> shutdown_write() {
    if (!usable()) return errc::closed;
    if (transport* const other = descriptor_->other(); other != nullptr)
      return other->shutdown_write() == 0 ? std::error_code() : other->error_of(errno);
    if (syscalls::shutdown(descriptor_->fd(), SHUT_WR) != 0) return error_from_errno(errno);
    return {};
  }

  // Closes at once. Coroutines that wait on this stream go on with `closed`. Closing twice is harmless.
  void close() noexcept {
    if (descriptor_ != nullptr) descriptor_->close();
  }

  // Gives the descriptor to the caller, still non-blocking; -1 if there is none. Who waits goes on with `closed`. Where
  // a thread still reads or writes a regular file, it is a duplicate, and the file's position is settled when that has
  // ended.
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
    if (const std::error_code error = detail::set_non_blocking(fd)) return error;
    if (detail::file_transport::is_for(fd))
      return std::make_unique<descriptor>(fd, std::make_unique<detail::file_transport>(fd));
    return std::make_unique<descriptor>(fd, descriptor::origin::adopted);
  }

 private:
  bool usable() const noexcept { return descriptor_ != nullptr && descriptor_->is_usable(); }
  template <class Step>
  detail::descriptor_operation<Step> operation(Step&& step, time_limit limit) {
    return detail::descriptor_operation<Step>(descriptor_, std::move(step), limit);
  }

 protected:
  std::unique_ptr<descriptor> descriptor_;
};

}  // namespace eventer::inline EVENTER_ABI
