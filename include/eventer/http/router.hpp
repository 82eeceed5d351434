// router: which handler answers which request. It is filled before a server gets it, and does not change then.
//
//   http::router routes;
//   routes.add("GET", "/", "^hello$", [](http::request&, http::response& answer) { answer.text("Hello world.\n"); });
//   routes.get("/notes/{id}", show).allow("10.0.0.0/8").use(count);
//   routes.use(authenticate);                                   // around every request
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "eventer/base/quoted.hpp"
#include "eventer/http/files.hpp"
#include "eventer/http/handler.hpp"
#include "eventer/http/route_table.hpp"
#include "eventer/net/access_list.hpp"

namespace eventer::inline EVENTER_ABI::http {

struct websocket_options;

namespace detail {
struct service;
template <class F>
class websocket_route;
}

// What holds for one route; each call returns it again.
class route {
 public:
  // Who may ask: addresses and networks, as for access_list; others get 403. May be called several times.
  // Errors: std::invalid_argument with a sentence where the rule is none.
  route& allow(std::string_view network) { return check(access_.allow(network)); }
  route& deny(std::string_view network) { return check(access_.deny(network)); }
  // Only clients of this machine, and nobody whom a proxy on it asks for.
  route& loopback_only() noexcept {
    loopback_only_ = true;
    return *this;
  }
  // The handler is cancelled when its client's connection breaks (see request::client_gone). Only while no body is to
  // be read, and for no request that asks for an upgrade: nobody else may read from the stream meanwhile.
  route& cancel_when_client_gone() noexcept {
    watches_client_ = true;
    return *this;
  }
  // Takes loopback_only() back, with which the library's own handlers begin. What allow() and deny() say holds still:
  // mount_metrics(routes).anywhere().allow("10.0.0.0/8").
  route& anywhere() noexcept {
    loopback_only_ = false;
    return *this;
  }
  // In the place of the server's: of limits::body, body_idle and response_stall. Zero times: none. What holds for heads
  // and connections is the server's, which does not know the route yet, or any more.
  route& body_limit(std::uint64_t bytes) noexcept {
    body_limit_ = bytes;
    return *this;
  }
  route& body_idle(duration limit) noexcept {
    body_idle_ = limit;
    return *this;
  }
  route& response_stall(duration limit) noexcept {
    response_stall_ = limit;
    return *this;
  }
  // Around the handler, behind what the router has for all.
  template <is_middleware F>
  route& use(F&& step) {
    around_.push_back(std::make_shared<detail::typed_step<std::decay_t<F>>>(std::forward<F>(step)));
    return *this;
  }

 private:
  friend class router;
  friend class detail::exchange;
  friend struct detail::service;

  explicit route(std::shared_ptr<const detail::handler> handler) noexcept : handler_(std::move(handler)) {}
  route& check(const std::string& error) {
    if (!error.empty()) detail::refuse_argument(error);
    return *this;
  }
  bool admits(const request& asked) const {
    if (!access_.empty() && !access_.allows(asked.peer())) return false;
    return !loopback_only_ || is_local(asked);
  }
  // Behind a proxy on this machine everybody comes from here.
  static bool is_local(const request& asked) {
    return asked.peer().is_loopback() && !asked.header("Forwarded") && !asked.header("X-Forwarded-For") &&
           !asked.header("Via");
  }

  std::shared_ptr<const detail::handler> handler_;
  access_list access_;
  bool loopback_only_ = false, watches_client_ = false;
  std::optional<std::uint64_t> body_limit_;
  std::optional<duration> body_idle_, response_stall_;
  next::chain around_;
};

class router {
 public:
  // Under the mount point, where the rest of the path matches the regex; see route_table for how routes relate. What a
  // handler captures is shared by all loops. Returns: the route, to say more about it, valid as long as the router.
  // Errors: std::invalid_argument with a sentence that names the rule.
  template <handles_requests F>
  route& add(std::string_view method, std::string_view mount, std::string_view regex, F&& handler) {
    table_.add(method, mount, regex);
    return add_route(std::forward<F>(handler));
  }
  // A template: "/users/{id}".
  template <handles_requests F>
  route& add(std::string_view method, std::string_view path, F&& handler) {
    table_.add_template(method, path);
    return add_route(std::forward<F>(handler));
  }
  template <handles_requests F>
  route& get(std::string_view path, F&& handler) {
    return add("GET", path, std::forward<F>(handler));
  }
  template <handles_requests F>
  route& post(std::string_view path, F&& handler) {
    return add("POST", path, std::forward<F>(handler));
  }
  template <handles_requests F>
  route& put(std::string_view path, F&& handler) {
    return add("PUT", path, std::forward<F>(handler));
  }
  template <handles_requests F>
  route& patch(std::string_view path, F&& handler) {
    return add("PATCH", path, std::forward<F>(handler));
  }
  template <handles_requests F>
  route& del(std::string_view path, F&& handler) {
    return add("DELETE", path, std::forward<F>(handler));
  }
  // Serves what lies in a directory, for GET and HEAD: files("/static", "/srv/www") answers "/static/a/b.css" with
  // /srv/www/a/b.css, and redirects "/static" to "/static/", which a mount with a slash at its end leaves to others.
  // Conditional requests and ranges are answered as RFC 9110 says. A directory is redirected to its name with a slash,
  // and answered with its index file; it is never listed. Names that begin with a dot are 404.
  //
  // The directory is opened now, and stays that one, wherever its name leads later. Nothing outside of it is opened:
  // links in it that lead out are 404. Another route of the mount goes first where it is more specific. What is said of
  // the returned route holds for the redirect too.
  // Errors: std::invalid_argument with a sentence where there is no such directory, the mount is none or has
  // parameters, or a field of the options can't be sent.
  route& files(std::string_view mount, const std::string& directory, file_options with = {}) {
    const std::string rule = "files at " + eventer::detail::quoted(mount);
    if (!mount.starts_with('/')) detail::refuse_argument(rule + ": a mount begins with a slash, such as / or /static");
    if (mount.find_first_of("{}") != std::string_view::npos)
      detail::refuse_argument(rule + ": a mount has no parameters: one directory is served beneath it");
    detail::file_handler handler(rule, directory, std::move(with));
    if (mount.ends_with('/')) return get(std::string(mount) + "{path...}", std::move(handler));
    route& added = get(std::string(mount) + "/{path...}", std::move(handler));
    table_.add_without_rest(table_.size() - 1, "GET");
    return added;
  }
  // WebSocket connections: a GET whose handshake is agreed on, after which `serve` is called with the connection; see
  // serve_websocket. Requires: eventer/websocket.hpp, and its library.
  template <class F>
  route& websocket(std::string_view path, F&& serve) {
    return get(path, detail::websocket_route<std::decay_t<F>>(std::forward<F>(serve)));
  }
  template <class F>
  route& websocket(std::string_view path, F&& serve, const websocket_options& options) {
    return get(path, detail::websocket_route<std::decay_t<F>>(std::forward<F>(serve), options));
  }
  // Around every request, in the order of the calls, also around those that no route serves.
  template <is_middleware F>
  router& use(F&& step) {
    around_.push_back(std::make_shared<detail::typed_step<std::decay_t<F>>>(std::forward<F>(step)));
    return *this;
  }

 private:
  friend class detail::exchange;
  friend struct detail::service;

  template <class F>
  route& add_route(F&& handler) {
    using type = detail::typed_handler<std::decay_t<F>>;
    return routes_.emplace_back(route(std::make_shared<const type>(std::forward<F>(handler))));
  }

  route_table table_;
  std::deque<route> routes_;  // by their number in the table
  next::chain around_;
};

}  // namespace eventer::inline EVENTER_ABI::http
