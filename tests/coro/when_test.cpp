// when_any and when_all.
#include <array>
#include <memory>
#include <stdexcept>
#include <string>

#include "../catch.hpp"
#include "../foreign_coroutines.hpp"
#include "eventer/eventer.hpp"

using namespace std::chrono_literals;
using eventer::task;

namespace {

task<int> value_after(int value, eventer::duration time) {
  co_await eventer::after(time);
  co_return value;
}

}  // namespace

TEST_CASE("when_any gives the first, and the losers are over when it returns", "[when]") {
  eventer::manual_clock time;
  eventer::run(
      [] {
        auto [near, far] = eventer::unix_stream::pair().value();
        std::array<char, 8> bytes;
        auto first = eventer::when_any(eventer::after(10s), far.async_read_some(bytes), eventer::after(2s));
        CHECK(first.index == 2);
        // The read was given up: the descriptor has no reader any more, and nothing was read.
        REQUIRE(near.write_all("later"));
        CHECK(far.read_some(bytes).value() == 5);

        REQUIRE(near.write_all("now"));
        auto second = eventer::when_any(eventer::after(10s), far.async_read_some(bytes));
        REQUIRE(second.index == 1);
        CHECK(std::get<1>(second.results).value() == 3);
        CHECK(eventer::event_loop::current().stats().timers == 0);

        // The buffer lies on the stack, which others use while the bytes come.
        auto writer = eventer::spawn(
            [](eventer::unix_stream to) {
              eventer::sleep_for(1s);
              std::array<char, 256> overwritten;
              overwritten.fill('x');
              eventer::sleep_for(0s);
              (void)to.write_all("late");
              eventer::sleep_for(1s);
              return static_cast<int>(overwritten[0]);
            },
            std::move(near));
        bytes.fill('-');
        auto third = eventer::when_any(eventer::after(10s), far.async_read_some(bytes));
        CHECK(std::string(bytes.data(), std::get<1>(third.results).value()) == "late");
        CHECK(writer.join() == 'x');
      },
      {.clock = &time});
}

TEST_CASE("a task that loses has ended, unwound, before when_any returns", "[when]") {
  eventer::manual_clock time;
  eventer::run(
      [] {
        const auto steps = std::make_shared<std::string>();
        struct says {
          std::shared_ptr<std::string> to;
          ~says() { *to += "unwound "; }
        };
        auto result = eventer::when_any(value_after(1, 1s), [](std::shared_ptr<std::string> to) -> task<int> {
          const says at_end{to};
          co_await eventer::after(1h);
          co_return 2;
        }(steps));
        CHECK(result.index == 0);
        CHECK(std::get<0>(result.results) == 1);
        CHECK(*steps == "unwound ");
        CHECK(eventer::event_loop::current().stats().coroutines == 1);
      },
      {.clock = &time});
}

TEST_CASE("a handle given as a variable loses without being cancelled", "[when]") {
  eventer::manual_clock time;
  eventer::run(
      [] {
        auto slow = eventer::spawn(value_after(3, 10s));
        CHECK(eventer::when_any(slow, eventer::after(1s)).index == 1);
        CHECK(slow.join() == 3);
        auto moved = eventer::spawn(value_after(4, 10s));
        CHECK(eventer::when_any(std::move(moved), eventer::after(1s)).index == 1);
        CHECK(eventer::event_loop::current().stats().coroutines == 1);
      },
      {.clock = &time});
}

TEST_CASE("when_all gives every result, and throws only when all have ended", "[when]") {
  eventer::manual_clock time;
  eventer::run(
      [] {
        auto [a, b, c] = eventer::when_all(value_after(1, 3s), eventer::after(1s), value_after(2, 2s));
        CHECK(a == 1);
        CHECK(c == 2);
        (void)b;
        const auto ended = std::make_shared<bool>(false);
        CHECK_THROWS_WITH(eventer::when_all(
                              []() -> task<> {
                                co_await eventer::after(1s);
                                throw std::runtime_error("first");
                              }(),
                              [](std::shared_ptr<bool> flag) -> task<> {
                                co_await eventer::after(5s);
                                *flag = true;
                              }(ended)),
                          "first");
        CHECK(*ended);
      },
      {.clock = &time});
}

TEST_CASE("cancelling the waiter of a when_any cancels what was moved into it", "[when]") {
  eventer::run([] {
    const auto unwound = std::make_shared<int>(0);
    struct counts {
      std::shared_ptr<int> to;
      ~counts() { ++*to; }
    };
    const auto sleeper = [](std::shared_ptr<int> to) -> task<> {
      const counts at_end{to};
      co_await eventer::after(1h);
    };
    auto waiter = eventer::spawn([sleeper, unwound] { eventer::when_any(sleeper(unwound), sleeper(unwound)); });
    while (eventer::event_loop::current().stats().timers < 2) eventer::yield();
    waiter.cancel();
    CHECK_FALSE(waiter.try_join());
    CHECK(*unwound == 2);
  });
}

TEST_CASE("when_any in a deadline_scope, in a task and in a foreign coroutine", "[when]") {
  eventer::manual_clock time;
  eventer::run(
      [] {
        {
          const eventer::deadline_scope all(1s);
          CHECK_THROWS_AS(eventer::when_any(eventer::after(1h), eventer::after(2h)), std::system_error);
        }
        CHECK(eventer::await([]() -> task<std::size_t> {
                const auto first = co_await eventer::when_any(eventer::after(1h), eventer::after(1s));
                co_return first.index;
              }()) == 1);
        const auto index = std::make_shared<std::size_t>(9);
        [](std::shared_ptr<std::size_t> out) -> fire_and_forget {
          const auto first = co_await eventer::async_when_any(eventer::after(1h), eventer::after(1s));
          *out = first.index;
        }(index);
        eventer::sleep_for(2s);
        CHECK(*index == 1);
      },
      {.clock = &time});
}

TEST_CASE("combinations within combinations read into a buffer on the stack of the coroutine that waits", "[when]") {
  eventer::run(
      [] {
        auto pair = eventer::unix_stream::pair().value();
        const auto near = std::make_shared<eventer::unix_stream>(std::move(pair.first));
        const auto far = std::make_shared<eventer::unix_stream>(std::move(pair.second));
        for (const bool all : {false, true}) {
          CAPTURE(all);
          auto reader = eventer::spawn([far, all] {
            std::array<char, 256> bytes{};
            std::size_t count = 0;
            if (all) {
              auto both = eventer::when_all(eventer::async_when_any(far->async_read_some(bytes), eventer::after(1h)),
                                            eventer::after(5ms));
              const auto& first = std::get<0>(both);
              if (first.index == 0) count = std::get<0>(first.results).value();
            } else {
              auto first = eventer::when_any(eventer::async_when_any(far->async_read_some(bytes), eventer::after(1h)),
                                             eventer::after(2h));
              count = std::get<0>(std::get<0>(first.results).results).value();
            }
            return std::string(bytes.data(), count);
          });
          auto other = eventer::spawn([] {
            std::array<char, 512> mine;
            mine.fill('.');
            for (int i = 0; i < 20; ++i) {
              eventer::sleep_for(1ms);
              for (const char each : mine)
                if (each != '.') return false;
            }
            return true;
          });
          eventer::sleep_for(2ms);
          CHECK(near->write_all("for the reader").has_value());
          CHECK(reader.join() == "for the reader");
          CHECK(other.join());
        }
      },
      {.shared_stacks = 1});
}

namespace {
struct mark {
  std::shared_ptr<bool> ended;
  ~mark() { *ended = true; }
};
task<int> marks(std::shared_ptr<bool> ended) {
  const mark at_end{std::move(ended)};
  co_await eventer::after(1h);
  co_return 1;
}
}  // namespace

TEST_CASE("a task in a combination that loses has ended too before when_any returns", "[when]") {
  eventer::manual_clock time;
  eventer::run(
      [] {
        const auto ended = std::make_shared<bool>(false);
        // It has lost at once, has lost later, or was never begun, as the first one was there already.
        CHECK(eventer::when_any(eventer::async_when_any(marks(ended), eventer::after(2h)), eventer::after(1ms)).index ==
              1);
        CHECK(*ended);
        *ended = false;
        CHECK(eventer::when_any(eventer::after(0s), eventer::async_when_all(marks(ended), eventer::after(2h))).index ==
              0);
        auto done = eventer::spawn([] { return 7; });
        eventer::yield();
        const auto other = std::make_shared<bool>(false);
        CHECK(eventer::when_any(done, eventer::async_when_all(marks(other), eventer::after(2h))).index == 0);
        CHECK(eventer::event_loop::current().stats().coroutines == 1);
        CHECK(eventer::event_loop::current().stats().timers == 0);
      },
      {.clock = &time});
}

TEST_CASE("a cancellation that comes when one of several has ended already is heard", "[when]") {
  eventer::manual_clock time;
  eventer::event_loop loop({.clock = &time});
  const auto start = time.now();
  auto joined = loop.spawn([] {
    auto waiting = std::make_shared<eventer::join_handle<void>>(
        eventer::spawn([] { eventer::when_all(eventer::after(1ms), eventer::after(1h)); }));
    auto canceller = eventer::spawn([waiting] {
      eventer::yield();
      eventer::sleep_for(1ms);
      waiting->cancel();
    });
    return waiting->try_join().error();
  });
  loop.run();
  CHECK(joined.join() == std::errc::operation_canceled);
  CHECK(time.now() - start < 1s);
}

TEST_CASE("a loser that takes its time after the scope's deadline keeps the loop neither busy nor waiting", "[when]") {
  eventer::manual_clock time;
  eventer::event_loop loop({.clock = &time});
  auto scoped = loop.spawn([] {
    const auto slow = []() -> task<int> {
      try {
        co_await eventer::after(1h);
      } catch (const eventer::cancelled&) {
        const eventer::cancel_shield until_cleaned_up;
        eventer::sleep_for(300ms);
        throw;
      }
      co_return 1;
    };
    const eventer::deadline_scope all(10ms);
    try {
      eventer::when_any(slow(), eventer::after(2h));
    } catch (const std::system_error& failure) {
      return failure.code();
    }
    return std::error_code();
  });
  const auto start = time.now();
  loop.run();
  CHECK(scoped.join() == std::errc::timed_out);
  CHECK(time.now() - start == 310ms);
  CHECK(loop.stats().turns < 100);
}

TEST_CASE("a coroutine that is cancelled before when_any begins hears of it when what was moved in has ended",
          "[when]") {
  eventer::manual_clock time;
  eventer::event_loop loop({.clock = &time});
  const auto ended = std::make_shared<bool>(false);
  auto canceled = loop.spawn([ended] {
    auto inner = eventer::spawn([ended] {
      try {
        eventer::when_any(marks(ended), eventer::after(1h));
      } catch (const eventer::cancelled&) {
        return *ended;
      }
      return false;
    });
    inner.cancel();  // it has not begun: it ends without running
    CHECK(inner.try_join().error() == std::errc::operation_canceled);
    auto begun = eventer::spawn([ended] {
      for (int round = 0;; ++round) {
        try {
          if (round == 0) eventer::sleep_for(1h);
          eventer::when_any(marks(ended), eventer::after(1h));
        } catch (const eventer::cancelled&) {
          if (round == 0) continue;  // swallowed
          return *ended;
        }
      }
    });
    eventer::sleep_for(1ms);
    begun.cancel();
    return begun.join();
  });
  loop.run();
  CHECK(canceled.join());
}
