// gate: closes something that others are still using, and waits until they have left.
//
//   if (auto inside = g.hold()) use(connection);   // errc::closed once somebody closes
//   ...
//   g.close();                                     // nobody comes in any more; waits for those inside
#pragma once

#include <utility>

#include "eventer/coro/sync/manual_reset_event.hpp"

namespace eventer::inline EVENTER_ABI {

namespace detail {

template <class Domain>
struct gate_state : level_state<gate_state<Domain>, Domain> {
  bool holds() const noexcept { return inside == 0; }
  std::size_t inside = 0;
  bool closed = false;
};

}  // namespace detail

// For the coroutines of one loop; shared_gate is the same for all loops and plain threads. Copies are handles to one
// gate.
template <class Domain>
class basic_gate {
  using state_type = detail::gate_state<Domain>;

 public:
  basic_gate() : state_(make_counted<state_type>()) {}

  // Somebody's being inside, for the time of the object.
  class holder {
   public:
    holder(holder&&) noexcept = default;
    holder& operator=(holder&& other) noexcept {
      std::swap(state_, other.state_);
      return *this;
    }
    ~holder() {
      if (state_) leave(*state_);
    }

   private:
    explicit holder(counted_ptr<state_type> state) noexcept : state_(std::move(state)) {}
    counted_ptr<state_type> state_;
    friend class basic_gate;
  };

  // Goes in. Errors: closed.
  io_result<holder> hold() {
    if (const io_result<void> in = enter(); !in) return in.error();
    return holder(state_);
  }
  // The same in two calls.
  io_result<void> enter() {
    const std::lock_guard guard(state_->lock);
    if (state_->closed) return errc::closed;
    ++state_->inside;
    return {};
  }
  void leave() { leave(*state_); }

  // Nobody comes in any more; waits until nobody is inside. May be called again. Errors: `cancelled`;
  // std::system_error(timed_out) at the end of a deadline_scope; it stays closed.
  void close() { detail::wait_without_limit(async_close(), "closing a gate without a limit of its own"); }
  // Not longer than `limit`. Errors: timed_out; operation_canceled where `cancelled` can't be thrown.
  io_result<void> close(time_limit limit) { return detail::wait_with_limit(async_close(limit)); }
  bool is_closed() const {
    const std::lock_guard guard(state_->lock);
    return state_->closed;
  }
  std::size_t inside() const {
    const std::lock_guard guard(state_->lock);
    return state_->inside;
  }

  // To await. It is closed by the call itself.
  auto async_close(time_limit limit = {}) {
    {
      const std::lock_guard guard(state_->lock);
      state_->closed = true;
    }
    return detail::plain_wait<state_type>(state_, {}, limit);
  }

 private:
  static void leave(state_type& state) {
    const std::lock_guard guard(state.lock);
    if (state.inside == 0) broken_rule("gate::leave() without enter()");
    --state.inside;
    state.changed();
  }

  counted_ptr<state_type> state_;
};

using gate = basic_gate<detail::one_loop>;
using shared_gate = basic_gate<detail::any_thread>;

}  // namespace eventer::inline EVENTER_ABI
