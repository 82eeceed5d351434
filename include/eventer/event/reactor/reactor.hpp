// reactor: what the loop needs of the kernel's readiness interface. epoll and kqueue implement it.
//
// A registration carries a 64-bit token, which comes back with each event; the loop makes it from a slot number and a
// generation, so that an event of a closed descriptor is recognised although its number is in use again. What must not
// be broken: a reader may wait for `read` or `special`, a writer for `write` or `error`, and one of the two comes.
#pragma once

#include <signal.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <system_error>

#include "eventer/base/clock.hpp"
#include "eventer/event/io_mask.hpp"
#include "eventer/event/reactor/signal_source.hpp"

namespace eventer::inline EVENTER_ABI {

// What a report says, with either reactor:
//
//   read     bytes, the end or a connection can be taken without waiting. It may also come with a mere error.
//   write    bytes can be given, or a connect has ended; well or badly, the socket knows.
//   error    it is broken in both directions, a connect was refused, or nobody reads what would be written. Which error
//            it is, the next operation says.
//   special  the peer has half-closed or hung up, or there is urgent data, or an error: read until EAGAIN or the end,
//            since no second report needs to come. All that was received before can still be read.
//
// A half-close concerns the reader alone: `write` and `error` do not come with it. Where the peer is gone altogether a
// reader gets read or special, and a writer write or error, but not each reactor reports each bit: at the end of a pipe
// epoll says special and error, kqueue read and special.
//
// A report may be stale, or wrong about a direction that is not waited for (epoll looks at both directions when one
// changes): who goes on tries, and waits again after EAGAIN.
struct reactor_event {
  std::uint64_t token;
  io_mask ready;
};

class reactor {
 public:
  virtual ~reactor() = default;

  // Registers once, edge-triggered, for reading, writing and everything special, in the place of a registration that is
  // there. What is ready already is reported at once, and after that only what is new: a direction that was reported is
  // silent until something arrives, room is made, or the state changes. The two highest tokens are the reactor's own.
  //
  // Errors: operation_not_permitted where epoll does not watch that kind of file, as regular ones (kqueue reports them
  // ready); bad_file_descriptor; no memory. After an error nothing is registered that was not before.
  virtual std::error_code add(int fd, std::uint64_t token) = 0;
  // Arms one report for a descriptor that others read, write and close, in the place of a registration that is there:
  // what is ready already is reported at once. Between a reader and a writer, epoll's one report disarms both, kqueue's
  // only the direction it names: arm again for whoever still waits. A reader is also told of urgent data and
  // half-closes, a writer is not, because a state that stays would be reported each time. Errors: as add().
  virtual std::error_code arm_once(int fd, std::uint64_t token, io_mask interest) = 0;
  // A descriptor that is gone already is no error.
  virtual void remove(int fd) noexcept = 0;
  // Waits for reports until `deadline` (no_deadline: for ever; one that has passed: only looks), or until wake(). A
  // signal ends it with nothing to report. One token comes at most once. The reports are valid until the next
  // wait(), whatever is called meanwhile. Throws std::system_error.
  virtual std::span<const reactor_event> wait(time_point deadline) = 0;
  // Any thread: ends the present wait, or the next one. Many before it count as one.
  virtual void wake() noexcept = 0;
  // Forgets every registration; the caller registers again what is still wanted. After an error all is as it was. In a
  // forked child it is the first call: what the two processes share is replaced, and an announced deadline is gone.
  virtual std::error_code rebuild() = 0;
  // Readable when wait() has something to report, under level- and edge-triggered parents. It stays the same until
  // rebuild() in a forked child. Throws std::system_error where the process has no descriptors left.
  virtual int native_handle() = 0;
  // Makes native_handle() readable at that time (no_deadline: never), in the place of what was announced before, for a
  // parent that waits with it instead of calling wait(). wait() takes that readiness away and reports nothing for it;
  // whatever is due then must be announced anew. Cheap when nothing changes. Throws std::system_error where no timer
  // can be had: announce again.
  virtual void announce(time_point deadline) = 0;
  // Pending signals as a descriptor, which may outlive the reactor. Requires: they are blocked in all threads, and stay
  // so while the source lives; one that is not takes its usual way. Throws std::system_error.
  virtual std::unique_ptr<signal_source> open_signals(const sigset_t& which) = 0;
};

using reactor_factory = std::unique_ptr<reactor> (*)();  // make_epoll_reactor, make_kqueue_reactor

}  // namespace eventer::inline EVENTER_ABI
