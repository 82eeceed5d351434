// once: does something the first time, while all others wait for that.
#pragma once

#include <utility>

#include "eventer/coro/sync/wait_list.hpp"

namespace eventer::inline EVENTER_ABI {

namespace detail {

template <class Domain>
struct once_state : sync_state<Domain> {
  struct request {
    bool runs = false;  // it is this one's turn to do it
  };

  bool try_now(request& what) noexcept {
    if (done) return true;
    if (running) return false;
    return what.runs = running = true;
  }
  wait_list<once_state>& begin_wait(request&) noexcept { return waiting; }
  void left(request&) noexcept {}
  void take_back(request& what) {
    if (what.runs) failed();
  }

  void succeeded() {
    done = true;
    while (waiter<once_state>* const first = waiting.front()) first->grant();
  }
  // The next one tries.
  void failed() {
    running = false;
    if (waiter<once_state>* const first = waiting.front(); first != nullptr) {
      first->what.runs = running = true;
      first->grant();
    }
  }

  bool done = false, running = false;
  wait_list<once_state> waiting;
};

}  // namespace detail

// For the coroutines of one loop; shared_once is the same for all loops and plain threads. Copies are handles to one.
template <class Domain>
class basic_once {
  using state_type = detail::once_state<Domain>;

 public:
  basic_once() : state_(make_counted<state_type>()) {}

  // Calls `function()`, which may wait, unless that was done before; waits while another caller does it. What it throws
  // comes out of here, and the next caller tries again. Errors: `cancelled`; std::system_error(timed_out) at the end of
  // a deadline_scope.
  template <class F>
  void call(F&& function) {
    if (const io_result<void> done = call(time_limit(), std::forward<F>(function)); !done)
      throw_error(done.error(), "waiting for a once without a limit of its own");
  }
  // The wait for another caller is no longer than `limit`. Errors: timed_out; operation_canceled where `cancelled`
  // can't be thrown.
  template <class F>
  io_result<void> call(time_limit limit, F&& function) {
    detail::sync_wait<state_type> turn(state_, {}, limit);
    turn.block();
    if (const std::error_code error = turn.error()) return error;
    if (!turn.answer().runs) return {};
    struct at_end {
      state_type& state;
      bool good = false;
      ~at_end() {
        const std::lock_guard guard(state.lock);
        good ? state.succeeded() : state.failed();
      }
    } end{*state_};
    std::forward<F>(function)();
    end.good = true;
    return {};
  }
  bool done() const {
    const std::lock_guard guard(state_->lock);
    return state_->done;
  }

 private:
  counted_ptr<state_type> state_;
};

using once = basic_once<detail::one_loop>;
using shared_once = basic_once<detail::any_thread>;

}  // namespace eventer::inline EVENTER_ABI
