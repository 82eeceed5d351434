// read_file: a small file as text: a configuration, a certificate.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <string>

#include "eventer/base/result.hpp"
#include "eventer/base/syscalls.hpp"
#include "eventer/base/unique_fd.hpp"

namespace eventer::inline EVENTER_ABI {

// Blocks the thread. Errors: what the kernel answers; invalid_argument where it is no regular file, or its name has a
// NUL in it; file_too_large beyond `most` bytes.
inline io_result<std::string> read_file(const std::string& path, std::size_t most) {
  if (path.find('\0') != std::string::npos) return std::make_error_code(std::errc::invalid_argument);
  // A FIFO without a writer would block in open().
  const unique_fd file(syscalls::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat status {};
  if (!file || syscalls::fstat(file.get(), &status) != 0) return error_from_errno(errno);
  if (!S_ISREG(status.st_mode)) return std::make_error_code(std::errc::invalid_argument);
  std::string text;
  for (;;) {
    constexpr std::size_t piece = 16 << 10;
    const std::size_t before = text.size();
    text.resize(before + piece);
    const ssize_t got = syscalls::read(file.get(), text.data() + before, piece);
    if (got < 0) return error_from_errno(errno);
    text.resize(before + static_cast<std::size_t>(got));
    if (text.size() > most) return std::make_error_code(std::errc::file_too_large);
    if (got == 0) return text;
  }
}

}  // namespace eventer::inline EVENTER_ABI
