// transport: what stands between a descriptor's streams and the kernel: in the place of what the kernel can watch, an
// in-memory stream, a regular file; or as a layer over the descriptor's own file, TLS.
//
// Its calls answer like the system calls of the same names, and never wait. One that stands in the file's place tells
// its descriptor about changes by descriptor::on_event, on the thread of the descriptor's loop; a layer is told about
// them (became_ready).
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <system_error>

#include "eventer/base/buffer.hpp"
#include "eventer/base/result.hpp"
#include "eventer/event/io_mask.hpp"

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
  // As write, with the bytes of several buffers in their order, or only with the first of them. Requires: one at least.
  virtual ssize_t write_parts(const const_buffer* parts, std::size_t count) noexcept {
    (void)count;
    return write(parts->data(), parts->size());
  }
  // 0, or -1 and errno.
  virtual int shutdown_write() noexcept = 0;
  // What the errno of the last call that failed stands for.
  virtual std::error_code error_of(int number) const noexcept { return error_from_errno(number); }
  // Who waited to write, after EAGAIN, will not try again.
  virtual void writer_left() noexcept {}
  // Whether it is about to call on_event, so that its descriptor can't change the loop.
  virtual bool is_busy() const noexcept { return false; }
  // The number that stands for it is the caller's now: answers it, or another one for the same file.
  virtual int release(int fd) noexcept { return fd; }
  // The same for everything of one kind, for who looks for a transport that it knows; nullptr: of none that is looked
  // for.
  virtual const void* kind() const noexcept { return nullptr; }

  // --- a layer; see descriptor::put_layer ---

  // What is below it has become ready for this. Answers for what the descriptor is ready then: a reader may wait for
  // something that has to be written first.
  virtual io_mask became_ready(io_mask ready) noexcept { return ready; }
  // What the file below has to become ready for before a call in this direction can go on.
  virtual io_mask waits_for(io_mask wanted) const noexcept { return wanted; }
  // The descriptor is about to be closed: the last occasion to write.
  virtual void closing() noexcept {}
};

}  // namespace eventer::inline EVENTER_ABI
