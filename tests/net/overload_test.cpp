// The real thing: a server at its descriptor limit, in a process of its own.
#include <sys/resource.h>

#include "../background.hpp"
#include "../catch.hpp"
#include "../child.hpp"
#include "../sockets.hpp"
#include "eventer/eventer.hpp"

using namespace std::chrono_literals;
using eventer::tcp_stream;

namespace {

constexpr rlim_t server_limit = 256;
constexpr std::size_t clients = 2000;

void serve_at_limit() {
  const rlimit few{server_limit, server_limit};
  ::setrlimit(RLIMIT_NOFILE, &few);
  eventer::run([] {
    auto acceptor = eventer::tcp_acceptor::listen("127.0.0.1:0").value();
    std::printf("%s\n", acceptor.local().to_string().c_str());
    std::fflush(stdout);
    while (auto client = acceptor.accept()) {
      (void)eventer::spawn([stream = std::move(*client)]() mutable {
        for (std::string text; (text = read_text(stream, 30s)), text.front() != '<';) {
          if (text == "end") eventer::event_loop::current().stop();
          if (!stream.write_all(text)) return;
        }
      });
    }
  });
}

// Descriptors that this process may open.
std::size_t raise_own_limit() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  return limit.rlim_cur;
}

struct tally {
  std::size_t served = 0, refused = 0, waiting = 0;
};

}  // namespace

TEST_CASE("2,000 connections at a limit of 256: no spinning, some are shed, and afterwards all is well") {
  if (raise_own_limit() < clients + 100) EVENTER_SKIP("needs 2,100 descriptors (ulimit -n)");
  background server(serve_at_limit);
  const std::string address = server.line();
  REQUIRE(address.starts_with("127.0.0.1:"));

  eventer::run([&address] {
    const auto where = eventer::endpoint::parse(address).value();
    const auto all = std::make_shared<tally>();
    std::vector<eventer::join_handle<tcp_stream>> crowd;
    for (std::size_t i = 0; i < clients; ++i)
      crowd.push_back(eventer::spawn([where, all] {
        auto client = tcp_stream::connect(where, 5s);
        if (!client || !client->write_all("hello")) {
          ++all->refused;
          return tcp_stream();
        }
        const std::string answer = read_text(*client, 1500ms);
        ++(answer == "hello" ? all->served : answer == timed_out_text ? all->waiting : all->refused);
        return std::move(*client);
      }));
    std::vector<tcp_stream> open;
    for (auto& each : crowd) open.push_back(each.join());
    CHECK(all->served > server_limit - 30);
    CHECK(all->served < server_limit);
    CHECK(all->refused > 0);
    CHECK(all->served + all->refused + all->waiting == clients);
    // Those that were accepted are served on, also now.
    std::size_t still = 0;
    for (tcp_stream& each : open)
      if (each.is_open() && each.write_all("again", 1s) && read_text(each, 1ms) == "again") ++still;
    CHECK(still > 0);
    open.clear();

    for (int i = 0; i < 20; ++i) {
      auto late = tcp_stream::connect(where, 2s);
      REQUIRE(late.has_value());
      CHECK(late->write_all(i < 19 ? "late" : "end").has_value());
      if (i < 19) CHECK(read_text(*late, 5s) == "late");
    }
  });
  const auto end = server.wait();
  CHECK(end.status == 0);
  CHECK(end.cpu_seconds < 0.7);
  std::size_t lines = 0;
  for (const char c : end.output) lines += c == '\n';
  CHECK(lines == 1);
  CHECK(contains(end.output, "Too many open files"));
}
