// HTTPS hello against nginx and a bare epoll loop, all over the same OpenSSL: CPU and system calls per request over
// keep-alive, the slowest per cent, CPU per full handshake, memory per idle connection.
//
//   https [--rounds 5] [--seconds 1] [--idle 2000] [--json FILE]
//
// TLS 1.3 with TLS_AES_256_GCM_SHA384, X25519 and a P-256 certificate that is made at the start; no tickets. One server
// thread on one core, the client on the other; rounds alternate between the servers. Only loopback is used.
#include <malloc.h>

#include <CLI/CLI.hpp>
#include <eventer/eventer.hpp>
#include <eventer/http.hpp>
#include <eventer/tls.hpp>

#include "../tests/tls/certificates.hpp"
#include "figures.hpp"
#include "https_client.hpp"
#include "https_peers.hpp"

namespace {

using bench::client_core;
using bench::figures;
using bench::server;
using bench::server_core;
using bench::shared;

constexpr std::size_t connections = 50, handshakes_at_once = 20;
constexpr const char* body = "Hello world.\n";
const std::string head = "GET /hello HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bench\r\nAccept: */*\r\n";
const std::string ask = head + "\r\n", ask_once = head + "Connection: close\r\n\r\n";

// What the servers' processes are started with.
const certificates* identity = nullptr;

int count_call(eventer::syscalls::call) {
  shared->system_calls.fetch_add(1, std::memory_order_relaxed);
  return 0;
}

[[noreturn]] void serve_eventer() {
  eventer::syscalls::fault_hook = count_call;
  eventer::run([] {
    namespace http = eventer::http;
    namespace tls = eventer::tls;
    const auto context =
        identity->server({.alpn = {"http/1.1"}, .min_version = tls::version::tls_1_3, .session_tickets = false});
    http::router routes;
    routes.add("GET", "/", "^hello$", [](http::request&, http::response& answer) { answer.text(body); });
    const http::server serving(std::move(routes), {.limits = {.requests_per_connection = 0}, .max_connections = 0});
    auto acceptor = eventer::tcp_acceptor::listen("127.0.0.1:0").value();
    shared->port = acceptor.local().port();
    (void)serving.serve(acceptor, context);
  });
  ::_exit(0);
}
[[noreturn]] void serve_nginx() { bench::run_nginx_tls(identity->certificate(), identity->key()); }
[[noreturn]] void serve_bare() { bench::bare_https(identity->certificate(), identity->key()).run(); }

struct contestant {
  const char* name;
  void (*serve)();
  bool counts_calls;
  figures requests, handshakes;
  double idle_bytes = 0;
};

void measure_requests(figures& into, void (*serve)(), double seconds) {
  const server running(serve, server_core);
  bench::pin_to_core(client_core);
  bench::tls_client peer(running.port, ask, body);
  peer.open(connections);
  peer.ping_pong(0.05);
  into.measure(running, peer, [&] { return peer.ping_pong(seconds); });
}
void measure_handshakes(figures& into, void (*serve)(), double seconds) {
  const server running(serve, server_core);
  bench::tls_client peer(running.port, ask_once, body);
  peer.one_each(0.05, handshakes_at_once);
  into.measure(running, peer, [&] { return peer.one_each(seconds, handshakes_at_once); });
  if (peer.tickets() != 0) throw std::runtime_error("a server gives tickets, which the others do not");
}

// What a client has freed before is given back first: a forked server would live in it, and not grow.
void measure_idle(contestant& each, std::size_t count) {
  ::malloc_trim(0);
  const server running(each.serve, server_core);
  bench::tls_client peer(running.port, ask, body);
  each.idle_bytes = bench::idle_bytes(running, peer, count);
}

void print(const char* title, const char* what, const std::vector<contestant>& all, figures contestant::*which) {
  std::vector<bench::figures_of_server> rows;
  for (const contestant& each : all) rows.push_back({each.name, &(each.*which), each.counts_calls});
  bench::print(title, what, rows);
}
void write_json(const std::string& path, const std::vector<contestant>& all) {
  std::FILE* const file = std::fopen(path.c_str(), "w");
  bench::check(file != nullptr, path.c_str());
  std::fprintf(file, "{\"servers\":[");
  for (const contestant& each : all) {
    std::fprintf(file, "%s{\"name\":\"%s\",\"idle_bytes\":%.0f", &each == &all[0] ? "" : ",", each.name,
                 each.idle_bytes);
    std::fprintf(file, ",\"requests\":{");
    each.requests.write(file, each.counts_calls);
    std::fprintf(file, "},\"handshakes\":{");
    each.handshakes.write(file, each.counts_calls);
    std::fprintf(file, "}}");
  }
  std::fprintf(file, "]}\n");
  bench::check(std::fclose(file) == 0, path.c_str());
}

}  // namespace

int main(int argc, char** argv) {
  bench::run_options options;
  options.idle = 2000;
  CLI::App app{"HTTPS hello against nginx and a bare epoll loop: keep-alive, full handshakes, idle connections."};
  options.add_to(app);
  CLI11_PARSE(app, argc, argv);
  try {
    ::signal(SIGPIPE, SIG_IGN);  // OpenSSL writes to sockets as to files; the bare loop and the client do it with that
    bench::share_counters();
    const std::size_t idle_possible = options.possible_idle();
    (void)bench::possible_connections(1000);
    const certificates made;
    identity = &made;
    std::vector<contestant> all{{"bare epoll loop, no parser", serve_bare, false, {}, {}, 0},
                                {"eventer", serve_eventer, true, {}, {}, 0}};
    if (bench::has_nginx())
      all.push_back({"nginx, return 200", serve_nginx, false, {}, {}, 0});
    else
      std::printf("nginx is not installed (apt-get install nginx-light): compared without it\n");

    for (int round = -1; round < options.rounds; ++round)
      for (contestant& each : all) {
        figures unused;  // the first round warms up
        measure_requests(round < 0 ? unused : each.requests, each.serve,
                         round < 0 ? options.seconds / 10 : options.seconds);
        measure_handshakes(round < 0 ? unused : each.handshakes, each.serve,
                           round < 0 ? options.seconds / 10 : options.seconds);
      }
    if (idle_possible > 1)
      for (contestant& each : all) measure_idle(each, idle_possible);

    const contestant &ours = all[1], &peer = all.back();
    print("50 connections, \"Hello world.\" over keep-alive", "request", all, &contestant::requests);
    print("A full handshake, one request and the end, 20 at a time", "handshake", all, &contestant::handshakes);
    if (idle_possible > 1) {
      std::printf("%zu idle connections, each after one exchange\n", idle_possible);
      bench::table table({"server", "bytes/connection"});
      for (const contestant& each : all) table.row({each.name, bench::number(each.idle_bytes, 0)});
      table.print();
      std::printf("\n");
      bench::goal("KiB an idle connection", ours.idle_bytes / 1024, 16, " KiB");
    }
    bench::goal("system calls a request", ours.requests.calls.middle(), 2.2, "");
    if (bench::has_nginx()) {
      bench::goal("time a request to nginx", 1 / ours.requests.rate.ratio_to(peer.requests.rate), 1.0, "x");
      bench::goal("CPU a full handshake to nginx", ours.handshakes.cpu.ratio_to(peer.handshakes.cpu), 0.95, "x");
    }
    if (!options.json.empty()) write_json(options.json, all);
    return 0;
  } catch (const std::exception& failure) {
    return std::fprintf(stderr, "https: %s\n", failure.what()), 1;
  }
}
