// foreign_descriptor: waiting for a descriptor that other code reads, writes and closes (libpq's socket, hiredis's).
//
// Nothing is known of what that code leaves unread, so each wait arms one event anew. The number may stand for another
// file each time.
#pragma once

#include "eventer/base/result.hpp"
#include "eventer/coro/this_coroutine.hpp"
#include "eventer/event/reactor/reactor.hpp"

namespace eventer::inline EVENTER_ABI {

class foreign_descriptor {
 public:
  // `token` comes back with the events.
  foreign_descriptor(reactor& where, int fd, std::uint64_t token) noexcept : reactor_(where), fd_(fd), token_(token) {
    reader_.source.abandon = writer_.source.abandon = [](wait_source& source, control_block&) noexcept {
      reinterpret_cast<side*>(&source)->waiter = nullptr;
    };
  }

  // Suspends the running coroutine until the descriptor is ready. Errors: busy if another coroutine waits for the same;
  // timed_out; canceled; what epoll_ctl answers. A regular file is always ready.
  std::error_code wait(scheduler& here, io_mask interest, time_point deadline) {
    side& mine = any(interest & io_mask::read) ? reader_ : writer_;
    if (mine.waiter != nullptr) return make_error_code(errc::busy);
    if (here.cancellation_due()) return make_error_code(errc::canceled);
    mine.waiter = here.running();
    if (const std::error_code error = arm()) {
      mine.waiter = nullptr;
      return error == std::errc::operation_not_permitted ? std::error_code() : error;
    }
    mine.waiter->waiting_on = &mine.source;
    const wake_reason reason = here.park_until(deadline);
    detail::throw_if_canceled(reason);
    switch (reason) {
      case wake_reason::timed_out:
        return make_error_code(errc::timed_out);
      case wake_reason::canceled:
        return make_error_code(errc::canceled);
      default:
        return {};
    }
  }

  std::error_code arm() {
    io_mask interest = io_mask::none;
    if (reader_.waiter != nullptr) interest = interest | io_mask::read;
    if (writer_.waiter != nullptr) interest = interest | io_mask::write;
    return any(interest) ? reactor_.arm_once(fd_, token_, interest) : std::error_code();
  }

  void on_event(io_mask ready) {
    if (any(ready & (io_mask::read | io_mask::special))) wake(reader_);
    if (any(ready & (io_mask::write | io_mask::error))) wake(writer_);
    arm();  // for the other side, if it still waits
  }

 private:
  struct side {
    wait_source source;  // first: abandon finds its side by it
    control_block* waiter = nullptr;
  };
  static void wake(side& which) {
    if (which.waiter == nullptr) return;
    control_block& block = *std::exchange(which.waiter, nullptr);
    scheduler::of(block).wake(block, wake_reason::ready);
  }

  reactor& reactor_;
  int fd_;
  std::uint64_t token_;
  side reader_, writer_;
};

}  // namespace eventer::inline EVENTER_ABI
