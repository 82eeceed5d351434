// A line server: each connection is a coroutine on a shared stack that reads with a time limit and answers.
//
//   line_server --listen 127.0.0.1:0 --limit 10 --report
//   nc 127.0.0.1 PORT      "quit" in any case: quitter! and the end; silence for the limit: bye! and the end; else:
//   thanks!
//
// SIGINT or SIGTERM ends it; with --report it then says what its parked connections cost.
#include <strings.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <eventer/eventer.hpp>
#include <iostream>

namespace {

using eventer::tcp_acceptor;
using eventer::tcp_stream;

struct settings {
  std::string address = "127.0.0.1:7777";
  double limit_seconds = 10;
  std::size_t max_connections = 0;
  unsigned shared_stacks = 16;
  bool report = false;
};

void serve(tcp_stream client, eventer::duration limit) {
  std::array<char, 128> line;
  for (;;) {
    const auto got = client.read_some(line, limit);
    if (!got) {
      if (got.error() == std::errc::timed_out) (void)client.write_all("bye!\n", limit);
      return;
    }
    if (*got >= 4 && ::strncasecmp(line.data(), "quit", 4) == 0) {
      (void)client.write_all("quitter!\n", limit);
      return;
    }
    if (!client.write_all("thanks!\n", limit)) return;
  }
}

// Bytes of this process that are in memory now.
std::size_t resident_bytes() {
  std::size_t total = 0, resident = 0;
  if (std::FILE* const file = std::fopen("/proc/self/statm", "r"); file != nullptr) {
    if (std::fscanf(file, "%zu %zu", &total, &resident) != 2) resident = 0;
    std::fclose(file);
  }
  return resident * static_cast<std::size_t>(::getpagesize());
}

void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

eventer::event_loop* serving = nullptr;
void stop_serving(int) { serving->stop(); }

int serve_all(const settings& options) {
  raise_descriptor_limit();
  auto acceptor = tcp_acceptor::listen(options.address);
  if (!acceptor) {
    std::fprintf(stderr, "line_server: cannot listen on %s: %s\n", options.address.c_str(),
                 acceptor.error().message().c_str());
    return 1;
  }
  eventer::event_loop loop({.shared_stacks = options.shared_stacks, .fault_reports = true});
  serving = &loop;
  std::signal(SIGINT, stop_serving);
  std::signal(SIGTERM, stop_serving);
  std::printf("listening on %s\n", acceptor->local().to_string().c_str());
  std::fflush(stdout);

  const auto limit =
      std::chrono::duration_cast<eventer::duration>(std::chrono::duration<double>(options.limit_seconds));
  const std::size_t before = resident_bytes();
  // The acceptor stays here: a coroutine of this loop must not point into a native frame that may be gone, but this one
  // outlives the loop.
  loop.spawn({.name = "accept"}, [&acceptor = *acceptor, &options, limit] {
    while (auto client = acceptor.accept()) {
      if (options.max_connections != 0 && eventer::event_loop::current().stats().coroutines > options.max_connections)
        continue;
      eventer::spawn({.name = "serve"}, serve, std::move(*client), limit);
    }
  });
  loop.run();
  std::signal(SIGINT, SIG_DFL);
  std::signal(SIGTERM, SIG_DFL);

  if (options.report) {
    const std::size_t connections = loop.stats().coroutines - 1;
    const std::size_t now = resident_bytes();
    std::cout << loop.stacks();
    std::printf("resident memory: %.1f MB before the first connection, %.1f MB with %zu",
                static_cast<double>(before) / 1e6, static_cast<double>(now) / 1e6, connections);
    if (connections > 0)
      std::printf(": %.0f bytes each", static_cast<double>(now - before) / static_cast<double>(connections));
    std::printf("\n");
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  settings options;
  CLI::App app{"Answers lines, each connection in a coroutine on a shared stack."};
  app.add_option("-l,--listen", options.address, "address and port; port 0 lets the kernel choose")
      ->capture_default_str();
  app.add_option("-t,--limit", options.limit_seconds, "seconds a connection may be silent")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("-m,--max-connections", options.max_connections, "more are closed at once; 0: no limit")
      ->capture_default_str();
  app.add_option("-k,--shared-stacks", options.shared_stacks, "stacks that the connections share")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_flag("-r,--report", options.report, "at the end say what the connections' stacks cost");
  CLI11_PARSE(app, argc, argv);
#if defined(__cpp_exceptions)
  try {
    return serve_all(options);
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "line_server: %s\n", failure.what());
    return 1;
  }
#else
  return serve_all(options);
#endif
}
