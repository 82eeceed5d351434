// Each trap that networking libraries fall into, in both worlds and with each reactor; named for what a user would
// notice.
#include <sys/socket.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "../captured_log.hpp"
#include "../catch.hpp"
#include "../child.hpp"
#include "../faults.hpp"
#include "../plain_descriptors.hpp"
#include "../reactors.hpp"
#include "../sockets.hpp"
#include "../two_worlds.hpp"
#include "eventer/eventer.hpp"

using namespace std::chrono_literals;
using eventer::event_loop;
using eventer::tcp_acceptor;
using eventer::tcp_stream;
using eventer::unix_stream;
using call = faults::call;

namespace {

template <class World, class Reactor>
struct in_world {
  using world = World;
  static void select() { Reactor::select(); }
};
using stackful_epoll = in_world<stackful, with_epoll>;
using foreign_epoll = in_world<foreign, with_epoll>;
#if defined(EVENTER_TEST_KQUEUE) && !(defined(__clang__) && EVENTER_TSAN)
using stackful_kqueue = in_world<stackful, with_kqueue>;
using foreign_kqueue = in_world<foreign, with_kqueue>;
#define TRAP_WORLDS stackful_epoll, foreign_epoll, stackful_kqueue, foreign_kqueue
#else
#define TRAP_WORLDS stackful_epoll, foreign_epoll
#endif
#define TRAP(name)                                   \
  template <class World>                             \
  static void TEST_BODY();                           \
  TEMPLATE_TEST_CASE(name, "[traps]", TRAP_WORLDS) { \
    TestType::select();                              \
    TEST_BODY<typename TestType::world>();           \
  }                                                  \
  template <class World>                             \
  static void TEST_BODY()

template <class Test>
void run_with(Test test, eventer::loop_options options = {}) {
  eventer::run(test, tested_reactor::options(options));
}

const std::string busy_text = text_of(make_error_code(eventer::errc::busy));
const std::string reset_text = text_of(std::make_error_code(std::errc::connection_reset));
const std::string broken_pipe_text = text_of(std::make_error_code(std::errc::broken_pipe));

struct shared_pair {
  std::shared_ptr<tcp_stream> server, client;
};
shared_pair connected() {
  auto pair = connected_pair();
  return {shared(std::move(pair.server)), shared(std::move(pair.client))};
}
// Writes until the kernel takes no more.
void fill(const tcp_stream& to) {
  const std::string block(64 << 10, 'f');
  while (::send(to.native_handle(), block.data(), block.size(), MSG_NOSIGNAL | MSG_DONTWAIT) > 0) {
  }
}
// Reads until the peer's write is done; gives the end of what was read.
std::string drain_until_done(tcp_stream& from, const pending<std::string>& writing) {
  std::vector<char> bytes(1 << 20);
  std::string got;
  while (!writing.done()) {
    got.append(bytes.data(), from.read_some(bytes, 5s).value());
    if (got.size() > 100) got.erase(0, got.size() - 100);
  }
  return got;
}

}  // namespace

// --- two waiters on one descriptor ---

TRAP("a reader and a writer wait on one stream, and a second of either is busy and disturbs nobody") {
  run_with([] {
    auto pair = connected();
    fill(*pair.server);
    auto reading = start_read<World>(pair.server);
    auto writing = start_write<World>(pair.server, "tail");
    next_turn();
    CHECK(start_read<World>(pair.server).get() == busy_text);
    CHECK(start_write<World>(pair.server, "x").get() == busy_text);
    CHECK_FALSE(reading.done());
    CHECK_FALSE(writing.done());
    CHECK(pair.client->write_all("for the reader").has_value());
    CHECK(reading.get() == "for the reader");
    CHECK_FALSE(writing.done());
    (void)drain_until_done(*pair.client, writing);
    CHECK(writing.get() == "ok");
  });
}

TRAP("a reader and a writer wait for one foreign descriptor, and a second of either is busy") {
  run_with([] {
    const auto pair = std::make_shared<plain_pair>(plain_socket_pair());
    fill_up(pair->ours);
    auto reading = start_readable<World>(pair->ours.get());
    auto writing = start_writable<World>(pair->ours.get());
    next_turn();
    CHECK(start_readable<World>(pair->ours.get()).get() == busy_text);
    CHECK(start_writable<World>(pair->ours.get()).get() == busy_text);
    give(pair->peer, "x");
    CHECK(reading.get() == "ok");
    CHECK_FALSE(writing.done());
    drain(pair->peer);
    CHECK(writing.get() == "ok");
  });
}

TRAP("a second accept is busy, and the first one gets its connection") {
  run_with([] {
    auto acceptor = shared(tcp_acceptor::listen("127.0.0.1:0").value());
    auto accepting = start_accept<World>(acceptor);
    next_turn();
    CHECK(start_accept<World>(acceptor).get().first == busy_text);
    auto client = tcp_stream::connect(acceptor->local()).value();
    auto [error, server] = accepting.get();
    REQUIRE(error == "ok");
    CHECK(server->write_all("hello").has_value());
    CHECK(read_text(client) == "hello");
  });
}

// --- numbers that are used again, and closing what others wait for ---

TRAP("whoever waits for what is closed, released or destroyed here hears of it, and can't hang") {
  struct ending {
    const char* name;
    void (*end)(tcp_stream&);
  };
  static const ending endings[] = {
      {"close", [](tcp_stream& which) { which.close(); }},
      {"release", [](tcp_stream& which) { eventer::unique_fd(which.release()).reset(); }},
      {"assignment", [](tcp_stream& which) { which = tcp_stream(); }},
  };
  for (const ending& each : endings) {
    for (const bool with_limits : {false, true}) {
      run_with([&each, with_limits] {
        auto pair = connected();
        fill(*pair.server);
        const eventer::time_limit limit = with_limits ? eventer::time_limit(5s) : eventer::time_limit();
        auto reading = start_read<World>(pair.server, limit);
        auto writing = start_write<World>(pair.server, "x", limit);
        next_turn();
        each.end(*pair.server);
        CHECK(reading.get() == closed_text);
        CHECK(writing.get() == closed_text);
        CHECK(start_read<World>(pair.server).get() == closed_text);
        CHECK(event_loop::current().stats().timers == 0);
      });
    }
  }
}

TRAP("who was woken, but has not run when the stream is closed, hears closed") {
  run_with([] {
    auto bell = connected(), victim = connected();
    auto closing = eventer::spawn([bell, victim] {
      CHECK(read_text(*bell.server) == "ring");
      victim.server->close();
    });
    next_turn();
    auto reading = start_read<World>(victim.server);
    for (int i = 0; i < 3; ++i) next_turn();  // both are registered, and have nothing to tell
    CHECK(bell.client->write_all("ring").has_value());
    CHECK(victim.client->write_all("bytes").has_value());
    closing.join();
    CHECK(reading.get() == closed_text);
  });
}

TRAP("siblings that are ready in the same batch close each other without being called with freed memory") {
  run_with([] {
    std::vector<shared_pair> pairs;
    std::vector<pending<std::string>> all;
    for (int i = 0; i < 8; ++i) pairs.push_back(connected());
    auto streams = std::make_shared<std::vector<std::shared_ptr<tcp_stream>>>();
    for (const shared_pair& each : pairs) streams->push_back(each.server);
    for (const shared_pair& each : pairs) {
      // Whoever reads something closes and destroys all the others.
      auto bytes = std::make_shared<std::array<char, 16>>();
      const auto close_others = [streams, bytes](const eventer::io_result<std::size_t>& got) {
        if (got)
          for (auto& other : *streams) *other = tcp_stream();
        return got ? std::string(bytes->data(), *got) : text_of(got.error());
      };
      all.push_back(World::perform([from = each.server, bytes] { return from->read_some(*bytes); },
                                   [from = each.server, bytes] { return from->async_read_some(*bytes); },
                                   close_others));
    }
    next_turn();
    for (const shared_pair& each : pairs) CHECK(each.client->write_all("bytes").has_value());
    int read = 0, closed = 0;
    for (auto& each : all) {
      const std::string got = each.get();
      read += got == "bytes";
      closed += got == closed_text;
    }
    CHECK(read == 1);
    CHECK(closed == 7);
  });
}

TRAP("a number that is used again gets its own events, however the old one was closed") {
  run_with([] {
    for (int round = 0; round < 10; ++round) {
      int number = -1;
      {
        auto old = adopted_pair();
        auto reader = shared(std::move(old.server));
        number = reader->native_handle();
        auto reading = start_read<World>(reader);
        next_turn();
        reader->close();
        CHECK(reading.get() == closed_text);
        CHECK(old.client.is_open());
      }
      auto fresh = adopted_pair();
      auto* const heir = fresh.server.native_handle() == number ? &fresh.server : &fresh.client;
      auto* const other = heir == &fresh.server ? &fresh.client : &fresh.server;
      CHECK(heir->native_handle() == number);
      auto kept = shared(std::move(*heir));
      auto reading = start_read<World>(kept);
      next_turn();
      CHECK_FALSE(reading.done());
      CHECK(other->write_all("for the heir").has_value());
      CHECK(reading.get() == "for the heir");
      const int reused = kept->release();
      kept = nullptr;
      auto waiting = start_readable<World>(reused);
      next_turn();
      CHECK_FALSE(waiting.done());
      CHECK(other->write_all("foreign").has_value());
      CHECK(waiting.get() == "ok");
      eventer::unique_fd(reused).reset();
    }
    CHECK(event_loop::current().stats().stale_events == 0);
  });
}

TEST_CASE("a co_await that lets others run first hears closed when its stream is closed and destroyed meanwhile") {
  eventer::run([] {
    auto zero = shared(unix_stream::from_fd(::open("/dev/zero", O_RDONLY | O_CLOEXEC)).value());
    struct state {
      std::shared_ptr<unix_stream> from;
      std::array<char, 8> bytes;
      int reads = 0;
    };
    const auto all = std::make_shared<state>();
    all->from = zero;
    pending<std::string> ended;
    event_loop::current().post([all, ended] {
      [](std::shared_ptr<state> s, pending<std::string> end) -> fire_and_forget {
        for (;;) {
          const auto got = co_await s->from->async_read_some(s->bytes);
          if (!got) co_return end.end(text_of(got.error()));
          ++s->reads;
        }
      }(all, ended);
    });
    while (all->reads < 1000) eventer::yield();  // it has never had to wait, and has let this one run
    *zero = unix_stream();
    CHECK(ended.get() == closed_text);
  });
}

EVENT_TEST("a read that lets others run hears closed when its stream goes, and does not go on with another one") {
  run_with([] {
    auto zero = shared(unix_stream::from_fd(::open("/dev/zero", O_RDONLY | O_CLOEXEC)).value());
    const auto reads = std::make_shared<int>(0);
    auto reader = eventer::spawn([zero, reads] {
      std::array<char, 8> bytes;
      for (;; ++*reads)
        if (const auto got = zero->read_some(bytes); !got) return text_of(got.error());
    });
    while (*reads < 1000) eventer::yield();
    *zero = unix_stream::from_fd(::open("/dev/zero", O_RDONLY | O_CLOEXEC)).value();
    const int before = *reads;
    CHECK(reader.join() == closed_text);
    CHECK(*reads == before);
  });
}

TRAP("an accept that pauses hears closed when its acceptor is closed and destroyed meanwhile") {
  const captured_log log;
  eventer::manual_clock time;
  run_with(
      [] {
        auto acceptor = shared(tcp_acceptor::listen("127.0.0.1:0").value());
        auto client = tcp_stream::connect(acceptor->local()).value();
        faults injected;
        injected.fail(call::accept4, EMFILE, 1000);
        auto accepting = start_accept<World>(acceptor);
        next_turn();
        CHECK_FALSE(accepting.done());
        *acceptor = tcp_acceptor::listen("127.0.0.1:0").value();
        CHECK(accepting.get().first == closed_text);
      },
      {.clock = &time});
}

TEST_CASE("an accept that would have to pause in a callback is refused with a sentence") {
  const auto result = run_in_child([] {
    eventer::run([] {
      auto acceptor = shared(tcp_acceptor::listen("127.0.0.1:0").value());
      static faults injected;
      injected.fail(call::accept4, EMFILE, 1000);
      event_loop::current().post([acceptor] { (void)acceptor->accept(); });
      eventer::sleep_for(1s);
    });
  });
  CHECK(contains(result.output, "would block its loop in a callback: spawn a coroutine"));
}

// --- EMFILE ---

TRAP("a server without descriptors says so once, lets others run, and serves when it can again") {
  const captured_log log;
  eventer::manual_clock time;
  run_with(
      [] {
        auto acceptor = shared(tcp_acceptor::listen("127.0.0.1:0").value());
        auto client = tcp_stream::connect(acceptor->local()).value();
        faults injected;
        injected.fail(call::accept4, EMFILE, 1'000'000);
        auto accepting = start_accept<World>(acceptor);
        int ticks = 0;
        for (; ticks < 100; ++ticks) eventer::sleep_for(1ms);
        CHECK_FALSE(accepting.done());
        CHECK(injected.calls(call::accept4) < 50);
        injected.fail(call::accept4, 0, 0);
        auto [error, server] = accepting.get();
        REQUIRE(error == "ok");
        CHECK(server->write_all("served").has_value());
        CHECK(read_text(client) == "served");
      },
      {.clock = &time});
  CHECK(log.lines().size() == 1);
  CHECK(log.count("pausing") == 1);
}

// --- hang-ups and half-closes ---

TRAP("a hang-up loses none of the bytes before it, whenever it comes") {
  struct peer_end {
    const char* name;
    void (*end)(eventer::unique_fd&);
    std::string after;
  };
  const peer_end peer_ends[] = {
      {"close", [](eventer::unique_fd& fd) { fd.reset(); }, end_of_stream_text},
      {"half-close", [](eventer::unique_fd& fd) { ::shutdown(fd.get(), SHUT_WR); }, end_of_stream_text},
  };
  for (const peer_end& each : peer_ends) {
    for (const bool registered : {false, true}) {
      for (const bool waiting : {false, true}) {
        CAPTURE(each.name, registered, waiting);
        run_with([&each, registered, waiting] {
          auto peer = connected_to_plain_peer();
          auto server = shared(std::move(peer.server));
          if (registered) CHECK(start_read<World>(server, 0s).get() == timed_out_text);
          auto reading = waiting ? start_read<World>(server, {}, 4) : pending<std::string>();
          if (waiting) next_turn();
          plain_send(peer.client, "all of this");
          each.end(peer.client);
          next_turn();
          std::string got = waiting ? reading.get() : "";
          for (std::string part; (part = start_read<World>(server, 2s, 4).get()).front() != '<';) got += part;
          CHECK(got == "all of this");
          CHECK(start_read<World>(server, 2s).get() == each.after);
        });
      }
    }
  }
}

TRAP("a half-closed connection can still be written to, also by one who waits") {
  run_with([] {
    auto pair = connected();
    fill(*pair.server);
    auto writing = start_write<World>(pair.server, "the answer");
    auto reading = start_read<World>(pair.server);
    next_turn();
    CHECK(pair.client->shutdown_write().has_value());
    CHECK(reading.get() == end_of_stream_text);
    for (int i = 0; i < 3; ++i) next_turn();
    CHECK_FALSE(writing.done());
    std::string got = drain_until_done(*pair.client, writing);
    CHECK(writing.get() == "ok");
    while (!got.ends_with("the answer")) {
      got += start_read<World>(pair.client, 2s).get();
      REQUIRE(got.back() != '>');
    }
  });
}

TRAP("a reset wakes a reader and a writer with its error") {
  run_with([] {
    auto peer = connected_to_plain_peer();
    auto server = shared(std::move(peer.server));
    fill(*server);
    auto reading = start_read<World>(server);
    auto writing = start_write<World>(server, "x");
    next_turn();
    const linger reset{1, 0};
    ::setsockopt(peer.client.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    peer.client.reset();
    const std::string read = reading.get(), written = writing.get();
    // The kernel tells whoever asks first.
    CHECK((read == reset_text || read == end_of_stream_text));
    CHECK((written == reset_text || written == broken_pipe_text));
    CHECK((read == reset_text || written == reset_text));
  });
}

TRAP("urgent data holds nobody up") {
  run_with([] {
    auto peer = connected_to_plain_peer();
    auto server = shared(std::move(peer.server));
    auto reading = start_read<World>(server);
    next_turn();
    plain_send(peer.client, "before");
    plain_send(peer.client, "!", MSG_OOB);
    plain_send(peer.client, "behind");
    std::string got = reading.get();
    while (got.size() < 12) got += start_read<World>(server, 2s).get();
    CHECK(got == "beforebehind");
    plain_send(peer.client, "later");
    CHECK(start_read<World>(server, 2s).get() == "later");
  });
}

// --- SIGPIPE, EINTR, short writes ---

TRAP("writing to a peer that is gone is an error, and no signal") {
  std::atomic<int> signals{0};
  static std::atomic<int>* count = nullptr;
  count = &signals;
  const auto before = ::signal(SIGPIPE, [](int) { ++*count; });
  run_with([] {
    auto pair = adopted_pair();
    auto pipe = adopted_pipe();
    pair.client.close();
    pipe.reader.close();
    auto socket = shared(std::move(pair.server)), writer = shared(std::move(pipe.writer));
    for (int i = 0; i < 2; ++i) {
      CHECK(start_write<World>(socket, "x").get() == broken_pipe_text);
      CHECK(start_write<World>(writer, "x").get() == broken_pipe_text);
    }
  });
  ::signal(SIGPIPE, before);
  CHECK(signals == 0);
}

TRAP("an interrupted system call is no error, and costs nothing of what it was to do") {
  run_with([] {
    faults injected;
    constexpr call interrupted[] = {call::recv, call::send, call::epoll_wait, call::kevent, call::accept4};
    auto acceptor = shared(tcp_acceptor::listen("127.0.0.1:0").value());
    for (int i = 0; i < 5; ++i) {
      for (const call each : interrupted) injected.fail(each, EINTR, 3);
      auto accepting = start_accept<World>(acceptor);
      next_turn();
      auto client = shared(tcp_stream::connect(acceptor->local()).value());
      auto [error, server] = accepting.get();
      REQUIRE(error == "ok");
      auto reading = start_read<World>(server);
      next_turn();
      for (const call each : interrupted) injected.fail(each, EINTR, 3);
      CHECK(start_write<World>(client, "text").get() == "ok");
      CHECK(reading.get() == "text");
    }
  });
}

TRAP("a short write is not taken for a whole one, nor a short read for the end") {
  run_with([] {
    auto pair = connected();
    const int small = 16 << 10;
    ::setsockopt(pair.server->native_handle(), SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    std::string text(2 << 20, ' ');
    for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>('a' + i * 7 % 26);
    faults counted;
    auto writing = start_write<World>(pair.server, text);
    auto reading = start_read_exact<World>(pair.client, text.size());
    const std::string got = reading.get();
    CHECK(got == text);
    CHECK(writing.get() == "ok");
    CHECK(counted.calls(call::send) > 3);
  });
}

// --- time ---

TRAP("a limit of whole seconds is one, limits that have passed are too, and no timers pile up") {
  static_assert(eventer::clock::is_steady);
  eventer::manual_clock time;  // which begins at a whole second
  run_with(
      [clock = &time] {
        auto pair = connected();
        const auto start = clock->now();
        CHECK(start_read<World>(pair.server, 1s).get() == timed_out_text);
        CHECK(clock->now() - start == 1s);
        CHECK(start_read<World>(pair.server, start + 3s).get() == timed_out_text);
        CHECK(clock->now() - start == 3s);
        for (const eventer::time_limit passed : {eventer::time_limit(start), eventer::time_limit(-1s)})
          CHECK(start_read<World>(pair.server, passed).get() == timed_out_text);
        CHECK(clock->now() - start == 3s);
        for (int i = 0; i < 500; ++i) {
          auto reading = start_read<World>(pair.server, 1h);
          next_turn();
          CHECK(pair.client->write_all("x", 1h).has_value());
          CHECK(reading.get() == "x");
          CHECK(event_loop::current().stats().timers == 0);
        }
      },
      {.clock = &time});
}

// A time-out of one wait must not fail the next one, nor what has nothing to do with it.
TRAP("a time-out leaves nothing behind for the next call") {
  run_with([] {
    auto pair = connected();
    for (int i = 0; i < 3; ++i) {
      CHECK(start_read<World>(pair.server, 1ms).get() == timed_out_text);
      CHECK(start_write<World>(pair.server, "x").get() == "ok");
      CHECK(read_text(*pair.client) == "x");
      CHECK(pair.client->write_all("y").has_value());
      CHECK(start_read<World>(pair.server).get() == "y");
    }
  });
}

// --- fairness ---

namespace {

// Operations that never have to wait; each of them starts the next one.
template <class World>
struct chain {
  std::shared_ptr<unix_stream> on;
  std::shared_ptr<bool> over;
  bool writes;
  pending<std::string> ended;

  void next() const {
    if (*over) return ended.end("ok");
    const auto bytes = std::make_shared<std::array<char, 64>>();
    const auto go_on = [self = *this](const eventer::io_result<std::size_t>&) {
      self.next();
      return 0;
    };
    if (writes)
      (void)World::perform([to = on] { return to->write_some("text"); },
                           [to = on] { return to->async_write_some("text"); }, go_on);
    else
      (void)World::perform([from = on, bytes] { return from->read_some(*bytes); },
                           [from = on, bytes] { return from->async_read_some(*bytes); }, go_on);
  }
};

}  // namespace

TRAP("one whose peer always has something starves neither timers nor other connections, and can be ended") {
  for (const bool writes : {false, true}) {
    run_with([writes] {
      auto device =
          shared(unix_stream::from_fd(::open(writes ? "/dev/null" : "/dev/zero", O_RDWR | O_CLOEXEC)).value());
      auto pair = connected();
      const auto over = std::make_shared<bool>(false);
      std::vector<pending<std::string>> busy;
      for (int i = 0; i < 4; ++i) {
        busy.emplace_back();
        chain<World>{device, over, writes, busy.back()}.next();
      }
      auto echoing = eventer::spawn([server = pair.server] { echo(std::move(*server)); });
      auto ticking = eventer::spawn([] {
        for (int i = 0; i < 5; ++i) eventer::sleep_for(1ms);
      });
      for (int i = 0; i < 20; ++i) {
        CHECK(pair.client->write_all("x").has_value());
        CHECK(read_text(*pair.client, 5s) == "x");
      }
      CHECK(ticking.join_for(5s).has_value());
      *over = true;
      for (auto& each : busy) CHECK(each.get() == "ok");
    });
  }
}

EVENT_TEST("a foreign coroutine that reads without ever waiting lets others run") {
  run_with([] {
    struct state {
      std::shared_ptr<unix_stream> from =
          shared(unix_stream::from_fd(::open("/dev/zero", O_RDONLY | O_CLOEXEC)).value());
      std::array<char, 64> bytes{};
      bool over = false;
      std::uint64_t reads = 0;
    };
    const auto all = std::make_shared<state>();
    pending<std::string> ended;
    event_loop::current().post([all, ended] {
      [](std::shared_ptr<state> s, pending<std::string> end) -> fire_and_forget {
        while (!s->over) {
          const auto got = co_await s->from->async_read_some(s->bytes);
          s->reads += got.has_value();
        }
        end.end("ok");
      }(all, ended);
    });
    auto pair = connected();
    auto echoing = eventer::spawn([server = pair.server] { echo(std::move(*server)); });
    for (int i = 0; i < 20; ++i) {
      eventer::sleep_for(100us);
      CHECK(pair.client->write_all("x").has_value());
      CHECK(read_text(*pair.client, 5s) == "x");
    }
    all->over = true;
    CHECK(ended.get() == "ok");
    CHECK(all->reads > 64);
  });
}

// --- other threads ---

TRAP("what another thread posts, spawns and ends is heard at once by a loop that sleeps, in both worlds") {
  const captured_log log;  // of coroutines that nothing local can wake
  event_loop other(tested_reactor::options());
  run_with([&other] {
    auto& here = event_loop::current();
    const auto start = eventer::clock::now();
    const eventer::work_guard guard(other);
    std::thread thread([&other] { other.run(); });
    for (int i = 0; i < 50; ++i) {
      auto handle = std::make_shared<eventer::join_handle<int>>(other.spawn([&here, i] {
        const int answer = here.spawn([i] { return i; }).join();
        return answer + 1;
      }));
      auto joining = World::perform([handle] { return handle->join(); }, [handle] { return handle->async_wait(); },
                                    [](int answer) { return answer; });
      CHECK(joining.get() == i + 1);
    }
    CHECK(eventer::clock::now() - start < 5s);
    other.stop();
    thread.join();
  });
}

// --- files ---

TRAP("files, directories and devices that epoll refuses are read and written in place, and never wait") {
  run_with([] {
    const auto file = std::make_shared<eventer::unique_fd>(plain_open("/tmp", O_TMPFILE | O_RDWR));
    CHECK(start_readable<World>(file->get(), 5s).get() == "ok");
    CHECK(start_writable<World>(file->get(), 5s).get() == "ok");
    auto stream = shared(unix_stream::from_fd(::dup(file->get())).value());
    CHECK(start_write<World>(stream, "first line\nsecond").get() == "ok");
    CHECK(::lseek(file->get(), 0, SEEK_SET) == 0);
    auto text = std::make_shared<std::string>();
    CHECK(start_read_until<World>(stream, text, "\n", 100).get() == "first line\n");
    CHECK(start_read<World>(stream).get() == end_of_stream_text);
    CHECK(*text == "first line\nsecond");

    auto directory = shared(unix_stream::from_fd(::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC)).value());
    CHECK(start_read<World>(directory).get() == text_of(std::make_error_code(std::errc::is_a_directory)));
    auto null = shared(unix_stream::from_fd(::open("/dev/null", O_RDWR | O_CLOEXEC)).value());
    CHECK(start_write<World>(null, std::string(1 << 20, 'x')).get() == "ok");
    CHECK(start_read<World>(null).get() == end_of_stream_text);
    auto zero = shared(unix_stream::from_fd(::open("/dev/zero", O_RDONLY | O_CLOEXEC)).value());
    CHECK(start_read_exact<World>(zero, 100'000).get() == std::string(100'000, '\0'));
  });
}
