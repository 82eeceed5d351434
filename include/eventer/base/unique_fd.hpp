// unique_fd: owns one file descriptor and closes it once.
#pragma once

#include <utility>

#include "eventer/base/syscalls.hpp"

namespace eventer::inline EVENTER_ABI {

class unique_fd {
 public:
  unique_fd() noexcept = default;
  explicit unique_fd(int fd) noexcept : fd_(fd) {}
  unique_fd(unique_fd&& other) noexcept : fd_(other.release()) {}
  unique_fd& operator=(unique_fd&& other) noexcept {
    reset(other.release());
    return *this;
  }
  ~unique_fd() { reset(); }

  int get() const noexcept { return fd_; }
  explicit operator bool() const noexcept { return fd_ >= 0; }
  int release() noexcept { return std::exchange(fd_, -1); }
  void reset(int fd = -1) noexcept {
    if (const int old = std::exchange(fd_, fd); old >= 0) syscalls::close(old);
  }

 private:
  int fd_ = -1;
};

}  // namespace eventer::inline EVENTER_ABI
