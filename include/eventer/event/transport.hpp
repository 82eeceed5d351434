// transport: what stands behind a descriptor in the place of what the kernel can watch: an in-memory stream, a regular
// file.
//
// Its calls answer like the system calls of the same names. It tells its descriptor about changes by
// descriptor::on_event, on the thread of the descriptor's loop.
#pragma once

#include <sys/types.h>

#include <cstddef>

#include "eventer/base/config.hpp"

namespace eventer::inline EVENTER_ABI {

class descriptor;

class transport {
 public:
  virtual ~transport() = default;
  // What receives on_event; nullptr when the descriptor goes.
  virtual void attach(descriptor* owner) noexcept = 0;
  // Bytes; 0 at the end of the stream; -1 and errno: EAGAIN where nothing is there, ECONNRESET, ...
  virtual ssize_t read(void* into, std::size_t size) noexcept = 0;
  // Bytes taken, perhaps fewer than given; -1 and errno: EAGAIN, EPIPE, ECONNRESET, ...
  virtual ssize_t write(const void* from, std::size_t size) noexcept = 0;
  // 0, or -1 and errno.
  virtual int shutdown_write() noexcept = 0;
  // Who waited to write, after EAGAIN, will not try again.
  virtual void writer_left() noexcept {}
  // Whether it is about to call on_event, so that its descriptor can't change the loop.
  virtual bool is_busy() const noexcept { return false; }
  // The number that stands for it is the caller's now: answers it, or another one for the same file.
  virtual int release(int fd) noexcept { return fd; }
};

}  // namespace eventer::inline EVENTER_ABI
