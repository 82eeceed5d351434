// A reverse proxy in front of nginx, against nginx as the proxy: CPU per request, requests per second, the slowest per
// cent. Connections are kept on both sides.
//
//   proxy [--rounds 5] [--seconds 1]
//
// The proxy runs on one core, the client and the server behind it on the other; rounds alternate between the proxies.
// Only loopback is used.
#include "../examples/proxy.hpp"

#include <CLI/CLI.hpp>

#include "figures.hpp"
#include "nginx.hpp"

namespace {

using bench::check;
using bench::client;
using bench::client_core;
using bench::figures;
using bench::server;
using bench::server_core;
using bench::shared;

int behind = 0;  // the port of the server behind, which the proxies' processes are started with

int count_call(eventer::syscalls::call) {
  shared->system_calls.fetch_add(1, std::memory_order_relaxed);
  return 0;
}

[[noreturn]] void serve_eventer() {
  eventer::syscalls::fault_hook = count_call;
  eventer::run([] {
    http::client_options to{
        .max_connections = 512, .max_idle = 512, .max_idle_of_all = 512, .redirects = 0, .user_agent = ""};
    const proxy passes_on{http::client(std::move(to)), "http://127.0.0.1:" + std::to_string(behind)};
    http::router routes;
    routes.add("*", "/{rest...}", passes_on).cancel_when_client_gone();
    const http::server serving(std::move(routes), {.limits = {.requests_per_connection = 0}, .max_connections = 0});
    auto acceptor = eventer::tcp_acceptor::listen("127.0.0.1:0").value();
    shared->port = acceptor.local().port();
    (void)serving.serve(acceptor);
  });
  ::_exit(0);
}
[[noreturn]] void serve_nginx() { bench::proxy_nginx(behind); }

// What is sent to each, and how long an answer of it is.
bench::question hello(int port) {
  bench::question result;
  result.bytes = "GET /hello HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n";
  const int fd = client::connected(port);
  check(::send(fd, result.bytes.data(), result.bytes.size(), MSG_NOSIGNAL) > 0, "send");
  std::string answer;
  char bytes[4096];
  while (answer.find("Hello world.\n") == std::string::npos) {
    const ssize_t got = ::recv(fd, bytes, sizeof bytes, 0);
    check(got > 0, "the first answer");
    answer.append(bytes, static_cast<std::size_t>(got));
  }
  ::close(fd);
  result.answer_bytes = answer.size();
  return result;
}

struct setting {
  const char* name;
  std::size_t connections;
};
constexpr setting settings[] = {{"1 connection", 1}, {"50 connections", 50}, {"400 connections", 400}};
constexpr std::size_t setting_count = sizeof settings / sizeof settings[0];

struct contestant {
  const char* name;
  void (*serve)();
  bool counts_calls;
  figures of[setting_count];
};

void measure(contestant& each, std::size_t which, double seconds, bool keep) {
  const server running(each.serve, server_core);
  bench::pin_to_core(client_core);
  client peer(running.port, hello(running.port));
  peer.open(settings[which].connections);
  peer.ping_pong(0.05);
  figures unused;  // the first round warms up
  (keep ? each.of[which] : unused).measure(running, peer, [&] { return peer.ping_pong(seconds); });
}

}  // namespace

int main(int argc, char** argv) {
  bench::run_options options;
  CLI::App app{"A reverse proxy in front of nginx, against nginx as the proxy."};
  options.add_to(app);
  CLI11_PARSE(app, argc, argv);
  try {
    if (!bench::has_nginx())
      return std::printf("SKIP proxy: nginx is not installed (apt-get install nginx-light)\n"), 0;
    bench::share_counters();
    (void)bench::possible_connections(1000);
    const server upstream(bench::serve_nginx, client_core);
    ::close(client::connected(upstream.port));  // it listens
    behind = upstream.port;
    std::vector<contestant> all{{"eventer", serve_eventer, true, {}}, {"nginx, proxy_pass", serve_nginx, false, {}}};
    for (int round = -1; round < options.rounds; ++round)
      for (std::size_t which = 0; which < setting_count; ++which)
        for (contestant& each : all)
          measure(each, which, round < 0 ? options.seconds / 10 : options.seconds, round >= 0);
    for (std::size_t which = 0; which < setting_count; ++which) {
      std::vector<bench::figures_of_server> rows;
      for (const contestant& each : all) rows.push_back({each.name, &each.of[which], each.counts_calls});
      bench::print(std::string(settings[which].name) + ", \"Hello world.\" through a proxy", "request", rows);
    }
    bench::goal("CPU to nginx, 50 connections", all[0].of[1].cpu.ratio_to(all[1].of[1].cpu), 1.0, "x");
    bench::goal("time a request to nginx, 50 connections", 1 / all[0].of[1].rate.ratio_to(all[1].of[1].rate), 1.0, "x");
    return 0;
  } catch (const std::exception& failure) {
    return std::fprintf(stderr, "proxy: %s\n", failure.what()), 1;
  }
}
