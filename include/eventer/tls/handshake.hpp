// The handshake as an operation on a stream: with all members of stream it has in common how it waits, how it is
// cancelled and how its time is limited.
#pragma once

#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "eventer/net/any_stream.hpp"
#include "eventer/tls/connection.hpp"

namespace eventer::inline EVENTER_ABI::tls::detail {

struct handshake_step : eventer::detail::step_of<void> {
  explicit handshake_step(connection* c) noexcept : with(c) {}
  attempt try_once(descriptor&) noexcept { return with->shake_hands(); }
  static result_type result(std::size_t) noexcept { return {}; }

  connection* with;
};

inline time_limit handshake_limit(const context& with, time_limit limit) noexcept {
  return limit.unlimited() ? time_limit(with.handshake_timeout()) : limit;
}

// Puts TLS over a stream, which has not begun to speak it yet. Errors: closed; busy while somebody waits on it.
inline io_result<connection*> begin(any_stream& over, const context& with, std::string_view host) {
  descriptor* const file = over.file();
  if (file == nullptr || !file->is_usable()) return eventer::errc::closed;
  if (file->is_waited_on()) return eventer::errc::busy;
  auto made = connection::make(with, host);
  if (!made) return made.error();
  connection* const result = made->get();
  result->put_over(file->put_layer(std::move(*made)));
  return result;
}

// begin() and the handshake. `over` is still the caller's after an error, and good for nothing but to be closed.
inline io_result<void> shake_hands(any_stream& over, const context& with, std::string_view host, time_limit limit) {
  const auto begun = begin(over, with, host);
  if (!begun) return begun.error();
  return eventer::detail::perform<handshake_step>(over.owned(), handshake_limit(with, limit), *begun);
}

// The same to await. It keeps the stream.
template <class Stream>
class handshake_operation {
 public:
  using result_type = io_result<Stream>;

  handshake_operation(any_stream&& over, const context& with, std::string_view host, time_limit limit)
      : over_(std::move(over)), limit_(handshake_limit(with, limit)), begun_(begin(over_, with, host)) {}

  void block() {
    if (start()) step_->block();
  }
  bool advance(continuation& who) { return !start() || step_->advance(who); }
  result_type result() {
    if (!begun_) return begun_.error();
    if (const io_result<void> ended = step_->result(); !ended) return ended.error();
    return Stream(std::move(over_));
  }

 private:
  // Operations move only before they begin: from here on the stream stays where it is.
  bool start() {
    if (begun_ && !step_) step_.emplace(over_.owned(), handshake_step(*begun_), limit_);
    return begun_.has_value();
  }

  any_stream over_;
  time_limit limit_;
  io_result<connection*> begun_;
  std::optional<eventer::detail::descriptor_operation<handshake_step>> step_;
};

}  // namespace eventer::inline EVENTER_ABI::tls::detail
