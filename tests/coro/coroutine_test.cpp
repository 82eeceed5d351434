// coroutine: the stackful coroutine without a loop.
#include "eventer/coro/coroutine.hpp"

#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "../catch.hpp"

using eventer::coroutine;
using eventer::own_stack;
using eventer::shared_stack;

namespace {

template <std::size_t Bytes>
__attribute__((noinline)) void suspend_deep() {
  char deep[Bytes];
  asm volatile("" : : "r"(deep) : "memory");
  coroutine::suspend();
  asm volatile("" : : "r"(deep) : "memory");
}

}  // namespace

TEST_CASE("a coroutine runs until it suspends, and goes on where it was") {
  shared_stack stack;
  std::vector<int> seen;
  coroutine c(stack, [&] {
    seen.push_back(1);
    coroutine::suspend();
    seen.push_back(2);
    coroutine::suspend();
    seen.push_back(3);
  });
  CHECK(seen.empty());
  c.resume();
  CHECK(seen == std::vector{1});
  CHECK_FALSE(c.done());
  CHECK(c.stack_bytes() > 0);
  c.resume();
  c.resume();
  CHECK(seen == std::vector{1, 2, 3});
  CHECK(c.done());
}

TEST_CASE("locals survive while others use the stack") {
  shared_stack stack;
  constexpr int count = 50;
  std::vector<coroutine> all;
  int good = 0;
  for (int i = 0; i < count; ++i)
    all.emplace_back(stack, [i, &good] {
      char block[300];
      std::memset(block, i, sizeof block);
      for (int round = 0; round < 5; ++round) coroutine::suspend();
      good += block[0] == i && std::memcmp(block, block + 1, sizeof block - 1) == 0;
    });
  for (int round = 0; round < 6; ++round)
    for (auto& each : all) each.resume();
  CHECK(good == count);
  CHECK(all[3].copies() >= 5);
  CHECK(stack.stats().swaps >= count);
}

TEST_CASE("the occupant of a stack is not copied for its own resume") {
  shared_stack stack;
  coroutine c(stack, [] {
    for (;;) coroutine::suspend();
  });
  for (int i = 0; i < 100; ++i) c.resume();
  CHECK(c.copies() == 0);
  CHECK(stack.stats().swaps == 1);  // its coming in
  CHECK(stack.stats().bytes_copied == 0);
}

TEST_CASE("an own stack is never copied") {
  coroutine a(own_stack{}, [] {
    for (;;) coroutine::suspend();
  });
  coroutine b(own_stack{64 << 10}, [] {
    for (;;) coroutine::suspend();
  });
  for (int i = 0; i < 10; ++i) a.resume(), b.resume();
  CHECK(a.copies() == 0);
  CHECK(b.copies() == 0);
}

TEST_CASE("what a coroutine throws comes out of resume") {
  shared_stack stack;
  coroutine c(stack, [] { throw std::runtime_error("from inside"); });
  CHECK_THROWS_WITH(c.resume(), "from inside");
  CHECK(c.done());
}

TEST_CASE("destroying a suspended coroutine runs its destructors, also when its bytes are elsewhere") {
  shared_stack stack;
  int destroyed = 0;
  struct counted {
    int* count;
    ~counted() { ++*count; }
  };
  {
    coroutine a(stack, [&] {
      const counted local{&destroyed};
      coroutine::suspend();
    });
    coroutine b(stack, [&] {
      const counted local{&destroyed};
      coroutine::suspend();
    });
    a.resume();
    b.resume();
    CHECK(destroyed == 0);
  }
  CHECK(destroyed == 2);
}

TEST_CASE("a coroutine that was never resumed only loses its function") {
  shared_stack stack;
  auto token = std::make_shared<int>(1);
  {
    coroutine c(stack, [token] { FAIL("must not run"); });
    CHECK(token.use_count() == 2);
  }
  CHECK(token.use_count() == 1);
}

TEST_CASE("exceptions of several coroutines inside catch blocks do not mix") {
  shared_stack stack;
  std::string rethrown;
  const auto body = [&rethrown](std::string text) {
    return [&rethrown, text] {
      try {
        throw std::runtime_error(text);
      } catch (...) {
        coroutine::suspend();
        try {
          throw;
        } catch (const std::runtime_error& mine) {
          rethrown += mine.what();
        }
      }
    };
  };
  coroutine a(stack, body("a")), b(stack, body("b")), c(stack, body("c"));
  a.resume(), b.resume(), c.resume();
  b.resume(), a.resume(), c.resume();
  CHECK(rethrown == "bac");
  CHECK(std::uncaught_exceptions() == 0);
}

TEST_CASE("the high-water mark is the deepest suspension") {
  shared_stack stack;
  coroutine c(stack, [] {
    coroutine::suspend();
    suspend_deep<4000>();
    coroutine::suspend();
  });
  c.resume();
  const std::size_t shallow = c.stack_bytes();
  c.resume();
  CHECK(c.stack_bytes() > shallow + 3500);
  c.resume();
  CHECK(c.stack_bytes() < shallow + 500);
  CHECK(c.high_water_mark() > shallow + 3500);
}

TEST_CASE("a save stack shrinks after a coroutine was deep once, with hysteresis") {
  shared_stack stack;
  int round = 0;
  const auto body = [&round] {
    for (;;) {
      if (round == 0) {
        suspend_deep<20000>();
      } else {
        coroutine::suspend();
      }
    }
  };
  coroutine a(stack, body), b(stack, body);
  a.resume(), b.resume(), a.resume();
  const std::size_t peak = stack.stats().saved_bytes;
  CHECK(peak > 20000);
  round = 1;
  a.resume(), b.resume();
  a.resume(), b.resume();
  CHECK(stack.stats().saved_bytes > 20000);  // not at the first shallow suspension
  for (int i = 0; i < 8; ++i) a.resume(), b.resume();
  CHECK(stack.stats().saved_bytes < 4000);
}
