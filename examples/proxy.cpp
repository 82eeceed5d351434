// A reverse proxy: passes requests on to a server behind it, and answers back, as they come.
//
//   proxy --upstream http://127.0.0.1:8080 [--listen 127.0.0.1:8000] [--connections 256]
//
//   curl -T large.iso http://127.0.0.1:8000/      is passed on in pieces: neither side is faster than the other
//   kill -TERM PID                               answers what has begun, and ends
//
// 502 where the server behind fails, 504 where it takes too long; an answer that has begun by then is cut off. A
// request is sent twice only where the client library says that it may: without a body, on a connection that was kept
// and turns out to be closed.
#include <signal.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <eventer/eventer.hpp>
#include <eventer/http.hpp>
#include <memory>
#include <string>

#include "proxy.hpp"

namespace {

namespace http = eventer::http;
using namespace std::chrono_literals;

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
