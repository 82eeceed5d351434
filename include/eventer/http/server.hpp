// server: answers HTTP/1.0 and 1.1 on connections, from wherever they come: its own acceptors, a listener's, a pair.
//
//   http::router routes;
//   routes.add("GET", "/", "^hello$", [](http::request&, http::response& answer) { answer.text("Hello world.\n"); });
//   http::server server(std::move(routes));
//   server.serve("127.0.0.1:8080").value();              // waits until it is drained or cancelled
//
// over TLS (eventer/tls.hpp): server.serve("0.0.0.0:443", tls::context::server("cert.pem", "key.pem"));
// with listeners: registry.add("web", server).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "eventer/http/connection.hpp"
#include "eventer/net/tcp.hpp"
#include "eventer/net/unix.hpp"

namespace eventer::inline EVENTER_ABI::http {

class server_view;

// A handle: copies are the same server. It serves any number of loops; what a handler captures is shared by them.
class server {
 public:
  // Throws std::bad_alloc; bad routes were refused when they were added.
  explicit server(router routes, server_options options = {})
      : state_(std::make_shared<detail::server_state>(std::move(routes), std::move(options))) {}

  // Accepts connections and serves each in a coroutine of its own, on this loop. Completes: when the server is drained,
  // or the acceptor is closed. Errors: bad_address, address_in_use, ... where an address is given.
  // Requires: a coroutine.
  io_result<void> serve(std::string_view address, const listen_options& options = {}) const {
    return serve_at(address, detail::in_the_clear(), options);
  }
  template <class Stream>
  io_result<void> serve(basic_acceptor<Stream>& acceptor) const {
    return serve_on(acceptor, detail::in_the_clear());
  }
  // The same over TLS, with a tls::context: each connection makes its handshake first, in its coroutine. One that fails
  // is closed, counted, and logged, a line in ten seconds at most. Beyond max_connections a client is only closed.
  template <connection_security Security>
  io_result<void> serve(std::string_view address, const Security& with, const listen_options& options = {}) const {
    return serve_at(address, with, options);
  }
  template <class Stream, connection_security Security>
  io_result<void> serve(basic_acceptor<Stream>& acceptor, const Security& with) const {
    return serve_on(acceptor, with);
  }

  // One connection, to its end: what a listener calls, and a test with a stream in memory.
  void operator()(any_stream client) const {
    // On the heap, where the loop reaches it while this coroutine waits.
    const auto serves = std::make_unique<detail::guest_connection>(state_->on_this_loop(), std::move(client));
    (*serves)();
  }

  // Ends it: nothing more is accepted, requests that have begun are answered with Connection: close, idle connections
  // are closed after `idle`, and what is open at `limit` is cancelled. Before that, for `notice`, it goes on as before,
  // but draining() is true and a readiness handler (health.hpp) says no, so that whoever sends clients here sends them
  // elsewhere: take a little more than the time between two of its probes and what it waits for a second failure.
  // Returns: how many were cancelled. Only for connections of its own acceptors; those of listeners are drained with
  // them. Requires: a coroutine, of any loop.
  std::size_t drain(duration limit = std::chrono::seconds(10), duration idle = std::chrono::seconds(1),
                    duration notice = duration::zero()) const {
    state_->leaving.store(true);
    if (notice > duration::zero()) sleep_for(notice);
    state_->draining.store(true);
    struct at_end {
      const detail::server_state& state;
      ~at_end() { shared_event(state.drained).set(); }
    } const end{*state_};
    const time_point now = scheduler::current()->now();
    std::vector<join_handle<std::size_t>> all;
    for (detail::share* const each : state_->all())
      if (each->is_used())
        all.push_back(each->connections.loop().spawn(
            spawn_options{.name = "server drains"},
            [self = state_, each, idle = deadline_after(now, idle), limit = deadline_after(now, limit)] {
              each->connections.begin_draining();
              each->close_acceptors(idle);
              return each->connections.finish(idle, limit, "http");
            }));
    std::size_t left = 0;
    for (join_handle<std::size_t>& each : all) left += each.join();
    return left;
  }
  // Whether drain() was called.
  bool draining() const noexcept { return state_->leaving.load(std::memory_order_relaxed); }

  // Any thread.
  server_statistics statistics() const { return state_->statistics(); }
  server_view view() const noexcept;

 private:
  template <class Security>
  io_result<void> serve_at(std::string_view address, const Security& with, const listen_options& options) const {
    const auto where = endpoint::parse(address);
    if (!where) return where.error();
    if (where->family() == AF_UNIX) return listen_and_serve<unix_acceptor>(*where, with, options);
    return listen_and_serve<tcp_acceptor>(*where, with, options);
  }
  template <class Acceptor, class Security>
  io_result<void> listen_and_serve(const endpoint& where, const Security& with, const listen_options& options) const {
    auto acceptor = Acceptor::listen(where, options);
    if (!acceptor) return acceptor.error();
    return serve_on(*acceptor, with);
  }
  template <class Acceptor, class Security>
  io_result<void> serve_on(Acceptor& acceptor, const Security& with) const {
    if (!acceptor.is_open()) return eventer::errc::closed;
    detail::share& here = state_->on_this_loop();
    if (const auto failure = accept_all(here, acceptor, with)) return failure;
    if (state_->draining.load()) shared_event(state_->drained).wait();
    return {};
  }
  // Until it is closed, or the server drains and nobody is left who has connected.
  template <class Acceptor, class Security>
  std::error_code accept_all(detail::share& here, Acceptor& acceptor, const Security& with) const {
    const detail::share::acceptor_place known(here, acceptor);
    if (state_->draining.load()) acceptor.file()->end_when_idle();
    for (;;) {
      auto client = acceptor.accept();
      if (client) {
        take(here, std::move(*client), with);
        continue;
      }
      if (client.error() == eventer::errc::end_of_stream) acceptor.close();  // it drains, and has taken all
      return acceptor.is_open() ? client.error() : std::error_code();
    }
  }
  template <class Security>
  void take(detail::share& here, any_stream client, const Security& with) const {
    here.accepted.fetch_add(1, std::memory_order_relaxed);
    const std::size_t most = state_->serves().options.max_connections;
    if (most != 0 && state_->open.load(std::memory_order_relaxed) >= most) {
      here.refused.fetch_add(1, std::memory_order_relaxed);
      // What is said in the clear, a client that waits for TLS does not understand.
      if constexpr (std::is_same_v<Security, detail::in_the_clear>) detail::refuse_connection(client);
      return;
    }
    try {
      (void)spawn(spawn_options{.name = "http connection"},
                  detail::accepted_connection<Security>(here, std::move(client), with));
    } catch (const std::system_error& failure) {
      log(log_level::error, "http: %s: a connection is closed unserved", failure.code().message().c_str());
    }
  }

  std::shared_ptr<detail::server_state> state_;
};

// Looks at a server without keeping it: for its own handlers, as the server keeps them. Any thread.
class server_view {
 public:
  server_view() noexcept = default;  // of none

  // Nothing where it is gone.
  std::optional<server_statistics> statistics() const {
    const auto present = state_.lock();
    return present != nullptr ? std::optional(present->statistics()) : std::nullopt;
  }
  bool draining() const noexcept {
    const auto present = state_.lock();
    return present == nullptr || present->leaving.load(std::memory_order_relaxed);
  }

 private:
  friend class server;
  explicit server_view(std::weak_ptr<const detail::server_state> of) noexcept : state_(std::move(of)) {}
  std::weak_ptr<const detail::server_state> state_;
};

inline server_view server::view() const noexcept { return server_view(state_); }

}  // namespace eventer::inline EVENTER_ABI::http
