// TLS streams: bytes both ways, ends of every kind, cancellation and time limits, on sockets and on a network that
// misbehaves.
#include <openssl/ssl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>
#include <vector>

#include "../catch.hpp"
#include "../virtual_run.hpp"
#include "tls_pairs.hpp"

using namespace std::chrono_literals;
using eventer::errc;

static_assert(sizeof(eventer::descriptor) <= 64);

namespace {

const std::size_t sizes[] = {1, 100, 16383, 16384, 16385, 100'000, 1 << 20};

// Sends text through an echo on the other side, and compares.
void send_around(const tls_pair& pair, std::size_t size) {
  auto text = std::make_shared<std::string>(pattern(size));
  auto writer = eventer::spawn([to = pair.client, text] { return to->write_all(*text, 10s).has_value(); });
  std::string back(size, ' ');
  CHECK(pair.client->read_exact(back, 10s).has_value());
  CHECK(back == *text);
  CHECK(writer.join());
}
void talk(const tls_pair& pair) {
  REQUIRE(pair.connected());
  auto echoing = eventer::spawn([server = pair.server] { echo_all(server); });
  for (const std::size_t size : sizes) {
    CAPTURE(size);
    send_around(pair, size);
  }
  CHECK(pair.client->shutdown_write().has_value());
  CHECK(read_text(*pair.client) == end_of_stream_text);
  echoing.join();
}
tls::context server_of(tls::version which) {
  return test_certificates().server({.min_version = which, .max_version = which});
}

}  // namespace

TEST_CASE("TLS: what is written comes out on the other side, from one byte to a megabyte") {
  for (const tls::version which : {tls::version::tls_1_2, tls::version::tls_1_3})
    eventer::run([which] {
      const auto pair = connected_tls(server_of(which), test_certificates().client());
      talk(pair);
      CHECK(pair.client->version() == which);
    });
}

TEST_CASE("TLS over unix sockets and adopted descriptors") {
  eventer::run([] {
    auto local = eventer::unix_stream::pair().value();
    talk(shake_hands(std::move(local.first), std::move(local.second), test_certificates().server(),
                     test_certificates().client()));
    auto adopted = adopted_pair();
    talk(shake_hands(std::move(adopted.server), std::move(adopted.client), test_certificates().server(),
                     test_certificates().client()));
  });
}

TEST_CASE("TLS over a network that misbehaves: short reads and writes, calls that would block, little room") {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    CAPTURE(seed);
    run_virtually([seed] {
      auto streams = eventer::memory_stream_pair({.seed = seed,
                                                  .short_reads = seed == 1 ? 100u : 50u,
                                                  .short_writes = seed == 1 ? 100u : 50u,
                                                  .would_blocks = seed == 1 ? 100u : 30u,
                                                  .capacity = seed % 2 == 0 ? std::size_t{700} : std::size_t{64} << 10,
                                                  .latency = seed % 3 == 0 ? 1ms : 0ms});
      const auto pair = shake_hands(std::move(streams.near), std::move(streams.far), test_certificates().server(),
                                    test_certificates().client());
      REQUIRE(pair.connected());
      auto echoing = eventer::spawn([server = pair.server] { echo_all(server); });
      for (const std::size_t size : {std::size_t{1}, std::size_t{5000}, std::size_t{40'000}}) {
        CHECK(::SSL_key_update(tls::info_of(*pair.client)->native_handle(), SSL_KEY_UPDATE_REQUESTED) == 1);
        send_around(pair, size);
      }
      CHECK(pair.client->shutdown_write().has_value());
      CHECK(read_text(*pair.client) == end_of_stream_text);
      echoing.join();
    });
  }
}

TEST_CASE("TLS in TLS: through a proxy that itself is spoken to in TLS") {
  eventer::run([] {
    const auto outer = connected_tls();
    REQUIRE(outer.connected());
    const auto inner =
        shake_hands(std::move(*outer.server), std::move(*outer.client), test_certificates().server({.alpn = {"inner"}}),
                    test_certificates().client({.alpn = {"inner"}}));
    talk(inner);
    CHECK(inner.client->alpn() == "inner");
  });
}

TEST_CASE("TLS on a stream that was spoken on in the clear before (STARTTLS), and has waited there") {
  eventer::run([] {
    auto plain = std::make_shared<tcp_pair>(connected_pair());
    auto waiting = eventer::spawn([plain] { return read_text(plain->server); });
    next_turn();
    REQUIRE(plain->client.write_all("starttls"));
    CHECK(waiting.join() == "starttls");
    auto reading = eventer::spawn([plain] { return read_text(plain->client); });
    next_turn();
    REQUIRE(plain->server.write_all("go"));
    CHECK(reading.join() == "go");
    talk(shake_hands(std::move(plain->server), std::move(plain->client), test_certificates().server(),
                     test_certificates().client()));
  });
}

TEST_CASE("TLS: both directions busy at the same time, and key updates from both sides in the middle") {
  for (const bool updates : {false, true})
    eventer::run([updates] {
      const auto pair = connected_tls();
      REQUIRE(pair.connected());
      static constexpr std::size_t pieces = 60, piece = 30'000;
      const auto text = std::make_shared<std::string>(pattern(piece));
      const auto write = [text, updates](std::shared_ptr<tls::stream> to) {
        for (std::size_t i = 0; i < pieces; ++i) {
          if (updates && i % 10 == 3)
            ::SSL_key_update(tls::info_of(*to)->native_handle(),
                             i % 20 == 3 ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED);
          if (!to->write_all(*text, 10s)) return false;
        }
        return true;
      };
      const auto read = [text](std::shared_ptr<tls::stream> from) {
        auto back = std::make_unique<std::string>(piece, ' ');
        for (std::size_t i = 0; i < pieces; ++i)
          if (!from->read_exact(*back, 10s) || *back != *text) return false;
        return true;
      };
      auto a = eventer::spawn([to = pair.server, write] { return write(to); });
      auto b = eventer::spawn([to = pair.client, write] { return write(to); });
      auto c = eventer::spawn([from = pair.server, read] { return read(from); });
      auto d = eventer::spawn([from = pair.client, read] { return read(from); });
      CHECK(a.join());
      CHECK(b.join());
      CHECK(c.join());
      CHECK(d.join());
    });
}

TEST_CASE("TLS: one side ends, the other goes on") {
  for (const tls::version which : {tls::version::tls_1_2, tls::version::tls_1_3})
    eventer::run([which] {
      const auto pair = connected_tls(server_of(which), test_certificates().client());
      REQUIRE(pair.connected());
      REQUIRE(pair.client->write_all("question"));
      REQUIRE(pair.client->shutdown_write());
      CHECK(pair.client->write_some("more").error() == std::errc::broken_pipe);
      CHECK(read_text(*pair.server) == "question");
      CHECK(read_text(*pair.server) == end_of_stream_text);
      CHECK(read_text(*pair.server) == end_of_stream_text);
      REQUIRE(pair.server->write_all("answer"));
      CHECK(read_text(*pair.client) == "answer");
      pair.server->close();
      CHECK(read_text(*pair.client) == end_of_stream_text);
      CHECK(read_text(*pair.server) == closed_text);
    });
}

TEST_CASE("TLS: close() says it in TLS; a connection that just ends is truncated, and can still be written to") {
  eventer::run([] {
    const auto closed = connected_tls();
    REQUIRE(closed.connected());
    closed.client->close();
    CHECK(read_text(*closed.server) == end_of_stream_text);

    const auto cut = connected_tls();
    REQUIRE(cut.connected());
    REQUIRE(cut.client->write_all("half"));
    ::shutdown(cut.client->native_handle(), SHUT_WR);
    CHECK(read_text(*cut.server) == "half");
    std::array<char, 16> bytes;
    const auto end = cut.server->read_some(bytes, 2s);
    CHECK(end.error() == tls::errc::truncated);
    CHECK(end.error() == std::errc::connection_aborted);
    CHECK(cut.server->read_some(bytes, 2s).error() == tls::errc::truncated);
    REQUIRE(cut.server->write_all("answer"));
    CHECK(read_text(*cut.client) == "answer");
  });
}

TEST_CASE("TLS: a connection that is reset says so, and garbage in the middle is an error for both directions") {
  eventer::run([] {
    const auto reset = connected_tls();
    REQUIRE(reset.connected());
    const linger hard{1, 0};
    ::setsockopt(reset.client->native_handle(), SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    ::close(reset.client->release());
    std::array<char, 16> bytes;
    CHECK(reset.server->read_some(bytes, 2s).error() == std::errc::connection_reset);

    const auto garbled = connected_tls();
    REQUIRE(garbled.connected());
    const std::string garbage = "\x17\x03\x03" + std::string("\0\x20", 2) + std::string(32, 'x');
    CHECK(::send(garbled.client->native_handle(), garbage.data(), garbage.size(), 0) > 0);
    const auto got = garbled.server->read_some(bytes, 2s);
    CHECK(got.error().category() == tls::tls_category());
    CHECK(got.error() == std::errc::protocol_error);
    CHECK(garbled.server->write_some("x").error() == got.error());
    CHECK(garbled.server->read_some(bytes).error() == got.error());
  });
}

TEST_CASE("TLS: what a forked child closes goes on in its parent") {
  eventer::run([] {
    const auto pair = connected_tls();
    REQUIRE(pair.connected());
    const pid_t child = ::fork();
    if (child == 0) {
      pair.client->close();
      ::_exit(0);
    }
    REQUIRE(child > 0);
    REQUIRE(::waitpid(child, nullptr, 0) == child);
    REQUIRE(pair.client->write_all("still here"));
    CHECK(read_text(*pair.server) == "still here");
  });
}

TEST_CASE("TLS: a read times out or is cancelled without a loss, and nobody reads beside another") {
  eventer::run([] {
    const auto pair = connected_tls();
    REQUIRE(pair.connected());
    CHECK(read_text(*pair.server, 5ms) == timed_out_text);
    auto reader = eventer::spawn([from = pair.server] { return read_text(*from); });
    next_turn();
    std::array<char, 8> bytes;
    CHECK(pair.server->read_some(bytes).error() == errc::busy);
    reader.cancel();
    CHECK(reader.try_join().error() == std::errc::operation_canceled);
    REQUIRE(pair.client->write_all("still there"));
    CHECK(read_text(*pair.server) == "still there");
    auto closed = eventer::spawn([from = pair.server] { return read_text(*from); });
    next_turn();
    pair.server->close();
    CHECK(closed.join() == closed_text);
  });
}

TEST_CASE("TLS: a write that is given up in the middle of a record closes the stream for writing, not for reading") {
  for (const bool cancels : {false, true})
    eventer::run([cancels] {
      const auto pair = connected_tls();
      REQUIRE(pair.connected());
      const auto text = std::make_shared<std::string>(pattern(32 << 20));
      auto writer = eventer::spawn(
          [to = pair.server, text, cancels] { return text_of(to->write_all(*text, cancels ? 10s : 20ms).error()); });
      if (cancels) {
        eventer::sleep_for(20ms);
        writer.cancel();
        CHECK(writer.try_join().error() == std::errc::operation_canceled);
      } else {
        CHECK(writer.join() == timed_out_text);
      }
      const auto after = pair.server->write_some("other bytes");
      CHECK(after.error() == tls::errc::cut_off);
      CHECK(after.error() == std::errc::broken_pipe);
      REQUIRE(pair.client->write_all("hello"));
      CHECK(read_text(*pair.server) == "hello");
      pair.server->close();
      std::error_code end;
      std::size_t all = 0;
      while (const auto got = pair.client->read_borrowed(2s)) all += got->size();
      CHECK(all > 0);
      CHECK(all % 16384 == 0);
      CHECK(pair.client->read_borrowed(2s).error() != errc::end_of_stream);
    });
}

TEST_CASE("TLS: bytes borrowed from the loop's scratch buffer survive a write that waits") {
  eventer::run([] {
    const auto pair = connected_tls();
    REQUIRE(pair.connected());
    const auto text = std::make_shared<std::string>(pattern(8 << 20));
    auto echoing = eventer::spawn([server = pair.server] { echo_all(server); });
    auto others = eventer::spawn([] {  // which use the scratch buffer meanwhile
      auto pipe = connected_pair();
      for (int i = 0; i < 200; ++i) {
        if (!pipe.client.write_all("zzzzzzzzzzzzzzzzzz") || !pipe.server.read_borrowed()) return;
        eventer::sleep_for(100us);
      }
    });
    auto writer = eventer::spawn([to = pair.client, text] { return to->write_all(*text, 20s).has_value(); });
    eventer::sleep_for(20ms);  // the echo stands still for want of a reader
    std::string back(text->size(), ' ');
    CHECK(pair.client->read_exact(back, 20s).has_value());
    CHECK(back == *text);
    CHECK(writer.join());
    others.join();
    pair.client->close();
    echoing.join();
  });
}

TEST_CASE("TLS: several buffers are written as one record") {
  eventer::run([] {
    const auto pair = connected_tls();
    REQUIRE(pair.connected());
    const eventer::const_buffer parts[] = {std::string_view("HTTP/1.1 200 OK\r\n"), std::string_view(),
                                           std::string_view("Content-Length: 2\r\n\r\n"), std::string_view("ok")};
    REQUIRE(pair.server->write_all(parts));
    CHECK(read_text(*pair.client) == "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    const auto big = std::make_shared<std::string>(pattern(3'000'000));
    auto writer = eventer::spawn([to = pair.server, big] {
      const std::string_view all = *big;
      const eventer::const_buffer many[] = {all.substr(0, 10), all.substr(10, 20'000), all.substr(20'010, 7),
                                            all.substr(20'017)};
      return to->write_all(many, 10s).has_value();
    });
    std::string back(big->size(), ' ');
    CHECK(pair.client->read_exact(back, 10s).has_value());
    CHECK(back == *big);
    CHECK(writer.join());
  });
}

TEST_CASE("TLS: read_until keeps what is behind the line, with bytes of many records") {
  eventer::run([] {
    const auto pair = connected_tls();
    REQUIRE(pair.connected());
    for (const char* const part : {"GET / HT", "TP/1.1\r\nHo", "st: x\r\n\r\nnext"})
      REQUIRE(pair.client->write_all(std::string_view(part)));
    std::string text;
    const auto head = pair.server->read_until(text, "\r\n\r\n", 4096, 2s);
    REQUIRE(head);
    CHECK(*head == "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    text.erase(0, head->size());
    while (text.size() < 4) text += read_text(*pair.server);
    CHECK(text == "next");
  });
}

TEST_CASE("TLS: a server that drains does not cut off a request of which a part of a record has come") {
  eventer::run([] {
    // Between the two somebody who passes on a part only.
    auto near = std::make_shared<tcp_pair>(connected_pair()), far = std::make_shared<tcp_pair>(connected_pair());
    const auto hold_back = std::make_shared<bool>(false);
    const auto kept = std::make_shared<std::string>();
    auto there = eventer::spawn([near, far, hold_back, kept] {
      while (const auto got = near->server.read_borrowed()) {
        std::string_view bytes(got->data(), got->size());
        if (*hold_back) {
          kept->assign(bytes.substr(bytes.size() / 2));
          bytes = bytes.substr(0, bytes.size() / 2);
        }
        if (!far->client.write_all(std::string(bytes))) return;
      }
    });
    auto back = eventer::spawn([near, far] {
      while (const auto got = far->client.read_borrowed())
        if (!near->server.write_all({got->data(), got->size()})) return;
    });
    const auto pair = shake_hands(std::move(far->server), std::move(near->client), test_certificates().server(),
                                  test_certificates().client());
    REQUIRE(pair.connected());
    const auto read = [server = pair.server] { return read_text(*server, 5s); };
    auto waiting = eventer::spawn(read);
    next_turn();
    *hold_back = true;
    REQUIRE(pair.client->write_all("a question"));
    while (kept->empty()) next_turn();
    next_turn();
    pair.server->file()->begin_draining();
    pair.server->file()->end_when_idle();
    next_turn();
    CHECK(!waiting.done());
    REQUIRE(far->client.write_all(*kept));
    CHECK(waiting.join() == "a question");
    REQUIRE(pair.server->write_all("its answer"));
    CHECK(read_text(*pair.client) == "its answer");
    CHECK(eventer::spawn(read).join() == end_of_stream_text);
    pair.server->close();
    pair.client->close();
    near->server.close();
    far->client.close();
    there.join();
    back.join();
  });
}

TEST_CASE("TLS: a server that drains reads what has come, also where the loop has not looked yet") {
  eventer::run([] {
    const auto pair = connected_tls();
    REQUIRE(pair.connected());
    const auto serve = eventer::spawn([server = pair.server] { echo_all(server); });
    REQUIRE(pair.client->write_all("x"));
    CHECK(read_text(*pair.client) == "x");
    next_turn();
    REQUIRE(pair.client->write_all("a question"));
    pair.server->file()->begin_draining();
    pair.server->file()->end_when_idle();
    CHECK(read_text(*pair.client) == "a question");
    CHECK(read_text(*pair.client) == end_of_stream_text);
  });
}

TEST_CASE("TLS: a connection goes to another loop, and talks on") {
  eventer::loop_pool pool(1);
  pool.start();
  eventer::run([&pool] {
    const auto pair = connected_tls();
    REQUIRE(pair.connected());
    REQUIRE(pair.client->write_all("before"));
    CHECK(read_text(*pair.server) == "before");
    CHECK(read_text(*pair.server, 1ms) == timed_out_text);  // registered here
    auto there = std::make_shared<tls::stream>(std::move(*pair.server));
    REQUIRE(there->detach());
    REQUIRE(pair.client->write_all("on its way"));
    auto echoing = pool[0].spawn([there] {
      echo_all(there);
      there->close();
    });
    std::string back(10, ' ');
    REQUIRE(pair.client->read_exact(back, 5s));
    CHECK(back == "on its way");
    for (int i = 0; i < 100; ++i) {
      REQUIRE(pair.client->write_all("ping"));
      CHECK(read_text(*pair.client, 5s) == "ping");
    }
    REQUIRE(pair.client->shutdown_write());
    CHECK(read_text(*pair.client, 5s) == end_of_stream_text);
    echoing.join();
  });
}

TEST_CASE("TLS: plain threads block in it as they do in TCP") {
  auto acceptor = eventer::tcp_acceptor::listen("127.0.0.1:0").value();
  const eventer::endpoint where = acceptor.local();
  std::string answer;
  std::error_code failure;
  std::thread client([&] {
    auto stream =
        tls::stream::connect(test_certificates().client(), eventer::tcp_stream::connect(where).value(), "localhost");
    failure = stream.error();
    if (!stream) return;
    for (const std::size_t size : sizes) {
      const std::string text = pattern(size > 100'000 ? 100'000 : size);
      std::string back(text.size(), ' ');
      if (!stream->write_all(text, 10s) || !stream->read_exact(back, 10s) || back != text) return;
      answer += "ok ";
    }
  });
  auto server = tls::stream::accept(test_certificates().server(), acceptor.accept().value());
  CHECK(server.error() == std::error_code());
  std::array<char, 4096> bytes;
  while (const auto got = server->read_some(bytes, 10s))
    if (!server->write_all({bytes.data(), *got}, 10s)) break;
  client.join();
  CHECK(failure == std::error_code());
  CHECK(answer == "ok ok ok ok ok ok ok ");
  CHECK(server->read_some(bytes, 1ms).error() == errc::end_of_stream);
}

TEMPLATE_TEST_CASE("TLS in both worlds: handshakes, reads, writes, limits", "", stackful, foreign) {
  eventer::run([] {
    auto plain = std::make_shared<tcp_pair>(connected_pair());
    const auto server_context = std::make_shared<tls::context>(test_certificates().server());
    const auto client_context = std::make_shared<tls::context>(test_certificates().client());
    const auto to_stream = [](eventer::io_result<tls::stream>&& made) { return shared_or_none(std::move(made)); };
    auto accepting = TestType::perform(
        [=] { return tls::stream::accept(*server_context, std::move(plain->server), 5s); },
        [=] { return tls::stream::async_accept(*server_context, std::move(plain->server), 5s); }, to_stream);
    auto connecting = TestType::perform(
        [=] { return tls::stream::connect(*client_context, std::move(plain->client), "localhost", 5s); },
        [=] { return tls::stream::async_connect(*client_context, std::move(plain->client), "localhost", 5s); },
        to_stream);
    auto client = connecting.get();
    auto server = accepting.get();
    REQUIRE(client != nullptr);
    REQUIRE(server != nullptr);
    auto reading = start_read<TestType>(server);
    CHECK(start_write<TestType>(client, "hello").get() == "ok");
    CHECK(reading.get() == "hello");
    CHECK(start_read<TestType>(server, 1ms).get() == timed_out_text);
    auto big = start_read_exact<TestType>(client, 500'000);
    CHECK(start_write<TestType>(server, pattern(500'000)).get() == "ok");
    CHECK(big.get() == pattern(500'000));
    client->close();
    CHECK(start_read<TestType>(server).get() == end_of_stream_text);
  });
}
