// A handler that passes a request on to another server, and its answer back: what examples/proxy serves.
//
// An answer that comes before a request is whole is noticed with the next piece of the request, not while its client
// pauses within it.
#pragma once

#include <strings.h>

#include <array>
#include <eventer/eventer.hpp>
#include <eventer/http.hpp>
#include <eventer/http_client.hpp>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

namespace http = eventer::http;

inline bool is_same_name(std::string_view a, std::string_view b) {
  return a.size() == b.size() && ::strncasecmp(a.data(), b.data(), a.size()) == 0;
}
// What is said from one hop to the next, and ends here (RFC 9110 7.6.1); and what the library says by itself. `of` is a
// request or an answer.
template <class Message>
bool is_of_this_hop(const Message& of, std::string_view name) {
  static constexpr std::string_view all[] = {"Connection",
                                             "Keep-Alive",
                                             "Proxy-Connection",
                                             "Proxy-Authenticate",
                                             "Proxy-Authorization",
                                             "TE",
                                             "Trailer",
                                             "Transfer-Encoding",
                                             "Upgrade",
                                             "Content-Length",
                                             "Expect",
                                             "Host"};
  for (const std::string_view each : all)
    if (is_same_name(name, each)) return true;
  return of.has_token("Connection", name);
}

struct proxy {
  http::client client;
  std::string upstream;  // "http://127.0.0.1:8080"

  void operator()(http::request& asked, http::response& answer) const {
    if (asked.target() == "*") throw http::error(501, "the server behind can't be asked about *\n");
    auto what = std::make_unique<http::client_request>(forwarded(asked, url_of(asked.target())));
    auto from_upstream = client.send(std::move(*what));
    if (!from_upstream) fail(asked, from_upstream.error());
    const auto back = std::make_unique<http::client_response>(std::move(*from_upstream));
    if (back->status() > 599) fail(asked, make_error_code(http::errc::bad_answer));
    answer.status(back->status(), back->reason());
    for (std::size_t i = 0; i < back->header_count(); ++i)
      if (const http::header_field each = back->header(i); !is_of_this_hop(*back, each.name))
        answer.add_header(each.name, each.value);
    answer.add_header("Via", "1.1 eventer");
    if (const auto length = length_of(asked, *back)) answer.content_length(*length);
    if (back->ended()) {
      if (!answer.flush()) return;
      (void)answer.end();
      return;
    }
    for (;;) {
      const auto piece = back->read_piece();
      if (!piece && back->ended()) return;
      if (!piece) fail(asked, piece.error());
      if (!answer.write(*piece)) return;
    }
  }

 private:
  // A client may send a whole URL; whom it names does not matter here. What is no path behind the upstream's own URL is
  // refused: it must not choose the server.
  std::string url_of(std::string_view target) const {
    const auto whole =
        target.starts_with('/') ? http::url::parse(upstream + std::string(target)) : http::url::parse(target);
    if (!whole) throw http::error(400, "the target can't be passed on\n");
    return upstream + std::string(whole->target());
  }
  http::client_request forwarded(http::request& asked, const std::string& to) const {
    http::client_request result(asked.method(), to);
    std::string clients;  // all that are known, in their order
    for (std::size_t i = 0; i < asked.header_count(); ++i) {
      const http::header_field each = asked.header(i);
      if (is_same_name(each.name, "X-Forwarded-For"))
        clients.append(each.value).append(", ");
      else if (is_same_name(each.name, "X-Forwarded-Host"))
        continue;  // it is ours to say
      else if (!is_of_this_hop(asked, each.name))
        result.add_header(each.name, each.value);
    }
    if (!asked.host().empty()) result.header("Host", asked.host()).header("X-Forwarded-Host", asked.host());
    result.add_header("X-Forwarded-For", clients.append(asked.peer().host()));
    result.add_header("Via", asked.minor_version() == 1 ? "1.1 eventer" : "1.0 eventer");
    if (asked.content_length() == 0) return result;
    // A request is on the heap, and may be referred to.
    result.body_from(
        [&asked](http::body_writer& out) {
          const auto part = std::make_unique<std::array<char, 64 << 10>>();
          for (;;) {
            const auto got = asked.read_some(*part);
            if (got && !out.write({part->data(), *got})) return;  // the upstream fails, or has answered already
            if (got) continue;
            if (got.error() == eventer::errc::end_of_stream) return;
            throw std::system_error(got.error(), "the body of a request");  // the upstream sees that it is not whole
          }
        },
        {.length = asked.content_length()});
    return result;
  }
  static std::optional<std::uint64_t> length_of(const http::request& asked, const http::client_response& back) {
    if (asked.method() != "HEAD") return back.content_length();
    const http::value said = back.header("Content-Length");
    return said ? std::optional<std::uint64_t>(std::stoull(std::string(said))) : std::nullopt;
  }
  // Cuts off an answer that has begun: it is not whole.
  [[noreturn]] static void fail(http::request& asked, std::error_code why) {
    const bool is_late = why == std::errc::timed_out;
    eventer::log(eventer::log_level::info, "proxy: %s: %s", asked_for(asked).c_str(), why.message().c_str());
    throw http::error(is_late ? 504 : 502, is_late ? "504 Gateway Timeout\n" : "502 Bad Gateway\n");
  }
  static std::string asked_for(const http::request& asked) {
    return std::string(asked.method()).append(" ").append(asked.target());
  }
};
