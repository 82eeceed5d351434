// Our loop inside the loops of others: GLib, libuv, Boost.Asio, bare epoll, and another loop of ours. Each of them
// waits for native_handle() and calls poll(), and all of them run the same cases.
#include <fcntl.h>
#include <poll.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "../catch.hpp"
#include "hosts.hpp"
#if EVENTER_TEST_GLIB
#include "glib_host.hpp"
#endif
#if EVENTER_TEST_LIBUV
#include "libuv_host.hpp"
#endif
#if __has_include(<boost/asio.hpp>)
#include "asio_host.hpp"
#endif

using namespace std::chrono_literals;
using eventer::io_mask;

namespace {

using edge_triggered = epoll_host<EPOLLET>;
using level_triggered = epoll_host<0>;
using hosts = std::tuple<edge_triggered, level_triggered, eventer_host
#if EVENTER_TEST_GLIB
                         ,
                         glib_host
#endif
#if EVENTER_TEST_LIBUV
                         ,
                         libuv_host
#endif
#if __has_include(<boost/asio.hpp>)
                         ,
                         asio_host
#endif
                         >;

// The host that the running test is to use. Its body is compiled once.
template <class Host>
std::unique_ptr<host> make(eventer::event_loop& loop, mode how) {
  return std::make_unique<Host>(loop, how);
}
std::unique_ptr<host> (*make_host)(eventer::event_loop&, mode) = nullptr;

struct embedded {
  eventer::event_loop loop;
  std::unique_ptr<host> outer = make_host(loop, GENERATE(mode::handle_only, mode::with_deadline));

  bool run_until(std::function<bool()> done) { return outer->run_until(std::move(done)); }
  // Until the host has nothing more to do for the loop.
  void settle() {
    pollfd one{loop.native_handle(), POLLIN, 0};
    CHECK(outer->run_until([&] { return ::poll(&one, 1, 0) == 0; }));
  }
  std::string failure() const {
    if (outer->failures.size() != 1) return std::to_string(outer->failures.size()) + " exceptions";
    try {
      std::rethrow_exception(outer->failures.front());
    } catch (const std::exception& one) {
      return one.what();
    }
  }
};

struct stream_pair {
  std::shared_ptr<eventer::unix_stream> near, far;
};
stream_pair make_pair() {
  auto both = eventer::unix_stream::pair().value();
  return {std::make_shared<eventer::unix_stream>(std::move(both.first)),
          std::make_shared<eventer::unix_stream>(std::move(both.second))};
}
void give(const std::shared_ptr<eventer::unix_stream>& to, std::string_view text) {
  if (::write(to->native_handle(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    throw std::runtime_error("write");
}

}  // namespace

#define EMBEDDING_TEST(name)                            \
  static void TEST_BODY();                              \
  TEMPLATE_LIST_TEST_CASE(name, "[embedding]", hosts) { \
    make_host = &make<TestType>;                        \
    TEST_BODY();                                        \
  }                                                     \
  static void TEST_BODY()

#if !EVENTER_TEST_GLIB
TEST_CASE("our loop inside GLib's") { EVENTER_SKIP("built without GLib (libglib2.0-dev)"); }
#endif
#if !EVENTER_TEST_LIBUV
TEST_CASE("our loop inside libuv's") { EVENTER_SKIP("built without libuv (libuv1-dev)"); }
#endif
#if !__has_include(<boost/asio.hpp>)
TEST_CASE("our loop inside Boost.Asio's") { EVENTER_SKIP("built without Boost.Asio (libboost-dev)"); }
#endif

EMBEDDING_TEST("embedded coroutines sleep, and wake in the order of their times") {
  embedded all;
  std::string order;
  const eventer::time_point begin = eventer::clock::now() + 250ms;  // all of them have begun by then
  for (const auto& [name, time] : {std::pair{'c', 15ms}, std::pair{'a', 1ms}, std::pair{'b', 8ms}})
    (void)all.loop.spawn([&order, name = name, time = begin + time] {
      eventer::sleep_until(time);
      order += name;
      eventer::sleep_for(20ms);
      order += static_cast<char>(name - 'a' + 'A');
    });
  CHECK(all.run_until([&] { return order.size() == 6; }));
  CHECK(order == "abcABC");
  CHECK(all.outer->failures.empty());
}

EMBEDDING_TEST("embedded coroutines talk over streams") {
  embedded all;
  int exchanged = 0;
  bool over = false;
  (void)all.loop.spawn([&] {
    auto acceptor = eventer::tcp_acceptor::listen("127.0.0.1:0").value();
    auto client = eventer::spawn([&exchanged, server = acceptor.local()] {
      auto stream = eventer::tcp_stream::connect(server).value();
      std::array<char, 64> bytes;
      for (int i = 0; i < 100; ++i) {
        const auto text = "message " + std::to_string(i);
        if (!stream.write_all(text)) return;
        const auto got = stream.read_some(bytes);
        if (!got || std::string_view(bytes.data(), *got) != text) return;
        ++exchanged;
      }
    });
    auto served = acceptor.accept().value();
    std::array<char, 64> bytes;
    while (const auto got = served.read_some(bytes))
      if (!served.write_all({bytes.data(), *got})) break;
    client.join();
    over = true;
  });
  CHECK(all.run_until([&] { return over; }));
  CHECK(exchanged == 100);
}

EMBEDDING_TEST("post and spawn from another thread wake the host") {
  embedded all;
  std::atomic<bool> over{false};
  int ran = 0;
  std::thread other([&] {
    for (int i = 0; i < 200; ++i) {
      std::atomic<bool> here{false};
      all.loop.post([&] {
        ++ran;
        here = true;
        here.notify_one();
      });
      here.wait(false);
      ran += all.loop
                 .spawn([] {
                   eventer::yield();
                   return 1;
                 })
                 .join();
    }
    over = true;
    all.loop.post([] {});
  });
  CHECK(all.run_until([&] { return over.load(); }));
  all.loop.poll();  // also after a failure, so that the thread ends
  other.join();
  CHECK(ran == 400);
}

EMBEDDING_TEST("a coroutine that always goes on and the host's own work both get their turns") {
  embedded all;
  bool stopped = false;
  int turns = 0, turns_with_progress = 0;
  std::uint64_t yields = 0, seen = 0;
  (void)all.loop.spawn([&] {
    while (!stopped) {
      ++yields;
      eventer::yield();
    }
  });
  all.outer->call_repeatedly([&] {
    ++turns;
    if (yields > seen) ++turns_with_progress;
    seen = yields;
    return turns_with_progress < 20;
  });
  CHECK(all.run_until([&] { return turns_with_progress == 20; }));
  stopped = true;
  all.settle();
  CHECK(all.loop.stats().coroutines == 0);
}

EMBEDDING_TEST("what the host's code arms, changes and ends between polls happens") {
  embedded all;
  const auto nothing = [] { return io_mask::none; };
  std::string order;

  SECTION("timers, each earlier than the one before") {
    auto never = all.loop.after(1h, [&] { order += '-'; });
    all.settle();
    auto late = all.loop.after(30ms, [&] { order += 'b'; });
    auto soon = all.loop.after(1ms, [&] { order += 'a'; });
    auto gone = all.loop.after(2ms, [&] { order += '-'; });
    gone.cancel();
    CHECK(all.run_until([&] { return order.size() == 2; }));
    CHECK(order == "ab");
    auto next = all.loop.at(all.loop.now(), [&] { order += 'c'; });
    CHECK(all.run_until([&] { return order.size() == 3; }));
    never.cancel();
  }
  SECTION("a rhythm, which the host's own work ends") {
    auto ticks = all.loop.every(1ms, [&] { order += 't'; });
    all.outer->call_repeatedly([&] {
      if (order.size() >= 3) ticks.cancel();
      return ticks.active();
    });
    CHECK(all.run_until([&] { return !ticks.active(); }));
    const auto ticked = order.size();
    all.settle();
    CHECK(order.size() == ticked);
  }
  SECTION("a watch, and what it is interested in") {
    const auto pair = make_pair();
    auto watch = all.loop.watch(pair.near->native_handle(), io_mask::none, [&](io_mask) {
      order += 'w';
      return nothing();
    });
    give(pair.far, "x");
    all.settle();
    CHECK(order.empty());
    watch.set_interest(io_mask::read);
    CHECK(all.run_until([&] { return !watch.active(); }));
    CHECK(order == "w");
  }
  SECTION("the same of a file that is always ready") {
    const eventer::unique_fd file(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
    auto watch = all.loop.watch(file.get(), io_mask::none, [&](io_mask) {
      order += 'w';
      return nothing();
    });
    all.settle();
    watch.set_interest(io_mask::read);
    CHECK(all.run_until([&] { return order == "w"; }));
  }
  SECTION("a coroutine, and the cancellation of one") {
    auto sleeper = all.loop.spawn([&] {
      auto inner = eventer::spawn([] { eventer::sleep_for(1h); });
      order += inner.try_join() ? '-' : 'i';
    });
    all.settle();
    sleeper.cancel();
    CHECK(all.run_until([&] { return sleeper.done(); }));
  }
  SECTION("the cancellation by a handle that a coroutine made") {
    eventer::join_handle<void> sleeper;
    (void)all.loop.spawn([&] { sleeper = eventer::spawn([] { eventer::sleep_for(1h); }); });
    all.settle();
    REQUIRE(sleeper.joinable());
    sleeper.cancel();
    CHECK(all.run_until([&] { return sleeper.done(); }));
  }
  SECTION("the closing of a stream that a coroutine reads") {
    const auto pair = make_pair();
    (void)all.loop.spawn([&order, near = pair.near] {
      std::array<char, 8> bytes;
      order += near->read_some(bytes).error() == eventer::errc::closed ? 'c' : '-';
    });
    all.settle();
    pair.near->close();
    CHECK(all.run_until([&] { return order == "c"; }));
  }
  SECTION("virtual time, which it moves on or which jumps") {
    for (const auto idle : {eventer::manual_clock::when_idle::wait, eventer::manual_clock::when_idle::jump}) {
      eventer::manual_clock time(idle);
      eventer::event_loop inner({.clock = &time});
      const auto outer = make_host(inner, mode::handle_only);
      auto sleeper = inner.spawn([] { eventer::sleep_for(1h); });
      if (!time.jumps_when_idle()) {
        CHECK(outer->run_until([&] { return inner.stats().timers == 1; }));
        time.advance(1h);
      }
      CHECK(outer->run_until([&] { return sleeper.done(); }));
    }
  }
}

EMBEDDING_TEST("an exception leaves poll, and everything else still happens") {
  embedded all;
  std::string order;
  const auto pair = make_pair();
  SECTION("out of a posted function") {
    all.loop.post([&] { order += 'a'; });
    all.loop.post([] { throw std::runtime_error("thrown"); });
    all.loop.post([&] { order += 'b'; });
    (void)all.loop.spawn([&] { order += 'c'; });
    CHECK(all.run_until([&] { return order.size() == 3; }));
  }
  SECTION("out of a timer") {
    auto first = all.loop.after(1ms, [&] { order += 'a'; });
    auto second = all.loop.after(1ms, [] { throw std::runtime_error("thrown"); });
    auto third = all.loop.after(1ms, [&] { order += 'b'; });
    auto fourth = all.loop.after(2ms, [&] { order += 'c'; });
    CHECK(all.run_until([&] { return order.size() == 3; }));
  }
  SECTION("out of a posted function, when a timer has come due as well") {
    auto due = all.loop.after(20ms, [&] { order += 't'; });
    all.settle();
    all.loop.post([] { throw std::runtime_error("thrown"); });
    std::this_thread::sleep_for(40ms);
    CHECK(all.run_until([&] { return order == "t"; }));
  }
  SECTION("out of watches") {
    std::vector<stream_pair> watched;
    for (int i = 0; i < 3; ++i) {
      watched.push_back(make_pair());
      auto dropped = all.loop.watch(watched.back().near->native_handle(), io_mask::read, [&order, i](io_mask) {
        order += static_cast<char>('a' + i);
        if (i == 1 && std::count(order.begin(), order.end(), 'b') == 1) throw std::runtime_error("thrown");
        return io_mask::none;
      });
    }
    all.settle();
    for (const auto& each : watched) give(each.far, "x");
    CHECK(all.run_until([&] { return order.size() == 4; }));
    CHECK(std::count(order.begin(), order.end(), 'b') == 2);  // it was not released, and is ready still
  }
  CHECK(all.failure() == "thrown");
}

EMBEDDING_TEST("nothing is lost where far more becomes ready than one poll takes") {
  embedded all;
  constexpr std::size_t count = 1000;
  std::vector<stream_pair> streams;
  std::size_t begun = 0, heard = 0;
  for (std::size_t i = 0; i < count; ++i) {
    streams.push_back(make_pair());
    (void)all.loop.spawn([&begun, &heard, stream = streams.back().near, waits = i == count - 1] {
      std::array<char, 8> bytes;
      if (!waits) (void)stream->read_some(bytes, 1ms);  // registered, and nobody waits for it any more
      ++begun;
      if (waits && stream->read_some(bytes)) ++heard;
    });
  }
  CHECK(all.run_until([&] { return begun == count; }));
  all.settle();
  for (const auto& each : streams) give(each.far, "x");
  CHECK(all.run_until([&] { return heard == 1; }));
}

EMBEDDING_TEST("no signal is lost between threads and polls that cross each other") {
  embedded all;
  constexpr int count = 5000;
  int posted = 0, bytes_read = 0;
  const auto pair = make_pair();
  (void)all.loop.spawn([&bytes_read, near = pair.near] {
    std::array<char, 8> bytes;
    while (const auto got = near->read_some(bytes)) bytes_read += static_cast<int>(*got);
  });
  std::thread poster([&] {
    for (int i = 0; i < count; ++i) all.loop.post([&posted] { ++posted; });
  });
  std::thread writer([&] {
    for (int i = 0; i < count; ++i) {
      pollfd one{pair.far->native_handle(), POLLOUT, 0};
      while (::write(one.fd, "x", 1) != 1) ::poll(&one, 1, 100);
    }
  });
  CHECK(all.run_until([&] { return posted == count && bytes_read == count; }));
  poster.join();
  writer.join();
}

EMBEDDING_TEST("a loop with nothing to do leaves its host in peace") {
  embedded all;
  auto one = all.loop.after(1h, [] {});
  auto ended = all.loop.spawn([] { eventer::sleep_for(1ms); });
  CHECK(all.run_until([&] { return ended.done(); }));
  all.settle();
  const auto polls = all.outer->polls();
  int turns = 0;
  all.outer->call_repeatedly([&] { return ++turns < 100; });
  CHECK(all.run_until([&] { return turns == 100; }));
  CHECK(all.outer->polls() == polls);
  CHECK(all.loop.next_deadline().value() > all.loop.now() + 59min);
  one.cancel();
}

EMBEDDING_TEST("the handle stays the same, also where the kernel goes on reporting a file that was closed here") {
  embedded all;
  auto pair = make_pair();
  bool closed = false;
  eventer::unique_fd duplicate;
  (void)all.loop.spawn([&closed, &duplicate, near = std::move(pair.near)] {
    std::array<char, 8> bytes;
    duplicate.reset(::dup(near->native_handle()));
    (void)near->read_some(bytes, 1ms);
    near->close();
    closed = true;
  });
  CHECK(all.run_until([&] { return closed; }));
  const int handle = all.loop.native_handle();
  for (int i = 0; i < 300 && all.loop.native_handle() == handle; ++i) {
    char byte;
    give(pair.far, "x");
    all.settle();
    CHECK(::read(duplicate.get(), &byte, 1) == 1);
  }
  CHECK(all.loop.native_handle() == handle);
  CHECK(all.loop.stats().stale_events > 0);
  bool ran = false;
  (void)all.loop.spawn([&ran] {
    eventer::sleep_for(1ms);
    ran = true;
  });
  CHECK(all.run_until([&] { return ran; }));
}

EMBEDDING_TEST("two loops in one host talk to each other") {
  embedded all;
  eventer::event_loop second;
  const auto other = make_host(second, mode::handle_only);
  const auto pair = make_pair();
  auto echo = second.spawn([far = pair.far] {
    std::array<char, 64> bytes;
    while (const auto got = far->read_some(bytes))
      if (!far->write_all({bytes.data(), *got})) break;
  });
  int answers = 0;
  bool over = false;
  (void)all.loop.spawn([&, near = pair.near] {
    std::array<char, 64> bytes;
    for (int i = 0; i < 20; ++i) {
      const auto text = std::to_string(second.spawn([i] { return i * i; }).join());
      if (near->write_all(text) && near->read_some(bytes) && std::string_view(bytes.data(), text.size()) == text)
        ++answers;
    }
    near->close();
    over = true;
  });
  // Each host in turn, as both can't run at once on this thread.
  for (int turn = 0; turn < 10'000 && !over; ++turn) {
    all.settle();
    pollfd one{second.native_handle(), POLLIN, 0};
    CHECK(other->run_until([&] { return ::poll(&one, 1, 0) == 0; }));
  }
  CHECK(answers == 20);
  CHECK(other->run_until([&] { return echo.done(); }));
}

EMBEDDING_TEST("a loop that ends inside its host cancels what it runs") {
  std::string ended;
  {
    embedded all;
    bool started = false;
    (void)all.loop.spawn([&] {
      struct says {
        std::string& to;
        ~says() { to += "unwound"; }
      } const at_end{ended};
      started = true;
      eventer::sleep_for(1h);
    });
    CHECK(all.run_until([&] { return started; }));
  }
  CHECK(ended == "unwound");
}
