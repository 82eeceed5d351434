// What it costs to send an empty function to another thread and to go on with its result: a job_queue from a coroutine,
// std::async, Boost.Asio's thread_pool with a promise, and libuv's uv_queue_work.
//
//   jobs [--rounds 7] [--count 20000] [--workers 1,4] [--growth 0] [--json FILE]
//
// Latency: one at a time. Throughput: a thousand at a time. Each measurement has a process of its own, as libuv reads
// the size of its pool once. --growth N runs N jobs and says how much memory that has left behind.
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <eventer/eventer.hpp>
#include <future>

#include "measure.hpp"

#if EVENTER_BENCH_ASIO
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#endif
#if EVENTER_BENCH_LIBUV
#include <uv.h>
#endif

namespace {

struct settings {
  int rounds = 7;
  long count = 20'000;
  std::vector<unsigned> workers{1, 4};
  long growth = 0;
  std::string json;
};

// Nanoseconds a job; `at_once` of them are under way at a time.
using contender = double (*)(unsigned workers, long count, long at_once);

double with_job_queue(unsigned workers, long count, long at_once) {
  double result = 0;
  eventer::run([&] {
    eventer::job_queue queue("bench", {.max_concurrency = workers});
    queue.run([] {});
    const double start = bench::nanoseconds();
    if (at_once == 1) {
      for (long i = 0; i < count; ++i) queue.run([] {});
    } else {
      eventer::wait_group all;
      for (long i = 0; i < at_once; ++i) {
        all.add();
        (void)eventer::spawn([queue, each = count / at_once, all]() mutable {
          for (long j = 0; j < each; ++j) queue.run([] {});
          all.done();
        });
      }
      all.wait();
    }
    result = (bench::nanoseconds() - start) / static_cast<double>(count);
  });
  return result;
}

double with_async(unsigned, long count, long at_once) {
  std::vector<std::future<void>> all(static_cast<std::size_t>(std::min(at_once, 64L)));  // a thread each
  return bench::time_each(count / static_cast<long>(all.size()),
                          [&] {
                            for (auto& each : all) each = std::async(std::launch::async, [] {});
                            for (auto& each : all) each.get();
                          }) /
         static_cast<double>(all.size());
}

#if EVENTER_BENCH_ASIO
double with_asio(unsigned workers, long count, long at_once) {
  boost::asio::thread_pool pool(workers);
  std::vector<std::future<void>> all(static_cast<std::size_t>(at_once));
  return bench::time_each(count / at_once,
                          [&] {
                            for (auto& each : all) {
                              std::promise<void> done;
                              each = done.get_future();
                              boost::asio::post(pool, [done = std::move(done)]() mutable { done.set_value(); });
                            }
                            for (auto& each : all) each.get();
                          }) /
         static_cast<double>(at_once);
}
#endif

#if EVENTER_BENCH_LIBUV
struct uv_state {
  long left;
};
void start_uv(uv_work_t* request) {
  uv_queue_work(
      uv_default_loop(), request, [](uv_work_t*) {},
      [](uv_work_t* done, int) {
        if (--static_cast<uv_state*>(done->data)->left >= 0) start_uv(done);
      });
}
double with_libuv(unsigned workers, long count, long at_once) {
  ::setenv("UV_THREADPOOL_SIZE", std::to_string(workers).c_str(), 1);
  std::vector<uv_work_t> requests(static_cast<std::size_t>(at_once));
  const auto round = [&](long jobs) {
    uv_state state{jobs - at_once};
    for (auto& each : requests) {
      each.data = &state;
      start_uv(&each);
    }
    uv_run(uv_default_loop(), UV_RUN_DEFAULT);
  };
  round(at_once);
  const double start = bench::nanoseconds();
  round(count);
  return (bench::nanoseconds() - start) / static_cast<double>(count);
}
#endif

// The same in a process of its own. `cpu` grows by the processor time of all its threads, per job.
double in_child(contender run, unsigned workers, long count, long at_once, std::vector<double>& cpu) {
  int ends[2];
  if (::pipe(ends) != 0) return 0;
  const pid_t child = ::fork();
  if (child == 0) {
    const double result = run(workers, count, at_once);
    ::_exit(::write(ends[1], &result, sizeof result) == sizeof result ? 0 : 1);
  }
  ::close(ends[1]);
  double result = 0;
  if (::read(ends[0], &result, sizeof result) != sizeof result) std::fprintf(stderr, "a measurement has failed\n");
  ::close(ends[0]);
  rusage usage{};
  ::wait4(child, nullptr, 0, &usage);
  const auto microseconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_usec);
  };
  cpu.push_back((microseconds(usage.ru_utime) + microseconds(usage.ru_stime)) * 1e3 / static_cast<double>(count));
  return result;
}

void show_growth(long jobs) {
  (void)with_job_queue(4, 100'000, 1000);
  const std::size_t before = bench::resident_bytes();
  const double each = with_job_queue(4, jobs, 1000);
  std::printf("%ld jobs, %.0f ns each: resident memory %.2f MB before, %.2f MB after\n\n", jobs, each,
              static_cast<double>(before) / 1e6, static_cast<double>(bench::resident_bytes()) / 1e6);
}

}  // namespace

int main(int argc, char** argv) {
  settings options;
  CLI::App app("What a job costs.");
  app.add_option("--rounds", options.rounds, "rounds of each case")->check(CLI::PositiveNumber);
  app.add_option("--count", options.count, "jobs a round")->check(CLI::PositiveNumber);
  app.add_option("--workers", options.workers, "threads, separated by commas")->delimiter(',');
  app.add_option("--growth", options.growth, "run so many jobs and say what memory they have left behind");
  app.add_option("--json", options.json, "file for the figures");
  CLI11_PARSE(app, argc, argv);
  if (options.growth > 0) show_growth(options.growth);

  const std::vector<std::pair<const char*, contender>> contenders {
    {"job_queue", &with_job_queue}, {"std::async", &with_async},
#if EVENTER_BENCH_ASIO
        {"asio::thread_pool", &with_asio},
#endif
#if EVENTER_BENCH_LIBUV
        {"libuv", &with_libuv},
#endif
  };
  std::printf("nanoseconds a job:\n\n");
  std::vector<bench::measurement> all;
  bench::table table({"", "workers", "median", "job_queue to it", "processor time"});
  double worst = 0;
  for (const long at_once : {1L, 1000L})
    for (const unsigned workers : options.workers) {
      const std::string what = at_once == 1 ? "latency" : "throughput";
      const long count = std::max(at_once, at_once == 1 ? options.count : options.count * 10);
      std::vector<bench::measured_case> cases;
      std::vector<std::vector<double>> cpu(contenders.size());
      for (const auto& [name, run] : contenders)
        cases.push_back(
            {what + ", " + name + ", " + std::to_string(workers),
             [=, run = run, &mine = cpu[cases.size()]] { return in_child(run, workers, count, at_once, mine); }});
      const auto results = bench::interleaved(cases, options.rounds);
      for (std::size_t i = 0; i < results.size(); ++i) {
        table.row({what + ", " + contenders[i].first, std::to_string(workers), bench::number(results[i].middle(), 0),
                   bench::times(results[0].ratio_to(results[i])), bench::number(bench::median(cpu[i]), 0)});
        if (i > 0) worst = std::max(worst, results[0].ratio_to(results[i]));
      }
      all.insert(all.end(), results.begin(), results.end());
    }
  table.print();
  std::printf("\n");
  bench::goal("job_queue to the best of the others, at worst", worst, 1.05, "x");
  return options.json.empty() || bench::write_json(options.json, all) ? 0 : 1;
}
