// What a second loop costs, and brings: an echo server on one loop and on several of a loop_pool, each with a listening
// socket of its own (SO_REUSEPORT). The processor time of all the server's threads per message, and messages a second.
//
//   loops [--loops 1,2] [--connections 64] [--rounds 5] [--seconds 1] [--json FILE]
//
// The server is a process of its own on all cores; the client is this process, with one thread. Where both share the
// cores, as on a machine with two, a second loop cannot serve twice as much: what it costs is the figure there.
#include <CLI/CLI.hpp>
#include <eventer/eventer.hpp>

#include "servers.hpp"

namespace {

using bench::client;
using bench::server;
using bench::shared;

unsigned loops = 1;  // of the server that is started next

void echo(eventer::tcp_stream peer) {
  while (auto bytes = peer.read_borrowed())
    if (!peer.write_all(*bytes)) break;
}

[[noreturn]] void serve() {
  eventer::loop_pool pool(loops);
  pool.run([](eventer::event_loop&, unsigned index) {
    const std::string address = "127.0.0.1:" + std::to_string(index == 0 ? 0 : shared->waiting_port.load());
    auto acceptor =
        std::make_shared<eventer::tcp_acceptor>(eventer::tcp_acceptor::listen(address, {.reuse_port = true}).value());
    shared->waiting_port = acceptor->local().port();
    if (index + 1 == loops) shared->port = shared->waiting_port.load();
    (void)eventer::spawn([acceptor] {
      while (auto peer = acceptor->accept()) (void)eventer::spawn({.name = "echo"}, echo, std::move(*peer));
    });
  });
  ::_exit(0);
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<unsigned> counts{1, 2};
  std::size_t connections = 64;
  int rounds = 5;
  double seconds = 1;
  std::string json;
  CLI::App app{"TCP echo from one loop and from several."};
  app.add_option("--loops", counts, "numbers of loops, separated by commas")->delimiter(',');
  app.add_option("--connections", connections, "at once, in ping-pong")->check(CLI::Range(1, 1000));
  app.add_option("--rounds", rounds, "measured rounds, interleaved")->check(CLI::Range(1, 100));
  app.add_option("--seconds", seconds, "of each round")->check(CLI::Range(0.01, 60.0));
  app.add_option("--json", json, "write the figures to this file");
  CLI11_PARSE(app, argc, argv);
  try {
    bench::share_counters();
    std::vector<bench::measurement> cpu, time;
    for (const unsigned count : counts) {
      const std::string name = std::to_string(count) + (count == 1 ? " loop" : " loops");
      cpu.push_back({name + ", processor time", {}});
      time.push_back({name + ", time", {}});
    }
    for (int round = -1; round < rounds; ++round)
      for (std::size_t i = 0; i < counts.size(); ++i) {
        loops = counts[i];
        const server running(serve);
        client peer(running.port);
        peer.open(connections);
        peer.ping_pong(0.05);
        const double before = running.cpu(), start = bench::nanoseconds();
        const auto answered = static_cast<double>(peer.ping_pong(seconds));
        if (round < 0) continue;
        time[i].samples.push_back((bench::nanoseconds() - start) / answered);
        cpu[i].samples.push_back((running.cpu() - before) / answered);
      }
    std::printf("%zu connections, 64-byte messages; the client has one thread on the same %u cores:\n\n", connections,
                eventer::usable_cpus());
    bench::table table({"", "server's processor time", "to the first", "messages a second", "to the first"});
    for (std::size_t i = 0; i < counts.size(); ++i)
      table.row({std::to_string(counts[i]) + " loops", bench::number(cpu[i].middle(), 0) + " ns",
                 bench::times(cpu[i].ratio_to(cpu[0])), bench::number(1e9 / time[i].middle(), 0),
                 bench::times(1 / time[i].ratio_to(time[0]))});
    table.print();
    std::printf("\n");
    if (counts.size() > 1)
      bench::goal("the last to the first, processor time per message", cpu.back().ratio_to(cpu[0]), 1.1, "x");
    cpu.insert(cpu.end(), time.begin(), time.end());
    return json.empty() || bench::write_json(json, cpu) ? 0 : 1;
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "loops: %s\n", failure.what());
    return 1;
  }
}
