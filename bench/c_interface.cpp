// What the C interface costs beside the C++ calls that it stands on: a byte that goes to and fro between two coroutines
// of one loop, in nanoseconds and system calls.
//
//   c_interface [--rounds 9] [--count 100000] [--json FILE]
#define EVENTER_ACO_IMPLEMENTATION
#include <eventer/compat/eventer_aco.h>
#include <CLI/CLI.hpp>
#include <eventer/eventer.hpp>

#include <atomic>

#include "measure.hpp"

namespace {

std::atomic<long> system_calls{0};
int count_calls(eventer::syscalls::call) {
  system_calls.fetch_add(1, std::memory_order_relaxed);
  return 0;
}

struct round {
  int fds[2] = {-1, -1};
  long count = 0;
  double nanoseconds = 0;  // each way to and fro
  double calls = 0;
};

// The answering side, and the one that measures.
void answer_in_cpp(int fd) {
  auto mine = eventer::unix_stream::from_fd(fd).value();
  char byte = 0;
  while (auto got = mine.read_some({&byte, 1}))
    if (!mine.write_some({&byte, 1})) break;
}
void measure_in_cpp(round& what) {
  auto mine = eventer::unix_stream::from_fd(what.fds[0]).value();
  auto other = eventer::spawn(&answer_in_cpp, what.fds[1]);
  char byte = 'x';
  const auto once = [&] {
    (void)mine.write_some({&byte, 1});
    (void)mine.read_some({&byte, 1});
  };
  once();
  const long before = system_calls;
  what.nanoseconds = bench::time_each(what.count, once);
  what.calls = static_cast<double>(system_calls - before) / static_cast<double>(what.count);
  mine.close();
  other.join();
}

eventer_aco_t converted(int fd) {
  return eventer_set_eventer_aco(eventer_alloc_fd(nullptr, nullptr, fd, EVENTER_READ));
}
void answer_in_c() {
  const eventer_aco_t mine = converted(static_cast<round*>(eventer_aco_arg())->fds[1]);
  char byte = 0;
  while (eventer_aco_read(mine, &byte, 1, nullptr) == 1)
    if (eventer_aco_write(mine, &byte, 1, nullptr) != 1) break;
  eventer_aco_close(mine);
  eventer_aco_free(mine);
}
void measure_in_c(round& what) {
  const eventer_aco_t mine = converted(what.fds[0]);
  eventer_aco_start(&answer_in_c, &what);
  char byte = 'x';
  const auto once = [&] {
    (void)eventer_aco_write(mine, &byte, 1, nullptr);
    (void)eventer_aco_read(mine, &byte, 1, nullptr);
  };
  once();
  const long before = system_calls;
  what.nanoseconds = bench::time_each(what.count, once);
  what.calls = static_cast<double>(system_calls - before) / static_cast<double>(what.count);
  eventer_aco_close(mine);
  eventer_aco_free(mine);
}

// On the first loop, where both sides are.
round run(long count, void (*measure)(round&), bool counts_calls = false) {
  round what;
  what.count = count;
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, what.fds) != 0)
    throw std::system_error(errno, std::generic_category(), "socketpair");
  eventer::compat::runtime::of_process()
      .first()
      .loop
      .spawn([&what, measure, counts_calls] {
        eventer::syscalls::fault_hook = counts_calls ? &count_calls : nullptr;
        measure(what);
        eventer::syscalls::fault_hook = nullptr;
      })
      .join();
  return what;
}

}  // namespace

int main(int argc, char** argv) {
  int rounds = 9;
  long count = 100'000;
  std::string json;
  CLI::App app{"Nanoseconds of the C interface's calls, beside those of C++."};
  app.add_option("--rounds", rounds, "measured rounds, interleaved")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--count", count, "round trips a round")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--json", json, "write the figures to this file");
  CLI11_PARSE(app, argc, argv);

  eventer_propset("concurrency", "1");
  if (eventer_init() != 0) return 1;
  eventer::compat::runtime::of_process()
      .first()
      .loop
      .spawn([] {
        if (!bench::pin_to_core(0)) std::printf("(not pinned to a core)\n");
      })
      .join();

  std::vector<bench::measured_case> cases;
  cases.push_back({"to and fro, C++", [&] { return run(count, &measure_in_cpp).nanoseconds; }});
  cases.push_back({"to and fro, C", [&] { return run(count, &measure_in_c).nanoseconds; }});
  const auto results = bench::interleaved(cases, rounds);
  const double calls_in_cpp = run(1000, &measure_in_cpp, true).calls, calls_in_c = run(1000, &measure_in_c, true).calls;

  bench::table table({"operation", "min ns", "median ns", "system calls"});
  for (const auto& each : results)
    table.row({each.name, bench::number(each.minimum()), bench::number(each.middle()),
               bench::number(&each == &results[0] ? calls_in_cpp : calls_in_c, 2)});
  table.print();
  std::printf("\n");
  bench::goal("to and fro in C, to the same in C++", results[1].ratio_to(results[0]), 1.05, "x");
  bench::goal("its system calls, to the same in C++", calls_in_c / calls_in_cpp, 1, "x");
  if (!json.empty() && !bench::write_json(json, results)) return 1;
  return 0;
}
