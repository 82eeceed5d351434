// The nets under the one rule. Each test commits the mistake on purpose, in a child process, and reads the report.
#include <array>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "../captured_log.hpp"
#include "../catch.hpp"
#include "../child.hpp"
#include "../sockets.hpp"
#include "eventer/eventer.hpp"

using namespace std::chrono_literals;

namespace {

// Strict mode; under AddressSanitizer the default, where the stacks of coroutines that wait are poisoned.
constexpr eventer::loop_options guarded{.strict = true, .checks = eventer::capture_checks::off};

constexpr const char* touched = "has touched the stack of coroutine \"parent\", which waits";

// Runs `mistake` as a coroutine named "parent".
template <class F>
child_result on_guarded_stack(F mistake) {
  return run_in_child([&] { eventer::run([&] { eventer::spawn({.name = "parent"}, mistake).join(); }, guarded); });
}

void check_stopped(const child_result& result, const std::string& who) {
  CHECK(contains(result.output, who + " " + touched));
#if EVENTER_ASAN
  CHECK(contains(result.output, "AddressSanitizer: use-after-poison"));
  CHECK(result.exit_status != 0);
#else
  CHECK(result.signal == SIGSEGV);
#endif
}

#if EVENTER_ASAN
extern "C" void* __asan_get_current_fake_stack();
#endif

// Why stacks are not guarded here; nullptr: they are.
const char* not_guarded() {
#if EVENTER_TSAN
  return "ThreadSanitizer has no poison, and its run-time does not expect strict mode";
#elif EVENTER_ASAN
  if (!eventer::context::prefers_private_stacks()) return "shared stacks are not poisoned";
  if (__asan_get_current_fake_stack() != nullptr) return "locals lie on AddressSanitizer's fake stack";
#else
  if (eventer::context::running_on_valgrind()) return "valgrind's run-time does not expect strict mode";
#endif
  return nullptr;
}
#define EVENTER_NEEDS_GUARDED_STACKS() \
  if (const char* const reason = not_guarded(); reason != nullptr) EVENTER_SKIP(reason)

}  // namespace

#if !defined(NDEBUG)
TEST_CASE("capture check: a reference captured by spawn is reported, with the coroutine, the closure and the ways out",
          "[shared-stack]") {
  if (EVENTER_ASAN || eventer::context::prefers_private_stacks()) EVENTER_SKIP("here locals are not on shared stacks");
  const auto result = run_in_child([] {
    eventer::run([] {
      eventer::spawn({.name = "parent"}, [] {
        int total = 0;
        long before = 1;
        for (int i = 0; i < 3; ++i) eventer::spawn([before, &total] { total += static_cast<int>(before); });
        eventer::yield();
      }).join();
    });
  });
  CHECK(contains(result.output, "spawn in coroutine \"parent\": the closure ("));
  CHECK(contains(result.output, "may hold the address of a local at its byte 8 ("));
  CHECK(contains(result.output, "call_on_own_stack"));
  // Once for a kind of closure.
  CHECK(result.output.find("may hold") == result.output.rfind("may hold"));
  CHECK(result.exit_status == 0);
}

TEST_CASE("capture check: a pointer among the arguments, and one in a task_group's closure, are found",
          "[shared-stack]") {
  if (EVENTER_ASAN || eventer::context::prefers_private_stacks()) EVENTER_SKIP("here locals are not on shared stacks");
  const auto result = run_in_child([] {
    eventer::run([] {
      int total = 0;
      eventer::spawn([](int, int* to) { ++*to; }, 1, &total);
      eventer::task_group all;
      all.spawn([&total] { ++total; });
      all.cancel();
    });
  });
  std::size_t reports = 0;
  for (std::size_t at = 0; (at = result.output.find("may hold", at)) != std::string::npos; ++at) ++reports;
  CHECK(reports == 2);
}

TEST_CASE("capture check: a reference captured by post is reported; a program may choose to stop there",
          "[shared-stack]") {
  if (EVENTER_ASAN || eventer::context::prefers_private_stacks()) EVENTER_SKIP("here locals are not on shared stacks");
  const auto result = run_in_child([] {
    eventer::run(
        [] {
          int total = 0;
          eventer::event_loop::current().post([&total] { ++total; });
        },
        {.checks = eventer::capture_checks::abort});
  });
  CHECK(contains(result.output, "post in coroutine \"main\": the closure ("));
  CHECK(result.signal == SIGABRT);
}

TEST_CASE("capture check: values, the heap, own stacks, unchecked() and callers that are no coroutines are fine") {
  const captured_log log;
  int outside = 0;
  eventer::event_loop loop;
  (void)loop.spawn([&outside] {
    const std::string text = "short";  // which holds its own address, before it is moved
    auto shared = std::make_shared<int>(1);
    eventer::spawn([text, shared, &outside] { outside += *shared + static_cast<int>(text.size()); }).join();
    eventer::call_on_own_stack([&outside] {
      int local = 1;
      eventer::spawn([&local] { ++local; }).join();
      outside += local;
    });
    eventer::spawn({.stack = eventer::stack_kind::own}, [&outside] {
      int local = 1;
      eventer::spawn([&local] { ++local; }).join();
      outside += local;
    }).join();
    int local = 1;
    auto never = eventer::spawn(eventer::unchecked([&local] { ++local; }));
    never.cancel();
    eventer::task_group all;
    all.spawn(eventer::unchecked([&local] { ++local; }));
    all.cancel();
  });
  loop.run();
  CHECK(outside == 10);
  CHECK(log.count("may hold") == 0);
}
#endif

TEST_CASE("guarded stacks: a child that writes to its parent's local is stopped at that instruction, with both names") {
  EVENTER_NEEDS_GUARDED_STACKS();
  const auto result = on_guarded_stack([] {
    int total = 0;
    eventer::spawn({.name = "child"}, eventer::unchecked([&total] { ++total; })).join();
  });
  check_stopped(result, "coroutine \"child\"");
  CHECK(contains(result.output, "bytes above its stack pointer"));
}

TEST_CASE("guarded stacks: a pointer to a local that went through a channel, and a callback's, are stopped") {
  EVENTER_NEEDS_GUARDED_STACKS();
  const auto channel = on_guarded_stack([] {
    eventer::channel<int*> numbers(0);
    eventer::spawn({.name = "receiver"}, [numbers]() mutable {
      int* const got = numbers.receive().value();
      eventer::yield();
      *got = 1;
    });
    int local = 0;
    numbers.send(&local).value();
    eventer::sleep_for(1s);
  });
  check_stopped(channel, "coroutine \"receiver\"");
  const auto callback = on_guarded_stack([] {
    int local = 0;
    eventer::event_loop::current().post([&local] { local = 1; });
    eventer::sleep_for(1s);
  });
  check_stopped(callback, "a callback");
}

TEST_CASE("guarded stacks: another thread that notifies a std::condition_variable on a suspended stack is stopped") {
  EVENTER_NEEDS_GUARDED_STACKS();
  const auto result = on_guarded_stack([] {
    std::mutex lock;
    std::condition_variable changed;
    bool ready = false;
    std::thread([&] {
      std::this_thread::sleep_for(20ms);
      const std::lock_guard held(lock);
      ready = true;
      changed.notify_one();
    }).detach();
    eventer::sleep_for(10s);
  });
  check_stopped(result, "a thread that runs no loop");
}

TEST_CASE("guarded stacks: the kernel's write into a suspended buffer is refused with EFAULT, and reported") {
  EVENTER_NEEDS_GUARDED_STACKS();
  const auto result = on_guarded_stack([] {
    auto pair = connected_pair();
    std::array<char, 16> buffer;
    auto reader = eventer::spawn(
        {.name = "reader"},
        eventer::unchecked([&buffer, from = std::make_shared<eventer::tcp_stream>(std::move(pair.server))] {
          return from->read_some(buffer).error();
        }));
    eventer::yield();
    pair.client.write_all("bytes").value();
    if (reader.join() == std::errc::bad_address) std::printf("refused\n");
  });
#if EVENTER_ASAN
  check_stopped(result, "coroutine \"reader\"");  // the sanitizer looks first
#else
  CHECK(contains(result.output,
                 "a system call of coroutine \"reader\" was given an address in the stack of coroutine "
                 "\"parent\", which waits, and is refused (EFAULT)"));
  CHECK(contains(result.output, "refused\n"));
  CHECK(result.exit_status == 0);
#endif
}

TEST_CASE("guarded stacks: a program that keeps the rule runs as before, own stacks are shared freely") {
  int sum = 0;
  eventer::run(
      [&] {
        eventer::task_group all;
        for (int i = 0; i < 20; ++i)
          all.spawn([&sum, i] {
            const std::string mine(40, static_cast<char>('a' + i));
            eventer::yield();
            eventer::call_on_own_stack([&] {
              int local = 0;
              eventer::spawn([&local] { ++local; }).join();
              sum += local;
            });
            CHECK(mine == std::string(40, static_cast<char>('a' + i)));
          });
        all.join();
        eventer::spawn({.stack = eventer::stack_kind::own}, [&sum] {
          int local = 0;
          eventer::spawn([&local] { ++local; }).join();
          sum += local;
        }).join();
        eventer::spawn([] { eventer::sleep_for(1h); });
        eventer::yield();
      },
      {.strict = true});
  CHECK(sum == 21);
}

TEST_CASE("strict mode stops with a sentence where the kernel protects no more stacks") {
  if (EVENTER_ASAN) EVENTER_SKIP("poison takes no mappings");
  EVENTER_NEEDS_GUARDED_STACKS();
  const auto result = run_in_child([] {
    eventer::run(
        [] {
          eventer::syscalls::fault_hook = [](eventer::syscalls::call which) {
            return which == eventer::syscalls::call::mprotect ? ENOMEM : 0;
          };
          eventer::yield();
        },
        guarded);
  });
  CHECK(contains(result.output, "strict mode can't protect one more stack"));
  CHECK(result.signal == SIGABRT);
}
