// Requests that come before the answers to those before them: answered in order, together where nobody waits, at once
// where somebody does.
#include "../captured_log.hpp"
#include "../faults.hpp"
#include "../sockets.hpp"
#include "../virtual_run.hpp"
#include "http_client.hpp"

using namespace http_test;

namespace {

http::server numbers(std::shared_ptr<eventer::manual_reset_event> go = nullptr) {
  http::router routes;
  routes.get("/n/{n}", [](http::request& asked, http::response& answer) { answer.text(*asked.parameter("n")); });
  routes.get("/wait/{n}", [go](http::request& asked, http::response& answer) {
    go->wait();
    answer.text(*asked.parameter("n"));
  });
  routes.get("/sleep/{n}", [](http::request& asked, http::response& answer) {
    eventer::sleep_for(1s);
    answer.text(*asked.parameter("n"));
  });
  routes.get("/large", [](http::request&, http::response& answer) { answer.text(std::string(10'000, 'x')); });
  routes.get("/wrong", [](http::request&, http::response& answer) { (void)answer.content_length(1).write("abc"); });
  routes.get("/throws", [](http::request&, http::response& answer) {
    (void)answer.write("begun");
    throw std::runtime_error("late");
  });
  return http::server(std::move(routes));
}

struct tcp_served {
  eventer::tcp_stream client;
  explicit tcp_served(const http::server& by) {
    tcp_pair pair = connected_pair();
    client = std::move(pair.client);
    (void)eventer::spawn(
        [by, stream = eventer::any_stream(std::move(pair.server))]() mutable { by(std::move(stream)); });
  }
};

}  // namespace

TEST_CASE("answers come in the order of the requests, however many and however long they take") {
  run_virtually([] {
    const http::server server = numbers();
    std::string requests, expected;
    for (int i = 0; i < 3000; ++i) {
      requests += get((i % 7 == 3 ? "/sleep/" : "/n/") + std::to_string(i));
      expected += std::to_string(i) + " ";
    }
    for (std::uint64_t seed = 1; seed <= 3; ++seed) {
      const std::string all =
          all_answers(server, requests, {.seed = seed, .short_reads = 30, .short_writes = 30, .would_blocks = 20});
      std::string bodies;
      for (std::size_t at = 0; at < all.size();) {
        answer each;
        std::size_t used = 0;
        REQUIRE(answer_parser::parse(std::string_view(all).substr(at), false, true, each, used) == parsed::whole);
        bodies += each.body + " ";
        at += used;
      }
      CHECK(bodies == expected);
    }
  });
}

TEST_CASE("sixteen pipelined requests are answered with one write") {
  const auto calls = std::make_shared<faults>();
  eventer::run([calls] {
    tcp_served peer(numbers());
    std::string requests;
    for (int i = 0; i < 16; ++i) requests += get("/n/" + std::to_string(i));
    for (int round = 0; round < 3; ++round) {
      REQUIRE(peer.client.write_all(requests));
      const int before = calls->calls(faults::call::send);
      std::string all, part(16 << 10, '\0');
      while (statuses_of(all).size() < 16 * 4 - 1) {
        const auto got = peer.client.read_some(part, 10s);
        REQUIRE(got);
        all.append(part, 0, *got);
      }
      CHECK(calls->calls(faults::call::send) == before + 1);
      CHECK(statuses_of(all).find('<') == std::string::npos);
    }
  });
}

TEST_CASE("while a handler waits, the answers before its own are with the client") {
  const auto go = std::make_shared<std::shared_ptr<eventer::manual_reset_event>>();
  run_virtually([go] {
    *go = std::make_shared<eventer::manual_reset_event>();
    const http::server server = numbers(*go);
    served peer(server);
    REQUIRE(peer.send(get("/n/1") + get("/n/2") + get("/wait/3") + get("/n/4")));
    CHECK(peer.read().body == "1");
    CHECK(peer.read().body == "2");
    CHECK(peer.unread().empty());
    (*go)->set();
    CHECK(peer.read().body == "3");
    CHECK(peer.read().body == "4");
    go->reset();
  });
}

TEST_CASE("a part of the next request holds back no answer") {
  run_virtually([] {
    served peer(numbers());
    const std::string next = get("/n/2");
    for (std::size_t cut = 1; cut < next.size(); ++cut) {
      REQUIRE(peer.send(get("/n/1") + next.substr(0, cut)));
      REQUIRE(peer.read().body == "1");
      REQUIRE(peer.send(next.substr(cut)));
      REQUIRE(peer.read().body == "2");
    }
  });
}

TEST_CASE("a client that pipelines and does not read is answered 64 KiB ahead, and no more") {
  const auto answered = std::make_shared<int>(0);
  run_virtually([answered] {
    http::router routes;
    routes.get("/large", [answered](http::request&, http::response& answer) {
      ++*answered;
      answer.text(std::string(10'000, 'x'));
    });
    served peer(http::server(std::move(routes)), {.capacity = 64 << 10});
    std::string requests;
    for (int i = 0; i < 1000; ++i) requests += get("/large");
    REQUIRE(peer.send(requests));
    eventer::sleep_for(1s);
    CHECK(*answered > 6);
    CHECK(*answered < 16);  // what the stream holds, and what is held back
    for (int i = 0; i < 1000; ++i) REQUIRE(peer.read().body.size() == 10'000);
    CHECK(*answered == 1000);
  });
}

TEST_CASE("what a handler breaks is its own answer, not those before it") {
  const captured_log log;
  run_virtually([] {
    const http::server server = numbers();
    for (const char* const bad : {"/wrong", "/throws"}) {
      CAPTURE(bad);
      // Also when bytes are left that nobody reads: a reset would take the answers away.
      CHECK(statuses_of(all_answers(server, get("/n/1") + get(bad) + std::string(10'000, 'x'),
                                    {.short_reads = 50, .would_blocks = 50, .capacity = 500})) == "200 <malformed>");
      CHECK(statuses_of(all_answers(server, get("/n/1") + get("/n/2") + get(bad) + get("/n/3"))) ==
            "200 200 <malformed>");
    }
  });
}

TEST_CASE("what follows a request that is refused, or that ends the connection, is never a request") {
  const std::string evil = get("/n/666");
  const std::string requests[] = {
      "POST /n/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      "POST /n/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
      "POST /n/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n",
      "POST /n/1 HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n",
      "POST /n/1 HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\n",
      "POST /n/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
      "POST /n/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
      "POST /n/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
      "POST /n/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
      "POST /n/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n",
      "POST /n/1 HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
      "POST /n/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5 \r\n",
      "POST /n/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\n\r\n",
      "POST /n/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n",
      "POST /n/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
      "POST /n/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\nx\r\n",
      "GET /n/1 HTTP/1.1\nHost: a\n\n",
      "GET /n/1 HTTP/1.1\r\n\r\n",
      "GET /n/1 HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
      "GET /n/1\r\n\r\n",
      "GET /n/1 HTTP/2.0\r\n\r\n",
      "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
      "\r\n\r\n",
      get("/n/1", "Connection: close\r\n"),
      "GET /n/1 HTTP/1.0\r\n\r\n",
  };
  run_virtually([&] {
    const http::server server = numbers();
    for (const std::string& each : requests) {
      CAPTURE(each);
      const std::string all = all_answers(server, get("/n/7") + each + evil + evil);
      CHECK(all.find("666") == std::string::npos);
      const std::string statuses = statuses_of(all);
      CHECK(statuses.size() == 7);
      CHECK(statuses.starts_with("200 "));
      CHECK(statuses.find('<') == std::string::npos);
    }
  });
}
