// HTTP hello over keep-alive against nginx, Boost.Beast's asynchronous server and a bare epoll loop: CPU and system
// calls per request, requests per second, the slowest per cent, pipelining, memory per idle connection.
//
//   http [--rounds 5] [--seconds 1] [--idle 10000] [--json FILE]
//
// One server thread on one core, the client on the other; rounds alternate between the servers. Only loopback is used.
#include <CLI/CLI.hpp>
#include <eventer/eventer.hpp>
#include <eventer/http.hpp>

#include "figures.hpp"
#include "http_c_interface.hpp"
#include "http_files.hpp"
#include "http_peers.hpp"

namespace {

using bench::check;
using bench::client;
using bench::client_core;
using bench::figures;
using bench::server;
using bench::server_core;
using bench::shared;

int count_call(eventer::syscalls::call) {
  shared->system_calls.fetch_add(1, std::memory_order_relaxed);
  return 0;
}

[[noreturn]] void serve_eventer() {
  eventer::syscalls::fault_hook = count_call;
  eventer::run([] {
    namespace http = eventer::http;
    http::router routes;
    routes.add("GET", "/", "^hello$", [](http::request&, http::response& answer) { answer.text("Hello world.\n"); });
    http::server serving(std::move(routes), {.limits = {.requests_per_connection = 0}, .max_connections = 0});
    auto acceptor = eventer::tcp_acceptor::listen("127.0.0.1:0").value();
    shared->port = acceptor.local().port();
    (void)serving.serve(acceptor);
  });
  ::_exit(0);
}

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
  std::size_t connections, at_once;
};
constexpr setting settings[] = {{"1 connection", 1, 1},
                                {"50 connections", 50, 1},
                                {"500 connections", 500, 1},
                                {"50 connections, 16 pipelined", 50, 16}};
constexpr std::size_t setting_count = sizeof settings / sizeof settings[0];

struct contestant {
  const char* name;
  void (*serve)();
  bool counts_calls;
  figures of[setting_count];
  double idle_bytes = 0;
};

void measure(contestant& each, std::size_t which, double seconds, bool keep) {
  const setting& with = settings[which];
  const server running(each.serve, server_core);
  bench::pin_to_core(client_core);
  bench::question what = hello(running.port);
  what.at_once = with.at_once;
  client peer(running.port, what);
  peer.open(with.connections);
  peer.ping_pong(0.05);
  figures unused;  // the first round warms up
  (keep ? each.of[which] : unused).measure(running, peer, [&] { return peer.ping_pong(seconds); });
}

void measure_idle(contestant& each, std::size_t count) {
  const server running(each.serve, server_core);
  client peer(running.port, hello(running.port));
  each.idle_bytes = bench::idle_bytes(running, peer, count);
}

void write_json(const std::string& path, const std::vector<contestant>& all) {
  std::FILE* const file = std::fopen(path.c_str(), "w");
  check(file != nullptr, path.c_str());
  std::fprintf(file, "{\"servers\":[");
  for (const contestant& each : all) {
    std::fprintf(file, "%s{\"name\":\"%s\",\"idle_bytes\":%.0f,\"settings\":[", &each == &all[0] ? "" : ",", each.name,
                 each.idle_bytes);
    for (std::size_t i = 0; i < setting_count; ++i) {
      std::fprintf(file, "%s{\"name\":\"%s\",", i == 0 ? "" : ",", settings[i].name);
      each.of[i].write(file, each.counts_calls);
      std::fprintf(file, "}");
    }
    std::fprintf(file, "]}");
  }
  std::fprintf(file, "]}\n");
  check(std::fclose(file) == 0, path.c_str());
}

}  // namespace

int main(int argc, char** argv) {
  bench::run_options options;
  CLI::App app{"HTTP hello over keep-alive against nginx, Boost.Beast and a bare epoll loop."};
  options.add_to(app);
  CLI11_PARSE(app, argc, argv);
  try {
    bench::share_counters();
    const std::size_t idle_possible = options.possible_idle();
    (void)bench::possible_connections(1000);
    std::vector<contestant> all {
      {"bare epoll loop, no parser", bench::serve_bare_http, true, {}, 0}, {"eventer", serve_eventer, true, {}, 0},
#if EVENTER_BENCH_C_INTERFACE
          {"eventer, a REST rule in C", bench::serve_c_interface, true, {}, 0},
#endif
      {
        "Boost.Beast, asynchronous", bench::serve_beast, false, {}, 0
      }
    };
    if (bench::has_nginx())
      all.push_back({"nginx, return 200", bench::serve_nginx, false, {}, 0});
    else
      std::printf("nginx is not installed (apt-get install nginx-light): compared without it\n");

    const bench::files_to_serve files;
    bench::file_figures of_files;
    for (int round = -1; round < options.rounds; ++round) {
      for (std::size_t which = 0; which < setting_count; ++which)
        for (contestant& each : all)
          measure(each, which, round < 0 ? options.seconds / 10 : options.seconds, round >= 0);
      of_files.measure(round < 0 ? options.seconds / 10 : options.seconds, round >= 0);
    }
    if (idle_possible > 1)
      for (contestant& each : all) measure_idle(each, idle_possible);

#if !EVENTER_BENCH_C_INTERFACE
    std::printf("toml++ is not installed (apt-get install libtomlplusplus-dev): measured without the C interface\n");
#endif
    const contestant& ours = all[1];
    const contestant& peer = all.back();
    for (std::size_t which = 0; which < setting_count; ++which) {
      std::vector<bench::figures_of_server> rows;
      for (const contestant& each : all) rows.push_back({each.name, &each.of[which], each.counts_calls});
      bench::print(std::string(settings[which].name) + ", \"Hello world.\" over keep-alive", "request", rows);
    }
    of_files.print();
    if (idle_possible > 1) {
      std::printf("%zu idle connections, each after one exchange\n", idle_possible);
      bench::table table({"server", "bytes/connection"});
      for (const contestant& each : all) table.row({each.name, bench::number(each.idle_bytes, 0)});
      table.print();
      std::printf("\n");
      bench::goal("bytes an idle connection", ours.idle_bytes, 512, " B");
    }
    bench::goal("user CPU a request, 50 connections", ours.of[1].user.middle() / 1000, 1.3, " us");
    bench::goal("system calls a request, 50 connections", ours.of[1].calls.middle(), 2.2, "");
    bench::goal("system calls a request, 1 connection", ours.of[0].calls.middle(), 3.0, "");
#if EVENTER_BENCH_C_INTERFACE
    // libmtev 2.7.11: 9.8 system calls and 65 us on a machine of this kind.
    bench::goal("system calls of a REST request in C, 50 connections", all[2].of[1].calls.middle(), 2.2, "");
    bench::goal("CPU of a REST request in C, 50 connections", all[2].of[1].cpu.middle() / 1000, 65.0 / 5, " us");
#endif
    if (bench::has_nginx()) {
      bench::goal("CPU to nginx, 50 connections", ours.of[1].cpu.ratio_to(peer.of[1].cpu), 0.85, "x");
      bench::goal("CPU to nginx, 500 connections", ours.of[2].cpu.ratio_to(peer.of[2].cpu), 0.85, "x");
      bench::goal("p99 to nginx, 500 connections", ours.of[2].slowest.ratio_to(peer.of[2].slowest), 1.0, "x");
      bench::goal("time a pipelined request to nginx", 1 / ours.of[3].rate.ratio_to(peer.of[3].rate), 0.25, "x");
    }
    if (!options.json.empty()) write_json(options.json, all);
    return 0;
  } catch (const std::exception& failure) {
    return std::fprintf(stderr, "http: %s\n", failure.what()), 1;
  }
}
