// Bodies of requests: whole, in pieces, in chunks, cut off, waited for, not read at all.
#include <array>

#include "../captured_log.hpp"
#include "../virtual_run.hpp"
#include "http_client.hpp"

using namespace http_test;

namespace {

// Answers with how many bytes the body has, read in pieces.
void count_bytes(http::request& asked, http::response& answer) {
  std::uint64_t total = 0;
  std::array<char, 4096> part;
  for (;;) {
    const auto got = asked.read_some(part);
    if (!got) {
      if (got.error() != eventer::errc::end_of_stream) return;
      break;
    }
    total += *got;
  }
  answer.text(std::to_string(total));
}
void echo(http::request& asked, http::response& answer) {
  if (const auto body = asked.body()) answer.text(*body);
}
void ignore(http::request&, http::response& answer) { answer.text("ignored"); }

http::server body_server(http::server_options options = {}) {
  http::router routes;
  routes.post("/count", &count_bytes).body_limit(UINT64_MAX);
  routes.post("/echo", &echo);
  routes.post("/ignore", &ignore).body_limit(UINT64_MAX);
  routes.get("/", [](http::request&, http::response& answer) { answer.text("hello"); });
  return http::server(std::move(routes), std::move(options));
}
std::string chunk(std::string_view bytes) {
  char size[20];
  std::snprintf(size, sizeof size, "%zx\r\n", bytes.size());
  return size + std::string(bytes) + "\r\n";
}

}  // namespace

TEST_CASE("a body is what its framing says, and what follows is the next request") {
  struct row {
    std::string request, body;
  };
  const std::string large(100'000, 'x');
  const row rows[] = {
      {post("/echo", ""), ""},
      {post("/echo", "hello"), "hello"},
      {post("/echo", get("/")), get("/")},  // a request in a body is none
      {post("/echo", large), large},
      {post_chunks("/echo", "0\r\n\r\n"), ""},
      {post_chunks("/echo", "5\r\nhello\r\n0\r\n\r\n"), "hello"},
      {post_chunks("/echo", "2;a=b\r\nhe\r\n03\r\nllo\r\n0\r\nX-Trailer: a\r\nContent-Length: 7\r\n\r\n"), "hello"},
      {post_chunks("/echo", chunk(large) + chunk(get("/")) + chunk("")), large + get("/")},
  };
  run_virtually([&rows] {
    const http::server server = body_server();
    for (const row& each : rows) {
      for (std::uint64_t seed = 1; seed <= 5; ++seed) {
        CAPTURE(each.request.substr(0, 200), seed);
        const std::string all = all_answers(server, each.request + get("/"),
                                            {.seed = seed, .short_reads = seed > 1 ? 50u : 0, .would_blocks = 20});
        answer first, second;
        std::size_t used = 0, more = 0;
        REQUIRE(answer_parser::parse(all, false, false, first, used) == parsed::whole);
        REQUIRE(answer_parser::parse(std::string_view(all).substr(used), false, false, second, more) == parsed::whole);
        CHECK(first.body == each.body);
        CHECK(second.body == "hello");
        CHECK(used + more == all.size());
      }
    }
  });
}

TEST_CASE("ten megabytes are read in pieces, of which a server keeps a few kilobytes") {
  run_virtually([] {
    const http::server server = body_server();
    constexpr std::size_t megabytes = 10;
    const auto stream = std::make_shared<served>(server, eventer::memory_stream_options{.capacity = 8 << 10});
    for (const bool chunked : {false, true}) {
      CAPTURE(chunked);
      const std::string head =
          chunked
              ? post_chunks("/count", "")
              : "POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: " + std::to_string(megabytes << 20) + "\r\n\r\n";
      REQUIRE(stream->send(head));
      const std::string piece(1 << 20, 'x');
      for (std::size_t i = 0; i < megabytes; ++i) REQUIRE(stream->send(chunked ? chunk(piece) : piece));
      if (chunked) REQUIRE(stream->send(chunk("")));
      CHECK(stream->read().body == std::to_string(megabytes << 20));
    }
  });
}

TEST_CASE("a body that nobody reads: 64 KiB are dropped for the next request, of more the connection ends") {
  struct row {
    std::string request;
    bool lives;
  };
  const std::string most(64 << 10, 'x');
  const row rows[] = {
      {post("/ignore", "hello"), true},
      {post("/ignore", most), true},
      {post("/ignore", most + "y"), false},
      {post("/ignore", std::string(1 << 20, 'x')), false},
      {post_chunks("/ignore", chunk("hello") + chunk("")), true},
      {post_chunks("/ignore", chunk(most) + chunk("")), true},
      {post_chunks("/ignore", chunk(most) + chunk(most) + chunk("")), false},
      {post_chunks("/ignore", chunk(most.substr(0, 9)) + "zz\r\n"), false},
      {post("/none", "hello"), true},  // 404
      {post("/", "hello"), true},      // 405
  };
  run_virtually([&rows] {
    const http::server server = body_server();
    for (const row& each : rows) {
      CAPTURE(each.request.size(), each.lives);
      const std::string all = all_answers(server, each.request + get("/"));
      // The answer comes whole in any case: a reset would have taken it away.
      const bool was_found = each.request.starts_with("POST /ignore");
      CHECK(all.substr(9, 3) == (was_found ? "200" : each.request.starts_with("POST /none") ? "404" : "405"));
      CHECK((all.find("\r\n\r\nhello") != std::string::npos) == each.lives);
    }
  });
}

TEST_CASE("the answer to a body that is not read arrives over TCP too, while the client still sends") {
  eventer::run([] {
    const http::server server = body_server();
    auto acceptor = eventer::tcp_acceptor::listen("127.0.0.1:0").value();
    const auto where = acceptor.local();
    (void)eventer::spawn(
        [server, acceptor = std::move(acceptor)]() mutable { (void)http::server(server).serve(acceptor); });
    for (int i = 0; i < 20; ++i) {
      const auto stream = std::make_shared<eventer::tcp_stream>(eventer::tcp_stream::connect(where, 10s).value());
      auto sends = eventer::spawn([stream] {
        const std::string head = "POST /ignore HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n";
        (void)stream->write_all(head + std::string(1'000'000, 'x'), 10s);
      });
      std::string all, part(4096, '\0');
      auto got = stream->read_some(part, 10s);
      for (; got; got = stream->read_some(part, 10s)) all.append(part, 0, *got);
      CHECK(statuses_of(all) == "200");
      CHECK(got.error() == eventer::errc::end_of_stream);
      sends.join();
    }
  });
}

TEST_CASE("100 (Continue) is sent when the body is asked for, and never else") {
  const std::string expects = "Expect: 100-continue\r\n";
  const auto head = [&](const char* target, std::size_t bytes, const std::string& more) {
    return "POST " + std::string(target) + " HTTP/1.1\r\nHost: a\r\nContent-Length: " + std::to_string(bytes) + "\r\n" +
           more + "\r\n";
  };
  run_virtually([&] {
    http::router routes;
    routes.post("/echo", &echo);
    routes.post("/count", &count_bytes);
    routes.post("/ignore", &ignore);
    routes.post("/both", [](http::request& asked, http::response& answer) {
      (void)answer.write("first ");
      const auto body = asked.body();
      (void)answer.write(body ? *body : "nothing");
    });
    routes.get("/", [](http::request&, http::response& answer) { answer.text("hello"); });
    const http::server server(std::move(routes));
    for (const char* const target : {"/echo", "/count"}) {
      served peer(server);
      CHECK(peer.ask(head(target, 5, expects)).status == 100);
      CHECK(peer.ask("hello").status == 200);
      CHECK(peer.ask(get("/")).status == 200);
    }
    {  // who doesn't wait gets it too, or not; the answer is the same
      served peer(server);
      answer got = peer.ask(head("/echo", 5, expects) + "hello");
      if (got.status == 100) got = peer.read();
      CHECK(got.body == "hello");
    }
    {  // a final answer without it: the client may send its body, or not: nobody knows what comes next
      served peer(server);
      const answer got = peer.ask(head("/ignore", 5, expects));
      CHECK(got.status == 200);
      CHECK(got.says_close());
      CHECK(peer.ends());
    }
    {  // the body is under way already: it is dropped, and nothing is said in its favour
      served peer(server);
      REQUIRE(peer.send(head("/ignore", 5, expects) + "he"));
      CHECK(peer.read().status == 200);
      REQUIRE(peer.send("llo" + get("/")));
      CHECK(peer.read().body == "hello");
    }
    {  // never within an answer
      served peer(server);
      REQUIRE(peer.send(head("/both", 5, expects)));
      while (peer.unread().find("first") == std::string::npos) REQUIRE(peer.more());
      const answer got = peer.ask("hello");
      CHECK(got.status == 200);
      CHECK(got.body == "first hello");
    }
    {  // too large is said at once
      served peer(server);
      CHECK(peer.ask(head("/echo", 2 << 20, expects)).status == 413);
      CHECK(peer.ends());
    }
    {  // of HTTP/1.0 it means nothing
      served peer(server);
      CHECK(peer.ask("POST /echo HTTP/1.0\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello").body == "hello");
    }
    {
      served peer(server);
      CHECK(peer.ask(head("/echo", 5, "Expect: a-pony\r\n")).status == 417);
      CHECK(peer.ends());
    }
  });
}

TEST_CASE("a body that is wrong, cut off or too large has its status, also where the handler says nothing") {
  struct row {
    std::string request;
    const char* statuses;
  };
  const row rows[] = {
      {post_chunks("/echo", "5\r\nhelloX"), "400"},
      {post_chunks("/echo", "x\r\n"), "400"},
      {post_chunks("/echo", "5\r\nhel"), "400"},
      {post_chunks("/count", "fffffffffffffffff\r\n"), "400"},
      {post_chunks("/echo", "100001\r\n"), "413"},
      {post_chunks("/echo", chunk(std::string(600'000, 'x')) + chunk(std::string(600'000, 'x')) + chunk("")), "413"},
      {post("/echo", "hello!").substr(0, 55), "400"},
      {"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1048577\r\n\r\n", "413"},
  };
  const captured_log log;
  run_virtually([&rows] {
    const http::server server = body_server();
    for (const row& each : rows) {
      CAPTURE(each.request.substr(0, 100));
      CHECK(statuses_of(all_answers(server, each.request)) == each.statuses);
      CHECK(statuses_of(all_answers(server, get("/") + each.request)) == "200 "s + each.statuses);
    }
  });
  CHECK(log.count("handler") == 0);  // it is not to blame
}
