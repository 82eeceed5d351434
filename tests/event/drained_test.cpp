// When a short read means "nothing left". Each case queues its data before the loop looks, as `printf x | nc` does:
// whoever takes a short read for the end of what was announced waits for an edge that never comes.
#include <stdlib.h>
#include <termios.h>

#include <stdexcept>

#include "../catch.hpp"
#include "../faults.hpp"
#include "../sockets.hpp"
#include "eventer/eventer.hpp"

using namespace std::chrono_literals;
using call = faults::call;

namespace {

// Makes the stream known to its loop, as a first read that has to wait does.
void register_by_waiting(eventer::stream& which) { CHECK(read_text(which, 1ms) == timed_out_text); }

struct terminal {
  eventer::unique_fd master;
  eventer::tcp_stream reader;
};
terminal open_terminal() {
  eventer::unique_fd master(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
  char name[64];
  if (!master || ::grantpt(master.get()) != 0 || ::unlockpt(master.get()) != 0 ||
      ::ptsname_r(master.get(), name, sizeof name) != 0)
    throw std::runtime_error("no pseudo terminal");
  return {std::move(master), eventer::tcp_stream::from_fd(::open(name, O_RDWR | O_NOCTTY | O_CLOEXEC)).value()};
}

}  // namespace

TEST_CASE("data and the end in one edge: the end is seen") {
  eventer::run([] {
    auto peer = connected_to_plain_peer();
    SECTION("on a stream that has waited before") { register_by_waiting(peer.server); }
    SECTION("on a fresh one") {}
    plain_send(peer.client, "x");
    peer.client.reset();
    CHECK(read_text(peer.server) == "x");
    CHECK(read_text(peer.server) == end_of_stream_text);
  });
}

TEST_CASE("data and a half-close in one edge: the end is seen and an answer can be sent") {
  eventer::run([] {
    auto peer = connected_to_plain_peer();
    register_by_waiting(peer.server);
    plain_send(peer.client, "request");
    ::shutdown(peer.client.get(), SHUT_WR);
    next_turn();
    CHECK(read_text(peer.server) == "request");
    CHECK(read_text(peer.server) == end_of_stream_text);
    CHECK(peer.server.write_all("answer").has_value());
    char answer[16];
    CHECK(::recv(peer.client.get(), answer, sizeof answer, 0) == 6);
  });
}

TEST_CASE("urgent data: what comes behind its mark is read") {
  eventer::run([] {
    auto peer = connected_to_plain_peer();
    register_by_waiting(peer.server);
    plain_send(peer.client, "before");
    plain_send(peer.client, "!", MSG_OOB);
    plain_send(peer.client, "behind");
    CHECK(read_text(peer.server) == "before");
    CHECK(read_text(peer.server) == "behind");
    plain_send(peer.client, "later");
    CHECK(read_text(peer.server) == "later");
  });
}

TEST_CASE("a terminal: each line that was typed ahead is read") {
  eventer::run([] {
    auto tty = open_terminal();
    register_by_waiting(tty.reader);
    constexpr std::string_view typed = "one\ntwo\nthree\n";
    CHECK(::write(tty.master.get(), typed.data(), typed.size()) == static_cast<ssize_t>(typed.size()));
    for (const char* const line : {"one\n", "two\n", "three\n"}) CHECK(read_text(tty.reader) == line);
    CHECK(read_text(tty.reader, 1ms) == timed_out_text);
  });
}

TEST_CASE("a packet socket: each packet that was queued is read") {
  eventer::run([] {
    auto pair = adopted_pair(SOCK_SEQPACKET);
    register_by_waiting(pair.server);
    for (const char* const packet : {"one", "two", "three"}) CHECK(pair.client.write_all(packet).has_value());
    for (const char* const packet : {"one", "two", "three"}) CHECK(read_text(pair.server) == packet);
    CHECK(read_text(pair.server, 1ms) == timed_out_text);
  });
}

TEST_CASE("a pipe: all that was written and the end are read") {
  eventer::run([] {
    auto bytes = adopted_pipe();
    register_by_waiting(bytes.reader);
    CHECK(bytes.writer.write_all("text").has_value());
    bytes.writer.close();
    CHECK(read_text(bytes.reader) == "text");
    CHECK(read_text(bytes.reader) == end_of_stream_text);

    auto packets = adopted_pipe(O_DIRECT);
    register_by_waiting(packets.reader);
    for (const char* const packet : {"one", "two", "three"}) CHECK(packets.writer.write_all(packet).has_value());
    for (const char* const packet : {"one", "two", "three"}) CHECK(read_text(packets.reader) == packet);
  });
}

TEST_CASE("a descriptor that somebody else reads too: a short read proves nothing") {
  eventer::run([] {
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    const eventer::unique_fd writer(ends[0]);
    auto reader = eventer::tcp_stream::from_fd(ends[1]).value();
    register_by_waiting(reader);
    plain_send(writer, "abc");
    next_turn();
    faults counted;
    CHECK(read_text(reader) == "abc");
    CHECK(read_text(reader, 1ms) == timed_out_text);
    CHECK(counted.calls(call::recv) == 2);
  });
}

TEST_CASE("on a plain stream socket a short read saves the second one") {
  eventer::run([] {
    auto peer = connected_to_plain_peer();
    register_by_waiting(peer.server);
    auto writer = eventer::spawn([client = std::move(peer.client)] {
      for (int i = 0; i < 20; ++i) {
        plain_send(client, "message");
        eventer::sleep_for(100us);
      }
    });
    faults counted;
    std::size_t bytes = 0;
    int reads = 0;
    while (bytes < 20 * 7) {
      const std::string text = read_text(peer.server);
      REQUIRE(text.starts_with("message"));
      bytes += text.size();
      ++reads;
    }
    CHECK(counted.calls(call::recv) == reads);
    CHECK(counted.calls(call::epoll_ctl) == 0);  // and it is registered once
    writer.join();
    CHECK(read_text(peer.server) == end_of_stream_text);
  });
}

TEST_CASE("a read that filled its buffer tries again before it waits") {
  eventer::run([] {
    auto peer = connected_to_plain_peer();
    register_by_waiting(peer.server);
    plain_send(peer.client, "abcdef");
    std::array<char, 3> part;
    std::string all;
    for (int i = 0; i < 2; ++i) {
      REQUIRE(peer.server.read_some(part, 2s).value() == 3);
      all.append(part.data(), 3);
    }
    CHECK(all == "abcdef");
    CHECK(read_text(peer.server, 1ms) == timed_out_text);
    plain_send(peer.client, "g");
    CHECK(read_text(peer.server) == "g");
  });
}
