// job_queue: what blocks runs on threads, and whoever waits for it goes on with what it gave.
#include "eventer/event/job_queue.hpp"

#include <set>

#include "../captured_log.hpp"
#include "../catch.hpp"
#include "../child.hpp"
#include "../faults.hpp"
#include "../foreign_coroutines.hpp"
#include "../virtual_run.hpp"
#include "jobs.hpp"

using namespace std::chrono_literals;
using eventer::job_queue;
using eventer::when_full;

namespace {

std::string caught(const std::function<void()>& call) {
  try {
    call();
  } catch (const std::system_error& failure) {
    return failure.what();
  }
  return "nothing";
}

// With time that only the test moves.
template <class Body>
void run_by_hand(Body body) {
  eventer::manual_clock clock(eventer::manual_clock::when_idle::wait);
  eventer::run([&] { body(clock); }, {.clock = &clock});
}

}  // namespace

TEST_CASE("a job gives its result, whatever it is, to a coroutine, a task, a callback's coroutine and a plain thread") {
  job_queue queue("test");
  static int target = 0;
  const auto all = [queue] {
    bool good = queue.run([] { return 42; }) == 42;
    good = good &&
           queue.run([](int a, const std::string& b) { return b + std::to_string(a); }, 7, std::string("x")) == "x7";
    queue.run([] {});
    good = good && *queue.run([] { return std::make_unique<int>(3); }) == 3;
    int& reference = queue.run([]() -> int& { return target; });
    good = good && &reference == &target;
    good = good && queue.run_for(10s, [] { return std::string("in time"); }).value() == "in time";
    good = good && queue.run_for(10s, [] {}).has_value();
    good = good && queue.run([]() -> eventer::task<int> { co_return 5; }) == 5;
    return good;
  };
  CHECK(all());  // here: no loop
  bool in_coroutine = false, in_task = false;
  eventer::run([&] {
    in_coroutine = all();
    in_task = eventer::await([](job_queue from) -> eventer::task<bool> {
      const int first = co_await from.async_run([] { return 1; });
      const auto second = co_await from.async_run_for(10s, [] { return 2; });
      co_return first == 1 && second.value() == 2;
    }(queue));
  });
  CHECK(in_coroutine);
  CHECK(in_task);
}

TEST_CASE("a job runs on another thread, with all signals blocked and the queue's name") {
  job_queue queue("sixteen letters and more");
  const auto [thread, blocked, name] = queue.run([] {
    sigset_t mask;
    ::pthread_sigmask(SIG_BLOCK, nullptr, &mask);
    char text[16] = "";
    ::pthread_getname_np(::pthread_self(), text, sizeof text);
    return std::tuple(std::this_thread::get_id(), ::sigismember(&mask, SIGTERM) == 1, std::string(text));
  });
  CHECK(thread != std::this_thread::get_id());
  CHECK(blocked);
  CHECK(name == "sixteen letters");
}

TEST_CASE("the loop and its other coroutines go on while a job blocks") {
  job_queue queue("test");
  const auto gate = make_barrier();
  int others = 0;
  eventer::run([&] {
    auto waits = eventer::spawn([queue, gate] { return queue.run([gate] { gate->wait(); }), 1; });
    for (int i = 0; i < 100; ++i) eventer::yield(), ++others;
    gate->until_waiting(1);
    gate->open();
    CHECK(waits.join() == 1);
  });
  CHECK(others == 100);
}

TEST_CASE("what a job throws comes out of run, and as a code out of run_for") {
  job_queue queue("test");
  captured_log log;
  eventer::run([&] {
    CHECK_THROWS_WITH(queue.run([]() -> int { throw std::runtime_error("no such table"); }), "no such table");
    CHECK_THROWS_AS(queue.run([] { throw 1; }), int);
    const auto coded = queue.run_for(10s, [] { throw std::system_error(std::make_error_code(std::errc::io_error)); });
    CHECK(coded.error() == std::errc::io_error);
    const auto other = queue.run_for(10s, []() -> int { throw std::runtime_error("no such table"); });
    CHECK(other.error() == eventer::errc::exception);
    CHECK(log.count("no such table") == 1);
  });
}

TEST_CASE("run_for answers timed_out at once; what the job uses lives until it has ended, and dies on its loop") {
  job_queue queue("test", {.max_concurrency = 1});
  const auto gate = make_barrier();
  const auto closure = std::make_shared<witness::record>(), result = std::make_shared<witness::record>();
  const auto here = std::this_thread::get_id();
  run_by_hand([&](eventer::manual_clock& clock) {
    auto waits = eventer::spawn([=] {
      return queue
          .run_for(1h,
                   [gate, w = witness(closure), result] {
                     gate->wait();
                     return witness(result);
                   })
          .error();
    });
    eventer::yield();
    gate->until_waiting(1);
    clock.advance(1h);
    CHECK(waits.join() == std::errc::timed_out);
    CHECK(closure->alive > 0);
    CHECK(queue.stats().abandoned == 1);
    gate->open();
    yield_until([&] { return closure->alive == 0 && result->destroyed > 0; });
    CHECK(closure->where.load() == here);
    CHECK(result->where.load() == here);
  });
  CHECK(result->alive == 0);
}

TEST_CASE("a job whose turn does not come within the limit never runs") {
  job_queue queue("test", {.max_concurrency = 1});
  const auto gate = make_barrier();
  const auto ran = std::make_shared<std::atomic<bool>>(false);
  eventer::run([&] {
    (void)queue.post([gate] { gate->wait(); });
    gate->until_waiting(1);
    const auto late = queue.run_for(1ms, [ran] { *ran = true; });
    CHECK(late.error() == std::errc::timed_out);
    CHECK(queue.stats().withdrawn == 1);
    CHECK(queue.stats().queued == 0);
    gate->open();
    CHECK(queue.drain(10s) == 0);
  });
  CHECK_FALSE(*ran);
}

TEST_CASE("cancelling a waiter before its job begins removes the job; afterwards it waits for the job's end") {
  job_queue queue("test", {.max_concurrency = 1});
  const auto gate = make_barrier();
  const auto ran = std::make_shared<std::atomic<int>>(0);
  eventer::run([&] {
    auto begun = eventer::spawn([=] { queue.run([=] { gate->wait(), ++*ran; }); });
    eventer::yield();
    gate->until_waiting(1);
    auto queued = eventer::spawn([=] { queue.run([=] { ++*ran; }); });
    eventer::yield();
    queued.cancel();
    begun.cancel();
    CHECK(queued.try_join().error() == std::errc::operation_canceled);
    CHECK(queue.stats().withdrawn == 1);
    for (int i = 0; i < 10; ++i) eventer::yield();
    CHECK_FALSE(begun.done());
    gate->open();
    CHECK(begun.try_join().error() == std::errc::operation_canceled);
    CHECK(*ran == 1);
  });
}

TEST_CASE("with job_options::abandon, and in run_for, a cancelled waiter goes at once") {
  job_queue queue("test", {.abandon = true}), other("other");
  const auto gate = make_barrier();
  eventer::run([&] {
    auto first = eventer::spawn([=] { queue.run([=] { gate->wait(); }); });
    auto second = eventer::spawn([=] { (void)other.run_for(1h, [=] { gate->wait(); }); });
    eventer::yield();
    gate->until_waiting(2);
    first.cancel();
    second.cancel();
    CHECK(first.try_join().error() == std::errc::operation_canceled);
    CHECK(second.try_join().error() == std::errc::operation_canceled);
    CHECK(gate->passed() == 0);
    gate->open();
  });
}

TEST_CASE("a deadline_scope ends the wait of run, once a job that has begun is over") {
  job_queue queue("test", {.max_concurrency = 1});
  const auto gate = make_barrier();
  run_by_hand([&](eventer::manual_clock& clock) {
    const auto limited = [=](auto job) {
      return eventer::spawn([=] {
        const eventer::deadline_scope limit(1h);
        return caught([=] { queue.run(job); });
      });
    };
    auto holds = limited([=] { gate->wait(); });
    eventer::yield();
    gate->until_waiting(1);
    auto waits = limited([] {});
    eventer::yield();
    clock.advance(1h);
    const std::string queued = waits.join();
    CHECK_THAT(queued, Catch::Contains("timed out"));
    CHECK_FALSE(holds.done());
    gate->open();
    CHECK_THAT(holds.join(), Catch::Contains("timed out"));
  });
}

TEST_CASE("jobs begin in the order in which they came, and subqueues take turns") {
  job_queue queue("test", {.max_concurrency = 1});
  const auto gate = make_barrier();
  const auto order = std::make_shared<std::string>();
  eventer::run([&] {
    (void)queue.post([gate] { gate->wait(); });
    gate->until_waiting(1);
    for (const char c : std::string("abcdefg")) (void)queue.subqueue(1).post([=] { *order += c; });
    for (const char c : std::string("xyz")) (void)queue.subqueue(2).post([=] { *order += c; });
    (void)queue.post([=] { *order += '0'; });
    CHECK(queue.stats().queued == 11);
    gate->open();
    CHECK(queue.drain(10s) == 0);
  });
  CHECK(*order == "ax0byczdefg");
}

TEST_CASE("a full queue lets its submitters wait until there is room, in their order, or refuses them") {
  const auto gate = make_barrier();
  const auto order = std::make_shared<std::string>();
  eventer::run([&] {
    job_queue queue("test", {.max_concurrency = 1, .max_backlog = 2});
    (void)queue.post([gate] { gate->wait(); });
    gate->until_waiting(1);
    std::vector<eventer::join_handle<void>> all;
    for (const char c : std::string("abcd")) {
      all.push_back(eventer::spawn([=] { queue.run([=] { *order += c; }); }));
      eventer::yield();
    }
    auto posts = eventer::spawn([=] { (void)queue.post([=] { *order += 'e'; }); });
    auto gives_up = eventer::spawn([=] { return queue.run_for(1ms, [=] { *order += '!'; }).error(); });
    eventer::yield();
    CHECK(queue.stats().queued == 2);
    CHECK(queue.stats().waiting_for_room == 4);
    CHECK(gives_up.join() == std::errc::timed_out);
    CHECK_FALSE(posts.done());
    auto canceled = eventer::spawn([=] { (void)queue.post([=] { *order += '!'; }); });
    eventer::yield();
    canceled.cancel();
    CHECK(canceled.try_join().error() == std::errc::operation_canceled);
    gate->open();
    for (auto& each : all) each.join();
    posts.join();
    CHECK(queue.drain(10s) == 0);
  });
  CHECK(*order == "abcde");

  const auto second = make_barrier();
  eventer::run([&] {
    job_queue queue("test", {.max_concurrency = 1, .max_backlog = 1, .when_full = when_full::refuse});
    (void)queue.post([second] { second->wait(); });
    second->until_waiting(1);
    CHECK(queue.post([] {}).has_value());
    CHECK(queue.post([] {}).error() == eventer::errc::backlog_full);
    CHECK(queue.run_for(1s, [] {}).error() == std::errc::resource_unavailable_try_again);
    CHECK_THAT(caught([=] { queue.run([] {}); }),
               Catch::Contains("no room in the job queue: job_options::max_backlog"));
    CHECK(queue.stats().refused == 3);
    second->open();
  });
}

TEST_CASE("in a callback a full queue refuses, as nobody could wait there") {
  const auto gate = make_barrier();
  eventer::run([&] {
    job_queue queue("test", {.max_concurrency = 1, .max_backlog = 1});
    (void)queue.post([gate] { gate->wait(); });
    gate->until_waiting(1);
    const auto answers = std::make_shared<std::vector<std::error_code>>();
    eventer::event_loop::current().post([=] {
      for (int i = 0; i < 2; ++i) answers->push_back(queue.post([] {}).error());
      answers->push_back(queue.submit([] {}, [] {}, [](std::error_code) {}).error());
    });
    yield_until([&] { return answers->size() == 3; });
    gate->open();
    CHECK_FALSE((*answers)[0]);
    CHECK((*answers)[1] == eventer::errc::backlog_full);
    CHECK((*answers)[2] == eventer::errc::backlog_full);
  });
}

TEST_CASE("a job that brings jobs to its own queue waits neither for room nor for a thread") {
  job_queue queue("test", {.max_concurrency = 1, .max_backlog = 1});
  const auto ran = std::make_shared<std::atomic<int>>(0);
  eventer::run([&] {
    const int inner = queue.run([=] {
      for (int i = 0; i < 10; ++i) (void)queue.post([=] { ++*ran; });
      return queue.run([] { return 7; }) + queue.run_for(1s, [] { return 1; }).value();
    });
    CHECK(inner == 8);
    CHECK(queue.drain(10s) == 0);
  });
  CHECK(*ran == 10);
}

TEST_CASE("threads come when they are needed, no more than max_concurrency, and go when they are idle") {
  const auto gate = make_barrier();
  job_queue queue("test", {.min_concurrency = 1, .max_concurrency = 3, .idle = 0s});
  CHECK(queue.stats().threads == 0);
  eventer::run([&] {
    for (int i = 0; i < 8; ++i) (void)queue.post([gate] { gate->wait(); });
    gate->until_waiting(3);
    CHECK(queue.stats().threads == 3);
    CHECK(queue.stats().running == 3);
    CHECK(queue.stats().queued == 5);
    gate->open();
    CHECK(queue.drain(10s) == 0);
    yield_until([&] { return queue.stats().threads == 1; });
    CHECK(queue.run([] { return 1; }) == 1);
  });
}

TEST_CASE("the number of threads changes at run time: more begin at once, those that are too many end with their job") {
  job_queue queue("test", {.max_concurrency = 2});
  std::vector<std::shared_ptr<barrier>> gates;
  for (int i = 0; i < 8; ++i) {
    gates.push_back(make_barrier());
    (void)queue.post([gate = gates.back()] { gate->wait(); });
  }
  gates[1]->until_waiting(1);
  CHECK(queue.stats().queued == 6);
  queue.set_concurrency(0, 4);
  gates[3]->until_waiting(1);
  CHECK(queue.stats().queued == 4);
  CHECK(queue.stats().threads == 4);
  queue.set_concurrency(0, 1);
  for (int i = 0; i < 3; ++i) gates[static_cast<std::size_t>(i)]->open();
  while (queue.stats().threads != 1) std::this_thread::yield();
  CHECK(queue.stats().running == 1);
  CHECK(queue.stats().queued == 4);
  for (std::size_t i = 3; i < 8; ++i) {
    gates[i]->until_waiting(1);
    CHECK(queue.stats().running == 1);
    gates[i]->open();
  }
  CHECK(queue.drain(10s) == 0);
  CHECK(queue.stats().threads == 1);
}

TEST_CASE("a higher limit of threads is room for who waits for it") {
  job_queue queue("test", {.max_concurrency = 1, .max_backlog = 0});
  const auto gate = make_barrier();
  eventer::run([&] {
    for (int i = 0; i < 3; ++i) (void)eventer::spawn([=] { (void)queue.post([gate] { gate->wait(); }); });
    yield_until([&] { return queue.stats().waiting_for_room == 2; });
    queue.set_concurrency(0, 3);
    gate->until_waiting(3);
    CHECK(queue.stats().waiting_for_room == 0);
    gate->open();
    CHECK(queue.drain(10s) == 0);
  });
}

TEST_CASE("idle threads end, or stay, as min_concurrency is changed") {
  const auto gate = make_barrier();
  job_queue queue("test", {.min_concurrency = 4, .max_concurrency = 4, .idle = 0s});
  for (int i = 0; i < 4; ++i) (void)queue.post([gate] { gate->wait(); });
  gate->until_waiting(4);
  gate->open();
  CHECK(queue.drain(10s) == 0);
  CHECK(queue.stats().threads == 4);
  queue.set_concurrency(3, 4);
  while (queue.stats().threads != 3) std::this_thread::yield();
  queue.set_concurrency(9, 2);  // no more than there may be at all
  while (queue.stats().threads != 2) std::this_thread::yield();
  CHECK(queue.run([] { return 1; }) == 1);
  CHECK(queue.stats().threads == 2);
}

TEST_CASE("no job is forgotten while threads come and go") {
  job_queue queue("test", {.max_concurrency = 3, .idle = 0s});
  const auto ran = std::make_shared<std::atomic<int>>(0);
  const auto post = [&](int jobs) {
    for (int i = 0; i < jobs; ++i) (void)queue.post([ran] { ++*ran; });
  };
  std::atomic<bool> stop{false};
  std::thread changes([&] {
    for (unsigned n = 0; !stop; ++n) queue.set_concurrency(n % 3, 1 + n * 7 % 5);
  });
  std::size_t left = 0;
  for (int round = 0; round < 300; ++round) {
    post(20);
    left += queue.drain(1min);
  }
  stop = true;
  changes.join();
  CHECK(left == 0);
  CHECK(*ran == 6'000);
  // A thread that is too many may have been called for the job, while another one has just gone to sleep.
  for (int round = 0; round < 2'000 && left == 0; ++round) {
    queue.set_concurrency(2, 2);
    post(2);
    if (round % 2 == 0) (void)queue.drain(1min);
    queue.set_concurrency(1, 1);
    post(1);
    left = queue.drain(1min);
  }
  CHECK(left == 0);
  CHECK(*ran == 12'000);
}

TEST_CASE("with job_order::lifo the last of a subqueue begins first, and subqueues take turns still") {
  job_queue queue("test", {.max_concurrency = 1, .order = eventer::job_order::lifo});
  for (const bool changed : {false, true}) {
    const auto gate = make_barrier();
    const auto order = std::make_shared<std::string>();
    (void)queue.post([gate] { gate->wait(); });
    gate->until_waiting(1);
    for (const char c : std::string("abcd")) (void)queue.subqueue(1).post([=] { *order += c; });
    for (const char c : std::string("xyz")) (void)queue.subqueue(2).post([=] { *order += c; });
    if (changed) queue.set_order(eventer::job_order::fifo);
    gate->open();
    CHECK(queue.drain(10s) == 0);
    CHECK(*order == (changed ? "axbyczd" : "dzcybxa"));
  }
}

TEST_CASE("where no thread can be made the error says so, and one that is there does the work of all") {
  job_queue queue("test", {.max_concurrency = 4});
  eventer::run([&] {
    {
      faults none;
      none.fail(faults::call::pthread_create, EAGAIN, 1000);
      CHECK(queue.run_for(1s, [] {}).error() == std::errc::resource_unavailable_try_again);
      CHECK(queue.post([] {}).error() == std::errc::resource_unavailable_try_again);
    }
    queue.run([] {});
    faults none;
    none.fail(faults::call::pthread_create, EAGAIN, 1000);
    eventer::wait_group all;
    for (int i = 0; i < 20; ++i) {
      all.add();
      (void)eventer::spawn([=]() mutable {
        queue.run([] {});
        all.done();
      });
    }
    all.wait();
    CHECK(queue.stats().threads == 1);
    CHECK(queue.stats().refused == 2);
  });
}

TEST_CASE("the last handle of a queue answers who waits in it, and leaves a job that never ends behind") {
  captured_log log;
  const auto gate = make_barrier();
  const auto closure = std::make_shared<witness::record>();
  const auto here = std::this_thread::get_id();
  eventer::run([&] {
    auto queue = std::make_unique<job_queue>("test", eventer::job_options{.max_concurrency = 1, .shutdown_grace = 1ms});
    auto stuck = eventer::spawn([q = *queue, gate]() mutable {
      auto operation = q.async_run_for(1h, [gate] { gate->wait(); });
      q = job_queue("another");
      return eventer::await(std::move(operation)).error();
    });
    eventer::yield();
    gate->until_waiting(1);
    auto waits = eventer::spawn([q = *queue, w = witness(closure)]() mutable {
      auto operation = q.async_run([w] {});
      q = job_queue("another");
      return caught([&] { eventer::await(std::move(operation)); });
    });
    eventer::yield();
    queue.reset();
    CHECK_THAT(waits.join(), Catch::Contains("which has ended before it"));
    CHECK(log.count("1 jobs of the queue \"test\" still run after job_options::shutdown_grace") == 1);
    CHECK_FALSE(stuck.done());
    gate->open();
    CHECK_FALSE(stuck.join());
  });
  CHECK(closure->alive == 0);
  CHECK(closure->where.load() == here);
}

TEST_CASE("a loop that ends gives its jobs a grace, and leaves one that never ends behind, with a line in the log") {
  captured_log log;
  job_queue queue("test");
  const auto gate = make_barrier(), never = make_barrier();
  const auto closure = std::make_shared<witness::record>();
  eventer::run([&] {
    (void)eventer::spawn([=] { queue.run([=, w = witness(closure)] { gate->wait(); }); });
    eventer::yield();
    gate->until_waiting(1);
    gate->open();  // it ends while the loop does
  });
  CHECK(closure->alive == 0);
  CHECK(log.lines().empty());
  eventer::run(
      [&] {
        (void)eventer::spawn([=] { queue.run([=, w = witness(closure)] { never->wait(); }); });
        (void)eventer::spawn([](job_queue q, std::shared_ptr<barrier> b) -> eventer::task<void> {
          auto job = [b] { b->wait(); };  // g++ 12.2 would destroy a temporary's copy twice
          co_await q.async_run(std::move(job));
        }(queue, never));
        eventer::yield();
        eventer::yield();
        never->until_waiting(2);
      },
      {.shutdown_grace = 1ms});
  CHECK(log.count("the job is left behind") == 2);
  CHECK(closure->alive > 0);
  never->open();
  CHECK(queue.drain(10s) == 0);
  while (closure->alive != 0) std::this_thread::yield();  // by its worker, as the loop is not there any more
}

TEST_CASE("run() does not return while a job is out that will come home") {
  job_queue queue("test");
  const auto gate = make_barrier();
  std::string told;
  eventer::event_loop loop;
  loop.post([&] {
    (void)queue.post([gate] { gate->wait(); });
    (void)queue.submit([gate] { gate->wait(); }, [] {}, [&](std::error_code) { told += "complete"; });
  });
  std::thread opens([&] {
    gate->until_waiting(2);
    gate->open();
  });
  loop.run();
  opens.join();
  CHECK(told == "complete");
  CHECK(gate->passed() == 2);
}

TEST_CASE("virtual time stands still while a job is out") {
  job_queue queue("test");
  const auto gate = make_barrier();
  const auto order = std::make_shared<std::string>();
  run_virtually([&] {
    auto sleeps = eventer::spawn([order] { eventer::sleep_for(1h), *order += "slept"; });
    eventer::yield();
    queue.run([=] { *order += "ran "; });
    sleeps.join();
  });
  CHECK(*order == "ran slept");
}

TEST_CASE("work, cleanup and complete are called once each, the last on the loop, whatever happens") {
  job_queue queue("test", {.max_concurrency = 1});
  const auto here = std::this_thread::get_id();
  struct counts {
    std::atomic<int> work{0}, cleanup{0}, complete{0};
    std::atomic<std::thread::id> where{};
    std::error_code error;
  };
  const auto submit = [&](const std::shared_ptr<counts>& to, auto work, eventer::time_limit limit = {}) {
    return queue.submit([to, work] { ++to->work, work(); }, [to] { ++to->cleanup; },
                        [to](std::error_code error) {
                          ++to->complete;
                          to->where = std::this_thread::get_id();
                          to->error = error;
                        },
                        limit);
  };
  const auto summary = [](const counts& of) {
    return std::to_string(of.work) + std::to_string(of.cleanup) + std::to_string(of.complete);
  };
  const auto plain = std::make_shared<counts>(), throws = std::make_shared<counts>(), late = std::make_shared<counts>(),
             never = std::make_shared<counts>(), refused = std::make_shared<counts>(),
             at_end = std::make_shared<counts>();
  const auto gate = make_barrier(), last = make_barrier();
  run_by_hand([&](eventer::manual_clock& clock) {
    CHECK(submit(plain, [] {}));
    CHECK(submit(throws, [] { throw std::system_error(std::make_error_code(std::errc::io_error)); }));
    yield_until([&] { return throws->complete > 0; });
    CHECK(submit(
        late, [gate] { gate->wait(); }, 1h));
    CHECK(submit(
        never, [] {}, 1h));
    gate->until_waiting(1);
    clock.advance(1h);
    yield_until([&] { return late->complete > 0 && never->complete > 0; });
    CHECK(summary(*late) == "101");
    CHECK(summary(*never) == "011");
    gate->open();
    yield_until([&] { return late->cleanup > 0; });
    {
      faults none;
      none.fail(faults::call::pthread_create, EAGAIN, 1000);
      job_queue without("without threads");
      CHECK_FALSE(without.submit([refused] { ++refused->work; }, [refused] { ++refused->cleanup; },
                                 [refused](std::error_code) { ++refused->complete; }));
    }
    CHECK(submit(at_end, [last] { last->wait(); }));
    last->until_waiting(1);
  });
  CHECK(summary(*plain) == "111");
  CHECK(plain->where.load() == here);
  CHECK_FALSE(plain->error);
  CHECK(summary(*throws) == "111");
  CHECK(throws->error == std::errc::io_error);
  CHECK(late->error == std::errc::timed_out);
  CHECK(summary(*late) == "111");
  CHECK(summary(*refused) == "010");
  CHECK(at_end->error == std::errc::operation_canceled);
  CHECK(at_end->cleanup == 0);
  last->open();
  CHECK(queue.drain(10s) == 0);
  while (at_end->cleanup == 0) std::this_thread::yield();
  CHECK(summary(*at_end) == "111");
}

TEST_CASE("a job that nobody waits for and that throws is a line in the log") {
  captured_log log;
  job_queue queue("test");
  CHECK(queue.post([] { throw std::runtime_error("disk is full"); }));
  CHECK(queue.drain(10s) == 0);
  while (log.count("disk is full") == 0) std::this_thread::yield();
  eventer::run([&] { CHECK(queue.post([] { throw std::runtime_error("out of paper"); })); });
  CHECK(queue.drain(10s) == 0);
  while (log.count("out of paper") == 0) std::this_thread::yield();
}

TEST_CASE("a job may lose a when_any: one that has begun has ended before the winner's result is given") {
  job_queue queue("test", {.max_concurrency = 1});
  const auto gate = make_barrier();
  const auto ran = std::make_shared<std::atomic<int>>(0);
  run_by_hand([&](eventer::manual_clock& clock) {
    auto chooses = eventer::spawn([=] {
      return eventer::when_any(queue.async_run([=] { gate->wait(), ++*ran; }),
                               queue.async_run([=] { ran->fetch_add(100); }), eventer::after(1h))
          .index;
    });
    eventer::yield();
    gate->until_waiting(1);
    clock.advance(1h);
    yield_until([&] { return queue.stats().withdrawn == 1; });
    CHECK_FALSE(chooses.done());
    gate->open();
    CHECK(chooses.join() == 2);
    CHECK(*ran == 1);
    CHECK(eventer::when_any(queue.async_run_for(1h, [] { return 5; }), eventer::after(1h)).index == 0);
  });
}

TEST_CASE("a foreign coroutine awaits a job, and is destroyed while it waits") {
  job_queue queue("test", {.max_concurrency = 1});
  const auto gate = make_barrier();
  std::string told;
  eventer::run([&] {
    [](job_queue q, std::string& to) -> fire_and_forget {
      to = std::to_string(co_await q.async_run([] { return 3; }));
    }(queue, told);
    yield_until([&] { return !told.empty(); });
  });
  CHECK(told == "3");
  gate->open();
}

TEST_CASE("the last handle of a queue may go in a callback, and with a closure on its loop: nobody waits there") {
  const auto gate = make_barrier();
  const auto closure = std::make_shared<witness::record>();
  eventer::run([&] {
    auto queue = std::make_unique<job_queue>("test");
    CHECK(queue->post([gate, w = witness(closure)] { gate->wait(); }));
    gate->until_waiting(1);
    const auto last = std::make_shared<std::unique_ptr<job_queue>>(std::move(queue));
    eventer::event_loop::current().post([last] { last->reset(); });
    yield_until([&] { return *last == nullptr; });
    CHECK(closure->alive > 0);
    gate->open();
    yield_until([&] { return closure->alive == 0; });
  });
  // The job itself has the last one, and comes home with it.
  const auto own = std::make_shared<witness::record>();
  for (int i = 0; i < 200; ++i)
    eventer::run([&] {
      CHECK(job_queue("test").post([] {}));
      job_queue queue("test");
      CHECK(queue.post([queue, w = witness(own)] {}));
      { const job_queue last = std::move(queue); }
      yield_until([&] { return own->alive == 0; });
    });
}

TEST_CASE(
    "a queue that ends in an expired deadline_scope, or in a job of another queue, waits for its jobs all the same") {
  captured_log log;
  const auto gate = make_barrier();
  eventer::run([&] {
    auto ends = eventer::spawn([gate] {
      job_queue queue("test", {.shutdown_grace = 1h});
      (void)queue.post([gate] { gate->wait(); });
      gate->until_waiting(1);
      const eventer::deadline_scope over(0s);
      { const job_queue last = std::move(queue); }
      return gate->passed();
    });
    for (int i = 0; i < 10; ++i) eventer::yield();
    CHECK_FALSE(ends.done());
    gate->open();
    CHECK(ends.join() == 1);
  });
  const int passed = job_queue("outer").run([] {
    const auto inner = make_barrier();
    {
      job_queue queue("inner", {.shutdown_grace = 1h});
      (void)queue.post([inner] { inner->wait(); });
      inner->until_waiting(1);
      inner->open();
    }
    return inner->passed();
  });
  CHECK(passed == 1);
  CHECK(log.lines().empty());
}

TEST_CASE(
    "a C++20 coroutine is destroyed while its wait is over but for its job: its loop's end does not wait for it") {
  job_queue queue("test", {.max_concurrency = 1});
  const auto gate = make_barrier();
  eventer::manual_clock clock;
  const auto start = clock.now();
  eventer::run(
      [&] {
        {
          const auto waits = std::make_unique<by_hand>([](job_queue q, std::shared_ptr<barrier> b) -> by_hand {
            auto job = [b] { b->wait(); };
            (void)co_await eventer::async_when_any(q.async_run(std::move(job)), eventer::after(1h));
          }(queue, gate));
          waits->handle.resume();
          gate->until_waiting(1);
          clock.advance(1h);
          for (int i = 0; i < 10; ++i) eventer::yield();
        }
        CHECK(queue.stats().abandoned == 1);
        (void)eventer::spawn([] { eventer::sleep_for(100h); });
        eventer::yield();
      },
      {.clock = &clock, .shutdown_grace = 10h});
  CHECK(clock.now() - start < 10h);
  gate->open();
}

TEST_CASE("a loop that ends gives its jobs their grace in real time, whatever its clock does") {
  job_queue queue("test");
  const auto closure = std::make_shared<witness::record>();
  for (const auto idle : {eventer::manual_clock::when_idle::wait, eventer::manual_clock::when_idle::jump}) {
    captured_log log;
    const auto gate = make_barrier(), never = make_barrier();
    eventer::manual_clock clock(idle);
    eventer::run(
        [&] {
          (void)eventer::spawn([=] { queue.run([=, w = witness(closure)] { gate->wait(); }); });
          eventer::yield();
          gate->until_waiting(1);
          (void)queue.post([gate] { gate->open(); });  // perhaps when the loop is ending
        },
        {.clock = &clock, .shutdown_grace = 1h});
    CHECK(closure->alive == 0);
    CHECK(log.lines().empty());
    eventer::run(
        [&] {
          (void)eventer::spawn([=] { queue.run([=] { never->wait(); }); });
          eventer::yield();
          never->until_waiting(1);
        },
        {.clock = &clock, .shutdown_grace = 1ms});
    CHECK(log.count("the job is left behind") == 1);
    never->open();
    CHECK(queue.drain(10s) == 0);
  }
}

TEST_CASE("a backlog without a limit has room") {
  job_queue queue("test", {.max_concurrency = 2, .max_backlog = SIZE_MAX});
  CHECK(queue.run_for(100s, [] { return 1; }).value() == 1);
}

TEST_CASE("a coroutine that is cancelled already does not post a job that has to wait for room") {
  job_queue queue("test", {.max_concurrency = 1, .max_backlog = 0});
  eventer::join_handle<void> posts;
  const auto gate = make_barrier();
  const auto closure = std::make_shared<witness::record>();
  eventer::run([&] {
    CHECK(queue.post([gate] { gate->wait(); }));
    gate->until_waiting(1);
    posts = eventer::spawn([=, &posts] {
      posts.cancel();
      (void)queue.post([w = witness(closure)] {});
    });
    CHECK(posts.try_join().error() == std::errc::operation_canceled);
    CHECK(closure->alive == 0);
    CHECK(queue.stats().waiting_for_room == 0);
    gate->open();
    CHECK(queue.drain(10s) == 0);
    CHECK(queue.stats().submitted == 2);
    CHECK(queue.stats().withdrawn == 1);
  });
}

TEST_CASE("the threads of a forked child may come to a queue all at once", "[no-emulator]") {
  if (EVENTER_TSAN) EVENTER_SKIP("no threads in a forked child under ThreadSanitizer");
  job_queue queue("test");
  queue.run([] {});
  const child_result child = run_in_child([&] {
    std::atomic<int> sum{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t)
      threads.emplace_back([&] {
        for (int i = 0; i < 100; ++i) sum += queue.run([] { return 1; });
      });
    for (auto& each : threads) each.join();
    std::printf("%d of %d\n", sum.load(), static_cast<int>(queue.stats().completed));
  });
  CHECK(contains(child.output, "400 of 400\n"));
}

TEST_CASE("a duration beyond an hour keeps its place in the quantiles") {
  eventer::duration_histogram times;
  for (int i = 0; i < 9; ++i) times.record(1ms);
  times.record(100h);
  CHECK(times.quantile(0.9) < 2ms);
  CHECK(times.quantile(1) == 100h);
}

TEST_CASE("the calls of api.md compile: default queue, options by name, statistics") {
  eventer::run([&] {
    CHECK(eventer::run_blocking([] { return 1; }) == 1);
    CHECK(eventer::run_blocking([](int a) { return a; }, 2) == 2);
    job_queue queue("q", {.min_concurrency = 1,
                          .max_concurrency = 2,
                          .max_backlog = 10,
                          .when_full = when_full::wait,
                          .abandon = false,
                          .shutdown_grace = 1s});
    queue.run([] {});
    const eventer::job_stats stats = queue.stats();
    CHECK(stats.submitted == 1);
    CHECK(stats.completed == 1);
    CHECK(stats.waited.count() == 1);
    CHECK(stats.ran.count() == 1);
    CHECK(stats.running == 0);
    CHECK(queue.drain(1s) == 0);
    CHECK(queue.name() == "q");
  });
}

TEST_CASE("broken rules around jobs are sentences", "[no-emulator]") {
  const auto says = [](const std::function<void()>& call) {
    return run_in_child([&] { eventer::run([&] { call(); }); }).output;
  };
  CHECK(contains(says([] {
                   eventer::event_loop::current().post([] { eventer::run_blocking([] {}); });
                   yield_until([] { return false; });
                 }),
                 "waiting for a job in a callback would block its loop"));
  CHECK(contains(says([] {
                   const job_queue queue("test");
                   queue.run([queue] { (void)queue.drain(1s); });
                 }),
                 "job_queue::drain in one of its own jobs waits for itself"));
  CHECK(contains(run_in_child([] { (void)job_queue("test").submit([] {}, [] {}, [](std::error_code) {}); }).output,
                 "job_queue::submit on a thread without a running loop"));
  CHECK(contains(says([] { eventer::run_blocking([] { ::pthread_exit(nullptr); }); }), "pthread_exit in a job"));
  CHECK(contains(says([] {
                   auto once = job_queue::shared().async_run([] {});
                   eventer::await(std::move(once));
                   eventer::await(std::move(once));
                 }),
                 "a job_queue's operation is awaited a second time"));
}

TEST_CASE("a job that holds a reference to a local on a shared stack is reported, in release builds too",
          "[shared-stack][no-emulator]") {
  if (EVENTER_ASAN || eventer::context::prefers_private_stacks()) EVENTER_SKIP("here locals are not on shared stacks");
  const child_result lends = run_in_child([] {
    eventer::run([] {
      int local = 1;
      eventer::run_blocking([&] { return local; });
    });
  });
  CHECK(contains(lends.output, "job_queue::run in coroutine \"main\": the closure"));
  const child_result from_own_stack = run_in_child([] {
    eventer::run([] {
      eventer::call_on_own_stack([] {
        int local = 1;
        eventer::run_blocking([&] { ++local; });  // it is waited for
        if (local == 2) std::puts("two");
        (void)eventer::job_queue::shared().run_for(1s, [&] { ++local; });  // it is not
      });
    });
  });
  CHECK(contains(from_own_stack.output, "two"));
  CHECK_FALSE(contains(from_own_stack.output, "job_queue::run in"));
  CHECK(contains(from_own_stack.output, "job_queue::run_for in coroutine"));
  const child_result complete = run_in_child([] {
    eventer::run([] {
      int local = 1;
      const auto to = job_queue::shared();
      (void)to.submit(
          eventer::unchecked([&local] { (void)local; }), [] {}, [](std::error_code) {});
      std::puts("so far");
      std::fflush(stdout);
      (void)to.submit([] {}, [] {}, [&local](std::error_code) { (void)local; });
    });
  });
  const std::size_t middle = complete.output.find("so far");
  CHECK(middle == 0);
  CHECK(contains(complete.output, "job_queue::submit in coroutine"));
}

TEST_CASE("a forked child has job threads of its own, whatever the parent's do", "[no-emulator]") {
  job_queue queue("test", {.max_concurrency = 1});
  const auto gate = make_barrier();
  CHECK(queue.post([gate] { gate->wait(); }));
  gate->until_waiting(1);
  const child_result child = run_in_child([&] {
    eventer::run([&] { std::printf("%d %d\n", queue.run([] { return 1; }), eventer::run_blocking([] { return 2; })); });
  });
  gate->open();
  CHECK(contains(child.output, "1 2\n"));
}

TEST_CASE("a time-out races with the job's end: the answer is one of both, and everything is destroyed once") {
  job_queue queue("test", {.max_concurrency = 2});
  const auto closure = std::make_shared<witness::record>(), result = std::make_shared<witness::record>();
  constexpr int rounds = 20'000;
  int in_time = 0, late = 0;
  eventer::run([&] {
    for (int i = 0; i < rounds; ++i) {
      const auto got = queue.run_for(std::chrono::nanoseconds(i % 64 * 200),
                                     [w = witness(closure), result] { return witness(result); });
      if (got)
        ++in_time;
      else if (got.error() == std::errc::timed_out)
        ++late;
    }
    CHECK(queue.drain(10s) == 0);
  });
  CHECK(in_time + late == rounds);
  const auto stats = queue.stats();
  CHECK(stats.completed + stats.withdrawn == rounds);
  CHECK(closure->alive == 0);
  CHECK(result->alive == 0);
}

TEST_CASE("many loops bring jobs to one queue while others end with theirs outstanding") {
  job_queue queue("test", {.max_concurrency = 3, .abandon = true});
  const auto ran = std::make_shared<std::atomic<int>>(0);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([queue, ran] {
      for (int i = 0; i < 25; ++i)
        eventer::run([queue, ran] {
          for (int j = 0; j < 20; ++j) (void)eventer::spawn([queue, ran] { queue.run([ran] { ++*ran; }); });
          for (int j = 0; j < 3; ++j) eventer::yield();
        });
    });
  for (auto& each : threads) each.join();
  CHECK(queue.drain(10s) == 0);
  const auto stats = queue.stats();
  CHECK(stats.submitted == stats.completed + stats.withdrawn);
  CHECK(static_cast<std::uint64_t>(*ran) == stats.completed);
}

TEST_CASE("100,000 queued jobs are drained, or dropped with their queue, in bounded time") {
  const auto ran = std::make_shared<std::atomic<int>>(0);
  const auto closure = std::make_shared<witness::record>();
  {
    job_queue queue("test", {.max_concurrency = 2, .max_backlog = 1'000'000});
    for (int i = 0; i < 100'000; ++i) (void)queue.post([ran] { ++*ran; });
    CHECK(queue.drain(60s) == 0);
    CHECK(*ran == 100'000);
    const auto gate = make_barrier();
    for (int i = 0; i < 2; ++i) (void)queue.post([gate] { gate->wait(); });
    gate->until_waiting(2);
    for (int i = 0; i < 100'000; ++i) (void)queue.post([w = witness(closure), ran] { ++*ran; });
    CHECK(queue.drain(0s) == 100'002);
    gate->open();
  }
  CHECK(closure->alive == 0);
}
