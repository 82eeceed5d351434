// What requests and WebSockets of the C interface have in common: whose connection it is and when it is idle, how a
// rule's functions are called, and who may ask.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "eventer/compat/detail/http_session.hpp"
#include "eventer/compat/detail/idle_watch.hpp"
#include "eventer/compat/detail/needing_memory.hpp"
#include "eventer/coro/coroutine_local.hpp"
#include "eventer/http/error.hpp"
#include "eventer/http/route_match.hpp"

namespace eventer::inline EVENTER_ABI::compat {

// What the connection that a coroutine serves came with.
inline coroutine_local<mtev_acceptor_closure_t*> present_connection;

// The listener's idle_timeout counts between requests: while one is answered its connection is not idle. On a
// WebSocket it counts from the last message, of either side.
inline void begin_to_idle(mtev_acceptor_closure_t& from, int fd) noexcept {
  if (from.idle_timeout <= duration::zero() || fd < 0) return;
  needing_memory([&] { from.idle = idle_watch::begin(fd, from.idle_timeout); });
}
inline void end_to_idle(mtev_acceptor_closure_t& from) {
  if (const auto idle = std::exchange(from.idle, nullptr)) idle->end();
}

inline void note_use(const mtev_acceptor_closure_t& of) noexcept {
  if (of.idle != nullptr) of.idle->note_use();
}

// Calls a handler or an authorization, on the request's coroutine or on that of a pool.
template <class F>
void call_for(mtev_http_session_ctx& session, const F& function) {
  frame mine{.argument = &session, .is_classic = !session.is_aco()};
  call_in(mine, function);
}

inline bool is_admitted(mtev_http_session_ctx& session) {
  const rest_authorize_func_t authorizes = session.rule().authorizes.load();
  mtev_boolean admitted = mtev_true;
  if (authorizes != nullptr)
    call_for(session, [&] { admitted = authorizes(&session.rest, session.rest.nparams, session.rest.params); });
  return admitted != mtev_false;
}

// What was said is the answer. Errors: as a handler of http::server.
inline void finish(mtev_http_session_ctx& session) {
  const bool closes = session.rest.wants_shutdown != 0;
  if (!session.answer.has_said_anything()) throw http::error(500, "500 Internal Server Error\n");
  // Where it can't be sent to its end, the client must not take it for whole.
  if (!session.answer.finish(closes)) throw http::error(500);
}

inline std::vector<std::string> captures_of(const http::route_match& found) {
  std::vector<std::string> captures;
  for (std::size_t i = 1; i < found.captures(); ++i) captures.emplace_back(found.capture(i));
  return captures;
}

}  // namespace eventer::inline EVENTER_ABI::compat
