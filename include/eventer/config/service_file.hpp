// service_file: a service_config from a TOML file (docs/configuration.md). Every error is told at once, with its place
// and what was expected; nothing is guessed, and what is not known is an error.
//
// Needs toml++ (Debian: libtomlplusplus-dev) and exceptions; costs its compile time wherever it is included.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <string>
#include <string_view>

#include "eventer/base/result.hpp"
#include "eventer/base/syscalls.hpp"
#include "eventer/base/unique_fd.hpp"
#include "eventer/config/service_reader.hpp"

namespace eventer::inline EVENTER_ABI {

// From text; `name` is what messages call it.
// Errors: config_error with all that is wrong. Whether a listener's `type` is registered is for who starts it to see.
inline service_config parse_service_config(std::string_view text, const std::string& name) {
  return detail::service_reader(name).read(detail::parse_toml(text, name));
}

namespace detail {

// The text of a file of at most 1 MiB; what is longer is cut, and refused by who parses it. Blocks the thread.
// Errors: config_error with one sentence.
inline std::string read_config_text(const std::string& path) {
  const auto refuse = [&](std::string_view why) {
    refuse_config(path, 0, 0, std::string("can't be read: ").append(why));
  };
  const auto refuse_by_kernel = [&] { refuse(error_from_errno(errno).message()); };
  if (path.find('\0') != std::string::npos)
    refuse_config(detail::quoted(path), 0, 0, "can't be read: its name has a NUL in it");
  // A FIFO without a writer would block in open().
  const unique_fd file(syscalls::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat status {};
  if (!file || syscalls::fstat(file.get(), &status) != 0) refuse_by_kernel();
  if (!S_ISREG(status.st_mode)) refuse("it is no regular file");
  std::string text;
  for (;;) {
    constexpr std::size_t piece = 16 << 10;
    const std::size_t before = text.size();
    text.resize(before + piece);
    const ssize_t got = syscalls::read(file.get(), text.data() + before, piece);
    if (got < 0) refuse_by_kernel();
    text.resize(before + static_cast<std::size_t>(got));
    if (got == 0 || text.size() > longest_config) break;  // the latter is refused with what it says
  }
  return text;
}

}  // namespace detail

// From a file of at most 1 MiB. Blocks the thread while the file is read.
// Errors: config_error as above, or with one sentence where the file can't be read.
inline service_config read_service_file(const std::string& path) {
  return parse_service_config(detail::read_config_text(path), path);
}

}  // namespace eventer::inline EVENTER_ABI
