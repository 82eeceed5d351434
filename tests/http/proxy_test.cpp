// The handler of examples/proxy: what it makes of servers that fail, and of clients that want more than the server
// behind it.
#include "../../examples/proxy.hpp"

#include "../captured_log.hpp"
#include "../virtual_run.hpp"
#include "scripted_server.hpp"

using namespace http_test;

namespace {

// A proxy before a server that answers everything with `bytes`, and closes.
struct proxied {
  explicit proxied(const std::string& bytes, std::string upstream = {})
      : behind([bytes, seen = seen_](scripted_peer& peer, int) {
          *seen = peer.request();
          peer.send(bytes);
          if (bytes.empty()) eventer::sleep_for(1000s);
        }),
        front([&] {
          http::router routes;
          const proxy handler{http::client({.head_time = 3s, .redirects = 0, .user_agent = ""}),
                              upstream.empty() ? "http://" + behind.address : upstream};
          for (const char* const path : {"/", "/{rest...}"}) routes.add("*", path, handler);
          return routes;
        }()) {}
  // Of one request, whose head is whole with this.
  answer ask(std::string_view line, std::string_view fields = "Host: h\r\n") const {
    client peer(eventer::tcp_stream::connect(front.address).value());
    return peer.ask(std::string(line) + " HTTP/1.1\r\n" + std::string(fields) + "Connection: close\r\n\r\n",
                    line.starts_with("HEAD"));
  }
  const std::string& seen() const { return *seen_; }
  const std::string& address() const { return front.address; }

 private:
  std::shared_ptr<std::string> seen_ = std::make_shared<std::string>();
  scripted_server behind;
  real_server front;
};
int status_for(const std::string& bytes) { return proxied(bytes).ask("GET /x").status; }

}  // namespace

TEST_CASE("a proxy answers with 502 and 504 where the server behind fails before the answer has begun") {
  const captured_log log;
  run_virtually([] {
    CHECK(status_for(ok_with("fine")) == 200);
    CHECK(status_for("HTTP/1.1 599 Odd\r\nContent-Length: 0\r\n\r\n") == 599);
    CHECK(status_for("HTTP/1.1 999 What\r\nContent-Length: 1\r\n\r\n!") == 502);
    CHECK(status_for("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n") == 502);
    CHECK(status_for("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nz\r\n") == 502);
    CHECK(status_for("nonsense\r\n") == 502);
    CHECK(status_for("HTTP/1.1 2") == 502);
    CHECK(status_for("") == 504);
    // One that has begun is cut off.
    CHECK(status_for("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc") == 0);
  });
  CHECK(log.count("has thrown") == 0);
}

TEST_CASE("a client of a proxy can't choose the server, and gets 400 for a target that is no URL's") {
  run_virtually([] {
    const proxied to(ok_with("x"));
    CHECK(to.ask("GET /a/b?c").status == 200);
    CHECK(to.seen().starts_with("GET /a/b?c HTTP/1.1\r\n"));
    CHECK(to.ask("GET http://other:1/a?b", "Host: other:1\r\n").status == 200);
    CHECK(to.seen().starts_with("GET /a?b HTTP/1.1\r\n"));
    CHECK(to.ask("GET //other/a").status == 200);
    CHECK(to.seen().starts_with("GET //other/a HTTP/1.1\r\n"));
    CHECK(to.ask("GET /a\\b").status == 400);
    // A name without a port would go on with whatever is appended to it.
    const proxied by_name(ok_with("x"), "http://127.0.0.1");
    CHECK(by_name.ask("GET http://a!b/x", "Host: a!b\r\n").status == 400);
  });
}

TEST_CASE("what a proxy says about its client is not the client's to say") {
  run_virtually([] {
    const proxied to(ok_with("x"));
    const std::string forged = "X-Forwarded-Host: evil\r\nX-Forwarded-For: 9.9.9.9\r\n";
    CHECK(to.ask("GET /", "Host: h\r\n" + forged).status == 200);
    CHECK(to.seen().find("X-Forwarded-Host: h\r\n") != std::string::npos);
    CHECK(to.seen().find("X-Forwarded-For: 9.9.9.9, 127.0.0.1\r\n") != std::string::npos);
    CHECK(to.seen().find("evil") == std::string::npos);
    client old(eventer::tcp_stream::connect(to.address()).value());
    CHECK(old.ask("GET / HTTP/1.0\r\n" + forged + "\r\n").status == 200);
    CHECK(to.seen().find("evil") == std::string::npos);
  });
}
