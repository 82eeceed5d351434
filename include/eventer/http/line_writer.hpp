// line_writer: takes lines from any thread, and has them written by a job of job_queue::files(): no loop waits for a
// disk. While one job writes, what comes is collected for the next write, so that a busy server makes few of them.
//
// What must not be broken: memory is bounded, whatever the disk does; what does not fit is lost, and counted.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "eventer/base/log.hpp"
#include "eventer/base/syscalls.hpp"
#include "eventer/base/unique_fd.hpp"
#include "eventer/coro/sync/manual_reset_event.hpp"
#include "eventer/event/job_queue.hpp"

namespace eventer::inline EVENTER_ABI::http::detail {

// Where lines go. Called on a thread that may block, one call at a time.
class line_sink {
 public:
  virtual ~line_sink() = default;
  // Returns: how many bytes of them were taken; fewer than all after an error, which errno tells.
  virtual std::size_t write(std::string_view lines) = 0;
  virtual std::error_code reopen() { return {}; }
};

class file_sink final : public line_sink {
 public:
  explicit file_sink(std::string path) : path_(std::move(path)) {}

  // Takes the file's place that is open, if there is one; else that stays.
  std::error_code reopen() override {
    const int fd = syscalls::open(path_.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
    if (fd < 0) return {errno, std::generic_category()};
    auto opened = std::make_shared<const unique_fd>(fd);
    const std::lock_guard lock(mutex_);
    file_.swap(opened);
    return {};
  }
  std::size_t write(std::string_view lines) override {
    const std::shared_ptr<const unique_fd> to = present();
    // The rest of a line that could not be written whole must not become the beginning of the next.
    if (is_torn_ && write_all(to->get(), "\n") == 0) return 0;
    const std::size_t done = write_all(to->get(), lines);
    is_torn_ = done > 0 && done < lines.size() && lines[done - 1] != '\n';
    return done;
  }
  const std::string& path() const noexcept { return path_; }

 private:
  std::shared_ptr<const unique_fd> present() const {
    const std::lock_guard lock(mutex_);
    return file_;
  }
  static std::size_t write_all(int fd, std::string_view bytes) {
    std::size_t done = 0;
    while (done < bytes.size()) {
      const ssize_t count = syscalls::write(fd, bytes.data() + done, bytes.size() - done);
      if (count > 0)
        done += static_cast<std::size_t>(count);
      else if (count == 0 || errno != EAGAIN || !becomes_writable(fd))
        break;
    }
    return done;
  }
  // A pipe that its other owner has made non-blocking.
  static bool becomes_writable(int fd) {
    pollfd what{fd, POLLOUT, 0};
    return syscalls::poll(&what, 1, 1000) == 1;
  }

  const std::string path_;
  mutable std::mutex mutex_;  // for a moment
  std::shared_ptr<const unique_fd> file_;
  bool is_torn_ = false;  // the writing thread's
};

template <class F>
class function_sink final : public line_sink {
 public:
  template <class From>
  explicit function_sink(From&& function) : function_(std::forward<From>(function)) {}
  std::size_t write(std::string_view lines) override {
    try {
      function_(lines);
      return lines.size();
    } catch (const std::exception& failure) {
      log(log_level::error, "access log: its sink has thrown: %s", failure.what());
      errno = EIO;
      return 0;
    }
  }

 private:
  F function_;
};

class line_writer : public std::enable_shared_from_this<line_writer> {
 public:
  line_writer(std::unique_ptr<line_sink> to, std::size_t most) noexcept : to_(std::move(to)), most_(most) {}

  // Any thread; never waits.
  void add(std::string_view line) {
    {
      const std::lock_guard lock(mutex_);
      if (waiting_.size() + line.size() > most_) {
        lost_.fetch_add(1, std::memory_order_relaxed);
        return;
      }
      waiting_.append(line);
      if (std::exchange(writes_, true)) return;
      idle_.reset();
    }
    if (job_queue::files().post_at_once([self = shared_from_this()] { self->write(); })) give_up();  // no thread
  }
  io_result<void> flush(time_limit limit) { return shared_event(idle_).wait(limit); }
  std::error_code reopen_here() { return to_->reopen(); }
  std::error_code reopen() {
    return job_queue::files().run([self = shared_from_this()] { return self->to_->reopen(); });
  }
  std::uint64_t lost() const noexcept { return lost_.load(std::memory_order_relaxed); }

 private:
  // A job, until nothing is left. One at a time.
  void write() {
    while (take()) {
      const std::size_t done = to_->write(writing_);
      const int error = errno;
      const auto left = std::count(writing_.begin() + static_cast<std::ptrdiff_t>(done), writing_.end(), '\n');
      if (left > 0) lost_.fetch_add(static_cast<std::uint64_t>(left), std::memory_order_relaxed);
      report(left > 0 ? error : 0);
    }
  }
  bool take() {
    writing_.clear();
    const std::lock_guard lock(mutex_);
    writing_.swap(waiting_);
    if (!writing_.empty()) return true;
    writes_ = false;
    idle_.set();
    return false;
  }
  void give_up() {
    const std::lock_guard lock(mutex_);
    lost_.fetch_add(static_cast<std::uint64_t>(std::count(waiting_.begin(), waiting_.end(), '\n')),
                    std::memory_order_relaxed);
    waiting_.clear();
    writes_ = false;
    idle_.set();
  }
  // Once when it begins, and once when it is over.
  void report(int error) {
    const std::uint64_t lost = this->lost();
    const bool loses = lost > reported_;
    reported_ = lost;
    if (loses == loses_) return;
    loses_ = loses;
    if (loses)
      log(log_level::error, "access log: lines are lost: %s",
          error != 0 ? std::generic_category().message(error).c_str() : "they come faster than they are written");
    else
      log(log_level::warning, "access log: goes on; %llu lines were lost so far",
          static_cast<unsigned long long>(lost));
  }

  const std::unique_ptr<line_sink> to_;
  const std::size_t most_;
  std::mutex mutex_;     // for a moment
  std::string waiting_;  // for the next write
  bool writes_ = false;  // a job is out
  shared_event idle_{true};
  std::atomic<std::uint64_t> lost_{0};
  std::string writing_;  // the job's, like the rest
  std::uint64_t reported_ = 0;
  bool loses_ = false;
};

}  // namespace eventer::inline EVENTER_ABI::http::detail
