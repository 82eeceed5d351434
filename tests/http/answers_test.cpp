// Answers in pieces: slow readers, and what was announced against what is written.
#include "../virtual_run.hpp"
#include "http_client.hpp"

using namespace http_test;

TEST_CASE("an answer in pieces waits for a slow reader, and ends with timed_out where that reads nothing") {
  struct result {
    std::size_t written = 0;
    std::error_code failure;
  };
  const auto all = std::make_shared<result>();
  run_virtually([all] {
    http::server_options options;
    options.limits.response_stall = 5s;
    const http::server server(one_route("GET", "/",
                                        [all](http::request&, http::response& answer) {
                                          const std::string piece(10'000, 'x');
                                          for (int i = 0; i < 100; ++i) {
                                            const auto done = answer.write(piece);
                                            if (!done) {
                                              all->failure = done.error();
                                              return;
                                            }
                                            all->written += piece.size();
                                          }
                                        }),
                              std::move(options));
    {
      served peer(server, {.capacity = 32 << 10});
      REQUIRE(peer.send(get("/")));
      eventer::sleep_for(3s);
      CHECK(all->written > 20'000);
      CHECK(all->written < 60'000);
      std::size_t most = 0;
      while (most < 1'000'000 && peer.more()) {
        most = peer.unread().size();
        CHECK(all->written < most + 60'000);
        eventer::sleep_for(1s);  // slow, but not for five seconds
      }
      CHECK(peer.read().body.size() == 1'000'000);
      CHECK_FALSE(all->failure);
    }
    {
      served peer(server, {.capacity = 32 << 10});
      REQUIRE(peer.send(get("/")));
      eventer::sleep_for(6s);
      CHECK(all->failure == std::errc::timed_out);
      CHECK(peer.is_over());
      CHECK(statuses_of(peer.rest()) == "<malformed>");  // no last chunk
    }
  });
}

TEST_CASE("a whole answer of a megabyte to a slow reader") {
  run_virtually([] {
    const std::string page(1 << 20, 'p');
    const http::server server(
        one_route("GET", "/", [page](http::request&, http::response& answer) { answer.html(page); }));
    served peer(server, {.short_writes = 50, .capacity = 1000});
    for (int i = 0; i < 2; ++i) CHECK(peer.ask(get("/")).body == page);
  });
}

TEST_CASE("what was announced is what is written, or the connection ends") {
  struct row {
    const char* what;
    std::string statuses;  // of two answers before the end
    void (*write)(http::response&);
  };
  const row rows[] = {
      {"exactly", "200 200", [](http::response& answer) { (void)answer.content_length(3).write("abc"); }},
      {"none", "200 200", [](http::response& answer) { (void)answer.content_length(0).write(""); }},
      {"less", "200 <malformed>", [](http::response& answer) { (void)answer.content_length(9).write("abc"); }},
      {"more", "200 <malformed>",
       [](http::response& answer) {
         const auto done = answer.content_length(2).write("abc");
         if (done.error() != http::errc::wrong_length) std::abort();
       }},
      {"more, later", "200 200",  // whole, and then the end
       [](http::response& answer) {
         (void)answer.content_length(2).write("ab");
         if (answer.write("c").error() != http::errc::wrong_length) std::abort();
       }},
      {"behind the end", "200 200",
       [](http::response& answer) {
         (void)answer.write("ab");
         if (!answer.end() || answer.write("c").error() != http::errc::answered) std::abort();
         if (answer.end().error() != http::errc::answered) std::abort();
       }},
      {"whole, then pieces", "200 200",
       [](http::response& answer) {
         answer.text("ab");
         (void)answer.write("c");
       }},
      {"pieces, then whole", "200 200",
       [](http::response& answer) {
         (void)answer.write("a");
         answer.text("bc");
       }},
  };
  run_virtually([&rows] {
    for (const row& each : rows) {
      CAPTURE(each.what);
      http::router routes;
      routes.get("/", [](http::request&, http::response& answer) { answer.text("hello"); });
      routes.get("/it", [&each](http::request&, http::response& answer) { each.write(answer); });
      const std::string all = all_answers(http::server(std::move(routes)), get("/") + get("/it"));
      CHECK(statuses_of(all) == each.statuses);
      if (std::string_view(each.what).find("whole") != std::string_view::npos) {
        answer last;
        std::size_t used = 0;
        const std::size_t second = all.rfind("HTTP/1.1 ");
        REQUIRE(answer_parser::parse(std::string_view(all).substr(second), false, true, last, used) == parsed::whole);
        CHECK(last.body == "abc");
      }
    }
  });
}

TEST_CASE("an answer that is to end soon goes when its handler waits, or with those around it") {
  run_virtually([] {
    eventer::shared_event goes_on;
    http::router routes;
    routes.get("/waits",
               [waits = std::make_shared<eventer::shared_event>(goes_on)](http::request&, http::response& answer) {
                 answer.text("first");
                 if (!answer.end_soon() || answer.end_soon().error() != http::errc::answered) std::abort();
                 waits->wait();
               });
    routes.get("/returns", [](http::request&, http::response& answer) {
      answer.text("second");
      (void)answer.end_soon();
    });
    routes.get("/pieces", [](http::request&, http::response& answer) {
      (void)answer.write("third");
      (void)answer.end_soon();
    });
    const http::server server(std::move(routes));
    served peer(server);
    CHECK(peer.ask(get("/waits")).body == "first");
    goes_on.set();
    CHECK(peer.ask(get("/returns")).body == "second");
    CHECK(peer.ask(get("/pieces")).body == "third");
    CHECK(statuses_of(all_answers(server, get("/returns") + get("/pieces") + get("/returns"))) == "200 200 200");
  });
}
