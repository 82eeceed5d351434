// task<T> and co_await: C++20 coroutines of our own and of any other promise type beside stackful ones.
#include <array>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "catch.hpp"
#include "child.hpp"
#include "eventer/eventer.hpp"
#include "foreign_coroutines.hpp"

using namespace std::chrono_literals;
using eventer::task;

namespace {

task<int> value_of(int number) { co_return number; }
task<int> sum(int a, int b) { co_return co_await value_of(a) + co_await value_of(b); }
task<> fails() {
  co_await eventer::after(0ms);
  throw std::runtime_error("from a task");
}
[[maybe_unused]] task<int> deep(int levels) {
  if (levels == 0) co_return 0;  // g++ 12 evaluates a co_await in an untaken branch of ?:
  co_return 1 + co_await deep(levels - 1);
}

}  // namespace

TEST_CASE("a task is awaited by a stackful coroutine, a plain thread, a task and a foreign coroutine", "[task]") {
  CHECK(eventer::await(sum(1, 2)) == 3);
  eventer::run([] {
    CHECK(eventer::await(sum(3, 4)) == 7);
    int seen = 0;
    [](int* out) -> fire_and_forget { *out = co_await sum(5, 6); }(&seen);
    CHECK(seen == 11);
  });
}

TEST_CASE("co_await of the library's operations waits, in each kind of coroutine", "[task]") {
  eventer::run([] {
    auto [near, far] = eventer::unix_stream::pair().value();
    auto reader = eventer::spawn(
        [](eventer::unix_stream from) -> task<std::string> {
          std::array<char, 16> bytes;
          const auto got = co_await from.async_read_some(bytes);
          co_return std::string(bytes.data(), got.value_or(0u));
        },
        std::move(far));
    eventer::yield();
    REQUIRE(near.write_all("hello"));
    CHECK(reader.join() == "hello");

    auto [left, right] = eventer::unix_stream::pair().value();
    struct state {
      std::string text;
      eventer::unix_stream from;
    };
    const auto shared = std::make_shared<state>();
    shared->from = std::move(right);
    [](std::shared_ptr<state> s) -> fire_and_forget {
      std::array<char, 16> bytes;
      for (;;) {
        const auto got = co_await s->from.async_read_some(bytes);
        if (!got) break;
        s->text.append(bytes.data(), *got);
      }
      s->text += "|end";
    }(shared);
    REQUIRE(left.write_all("one"));
    eventer::sleep_for(0ms);
    REQUIRE(left.write_all("two"));
    left.close();
    while (!contains(shared->text, "end")) eventer::sleep_for(1ms);
    CHECK(shared->text == "onetwo|end");
  });
}

TEST_CASE("exceptions leave a task through the await, on every level", "[task]") {
  eventer::run([] {
    CHECK_THROWS_WITH(eventer::await(fails()), "from a task");
    CHECK_THROWS_WITH(eventer::spawn(fails()).join(), "from a task");
    CHECK_THROWS_WITH(eventer::await([]() -> task<> { co_await fails(); }()), "from a task");
  });
}

TEST_CASE("a chain of 100,000 tasks does not deepen the stack on its way down", "[task]") {
  // On the way back each final_suspend goes to the next by symmetric transfer, which -O0 and sanitizers turn into
  // calls.
#if defined(__OPTIMIZE__) && !EVENTER_ASAN && !EVENTER_TSAN
  eventer::run([] { CHECK(eventer::await(deep(100'000)) == 100'000); });
#else
  EVENTER_SKIP("symmetric transfer needs an optimised build without sanitizers");
#endif
}

TEST_CASE("a spawned task is cancelled like any coroutine", "[task]") {
  eventer::run([] {
    struct guard {
      bool* flag;
      ~guard() { *flag = true; }
    };
    const auto unwound = std::make_shared<bool>(false);
    auto handle = eventer::spawn(
        [](std::shared_ptr<bool> flag) -> task<> {
          const guard g{flag.get()};
          co_await eventer::after(1h);
        },
        unwound);
    eventer::yield();
    handle.cancel();
    CHECK_THROWS_AS(handle.join(), std::system_error);
    CHECK(*unwound);
  });
}

TEST_CASE("a task that never runs destroys its arguments", "[task]") {
  const auto token = std::make_shared<int>(1);
  {
    auto unused = [](std::shared_ptr<int> t) -> task<int> { co_return *t; }(token);
  }
  CHECK(token.use_count() == 1);
}

TEST_CASE("a capturing lambda that is a coroutine lives until its task has ended", "[task]") {
  eventer::run([] {
    const auto token = std::make_shared<int>(42);
    auto handle = eventer::spawn([token]() -> task<int> {
      co_await eventer::after(1ms);
      co_return *token;
    });
    CHECK(handle.join() == 42);
    CHECK(token.use_count() == 1);
  });
}

TEST_CASE("blocking calls and this_coroutine work inside a task that has a host", "[task]") {
  eventer::run([] {
    auto handle = eventer::spawn({.name = "hosted"}, []() -> task<std::string> {
      eventer::sleep_for(1ms);
      const eventer::deadline_scope all(5ms);
      co_await eventer::after(1h);
      co_return std::string(eventer::this_coroutine::name()) + (all.expired() ? " expired" : " early");
    });
    CHECK(handle.join() == "hosted expired");
  });
}

TEST_CASE("a foreign awaitable is awaited by a stackful coroutine and a task, and resumed on another thread",
          "[task]") {
  eventer::run([] {
    const auto thread = std::this_thread::get_id();
    CHECK(eventer::await(resumed_elsewhere{7}) == 7);
    CHECK(std::this_thread::get_id() == thread);
    CHECK(eventer::await([]() -> task<int> { co_return co_await resumed_elsewhere{8}; }()) == 8);
    CHECK(std::this_thread::get_id() == thread);
  });
  CHECK(eventer::await(resumed_elsewhere{9}) == 9);
}

TEST_CASE("spawn from another thread runs a task", "[task]") {
  eventer::event_loop loop;
  std::thread runner([&] {
    const eventer::work_guard guard(loop);
    loop.run();
  });
  CHECK(loop.spawn(sum(1, 1)).join() == 2);
  CHECK(loop.spawn([] { return sum(2, 2); }).join() == 4);
  loop.stop();
  runner.join();
}
