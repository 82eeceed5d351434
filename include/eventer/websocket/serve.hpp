// serve_websocket: a request becomes a WebSocket, if its handler agrees.
//
//   routes.get("/chat/{room}", [](http::request& asked, http::response& answer) {
//     if (!is_known(asked)) return void(answer.status(401));
//     http::serve_websocket(asked, answer, [room = std::string(asked.parameter("room"))](http::websocket& socket) {
//       while (const auto message = socket.read()) ...
//     });
//   });
#pragma once

#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "eventer/coro/spawn.hpp"
#include "eventer/http/router.hpp"
#include "eventer/websocket/handshake.hpp"
#include "eventer/websocket/websocket.hpp"

namespace eventer::inline EVENTER_ABI::http {

template <class F>
concept handles_websockets = std::is_invocable_v<F&, websocket&>;

namespace detail {

// Gets the connection behind the 101, and ends it when its function has returned.
class websocket_heir : public heir {
 public:
  websocket_heir(const websocket_options& options, std::string subprotocol)
      : agreed_(std::make_unique<agreement>(options, std::move(subprotocol))) {}

  void take(any_stream&& stream, std::string_view received) final {
    const std::unique_ptr<agreement> on = std::move(agreed_);
    socket_ = websocket(std::move(stream), websocket_side::server, on->options, received, std::move(on->subprotocol));
  }
  void run() final {
    const char* failed = nullptr;
    try {
      serve(socket_);
    } catch (const cancelled&) {
      socket_.say_going_away();
      throw;
    }
    EVENTER_REFUSE_THREAD_EXIT
    catch (...) {
      failed = report(std::current_exception());
    }
    end(failed);
  }

 private:
  struct agreement {
    agreement(const websocket_options& o, std::string&& p) : options(o), subprotocol(std::move(p)) {}
    const websocket_options options;
    std::string subprotocol;
  };

  virtual void serve(websocket& on) = 0;

  EVENTER_NOINLINE static const char* report(const std::exception_ptr& failure) {
    log(log_level::error, "http: the handler of a websocket has thrown%s", eventer::detail::text_of(failure).c_str());
    return "the server has failed";
  }
  EVENTER_NOINLINE void end(const char* failed) {
    if (!socket_.is_connected()) return;
    if (failed != nullptr) return (void)socket_.close(websocket_close::internal_error, failed);
    (void)socket_.close(socket_.stream().draining() ? websocket_close::going_away : websocket_close::normal);
  }

  std::unique_ptr<agreement> agreed_;  // until it has the connection
  websocket socket_;
};

template <class F>
class typed_websocket_heir final : public websocket_heir {
 public:
  template <class From>
  typed_websocket_heir(const websocket_options& options, std::string subprotocol, From&& function)
      : websocket_heir(options, std::move(subprotocol)), function_(std::forward<From>(function)) {}

 private:
  void serve(websocket& on) override {
    const auto call = [&] { return function_(on); };
    (void)eventer::detail::call_unwrapped(call);
  }
  F function_;
};

}  // namespace detail

// Answers 101 when the request's handler has returned, and calls `serve` with the connection then, once, as the
// connection's coroutine: with a websocket&, returning nothing or task<>. The request and the answer are gone by then;
// what it needs of them it captures. Where it returns, the connection is closed with 1000, or 1001 where the server
// drains; where it throws, with 1011 and a line in the log. Where it is cancelled, 1001 is said if that goes at once.
// Calls of others that are in progress then end with `closed`. A socket that `serve` has moved away is whose it is
// then: the server neither closes it nor waits for it when it drains.
//
// False: the request is none that may become a WebSocket, and is answered: 426 where it asks for none or for another
// version, 400 for a malformed one, 403 for a page of an origin that may not. Fields of the answer are sent with the
// 101; a status that is set afterwards, in a middleware say, takes it back. Also false where something was answered
// already, which stays. Throws std::invalid_argument for an entry of `options.origins` that is none.
template <handles_websockets F>
bool serve_websocket(request& asked, response& answer, F&& serve, const websocket_options& options = {}) {
  detail::check_origins(options.origins);
  if (const detail::handshake_refusal why = detail::judge_handshake(asked, options); why.status != 0) {
    answer.status(why.status);
    if (why.status == 426) answer.header("Upgrade", "websocket").header("Sec-WebSocket-Version", "13");
    answer.text(why.sentence);
    return false;
  }
  std::string protocol = detail::chosen_protocol(asked, options.protocols);
  answer.header("Sec-WebSocket-Accept", detail::websocket_accept(asked.header("Sec-WebSocket-Key")));
  if (!protocol.empty()) answer.header("Sec-WebSocket-Protocol", protocol);
  using type = detail::typed_websocket_heir<std::decay_t<F>>;
  return answer.upgrade_later("websocket", std::make_unique<type>(options, std::move(protocol), std::forward<F>(serve)))
      .has_value();
}

namespace detail {

// What router::websocket adds: one function for all connections.
template <class F>
class websocket_route {
 public:
  template <class From>
  explicit websocket_route(From&& serve, const websocket_options& options = {})
      : shared_(std::make_shared<const shared>(std::forward<From>(serve), options)) {
    check_origins(options.origins);
  }
  void operator()(request& asked, response& answer) const {
    const auto call = [all = shared_](websocket& on) { return all->serve(on); };
    (void)serve_websocket(asked, answer, call, shared_->options);
  }

 private:
  struct shared {
    template <class From>
    shared(From&& function, const websocket_options& with) : serve(std::forward<From>(function)), options(with) {}
    F serve;
    websocket_options options;
  };
  std::shared_ptr<const shared> shared_;
};

}  // namespace detail

}  // namespace eventer::inline EVENTER_ABI::http
