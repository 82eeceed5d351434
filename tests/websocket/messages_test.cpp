// A server's socket at work: messages, control frames in between, those who write at the same time, limits, the end.
#include "../captured_log.hpp"
#include "ws_client.hpp"

using namespace ws_test;

namespace {

// What a handler has seen, beyond its socket's life.
struct seen {
  std::string told;
  std::uint16_t code = 0;
  std::string reason;
  bool is_over = false;
};
// Reads to the end and keeps what it was told.
auto read_all(const std::shared_ptr<seen>& into) {
  return [into](http::websocket& socket) {
    for (;;) {
      const auto got = socket.read();
      if (!got) {
        into->told += "<" + got.error().message() + ">";
        break;
      }
      into->told += (got->is_text ? "T<" : "B<") + got->data + ">";
    }
    into->code = socket.close_code();
    into->reason = socket.close_reason();
    into->is_over = true;
    CHECK_FALSE(socket.is_open());
    CHECK(socket.read().error());  // and stays so
    CHECK_FALSE(socket.write("x"));
  };
}

}  // namespace

TEST_CASE("echo: text, binary, in pieces of any size, as pieces of any size come") {
  run_virtually([] {
    const http::server server(one_socket(echo));
    for (const unsigned percent : {0u, 30u, 90u}) {
      memory_client peer(server, {.seed = 7,
                                  .short_reads = percent,
                                  .short_writes = percent,
                                  .would_blocks = percent,
                                  .capacity = percent > 50 ? 1000u : 65536u});
      REQUIRE(peer.open() == 101);
      for (const std::size_t size : {0u, 1u, 125u, 126u, 4096u, 65535u, 65536u, 200'000u}) {
        const std::string payload(size, 'p');
        const auto cut = static_cast<std::ptrdiff_t>(size / 3);
        REQUIRE(peer.send(text(payload)));
        CHECK(peer.next() == "T<" + payload + ">");
        REQUIRE(peer.send(frame(2, payload.substr(0, size / 3), open_ended) + frame(9, "in between") +
                          frame(0, std::string(payload.begin() + cut, payload.end()))));
        CHECK(peer.next() == "O<in between>");
        CHECK(peer.next() == "B<" + payload + ">");
      }
      REQUIRE(peer.send(frames::close(1000, "bye")));
      CHECK(peer.rest_of_frames() == "C<1000 >");
    }
  });
}

TEST_CASE("the end: what the peer says, what it is told, what the handler gets") {
  struct ending {
    const char* what;
    std::string sent, answered, told;
    std::uint16_t code;
    std::string reason = {};
  };
  const std::string clean = "<end of stream: the peer has closed its side>";
  const std::string wrong = "<" + make_error_code(http::websocket_errc::protocol_error).message() + ">";
  const std::string bad_text = "<" + make_error_code(http::websocket_errc::bad_text).message() + ">";
  const std::string large = "<" + make_error_code(http::websocket_errc::too_large).message() + ">";
  const std::string cut = "<" + std::make_error_code(std::errc::connection_aborted).message() + ">";
  const ending cases[] = {
      {"a close", frames::close(1000), "C<1000 >", clean, 1000},
      {"with a reason", text("a") + frames::close(4001, "tired"), "C<4001 >", "T<a>" + clean, 4001, "tired"},
      {"without a code", frame(8, ""), "C<1005 >", clean, 1005},
      {"in the midst of a message", text("a", open_ended) + frames::close(1001), "C<1001 >", clean, 1001},
      {"and something behind it", frames::close(1000) + text("ignored"), "C<1000 >", clean, 1000},
      {"no mask", text("a", {.masked = false}), "C<1002 >", wrong, 1002},
      {"a bit", text("a") + text("b", {.reserved = 4}), "C<1002 >", "T<a>" + wrong, 1002},
      {"a code that is none", frames::close(1005), "C<1002 >", wrong, 1002},
      {"no UTF-8", text("\xff"), "C<1007 >", bad_text, 1007},
      {"a reason that is no UTF-8", frames::close(1000, "\xff"), "C<1007 >", bad_text, 1007},
      {"too large", frame(2, "", {.claims = 2'000'000}), "C<1009 >", large, 1009},
      {"pings are answered first", frame(9, "1") + frame(9, "2") + frame(9, "3") + frames::close(1000),
       "O<1>O<2>O<3>C<1000 >", clean, 1000},
      {"only the end", "", "", cut, 1006},
      {"the end in the midst of a frame", text("hello").substr(0, 8), "", cut, 1006},
      {"the end between two frames of a message", text("hello", open_ended), "", cut, 1006},
  };
  run_virtually([&cases] {
    for (const ending& each : cases) {
      CAPTURE(each.what);
      const auto all = std::make_shared<seen>();
      const http::server server(one_socket(read_all(all)));
      memory_client peer(server);
      REQUIRE(peer.open() == 101);
      REQUIRE(peer.send(each.sent));
      if (each.answered.empty()) peer.finish_sending();
      CHECK(peer.rest_of_frames() == each.answered);
      peer.close();
      eventer::sleep_for(10s);
      CHECK(all->told == each.told);
      CHECK(all->code == each.code);
      CHECK(all->reason == each.reason);
      CHECK(peer.is_over());
    }
  });
}

TEST_CASE("who is refused while it sends can send on for a while, so that no reset takes the reason from it") {
  run_virtually([] {
    const http::server server(one_socket(echo, {.max_message = 100}));
    memory_client peer(server, {.capacity = 10'000});
    REQUIRE(peer.open() == 101);
    REQUIRE(peer.send(frame(2, "", {.claims = 1'000'000})));
    CHECK(peer.rest_of_frames() == "C<1009 >");
    CHECK_FALSE(peer.is_over());
    REQUIRE(peer.send(std::string(500'000, 'x')));
    eventer::sleep_for(3s);
    CHECK(peer.is_over());
  });
}

TEST_CASE("a handler that returns, throws, closes, or is a task") {
  const captured_log log;
  run_virtually([] {
    http::router routes;
    const auto result = std::make_shared<std::string>();
    routes.websocket("/returns", [](http::websocket&) {});
    routes.websocket("/throws", [](http::websocket&) { throw std::runtime_error("something"); });
    routes.websocket("/closes", [result](http::websocket& socket) {
      *result = why(socket.close(4000, "enough"));
      CHECK(why(socket.close()) == *result);  // twice is harmless
      CHECK_FALSE(socket.is_open());
    });
    routes.websocket("/wrong", [](http::websocket& socket) {
      CHECK(socket.close(1005).error() == make_error_code(http::websocket_errc::bad_code));
      CHECK(socket.close(1000, std::string(124, 'r')).error() == make_error_code(http::websocket_errc::too_long));
      CHECK(socket.close(1000, "\xff").error() == make_error_code(http::websocket_errc::bad_text));
      CHECK(socket.ping(std::string(126, 'p')).error() == make_error_code(http::websocket_errc::too_long));
      CHECK(socket.pong(std::string(126, 'p')).error() == make_error_code(http::websocket_errc::too_long));
      CHECK(socket.write("\xff").error() == make_error_code(http::websocket_errc::bad_text));
      CHECK(socket.is_open());
      CHECK(socket.pong("alive"));
      CHECK(socket.write_binary("\xff"));
    });
    routes.websocket("/task", [](http::websocket& socket) -> eventer::task<> {
      const auto got = socket.read();
      co_await eventer::after(1s);
      if (got) (void)socket.write("task " + got->data);
    });
    const http::server server(std::move(routes));
    const auto all_of = [&server](std::string_view path, std::string_view sent, std::string_view answer) {
      memory_client peer(server);
      if (peer.open(path) != 101) return std::string("refused");
      (void)peer.send(sent);
      std::string told;
      while (told.find('C') == std::string::npos && !told.ends_with(memory_client::ended)) told += peer.next();
      (void)peer.send(answer);
      return told + peer.rest_of_frames();
    };
    CHECK(all_of("/returns", "", frames::close(1000)) == "C<1000 >");
    CHECK(all_of("/throws", "", frames::close(1011)) == "C<1011 the server has failed>");
    CHECK(all_of("/closes", "", text("late") + frames::close(4000)) == "C<4000 enough>");
    CHECK(result->empty());
    CHECK(all_of("/closes", "", frames::close(4002)) == "C<4000 enough>");
    CHECK(all_of("/closes", "", "") == "C<4000 enough>");  // it waits no longer than close_within
    CHECK(*result == "timed out");
    CHECK(all_of("/wrong", "", frames::close(1000)) == "O<alive>B<\xff>C<1000 >");
    CHECK(all_of("/task", text("a"), frames::close(1000)) == "T<task a>C<1000 >");
  });
  CHECK(log.count("the handler of a websocket has thrown") == 1);
  CHECK(log.count("something") == 1);
}

TEST_CASE("several write at the same time: frames are whole, and pongs are between them") {
  run_virtually([] {
    constexpr std::size_t writers = 5, each_writes = 20;
    const http::server server(one_socket([](http::websocket& socket) {
      eventer::task_group all;
      http::websocket* const shared = &socket;  // which lies on the heap
      for (std::size_t i = 0; i < writers; ++i)
        all.spawn([shared, i] {
          for (std::size_t k = 0; k < each_writes; ++k) {
            const std::string payload(1 + i * 3000, static_cast<char>('a' + i));
            CHECK(shared->write(payload));
          }
        });
      for (int i = 0; i < 10; ++i) CHECK(socket.read());
      all.join();
    }));
    memory_client peer(server, {.seed = 3, .short_writes = 50, .would_blocks = 30, .capacity = 700});
    REQUIRE(peer.open() == 101);
    std::string frames_sent;
    for (int i = 0; i < 10; ++i) frames_sent += frame(9, "ping") + text("go on");
    REQUIRE(peer.send(frames_sent));
    std::size_t pongs = 0, wrong = 0, messages = 0;
    for (std::string each = peer.next(); each != "C<1000 >"; each = peer.next()) {
      if (each == "O<ping>") {
        ++pongs;
        continue;
      }
      ++messages;
      const std::size_t kind = static_cast<std::size_t>(each.size() > 2 ? each[2] - 'a' : 99);
      if (kind >= writers || each != "T<" + std::string(1 + kind * 3000, each[2]) + ">") ++wrong;
      if (messages > 1000) break;
    }
    CHECK(messages == writers * each_writes);
    CHECK(wrong == 0);
    CHECK(pongs >= 1);
    CHECK(pongs <= 10);
  });
}

TEST_CASE("a peer that sends pings and reads nothing: one pong waits, and the writer's limit ends it") {
  run_virtually([] {
    const auto all = std::make_shared<seen>();
    const auto failure = std::make_shared<std::string>();
    const http::server server(one_socket(
        [all, failure](http::websocket& socket) {
          http::websocket* const shared = &socket;
          eventer::task_group writer;
          writer.spawn([shared, failure] { *failure = why(shared->write(std::string(500'000, 'x'))); });
          read_all(all)(socket);
          writer.join();
        },
        {.ping_every = 0s, .write_stall = 10s}));
    memory_client peer(server, {.capacity = 10'000});
    REQUIRE(peer.open() == 101);
    const auto began = eventer::event_loop::current().now();
    // A thousand are taken although none can be answered.
    for (int i = 0; i < 1000; ++i) REQUIRE(peer.send(frame(9, std::to_string(i))));
    REQUIRE(peer.send(text("through")));
    while (!all->is_over) eventer::sleep_for(100ms);
    CHECK(eventer::event_loop::current().now() - began < 11s);
    CHECK(*failure == "timed out");
    CHECK(all->told == "T<through><timed out>");
    CHECK(all->code == 1006);
  });
}

TEST_CASE("a slow reader gets everything, and the latest pong") {
  run_virtually([] {
    const http::server server(one_socket([](http::websocket& socket) {
      http::websocket* const shared = &socket;
      eventer::task_group writer;
      writer.spawn([shared] { CHECK(shared->write(std::string(100'000, 'x'))); });
      CHECK(socket.read().error() == eventer::errc::end_of_stream);
      writer.join();
    }));
    memory_client peer(server, {.capacity = 2000});
    REQUIRE(peer.open() == 101);
    for (int i = 0; i < 50; ++i) REQUIRE(peer.send(frame(9, std::to_string(i))));
    eventer::sleep_for(20s);  // less than write_stall
    CHECK(peer.next() == "T<" + std::string(100'000, 'x') + ">");
    CHECK(peer.next() == "O<49>");
    REQUIRE(peer.send(frames::close(1000)));
    CHECK(peer.next() == "C<1000 >");
  });
}

TEST_CASE("a silent peer is asked, and given up when it does not answer") {
  struct silence {
    const char* what;
    http::websocket_options with;
    bool answers;
    std::string told;
    std::chrono::seconds not_before, not_behind;
    std::uint16_t code;
  };
  const silence cases[] = {
      {"gone", {.ping_every = 10s, .pong_within = 3s}, false, "I<>", 13s, 14s, 1006},
      {"there", {.ping_every = 10s, .pong_within = 3s}, true, "", 95s, 105s, 1006},
      {"not asked", {.ping_every = 0s}, false, "", 95s, 105s, 1006},
      {"idle", {.ping_every = 10s, .pong_within = 3s, .idle = 35s}, true, "", 35s, 37s, 1008},
      {"idle, not asked", {.ping_every = 0s, .idle = 35s}, false, "C<1008 >", 35s, 38s, 1008},
  };
  run_virtually([&cases] {
    for (const silence& each : cases) {
      CAPTURE(each.what);
      const auto all = std::make_shared<seen>();
      const http::server server(one_socket(read_all(all), each.with));
      const auto shared = std::make_shared<memory_client>(server);
      memory_client& peer = *shared;
      REQUIRE(peer.open() == 101);
      const auto began = eventer::event_loop::current().now();
      const auto pings = std::make_shared<std::string>();
      auto client = eventer::spawn([shared, pings, answers = each.answers] {
        for (;;) {
          const std::string got = shared->next();
          if (!got.starts_with("<")) *pings += got;
          if (got != "I<>") return;
          if (answers && !shared->send(frame(10, ""))) return;
        }
      });
      for (int i = 0; i < 1000 && !all->is_over; ++i) eventer::sleep_for(100ms);
      const auto took = eventer::event_loop::current().now() - began;
      eventer::sleep_for(1ms);
      CHECK(took >= each.not_before);
      CHECK(took <= each.not_behind);
      if (all->is_over) {
        CHECK(all->told == "<timed out>");
        CHECK(all->code == each.code);
      }
      if (!each.told.empty()) CHECK(*pings == each.told);
      if (std::string_view(each.what) == "there") CHECK(pings->starts_with("I<>I<>I<>I<>I<>I<>I<>I<>I<>"));
      peer.close();
      client.join();
      eventer::sleep_for(10s);
      CHECK(all->is_over);
    }
  });
}

TEST_CASE("a peer is looked after by reads that do not wait, too") {
  for (const bool answers : {false, true}) {
    CAPTURE(answers);
    run_virtually([answers] {
      const auto told = std::make_shared<std::string>();
      const http::server server(one_socket(
          [told](http::websocket& socket) {
            for (int i = 0; i < 600 && socket.is_open(); ++i) {
              while (const auto message = socket.read(0s)) *told += message->data;
              eventer::sleep_for(100ms);
            }
            *told += socket.is_open() ? "open" : "gone";
          },
          {.ping_every = 10s, .pong_within = 3s}));
      memory_client peer(server);
      REQUIRE(peer.open() == 101);
      REQUIRE(peer.send(text("a")));
      for (int pings = 0; pings < (answers ? 5 : 1); ++pings) {
        CHECK(peer.next() == "I<>");
        if (answers) REQUIRE(peer.send(frame(10, "")));
      }
      eventer::sleep_for(30s);
      CHECK(*told == (answers ? "aopen" : "agone"));
    });
  }
}

TEST_CASE("a read with a limit ends at it and loses nothing; a second reader is refused") {
  run_virtually([] {
    const auto told = std::make_shared<std::string>();
    const http::server server(one_socket([told](http::websocket& socket) {
      http::websocket* const shared = &socket;
      auto other = eventer::spawn([shared] {
        eventer::sleep_for(500ms);
        return shared->read().error() == eventer::errc::busy;
      });
      for (int i = 0; i < 5; ++i) {
        const auto got = socket.read(1s);
        *told += got ? got->data : got.error() == std::errc::timed_out ? "-" : "?";
        CHECK(socket.is_open());
      }
      CHECK(other.join());
      {
        const eventer::deadline_scope all(1s);
        CHECK(socket.read().error() == std::errc::timed_out);
        CHECK(socket.read().error() == std::errc::timed_out);
        CHECK(socket.is_open());
      }
      *told += socket.read().value().data;
    }));
    memory_client peer(server);
    REQUIRE(peer.open() == 101);
    const std::string bytes = text("whole", open_ended) + frame(0, "?");
    for (const std::string& piece : {bytes.substr(0, 3), bytes.substr(3, 5), bytes.substr(8)}) {
      eventer::sleep_for(1100ms);
      REQUIRE(peer.send(piece));
    }
    eventer::sleep_for(10s);
    REQUIRE(peer.send(text(".")));
    CHECK(peer.next() == "C<1000 >");
    CHECK(*told == "---whole?-.");
  });
}

TEST_CASE("who closes while another reads: the reader gets the end") {
  run_virtually([] {
    const auto all = std::make_shared<seen>();
    const auto closed = std::make_shared<std::string>("not yet");
    const http::server server(one_socket(
        [all, closed](http::websocket& socket) {
          http::websocket* const shared = &socket;
          eventer::task_group other;
          other.spawn([shared, closed] {
            eventer::sleep_for(1s);
            *closed = why(shared->close(4000, "from elsewhere"));
          });
          read_all(all)(socket);
          other.join();
        },
        {.ping_every = 0s}));
    for (const bool answers : {true, false}) {
      *all = {};
      *closed = "not yet";
      memory_client peer(server);
      REQUIRE(peer.open() == 101);
      CHECK(peer.next() == "C<4000 from elsewhere>");
      if (answers) {
        REQUIRE(peer.send(text("late") + frames::close(4000)));
        CHECK(peer.rest_of_frames().empty());
        eventer::sleep_for(1s);
        CHECK(all->told == "T<late><end of stream: the peer has closed its side>");
        CHECK(closed->empty());
      } else {
        eventer::sleep_for(6s);
        CHECK(all->told == "<timed out>");
        CHECK(*closed == "timed out");
      }
      CHECK(all->is_over);
    }
  });
}

TEST_CASE("cancelled: a read loses nothing, a write in the midst of a frame ends the connection") {
  run_virtually([] {
    const auto told = std::make_shared<std::string>();
    const http::server server(one_socket([told](http::websocket& socket) {
      http::websocket* const shared = &socket;
      auto reads = eventer::spawn([shared] { (void)shared->read(); });
      eventer::sleep_for(1s);
      reads.cancel();
      (void)reads.try_join();
      const auto got = socket.read();
      *told += got ? got->data : got.error().message();
      // Waits for its turn behind one that waits for the peer: nothing of it is sent.
      auto first = eventer::spawn([shared] { (void)shared->write(std::string(50'000, 'x')); });
      auto second = eventer::spawn([shared] { (void)shared->write("second"); });
      eventer::sleep_for(1s);
      CHECK(socket.is_open());
      first.cancel();
      (void)first.try_join();
      second.join();
      CHECK_FALSE(socket.is_open());
      *told += socket.write("y").error() == make_error_code(http::websocket_errc::broken) ? " broken" : " not";
      CHECK(socket.close_code() == 1006);
    }));
    memory_client peer(server, {.capacity = 5000});
    REQUIRE(peer.open() == 101);
    REQUIRE(peer.send(text("half", open_ended).substr(0, 8)));
    eventer::sleep_for(2s);
    REQUIRE(peer.send(text("half", open_ended).substr(8) + frame(0, " and half")));
    eventer::sleep_for(5s);
    CHECK(*told == "half and half broken");
    const std::string rest = peer.rest();
    CHECK(rest.find("second") == std::string::npos);
  });
}
