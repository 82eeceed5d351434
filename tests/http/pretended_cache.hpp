// Pretends what the kernel has of files in its page cache, and counts who asks for it. Included by one file of a
// program: it stands in for a function of the C library.
#pragma once

#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

namespace http_test {

// What the kernel answers on this thread about its page cache. Nothing is pretended until with_cache does.
struct page_cache {
  bool is_pretended = false;
  std::uint64_t missing_from = UINT64_MAX, missing_to = UINT64_MAX;  // not in memory, whatever happens
  bool answers_nothing = false;                                      // 0 in the place of EAGAIN, as Linux 5.9 may
  int looks = 0, waits = 0;                                          // calls, and those that may have waited
};
inline thread_local page_cache cache;

}  // namespace http_test

// In the place of the C library's, for this program.
extern "C" ssize_t preadv2(int fd, const iovec* parts, int count, off_t offset, int flags) {
  auto& cache = http_test::cache;
  ++cache.looks;
  if ((flags & RWF_NOWAIT) == 0) ++cache.waits;
  if (!cache.is_pretended)
    return ::syscall(SYS_preadv2, fd, parts, static_cast<long>(count), static_cast<long>(offset), 0L,
                     static_cast<long>(flags));
  const auto at = static_cast<std::uint64_t>(offset);
  if (at < cache.missing_from || at >= cache.missing_to) return ::preadv(fd, parts, count, offset);
  if (cache.answers_nothing) return 0;
  errno = EAGAIN;
  return -1;
}

namespace http_test {

// For the life of the object.
struct with_cache {
  explicit with_cache(const page_cache& what) {
    cache = what;
    cache.is_pretended = true;
  }
  with_cache(const with_cache&) = delete;
  with_cache& operator=(const with_cache&) = delete;
  ~with_cache() { cache = {}; }
};

}  // namespace http_test
