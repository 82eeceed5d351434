// Each trap that coroutine libraries fall into and that no other test of this layer holds; named for what a user would
// notice.
#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "../captured_log.hpp"
#include "../catch.hpp"
#include "../child.hpp"
#include "eventer/eventer.hpp"
#include "waits.hpp"

using namespace std::chrono_literals;

// --- starting and returning ---

TEST_CASE(
    "a coroutine that another thread starts on a sleeping loop, and those that it starts, cost the loop few looks",
    "[traps]") {
  constexpr int rounds = 50;
  eventer::event_loop loop;
  std::optional<eventer::work_guard> guard(std::in_place, loop);
  std::thread runner([&loop] { loop.run(); });
  const auto down = [](const auto& self, int depth) -> int {
    return depth == 0 ? 0 : 1 + eventer::spawn([self, depth] { return self(self, depth - 1); }).join();
  };
  int reached = 0;
  for (int i = 0; i < rounds; ++i) reached += loop.spawn([down] { return down(down, 10); }).join();
  guard.reset();
  runner.join();
  CHECK(reached == 10 * rounds);
  // A loop that looks at its posts now and then has an interval to look at them in; this one sleeps without one.
  CHECK(loop.stats().waits <= 3 * rounds + 10);
  CHECK(loop.stats().timers == 0);
}

namespace {

int plain_function(int value) { return value + 1; }

}  // namespace

TEST_CASE("returning is the normal end of a coroutine, whatever it is made of", "[traps]") {
  int ended = 0;
  eventer::event_loop loop;
  loop.spawn([&ended] {
    ended += eventer::spawn(plain_function, 0).join();
    ended += eventer::spawn([] { return 1; }).join();
    eventer::spawn([&ended] {
      if (ended > 0) {
        ++ended;
        return;
      }
      eventer::yield();
    }).join();
    eventer::spawn({.stack = eventer::stack_kind::own}, [&ended] { ++ended; }).join();
    ended += eventer::spawn([]() -> eventer::task<int> { co_return 1; }).join();
    eventer::call_on_own_stack([&ended] {
      ++ended;
      return;
    });
    (void)eventer::spawn([&ended] { ++ended; });
  });
  loop.run();
  CHECK(ended == 7);
  CHECK(loop.stats().coroutines == 0);
  eventer::shared_stack stack;
  eventer::coroutine bare(stack, [&ended] { ++ended; });
  bare.resume();
  CHECK(bare.done());
  CHECK(ended == 8);
}

// --- time-outs ---

TEST_CASE("a time-out on one wait leaves no flag that fails the next, unrelated one", "[traps]") {
  struct timed_wait {
    const char* name;
    std::function<std::error_code()> wait;
  };
  const timed_wait timed_waits[] = {
      {"join", [] { return eventer::spawn([] { eventer::sleep_for(24h); }).join_for(1s).error(); }},
      {"receive", [] { return eventer::channel<int>(0).receive(1s).error(); }},
      {"send", [] { return eventer::channel<int>(0).send(1, 1s).error(); }},
      {"lock",
       [] {
         eventer::mutex taken;
         auto holder = eventer::spawn([taken]() mutable {
           const std::lock_guard held(taken);
           eventer::sleep_for(24h);
         });
         eventer::yield();
         const bool got = taken.try_lock_for(1s);
         holder.cancel();
         (void)holder.try_join();
         return got ? std::error_code() : make_error_code(eventer::errc::timed_out);
       }},
      {"readable",
       [] {
         const plain_pair ends = plain_pipe();
         return eventer::await(eventer::readable(ends.ours.get(), 1s)).error();
       }},
      {"read",
       [] {
         auto ends = eventer::memory_stream_pair();
         char byte;
         return ends.near.read_some({&byte, 1}, 1s).error();
       }},
      {"deadline_scope",
       [] {
         const eventer::deadline_scope soon(1s);
         return eventer::channel<int>(0).receive().error();
       }},
  };
  for (const timed_wait& timed : timed_waits) {
    for (const wait_kind& next : every_wait) {
      INFO(timed.name << ", then " << next.name);
      run_crowded([&] {
        auto stream = eventer::memory_stream_pair();
        const plain_pair pipe = plain_pipe();
        const std::error_code first = timed.wait();
        next.wait();
        const std::error_code second = timed.wait();
        CHECK(first == std::errc::timed_out);
        CHECK(second == std::errc::timed_out);
        // What has been there all the time.
        (void)eventer::spawn([far = std::move(stream.far), to = pipe.peer.get()]() mutable {
          eventer::sleep_for(2s);  // longer than the limit before
          CHECK(far.write_all("text").has_value());
          CHECK(::write(to, "x", 1) == 1);
        });
        std::array<char, 8> bytes;
        const std::size_t got = stream.near.read_some(bytes).value_or(0u);
        CHECK(got == 4);
        const auto ready = eventer::await(eventer::readable(pipe.ours.get(), 1h));
        CHECK(ready.has_value());
        const auto start = eventer::event_loop::current().now();
        eventer::sleep_for(3s);
        CHECK(eventer::event_loop::current().now() - start == 3s);
      });
    }
  }
}

TEST_CASE("waits that end before their limit leave no timers, in whatever way they end", "[traps]") {
  run_crowded([] {
    const auto& loop = eventer::event_loop::current();
    for (int i = 0; i < 100; ++i) {
      eventer::channel<int> numbers(0);
      auto receiver = eventer::spawn([numbers]() mutable { return numbers.receive(1h).value_or(0); });
      auto cancelled = eventer::spawn([numbers]() mutable { (void)numbers.send(1, 2h); });
      auto joiner = eventer::spawn([] { return eventer::spawn([] { eventer::yield(); }).join_for(3h).has_value(); });
      auto sleeper = eventer::spawn([] { eventer::sleep_for(24h); });
      eventer::yield();
      cancelled.cancel();
      sleeper.cancel();
      (void)numbers.send(5, 1h);
      (void)receiver.join();
      CHECK(joiner.join());
      (void)cancelled.try_join();
      (void)sleeper.try_join();
    }
    CHECK(loop.stats().timers == 0);
  });
}

// --- the end of a loop ---

TEST_CASE("a loop that is destroyed unwinds what is parked where it was: same stack, same addresses, same bytes",
          "[traps]") {
  struct local {
    int& right;
    const local* self;
    std::string text;
    bool shared;
    local(int& count, int who)
        : right(count),
          self(this),
          text(std::string(40, static_cast<char>('a' + who))),
          shared(eventer::scheduler::current()->lies_on_shared_stack(__builtin_frame_address(0))) {}
    ~local() {
      const auto* const loop = eventer::scheduler::current();
      right += self == this && text == std::string(40, eventer::this_coroutine::name()[0]) &&
               loop->lies_on_shared_stack(__builtin_frame_address(0)) == shared;
    }
  };
  static constexpr const char* names[] = {"a", "b", "c", "d", "e"};
  int right = 0, shared = 0;
  {
    eventer::event_loop loop({.shared_stacks = 1, .evict_always = true});
    for (int i = 0; i < 50; ++i)
      (void)loop.spawn({.name = names[i % 5]}, [&right, &shared, i] {
        const local mine(right, i % 5);
        shared += mine.shared;
        if (i % 2 == 0) disturb();
        eventer::sleep_for(24h);
      });
    (void)loop.poll();
    (void)loop.poll();
    CHECK(right == 0);
    CHECK(loop.stats().coroutines >= 50);
  }
  CHECK(right == 50);
  if (!eventer::context::prefers_private_stacks()) CHECK(shared == 50);
}

TEST_CASE("destroying a loop inside itself is refused with a sentence", "[traps]") {
  const auto coroutine = run_in_child([] {
    auto loop = std::make_unique<eventer::event_loop>();
    (void)loop->spawn([&loop] {
      disturb();
      eventer::yield();
      loop.reset();
    });
    loop->run();
  });
  CHECK(coroutine.signal == SIGABRT);
  CHECK(contains(coroutine.output, "destroyed inside itself"));
  const auto callback = run_in_child([] {
    auto loop = std::make_unique<eventer::event_loop>();
    loop->post([&loop] { loop.reset(); });
    loop->run();
  });
  CHECK(callback.signal == SIGABRT);
  CHECK(contains(callback.output, "destroyed inside itself"));
  // exit() destroys what is static.
  const auto at_exit = run_in_child([] {
    static eventer::event_loop loop;
    (void)loop.spawn([] { std::exit(0); });
    loop.run();
  });
  CHECK(at_exit.signal == SIGABRT);
  CHECK(contains(at_exit.output, "destroyed inside itself"));
}

// --- frames ---

#if defined(__x86_64__)
namespace {

bool direction_is_up() {
  std::uint64_t flags;
  asm volatile("pushfq\n\tpopq %0" : "=r"(flags));
  return (flags & 0x400) == 0;
}

}  // namespace
#endif

TEST_CASE("a coroutine begins and goes on with an aligned stack, and strings go upward", "[traps]") {
  // Vectors that are stored to the stack with instructions that fault where it is not aligned.
  using vector = float __attribute__((vector_size(16)));
  int right = 0;
  const auto body = [&right] {
    for (int i = 0; i < 3; ++i) {
      volatile vector spilled[3] = {{1, 2, 3, 4}, {5, 6, 7, 8}, {9, 10, 11, 12}};
      bool good = reinterpret_cast<std::uintptr_t>(&spilled[0]) % 16 == 0 &&
                  reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0)) % 16 == 0;
#if defined(__x86_64__)
      good = good && direction_is_up();
#endif
      disturb();
      eventer::yield();
#if defined(__x86_64__)
      good = good && direction_is_up();
#endif
      const vector again = spilled[1];
      right += good && again[3] == 8.0f;
    }
  };
  run_crowded([&body] {
    eventer::spawn(body).join();
    eventer::spawn({.stack = eventer::stack_kind::own}, body).join();
    eventer::call_on_own_stack(body);
  });
  CHECK(right == 9);
}

namespace {

// Small functions without calls but the switch itself: a compiler may want to keep their locals below the stack
// pointer.
EVENTER_NOINLINE int suspends_in_a_leaf(int from) {
  volatile int locals[8];
  for (int i = 0; i < 8; ++i) locals[i] = from + i;
  eventer::coroutine::suspend();
  int sum = 0;
  for (int i = 0; i < 8; ++i) sum += locals[i];
  return sum;
}
EVENTER_NOINLINE int resumes_in_a_leaf(eventer::coroutine& what, int from) {
  volatile int locals[8];
  for (int i = 0; i < 8; ++i) locals[i] = from + i;
  what.resume();
  int sum = 0;
  for (int i = 0; i < 8; ++i) sum += locals[i];
  return sum;
}

}  // namespace

TEST_CASE("a small function that suspends or resumes loses nothing below its stack pointer", "[traps]") {
  eventer::shared_stack stack;
  int sums[2] = {};
  eventer::coroutine first(stack, [&sums] { sums[0] = suspends_in_a_leaf(10); });
  eventer::coroutine second(stack, [&sums] { sums[1] = suspends_in_a_leaf(20); });
  CHECK(resumes_in_a_leaf(first, 1) == 36);
  CHECK(resumes_in_a_leaf(second, 2) == 44);
  CHECK(resumes_in_a_leaf(first, 3) == 52);
  CHECK(resumes_in_a_leaf(second, 4) == 60);
  CHECK(sums[0] == 108);
  CHECK(sums[1] == 188);
}

// --- threads ---

namespace {

thread_local int counter_of_thread = 0;

// Reads it where the compiler may have its address from before the wait.
template <class Wait>
bool stays_on_its_thread(const Wait& wait) {
  const std::thread::id thread = std::this_thread::get_id();
  const int* const address = &counter_of_thread;
  const int before = ++counter_of_thread;
  wait();
  return address == &counter_of_thread && counter_of_thread >= before && std::this_thread::get_id() == thread;
}

}  // namespace

TEST_CASE("a coroutine goes on on its own thread, with that thread's variables, also if another thread wakes it",
          "[traps]") {
  constexpr int threads = 3, each_spawns = 20;
  std::atomic<int> right{0}, counted{0};
  eventer::shared_channel<int> numbers(0);  // between all of them
  std::vector<std::thread> all;
  for (int t = 0; t < threads; ++t)
    all.emplace_back([&, numbers]() mutable {
      counter_of_thread = 0;
      eventer::run([&, numbers] {
        eventer::task_group group;
        for (int i = 0; i < each_spawns; ++i)
          group.spawn([&, numbers, sends = i % 2 == 0]() mutable {
            right += stays_on_its_thread([] { eventer::yield(); });
            right += stays_on_its_thread([&] { sends ? (void)numbers.send(1) : (void)numbers.receive(); });
          });
        group.join();
      });
      counted += counter_of_thread;
    });
  for (std::thread& each : all) each.join();
  CHECK(right == threads * each_spawns * 2);
  CHECK(counted == threads * each_spawns * 2);
}

// --- memory ---

namespace {

template <std::size_t Bytes>
EVENTER_NOINLINE void yield_deep() {
  char deep[Bytes];
  asm volatile("" : : "r"(deep) : "memory");
  eventer::yield();
  asm volatile("" : : "r"(deep) : "memory");
}

}  // namespace

TEST_CASE("coroutines of a loop that were deep once give that memory back while they go on", "[traps][shared-stack]") {
  if (eventer::context::prefers_private_stacks()) EVENTER_SKIP("private stacks are never saved");
  run_crowded([] {
    eventer::task_group all;
    for (int i = 0; i < 20; ++i)
      all.spawn([] {
        yield_deep<30'000>();
        for (int k = 0; k < 20; ++k) eventer::yield();
      });
    eventer::yield();
    eventer::yield();
    auto& loop = eventer::event_loop::current();
    const std::size_t peak = loop.stacks().stacks.saved_bytes;
    CHECK(peak > 20 * 30'000);
    eventer::yield();
    CHECK(loop.stacks().stacks.saved_bytes > peak / 2);  // not at once
    for (int k = 0; k < 12; ++k) eventer::yield();
    CHECK(all.size() == 20);
    CHECK(loop.stacks().stacks.saved_bytes < peak / 4);
    all.join();
  });
}

// --- coroutines within coroutines ---

TEST_CASE("the first bare coroutine of a thread may be one in a loop's coroutine, and one in a bare one", "[traps]") {
  int in_loop = 0, in_bare = 0;
  const auto resume_thrice = [](int& steps) {
    eventer::coroutine inner(eventer::own_stack{}, [&steps] {
      for (;;) {
        ++steps;
        try {
          throw 1;
        } catch (int) {
          eventer::coroutine::suspend();
        }
      }
    });
    for (int i = 0; i < 3; ++i) inner.resume();
  };
  // Threads of their own, on which there has been none.
  std::thread([&] { eventer::run([&] { eventer::call_on_own_stack([&] { resume_thrice(in_loop); }); }); }).join();
  std::thread([&] {
    eventer::coroutine outer(eventer::own_stack{}, [&] { resume_thrice(in_bare); });
    outer.resume();
  }).join();
  CHECK(in_loop == 3);
  CHECK(in_bare == 3);
}

// --- oneself ---

TEST_CASE("a bare coroutine that destroys itself is refused with a sentence", "[traps]") {
  for (const bool own : {false, true}) {
    const auto result = run_in_child([own] {
      eventer::shared_stack stack;
      std::optional<eventer::coroutine> self;
      const auto body = [&self] { self.reset(); };
      if (own)
        self.emplace(eventer::own_stack{}, body);
      else
        self.emplace(stack, body);
      self->resume();
    });
    CHECK(result.signal == SIGABRT);
    CHECK(contains(result.output, "a coroutine destroys itself while it runs"));
  }
}

TEST_CASE("a coroutine may drop its own handle, and go on to its end", "[traps]") {
  auto token = std::make_shared<int>(0);
  bool ended = false;
  run_crowded([&] {
    auto self = std::make_shared<eventer::join_handle<void>>();
    *self = eventer::spawn([&ended, self, token] {
      *self = {};
      disturb();
      eventer::yield();
      ended = true;
    });
    self.reset();
    eventer::sleep_for(1s);
  });
  CHECK(ended);
  CHECK(token.use_count() == 1);
}

TEST_CASE("a coroutine may cancel itself: its next wait ends it, and a shield holds that off", "[traps]") {
  std::string order;
  run_crowded([&] {
    auto self = std::make_shared<eventer::join_handle<void>>();
    *self = eventer::spawn([&order, self] {
      self->cancel();
      order += eventer::this_coroutine::cancel_requested() ? "asked " : "not asked ";
      {
        const eventer::cancel_shield still;
        disturb();
        eventer::yield();
        order += "shielded ";
      }
      eventer::yield();
      order += "went on";
    });
    CHECK(self->try_join().error() == std::errc::operation_canceled);
  });
  CHECK(order == "asked shielded ");
}

TEST_CASE("cancelling one that has ended does nothing, from its own and from another thread, twice and to the others",
          "[traps]") {
  eventer::event_loop loop;
  auto guard = std::make_unique<eventer::work_guard>(loop);
  std::thread runner([&loop] { loop.run(); });
  auto remote = loop.spawn([] { return 1; });
  while (!remote.done()) std::this_thread::yield();
  remote.cancel();
  remote.cancel();
  auto innocent = loop.spawn([] {  // likely in the same block of memory
    eventer::yield();
    return 2;
  });
  CHECK(remote.join() == 1);
  CHECK(innocent.join() == 2);
  remote.cancel();  // empty now
  auto local = loop.spawn([] {
    const auto ended = std::make_shared<eventer::join_handle<int>>(eventer::spawn([] { return 3; }));
    eventer::yield();
    std::thread([ended] {
      ended->cancel();
      ended->cancel();
    }).join();
    auto next = eventer::spawn([] {
      eventer::yield();
      return 4;
    });
    ended->cancel();
    return ended->join() + next.join();
  });
  CHECK(local.join() == 7);
  guard.reset();
  runner.join();
}

TEST_CASE("a coroutine that awaits its own handle is told so", "[traps]") {
  std::string told;
  const auto note = [&told](const std::system_error& refused) {
    told += refused.code() == std::errc::resource_deadlock_would_occur ? "deadlock " : refused.what();
  };
  run_crowded([&] {
    auto self = std::make_shared<eventer::join_handle<void>>();
    *self = eventer::spawn([&note, self] {
      try {
        eventer::await(*self);
      } catch (const std::system_error& refused) {
        note(refused);
      }
    });
    eventer::sleep_for(1s);
  });
  CHECK(told == "deadlock ");
}

#if !defined(NDEBUG)
TEST_CASE("a group that is joined or destroyed by a coroutine of its own is refused with a sentence", "[traps]") {
  for (const bool destroyed : {false, true}) {
    const auto result = run_in_child([destroyed] {
      run_crowded([destroyed] {
        auto group = std::make_shared<std::optional<eventer::task_group>>(std::in_place);
        (*group)->spawn([destroyed, group] { destroyed ? group->reset() : (*group)->join(); });
        eventer::sleep_for(1h);
      });
    });
    CHECK(result.signal == SIGABRT);
    CHECK(contains(result.output, "by one of its own coroutines"));
  }
}
#endif
