// Peers that do not read, that send without a pause, or both: what reading sends by itself, and who waits for whom.
#include "../tls/certificates.hpp"
#include "ws_client.hpp"

using namespace ws_test;

namespace {

eventer::duration since(eventer::time_point then) { return eventer::event_loop::current().now() - then; }
// So many pings that the pongs fill a stream of 5,000 bytes.
std::string many_pings() {
  std::string all;
  while (all.size() < 40'000) all += frame(9, std::string(120, 'p'));
  return all;
}

}  // namespace

TEST_CASE("a peer that pings and does not read: a read keeps its limit, and may be cancelled") {
  run_virtually([] {
    const auto told = std::make_shared<std::string>();
    const http::server server(one_socket(
        [told](http::websocket& socket) {
          http::websocket* const shared = &socket;
          for (int i = 0; i < 3; ++i) {
            const auto began = eventer::event_loop::current().now();
            CHECK(socket.read(1s).error() == std::errc::timed_out);
            CHECK(since(began) < 1100ms);
          }
          auto reads = eventer::spawn([shared] { (void)shared->read(); });
          eventer::sleep_for(1s);
          reads.cancel();
          (void)reads.try_join();
          CHECK(socket.is_open());
          CHECK(socket.write("y"));  // when the peer reads, behind a pong
          CHECK(socket.read().error() == eventer::errc::end_of_stream);
          *told = "all";
        },
        {.ping_every = 0s}));
    memory_client peer(server, {.capacity = 5000});
    REQUIRE(peer.open() == 101);
    REQUIRE(peer.send(many_pings()));
    eventer::sleep_for(10s);
    std::string got;
    std::size_t pongs = 0;
    while ((got = peer.next()) == "O<" + std::string(120, 'p') + ">") ++pongs;
    CHECK(got == "T<y>");
    CHECK(pongs >= 5000 / 122);
    CHECK(pongs < 100);  // what could not be sent was dropped, but for the latest
    if (got == "T<y>") CHECK(peer.next().starts_with("O<"));
    REQUIRE(peer.send(frames::close(1000)));
    CHECK(peer.next() == "C<1000 >");
    eventer::sleep_for(1s);
    CHECK(*told == "all");
  });
}

TEST_CASE("the rest of a pong leaves when the peer reads, although nobody writes and nothing comes") {
  run_virtually([] {
    for (std::size_t filled = 4850; filled <= 5000; filled += 7) {
      CAPTURE(filled);
      const http::server server(one_socket(
          [filled](http::websocket& socket) {
            CHECK(socket.write(std::string(filled - 4, 'x')));
            (void)socket.read();
          },
          {.ping_every = 0s}));
      memory_client peer(server, {.capacity = 5000});
      REQUIRE(peer.open() == 101);
      REQUIRE(peer.send(frame(9, std::string(120, 'p'))));
      eventer::sleep_for(10s);
      CHECK(peer.next().size() == filled - 4 + 3);
      CHECK(peer.next() == "O<" + std::string(120, 'p') + ">");
    }
  });
}

TEST_CASE("a pong that the peer never takes ends the connection as a write would") {
  run_virtually([] {
    const auto told = std::make_shared<std::string>();
    const http::server server(one_socket(
        [told](http::websocket& socket) {
          const auto began = eventer::event_loop::current().now();
          *told = why(socket.read());
          CHECK(since(began) >= 10s);
          CHECK(since(began) < 12s);
          CHECK(socket.close_code() == 1006);
        },
        {.ping_every = 0s, .write_stall = 10s}));
    memory_client peer(server, {.capacity = 5000});
    REQUIRE(peer.open() == 101);
    REQUIRE(peer.send(many_pings()));
    eventer::sleep_for(30s);
    CHECK(*told == "timed out");
    CHECK(peer.is_over());
  });
}

TEST_CASE("a write is done when its message is sent, however many pings come meanwhile") {
  run_virtually([] {
    const auto took = std::make_shared<eventer::duration>(eventer::duration::max());
    const http::server server(one_socket(
        [took](http::websocket& socket) {
          http::websocket* const shared = &socket;
          eventer::task_group reader;
          reader.spawn([shared] { (void)shared->read(); });
          const auto began = eventer::event_loop::current().now();
          CHECK(socket.write(std::string(20'000, 'x')));
          *took = since(began);
          reader.cancel();
        },
        {.ping_every = 0s}));
    const auto peer = std::make_shared<memory_client>(server, eventer::memory_stream_options{.capacity = 2000});
    REQUIRE(peer->open() == 101);
    eventer::task_group pings;
    pings.spawn([peer] {
      for (int i = 0; i < 600; ++i) {
        if (!peer->send(frame(9, std::string(125, 'p')))) return;
        eventer::sleep_for(100ms);
      }
    });
    std::string part(125, '\0');
    for (int i = 0; i < 600; ++i) {
      if (!peer->stream().read_some(part, 1s)) break;
      eventer::sleep_for(100ms);
    }
    CHECK(*took < 20s);  // the message alone takes 16
    peer->close();
  });
}

TEST_CASE("small frames without end: others run, whatever the frames are") {
  struct kind {
    const char* what;
    std::string first, each;
  };
  for (const kind& of :
       {kind{"pongs", "", frame(10, "")}, kind{"pings", "", frame(9, "")}, kind{"messages", "", text("")},
        kind{"fragments", text("", open_ended), frame(0, "", open_ended)}}) {
    CAPTURE(of.what);
    run_virtually([&of] {
      constexpr std::size_t frames = 200'000;
      const auto over = std::make_shared<bool>(false);
      const http::server server(one_socket([over](http::websocket& socket) {
        while (socket.read()) {
        }
        *over = true;
      }));
      const auto peer = std::make_shared<memory_client>(server, eventer::memory_stream_options{.capacity = 4 << 20});
      REQUIRE(peer->open() == 101);
      std::string all = of.first;
      for (std::size_t i = 0; i < frames; ++i) all += of.each;
      REQUIRE(peer->send(all));
      peer->finish_sending();
      // Each turn of this coroutine is one of the loop's.
      std::size_t turns = 0;
      for (; !*over; ++turns) eventer::yield();
      CHECK(turns >= frames / 50'000);
      peer->close();
    });
  }
}

TEST_CASE("limits hold against a peer that sends without a pause") {
  struct limit {
    const char* what;
    std::string sent;
    http::websocket_options with;
    std::uint16_t code;
  };
  const limit cases[] = {
      {"of a read", frame(10, "p"), {}, 0},
      {"of silence", frame(10, "p"), {.idle = 50ms}, 1008},
      {"of lingering", std::string(1000, '\0'), {.max_message = 10}, 1002},
  };
  for (const limit& each : cases) {
    CAPTURE(each.what);
    const auto code = std::make_shared<int>(-1);
    eventer::run([&each, code] {
      const http::server server(one_socket(
          [code, is_limited = each.code == 0](http::websocket& socket) {
            for (;;) {
              const auto got = is_limited ? socket.read(50ms) : socket.read();
              if (got) continue;
              *code =
                  is_limited ? (got.error() == std::errc::timed_out && socket.is_open() ? 0 : 1) : socket.close_code();
              if (is_limited) socket.stream().close();
              return;
            }
          },
          each.with));
      const auto peer = std::make_shared<memory_client>(server, eventer::memory_stream_options{.capacity = 32 << 20});
      REQUIRE(peer->open() == 101);
      std::string much;
      while (much.size() < 1'000'000) much += each.sent;
      auto flood = eventer::spawn([peer, much] {
        while (peer->send(much)) {
        }
      });
      for (int i = 0; i < 20'000 && !peer->is_over(); ++i) eventer::sleep_for(1ms);
      CHECK(peer->is_over());
      peer->close();
      flood.join();
    });
    CHECK(*code == each.code);
  }
}

TEST_CASE("wss: a write that a deadline ends while it waits ends the connection, and says so") {
  eventer::run([] {
    const http::server server(one_socket([](http::websocket& socket) {
      for (;;) {
        const eventer::deadline_scope soon(100ms);
        if (!socket.write(std::string(16'000, 'x'))) break;
      }
      CHECK_FALSE(socket.is_open());
      CHECK_FALSE(socket.write("y"));
      CHECK(socket.close_code() == 1006);
    }));
    auto acceptor = eventer::tcp_acceptor::listen("127.0.0.1:0").value();
    const auto port = acceptor.local().port();
    auto serves = eventer::spawn([server, acceptor = std::move(acceptor)]() mutable {
      (void)server.serve(acceptor, test_certificates().server());
    });
    auto socket = http::connect_websocket("wss://localhost:" + std::to_string(port), test_certificates().client());
    REQUIRE(why(socket).empty());
    while (server.statistics().open > 0) eventer::sleep_for(1ms);
    while (socket->read(10s)) {
    }
    CHECK(socket->close_code() == 1006);
    (void)server.drain(10s, 0s);
    serves.join();
  });
}
