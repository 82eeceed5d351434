// Servers that break off, lie, dawdle and flood: a client gives an answer that is whole, or an error; and never what
// was meant for somebody else.
#include <atomic>

#include "../virtual_run.hpp"
#include "scripted_server.hpp"

using namespace http_test;

namespace {

// What a client makes of these bytes, behind which the server closes; and then of an honest answer.
std::string understood(const std::string& bytes, bool bytewise, std::string_view method = "GET") {
  const scripted_server server([bytes, bytewise](scripted_peer& peer, int number) {
    if (peer.request().empty()) return;
    if (number > 1) {
      peer.send(ok_with("honest"));
      return;
    }
    if (bytewise)
      peer.send_bytewise(bytes);
    else
      peer.send(bytes);
  });
  const http::client ask;
  const std::string result = told(ask.send(http::client_request(method, server.url())));
  eventer::sleep_for(1ms);  // whatever is behind it has come
  CHECK(told(ask.get(server.url())) == "200 honest");
  return result;
}

const std::string chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

}  // namespace

TEST_CASE("answers are understood, or refused, whole and byte by byte") {
  using http::errc;
  struct row {
    std::string bytes, expected;
    std::string_view method = "GET";
  };
  const std::vector<row> rows = {
      {ok_with("body"), "200 body"},
      {ok_with(""), "200 "},
      {"HTTP/1.1 200 OK\r\n\r\nuntil the end", "200 until the end"},
      {"HTTP/1.1 200 OK\r\n\r\n", "200 "},
      {"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", "200 ok"},
      {chunked + "4\r\nbody\r\n0\r\n\r\n", "200 body"},
      {chunked + "4;a=\"b\"\r\nbody\r\n1\r\n!\r\n000\r\nTrailer: x\r\n\r\n", "200 body!"},
      {"HTTP/1.1 100 Continue\r\n\r\n" + ok_with("behind"), "200 behind"},
      {"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 102 P\r\n\r\n" + ok_with("behind"), "200 behind"},
      {"HTTP/1.1 204 No Content\r\n\r\n", "204 "},
      {"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", "304 "},
      {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", "200 ", "HEAD"},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "200 ", "HEAD"},
      {"HTTP/1.1 999 What\r\nContent-Length: 1\r\n\r\n!", "999 !"},
      // What lies behind an answer is nobody's.
      {ok_with("body") + ok_with("smuggled"), "200 body"},
      {ok_with("body") + "x", "200 body"},
      {chunked + "0\r\n\r\n" + ok_with("smuggled"), "200 "},
      {"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nsmugg", "204 "},
      {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "200 ", "HEAD"},
      // What can't be, or can be understood in two ways.
      {"", sentence(errc::no_answer)},
      {"HTTP/1.1 200 OK\r\n", sentence(errc::answer_cut_off)},
      {"HTTP/1.1 100 Continue\r\n\r\n", sentence(errc::answer_cut_off)},
      {ok_with("body").substr(0, 40), "200 " + sentence(errc::body_cut_off)},
      {chunked + "4\r\nbody\r\n", "200 " + sentence(errc::body_cut_off)},
      {chunked + "4\r\nbody\r\n0\r\n", "200 " + sentence(errc::body_cut_off)},
      {chunked + "4\r\nbodyx\r\n0\r\n\r\n", "200 " + sentence(errc::bad_body)},
      {chunked + "z\r\n", "200 " + sentence(errc::bad_body)},
      {chunked + "11111111111111111\r\n", "200 " + sentence(errc::bad_body)},
      {chunked + "1;" + std::string(300, 'x') + "\r\n", "200 " + sentence(errc::bad_body)},
      {chunked + "0\r\nT: " + std::string(9000, 'x') + "\r\n\r\n", "200 " + sentence(errc::bad_body)},
      {chunked + "4\nbody\n0\n\n", "200 " + sentence(errc::bad_body)},
      {"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
       sentence(errc::bad_answer)},
      {"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nbody!", sentence(errc::bad_answer)},
      {"HTTP/1.1 200 OK\r\nContent-Length: 4, 4\r\n\r\nbody", sentence(errc::bad_answer)},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", sentence(errc::bad_answer)},
      {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", sentence(errc::bad_answer)},
      {"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", sentence(errc::bad_answer)},
      {"HTTP/2 200\r\n\r\n", sentence(errc::bad_answer)},
      {"SSH-2.0-x\r\n", sentence(errc::bad_answer)},
      {"HTTP/1.1 200 OK\r\nX: " + std::string(66'000, 'x') + "\r\n\r\n", sentence(errc::head_too_large)},
  };
  for (const row& each : rows) {
    CAPTURE(each.bytes.substr(0, 200), each.method);
    run_virtually([&] { CHECK(understood(each.bytes, false, each.method) == each.expected); });
    if (each.bytes.size() < 1000)
      run_virtually([&] { CHECK(understood(each.bytes, true, each.method) == each.expected); });
  }
}

TEST_CASE("a connection on which more has come than an answer, or may come, is not kept, though its server goes on") {
  run_virtually([] {
    struct row {
      std::string bytes;
      bool is_kept;
      std::string_view method = "GET";
    };
    for (const row& each : {
             row{ok_with("body"), true},
             row{ok_with("body") + ok_with("smuggled"), false},
             row{ok_with("body") + "x", false},
             row{chunked + "4\r\nbody\r\n0\r\n\r\n", true},
             row{chunked + "0\r\n\r\n" + ok_with("smuggled"), false},
             row{"HTTP/1.1 204 No Content\r\n\r\n", true},
             row{"HTTP/1.1 204 No Content\r\n\r\nx", false},
             row{"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", false},
             row{"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", false},
             row{"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", true, "HEAD"},
             row{"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", false, "HEAD"},
             row{"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", false},
             row{"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", false},
         })
      for (const bool is_read : {true, false}) {
        CAPTURE(each.bytes, each.method, is_read);
        const scripted_server server([bytes = each.bytes](scripted_peer& peer, int) {
          while (!peer.request().empty()) peer.send(bytes);
        });
        const http::client ask;
        {
          auto answer = ask.send(http::client_request(each.method, server.url()));
          REQUIRE(answer);
          if (is_read) CHECK(answer->body());
        }
        CHECK(ask.statistics().idle == (each.is_kept ? 1 : 0));
      }
  });
}

TEST_CASE("an answer that is cut off at any byte is an error, or all of it") {
  const std::string with_length = ok_with("a body"), in_chunks = chunked + "4\r\nbody\r\n0\r\nA: b\r\n\r\n";
  for (const std::string& all : {with_length, in_chunks, "HTTP/1.1 100 Continue\r\n\r\n" + with_length})
    for (std::size_t size = 0; size <= all.size(); ++size) {
      CAPTURE(all.substr(0, size));
      run_virtually([&] {
        const std::string got = understood(all.substr(0, size), false);
        const bool is_whole = got == "200 a body" || got == "200 body";
        CHECK(is_whole == (size == all.size()));
      });
    }
}

TEST_CASE("an answer that comes too late is never given to the next request") {
  run_virtually([] {
    const scripted_server server([](scripted_peer& peer, int) {
      for (std::string asked = peer.request(); !asked.empty(); asked = peer.request()) {
        const std::string target = asked.substr(4, asked.find(' ', 4) - 4);
        if (target.starts_with("/slow")) eventer::sleep_for(2s);
        if (target.starts_with("/half")) {
          peer.send(ok_with(target).substr(0, 40));
          eventer::sleep_for(2s);
          peer.send(ok_with(target).substr(40));
          continue;
        }
        peer.send(ok_with(target));
      }
    });
    const http::client ask({.head_time = 1s, .body_idle = 1s, .max_connections = 1});
    for (int i = 0; i < 20; ++i) {
      const std::string n = std::to_string(i);
      CHECK(told(ask.get(server.url("/" + n))) == "200 /" + n);
      CHECK(ask.get(server.url("/slow" + n)).error() == std::errc::timed_out);
      CHECK(told(ask.get(server.url("/" + n))) == "200 /" + n);
      CHECK(told(ask.get(server.url("/half" + n))) == "200 timed out");
      CHECK(told(ask.get(server.url("/" + n))) == "200 /" + n);
      // Cancelled, or at the end of a scope.
      auto canceled = eventer::spawn([ask, url = server.url("/slow" + n)] { return told(ask.get(url)); });
      eventer::sleep_for(500ms);
      canceled.cancel();
      CHECK_FALSE(canceled.try_join());
      CHECK(told(ask.get(server.url("/" + n))) == "200 /" + n);
      {
        const eventer::deadline_scope all(500ms);
        CHECK(ask.get(server.url("/slow" + n)).error() == std::errc::timed_out);
      }
      CHECK(told(ask.get(server.url("/" + n))) == "200 /" + n);
      eventer::sleep_for(1500ms);
    }
  });
}

TEST_CASE("what a server says on an idle connection is not taken for an answer") {
  run_virtually([] {
    for (const std::string& unasked : {ok_with("stale"), "HTTP/1.1 408 Request Timeout\r\n\r\n"s, "x"s}) {
      const scripted_server server([unasked](scripted_peer& peer, int) {
        if (peer.request().empty()) return;
        peer.send(ok_with("first"));
        eventer::sleep_for(1s);
        peer.send(unasked);
        eventer::sleep_for(100s);
      });
      const http::client ask;
      CHECK(told(ask.get(server.url())) == "200 first");
      eventer::sleep_for(2s);
      CHECK(told(ask.get(server.url())) == "200 first");
      CHECK(server.connections() == 2);
      CHECK(ask.statistics().opened == 2);
    }
  });
}

TEST_CASE("a kept connection that turns out to be closed is replaced once, for what may be sent twice") {
  run_virtually([] {
    struct row {
      std::string_view method;
      bool repeats;
    };
    for (const row& each : {row{"GET", true}, row{"HEAD", true}, row{"PUT", true}, row{"DELETE", true},
                            row{"POST", false}, row{"PATCH", false}}) {
      for (const bool resets : {false, true}) {
        CAPTURE(each.method, resets);
        const auto requests = std::make_shared<int>(0);
        const scripted_server server([requests, resets](scripted_peer& peer, int number) {
          if (peer.request().empty()) return;
          ++*requests;
          peer.send("HTTP/1.1 204 N\r\n\r\n");
          if (number > 1) return;
          if (peer.request().empty()) return;  // the second is read, and not answered
          ++*requests;
          const linger gone{1, 0};
          if (resets) ::setsockopt(peer.stream().native_handle(), SOL_SOCKET, SO_LINGER, &gone, sizeof gone);
        });
        const http::client ask;
        const auto send = [&] {
          return ask.send(std::move(http::client_request(each.method, server.url()).body("", "b")));
        };
        CHECK(send()->status() == 204);
        const auto second = send();
        CHECK(second.has_value() == each.repeats);
        CHECK(*requests == (each.repeats ? 3 : 2));
      }
    }
    // Allowed, or forbidden, by the caller.
    for (const bool may : {false, true}) {
      const scripted_server server([](scripted_peer& peer, int number) {
        peer.request();
        peer.send(ok_with("x"));
        if (number == 1) peer.request();
      });
      const http::client ask;
      CHECK(told(ask.get(server.url())) == "200 x");
      CHECK(ask.send(std::move(http::client_request(may ? "POST" : "GET", server.url()).may_repeat(may))).has_value() ==
            may);
    }
    // Never twice, and never on a connection that is new.
    const auto connections = std::make_shared<int>(0);
    const scripted_server deaf([connections](scripted_peer& peer, int number) {
      *connections = number;
      peer.request();
      if (number == 1) peer.send(ok_with("x")), peer.request();
    });
    const http::client ask;
    CHECK(told(ask.get(deaf.url())) == "200 x");
    CHECK(told(ask.get(deaf.url())) == sentence(http::errc::no_answer));
    CHECK(*connections == 2);
    CHECK(told(ask.get(deaf.url())) == sentence(http::errc::no_answer));
    CHECK(*connections == 3);
    // Nor when a byte of an answer has come, nor after a time-out.
    for (const bool begins : {false, true}) {
      const auto asked = std::make_shared<int>(0);
      const scripted_server server([asked, begins](scripted_peer& peer, int) {
        while (!peer.request().empty()) {
          if (++*asked != 2) {
            peer.send(ok_with("x"));
            continue;
          }
          if (begins) peer.send("H");
          if (begins) return;
          eventer::sleep_for(100s);
        }
      });
      CHECK(told(ask.get(server.url())) == "200 x");
      CHECK_FALSE(ask.get(server.url()).has_value());
      CHECK(*asked == 2);
    }
  });
}

TEST_CASE("a server that closes idle connections when the client uses them again makes no request fail") {
  run_virtually([] {
    // Both ends are idle for the same time.
    const real_server server(one_route("GET", "/", [](http::request&, http::response& answer) { answer.text("x"); }),
                             {.limits = {.keep_alive_idle = 100ms}});
    const http::client ask({.idle = 100ms});
    int failed = 0;
    for (int i = 0; i < 3000; ++i) {
      if (told(ask.get(server.url())) != "200 x") ++failed;
      eventer::sleep_for(std::chrono::microseconds(95'000 + i % 40 * 1000));
    }
    CHECK(failed == 0);
    CHECK(ask.statistics().reused > 100);
    CHECK(ask.statistics().opened > 100);
  });
}

TEST_CASE("a server that answers and closes at once, while requests go out, makes no request fail") {
  eventer::run([] {
    const scripted_server server([](scripted_peer& peer, int) {
      if (peer.request().empty()) return;
      peer.send(ok_with("x"));
    });
    const http::client ask;
    std::vector<eventer::join_handle<int>> all;
    for (int i = 0; i < 10; ++i)
      all.push_back(eventer::spawn([ask, url = server.url()] {
        int failed = 0;
        for (int n = 0; n < 300; ++n)
          if (told(ask.get(url)) != "200 x") ++failed;
        return failed;
      }));
    for (auto& each : all) CHECK(each.join() == 0);
  });
}

TEST_CASE("a server on another processor that closes while the next request is on its way makes no request fail") {
  eventer::loop_pool servers(1);
  servers.start();
  const auto stop = std::make_shared<std::atomic<bool>>(false);
  auto acceptor = std::make_shared<eventer::tcp_acceptor>(eventer::tcp_acceptor::listen("127.0.0.1:0").value());
  const std::string url = "http://" + acceptor->local().to_string();
  auto serving = servers[0].spawn([acceptor, stop] {
    for (int number = 0; !*stop; ++number) {
      auto stream = acceptor->accept(10ms);
      if (!stream) continue;
      (void)eventer::spawn([number, stream = std::move(*stream)]() mutable {
        scripted_peer peer(std::move(stream));
        if (peer.request().empty()) return;
        peer.send(ok_with("x"));
        eventer::sleep_for(std::chrono::microseconds(number % 20 * 10));
      });
    }
    acceptor->close();
  });
  eventer::run([url] {
    const http::client ask;
    int failed = 0;
    for (int i = 0; i < 5000; ++i) {
      if (told(ask.get(url)) != "200 x") ++failed;
      eventer::sleep_for(std::chrono::microseconds(i % 7 * 20));
    }
    CHECK(failed == 0);
    CHECK(ask.statistics().reused > 0);
  });
  *stop = true;
  serving.join();
  servers.stop();
  servers.join();
}

TEST_CASE("a flood of interim answers, a dripping head and a dripping body come to an end") {
  run_virtually([] {
    const auto drip = [](std::string piece, eventer::duration pause, std::string begin = {}) {
      return [piece, pause, begin](scripted_peer& peer, int) {
        if (peer.request().empty()) return;
        peer.send(begin);
        while (peer.send(piece)) eventer::sleep_for(pause);
      };
    };
    const http::client ask({.head_time = 10s, .body_idle = 5s, .total_time = 60s});
    {
      const scripted_server floods(drip("HTTP/1.1 100 Continue\r\n\r\n", 1ms));
      CHECK(told(ask.get(floods.url())) == sentence(http::errc::bad_answer));
    }
    {
      const scripted_server hints(drip("HTTP/1.1 103 H\r\n\r\n", 1s));
      CHECK(ask.get(hints.url()).error() == std::errc::timed_out);
    }
    {
      const scripted_server head(drip("X", 1s, "HTTP/1.1 200 OK\r\nA: "));
      CHECK(ask.get(head.url()).error() == std::errc::timed_out);
    }
    {
      const scripted_server endless(drip("A: b\r\n", 0ms, "HTTP/1.1 200 OK\r\n"));
      CHECK(told(ask.get(endless.url())) == sentence(http::errc::head_too_large));
    }
    const auto time_of = [&](const scripted_server& server, const http::request_options& with = {}) {
      const auto begin = eventer::event_loop::current().stats().turns > 0 ? eventer::scheduler::current()->now()
                                                                          : eventer::time_point();
      const std::string text = told(ask.get(server.url(), with));
      return text + " " +
             std::to_string(
                 std::chrono::duration_cast<std::chrono::seconds>(eventer::scheduler::current()->now() - begin)
                     .count());
    };
    {
      const scripted_server body(drip("x", 1s, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"));
      CHECK(time_of(body) == "200 timed out 60");
      CHECK(time_of(body, {.total_time = 20s}) == "200 timed out 20");
    }
    {
      const scripted_server pauses(drip("x", 6s, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"));
      CHECK(time_of(pauses) == "200 timed out 5");
    }
    {
      // Its bytes have always come already when they are looked for.
      const scripted_server body(drip("x", 1s, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"));
      for (const bool in_pieces : {true, false}) {
        auto answer = ask.get(body.url(), {.total_time = 20s}).value();
        auto part = std::make_unique<std::array<char, 100>>();
        std::error_code why;
        int reads = 0;
        for (; !why && reads < 100; ++reads) {
          eventer::sleep_for(3s);
          why = in_pieces ? answer.read_piece().error() : answer.read_some(*part).error();
        }
        CHECK(why == std::errc::timed_out);
        CHECK(reads == 7);
      }
    }
    {
      const scripted_server endless(drip("1\r\nx\r\n", 0ms, chunked));
      CHECK(told(ask.get(endless.url(), {.body = 1000})) == "200 " + sentence(http::errc::body_too_large));
    }
  });
}
