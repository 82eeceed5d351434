// wait_on_thread: waiting for a descriptor on a thread that runs no loop: it blocks in poll(2).
#pragma once

#include <poll.h>

#include "eventer/base/result.hpp"
#include "eventer/base/syscalls.hpp"
#include "eventer/event/io_mask.hpp"

namespace eventer::inline EVENTER_ABI::detail {

// Errors: timed_out; what poll answers.
inline std::error_code wait_on_thread(int fd, io_mask interest, time_point deadline) noexcept {
  short events = 0;
  if (any(interest & io_mask::read)) events |= POLLIN;
  if (any(interest & io_mask::write)) events |= POLLOUT;
  for (;;) {
    int milliseconds = -1;
    if (deadline != no_deadline) {
      const time_point now = clock::now();
      const auto left = deadline <= now ? 0 : std::chrono::ceil<std::chrono::milliseconds>(deadline - now).count();
      milliseconds = left > 1'000'000 ? 1'000'000 : static_cast<int>(left);
    }
    pollfd one{fd, events, 0};
    const int count = syscalls::poll(&one, 1, milliseconds);
    if (count > 0)
      return (one.revents & POLLNVAL) != 0 ? std::make_error_code(std::errc::bad_file_descriptor) : std::error_code();
    if (count < 0 && errno != EINTR) return error_from_errno(errno);
    if (count == 0 && clock::now() >= deadline) return make_error_code(errc::timed_out);
  }
}

}  // namespace eventer::inline EVENTER_ABI::detail
