// idle_watch: ends a connection on which nothing has happened for as long as its listener allows.
//
// It shuts the connection down, which whoever reads it sees as its end; nobody else's connection, should the number
// have become another one's meanwhile.
#pragma once

#include <sys/socket.h>

#include <atomic>
#include <cstdint>
#include <memory>

#include "eventer/compat/detail/loops.hpp"
#include "eventer/event/event_loop.hpp"

namespace eventer::inline EVENTER_ABI::compat {

class idle_watch : public std::enable_shared_from_this<idle_watch> {
 public:
  // On the thread of the connection's loop.
  static std::shared_ptr<idle_watch> begin(int fd, duration limit) {
    auto made = std::make_shared<idle_watch>(fd, limit);
    made->look_after(limit);
    return made;
  }
  idle_watch(int fd, duration limit) noexcept
      : loop_(&this_loop->loop), fd_(fd), cookie_(cookie_of(fd)), limit_(limit), last_(ticks(clock::now())) {}
  idle_watch(const idle_watch&) = delete;
  idle_watch& operator=(const idle_watch&) = delete;

  // Any thread.
  void note_use() noexcept { last_.store(ticks(clock::now()), std::memory_order_relaxed); }
  void end() {
    if (this_loop != nullptr && &this_loop->loop == loop_) return timer_.cancel();
    loop_->post([self = shared_from_this()] { self->timer_.cancel(); });
  }

 private:
  static std::int64_t ticks(time_point when) noexcept { return when.time_since_epoch().count(); }
  // What tells a socket from every other one; 0: this is none.
  static std::uint64_t cookie_of(int fd) noexcept {
    std::uint64_t cookie = 0;
    socklen_t size = sizeof cookie;
    return ::getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &size) == 0 ? cookie : 0;
  }
  void look_after(duration time) {
    timer_ = loop_->after(time, [self = shared_from_this()] { self->look(); });
  }
  void look() {
    const duration left = limit_ - duration(ticks(clock::now()) - last_.load(std::memory_order_relaxed));
    if (left > duration::zero()) return look_after(left);
    if (cookie_ != 0 && cookie_of(fd_) == cookie_) (void)syscalls::shutdown(fd_, SHUT_RDWR);
  }

  event_loop* const loop_;  // loops are never destroyed
  const int fd_;
  const std::uint64_t cookie_;
  const duration limit_;
  std::atomic<std::int64_t> last_;  // when it was used
  event timer_;                     // the loop's thread's
};

}  // namespace eventer::inline EVENTER_ABI::compat
