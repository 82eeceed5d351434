// A TCP echo server from coroutines against a bare epoll loop: CPU and system calls per message, memory per idle
// connection.
//
//   echo [--connections 50] [--idle 10000] [--rounds 5] [--seconds 1] [--json FILE]
//
// Servers are child processes on one core, the client is this process on the other; rounds alternate between the
// servers. System calls are counted at the library's seam, for the bare loop by itself. Only loopback is used.
#include <CLI/CLI.hpp>
#include <eventer/eventer.hpp>

#include "figures.hpp"
#include "stackless.hpp"

namespace {

using bench::check;
using bench::client;
using bench::client_core;
using bench::server;
using bench::server_core;
using bench::shared;

// The floor.
[[noreturn]] void serve_bare() {
  bench::serve_bare_epoll([](std::string_view bytes) { return bytes; });
}

int count_call(eventer::syscalls::call) {
  shared->system_calls.fetch_add(1, std::memory_order_relaxed);
  return 0;
}

// A coroutine a connection. `Borrowed`: reads into the loop's buffer, so that a waiting connection holds none.
template <bool Borrowed>
void echo(eventer::tcp_stream client) {
  if constexpr (Borrowed) {
    while (auto bytes = client.read_borrowed())
      if (!client.write_all(*bytes)) break;
  } else {
    std::array<char, 128> bytes;
    while (auto n = client.read_some(bytes))
      if (!client.write_all({bytes.data(), *n})) break;
  }
}

// The same in a coroutine type of somebody else's, which only has its frame.
bench::detached echo_stackless(eventer::tcp_stream client) {
  for (;;) {
    const auto bytes = co_await client.async_read_borrowed();
    if (!bytes || !co_await client.async_write_all(*bytes)) break;
  }
}

template <class Start>
[[noreturn]] void serve(Start start) {
  eventer::syscalls::fault_hook = count_call;
  eventer::run([start] {
    auto acceptor = eventer::tcp_acceptor::listen("127.0.0.1:0").value();
    shared->port = acceptor.local().port();
    while (auto client = acceptor.accept()) start(std::move(*client));
  });
  ::_exit(0);
}
template <bool Borrowed>
[[noreturn]] void serve_coroutines() {
  serve([](eventer::tcp_stream client) { eventer::spawn({.name = "echo"}, echo<Borrowed>, std::move(client)); });
}
[[noreturn]] void serve_stackless() {
  serve([](eventer::tcp_stream client) { echo_stackless(std::move(client)); });
}

struct contestant {
  const char* name;
  void (*serve)();
  bench::measurement cpu, user, calls;
  double idle_bytes = 0;
};

}  // namespace

int main(int argc, char** argv) {
  std::size_t connections = 50;
  bench::run_options options;
  CLI::App app{"TCP echo from coroutines against a bare epoll loop."};
  app.add_option("--connections", connections, "at once, in ping-pong")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  options.add_to(app);
  CLI11_PARSE(app, argc, argv);
  try {
    bench::share_counters();
    const std::size_t idle_possible = options.possible_idle();
    contestant all[] = {{"bare epoll loop", serve_bare, {}, {}, {}},
                        {"coroutine, 128-byte buffer", serve_coroutines<false>, {}, {}, {}},
                        {"coroutine, borrowed buffer", serve_coroutines<true>, {}, {}, {}},
                        {"C++20 coroutine, co_await", serve_stackless, {}, {}, {}}};
    // A server forks before the client has threads or connections: each child has its own counters only through
    // `shared`.
    for (int round = -1; round < options.rounds; ++round)
      for (contestant& each : all) {
        const server running(each.serve, server_core);
        bench::pin_to_core(client_core);
        client peer(running.port);
        peer.open(connections);
        peer.ping_pong(0.05);
        const std::uint64_t calls = shared->system_calls;
        const double cpu = running.cpu(), user = running.user_cpu();
        const auto answered = static_cast<double>(peer.ping_pong(options.seconds));
        if (round < 0) continue;
        each.calls.samples.push_back(static_cast<double>(shared->system_calls - calls) / answered);
        each.cpu.samples.push_back((running.cpu() - cpu) / answered);
        each.user.samples.push_back((running.user_cpu() - user) / answered);
      }
    if (idle_possible > 0)
      for (contestant& each : all) {
        const server running(each.serve, server_core);
        client peer(running.port);
        each.idle_bytes = bench::idle_bytes(running, peer, idle_possible);
      }

    std::printf("TCP echo of 64 bytes, %zu connections, one server thread\n", connections);
    bench::table table(
        {"server", "CPU ns/message", "to bare loop", "of it user", "system calls/message", "bytes/idle connection"});
    for (const contestant& each : all)
      table.row({each.name, bench::number(each.cpu.middle(), 0), bench::times(each.cpu.ratio_to(all[0].cpu)),
                 bench::number(each.user.middle(), 0), bench::number(each.calls.middle(), 2),
                 idle_possible == 0 ? "-" : bench::number(each.idle_bytes, 0)});
    table.print();
    std::printf("\n");
    for (const contestant& each : all) {
      if (&each == &all[0]) continue;
      bench::goal((std::string(each.name) + ": CPU to the bare loop").c_str(), each.cpu.ratio_to(all[0].cpu), 1.15,
                  "x");
      if (connections >= 50)
        bench::goal((std::string(each.name) + ": system calls a message").c_str(), each.calls.middle(), 2.3, "");
      if (idle_possible > 0)
        bench::goal((std::string(each.name) + ": bytes an idle connection").c_str(), each.idle_bytes, 500, " B");
    }
    if (options.json.empty()) return 0;
    std::FILE* const file = std::fopen(options.json.c_str(), "w");
    check(file != nullptr, options.json.c_str());
    std::fprintf(file, "{\"connections\":%zu,\"servers\":[", connections);
    for (const contestant& each : all)
      std::fprintf(
          file,
          "%s{\"name\":\"%s\",\"cpu_ns\":%.0f,\"cpu_ratio\":%.3f,\"user_ns\":%.0f,\"system_calls\":%.3f,\"idle_bytes\":%.0f}",
          &each == &all[0] ? "" : ",", each.name, each.cpu.middle(), each.cpu.ratio_to(all[0].cpu), each.user.middle(),
          each.calls.middle(), each.idle_bytes);
    std::fprintf(file, "]}\n");
    return std::fclose(file) == 0 ? 0 : 1;
  } catch (const std::exception& failure) {
    return std::fprintf(stderr, "echo: %s\n", failure.what()), 1;
  }
}
