// How a connection of a listener comes to what serves it: a coroutine's function, a classic event, or C++.
#pragma once

#include <memory>
#include <utility>

#include "eventer/compat/detail/acceptor.hpp"
#include "eventer/compat/detail/frame.hpp"

namespace eventer::inline EVENTER_ABI::compat {

using owned_closure = std::unique_ptr<mtev_acceptor_closure_t>;

// Gives the connection to a classic event of this loop, whose first call comes with the loop's next turn. The event's
// closure is `from` where there is one; then it is the callback's, to be freed.
inline void hand_to_callback(any_stream&& peer, owned_closure from, eventer_func_t callback) {
  _event* const made =
      make_event(callback, nullptr, peer.native_handle(), EVENTER_READ | EVENTER_WRITE | EVENTER_EXCEPTION);
  from->belongs_to_coroutine = false;
  if (from->idle_timeout > duration::zero()) made->idle = from->idle = idle_watch::begin(made->fd, from->idle_timeout);
  if (peer.file()->other() != nullptr) {
    made->io = std::make_shared<event_io>();
    made->io->stream = std::move(peer);
  } else {
    made->fd = peer.release();
  }
  made->closure = from.release();
  add_descriptor(*made);
}

// Calls a coroutine's function with an event over the connection. What the function has not closed and freed stays as
// it is: another coroutine may use it.
inline void call_for_connection(any_stream&& peer, owned_closure from, void (*function)(void)) {
  _event* const made = make_event(nullptr, from.get(), peer.native_handle(), 0);
  made->io = std::make_shared<event_io>();
  made->io->stream = std::move(peer);
  made->is_aco = true;
  if (from->idle_timeout > duration::zero())
    made->idle = made->io->idle = from->idle = idle_watch::begin(made->fd, from->idle_timeout);
  from->belongs_to_coroutine = true;
  struct at_end {
    held_event event;
    owned_closure& from;
    ~at_end() {
      const bool is_alive = event->references.load(std::memory_order_acquire) > 0;
      if (!is_alive || event->closure != from.get()) return;
      if (event->is_aco) {
        event->closure = nullptr;  // whoever has it now would look at what is gone
        return;
      }
      // A classic event by now: its callback frees the closure.
      from->belongs_to_coroutine = false;
      (void)from.release();
    }
  } const end{held_event(made), from};
  frame mine{.argument = made, .event = made};
  call_in(mine, function);
}

// Where the first bytes say who serves it; see parts/control_dispatch.hpp.
void dispatch_connection(any_stream peer, owned_closure from);

inline void serve_as(const connection_type& what, any_stream&& peer, owned_closure from) {
  if (what.callback != nullptr) from->dispatch = what.callback;
  if (what.callback == &mtev_control_dispatch) return dispatch_connection(std::move(peer), std::move(from));
  if (what.callback != nullptr) return hand_to_callback(std::move(peer), std::move(from), what.callback);
  if (what.function != nullptr) return call_for_connection(std::move(peer), std::move(from), what.function);
  from->belongs_to_coroutine = true;
  what.serve(std::move(peer), *from);
}

}  // namespace eventer::inline EVENTER_ABI::compat
