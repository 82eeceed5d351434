// Very many timers, timers that never fire, odd deadlines, and scopes of deadlines. All in virtual time.
#include <malloc.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "../catch.hpp"
#include "../foreign_coroutines.hpp"
#include "../sockets.hpp"
#include "eventer/eventer.hpp"

using namespace std::chrono_literals;
using eventer::duration;
using eventer::event;
using eventer::event_loop;
using eventer::manual_clock;
using eventer::time_point;

namespace {

#if EVENTER_ASAN || EVENTER_TSAN
constexpr std::size_t fraction = 50;  // of what a plain build does
#else
constexpr std::size_t fraction = 1;
#endif
// Under a sanitizer each coroutine has a mapping of its own, and ThreadSanitizer knows 8,128 of them.
constexpr std::size_t sleepers = 100'000 / fraction;

// What the program has allocated; 0 where nobody can say.
std::size_t allocated() {
#if defined(__GLIBC__) && !EVENTER_ASAN && !EVENTER_TSAN
  const auto heap = ::mallinfo2();
  return heap.uordblks + heap.hblkhd;
#else
  return 0;
#endif
}

class random_numbers {
 public:
  std::uint64_t operator()() noexcept {  // splitmix64
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  std::size_t below(std::size_t limit) noexcept { return static_cast<std::size_t>((*this)() % limit); }

 private:
  std::uint64_t state_ = 1;
};

struct firing {
  std::size_t count = 0, out_of_order = 0, at_another_time = 0;
  time_point last{};
  void at(time_point planned, time_point now) {
    ++count;
    if (planned < last) ++out_of_order;
    if (planned != now) ++at_another_time;
    last = planned;
  }
};

}  // namespace

TEST_CASE("a million timers fire in the order of their times and leave no memory behind") {
  constexpr std::size_t many = 1'000'000 / fraction;
  manual_clock time;
  event_loop loop({.clock = &time});
  firing seen;
  loop.after(1s, [] {});
  loop.run();  // what the first timer needs is there
  const std::size_t before = allocated();
  random_numbers draw;
  const time_point start = time.now();
  for (std::size_t i = 0; i < many; ++i) {
    // Some at times of their own, most together with others.
    const time_point when = start + (i % 16 == 0 ? duration(draw.below(20'000'000'000)) : draw.below(20'000) * 1ms);
    loop.at(when, [&seen, &time, when] { seen.at(when, time.now()); });
  }
  CHECK(loop.timers().size() == many);
  const std::size_t peak = allocated();
  loop.run();
  CHECK(seen.count == many);
  CHECK(seen.out_of_order == 0);
  CHECK(seen.at_another_time == 0);
  CHECK(loop.timers().size() == 0);
  const std::size_t left = allocated() - std::min(before, allocated());
  CHECK(left <= (peak - before) / 1000 + 200'000);
}

TEST_CASE("very many sleeping coroutines wake in the order of their times", "[shared-stack]") {
  manual_clock time;
  const auto seen = std::make_shared<firing>();
  eventer::run(
      [seen, clock = &time] {
        random_numbers draw;
        const time_point start = clock->now() + 1s;
        for (std::size_t i = 0; i < sleepers; ++i)
          (void)eventer::spawn([seen, clock, when = start + draw.below(50'000) * 100us] {
            eventer::sleep_until(when);
            seen->at(when, clock->now());
          });
        eventer::sleep_for(1h);
        CHECK(event_loop::current().timers().size() == 0);
      },
      {.clock = &time});
  CHECK(seen->count == sleepers);
  CHECK(seen->out_of_order == 0);
  CHECK(seen->at_another_time == 0);
}

TEST_CASE("ten million timers that are cancelled and armed anew, as limits of requests are, pile up nowhere") {
  constexpr std::size_t requests = 10'000'000 / fraction, at_a_time = 1000;
  manual_clock time(manual_clock::when_idle::wait);
  event_loop loop({.clock = &time});
  std::vector<event> limits(at_a_time);
  random_numbers draw;
  std::size_t fired = 0;
  const auto arm = [&](event& each) { each = loop.after(1s + draw.below(10'000) * 1ms, [&fired] { ++fired; }); };
  for (event& each : limits) arm(each);
  const std::size_t before = allocated();
  std::size_t most = 0;
  for (std::size_t i = 0; i < requests; ++i) {
    event& one = limits[draw.below(at_a_time)];
    one.cancel();
    arm(one);
    most = std::max(most, loop.timers().size());
  }
  CHECK(most == at_a_time);
  CHECK(allocated() <= before + 100'000);
  CHECK(fired == 0);
  time.advance(12s);
  loop.run();
  CHECK(fired == at_a_time);
  CHECK(loop.timers().empty());
}

TEST_CASE("a heap of timers gives the memory of its peak back") {
  constexpr std::size_t many = 200'000 / fraction;
  manual_clock time(manual_clock::when_idle::wait);
  event_loop loop({.clock = &time});
  event lasting = loop.after(1h, [] {});
  const std::size_t before = allocated();
  for (int round = 0; round < 5; ++round) {
    std::vector<event> all;
    all.reserve(many);
    for (std::size_t i = 0; i < many; ++i) all.push_back(loop.after(1s + i * 1us, [] {}));
    for (event& each : all) each.cancel();
  }
  CHECK(loop.timers().size() == 1);
  CHECK(allocated() <= before + 200'000);
  lasting.cancel();
}

TEST_CASE("requests with limits that are not reached leave no timers and no memory behind") {
  constexpr int requests = static_cast<int>(100'000 / fraction);
  manual_clock time;
  eventer::run(
      [] {
        auto [near, far, link] = eventer::memory_stream_pair();
        auto echoing = eventer::spawn(echo, std::move(far));
        std::array<char, 4> answer;
        std::size_t before = 0;
        for (int i = 0; i < requests; ++i) {
          if (i == 100) before = allocated();
          REQUIRE(near.write_all("ping", 10s));
          REQUIRE(near.read_exact(answer, 10s));
        }
        CHECK(allocated() <= before + 100'000);
        near.close();
        echoing.join();
        CHECK(event_loop::current().timers().empty());
      },
      {.clock = &time});
}

namespace {

// Everything that takes a time, in a coroutine; answers what the wait has ended in.
struct waiting {
  const char* name;
  std::error_code (*wait)(eventer::time_limit);
};
std::error_code thrown_by(void (*wait)(eventer::time_limit), eventer::time_limit limit) {
  try {
    wait(limit);
  } catch (const std::system_error& failure) {
    return failure.code();
  }
  return {};
}
eventer::join_handle<void> sleeper(duration time) {
  return eventer::spawn([time] { eventer::sleep_for(time); });
}
const waiting with_limits[] = {
    {"read",
     [](eventer::time_limit limit) {
       auto [near, far] = eventer::unix_stream::pair().value();
       std::array<char, 4> bytes;
       return near.read_some(bytes, limit).error();
     }},
    {"write",
     [](eventer::time_limit limit) {
       auto [near, far] = eventer::unix_stream::pair().value();
       return near.write_all(std::vector<char>(4 << 20), limit).error();
     }},
    {"accept",
     [](eventer::time_limit limit) {
       return eventer::tcp_acceptor::listen("127.0.0.1:0").value().accept(limit).error();
     }},
    {"await of a foreign descriptor",
     [](eventer::time_limit limit) {
       auto [near, far] = eventer::unix_stream::pair().value();
       return eventer::await(eventer::readable(near.native_handle(), limit)).error();
     }},
    {"read of an in-memory stream",
     [](eventer::time_limit limit) {
       auto [near, far, link] = eventer::memory_stream_pair();
       std::array<char, 4> bytes;
       return near.read_some(bytes, limit).error();
     }},
    {"co_await",
     [](eventer::time_limit limit) {
       return eventer::await([](eventer::time_limit l) -> eventer::task<std::error_code> {
         auto [near, far] = eventer::unix_stream::pair().value();
         std::array<char, 4> bytes;
         const auto got = co_await near.async_read_some(bytes, l);
         co_return got.error();
       }(limit));
     }},
};
struct deadline {
  const char* name;
  eventer::time_limit (*make)(time_point now);
  duration after;  // how long it takes; max: for ever
};
const deadline deadlines[] = {
    {"long ago", [](time_point) { return eventer::time_limit(time_point::min()); }, 0s},
    {"the epoch", [](time_point) { return eventer::time_limit(time_point()); }, 0s},
    {"a second ago", [](time_point now) { return eventer::time_limit(now - 1s); }, 0s},
    {"a negative duration", [](time_point) { return eventer::time_limit(duration::min()); }, 0s},
    {"now", [](time_point now) { return eventer::time_limit(now); }, 0s},
    {"no time", [](time_point) { return eventer::time_limit(0s); }, 0s},
    {"a nanosecond", [](time_point) { return eventer::time_limit(1ns); }, 1ns},
    {"half a millisecond", [](time_point now) { return eventer::time_limit(now + 500us); }, 500us},
    {"a whole second", [](time_point now) { return eventer::time_limit(now + 1s); }, 1s},
    {"a century", [](time_point) { return eventer::time_limit(24h * 36525); }, 24h * 36525},
    {"beyond the clock", [](time_point) { return eventer::time_limit(duration::max() - 1ns); }, duration::max()},
    {"never", [](time_point) { return eventer::time_limit(duration::max()); }, duration::max()},
    {"no deadline", [](time_point) { return eventer::time_limit(eventer::no_deadline); }, duration::max()},
};

}  // namespace

TEST_CASE("every kind of wait ends exactly at its deadline, whatever that is") {
  for (const waiting& how : with_limits) {
    for (const deadline& when : deadlines) {
      CAPTURE(how.name, when.name);
      manual_clock time;
      eventer::run(
          [&how, &when, clock = &time] {
            const time_point start = clock->now();
            auto waiter =
                eventer::spawn([&how, limit = when.make(start)] { return how.wait(limit) == std::errc::timed_out; });
            if (when.after == duration::max()) {
              eventer::sleep_for(24h);
              CHECK_FALSE(waiter.done());
              CHECK(event_loop::current().timers().empty());
              waiter.cancel();
              CHECK(waiter.try_join().error() == std::errc::operation_canceled);
            } else {
              CHECK(waiter.join());
              CHECK(clock->now() - start == when.after);
            }
          },
          {.clock = &time});
    }
  }
}

TEST_CASE("sleeps and joins with a limit end exactly then too") {
  for (const deadline& when : deadlines) {
    if (when.after == duration::max()) continue;
    CAPTURE(when.name);
    manual_clock time;
    eventer::run(
        [&when, clock = &time] {
          const time_point start = clock->now();
          eventer::sleep_for(when.after);
          CHECK(clock->now() - start == when.after);
          auto target = sleeper(24h * 36525 + 1h);
          CHECK(target.join_for(when.after).error() == std::errc::timed_out);
          CHECK(clock->now() - start == when.after + when.after);
          target.cancel();
        },
        {.clock = &time});
  }
}

// --- deadline_scope ---

namespace {

const waiting in_scopes[] = {
    {"sleep",
     [](eventer::time_limit) {
       eventer::sleep_for(1h);
       return make_error_code(eventer::errc::timed_out);
     }},
    {"sleep_until",
     [](eventer::time_limit) {
       eventer::sleep_until(event_loop::current().now() + 1h);
       return make_error_code(eventer::errc::timed_out);
     }},
    {"await(after)",
     [](eventer::time_limit) {
       eventer::await(eventer::after(1h));
       return make_error_code(eventer::errc::timed_out);
     }},
    {"join",
     [](eventer::time_limit limit) { return thrown_by([](eventer::time_limit) { sleeper(1h).join(); }, limit); }},
    {"try_join", [](eventer::time_limit) { return sleeper(1h).try_join().error(); }},
    {"join_for", [](eventer::time_limit) { return sleeper(1h).join_for(1h).error(); }},
    {"when_any",
     [](eventer::time_limit limit) {
       return thrown_by([](eventer::time_limit) { (void)eventer::when_any(eventer::after(1h), sleeper(2h)); }, limit);
     }},
    {"when_all",
     [](eventer::time_limit limit) {
       return thrown_by([](eventer::time_limit) { (void)eventer::when_all(eventer::after(1h), eventer::after(1ms)); },
                        limit);
     }},
    {"a task",
     [](eventer::time_limit limit) {
       return thrown_by(
           [](eventer::time_limit) { eventer::await([]() -> eventer::task<> { co_await sleeper(1h); }()); }, limit);
     }},
};

template <class Test>
void in_virtual_time(Test test) {
  manual_clock time;
  eventer::run(
      [test, clock = &time] {
        test(*clock);
        CHECK(event_loop::current().stats().coroutines == 1);
      },
      {.clock = &time});
}

template <class Test>
void for_each_wait(Test&& test) {
  for (const waiting& how : in_scopes) DYNAMIC_SECTION(how.name) {
      test(how);
    }
  for (const waiting& how : with_limits) DYNAMIC_SECTION(how.name) {
      test(how);
    }
}

}  // namespace

TEST_CASE("in a deadline_scope every kind of wait ends with it, and the next one outside is not limited") {
  for_each_wait([](const waiting& how) {
    manual_clock time;
    eventer::run(
        [&how, clock = &time] {
          const time_point start = clock->now();
          {
            const eventer::deadline_scope all(2s);
            CHECK(how.wait(1h) == std::errc::timed_out);
            CHECK(clock->now() - start == 2s);
            CHECK(all.expired());
            CHECK(how.wait({}) == std::errc::timed_out);
            CHECK(clock->now() - start == 2s);
          }
          eventer::sleep_for(10s);
          CHECK(clock->now() - start == 12s);
        },
        {.clock = &time});
  });
}

TEST_CASE("of nested deadline_scopes the earliest counts, whichever it is, and each ends with its block") {
  for_each_wait([](const waiting& how) {
    manual_clock time;
    eventer::run(
        [&how, clock = &time] {
          const time_point start = clock->now();
          const auto waits_until = [&](duration when) {
            CHECK(how.wait({}) == std::errc::timed_out);
            CHECK(clock->now() - start == when);
          };
          const eventer::deadline_scope outer(3s);
          {
            const eventer::deadline_scope shorter(1s);
            waits_until(1s);
            CHECK(shorter.expired());
            CHECK_FALSE(outer.expired());
            const eventer::deadline_scope expired(-1s);
            waits_until(1s);
          }
          {
            const eventer::deadline_scope longer(10s);
            const eventer::deadline_scope unlimited(duration::max());
            waits_until(3s);
            CHECK(outer.expired());
            CHECK_FALSE(longer.expired());
            CHECK_FALSE(unlimited.expired());
          }
          waits_until(3s);
        },
        {.clock = &time});
  });
}

TEST_CASE("what does not have to wait succeeds in a deadline_scope that has expired before the first wait") {
  in_virtual_time([](const manual_clock& clock) {
    auto [near, far] = eventer::unix_stream::pair().value();
    auto acceptor = eventer::tcp_acceptor::listen("127.0.0.1:0").value();
    auto client = eventer::tcp_stream::connect(acceptor.local()).value();
    auto done = eventer::spawn([] { return 7; });
    eventer::yield();
    const time_point start = clock.now();
    const eventer::deadline_scope all(start - 1s);
    CHECK(all.expired());
    CHECK(near.write_all("text").has_value());
    CHECK(read_text(far, 0s) == "text");
    CHECK(acceptor.accept().has_value());
    CHECK(eventer::await(eventer::writable(near.native_handle())).has_value());
    CHECK(done.join() == 7);
    eventer::yield();
    CHECK(eventer::when_any(eventer::spawn([] { return 8; }), eventer::after(0s)).index <= 1);
    CHECK(clock.now() == start);
  });
}

TEST_CASE("an exception that leaves a deadline_scope ends it") {
  in_virtual_time([](const manual_clock& clock) {
    const time_point start = clock.now();
    for (int i = 0; i < 3; ++i) {
      try {
        const eventer::deadline_scope all(1s);
        sleeper(1h).join();
      } catch (const std::system_error& failure) {
        CHECK(failure.code() == std::errc::timed_out);
      }
      try {
        const eventer::deadline_scope all(1s);
        throw std::runtime_error("other");
      } catch (const std::runtime_error&) {
        eventer::sleep_for(2s);
      }
    }
    CHECK(clock.now() - start == 9s);
    // The sleepers were detached; they are not in the scope.
    eventer::sleep_for(1h);
  });
}

TEST_CASE("a deadline_scope covers the tasks that are awaited inside it, and ends with the task that holds it") {
  in_virtual_time([](const manual_clock& clock) {
    const time_point start = clock.now();
    const auto limited = [](eventer::duration limit) -> eventer::task<bool> {
      const eventer::deadline_scope mine(limit);
      co_await eventer::after(1h);
      co_await []() -> eventer::task<> {
        const eventer::deadline_scope none(duration::max());
        co_await eventer::after(1h);
      }();
      co_return mine.expired();
    };
    CHECK(eventer::await(limited(1s)));
    CHECK(clock.now() - start == 1s);
    CHECK(eventer::spawn(limited(1s)).join());
    CHECK(clock.now() - start == 2s);
    {
      const eventer::deadline_scope outer(3s);
      CHECK_FALSE(eventer::await(limited(10s)));
      CHECK(clock.now() - start == 5s);
      CHECK(eventer::await([](auto inner) -> eventer::task<bool> { co_return co_await inner(0s); }(limited)));
      CHECK(clock.now() - start == 5s);
    }
    eventer::sleep_for(1s);
    CHECK(clock.now() - start == 6s);
  });
}

TEST_CASE("what is spawned inside a deadline_scope is not in it") {
  in_virtual_time([](const manual_clock& clock) {
    const time_point start = clock.now();
    eventer::join_handle<void> outlives;
    {
      const eventer::deadline_scope all(1s);
      outlives = sleeper(5s);
      CHECK(outlives.try_join().error() == std::errc::timed_out);
    }
    outlives.join();
    CHECK(clock.now() - start == 5s);
  });
}

TEST_CASE("a cancellation in a deadline_scope is a cancellation") {
  in_virtual_time([](const manual_clock& clock) {
    const time_point start = clock.now();
    for (const bool expired : {false, true}) {
      auto victim = eventer::spawn([expired] {
        const eventer::deadline_scope all(expired ? 0s : 1h);
        for (;;) eventer::sleep_for(1min);
      });
      next_turn();
      victim.cancel();
      CHECK(victim.try_join().error() == std::errc::operation_canceled);
    }
    CHECK(clock.now() == start);
  });
}

TEST_CASE("coroutines of a thousand different deadline_scopes do not mix them up") {
  in_virtual_time([](const manual_clock& clock) {
    const time_point start = clock.now();
    std::vector<eventer::join_handle<bool>> all;
    for (int i = 1; i <= 1000; ++i)
      all.push_back(eventer::spawn([i, start, &clock] {
        const eventer::deadline_scope outer(i * 2ms);
        const eventer::deadline_scope inner(i * (i % 2 == 0 ? 1ms : 3ms));
        bool right = true;
        for (int k = 0; k < 3; ++k) {
          eventer::sleep_for(1h);
          right = right && clock.now() - start == i * (i % 2 == 0 ? 1ms : 2ms);
        }
        return right;
      }));
    int right = 0;
    for (auto& each : all) right += each.join();
    CHECK(right == 1000);
  });
}
