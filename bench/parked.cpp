// How many bytes of memory a parked coroutine takes: the growth of the resident set by a million of them, each of which
// has been copied out once.
//
//   parked [--count 1000000] [--json FILE]
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <coroutine>
#include <cstring>
#include <eventer/eventer.hpp>

#include "measure.hpp"

namespace {

using namespace std::chrono_literals;

struct figures {
  double bytes_each = 0;
  std::size_t depth = 0;  // from the stack pointer of a parked one to its first frame
};

// In a child process, so that each case starts with the same memory.
template <class F>
figures in_child(F&& measure) {
  int ends[2];
  if (::pipe(ends) != 0) throw std::system_error(errno, std::generic_category(), "pipe");
  const pid_t child = ::fork();
  if (child == 0) {
    const figures result = measure();
    const ssize_t written = ::write(ends[1], &result, sizeof result);
    ::_exit(written == sizeof result ? 0 : 1);
  }
  ::close(ends[1]);
  figures result;
  const ssize_t got = ::read(ends[0], &result, sizeof result);
  ::close(ends[0]);
  ::waitpid(child, nullptr, 0);
  if (got != sizeof result) throw std::runtime_error("a measuring child has failed (not enough memory?)");
  return result;
}

// What a parked function keeps on its stack besides the library's frames.
template <std::size_t Locals>
struct locals {
  char bytes[Locals];
  locals() { std::memset(bytes, 1, Locals); }
  void touch() { asm volatile("" : : "r"(bytes) : "memory"); }
};
template <>
struct locals<0> {
  void touch() {}
};

template <std::size_t Locals>
figures bare(std::size_t count) {
  eventer::shared_stack stack;
  auto& all = *new std::vector<eventer::coroutine>;  // the process ends without unwinding them
  all.reserve(count);
  const std::size_t before = bench::resident_bytes();
  for (std::size_t i = 0; i < count; ++i) {
    all.emplace_back(stack, [] {
      locals<Locals> mine;
      eventer::coroutine::suspend();
      mine.touch();
    });
    all.back().resume();
  }
  return {static_cast<double>(bench::resident_bytes() - before) / static_cast<double>(count),
          all.front().stack_bytes()};
}

// On a loop, asleep: with a timer armed, or for ever, without one.
template <std::size_t Locals, bool Timer>
figures on_loop(std::size_t count) {
  figures result;
  auto& loop = *new eventer::event_loop;  // likewise
  (void)loop.spawn([&result, &loop, count] {
    eventer::yield();
    const std::size_t before = bench::resident_bytes();
    for (std::size_t i = 0; i < count; ++i) {
      (void)eventer::spawn({.name = "parked"}, [] {
        locals<Locals> mine;
        eventer::sleep_until(Timer ? eventer::clock::now() + 24h : eventer::no_deadline);
        mine.touch();
      });
      if (i % 64 == 0) eventer::yield();
    }
    for (int i = 0; i < 4; ++i) eventer::yield();
    result.bytes_each = static_cast<double>(bench::resident_bytes() - before) / static_cast<double>(count);
    for (const auto& row : loop.stacks().rows)
      if (row.name == "parked") result.depth = row.p50;
    loop.stop();
    eventer::sleep_until(eventer::no_deadline);
  });
  loop.run();
  return result;
}

struct stackless {
  struct promise_type {
    stackless get_return_object() { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_always final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::abort(); }
  };
};
stackless park_stackless() {
  char locals[120];
  std::memset(locals, 1, sizeof locals);
  co_await std::suspend_always{};
  asm volatile("" : : "r"(locals) : "memory");
}
figures stackless_frames(std::size_t count) {
  const std::size_t before = bench::resident_bytes();
  for (std::size_t i = 0; i < count; ++i) park_stackless();
  return {static_cast<double>(bench::resident_bytes() - before) / static_cast<double>(count), 0};
}

struct parked_case {
  const char* name;
  figures (*measure)(std::size_t count);
  double goal;  // bytes; 0: a peer, or a reference
};

// The goals are for a depth of at least 120 bytes.
constexpr parked_case cases[] = {
    {"coroutine, no locals", &bare<0>, 0},
    {"coroutine, 40 bytes of locals", &bare<40>, 230},
    {"on a loop, no locals", &on_loop<0, false>, 0},
    {"on a loop, 16 bytes of locals", &on_loop<16, false>, 256},
    {"on a loop, 16 bytes of locals, timer armed", &on_loop<16, true>, 256},
    {"on a loop, 64 bytes of locals, timer armed", &on_loop<64, true>, 0},
    {"C++20 stackless, 120 bytes of locals", &stackless_frames, 0},
};

}  // namespace

int main(int argc, char** argv) {
  std::size_t count = 1'000'000;
  std::string json;
  CLI::App app{"Bytes of memory that a parked coroutine takes."};
  app.add_option("--count", count, "coroutines")->check(CLI::Range(1000, 50'000'000))->capture_default_str();
  app.add_option("--json", json, "write the figures to this file");
  CLI11_PARSE(app, argc, argv);
  try {
    std::printf("Resident bytes of each of %zu parked coroutines, every one copied out once\n", count);
    bench::table table({"", "depth of its stack", "bytes each"});
    std::vector<figures> results;
    for (const parked_case& each : cases) {
      results.push_back(in_child([&] { return each.measure(count); }));
      table.row({each.name, results.back().depth == 0 ? "-" : std::to_string(results.back().depth),
                 bench::number(results.back().bytes_each, 0)});
    }
    table.print();
    std::printf("\n");
    for (std::size_t i = 0; i < std::size(cases); ++i)
      if (cases[i].goal != 0) bench::goal(cases[i].name, results[i].bytes_each, cases[i].goal, " B");
    if (json.empty()) return 0;
    std::FILE* const file = std::fopen(json.c_str(), "w");
    if (file == nullptr) throw std::system_error(errno, std::generic_category(), json);
    std::fprintf(file, "{\"coroutines\":%zu,\"cases\":[", count);
    for (std::size_t i = 0; i < std::size(cases); ++i)
      std::fprintf(file, "%s{\"name\":\"%s\",\"depth\":%zu,\"bytes\":%.1f}", i == 0 ? "" : ",", cases[i].name,
                   results[i].depth, results[i].bytes_each);
    std::fprintf(file, "]}\n");
    return std::fclose(file) == 0 ? 0 : 1;
  } catch (const std::exception& failure) {
    return std::fprintf(stderr, "parked: %s\n", failure.what()), 1;
  }
}
