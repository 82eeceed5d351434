// client_watch: whether the client of a request is still there, asked once or for as long as its handler runs.
//
// A client that has closed its side only may be waiting for the answer still, so that nothing but a connection that is
// gone in both directions counts: one that was reset, say.
#pragma once

#include <poll.h>

#include "eventer/event/event_loop.hpp"
#include "eventer/net/any_stream.hpp"

namespace eventer::inline EVENTER_ABI::http::detail {

// Costs a system call.
inline bool client_has_gone(const any_stream& stream) noexcept {
  if (!stream.is_open()) return true;
  pollfd what{stream.native_handle(), 0, 0};  // errors and the end of both directions are always told
  return what.fd >= 0 && syscalls::poll(&what, 1, 0) > 0 && (what.revents & (POLLERR | POLLHUP)) != 0;
}

// Cancels the coroutine that has begun it, when its client has gone before it is ended. It waits as the stream's
// reader, so that nobody else reads meanwhile. Not on a shared stack: the loop reaches it.
class client_watch : continuation {
 public:
  client_watch() noexcept : continuation(&look) {}
  ~client_watch() { end(); }

  void begin(const any_stream& on) {
    stream_ = &on;
    handler_ = scheduler::running_block();
    wait();
  }
  void end() noexcept { scheduler::forget(*this); }

 private:
  void wait() {
    time_limit none;
    descriptor* const file = stream_->file();
    if (file == nullptr || file->start_wait(descriptor::direction::read, *this, none)) end();
  }
  static void look(continuation& who) {
    auto& self = static_cast<client_watch&>(who);
    const bool goes_on = who.wake == wake_reason::ready;  // else the stream was closed here, or its loop ends
    if (goes_on) (void)self.stream_->file()->finish_wait(descriptor::direction::read, who);
    if (!goes_on) return self.end();
    if (!client_has_gone(*self.stream_)) return self.wait();  // it has sent something, or has finished sending
    self.end();
    scheduler::current()->cancel(*self.handler_);
  }

  const any_stream* stream_ = nullptr;
  control_block* handler_ = nullptr;
};

}  // namespace eventer::inline EVENTER_ABI::http::detail
