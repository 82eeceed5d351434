// What one resume and suspend costs when nothing has to be copied: the bare switch, the library's coroutines, and peers
// in the same run.
//
//   switch [--rounds 9] [--json FILE]
#include <CLI/CLI.hpp>
#include <eventer/eventer.hpp>
#include <optional>

#include "measure.hpp"
#include "stackless.hpp"
#if EVENTER_BENCH_BOOST
#include <boost/context/fiber.hpp>
#endif

namespace {

// A context without any library around it.
template <void (*Switch)(void**, void*), void* (*Make)(void*, void* (*)(void*), void*)>
struct bare_context {
  EVENTER_ALWAYS_INLINE void resume() { Switch(&caller, self); }
  static void* body(void* argument) {
    auto& me = *static_cast<bare_context*>(argument);
    for (;;) Switch(&me.self, me.caller);
  }
  eventer::stack_memory stack{std::size_t{64} << 10};
  void* self = Make(stack.top(), &body, this);
  void* caller = nullptr;
};

EVENTER_ALWAYS_INLINE void stub(void** save, void* to) { eventer::context::stub::switch_context(save, to); }
#if defined(__x86_64__)
EVENTER_ALWAYS_INLINE void inlined(void** save, void* to) { eventer::context::inlined::switch_context(save, to); }
#endif

bench::stackless suspend_for_ever() {
  for (;;) co_await std::suspend_always{};
}

}  // namespace

int main(int argc, char** argv) {
  int rounds = 9;
  long count = 2'000'000;
  std::string json;
  CLI::App app{"Nanoseconds per resume and suspend, nothing copied."};
  app.add_option("--rounds", rounds, "measured rounds, interleaved")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--count", count, "switches a round")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--json", json, "write the figures to this file");
  CLI11_PARSE(app, argc, argv);
  bench::pin_to_core(0);

  std::vector<bench::measured_case> cases;
  bare_context<&stub, &eventer::context::stub::make_context> by_stub;
  cases.push_back(
      {"bare switch, out-of-line stub", [&] { return bench::time_each(count, [&] { by_stub.resume(); }); }});
#if defined(__x86_64__)
  bare_context<&inlined, &eventer::context::inlined::make_context> by_inline;
  cases.push_back({"bare switch, inline", [&] { return bench::time_each(count, [&] { by_inline.resume(); }); }});
#endif
  eventer::shared_stack stack;
  eventer::coroutine one(stack, [] {
    for (;;) eventer::coroutine::suspend();
  });
  cases.push_back(
      {"eventer::coroutine, resume + suspend", [&] { return bench::time_each(count, [&] { one.resume(); }); }});
  cases.push_back({"event_loop, yield of two coroutines, a turn each", [&] {
                     double result = 0;
                     eventer::run([&result, count] {
                       const auto turn = [](long times) {
                         for (long i = 0; i < times; ++i) eventer::yield();
                       };
                       auto other = eventer::spawn(turn, count / 2);
                       auto mine = eventer::spawn(turn, count / 2);
                       const double start = bench::nanoseconds();
                       other.join();
                       mine.join();
                       result = (bench::nanoseconds() - start) / static_cast<double>(count);
                     });
                     return result;
                   }});
  const bench::stackless forever = suspend_for_ever();
  cases.push_back(
      {"C++20 stackless coroutine", [&] { return bench::time_each(count, [&] { forever.handle.resume(); }); }});
#if EVENTER_BENCH_BOOST
  boost::context::fiber fiber([](boost::context::fiber&& caller) {
    for (;;) caller = std::move(caller).resume();
    return std::move(caller);
  });
  cases.push_back(
      {"boost::context::fiber", [&] { return bench::time_each(count, [&] { fiber = std::move(fiber).resume(); }); }});
#endif

  const auto results = bench::interleaved(cases, rounds);
  const bench::measurement& reference = results.back();
  bench::table table({"resume + suspend", "min ns", "median ns", "to " + reference.name});
  for (const auto& each : results)
    table.row({each.name, bench::number(each.minimum()), bench::number(each.middle()),
               bench::times(each.ratio_to(reference))});
  table.print();
#if EVENTER_BENCH_BOOST
  for (const auto& each : results)
    if (each.name.starts_with("eventer::coroutine"))
      bench::goal("eventer::coroutine to boost::context::fiber", each.ratio_to(reference), 0.5, "x");
#else
  std::printf("  (built without Boost.Context: no comparison with its fiber)\n");
#endif
  return json.empty() || bench::write_json(json, results) ? 0 : 1;
}
