// descriptor: the loop's view of one open file that a stream, an acceptor or a socket of ours owns.
//
// It is on the heap, because the loop reaches it while its coroutine's stack is elsewhere. It is registered once,
// edge-triggered, at its first would-block. What must not be broken: `drained` may only be set where no byte, end or
// error can be left that no further edge announces (see `note_read`).
#pragma once

#include <cstdint>

#include "eventer/base/clock.hpp"
#include "eventer/base/result.hpp"
#include "eventer/coro/scheduler.hpp"
#include "eventer/event/io_mask.hpp"

namespace eventer::inline EVENTER_ABI {

class event_loop;

class descriptor {
 public:
  // Where the number comes from decides what may be assumed about it.
  enum class origin : std::uint8_t {
    made_here,  // a stream socket that the library opened with CLOEXEC and has neither released nor duplicated
    adopted,    // given to us: others may hold duplicates of it
  };

  descriptor(int fd, origin from) noexcept : fd_(fd), adopted_(from == origin::adopted) {
    read_source_.abandon = [](wait_source& source, control_block&) noexcept { of_read_source(source).forget_reader(); };
    write_source_.abandon = [](wait_source& source, control_block&) noexcept {
      of_write_source(source).forget_writer();
    };
    classify();
  }
  descriptor(const descriptor&) = delete;
  descriptor& operator=(const descriptor&) = delete;
  ~descriptor() { close(); }

  int fd() const noexcept { return fd_; }
  bool is_socket() const noexcept { return socket_; }
  bool is_open() const noexcept { return fd_ >= 0; }
  // Open, and its loop is not gone.
  bool is_usable() const noexcept { return fd_ >= 0 && !orphaned_; }
  event_loop* loop() const noexcept { return loop_; }

  // Whether the last read proved that nothing is left, so that trying again would only cost a system call.
  bool known_empty() const noexcept { return drained_; }

  // A read that asked for `asked` bytes got `got` of them. Fewer than asked for means empty only on a byte-stream
  // socket whose last event carried nothing special: with a half-close, urgent data or an error in the same edge no
  // second edge comes. (Before the first event it is safe too: the registration will report whatever there is.)
  void note_read(std::size_t asked, std::size_t got) noexcept { drained_ = got < asked && byte_stream_ && !special_; }
  // A read answered EAGAIN: everything that was announced has been taken.
  void note_read_would_block() noexcept {
    drained_ = true;
    special_ = false;
  }

  // Suspends the running coroutine until the descriptor may be read (written) again. Spurious wake-ups happen: try,
  // then wait.
  //
  // Errors: busy if somebody else waits already or the descriptor belongs to another loop; closed; timed_out; canceled
  // (or the exception `cancelled`); what epoll_ctl answers, EPERM where the kind of file can't be waited for. Requires:
  // the last try answered EAGAIN, or known_empty().
  EVENTER_ALWAYS_INLINE std::error_code wait_readable(time_point deadline) { return wait(direction::read, deadline); }
  EVENTER_ALWAYS_INLINE std::error_code wait_writable(time_point deadline) { return wait(direction::write, deadline); }

  // Called by the loop for each event.
  void on_event(io_mask ready) {
    if (any(ready & io_mask::special)) special_ = true;
    if (any(ready & (io_mask::read | io_mask::special))) {
      drained_ = false;
      wake(reader_);
    }
    if (any(ready & (io_mask::write | io_mask::error))) wake(writer_);
  }

  // Wakes whoever waits with `closed`, ends the registration, closes. Safe to call twice.
  void close() noexcept;
  // The same without closing: the number is the caller's again. -1 if it was closed.
  int release() noexcept;
  // Ends the registration, so that another loop may take it. Requires: nobody waits.
  std::error_code detach() noexcept;
  // The loop is gone: nobody will announce anything.
  void forget_loop() noexcept {
    loop_ = nullptr;
    orphaned_ = true;
  }
  // The kernel watches it no more: whoever waits tries again, and is told why it can't be watched.
  void lose_registration() {
    loop_ = nullptr;
    drained_ = false;
    wake(reader_);
    wake(writer_);
  }

 private:
  void classify() noexcept;
  std::error_code bind_to_loop(scheduler& here);
  void unregister() noexcept;
  // The waiter stays known until it runs, because a close may still come first.
  static void wake(control_block* waiter) {
    if (waiter != nullptr) scheduler::of(*waiter).wake(*waiter, wake_reason::ready);
  }
  static void tell_closed(control_block*& waiter) {
    if (waiter == nullptr) return;
    control_block& block = *std::exchange(waiter, nullptr);
    if (block.wake == wake_reason::parked)
      scheduler::of(block).wake(block, wake_reason::closed);
    else
      block.wake = wake_reason::closed;  // it is woken, but has not run yet
  }
  void forget_reader() noexcept { reader_ = nullptr; }
  void forget_writer() noexcept { writer_ = nullptr; }

  enum class direction : bool { read, write };
  control_block*& waiter(direction which) noexcept { return which == direction::read ? reader_ : writer_; }
  // What comes before and after the suspension is out of line, and the suspension itself is in the frame of the
  // stream's call: two frames would be in every parked stack otherwise, and mispredicted at every resume.
  struct prepared {
    bool park;  // false: `error` is the answer
    int error;
    const std::error_category* category;
  };
  EVENTER_ALWAYS_INLINE std::error_code wait(direction which, time_point deadline) {
    const prepared step = prepare_wait(which, deadline);
    if (EVENTER_UNLIKELY(!step.park)) return {step.error, *step.category};
    scheduler::current()->park();
    return finish_wait(which);
  }
  prepared prepare_wait(direction which, time_point deadline);
  std::error_code finish_wait(direction which);

  static descriptor& of_read_source(wait_source& source) noexcept {
    return *reinterpret_cast<descriptor*>(reinterpret_cast<char*>(&source) - offsetof(descriptor, read_source_));
  }
  static descriptor& of_write_source(wait_source& source) noexcept {
    return *reinterpret_cast<descriptor*>(reinterpret_cast<char*>(&source) - offsetof(descriptor, write_source_));
  }

  int fd_;
  std::uint32_t slot_ = 0;
  event_loop* loop_ = nullptr;
  control_block* reader_ = nullptr;
  control_block* writer_ = nullptr;
  wait_source read_source_, write_source_;
  bool adopted_ : 1;
  bool socket_ : 1 = false;
  bool byte_stream_ : 1 = false;  // SOCK_STREAM
  bool drained_ : 1 = false;
  bool special_ : 1 = false;
  bool orphaned_ : 1 = false;

  friend class event_loop;
};
static_assert(sizeof(descriptor) <= 64);

inline void descriptor::classify() noexcept {
  // An adopted stream socket may be read elsewhere too, through a duplicate: short reads prove nothing there.
  byte_stream_ = !adopted_;
  if (!adopted_) {
    socket_ = true;
    return;
  }
  struct stat status {};
  socket_ = system::fstat(fd_, &status) == 0 && S_ISSOCK(status.st_mode);
}

}  // namespace eventer::inline EVENTER_ABI
