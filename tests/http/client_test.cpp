// A client and a server of the library: what is asked, what is answered, which connections are kept, and for how long.
#include <sys/wait.h>

#include <atomic>
#include <thread>

#include "../child.hpp"
#include "../plain_descriptors.hpp"
#include "../virtual_run.hpp"
#include "scripted_server.hpp"

using namespace http_test;

namespace {

http::router echo_routes() {
  http::router routes;
  routes.get("/hello", [](http::request&, http::response& answer) { answer.text("hello"); });
  routes.add("GET", "/echo/{rest...}", [](http::request& asked, http::response& answer) {
    answer.text(std::string(asked.target()).append(" ").append(asked.header("X-Mine")));
  });
  routes.post("/echo", [](http::request& asked, http::response& answer) {
    const auto body = asked.body();
    if (body) answer.header("X-Type", asked.header("Content-Type")).text(*body);
  });
  routes.get("/head", [](http::request& asked, http::response& answer) {
    answer.text(std::string(asked.header("Host")) + "|" + std::string(asked.header("User-Agent")));
  });
  routes.get("/pieces", [](http::request&, http::response& answer) {
    for (int i = 0; i < 100; ++i)
      if (!answer.write(std::string(1000, static_cast<char>('a' + i % 26)))) return;
  });
  routes.get("/none", [](http::request&, http::response& answer) { answer.status(204); });
  routes.get("/slow", [](http::request&, http::response& answer) {
    eventer::sleep_for(1s);
    answer.text("slow");
  });
  return routes;
}

}  // namespace

TEST_CASE("a client asks, and gets what the server has answered") {
  eventer::run([] {
    const real_server server(echo_routes());
    const http::client ask;
    auto hello = ask.get(server.url("/hello"));
    REQUIRE(hello);
    CHECK(hello->status() == 200);
    CHECK(hello->ok());
    CHECK(hello->reason() == "OK");
    CHECK(hello->header("content-type") == "text/plain; charset=utf-8");
    CHECK_FALSE(hello->header("X-Absent"));
    CHECK(hello->content_length() == 5);
    CHECK(hello->body().value() == "hello");
    CHECK(hello->body().value() == "hello");
    CHECK(hello->ended());
    CHECK(hello->url().text() == server.url("/hello"));
    CHECK(hello->header_count() >= 3);

    CHECK(told(ask.get(server.url("/echo/a%20b?c=d#e"), {.headers = {{"X-Mine", "m"}}})) == "200 /echo/a%20b?c=d m");
    CHECK(told(ask.post(server.url("/echo"), "text/x", "some body")) == "200 some body");
    CHECK(told(ask.post(server.url("/echo"), "text/x", "")) == "200 ");
    CHECK(told(ask.post(server.url("/echo"), "text/x", std::string(300'000, 'x'))) ==
          "200 " + std::string(300'000, 'x'));
    CHECK(ask.post(server.url("/echo"), "text/x", "b")->header("X-Type") == "text/x");
    CHECK(told(ask.get(server.url("/head"))) == "200 " + server.address + "|eventer");
    CHECK(told(ask.get(server.url("/none"))) == "204 ");
    CHECK(told(ask.get(server.url("/absent"))).starts_with("404 "));
    const auto head = ask.head(server.url("/hello"));
    CHECK(head->content_length() == 0);
    CHECK(head->header("Content-Length") == "5");
    CHECK(head->ended());
    CHECK(told(ask.get(server.url("/pieces"))).size() == 4 + 100'000);
    const auto counts = ask.statistics();
    CHECK(counts.opened == 1);
    CHECK(counts.reused == 10);
    CHECK(counts.idle == 1);
    CHECK(counts.in_use == 0);
  });
}

TEST_CASE("a body is read in pieces as it comes, and slows down its server") {
  eventer::run([] {
    const auto written = std::make_shared<std::size_t>(0);
    const real_server server(one_route("GET", "/", [written](http::request&, http::response& answer) {
      answer.content_length(64 << 20);
      const std::string piece(64 << 10, 'x');
      for (int i = 0; i < 1024; ++i) {
        if (!answer.write(piece)) return;
        *written += piece.size();
      }
    }));
    const http::client ask;
    auto answer = ask.get(server.url());
    REQUIRE(answer);
    CHECK(answer->content_length() == std::uint64_t{64} << 20);
    eventer::sleep_for(200ms);
    CHECK(*written < (std::size_t{32} << 20));
    auto part = std::make_unique<std::array<char, 10'000>>();
    std::size_t total = 0;
    for (int i = 0; i < 100; ++i) total += answer->read_some(*part).value();
    for (;;) {
      const auto piece = answer->read_piece();
      if (!piece) {
        CHECK(piece.error() == eventer::errc::end_of_stream);
        break;
      }
      total += piece->size();
    }
    CHECK(total == std::size_t{64} << 20);
    CHECK(answer->ended());
    CHECK(ask.statistics().idle == 1);
    CHECK(told(ask.get(server.url())) == "200 " + sentence(http::errc::body_too_large));
    CHECK(ask.statistics().idle == 0);
  });
}

TEST_CASE("an answer's body ends with total_time and with a deadline_scope, also where its bytes are always there") {
  run_virtually([] {
    const scripted_server server([](scripted_peer& peer, int) {
      if (!peer.request().empty()) peer.send("HTTP/1.1 200 OK\r\n\r\n" + std::string(100'000, 'x'));
    });
    const auto pieces_of = [](http::client_response& answer, std::error_code& why) {
      char part[100];
      for (int pieces = 0;; ++pieces) {
        const auto got = answer.read_some(part);
        if (!got) return why = got.error(), pieces;
        eventer::sleep_for(1s);
      }
    };
    std::error_code why;
    auto in_time = http::client({.total_time = 5s}).get(server.url());
    REQUIRE(in_time);
    CHECK(pieces_of(*in_time, why) < 100);
    CHECK(why == std::errc::timed_out);
    const http::client ask({.total_time = 0s});
    auto answer = ask.get(server.url());
    REQUIRE(answer);
    {
      const eventer::deadline_scope all(5s);
      CHECK(pieces_of(*answer, why) < 100);
    }
    CHECK(why == std::errc::timed_out);
    CHECK(answer->read_piece().error() == std::errc::timed_out);
    answer = ask.get(server.url());
    CHECK(ask.statistics().opened == 2);
  });
}

TEST_CASE("no byte of a body is lost between pieces of any size, and the end is where all of them were given") {
  run_virtually([] {
    const scripted_server server([](scripted_peer& peer, int) {
      for (std::string asked = peer.request(); !asked.empty(); asked = peer.request())
        peer.send(asked.starts_with("GET /length ") ? ok_with("0123456789abc")
                                                    : "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                                                      "a\r\n0123456789\r\n3\r\nabc\r\n0\r\n\r\n");
    });
    const http::client ask;
    for (const std::string_view target : {"/length", "/chunks"}) {
      CAPTURE(target);
      auto small = std::make_unique<std::array<char, 4>>();
      const auto next = [&](http::client_response& from) {
        const auto got = from.read_some(*small);
        return got ? std::string(small->data(), *got) : std::string();
      };
      auto answer = ask.get(server.url(target)).value();
      std::string whole;
      while (!answer.ended()) whole += next(answer);
      CHECK(whole == "0123456789abc");
      CHECK(answer.read_some(*small).error() == eventer::errc::end_of_stream);
      answer = ask.get(server.url(target)).value();
      whole = next(answer);
      for (auto piece = answer.read_piece(); piece; piece = answer.read_piece()) whole += *piece;
      CHECK(whole == "0123456789abc");
      answer = ask.get(server.url(target)).value();
      whole = next(answer);
      CHECK(whole + std::string(answer.body().value()) == "0123456789abc");
    }
    CHECK(server.connections() == 1);
  });
}

TEST_CASE("what would leave its line, or is the library's to say, is refused before anything is sent") {
  http::client_request ask("GET", "http://a/");
  CHECK_THROWS_AS(ask.header("X", "a\r\nB: c"), std::invalid_argument);
  CHECK_THROWS_AS(ask.header("X", "a\nb"), std::invalid_argument);
  CHECK_THROWS_AS(ask.add_header("X", std::string_view("a\0b", 3)), std::invalid_argument);
  CHECK_THROWS_AS(ask.header("X Y", "a"), std::invalid_argument);
  CHECK_THROWS_AS(ask.header("", "a"), std::invalid_argument);
  CHECK_THROWS_AS(ask.header("X:", "a"), std::invalid_argument);
  CHECK_THROWS_AS(ask.body("a\r\nb", "x"), std::invalid_argument);
  CHECK_THROWS_AS(ask.header("Host", "a b"), std::invalid_argument);
  for (const char* const own : {"content-length", "Transfer-Encoding", "Connection", "Upgrade", "TE", "Expect"})
    CHECK_THROWS_AS(ask.header(own, "1"), std::invalid_argument);
  CHECK_THROWS_AS(http::client_request("GET /x", "http://a/"), std::invalid_argument);
  CHECK_THROWS_AS(http::client_request("", "http://a/"), std::invalid_argument);
  CHECK_THROWS_AS(http::client_request("CONNECT", "http://a/"), std::invalid_argument);
  CHECK_THROWS_AS(http::client(http::client_options{.user_agent = "a\r\nb"}), std::invalid_argument);
}

TEST_CASE("requests say as much about their bodies as they must") {
  run_virtually([] {
    const scripted_server server([](scripted_peer& peer, int) {
      for (std::string asked = peer.request(); !asked.empty(); asked = peer.request()) peer.send(ok_with(asked));
    });
    const http::client ask({.user_agent = ""});
    const std::string host = " HTTP/1.1\r\nHost: " + server.address + "\r\n";
    CHECK(told(ask.get(server.url("/a?b"))) == "200 GET /a?b" + host + "\r\n");
    CHECK(told(ask.get(server.url())) == "200 GET /" + host + "\r\n");
    CHECK(told(ask.send(http::client_request("POST", server.url()))) ==
          "200 POST /" + host + "Content-Length: 0\r\n\r\n");
    CHECK(told(ask.send(http::client_request("DELETE", server.url()))) == "200 DELETE /" + host + "\r\n");
    CHECK(told(ask.post(server.url(), "a/b", "xyz")) ==
          "200 POST /" + host + "Content-Type: a/b\r\nContent-Length: 3\r\n\r\nxyz");
    CHECK(told(ask.send(std::move(http::client_request("GET", server.url()).header("Host", "other:1")))) ==
          "200 GET / HTTP/1.1\r\nHost: other:1\r\n\r\n");
    CHECK(server.connections() == 1);
  });
}

TEST_CASE("bad URLs, and servers that are not there, are errors") {
  eventer::run([] {
    CHECK(told(http::get("localhost/")) == make_error_code(http::url_errc::no_scheme).message());
    CHECK(told(http::get("ws://127.0.0.1/")) == make_error_code(http::url_errc::unknown_scheme).message());
    CHECK(http::get("http://127.0.0.1:1/").error() == std::errc::connection_refused);
    CHECK(told(http::get("http://256.1.1.1/")) == make_error_code(eventer::errc::bad_address).message());
  });
}

TEST_CASE("https without TLS is an error that says what to do") {
  eventer::run([] {
    // In this program another unit may have put it there.
    auto& security = http::detail::default_client_security();
    const auto before = security.exchange(nullptr);
    const std::string got = told(http::client().get("https://127.0.0.1:1/"));
    security.store(before);
    CHECK(got == sentence(http::errc::no_tls));
    CHECK(got.find("eventer/https_client.hpp") != std::string::npos);
  });
}

TEST_CASE("an idle connection is closed in time, though nobody asks for it, and does not keep its loop running") {
  eventer::manual_clock clock;
  const auto before = open_descriptors();
  {
    eventer::event_loop loop({.clock = &clock});
    const http::client ask;
    const auto ended = std::make_shared<int>(0);
    auto first = loop.spawn([ask, ended] {
      auto acceptor = std::make_shared<eventer::tcp_acceptor>(eventer::tcp_acceptor::listen("127.0.0.1:0").value());
      auto peer = eventer::spawn([acceptor, ended] {
        scripted_peer one(acceptor->accept().value());
        one.request();
        one.send(ok_with("x"));
        if (one.ends()) ++*ended;
      });
      const std::string url = "http://" + acceptor->local().to_string();
      CHECK(told(ask.get(url)) == "200 x");
      eventer::sleep_for(3900ms);
      CHECK(ask.statistics().idle == 1);
      CHECK(*ended == 0);
      eventer::sleep_for(200ms);
      CHECK(ask.statistics().idle == 0);
      peer.join();
      CHECK(*ended == 1);
    });
    loop.run();
    first.join();
    // Nothing but an idle connection is left: the loop ends.
    auto second = loop.spawn([ask] {
      const real_server server(echo_routes());
      CHECK(told(ask.get(server.url("/hello"))) == "200 hello");
      CHECK(ask.statistics().idle == 1);
      (void)server.server.drain(0s, 0s);
    });
    loop.run();
    second.join();
    auto third = loop.spawn([ask] {
      const scripted_server server([](scripted_peer& peer, int) {
        while (!peer.request().empty()) peer.send(ok_with("y"));
      });
      CHECK(told(ask.get(server.url())) == "200 y");
    });
    third.cancel();
    loop.run();
  }
  CHECK(open_descriptors() == before);
}

TEST_CASE("a loop's end closes what is kept, whoever still has the client") {
  const auto before = open_descriptors();
  const http::client ask;
  for (int i = 0; i < 3; ++i) {
    eventer::run([&ask] {
      const real_server server(echo_routes());
      CHECK(told(ask.get(server.url("/hello"))) == "200 hello");
      CHECK(told(http::get(server.url("/hello"))) == "200 hello");
      CHECK(ask.statistics().opened == 1);
    });
    CHECK(open_descriptors() == before);
  }
}

TEST_CASE("a client serves several loops, and may be dropped on any thread") {
  const auto before = open_descriptors();
  for (int round = 0; round < 20; ++round) {
    auto ask = std::make_unique<http::client>();
    eventer::loop_pool loops(2);
    loops.start();
    std::vector<eventer::join_handle<std::string>> all;
    for (unsigned i = 0; i < 2; ++i)
      all.push_back(loops[i].spawn([ask = *ask] {
        const real_server server(echo_routes());
        std::string result;
        for (int n = 0; n < 10; ++n) result = told(ask.get(server.url("/hello")));
        return result + " " + std::to_string(ask.statistics().opened);
      }));
    for (auto& each : all) CHECK(each.join() == "200 hello 1");
    if (round % 2 == 0) ask.reset();  // while the loops run, or behind their end
    loops.stop();
    loops.join();
  }
  CHECK(open_descriptors() == before);
}

namespace {

// A server on a loop of another thread.
struct server_elsewhere {
  explicit server_elsewhere(scripted_server::script what) : loops(1) {
    loops.start();
    url = loops[0]
              .spawn([this, what] {
                server = std::make_unique<scripted_server>(what);
                return server->url();
              })
              .join();
  }
  ~server_elsewhere() {
    loops[0].spawn([this] { server.reset(); }).join();
    loops.stop();
    loops.join();
  }
  eventer::loop_pool loops;
  std::unique_ptr<scripted_server> server;
  std::string url;
};
void answer_in_halves(scripted_peer& peer, int) {
  for (std::string asked = peer.request(); !asked.empty(); asked = peer.request()) {
    const std::string all = ok_with("small");
    peer.send(asked.starts_with("GET /half") ? all.substr(0, all.size() - 2) : all);
  }
}

}  // namespace

TEST_CASE("a response may be dropped on any thread, read or not, while its loop goes on and behind its end") {
  const auto before = open_descriptors();
  {
    const server_elsewhere server(answer_in_halves);
    const auto url = std::make_shared<const std::string>(server.url);
    for (const std::string target : {"", "half"}) {
      CAPTURE(target);
      const http::client ask({.max_connections = 3});
      const auto to = std::make_shared<const std::string>(server.url + target);
      std::vector<http::client_response> kept;
      {
        eventer::loop_pool loops(1);
        loops.start();
        const auto stop = std::make_shared<std::atomic<bool>>(false);
        auto busy = loops[0].spawn([ask, url, stop] {
          int wrong = 0;
          while (!*stop) wrong += told(ask.get(*url)) != "200 small";
          return wrong;
        });
        for (int i = 0; i < 200; ++i) {
          const auto answer = loops[0]
                                  .spawn([ask, to, reads = i % 2 == 0 && to->ends_with('/')] {
                                    auto made = ask.get(*to).value();
                                    if (reads) (void)made.body();
                                    return made;
                                  })
                                  .join();
          CHECK(answer.status() == 200);
          CHECK(answer.header("Content-Length") == "5");
        }
        *stop = true;
        CHECK(busy.join() == 0);
        for (int i = 0; i < 3; ++i) kept.push_back(loops[0].spawn([ask, to] { return ask.get(*to).value(); }).join());
        // All three are in use until the last of them has gone home.
        kept.pop_back();
        kept.push_back(loops[0].spawn([ask, to] { return ask.get(*to).value(); }).join());
        CHECK(loops[0].spawn([ask] { return ask.statistics().in_use; }).join() == 3);
        std::thread([last = std::move(kept.back())] {}).join();
        kept.pop_back();
        loops.stop();
        loops.join();
      }
      CHECK(kept.front().status() == 200);
      std::thread([one = std::move(kept.back())] {}).join();
      kept.clear();
    }
  }
  CHECK(open_descriptors() == before);
}

TEST_CASE("a response may be dropped on another thread at the moment at which its loop ends") {
  const server_elsewhere server(answer_in_halves);
  const auto url = std::make_shared<const std::string>(server.url);
  for (int i = 0; i < 50; ++i) {
    const http::client ask;
    auto loops = std::make_unique<eventer::loop_pool>(1);
    loops->start();
    auto answer = std::make_unique<http::client_response>(
        (*loops)[0].spawn([ask, url] { return ask.get(*url + "half").value(); }).join());
    std::thread drops([&answer] { answer.reset(); });
    loops->stop();
    loops->join();
    loops.reset();
    drops.join();
    CHECK(answer == nullptr);
  }
  // And in another loop, which may lie where its own has lain.
  std::unique_ptr<http::client_response> kept;
  for (int i = 0; i < 3; ++i)
    eventer::run([&kept, url] {
      kept = std::make_unique<http::client_response>(http::get(*url + "half").value());
      CHECK(told(http::get(*url)) == "200 small");
    });
}

TEST_CASE("a body that is read outside of its loop ends the process with a sentence") {
  if (EVENTER_TSAN) EVENTER_SKIP("ThreadSanitizer does not know fibers in a forked child");
  const auto result = run_in_child([] {
    std::unique_ptr<http::client_response> kept;
    eventer::run([&kept] {
      const scripted_server server(answer_in_halves);
      kept = std::make_unique<http::client_response>(http::client().get(server.url()).value());
    });
    (void)kept->body();
  });
  CHECK(result.signal == SIGABRT);
  CHECK(contains(result.output, "outside of the loop"));
  const auto on_another = run_in_child([] {
    std::unique_ptr<http::client_response> kept;
    for (int i = 0; i < 2; ++i)
      eventer::run([&kept] {
        if (kept != nullptr) (void)kept->body();
        const scripted_server server(answer_in_halves);
        kept = std::make_unique<http::client_response>(http::client().get(server.url()).value());
      });
  });
  CHECK(on_another.signal == SIGABRT);
  CHECK(contains(on_another.output, "outside of the loop"));
  // What body() has given is there everywhere.
  std::unique_ptr<http::client_response> whole;
  eventer::run([&whole] {
    const scripted_server server(answer_in_halves);
    whole = std::make_unique<http::client_response>(http::client().get(server.url()).value());
    CHECK(whole->body().value() == "small");
  });
  CHECK(whole->body().value() == "small");
}

TEST_CASE("a forked child opens connections of its own, and leaves its parent's alone") {
  if (EVENTER_TSAN) EVENTER_SKIP("ThreadSanitizer does not know fibers in a forked child");
  const server_elsewhere server([](scripted_peer& peer, int number) {
    while (!peer.request().empty()) peer.send(ok_with(std::to_string(number)));
  });
  eventer::run([url = server.url] {
    const http::client ask;
    CHECK(told(ask.get(url)) == "200 1");
    auto held = std::make_unique<http::client_response>(ask.get(url).value());
    CHECK(told(ask.get(url)) == "200 2");
    const pid_t child = ::fork();
    if (child == 0) {
      eventer::event_loop::current().after_fork_child();
      const bool right = told(ask.get(url)) == "200 3" && told(ask.get(url)) == "200 3";
      held.reset();
      ::_exit(right && ask.statistics().in_use == 0 ? 0 : 1);
    }
    int status = -1;
    CHECK(::waitpid(child, &status, 0) == child);
    CHECK(status == 0);
    CHECK(told(ask.get(url)) == "200 2");
    CHECK(held->body().value() == "1");
  });
}

TEST_CASE("no more connections than allowed are in use, and who waits is served in order and not for ever") {
  run_virtually([] {
    const real_server server(echo_routes());
    const http::client ask({.queue_time = 5s, .max_connections = 2});
    const auto order = std::make_shared<std::string>();
    std::vector<eventer::join_handle<void>> all;
    for (int i = 0; i < 6; ++i)
      all.push_back(eventer::spawn([ask, order, i, url = server.url("/slow")] {
        const auto answer = ask.get(url);
        if (answer && answer->status() == 200) order->append(std::to_string(i));
      }));
    for (auto& each : all) each.join();
    CHECK(*order == "012345");
    CHECK(ask.statistics().opened == 2);

    // A response that nobody reads holds its connection.
    const http::client one({.queue_time = 5s, .max_connections = 1});
    auto held = std::make_unique<http::client_response>(one.get(server.url("/pieces")).value());
    CHECK(one.get(server.url("/hello")).error() == std::errc::timed_out);
    auto waits = eventer::spawn([one, url = server.url("/hello")] { return told(one.get(url)); });
    eventer::sleep_for(1s);
    held.reset();
    CHECK(waits.join() == "200 hello");
    // Other origins have their own.
    held = std::make_unique<http::client_response>(one.get(server.url("/pieces")).value());
    const real_server other(echo_routes());
    CHECK(told(one.get(other.url("/hello"))) == "200 hello");
  });
}

TEST_CASE("so many idle connections are kept, of one origin and of all") {
  run_virtually([] {
    const real_server first(echo_routes()), second(echo_routes());
    const http::client ask({.max_idle = 3, .max_idle_of_all = 4});
    const auto load = [ask](const std::string& url) {
      std::vector<eventer::join_handle<std::string>> all;
      const auto kept = std::make_shared<const std::string>(url);
      for (int i = 0; i < 8; ++i) all.push_back(eventer::spawn([ask, kept] { return told(ask.get(*kept)); }));
      for (auto& each : all) CHECK(each.join() == "200 slow");
    };
    load(first.url("/slow"));
    CHECK(ask.statistics().idle == 3);
    load(second.url("/slow"));
    CHECK(ask.statistics().idle == 4);
    ask.close_idle();
    CHECK(ask.statistics().idle == 0);
    const http::client none({.max_idle = 0});
    CHECK(told(none.get(first.url("/hello"))) == "200 hello");
    CHECK(none.statistics().idle == 0);
  });
}

TEST_CASE("an answer whose body nobody reads gives its connection back only where the rest has come") {
  run_virtually([] {
    const scripted_server server([](scripted_peer& peer, int) {
      for (std::string asked = peer.request(); !asked.empty(); asked = peer.request()) {
        if (asked.starts_with("GET /all")) peer.send(ok_with("small"));
        if (asked.starts_with("GET /chunks"))
          peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nsmall\r\n0\r\n\r\n");
        if (asked.starts_with("GET /half")) peer.send(ok_with("small").substr(0, 40));
      }
    });
    const http::client ask;
    for (int i = 0; i < 3; ++i) CHECK(ask.get(server.url("/all"))->status() == 200);
    for (int i = 0; i < 3; ++i) CHECK(ask.get(server.url("/chunks"))->status() == 200);
    CHECK(server.connections() == 1);
    CHECK(ask.get(server.url("/half"))->status() == 200);
    CHECK(ask.statistics().idle == 0);
    CHECK(told(ask.get(server.url("/all"))) == "200 small");
    CHECK(server.connections() == 2);
    // Assigned over, it is dropped, too.
    auto answer = ask.get(server.url("/half"));
    answer = ask.get(server.url("/all"));
    CHECK(answer->body().value() == "small");
    CHECK(ask.statistics().in_use == 0);
  });
}

TEST_CASE("a server's Keep-Alive is heeded where it is shorter than ours") {
  run_virtually([] {
    struct row {
      std::string_view field;
      eventer::duration alive, closed;
    };
    for (const row& each :
         {row{"Keep-Alive: timeout=3\r\n", 1900ms, 2100ms}, row{"Keep-Alive: max=5, Timeout=3\r\n", 1900ms, 2100ms},
          row{"Keep-Alive: timeout=100\r\n", 3900ms, 4100ms}, row{"Keep-Alive: timeout=x\r\n", 3900ms, 4100ms},
          row{"", 3900ms, 4100ms}}) {
      CAPTURE(each.field);
      const scripted_server server([field = std::string(each.field)](scripted_peer& peer, int) {
        while (!peer.request().empty()) peer.send(ok_with("x", field));
      });
      const http::client ask;
      CHECK(told(ask.get(server.url())) == "200 x");
      eventer::sleep_for(each.alive);
      CHECK(ask.statistics().idle == 1);
      eventer::sleep_for(each.closed - each.alive);
      CHECK(ask.statistics().idle == 0);
    }
    const scripted_server server([](scripted_peer& peer, int) {
      while (!peer.request().empty()) peer.send(ok_with("x", "Keep-Alive: timeout=1\r\n"));
    });
    const http::client ask;
    CHECK(told(ask.get(server.url())) == "200 x");
    CHECK(ask.statistics().idle == 0);
  });
}

namespace {

// GET /to/302/WHERE is answered with 302 and a Location; everything else with what was asked.
void redirect(scripted_peer& peer, const std::string& other) {
  for (std::string asked = peer.request(); !asked.empty(); asked = peer.request()) {
    const std::size_t at = asked.find('/');
    if (!asked.substr(at).starts_with("/to/")) {
      peer.send(asked.starts_with("HEAD") ? "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n" : ok_with(asked));
      continue;
    }
    std::string where = asked.substr(at + 8, asked.find(' ', at) - at - 8);
    if (where == "here") where = "/here";
    if (where == "up") where = "../../up?q";
    if (where == "other") where = "http://" + other + "/there";
    if (where == "mail") where = "mailto:me";
    if (where == "ws") where = "ws://a/";
    if (where == "bad") where = "/%";
    if (where == "loop") where = "/to/302/loop";
    const bool has_body = !asked.starts_with("HEAD") && !asked.substr(at).starts_with("/to/304");
    peer.send("HTTP/1.1 " + asked.substr(at + 4, 3) + " Go\r\nLocation: " + where + "\r\nContent-Length: 4\r\n\r\n" +
              (has_body ? "gone" : ""));
  }
}

}  // namespace

TEST_CASE("redirects are followed, with the method and the fields that the next server should see") {
  run_virtually([] {
    const scripted_server other([](scripted_peer& peer, int) { redirect(peer, ""); });
    const scripted_server server([to = other.address](scripted_peer& peer, int) { redirect(peer, to); });
    const http::client ask({.user_agent = ""});
    const std::string host = " HTTP/1.1\r\nHost: " + server.address + "\r\n";
    const std::string host_of_other = " HTTP/1.1\r\nHost: " + other.address + "\r\n";
    const auto send = [&](std::string_view method, std::string_view target, bool with_body = false) {
      http::client_request what(method, server.url(target));
      what.header("Authorization", "secret").header("Cookie", "a=b").header("X", "y");
      if (with_body) what.body("t/t", "body");
      return told(ask.send(std::move(what)));
    };
    const std::string fields = "Authorization: secret\r\nCookie: a=b\r\nX: y\r\n";
    const std::string body = "Content-Type: t/t\r\nContent-Length: 4\r\n\r\nbody";
    for (const std::string status : {"301", "302", "303", "307", "308"}) {
      CAPTURE(status);
      const std::string here = "/to/" + status + "/here";
      const bool keeps = status == "307" || status == "308";
      CHECK(send("GET", here) == "200 GET /here" + host + fields + "\r\n");
      CHECK(send("GET", "/to/" + status + "/up") == "200 GET /up?q" + host + fields + "\r\n");
      CHECK(send("GET", "/to/" + status + "/other") == "200 GET /there" + host_of_other + "X: y\r\n\r\n");
      CHECK(send("HEAD", here) == "200 ");
      CHECK(send("POST", here, true) ==
            "200 " + (keeps ? "POST /here" + host + fields + body : "GET /here" + host + fields + "\r\n"));
      CHECK(send("PUT", here, true) ==
            "200 " + (status != "303" ? "PUT /here" + host + fields + body : "GET /here" + host + fields + "\r\n"));
    }
    CHECK(send("GET", "/to/300/here") == "300 gone");
    CHECK(send("GET", "/to/304/here") == "304 ");
    CHECK(send("GET", "/to/302/loop") == sentence(http::errc::too_many_redirects));
    CHECK(send("GET", "/to/302/mail") == sentence(http::errc::bad_redirect));
    CHECK(send("GET", "/to/302/ws") == sentence(http::errc::bad_redirect));
    CHECK(send("GET", "/to/302/bad") == sentence(http::errc::bad_redirect));
    CHECK(told(ask.get(server.url("/to/302/here"), {.redirects = 0})) == "302 gone");
    CHECK(told(ask.get(server.url("/to/302/here"), {.redirects = 1})).starts_with("200 "));
    CHECK(told(ask.get(server.url("/to/302//to/302/here"), {.redirects = 1})) ==
          sentence(http::errc::too_many_redirects));
    // A body that can't be made a second time: the redirect is the caller's.
    const auto upload = [&](const std::string& method, const std::string& status, bool repeatable) {
      return told(ask.send(std::move(http::client_request(method, server.url("/to/" + status + "/here"))
                                         .body_from([](http::body_writer& out) { (void)out.write("made"); },
                                                    {.length = 4, .repeatable = repeatable}))));
    };
    for (const std::string status : {"301", "302", "307", "308"}) {
      CAPTURE(status);
      CHECK(upload("PUT", status, false) == status + " gone");
      CHECK(upload("PUT", status, true) == "200 PUT /here" + host + "Content-Length: 4\r\n\r\nmade");
    }
    CHECK(upload("POST", "307", false) == "307 gone");
    CHECK(upload("POST", "302", false) == "200 GET /here" + host + "\r\n");
    CHECK(upload("PUT", "303", false) == "200 GET /here" + host + "\r\n");
    CHECK(ask.get(server.url("/to/302/other"))->url().text() == other.url("/there"));
    CHECK(server.connections() == 1);
  });
}

TEST_CASE("somebody else than the URL's host is connected to where the client says so, a unix socket too") {
  run_virtually([] {
    const std::string path = "@eventer-client-test-" + std::to_string(::getpid());
    http::server server(
        one_route("GET", "/", [](http::request& asked, http::response& answer) { answer.text(asked.header("Host")); }));
    auto acceptor = eventer::unix_acceptor::listen("unix:" + path).value();
    (void)eventer::spawn([server, acceptor = std::move(acceptor)]() mutable { (void)server.serve(acceptor); });
    const http::client ask({.connect_to = "unix:" + path});
    CHECK(told(ask.get("http://example.org/")) == "200 example.org");
    CHECK(told(ask.get("http://example.org/")) == "200 example.org");
    CHECK(ask.statistics().opened == 1);
    const real_server tcp(
        one_route("GET", "/", [](http::request& asked, http::response& answer) { answer.text(asked.header("Host")); }));
    CHECK(told(http::client({.connect_to = tcp.address}).get("http://example.org/")) == "200 example.org");
  });
}

TEST_CASE("a C++20 coroutine awaits an answer") {
  run_virtually([] {
    const real_server server(echo_routes());
    const auto work = [](std::string url) -> eventer::task<std::string> {
      const http::client ask;
      auto answer = co_await ask.async_get(url);
      if (!answer) co_return answer.error().message();
      co_return std::to_string(answer->status());
    };
    CHECK(eventer::await(work(server.url("/hello"))) == "200");
  });
}
