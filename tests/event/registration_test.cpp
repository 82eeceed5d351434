// The kernel's registrations: what is left of a closed descriptor, a number that is used again, duplicates elsewhere,
// foreign descriptors.
#include <memory>

#include "../captured_log.hpp"
#include "../catch.hpp"
#include "../faults.hpp"
#include "../sockets.hpp"
#include "eventer/eventer.hpp"

using namespace std::chrono_literals;
using call = faults::call;

namespace {

eventer::loop_stats stats() { return eventer::event_loop::current().stats(); }

// A connection whose server end was closed here while a duplicate lives on, so that the kernel goes on reporting it.
struct haunted {
  eventer::unique_fd duplicate;
  eventer::unique_fd client;
  int number;  // of the closed one
};
haunted close_with_duplicate_elsewhere() {
  auto peer = connected_to_plain_peer();
  CHECK(read_text(peer.server, 1ms) == timed_out_text);
  haunted result{eventer::unique_fd(::fcntl(peer.server.native_handle(), F_DUPFD_CLOEXEC, 100)), std::move(peer.client),
                 peer.server.native_handle()};
  peer.server.close();
  return result;
}

// One byte for the ghost, which the kernel reports; the duplicate's holder reads it, so that the next one is not held
// back.
void haunt(const haunted& ghost) {
  char byte;
  while (::recv(ghost.duplicate.get(), &byte, 1, MSG_DONTWAIT) == 1) {
  }
  plain_send(ghost.client, ".");
}

}  // namespace

TEST_CASE("a late event of a closed descriptor does not reach the next owner of its number", "[epoll]") {
  eventer::run([] {
    const auto ghost = close_with_duplicate_elsewhere();
    auto pair = connected_pair();
    auto* const heir = pair.server.native_handle() == ghost.number ? &pair.server : &pair.client;
    auto* const other = heir == &pair.server ? &pair.client : &pair.server;
    CHECK(heir->native_handle() <= ghost.number + 2);
    auto reader = eventer::spawn(
        [stream = std::make_shared<eventer::tcp_stream>(std::move(*heir))] { return read_text(*stream); });
    next_turn();
    const auto resumes = stats().resumes;
    plain_send(ghost.client, "for the ghost");
    next_turn();
    CHECK(stats().stale_events >= 1);
    CHECK(stats().resumes - resumes == 1);  // this coroutine alone
    CHECK(other->write_all("for the heir").has_value());
    CHECK(reader.join() == "for the heir");
  });
}

TEST_CASE("the kernel's set is made anew when a live duplicate keeps reporting what was closed", "[epoll]") {
  for (const bool others_talk_too : {false, true}) {
    DYNAMIC_SECTION((others_talk_too ? "while others talk too" : "while nobody else talks")) {
      eventer::run([others_talk_too] {
        const auto ghost = close_with_duplicate_elsewhere();
        auto pair = connected_pair();
        auto echoing = eventer::spawn(echo, std::move(pair.server));
        const auto turn = [&] {
          haunt(ghost);
          if (others_talk_too) {
            CHECK(pair.client.write_all("x").has_value());
            CHECK(read_text(pair.client) == "x");
          }
          next_turn();
        };
        for (int i = 0; i < 300 && stats().rebuilds == 0; ++i) turn();
        CHECK(stats().rebuilds == 1);
        const auto stale = stats().stale_events;
        CHECK(stale >= 100);
        for (int i = 0; i < 20; ++i) turn();
        CHECK(stats().stale_events == stale);
        CHECK(pair.client.write_all("still here").has_value());
        CHECK(read_text(pair.client) == "still here");
        auto posted = std::make_shared<bool>(false);
        eventer::event_loop::current().post([posted] { *posted = true; });
        next_turn();
        CHECK(*posted);
      });
    }
  }
}

TEST_CASE("a loop that can't make its set anew says so and goes on with the old one", "[epoll]") {
  for (const call step : {call::epoll_create1, call::epoll_ctl}) {
    const captured_log log;
    eventer::run([step] {
      const auto ghost = close_with_duplicate_elsewhere();
      auto pair = connected_pair();
      auto echoing = eventer::spawn(echo, std::move(pair.server));
      CHECK(read_text(pair.client, 1ms) == timed_out_text);
      faults injected;
      injected.fail(step, EMFILE);
      for (int i = 0; i < 300 && injected.faults_left(step) > 0; ++i) {
        haunt(ghost);
        next_turn();
      }
      CHECK(injected.faults_left(step) == 0);
      CHECK(pair.client.write_all("still here").has_value());
      CHECK(read_text(pair.client) == "still here");
      auto& here = eventer::event_loop::current();
      here.spawn([] {}).join();
    });
    CHECK(log.count("rebuilding") == 1);
  }
}

TEST_CASE("closing an adopted descriptor takes its registration back, because duplicates live on") {
  eventer::run([] {
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    const eventer::unique_fd peer(ends[0]), duplicate(::dup(ends[1]));
    auto adopted = eventer::tcp_stream::from_fd(ends[1]).value();
    CHECK(read_text(adopted, 1ms) == timed_out_text);
    adopted.close();
    plain_send(peer, "x");
    for (int i = 0; i < 5; ++i) next_turn();
    CHECK(stats().stale_events == 0);
    CHECK(stats().registrations == 0);
  });
}

TEST_CASE("closing a socket made here costs one system call") {
  eventer::run([] {
    auto pair = connected_pair();
    CHECK(read_text(pair.server, 1ms) == timed_out_text);
    faults counted;
    pair.server.close();
    CHECK(counted.calls(call::close) == 1);
    CHECK(counted.calls(call::epoll_ctl) == 0);
  });
}

TEST_CASE("a descriptor that was watched by others before can be adopted, and the other way round") {
  eventer::run([] {
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0);
    const eventer::unique_fd peer(ends[0]);
    CHECK(eventer::await(eventer::readable(ends[1], 1ms)).error() == std::errc::timed_out);
    auto adopted = eventer::tcp_stream::from_fd(ends[1]).value();
    CHECK(read_text(adopted, 1ms) == timed_out_text);
    plain_send(peer, "x");
    CHECK(read_text(adopted) == "x");
    const eventer::unique_fd released(adopted.release());
    CHECK(eventer::await(eventer::readable(released.get(), 1ms)).error() == std::errc::timed_out);
    plain_send(peer, "y");
    CHECK(eventer::await(eventer::readable(released.get(), 2s)));
  });
}

TEST_CASE(
    "a foreign descriptor is announced again while others leave bytes unread, and when its number is opened anew") {
  eventer::run([] {
    const auto wait = [](int fd) { return eventer::await(eventer::readable(fd, 2s)).error(); };
    for (int round = 0; round < 3; ++round) {
      int ends[2];
      REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0);
      const eventer::unique_fd peer(ends[0]), foreign(ends[1]);
      plain_send(peer, "abc");
      for (int i = 0; i < 3; ++i) {
        char one;
        CHECK_FALSE(wait(foreign.get()));
        CHECK(::recv(foreign.get(), &one, 1, 0) == 1);
      }
      CHECK(eventer::await(eventer::readable(foreign.get(), 1ms)).error() == std::errc::timed_out);
    }
    CHECK(eventer::await(eventer::readable(-1)).error() == std::errc::bad_file_descriptor);
  });
}

TEST_CASE("waiting to write to a foreign descriptor whose peer has half-closed does not spin") {
  eventer::run([] {
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0);
    const eventer::unique_fd peer(ends[0]), foreign(ends[1]);
    const std::string block(64 << 10, 'f');
    while (::send(foreign.get(), block.data(), block.size(), MSG_NOSIGNAL) > 0) {
    }
    ::shutdown(peer.get(), SHUT_WR);
    const auto turns = stats().turns;
    CHECK(eventer::await(eventer::writable(foreign.get(), 20ms)).error() == std::errc::timed_out);
    CHECK(stats().turns - turns < 10);
  });
}
