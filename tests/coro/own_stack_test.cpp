// call_on_own_stack: stable addresses inside one coroutine, whatever happens around it.
#include <array>
#include <atomic>
#include <cerrno>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "../catch.hpp"
#include "../child.hpp"
#include "../sockets.hpp"
#include "eventer/eventer.hpp"

using namespace std::chrono_literals;
using eventer::call_on_own_stack;

namespace {

// One stack for all, and everything is copied away at each suspension.
constexpr eventer::loop_options crowded{.shared_stacks = 1, .evict_always = true};

// Overwrites what an evicted coroutine has left on the shared stack.
void trample() {
  eventer::spawn([] {
    volatile char bytes[4096];
    for (volatile char& each : bytes) each = 0x55;
    eventer::yield();
  }).join();
}

}  // namespace

TEST_CASE("children and threads may be given the address of a local of a call on an own stack") {
  int sum = 0;
  eventer::run(
      [&] {
        eventer::task_group all;
        for (int i = 0; i < 50; ++i)
          all.spawn([&sum, i] {
            sum += call_on_own_stack([i] {
              std::array<int, 8> numbers{};
              eventer::task_group children;
              for (int k = 0; k < 8; ++k)
                children.spawn([&numbers, i, k] {
                  eventer::yield();
                  numbers[static_cast<std::size_t>(k)] = i;
                });
              children.join();
              int total = 0;
              for (const int each : numbers) total += each;
              return total;
            });
          });
        all.join();
        call_on_own_stack([] {
          int from_thread = 0;
          eventer::shared_event done;
          std::thread other([&from_thread, done]() mutable {
            from_thread = 7;
            done.set();
          });
          done.wait();
          other.join();
          CHECK(from_thread == 7);
        });
      },
      crowded);
  CHECK(sum == 8 * 49 * 50 / 2);
}

TEST_CASE("another coroutine reads into a buffer that lies in a call on an own stack") {
  eventer::run(
      [] {
        auto pair = std::make_shared<tcp_pair>(connected_pair());
        call_on_own_stack([&] {
          std::array<char, 16> buffer{};
          auto reader = eventer::spawn([pair, &buffer] { return pair->server.read_some(buffer).value(); });
          eventer::yield();
          CHECK(pair->client.write_all("across").has_value());
          CHECK(reader.join() == 6);
          CHECK(std::string(buffer.data(), 6) == "across");
        });
      },
      crowded);
}

TEST_CASE("a call that was evicted uses the locals around it, and they are right") {
  eventer::run(
      [] {
        std::string outer = "outer";
        std::array<int, 100> many{};
        const int result = call_on_own_stack([&] {
          std::string inner = "inner";
          for (int i = 0; i < 100; ++i) {
            trample();
            many[static_cast<std::size_t>(i)] = i;
            outer += inner[0];
          }
          return many[99];
        });
        CHECK(result == 99);
        CHECK(outer == "outer" + std::string(100, 'i'));
        for (int i = 0; i < 100; ++i) CHECK(many[static_cast<std::size_t>(i)] == i);
      },
      crowded);
}

TEST_CASE("what a call throws comes out of it, also after it has waited, and in a catch block and a destructor") {
  eventer::run(
      [] {
        CHECK_THROWS_WITH(call_on_own_stack([] {
                            trample();
                            throw std::runtime_error("inside");
                          }),
                          "inside");
        try {
          throw std::runtime_error("around");
        } catch (...) {
          call_on_own_stack([] {
            trample();
            CHECK_THROWS_WITH(throw, "around");
            try {
              throw std::runtime_error("within");
            } catch (const std::exception& mine) {
              trample();
              CHECK(std::string(mine.what()) == "within");
            }
          });
          CHECK_THROWS_WITH(throw, "around");
        }
        struct waits_at_end {
          int& uncaught;
          ~waits_at_end() {
            call_on_own_stack([this] {
              trample();
              uncaught = std::uncaught_exceptions();
            });
          }
        };
        int uncaught = -1;
        try {
          const waits_at_end local{uncaught};
          throw std::runtime_error("unwinds");
        } catch (const std::exception& failure) {
          CHECK(std::string(failure.what()) == "unwinds");
        }
        CHECK(uncaught == 1);
        CHECK(std::uncaught_exceptions() == 0);
      },
      crowded);
}

TEST_CASE("a cancellation unwinds a call, the frames around it too, and so does the loop's end") {
  std::string order;
  struct note {
    std::string& to;
    char what;
    ~note() { to += what; }
  };
  eventer::run(
      [&] {
        const auto waits = [&order] {
          const note around{order, 'o'};
          call_on_own_stack([&order] {
            const note inside{order, 'i'};
            eventer::sleep_for(1h);
          });
        };
        auto cancelled = eventer::spawn(waits);
        trample();
        cancelled.cancel();
        CHECK(cancelled.try_join().error() == std::errc::operation_canceled);
        CHECK(order == "io");
        eventer::spawn(waits);
        trample();
      },
      crowded);
  CHECK(order == "ioio");
}

TEST_CASE("a call within a call stays where it is; stacks are pooled") {
  eventer::run([] {
    if (EVENTER_ASAN) EVENTER_SKIP("AddressSanitizer puts locals elsewhere");
    const void* first = nullptr;
    const void* again = nullptr;
    call_on_own_stack([&] {
      first = __builtin_frame_address(0);
      const void* const outer = first;
      const void* const nested = call_on_own_stack([] {
        eventer::yield();
        return static_cast<const void*>(__builtin_frame_address(0));
      });
      const auto apart = static_cast<const char*>(outer) - static_cast<const char*>(nested);
      CHECK(std::abs(apart) < 8192);
    });
    call_on_own_stack([&] { again = __builtin_frame_address(0); });
    CHECK(std::abs(static_cast<const char*>(first) - static_cast<const char*>(again)) < 4096);
  });
}

TEST_CASE("only the frames around a call are copied, and stack_bytes says so") {
  eventer::run(
      [] {
        if (!eventer::scheduler::current()->is_on_shared_stack())
          EVENTER_SKIP("here every coroutine has its own stack");
        const std::size_t around = eventer::this_coroutine::stack_bytes();
        call_on_own_stack([around] {
          volatile char big[65536];
          big[0] = 1;
          trample();
          CHECK(eventer::this_coroutine::stack_bytes() < around + 2048);
          CHECK(big[0] == 1);
        });
      },
      crowded);
  eventer::event_loop loop(crowded);
  (void)loop.spawn({.name = "deep inside"}, [] {
    call_on_own_stack([] {
      volatile char big[65536];
      big[0] = 1;
      eventer::yield();
      CHECK(big[0] == 1);
    });
  });
  loop.run();
  for (const auto& row : loop.stacks().rows)
    if (row.name == "deep inside" && !eventer::context::prefers_private_stacks()) CHECK(row.high_water_mark < 16384);
}

TEST_CASE("a call that wants more bytes than are left on an own stack gets another stack, also within a call") {
  std::string order;
  eventer::run(
      [&] {
        auto cancelled = eventer::spawn({.stack = eventer::stack_kind::own, .own_stack_bytes = 65536}, [&order] {
          call_on_own_stack(200'000, [&order] {
            volatile char big[150'000];
            big[0] = 1;
            trample();
            const int inner = call_on_own_stack(std::size_t{1} << 20, [&big] {
              volatile char bigger[900'000];
              bigger[0] = 2;
              trample();
              call_on_own_stack([] { trample(); });
              return bigger[0] + big[0];
            });
            order += std::to_string(inner);
            CHECK_THROWS_WITH(call_on_own_stack(std::size_t{1} << 20,
                                                [] {
                                                  trample();
                                                  throw std::runtime_error("inside");
                                                }),
                              "inside");
            order += "c";
            call_on_own_stack(std::size_t{1} << 20, [] { eventer::sleep_for(1h); });
          });
        });
        for (int i = 0; i < 100 && order != "3c"; ++i) eventer::yield();
        for (int i = 0; i < 10; ++i) eventer::yield();
        cancelled.cancel();
        CHECK(cancelled.try_join().error() == std::errc::operation_canceled);
      },
      crowded);
  CHECK(order == "3c");
}

TEST_CASE("results of every kind come out of a call") {
  eventer::run(
      [] {
        CHECK(*call_on_own_stack([] {
          trample();
          return std::make_unique<int>(3);
        }) == 3);
        std::string outer = "x";
        std::string& reference = call_on_own_stack([&]() -> std::string& {
          trample();
          return outer;
        });
        reference += "y";
        CHECK(outer == "xy");
        const auto owned = std::make_unique<int>(4);
        call_on_own_stack([copy = std::make_unique<int>(5), &owned] { CHECK(*copy + *owned == 9); });
        const auto twice = [n = 0]() mutable { return ++n; };
        CHECK(call_on_own_stack(twice) == 1);
        CHECK(call_on_own_stack(twice) == 1);  // a copy is called
        CHECK(call_on_own_stack(std::size_t{1} << 20, [] {
                volatile char big[900'000];
                big[0] = 1;
                eventer::yield();
                return int{big[0]};
              }) == 1);
      },
      crowded);
}

TEST_CASE("errno stays with a call, and tasks are awaited in it") {
  eventer::run(
      [] {
        call_on_own_stack([] {
          errno = EDOM;
          eventer::spawn([] { errno = ERANGE; }).join();
          CHECK(errno == EDOM);
          int here = 1;
          const auto add = [](int* to) -> eventer::task<int> {
            co_await eventer::after(1ms);
            co_return * to += 2;
          };
          CHECK(eventer::await(add(&here)) == 3);
          const auto [one, other] = eventer::when_all(add(&here), add(&here));
          CHECK(one + other == 12);
        });
      },
      crowded);
}

TEST_CASE("on a plain thread, in a callback and on an own stack it is a plain call") {
  CHECK(call_on_own_stack([] { return 1; }) == 1);
  int called = 0;
  eventer::event_loop loop;
  loop.post([&called] { called += call_on_own_stack([] { return 1; }); });
  (void)loop.spawn({.stack = eventer::stack_kind::own}, [&called] {
    char here = 0;
    call_on_own_stack([&] {
      const auto apart = static_cast<const char*>(__builtin_frame_address(0)) - &here;
      called += std::abs(apart) < 8192 || EVENTER_ASAN;
    });
  });
  loop.run();
  CHECK(called == 2);
}

TEST_CASE("10,000 calls wait at the same time") {
  constexpr int count = EVENTER_TSAN || EVENTER_ASAN ? 1'000 : 10'000;
  int sum = 0;
  eventer::run([&] {
    eventer::task_group all;
    eventer::manual_reset_event go;
    for (int i = 0; i < count; ++i)
      all.spawn([&sum, go, i]() mutable {
        call_on_own_stack(16384, [&] {
          const int mine = i;
          go.wait();
          sum += mine == i;
        });
      });
    eventer::yield();
    go.set();
    all.join();
  });
  CHECK(sum == count);
}

TEST_CASE("a bare coroutine may be resumed in a call on an own stack") {
  eventer::run([] {
    call_on_own_stack([] {
      eventer::shared_stack stack;
      int steps = 0;
      eventer::coroutine bare(stack, [&steps] {
        ++steps;
        eventer::coroutine::suspend();
        ++steps;
      });
      bare.resume();
      eventer::yield();
      bare.resume();
      CHECK(steps == 2);
      CHECK(bare.done());
    });
  });
}

TEST_CASE("a call on an own stack in a bare coroutine is refused, and one that overflows is named") {
  const auto bare = run_in_child([] {
    eventer::shared_stack stack;
    eventer::coroutine inside(stack, [] { call_on_own_stack([] {}); });
    inside.resume();
  });
  CHECK(bare.signal == SIGABRT);
  CHECK(contains(bare.output, "make it with eventer::own_stack"));
  if (EVENTER_ASAN || EVENTER_TSAN) return;  // they report it in their own way
  const auto deep = run_in_child([] {
    eventer::run([] {
      eventer::spawn({.name = "deep"}, [] {
        call_on_own_stack(65536, [] {
          const std::function<int(int)> endless = [&endless](int n) -> int {
            volatile char frame[1024];
            frame[0] = static_cast<char>(n);
            return endless(n + 1) + frame[0];
          };
          endless(0);
        });
      }).join();
    });
  });
  CHECK(contains(deep.output, "stack overflow in coroutine \"deep\""));
  if (!eventer::context::running_on_valgrind())  // where the coroutine's own stack has room for the call
    CHECK(contains(deep.output, "give it more with call_on_own_stack(bytes, function)"));
}

TEST_CASE("adaptive_stacks gives own stacks to those whose predecessors copied much, and the report says so",
          "[shared-stack]") {
  if (eventer::context::prefers_private_stacks()) EVENTER_SKIP("here every coroutine has its own stack");
  for (const bool adaptive : {false, true}) {
    int on_own = 0, light_on_own = 0;
    eventer::event_loop loop({.shared_stacks = 1, .adaptive_stacks = adaptive});
    const auto spawn_all = [&](int count) {
      for (int i = 0; i < count; ++i) {
        (void)loop.spawn({.name = "heavy"}, [&on_own] {
          volatile char bytes[8192];
          bytes[0] = 1;
          on_own += !eventer::scheduler::current()->is_on_shared_stack();
          for (int k = 0; k < 40; ++k) eventer::yield();
          CHECK(bytes[0] == 1);
        });
        (void)loop.spawn({.name = "light"}, [&light_on_own] {
          light_on_own += !eventer::scheduler::current()->is_on_shared_stack();
          eventer::yield();
        });
      }
      loop.run();
    };
    spawn_all(10);
    CHECK(on_own == 0);
    spawn_all(20);
    CHECK(on_own == (adaptive ? 20 : 0));
    CHECK(light_on_own == 0);
    const auto report = loop.stacks();
    for (const auto& row : report.rows) {
      CHECK(row.adapted == (adaptive && row.name == "heavy" ? 20u : 0u));
      if (row.name == "light") CHECK_FALSE(row.copies_much);
    }
    CHECK(contains(report.to_string(),
                   adaptive ? "heavy: 20 were given stacks of their own" : "adaptive_stacks would save that"));
    CHECK(contains(report.to_json(), adaptive ? "\"adapted\":20" : "\"copies_much\":true"));
    on_own = 0;
    spawn_all(1100);
    CHECK(on_own == (adaptive ? 1024 : 0));
  }
}
