// Generated programs against a model. A seed gives a program (a tree of small steps: spawns, joins, cancels, channels,
// locks, scopes, own stacks, exceptions), the options of its loop, the order in which ready coroutines run, and how the
// loop ends. Time is virtual and there is no kernel, so a seed means the same run everywhere.
//
// While it runs, each step checks what it is answered (model/steps.hpp), and at the end everything has to be accounted
// for (model/world.hpp): every closure destroyed once, every join answered with what its coroutine ended with, nothing
// cancelled that nobody cancelled, nothing after its scope, no value lost or invented, all memory given back.
//
// A failure names its seed. EVENTER_MODEL_SEED=n runs that one alone and prints its steps, then those of the smallest
// program that was found to fail as well; EVENTER_MODEL_RUNS=n sets how many seeds are tried, EVENTER_MODEL_FIRST=n
// where they begin.
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "../catch.hpp"
#include "model/steps.hpp"

namespace {

using namespace std::chrono_literals;
using keys = std::unordered_set<std::uint64_t>;

// A kernel that has nothing to report. Who waits for it without a limit waits for ever.
class no_kernel final : public eventer::reactor {
 public:
  std::error_code add(int, std::uint64_t) override { return {}; }
  std::error_code arm_once(int, std::uint64_t, eventer::io_mask) override { return {}; }
  void remove(int) noexcept override {}
  std::span<const eventer::reactor_event> wait(eventer::time_point deadline) override {
    if (!std::exchange(woken_, false) && deadline == eventer::no_deadline)
      model::the->violated("the loop would wait for ever", nullptr);
    return {};
  }
  void wake() noexcept override { woken_ = true; }
  std::error_code rebuild() override { return {}; }
  int native_handle() override { return -1; }
  void announce(eventer::time_point) override {}
  std::unique_ptr<eventer::signal_source> open_signals(const sigset_t&) override { return nullptr; }

 private:
  bool woken_ = false;
};

eventer::loop_options options_from(model::draws& d, eventer::manual_clock& clock) {
  eventer::loop_options options;
  options.clock = &clock;
  options.seed = d.chance(90) ? d.next() : 0;
  options.shared_stacks = 1 + d.below(4);
  options.evict_always = d.chance(30);
  options.adaptive_stacks = d.chance(20);
  options.private_stacks = d.chance(5);
  options.own_stack_bytes = 64 << 10;
  options.checks = eventer::capture_checks::off;
  options.shutdown_grace = std::chrono::milliseconds(d.chance(50) ? 0 : d.below(6));
  if (d.chance(95)) options.reactor = [] { return std::unique_ptr<eventer::reactor>(new no_kernel); };
  options.unhandled_exception = [](const char*, std::exception_ptr what) {
    try {
      std::rethrow_exception(what);
    } catch (...) {
      model::the->unhandled(model::identity_of_current());
    }
  };
  return options;
}

// Whether `run` was left by an exception of a callback, which must be the one it has thrown.
template <class F>
bool interrupted(model::world& w, F run) {
  try {
    run();
    return false;
  } catch (const model::failure& what) {
    w.require(what.number == w.thrown_by_callback, "a loop has thrown what no callback has thrown");
    return true;
  }
}

// Until nothing is left to do. False: it was stopped before.
bool run_to_the_end(model::world& w, model::draws& d) {
  for (;;) {
    const auto end = w.now() + 1h;
    const bool drains = d.chance(50);
    const bool thrown = interrupted(w, [&] { drains ? (void)w.loop->drain(1h) : w.loop->run(); });
    w.require(w.now() < end, "the program does not end");
    if (!w.violation.empty() || (w.stopped && d.chance(30))) return false;
    if (thrown) continue;  // a stop() of the same turn is still to be heard
    if (std::exchange(w.stopped, false)) continue;
    w.require(w.loop->living() == 0, "a loop has returned to its caller while coroutines live");
    if (!drains) break;
  }
  const eventer::loop_stats stats = w.loop->stats();
  w.require(stats.coroutines == 0, "a coroutine lives on");
  w.require(stats.timers == 0, "a timer is left");
  w.require(w.loop->continuation_count() == 0, "a continuation is left");
  w.require(w.loop->saves().bytes_in_use() == 0, "save stacks are left");
  w.require(w.loop->ready_count() == 0, "something is ready that nobody waits for");
  return true;
}

struct result {
  std::string violation;
  std::uint64_t trace;
  std::vector<std::uint64_t> steps;
};

result run_program(std::uint64_t seed, bool tracing = false, const keys& without = {}) {
  model::draws d(seed);
  eventer::manual_clock clock;
  model::world w(tracing, without);
  w.clock = &clock;
  {
    const eventer::loop_options options = options_from(d, clock);
    w.grace = options.shutdown_grace;
    eventer::event_loop loop(options);
    w.loop = &loop;
    // Several programs on one loop, one after the other; of the last one the loop's end may come in the middle.
    for (unsigned round = d.below(3); w.violation.empty(); --round) {
      w.begin_round();
      w.favours = d.next() & d.next() & d.next();
      model::record& main = w.new_record(nullptr, d.next(), 3);
      const unsigned way = d.below(round == 0 ? 4 : 2);
      if (way == 0) {
        loop.post(
            [&main, program = model::body_of(main)]() mutable { main.handle = eventer::spawn(std::move(program)); });
      } else if (way == 1) {
        main.remote = true;
        main.handle = loop.spawn(model::body_of(main));
      } else if (way == 2) {
        (void)interrupted(w, [&] { main.handle = loop.run_main(model::body_of(main)); });
        main.detached = main.detached || !main.handle.joinable();
        break;
      } else {
        loop.post(
            [&main, program = model::body_of(main)]() mutable { main.handle = eventer::spawn(std::move(program)); });
        const auto limit = d.time() + d.time();
        (void)interrupted(w, [&] { (void)loop.drain(limit); });
        break;
      }
      if (!run_to_the_end(w, d) || round == 0) break;
    }
    w.begin_to_end();
  }
  w.loop = nullptr;
  w.note(nullptr, "the loop has ended");
  for (model::record& each : w.coroutines)
    if (each.handle.joinable()) model::join(nullptr, each, d, false);
  w.look_at_the_end();
  return {w.violation, w.trace(), std::move(w.steps_done)};
}

// Leaves out whatever is not needed to fail. For so long that nobody thinks it hangs.
keys smallest_failing(std::uint64_t seed, const std::string& violation) {
  const std::string kind = violation.substr(0, violation.find(" (coroutine"));
  keys without;
  const auto end = eventer::clock::now() + 10s;
  for (bool smaller = true; smaller;) {
    smaller = false;
    std::vector<std::uint64_t> all = run_program(seed, false, without).steps;
    std::reverse(all.begin(), all.end());
    for (const std::uint64_t each : all) {
      if (eventer::clock::now() > end) return without;
      without.insert(each);
      if (run_program(seed, false, without).violation.starts_with(kind))
        smaller = true;
      else
        without.erase(each);
    }
  }
  return without;
}

// Who crashes, aborts or hangs does so with its seed's name.
class names_the_seed {
 public:
  names_the_seed() {
    for (std::size_t i = 0; i < std::size(signals); ++i) {
      struct sigaction action = {};
      action.sa_handler = &on_signal;
      action.sa_flags = SA_ONSTACK;
      if (signals[i] != SIGSEGV || !EVENTER_ASAN) sigaction(signals[i], &action, &before_[i]);
    }
  }
  names_the_seed(const names_the_seed&) = delete;
  names_the_seed& operator=(const names_the_seed&) = delete;
  ~names_the_seed() {
    alarm(0);
    put_back();
  }
  static void now(std::uint64_t seed) {
    std::snprintf(text_, sizeof text_, "\nthe model test dies: EVENTER_MODEL_SEED=%llu repeats it\n",
                  static_cast<unsigned long long>(seed));
    if (seed % 256 == 0) alarm(300);
  }

 private:
  static constexpr int signals[] = {SIGSEGV, SIGABRT, SIGALRM};
  static void on_signal(int number) {
    (void)!::write(2, text_, std::strlen(text_));
    put_back();
    ::raise(number);
  }
  static void put_back() {
    for (std::size_t i = 0; i < std::size(signals); ++i)
      if (signals[i] != SIGSEGV || !EVENTER_ASAN) sigaction(signals[i], &before_[i], nullptr);
  }
  static inline char text_[96];
  static inline struct sigaction before_[std::size(signals)];
};

std::uint64_t number_from(const char* variable, std::uint64_t otherwise) {
  const char* const text = std::getenv(variable);
  return text != nullptr ? std::strtoull(text, nullptr, 0) : otherwise;
}
// As many as take some 15 seconds; fewer where each step takes longer, and where all programs run in one way that some
// of the others run in anyhow.
std::uint64_t usual_runs() {
#if defined(__aarch64__)
  return 2'000;  // emulated, where it is ours
#else
  const auto is_set = [](const char* variable) { return number_from(variable, 0) != 0; };
  if (eventer::context::running_on_valgrind()) return 200;
  if (EVENTER_ASAN || EVENTER_TSAN || is_set("EVENTER_STRICT")) return 2'000;
  return is_set("EVENTER_EVICT_ALWAYS") ? 20'000 : 100'000;
#endif
}

struct without_log {
  without_log() {
    eventer::set_log_sink([](eventer::log_level, const char*) {});
  }
  ~without_log() { eventer::set_log_sink(nullptr); }
};

}  // namespace

TEST_CASE("generated programs keep what is promised, whatever order they run in", "[model]") {
  const without_log quiet;
  const names_the_seed names;
  const bool one = std::getenv("EVENTER_MODEL_SEED") != nullptr;
  const std::uint64_t first = one ? number_from("EVENTER_MODEL_SEED", 0) : number_from("EVENTER_MODEL_FIRST", 1);
  const std::uint64_t count = one ? 1 : number_from("EVENTER_MODEL_RUNS", usual_runs());
  std::uint64_t done = 0;
  for (std::uint64_t seed = first; seed < first + count; ++seed, ++done) {
    names.now(seed);
    const result got = run_program(seed, one);
    if (!got.violation.empty()) {
      std::printf("seed %llu: %s\nEVENTER_MODEL_SEED=%llu repeats it; the smallest program that fails like that:\n",
                  static_cast<unsigned long long>(seed), got.violation.c_str(), static_cast<unsigned long long>(seed));
      std::fflush(stdout);
      (void)run_program(seed, true, smallest_failing(seed, got.violation));
      FAIL("seed " << seed << ": " << got.violation << "; EVENTER_MODEL_SEED=" << seed << " repeats it");
    }
    if (seed % 64 != 0) continue;
    if (run_program(seed).trace != got.trace) FAIL("seed " << seed << " gives two different runs");
  }
  CHECK(done == count);
}
