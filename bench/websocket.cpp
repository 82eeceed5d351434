// WebSocket echo of 64 bytes against Boost.Beast and node's ws: CPU, messages per second, the slowest per cent, memory
// per idle connection.
//
//   websocket [--rounds 5] [--seconds 1] [--idle 2000] [--json FILE]
//
// One server thread on one core, the client on the other; rounds alternate between the servers. Only loopback is used.
#include <CLI/CLI.hpp>
#include <eventer/eventer.hpp>
#include <eventer/http.hpp>
#include <eventer/websocket.hpp>

#include "figures.hpp"
#include "websocket_peers.hpp"

namespace {

using bench::check;
using bench::client;
using bench::figures;
using bench::server;
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
    routes.websocket("/", [](http::websocket& socket) {
      while (const auto message = socket.read())
        if (!socket.write(*message)) break;
    });
    http::server serving(std::move(routes), {.max_connections = 0});
    auto acceptor = eventer::tcp_acceptor::listen("127.0.0.1:0").value();
    shared->port = acceptor.local().port();
    (void)serving.serve(acceptor);
  });
  ::_exit(0);
}

// A text of 64 bytes, masked with zeros, which take as long as any others.
bench::question echo() {
  bench::question result;
  const std::string payload(bench::message_bytes, 'x');
  result.greeting =
      "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
  result.bytes = std::string("\x81\xc0\0\0\0\0", 6) + payload;
  result.answer_bytes = 2 + payload.size();
  return result;
}

struct setting {
  const char* name;
  std::size_t connections;
};
constexpr setting settings[] = {{"1 connection", 1}, {"50 connections", 50}, {"500 connections", 500}};
constexpr std::size_t setting_count = sizeof settings / sizeof settings[0];

struct contestant {
  const char* name;
  void (*serve)();
  bool counts_calls;
  figures of[setting_count];
  double idle_bytes = 0;
};

void measure(contestant& each, std::size_t which, double seconds, bool keep) {
  const server running(each.serve, bench::server_core);
  bench::pin_to_core(bench::client_core);
  client peer(running.port, echo());
  peer.open(settings[which].connections);
  peer.ping_pong(0.05);
  figures unused;  // the first round warms up
  (keep ? each.of[which] : unused).measure(running, peer, [&] { return peer.ping_pong(seconds); });
}

void measure_idle(contestant& each, std::size_t count) {
  const server running(each.serve, bench::server_core);
  client peer(running.port, echo());
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
  options.idle = 2'000;
  CLI::App app{"WebSocket echo against Boost.Beast and node's ws."};
  options.add_to(app);
  CLI11_PARSE(app, argc, argv);
  try {
    bench::share_counters();
    const std::size_t idle_possible = options.possible_idle();
    (void)bench::possible_connections(1000);
    std::vector<contestant> all{{"eventer", serve_eventer, true, {}, 0},
                                {"Boost.Beast, asynchronous", bench::serve_beast_sockets, false, {}, 0}};
    if (bench::has_node())
      all.push_back({"node, ws", bench::serve_node_sockets, false, {}, 0});
    else
      std::printf("node or its ws is not installed (apt-get install nodejs node-ws): compared without it\n");

    for (int round = -1; round < options.rounds; ++round)
      for (std::size_t which = 0; which < setting_count; ++which)
        for (contestant& each : all)
          measure(each, which, round < 0 ? options.seconds / 10 : options.seconds, round >= 0);
    if (idle_possible > 1)
      for (contestant& each : all) measure_idle(each, idle_possible);

    for (std::size_t which = 0; which < setting_count; ++which) {
      std::vector<bench::figures_of_server> rows;
      for (const contestant& each : all) rows.push_back({each.name, &each.of[which], each.counts_calls});
      bench::print(std::string(settings[which].name) + ", 64 bytes of text and back", "message", rows);
    }
    if (idle_possible > 1) {
      std::printf("%zu idle connections, each after one message\n", idle_possible);
      bench::table table({"server", "bytes/connection"});
      for (const contestant& each : all) table.row({each.name, bench::number(each.idle_bytes, 0)});
      table.print();
      std::printf("\n");
      bench::goal("bytes an idle connection", all[0].idle_bytes, 1024, " B");
      bench::goal("of those of Beast", all[0].idle_bytes / all[1].idle_bytes, 1, "x");
    }
    bench::goal("CPU to Beast, 50 connections", all[0].of[1].cpu.ratio_to(all[1].of[1].cpu), 1, "x");
    if (!options.json.empty()) write_json(options.json, all);
    return 0;
  } catch (const std::exception& failure) {
    return std::fprintf(stderr, "websocket: %s\n", failure.what()), 1;
  }
}
