// descriptor: the loop's view of one open file that a stream, an acceptor or a socket of ours owns.
//
// It is on the heap, because the loop reaches it while its coroutine's stack is elsewhere. It is registered once,
// edge-triggered, at its first would-block. What must not be broken: `drained` may only be set where no byte, end or
// error can be left that no further edge announces (see `note_read`).
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include "eventer/base/clock.hpp"
#include "eventer/base/result.hpp"
#include "eventer/coro/scheduler.hpp"
#include "eventer/event/io_mask.hpp"
#include "eventer/event/transport.hpp"

namespace eventer::inline EVENTER_ABI {

class event_loop;

class descriptor : wait_source {
 public:
  // Where the number comes from decides what may be assumed about it.
  enum class origin : std::uint8_t {
    made_here,        // a TCP socket that the library opened with CLOEXEC and has neither released nor duplicated
    made_here_local,  // the same, of AF_UNIX: a read also ends behind bytes that descriptors were sent along with
    adopted,          // given to us: others may hold duplicates of it
  };

  descriptor(int fd, origin from) noexcept
      : fd_(fd), open_(fd >= 0), adopted_(from == origin::adopted), local_(from == origin::made_here_local) {
    abandon = &forget_waiter;
    classify();
  }
  // Something else than a file of the kernel's: an in-memory stream.
  explicit descriptor(std::unique_ptr<transport> other) noexcept
      : fd_(-1), transport_(std::move(other)), open_(true), adopted_(true), unwatched_(true) {
    abandon = &forget_waiter;
    transport_->attach(this);
  }
  // The same where it has a number, which it closes itself.
  descriptor(int fd, std::unique_ptr<transport> other) noexcept : descriptor(std::move(other)) { fd_ = fd; }
  descriptor(const descriptor&) = delete;
  descriptor& operator=(const descriptor&) = delete;
  // Out of line: streams are destroyed in the frames of coroutines.
  EVENTER_NOINLINE ~descriptor() { close(); }

  int fd() const noexcept { return fd_; }
  bool is_socket() const noexcept { return socket_; }
  bool is_made_here_local() const noexcept { return local_; }
  bool is_open() const noexcept { return open_; }
  // Open, and its loop is not gone.
  bool is_usable() const noexcept { return open_ && !orphaned_; }
  // nullptr for a file of the kernel's.
  transport* other() const noexcept { return transport_.get(); }
  // Whether the transport lies over a file, or over a transport.
  bool is_layered() const noexcept { return layered_; }
  // Whether the kernel tells when it is ready, also where a layer lies over its file.
  bool is_watched() const noexcept { return !unwatched_; }
  bool is_waited_on() const noexcept { return reader_ != nullptr || writer_ != nullptr; }

  // What lies under a layer, which reads and writes it from then on.
  struct below {
    int fd = -1;
    bool socket = false, byte_stream = false;  // byte_stream: a short read says that nothing is left, see note_read
    bool drained = false, special = false;     // what is known of it
    std::unique_ptr<transport> other;
  };
  // Puts a transport over the file, or over the transport, that there is. The file stays registered where it is, and
  // closes as before. What the layer has to know of readiness it must know by itself: here a read is known to find
  // nothing only when one has answered EAGAIN. Requires: open; nobody waits. The layer is given what this answers.
  below put_layer(std::unique_ptr<transport> layer) noexcept;
  event_loop* loop() const noexcept { return loop_; }

  // Whether the last read proved that nothing is left, so that trying again would only cost a system call.
  bool known_empty() const noexcept { return drained_; }

  // A read that asked for `asked` bytes got `got` of them. Fewer than asked for means empty only on a byte-stream
  // socket whose last event carried nothing special: with a half-close, urgent data or an error in the same edge no
  // second edge comes. (Before the first event it is safe too: the registration will report whatever there is.)
  void note_read(std::size_t asked, std::size_t got) noexcept {
    drained_ = got < asked && byte_stream_ && !special_;
    unanswered_ = true;
  }
  // Descriptors came along with what was read, so that less was read than there is.
  void note_descriptors_came() noexcept { special_ = true; }
  // A read answered EAGAIN: everything that was announced has been taken.
  void note_read_would_block() noexcept {
    drained_ = !ending_;
    special_ = ending_;
  }

  // --- how a server that goes away ends it; see any_stream ---

  // Something was read that is not answered yet; something was written, or needs no answer.
  void note_unanswered() noexcept { unanswered_ = true; }
  void note_answered() {
    unanswered_ = false;
    if (EVENTER_UNLIKELY(ending_)) wake(reader_);
  }
  // A request is being worked on, whatever was read and written.
  void hold_request(bool on) noexcept { held_ = on; }
  bool is_draining() const noexcept { return draining_; }
  void begin_draining() noexcept { draining_ = true; }
  // From now on a read that finds nothing, with everything answered, answers the end of the stream. A reader that waits
  // tries again first, so that no byte that has come is lost. What was read is never cut off: the next write, or
  // end_request, comes before the end.
  void end_when_idle() {
    draining_ = ending_ = special_ = true;
    drained_ = false;
    wake(reader_);
  }
  bool is_ending() const noexcept { return ending_; }
  bool ends_now() const noexcept { return ending_ && !unanswered_ && !held_; }

  // What an operation holds that is to go on with a descriptor but does not wait for it: it lets others run first, or
  // pauses. The descriptor may go meanwhile.
  class idle_hold {
   public:
    idle_hold() noexcept = default;
    idle_hold(idle_hold&&) noexcept {}  // operations move only before they begin
    ~idle_hold() { unlink(); }

    void hold(descriptor& which) noexcept {
      on_ = &which;
      next_ = which.idle_;
      link_ = &which.idle_;
      if (next_ != nullptr) next_->link_ = &next_;
      which.idle_ = this;
    }
    // Only to find it, while its loop is this one.
    void follow(descriptor& which) noexcept {
      weak_ = 1;
      hold(which);
    }
    // nullptr if it has gone.
    descriptor* held() const noexcept { return on_; }
    descriptor* let_go() noexcept {
      unlink();
      return std::exchange(on_, nullptr);
    }

   private:
    friend class descriptor;
    void unlink() noexcept {
      if (link_ == nullptr) return;
      *link_ = next_;
      if (next_ != nullptr) next_->link_ = link_;
      link_ = nullptr;
    }
    descriptor* on_ = nullptr;
    idle_hold* next_ = nullptr;
    idle_hold** link_ = nullptr;
    std::uintptr_t weak_ = 0;  // a whole word: in padding the capture check would see what lay there before
  };

  enum class direction : bool { read, write };

  // Suspends the running coroutine until the descriptor may be read (written) again; a thread without a loop blocks.
  // Spurious wake-ups happen: try, then wait.
  //
  // Errors: busy if somebody else waits already or the descriptor belongs to another loop; closed; timed_out; canceled
  // (or the exception `cancelled`); what epoll_ctl answers, EPERM where the kind of file can't be waited for. Requires:
  // the last try answered EAGAIN, or known_empty().
  //
  // What comes before and after the suspension is out of line, and the suspension itself is in the frame of the caller:
  // two frames would be in every parked stack otherwise, and mispredicted at every resume.
  EVENTER_ALWAYS_INLINE std::error_code wait(direction which, time_point deadline) {
    const prepared step = prepare_wait(which, deadline);
    if (EVENTER_UNLIKELY(!step.park)) return {step.error, *step.category};
    scheduler::current()->park();
    return finish_wait(which, *scheduler::running_block());
  }
  // The same for a continuation, which is called when the wait has ended; then finish_wait. After an error it does not
  // wait. Requires: a loop runs on this thread.
  std::error_code start_wait(direction which, continuation& who, time_limit& limit);
  // How a wait has ended. Where who.wake says `closed`, nothing of this descriptor is touched: it may be gone.
  std::error_code finish_wait(direction which, wait_node& who);

  // Who waits to read tries again, as at a spurious wake-up.
  void retry_read() const { wake(reader_); }

  // Called by the loop for each event.
  void on_event(io_mask ready) {
    if (EVENTER_UNLIKELY(layered_)) ready = transport_->became_ready(ready);
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
    drained_ = false;
    if (layered_) (void)transport_->became_ready(io_mask::read | io_mask::write);
    wake(reader_);
    wake(writer_);
    loop_ = nullptr;
  }

 private:
  void classify() noexcept;
  std::error_code bind_to_loop(scheduler& here);
  void unregister(bool explicitly) noexcept;
  int let_go(bool explicitly) noexcept;
  // The waiter stays known until it runs, because a close may still come first.
  void wake(wait_node* waiter) const {
    if (waiter != nullptr) scheduler_of_waiters()->wake(*waiter, wake_reason::ready);
  }
  void tell_closed(wait_node*& waiter) {
    if (waiter == nullptr) return;
    wait_node& node = *std::exchange(waiter, nullptr);
    node.waiting_on = nullptr;
    if (node.wake == wake_reason::parked)
      scheduler_of_waiters()->wake(node, wake_reason::closed);
    else
      node.wake = wake_reason::closed;  // it is woken, but has not run yet
  }
  void tell_idle() noexcept {
    while (idle_hold* const each = idle_) {
      each->unlink();
      each->on_ = nullptr;
    }
  }
  void lose_followers() noexcept {
    for (idle_hold* each = idle_; each != nullptr;) {
      idle_hold* const next = each->next_;
      if (each->weak_ != 0) {
        each->unlink();
        each->on_ = nullptr;
      }
      each = next;
    }
  }
  static void forget_waiter(wait_source& source, wait_node& who) noexcept {
    auto& self = static_cast<descriptor&>(source);
    const bool reads = self.reader_ == &who;
    (reads ? self.reader_ : self.writer_) = nullptr;
    if (EVENTER_UNLIKELY(self.transport_ != nullptr) && !reads) self.transport_->writer_left();
  }

  wait_node*& waiter(direction which) noexcept { return which == direction::read ? reader_ : writer_; }
  struct prepared {
    bool park;  // false: `error` is the answer
    int error;
    const std::error_category* category;
  };
  prepared prepare_wait(direction which, time_point deadline);
  std::error_code add_waiter(direction which, scheduler& here, wait_node& who, time_point deadline);
  scheduler* scheduler_of_waiters() const noexcept;

  int fd_;
  std::uint32_t slot_ = 0;
  event_loop* loop_ = nullptr;
  wait_node* reader_ = nullptr;
  wait_node* writer_ = nullptr;
  idle_hold* idle_ = nullptr;
  std::unique_ptr<transport> transport_;
  bool open_ : 1;
  bool adopted_ : 1;
  bool local_ : 1 = false;
  bool socket_ : 1 = false;
  bool byte_stream_ : 1 = false;  // SOCK_STREAM
  bool drained_ : 1 = false;
  bool special_ : 1 = false;
  bool orphaned_ : 1 = false;
  bool draining_ : 1 = false;
  bool ending_ : 1 = false;
  bool unanswered_ : 1 = false;  // something was read since the last write
  bool held_ : 1 = false;
  bool unwatched_ : 1 = false;  // nothing that the kernel could tell about
  bool layered_ : 1 = false;    // the transport lies over what there was

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
  socket_ = syscalls::fstat(fd_, &status) == 0 && S_ISSOCK(status.st_mode);
}

inline descriptor::below descriptor::put_layer(std::unique_ptr<transport> layer) noexcept {
  below what{fd_, socket_, byte_stream_ && !local_, drained_, special_, std::exchange(transport_, std::move(layer))};
  socket_ = local_ = byte_stream_ = drained_ = false;  // streams look at the transport then
  special_ = ending_;
  layered_ = true;
  transport_->attach(this);
  return what;
}

}  // namespace eventer::inline EVENTER_ABI
