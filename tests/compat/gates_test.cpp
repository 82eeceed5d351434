// Section 3 of the C interface: coroutines and plain threads wait for jobs.
#include <atomic>
#include <cerrno>
#include <string>
#include <vector>

#include "../captured_log.hpp"
#include "../catch.hpp"
#include "../child.hpp"
#include "../event/jobs.hpp"
#include "jobs.hpp"

namespace {

void increment(void* closure) { ++*static_cast<std::atomic<int>*>(closure); }

struct calls {
  std::atomic<int> work{0}, cleanup{0}, complete{0}, wrong{0};
  static void note(eventer_asynch_op_t op, void* closure) {
    auto* const self = static_cast<calls*>(closure);
    const bool on_loop = eventer_in_loop() == mtev_true;
    if (on_loop != (op == EVENTER_ASYNCH_COMPLETE)) ++self->wrong;
    if (op == EVENTER_ASYNCH_WORK) ++self->work;
    if (op == EVENTER_ASYNCH_CLEANUP) ++self->cleanup;
    if (op == EVENTER_ASYNCH_COMPLETE) ++self->complete;
  }
};

}  // namespace

TEST_CASE("a coroutine waits until a function has run on a thread of a queue, and its loop goes on") {
  start_runtime();
  std::atomic<int> ran{0};
  std::atomic<bool> waited{false}, elsewhere{false};
  const auto held = make_barrier();
  std::thread helper([&] {
    held->until_waiting(1);
    // The loop does something else meanwhile.
    elsewhere = in_coroutine([] {});
    held->open();
  });
  struct blocked {
    barrier& at;
    std::atomic<int>& ran;
  } on_main_stack{*held, ran};
  CHECK(in_coroutine([&] {
    eventer_aco_simple_asynch(
        [](void* closure) {
          static_cast<blocked*>(closure)->at.wait();
          ++static_cast<blocked*>(closure)->ran;
        },
        &on_main_stack);
    waited = ran == 1;
  }));
  helper.join();
  CHECK(waited);
  CHECK(elsewhere);
}

TEST_CASE("a hundred coroutines wait for jobs of two queues at the same time") {
  start_runtime();
  const own_queue queue("crowd", 2);
  struct shared {
    eventer_jobq_t* queue;
    std::atomic<int> ran{0}, wrong{0};
    count ended{};
  } all{queue};
  for (int i = 0; i < 100; ++i)
    eventer_aco_start(
        [] {
          auto* const mine = static_cast<shared*>(eventer_aco_arg());
          auto* const result = new std::atomic<int>(0);
          volatile char local[64] = {17};
          for (int n = 1; n <= 20; ++n) {
            eventer_aco_simple_asynch_queue_subqueue(&increment, result, n % 2 == 0 ? mine->queue : nullptr,
                                                     static_cast<std::uint64_t>(n % 3));
            if (*result != n || local[0] != 17) ++mine->wrong;
          }
          mine->ran += *result;
          delete result;
          mine->ended.add();
        },
        &all);
  REQUIRE(all.ended.until(100));
  CHECK(all.ran == 2'000);
  CHECK(all.wrong == 0);
}

TEST_CASE("a plain thread waits too, and in a job of the queue itself the function runs there and then") {
  start_runtime();
  const no_leaks clean;
  const own_queue queue("itself");
  std::atomic<int> ran{0};
  eventer_aco_simple_asynch_queue(&increment, &ran, queue);
  CHECK(ran == 1);
  calls noted;
  eventer_aco_asynch_queue(&calls::note, &noted, queue);
  CHECK(noted.complete == 1);
  CHECK(noted.wrong == 0);
  count ended;
  bool same = false;
  eventer_add_asynch(queue, make_work([&, to = static_cast<eventer_jobq_t*>(queue)] {
                       const auto* const outer = eventer_jobq_inflight();
                       eventer_aco_simple_asynch_queue(&increment, &ran, to);
                       same = eventer_jobq_inflight() == outer && ran == 2;
                       ended.add();
                     }));
  CHECK(ended.until(1));
  CHECK(same);
  CHECK(clean);
}

TEST_CASE("eventer_aco_asynch has all three calls before the coroutine goes on; a late one has no WORK") {
  start_runtime();
  calls on_time, late;
  std::atomic<int> seen{0};
  CHECK(in_coroutine([&] {
    timeval when{};
    mtev_gettimeofday(&when, nullptr);
    when.tv_sec += 3600;
    eventer_aco_asynch_queue_subqueue_deadline(&calls::note, &on_time, nullptr, 3, &when);
    seen += on_time.complete;
    when.tv_sec -= 7200;
    eventer_aco_asynch_queue_subqueue_deadline(&calls::note, &late, nullptr, 3, &when);
    seen += late.complete;
  }));
  CHECK(seen == 2);
  CHECK(on_time.work == 1);
  CHECK(on_time.cleanup == 1);
  CHECK(late.work == 0);
  CHECK(late.cleanup == 1);
  CHECK(on_time.wrong + late.wrong == 0);
}

TEST_CASE("eventer_aco_run_asynch consumes the event, keeps its deadline, and waits for what depends on its job") {
  start_runtime();
  const no_leaks clean;
  std::string order;
  std::atomic<int> checked{0}, children{0};
  CHECK(in_coroutine([&] {
    const eventer_t e = make_job([&order, &children](eventer_t, int mask) {
      order += mask == EVENTER_ASYNCH_WORK ? 'w' : mask == EVENTER_ASYNCH_CLEANUP ? 'c' : children == 1 ? 'e' : '!';
      if (mask == EVENTER_ASYNCH_WORK)
        eventer_add_asynch_dep(nullptr, make_job([&children](eventer_t, int child) {
                                 if (child == EVENTER_ASYNCH_COMPLETE) ++children;
                               }));
    });
    eventer_aco_run_asynch(e);
    checked = order == "wce" ? 1 : 0;
    order.clear();
    timeval past{};
    past.tv_sec = 1;
    eventer_aco_run_asynch(make_job(
        [&order](eventer_t, int mask) {
          order += mask == EVENTER_ASYNCH_WORK ? 'w' : mask == EVENTER_ASYNCH_CLEANUP ? 'c' : 'e';
        },
        &past));
    checked += order == "ce" ? 1 : 0;
  }));
  INFO(order);
  CHECK(checked == 2);
  CHECK(clean);
}

TEST_CASE("an event of another loop has its COMPLETE there before the coroutine goes on") {
  start_runtime();
  const no_leaks clean;
  const pthread_t other = eventer_choose_owner(1);
  std::atomic<bool> there{false}, in_time{false};
  CHECK(in_coroutine([&] {
    const eventer_t e = make_job([&](eventer_t, int mask) {
      if (mask == EVENTER_ASYNCH_COMPLETE) there = ::pthread_equal(::pthread_self(), other) != 0;
    });
    eventer_set_owner(e, other);
    eventer_aco_run_asynch(e);
    in_time = there.load();
  }));
  CHECK(in_time);
  CHECK(clean);
}

TEST_CASE("eventer_aco_try_run_asynch answers at once over the back-log, and leaves event and gate with the caller") {
  start_runtime();
  const no_leaks clean;
  const own_queue queue("full");
  const auto held = make_barrier();
  eventer_add_asynch(queue, make_work([held] { held->wait(); }));
  held->until_waiting(1);
  eventer_jobq_set_max_backlog(queue, 1);
  std::atomic<int> ran{0}, refused{0}, done{0};
  eventer_add_asynch(queue, make_work([&] { ++ran; }));
  CHECK(in_coroutine([&] {
    const eventer_t e = make_work([&] { ++ran; });
    const eventer_aco_gate_t gate = eventer_aco_gate();
    refused += eventer_aco_try_run_asynch_queue(queue, e) == mtev_false;
    refused += eventer_aco_try_run_asynch_queue_gated(gate, queue, e) == mtev_false;
    held->open();
    refused += eventer_aco_try_run_asynch_gated(gate, e) == mtev_true;  // of the default queue
    eventer_aco_gate_wait(gate);
    done = eventer_aco_try_run_asynch(make_work([&] { ++ran; })) == mtev_true;
  }));
  CHECK(refused == 3);
  CHECK(done == 1);
  CHECK(clean);
  CHECK(ran == 3);
}

TEST_CASE("a gate waits for mixed jobs that were started two calls deep, ended before or not") {
  start_runtime();
  const no_leaks clean;
  struct all_of {
    std::atomic<int> simple{0};
    calls noted;
    std::atomic<int> events{0};
    eventer_jobq_t* queue = nullptr;
    std::shared_ptr<barrier> held = make_barrier();
    bool early = false, in_time = false;

    void inner(eventer_aco_gate_t gate) {
      eventer_aco_simple_asynch_gated(gate, &increment, &simple);
      eventer_aco_simple_asynch_queue_subqueue_gated(gate, &increment, &simple, queue, 4);
      eventer_aco_asynch_gated(gate, &calls::note, &noted);
      eventer_aco_asynch_queue_gated(gate, &calls::note, &noted, queue);
    }
    void outer(eventer_aco_gate_t gate) {
      eventer_aco_run_asynch_gated(gate, make_work([this] { ++events; }));
      inner(gate);
      eventer_aco_run_asynch_queue_gated(gate, queue, make_work([this] {
                                           held->wait();
                                           ++events;
                                         }));
      inner(gate);
    }
  };
  const own_queue queue("mixed", 2);
  all_of all;
  all.queue = queue;
  count started;
  std::thread opens([&] {
    started.until(1);
    all.held->open();
  });
  CHECK(in_coroutine([&] {
    eventer_aco_gate_wait(eventer_aco_gate());  // at once
    const eventer_aco_gate_t gate = eventer_aco_gate();
    // This one has ended before the wait.
    eventer_aco_simple_asynch_gated(gate, &increment, &all.simple);
    while (all.simple == 0) {
      timeval soon{};
      soon.tv_usec = 1'000;
      eventer_aco_sleep(&soon);
    }
    all.outer(gate);
    all.early = all.events == 2;
    started.add();
    eventer_aco_gate_wait(gate);
    all.in_time = all.simple == 5 && all.events == 2 && all.noted.complete == 4;
  }));
  opens.join();
  CHECK_FALSE(all.early);
  CHECK(all.in_time);
  CHECK(all.noted.work == 4);
  CHECK(all.noted.cleanup == 4);
  CHECK(all.noted.wrong == 0);
  CHECK(clean);
}

TEST_CASE("a plain thread waits at a gate") {
  start_runtime();
  std::atomic<int> ran{0};
  const eventer_aco_gate_t gate = eventer_aco_gate();
  for (int i = 0; i < 1'000; ++i) eventer_aco_simple_asynch_gated(gate, &increment, &ran);
  eventer_aco_gate_wait(gate);
  CHECK(ran == 1'000);
}

TEST_CASE("a coroutine that is cancelled waits for its job's end, and hears of it afterwards") {
  start_runtime();
  struct shared {
    std::shared_ptr<barrier> held = make_barrier();
    std::atomic<int> ran{0}, after{0};
    int first_errno = 0, sleep_errno = 0;
    eventer::event_loop* loop = nullptr;
    eventer::control_block* block = nullptr;
  } all;
  std::thread cancels([&] {
    all.held->until_waiting(1);
    all.loop->cancel_from_outside(*all.block);
    // The loop has heard of it.
    count heard;
    all.loop->post([&] { heard.add(); });
    heard.until(1);
    all.after = all.first_errno;
    all.held->open();
  });
  CHECK(in_coroutine([&] {
    all.loop = &eventer::event_loop::current();
    all.block = eventer::scheduler::running_block();
    errno = 0;
    eventer_aco_simple_asynch(
        [](void* closure) {
          static_cast<shared*>(closure)->held->wait();
          ++static_cast<shared*>(closure)->ran;
        },
        &all);
    all.first_errno = all.ran == 1 ? errno : -1;
    timeval long_time{};
    long_time.tv_sec = 3'600;
    errno = 0;
    eventer_aco_sleep(&long_time);
    all.sleep_errno = errno;
  }));
  cancels.join();
  CHECK(all.after == 0);
  CHECK(all.first_errno == ECANCELED);
  CHECK(all.sleep_errno == ECANCELED);
}

TEST_CASE("a closure on the stack that coroutines share is a line in the log") {
  start_runtime();
#if EVENTER_ASAN || EVENTER_TSAN
  EVENTER_SKIP("under the sanitizers every coroutine has a stack of its own");
#else
  captured_log log;
  CHECK(in_coroutine([&] {
    auto* const on_heap = new std::atomic<int>(0);
    eventer_aco_simple_asynch(&increment, on_heap);
    delete on_heap;
  }));
  CHECK(log.count("on the stack of the coroutine") == 0);
  CHECK(in_coroutine([&] {
    char local[sizeof(void*)] = "";
    eventer_aco_simple_asynch([](void*) {}, local);
  }));
  CHECK(log.count("eventer_aco_simple_asynch() or a call of its kind: the closure") == 1);
  CHECK(log.count("on the stack of the coroutine") == 1);
#endif
}

TEST_CASE("waiting for a job in a callback is refused with a sentence", "[no-emulator]") {
  start_runtime();
  // A fork on a loop's thread, in a callback.
  std::vector<std::string> said;
  count ended;
  eventer_add(make_job([&](eventer_t, int mask) {
    if (mask != EVENTER_ASYNCH_COMPLETE) return;
    said.push_back(run_in_child([] { eventer_aco_gate_wait(eventer_aco_gate()); }).output);
    said.push_back(run_in_child([] { eventer_aco_simple_asynch(&increment, nullptr); }).output);
    said.push_back(run_in_child([] { eventer_aco_run_asynch(eventer_alloc()); }).output);
    ended.add();
  }));
  REQUIRE(ended.until(1));
  for (const std::string& each : said) {
    INFO(each);
    CHECK(contains(each, "in a callback would block its loop"));
  }
}
