// When a stack of one's own costs less than copying: the life of a coroutine that suspends so often, so deep, among
// others that do the same, on each kind of stack.
//
//   own_stacks [--rounds 7] [--alive 100] [--depths 256,...] [--suspensions 4,...] [--json FILE]
#include <alloca.h>

#include <CLI/CLI.hpp>
#include <cstring>
#include <eventer/eventer.hpp>

#include "measure.hpp"

namespace {

struct settings {
  int rounds = 7;
  std::size_t alive = 100;
  std::vector<std::size_t> depths{256, 1024, 4096, 16384, 65536};
  std::vector<int> suspensions{4, 32, 256};
  std::string json;
};

enum class kind { shared, own, call, adaptive };

void suspend_deep(std::size_t extra, int times) {
  char* const locals = static_cast<char*>(alloca(extra));
  std::memset(locals, 1, extra);
  for (int i = 0; i < times; ++i) {
    asm volatile("" : : "r"(locals) : "memory");
    eventer::yield();
  }
}

// Nanoseconds a suspension, spawn and end included.
double life(kind how, std::size_t depth, int times, std::size_t alive) {
  double result = 0;
  eventer::run(
      [&] {
        const std::size_t batches = std::max<std::size_t>(3, 40'000 / (alive * static_cast<std::size_t>(times)));
        const auto batch = [&] {
          eventer::wait_group all;
          for (std::size_t i = 0; i < alive; ++i) {
            all.add();
            const auto body = [how, depth, times, all]() mutable {
              if (how == kind::call)
                eventer::call_on_own_stack([=] { suspend_deep(depth, times); });
              else
                suspend_deep(depth, times);
              all.done();
            };
            (void)eventer::spawn(
                eventer::spawn_options{
                    .name = "life", .stack = how == kind::own ? eventer::stack_kind::own : eventer::stack_kind::shared},
                body);
          }
          all.wait();
        };
        batch();  // what is kept for the next ones is there, and a policy has made up its mind
        const double start = bench::nanoseconds();
        for (std::size_t i = 0; i < batches; ++i) batch();
        result =
            (bench::nanoseconds() - start) / static_cast<double>(batches * alive * static_cast<std::size_t>(times));
      },
      {.adaptive_stacks = how == kind::adaptive});
  return result;
}

}  // namespace

int main(int argc, char** argv) {
  settings options;
  CLI::App app("When a stack of one's own costs less than copying.");
  app.add_option("--rounds", options.rounds, "rounds of each case")->check(CLI::PositiveNumber);
  app.add_option("--alive", options.alive, "coroutines at a time")->check(CLI::PositiveNumber);
  app.add_option("--depths", options.depths, "bytes of locals, separated by commas")->delimiter(',');
  app.add_option("--suspensions", options.suspensions, "in a coroutine's life, separated by commas")->delimiter(',');
  app.add_option("--json", options.json, "file for the figures");
  CLI11_PARSE(app, argc, argv);
  (void)bench::pin_to_core(0);

  std::printf("%zu coroutines at a time on 16 shared stacks; nanoseconds a suspension, spawn and end included:\n\n",
              options.alive);
  bench::table table(
      {"locals", "suspensions", "shared", "own", "call", "adaptive", "own/shared", "call/shared", "adaptive/shared"});
  std::vector<bench::measurement> all;
  for (const std::size_t depth : options.depths)
    for (const int times : options.suspensions) {
      std::vector<bench::measured_case> cases;
      const std::string suffix = " " + std::to_string(depth) + " B, " + std::to_string(times);
      for (const auto& [name, how] :
           {std::pair{"shared", kind::shared}, {"own", kind::own}, {"call", kind::call}, {"adaptive", kind::adaptive}})
        cases.push_back({name + suffix, [=, how = how, &options] { return life(how, depth, times, options.alive); }});
      const auto results = bench::interleaved(cases, options.rounds);
      table.row({std::to_string(depth) + " B", std::to_string(times), bench::number(results[0].middle()),
                 bench::number(results[1].middle()), bench::number(results[2].middle()),
                 bench::number(results[3].middle()), bench::times(results[1].ratio_to(results[0])),
                 bench::times(results[2].ratio_to(results[0])), bench::times(results[3].ratio_to(results[0]))});
      all.insert(all.end(), results.begin(), results.end());
    }
  table.print();
  return options.json.empty() || bench::write_json(options.json, all) ? 0 : 1;
}
