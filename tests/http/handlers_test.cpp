// What handlers may do, and what becomes of the connection when they do it wrong.
#include <thread>

#include "../captured_log.hpp"
#include "../virtual_run.hpp"
#include "http_client.hpp"

using namespace http_test;

namespace {

// One handler at "/it", and "/" beside it.
template <class F>
http::server with_handler(F handler) {
  http::router routes;
  routes.get("/", [](http::request&, http::response& answer) { answer.text("hello"); });
  routes.add("GET", "/it", std::move(handler));
  return http::server(std::move(routes));
}

}  // namespace

TEST_CASE("a handler that throws before its head is sent is answered with 500, behind it the answer is cut") {
  struct row {
    const char* what;
    std::string statuses;  // of "/it" and "/"
    std::size_t lines;     // in the log
    void (*handler)(http::request&, http::response&);
  };
  const row rows[] = {
      {"throws", "500 200", 1, [](http::request&, http::response&) { throw std::runtime_error("bad"); }},
      {"throws an int", "500 200", 1, [](http::request&, http::response&) { throw 7; }},
      {"throws behind text", "500 200", 1,
       [](http::request&, http::response& answer) {
         answer.status(201).header("X-A", "b").text("never seen");
         throw std::runtime_error("bad");
       }},
      {"throws behind a piece", "<malformed>", 1,
       [](http::request&, http::response& answer) {
         (void)answer.write("seen");
         throw std::runtime_error("bad");
       }},
      {"throws behind the end", "200 200", 1,
       [](http::request&, http::response& answer) {
         answer.text("whole");
         (void)answer.end();
         throw std::runtime_error("bad");
       }},
      {"forgets to answer", "500 200", 1, [](http::request&, http::response&) {}},
      {"only sets a status", "204 200", 0, [](http::request&, http::response& answer) { answer.status(204); }},
      {"a refusal of its own", "418 200", 0,
       [](http::request&, http::response&) { throw http::error(418, "short and stout\n"); }},
      {"a refusal without text", "403 200", 0, [](http::request&, http::response&) { throw http::error(403); }},
      {"a refusal that is none", "500 200", 1, [](http::request&, http::response&) { throw http::error(99); }},
      {"a refusal that is late", "<malformed>", 0,
       [](http::request&, http::response& answer) {
         (void)answer.write("seen");
         throw http::error(404);
       }},
      {"a status that is none", "500 200", 1, [](http::request&, http::response& answer) { answer.status(1000); }},
      {"closes the stream", "", 0,
       [](http::request& asked, http::response& answer) {
         asked.stream().close();
         answer.text("x");
       }},
      {"takes the stream", "", 0,
       [](http::request& asked, http::response& answer) {
         const eventer::any_stream mine = std::move(asked.stream());
         answer.text("x");
       }},
  };
  for (const row& each : rows) {
    const captured_log log;
    run_virtually([&each] {
      CAPTURE(each.what);
      const http::server server = with_handler(each.handler);
      CHECK(statuses_of(all_answers(server, get("/it") + get("/"))) == each.statuses);
      CHECK(statuses_of(all_answers(server, get("/it"))) == each.statuses.substr(0, each.statuses.find(' ')));
    });
    CAPTURE(each.what);
    CHECK(log.count("http: the handler of GET \"/it\"") == 2 * each.lines);
  }
}

TEST_CASE("a task that a handler returns is awaited; a handler sees what middleware lets through") {
  run_virtually([] {
    http::router routes;
    routes.get("/task", [](http::request&, http::response& answer) -> eventer::task<> {
      co_await eventer::after(1s);
      answer.text("later");
    });
    routes.get("/task-throws", [](http::request&, http::response&) -> eventer::task<> {
      co_await eventer::after(1s);
      throw http::error(409);
    });
    routes.get("/secret", [](http::request&, http::response& answer) { answer.text("secret"); })
        .use([](http::request& asked, http::response& answer, const http::next& next) {
          if (!asked.header("Authorization")) {
            answer.status(401).text("who?");
            return;
          }
          next();
        });
    routes.use([](http::request&, http::response& answer, const http::next& next) {
      next();
      if (!answer.head_sent()) answer.header("X-Around", "1");
    });
    const http::server server(std::move(routes));
    served peer(server);
    CHECK(peer.ask(get("/task")).body == "later");
    CHECK(peer.ask(get("/task-throws")).status == 409);
    CHECK(peer.ask(get("/secret")).status == 401);
    CHECK(peer.ask(get("/secret", "Authorization: x\r\n")).body == "secret");
    CHECK(peer.ask(get("/none")).field("x-around") == "1");
  });
}

TEST_CASE("done: called at once, later, twice, from another thread, or never") {
  const captured_log log;
  const auto threads = std::make_shared<std::vector<std::thread>>();
  eventer::run([threads] {
    http::router routes;
    routes.get("/now", [](http::request&, http::response& answer, http::done done) {
      answer.text("now");
      done();
    });
    routes.get("/later", [](http::request&, http::response& answer, http::done done) {
      eventer::event_loop::current().after(1ms, [&answer, done] {
        answer.text("later");
        done();
      });
    });
    routes.get("/twice", [](http::request&, http::response& answer, http::done done) {
      answer.text("twice");
      done();
      done();
    });
    routes.get("/thread", [threads](http::request&, http::response& answer, http::done done) {
      threads->emplace_back([&answer, done = std::move(done)] {
        answer.text("thread");
        done();
      });
    });
    routes.get("/never", [](http::request&, http::response&, http::done) {});
    routes.get("/throws", [](http::request&, http::response&, http::done) { throw http::error(410); });
    const http::server server(std::move(routes));
    served peer(server);
    for (int i = 0; i < 3; ++i) {
      for (const std::string name : {"now", "later", "twice", "thread"}) CHECK(peer.ask(get("/" + name)).body == name);
      CHECK(peer.ask(get("/never")).status == 500);
      CHECK(peer.ask(get("/throws")).status == 410);
    }
    const std::string all = all_answers(server, get("/now") + get("/later") + get("/thread") + get("/never"));
    CHECK(statuses_of(all) == "200 200 200 500");
  });
  for (std::thread& each : *threads) each.join();
  CHECK(log.count("without an answer") == 4);
}

TEST_CASE("another protocol: 101 when the handler agrees, and the bytes behind the request are its own") {
  const auto failure = std::make_shared<std::error_code>();
  const std::string asks = get("/it", "Connection: keep-alive, Upgrade\r\nUpgrade: other, echo\r\n");
  const auto agrees = [failure](http::request&, http::response& answer) {
    answer.header("Sec-Key", "7");
    auto mine = answer.upgrade("echo");
    if (!mine) {
      *failure = mine.error();
      answer.status(400).text("no");
      return;
    }
    // What nobody may do any more.
    if (answer.write("x").error() != http::errc::answered) std::abort();
    (void)mine->stream.write_all(mine->received);
    std::array<char, 100> part;
    while (const auto got = mine->stream.read_some(part)) (void)mine->stream.write_all({part.data(), *got});
  };
  const captured_log log;
  run_virtually([&] {
    const http::server server = with_handler(agrees);
    for (const std::string early : {"", "early"}) {
      served peer(server);
      const answer got = peer.ask(get("/") + asks + early);
      CHECK(got.body == "hello");
      const answer upgraded = peer.read();
      CHECK(upgraded.status == 101);
      CHECK(upgraded.field("upgrade") == "echo");
      CHECK(lower(upgraded.field("connection")) == "upgrade");
      CHECK(upgraded.field("sec-key") == "7");
      CHECK(upgraded.count("content-length") == 0);
      REQUIRE(peer.send("hello"));
      while (peer.unread().size() < early.size() + 5) REQUIRE(peer.more());
      CHECK(peer.unread() == early + "hello");
      peer.unread().clear();
      peer.finish_sending();
      CHECK(peer.ends());
    }
    const std::string refused[] = {
        get("/it"),
        get("/it", "Upgrade: echo\r\n"),
        get("/it", "Connection: upgrade\r\nUpgrade: other\r\n"),
        "GET /it HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n",
        get("/it", "Connection: upgrade\r\nUpgrade: echo\r\nContent-Length: 5\r\n") + "hello",
    };
    for (const std::string& each : refused) {
      CAPTURE(each);
      *failure = {};
      served peer(server);
      const answer got = peer.ask(each);
      CHECK(got.status == 400);
      CHECK(got.body == "no");
      CHECK(*failure == http::errc::not_upgradable);
    }
    // A handler that says nothing about it has answered the request as any other.
    served peer(with_handler([](http::request&, http::response& answer) { answer.text("plain"); }));
    CHECK(peer.ask(asks).body == "plain");
    CHECK(peer.ask(get("/")).body == "hello");
  });
}

TEST_CASE("a stream that was taken over outlives the handler, and the connection's coroutine") {
  run_virtually([] {
    const auto kept = std::make_shared<std::optional<http::response::upgraded>>();
    served peer(
        with_handler([kept](http::request&, http::response& answer) { *kept = answer.upgrade("echo").value(); }));
    CHECK(peer.ask(get("/it", "Connection: upgrade\r\nUpgrade: echo\r\n")).status == 101);
    eventer::sleep_for(1s);
    CHECK(peer.is_over());
    REQUIRE(kept->has_value());
    REQUIRE((*kept)->stream.write_all("still here"sv));
    REQUIRE(peer.more());
    CHECK(peer.unread() == "still here");
    peer.unread().clear();
    kept->reset();
    CHECK(peer.ends());
  });
}

TEST_CASE("whether the client is gone can be asked; one that has only finished sending is not") {
  eventer::run([] {
    const auto seen = std::make_shared<std::string>();
    const auto go = std::make_shared<eventer::manual_reset_event>();
    const http::server server = with_handler([seen, go](http::request& asked, http::response& answer) {
      go->wait();
      *seen += asked.client_gone() ? "gone " : "there ";
      answer.text("x");
    });
    for (const char* const how : {"stays", "half", "resets"}) {
      go->reset();
      auto acceptor = eventer::tcp_acceptor::listen("127.0.0.1:0").value();
      client peer(eventer::tcp_stream::connect(acceptor.local()).value());
      auto serves = eventer::spawn(
          [server, stream = eventer::any_stream(acceptor.accept().value())]() mutable { server(std::move(stream)); });
      REQUIRE(peer.send(get("/it", "Connection: close\r\n")));
      if (how == "half"s) peer.finish_sending();
      eventer::sleep_for(1ms);
      if (how == "resets"s) {
        const linger at_once{1, 0};
        ::setsockopt(peer.stream().native_handle(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        peer.close();
      }
      go->set();
      if (how != "resets"s) {
        CHECK(peer.read().body == "x");
        peer.close();
      }
      serves.join();
    }
    CHECK(*seen == "there there gone ");
  });
}
