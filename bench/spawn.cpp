// What it costs to make a coroutine, run it to its end and forget it.
//
//   spawn [--rounds 9] [--json FILE]
#include <CLI/CLI.hpp>
#include <eventer/eventer.hpp>

#include "measure.hpp"
#include "stackless.hpp"
#if EVENTER_BENCH_BOOST
#include <boost/context/fiber.hpp>
#include <boost/context/pooled_fixedsize_stack.hpp>
#endif

namespace {

__attribute__((noinline)) bench::stackless nothing(int* touched) {
  ++*touched;
  co_return;
}

}  // namespace

int main(int argc, char** argv) {
  int rounds = 9;
  long count = 500'000;
  std::string json;
  CLI::App app{"Nanoseconds to create, run and end a coroutine."};
  app.add_option("--rounds", rounds, "measured rounds, interleaved")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--count", count, "coroutines a round")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--json", json, "write the figures to this file");
  CLI11_PARSE(app, argc, argv);
  bench::pin_to_core(0);

  int touched = 0;
  std::vector<bench::measured_case> cases;
  cases.push_back({"C++20 stackless, malloc", [&] {
                     return bench::time_each(count, [&] {
                       const bench::stackless one = nothing(&touched);
                       one.handle.resume();
                       one.handle.destroy();
                     });
                   }});
  eventer::shared_stack stack;
  cases.push_back({"eventer::coroutine", [&] {
                     return bench::time_each(count, [&] {
                       eventer::coroutine one(stack, [&touched] { ++touched; });
                       one.resume();
                     });
                   }});
  cases.push_back({"spawn on a loop, detached, 64 at a time", [&] {
                     double result = 0;
                     eventer::run([&result, &touched, count] {
                       int* const touch = &touched;
                       const double start = bench::nanoseconds();
                       for (long i = 0; i < count; i += 64) {
                         for (int k = 0; k < 64; ++k) (void)eventer::spawn([touch] { ++*touch; });
                         eventer::yield();
                       }
                       result = (bench::nanoseconds() - start) / static_cast<double>((count + 63) / 64 * 64);
                     });
                     return result;
                   }});
  cases.push_back({"spawn on a loop, and join", [&] {
                     double result = 0;
                     eventer::run([&result, &touched, count] {
                       int* const touch = &touched;
                       result = bench::time_each(count, [touch] { eventer::spawn([touch] { ++*touch; }).join(); });
                     });
                     return result;
                   }});
#if EVENTER_BENCH_BOOST
  boost::context::pooled_fixedsize_stack pool;
  cases.push_back({"boost::context::fiber, pooled stack", [&] {
                     return bench::time_each(count, [&] {
                       boost::context::fiber one(std::allocator_arg, pool, [&touched](boost::context::fiber&& caller) {
                         ++touched;
                         return std::move(caller);
                       });
                       one = std::move(one).resume();
                     });
                   }});
#endif

  const auto results = bench::interleaved(cases, rounds);
  bench::table table({"create + run + end", "min ns", "median ns", "to " + results[0].name});
  for (const auto& each : results)
    table.row({each.name, bench::number(each.minimum()), bench::number(each.middle()),
               bench::times(each.ratio_to(results[0]))});
  table.print();
  bench::goal("eventer::coroutine to a bench::stackless one with malloc", results[1].ratio_to(results[0]), 1.0, "x");
  bench::goal("spawn and join on a loop to a bench::stackless one with malloc", results[3].ratio_to(results[0]), 2.0,
              "x");
  return json.empty() || bench::write_json(json, results) ? 0 : 1;
}
