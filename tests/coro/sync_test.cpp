// mutex, semaphore, condition, wait_group, gate, manual_reset_event and once: within one loop, and their twins between
// loops and threads. What a test's coroutines share is on the test's own stack, which no loop copies.
#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "../captured_log.hpp"
#include "../catch.hpp"
#include "../child.hpp"
#include "../foreign_coroutines.hpp"
#include "../virtual_run.hpp"
#include "eventer/eventer.hpp"

using namespace std::chrono_literals;

namespace {

struct one_loop {
  using mutex = eventer::mutex;
  using condition = eventer::condition;
  using semaphore = eventer::semaphore;
  using event = eventer::manual_reset_event;
  using wait_group = eventer::wait_group;
  using gate = eventer::gate;
  using once = eventer::once;
};
struct any_thread {
  using mutex = eventer::shared_mutex_handle;
  using condition = eventer::shared_condition;
  using semaphore = eventer::shared_semaphore;
  using event = eventer::shared_event;
  using wait_group = eventer::shared_wait_group;
  using gate = eventer::shared_gate;
  using once = eventer::shared_once;
};

#define SYNC_TEST(name) TEMPLATE_TEST_CASE(name, "[sync]", one_loop, any_thread)

// Sanitizers give each coroutine a stack of its own.
constexpr std::size_t many = EVENTER_TSAN ? 2'000 : EVENTER_ASAN ? 5'000 : 100'000;

}  // namespace

SYNC_TEST(
    "a mutex keeps coroutines out that wait while one holds it, and they have it in the order in which they came") {
  typename TestType::mutex m;
  std::string order;
  int inside = 0;
  run_virtually([&] {
    eventer::task_group all;
    for (char name = 'a'; name <= 'e'; ++name)
      all.spawn([&, m, name]() mutable {
        for (int i = 0; i < 2; ++i) {
          const std::lock_guard held(m);
          CHECK(++inside == 1);
          order += name;
          eventer::sleep_for(1ms);
          --inside;
        }
      });
    all.join();
  });
  CHECK(order == "abcdeabcde");
}

SYNC_TEST("unlocking hands the mutex over: nobody who comes later gets between") {
  typename TestType::mutex m;
  std::string order;
  run_virtually([&] {
    m.lock();
    auto waits = eventer::spawn([&, m]() mutable {
      const std::lock_guard held(m);
      order += "waited ";
    });
    eventer::yield();
    m.unlock();
    CHECK_FALSE(m.try_lock());
    order += "unlocked ";
    waits.join();
    CHECK(m.try_lock());
    m.unlock();
  });
  CHECK(order == "unlocked waited ");
}

SYNC_TEST("try_lock_for gives up at its limit, and whoever stands behind goes on") {
  typename TestType::mutex m;
  run_virtually([&] {
    m.lock();
    auto tired = eventer::spawn([m]() mutable { return m.try_lock_for(1ms); });
    auto patient = eventer::spawn([m]() mutable {
      const bool locked = m.try_lock_for(1h);
      if (locked) m.unlock();
      return locked;
    });
    CHECK_FALSE(tired.join());
    m.unlock();
    CHECK(patient.join());
    CHECK(m.try_lock_for(0s));
    m.unlock();
  });
}

SYNC_TEST("taking a lock is no cancellation point, and no deadline ends it") {
  typename TestType::mutex m;
  std::string order;
  run_virtually([&] {
    m.lock();
    auto waits = eventer::spawn([&, m]() mutable {
      const eventer::deadline_scope soon(1ms);
      const std::lock_guard held(m);
      order += "locked ";
      eventer::yield();
      order += "went on";
    });
    eventer::yield();
    waits.cancel();
    eventer::sleep_for(10ms);
    CHECK(order.empty());
    m.unlock();
    CHECK(waits.try_join().error() == std::errc::operation_canceled);
    CHECK(m.try_lock());
    m.unlock();
  });
  CHECK(order == "locked ");
}

SYNC_TEST("locking twice in one coroutine is an error, not a hang") {
  typename TestType::mutex m;
  eventer::run([&] {
    const std::lock_guard held(m);
    try {
      m.lock();
      FAIL("locked twice");
    } catch (const std::system_error& error) {
      CHECK(error.code() == std::errc::resource_deadlock_would_occur);
    }
  });
}

SYNC_TEST("a loop that ends while coroutines wait for locks unwinds them, also those that wait for each other") {
  typename TestType::mutex first, second;
  int unwound = 0;
  struct count_at_end {
    int& count;
    ~count_at_end() { ++count; }
  };
  eventer::run([&] {
    const auto take_both = [&](typename TestType::mutex one, typename TestType::mutex other) {
      eventer::spawn([&unwound, one, other]() mutable {
        const count_at_end counted{unwound};
        const std::lock_guard held(one);
        eventer::yield();
        const std::lock_guard too(other);
      });
    };
    take_both(first, second);
    take_both(second, first);
    for (int i = 0; i < 3; ++i)
      eventer::spawn([&, first]() mutable {
        const count_at_end counted{unwound};
        const std::lock_guard held(first);
        eventer::sleep_for(1h);
      });
    for (int i = 0; i < 3; ++i) eventer::yield();
  });
  CHECK(unwound == 5);
}

TEST_CASE("unlocking what is not locked, or what another coroutine holds, is refused with a sentence") {
  const auto unlocked = run_in_child([] {
    eventer::mutex m;
    m.unlock();
  });
  CHECK(unlocked.signal == SIGABRT);
  CHECK(contains(unlocked.output, "a mutex is unlocked that is not locked"));
  const auto foreign = run_in_child([] {
    eventer::run([] {
      eventer::mutex m;
      auto holds = eventer::spawn([m]() mutable {
        m.lock();
        eventer::sleep_for(1h);
      });
      eventer::yield();
      m.unlock();
    });
  });
  CHECK(foreign.signal == SIGABRT);
  CHECK(contains(foreign.output, "by another coroutine or thread than the one that holds it"));
}

#if !defined(NDEBUG)
TEST_CASE("what belongs to one loop is refused with a sentence on another thread") {
#if EVENTER_TSAN
  EVENTER_SKIP("ThreadSanitizer does not allow threads after a fork of a process with threads");
#else
  const auto result = run_in_child([] {
    eventer::semaphore s(1);
    s.acquire();
    std::thread([s]() mutable { s.release(); }).join();
  });
  CHECK(result.signal == SIGABRT);
  CHECK(contains(result.output, "use its twin with the prefix shared_"));
#endif
}
#endif

TEST_CASE("what belongs to one loop goes with it to the thread that ends it") {
  auto loop = std::make_unique<eventer::event_loop>();
  const auto given_back = std::make_shared<bool>(false);
  (void)loop->spawn([given_back] {
    eventer::semaphore s(1);
    s.acquire();
    try {
      eventer::sleep_for(1000s);
    } catch (const eventer::cancelled&) {
      s.release();
      *given_back = true;
      throw;
    }
  });
  std::thread([&loop] { loop->poll(); }).join();
  loop.reset();
  CHECK(*given_back);
}

TEST_CASE("waiting in a callback, or on a thread without the loop, is refused with a sentence") {
  const auto callback = run_in_child([] {
    eventer::event_loop loop;
    loop.post([] { eventer::semaphore(0).acquire(); });
    loop.run();
  });
  CHECK(callback.signal == SIGABRT);
  CHECK(contains(callback.output, "would block its loop"));
  const auto thread = run_in_child([] { eventer::semaphore(0).acquire(); });
  CHECK(thread.signal == SIGABRT);
  CHECK(contains(thread.output, "use the twin with the prefix shared_"));
}

SYNC_TEST("a semaphore serves first who came first, also one who wants several units") {
  typename TestType::semaphore s(3);
  std::string order;
  run_virtually([&] {
    s.acquire(2);
    eventer::task_group all;
    for (const auto& [name, units] : {std::pair{'b', 2u}, {'c', 1u}, {'d', 3u}})
      all.spawn([&, s, name = name, units = units]() mutable {
        s.acquire(units);
        order += name;
        s.release(units);
      });
    eventer::sleep_for(1ms);
    CHECK(order.empty());  // c could have had the unit that is free, but b came first
    CHECK_FALSE(s.try_acquire());
    s.release(1);
    all.spawn([s]() mutable { s.release(); });
    all.join();
    CHECK(s.available() == 3);
  });
  CHECK(order == "bcd");
}

SYNC_TEST("who gives up on a semaphore takes nothing, and lets those behind him through") {
  typename TestType::semaphore s(1);
  std::string order;
  run_virtually([&] {
    auto large = eventer::spawn([s]() mutable { return s.acquire_for(1ms, 5); });
    auto cancelled = eventer::spawn([s]() mutable { s.acquire(5); });
    auto small = eventer::spawn([&, s]() mutable {
      s.acquire();
      order += 's';
    });
    CHECK(large.join().error() == std::errc::timed_out);
    eventer::yield();
    CHECK(order.empty());
    cancelled.cancel();
    CHECK(cancelled.try_join().error() == std::errc::operation_canceled);
    small.join();
    CHECK(order == "s");
    CHECK(s.available() == 0);
    {
      const eventer::deadline_scope soon(1ms);
      CHECK_THROWS_AS(s.acquire(), std::system_error);
    }
    auto first = eventer::when_any(eventer::after(1ms), s.async_acquire());
    CHECK(first.index == 0);
    s.release();
    CHECK(s.available() == 1);
  });
}

SYNC_TEST("a unit that came for one who has lost a when_any goes to the next") {
  typename TestType::semaphore s(0), other(0);
  run_virtually([&] {
    eventer::spawn([s, other]() mutable {  // both are ready before the other side runs
      eventer::sleep_for(1ms);
      other.release();
      s.release();
    });
    const auto first = eventer::when_any(s.async_acquire(), other.async_acquire());
    CHECK(s.available() + other.available() == 1);
    CHECK(first.index <= 1);
  });
}

SYNC_TEST("an event lets all go on that wait, and nobody waits until it is reset") {
  typename TestType::event e;
  int through = 0;
  run_virtually([&] {
    eventer::task_group all;
    for (int i = 0; i < 10; ++i)
      all.spawn([&, e]() mutable {
        e.wait();
        ++through;
      });
    CHECK(e.wait(1ms).error() == std::errc::timed_out);
    CHECK(through == 0);
    e.set();
    all.join();
    CHECK(through == 10);
    e.wait();
    CHECK(eventer::await(e.async_wait()).has_value());
    e.reset();
    CHECK_FALSE(e.is_set());
    CHECK(e.wait(0s).error() == std::errc::timed_out);
  });
}

SYNC_TEST("a wait_group is waited for until as many are done as were added") {
  typename TestType::wait_group group;
  int done = 0;
  run_virtually([&] {
    group.wait();  // nothing was added
    for (int i = 1; i <= 5; ++i) {
      group.add();
      eventer::spawn([&, group, i]() mutable {
        eventer::sleep_for(std::chrono::milliseconds(i));
        ++done;
        group.done();
      });
    }
    CHECK(group.wait(3ms).error() == std::errc::timed_out);
    group.wait();
    CHECK(done == 5);
  });
}

TEST_CASE("a wait_group that is done too often, and a gate that is left too often, are refused with a sentence") {
  const auto group = run_in_child([] { eventer::wait_group().done(); });
  CHECK(contains(group.output, "more often than was added"));
  const auto gate = run_in_child([] { eventer::gate().leave(); });
  CHECK(contains(gate.output, "leave() without enter()"));
}

SYNC_TEST("a gate that is closed lets nobody in and waits for those inside") {
  typename TestType::gate g;
  std::string order;
  run_virtually([&] {
    eventer::task_group all;
    for (int i = 1; i <= 3; ++i)
      all.spawn([&, g, i]() mutable {
        const auto inside = g.hold();
        CHECK(inside.has_value());
        eventer::sleep_for(std::chrono::milliseconds(i));
        order += 'l';
      });
    eventer::yield();
    CHECK(g.inside() == 3);
    CHECK(g.close(1500us).error() == std::errc::timed_out);
    CHECK(g.hold().error() == eventer::errc::closed);
    g.close();
    order += 'c';
    CHECK(g.is_closed());
    all.join();
  });
  CHECK(order == "lllc");
}

SYNC_TEST("a condition's waiters go on in their order, each with the mutex to itself") {
  typename TestType::mutex m;
  typename TestType::condition changed;
  std::string order;
  int inside = 0;
  run_virtually([&] {
    eventer::task_group all;
    for (char name = 'a'; name <= 'd'; ++name)
      all.spawn([&, m, changed, name]() mutable {
        std::unique_lock held(m);
        changed.wait(held);
        CHECK(held.owns_lock());
        CHECK(++inside == 1);
        eventer::sleep_for(1ms);
        order += name;
        --inside;
      });
    eventer::yield();
    changed.notify_one();
    eventer::sleep_for(5ms);
    CHECK(order == "a");
    {
      const std::lock_guard held(m);
      changed.notify_all();
      eventer::sleep_for(5ms);
      CHECK(order == "a");
    }
    all.join();
    changed.notify_all();  // nobody is there
  });
  CHECK(order == "abcd");
}

SYNC_TEST("a wait for a condition that ends otherwise has the mutex again") {
  typename TestType::mutex m;
  typename TestType::condition changed;
  std::string order;
  run_virtually([&] {
    std::unique_lock held(m);
    CHECK(changed.wait(held, 1ms).error() == std::errc::timed_out);
    CHECK(held.owns_lock());
    CHECK_FALSE(changed.wait(held, 1ms, [] { return false; }));
    CHECK(changed.wait(held, 1ms, [] { return true; }));
    held.unlock();

    auto cancelled = eventer::spawn([&, m, changed]() mutable {
      std::unique_lock mine(m);
      try {
        changed.wait(mine);
      } catch (const eventer::cancelled&) {
        order += mine.owns_lock() ? "cancelled with the mutex " : "cancelled without ";
        throw;
      }
    });
    eventer::yield();
    held.lock();
    cancelled.cancel();
    eventer::sleep_for(1ms);
    order += "still held ";
    held.unlock();
    CHECK(cancelled.try_join().error() == std::errc::operation_canceled);
    CHECK(m.try_lock());
    m.unlock();
  });
  CHECK(order == "still held cancelled with the mutex ");
}

SYNC_TEST("a notification is not lost where the waiter's time is over before it gets the mutex") {
  typename TestType::mutex m;
  typename TestType::condition changed;
  run_virtually([&] {
    auto waits = eventer::spawn([m, changed]() mutable {
      std::unique_lock held(m);
      return changed.wait(held, 5ms);
    });
    eventer::yield();
    m.lock();
    changed.notify_one();
    eventer::sleep_for(10ms);
    m.unlock();
    CHECK(waits.join().has_value());
  });
}

TEST_CASE("two mutexes at one condition, and a mutex that is not locked, are refused with a sentence") {
  const auto two = run_in_child([] {
    eventer::run([] {
      eventer::mutex one, other;
      eventer::condition changed;
      eventer::spawn([=]() mutable {
        std::unique_lock held(one);
        changed.wait(held);
      });
      eventer::yield();
      std::unique_lock held(other);
      changed.wait(held);
    });
  });
  CHECK(contains(two.output, "two mutexes at the same time"));
  const auto unlocked = run_in_child([] {
    eventer::mutex m;
    std::unique_lock held(m, std::defer_lock);
    eventer::condition().wait(held);
  });
  CHECK(contains(unlocked.output, "without its mutex being locked"));
}

SYNC_TEST("once: one does it, the others wait for that; after a failure the next one tries") {
  typename TestType::once first_time;
  std::string order;
  run_virtually([&] {
    std::vector<eventer::join_handle<void>> all;
    for (int i = 0; i < 4; ++i)
      all.push_back(eventer::spawn([&, first_time, i]() mutable {
        first_time.call([&order, i] {
          order += std::to_string(i);
          eventer::sleep_for(1ms);
          if (i < 2) throw std::runtime_error("fails");
        });
        order += "d";
      }));
    CHECK_THROWS_WITH(all[0].join(), "fails");
    CHECK_THROWS_WITH(all[1].join(), "fails");
    all[2].join();
    all[3].join();
    CHECK(first_time.done());
    first_time.call([&order] { order += "again"; });
  });
  CHECK(order == "012dd");
}

SYNC_TEST(
    "once: who is cancelled while he waits is not waited for, and who is cancelled while he does it lets the next") {
  typename TestType::once first_time;
  std::string order;
  run_virtually([&] {
    const auto start = [&](char name) {
      return eventer::spawn([&order, first_time, name]() mutable {
        first_time.call([&order, name] {
          order += name;
          eventer::sleep_for(1h);
        });
      });
    };
    auto does = start('a'), waits = start('b'), next = start('c');
    eventer::yield();
    waits.cancel();
    CHECK(waits.try_join().error() == std::errc::operation_canceled);
    does.cancel();
    CHECK(does.try_join().error() == std::errc::operation_canceled);
    next.join();
    CHECK(first_time.call(0s, [] {}).has_value());
  });
  CHECK(order == "ac");
}

SYNC_TEST("in C++20 coroutines of any type co_await waits for all of them") {
  typename TestType::mutex m;
  typename TestType::semaphore s(0);
  typename TestType::event e;
  typename TestType::wait_group group;
  typename TestType::gate g;
  std::string order;
  run_virtually([&] {
    m.lock();
    group.add();
    CHECK(g.enter().has_value());
    eventer::event_loop::current().post([&] {
      [](auto mtx, auto sem, auto ev, auto wg, auto gt, std::string* out) -> fire_and_forget {
        const auto note = [out](const eventer::io_result<void>& got, const char* good) {
          *out += got ? good : got.error() == std::errc::timed_out ? "timed out" : "?";
        };
        note(co_await mtx.async_lock(), "m");
        mtx.unlock();
        note(co_await sem.async_acquire(2), "s");
        note(co_await ev.async_wait(), "e");
        note(co_await wg.async_wait(), "w");
        note(co_await gt.async_close(), "g");
        note(co_await sem.async_acquire(1, 1ms), "?");
      }(m, s, e, group, g, &order);
    });
    eventer::sleep_for(1ms);
    CHECK(order.empty());
    m.unlock();
    eventer::sleep_for(1ms);
    CHECK(order == "m");
    s.release(2);
    eventer::sleep_for(1ms);
    e.set();
    eventer::sleep_for(1ms);
    group.done();
    eventer::sleep_for(1ms);
    CHECK(order == "msew");
    g.leave();
    eventer::sleep_for(10ms);
  });
  CHECK(order == "msewgtimed out");
}

SYNC_TEST("a C++20 coroutine that is destroyed while it waits is forgotten") {
  typename TestType::semaphore s(0);
  eventer::run([&] {
    {
      const auto waits = std::make_shared<std::optional<by_hand>>();  // not on this stack: a callback fills it
      eventer::event_loop::current().post([&s, waits] {
        waits->emplace([](auto sem) -> by_hand { (void)co_await sem.async_acquire(); }(s));
        (*waits)->handle.resume();
      });
      eventer::sleep_for(1ms);
      s.release();  // it has been granted, but has not gone on
    }
    CHECK(s.available() == 1);
  });
}

TEMPLATE_TEST_CASE("as many waiters as there is memory for do not deepen a stack, and wait in their order",
                   "[sync][shared-stack]", one_loop, any_thread) {
  typename TestType::mutex m;
  typename TestType::event e;
  std::size_t next = 0, in_order = 0;
  eventer::run([&] {
    m.lock();
    for (std::size_t i = 0; i < many; ++i)
      eventer::spawn([&, m, e, i]() mutable {
        e.wait();
        const std::lock_guard held(m);
        in_order += next++ == i;
      });
    eventer::yield();
    e.set();
    eventer::yield();
    m.unlock();
    while (next < many) eventer::yield();
  });
  CHECK(in_order == many);
}

// --- between threads ---

namespace {

// Runs `body(i)` as coroutines of several loops, and on plain threads, at the same time.
template <class F>
void on_loops_and_threads(F body, int loops = 2, int coroutines = 4, int threads = 2) {
  std::vector<std::thread> all;
  for (int i = 0; i < loops; ++i)
    all.emplace_back([=] {
      eventer::run([=] {
        eventer::task_group group;
        for (int k = 0; k < coroutines; ++k) group.spawn(body);
        group.join();
      });
    });
  for (int i = 0; i < threads; ++i) all.emplace_back(body);
  for (auto& each : all) each.join();
}

}  // namespace

TEST_CASE("a shared mutex keeps coroutines of several loops and plain threads out", "[sync][shared]") {
  eventer::shared_mutex_handle m;
  int count = 0, inside = 0, most = 0;
  on_loops_and_threads([m, &count, &inside, &most]() mutable {
    for (int i = 0; i < 300; ++i) {
      const std::lock_guard held(m);
      most = std::max(most, ++inside);
      if (eventer::in_coroutine() && i % 4 == 0) eventer::yield();
      ++count;
      --inside;
    }
  });
  CHECK(count == 10 * 300);
  CHECK(most == 1);
}

TEST_CASE("a shared semaphore never has more units out than there are, with time limits that race", "[sync][shared]") {
  eventer::shared_semaphore s(3);
  std::atomic<int> out{0}, most{0}, had{0};
  on_loops_and_threads([s, &out, &most, &had]() mutable {
    for (int i = 0; i < 200; ++i) {
      if (i % 3 == 0 ? !s.acquire_for(std::chrono::microseconds(i % 50)) : !s.acquire_for(60s)) continue;
      const int now = ++out;
      for (int before = most; now > before && !most.compare_exchange_weak(before, now);) {
      }
      if (eventer::in_coroutine()) eventer::yield();
      ++had;
      --out;
      s.release();
    }
  });
  CHECK(most <= 3);
  CHECK(had >= 10 * 133);
  CHECK(s.available() == 3);
}

TEST_CASE("a shared condition is notified across loops and threads", "[sync][shared]") {
  eventer::shared_mutex_handle m;
  eventer::shared_condition changed;
  int turn = 0;
  std::atomic<int> good{0};
  std::vector<std::thread> all;
  auto play = [m, changed, &turn, &good](int me) mutable {
    for (int i = 0; i < 100; ++i) {
      std::unique_lock held(m);
      changed.wait(held, [&] { return turn % 3 == me; });
      ++turn;
      ++good;
      changed.notify_all();
    }
  };
  all.emplace_back([=]() mutable { play(0); });
  all.emplace_back([=]() mutable { eventer::run([=]() mutable { play(1); }); });
  all.emplace_back([=]() mutable { eventer::run([=]() mutable { play(2); }); });
  for (auto& each : all) each.join();
  CHECK(turn == 300);
  CHECK(good == 300);
}

TEST_CASE("a shared event, wait_group, gate and once hold between loops and threads", "[sync][shared]") {
  eventer::shared_event start;
  eventer::shared_wait_group ready;
  eventer::shared_gate open;
  eventer::shared_once first_time;
  std::atomic<int> begun{0}, done{0}, inside{0};
  ready.add(10);
  std::thread director([=]() mutable {
    ready.wait();
    start.set();
  });
  on_loops_and_threads([=, &begun, &done, &inside]() mutable {
    ready.done();
    start.wait();
    first_time.call([&begun] { ++begun; });
    if (const auto in = open.hold()) {
      ++inside;
      if (eventer::in_coroutine()) eventer::yield();
      --inside;
      ++done;
    }
  });
  director.join();
  open.close();
  CHECK(inside == 0);
  CHECK(begun == 1);
  CHECK(done == 10);
}

TEST_CASE("a plain thread's wait ends at its limit, and what was granted in the last moment counts", "[sync][shared]") {
  eventer::shared_semaphore s(0);
  CHECK(s.acquire_for(1ms).error() == std::errc::timed_out);
  s.release();
  CHECK(s.acquire_for(1ms).has_value());
  eventer::shared_event e;
  CHECK(e.wait(1ms).error() == std::errc::timed_out);
  CHECK(e.wait(0s).error() == std::errc::timed_out);
}

TEST_CASE("a loop that ends takes its coroutines out of what is shared, and the others go on", "[sync][shared]") {
  eventer::shared_semaphore s(0);
  for (int round = 0; round < 50; ++round) {
    std::thread other([s]() mutable {
      eventer::run([s]() mutable {
        for (int i = 0; i < 5; ++i) eventer::spawn([s]() mutable { s.acquire(); });
        eventer::yield();
      });
    });
    s.release();
    s.release();
    other.join();
    // Two units: taken by coroutines that ended with them, or still there.
    while (s.try_acquire()) {
    }
  }
  CHECK(s.available() == 0);
}

TEST_CASE("no line about coroutines that nothing can wake while they wait for what is shared", "[sync][shared]") {
  const captured_log log;
  eventer::shared_event e;
  std::thread other([e]() mutable {
    std::this_thread::sleep_for(20ms);
    e.set();
  });
  eventer::run([e]() mutable { e.wait(); });
  other.join();
  CHECK(log.lines().empty());
}

SYNC_TEST("C++20 coroutines that a stackful one has begun wait for a mutex as strangers do") {
  typename TestType::mutex m;
  std::string order;
  run_virtually([&] {
    const auto use = [](auto mtx, std::string* out, const char* name) -> fire_and_forget {
      const eventer::io_result<void> locked = co_await mtx.async_lock();
      co_await eventer::after(1ms);
      *out += locked ? name : "?";
      if (locked) mtx.unlock();
    };
    use(m, &order, "a");
    use(m, &order, "b");
    eventer::yield();
    m.lock();
    order += "c";
    m.unlock();
  });
  CHECK(order == "abc");
}

#if !defined(NDEBUG)
TEST_CASE("a coroutine that waits while it holds a lock that blocks threads is reported, with the guard's line") {
  const captured_log log;
  std::mutex table, other, around;
  int errors = 0, line = 0;
  const eventer::blocking_lock_guard of_the_thread(around);  // no coroutine's
  eventer::run([&] {
    auto careless = eventer::spawn({.name = "careless"}, [&] {
      line = __LINE__ + 1;
      const eventer::blocking_lock_guard held(table);
      { const eventer::blocking_lock_guard inner(other); }
      errno = EDOM;
      eventer::yield();
      errors += errno != EDOM;
      eventer::yield();
    });
    eventer::spawn({.name = "innocent"}, [] { eventer::yield(); }).join();
    careless.join();
    { const eventer::blocking_lock_guard held(table); }
    eventer::yield();
  });
  CHECK(errors == 0);
  CHECK(table.try_lock());
  table.unlock();
  CHECK(log.count("coroutine \"careless\" suspends with a lock held that blocks threads (blocking_lock_guard at ") ==
        1);
  CHECK(log.count("sync_test.cpp:" + std::to_string(line)) == 1);
  CHECK(log.count("suspends with a lock") == 1);
}
#endif
