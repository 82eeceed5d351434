// Virtual time: when it moves and when it stands still, the order of what runs, and that a seed repeats it.
#include <poll.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "../catch.hpp"
#include "../child.hpp"
#include "../foreign_coroutines.hpp"
#include "../plain_descriptors.hpp"
#include "../reactors.hpp"
#include "../sockets.hpp"
#include "eventer/eventer.hpp"

using namespace std::chrono_literals;
using eventer::duration;
using eventer::event;
using eventer::event_loop;
using eventer::manual_clock;
using eventer::time_point;
using when_idle = manual_clock::when_idle;

namespace {

// Ends a test that would wait for ever. Its verdict comes from what was not done then.
class real_time_limit {
 public:
  explicit real_time_limit(event_loop& loop)
      : thread_([this, &loop] {
          std::unique_lock lock(mutex_);
          if (!changed_.wait_for(lock, 3s, [this] { return over_; })) loop.stop();
        }) {}
  ~real_time_limit() {
    {
      const std::lock_guard lock(mutex_);
      over_ = true;
    }
    changed_.notify_one();
    thread_.join();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool over_ = false;
  std::thread thread_;
};

}  // namespace

EVENT_TEST("a test of ten-second time-outs takes no time") {
  const auto begin = eventer::clock::now();
  manual_clock time;
  const time_point start = time.now();
  eventer::run(
      [] {
        auto pair = connected_pair();
        for (int i = 0; i < 100; ++i) CHECK(read_text(pair.server, 10s) == timed_out_text);
      },
      tested_reactor::options({.clock = &time}));
  CHECK(time.now() - start == 1000s);
  CHECK(eventer::clock::now() - begin < 5s);
}

TEST_CASE("a clock begins at a time that has a past, and never goes back") {
  manual_clock time;
  const time_point start = time.now();
  CHECK(start - 1h >= time_point());
  time.advance(-1s);
  time.advance(0s);
  time.advance_to(start - 1s);
  time.advance_to(time_point());
  CHECK(time.now() == start);
  time.advance_to(start + 2s);
  time.advance(1ns);
  time.advance_to(start + 2s);
  CHECK(time.now() == start + 2s + 1ns);
}

EVENT_TEST("a clock that waits stands still until it is advanced, from wherever") {
  struct place {
    const char* name;
    void (*advance)(event_loop&, manual_clock&);
  };
  static std::thread other_thread;
  const place places[] = {
      {"a posted function", [](event_loop& loop, manual_clock& time) { loop.post([&time] { time.advance(10s); }); }},
      {"a coroutine", [](event_loop& loop, manual_clock& time) { (void)loop.spawn([&time] { time.advance(10s); }); }},
      {"a watch",
       [](event_loop& loop, manual_clock& time) {
         const auto pair = std::make_shared<plain_pair>(plain_socket_pair());
         loop.watch(pair->ours.get(), eventer::io_mask::write, [&time, pair](eventer::io_mask) {
           time.advance(10s);
           return eventer::io_mask::none;
         });
       }},
      {"the loop's turn",
       [](event_loop& loop, manual_clock& time) {
         loop.each_turn([&time, done = false]() mutable {
           if (!std::exchange(done, true)) time.advance(10s);
         });
       }},
      {"another thread",
       [](event_loop& loop, manual_clock& time) {
         loop.post([&time] { other_thread = std::thread([&time] { time.advance(10s); }); });
       }},
      {"another thread, to a time",
       [](event_loop& loop, manual_clock& time) {
         loop.post(
             [&time, end = time.now() + 10s] { other_thread = std::thread([&time, end] { time.advance_to(end); }); });
       }},
      {"in pieces",
       [](event_loop& loop, manual_clock& time) {
         (void)loop.spawn([&time] {
           for (int i = 0; i < 10; ++i) {
             time.advance(1s);
             eventer::yield();
           }
         });
       }},
  };
  for (const place& where : places) {
    DYNAMIC_SECTION(where.name) {
      manual_clock time(when_idle::wait);
      event_loop loop(tested_reactor::options({.clock = &time}));
      const real_time_limit limit(loop);
      const time_point start = time.now();
      int fired = 0;
      loop.at(start + 10s, [&fired] { ++fired; });
      auto sleeping = loop.spawn([start] { eventer::sleep_until(start + 10s); });
      event late = loop.after(10s + 1ns, [&fired] { fired += 100; });
      for (int i = 0; i < 5; ++i) loop.poll();
      CHECK(fired == 0);
      loop.after(10s, [&late] { late.cancel(); });
      where.advance(loop, time);
      loop.run();
      if (other_thread.joinable()) other_thread.join();
      CHECK(fired == 1);
      CHECK(sleeping.done());
      CHECK(time.now() == start + 10s);
    }
  }
}

namespace {

// Advances a clock all the time, on a thread of its own.
class restless {
 public:
  explicit restless(manual_clock& time)
      : thread_([this, &time] {
          while (!over_) time.advance(1ns);
        }) {}
  ~restless() {
    over_ = true;
    thread_.join();
  }

 private:
  std::atomic<bool> over_{false};
  std::thread thread_;
};

}  // namespace

EVENT_TEST("a loop may end while another thread advances its clock") {
  for (int round = 0; round < 10; ++round) {
    manual_clock time(when_idle::wait);
    std::vector<std::unique_ptr<event_loop>> loops;
    for (int i = 0; i < 20; ++i)
      loops.push_back(std::make_unique<event_loop>(tested_reactor::options({.clock = &time})));
    const restless advancing(time);
    for (auto& each : loops) {
      each->after(1ns, [] {});
      each->run();
      each = nullptr;
    }
  }
}

EVENT_TEST("a loop may be made while another thread advances its clock") {
  if (EVENTER_TSAN) EVENTER_SKIP("ThreadSanitizer starts no threads in a forked child");
  const auto result = run_in_child([] {  // which it may end
    manual_clock time(when_idle::wait);
    const restless advancing(time);
    for (int i = 0; i < 300; ++i) const event_loop loop(tested_reactor::options({.clock = &time}));
    std::puts("made");
  });
  CHECK(result.output == "made\n");
}

EVENT_TEST("an advance wakes every loop of the clock, and none that is gone") {
  manual_clock time(when_idle::wait);
  const time_point start = time.now();
  { event_loop gone(tested_reactor::options({.clock = &time})); }
  std::atomic<int> fired{0};
  std::vector<std::unique_ptr<event_loop>> loops;
  for (int i = 0; i < 3; ++i) {
    loops.push_back(std::make_unique<event_loop>(tested_reactor::options({.clock = &time})));
    loops.back()->at(start + 1h, [&fired] { ++fired; });
  }
  std::vector<std::thread> threads;
  for (auto& each : loops) threads.emplace_back([&each] { each->run(); });
  time.advance(30min);
  time.advance(30min);
  for (std::thread& each : threads) each.join();
  CHECK(fired == 3);
}

EVENT_TEST("time does not jump while there is something to do") {
  manual_clock time;
  event_loop loop(tested_reactor::options({.clock = &time}));
  const time_point start = time.now();
  const auto check_still = [&] { CHECK(time.now() == start); };
  loop.after(1s, [] {});
  int turns = 0;
  SECTION("for a coroutine that yields") {
    (void)loop.spawn([&] {
      for (; turns < 1000; ++turns) {
        eventer::yield();
        check_still();
      }
    });
  }
  SECTION("for functions that post others") {
    std::function<void()> again = [&] {
      check_still();
      if (++turns < 1000) loop.post(again);
    };
    loop.post(again);
    loop.run();
  }
  SECTION("for a watch that is always ready") {
    const plain_pair pair = plain_socket_pair();
    loop.watch(pair.ours.get(), eventer::io_mask::write, [&](eventer::io_mask ready) {
      check_still();
      return ++turns < 1000 ? ready : eventer::io_mask::none;
    });
    loop.run();
  }
  SECTION("for the watch of a file") {
    const auto file = plain_open("/dev/null", O_RDWR);
    loop.watch(file.get(), eventer::io_mask::write, [&](eventer::io_mask ready) {
      check_still();
      return ++turns < 1000 ? ready : eventer::io_mask::none;
    });
    loop.run();
  }
  SECTION("for coroutines that wake each other through real sockets") {
    (void)loop.spawn([&] {
      auto pair = connected_pair();
      auto echoing = eventer::spawn(echo, std::move(pair.server));
      for (; turns < 1000; ++turns) {
        REQUIRE(pair.client.write_all("x"));
        REQUIRE(read_text(pair.client, 500ms) == "x");
        check_still();
      }
    });
  }
  SECTION("for timers that are due already") {
    std::function<void()> again = [&] {
      check_still();
      if (++turns < 1000) loop.after(-1s, again);
    };
    again();
    loop.run();
  }
  loop.run();
  CHECK(turns == 1000);
  CHECK(time.now() == start + 1s);
}

EVENT_TEST("time does not jump while a coroutine waits for another thread") {
  manual_clock time;
  event_loop loop(tested_reactor::options({.clock = &time})), other;
  const real_time_limit limit(loop);
  auto elsewhere = other.spawn([] {
    eventer::sleep_for(20ms);
    return 7;
  });
  std::thread thread([&other] { other.run(); });
  const time_point start = time.now();
  auto joining = loop.spawn([&] {
    const int answer = elsewhere.join();
    CHECK(time.now() == start);
    return answer;
  });
  loop.after(1s, [&] { CHECK(joining.done()); });
  loop.run();
  thread.join();
  CHECK(joining.join() == 7);
  CHECK(time.now() == start + 1s);
}

EVENT_TEST("a handle of a spawn from outside does not stop the time of the loop that it was spawned on") {
  manual_clock time;
  event_loop loop(tested_reactor::options({.clock = &time}));
  const real_time_limit limit(loop);
  const time_point start = time.now();
  auto sleeping = loop.spawn([] {
    eventer::sleep_for(10s);
    return 7;
  });
  auto joining = loop.spawn([&sleeping] { return sleeping.join(); });
  loop.run();
  REQUIRE(joining.done());
  CHECK(joining.join() == 7);
  CHECK(time.now() == start + 10s);
}

namespace {

// A lazy awaitable coroutine of another library, which itself waits for something of this one.
struct others_task {
  struct promise_type {
    others_task get_return_object() noexcept {
      return others_task(std::coroutine_handle<promise_type>::from_promise(*this));
    }
    std::suspend_always initial_suspend() noexcept { return {}; }
    struct to_waiting {
      bool await_ready() noexcept { return false; }
      std::coroutine_handle<> await_suspend(std::coroutine_handle<promise_type> self) noexcept {
        return self.promise().waiting;
      }
      void await_resume() noexcept {}
    };
    to_waiting final_suspend() noexcept { return {}; }
    void return_void() noexcept {}
    void unhandled_exception() noexcept { failure = std::current_exception(); }
    std::coroutine_handle<> waiting;
    std::exception_ptr failure;
  };
  explicit others_task(std::coroutine_handle<promise_type> h) noexcept : handle(h) {}
  others_task(others_task&& other) noexcept : handle(std::exchange(other.handle, nullptr)) {}
  ~others_task() {
    if (handle) handle.destroy();
  }
  bool await_ready() const noexcept { return false; }
  std::coroutine_handle<> await_suspend(std::coroutine_handle<> waiting) noexcept {
    handle.promise().waiting = waiting;
    return handle;
  }
  void await_resume() const {
    if (handle.promise().failure != nullptr) std::rethrow_exception(handle.promise().failure);
  }
  std::coroutine_handle<promise_type> handle;
};
others_task waits_for(duration time) { co_await eventer::after(time); }

}  // namespace

EVENT_TEST("awaiting another library's coroutine that waits for a timer of this loop ends when the timer fires") {
  manual_clock time;
  event_loop loop(tested_reactor::options({.clock = &time}));
  const real_time_limit limit(loop);
  const time_point start = time.now();
  auto waiting = loop.spawn([] { eventer::await(waits_for(10s)); });
  loop.run();
  CHECK(waiting.done());
  CHECK(time.now() == start + 10s);
}

EVENT_TEST("of two loops of one clock, one that waits for the other hears of its own limit in time") {
  for (int round = 0; round < 20; ++round) {
    manual_clock time;
    event_loop first(tested_reactor::options({.clock = &time})), second(tested_reactor::options({.clock = &time}));
    const real_time_limit one(first), two(second);
    const time_point start = time.now();
    std::atomic<bool> waits{false}, may_end{false};
    const auto set = [](std::atomic<bool>& which) {
      which = true;
      which.notify_one();
    };
    // It begins when the other loop waits for it, sleeps past the other's limit, and ends by its leave.
    auto slow = second.spawn([&] {
      eventer::sleep_for(10s);
      may_end.wait(false);
    });
    bool timed_out = false;
    auto joining = first.spawn([&] {
      set(waits);
      timed_out = slow.join_for(start + 5s).error() == std::errc::timed_out;
      set(may_end);
    });
    std::thread thread([&second, &waits] {
      waits.wait(false);
      second.run();
    });
    first.run();
    set(may_end);
    thread.join();
    CHECK(joining.done());
    CHECK(timed_out);
    CHECK(time.now() == start + 10s);
    if (!timed_out) break;
  }
}

EVENT_TEST("real sockets and virtual time: what is there is read before time moves on") {
  manual_clock time;
  const time_point start = time.now();
  eventer::run(
      [] {
        auto pair = connected_pair();
        auto server = eventer::spawn(
            [](eventer::tcp_stream stream) {
              for (std::string text; (text = read_text(stream, 1min)).front() != '<';) {
                eventer::sleep_for(10s);
                if (!stream.write_all(text)) return;
              }
            },
            std::move(pair.server));
        for (int i = 0; i < 50; ++i) {
          REQUIRE(pair.client.write_all("question"));
          REQUIRE(read_text(pair.client, 11s) == "question");
        }
        pair.client.close();
        server.join();
      },
      tested_reactor::options({.clock = &time}));
  CHECK(time.now() - start == 500s);
}

EVENT_TEST(
    "a loop of virtual time that runs inside another one goes on, and does not keep its parent busy for nothing") {
  manual_clock time;
  event_loop loop(tested_reactor::options({.clock = &time}));
  const time_point start = time.now();
  bool slept = false;
  (void)loop.spawn([&slept] {
    eventer::sleep_for(10s);
    slept = true;
  });
  pollfd parent{loop.native_handle(), POLLIN, 0};
  int polls = 0;
  for (; !slept && polls < 1000 && ::poll(&parent, 1, 1000) == 1; ++polls) loop.poll();
  CHECK(slept);
  CHECK(polls < 10);
  CHECK(time.now() == start + 10s);
}

// --- order ---

namespace {

// Coroutines, callbacks and C++20 coroutines that are ready at the same times, and the order in which they went on.
std::string order_of(eventer::loop_options options) {
  manual_clock time;
  options.clock = &time;
  event_loop loop(options);
  std::string order;
  const auto note = [&order](char who) { order += who; };
  for (char who = 'a'; who < 'a' + 8; ++who) {
    (void)loop.spawn([note, who] {
      for (int i = 0; i < 4; ++i) {
        note(who);
        i % 2 == 0 ? eventer::yield() : eventer::sleep_for(1s);
      }
    });
    loop.after(1s, [note, who] { note(static_cast<char>(who - 'a' + 'A')); });
    loop.post([note, who] {
      [](auto say, char digit) -> fire_and_forget {
        for (int i = 0; i < 3; ++i) {
          co_await eventer::after(1s);
          say(digit);
        }
      }(note, static_cast<char>(who - 'a' + '0'));
    });
  }
  loop.run();
  return order;
}

}  // namespace

EVENT_TEST("the same seed gives the same order, and others give others") {
  std::set<std::string> orders;
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    const std::string order = order_of(tested_reactor::options({.seed = seed}));
    CHECK(order == order_of(tested_reactor::options({.seed = seed})));
    CHECK(order.size() == 8 * (4 + 1 + 3));
    std::string sorted = order;
    std::sort(sorted.begin(), sorted.end());
    std::string expected;
    for (char who = '0'; who < '8'; ++who) expected.append(3, who);
    for (char who = 'A'; who < 'I'; ++who) expected.append(1, who);
    for (char who = 'a'; who < 'i'; ++who) expected.append(4, who);
    CHECK(sorted == expected);
    orders.insert(order);
  }
  CHECK(orders.size() == 50);
}

TEST_CASE("without a seed what is ready goes on first come, first served") {
  event_loop loop;
  std::string order;
  for (char who = 'a'; who < 'i'; ++who)
    (void)loop.spawn([&order, who] {
      for (int i = 0; i < 3; ++i) {
        order += who;
        eventer::yield();
      }
    });
  loop.run();
  CHECK(order == "abcdefghabcdefghabcdefgh");
}

TEST_CASE("with a seed everybody gets a turn, however busy the others are") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    manual_clock time;
    event_loop loop({.clock = &time, .seed = seed});
    int coroutine = 0, timers = 0, co_awaits = 0, rounds = 0;
    bool over = false;
    for (int i = 0; i < 30; ++i)
      (void)loop.spawn([&] {
        while (!over) eventer::yield();
      });
    (void)loop.spawn([&] {
      for (; coroutine < 50; ++coroutine) eventer::yield();
    });
    (void)loop.spawn([&] {
      for (; timers < 50; ++timers) eventer::sleep_for(0s);
    });
    loop.post([&] {
      [](int* count) -> fire_and_forget {
        for (; *count < 50; ++*count) co_await eventer::after(0s);
      }(&co_awaits);
    });
    event counting = loop.each_turn([&] {
      ++rounds;
      over = (coroutine == 50 && timers == 50 && co_awaits == 50) || rounds > 20'000;
    });
    loop.run();
    CHECK(coroutine == 50);
    CHECK(timers == 50);
    CHECK(co_awaits == 50);
    counting.cancel();
  }
}

TEST_CASE("continuations that are forgotten while they are ready do no harm to a drawn order") {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    manual_clock time;
    event_loop loop({.clock = &time, .seed = seed});
    std::vector<event> all(20);
    std::vector<int> calls(all.size());
    std::size_t first = all.size();
    for (std::size_t i = 0; i < all.size(); ++i)
      all[i] = loop.after(1s, [&, i] {
        ++calls[i];
        if (first != all.size()) return;
        first = i;
        for (std::size_t k = 0; k < all.size(); k += 2) all[k].cancel();
      });
    for (int i = 0; i < 20; ++i)
      (void)loop.spawn([] {
        eventer::sleep_for(1s);
        for (int k = 0; k < 5; ++k) eventer::yield();
      });
    loop.run();
    for (std::size_t i = 0; i < all.size(); ++i) CHECK(calls[i] == (i % 2 == 1 || i == first));
  }
}
