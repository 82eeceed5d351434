// spawn, join, yield, sleep on a loop: how coroutines start, end, and hand over results and exceptions.
#include <atomic>
#include <cerrno>
#include <cstring>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "../catch.hpp"
#include "eventer/eventer.hpp"

using namespace std::chrono_literals;

TEST_CASE("run gives the first coroutine's result, or 0") {
  CHECK(eventer::run([] { return 42; }) == 42);
  CHECK(eventer::run([] {}) == 0);
  CHECK_THROWS_WITH(eventer::run([]() -> int { throw std::runtime_error("out of run"); }), "out of run");
}

TEST_CASE("arguments are moved in and results moved out") {
  eventer::run([] {
    auto big = eventer::spawn([](std::unique_ptr<std::string> text, int n) { return *text + std::to_string(n); },
                              std::make_unique<std::string>("value "), 7);
    auto moved = eventer::spawn([p = std::make_unique<int>(5)]() mutable { return std::move(p); });
    auto nothing = eventer::spawn([] {});
    static int target = 3;
    auto reference = eventer::spawn([]() -> int& { return target; });
    CHECK(big.join() == "value 7");
    CHECK(*moved.join() == 5);
    nothing.join();
    CHECK(&reference.join() == &target);
  });
}

TEST_CASE("exceptions come out of join, and as codes out of try_join") {
  eventer::run([] {
    auto thrower = eventer::spawn([]() -> int { throw std::invalid_argument("mine"); });
    CHECK_THROWS_WITH(thrower.join(), "mine");
    auto coded = eventer::spawn([] { throw std::system_error(std::make_error_code(std::errc::no_space_on_device)); });
    CHECK(coded.try_join().error() == std::errc::no_space_on_device);
    auto other = eventer::spawn([] { throw 1; });
    CHECK(other.try_join().error() == eventer::errc::exception);
    auto good = eventer::spawn([] { return std::string("fine"); });
    CHECK(*good.try_join() == "fine");
  });
}

TEST_CASE("every closure is destroyed exactly once, on every path") {
  auto token = std::make_shared<int>(0);
  eventer::run([token] {
    auto joined = eventer::spawn([token] {});
    joined.join();
    CHECK(token.use_count() == 2);     // the test's, and the one in this closure
    (void)eventer::spawn([token] {});  // detached
    (void)eventer::spawn([token] {
      std::array<char, 200> large{};
      eventer::yield();
      large[0] = 1;
    });
    auto thrower = eventer::spawn([token] { throw 1; });
    (void)thrower.try_join();
    (void)eventer::spawn([token] { eventer::sleep_for(1h); });  // unwound at the end
    eventer::yield();
    (void)eventer::spawn([token] {});  // may start or not: the loop ends with its first coroutine
  });
  CHECK(token.use_count() == 1);
}

TEST_CASE("starting coroutines inside coroutines, deeply") {
  eventer::run([] {
    struct nested {
      static int down(int depth) {
        if (depth == 0) return 1;
        return 1 + eventer::spawn(down, depth - 1).join();
      }
    };
    CHECK(nested::down(500) == 501);
  });
}

TEST_CASE("locals keep their values while thousands of others run on the same stacks") {
  static constexpr int count = 3000;
  eventer::run([] {
    std::vector<eventer::join_handle<bool>> all;
    for (int i = 0; i < count; ++i)
      all.push_back(eventer::spawn([i] {
        std::array<int, 40> mine;
        mine.fill(i);
        for (int round = 0; round < 4; ++round) {
          eventer::yield();
          mine[static_cast<std::size_t>(round)] += 1;
        }
        return std::accumulate(mine.begin(), mine.end(), 0) == 40 * i + 4;
      }));
    int good = 0;
    for (auto& each : all) good += each.join();
    CHECK(good == count);
  });
}

TEST_CASE("join_for leaves a coroutine running that is not done in time") {
  eventer::run([] {
    auto slow = eventer::spawn([] {
      eventer::sleep_for(30ms);
      return 9;
    });
    CHECK(slow.join_for(1ms).error() == std::errc::timed_out);
    CHECK_FALSE(slow.done());
    CHECK(slow.join() == 9);
  });
}

TEST_CASE("joining an empty handle, twice, or oneself is an error, not a hang") {
  eventer::run([] {
    eventer::join_handle<void> empty;
    CHECK_THROWS_AS(empty.join(), std::system_error);
    auto once = eventer::spawn([] {});
    once.join();
    CHECK_THROWS_AS(once.join(), std::system_error);
    auto self = std::make_shared<eventer::join_handle<void>>();
    *self = eventer::spawn([self] { CHECK_THROWS_AS(self->join(), std::system_error); });
    while (!self->done()) eventer::yield();
  });
}

TEST_CASE("a second coroutine that joins the same one is told that it is busy, and the first goes on") {
  eventer::run([] {
    auto handle = std::make_shared<eventer::join_handle<int>>(eventer::spawn([] {
      eventer::sleep_for(2ms);
      return 3;
    }));
    auto first = eventer::spawn([handle] { return handle->join(); });
    eventer::yield();
    try {
      (void)handle->join();
      FAIL("joined twice");
    } catch (const std::system_error& refused) {
      CHECK(refused.code() == eventer::errc::busy);
    }
    CHECK(first.join() == 3);
  });
}

TEST_CASE("a handle may outlive its loop") {
  eventer::join_handle<std::string> kept;
  eventer::join_handle<void> cancelled;
  eventer::run([&] {
    kept = eventer::spawn([] { return std::string("a result longer than sixteen bytes"); });
    cancelled = eventer::spawn([] { eventer::sleep_for(1h); });
    eventer::sleep_for(1ms);
  });
  CHECK(kept.done());
  CHECK(kept.join() == "a result longer than sixteen bytes");
  CHECK(cancelled.try_join().error() == std::errc::operation_canceled);
}

TEST_CASE("spawn_options name a coroutine and give it a stack of its own") {
  eventer::run([] {
    auto named = eventer::spawn({.name = "worker", .stack = eventer::stack_kind::own}, [] {
      eventer::yield();
      return std::string(eventer::this_coroutine::name());
    });
    const auto id = named.id();
    CHECK(id > 0);
    CHECK(named.join() == "worker");
    const auto report = eventer::event_loop::current().stacks();
    for (const auto& row : report.rows)
      if (row.name == "worker") CHECK(row.swaps == 0);
  });
}

TEST_CASE("another thread spawns, joins, and gets exceptions") {
  eventer::event_loop loop;
  auto guard = std::make_unique<eventer::work_guard>(loop);
  std::thread runner([&] { loop.run(); });
  auto sum = loop.spawn(
      [](int a, int b) {
        eventer::sleep_for(1ms);
        return a + b;
      },
      2, 3);
  auto bad = loop.spawn([] { throw std::runtime_error("over there"); });
  CHECK(sum.join() == 5);
  CHECK_THROWS_WITH(bad.join(), "over there");
  auto sleeper = loop.spawn([] { eventer::sleep_for(1h); });
  CHECK(sleeper.join_for(1ms).error() == std::errc::timed_out);
  sleeper.cancel();
  CHECK(sleeper.try_join().error() == std::errc::operation_canceled);
  guard.reset();
  runner.join();
}

TEST_CASE("many threads post and spawn at once, and nothing is lost") {
  eventer::event_loop loop;
  auto guard = std::make_unique<eventer::work_guard>(loop);
  std::thread runner([&] { loop.run(); });
  std::atomic<int> ran{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 500; ++i) {
        loop.post([&ran] { ++ran; });
        (void)loop.spawn([&ran] { ++ran; });
      }
      loop.spawn([&ran] { ++ran; }).join();
    });
  for (auto& each : threads) each.join();
  guard.reset();
  runner.join();
  CHECK(ran == 4 * 1001);
}

TEST_CASE("a coroutine of one loop joins one of another") {
  eventer::event_loop other;
  auto guard = std::make_unique<eventer::work_guard>(other);
  std::thread runner([&] { other.run(); });
  eventer::run([&] {
    auto there = other.spawn([] {
      eventer::sleep_for(2ms);
      return 11;
    });
    CHECK(there.join() == 11);
    auto slow = other.spawn([] { eventer::sleep_for(1h); });
    CHECK(slow.join_for(1ms).error() == std::errc::timed_out);
    slow.cancel();
    CHECK(slow.try_join().error() == std::errc::operation_canceled);
  });
  guard.reset();
  runner.join();
}

TEST_CASE("errno belongs to the coroutine that waits") {
  eventer::run([] {
    auto other = eventer::spawn([] { errno = EDOM; });
    errno = ERANGE;
    eventer::yield();
    CHECK(errno == ERANGE);
    other.join();
  });
}

TEST_CASE("sleeps end in the order of their deadlines") {
  std::string order;
  eventer::run([&order] {
    auto* const shared = &order;
    auto c = eventer::spawn([shared] { eventer::sleep_for(15ms), *shared += 'c'; });
    auto a = eventer::spawn([shared] { eventer::sleep_for(-1ms), *shared += 'a'; });
    auto b = eventer::spawn([shared] { eventer::sleep_for(5ms), *shared += 'b'; });
    c.join();
    CHECK(a.done());
    CHECK(b.done());
  });
  CHECK(order == "abc");
}

TEST_CASE("limits of the loop's options refuse a spawn with not_enough_memory") {
  eventer::event_loop loop({.max_coroutines = 3});
  auto handle = loop.spawn([] {
    auto a = eventer::spawn([] { eventer::sleep_for(1ms); });
    auto b = eventer::spawn([] {});
    try {
      (void)eventer::spawn([] {});
      FAIL("a fourth coroutine");
    } catch (const std::system_error& refused) {
      CHECK(refused.code() == std::errc::not_enough_memory);
    }
    a.join();
    b.join();
  });
  loop.run();
  handle.join();
}

TEST_CASE("a coroutine that is run at once goes to its first wait, and its starter on behind it, whatever the seed") {
  for (const std::uint64_t seed : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{7}}) {
    eventer::event_loop loop({.seed = seed});
    std::string order;
    auto* const shared = &order;
    const auto at_once = [shared](std::string begin, std::string end) {
      eventer::detail::run_here_at_once(*eventer::scheduler::current(), {},
                                        [shared, begin = std::move(begin), end = std::move(end)] {
                                          *shared += begin;
                                          eventer::yield();
                                          *shared += end;
                                        });
    };
    loop.post([shared, at_once] {
      at_once("a", "A");  // in a native frame
      *shared += '1';
    });
    for (int i = 0; i < 20; ++i) loop.spawn([shared] { *shared += '.'; });  // they are ready, and wait
    auto starter = loop.spawn([shared, at_once] {
      at_once("b", "B");
      *shared += '2';
      at_once("c", "C");
      *shared += '3';
    });
    loop.run();
    starter.join();
    CHECK(order.find("a1") == 0);
    CHECK(order.find("b2c3") != std::string::npos);
    for (const char each : {'A', 'B', 'C'}) CHECK(order.find(each) != std::string::npos);
  }
}

TEST_CASE("a coroutine may be left where it is: its frames are not unwound, its callable is destroyed") {
  eventer::event_loop loop;
  const auto callable = std::make_shared<int>(1);
  bool went_on = false, unwound = false;
  loop.post([&loop, callable, &went_on, &unwound] {
    auto* const on = &went_on;
    auto* const destroyed = &unwound;
    eventer::detail::run_here_at_once(loop, {}, [callable, on, destroyed] {
      struct guard {
        bool* destroyed;
        ~guard() { *destroyed = true; }
      } const mine{destroyed};
      eventer::yield();
      eventer::scheduler::current()->abandon_running();
      *on = true;
    });
  });
  loop.run();
  CHECK(loop.stats().coroutines == 0);
  CHECK_FALSE(went_on);
  CHECK_FALSE(unwound);
  CHECK(callable.use_count() == 1);
}
