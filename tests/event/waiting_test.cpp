// Who waits on a descriptor, and what ends the wait: a second reader, a close, a release, another loop, the end of the
// loop.
#include <cstring>
#include <memory>
#include <thread>

#include "../catch.hpp"
#include "../faults.hpp"
#include "../sockets.hpp"
#include "eventer/eventer.hpp"

using namespace std::chrono_literals;
using eventer::errc;
using eventer::tcp_stream;
using call = faults::call;

namespace {

std::shared_ptr<tcp_stream> shared(tcp_stream stream) { return std::make_shared<tcp_stream>(std::move(stream)); }

// Writes until the kernel takes no more.
void fill(eventer::stream& to) {
  const std::string block(64 << 10, 'f');
  while (::send(to.native_handle(), block.data(), block.size(), MSG_NOSIGNAL | MSG_DONTWAIT) > 0) {
  }
}

}  // namespace

TEST_CASE("a reader and a writer wait on one stream at once, and each goes on by itself") {
  eventer::run([] {
    auto pair = connected_pair();
    fill(pair.server);
    const auto both = shared(std::move(pair.server));
    auto reader = eventer::spawn([both] { return read_text(*both); });
    auto writer = eventer::spawn([both] { return both->write_some("tail", 5s).has_value(); });
    next_turn();
    CHECK_FALSE(reader.done());
    CHECK_FALSE(writer.done());
    CHECK(pair.client.write_all("for the reader").has_value());
    CHECK(reader.join() == "for the reader");
    CHECK_FALSE(writer.done());
    std::vector<char> drain(1 << 20);
    while (!writer.done()) REQUIRE(pair.client.read_some(drain, 5s).has_value());
    CHECK(writer.join());
  });
}

TEST_CASE("a second reader and a second writer get busy, and the first is not disturbed") {
  eventer::run([] {
    auto pair = connected_pair();
    fill(pair.server);
    const auto both = shared(std::move(pair.server));
    auto reader = eventer::spawn([both] { return read_text(*both); });
    auto writer = eventer::spawn([both] { return both->write_some("tail", 5s).error(); });
    eventer::yield();
    std::array<char, 8> bytes;
    CHECK(both->read_some(bytes, 1s).error() == errc::busy);
    CHECK(both->read_borrowed().error() == errc::busy);
    CHECK(both->write_some("x").error() == errc::busy);
    CHECK(both->detach().error() == errc::busy);
    CHECK(pair.client.write_all("first").has_value());
    CHECK(reader.join() == "first");
    both->close();
    CHECK(writer.join() == errc::closed);
  });
}

TEST_CASE("close and release wake a waiting reader and a waiting writer with closed") {
  struct ending {
    const char* name;
    void (*end)(std::shared_ptr<tcp_stream>&);
  };
  const ending endings[] = {
      {"close", [](std::shared_ptr<tcp_stream>& which) { which->close(); }},
      {"release", [](std::shared_ptr<tcp_stream>& which) { eventer::unique_fd(which->release()).reset(); }},
      {"assignment", [](std::shared_ptr<tcp_stream>& which) { *which = tcp_stream(); }},
  };
  for (const auto& [name, end] : endings) {
    DYNAMIC_SECTION(name) {
      eventer::run([end = end] {
        auto pair = connected_pair();
        fill(pair.server);
        auto both = shared(std::move(pair.server));
        auto reader = eventer::spawn([both] { return read_text(*both, 5s); });
        auto writer = eventer::spawn([both] { return both->write_all("x", 5s).error(); });
        next_turn();
        end(both);
        CHECK(reader.join() == closed_text);
        CHECK(writer.join() == errc::closed);
        CHECK(read_text(*both) == closed_text);
        both->close();  // twice is harmless
        CHECK(eventer::event_loop::current().stats().timers == 0);
      });
    }
  }
}

TEST_CASE("close just after the bytes have come answers closed too") {
  eventer::run([] {
    auto bell = connected_pair(), victim = connected_pair();
    const auto stream = shared(std::move(victim.server));
    // Both are woken by the same look at the kernel; the first one closes what the second one was woken for.
    auto closer = eventer::spawn([stream, server = std::move(bell.server)]() mutable {
      CHECK(read_text(server) == "ring");
      stream->close();
    });
    auto reader = eventer::spawn([stream] { return read_text(*stream); });
    eventer::yield();
    CHECK(bell.client.write_all("ring").has_value());
    CHECK(victim.client.write_all("bytes").has_value());
    closer.join();
    CHECK(reader.join() == closed_text);
  });
}

TEST_CASE("release gives the number back, open and quiet") {
  eventer::run([] {
    auto peer = connected_to_plain_peer();
    CHECK(read_text(peer.server, 1ms) == timed_out_text);
    const int number = peer.server.native_handle();
    const eventer::unique_fd released(peer.server.release());
    CHECK(released.get() == number);
    CHECK_FALSE(peer.server.is_open());
    CHECK(peer.server.native_handle() == -1);
    CHECK(peer.server.release() == -1);
    plain_send(peer.client, "hello");
    next_turn();
    const auto stats = eventer::event_loop::current().stats();
    CHECK(stats.stale_events == 0);
    CHECK(stats.registrations == 0);
    char text[8];
    CHECK(::recv(released.get(), text, sizeof text, 0) == 5);
  });
}

TEST_CASE("a stream of one loop is busy on another until it is detached") {
  eventer::event_loop first, second;
  tcp_pair pair = connected_pair();
  const auto on = [](eventer::event_loop& loop, auto function) {
    auto handle = loop.spawn(std::move(function));
    loop.run();
    return handle.join();
  };
  CHECK(on(first, [&pair] { return read_text(pair.server, 1ms); }) == timed_out_text);
  CHECK(on(second, [&pair] {
          std::array<char, 8> bytes;
          return pair.server.read_some(bytes, 1s).error();
        }) == errc::busy);
  CHECK(pair.server.detach().has_value());
  CHECK(first.stats().registrations == 0);
  CHECK(on(second, [&pair] {
          auto reader = eventer::spawn([&pair] { return read_text(pair.server); });
          next_turn();
          CHECK(pair.client.write_all("handed over").has_value());
          return reader.join();
        }) == "handed over");
  CHECK(second.stats().registrations >= 1);
}

TEST_CASE("what outlives its loop answers closed at once, everywhere") {
  tcp_pair pair = connected_pair();
  auto acceptor = eventer::tcp_acceptor::listen("127.0.0.1:0").value();
  eventer::run([&] {
    CHECK(read_text(pair.server, 1ms) == timed_out_text);
    CHECK(acceptor.accept(1ms).error() == std::errc::timed_out);
  });
  const auto check_closed = [&] {
    std::array<char, 8> bytes;
    CHECK(pair.server.read_some(bytes, 1s).error() == errc::closed);
    CHECK(pair.server.read_exact(bytes, 1s).error() == errc::closed);
    CHECK(pair.server.write_some("x", 1s).error() == errc::closed);
    CHECK(pair.server.write_all("x", 1s).error() == errc::closed);
    CHECK(acceptor.accept(1s).error() == errc::closed);
  };
  CHECK(pair.client.write_all("unheard").has_value());
  check_closed();
  eventer::run(check_closed);
  SECTION("until it is detached") {
    CHECK(pair.server.detach().has_value());
    CHECK(read_text(pair.server) == "unheard");
    eventer::run([&] { CHECK(read_text(pair.server, 1ms) == timed_out_text); });
  }
  SECTION("and can be released") {
    const eventer::unique_fd released(pair.server.release());
    char text[8];
    CHECK(::recv(released.get(), text, sizeof text, 0) == 7);
  }
  SECTION("or simply closed") { acceptor.close(); }
}

TEST_CASE("waiting for what the kernel refuses to watch answers its error, and leaves the stream usable", "[epoll]") {
  eventer::run([] {
    auto pair = connected_pair();
    const auto before = eventer::event_loop::current().stats().registrations;
    faults injected;
    injected.fail(call::epoll_ctl, ENOSPC);
    std::array<char, 8> bytes;
    CHECK(pair.server.read_some(bytes, 1s).error() == std::errc::no_space_on_device);
    CHECK(eventer::event_loop::current().stats().registrations == before);
    CHECK(read_text(pair.server, 1ms) == timed_out_text);
    CHECK(pair.client.write_all("x").has_value());
    CHECK(read_text(pair.server) == "x");
  });
}

TEST_CASE("interruptions never surface, injected or real", "[epoll]") {
  SECTION("injected") {
    faults injected;
    for (const call each :
         {call::recv, call::send, call::read, call::write, call::epoll_wait, call::accept4, call::poll})
      injected.fail(each, EINTR, 3);
    eventer::run([] {
      auto pair = connected_pair();
      auto echoing = eventer::spawn(echo, std::move(pair.server));
      CHECK(pair.client.write_all("text").has_value());
      CHECK(read_text(pair.client) == "text");
      auto pipe = adopted_pipe();
      CHECK(pipe.writer.write_all("text").has_value());
      CHECK(read_text(pipe.reader) == "text");
      eventer::sleep_for(1ms);
    });
    auto pair = connected_pair();
    CHECK(read_text(pair.server, 1ms) == timed_out_text);
    for (const call each :
         {call::recv, call::send, call::read, call::write, call::epoll_wait, call::accept4, call::poll})
      CHECK(injected.faults_left(each) == 0);
  }
  SECTION("real") {
    struct sigaction handler {
    }, before{};
    handler.sa_handler = [](int) {};  // and no SA_RESTART
    REQUIRE(::sigaction(SIGUSR1, &handler, &before) == 0);
    const pthread_t self = ::pthread_self();
    std::atomic<bool> stop{false};
    std::thread nuisance([&] {
      while (!stop) {
        ::pthread_kill(self, SIGUSR1);
        std::this_thread::sleep_for(200us);
      }
    });
    eventer::run([] {
      auto pair = connected_pair();
      auto echoing = eventer::spawn(echo, std::move(pair.server));
      for (int i = 0; i < 50; ++i) {
        eventer::sleep_for(500us);
        CHECK(pair.client.write_all("text").has_value());
        CHECK(read_text(pair.client) == "text");
      }
    });
    auto pair = connected_pair();
    CHECK(read_text(pair.server, 10ms) == timed_out_text);
    stop = true;
    nuisance.join();
    ::sigaction(SIGUSR1, &before, nullptr);
  }
}
