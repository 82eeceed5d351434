// open_beneath: opens what lies beneath a directory, whoever has chosen the path: neither ".." nor a symbolic link
// leads out of it. What is opened is what is looked at and sent afterwards; a path is never looked up twice.
#pragma once

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "eventer/base/syscalls.hpp"
#include "eventer/base/unique_fd.hpp"

namespace eventer::inline EVENTER_ABI::http::detail {

// A FIFO must not block, a terminal not become ours. (Who waits in open() to write to a FIFO goes on when it is opened
// here, and gets SIGPIPE when that is closed again: FIFOs that others use do not belong into a directory that is
// served.)
inline constexpr int open_flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;

// For others to be opened beneath it. Empty: errno says why.
inline unique_fd open_root(const std::string& directory) {
  return unique_fd(syscalls::open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
}

// Without openat2 (Linux 5.6), or where a sandbox forbids it: one segment after the other, and behind no link.
inline unique_fd walk_beneath(int root, const std::string& path) {
  const std::string_view all = path;
  unique_fd at;
  for (std::size_t begin = 0; begin < all.size();) {
    const std::size_t slash = std::min(all.find('/', begin), all.size());
    const std::string part(all.substr(begin, slash - begin));
    begin = slash + 1;
    if (part.empty()) continue;
    if (part == "..") {
      errno = EXDEV;
      return {};
    }
    const bool is_last = begin >= all.size(), is_folder = slash < all.size();
    const int flags = is_last ? open_flags | (is_folder ? O_DIRECTORY : 0) : O_PATH | O_DIRECTORY | O_CLOEXEC;
    unique_fd next(syscalls::openat(at ? at.get() : root, part.c_str(), flags | O_NOFOLLOW));
    if (!next) return next;
    at = std::move(next);
  }
  return at;
}

// What the kernel has in memory. Empty: errno says why; EAGAIN where it would have to ask a disk, can't tell, or does
// not know openat2.
inline unique_fd open_cached(int at, const std::string& path, std::uint64_t resolve = 0) {
  const int opened = syscalls::openat2(at, path.c_str(), open_flags, resolve | syscalls::only_cached);
  if (opened < 0 && (errno == ENOSYS || errno == EPERM || errno == EINVAL)) errno = EAGAIN;
  return unique_fd(opened);
}

// Where the path may be looked up: a disk may take its time.
enum class lookup : unsigned char { anywhere, in_cache };

// Slashes at the begin are none: "" is the directory itself. Empty: errno says why; EAGAIN for lookup::in_cache, see
// open_cached(); EXDEV for what would lead out. Requires: no NUL in the path.
inline unique_fd open_beneath(int root, std::string path, lookup where = lookup::anywhere,
                              bool may_use_openat2 = true) {
  path.erase(0, path.find_first_not_of('/'));
  if (path.empty()) path = ".";
  constexpr std::uint64_t beneath = syscalls::beneath | syscalls::no_magic_links;
  if (where == lookup::in_cache) return open_cached(root, path, beneath);
  constexpr int tries = 16;  // EAGAIN: somebody has renamed something meanwhile
  for (int i = 0; i < tries && may_use_openat2; ++i) {
    const int opened = syscalls::openat2(root, path.c_str(), open_flags, beneath);
    if (opened >= 0 || (errno != ENOSYS && errno != EPERM && errno != EAGAIN)) return unique_fd(opened);
    may_use_openat2 = errno == EAGAIN;
  }
  if (may_use_openat2) return {};
  return walk_beneath(root, path);
}

}  // namespace eventer::inline EVENTER_ABI::http::detail
