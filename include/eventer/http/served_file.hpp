// served_file: a regular file that is being sent, of which a piece at most is in memory. It lies on the heap, where
// jobs reach it.
//
// What must not be broken: the loop does not wait for a disk to read. What is in the page cache is read at once,
// everything else in a job, and so is everything where the kernel can't tell the two apart. (It does where a network
// file system asks its server for fstat or close, and where pages that bring_in() has seen are gone when sendfile comes
// to them.)
#pragma once

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "eventer/base/unique_fd.hpp"
#include "eventer/event/event_loop.hpp"
#include "eventer/event/job_queue.hpp"

namespace eventer::inline EVENTER_ABI::http::detail {

// Runs it on a thread of the queue. Where that has none, or no room: the errno. Waits.
template <class F>
int run_as_job(const job_queue& queue, F&& function) {
  try {
    return queue.run(std::forward<F>(function));
  } catch (const std::system_error& failure) {
    if (failure.code() == eventer::errc::backlog_full) return EAGAIN;
    if (failure.code() == std::errc::resource_unavailable_try_again) return EAGAIN;
    throw;
  }
}

class served_file : public std::enable_shared_from_this<served_file> {
 public:
  static constexpr std::size_t piece_bytes = std::size_t{64} << 10;   // read() answers so many at most
  static constexpr std::size_t slice_bytes = std::size_t{256} << 10;  // the kernel sends so many at once
  static_assert(piece_bytes <= event_loop::scratch_bytes);

  explicit served_file(unique_fd file) noexcept : file_(std::move(file)) {}

  // Once, before anything else is asked. 0, or the errno: EISDIR for a directory, ENXIO for a FIFO, a device, a socket.
  int examine() noexcept {
    struct stat status {};
    if (syscalls::fstat(file_.get(), &status) != 0) return errno;
    if (S_ISDIR(status.st_mode)) return EISDIR;
    if (!S_ISREG(status.st_mode)) return ENXIO;
    size_ = static_cast<std::uint64_t>(status.st_size);
    inode_ = static_cast<std::uint64_t>(status.st_ino);
    modified_ = status.st_mtim;
    return 0;
  }

  int fd() const noexcept { return file_.get(); }
  std::uint64_t size() const noexcept { return size_; }
  std::time_t modified() const noexcept { return modified_.tv_sec; }
  // Another one after each change that the file's time shows, and for a file that has taken its place.
  std::string etag() const {
    char text[3 * 18 + 8], *at = text;
    *at++ = '"';
    constexpr std::uint64_t second = 1'000'000'000;
    for (const std::uint64_t each :
         {static_cast<std::uint64_t>(modified_.tv_sec) * second + static_cast<std::uint64_t>(modified_.tv_nsec), size_,
          inode_}) {
      at = std::to_chars(at, at + 17, each, 16).ptr;
      *at++ = '-';
    }
    at[-1] = '"';
    return {text, at};
  }

  // The bytes that begin at `offset`, some, `most` or piece_bytes of them at most. Waits where they are not in memory.
  // Returns: a view that holds until the next await, empty at the end of the file and after an error: see failure().
  std::string_view read(std::uint64_t offset, std::size_t most, const job_queue& queue) {
    failure_ = 0;
    most = std::min(most, piece_bytes);
    char* const scratch = event_loop::current().scratch();
    const ssize_t got = read_now(offset, scratch, most);
    if (EVENTER_LIKELY(got >= 0)) return {scratch, static_cast<std::size_t>(got)};
    read_ = 0;
    failure_ = run_as_job(queue, [self = shared_from_this(), offset, most] { return self->fill(offset, most); });
    return {buffer_.get(), failure_ != 0 ? 0 : read_};
  }
  // What lies there is in the page cache afterwards. Both ends of it are looked at, which finds what was never read;
  // once something was not there, more places in between, for what the kernel has dropped or read ahead has holes.
  // Waits if it has to be read. Returns: false where that fails, failure() says why. That the file has become shorter
  // is no failure.
  bool bring_in(std::uint64_t offset, std::size_t bytes, const job_queue& queue) {
    failure_ = 0;
    if (is_there(offset, bytes)) return true;
    looks_closely_ = true;
    failure_ = run_as_job(queue, [self = shared_from_this(), offset, bytes] {
      for (std::size_t done = 0; done < bytes; done += self->read_) {
        if (const int error = self->fill(offset + done, std::min(bytes - done, piece_bytes))) return error;
        if (self->read_ == 0) break;
      }
      return 0;
    });
    return failure_ == 0;
  }
  // Why nothing was read; 0 at the file's end.
  int failure() const noexcept { return failure_; }

 private:
  bool is_there(std::uint64_t offset, std::size_t bytes) noexcept {
    constexpr std::size_t between = std::size_t{16} << 10;
    char byte = 0;
    const auto has = [&](std::size_t at) { return read_now(offset + at, &byte, 1) == 1; };
    if (bytes == 0) return true;
    for (std::size_t at = 0; at < bytes; at += looks_closely_ ? between : bytes)
      if (!has(at)) return false;
    return has(bytes - 1);
  }
  // -1: not without waiting, or not at all: a job finds out. Linux 5.9 and 5.10 may answer 0 for what they would have
  // to wait for, so that this is no sign of the file's end, unless it is known to be there.
  ssize_t read_now(std::uint64_t offset, char* into, std::size_t most) noexcept {
    const ssize_t got = syscalls::preadv2(file_.get(), into, most, static_cast<off_t>(offset), RWF_NOWAIT);
    return got == 0 && most > 0 && offset < size_ ? -1 : got;
  }
  // In a job.
  int fill(std::uint64_t offset, std::size_t most) {
    if (buffer_ == nullptr) buffer_.reset(new char[piece_bytes]);
    const ssize_t got = syscalls::pread(file_.get(), buffer_.get(), most, static_cast<off_t>(offset));
    read_ = got < 0 ? 0 : static_cast<std::size_t>(got);
    return got < 0 ? errno : 0;
  }

  unique_fd file_;
  std::uint64_t size_ = 0, inode_ = 0;
  timespec modified_{};
  bool looks_closely_ = false;  // bring_in() has missed something
  int failure_ = 0;
  std::size_t read_ = 0;            // by the last job, into buffer_
  std::unique_ptr<char[]> buffer_;  // made by the first
};

}  // namespace eventer::inline EVENTER_ABI::http::detail
