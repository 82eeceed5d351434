// What a connection does from one request to the next: who keeps it, who ends it, and what an answer looks like.
#include <sys/socket.h>

#include <algorithm>

#include "../captured_log.hpp"
#include "../faults.hpp"
#include "../virtual_run.hpp"
#include "http_client.hpp"

using namespace http_test;

namespace {

http::server small_server(http::server_options options = {}) {
  http::router routes;
  routes.get("/", [](http::request&, http::response& answer) { answer.text("hello"); });
  routes.get("/close", [](http::request&, http::response& answer) { answer.close_connection().text("bye"); });
  routes.get("/says-close",
             [](http::request&, http::response& answer) { answer.header("Connection", "Close").text("bye"); });
  routes.get("/pieces", [](http::request&, http::response& answer) {
    (void)answer.write("one,");
    (void)answer.write("two");
  });
  routes.get("/sized", [](http::request&, http::response& answer) {
    (void)answer.content_length(7).write("one,");
    (void)answer.write("two");
  });
  routes.get("/204", [](http::request&, http::response& answer) { answer.status(204).text("dropped"); });
  routes.get("/304", [](http::request&, http::response& answer) {
    answer.status(304).header("ETag", "\"1\"");
    (void)answer.write("dropped");
  });
  routes.get("/empty", [](http::request&, http::response& answer) { answer.text(""); });
  return http::server(std::move(routes), std::move(options));
}

}  // namespace

TEST_CASE("a connection is kept where both sides keep it, and ends where one does not") {
  struct row {
    std::string request;
    bool stays;
    std::string connection;  // the answer's field
  };
  const row rows[] = {
      {get("/"), true, "<none>"},
      {get("/", "Connection: keep-alive\r\n"), true, "<none>"},
      {get("/", "Connection: close\r\n"), false, "close"},
      {get("/", "Connection: foo, CLOSE\r\n"), false, "close"},
      {get("/", "Connection: foo\r\nConnection: close\r\n"), false, "close"},
      {"GET / HTTP/1.0\r\n\r\n", false, "close"},
      {"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true, "keep-alive"},
      {"GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", false, "close"},
      {"GET / HTTP/1.2\r\nHost: a\r\n\r\n", true, "<none>"},
      {get("/close"), false, "close"},
      {get("/says-close"), false, "close"},
      {get("/pieces"), true, "<none>"},
      {"GET /pieces HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", false, "close"},  // whose end is the answer's
      {"GET /sized HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true, "keep-alive"},
      {get("/nothing-here"), true, "<none>"},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", true, "<none>"},  // 405
      {"\r\n" + get("/"), true, "<none>"},
  };
  run_virtually([&rows] {
    const http::server server = small_server();
    for (const row& each : rows) {
      CAPTURE(each.request);
      served peer(server);
      const answer got = peer.ask(each.request);
      CAPTURE(peer.why);
      REQUIRE(got.status != 0);
      CHECK(got.field("connection") == each.connection);
      if (each.stays)
        CHECK(peer.ask(get("/")).body == "hello");
      else
        CHECK(peer.ends());
    }
  });
}

TEST_CASE("the last answer arrives, also where the client goes on sending behind its last request") {
  run_virtually([] {
    const http::server server = small_server();
    for (const std::string& last : {get("/", "Connection: close\r\n"), get("/close"), "GET / HTTP/1.0\r\n\r\n"s})
      for (std::uint64_t seed = 1; seed <= 20; ++seed)
        CHECK(statuses_of(all_answers(server, last + std::string(1000, 'x'),
                                      {.seed = seed, .short_reads = 80, .would_blocks = 50, .capacity = 100})) ==
              "200");
  });
}

TEST_CASE("HEAD is answered as GET is, without the body; 204 and 304 have none") {
  run_virtually([] {
    const http::server server = small_server();
    served peer(server);
    const auto head = [&](const std::string& target) {
      return peer.ask("HEAD " + target + " HTTP/1.1\r\nHost: a\r\n\r\n", true);
    };
    CHECK(head("/").field("content-length") == "5");
    CHECK(head("/empty").field("content-length") == "0");
    CHECK(head("/sized").field("content-length") == "7");
    CHECK(head("/pieces").field("transfer-encoding") == "chunked");
    CHECK(head("/nothing-here").status == 404);
    const answer none = peer.ask(get("/204"));
    CHECK(none.status == 204);
    CHECK(none.field("content-length") == "<none>");
    CHECK(none.field("transfer-encoding") == "<none>");
    const answer same = peer.ask(get("/304"));
    CHECK(same.status == 304);
    CHECK(same.field("etag") == "\"1\"");
    CHECK(peer.ask(get("/")).body == "hello");  // and nothing of theirs came between
    CHECK(peer.ask(get("/pieces")).body == "one,two");
    CHECK(peer.unread().empty());
  });
}

TEST_CASE("a request may be cut at every byte") {
  const std::string request = "\r\n" + post("/echo?x=1", "hello", "Cookie: a=b; c=d\r\n") + get("/echo", "X: y\r\n");
  run_virtually([&request] {
    http::router routes;
    const auto echo = [](http::request& asked, http::response& answer) {
      std::string text(asked.method());
      text.append(" ").append(asked.target()).append(" ").append(*asked.body());
      text.append(" ").append(asked.cookie("c").value_or("-"));
      answer.text(std::move(text));
    };
    routes.post("/echo", echo);
    routes.get("/echo", echo);
    const http::server server(std::move(routes));
    for (std::size_t cut = 0; cut <= request.size(); ++cut) {
      CAPTURE(cut);
      served peer(server);
      REQUIRE(peer.send(request.substr(0, cut)));
      eventer::sleep_for(1ms);
      REQUIRE(peer.send(request.substr(cut)));
      CHECK(peer.read().body == "POST /echo?x=1 hello d");
      CHECK(peer.read().body == "GET /echo  -");
    }
    // Byte by byte, and in pieces of all kinds.
    for (std::uint64_t seed = 1; seed <= 50; ++seed) {
      CAPTURE(seed);
      const std::string all = all_answers(server, request,
                                          {.seed = seed,
                                           .short_reads = 70,
                                           .short_writes = 70,
                                           .would_blocks = 40,
                                           .capacity = 16,
                                           .latency = seed % 2 == 0 ? 1ms : 0ms});
      CHECK(statuses_of(all) == "200 200");
    }
  });
}

TEST_CASE("header() replaces, add_header() adds, cookies are fields; Date is there once") {
  run_virtually([] {
    const http::server server(one_route("GET", "/", [](http::request&, http::response& answer) {
      answer.header("X-A", "1").add_header("x-a", "2").header("X-B", "1").header("x-b", "2").header("X-C", "");
      answer.set_cookie({.name = "id", .value = "7"}).set_cookie({.name = "other", .value = "8"});
      answer.header("Content-Type", "image/png");
      answer.text("x");
    }));
    served peer(server);
    const answer got = peer.ask(get("/"));
    CHECK(got.count("x-a") == 2);
    CHECK(got.field("x-a") == "1");
    CHECK(got.count("x-b") == 1);
    CHECK(got.field("x-b") == "2");
    CHECK(got.field("x-c").empty());
    CHECK(got.count("set-cookie") == 2);
    CHECK(got.count("content-type") == 1);
    CHECK(got.field("content-type") == "image/png");
    CHECK(got.count("date") == 1);
    CHECK(got.field("date").ends_with(" GMT"));
    CHECK(got.field("date").size() == 29);
  });
}

TEST_CASE("nothing that comes from outside splits an answer") {
  struct row {
    const char* what;
    void (*make)(http::response&, std::string_view);
  };
  const row rows[] = {
      {"a value", [](http::response& answer, std::string_view text) { answer.header("X", text); }},
      {"a name", [](http::response& answer, std::string_view text) { answer.header(text, "x"); }},
      {"a location", [](http::response& answer, std::string_view text) { answer.redirect(text); }},
      {"a type", [](http::response& answer, std::string_view text) { answer.body(text, "x"); }},
      {"a cookie", [](http::response& answer,
                      std::string_view text) { answer.set_cookie({.name = "a", .value = std::string(text)}); }},
      {"a length", [](http::response& answer, std::string_view text) { answer.header("Content-Length", text); }},
      {"a connection", [](http::response& answer, std::string_view text) { answer.header("Connection", text); }},
      {"a coding", [](http::response& answer, std::string_view text) { answer.header("Transfer-Encoding", text); }},
  };
  const captured_log log;
  run_virtually([&rows] {
    for (const row& each : rows) {
      for (const std::string_view text : {"a\r\nX-Evil: 1"sv, "a\nX-Evil: 1"sv, "a\rX-Evil: 1"sv, "a\0b"sv}) {
        CAPTURE(each.what, text);
        const http::server server(one_route("GET", "/", [&each, text](http::request&, http::response& answer) {
          answer.text("fine");
          each.make(answer, text);
        }));
        served peer(server);
        const answer got = peer.ask(get("/"));
        CHECK(got.status == 500);
        CHECK(got.field("x-evil") == "<none>");
        CHECK(peer.unread().empty());
      }
    }
  });
  CHECK(log.count("has thrown") == 32);
}

TEST_CASE("what a request says can be asked for, and the access log sees every answer") {
  const auto seen = std::make_shared<std::vector<std::string>>();
  run_virtually([seen] {
    http::server_options options;
    options.access_log = [seen](const http::access_entry& entry) {
      seen->push_back(std::string(entry.asked.method()) + " " + std::string(entry.asked.target()) + " " +
                      std::to_string(entry.answer.status()) + " " + std::to_string(entry.answer.body_bytes()));
    };
    const http::server server = small_server(std::move(options));
    served peer(server);
    CHECK(peer.ask(get("/?a=b")).status == 200);
    CHECK(peer.ask(get("/pieces")).status == 200);
    CHECK(peer.ask(get("/none")).status == 404);
    CHECK(peer.ask("GET / HTTP/3.0\r\n\r\n").status == 505);
    CHECK(peer.ends());
    CHECK(server.statistics().requests == 4);
  });
  REQUIRE(seen->size() == 4);
  CHECK(seen->at(0) == "GET /?a=b 200 5");
  CHECK(seen->at(1) == "GET /pieces 200 7");
  CHECK(seen->at(2).starts_with("GET /none 404 "));
  CHECK(seen->at(3).starts_with("  505 "));
}

TEST_CASE("the kernel is asked once for a connection's peer, who stays known when it has reset the connection") {
  eventer::run([] {
    const faults counted;
    const auto seen = std::make_shared<std::vector<std::string>>();
    const auto is_gone = std::make_shared<bool>(false);
    http::router routes;
    routes.get("/", [seen](http::request& asked, http::response& answer) {
      seen->push_back(asked.peer().to_string());
      answer.text(asked.peer().to_string());
    });
    routes.get("/wait", [seen, is_gone](http::request& asked, http::response& answer) {
      while (!asked.client_gone()) eventer::sleep_for(1ms);
      seen->push_back(asked.peer().to_string());
      *is_gone = true;
      answer.text("nobody reads this");
    });
    auto acceptor = std::make_shared<eventer::tcp_acceptor>(eventer::tcp_acceptor::listen("127.0.0.1:0").value());
    const http::server server(std::move(routes));
    (void)eventer::spawn([server, acceptor] { (void)server.serve(*acceptor); });
    auto stream = eventer::tcp_stream::connect(acceptor->local().to_string()).value();
    const std::string mine = stream.local().to_string();
    const int fd = stream.native_handle();
    const int before = counted.calls(faults::call::getpeername);  // of connect
    client peer(std::move(stream));
    for (int i = 0; i < 3; ++i) CHECK(peer.ask(get("/")).body == mine);
    CHECK(counted.calls(faults::call::getpeername) == before + 1);
    REQUIRE(peer.send(get("/wait")));
    const linger reset{1, 0};
    REQUIRE(::setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset) == 0);
    { const client closed = std::move(peer); }
    for (int i = 0; i < 5000 && !*is_gone; ++i) eventer::sleep_for(1ms);
    CHECK(*seen == std::vector<std::string>(4, mine));
    (void)server.drain(1s, 0s);
  });
}

TEST_CASE("the access log knows who has reset the connection before the answer was there") {
  eventer::run([] {
    const auto seen = std::make_shared<std::vector<std::string>>();
    const auto has_begun = std::make_shared<bool>(false);
    http::server_options options;
    options.access_log = [seen](const http::access_entry& entry) { seen->push_back(entry.asked.peer().to_string()); };
    const http::server server(one_route("GET", "/",
                                        [has_begun](http::request& asked, http::response& answer) {
                                          *has_begun = true;
                                          while (!asked.client_gone()) eventer::sleep_for(1ms);
                                          answer.text("nobody reads this");
                                        }),
                              std::move(options));
    auto acceptor = std::make_shared<eventer::tcp_acceptor>(eventer::tcp_acceptor::listen("127.0.0.1:0").value());
    (void)eventer::spawn([server, acceptor] { (void)server.serve(*acceptor); });
    auto stream = eventer::tcp_stream::connect(acceptor->local().to_string()).value();
    const std::string mine = stream.local().to_string();
    REQUIRE(stream.write_all(get("/")));
    for (int i = 0; i < 5000 && !*has_begun; ++i) eventer::sleep_for(1ms);
    const linger reset{1, 0};
    REQUIRE(::setsockopt(stream.native_handle(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset) == 0);
    stream.close();
    for (int i = 0; i < 5000 && seen->empty(); ++i) eventer::sleep_for(1ms);
    CHECK(*seen == std::vector{mine});
    (void)server.drain(1s, 0s);
  });
}

TEST_CASE("the access log knows whose connection was given to another protocol") {
  const auto seen = std::make_shared<std::vector<std::string>>();
  std::string mine;
  eventer::run([seen, &mine] {
    http::server_options options;
    options.access_log = [seen](const http::access_entry& entry) {
      seen->push_back(entry.asked.peer().to_string() + " " + std::to_string(entry.answer.status()));
    };
    const http::server server(one_route("GET", "/",
                                        [](http::request&, http::response& answer) {
                                          auto got = answer.upgrade("other");
                                          if (got) (void)got->stream.write_all(got->stream.peer().to_string());
                                        }),
                              std::move(options));
    auto acceptor = std::make_shared<eventer::tcp_acceptor>(eventer::tcp_acceptor::listen("127.0.0.1:0").value());
    (void)eventer::spawn([server, acceptor] { (void)server.serve(*acceptor); });
    auto stream = eventer::tcp_stream::connect(acceptor->local().to_string()).value();
    mine = stream.local().to_string();
    client peer(std::move(stream));
    REQUIRE(peer.send(get("/", "Connection: Upgrade\r\nUpgrade: other\r\n")));
    CHECK(peer.rest().ends_with("\r\n\r\n" + mine));
    for (int i = 0; i < 5000 && seen->empty(); ++i) eventer::sleep_for(1ms);
    (void)server.drain(1s, 0s);
  });
  CHECK(*seen == std::vector{mine + " 101"});
}

TEST_CASE("an access log or an error page that throws ends neither the server nor the connection") {
  const captured_log log;
  run_virtually([] {
    http::server_options options;
    options.access_log = [](const http::access_entry&) { throw std::runtime_error("log"); };
    options.error_page = [](const http::request&, http::response& answer, int status) {
      if (status == 404) throw std::runtime_error("page");
      answer.html("<p>" + std::to_string(status));
    };
    const http::server server = small_server(std::move(options));
    served peer(server);
    CHECK(peer.ask(get("/none")).body == "404 Not Found\n");
    const answer page = peer.ask(post("/", ""));
    CHECK(page.status == 405);
    CHECK(page.body == "<p>405");
    CHECK(page.field("allow").find("GET") != std::string::npos);
    CHECK(peer.ask(get("/")).body == "hello");
  });
  CHECK(log.count("the access log of") == 3);
  CHECK(log.count("the error page of") == 1);
}
