// What ends in a message: broken rules, a stack overflow, an exception that nobody can receive.
#include <array>
#include <cfenv>
#include <stdexcept>
#include <string>
#include <vector>

#include "../captured_log.hpp"
#include "../catch.hpp"
#include "../child.hpp"
#include "eventer/eventer.hpp"

using namespace std::chrono_literals;

namespace {

[[maybe_unused]] int overflow(int depth) {
  volatile char frame[512];
  frame[0] = static_cast<char>(depth);
  return depth > 100'000'000 ? frame[0] : overflow(depth + 1) + frame[0];
}

}  // namespace

TEST_CASE("a stack overflow ends in a message with the coroutine's name") {
#if EVENTER_ASAN || EVENTER_TSAN
  EVENTER_SKIP("the sanitizer reports it in its own way");
#else
  for (const auto kind : {eventer::stack_kind::shared, eventer::stack_kind::own}) {
    const auto result = run_in_child([kind] {
      eventer::run(
          [kind] { eventer::spawn({.name = "deep diver", .stack = kind}, [] { return overflow(0); }).join(); });
    });
    CHECK((result.signal == SIGSEGV || result.signal == SIGBUS));
    CHECK(contains(result.output, "stack overflow in coroutine \"deep diver\""));
  }
#endif
}

TEST_CASE("waiting in a callback is refused with a sentence") {
  const auto result = run_in_child([] {
    eventer::event_loop loop;
    loop.post([] { eventer::sleep_for(1ms); });
    loop.run();
  });
  CHECK(result.signal == SIGABRT);
  CHECK(contains(result.output, "callback would block its loop"));
}

TEST_CASE("spawning without a loop is refused with a sentence") {
  const auto result = run_in_child([] { (void)eventer::spawn([] {}); });
  CHECK(result.signal == SIGABRT);
  CHECK(contains(result.output, "without a running loop"));
}

TEST_CASE("an exception that nobody can receive names the coroutine and what it says") {
  const auto detached = run_in_child([] {
    eventer::run([] {
      (void)eventer::spawn({.name = "careless"}, [] { throw std::runtime_error("nobody hears this"); });
      eventer::sleep_for(1s);
    });
  });
  CHECK(detached.signal == SIGABRT);
  CHECK(contains(detached.output, "careless"));
  CHECK(contains(detached.output, "nobody hears this"));
  const auto dropped_later = run_in_child([] {
    eventer::run([] {
      {
        auto handle = eventer::spawn({.name = "late"}, [] {
          eventer::sleep_for(2ms);
          throw std::runtime_error("too late");
        });
        eventer::yield();
      }
      eventer::sleep_for(1s);
    });
  });
  CHECK(dropped_later.signal == SIGABRT);
  CHECK(contains(dropped_later.output, "late"));
  CHECK(contains(dropped_later.output, "too late"));
}

TEST_CASE("a handler for exceptions that nobody joins gets them") {
  static std::string heard;
  heard.clear();
  eventer::event_loop loop({.unhandled_exception = [](const char* coroutine, std::exception_ptr exception) {
    try {
      std::rethrow_exception(exception);
    } catch (const std::exception& failure) {
      heard = std::string(coroutine) + ": " + failure.what();
    }
  }});
  loop.post([] { (void)eventer::spawn({.name = "noisy"}, [] { throw std::runtime_error("boom"); }); });
  loop.run();
  CHECK(heard == "noisy: boom");
}

TEST_CASE("an exception whose handle is dropped afterwards goes to the handler too, or into the log") {
  static std::string heard;
  heard.clear();
  const auto drops_one = [] {
    auto failed = eventer::spawn({.name = "late"}, [] { throw std::runtime_error("too late"); });
    eventer::yield();
  };
  {
    const captured_log log;
    eventer::run(drops_one);
    CHECK(log.count("an exception left coroutine \"late\", whose handle was dropped without joining it: too late") ==
          1);
  }
  {
    const captured_log log;
    eventer::run(drops_one,
                 {.unhandled_exception = [](const char* coroutine, std::exception_ptr) { heard += coroutine; }});
    CHECK(log.lines().empty());
  }
  CHECK(heard == "late");
  {
    const captured_log log;  // of a loop that is gone, and from another thread
    eventer::join_handle<void> outlives;
    {
      eventer::event_loop loop;
      loop.post([&outlives] { outlives = eventer::spawn([] { throw std::runtime_error("outlived"); }); });
      auto remote = loop.spawn([] { throw std::runtime_error("far"); });
      loop.run();
    }
    outlives = {};
    CHECK(log.count("whose handle was dropped without joining it: outlived") == 1);
    CHECK(log.count("whose handle was dropped without joining it: far") == 1);
    CHECK(log.lines().size() == 2);
  }
}

TEST_CASE("a handler for exceptions may spawn coroutines of many kinds") {
  static int ran;
  ran = 0;
  eventer::event_loop loop({.unhandled_exception = [](const char*, std::exception_ptr) {
    static std::vector<std::string> names;
    for (int i = 0; i < 100; ++i) names.push_back("kind " + std::to_string(i));
    for (const std::string& each : names) (void)eventer::spawn({.name = each.c_str()}, [] { ++ran; });
  }});
  loop.post([] { (void)eventer::spawn([] { throw std::runtime_error("boom"); }); });
  loop.run();
  CHECK(ran == 100);
}

TEST_CASE("what a posted function throws leaves run, and the loop stays usable") {
  eventer::event_loop loop;
  int after = 0;
  loop.post([] { throw std::runtime_error("posted"); });
  loop.post([&after] { ++after; });
  CHECK_THROWS_WITH(loop.run(), "posted");
  loop.run();
  CHECK(after == 1);
}

TEST_CASE("resuming a bare coroutine on a shared stack is refused with a sentence") {
  if (eventer::context::prefers_private_stacks()) EVENTER_SKIP("here every coroutine has a stack of its own");
  const auto result = run_in_child([] {
    eventer::shared_stack stack;
    eventer::run([&stack] {
      eventer::coroutine inner(stack, [] {});
      inner.resume();
    });
  });
  CHECK(result.signal == SIGABRT);
  CHECK(contains(result.output, "on a shared stack"));
}

TEST_CASE("a bare coroutine may be resumed on an own stack") {
  int seen = 0;
  eventer::run([&seen] {
    auto* const count = &seen;
    eventer::spawn({.stack = eventer::stack_kind::own}, [count] {
      eventer::shared_stack stack;
      eventer::coroutine inner(stack, [count] {
        ++*count;
        eventer::coroutine::suspend();
        ++*count;
      });
      inner.resume();
      inner.resume();
    }).join();
  });
  CHECK(seen == 2);
}

TEST_CASE("an await in a bare coroutine is refused with a sentence") {
  const auto result = run_in_child([] {
    eventer::run([] {
      eventer::spawn({.stack = eventer::stack_kind::own}, [] {
        eventer::coroutine inner(eventer::own_stack{}, [] { eventer::yield(); });
        inner.resume();
      }).join();
    });
  });
  CHECK(result.signal == SIGABRT);
  CHECK(contains(result.output, "outside a coroutine"));
}

TEST_CASE("own_fp_environment keeps the rounding mode with the coroutine") {
  eventer::run([] {
    auto upward = eventer::spawn({.own_fp_environment = true}, [] {
      std::fesetround(FE_UPWARD);
      eventer::yield();
      const int mine = std::fegetround();
      return mine == FE_UPWARD;
    });
    eventer::yield();
    CHECK(std::fegetround() == FE_TONEAREST);
    CHECK(upward.join());
    CHECK(std::fegetround() == FE_TONEAREST);
  });
}

#if !defined(NDEBUG)
TEST_CASE("a debug build reports a coroutine that suspends with a changed floating-point environment") {
  const auto result = run_in_child([] {
    eventer::run([] {
      eventer::spawn({.name = "rounder"}, [] {
        std::fesetround(FE_DOWNWARD);
        eventer::yield();
      }).join();
    });
  });
  CHECK(contains(result.output, "rounder"));
  CHECK(contains(result.output, "own_fp_environment"));
}
#endif

namespace {
int map_failures = 0;
int fail_mapping(eventer::syscalls::call which) {
  if (which != eventer::syscalls::call::mmap) return 0;
  ++map_failures;
  return ENOMEM;
}
}  // namespace

TEST_CASE("out of memory while saving a stack runs others first, then says so", "[shared-stack]") {
  if (eventer::context::prefers_private_stacks()) EVENTER_SKIP("private stacks are never saved");
  const auto result = run_in_child([] {
    eventer::event_loop loop({.shared_stacks = 1, .out_of_memory = [] {
                                std::printf("the program's handler: %d mappings refused\n", map_failures);
                                std::fflush(stdout);
                                ::_exit(3);
                              }});
    (void)loop.spawn([] {
      eventer::syscalls::fault_hook = fail_mapping;
      (void)eventer::spawn([] {
        std::array<char, 30000> large{};
        asm volatile("" : : "r"(large.data()) : "memory");
        eventer::yield();
        asm volatile("" : : "r"(large.data()) : "memory");
      });
      std::array<char, 30000> large{};
      asm volatile("" : : "r"(large.data()) : "memory");
      eventer::sleep_for(1h);
      asm volatile("" : : "r"(large.data()) : "memory");
    });
    loop.run();
  });
  CHECK(result.exit_status == 3);
  CHECK(contains(result.output, "the program's handler"));
}
