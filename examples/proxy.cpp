// A reverse proxy: passes requests on to a server behind it, and answers back, as they come.
//
//   proxy --upstream http://127.0.0.1:8080 [--listen 127.0.0.1:8000] [--connections 256]
//
//   curl -T large.iso http://127.0.0.1:8000/      is passed on in pieces: neither side is faster than the other
//   kill -TERM PID                               answers what has begun, and ends
//
// 502 where the server behind fails, 504 where it takes too long. A request is sent twice only where the client library
// says that it may: without a body, on a connection that was kept and turns out to be closed.
#include <signal.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <eventer/eventer.hpp>
#include <eventer/http.hpp>
#include <eventer/http_client.hpp>
#include <memory>
#include <string>

namespace {

namespace http = eventer::http;
using namespace std::chrono_literals;

// What is said from one hop to the next, and ends here (RFC 9110 7.6.1); and what the library says by itself.
bool is_of_this_hop(std::string_view name, http::value connection) {
  for (const std::string_view each :
       {"Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization", "TE", "Trailer",
        "Transfer-Encoding", "Upgrade", "Content-Length", "Expect", "Host"})
    if (http::detail::equals_any_case(name, each)) return true;
  for (std::string_view list = connection; !list.empty();)
    if (http::detail::equals_any_case(http::detail::take_element(list), name)) return true;
  return false;
}

struct proxy {
  http::client client;
  std::string upstream;  // "http://127.0.0.1:8080"

  void operator()(http::request& asked, http::response& answer) const {
    if (asked.target() == "*") throw http::error(501, "the server behind can't be asked about *\n");
    auto what = std::make_unique<http::client_request>(forwarded(asked));
    auto from_upstream = client.send(std::move(*what));
    if (!from_upstream) fail(asked, from_upstream.error());
    const auto back = std::make_unique<http::client_response>(std::move(*from_upstream));
    answer.status(back->status(), back->reason());
    const http::value connection = back->header("Connection");
    for (std::size_t i = 0; i < back->header_count(); ++i)
      if (const http::header_field each = back->header(i); !is_of_this_hop(each.name, connection))
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
      if (!piece) throw std::system_error(piece.error(), asked_for(asked));  // cuts the answer: it is not whole
      if (!answer.write(*piece)) return;
    }
  }

 private:
  http::client_request forwarded(http::request& asked) const {
    // A client may send a whole URL; whom it names does not matter here.
    const std::string_view target = asked.target();
    const auto absolute = http::url::parse(target);
    http::client_request result(asked.method(), std::string(upstream).append(absolute ? absolute->target() : target));
    const http::value connection = asked.header("Connection");
    for (std::size_t i = 0; i < asked.header_count(); ++i)
      if (const http::header_field each = asked.header(i); !is_of_this_hop(each.name, connection))
        if (!http::detail::equals_any_case(each.name, "X-Forwarded-For")) result.add_header(each.name, each.value);
    if (!asked.host().empty()) result.header("Host", asked.host()).header("X-Forwarded-Host", asked.host());
    const http::value before = asked.header("X-Forwarded-For");
    const std::string peer = asked.peer().host();
    result.header("X-Forwarded-For", before ? std::string(before).append(", ").append(peer) : peer);
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
  [[noreturn]] static void fail(http::request& asked, std::error_code why) {
    const bool is_late = why == std::errc::timed_out;
    eventer::log(eventer::log_level::info, "proxy: %s: %s", asked_for(asked).c_str(), why.message().c_str());
    throw http::error(is_late ? 504 : 502, is_late ? "504 Gateway Timeout\n" : "502 Bad Gateway\n");
  }
  static std::string asked_for(const http::request& asked) {
    return std::string(asked.method()).append(" ").append(asked.target());
  }
};

int serve(const std::string& address, const std::string& upstream, std::size_t connections) {
  eventer::signal_set signals{SIGTERM, SIGINT};
  const auto to = http::url::parse(upstream);
  if (!to || to->target() != "/" || to->is_secure())
    return std::fprintf(stderr, "proxy: the upstream is a URL such as http://127.0.0.1:8080, without a path\n"), 1;
  const proxy passes_on{http::client({.connect_time = 5s,
                                      .total_time = 0s,
                                      .max_connections = connections,
                                      .max_idle = connections,
                                      .max_idle_of_all = connections,
                                      .redirects = 0,
                                      .user_agent = ""}),
                        std::string(to->origin())};
  http::router routes;
  for (const char* const path : {"/", "/{rest...}"})
    routes.add("*", path, passes_on).body_limit(UINT64_MAX).cancel_when_client_gone();
  const http::server server(std::move(routes));
  const auto acceptor = std::make_shared<eventer::tcp_acceptor>(eventer::tcp_acceptor::listen(address).value());
  std::printf("listening on %s\n", acceptor->local().to_string().c_str());
  std::fflush(stdout);
  auto serving = eventer::spawn([server, acceptor] { return server.serve(*acceptor); });
  (void)signals.next();
  const std::size_t left = server.drain();
  std::printf("drained, %zu cancelled\n", left);
  return serving.join() ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  std::string address = "127.0.0.1:8000", upstream = "http://127.0.0.1:8080";
  std::size_t connections = 256;
  CLI::App app{"Passes HTTP requests on to a server behind it."};
  app.add_option("-l,--listen", address, "where, such as 127.0.0.1:8000")->capture_default_str();
  app.add_option("-u,--upstream", upstream, "the server behind, such as http://127.0.0.1:8080")->capture_default_str();
  app.add_option("-c,--connections", connections, "to it, at most; further requests wait")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    return eventer::run([&] { return serve(address, upstream, connections); });
  } catch (const std::exception& failure) {
    return std::fprintf(stderr, "proxy: %s\n", failure.what()), 1;
  }
}
