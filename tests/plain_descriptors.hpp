// Descriptors as foreign code has them: non-blocking pairs, pipes, files and devices that no stream knows.
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

#include "eventer/base/unique_fd.hpp"

// What this process has open, each with what it is, so that a comparison that fails says more than a number. Of two
// looks what both saw: on other threads UBSan opens a pipe for a moment, to ask the kernel about an address.
inline std::set<std::string> open_descriptors() {
  const auto look = [] {
    std::set<std::string> all;
    DIR* const folder = ::opendir("/proc/self/fd");
    if (folder == nullptr) throw std::runtime_error("/proc/self/fd");
    while (const dirent* const each = ::readdir(folder)) {
      const std::string number = each->d_name;
      if (number.front() == '.' || number == std::to_string(::dirfd(folder))) continue;
      char what[PATH_MAX];
      const ssize_t length = ::readlinkat(::dirfd(folder), each->d_name, what, sizeof what);
      if (length > 0) all.insert(number + ' ' + std::string(what, static_cast<std::size_t>(length)));
    }
    ::closedir(folder);
    return all;
  };
  std::set<std::string> seen = look();
  const std::set<std::string> again = look();
  std::erase_if(seen, [&](const std::string& each) { return !again.contains(each); });
  return seen;
}

struct plain_pair {
  eventer::unique_fd ours, peer;
};
inline plain_pair plain_socket_pair() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0)
    throw std::runtime_error("socketpair");
  return {eventer::unique_fd(ends[0]), eventer::unique_fd(ends[1])};
}
// `ours` is the end that is read.
inline plain_pair plain_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) throw std::runtime_error("pipe2");
  return {eventer::unique_fd(ends[0]), eventer::unique_fd(ends[1])};
}
inline eventer::unique_fd plain_open(const char* path, int flags) {
  eventer::unique_fd opened(::open(path, flags | O_CLOEXEC, 0600));
  if (!opened) throw std::runtime_error(path);
  return opened;
}

inline void give(const eventer::unique_fd& to, std::string_view text) {
  if (::write(to.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    throw std::runtime_error("write");
}
// At most `most` bytes; "<end>", "<nothing>" or the error's text.
inline std::string take(int from, std::size_t most = 256) {
  std::string bytes(most, ' ');
  const ssize_t got = ::read(from, bytes.data(), bytes.size());
  if (got > 0) return bytes.substr(0, static_cast<std::size_t>(got));
  return got == 0 ? "<end>" : errno == EAGAIN ? "<nothing>" : std::generic_category().message(errno);
}
inline std::string take(const eventer::unique_fd& from, std::size_t most = 256) { return take(from.get(), most); }
// Until the kernel takes no more, and until it has no more.
inline void fill_up(const eventer::unique_fd& which) {
  const std::string block(std::size_t{64} << 10, 'f');
  while (::write(which.get(), block.data(), block.size()) > 0) {
  }
  while (::write(which.get(), block.data(), 1) > 0) {
  }
}
inline void drain(const eventer::unique_fd& which) {
  std::string block(std::size_t{64} << 10, ' ');
  while (::read(which.get(), block.data(), block.size()) > 0) {
  }
}
