// when_any and when_all.
#include <array>
#include <stdexcept>
#include <string>

#include "catch.hpp"
#include "eventer/eventer.hpp"
#include "foreign_coroutines.hpp"

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
