// layer: a transport over what a stream was before, for protocols that change the bytes on their way: TLS.
//
// It rests on descriptor::put_layer. The loop goes on watching the descriptor's own file, and the layer keeps by itself
// what is known of that. What must not be broken: a read that has found nothing is only tried again when something has
// come, so `drained` may only be set where a further edge announces whatever is left (see descriptor::note_read).
#pragma once

#include <cerrno>
#include <cstddef>
#include <utility>

#include "eventer/net/stream_steps.hpp"

namespace eventer::inline EVENTER_ABI {

class layer : public transport {
 public:
  void attach(descriptor* owner) noexcept final { owner_ = owner; }
  bool is_busy() const noexcept final { return below_.other != nullptr && below_.other->is_busy(); }
  int release(int fd) noexcept final { return below_.other != nullptr ? below_.other->release(fd) : fd; }

  io_mask became_ready(io_mask ready) noexcept override {
    if (below_.other != nullptr) ready = below_.other->became_ready(ready);
    if (any(ready & io_mask::special)) below_.special = true;
    if (any(ready & (io_mask::read | io_mask::special))) below_.drained = false;
    return ready;
  }
  io_mask waits_for(io_mask wanted) const noexcept override {
    return below_.other != nullptr ? below_.other->waits_for(wanted) : wanted;
  }
  void closing() noexcept override {
    if (below_.other != nullptr) below_.other->closing();
  }

  // Once, with what put_layer has answered.
  void put_over(descriptor::below what) noexcept { below_ = std::move(what); }

 protected:
  // They answer like recv and send of a socket that does not block.
  ssize_t read_below(void* into, std::size_t size) noexcept {
    if (below_.drained && !owner_->is_ending()) return would_block();  // before the end it is looked at once more
    const ssize_t got = below_.other != nullptr ? below_.other->read(into, size)
                        : below_.socket         ? syscalls::recv(below_.fd, into, size, 0)
                                                : syscalls::read(below_.fd, into, size);
    if (below_.other != nullptr) return got;
    if (got > 0) {
      below_.drained = static_cast<std::size_t>(got) < size && below_.byte_stream && !below_.special;
    } else if (got < 0 && detail::would_block(errno)) {
      below_.drained = true;
      below_.special = false;
    }
    return got;
  }
  ssize_t write_below(const void* from, std::size_t size) noexcept {
    if (below_.other != nullptr) return below_.other->write(from, size);
    if (EVENTER_LIKELY(below_.socket)) return syscalls::send(below_.fd, from, size, MSG_NOSIGNAL);
    return detail::without_pipe_signal([&] { return syscalls::write(below_.fd, from, size); });
  }
  int shutdown_below() noexcept {
    return below_.other != nullptr ? below_.other->shutdown_write() : syscalls::shutdown(below_.fd, SHUT_WR);
  }
  std::error_code error_below(int number) const noexcept {
    return below_.other != nullptr ? below_.other->error_of(number) : error_from_errno(number);
  }
  descriptor& owner() const noexcept { return *owner_; }

  static ssize_t would_block() noexcept {
    errno = EAGAIN;
    return -1;
  }

 private:
  descriptor* owner_ = nullptr;
  descriptor::below below_;
};

}  // namespace eventer::inline EVENTER_ABI
