// Each limit, with what its client is told.
#include <array>

#include "../captured_log.hpp"
#include "../virtual_run.hpp"
#include "http_client.hpp"

using namespace http_test;

namespace {

void hello(http::request&, http::response& answer) { answer.text("hello"); }
void echo(http::request& asked, http::response& answer) {
  if (const auto body = asked.body()) answer.text(*body);
}
http::server limited(const http::limits& limits) {
  http::router routes;
  routes.get("/", &hello);
  routes.post("/", &echo);
  routes.post("/large", &echo).body_limit(100'000);
  routes.post("/small", &echo).body_limit(3);
  http::server_options options;
  options.limits = limits;
  return http::server(std::move(routes), std::move(options));
}
eventer::duration since(eventer::time_point begin) { return eventer::event_loop::current().now() - begin; }

}  // namespace

TEST_CASE("what is too large is refused with its status, and that answer arrives") {
  const http::limits limits{.request_line = 100,
                            .header_bytes = 500,
                            .header_count = 5,
                            .body = 1000,
                            .chunk_extension = 8,
                            .trailer_bytes = 20};
  const auto letters = [](std::size_t count) { return std::string(count, 'x'); };
  struct row {
    std::string request, statuses;
  };
  const row rows[] = {
      {get("/"), "200"},
      {get("/?" + letters(100 - 17)), "200"},
      {get("/?" + letters(100 - 16)), "414"},
      {get("/?" + letters(100'000)), "414"},
      {get("/", "X: " + letters(500 - 32) + "\r\n"), "200"},
      {get("/", "X: " + letters(500 - 31) + "\r\n"), "431"},
      {get("/", "X: " + letters(100'000) + "\r\n"), "431"},
      {get("/", "A: 1\r\nB: 1\r\nC: 1\r\nD: 1\r\n"), "200"},
      {get("/", "A: 1\r\nB: 1\r\nC: 1\r\nD: 1\r\nE: 1\r\n"), "431"},
      {post("/", letters(1000)), "200"},
      {post("/", letters(1001)), "413"},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551615\r\n\r\n", "413"},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n", "400"},
      {post("/large", letters(100'000)), "200"},
      {post("/large", letters(100'001)), "413"},
      {post("/small", "abc"), "200"},
      {post("/small", "abcd"), "413"},
      {post("/none", letters(1001)), "413"},
      {post_chunks("/", "3e8\r\n" + letters(1000) + "\r\n0\r\n\r\n"), "200"},
      {post_chunks("/", "3e7\r\n" + letters(999) + "\r\n2\r\nxx\r\n0\r\n\r\n"), "413"},
      {post_chunks("/", "3e9\r\n"), "413"},
      {post_chunks("/", "ffffffffffffffff\r\n"), "413"},
      {post_chunks("/", "1;aaaa=bb\r\nx\r\n0\r\n\r\n"), "200"},
      {post_chunks("/", "1;aaaa=bbb\r\nx\r\n0\r\n\r\n"), "400"},
      {post_chunks("/", "0\r\n" + letters(14) + ": y\r\n\r\n"), "400"},  // 21 bytes: see below
  };
  run_virtually([&] {
    const http::server server = limited(limits);
    for (const row& each : rows) {
      CAPTURE(each.request.substr(0, 120), each.request.size());
      CHECK(statuses_of(all_answers(server, each.request)) == each.statuses);
      // Also behind another one, in pieces.
      CHECK(statuses_of(all_answers(server, get("/") + each.request, {.short_reads = 50, .would_blocks = 50})) ==
            "200 " + each.statuses);
    }
  });
}

TEST_CASE("a head that drips in has its time, from its first byte") {
  run_virtually([] {
    const http::server server = limited({.header_time = 10s});
    for (const bool after_another : {false, true}) {
      served peer(server);
      if (after_another) CHECK(peer.ask(get("/")).status == 200);
      eventer::sleep_for(30s);  // idle is something else
      const auto begin = eventer::event_loop::current().now();
      const std::string head = "GET / HTTP/1.1\r\nHost: a\r\nX: " + std::string(1000, 'x');
      peer.patience = 1s;
      for (std::size_t sent = 0; peer.unread().empty() && since(begin) < 60s; ++sent) {
        REQUIRE(peer.send(head.substr(sent, 1)));
        (void)peer.more();
      }
      CHECK(since(begin) >= 10s);
      CHECK(since(begin) <= 11s);
      const answer got = peer.read();
      CHECK(got.status == 408);
      CHECK(got.says_close());
      CHECK(peer.ends());
    }
  });
}

TEST_CASE("a body that stalls, or takes too long as a whole, is answered with 408") {
  struct row {
    const char* what;
    http::limits limits;
    eventer::duration pause;
    eventer::duration least, most;  // until the answer
    int status;
  };
  const row rows[] = {
      {"stalls", {.body_idle = 5s}, 100s, 5s, 6s, 408},
      {"drips", {.body_idle = 5s}, 4s, 30s, 50s, 200},
      {"drips for too long", {.body_idle = 5s, .request_time = 9s}, 4s, 9s, 10s, 408},
      {"stalls where no limit is", {.body_idle = 0s}, 100s, 900s, 1100s, 200},
      {"whole request", {.header_time = 0s, .body_idle = 0s, .request_time = 9s}, 4s, 9s, 10s, 408},
  };
  const captured_log log;
  run_virtually([&rows] {
    for (const row& each : rows) {
      CAPTURE(each.what);
      served peer(limited(each.limits));
      peer.patience = 2000s;
      const auto begin = eventer::event_loop::current().now();
      REQUIRE(peer.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\nx"));
      for (int i = 0; i < 10 && peer.unread().empty(); ++i) {
        peer.patience = each.pause;
        if (!peer.more()) (void)peer.send("x");
      }
      peer.patience = 2000s;
      const int status = peer.read().status;
      CHECK(status == each.status);
      CHECK(since(begin) >= each.least);
      CHECK(since(begin) <= each.most);
      if (status == 408) CHECK(peer.ends());
    }
  });
  CHECK(log.count("handler") == 0);
}

TEST_CASE("an idle connection is closed without a word") {
  run_virtually([] {
    const http::server server = limited({.keep_alive_idle = 60s});
    for (const bool asks : {false, true}) {
      served peer(server);
      if (asks) CHECK(peer.ask(get("/")).status == 200);
      const auto begin = eventer::event_loop::current().now();
      CHECK(peer.ends());
      CHECK(since(begin) >= 60s);
      CHECK(since(begin) < 80s);
    }
    const http::server patient = limited({.keep_alive_idle = 0s});
    served peer(patient);
    eventer::sleep_for(1000h);
    CHECK(peer.ask(get("/")).status == 200);
  });
}

TEST_CASE("a server that ends a connection reads on for 2 s, and ends sooner where the client has ended") {
  run_virtually([] {
    const http::server server = limited({});
    for (const bool client_ends : {false, true}) {
      CAPTURE(client_ends);
      served peer(server);
      CHECK(peer.ask(get("/", "Connection: close\r\n")).body == "hello");
      CHECK(peer.ends());
      CHECK_FALSE(peer.is_over());
      eventer::sleep_for(1s);
      CHECK(peer.send("sent before it has seen the end"));
      eventer::sleep_for(900ms);
      CHECK_FALSE(peer.is_over());
      if (client_ends) peer.finish_sending();
      eventer::sleep_for(client_ends ? 1ms : 101ms);
      CHECK(peer.is_over());
    }
  });
}

TEST_CASE("it reads no longer than that where the client sends without a pause") {
  eventer::manual_clock clock;
  const auto body = [&clock] {
    const http::server server = limited({});
    served peer(server, {.capacity = 200 << 20});
    CHECK(peer.ask(get("/", "Connection: close\r\n")).body == "hello");
    const auto began = clock.now();
    const std::string much(5 << 20, 'x');  // more than is read before others have their turn
    while (!peer.is_over() && since(began) < 10s) {
      CHECK(peer.send(much));
      clock.advance(500ms);
      eventer::yield();
    }
    CHECK(peer.is_over());
    CHECK(since(began) < 3s);
  };
  eventer::run(body, {.clock = &clock});
}

TEST_CASE("the last request that a connection may have says so") {
  run_virtually([] {
    const http::server server = limited({.requests_per_connection = 3});
    served peer(server);
    for (const bool last : {false, false, true}) CHECK(peer.ask(get("/")).says_close() == last);
    CHECK(peer.ends());
    // Those behind it are not served, whoever pipelines them.
    CHECK(statuses_of(all_answers(server, get("/") + get("/") + get("/") + get("/"))) == "200 200 200");
    CHECK(statuses_of(all_answers(limited({.requests_per_connection = 0}), get("/") + get("/"))) == "200 200");
  });
}

TEST_CASE("a route may have times of its own for bodies and answers") {
  const auto stalled = std::make_shared<std::error_code>();
  run_virtually([stalled] {
    http::router routes;
    const auto large = [stalled](http::request&, http::response& answer) {
      const auto done = answer.write(std::string(100'000, 'x'));
      *stalled = done ? std::error_code() : done.error();
    };
    routes.post("/", &echo);
    routes.post("/quick", &echo).body_idle(2s);
    routes.post("/patient", &echo).body_idle(0s);
    routes.get("/", large);
    routes.get("/quick", large).response_stall(2s);
    const http::server server(std::move(routes), {.limits = {.body_idle = 10s, .response_stall = 10s}});
    const struct {
      const char* path;
      eventer::duration until;
    } rows[] = {{"/", 10s}, {"/quick", 2s}, {"/patient", 1000s}};
    for (const auto& each : rows) {
      CAPTURE(each.path);
      served peer(server);
      peer.patience = 1000s;
      const auto begin = eventer::event_loop::current().now();
      REQUIRE(peer.send("POST " + std::string(each.path) + " HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nx"));
      CHECK(peer.read().status == (each.until < 1000s ? 408 : 0));
      CHECK(since(begin) == each.until);
    }
    for (const auto& [path, until] : {std::pair("/", 10s), std::pair("/quick", 2s)}) {
      CAPTURE(path);
      *stalled = {};
      served peer(server, {.capacity = 1000});
      REQUIRE(peer.send(get(path)));
      eventer::sleep_for(until - 1ms);
      CHECK_FALSE(*stalled);
      eventer::sleep_for(2ms);
      CHECK(*stalled == std::errc::timed_out);
    }
  });
}

TEST_CASE("who may use a route must be a network: another rule is refused when it is added") {
  http::router routes;
  http::route& route = routes.get("/", &hello);
  for (const char* const rule : {"", "localhost", "10.0.0.0/33", "10.0.0.1/8", "::1/129", "10.0.0.0/8 "}) {
    CAPTURE(rule);
    CHECK_THROWS_AS(route.allow(rule), std::invalid_argument);
    CHECK_THROWS_AS(route.deny(rule), std::invalid_argument);
  }
}

TEST_CASE("limits of zero are none") {
  run_virtually([] {
    const http::server server =
        limited({.header_time = 0s, .body_idle = 0s, .request_time = 0s, .response_stall = 0s, .keep_alive_idle = 0s});
    served peer(server, {.would_blocks = 70, .capacity = 10});
    for (int i = 0; i < 3; ++i) {
      REQUIRE(peer.send("POST / HTTP/1.1\r\nHost: a\r\nConte"));
      eventer::sleep_for(100s);
      REQUIRE(peer.send("nt-Length: 11\r\n\r\nhello"));
      eventer::sleep_for(100s);
      REQUIRE(peer.send(" world"));
      eventer::sleep_for(100s);
      CHECK(peer.read().body == "hello world");
      eventer::sleep_for(100s);
    }
  });
}

TEST_CASE("a connection too many is told so, and the others go on") {
  eventer::run([] {
    http::router routes;
    routes.get("/", &hello);
    http::server_options options;
    options.max_connections = 3;
    const http::server server(std::move(routes), std::move(options));
    auto acceptor = eventer::tcp_acceptor::listen("127.0.0.1:0").value();
    const auto where = acceptor.local();
    auto serves = eventer::spawn(
        [server, acceptor = std::move(acceptor)]() mutable { (void)http::server(server).serve(acceptor); });
    const auto connect = [&where] { return client(eventer::tcp_stream::connect(where, 10s).value()); };
    std::vector<client> open;
    for (int i = 0; i < 3; ++i) {
      open.push_back(connect());
      CHECK(open.back().ask(get("/")).status == 200);
    }
    for (int i = 0; i < 5; ++i) {
      client more = connect();
      const answer got = more.read();
      CHECK(got.status == 503);
      CHECK(got.says_close());
      CHECK(more.ends());
    }
    for (client& each : open) CHECK(each.ask(get("/")).status == 200);
    CHECK(server.statistics().open == 3);
    CHECK(server.statistics().accepted == 8);
    CHECK(server.statistics().refused == 5);
    open.pop_back();
    client next = connect();
    answer got = next.ask(get("/"));
    for (int i = 0; i < 100 && got.status != 200; ++i) {  // until the server has noticed
      next = connect();
      got = next.ask(get("/"));
    }
    CHECK(got.status == 200);
    open.clear();
    next.close();
    (void)server.drain(1s, 0s);
    serves.join();
    CHECK(server.statistics().open == 0);
  });
}
