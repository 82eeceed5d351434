// readable and writable: awaitables for descriptors that other code reads, writes and closes, such as the socket of a
// database client.
//
//   while (PQisBusy(connection)) {
//     if (!eventer::await(eventer::readable(PQsocket(connection), 10s))) return error();
//     PQconsumeInput(connection);
//   }
//
// They own nothing and close nothing; who closes the descriptor ends the waits for it before. For descriptors that the
// library is to read and write, use a stream: it needs fewer system calls.
#pragma once

#include "eventer/coro/await.hpp"
#include "eventer/event/event_loop.hpp"

namespace eventer::inline EVENTER_ABI {

namespace detail {

template <io_mask Interest>
class readiness {
 public:
  explicit readiness(int fd, time_limit limit = {}) noexcept : fd_(fd), limit_(limit) {}

  // Completes: when the descriptor can be read (written), has an error, or its peer has hung up; spurious wake-ups
  // happen: try, then wait. A regular file is always ready. One coroutine may wait for each direction of a descriptor.
  // Errors: timed_out; busy; bad_file_descriptor and whatever else epoll_ctl or poll answers.
  io_result<void> result() const { return error_; }

  void block() {
    if (scheduler::current() == nullptr) {
      error_ = wait_on_thread(fd_, Interest, limit_.resolve(clock::now()));
      return;
    }
    auto& here = static_cast<event_loop&>(
        suspending_scheduler("await in a callback would block its loop: spawn a coroutine that waits"));
    foreign_descriptor* const descriptor = here.foreign(fd_);
    error_ = descriptor == nullptr ? std::make_error_code(std::errc::bad_file_descriptor)
                                   : descriptor->wait(here, Interest, limit_);
  }
  bool advance(continuation& who) {
    if (who.home != nullptr) {
      error_ = foreign_descriptor::error_of(who.wake);
      return true;
    }
    auto& here = static_cast<event_loop&>(scheduler_for_continuations());
    foreign_descriptor* const descriptor = here.foreign(fd_);
    if (descriptor == nullptr) {
      error_ = std::make_error_code(std::errc::bad_file_descriptor);
      return true;
    }
    bool ready = false;
    error_ = descriptor->start_wait(here, who, Interest, limit_, ready);
    return ready || error_;
  }

 private:
  int fd_;
  time_limit limit_;
  std::error_code error_;
};

}  // namespace detail

// readable(fd) and readable(fd, limit), with the limit counted from the await on; and the same for writing.
using readable = detail::readiness<io_mask::read>;
using writable = detail::readiness<io_mask::write>;

}  // namespace eventer::inline EVENTER_ABI
