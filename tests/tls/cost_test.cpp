// What TLS costs: system calls and allocations of a message and its answer, bytes of an idle connection, the stack of
// one that waits.
#include <malloc.h>

#include <vector>

#include "../catch.hpp"
#include "../faults.hpp"
#include "tls_pairs.hpp"

using namespace std::chrono_literals;
using call = faults::call;

TEST_CASE("TLS: a message and its answer take one recv and one send on each side, and no look more") {
  eventer::run([] {
    const auto pair = connected_tls();
    REQUIRE(pair.connected());
    auto echoing = eventer::spawn([server = pair.server] { echo_all(server); });
    const auto ask = [&pair] {
      REQUIRE(pair.client->write_all("a message of some bytes"));
      CHECK(read_text(*pair.client) == "a message of some bytes");
    };
    for (int i = 0; i < 3; ++i) ask();  // tickets, registration
    constexpr int times = 100;
    int recv = 0, send = 0, control = 0, other = 0;
    {
      const faults counted;
      for (int i = 0; i < times; ++i) ask();
      recv = counted.calls(call::recv);
      send = counted.calls(call::send);
      control = counted.calls(call::epoll_ctl);
      other = counted.calls(call::read) + counted.calls(call::write) + counted.calls(call::sendmsg);
    }
    CHECK(recv == 2 * times);  // of both sides
    CHECK(send == 2 * times);
    CHECK(control == 0);
    CHECK(other == 0);
    pair.client->close();
    echoing.join();
  });
}

TEST_CASE("TLS: a handshake takes few system calls") {
  eventer::run([] {
    const auto server = test_certificates().server();
    const auto client = test_certificates().client({.resume = false});
    auto streams = connected_pair();
    const faults counted;
    const auto pair = shake_hands(std::move(streams.server), std::move(streams.client), server, client);
    REQUIRE(pair.connected());
    CHECK(counted.calls(call::send) <= 5);  // two flights of the client, two or three of the server
    CHECK(counted.calls(call::recv) <= 8);
    CHECK(counted.calls(call::epoll_ctl) <= 2);
  });
}

#if defined(__GLIBC__) && !EVENTER_ASAN && !EVENTER_TSAN
TEST_CASE("TLS: an idle connection of a server takes at most 16 KB") {
  eventer::run([] {
    const auto server = test_certificates().server();
    const auto client = test_certificates().client({.resume = false});
    constexpr std::size_t count = 200;
    std::vector<tls_pair> all(count);
    for (tls_pair& each : all) {
      each = connected_tls(server, client);
      REQUIRE(each.connected());
      REQUIRE(each.client->write_all("hello"));  // each has been used, in both directions
      REQUIRE(read_text(*each.server) == "hello");
      REQUIRE(each.server->write_all("hello"));
      REQUIRE(read_text(*each.client) == "hello");
      CHECK(read_text(*each.server, 0ms) == timed_out_text);
    }
    // A client's are more, as it has the server's certificates, and a buffer from the tickets on to its next write.
    for (tls_pair& each : all) each.client.reset();
    const auto used = [] { return ::mallinfo2().uordblks + ::mallinfo2().hblkhd; };
    const std::size_t before = used();
    for (tls_pair& each : all) each.server.reset();
    const std::size_t bytes = (before - used()) / count;
    CAPTURE(bytes);
    CHECK(bytes > 1000);
    CHECK(bytes <= 16 << 10);
  });
}
#endif

TEST_CASE("TLS: a coroutine that waits in a handshake or a read has none of OpenSSL's frames on its stack") {
  eventer::run([] {
    auto streams = std::make_shared<tcp_pair>(connected_pair());
    const auto pair = std::make_shared<tls_pair>(connected_tls());
    const auto server = std::make_shared<tls::context>(test_certificates().server());
    auto shaking = eventer::spawn({.name = "shakes hands"}, [streams, server] {
      (void)tls::stream::accept(*server, std::move(streams->server));
    });
    auto reading = eventer::spawn({.name = "reads"}, [pair] {
      char byte = 0;
      (void)pair->server->read_some({&byte, 1}, 20s);
    });
    next_turn();
    next_turn();
    for (const auto& row : eventer::event_loop::current().stacks().rows) {
      CAPTURE(row.name, row.high_water_mark);
      if (row.name != "shakes hands" && row.name != "reads") continue;
      CHECK(row.high_water_mark > 0);
#if defined(__OPTIMIZE__) && !EVENTER_ASAN && !EVENTER_TSAN
      CHECK(row.high_water_mark <= 700);
#endif
    }
    streams->client.close();
    pair->client->close();
    shaking.join();
    reading.join();
  });
}
