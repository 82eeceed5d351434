// What the event layer's small parts cost: timers, a time limit that is not used, posts from another thread, and the
// same wait in each kind of coroutine.
//
//   events [--rounds 9] [--timers 1000000] [--json FILE]
#include <CLI/CLI.hpp>
#include <eventer/eventer.hpp>

#include <atomic>
#include <random>
#include <thread>

#include "measure.hpp"
#include "stackless.hpp"

namespace {

using namespace std::chrono_literals;

std::atomic<long> writes{0};
int count_writes(eventer::syscalls::call which) {
  if (which == eventer::syscalls::call::write) writes.fetch_add(1, std::memory_order_relaxed);
  return 0;
}

// As a server does it: each request cancels its connection's timer and arms it anew, later than all others.
double rearm_among(std::size_t armed, long count) {
  eventer::timer_heap heap;
  std::vector<eventer::timer_node> nodes(armed);
  std::mt19937_64 random(1);
  eventer::time_point now{};
  for (auto& node : nodes) heap.arm(node, now += 1us);
  std::vector<std::uint32_t> order(static_cast<std::size_t>(count));
  for (auto& each : order) each = static_cast<std::uint32_t>(random() % armed);
  std::size_t next = 0;
  const double result = bench::time_each(count, [&] {
    eventer::timer_node& node = nodes[order[next++]];
    heap.cancel(node);
    heap.arm(node, now += 1us);
  });
  return result;
}

double read_each(long count, eventer::time_limit limit) {
  double result = 0;
  eventer::run([&result, count, limit] {
    auto [near, far] = eventer::unix_stream::pair().value();
    char byte = 'x';
    result = bench::time_each(count, [&] {
      (void)near.write_some({&byte, 1});
      (void)far.read_some({&byte, 1}, limit);
    });
  });
  return result;
}

// A wait that ends at once, through the loop's queues.
double wait_in_stackful(long count) {
  double result = 0;
  eventer::run([&result, count] { result = bench::time_each(count, [] { eventer::await(eventer::after(0ns)); }); });
  return result;
}
double wait_in_task(long count) {
  double result = 0;
  eventer::run([&result, count] {
    eventer::await([](double* out, long times) -> eventer::task<> {
      const double start = bench::nanoseconds();
      for (long i = 0; i < times; ++i) co_await eventer::after(0ns);
      *out = (bench::nanoseconds() - start) / static_cast<double>(times);
    }(&result, count));
  });
  return result;
}
double wait_in_any_coroutine(long count) {
  double result = 0;
  eventer::event_loop loop;
  loop.post([&result, count] {
    [](double* out, long times) -> bench::detached {
      const double start = bench::nanoseconds();
      for (long i = 0; i < times; ++i) co_await eventer::after(0ns);
      *out = (bench::nanoseconds() - start) / static_cast<double>(times);
    }(&result, count);
  });
  loop.run();
  return result;
}

struct post_figures {
  double nanoseconds, writes;
};
// The loop has something to do all the time, so nobody needs to wake it.
post_figures post_to_awake_loop(long count) {
  eventer::event_loop loop;
  std::atomic<bool> running{false}, done{false};
  long received = 0;
  std::thread runner([&] {
    loop.spawn([&] {
      running = true;
      while (!done) eventer::yield();
    });
    loop.run();
  });
  while (!running) std::this_thread::yield();
  eventer::syscalls::fault_hook = &count_writes;
  writes = 0;
  const double each = bench::time_each(count, [&] { loop.post([&received] { ++received; }); });
  const post_figures result{each, static_cast<double>(writes) / static_cast<double>(count)};
  eventer::syscalls::fault_hook = nullptr;
  done = true;
  runner.join();
  if (received != count) std::fprintf(stderr, "%ld of %ld posts arrived\n", received, count);
  return result;
}

}  // namespace

int main(int argc, char** argv) {
  int rounds = 9;
  long count = 200'000;
  std::size_t timers = 1'000'000;
  std::string json;
  CLI::App app{"Nanoseconds of timers, time limits, posts and waits."};
  app.add_option("--rounds", rounds, "measured rounds, interleaved")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--count", count, "operations a round")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--timers", timers, "armed timers")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--json", json, "write the figures to this file");
  CLI11_PARSE(app, argc, argv);

  double writes_a_post = 0;
  std::vector<bench::measured_case> cases;
  cases.push_back({"cancel + arm, 1,000 timers armed", [&] { return rearm_among(1000, count); }});
  cases.push_back({"cancel + arm, " + std::to_string(timers) + " armed", [&] { return rearm_among(timers, count); }});
  cases.push_back({"write + read of a byte that is there", [&] { return read_each(count, {}); }});
  cases.push_back({"the same, the read with a limit of 10 s", [&] { return read_each(count, 10s); }});
  cases.push_back({"after(0) in a stackful coroutine", [&] { return wait_in_stackful(count / 4); }});
  cases.push_back({"after(0) in a task", [&] { return wait_in_task(count / 4); }});
  cases.push_back({"after(0) in any other C++20 coroutine", [&] { return wait_in_any_coroutine(count / 4); }});
  cases.push_back({"post to a loop that is awake, from another thread", [&] {
                     const post_figures figures = post_to_awake_loop(count);
                     writes_a_post = figures.writes;
                     return figures.nanoseconds;
                   }});
  const auto results = bench::interleaved(cases, rounds);

  bench::table table({"operation", "min ns", "median ns"});
  for (const auto& each : results) table.row({each.name, bench::number(each.minimum()), bench::number(each.middle())});
  table.print();
  std::printf("\n");
  bench::goal("cancel + arm among all timers", results[1].middle(), 50, " ns");
  bench::goal("a limit that is not used, to the same without", results[3].ratio_to(results[2]), 1.01, "x");
  bench::goal("post to a loop that is awake", results[7].middle(), 100, " ns");
  bench::goal("system calls a post", writes_a_post, 0, "");
  if (!json.empty() && !bench::write_json(json, results)) return 1;
  return 0;
}
