// run, stop, poll, post and the work guard: when a loop goes on, when it ends, and who wakes it.
#include <atomic>
#include <memory>
#include <stdexcept>
#include <thread>

#include "../captured_log.hpp"
#include "../catch.hpp"
#include "../child.hpp"
#include "../faults.hpp"
#include "../sockets.hpp"
#include "eventer/eventer.hpp"

using namespace std::chrono_literals;

namespace {

// A loop that runs on a thread of its own, kept running by a guard, until the object ends.
class running_loop {
 public:
  running_loop() : guard_(std::make_unique<eventer::work_guard>(loop)), thread_([this] { loop.run(); }) {}
  ~running_loop() {
    guard_.reset();
    thread_.join();
  }
  eventer::event_loop loop;

 private:
  std::unique_ptr<eventer::work_guard> guard_;
  std::thread thread_;
};

}  // namespace

TEST_CASE("run returns when nothing is left to do, and can be called again") {
  eventer::event_loop loop;
  loop.run();
  int ran = 0;
  for (int round = 1; round <= 3; ++round) {
    loop.post([&ran] { ++ran; });
    (void)loop.spawn([&ran] {
      eventer::sleep_for(1ms);
      ++ran;
    });
    loop.run();
    CHECK(ran == 2 * round);
    CHECK(loop.stats().coroutines == 0);
  }
}

TEST_CASE("what is posted while the loop runs out of work still runs") {
  eventer::event_loop loop;
  int depth = 0;
  struct again {
    eventer::event_loop* loop;
    int* depth;
    void operator()() {
      if (++*depth < 5) loop->post(again{loop, depth});
    }
  };
  loop.post(again{&loop, &depth});
  loop.run();
  CHECK(depth == 5);
}

TEST_CASE("a work guard keeps run from returning until it goes") {
  eventer::event_loop loop;
  auto guard = std::make_unique<eventer::work_guard>(loop);
  std::atomic<bool> returned{false};
  std::thread runner([&] {
    loop.run();
    returned = true;
  });
  for (int i = 0; i < 3; ++i) {
    loop.spawn([] {}).join();
    CHECK_FALSE(returned);
  }
  guard.reset();
  runner.join();
  CHECK(returned);
}

TEST_CASE("stop ends run from a coroutine and from another thread, and what was parked goes on in the next run") {
  eventer::event_loop loop;
  int steps = 0;
  (void)loop.spawn([&steps] {
    ++steps;
    eventer::event_loop::current().stop();
    eventer::sleep_for(1ms);
    ++steps;
    eventer::sleep_for(1h);
  });
  loop.run();
  CHECK(steps == 1);
  CHECK(loop.stats().coroutines == 1);
  std::thread stopper([&loop] {
    std::this_thread::sleep_for(5ms);
    loop.stop();
  });
  loop.run();
  stopper.join();
  CHECK(steps == 2);
}

TEST_CASE("a stop that comes before run is not lost") {
  eventer::event_loop loop;
  (void)loop.spawn([] { eventer::sleep_for(1h); });
  loop.stop();
  loop.run();
  CHECK(loop.stats().coroutines == 0);  // not even started
}

TEST_CASE("poll does what is ready and never blocks") {
  eventer::event_loop loop;
  CHECK(loop.poll() == 0);
  int ran = 0;
  (void)loop.spawn([&ran] {
    ++ran;
    eventer::sleep_for(1h);
  });
  const auto start = eventer::clock::now();
  CHECK(loop.poll() == 1);
  CHECK(loop.poll() == 0);
  CHECK(ran == 1);
  CHECK(eventer::clock::now() - start < 10s);
}

TEST_CASE("running a loop inside itself is refused with a sentence") {
  const auto check_refused = [](void (*inside)()) {
    const auto result = run_in_child([inside] { eventer::run([inside] { inside(); }); });
    CHECK(result.signal == SIGABRT);
    CHECK(contains(result.output, "inside this loop"));
  };
  check_refused([] { eventer::event_loop::current().run(); });
  check_refused([] { (void)eventer::event_loop::current().poll(); });
}

TEST_CASE("another loop may run inside a coroutine") {
  CHECK(eventer::run([] {
          const int inner = eventer::run([] {
            eventer::sleep_for(1ms);
            return 4;
          });
          eventer::sleep_for(1ms);
          return inner + 1;
        }) == 5);
}

TEST_CASE("a post and a spawn from another thread wake a sleeping loop at once") {
  running_loop there;
  there.loop.spawn([] {}).join();
  const auto start = eventer::clock::now();
  for (int i = 0; i < 50; ++i) {
    std::atomic<bool> ran{false};
    there.loop.post([&ran] {
      ran = true;
      ran.notify_one();
    });
    ran.wait(false);
    there.loop.spawn([] { eventer::yield(); }).join();
  }
  // A loop that looks at its posts only now and then would need its interval a hundred times.
  CHECK(eventer::clock::now() - start < 2s);
}

TEST_CASE("many posts to a loop that is awake cost no system call each") {
  eventer::event_loop loop;
  int ran = 0;
  const faults counted;
  (void)loop.spawn([&] {
    for (int i = 0; i < 1000; ++i) eventer::event_loop::current().post([&ran] { ++ran; });
  });
  loop.run();
  CHECK(ran == 1000);
  CHECK(counted.calls(faults::call::write) <= 1);
}

TEST_CASE("a loop that nothing local can wake says so once, and a post from another thread still ends it") {
  const captured_log log;
  eventer::event_loop loop;
  eventer::join_handle<void> first, second;
  first = loop.spawn({.name = "forlorn"}, [&second] { (void)second.try_join(); });
  second = loop.spawn({.name = "forlorn too"}, [&first] { (void)first.try_join(); });
  const auto text = "nothing on this loop can wake them";
  std::thread helper([&] {
    for (int i = 0; i < 2000 && log.count(text) == 0; ++i) std::this_thread::sleep_for(1ms);
    loop.post([] {});  // wakes it, but does not end the wait
    std::this_thread::sleep_for(5ms);
    loop.post([&first] { first.cancel(); });
  });
  loop.run();
  helper.join();
  CHECK(log.lines().size() == 1);
  CHECK(log.count(text) == 1);
  CHECK(log.count("2 coroutines wait") == 1);
}

TEST_CASE("no line about coroutines that nothing here can wake while another thread's answer is awaited") {
  const captured_log log;
  eventer::event_loop other, loop;
  auto there = other.spawn([] { return 3; });
  auto waiting = loop.spawn([&there] { return there.join(); });
  std::thread helper([&other] {
    std::this_thread::sleep_for(20ms);
    other.run();
  });
  loop.run();
  helper.join();
  CHECK(waiting.join() == 3);
  CHECK(log.lines().empty());
}

TEST_CASE("loops run on several threads at the same time, each with its own coroutines") {
  constexpr int count = 4;
  std::vector<std::thread> threads;
  std::atomic<int> begun{0}, ended{0}, right{0};
  // All begin before the first ends.
  const auto meet = [](std::atomic<int>& here) {
    ++here;
    while (here < count) eventer::sleep_for(100us);
  };
  for (int i = 0; i < count; ++i)
    threads.emplace_back([&, i] {
      right += eventer::run([&, i] {
                 meet(begun);
                 int sum = 0;
                 for (int round = 0; round < 20; ++round)
                   sum += eventer::spawn([i] {
                            eventer::sleep_for(100us);
                            return i;
                          }).join();
                 meet(ended);
                 return sum;
               }) == 20 * i;
    });
  for (auto& each : threads) each.join();
  CHECK(right == count);
}

TEST_CASE("no line about coroutines that nothing can wake while a descriptor or a timer can") {
  const captured_log log;
  eventer::run([] {
    auto pair = connected_pair();
    auto reader = eventer::spawn([server = std::move(pair.server)]() mutable { return read_text(server, 5s); });
    eventer::sleep_for(1ms);
    CHECK(pair.client.write_all("x").has_value());
    CHECK(reader.join() == "x");
  });
  CHECK(log.lines().empty());
}

TEST_CASE("an exception out of a posted function leaves run, and the loop stays usable") {
  eventer::event_loop loop;
  std::string order;
  loop.post([&order] { order += 'a'; });
  loop.post([] { throw std::runtime_error("posted"); });
  loop.post([&order] { order += 'b'; });
  (void)loop.spawn([&order] { order += 'c'; });
  CHECK_THROWS_WITH(loop.run(), "posted");
  CHECK(order == "a");
  loop.run();
  CHECK(order == "abc");
}

TEST_CASE("everything posted is destroyed once, run or not") {
  auto token = std::make_shared<int>(0);
  {
    eventer::event_loop loop;
    loop.post([token] {});
    loop.run();
    CHECK(token.use_count() == 1);
    loop.post([token] { throw 1; });
    loop.post([token] {});
    CHECK_THROWS(loop.run());
    CHECK(token.use_count() == 2);
    loop.post([token] {});
  }
  CHECK(token.use_count() == 1);
}

TEST_CASE("a loop that can't have its descriptors throws what is missing", "[epoll]") {
  using call = faults::call;
  for (const auto& [which, words] :
       {std::pair{call::epoll_create1, "epoll_create1"}, std::pair{call::eventfd, "eventfd"}}) {
    faults injected;
    injected.fail(which, EMFILE);
    try {
      eventer::event_loop loop;
      FAIL("made without a descriptor");
    } catch (const std::system_error& failure) {
      CHECK(failure.code() == std::errc::too_many_files_open);
      CHECK(contains(failure.what(), words));
      CHECK(contains(failure.what(), "Too many open files"));
    }
  }
  faults injected;
  injected.fail(call::epoll_ctl, ENOSPC);
  CHECK_THROWS_AS(eventer::event_loop(), std::system_error);
}

TEST_CASE("a loop that failed to be made leaves no descriptor open", "[epoll]") {
  const auto lowest_free = [] {
    const eventer::unique_fd probe(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    return probe.get();
  };
  const int before = lowest_free();
  faults injected;
  injected.fail(faults::call::epoll_create1, EMFILE);
  CHECK_THROWS(eventer::event_loop());
  CHECK(lowest_free() == before);
}

TEST_CASE("a joiner that gave up on another loop's coroutine leaves nothing behind") {
  auto token = std::make_shared<int>(0);
  {
    running_loop there;
    eventer::run([&] {
      auto slow = there.loop.spawn([token] {
        eventer::sleep_for(20ms);
        return token;
      });
      CHECK(slow.join_for(1ms).error() == std::errc::timed_out);
    });
  }
  CHECK(token.use_count() == 1);
}

TEST_CASE("what waits in the background is told of its loop's end, and does not keep run from returning") {
  struct waits : eventer::continuation {
    waits() : continuation(&on_wake) { set(eventer::node_flag::background); }
    static void on_wake(continuation& who) {
      static_cast<waits&>(who).told = who.wake;
      eventer::scheduler::forget(who);
    }
    eventer::wake_reason told = eventer::wake_reason::parked;
  };
  waits one, forgotten;
  {
    eventer::event_loop loop;
    loop.post([which = &one, other = &forgotten] {
      eventer::scheduler& here = *eventer::scheduler::current();
      here.attach(*other);
      here.attach(*which);
      here.arm(*which, here.now() + 1h);
      eventer::scheduler::forget(*other);
    });
    loop.run();
    CHECK(one.told == eventer::wake_reason::parked);
    auto something = loop.spawn([] { eventer::sleep_for(1ms); });
    loop.run();
    CHECK(something.done());
    CHECK(one.told == eventer::wake_reason::parked);
  }
  CHECK(one.told == eventer::wake_reason::canceled);
  CHECK(forgotten.told == eventer::wake_reason::parked);
}
