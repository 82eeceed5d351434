// A stack of one's own, for the time of a call or for a coroutine's whole life: where others may point at its locals,
// and where copying would cost more than the stack. (docs/the-shared-stack.md says why they may not otherwise.)
#include <eventer/eventer.hpp>

#include <algorithm>
#include <array>
#include <cstdio>
#include <numeric>
#include <string>
#include <thread>

using namespace std::chrono_literals;

// Each child writes into the parent's array. On a shared stack that would be somebody else's memory by then.
int sum_of_parts() {
  return eventer::call_on_own_stack([] {
    std::array<int, 4> parts{};
    eventer::task_group children;
    for (int i = 0; i < 4; ++i)
      children.spawn([&parts, i] {
        eventer::sleep_for(1ms);
        parts[static_cast<std::size_t>(i)] = 10 * (i + 1);
      });
    children.join();
    return std::accumulate(parts.begin(), parts.end(), 0);
  });
}

// A thread fills a local buffer while the coroutine waits.
std::string from_a_thread() {
  return eventer::call_on_own_stack([] {
    std::array<char, 32> buffer{};
    eventer::shared_event filled;
    std::thread writer([&buffer, filled]() mutable {
      std::snprintf(buffer.data(), buffer.size(), "written by a thread");
      filled.set();
    });
    filled.wait();
    writer.join();
    return std::string(buffer.data());
  });
}

int main() {
  return eventer::run(
      [] {
        int around = 5;  // the call may use it: its bytes are back whenever the call goes on
        eventer::call_on_own_stack([&around] {
          eventer::sleep_for(1ms);
          around *= 2;
        });
        std::printf("%d, %d, %s\n", around, sum_of_parts(), from_a_thread().c_str());

        // For its whole life.
        auto own = eventer::spawn({.name = "own", .stack = eventer::stack_kind::own, .own_stack_bytes = 65536}, [] {
          int answer = 0;
          eventer::spawn([&answer] { answer = 42; }).join();
          return answer;
        });
        std::printf("%d\n", own.join());

        // Deep ones that suspend often: the first of them copy, the policy sees it, the later ones do not.
        for (const int round : {1, 2}) {
          eventer::task_group deep;
          for (int i = 0; i < 20; ++i)
            deep.spawn({.name = "deep"}, [] {
              std::array<volatile char, 8192> locals{};
              for (int k = 0; k < 40; ++k) eventer::yield();
              locals[0] = 1;
            });
          deep.join();
          const auto report = eventer::event_loop::current().stacks();
          const auto row = std::find_if(report.rows.begin(), report.rows.end(),
                                        [](const auto& each) { return each.name == "deep"; });
          std::printf("round %d: %llu of %llu had a stack of their own\n", round,
                      static_cast<unsigned long long>(row->adapted), static_cast<unsigned long long>(row->spawned));
        }
      },
      {.shared_stacks = 1, .adaptive_stacks = true});
}
// Prints:
// 10, 100, written by a thread
// 42
// round 1: 0 of 20 had a stack of their own
// round 2: 20 of 40 had a stack of their own
