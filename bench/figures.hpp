// What benchmarks with several servers share: what is measured of each, the tables and JSON of it, and their options.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "servers.hpp"

namespace bench {

inline constexpr int server_core = 0, client_core = 1;

// One sample a round.
struct figures {
  measurement cpu, user, rate, slowest, calls;

  // Of what `peer` asks of a server while `work` runs, which answers how often.
  template <class Client, class F>
  void measure(const server& running, Client& peer, F&& work) {
    const std::uint64_t before = shared->system_calls;
    const double cpu_before = running.cpu(), user_before = running.user_cpu(), start = nanoseconds();
    const auto done = static_cast<double>(work());
    const double took = nanoseconds() - start;
    calls.samples.push_back(static_cast<double>(shared->system_calls - before) / done);
    cpu.samples.push_back((running.cpu() - cpu_before) / done);
    user.samples.push_back((running.user_cpu() - user_before) / done);
    rate.samples.push_back(done / took * 1e9);
    slowest.samples.push_back(peer.latency(99));
  }
  // As members of a JSON object.
  void write(std::FILE* file, bool counts_calls) const {
    std::fprintf(file, "\"cpu_ns\":%.0f,\"user_ns\":%.0f,\"per_second\":%.0f,\"p99_ns\":%.0f,\"system_calls\":%.3f",
                 cpu.middle(), user.middle(), rate.middle(), slowest.middle(), counts_calls ? calls.middle() : 0);
  }
};

struct figures_of_server {
  const char* name;
  const figures* of;
  bool counts_calls;
};
// `what` is one of what was asked: "request".
inline void print(const std::string& title, const std::string& what, const std::vector<figures_of_server>& all) {
  std::printf("%s, one server thread\n", title.c_str());
  table rows({"server", "CPU ns/" + what, "to the last", "of it user", what + "s/s", "to the last", "p99 us",
              "to the last", "system calls/" + what});
  for (const figures_of_server& each : all) {
    const figures &here = *each.of, &last = *all.back().of;
    rows.row({each.name, number(here.cpu.middle(), 0), times(here.cpu.ratio_to(last.cpu)),
              number(here.user.middle(), 0), number(here.rate.middle(), 0), times(here.rate.ratio_to(last.rate)),
              number(here.slowest.middle() / 1000, 0), times(here.slowest.ratio_to(last.slowest)),
              each.counts_calls ? number(here.calls.middle(), 2) : "-"});
  }
  rows.print();
  std::printf("\n");
}

// Bytes of memory that one more idle connection takes. `peer` is a client of the server, without connections yet.
template <class Client>
double idle_bytes(const server& running, Client& peer, std::size_t count) {
  const std::size_t first = std::min<std::size_t>(100, count / 2);
  peer.open(first);
  const std::size_t before = running.resident();
  peer.open(count);
  return static_cast<double>(running.resident() - before) / static_cast<double>(count - first);
}

struct run_options {
  std::size_t idle = 10'000;
  int rounds = 5;
  double seconds = 1;
  std::string json;

  void add_to(CLI::App& app) {
    app.add_option("--idle", idle, "idle connections whose memory is measured; 0: none")
        ->check(CLI::Range(0, 20'000))
        ->capture_default_str();
    app.add_option("--rounds", rounds, "measured rounds, interleaved")
        ->check(CLI::Range(1, 100))
        ->capture_default_str();
    app.add_option("--seconds", seconds, "of each round")->check(CLI::Range(0.01, 60.0))->capture_default_str();
    app.add_option("--json", json, "write the figures to this file");
  }
  // As many of the idle connections as the process may have; says so where that is fewer.
  std::size_t possible_idle() const {
    const std::size_t possible = idle == 0 ? 0 : possible_connections(idle);
    if (possible < idle)
      std::printf("only %zu idle connections: the limit of descriptors does not allow more\n", possible);
    return possible;
  }
};

}  // namespace bench
