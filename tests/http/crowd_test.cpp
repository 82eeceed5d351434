// Crowds: idle connections, slow ones, and more of them than there are descriptors.
#include <sys/resource.h>

#include "../background.hpp"
#include "http_client.hpp"

using namespace http_test;

TEST_CASE("ten thousand idle connections, a thousand that drip, and those who want an answer") {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  const bool many = limit.rlim_cur >= 23'000;
  const std::size_t idle_ones = many ? 10'000 : limit.rlim_cur / 4, slow_ones = many ? 1'000 : limit.rlim_cur / 40;
  if (idle_ones < 100) EVENTER_SKIP("needs 1,000 descriptors (ulimit -n)");
  eventer::run([idle_ones, slow_ones] {
    http::server_options options;
    options.max_connections = 0;
    options.limits.header_time = 300ms;
    options.limits.keep_alive_idle = 600s;
    http::server server(one_route("GET", "/", [](http::request&, http::response& answer) { answer.text("hello"); }),
                        options);
    auto acceptor = eventer::tcp_acceptor::listen("127.0.0.1:0", {.backlog = 1024}).value();
    const auto where = acceptor.local();
    auto serves = eventer::spawn([server, acceptor = std::move(acceptor)]() mutable { (void)server.serve(acceptor); });
    std::vector<std::unique_ptr<client>> idle;
    for (std::size_t i = 0; i < idle_ones; ++i) {
      idle.push_back(std::make_unique<client>(eventer::tcp_stream::connect(where, 10s).value()));
      if (i % 10 == 0 && idle.back()->ask(get("/")).status != 200) FAIL("no answer");
    }
    CHECK(server.statistics().open == idle_ones);
    const auto refused = std::make_shared<std::size_t>(0);
    eventer::task_group drips;
    for (std::size_t i = 0; i < slow_ones; ++i)
      drips.spawn([where, refused] {
        client peer(eventer::tcp_stream::connect(where, 10s).value());
        if (!peer.send("GET / HTTP/1.1\r\nHost: a\r\n")) return;
        peer.patience = 50ms;
        while (peer.unread().empty() && peer.send("X: y\r\n")) (void)peer.more();
        *refused += peer.unread().starts_with("HTTP/1.1 408 ");
      });
    std::size_t answered = 0;
    for (int i = 0; i < 500; ++i)
      answered += idle[static_cast<std::size_t>(i) % idle.size()]->ask(get("/")).status == 200;
    CHECK(answered == 500);
    drips.join();
    CHECK(*refused == slow_ones);
    CHECK(idle.back()->ask(get("/")).status == 200);
    idle.clear();
    CHECK(server.drain(10s, 0s) == 0);
    serves.join();
    CHECK(server.statistics().open == 0);
  });
}

TEST_CASE("a server without descriptors goes on when there are some again") {
  if (EVENTER_ASAN) EVENTER_SKIP("UBSan looks at virtual calls through a pipe, for which there is no descriptor");
  const auto serve_with_few = [] {
    const rlimit few{64, 64};
    ::setrlimit(RLIMIT_NOFILE, &few);
    eventer::run([] {
      http::server server(one_route("GET", "/", [](http::request&, http::response& answer) { answer.text("hello"); }));
      auto acceptor = eventer::tcp_acceptor::listen("127.0.0.1:0").value();
      std::printf("%s\n", acceptor.local().to_string().c_str());
      std::fflush(stdout);
      (void)server.serve(acceptor);
    });
  };
  std::fflush(stdout);  // or the child would print it once more
  background process(serve_with_few);
  const std::string address = process.line();
  CAPTURE(address);
  REQUIRE(address.starts_with("127.0.0.1:"));
  eventer::run([&address] {
    const auto where = eventer::endpoint::parse(address).value();
    std::vector<std::unique_ptr<client>> crowd;
    for (int i = 0; i < 200; ++i)
      if (auto stream = eventer::tcp_stream::connect(where, 10s))
        crowd.push_back(std::make_unique<client>(std::move(*stream)));
    CHECK(crowd.front()->ask(get("/")).status == 200);  // those that were taken are served
    crowd.clear();
    int status = 0;
    for (int i = 0; i < 100 && status != 200; ++i) {
      client peer(eventer::tcp_stream::connect(where, 10s).value());
      status = peer.ask(get("/")).status;
    }
    CHECK(status == 200);
  });
  process.signal(SIGKILL);
}
