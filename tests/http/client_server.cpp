// The server that scripts/check-http sends real clients to: a little of everything that a handler does. Prints where it
// listens; SIGTERM drains it.
#include <array>
#include <csignal>
#include <cstdio>

#include "eventer/eventer.hpp"
#include "eventer/http.hpp"

using namespace std::chrono_literals;
namespace http = eventer::http;

static http::router routes() {
  http::router all;
  all.get("/", [](http::request&, http::response& answer) { answer.text("hello\n"); });
  all.get("/large", [page = std::string(1 << 20, 'x')](http::request&, http::response& answer) { answer.text(page); });
  all.get("/pieces", [](http::request&, http::response& answer) {
    for (int i = 0; i < 100; ++i)
      if (!answer.write("piece " + std::to_string(i) + "\n")) return;
  });
  all.get("/slow", [](http::request&, http::response& answer) {
    eventer::sleep_for(300ms);
    answer.text("slow\n");
  });
  all.get("/throws", [](http::request&, http::response&) { throw std::runtime_error("on purpose"); });
  all.put("/count",
          [](http::request& asked, http::response& answer) {
            std::uint64_t total = 0;
            std::array<char, 16 << 10> part;
            for (;;) {
              const auto got = asked.read_some(part);
              if (!got) {
                if (got.error() != eventer::errc::end_of_stream) return;
                break;
              }
              total += *got;
            }
            answer.text(std::to_string(total) + "\n");
          })
      .body_limit(UINT64_MAX);
  all.post("/echo", [](http::request& asked, http::response& answer) {
    if (const auto body = asked.body()) answer.body("application/octet-stream", *body);
  });
  all.post("/ignores", [](http::request&, http::response& answer) { answer.status(403).text("no\n"); })
      .body_limit(UINT64_MAX);
  return all;
}

int main() {
  return eventer::run([] {
    http::server_options options;
    options.limits.header_time = 3s;
    options.limits.body_idle = 3s;
    options.limits.response_stall = 5s;
    http::server server(routes(), options);
    auto acceptor = eventer::tcp_acceptor::listen("127.0.0.1:0", {.backlog = 1024}).value();
    std::printf("listens on %s\n", acceptor.local().to_string().c_str());
    std::fflush(stdout);
    (void)eventer::spawn([server] {
      eventer::signal_set signals{SIGTERM};
      (void)signals.next();
      const std::size_t cut = server.drain(5s, 100ms);
      std::printf("drained, %zu cancelled\n", cut);
      std::fflush(stdout);
    });
    return server.serve(acceptor) ? 0 : 1;
  });
}
