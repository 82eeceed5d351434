// How a socket ends while others read and write: closes that are cut short, and handlers that go.
#include "../captured_log.hpp"
#include "ws_client.hpp"

using namespace ws_test;

namespace {

eventer::duration since(eventer::time_point then) { return eventer::event_loop::current().now() - then; }
// Holds the turn to write until the peer reads.
void begin_long_write(http::websocket& socket, eventer::task_group& in) {
  http::websocket* const shared = &socket;
  in.spawn([shared] { (void)shared->write(std::string(50'000, 'x')); });
  eventer::yield();
}
const std::string long_text = "T<" + std::string(50'000, 'x') + ">";

}  // namespace

TEST_CASE("the peer's close is answered although the read that got it was cut short") {
  for (const bool by_scope : {false, true}) {
    CAPTURE(by_scope);
    run_virtually([by_scope] {
      const auto told = std::make_shared<std::string>();
      const http::server server(one_socket([told, by_scope](http::websocket& socket) {
        http::websocket* const shared = &socket;
        eventer::task_group writer;
        begin_long_write(socket, writer);
        if (by_scope) {
          const eventer::deadline_scope soon(2s);
          CHECK(socket.read().error() == std::errc::timed_out);
        } else {
          auto reads = eventer::spawn([shared] { (void)shared->read(); });
          eventer::sleep_for(2s);
          reads.cancel();
          (void)reads.try_join();
        }
        CHECK(socket.read(1s).error() == std::errc::timed_out);
        CHECK(socket.is_open());  // a limit of one's own ends nothing
        *told = why(socket.read());
        *told += " " + std::to_string(socket.close_code()) + " " + std::string(socket.close_reason());
        writer.join();
      }));
      memory_client peer(server, {.capacity = 5000});
      REQUIRE(peer.open() == 101);
      eventer::sleep_for(500ms);
      REQUIRE(peer.send(frames::close(1001, "bye") + text("behind")));
      eventer::sleep_for(4s);
      CHECK(peer.next() == long_text);
      CHECK(peer.rest_of_frames() == "C<1001 >");
      eventer::sleep_for(10s);
      CHECK(*told == "end of stream: the peer has closed its side 1001 bye");
    });
  }
}

TEST_CASE("a refusal is said although the read that decided it was cut short, and nothing is read behind it") {
  run_virtually([] {
    const http::server server(one_socket([](http::websocket& socket) {
      eventer::task_group writer;
      begin_long_write(socket, writer);
      CHECK(socket.read(2s).error() == std::errc::timed_out);
      CHECK(socket.read().error() == make_error_code(http::websocket_errc::protocol_error));
      CHECK(socket.close_code() == 1002);
      writer.join();
    }));
    memory_client peer(server, {.capacity = 5000});
    REQUIRE(peer.open() == 101);
    REQUIRE(peer.send(text("wrong", {.reserved = 1}) + text("behind")));
    eventer::sleep_for(3s);
    CHECK(peer.next() == long_text);
    CHECK(peer.rest_of_frames() == "C<1002 >");
  });
}

TEST_CASE("a close that was cancelled before it left leaves the socket open") {
  run_virtually([] {
    const http::server server(one_socket([](http::websocket& socket) {
      http::websocket* const shared = &socket;
      eventer::task_group writer;
      begin_long_write(socket, writer);
      auto closes = eventer::spawn([shared] { (void)shared->close(4000, "never mind"); });
      eventer::sleep_for(1s);
      closes.cancel();
      (void)closes.try_join();
      writer.join();
      CHECK(socket.is_open());
      CHECK(socket.write("on"));
      // Nor is it said where there is room for none of it.
      while (socket.is_open()) {
        auto pings = eventer::spawn([shared] { (void)shared->ping(std::string(98, 'p')); });
        eventer::sleep_for(1ms);
        if (pings.done()) continue;
        pings.cancel();
        (void)pings.try_join();
        break;
      }
      REQUIRE(socket.is_open());
      auto again = eventer::spawn([shared] { (void)shared->close(4000, "never mind"); });
      eventer::sleep_for(1s);
      again.cancel();
      (void)again.try_join();
      CHECK(socket.is_open());
    }));
    memory_client peer(server, {.capacity = 5000});
    REQUIRE(peer.open() == 101);
    eventer::sleep_for(2s);
    CHECK(peer.next() == long_text);
    CHECK(peer.next() == "T<on>");
    eventer::sleep_for(2s);
    std::string got;
    while ((got = peer.next()).starts_with("I<")) {
    }
    CHECK(got == "C<1000 >");
  });
}

TEST_CASE("a close that is cancelled when it has left is still bounded by close_within for who reads") {
  run_virtually([] {
    const auto told = std::make_shared<std::string>();
    const http::server server(one_socket(
        [told](http::websocket& socket) {
          http::websocket* const shared = &socket;
          auto closes = eventer::spawn([shared] {
            eventer::sleep_for(1s);
            (void)shared->close(4000);
          });
          auto reads = eventer::spawn([shared, told] { *told += why(shared->read()); });
          eventer::sleep_for(2s);
          closes.cancel();
          (void)closes.try_join();
          reads.join();
        },
        {.ping_every = 0s}));
    memory_client peer(server);
    REQUIRE(peer.open() == 101);
    CHECK(peer.next() == "C<4000 >");
    eventer::sleep_for(20s);
    CHECK(*told == "timed out");
  });
}

TEST_CASE("close_within is all that a close takes, also behind a peer that reads slowly") {
  run_virtually([] {
    const auto told = std::make_shared<std::string>();
    const http::server server(one_socket([told](http::websocket& socket) {
      eventer::task_group writer;
      begin_long_write(socket, writer);
      const auto began = eventer::event_loop::current().now();
      *told = why(socket.close());
      CHECK(since(began) == 5s);
      writer.join();
      CHECK(socket.close_code() == 1006);
    }));
    memory_client peer(server, {.capacity = 2000});
    REQUIRE(peer.open() == 101);
    std::string part(100, '\0');
    for (int i = 0; i < 20 && peer.stream().read_some(part, 1s); ++i) eventer::sleep_for(1s);
    CHECK(*told == "timed out");
    CHECK(peer.is_over());
  });
}

TEST_CASE("who closes reads where nobody else does any more, and tells who comes later of the end") {
  run_virtually([] {
    const auto told = std::make_shared<std::string>();
    const http::server server(one_socket(
        [told](http::websocket& socket) {
          http::websocket* const shared = &socket;
          eventer::task_group all;
          all.spawn([shared, told] {
            *told += shared->read().value().data + " ";
            eventer::sleep_for(1s);
            *told += why(shared->read());  // the other one reads now
          });
          eventer::sleep_for(1s);
          const auto began = eventer::event_loop::current().now();
          CHECK(why(socket.close(4000)).empty());
          CHECK(since(began) < 11s);
          CHECK(socket.close_code() == 4000);
          all.join();
        },
        {.close_within = 50s}));
    memory_client peer(server);
    REQUIRE(peer.open() == 101);
    CHECK(peer.next() == "C<4000 >");
    REQUIRE(peer.send(text("late")));
    eventer::sleep_for(10s);
    REQUIRE(peer.send(text("dropped") + frames::close(4000)));
    eventer::sleep_for(1s);
    CHECK(*told == "late end of stream: the peer has closed its side");
    CHECK(peer.is_over());
  });
}

TEST_CASE("a handler that moves its socket away: it is the new owner's, and the server says nothing") {
  const captured_log log;
  run_virtually([] {
    const auto kept = std::make_shared<http::websocket>();
    http::router routes;
    routes.websocket("/keeps", [kept](http::websocket& socket) {
      *kept = std::move(socket);
      CHECK_FALSE(socket.is_connected());
      CHECK_FALSE(socket.is_open());
    });
    routes.websocket("/ends", [](http::websocket& socket) { const http::websocket mine = std::move(socket); });
    routes.websocket("/throws", [kept](http::websocket& socket) {
      *kept = std::move(socket);
      throw std::runtime_error("behind it");
    });
    const http::server server(std::move(routes));
    for (const char* path : {"/keeps", "/throws"}) {
      memory_client peer(server);
      REQUIRE(peer.open(path) == 101);
      eventer::sleep_for(1s);
      CHECK(peer.is_over());  // the server has nothing to do with it
      REQUIRE(peer.send(text("a")));
      CHECK(kept->read(1s).value().data == "a");
      CHECK(kept->write("b"));
      CHECK(peer.next() == "T<b>");
      *kept = http::websocket();
      CHECK(peer.ends());
    }
    memory_client peer(server);
    REQUIRE(peer.open("/ends") == 101);
    CHECK(peer.ends());
  });
}

TEST_CASE("calls in progress may outlive the handler, however it ends") {
  const captured_log log;
  for (const std::string path : {"/returns", "/throws", "/sleeps"}) {
    CAPTURE(path);
    run_virtually([&path] {
      const auto told = std::make_shared<std::string>();
      const auto detach = [told](http::websocket& socket) {
        http::websocket* const shared = &socket;
        (void)eventer::spawn([shared, told] { *told += why(shared->write(std::string(50'000, 'x'))) + ";"; });
        (void)eventer::spawn([shared, told] { *told += why(shared->write("second")) + ";"; });
        (void)eventer::spawn([shared, told] { *told += why(shared->read()) + ";"; });
        eventer::sleep_for(1s);
      };
      http::router routes;
      routes.websocket("/returns", detach);
      routes.websocket("/throws", [detach](http::websocket& socket) {
        detach(socket);
        throw std::runtime_error("so");
      });
      routes.websocket("/sleeps", [detach](http::websocket& socket) {
        detach(socket);
        eventer::sleep_for(1000h);
      });
      const http::server server(std::move(routes));
      auto pair = eventer::memory_stream_pair({.capacity = 5000});
      auto serves = eventer::spawn(
          [server, far = eventer::any_stream(std::move(pair.far))]() mutable { server(std::move(far)); });
      net_client peer(std::move(pair.near));
      REQUIRE(peer.open(path) == 101);
      eventer::sleep_for(2s);
      if (path == "/sleeps") serves.cancel();
      (void)serves.try_join();
      eventer::sleep_for(1s);
      const std::string each = path == "/sleeps" ? "closed" : "timed out";
      CHECK(std::count(told->begin(), told->end(), ';') == 3);
      CHECK(told->find(each) != std::string::npos);
    });
  }
}

TEST_CASE("a client's socket that goes while another coroutine reads") {
  run_virtually([] {
    auto pair = eventer::memory_stream_pair();
    auto socket = std::make_unique<http::websocket>(std::move(pair.near), http::detail::websocket_side::client);
    http::websocket* const shared = socket.get();
    auto reads = eventer::spawn([shared] { return why(shared->read()); });
    eventer::sleep_for(1s);
    socket.reset();
    CHECK(reads.join() == make_error_code(eventer::errc::closed).message());
  });
}
