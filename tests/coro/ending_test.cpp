// How a loop ends: stop and drain, the grace period for what is shielded, and who does not want to end.
#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "../captured_log.hpp"
#include "../catch.hpp"
#include "../child.hpp"
#include "eventer/eventer.hpp"

using namespace std::chrono_literals;

TEST_CASE("drain runs a loop until nothing lives, or its limit; stop leaves what is parked where it is") {
  eventer::manual_clock clock;
  int ended = 0;
  {
    eventer::event_loop loop({.clock = &clock});
    for (const auto time : {1h, 2h, 30h})
      (void)loop.spawn([&ended, time] {
        eventer::sleep_for(time);
        ++ended;
      });
    loop.post([&loop] { loop.stop(); });
    loop.run();
    CHECK(loop.stats().coroutines == 3);
    CHECK(ended == 0);
    CHECK(loop.drain(90min) == 2);
    CHECK(ended == 1);
    CHECK(loop.drain(10h) == 1);
    auto event = loop.every(1min, [] {});  // which would keep run() from returning
    CHECK(loop.drain() == 0);
    CHECK(ended == 3);
    event.cancel();
    (void)loop.spawn([&ended] { ++ended; });  // from outside: it is posted
    CHECK(loop.drain() == 0);
    CHECK(ended == 4);
  }
}

TEST_CASE("a loop that is destroyed lets what is shielded end in its grace period, with timers and descriptors") {
  std::string order;
  eventer::manual_clock clock;
  eventer::run(
      [&] {
        auto pair = eventer::memory_stream_pair();
        eventer::spawn([&order, out = std::move(pair.near)]() mutable {
          try {
            eventer::sleep_for(10h);
          } catch (const eventer::cancelled&) {
            const eventer::cancel_shield farewell;
            eventer::sleep_for(100ms);
            order += out.write_all(std::string_view("bye")).has_value() ? "said bye, " : "?";
            throw;
          }
        });
        eventer::spawn([&order, in = std::move(pair.far)]() mutable {
          const eventer::cancel_shield until_the_end;
          std::string text(3, ' ');
          order += in.read_exact(text).has_value() ? "heard " + text : "?";
        });
        eventer::yield();
      },
      {.clock = &clock});
  CHECK(order == "said bye, heard bye");
}

TEST_CASE("what is shielded for longer than the grace period is cancelled too") {
  std::string order;
  eventer::manual_clock clock;
  const auto start = clock.now();
  eventer::run(
      [&] {
        eventer::spawn([&order] {
          const eventer::cancel_shield always;
          try {
            eventer::sleep_for(10h);
          } catch (const eventer::cancelled&) {
            order += "cancelled";
            throw;
          }
        });
        eventer::yield();
      },
      {.clock = &clock, .shutdown_grace = 5s});
  CHECK(order == "cancelled");
  CHECK(clock.now() - start == 5s);
}

TEST_CASE("without a grace period, or where nobody advances the clock, the end is at once") {
  for (const bool waits : {false, true}) {
    eventer::manual_clock clock(waits ? eventer::manual_clock::when_idle::wait
                                      : eventer::manual_clock::when_idle::jump);
    int cancelled = 0;
    {
      eventer::event_loop loop({.clock = &clock, .shutdown_grace = waits ? eventer::duration(1h) : 0ns});
      (void)loop.spawn([&cancelled] {
        const eventer::cancel_shield always;
        try {
          eventer::sleep_for(10h);
        } catch (const eventer::cancelled&) {
          ++cancelled;
          throw;
        }
      });
      loop.poll();
    }
    CHECK(cancelled == 1);
  }
}

TEST_CASE("a coroutine that goes on after it was cancelled is named in the log, once") {
  const captured_log log;
  eventer::manual_clock clock;
  int swallowed = 0;
  eventer::run(
      [&] {
        auto stubborn = eventer::spawn({.name = "stubborn"}, [&swallowed] {
          for (int i = 0; i < 100; ++i) {
            try {
              eventer::sleep_for(1h);
            } catch (const eventer::cancelled&) {
              ++swallowed;
            }
          }
        });
        eventer::yield();
        stubborn.cancel();
        stubborn.join();
      },
      {.clock = &clock});
  CHECK(swallowed == 100);
  CHECK(log.lines().size() == 1);
  CHECK(log.count("coroutine \"stubborn\"") == 1);
  CHECK(log.count("let `eventer::cancelled` leave it") == 1);
}

TEST_CASE("a local handle cancels its coroutine from another thread too") {
  std::atomic<bool> parked{false};
  eventer::event_loop loop;
  eventer::join_handle<void> waiting;
  bool cancelled = false;
  (void)loop.spawn([&] {
    waiting = eventer::spawn([&] {
      parked = true;
      eventer::sleep_for(1h);
    });
    cancelled = waiting.try_join().error() == std::errc::operation_canceled;
  });
  std::thread other([&] {
    while (!parked) std::this_thread::yield();
    waiting.cancel();
  });
  loop.run();
  other.join();
  CHECK(cancelled);
}

TEST_CASE("a time-out, a cancellation and the peer's end are three results") {
  std::string results;
  eventer::manual_clock clock;
  eventer::run(
      [&] {
        const auto read = [&results](auto stream, eventer::time_limit limit) {
          std::string text(8, ' ');
          const auto got = stream->read_some(text, limit);
          results += got.error() == std::errc::timed_out           ? "timed out, "
                     : got.error() == eventer::errc::end_of_stream ? "end, "
                                                                   : "?, ";
        };
        auto pair = eventer::memory_stream_pair();
        auto ours = std::make_shared<decltype(pair.near)>(std::move(pair.near));
        read(ours, 1ms);
        auto cancelled = eventer::spawn([=] { read(ours, 1h); });
        eventer::yield();
        cancelled.cancel();
        results += cancelled.try_join().error() == std::errc::operation_canceled ? "cancelled, " : "?, ";
        pair.far.close();
        read(ours, 1h);
      },
      {.clock = &clock});
  CHECK(results == "timed out, cancelled, end, ");
}

TEST_CASE("a stop() that nobody hears any more does not keep a loop from ending") {
  eventer::manual_clock clock;
  int cancelled = 0;
  {
    eventer::event_loop loop({.clock = &clock});
    (void)loop.spawn([&cancelled] {
      const eventer::cancel_shield always;
      try {
        eventer::sleep_for(1h);
      } catch (const eventer::cancelled&) {
        ++cancelled;
        throw;
      }
    });
    loop.poll();
    loop.stop();
  }
  CHECK(cancelled == 1);
}
