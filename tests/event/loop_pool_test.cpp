// loop_pool: loops on threads of their own, from the first start to the unwinding of what is still parked.
#include <dirent.h>
#include <sched.h>
#include <signal.h>

#include <atomic>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "../background.hpp"
#include "../captured_log.hpp"
#include "../catch.hpp"
#include "../child.hpp"
#include "../one_cpu.hpp"
#include "../sockets.hpp"
#include "eventer/eventer.hpp"

using namespace std::chrono_literals;
using eventer::event_loop;
using eventer::loop_pool;

namespace {

constexpr const char* fibers = "ThreadSanitizer does not know fibers in a forked child";
constexpr const char* threads_of_child = "ThreadSanitizer starts no threads in a forked child";

const void* this_thread() { return eventer::scheduler::this_thread(); }

// What the system calls of one thread answer: the call number `at` fails.
thread_local int calls_to_failure = -1;
template <eventer::syscalls::call Which, int Error>
int fail_once(eventer::syscalls::call which) {
  if (which != Which || calls_to_failure < 0) return 0;
  return calls_to_failure-- == 0 ? Error : 0;
}
struct failing_threads {
  explicit failing_threads(int at) {
    calls_to_failure = at;
    eventer::syscalls::fault_hook = &fail_once<eventer::syscalls::call::pthread_create, EAGAIN>;
  }
  failing_threads(const failing_threads&) = delete;
  failing_threads& operator=(const failing_threads&) = delete;
  ~failing_threads() { eventer::syscalls::fault_hook = nullptr; }
};

std::string text_of_failure(loop_pool& pool) {
  try {
    pool.start();
  } catch (const std::exception& failure) {
    return failure.what();
  }
  return "started";
}
template <class F>
std::error_code code_of(F&& function) {
  try {
    function();
  } catch (const std::system_error& failure) {
    return failure.code();
  }
  return {};
}

}  // namespace

TEST_CASE("each loop runs on a thread of its own, and next() takes them in turn") {
  loop_pool pool(3);
  CHECK(pool.size() == 3);
  pool.start();
  std::vector<const void*> threads;
  for (unsigned i = 0; i < 3; ++i)
    threads.push_back(
        pool[i].spawn([loop = &pool[i]] { return &event_loop::current() == loop ? this_thread() : nullptr; }).join());
  for (unsigned i = 0; i < 3; ++i) {
    CHECK(threads[i] != nullptr);
    CHECK(threads[i] != threads[(i + 1) % 3]);
    CHECK(threads[i] != this_thread());
  }
  event_loop* const first = &pool.next();
  CHECK(&pool.next() != first);
  CHECK(&pool.next() != first);
  CHECK(&pool.next() == first);
  std::vector<const void*> turns;
  for (int i = 0; i < 6; ++i) turns.push_back(pool.spawn([] { return this_thread(); }).join());
  CHECK(turns[0] == turns[3]);
  CHECK(turns[0] != turns[1]);
  CHECK(pool.spawn({.name = "named"}, [] { return std::string(eventer::this_coroutine::name()); }).join() == "named");
  CHECK(pool.spawn([]() -> eventer::task<int> { co_return 4; }()).join() == 4);
  pool.stop();
  pool.join();
}

TEST_CASE("without a number there is a loop for each usable CPU") {
  CHECK(loop_pool().size() == eventer::usable_cpus());
}

TEST_CASE("a process that may use one CPU gets one loop") {
  const auto result = run_in_child([] {
    if (use_one_cpu()) std::printf("%u", loop_pool().size());
  });
  CHECK(result.output == "1");
}

TEST_CASE("what was spawned and posted before start runs then") {
  loop_pool pool(2);
  std::atomic<int> posted{0};
  auto handle = pool[1].spawn([] { return this_thread(); });
  pool[0].post([&posted] { posted = 1; });
  CHECK_FALSE(handle.done());
  pool.start();
  CHECK(posted == 1);
  CHECK(handle.join() != this_thread());
}

TEST_CASE("idle loops stay until stop, and run returns then") {
  loop_pool pool(2);
  std::thread stopper([&pool] {
    for (int i = 0; i < 20; ++i) pool.spawn([] {}).join();
    pool.stop();
  });
  pool.run();
  stopper.join();
  CHECK(pool.stats()[0].coroutines == 0);
}

TEST_CASE("on_each is called once for each loop, on its thread, in order, before any loop runs") {
  loop_pool pool(4);
  struct seen {
    std::vector<unsigned> order;
    std::vector<const void*> threads;
    bool right = true, ran = false;
  };
  auto saw = std::make_shared<seen>();
  pool[0].post([saw] { saw->ran = true; });
  pool.start([saw, &pool](event_loop& loop, unsigned index) {
    saw->right = saw->right && &loop == &pool[index] && &event_loop::current() == &loop && !saw->ran;
    saw->order.push_back(index);
    saw->threads.push_back(this_thread());
    eventer::spawn({.name = "first"}, [] { eventer::sleep_for(1h); });
  });
  CHECK(saw.use_count() == 1);  // it is destroyed when start() returns
  CHECK(saw->right);
  CHECK(saw->ran);
  CHECK(saw->order == std::vector<unsigned>{0, 1, 2, 3});
  for (unsigned i = 0; i < 4; ++i) CHECK(pool[i].spawn([] { return this_thread(); }).join() == saw->threads[i]);
  for (const auto& each : pool.stats()) CHECK(each.coroutines == 1);
}

TEST_CASE("an exception of on_each comes out of start, from whichever loop, when none runs") {
  for (unsigned k = 0; k < 3; ++k) {
    loop_pool pool(3);
    std::atomic<unsigned> called{0};
    std::atomic<bool> ran{false};
    std::string what;
    try {
      pool.start([&](event_loop&, unsigned index) {
        ++called;
        (void)eventer::spawn([&ran] { ran = true; });
        if (index == k) throw std::runtime_error("loop " + std::to_string(index));
      });
    } catch (const std::runtime_error& failure) {
      what = failure.what();
    }
    CHECK(what == "loop " + std::to_string(k));
    CHECK(called == k + 1);
    CHECK_FALSE(ran);
    pool.join();  // nothing is left to wait for, or to be thrown
    pool.start();
    CHECK(pool[k].spawn([] { return 5; }).join() == 5);
    CHECK(ran);
  }
}

TEST_CASE("a loop that throws at once makes start throw, and can be used afterwards") {
  for (unsigned k = 0; k < 3; ++k) {
    loop_pool pool(3);
    pool[k].post([k] { throw std::runtime_error("at once " + std::to_string(k)); });
    CHECK(text_of_failure(pool) == "at once " + std::to_string(k));
    CHECK(text_of_failure(pool) == "started");
    CHECK(pool[k].spawn([] { return 5; }).join() == 5);
  }
}

TEST_CASE("a loop that can't ask the kernel makes start throw", "[epoll]") {
  loop_pool pool(2);
  const std::error_code error = code_of([&pool] {
    pool.start([](event_loop&, unsigned index) {
      if (index != 1) return;
      calls_to_failure = 0;
      eventer::syscalls::fault_hook = &fail_once<eventer::syscalls::call::epoll_wait, EBADF>;
    });
  });
  CHECK(error == std::errc::bad_file_descriptor);
}

TEST_CASE("a thread that can't be made makes start throw, and a later start makes it") {
  for (int k = 0; k < 3; ++k) {
    loop_pool pool(3);
    std::atomic<int> called{0};
    {
      const failing_threads none(k);
      CHECK(code_of([&] { pool.start([&called](event_loop&, unsigned) { ++called; }); }) ==
            std::errc::resource_unavailable_try_again);
    }
    CHECK(called == 0);
    for (const auto& each : pool.stats()) CHECK(each.turns == 0);
    if (k == 1) continue;  // and may be destroyed as it is
    pool.start([&called](event_loop&, unsigned) { ++called; });
    CHECK(called == 3);
    CHECK(pool[2].spawn([] { return 5; }).join() == 5);
  }
}

TEST_CASE("an exception that leaves a loop stops all, comes out of join, and the loops can be used again") {
  loop_pool pool(3);
  pool.start();
  pool[1].post([] { throw std::runtime_error("in a callback"); });
  std::string what;
  try {
    pool.join();
  } catch (const std::runtime_error& failure) {
    what = failure.what();
  }
  CHECK(what == "in a callback");
  pool.start();
  for (unsigned i = 0; i < 3; ++i) CHECK(pool[i].spawn([i] { return i; }).join() == i);
}

TEST_CASE("what leaves a loop and is asked for by nobody is in the log") {
  const captured_log log;
  {
    loop_pool pool(2);
    pool.start();
    std::atomic<bool> thrown{false};
    pool[0].post([&thrown] {
      thrown = true;
      thrown.notify_one();
      throw std::runtime_error("lost");
    });
    thrown.wait(false);
  }
  CHECK(log.count("nobody has joined: lost") == 1);
}

TEST_CASE("stop from a coroutine, from on_each, before start and twice ends one run, and the next goes on") {
  loop_pool pool(2);
  pool.start();
  (void)pool[1].spawn([&pool] { pool.stop(); });
  pool.join();
  std::atomic<int> called{0};
  pool.start([&](event_loop&, unsigned) {
    ++called;
    pool.stop();
  });
  pool.join();
  CHECK(called == 2);
  pool.stop();
  pool.start([&](event_loop&, unsigned) { ++called; });
  pool.join();
  CHECK(called == 4);
  pool.start();
  pool.stop();
  pool.stop();
  pool.join();
  pool.join();
  pool.start();
  CHECK(pool.spawn([] { return 1; }).join() == 1);
}

TEST_CASE("stop in any moment of start is not lost") {
  loop_pool pool(2);
  for (int i = 0; i < 200; ++i) {
    std::thread stopper([&pool] { pool.stop(); });
    pool.run();
    stopper.join();
  }
  SUCCEED("every run has ended");
}

TEST_CASE("a loop of a pool that is stopped by itself is run again") {
  loop_pool pool(2);
  pool[1].stop();
  pool.start();
  for (int i = 0; i < 20; ++i) pool[1].spawn([] { event_loop::current().stop(); }).join();
  CHECK(pool[1].spawn([] { return 5; }).join() == 5);
}

TEST_CASE("what is parked at stop goes on after the next start, on the same thread") {
  loop_pool pool(2);
  eventer::shared_event go;
  std::vector<eventer::join_handle<bool>> parked;
  pool.start();
  for (unsigned i = 0; i < 2; ++i)
    parked.push_back(pool[i].spawn([go]() mutable {
      const void* const before = this_thread();
      go.wait();
      return before == this_thread();
    }));
  for (int round = 0; round < 3; ++round) {
    for (const auto& each : pool.stats()) CHECK(each.coroutines == 1);
    pool.stop();
    pool.join();
    for (const auto& each : pool.stats()) CHECK(each.coroutines == 1);
    pool.start();
  }
  go.set();
  for (auto& each : parked) CHECK(each.join());
}

TEST_CASE("join parks a coroutine of another loop, on which others go on") {
  CHECK(eventer::run([] {
          loop_pool pool(2);  // on the shared stack: its threads look at nothing here
          pool.start();
          int steps = 0;
          auto shared = std::make_shared<int>(0);
          auto stopper = eventer::spawn([shared, first = &pool[0]] {
            for (int i = 0; i < 10; ++i) {
              eventer::yield();
              first->spawn([] {}).join();
              ++*shared;
            }
          });
          eventer::spawn([stopper = std::move(stopper)]() mutable { stopper.join(); }).join();
          steps = *shared;
          pool.stop();
          pool.join();
          return steps;
        }) == 10);
}

TEST_CASE("a coroutine that joins a pool is let go by cancellation and by a deadline, and the pool runs on") {
  auto pool = std::make_shared<loop_pool>(2);
  pool->start();
  CHECK(eventer::run([pool] {
          auto joiner = eventer::spawn([pool] { pool->join(); });
          eventer::yield();
          joiner.cancel();
          if (joiner.try_join().error() != std::errc::operation_canceled) return 1;
          const std::error_code late = code_of([&] {
            const eventer::deadline_scope at_once(0ms);
            pool->join();
          });
          if (late != std::errc::timed_out) return 2;
          if (pool->spawn([] { return 5; }).join() != 5) return 3;
          // run() stops what it has started, also where it is cancelled before that.
          auto second = std::make_shared<loop_pool>(2);
          for (const bool waits : {false, true}) {
            auto runner = eventer::spawn([second] { second->run(); });
            eventer::yield();
            while (waits && second->spawn([] { return 5; }).join() != 5) {
            }
            runner.cancel();
            if (runner.try_join().error() != std::errc::operation_canceled) return 4;
          }
          second->start();
          return second->spawn([] { return 5; }).join() == 5 ? 0 : 5;
        }) == 0);
  pool->stop();
  pool->join();
}

TEST_CASE("joining a pool is no deadlock, and lets virtual time go on") {
  const captured_log log;
  loop_pool pool(1);
  pool.start();
  eventer::manual_clock time;
  event_loop loop({.clock = &time});
  auto joined = loop.spawn([&pool] { pool.join(); });
  (void)loop.spawn([&pool] {
    eventer::sleep_for(1h);
    pool.stop();
  });
  loop.run();
  joined.join();
  pool.start();
  auto again = loop.spawn([&pool] { pool.join(); });
  (void)pool.spawn([&pool] {
    for (int i = 0; i < 100; ++i) eventer::yield();
    pool.stop();
  });
  loop.run();
  again.join();
  CHECK(log.lines().empty());
}

TEST_CASE("start in a coroutine parks it while its own loop serves what on_each needs") {
  CHECK(eventer::run([] {
          auto pool = std::make_shared<loop_pool>(2);
          auto asked = std::make_shared<std::atomic<int>>(0);
          pool->start([asked, here = &event_loop::current()](event_loop&, unsigned) {
            here->post([asked] { ++*asked; });
            while (*asked == 0) std::this_thread::yield();
          });
          return asked->load();
        }) == 2);
}

TEST_CASE("a pool is started once, and does not wait for itself") {
  loop_pool pool(2);
  pool.start();
  CHECK(code_of([&pool] { pool.start(); }) == eventer::errc::busy);
  const auto code_on_pool = [&pool](void (*call)(loop_pool&)) {
    return pool[1].spawn([&pool, call] { return code_of([&] { call(pool); }); }).join();
  };
  CHECK(code_on_pool([](loop_pool& p) { p.start(); }) == eventer::errc::busy);
  CHECK(code_on_pool([](loop_pool& p) { p.join(); }) == std::errc::resource_deadlock_would_occur);
  CHECK(code_on_pool([](loop_pool& p) { p.run(); }) == eventer::errc::busy);
  pool.stop();
  pool.join();
}

TEST_CASE("what can't be done with a pool ends in a sentence") {
  const auto sentence_of = [](void (*function)()) {
    const auto result = run_in_child([function] { function(); });
    CHECK(result.signal == SIGABRT);
    return result.output;
  };
  CHECK(contains(sentence_of([] { (void)loop_pool(2)[2]; }), "no loop of that number"));
  CHECK(contains(sentence_of([] {
                   event_loop loop;
                   loop.post([] { loop_pool(1).start(); });
                   loop.run();
                 }),
                 "in a callback"));
}

TEST_CASE("a pool that is destroyed by one of its own coroutines ends the program with a sentence", "[no-emulator]") {
  if (EVENTER_TSAN) EVENTER_SKIP(threads_of_child);
  const auto result = run_in_child([] {
    static auto pool = std::make_unique<loop_pool>(1);
    pool->start();
    pool->spawn([] { pool.reset(); }).join();
  });
  CHECK(result.signal == SIGABRT);
  CHECK(contains(result.output, "destroyed on one of its own threads"));
}

TEST_CASE("every loop's statistics are asked for from any thread, coroutine and moment") {
  loop_pool pool(3);
  CHECK(pool.stats().size() == 3);
  pool.start([](event_loop&, unsigned index) {
    for (unsigned i = 0; i <= index; ++i) (void)eventer::spawn([] { eventer::sleep_for(1h); });
  });
  const auto check = [](const std::vector<eventer::loop_stats>& each) {
    for (unsigned i = 0; i < 3; ++i) {
      CHECK(each[i].turns > 0);
      CHECK(each[i].coroutines >= i + 1);
      CHECK(each[i].timers == i + 1);
    }
  };
  check(pool.stats());
  check(pool[1].spawn([&pool] { return pool.stats(); }).join());
  std::vector<std::thread> askers;
  std::atomic<bool> enough{false};
  for (int i = 0; i < 3; ++i)
    askers.emplace_back([&] {
      while (!enough) (void)pool.stats();
    });
  for (int i = 0; i < 50; ++i) {
    pool.stop();
    pool.join();
    check(pool.stats());
    pool.start();
  }
  enough = true;
  for (auto& each : askers) each.join();
  check(pool.stats());
}

TEST_CASE("two loops play ping-pong over shared channels") {
  loop_pool pool(2);
  pool.start();
  eventer::shared_channel<int> there(0), back(0);
  auto echo = pool[1].spawn([there, back]() mutable {
    while (auto value = there.receive()) (void)back.send(*value + 1);
  });
  auto player = pool[0].spawn([there, back]() mutable {
    int value = 0;
    for (int i = 0; i < 1000; ++i) {
      (void)there.send(value);
      value = *back.receive();
    }
    there.close();
    return value;
  });
  CHECK(player.join() == 1000);
  echo.join();
}

TEST_CASE("ten thousand coroutines that one loop spawns on the others are joined there") {
  loop_pool pool(3);
  pool.start();
  auto total = pool[0].spawn([&pool] {
    long sum = 0;
    std::vector<eventer::join_handle<int>> some;
    for (int i = 0; i < 10000; ++i) {
      some.push_back(pool.spawn([i] {
        if (i % 3 == 0) eventer::yield();
        return i;
      }));
      if (some.size() < 100) continue;
      for (auto& each : some) sum += each.join();
      some.clear();
    }
    return sum;
  });
  CHECK(total.join() == 10000L * 9999 / 2);
  for (const auto& each : pool.stats()) CHECK(each.coroutines == 0);
}

TEST_CASE("a connection that one loop has read from is handed over, and served on another") {
  loop_pool pool(2);
  pool.start();
  auto [ours, theirs] = eventer::unix_stream::pair().value();
  eventer::shared_event handed_over;
  auto accepting = pool[0].spawn([stream = std::move(theirs), other = &pool[1], handed_over]() mutable {
    std::string head(1, ' ');
    if (!stream.read_exact(head)) return std::string("no head");  // binds it to this loop
    const auto refused = other
                             ->spawn([which = std::make_shared<eventer::unix_stream>(std::move(stream))] {
                               std::string text(1, ' ');
                               return std::pair(which->read_some(text).error(), which);
                             })
                             .join();
    if (refused.first != eventer::errc::busy) return std::string("not refused");
    if (!refused.second->detach()) return std::string("not detached");
    handed_over.set();
    return other
        ->spawn([which = refused.second, first = head[0]] {
          std::string rest(3, ' ');
          if (!which->read_exact(rest)) return std::string("no rest");
          if (!which->write_all(first + rest)) return std::string("no answer");
          which->close();
          return std::string("served");
        })
        .join();
  });
  while (pool.stats()[0].registrations == 0) std::this_thread::yield();  // until it waits
  REQUIRE(ours.write_all("a"));
  handed_over.wait();
  REQUIRE(ours.write_all("bcd"));
  std::string answer(4, ' ');
  CHECK(ours.read_exact(answer));
  CHECK(answer == "abcd");
  CHECK(accepting.join() == "served");
}

namespace {

// Counts the destructors that ran on the thread on which the object was made.
struct homesick {
  explicit homesick(std::shared_ptr<std::atomic<int>> c) : count(std::move(c)) {}
  homesick(homesick&&) = default;
  ~homesick() {
    if (count != nullptr && at_home == this_thread()) ++*count;
  }
  std::shared_ptr<std::atomic<int>> count;
  const void* at_home = this_thread();
};
// Is given up when its thread ends.
struct thread_mark {
  ~thread_mark() { alive = false; }
  bool alive = true;
};
thread_local thread_mark mark;

}  // namespace

TEST_CASE("the end of a pool unwinds each loop on its own thread, whose thread_locals are still there") {
  const auto at_home = std::make_shared<std::atomic<int>>(0), alive = std::make_shared<std::atomic<int>>(0);
  for (const bool stopped_before : {false, true}) {
    loop_pool pool(3);
    pool.start();
    std::vector<eventer::join_handle<void>> begun;
    for (unsigned i = 0; i < 3; ++i)
      pool[i]
          .spawn([=] {
            eventer::spawn([=] {
              struct last_look {
                const thread_mark* of;
                std::atomic<int>* count;
                ~last_look() { *count += of->alive && of == &mark; }
              };
              const homesick object(at_home);
              const last_look look{&mark, alive.get()};
              eventer::sleep_for(1h);
            });
            eventer::yield();
          })
          .join();
    if (!stopped_before) continue;
    pool.stop();
    pool.join();
  }
  CHECK(*at_home == 6);
  CHECK(*alive == 6);
}

TEST_CASE("a pool with parked coroutines that wait for each other on other loops ends, and every one is unwound") {
  const auto unwound = std::make_shared<std::atomic<int>>(0);
  for (int round = 0; round < 10; ++round) {
    loop_pool pool(3);
    pool.start();
    // A ring: each joins a coroutine of the next loop, which was given to it over a channel.
    std::vector<eventer::shared_channel<eventer::join_handle<void>>> given;
    for (int i = 0; i < 3; ++i) given.emplace_back(std::size_t{1});
    eventer::shared_wait_group waiting;
    waiting.add(3);
    for (unsigned i = 0; i < 3; ++i) {
      auto handle = pool[i].spawn([unwound, mine = given[i], waiting]() mutable {
        const std::shared_ptr<void> counts(nullptr, [unwound](void*) { ++*unwound; });
        auto next = mine.receive();
        waiting.done();
        next->join();
      });
      (void)given[(i + 2) % 3].send(std::move(handle));
    }
    waiting.wait();
  }
  CHECK(*unwound == 30);
}

TEST_CASE("farewells of a pool that ends may use its other loops") {
  const auto said = std::make_shared<std::atomic<int>>(0), refused = std::make_shared<std::atomic<int>>(0);
  {
    loop_pool pool(2);
    pool.start();
    eventer::shared_wait_group parked;
    eventer::shared_channel<int> words(0);
    parked.add(3);
    // One that listens in its shield until its peer has said everything.
    (void)pool[1].spawn([=]() mutable {
      const eventer::cancel_shield farewell;
      parked.done();
      while (words.receive()) ++*said;
    });
    (void)pool[0].spawn([=]() mutable {
      try {
        parked.done();
        eventer::sleep_for(1h);
      } catch (const eventer::cancelled&) {
        const eventer::cancel_shield farewell;
        for (int i = 0; i < 100; ++i) (void)words.send(i);
        words.close();
        throw;
      }
    });
    // What is spawned on a loop that ends is cancelled, and says so at once, also where that loop has nothing left.
    (void)pool[0].spawn([=, other = &pool[1]]() mutable {
      try {
        parked.done();
        eventer::sleep_for(1h);
      } catch (const eventer::cancelled&) {
        const eventer::cancel_shield farewell;
        for (int i = 0; i < 20; ++i) {
          eventer::yield();
          *refused += other->spawn([] {}).try_join().error() == std::errc::operation_canceled;
        }
        throw;
      }
    });
    parked.wait();
  }
  CHECK(*said == 100);
  CHECK(*refused == 20);
}

TEST_CASE("what events and messages of one loop hold of another one goes before any loop does") {
  const auto gone = std::make_shared<std::atomic<int>>(0);
  struct holds {
    std::shared_ptr<std::atomic<int>> count;
    std::shared_ptr<eventer::work_guard> guard;
    event_loop* other;
    ~holds() {
      if (guard == nullptr) return;
      guard.reset();
      other->post([c = count] {});
      ++*count;
    }
    holds(std::shared_ptr<std::atomic<int>> c, event_loop& o)
        : count(std::move(c)), guard(std::make_shared<eventer::work_guard>(o)), other(&o) {}
    holds(holds&& from) noexcept : count(std::move(from.count)), guard(std::move(from.guard)), other(from.other) {}
  };
  for (const bool started : {false, true}) {
    loop_pool pool(3);
    for (unsigned i = 0; i < 3; ++i) {
      event_loop& other = pool[(i + 1) % 3];
      pool[i].every(1h, [h = holds(gone, other)] {});
      pool[i].post([h = holds(gone, other), loop = &pool[i]]() mutable { loop->after(1h, [in = std::move(h)] {}); });
      if (!started) pool[i].spawn([h = holds(gone, other)] {});
    }
    if (started) pool.start();
  }
  CHECK(*gone == 9 + 6);
}

TEST_CASE("a hundred pools are made, started, used, stopped and destroyed") {
  for (int i = 0; i < 100; ++i) {
    loop_pool pool(2);
    pool.start();
    auto handle = pool.spawn([&pool] { return pool.next().spawn([] { return 2; }).join(); });
    (void)pool.spawn([] { eventer::sleep_for(1h); });
    if (i % 2 == 0) CHECK(handle.join() == 2);
    if (i % 3 == 0) {
      pool.stop();
      pool.join();
    }
  }
}

// --- threads, signals, fork ---

TEST_CASE("the threads have names, and leave the program's signals to the program") {
  loop_pool pool(2);
  pool.start();
  const auto [name, blocked] = pool[1]
                                   .spawn([] {
                                     char text[16] = {};
                                     ::pthread_getname_np(::pthread_self(), text, sizeof text);
                                     sigset_t mask;
                                     ::pthread_sigmask(SIG_SETMASK, nullptr, &mask);
                                     std::string found;
                                     for (const int each : {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGCHLD, SIGALRM, SIGSEGV,
                                                            SIGBUS, SIGFPE, SIGPROF})
                                       found += ::sigismember(&mask, each) == 1 ? 'b' : '-';
                                     return std::pair(std::string(text), found);
                                   })
                                   .join();
  CHECK(name == "eventer/1");
  CHECK(blocked == "bbbbbb----");
}

TEST_CASE("a stack overflow on a pool's loop is reported by name", "[shared-stack][no-emulator]") {
  if (EVENTER_ASAN || EVENTER_TSAN) EVENTER_SKIP("the sanitizers report faults themselves");
  const auto result = run_in_child([] {
    loop_pool pool(1, {.fault_reports = true});
    pool.start();
    pool.spawn({.name = "endless"},
               [] {
                 struct recursion {
                   static int go(int depth) {
                     volatile char room[1024];
                     room[0] = static_cast<char>(depth);
                     return depth < 0 ? 0 : go(depth + 1) + room[0];
                   }
                 };
                 return recursion::go(0);
               })
        .join();
  });
  CHECK(result.signal == SIGSEGV);
  CHECK(contains(result.output, "stack overflow in coroutine \"endless\""));
}

TEST_CASE("a stall of a pool's loop is reported with a backtrace") {
  const captured_log log;
  loop_pool pool(1, {.stall_threshold = 5ms});
  pool.start();
  pool.spawn({.name = "hog"},
             [&log] {
               while (log.count("by hog") == 0 || log.count("   0 ") == 0) std::this_thread::yield();
             })
      .join();
  CHECK(log.count("by hog") == 1);
  const bool blocked = pool[0]
                           .spawn([] {
                             sigset_t mask;
                             ::pthread_sigmask(SIG_SETMASK, nullptr, &mask);
                             return ::sigismember(&mask, SIGURG) == 1;
                           })
                           .join();
  CHECK_FALSE(blocked);
}

TEST_CASE("a child that a coroutine of a pool forks has the program's signal mask, and so do its children",
          "[no-emulator]") {
  if (EVENTER_TSAN) EVENTER_SKIP(fibers);
  const auto result = run_in_child([] {
    sigset_t mine;
    ::sigemptyset(&mine);
    ::sigaddset(&mine, SIGUSR2);
    ::pthread_sigmask(SIG_SETMASK, &mine, nullptr);
    loop_pool pool(2);
    pool.start();
    pool[1]
        .spawn([] {
          const auto mask = [] {
            sigset_t now;
            ::pthread_sigmask(SIG_SETMASK, nullptr, &now);
            std::string text;
            for (const int each : {SIGTERM, SIGUSR1, SIGUSR2}) text += ::sigismember(&now, each) == 1 ? 'b' : '-';
            return text;
          };
          const auto in_child = [](auto function) {
            const pid_t child = ::fork();
            if (child == 0) {
              function();
              std::fflush(stdout);
              ::_exit(0);
            }
            ::waitpid(child, nullptr, 0);
          };
          in_child([&] {
            std::printf("child %s\n", mask().c_str());
            std::fflush(stdout);
            sigset_t changed;
            ::sigemptyset(&changed);
            ::sigaddset(&changed, SIGTERM);
            ::pthread_sigmask(SIG_SETMASK, &changed, nullptr);
            in_child([&] { std::printf("grandchild %s\n", mask().c_str()); });
          });
          std::printf("parent %s\n", mask().c_str());
        })
        .join();
  });
  CHECK(result.output == "child --b\ngrandchild b--\nparent bbb\n");
}

TEST_CASE("a forked child is told that the pool is its parent's, and can end", "[no-emulator]") {
  if (EVENTER_TSAN) EVENTER_SKIP(fibers);
  // By the program's own thread, with the pool's threads anywhere.
  const auto forked = run_in_child([] {
    static loop_pool* pool = new loop_pool(2);
    pool->start();
    const pid_t child = ::fork();
    if (child == 0) {
      for (void (*use)() : {+[] { pool->start(); }, +[] { pool->join(); }, +[] { (void)pool->stats(); }})
        if (code_of(use) != std::errc::operation_not_permitted) ::_exit(1);
      pool->stop();
      std::at_quick_exit([] { delete pool; });  // exit() would end the test framework too
      std::quick_exit(3);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    std::printf("%d %d", WEXITSTATUS(status), pool->spawn([] { return 5; }).join());
    std::fflush(stdout);
    ::_exit(0);
  });
  CHECK(contains(forked.output, "3 5"));
  // By a coroutine that goes back to its loop.
  const auto returned = run_in_child([] {
    loop_pool pool(1);
    pool.start();
    pool.spawn([] {
          const pid_t child = ::fork();
          if (child == 0) return;
          int status = 0;
          ::waitpid(child, &status, 0);
          std::printf("%d", WIFSIGNALED(status) ? WTERMSIG(status) : 0);
        })
        .join();
  });
  CHECK(contains(returned.output, "its child has returned to the pool's loop"));
  CHECK(contains(returned.output, std::to_string(SIGABRT)));
}

TEST_CASE("std::terminate in a pool that runs names the coroutine", "[no-emulator]") {
  if (EVENTER_TSAN) EVENTER_SKIP(threads_of_child);
  const auto result = run_in_child([] {
    loop_pool pool(1);
    (void)pool.spawn({.name = "culprit"}, [] { throw std::runtime_error("why"); });
    pool.run();
  });
  CHECK(result.signal == SIGABRT);
  CHECK(contains(result.output, "culprit"));
}
