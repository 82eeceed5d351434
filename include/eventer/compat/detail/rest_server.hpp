// rest_server: the HTTP server of the C interface. The connections are http::server's; what it does not know is how a
// handler in C is called: at once, again when a body has come, again when a floating request is resumed.
#pragma once

#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "eventer/compat/detail/rest_calls.hpp"
#include "eventer/compat/detail/rest_files.hpp"
#include "eventer/compat/detail/rest_rules.hpp"
#include "eventer/http/server.hpp"
#ifdef EVENTER_ACO_WITH_WEBSOCKET
#include "eventer/compat/detail/websocket_request.hpp"
#endif

namespace eventer::inline EVENTER_ABI::compat {

inline int call_handler(mtev_http_session_ctx& session) {
  session.needs = mtev_http_session_ctx::need::nothing;
  mtev_http_rest_closure_t& rest = session.rest;
  const rest_request_handler handler = rest.fastpath != nullptr ? rest.fastpath : session.rule().handler.load();
  int mask = 0;
  call_for(session, [&] { mask = handler(&rest, rest.nparams, rest.params); });
  return mask;
}

// The same on a loop of a pool. The request stays with the connection's loop, and so does sending.
inline int call_handler_on(event_loop& loop, mtev_http_session_ctx& session) {
  auto called =
      loop.spawn(spawn_options{.name = "rest handler"}, [held = counted_ptr(&session)] { return call_handler(*held); });
#if EVENTER_EXCEPTIONS
  try {
    return called.join();
  } catch (const cancelled&) {
    called.cancel();
    const cancel_shield until_it_has_ended;
    (void)called.try_join();
    throw;
  }
#else
  return called.join();
#endif
}
inline int dispatch(mtev_http_session_ctx& session) {
  eventer_pool_t* const pool = session.pool();
  if (pool == nullptr || &this_loop->pool == pool) return call_handler(session);
  static std::atomic<unsigned> turn{0};
  loop_thread& there = *pool->threads[turn.fetch_add(1, std::memory_order_relaxed) % pool->threads.size()];
  return call_handler_on(there.loop, session);
}

// Errors: what the server answers for a body that is wrong.
inline void refuse_body(std::error_code failure) {
  if (!failure) return;
  if (failure == http::errc::body_too_large) throw http::error(413, "413 Content Too Large\n");
  throw std::system_error(failure, "the body of a request");
}

// What a handler that has returned waits for has come; false: it waits for nothing.
inline bool wait_for_need(mtev_http_session_ctx& session, int mask) {
  using need = mtev_http_session_ctx::need;
  received_request& received = session.received;
  if (session.takes_float()) {
    session.wait_for_resume();
    return true;
  }
  refuse_body(received.failure());
  if (session.is_aco()) return false;  // it has waited itself
  if (session.needs == need::whole_body) {
    refuse_body(received.read_all());
    return true;
  }
  const bool wants_body = (mask & EVENTER_READ) != 0 && !received.has_ended() && received.left() == 0;
  if (session.needs == need::more_body || wants_body) {
    refuse_body(received.read_some());
    return true;
  }
  // It is to be called again as soon as it can go on writing; what it has said so far is sent.
  if ((mask & EVENTER_WRITE) == 0 || session.answer.has_failed() || received.client_gone()) return false;
  yield();
  return true;
}

// From the first call of the handler to the answer's end. Errors: as a handler of http::server.
inline void serve(mtev_http_session_ctx& session) {
  if (!is_admitted(session)) {
    if (!session.answer.has_said_anything()) throw http::error(403, "403 Forbidden\n");
  } else {
    if (session.rest.fastpath == nullptr && session.rule().handler.load() == nullptr)
      throw http::error(404, "404 Not Found\n");
    if (session.pool() != nullptr) refuse_body(session.received.read_all());
    for (;;) {
      const int mask = dispatch(session);
      if (session.answer.has_ended()) break;
      session.answer.send_due();
      if (session.answer.has_ended()) break;  // by another thread meanwhile, and sent: nobody tells of it any more
      if (session.file) {
        send_file(session, *std::exchange(session.file, std::nullopt));
        break;
      }
      if (!wait_for_need(session, mask)) {
        mtevL(mtev_debug, "the handler of %s %s has returned without mtev_http_response_end: it is ended for it\n",
              session.received.method(), session.received.path());
        break;
      }
      if (session.answer.has_ended()) break;
    }
  }
  finish(session);
}

// nullptr: no rule serves it, and it is answered.
EVENTER_NOINLINE inline counted_ptr<mtev_http_session_ctx> session_for(http::request& asked, http::response& answer,
                                                                       const http::next& rest) {
  std::string path = decoded_path(asked);
  http::route_match found;
  const rest_url_dispatcher* const rule = rest_rules::of_process().find(asked.method(), path, found);
  if (rule == nullptr) {
    if (found.what() == http::route_match::status::not_found) return rest(), counted_ptr<mtev_http_session_ctx>();
    const bool is_options = found.what() == http::route_match::status::options;
    answer.status(is_options ? 204 : 405).header("Allow", found.allow());
    if (!is_options) answer.text("405 Method Not Allowed\n");
    return {};
  }
  std::vector<std::string> captures = captures_of(found);  // before the path, into which they point, goes
  return make_counted<mtev_http_session_ctx>(*rule, **present_connection, asked, answer, std::move(path),
                                             std::move(captures));
}

struct rest_step {
  void operator()(http::request& asked, http::response& answer, const http::next& rest) const {
    end_to_idle(**present_connection);
#ifdef EVENTER_ACO_WITH_WEBSOCKET
    if (serve_websocket_request(asked, answer)) return;
#endif
    struct idles_again {
      http::request& asked;
      ~idles_again() { begin_to_idle(**present_connection, asked.stream().native_handle()); }
    } const behind_it{asked};
    const counted_ptr<mtev_http_session_ctx> session = session_for(asked, answer, rest);
    if (!session) return;
    struct at_end {
      mtev_http_session_ctx& session;
      ~at_end() { session.leave(); }
    } const end{*session};
    serve(*session);
  }
};

// Never destroyed: connections may be anywhere when the program ends.
inline const http::server& rest_server() {
  static const http::server& only = *[] {
    http::router routes;
    routes.use(rest_step());
    http::server_options options;
    options.limits.body = UINT64_MAX;  // what is to be in memory has a limit of its own: received_request::upload_limit
    return new http::server(std::move(routes), std::move(options));
  }();
  return only;
}

// One connection, to its end: the listener type "http_rest_api".
inline void serve_rest(any_stream&& peer, mtev_acceptor_closure_t& from) {
  *present_connection = &from;
  begin_to_idle(from, peer.native_handle());
  rest_server()(std::move(peer));
}

}  // namespace eventer::inline EVENTER_ABI::compat
