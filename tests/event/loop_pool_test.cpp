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
#include "../faults.hpp"
#include "eventer/eventer.hpp"

using namespace std::chrono_literals;
using eventer::event_loop;
using eventer::loop_pool;

namespace {

constexpr const char* fibers = "ThreadSanitizer does not know fibers in a forked child";

const void* this_thread() { return eventer::scheduler::this_thread(); }

// What the system calls of one thread answer: the call number `at` fails.
thread_local int calls_to_failure = -1;
template <eventer::system::call Which, int Error>
int fail_once(eventer::system::call which) {
  if (which != Which || calls_to_failure < 0) return 0;
  return calls_to_failure-- == 0 ? Error : 0;
}
struct failing_threads {
  explicit failing_threads(int at) {
    calls_to_failure = at;
    eventer::system::fault_hook = &fail_once<eventer::system::call::pthread_create, EAGAIN>;
  }
  failing_threads(const failing_threads&) = delete;
  failing_threads& operator=(const failing_threads&) = delete;
  ~failing_threads() { eventer::system::fault_hook = nullptr; }
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
    cpu_set_t now, one;
    if (::sched_getaffinity(0, sizeof now, &now) != 0) return;
    std::size_t first = 0;
    while (!CPU_ISSET(first, &now)) ++first;
    CPU_ZERO(&one);
    CPU_SET(first, &one);
    if (::sched_setaffinity(0, sizeof one, &one) != 0) return;
    std::printf("%u", loop_pool().size());
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
      eventer::system::fault_hook = &fail_once<eventer::system::call::epoll_wait, EBADF>;
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
