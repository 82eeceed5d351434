// Reading and writing: whole and partial, borrowed, with limits, to the end, on a plain thread.
#include <memory>
#include <thread>
#include <vector>

#include "../catch.hpp"
#include "../faults.hpp"
#include "../sockets.hpp"
#include "eventer/eventer.hpp"

using namespace std::chrono_literals;
using eventer::errc;
using eventer::tcp_stream;

namespace {

std::vector<char> pattern(std::size_t bytes, unsigned seed = 1) {
  std::vector<char> result(bytes);
  for (char& each : result) each = static_cast<char>((seed = seed * 1664525 + 1013904223) >> 24);
  return result;
}

void shrink_buffers(const tcp_stream& which, int bytes) {
  ::setsockopt(which.native_handle(), SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
  ::setsockopt(which.native_handle(), SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
}

// Writes until the kernel takes no more, as the peer does not read; answers how many bytes those were.
std::size_t fill(const tcp_stream& to) {
  const std::string block(64 << 10, 'f');
  std::size_t all = 0;
  for (ssize_t sent; (sent = ::send(to.native_handle(), block.data(), block.size(), MSG_NOSIGNAL | MSG_DONTWAIT)) > 0;)
    all += static_cast<std::size_t>(sent);
  return all;
}

}  // namespace

TEST_CASE("read_some gives what is there, write_some what the kernel takes") {
  eventer::run([] {
    auto pair = connected_pair();
    CHECK(pair.client.write_some("hello").value() == 5);
    std::array<char, 3> small;
    CHECK(pair.server.read_some(small).value() == 3);
    CHECK(std::string_view(small.data(), 3) == "hel");
    CHECK(pair.server.read_some(small).value() == 2);
    std::string text(64, '\0');
    CHECK(pair.client.write_all(std::string_view("from a string")).value() == 13);
    CHECK(pair.server.read_some(text, 1s).value() == 13);
    CHECK(text.starts_with("from a string"));
  });
}

TEST_CASE("8 MB go through a slow reader in short writes and arrive unchanged") {
  static constexpr std::size_t total = 8 << 20;
  const auto sent = pattern(total);
  eventer::run([&sent] {
    auto pair = connected_pair();
    shrink_buffers(pair.client, 64 << 10);
    auto writer = eventer::spawn([client = std::move(pair.client), &sent]() mutable {
      const faults counted;
      std::size_t done = 0;
      CHECK(client.write_all(sent, done, 30s).value() == total);
      CHECK(done == total);
      CHECK(counted.calls(faults::call::send) > 10);
    });
    std::vector<char> part(64 << 10);
    std::size_t received = 0;
    bool same = true;
    for (int reads = 0; received < total; ++reads) {
      const auto got = pair.server.read_some(part, 5s);
      REQUIRE(got.has_value());
      same = same && std::equal(part.begin(), part.begin() + static_cast<std::ptrdiff_t>(*got),
                                sent.begin() + static_cast<std::ptrdiff_t>(received));
      received += *got;
      if (reads % 16 == 0) eventer::yield();
    }
    CHECK(same);
    writer.join();
    CHECK(read_text(pair.server) == end_of_stream_text);
  });
}

TEST_CASE("a time-out does not lose the count of what was done") {
  eventer::run([] {
    auto pair = connected_pair();
    CHECK(pair.client.write_all("abc").has_value());
    std::array<char, 10> bytes;
    std::size_t done = 99;
    CHECK(pair.server.read_exact(bytes, done, 5ms).error() == std::errc::timed_out);
    CHECK(done == 3);
    CHECK(std::string_view(bytes.data(), done) == "abc");
    CHECK(pair.client.write_all("0123456789").has_value());
    CHECK(pair.server.read_exact(bytes, done, 1s).value() == 10);
    CHECK(done == 10);

    const auto much = pattern(32 << 20);
    CHECK(pair.client.write_all(much, done, 20ms).error() == std::errc::timed_out);
    CHECK(done > 0);
    CHECK(done < much.size());
    std::size_t received = 0;
    std::vector<char> part(1 << 20);
    while (received < done) {
      const auto got = pair.server.read_some(part, 1s);
      REQUIRE(got.has_value());
      received += *got;
    }
    CHECK(received == done);  // not a byte more had been sent
    CHECK(read_text(pair.server, 1ms) == timed_out_text);
  });
}

TEST_CASE("the limit of read_exact and write_all is for all of it, however often bytes come") {
  eventer::run([] {
    auto pair = connected_pair();
    auto dripping = eventer::spawn([client = std::move(pair.client)]() mutable {
      while (client.write_all(".").has_value()) eventer::sleep_for(1ms);
    });
    const auto start = eventer::clock::now();
    std::vector<char> bytes(1 << 20);
    std::size_t done = 0;
    CHECK(pair.server.read_exact(bytes, done, 20ms).error() == std::errc::timed_out);
    CHECK(eventer::clock::now() - start < 2s);
    CHECK(done > 1);
    dripping.cancel();
  });
}

TEST_CASE("read_exact that meets the end says how far it came") {
  eventer::run([] {
    auto pair = connected_pair();
    CHECK(pair.client.write_all("abcd").has_value());
    pair.client.close();
    std::array<char, 10> bytes;
    std::size_t done = 0;
    CHECK(pair.server.read_exact(bytes, done).error() == errc::end_of_stream);
    CHECK(done == 4);
  });
}

TEST_CASE("a time-out of one call leaves the next one alone") {
  eventer::run([] {
    auto pair = connected_pair();
    (void)fill(pair.server);
    for (int i = 0; i < 3; ++i) {
      CHECK(read_text(pair.server, 1ms) == timed_out_text);
      CHECK(pair.server.write_some("x", 1ms).error() == std::errc::timed_out);
    }
    CHECK(pair.client.write_all("after").has_value());
    CHECK(read_text(pair.server) == "after");
    CHECK(eventer::event_loop::current().stats().timers == 0);
  });
}

TEST_CASE("a borrowed view can be written back also when the write has to wait") {
  const bool all = GENERATE(true, false);
  eventer::run([all] {
    auto slow = connected_pair(), noisy = connected_pair();
    const auto sent = pattern(20'000, 7);
    for (const tcp_stream* each : {&slow.server, &slow.client}) shrink_buffers(*each, 16 << 10);
    const std::size_t filled = fill(slow.server);
    CHECK(slow.client.write_all(sent).has_value());
    next_turn();
    auto server = eventer::spawn([stream = std::move(slow.server), all]() mutable {
      const auto view = stream.read_borrowed(5s).value();
      const std::size_t size = view.size();
      return size == (all ? stream.write_all(view, 5s) : stream.write_some(view, 5s)).value_or(0u) ? size : 0;
    });
    next_turn();
    CHECK_FALSE(server.done());
    // Meanwhile other bytes come into the same scratch buffer.
    CHECK(noisy.client.write_all(std::vector<char>(60'000, '#')).has_value());
    next_turn();
    CHECK(noisy.server.read_borrowed(5s).value().size() >= sent.size());
    std::vector<char> back(filled + sent.size());
    CHECK(slow.client.read_exact(back, 5s).has_value());
    CHECK(std::equal(sent.begin(), sent.end(), back.begin() + static_cast<std::ptrdiff_t>(filled)));
    CHECK(server.join() == sent.size());
  });
}

TEST_CASE("a half-close ends the peer's reading, and nothing else") {
  eventer::run([] {
    auto pair = connected_pair();
    auto server = eventer::spawn([stream = std::move(pair.server)]() mutable {
      std::string request;
      for (std::string part; (part = read_text(stream)) != end_of_stream_text;) request += part;
      CHECK(stream.write_all("reply to " + request).has_value());
    });
    CHECK(pair.client.write_all("a request").has_value());
    CHECK(pair.client.shutdown_write().has_value());
    CHECK(pair.client.write_some("more").error() == std::errc::broken_pipe);
    CHECK(read_text(pair.client) == "reply to a request");
    CHECK(read_text(pair.client) == end_of_stream_text);
    CHECK(read_text(pair.client) == end_of_stream_text);  // and stays so
    server.join();
  });
}

TEST_CASE("a reset by the peer is an error, and what came before it is read first") {
  eventer::run([] {
    for (const bool waiting : {false, true}) {
      auto peer = connected_to_plain_peer();
      const linger reset{1, 0};
      ::setsockopt(peer.client.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
      if (waiting) CHECK(read_text(peer.server, 1ms) == timed_out_text);
      plain_send(peer.client, "last words");
      if (waiting) CHECK(read_text(peer.server) == "last words");
      peer.client.reset();
      if (!waiting) CHECK(read_text(peer.server) == "last words");
      std::array<char, 8> bytes;
      CHECK(peer.server.read_some(bytes, 2s).error() == std::errc::connection_reset);
      CHECK(peer.server.write_all("x", 2s).error() == std::errc::broken_pipe);
    }
  });
}

TEST_CASE("a peer that hangs up loses none of the bytes it sent") {
  eventer::run([] {
    auto pair = connected_pair();
    const auto sent = pattern(100 << 10);
    auto writer = eventer::spawn(
        [client = std::move(pair.client), sent]() mutable { return client.write_all(sent, 5s).has_value(); });
    CHECK(writer.join());  // and the client is closed with the closure
    std::vector<char> received(sent.size());
    CHECK(pair.server.read_exact(received, 5s).has_value());
    CHECK(received == sent);
    CHECK(read_text(pair.server) == end_of_stream_text);
  });
}

TEST_CASE("on a thread without a loop the same calls block") {
  auto pair = connected_pair();
  CHECK(read_text(pair.server, 5ms) == timed_out_text);
  const auto sent = pattern(8 << 20, 3);
  std::thread writer([&] {
    std::size_t done = 0;
    (void)pair.client.write_all(sent, done, 10s);
    (void)pair.client.shutdown_write();
  });
  std::vector<char> received(sent.size());
  CHECK(pair.server.read_exact(received, 10s).has_value());
  CHECK(received == sent);
  CHECK(read_text(pair.server) == end_of_stream_text);
  writer.join();
  (void)fill(pair.server);
  CHECK(pair.server.write_some("x", 5ms).error() == std::errc::timed_out);
}

TEST_CASE("a stream that is not connected, closed or moved from answers closed") {
  const auto check_closed = [](tcp_stream& none) {
    std::array<char, 4> bytes;
    std::size_t done = 7;
    CHECK_FALSE(none.is_open());
    CHECK(none.native_handle() == -1);
    CHECK(none.release() == -1);
    CHECK(none.read_some(bytes).error() == errc::closed);
    CHECK(none.read_some(bytes, 1s).error() == errc::closed);
    CHECK(none.read_some(eventer::buffer()).error() == errc::closed);
    CHECK(none.read_exact(bytes, done).error() == errc::closed);
    CHECK(done == 0);
    CHECK(none.read_exact(eventer::buffer()).error() == errc::closed);
    CHECK(none.read_borrowed().error() == errc::closed);
    CHECK(none.write_some("x").error() == errc::closed);
    CHECK(none.write_some(eventer::const_buffer()).error() == errc::closed);
    CHECK(none.write_all("x").error() == errc::closed);
    CHECK(none.write_all(eventer::const_buffer()).error() == errc::closed);
    CHECK(none.shutdown_write().error() == errc::closed);
    CHECK(none.detach().error() == errc::closed);
    CHECK(none.set_no_delay(true).error() == errc::closed);
    CHECK(none.local().to_string() == "(no address)");
    CHECK(none.peer().to_string() == "(no address)");
    none.close();
  };
  const auto each_kind = [&] {
    tcp_stream fresh;
    check_closed(fresh);
    auto pair = connected_pair();
    tcp_stream moved = std::move(pair.server);
    check_closed(pair.server);
    CHECK(moved.is_open());
    moved.close();
    check_closed(moved);
    pair.server = std::move(pair.client);
    CHECK(pair.server.is_open());
    check_closed(pair.client);
  };
  each_kind();
  eventer::run(each_kind);
}

TEST_CASE("an empty buffer answers 0 at once and disturbs nothing") {
  eventer::run([] {
    auto pair = connected_pair();
    CHECK(pair.server.read_some(eventer::buffer()).value() == 0);
    CHECK(pair.server.read_exact(eventer::buffer()).value() == 0);
    CHECK(pair.server.write_some(eventer::const_buffer()).value() == 0);
    CHECK(pair.server.write_all(eventer::const_buffer()).value() == 0);
    CHECK(pair.client.write_all("x").has_value());
    CHECK(pair.server.read_some(eventer::buffer()).value() == 0);
    CHECK(read_text(pair.server) == "x");
  });
}

TEST_CASE("addresses, and descriptors that can't be adopted") {
  auto pair = connected_pair();
  CHECK(pair.server.local() == pair.client.peer());
  CHECK(pair.server.peer() == pair.client.local());
  CHECK(pair.server.local().to_string().starts_with("127.0.0.1:"));
  CHECK(tcp_stream::from_fd(-1).error() == std::errc::bad_file_descriptor);
  faults injected;
  injected.fail(faults::call::fcntl, EINVAL);
  CHECK(tcp_stream::from_fd(0).error() == std::errc::invalid_argument);
}

TEST_CASE("a regular file can be read and written through a stream, and ends") {
  eventer::run([] {
    const eventer::unique_fd file(::open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    if (!file) EVENTER_SKIP("the file system has no O_TMPFILE");
    auto stream = tcp_stream::from_fd(::dup(file.get())).value();
    CHECK(stream.write_all("contents").has_value());
    CHECK(::lseek(file.get(), 0, SEEK_SET) == 0);
    CHECK(read_text(stream) == "contents");
    CHECK(read_text(stream) == end_of_stream_text);
  });
}
