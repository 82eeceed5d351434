// client: asks servers, and keeps its connections for the next time. See http_client.hpp.
//
//   http::client api({.max_connections = 8, .total_time = 10s});
//   const auto answer = api.get("http://127.0.0.1:8080/notes");
//   if (!answer) log(answer.error().message());
//
// What must not be broken: an answer is only ever given to who has asked for it.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "eventer/coro/spawn.hpp"
#include "eventer/event/run.hpp"
#include "eventer/http/client_response.hpp"

namespace eventer::inline EVENTER_ABI::http {

// A handle: copies are the same client. It serves any number of loops, each of which has connections of its own. When
// the last copy goes, idle connections are closed.
class client {
 public:
  // Speaks https as https_client.hpp says, if that is included. Throws std::invalid_argument for a user agent that
  // would not stay in its line.
  explicit client(client_options options = {}) : client(std::move(options), nullptr) {}
  // Speaks https with this: tls::context::client({.ca_file = "ours.pem"}).
  template <client_security Security>
  client(client_options options, Security with)
      : client(std::move(options), std::unique_ptr<const detail::any_client_security>(
                                       std::make_unique<detail::typed_client_security<Security>>(std::move(with)))) {}

  // Completes: when the answer's head is there and the request is sent, or the answer wants no more of it
  // (client_response::request_was_sent). An answer of any status is a result. Errors: url_errc;
  // http::errc::no_tls, no_answer, answer_cut_off, bad_answer, head_too_large, wrong_length, and those of redirects;
  // timed_out at any of the limits of client_options; those of tcp_stream::connect, of tls::stream::connect and of
  // streams; operation_canceled where `cancelled` can't be thrown. What the body's source throws. Requires: a
  // coroutine.
  io_result<client_response> send(client_request request) const {
    const auto to = url::parse(request.url_);
    if (!to) return to.error();
    return follow(request, *to);
  }
  io_result<client_response> get(std::string_view url, const request_options& with = {}) const {
    return send(std::move(client_request("GET", url).apply(with)));
  }
  io_result<client_response> head(std::string_view url, const request_options& with = {}) const {
    return send(std::move(client_request("HEAD", url).apply(with)));
  }
  io_result<client_response> post(std::string_view url, std::string_view type, std::string body,
                                  const request_options& with = {}) const {
    return send(std::move(client_request("POST", url).body(type, std::move(body)).apply(with)));
  }

  // The same for C++20 coroutines, or to do something else meanwhile: in a coroutine of its own, whose handle is joined
  // or awaited. co_await client.async_get(url).
  auto async_send(client_request request) const {
    // On the heap, as the empty parts of a request hold what lay there before, which looks like captured addresses.
    return spawn(spawn_options{.name = "http client"},
                 [self = *this, asked = std::make_unique<client_request>(std::move(request))] {
                   return self.send(std::move(*asked));
                 });
  }
  auto async_get(std::string_view url, const request_options& with = {}) const {
    return async_send(std::move(client_request("GET", url).apply(with)));
  }

  // Of this loop's connections.
  client_statistics statistics() const { return pools_->on_this_loop().statistics(); }
  // This loop's idle connections are closed.
  void close_idle() const { pools_->on_this_loop().close_idle(); }

 private:
  client(client_options&& options, std::unique_ptr<const detail::any_client_security> security)
      : settings_(std::make_shared<const detail::client_settings>(std::move(options), std::move(security))),
        pools_(std::make_shared<detail::client_pools>(settings_)) {}

  io_result<client_response> follow(client_request& request, url to) const {
    const client_options& options = settings_->options;
    const time_point deadline =
        detail::client_settings::end_of(request.total_time_.value_or(options.total_time), no_deadline);
    const unsigned most = request.redirects_.value_or(options.redirects);
    for (unsigned followed = 0;; ++followed) {
      if (to.kind() != url_scheme::http && to.kind() != url_scheme::https)
        return make_error_code(url_errc::unknown_scheme);
      auto made = std::make_unique<client_response::state>(pools_, pools_->on_this_loop(), to, request, deadline);
      if (const std::error_code error = made->exchange.run(request)) return error;
      client_response answer(std::move(made));
      const value location = most > 0 && is_redirect(answer.status()) ? answer.header("Location") : value();
      const bool sends_body_again = request.has_body_ && !becomes_get(request, answer.status());
      if (!location || (sends_body_again && request.is_body_gone())) return answer;
      if (followed >= most) return make_error_code(errc::too_many_redirects);
      const auto next = to.resolve(location);
      if (!next || (next->kind() != url_scheme::http && next->kind() != url_scheme::https))
        return make_error_code(errc::bad_redirect);
      if (to.is_secure() && !next->is_secure() && !options.insecure_redirects)
        return make_error_code(errc::insecure_redirect);
      redirect(request, answer.status(), next->origin() == to.origin());
      to = *next;
    }
  }
  static bool is_redirect(int status) noexcept {
    return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
  }
  // RFC 9110 15.4.
  static bool becomes_get(const client_request& request, int status) noexcept {
    return status == 303 || ((status == 301 || status == 302) && request.method_ == "POST");
  }
  // What was meant for one server is not for another.
  static void redirect(client_request& request, int status, bool same_origin) {
    if (becomes_get(request, status)) request.become_get();
    if (same_origin) return;
    for (const char* const each : {"Authorization", "Cookie", "Proxy-Authorization", "Host"})
      request.fields_.remove(each);
  }

  std::shared_ptr<const detail::client_settings> settings_;
  std::shared_ptr<detail::client_pools> pools_;
};

// The client of those who need none of their own; one for the process. Never destroyed, as coroutines may use it to
// their end.
EVENTER_API inline const client& default_client() {
  static const client& instance = *new client;
  return instance;
}
// With the default client; see client::send.
inline io_result<client_response> get(std::string_view url, const request_options& with = {}) {
  return default_client().get(url, with);
}
inline io_result<client_response> post(std::string_view url, std::string_view type, std::string body,
                                       const request_options& with = {}) {
  return default_client().post(url, type, std::move(body), with);
}

}  // namespace eventer::inline EVENTER_ABI::http
