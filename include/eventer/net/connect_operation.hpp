// connect_operation: connecting as something to await, to an address, to the best of several, or to a name; and
// connecting by name for callers that block.
//
// A name is looked up first (resolver.hpp), then its addresses run a race (connect_race.hpp). One time limit is for all
// of it.
#pragma once

#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "eventer/net/connect_race.hpp"
#include "eventer/net/resolver.hpp"

namespace eventer::inline EVENTER_ABI::detail {

struct host_and_service {
  std::string_view host, service;
};
// "example.org:443", "[fe80::1%eth0]:http". Errors: bad_address where there is no host or no service, and for an IPv6
// address without brackets, of which nobody knows where it ends.
inline io_result<host_and_service> split_address(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos || text.starts_with("unix:")) return errc::bad_address;
  const host_and_service parts{text.substr(0, colon), text.substr(colon + 1)};
  if (parts.host.empty() || parts.service.empty()) return errc::bad_address;
  const bool bracketed = parts.host.front() == '[' && parts.host.back() == ']';
  if (!bracketed && parts.host.find(':') != std::string_view::npos) return errc::bad_address;
  return parts;
}

// Out of line: few connect to names, and all have connect()'s frame on their stacks.
EVENTER_NOINLINE inline connected_socket connect_by_name(std::string_view text, time_limit limit) {
  const auto parts = split_address(text);
  if (!parts) return parts.error();
  limit = fixed(limit);
  const auto found = resolver::shared().resolve(parts->host, parts->service, limit);
  if (!found) return found.error();
  return connect_any(*found, limit);
}

template <class Stream>
class connect_operation {
 public:
  using result_type = io_result<Stream>;

  explicit connect_operation(std::error_code error) noexcept : error_(error) {}
  connect_operation(std::vector<endpoint> to, time_limit limit) noexcept : to_(std::move(to)), limit_(limit) {}
  connect_operation(resolve_operation names, time_limit limit) noexcept : names_(std::move(names)), limit_(limit) {}

  void block() {
    if (error_) return;
    limit_ = fixed(limit_);
    if (!names_.is_none()) {
      names_.set_limit(limit_);
      names_.block();
      if (!take_names()) return;
    }
    take(connect_any(to_, limit_));
  }
  bool advance(continuation& who) {
    if (error_) return true;
    if (race_ != nullptr) {
      if (race_->has_ended() && who.wake != wake_reason::canceled)
        take(race_->result());
      else
        error_ = make_error_code(who.wake == wake_reason::canceled ? errc::canceled : errc::timed_out);
      return true;
    }
    scheduler& here = scheduler_for_continuations();
    const time_point end = here.resolve(limit_);
    if (!names_.is_none()) {
      names_.set_limit(limit_);
      if (!names_.advance(who)) return false;
      if (!take_names()) return true;
    }
    race_ = std::make_unique<connect_race>(families_in_turn(to_));
    if (race_->start(who)) {
      take(race_->result());
      return true;
    }
    here.attach(who);
    here.arm(who, end);
    return false;
  }
  result_type result() {
    if (error_) return error_;
    return Stream::accepted(std::move(socket_));
  }

 private:
  bool take_names() {
    auto found = names_.result();
    if (found)
      to_ = std::move(*found);
    else
      error_ = found.error();
    return !error_;
  }
  void take(connected_socket made) {
    if (made)
      socket_ = std::move(*made);
    else
      error_ = made.error();
  }

  resolve_operation names_;
  std::vector<endpoint> to_;
  time_limit limit_;
  std::unique_ptr<connect_race> race_;
  std::unique_ptr<descriptor> socket_;
  std::error_code error_;
};

}  // namespace eventer::inline EVENTER_ABI::detail
