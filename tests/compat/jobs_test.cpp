// Section 2 of the C interface: work is done on the threads of queues, and completed on loops.
#include "jobs.hpp"

#include <algorithm>
#include <atomic>
#include <string>
#include <vector>

#include "../catch.hpp"
#include "../child.hpp"
#include "../event/jobs.hpp"

namespace {

timeval seconds_from_now(long seconds) {
  timeval when{};
  mtev_gettimeofday(&when, nullptr);
  when.tv_sec += seconds;
  return when;
}

// Holds a thread of a queue until it is opened.
std::shared_ptr<barrier> plug(eventer_jobq_t* queue) {
  auto held = make_barrier();
  eventer_add_asynch(queue, make_work([held] { held->wait(); }));
  held->until_waiting(1);
  return held;
}

}  // namespace

TEST_CASE("an event gets WORK and CLEANUP on a thread of the queue, then COMPLETE on its loop, once each") {
  start_runtime();
  const no_leaks clean;
  struct seen {
    int mask;
    std::thread::id thread;
    bool on_loop, in_job, owned;
    std::string name;
  };
  std::vector<seen> calls;
  count completed;
  const own_queue queue("a name that is long");
  eventer_jobq_set_shortname(queue, "a-shorter-one-is-clipped");
  eventer_add_asynch(
      queue, make_job([&](eventer_t e, int mask) {
        calls.push_back({mask, std::this_thread::get_id(), eventer_in_loop() == mtev_true,
                         eventer_jobq_inflight() != nullptr, eventer_thread_check(e) != 0, eventer_get_thread_name()});
        if (mask == EVENTER_ASYNCH_COMPLETE) completed.add();
      }));
  REQUIRE(completed.until(1));
  REQUIRE(calls.size() == 3);
  CHECK(calls[0].mask == EVENTER_ASYNCH_WORK);
  CHECK(calls[1].mask == EVENTER_ASYNCH_CLEANUP);
  CHECK(calls[2].mask == EVENTER_ASYNCH_COMPLETE);
  CHECK(calls[0].thread == calls[1].thread);
  CHECK(calls[0].name == "q:a-shorter-one");
  for (std::size_t i = 0; i < 3; ++i) {
    INFO(i);
    CHECK(calls[i].on_loop == (i == 2));
    CHECK(calls[i].owned == (i == 2));
    CHECK(calls[i].in_job == (i < 2));
  }
  CHECK(eventer_jobq_inflight() == nullptr);
  CHECK(clean);
}

TEST_CASE("COMPLETE is called on the loop that owns the event, also where that was given away in WORK") {
  start_runtime();
  const no_leaks clean;
  const pthread_t other = eventer_choose_owner(1);
  std::atomic<bool> there{false};
  count completed;
  eventer_add(make_job([&](eventer_t e, int mask) {
    if (mask == EVENTER_ASYNCH_WORK) eventer_set_owner(e, other);
    if (mask != EVENTER_ASYNCH_COMPLETE) return;
    there = ::pthread_equal(::pthread_self(), other) != 0;
    completed.add();
  }));
  REQUIRE(completed.until(1));
  CHECK(there);
  CHECK(clean);
}

TEST_CASE("subqueues take turns: quick jobs end while slow ones that came before them still wait") {
  start_runtime();
  const no_leaks clean;
  constexpr std::size_t quick = 1'000, slow_each = 2'000;
  std::atomic<std::size_t> slow_ended{0}, slow_at_last_quick{0}, quick_ended{0};
  count completed;
  {
    const own_queue queue("turns");  // one thread: the order is that of the turns
    const auto held = plug(queue);
    const auto bring = [&](std::uint64_t id, std::function<void()> work) {
      eventer_add_asynch_subqueue(queue, make_job([&, work](eventer_t, int mask) {
                                    if (mask == EVENTER_ASYNCH_WORK) work();
                                    if (mask == EVENTER_ASYNCH_COMPLETE) completed.add();
                                  }),
                                  id);
    };
    for (std::uint64_t id = 1; id <= 3; ++id)
      for (std::size_t i = 0; i < slow_each; ++i) bring(id, [&] { ++slow_ended; });
    for (std::size_t i = 0; i < quick; ++i)
      bring(4, [&] {
        if (++quick_ended == quick) slow_at_last_quick = slow_ended.load();
      });
    held->open();
    REQUIRE(completed.until(quick + 3 * slow_each));
  }
  CHECK(slow_at_last_quick <= 3 * quick);
  CHECK(clean);
}

TEST_CASE("three subqueues whose jobs hang do not keep a thousand jobs of another one from ending") {
  start_runtime();
  const no_leaks clean;
  const own_queue queue("hang", 4);
  const auto held = make_barrier();
  count ended;
  for (std::uint64_t id = 1; id <= 3; ++id) eventer_add_asynch_subqueue(queue, make_work([held] { held->wait(); }), id);
  for (int i = 0; i < 1'000; ++i) eventer_add_asynch_subqueue(queue, make_work([&] { ended.add(); }), 4);
  CHECK(ended.until(1'000));
  CHECK(held->passed() == 0);
  held->open();
  CHECK(clean);
}

TEST_CASE("a COMPLETE may add its event again, 100,000 times, and the reference goes along") {
  start_runtime();
  const no_leaks clean;
  std::size_t rounds = 0;
  count completed;
  const std::size_t last = many(100'000);
  eventer_add_asynch(nullptr, make_job([&](eventer_t e, int mask) {
                       if (mask != EVENTER_ASYNCH_COMPLETE) return;
                       if (++rounds == last) return completed.add();
                       static_cast<job_closure*>(eventer_get_closure(e))->again = true;
                       eventer_add_asynch(nullptr, e);
                     }));
  REQUIRE(completed.until(1));
  CHECK(rounds == last);
  CHECK(clean);
}

TEST_CASE("100,000 jobs are each added by the COMPLETE of the one before") {
  start_runtime();
  const no_leaks clean;
  count completed;
  std::atomic<std::size_t> left{many(100'000)};
  const std::function<void()> add_next = [&] {
    eventer_add_asynch(nullptr, make_job([&](eventer_t, int mask) {
                         if (mask == EVENTER_ASYNCH_COMPLETE) --left != 0 ? add_next() : completed.add();
                       }));
  };
  add_next();
  CHECK(completed.until(1));
  CHECK(clean);
}

TEST_CASE("a million jobs are added from inside WORK, in fans and in chains") {
  start_runtime();
  const no_leaks clean;
  const std::size_t all = many(1'000'000), fan = 100, chain = all / fan - 1;
  std::atomic<std::size_t> works{0}, cleanups{0}, completes{0};
  count ended;
  // A link adds the next one.
  const std::function<void(std::size_t)> add_link = [&](std::size_t further) {
    eventer_add_asynch(nullptr, make_job([&, further](eventer_t, int mask) {
                         if (mask == EVENTER_ASYNCH_WORK) {
                           ++works;
                           if (further > 0) add_link(further - 1);
                         }
                         if (mask == EVENTER_ASYNCH_CLEANUP) ++cleanups;
                         if (mask == EVENTER_ASYNCH_COMPLETE && ++completes == all) ended.add();
                       }));
  };
  eventer_add_asynch(nullptr, make_work([&] {
                       for (std::size_t i = 0; i < fan; ++i) add_link(chain);
                     }));
  REQUIRE(ended.until(1));
  CHECK(works == all);
  CHECK(cleanups == all);
  CHECK(clean);
}

TEST_CASE("eight threads that are no loops add jobs: each has its three calls once") {
  start_runtime();
  const no_leaks clean;
  constexpr std::size_t each = 2'000;
  std::vector<std::atomic<int>> calls(8 * each);
  count completed;
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < 8; ++t)
    threads.emplace_back([&, t] {
      for (std::size_t i = 0; i < each; ++i)
        eventer_add_asynch_subqueue(
            nullptr, make_job([&, n = t * each + i](eventer_t, int mask) {
              const int order = calls[n]++;
              const int expected = mask == EVENTER_ASYNCH_WORK ? 0 : mask == EVENTER_ASYNCH_CLEANUP ? 1 : 2;
              if (order != expected) calls[n] = 1'000;
              if (mask == EVENTER_ASYNCH_COMPLETE) completed.add();
            }),
            t % 3);
    });
  for (std::thread& one : threads) one.join();
  REQUIRE(completed.until(8 * each));
  CHECK(clean);
  std::size_t wrong = 0;
  for (const auto& one : calls) wrong += one != 3;
  CHECK(wrong == 0);
}

TEST_CASE("a job is complete after those that it depends on, down a tree") {
  start_runtime();
  const no_leaks clean;
  constexpr int depth = 4, fan = 3;
  struct node {
    int level;
    std::atomic<int> children_completed{0};
  };
  std::atomic<int> nodes{0}, too_early{0};
  count completed;
  const own_queue queue("tree", 3);
  const std::function<void(int, node*)> add = [&](int level, node* parent) {
    auto* const mine = new node{level};
    const eventer_t e = make_job([&, mine, parent](eventer_t, int mask) {
      if (mask == EVENTER_ASYNCH_WORK && mine->level < depth)
        for (int i = 0; i < fan; ++i) add(mine->level + 1, mine);
      if (mask != EVENTER_ASYNCH_COMPLETE) return;
      ++nodes;
      if (mine->level < depth && mine->children_completed != fan) ++too_early;
      if (parent != nullptr) ++parent->children_completed;
      const bool is_root = parent == nullptr;
      delete mine;
      if (is_root) completed.add();
    });
    if (parent == nullptr)
      eventer_add_asynch(queue, e);
    else if (level % 2 == 0)
      eventer_add_asynch_dep(queue, e);
    else if (eventer_try_add_asynch_dep_subqueue(nullptr, e, 7) != mtev_true)
      ++too_early;
  };
  add(0, nullptr);
  REQUIRE(completed.until(1));
  CHECK(nodes == 1 + 3 + 9 + 27 + 81);
  CHECK(too_early == 0);
  CHECK(clean);
}

TEST_CASE("a deadline that has passed when a thread takes the job skips WORK alone") {
  start_runtime();
  const no_leaks clean;
  const own_queue queue("deadlines");
  count completed;
  for (const bool late : {true, false}) {
    INFO(late);
    std::vector<int> masks;
    timeval deadline = seconds_from_now(late ? -1 : 3600);
    const std::size_t before = completed.now();
    eventer_add_asynch(queue, make_job(
                                  [&](eventer_t, int mask) {
                                    masks.push_back(mask);
                                    if (mask == EVENTER_ASYNCH_COMPLETE) completed.add();
                                  },
                                  &deadline));
    REQUIRE(completed.until(before + 1));
    std::vector<int> expected{EVENTER_ASYNCH_WORK, EVENTER_ASYNCH_CLEANUP, EVENTER_ASYNCH_COMPLETE};
    if (late) expected.erase(expected.begin());
    CHECK(masks == expected);
  }
  CHECK(clean);
}

TEST_CASE("only eventer_try_add_asynch looks at the back-log, and a refused event is the caller's still") {
  start_runtime();
  const no_leaks clean;
  const own_queue queue("backlog");
  const auto held = plug(queue);
  count ended;
  const auto work = [&] { return make_work([&] { ended.add(); }); };
  for (int i = 0; i < 5; ++i) REQUIRE(eventer_try_add_asynch(queue, work()) == mtev_true);  // without a limit
  eventer_jobq_set_max_backlog(queue, 7);
  REQUIRE(eventer_try_add_asynch(queue, work()) == mtev_true);
  REQUIRE(eventer_try_add_asynch_subqueue(queue, work(), 9) == mtev_true);
  const eventer_t refused = work();
  CHECK(eventer_try_add_asynch(queue, refused) == mtev_false);
  CHECK(eventer_try_add_asynch_subqueue(queue, refused, 9) == mtev_false);
  CHECK(eventer_jobq_get_backlog(queue) == 7);
  eventer_add_asynch(queue, work());
  CHECK(eventer_jobq_get_backlog(queue) == 8);
  held->open();
  CHECK(ended.until(8));
  CHECK(ended.now() == 8);
  eventer_add_asynch(queue, refused);
  CHECK(ended.until(9));
  CHECK(clean);
}

TEST_CASE("the number of threads changes while jobs run: more begin at once, fewer go on when they come back") {
  start_runtime();
  const no_leaks clean;
  const own_queue queue("threads", 2);
  std::vector<std::shared_ptr<barrier>> held;
  count begun;
  const auto bring = [&](int jobs) {
    for (int i = 0; i < jobs; ++i) {
      held.push_back(make_barrier());
      eventer_add_asynch(queue, make_work([&begun, one = held.back()] { begun.add(), one->wait(); }));
    }
  };
  bring(10);
  REQUIRE(begun.until(2));
  CHECK(eventer_jobq_get_backlog(queue) == 8);
  eventer_jobq_set_concurrency(queue, 5);
  REQUIRE(begun.until(5));
  CHECK(eventer_jobq_get_backlog(queue) == 5);
  CHECK(eventer_jobq_get_concurrency(queue) == 5);
  eventer_jobq_set_concurrency(queue, 1);
  for (std::size_t i = 0; i < 4; ++i) {
    held[i]->open();
    held[i]->until_passed(1);
  }
  held[4]->open();  // the one that goes on
  REQUIRE(begun.until(6));
  CHECK(eventer_jobq_get_backlog(queue) == 4);
  for (std::size_t i = 5; i < 10; ++i) {
    held[i]->until_waiting(1);
    CHECK(begun.now() == i + 1);
    CHECK(eventer_jobq_get_concurrency(queue) == 1);
    held[i]->open();
  }
  CHECK(clean);
  // Up again, from threads that have ended.
  eventer_jobq_set_concurrency(queue, 3);
  held.clear();
  bring(4);
  CHECK(begun.until(13));
  CHECK(eventer_jobq_get_backlog(queue) == 1);
  for (const auto& one : held) one->open();
  CHECK(clean);
}

TEST_CASE("the number of threads stays between min and max, and 0 is no bound") {
  const own_queue queue("bounds");
  const auto set = [&](std::uint32_t min, std::uint32_t max) { eventer_jobq_set_min_max(queue, min, max); };
  const auto now = [&] {
    std::uint32_t min = 99, max = 99;
    eventer_jobq_get_min_max(queue, &min, nullptr);
    eventer_jobq_get_min_max(queue, nullptr, &max);
    return std::pair(min, max);
  };
  CHECK(now() == std::pair(0u, 0u));
  set(2, 4);
  CHECK(now() == std::pair(2u, 4u));
  eventer_jobq_set_floor(queue, 3);
  CHECK(eventer_jobq_get_floor(queue) == 3);

  start_runtime();
  const no_leaks clean;
  const auto most_at_once = [&](std::uint32_t wanted) {
    eventer_jobq_set_concurrency(queue, wanted);
    const auto held = make_barrier();
    count begun;
    for (int i = 0; i < 9; ++i) eventer_add_asynch(queue, make_work([&begun, held] { begun.add(), held->wait(); }));
    // As many as there may be have begun when so many wait no longer.
    while (begun.now() + eventer_jobq_get_backlog(queue) != 9 || begun.now() < 2) std::this_thread::yield();
    std::size_t seen = 0;
    while (seen != begun.now() || seen != eventer_jobq_get_concurrency(queue)) {
      seen = begun.now();
      std::this_thread::yield();
    }
    held->open();
    CHECK(begun.until(9));
    CHECK(clean);
    return seen;
  };
  CHECK(most_at_once(100) == 4);
  CHECK(most_at_once(1) == 2);
  set(0, 0);
  CHECK(most_at_once(6) == 6);
}

TEST_CASE("a lifo queue does the newest job first; the order may change") {
  start_runtime();
  const no_leaks clean;
  const own_queue queue("order");
  CHECK(eventer_jobq_get_lifo(queue) == mtev_false);
  for (const bool lifo : {true, false}) {
    INFO(lifo);
    const auto held = plug(queue);
    std::string order;
    count ended;
    for (char name = 'a'; name <= 'e'; ++name)
      eventer_add_asynch(queue, make_work([&, name] { order += name, ended.add(); }));
    eventer_jobq_set_lifo(queue, lifo ? mtev_true : mtev_false);
    CHECK(eventer_jobq_get_lifo(queue) == (lifo ? mtev_true : mtev_false));
    held->open();
    REQUIRE(ended.until(5));
    CHECK(order == (lifo ? "edcba" : "abcde"));
  }
  CHECK(clean);
}

TEST_CASE("a job that is added from a job is in the same subqueue, unless it says another") {
  start_runtime();
  const no_leaks clean;
  const own_queue queue("inherits");
  std::string order;
  count ended;
  const auto held = plug(queue);
  const auto note = [&](char name) { return make_work([&, name] { order += name, ended.add(); }); };
  // Where it inherits 5, its turn comes after those of the subqueue; where not, in between.
  eventer_add_asynch_subqueue(queue, make_work([&, queue = static_cast<eventer_jobq_t*>(queue)] {
                                eventer_add_asynch(queue, note('x'));
                                eventer_add_asynch_subqueue(queue, note('y'), 6);
                              }),
                              5);
  for (const char name : {'a', 'b'}) eventer_add_asynch_subqueue(queue, note(name), 5);
  held->open();
  REQUIRE(ended.until(4));
  CHECK(order == "aybx");
  CHECK(clean);
}

TEST_CASE("a queue that is drained and shut refuses what comes, and goes") {
  start_runtime();
  const no_leaks clean;
  eventer_jobq_t* const queue = eventer_jobq_create("shut");
  std::atomic<int> ended{0};
  for (int i = 0; i < 100; ++i) eventer_add_asynch(queue, make_work([&] { ++ended; }));
  eventer_jobq_drain_and_shutdown(queue);
  CHECK(ended == 100);
  const eventer_t late = make_work([] {});
  CHECK(eventer_try_add_asynch(queue, late) == mtev_false);
  const child_result child = run_in_child([&] { eventer_add_asynch(queue, late); });
  CHECK(child.signal == SIGABRT);
  CHECK(contains(child.output, "eventer_jobq_drain_and_shutdown()"));
  free_job(late);
  eventer_jobq_destroy(queue);
  CHECK(eventer_jobq_retrieve("shut") == nullptr);
  CHECK(clean);
}

TEST_CASE("a loop's callback may drain a queue, and holds its loop up meanwhile") {
  start_runtime();
  const no_leaks clean;
  std::atomic<int> ended{0};
  count drained;
  eventer_add_asynch(nullptr, make_job([&](eventer_t, int mask) {
                       if (mask != EVENTER_ASYNCH_COMPLETE) return;
                       eventer_jobq_t* const queue = eventer_jobq_create("drained inside");
                       for (int i = 0; i < 100; ++i) eventer_add_asynch(queue, make_work([&] { ++ended; }));
                       eventer_jobq_destroy(queue);
                       drained.add();
                     }));
  REQUIRE(drained.until(1));
  CHECK(ended == 100);
  CHECK(clean);
}

TEST_CASE("queues have names: one of each, found again, visited") {
  const own_queue one("one"), two("two");
  CHECK(eventer_jobq_create("one") == one);
  CHECK(eventer_jobq_retrieve("one") == one);
  CHECK(eventer_jobq_retrieve("nobody") == nullptr);
  CHECK(eventer_jobq_get_queue_name(two) == std::string("two"));
  CHECK(eventer_jobq_get_queue_name(eventer_jobq_retrieve("default_queue")) == std::string("default_queue"));
  const auto visited = [](bool go_on) {
    struct visit {
      bool go_on;
      std::vector<std::string> names{};
    } all{go_on};
    eventer_jobq_process_each(
        [](eventer_jobq_t* queue, void* closure) {
          auto* const to = static_cast<visit*>(closure);
          to->names.emplace_back(eventer_jobq_get_queue_name(queue));
          return to->go_on ? mtev_true : mtev_false;
        },
        &all);
    return all.names;
  };
  const auto names = visited(true);
  for (const char* const name : {"one", "two", "default_queue"})
    CHECK(std::count(names.begin(), names.end(), std::string(name)) == 1);
  CHECK(visited(false).size() == 1);
}

TEST_CASE("a queue in use keeps its class of memory safety") {
  start_runtime();
  const no_leaks clean;
  const own_queue queue("classes");
  CHECK(eventer_jobq_get_memory_safety(queue) == EVENTER_JOBQ_MS_NONE);
  CHECK(eventer_jobq_create_ms("classes", EVENTER_JOBQ_MS_CS) == queue);
  CHECK(eventer_jobq_get_memory_safety(queue) == EVENTER_JOBQ_MS_CS);
  const auto held = plug(queue);
  CHECK(eventer_jobq_create_ms("classes", EVENTER_JOBQ_MS_GC) == nullptr);
  CHECK(eventer_jobq_create_ms("classes", EVENTER_JOBQ_MS_CS) == queue);
  CHECK(eventer_jobq_create("classes") == queue);
  held->open();
  CHECK(clean);
}

TEST_CASE("a property makes a queue, and a bad one is a line that says what is right") {
  start_runtime();
  REQUIRE(eventer_propset("jobq_configured", "3,2,8,gc,50,lifo") == 0);
  eventer_jobq_t* const queue = eventer_jobq_retrieve("configured");
  REQUIRE(queue != nullptr);
  std::uint32_t min = 0, max = 0;
  eventer_jobq_get_min_max(queue, &min, &max);
  CHECK(min == 2);
  CHECK(max == 8);
  CHECK(eventer_jobq_get_memory_safety(queue) == EVENTER_JOBQ_MS_GC);
  CHECK(eventer_jobq_get_lifo(queue) == mtev_true);
  eventer_jobq_destroy(queue);
  struct {
    const char *value, *says;
  } const bad[] = {{"3,x", "are numbers"},
                   {"3,", "are numbers"},
                   {"3,1,2,mine", "none, cs or gc"},
                   {"3,1,2,cs,9,sorted", "fifo or lifo"},
                   {"3,1,2,cs,9,fifo,", "six parts"}};
  for (const auto& each : bad) {
    INFO(each.value);
    const child_result child = run_in_child([&] {
      if (eventer_propset("jobq_bad", each.value) == -1) std::puts("refused");
    });
    CHECK(contains(child.output, "refused"));
    CHECK(contains(child.output, each.says));
    CHECK(contains(child.output, "threads[,min[,max"));
  }
}

TEST_CASE("broken rules around jobs are sentences of the C interface", "[no-emulator]") {
  start_runtime();
  const no_leaks clean;
  const eventer_t e = make_work([] {});
  struct {
    std::function<void()> breaks;
    const char* says;
  } const rules[] = {
      {[&] { eventer_add_asynch_dep(nullptr, e); }, "outside of a job's EVENTER_ASYNCH_WORK"},
      {[&] { eventer_jobq_destroy(eventer_jobq_retrieve("default_queue")); }, "the default queue"},
      {[] { eventer_add_asynch(nullptr, eventer_alloc()); }, "without a callback"},
      {[] { eventer_remove(eventer_alloc_asynch(&job_closure::callback, nullptr)); }, "asynchronous"},
  };
  for (const auto& rule : rules) {
    const child_result child = run_in_child(rule.breaks);
    CHECK(child.signal == SIGABRT);
    INFO(child.output);
    CHECK(contains(child.output, rule.says));
  }
  // What is added from CLEANUP comes too late to be waited for.
  std::string said;
  count completed;
  eventer_add_asynch(nullptr, make_job([&](eventer_t, int mask) {
                       if (mask == EVENTER_ASYNCH_CLEANUP)
                         said = run_in_child([&] { eventer_add_asynch_dep(nullptr, e); }).output;
                       if (mask == EVENTER_ASYNCH_COMPLETE) completed.add();
                     }));
  REQUIRE(completed.until(1));
  CHECK(contains(said, "outside of a job's EVENTER_ASYNCH_WORK"));
  free_job(e);
  // Added twice, and freed while it is in a queue.
  const own_queue queue("held");
  const auto held = plug(queue);
  const eventer_t waits = make_work([] {});
  eventer_add_asynch(queue, waits);
  const child_result twice = run_in_child([&] { eventer_add_asynch(nullptr, waits); });
  CHECK(contains(twice.output, "added already"));
  const child_result freed = run_in_child([&] { eventer_free(waits); });
  CHECK(contains(freed.output, "that is added"));
  held->open();
  CHECK(clean);
}
