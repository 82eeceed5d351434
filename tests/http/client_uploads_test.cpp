// Bodies of requests: in pieces, asked for before, answered too early; and a world that breaks while a client works:
// system calls that fail, coroutines that are cancelled at every wait.
#include "../captured_log.hpp"
#include "../one_fault.hpp"
#include "../plain_descriptors.hpp"
#include "../virtual_run.hpp"
#include "scripted_server.hpp"

using namespace http_test;
using system_call = eventer::syscalls::call;

namespace {

http::client_request upload(const std::string& url, std::size_t pieces, std::size_t size,
                            http::body_options with = {}) {
  http::client_request asked("PUT", url);
  asked.body_from(
      [pieces, size](http::body_writer& out) {
        const auto piece = std::make_unique<std::string>(size, 'x');
        for (std::size_t i = 0; i < pieces; ++i)
          if (!out.write(*piece)) return;
      },
      with);
  return asked;
}
http::router counting_routes() {
  http::router routes;
  routes
      .put("/",
           [](http::request& asked, http::response& answer) {
             auto part = std::make_unique<std::array<char, 30'000>>();
             std::size_t total = 0;
             for (;;) {
               const auto got = asked.read_some(*part);
               if (!got && got.error() != eventer::errc::end_of_stream) return;  // answered with 400 or 408
               if (!got) break;
               total += *got;
             }
             answer.text(std::to_string(total) + (asked.content_length() ? " as announced" : " in chunks"));
           })
      .body_limit(std::uint64_t{1} << 40);
  routes.put("/refused", [](http::request&, http::response& answer) { answer.status(413).text("too much"); });
  return routes;
}

}  // namespace

TEST_CASE("a body is made while it is sent, in chunks or as announced") {
  eventer::run([] {
    const real_server server(counting_routes());
    const http::client ask;
    CHECK(told(ask.send(upload(server.url(), 1000, 10'000))) == "200 10000000 in chunks");
    CHECK(told(ask.send(upload(server.url(), 100, 100'000))) == "200 10000000 in chunks");
    CHECK(told(ask.send(upload(server.url(), 0, 0))) == "200 0 in chunks");
    CHECK(told(ask.send(upload(server.url(), 10, 100'000, {.length = 1'000'000}))) == "200 1000000 as announced");
    CHECK(ask.statistics().opened == 1);
    CHECK(told(ask.send(upload(server.url(), 10, 10, {.length = 99}))) == sentence(http::errc::wrong_length));
    CHECK(told(ask.send(upload(server.url(), 10, 10, {.length = 101}))) == sentence(http::errc::wrong_length));
    CHECK(ask.statistics().idle == 0);
    CHECK_THROWS_AS(
        ask.send(std::move(http::client_request("PUT", server.url()).body_from([](http::body_writer&) { throw 7; }))),
        int);
    CHECK(told(ask.send(upload(server.url(), 1, 5))) == "200 5 in chunks");
    CHECK(ask.statistics().in_use == 0);
  });
}

TEST_CASE("a final answer that comes before the request is whole ends it, and is the caller's") {
  eventer::run([] {
    for (const bool closes : {false, true}) {
      CAPTURE(closes);
      const scripted_server server([closes](scripted_peer& peer, int) {
        while (peer.unread().find("\r\n\r\n") == std::string::npos)
          if (!peer.more()) return;
        eventer::sleep_for(50ms);  // the client has filled the pipe, and waits
        peer.send("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nno!");
        if (!closes) eventer::sleep_for(1000s);
      });
      const http::client ask;
      const auto written = std::make_shared<std::size_t>(0);
      auto answer =
          ask.send(std::move(http::client_request("POST", server.url()).body_from([written](http::body_writer& out) {
            const auto piece = std::make_unique<std::string>(100'000, 'x');
            for (int i = 0; i < 10'000; ++i) {
              const auto sent = out.write(*piece);
              if (!sent) {
                if (sent.error() != std::errc::operation_canceled && sent.error() != std::errc::connection_reset &&
                    sent.error() != std::errc::broken_pipe)
                  *written = 0;
                return;
              }
              *written += piece->size();
            }
          })));
      REQUIRE(answer);
      CHECK(answer->status() == 413);
      CHECK(answer->body().value() == "no!");
      CHECK(*written > 0);
      CHECK(*written < 500'000'000);
      CHECK(ask.statistics().idle == 0);
    }
    // Of a server of ours, which reads on a while.
    const real_server server(counting_routes());
    const http::client ask;
    CHECK(told(ask.send(upload(server.url("/refused"), 1000, 100'000))) == "413 too much");
    CHECK(told(ask.send(upload(server.url("/refused"), 1000, 100'000, {.length = 100'000'000}))).starts_with("413 "));
    CHECK(told(ask.send(upload(server.url(), 1, 5))) == "200 5 in chunks");
  });
}

namespace {

// Reads a request's head, and no more.
bool took_head(scripted_peer& peer) {
  while (peer.unread().find("\r\n\r\n") == std::string::npos)
    if (!peer.more()) return false;
  return true;
}
std::size_t read_to_the_end(scripted_peer& peer, std::string_view last) {
  std::size_t total = 0;
  std::string tail;
  for (;;) {
    total += peer.unread().size();
    tail.append(std::exchange(peer.unread(), {}));
    if (tail.ends_with(last)) return total;
    tail.erase(0, tail.size() < last.size() ? 0 : tail.size() - last.size());
    if (!peer.more()) return total;
  }
}
http::client_request whole_body(const std::string& url, std::size_t size, std::string_view end) {
  return std::move(http::client_request("PUT", url).body("", std::string(size - end.size(), 'x').append(end)));
}

}  // namespace

TEST_CASE("beside an answer that has begun the request is sent to its end, and its connection is kept") {
  eventer::run([] {
    constexpr std::size_t size = 20'000'000;
    const auto got = std::make_shared<std::size_t>(0);
    const scripted_server server([got](scripted_peer& peer, int) {
      for (int i = 0; i < 2; ++i) {
        if (!took_head(peer)) return;
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100004\r\n\r\n" + std::string(50'000, 'a'));
        *got = read_to_the_end(peer, i == 0 ? "end" : "0\r\n\r\n");
        peer.send(std::string(50'000, 'a') + "last");
      }
    });
    const http::client ask;
    const std::string expected = std::string(100'000, 'a') + "last";
    auto answer = ask.send(whole_body(server.url(), size, "end"));
    REQUIRE(answer);
    CHECK(answer->request_was_sent());
    CHECK(answer->body().value() == expected);
    CHECK(*got > size);
    CHECK(told(ask.send(upload(server.url(), 200, 100'000))) == "200 " + expected);
    CHECK(*got > size);
    CHECK(server.connections() == 1);
    // A handler of ours that begins to answer first.
    const real_server real([] {
      http::router routes;
      routes
          .put("/",
               [](http::request& asked, http::response& reply) {
                 if (!reply.flush()) return;
                 auto part = std::make_unique<std::array<char, 30'000>>();
                 std::size_t total = 0;
                 while (const auto piece = asked.read_some(*part)) total += *piece;
                 (void)reply.write(std::to_string(total));
               })
          .body_limit(UINT64_MAX);
      return routes;
    }());
    CHECK(told(ask.send(whole_body(real.url(), size, "end"))) == "200 20000000");
    CHECK(told(ask.send(upload(real.url(), 200, 100'000))) == "200 20000000");
  });
}

TEST_CASE("a request that a server stops taking, though it has begun to say 200, is no success") {
  run_virtually([] {
    const auto endless = [](scripted_peer& peer) {
      const std::string piece(100'000, 'x');
      peer.patience = 1s;
      while (peer.send(piece)) {
      }
    };
    const scripted_server server([endless](scripted_peer& peer, int) {
      if (!took_head(peer)) return;
      const bool is_endless = peer.unread().starts_with("PUT /endless");
      peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
      if (is_endless) endless(peer);
      eventer::sleep_for(10'000s);
    });
    const http::client ask({.send_stall = 3s});
    CHECK(ask.send(whole_body(server.url("/"), 50'000'000, "end")).error() == std::errc::timed_out);
    CHECK(ask.send(whole_body(server.url("/endless"), 50'000'000, "end")).error() == std::errc::timed_out);
    CHECK(ask.send(upload(server.url("/"), 500, 100'000)).error() == std::errc::timed_out);
    CHECK(ask.statistics().idle == 0);
  });
  eventer::run([] {
    const scripted_server server([](scripted_peer& peer, int) {
      if (!took_head(peer)) return;
      const bool says_so = peer.unread().starts_with("PUT /says-so");
      peer.send(ok_with("x", says_so ? "Connection: close\r\n" : ""));
      eventer::sleep_for(50ms);
      if (says_so) eventer::sleep_for(1000s);
    });
    const http::client ask;
    CHECK_FALSE(ask.send(whole_body(server.url("/"), 50'000'000, "end")));
    auto answer = ask.send(whole_body(server.url("/says-so"), 50'000'000, "end"));
    REQUIRE(answer);
    CHECK_FALSE(answer->request_was_sent());
    CHECK(answer->body().value() == "x");
    CHECK(ask.statistics().idle == 0);
  });
}

TEST_CASE("a refusal is noticed with the next piece of a body that is made slowly") {
  run_virtually([] {
    const scripted_server server([](scripted_peer& peer, int) {
      if (!took_head(peer)) return;
      peer.send("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nno!");
      while (peer.more()) peer.unread().clear();
    });
    const http::client ask;
    const auto written = std::make_shared<int>(0);
    auto answer =
        ask.send(std::move(http::client_request("POST", server.url()).body_from([written](http::body_writer& out) {
          for (; *written < 200 && out.write("piece"); ++*written) eventer::sleep_for(10ms);
        })));
    REQUIRE(answer);
    CHECK(answer->status() == 413);
    CHECK_FALSE(answer->request_was_sent());
    CHECK(answer->body().value() == "no!");
    CHECK(*written < 10);
  });
}

TEST_CASE("a server that ends within the head of an answer while a request is sent has cut it off") {
  eventer::run([] {
    const scripted_server server([](scripted_peer& peer, int) {
      if (!took_head(peer)) return;
      peer.send("HTTP/1.1 4");
      peer.finish_sending();
      eventer::sleep_for(1000s);
    });
    const http::client ask({.continue_time = 1000s});
    CHECK(told(ask.send(whole_body(server.url(), 50'000'000, "end"))) == sentence(http::errc::answer_cut_off));
    CHECK(told(ask.send(std::move(whole_body(server.url(), 10, "end").expect_continue()))) ==
          sentence(http::errc::answer_cut_off));
  });
}

TEST_CASE("a body ends with total_time and with a deadline_scope, also where its server takes everything") {
  run_virtually([] {
    const scripted_server server([](scripted_peer& peer, int) {
      while (peer.more()) peer.unread().clear();
    });
    const scripted_server deaf([](scripted_peer&, int) { eventer::sleep_for(10'000s); });
    const http::client ask({.total_time = 5s});
    const auto written = std::make_shared<int>(0);
    const auto answer =
        ask.send(std::move(http::client_request("POST", server.url()).body_from([written](http::body_writer& out) {
          for (; *written < 100 && out.write("piece"); ++*written) eventer::sleep_for(1s);
        })));
    CHECK(answer.error() == std::errc::timed_out);
    CHECK(*written == 5);
    const http::client patient;
    *written = 0;
    {
      const eventer::deadline_scope all(2s);
      const auto late = patient.send(
          std::move(http::client_request("POST", server.url()).body_from([written](http::body_writer& out) {
            for (; *written < 100 && out.write("piece"); ++*written) eventer::sleep_for(1s);
          })));
      CHECK(late.error() == std::errc::timed_out);
      CHECK(*written == 2);
    }
    // A result, whatever the client waits for just then.
    const eventer::deadline_scope all(2s);
    CHECK(patient.send(whole_body(deaf.url(), 50'000'000, "end")).error() == std::errc::timed_out);
  });
}

TEST_CASE("without leave a body is sent when continue_time has passed, and for no other reason") {
  run_virtually([] {
    const auto seen = std::make_shared<std::string>();
    const scripted_server server([seen](scripted_peer& peer, int) {
      if (!took_head(peer)) return;
      const bool hints = peer.unread().starts_with("PUT /hints");
      peer.unread().clear();
      if (hints) peer.send("HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n");
      peer.patience = 2s;
      *seen = peer.more() ? peer.unread() : "";
      if (hints) peer.send("HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n");
    });
    const auto asked = [&server](std::string_view target) {
      return std::move(whole_body(server.url(target), 4, "body").expect_continue());
    };
    const http::client ask({.continue_time = 5s});
    {
      *seen = "not set";
      const eventer::deadline_scope all(1s);
      CHECK(ask.send(asked("/")).error() == std::errc::timed_out);
    }
    eventer::sleep_for(10s);
    CHECK(*seen == "");
    *seen = "not set";
    CHECK(ask.send(std::move(asked("/").total_time(1s))).error() == std::errc::timed_out);
    eventer::sleep_for(10s);
    CHECK(*seen == "");
    *seen = "not set";
    CHECK(told(ask.send(asked("/hints"))) == "417 ");
    CHECK(*seen == "");
  });
}

TEST_CASE("a server is asked before the body is sent, and may say no, yes or nothing") {
  run_virtually([] {
    const auto seen = std::make_shared<std::string>();
    const scripted_server server([seen](scripted_peer& peer, int) {
      while (peer.unread().find("\r\n\r\n") == std::string::npos)
        if (!peer.more()) return;
      const std::string head = std::exchange(peer.unread(), {});
      if (head.find("Expect: 100-continue\r\n") == std::string::npos) return;
      if (head.starts_with("POST /never")) {
        peer.send("HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n");
        *seen = peer.rest();
        return;
      }
      if (head.starts_with("POST /yes")) peer.send("HTTP/1.1 100 Continue\r\n\r\n");
      while (peer.unread().size() < 4)
        if (!peer.more()) return;
      *seen = peer.unread();
      peer.send(ok_with("x"));
    });
    const http::client ask;
    const auto send = [&](std::string_view target) {
      const auto begin = eventer::scheduler::current()->now();
      const std::string text = told(
          ask.send(std::move(http::client_request("POST", server.url(target)).body("", "body").expect_continue())));
      const bool waited = eventer::scheduler::current()->now() - begin >= 1s;
      return text + (waited ? " waited " : " ") + *seen;
    };
    CHECK(send("/yes") == "200 x body");
    CHECK(send("/nothing") == "200 x waited body");
    CHECK(send("/never") == "417  body");
    eventer::sleep_for(1s);
    CHECK(seen->empty());
    const real_server real(counting_routes());
    CHECK(told(ask.send(std::move(http::client_request("PUT", real.url()).body("", "body").expect_continue()))) ==
          "200 4 as announced");
    CHECK(told(ask.send(
              std::move(http::client_request("PUT", real.url("/refused")).body("", "body").expect_continue()))) ==
          "413 too much");
  });
}

TEST_CASE("a server that takes nothing ends the request") {
  run_virtually([] {
    const scripted_server server([](scripted_peer&, int) { eventer::sleep_for(10'000s); });
    const http::client ask({.send_stall = 3s});
    CHECK(ask.send(upload(server.url(), 100'000, 100'000)).error() == std::errc::timed_out);
    CHECK(ask.post(server.url(), "", std::string(50'000'000, 'x')).error() == std::errc::timed_out);
  });
}

namespace {

http::router ordinary_routes() {
  http::router routes = counting_routes();
  routes.get("/", [](http::request&, http::response& answer) { answer.text("hello"); });
  routes.get("/slow", [](http::request&, http::response& answer) {
    eventer::sleep_for(1s);
    for (int i = 0; i < 3; ++i) {
      if (!answer.write("piece")) return;
      eventer::sleep_for(1s);
    }
  });
  routes.get("/to", [](http::request&, http::response& answer) { answer.redirect("/slow"); });
  return routes;
}
// In each of the ways in which a client waits. Less is sent than a pipe holds: the kernel opens a full one again by a
// clock of its own, which virtual time does not wait for. Every answer that comes is right, whatever fails.
int wrong_answers(const http::client& ask, const real_server& server, int& right) {
  int wrong = 0;
  const auto check = [&](eventer::io_result<http::client_response> answer, std::string_view expected) {
    if (!answer || !answer->ok()) return;  // its server may be the one whose call has failed
    const auto body = answer->body();
    if (!body) return;
    *body == expected ? ++right : ++wrong;
  };
  check(ask.get(server.url()), "hello");
  check(ask.send(upload(server.url(), 40, 1000)), "40000 in chunks");
  check(ask.get(server.url("/to")), "piecepiecepiece");
  check(ask.send(std::move(http::client_request("PUT", server.url()).body("", "body").expect_continue())),
        "4 as announced");
  check(ask.get(server.url()), "hello");
  return wrong;
}

}  // namespace

TEST_CASE("any system call may fail once: no answer is wrong, the next one comes, and nothing stays open") {
  const captured_log log;
  const auto before = open_descriptors();
  int happened = 0;
  for (const system_call which :
       {system_call::recv, system_call::send, system_call::epoll_ctl, system_call::getsockopt, system_call::setsockopt,
        system_call::close, system_call::socket, system_call::connect}) {
    for (const int error : {EINTR, EAGAIN, ECONNRESET, EPIPE, EMFILE, ENOMEM}) {
      if (error == EAGAIN && which != system_call::recv && which != system_call::send) continue;
      for (int nth = 1; nth < 200; nth += nth < 20 ? 1 : 13) {
        CAPTURE(static_cast<int>(which), std::generic_category().message(error), nth);
        bool did = false;
        const auto wrong = std::make_shared<int>(0), right = std::make_shared<int>(0);
        {
          eventer::manual_clock time;
          eventer::run(
              [wrong, right, &did, which, error, nth] {
                const real_server server(ordinary_routes());
                const http::client ask({.total_time = 1000s});
                {
                  const one_fault fault(which, error, nth);
                  *wrong = wrong_answers(ask, server, *right);
                  did = fault.happened();
                }
                // A connection that could not be told TCP_NODELAY may wait with its last bytes for the peer's delayed
                // acknowledgement, by the kernel's clock: virtual time would go past it, to a time limit.
                if (which == system_call::setsockopt) ask.close_idle();
                *right = 0;
                *wrong += wrong_answers(ask, server, *right);
              },
              {.clock = &time});
        }
        CHECK(*wrong == 0);
        CHECK(*right == 5);
        if (!did) break;
        ++happened;
      }
    }
  }
  CHECK(happened > 100);
  CHECK(open_descriptors() == before);
}

TEST_CASE("a client that is cancelled at any moment leaves nothing behind, and the next request is answered") {
  const auto before = open_descriptors();
  for (int milliseconds = 0; milliseconds < 6000; milliseconds += 250) {
    run_virtually([milliseconds] {
      const real_server server(ordinary_routes());
      const http::client ask({.max_connections = 1});
      auto work = eventer::spawn([ask, address = std::make_shared<std::string>(server.url())] {
        for (int i = 0; i < 100; ++i) {
          auto to = ask.get(*address + "to");
          if (!to || to->body().value() != "piecepiecepiece") return false;
          if (told(ask.send(upload(*address, 40, 1000))) != "200 40000 in chunks") return false;
        }
        return true;
      });
      eventer::sleep_for(std::chrono::milliseconds(milliseconds));
      work.cancel();
      CHECK(work.try_join().error() == std::errc::operation_canceled);
      CHECK(told(ask.get(server.url())) == "200 hello");
      CHECK(ask.statistics().in_use == 0);
    });
    // The loop ends instead.
    eventer::manual_clock clock;
    eventer::run(
        [milliseconds] {
          const auto server = std::make_shared<real_server>(ordinary_routes());
          const http::client ask;
          for (int i = 0; i < 3; ++i)
            (void)eventer::spawn([ask, server] {
              while (ask.get(server->url("/to"))->body()) {
              }
            });
          eventer::sleep_for(std::chrono::milliseconds(milliseconds));
        },
        {.clock = &clock});
  }
  CHECK(open_descriptors() == before);
}
