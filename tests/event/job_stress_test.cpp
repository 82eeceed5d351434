// Job queues under stress: what races is brought about again and again, and everything happens exactly once.
#include <cstdlib>
#include <new>
#include <random>
#include <vector>

#include "../captured_log.hpp"
#include "../catch.hpp"
#include "../child.hpp"
#include "../foreign_coroutines.hpp"
#include "eventer/event/job_queue.hpp"
#include "jobs.hpp"

using namespace std::chrono_literals;
using eventer::job_queue;

namespace {

// So many rounds, fewer where each of them costs more.
int rounds(int plain) {
  if (eventer::context::running_on_valgrind()) return plain / 500;
  return EVENTER_TSAN ? plain / 10 : EVENTER_ASAN ? plain / 5 : plain;
}

// How often something was made and destroyed, counted by what is moved along.
struct tally {
  std::atomic<long> made{0}, destroyed{0};
};
class counted_thing {
 public:
  explicit counted_thing(std::shared_ptr<tally> to) : to_(std::move(to)) { ++to_->made; }
  counted_thing(counted_thing&& other) noexcept = default;
  ~counted_thing() {
    if (to_ != nullptr) ++to_->destroyed;
  }

 private:
  std::shared_ptr<tally> to_;
};

// Jobs and their coroutines of one round, which know each other.
struct pair_of_flags {
  std::atomic<bool> answered{false};
};
void spin_until(const std::atomic<bool>& flag) {
  while (!flag) ::sched_yield();
}

// Moves a clock on until it is destroyed.
class moving_clock {
 public:
  moving_clock() {
    pump_ = std::thread([this] {
      while (!stop_) {
        time.advance(8ns);
        std::this_thread::sleep_for(10us);
      }
    });
  }
  moving_clock(const moving_clock&) = delete;
  moving_clock& operator=(const moving_clock&) = delete;
  void stop() {
    stop_ = true;
    if (pump_.joinable()) pump_.join();
  }
  ~moving_clock() { stop(); }

  eventer::manual_clock time{eventer::manual_clock::when_idle::wait};

 private:
  std::atomic<bool> stop_{false};
  std::thread pump_;
};

}  // namespace

TEST_CASE("a million time-outs race with their jobs' ends: each is answered once, and everything is destroyed once") {
  job_queue queue("test", {.max_concurrency = 3});
  const auto closures = std::make_shared<tally>(), results = std::make_shared<tally>();
  constexpr int coroutines = 64;
  const int each = rounds(1'000'000) / coroutines;
  int in_time = 0, late = 0, other = 0;
  eventer::wait_group all;
  moving_clock clock;
  eventer::run(
      [&] {
        all.add(coroutines);
        for (int c = 0; c < coroutines; ++c)
          (void)eventer::spawn([&, c] {
            std::minstd_rand random(static_cast<unsigned>(c + 1));
            for (int i = 0; i < each; ++i) {
              // One of 64 can't be in time, one of 64 can't be late; the others can be both.
              const auto flags = (i + c) % 64 == 0 ? std::make_shared<pair_of_flags>() : nullptr;
              const eventer::time_limit limit =
                  (i + c) % 64 == 1 ? eventer::time_limit() : eventer::duration(random() % 64);
              const auto got = queue.run_for(limit, [flags, results, w = counted_thing(closures)] {
                if (flags != nullptr) spin_until(flags->answered);
                return counted_thing(results);
              });
              if (flags != nullptr) flags->answered = true;
              ++(got ? in_time : got.error() == std::errc::timed_out ? late : other);
            }
            all.done();
          });
        all.wait();
        (void)queue.drain({});
      },
      {.clock = &clock.time});
  INFO(in_time << " in time, " << late << " late");
  CHECK(other == 0);
  CHECK(in_time + late == each * coroutines);
  CHECK(in_time >= each * coroutines / 100);
  CHECK(late >= each * coroutines / 100);
  const auto stats = queue.stats();
  CHECK(stats.completed + stats.withdrawn == stats.submitted);
  CHECK(stats.submitted == static_cast<std::uint64_t>(each * coroutines));
  CHECK(stats.withdrawn + stats.abandoned == static_cast<std::uint64_t>(late));
  CHECK(closures->made == closures->destroyed);
  CHECK(results->made == results->destroyed);
  CHECK(results->made == static_cast<long>(stats.completed));
}

TEST_CASE("the same for continuations: each of a when_any is told once") {
  job_queue queue("test", {.max_concurrency = 3});
  const auto closures = std::make_shared<tally>();
  constexpr int coroutines = 32;
  const int each = rounds(200'000) / coroutines;
  int first = 0, second = 0, timer = 0;
  eventer::wait_group all;
  moving_clock clock;
  eventer::run(
      [&] {
        all.add(coroutines);
        for (int c = 0; c < coroutines; ++c)
          (void)eventer::spawn([&, c] {
            std::minstd_rand random(static_cast<unsigned>(c + 1));
            for (int i = 0; i < each; ++i) {
              const auto limit = eventer::duration(random() % 128);
              // What loses is waited for in the first, and left behind in the second.
              const auto won = eventer::when_any(queue.async_run([w = counted_thing(closures)] { return 1; }),
                                                 queue.async_run_for(limit, [w = counted_thing(closures)] {}),
                                                 eventer::after(eventer::duration(random() % 128)));
              ++(won.index == 0 ? first : won.index == 1 ? second : timer);
            }
            all.done();
          });
        all.wait();
        (void)queue.drain({});
      },
      {.clock = &clock.time});
  INFO(first << ", " << second << ", " << timer);
  CHECK(first + second + timer == each * coroutines);
  const auto stats = queue.stats();
  CHECK(stats.completed + stats.withdrawn == stats.submitted);
  CHECK(closures->made == closures->destroyed);
}

TEST_CASE("cancellations race with jobs' ends: each waiter ends once, and everything is destroyed once") {
  // Each job cancels the waiter of another one, from its thread.
  struct batch {
    explicit batch(std::size_t size) : handles(size), answered(size) {}
    std::vector<eventer::join_handle<void>> handles;
    std::vector<std::atomic<bool>> answered;
    std::size_t begun = 0;
    eventer::wait_group left;
  };
  constexpr std::size_t size = 64;
  const int batches = rounds(400'000) / static_cast<int>(size);
  for (const bool abandon : {false, true}) {
    job_queue queue("test", {.max_concurrency = 3, .abandon = abandon});
    const auto closures = std::make_shared<tally>(), results = std::make_shared<tally>();
    long finished = 0, canceled = 0;
    eventer::run([&] {
      for (int b = 0; b < batches / 2; ++b) {
        const auto all = std::make_shared<batch>(size);
        all->left.add(size);
        for (std::size_t k = 0; k < size; ++k)
          all->handles[k] = eventer::spawn([&, all = all.get(), k] {
            ++all->begun;  // who is cancelled before never begins
            while (all->begun < size) eventer::yield();
            try {
              // One of 32 is cancelled for certain, and one of 32 is not.
              const bool certain = k % 32 == 0;
              const std::size_t victim = certain ? k : (k + 7) % size;
              auto job = [all, certain, victim, results, w = counted_thing(closures)] {
                if (certain || victim % 32 > 1) all->handles[victim].cancel();
                if (certain) spin_until(all->answered[victim]);
                return counted_thing(results);
              };
              if (certain)
                (void)queue.run_for({}, std::move(job));
              else
                (void)queue.run(std::move(job));
              ++finished;
              all->left.done();
            } catch (const eventer::cancelled&) {
              ++canceled;
              all->left.done();
              all->answered[k] = true;
              throw;
            }
          });
        all->left.wait();
        (void)queue.drain({});  // nobody uses the handles any more
      }
    });
    INFO(finished << " finished, " << canceled << " cancelled");
    CHECK(finished + canceled == static_cast<long>(size) * (batches / 2));
    CHECK(finished >= (finished + canceled) / 100);
    CHECK(canceled >= (finished + canceled) / 100);
    const auto stats = queue.stats();
    CHECK(stats.completed + stats.withdrawn == stats.submitted);
    CHECK(closures->made == closures->destroyed);
    CHECK(results->made == results->destroyed);
  }
}

TEST_CASE("a million jobs are drained; a million more go with their queue") {
  const int many = rounds(1'000'000);
  const auto ran = std::make_shared<std::atomic<int>>(0);
  const auto closures = std::make_shared<tally>();
  {
    job_queue queue("test", {.max_concurrency = 2, .max_backlog = 10'000'000});
    for (int i = 0; i < many; ++i) (void)queue.post([ran] { ran->fetch_add(1, std::memory_order_relaxed); });
    CHECK(queue.drain({}) == 0);
    CHECK(*ran == many);
    const auto gate = make_barrier();
    for (int i = 0; i < 2; ++i) (void)queue.post([gate] { gate->wait(); });
    gate->until_waiting(2);
    for (int i = 0; i < many; ++i) (void)queue.post([w = counted_thing(closures)] {});
    CHECK(queue.stats().queued == static_cast<std::size_t>(many));
    gate->open();
  }
  CHECK(closures->made == closures->destroyed);
}

TEST_CASE("ten thousand keys are each served in their turn, whatever one of them brings") {
  constexpr int keys = 10'000, flood = 100'000;
  struct record {
    int turn = 0, last_of_others = 0, floods_before = 0, floods = 0;
  };
  const auto seen = std::make_shared<record>();  // by one thread
  job_queue queue("test", {.max_concurrency = 1, .max_backlog = 1'000'000});
  const auto gate = make_barrier();
  (void)queue.post([gate] { gate->wait(); });
  gate->until_waiting(1);
  for (int i = 0; i < flood; ++i) (void)queue.subqueue(1).post([seen] { ++seen->turn, ++seen->floods; });
  for (int key = 2; key < keys + 2; ++key)
    for (int i = 0; i < 2; ++i)
      (void)queue.subqueue(static_cast<std::uint64_t>(key)).post([seen] {
        seen->last_of_others = ++seen->turn;
        seen->floods_before = seen->floods;
      });
  gate->open();
  CHECK(queue.drain({}) == 0);
  CHECK(seen->turn == flood + 2 * keys);
  CHECK(seen->last_of_others == 2 * keys + 2);
  CHECK(seen->floods_before == 2);
}

TEST_CASE("loops and plain threads bring jobs to one queue, and jobs bring more") {
  job_queue queue("test", {.max_concurrency = 3, .max_backlog = 8});
  const auto inner = std::make_shared<std::atomic<int>>(0);
  std::atomic<int> sum{0};
  const int each = rounds(5'000);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < each; ++i)
        sum += queue.subqueue(static_cast<std::uint64_t>(i % 3)).run([queue, inner] {
          (void)queue.post([inner] { ++*inner; });
          return queue.run([] { return 1; });
        });
    });
    threads.emplace_back([&] {
      eventer::run(
          [&] {
            for (int c = 0; c < 10; ++c)
              (void)eventer::spawn([&] {
                for (int i = 0; i < each / 10; ++i) {
                  sum += queue.run([] { return 1; });
                  (void)queue.post([inner] { ++*inner; });
                }
              });
          },
          {.shutdown_grace = 1ms});
    });
  }
  for (auto& one : threads) one.join();
  CHECK(queue.drain({}) == 0);
  const auto stats = queue.stats();
  CHECK(sum >= 4 * each);
  CHECK(*inner >= 4 * each);
  CHECK(stats.submitted == stats.completed + stats.withdrawn);
  CHECK(stats.running + stats.queued + stats.waiting_for_room == 0);
}

TEST_CASE("no job is left behind where threads come and go all the time") {
  for (const unsigned min : {0u, 1u}) {
    job_queue queue("test", {.min_concurrency = min, .max_concurrency = 4, .idle = 0s});
    std::atomic<int> sum{0};
    const int each = rounds(3'000);
    std::vector<std::thread> threads;
    for (int t = 0; t < 3; ++t)
      threads.emplace_back([&] {
        for (int i = 0; i < each; ++i) {
          sum += queue.run([] { return 1; });
          if (i % 16 == 0) std::this_thread::sleep_for(50us);  // or no thread would be idle
        }
      });
    for (auto& one : threads) one.join();
    CHECK(sum == 3 * each);
    while (queue.stats().threads > min) std::this_thread::yield();
    CHECK(queue.run([] { return 1; }) == 1);
  }
}

TEST_CASE("where threads can be made only now and then, each job runs or is refused") {
  job_queue queue("test", {.max_concurrency = 4, .idle = 0s});
  std::atomic<int> ran{0}, refused{0}, other{0};
  const int each = rounds(3'000);
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t)
    threads.emplace_back([&] {
      eventer::syscalls::fault_hook = [](eventer::syscalls::call which) {
        thread_local int calls = 0;
        return which == eventer::syscalls::call::pthread_create && ++calls % 3 != 0 ? EAGAIN : 0;
      };
      for (int i = 0; i < each; ++i) {
        const auto got = queue.run_for({}, [] { return 1; });
        ++(got ? ran : got.error() == std::errc::resource_unavailable_try_again ? refused : other);
      }
      eventer::syscalls::fault_hook = nullptr;
    });
  for (auto& one : threads) one.join();
  INFO(ran << " ran, " << refused << " refused");
  CHECK(ran > 0);
  CHECK(other == 0);
  CHECK(ran + refused == 3 * each);
  CHECK(queue.stats().refused == static_cast<std::uint64_t>(refused));
  CHECK(queue.stats().completed == static_cast<std::uint64_t>(ran));
}

TEST_CASE("a job that never ends holds up neither its queue's end, nor its loop's, nor the process's") {
  const child_result child = run_in_child([] {
    static job_queue* at_exit = new job_queue("static", {.max_concurrency = 1, .shutdown_grace = 1ms});
    const auto never = make_barrier();
    (void)job_queue::shared().post([never] { never->wait(); });
    eventer::run(
        [&] {
          (void)eventer::spawn([never] { at_exit->run([never] { never->wait(); }); });
          (void)eventer::spawn([never] { at_exit->run([never] { never->wait(); }); });  // which does not begin
          eventer::yield();
          never->until_waiting(2);
        },
        {.shutdown_grace = 1ms});
    {
      const job_queue local("local", {.shutdown_grace = 1ms});
      (void)local.post([never] { never->wait(); });
      never->until_waiting(3);
    }
    std::at_quick_exit([] { delete at_exit; });  // exit() would end the test framework too
    std::quick_exit(3);
  });
  CHECK(child.exit_status == 3);
  CHECK(contains(child.output, "a loop ends while a job of the queue \"static\" runs"));
  CHECK(contains(child.output, "1 jobs of the queue \"local\" still run"));
  CHECK(contains(child.output, "1 jobs of the queue \"static\" still run"));
}

TEST_CASE("children that are forked while jobs are out and queued begin anew, and end in peace", "[no-emulator]") {
  if (EVENTER_TSAN || EVENTER_ASAN)
    EVENTER_SKIP("the sanitizer's locks may be held for ever in a child of several threads");
  job_queue queue("test", {.max_concurrency = 2});
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t)
    threads.emplace_back([&] {
      while (!stop) {
        (void)queue.run_for(1us, [] { return 1; });
        if (queue.stats().queued < 100)
          for (int i = 0; i < 10; ++i) (void)queue.post([] {});
      }
    });
  int good = 0;
  for (int i = 0; i < 20; ++i) {
    const child_result child = run_in_child([&] {
      {
        const job_queue copy = queue;
        const int of_thread = copy.run([] { return 1; });
        int of_loop = 0;
        eventer::run([&] { of_loop = copy.subqueue(7).run([] { return 2; }); });
        std::printf("%d %d %zu", of_thread, of_loop, copy.drain({}));
      }
    });
    good += contains(child.output, "1 2 0");
  }
  stop = true;
  for (auto& one : threads) one.join();
  CHECK(good == 20);
}

TEST_CASE("C++20 coroutines are destroyed while their jobs are queued, run, or have ended") {
  job_queue queue("test", {.max_concurrency = 2});
  const auto closures = std::make_shared<tally>();
  const int many = rounds(50'000);
  eventer::run([&] {
    std::minstd_rand random(1);
    std::vector<std::unique_ptr<by_hand>> out;
    for (int i = 0; i < many; ++i) {
      out.push_back(std::make_unique<by_hand>([](job_queue to, std::shared_ptr<tally> count, int kind) -> by_hand {
        auto job = [w = counted_thing(std::move(count))] {};
        if (kind == 0)
          co_await to.async_run(std::move(job));
        else
          (void)co_await to.async_run_for(1h, std::move(job));
      }(queue, closures, i % 2)));
      out.back()->handle.resume();
      if (random() % 8 == 0) eventer::yield();
      if (out.size() >= 16) out.erase(out.begin() + static_cast<std::ptrdiff_t>(random() % 16));
    }
    out.clear();
    (void)queue.drain({});
    yield_until([&] { return closures->made == closures->destroyed; });
  });
  const auto stats = queue.stats();
  CHECK(stats.submitted == static_cast<std::uint64_t>(many));
  CHECK(stats.completed + stats.withdrawn == stats.submitted);
  CHECK(closures->made == closures->destroyed);
}

#if !EVENTER_ASAN && !EVENTER_TSAN  // they have an operator new of their own

namespace {
constinit thread_local int allocations_left = -1;  // none is counted
int allocations_of(int before) { return before - std::exchange(allocations_left, -1); }
}  // namespace

__attribute__((noinline)) void* operator new(std::size_t bytes) {
  if (allocations_left >= 0 && allocations_left-- == 0) {
    allocations_left = 0;
    throw std::bad_alloc();
  }
  if (void* const memory = std::malloc(bytes == 0 ? 1 : bytes); memory != nullptr) return memory;
  throw std::bad_alloc();
}
__attribute__((noinline)) void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  if (allocations_left == 0) return nullptr;
  if (allocations_left > 0) --allocations_left;
  return std::malloc(bytes == 0 ? 1 : bytes);
}
__attribute__((noinline)) void operator delete(void* memory) noexcept { std::free(memory); }
__attribute__((noinline)) void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

TEST_CASE("whichever allocation fails, a job is brought or it is not, and nothing is lost") {
  struct counts {
    std::atomic<int> ran{0}, cleaned{0};
    int complete = 0;  // on the loop
  };
  const auto closures = std::make_shared<tally>();
  // Brings a job in one of the ways, with a new key and thread; answers whether it was brought.
  using bring = bool (*)(const job_queue&, const std::shared_ptr<counts>&, counted_thing&&);
  const std::initializer_list<bring> ways = {
      [](const job_queue& to, const std::shared_ptr<counts>& count, counted_thing&& thing) {
        return to.subqueue(5).post([count, w = std::move(thing)] { ++count->ran; }).has_value();
      },
      [](const job_queue& to, const std::shared_ptr<counts>& count, counted_thing&& thing) {
        return to.run_for({}, [count, w = std::move(thing)] { ++count->ran; }).has_value();
      },
      [](const job_queue& to, const std::shared_ptr<counts>& count, counted_thing&& thing) {
        return to
            .submit([count, w = std::move(thing)] { ++count->ran; }, [count] { ++count->cleaned; },
                    [count](std::error_code) { ++count->complete; })
            .has_value();
      },
  };
  std::vector<std::string> answers;
  for (const bool in_loop : {false, true})
    for (std::size_t way = 0; way < (in_loop ? 3 : 2); ++way)
      for (int n = 0; n < 40; ++n) {
        const auto count = std::make_shared<counts>();
        bool brought = false, threw = false;
        const auto body = [&] {
          const job_queue queue("test");
          auto thing = std::make_unique<counted_thing>(closures);
          allocations_left = n;
          try {
            brought = ways.begin()[way](queue, count, std::move(*thing));
          } catch (const std::bad_alloc&) {
            threw = true;
          }
          (void)allocations_of(n);
          (void)queue.drain({});
          if (in_loop) yield_until([&] { return count->complete == (brought && way == 2 ? 1 : 0); });
        };
        if (in_loop)
          eventer::run(body);
        else
          body();
        const bool good = count->ran == (brought ? 1 : 0) && count->complete == (brought && way == 2 ? 1 : 0) &&
                          (way != 2 || count->cleaned == 1);
        if (!good)
          answers.push_back("way " + std::to_string(way) + " allocation " + std::to_string(n) +
                            (brought ? " brought"
                             : threw ? " threw"
                                     : " refused"));
      }
  CHECK(answers == std::vector<std::string>());
  CHECK(closures->made == closures->destroyed);
}

#endif
