// late_frame: a control frame that leaves while nobody waits for it, so that who has to answer a ping can read on.
#pragma once

#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "eventer/event/event_loop.hpp"
#include "eventer/net/any_stream.hpp"

namespace eventer::inline EVENTER_ABI::http::detail {

// One at a time. It waits as the stream's writer: nobody else writes until it has ended. Not on a coroutine's stack, as
// the loop reaches it.
class late_frame : continuation {
 public:
  // `ended` is told of each frame, in send() or from the loop: without an error where all of it has left.
  late_frame(any_stream& to, void (*ended)(void* owner, std::error_code why), void* owner) noexcept
      : continuation(&woken), to_(to), ended_(ended), owner_(owner) {}
  ~late_frame() { scheduler::forget(*this); }

  void send(std::string bytes, time_point until) {
    bytes_ = std::move(bytes);
    left_ = bytes_;
    until_ = until;
    go_on();
  }

 private:
  void go_on() {
    descriptor* const file = to_.file();
    if (file == nullptr || !file->is_usable()) return end(eventer::errc::closed);
    while (!left_.empty()) {
      const auto tried = eventer::detail::try_write(*file, left_.data(), left_.size());
      if (tried.is_done()) {
        left_.remove_prefix(tried.value());
      } else if (tried.is_final()) {
        return end(eventer::detail::error_of(*file, tried));
      } else {
        time_limit limit(until_);
        if (const std::error_code failure = file->start_wait(descriptor::direction::write, *this, limit)) end(failure);
        return;
      }
    }
    end({});
  }
  static void woken(continuation& who) {
    auto& self = static_cast<late_frame&>(who);
    descriptor* const file = self.to_.file();
    if (who.wake == wake_reason::closed || file == nullptr) return self.end(eventer::errc::closed);
    if (const std::error_code failure = file->finish_wait(descriptor::direction::write, who)) return self.end(failure);
    self.go_on();
  }
  void end(std::error_code why) {
    scheduler::forget(*this);
    ended_(owner_, why);
  }

  any_stream& to_;
  void (*ended_)(void*, std::error_code);
  void* owner_;
  std::string bytes_;
  std::string_view left_;
  time_point until_ = no_deadline;
};

}  // namespace eventer::inline EVENTER_ABI::http::detail
