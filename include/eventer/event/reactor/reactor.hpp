// reactor: what the loop needs of the kernel's readiness interface. epoll implements it; kqueue can.
//
// A registration carries a 64-bit token, which comes back with each event; the loop makes it from a slot number and a
// generation, so that an event of a closed descriptor is recognised although its number is in use again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <system_error>

#include "eventer/base/clock.hpp"
#include "eventer/event/io_mask.hpp"

namespace eventer::inline EVENTER_ABI {

struct reactor_event {
  std::uint64_t token;
  io_mask ready;
};

class reactor {
 public:
  virtual ~reactor() = default;

  // Registers once, edge-triggered, for reading, writing and everything special, in the place of a registration that is
  // there. Reports at once what is ready already.
  virtual std::error_code add(int fd, std::uint64_t token) = 0;
  // Arms one event for a descriptor that others read, write and close: registers it if it is not, changes it if it is.
  virtual std::error_code arm_once(int fd, std::uint64_t token, io_mask interest) = 0;
  // A descriptor that is gone already is no error.
  virtual void remove(int fd) noexcept = 0;
  // Waits for events until `deadline` (no_deadline: for ever; one that has passed: only looks), or until wake().
  virtual std::span<const reactor_event> wait(time_point deadline) = 0;
  // Any thread: ends the present wait, or the next one.
  virtual void wake() noexcept = 0;
  // Forgets every registration; the caller registers again what is still wanted. After an error all is as it was.
  virtual std::error_code rebuild() = 0;
  // Readable when wait() has something to report.
  virtual int native_handle() const noexcept = 0;
};

}  // namespace eventer::inline EVENTER_ABI
