// A line of the log, made and written:
//
//   [2026-01-31 12:00:00.123456] [error] the message
//
// with local time and the stream's name, by one write(2), so that the lines of several threads do not mix. The message
// ends its line itself; one of several lines has one such head.
#pragma once

#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstddef>
#include <cstdio>
#include <cstdlib>

#include "eventer/base/config.hpp"
#include "eventer/base/syscalls.hpp"
#include "eventer/compat/detail/log_streams.hpp"

namespace eventer::inline EVENTER_ABI::compat {

using log_writer = void (*)(const char* stream, const char* line, std::size_t length);
inline constinit std::atomic<log_writer> chosen_writer{nullptr};  // nullptr: standard error

// Where in the source a line comes from, to be said in it.
struct source_place {
  const char* file;
  int line;
};

class log_line {
 public:
  // `when` nullptr: now. `place` nullptr: not said. One that is longer than what there is memory for is cut.
  __attribute__((format(printf, 5, 0)))
  log_line(const log_stream& stream, const timeval* when, const source_place* place, const char* format,
           std::va_list arguments) noexcept
      : stream_(stream) {
    timeval now{};
    if (when == nullptr) {
      ::gettimeofday(&now, nullptr);
      when = &now;
    }
    const int error = errno;  // which a "%m" in the message means
    std::va_list again;
    va_copy(again, arguments);
    if (!fill(*when, place, error, format, arguments)) {
      const std::size_t needed = size_ + 1;
      if (auto* const large = static_cast<char*>(std::malloc(needed)); large != nullptr) {
        text_ = large;
        capacity_ = needed;
      }
      if (!fill(*when, place, error, format, again)) size_ = capacity_ - 1;
    }
    va_end(again);
  }
  log_line(const log_line&) = delete;
  log_line& operator=(const log_line&) = delete;
  ~log_line() {
    if (text_ != small_) std::free(text_);
  }

  // Returns: how many bytes were written. What standard error does not take is lost.
  std::size_t write() const noexcept {
    if (const log_writer writer = chosen_writer.load(); writer != nullptr) {
      writer(stream_.name, text_ + head_, size_ - head_);
      return size_ - head_;
    }
    std::size_t written = 0;
    while (written < size_) {
      const ssize_t count = syscalls::write(STDERR_FILENO, text_ + written, size_ - written);
      if (count <= 0) break;
      written += static_cast<std::size_t>(count);
    }
    return written;
  }

 private:
  // false: the text needs `size_` bytes and one more, and there are not so many.
  __attribute__((format(printf, 5, 0))) bool fill(const timeval& when, const source_place* place, int error,
                                                  const char* format, std::va_list arguments) noexcept {
    char seconds[64];
    tm parts{};
    if (::localtime_r(&when.tv_sec, &parts) == nullptr ||
        std::strftime(seconds, sizeof seconds, "%Y-%m-%d %H:%M:%S", &parts) == 0)
      std::snprintf(seconds, sizeof seconds, "%lld", static_cast<long long>(when.tv_sec));
    size_ = 0;
    add(std::snprintf(at(), room(), "[%s.%06ld] [%s] ", seconds, static_cast<long>(when.tv_usec), stream_.name));
    head_ = size_;
    if (place != nullptr) add(std::snprintf(at(), room(), "%s:%d: ", place->file, place->line));
    errno = error;
    const int length = std::vsnprintf(at(), room(), format, arguments);
    add(length >= 0 ? length : std::snprintf(at(), room(), "%s", format));  // "%ls" of what is no text
    return size_ < capacity_;
  }
  char* at() noexcept { return text_ + (size_ < capacity_ ? size_ : capacity_ - 1); }
  std::size_t room() const noexcept { return size_ < capacity_ ? capacity_ - size_ : 1; }
  void add(int length) noexcept {
    if (length > 0) size_ += static_cast<std::size_t>(length);
  }

  const log_stream& stream_;
  char small_[1024];
  char* text_ = small_;
  std::size_t capacity_ = sizeof small_;
  std::size_t size_ = 0;
  std::size_t head_ = 0;
};

}  // namespace eventer::inline EVENTER_ABI::compat
