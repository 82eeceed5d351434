// output: what a connection has to say and has not sent yet. Answers to pipelined requests collect here, and go out
// with one system call when the requests that have come are used up, or when a handler waits.
//
// What must not be broken: bytes leave in the order in which they came. So whatever is sent is sent through here, and
// only the connection's own coroutine waits here; the loop, when that coroutine waits for something else, sends what
// goes without waiting.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>

#include "eventer/net/any_stream.hpp"

namespace eventer::inline EVENTER_ABI::http::detail {

class output : slice_end {
 public:
  output() noexcept : slice_end(&send_what_goes) {}

  // Begins anew, for another connection.
  void open(any_stream& to) noexcept { to_ = &to; }
  // To be appended to: heads and small bodies.
  std::string& bytes() noexcept { return bytes_; }
  std::size_t unsent() const noexcept { return bytes_.size() - done_; }
  // Whether the answer has begun, so that a 100 (Continue) would end up in the midst of it.
  bool has_begun_answer() const noexcept { return has_begun_answer_; }
  void note_answer(bool has_begun) noexcept { has_begun_answer_ = has_begun; }

  // Sends everything. Waits where the peer takes nothing, each time for `stall` at most. Errors: the stream's.
  std::error_code send(duration stall) {
    forget();
    const cleared_at_end end{*this};
    return write(std::string_view(bytes_).substr(done_), stall);
  }
  // The same with `more` behind it, of which only the beginning is copied: for one system call with what is here.
  std::error_code send(std::string_view more, duration stall) {
    const std::string_view with_the_rest = more.substr(0, copied_at_most);
    bytes_.append(with_the_rest);
    if (const std::error_code failure = send(stall)) return failure;
    return write(more.substr(with_the_rest.size()), stall);
  }
  // The same where more is sent at once, by somebody else: both leave together.
  std::error_code send_before_more(duration stall) {
    descriptor* const file = to_->file();
    if (unsent() > 0 && file != nullptr && file->is_usable())
      if (const auto tried = eventer::detail::try_write_before_more(*file, bytes_.data() + done_, unsent());
          tried.is_done())
        done_ += tried.value();
    return send(stall);
  }
  // The same at once, with nothing of `more` copied that goes without waiting. `more` may lie in the loop's scratch
  // buffer. Requires: it is not empty.
  std::error_code send_borrowed(std::string_view more, duration stall) {
    forget();
    const cleared_at_end end{*this};
    const std::string_view before = std::string_view(bytes_).substr(done_);
    descriptor* const file = to_->file();
    std::size_t taken = 0;
    if (file != nullptr && file->is_usable())
      if (const auto tried = eventer::detail::try_write_two(*file, before, more); tried.is_done())
        taken = tried.value();
    if (EVENTER_LIKELY(taken == before.size() + more.size())) return {};
    std::string left(before.substr(std::min(taken, before.size())));  // who sends it meets the same error, if any
    left.append(more.substr(taken - std::min(taken, before.size())));
    return write(left, stall);
  }
  // As soon as the running coroutine waits for anything, what is here is sent as far as that goes.
  void send_when_waiting() noexcept {
    if (unsent() > 0) scheduler::current()->at_slice_end(*this);
  }
  // Nothing more is sent.
  void drop() noexcept {
    forget();
    clear();
  }

  static constexpr std::size_t held_at_most = 64 << 10;  // answers to pipelined requests

 private:
  static constexpr std::size_t copied_at_most = 16 << 10;
  static constexpr std::size_t kept_at_most = 16 << 10;

  std::error_code write(std::string_view left, duration stall) {
    while (!left.empty()) {
      const auto taken = to_->write_some(left, stall);
      if (EVENTER_UNLIKELY(!taken)) return taken.error();
      left.remove_prefix(*taken);
    }
    return {};
  }
  // Also where it is cancelled: what was sent must not be sent again.
  struct cleared_at_end {
    output& self;
    ~cleared_at_end() { self.clear(); }
  };
  void clear() noexcept {
    done_ = 0;
    bytes_.clear();
    if (EVENTER_UNLIKELY(bytes_.capacity() > kept_at_most)) bytes_ = std::string();
  }
  static void send_what_goes(slice_end& which) noexcept {
    auto& self = static_cast<output&>(which);
    descriptor* const file = self.to_->file();
    if (file == nullptr || !file->is_usable() || self.unsent() == 0) return;
    const auto tried = eventer::detail::try_write(*file, self.bytes_.data() + self.done_, self.unsent());
    if (!tried.is_done()) return;  // whoever sends next meets the same error, and can say so
    self.done_ += tried.value();
  }

  any_stream* to_ = nullptr;
  std::string bytes_;
  std::size_t done_ = 0;  // of them, sent
  bool has_begun_answer_ = false;
};

}  // namespace eventer::inline EVENTER_ABI::http::detail
