// Nobody holds the loop for long: budgets a turn, and a report about who does.
#include <poll.h>

#include <array>
#include <atomic>
#include <string>
#include <thread>

#include "../captured_log.hpp"
#include "../catch.hpp"
#include "../child.hpp"
#include "../foreign_coroutines.hpp"
#include "eventer/eventer.hpp"

using namespace std::chrono_literals;

namespace {

// Runs until the detector has reported; gives up only on a machine that does not run its thread for a minute.
__attribute__((noinline)) void hold_until_reported(const eventer::event_loop& loop, std::uint64_t stalls) {
  const auto give_up = std::chrono::steady_clock::now() + 60s;
  while (loop.stats().stalls < stalls && std::chrono::steady_clock::now() < give_up) {
  }
}

}  // namespace

TEST_CASE("whoever holds the loop is named while it does", "[fairness]") {
  captured_log log;
  eventer::run(
      [] {
        auto& loop = eventer::event_loop::current();
        eventer::spawn({.name = "the busy one"}, [&loop] { hold_until_reported(loop, 1); }).join();
        eventer::sleep_for(1ms);
        loop.after(0ms, [&loop] { hold_until_reported(loop, 2); });
        while (loop.stats().stalls < 2) eventer::sleep_for(1ms);
      },
      {.stall_threshold = 5ms});
  CHECK(log.count("the busy one") == 1);
  CHECK(log.count("a callback or a posted function") == 1);
#if !EVENTER_TSAN  // which delivers signals late
  CHECK(log.count("   0 ") == 2);
#endif
}

TEST_CASE("a loop that waits is not reported, however long it waits", "[fairness]") {
  captured_log log;
  eventer::run(
      [] {
        eventer::sleep_for(30ms);
        CHECK(eventer::event_loop::current().stats().stalls == 0);
      },
      {.stall_threshold = 1ms});
  CHECK(log.count("held") == 0);
}

TEST_CASE("a call that blocks the thread is reported too", "[fairness]") {
  captured_log log;
  eventer::run(
      [] {
        const auto& loop = eventer::event_loop::current();
        // A signal ends poll: it is called again, as a program would.
        for (int i = 0; i < 10'000 && loop.stats().stalls == 0; ++i) ::poll(nullptr, 0, 20);
        CHECK(loop.stats().stalls == 1);
      },
      {.stall_threshold = 5ms});
}

TEST_CASE("a watched loop ends at once, also while another one goes on", "[fairness]") {
  // The first has been the only one when the second begins: just when its detector is told to end.
  for (int round = 0; round < 20; ++round) {
    std::atomic<bool> ending{false}, over{false}, late{false};
    std::thread first([&] {
      eventer::run([&ending] { ending = true; }, {.stall_threshold = 50ms});
      over = true;
    });
    std::thread second([&] {
      while (!ending) {
      }
      eventer::run(
          [&] {
            for (int i = 0; i < 5000 && !over; ++i) eventer::sleep_for(1ms);
            late = !over;
          },
          {.stall_threshold = 50ms});
    });
    first.join();
    second.join();
    CHECK_FALSE(late);
  }
}

TEST_CASE("a forked child of a watched loop ends, and its next loop is watched by a thread of its own",
          "[fairness][epoll][no-emulator]") {
  if (EVENTER_TSAN) EVENTER_SKIP("ThreadSanitizer does not know fibers in a forked child");
  const auto result = run_in_child([] {
    pid_t child = 1;
    eventer::run(
        [&child] {
          child = ::fork();
          if (child == 0) eventer::event_loop::current().after_fork_child();
        },
        {.stall_threshold = 50ms});
    if (child == 0) {
      eventer::event_loop next({.stall_threshold = 5ms});
      (void)next.spawn([&next] { hold_until_reported(next, 1); });
      next.run();
      ::_exit(static_cast<int>(next.stats().stalls));
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    std::printf("stalls: %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : -1);
  });
  CHECK(contains(result.output, "stalls: 1\n"));
}

TEST_CASE("a coroutine that always yields does not keep timers and descriptors waiting", "[fairness]") {
  eventer::run([] {
    auto [near, far] = eventer::unix_stream::pair().value();
    struct progress {
      bool timer = false, bytes = false;
    };
    const auto seen = std::make_shared<progress>();
    eventer::event_loop::current().after(1ms, [seen] { seen->timer = true; });
    eventer::spawn(
        [seen](eventer::unix_stream from) {
          std::array<char, 8> bytes;
          seen->bytes = from.read_some(bytes).has_value();
        },
        std::move(far));
    eventer::yield();
    REQUIRE(near.write_all("x"));
    while (!seen->timer || !seen->bytes) eventer::yield();
    SUCCEED();
  });
}

TEST_CASE("a coroutine that does one operation after the other gives way to the timers after some turns",
          "[fairness]") {
  eventer::manual_clock time;
  long operations = 0;
  eventer::run(
      [&operations] {
        const auto done = std::make_shared<bool>(false);
        const auto gate = std::make_shared<eventer::semaphore>(1);  // which is always free
        eventer::event_loop::current().after(0ms, [done] { *done = true; });
        while (!*done && operations < 1'000'000) {
          gate->acquire();
          gate->release();
          ++operations;
        }
      },
      {.clock = &time});
  CHECK(operations < 64 * 40);  // at first 32 turns of 64 were a batch, of which 32 went by
}

TEST_CASE("a peer that always has data does not starve others, in either world", "[fairness]") {
  eventer::run([] {
    const auto other_ran = std::make_shared<bool>(false);
    SECTION("stackful") {
      auto [near, far] = eventer::unix_stream::pair().value();
      eventer::spawn([other_ran] { *other_ran = true; });
      std::array<char, 1> byte{};
      int moved = 0;
      for (; !*other_ran && moved < 100'000; ++moved) {
        REQUIRE(near.write_some(byte));
        REQUIRE(far.read_some(byte));
      }
      CHECK(moved < 1000);
    }
    SECTION("co_await in any promise type") {
      struct streams {
        eventer::unix_stream near, far;
        int moved = 0;
      };
      auto pair = eventer::unix_stream::pair().value();
      const auto both = std::make_shared<streams>();
      both->near = std::move(pair.first);
      both->far = std::move(pair.second);
      eventer::spawn([other_ran] { *other_ran = true; });
      [](std::shared_ptr<streams> s, std::shared_ptr<bool> stop) -> fire_and_forget {
        std::array<char, 1> byte{};
        for (; !*stop && s->moved < 100'000; ++s->moved) {
          (void)co_await s->near.async_write_some(byte);
          (void)co_await s->far.async_read_some(byte);
        }
      }(both, other_ran);
      eventer::yield();
      CHECK(*other_ran);
      CHECK(both->moved < 1000);
    }
  });
}

TEST_CASE("thousands of timers that are due do not keep others from their turn", "[fairness]") {
  eventer::manual_clock time(eventer::manual_clock::when_idle::wait);
  eventer::run(
      [&time] {
        const auto fired = std::make_shared<int>(0);
        for (int i = 0; i < 10'000; ++i) eventer::event_loop::current().after(1ms, [fired] { ++*fired; });
        time.advance(1s);
        while (*fired == 0) eventer::yield();
        CHECK(*fired < 10'000);
        while (*fired < 10'000) eventer::yield();
        SUCCEED();
      },
      {.clock = &time});
}
