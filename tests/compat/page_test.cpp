// The page that the C interface is made after, sentence by sentence. What it says of listeners and of REST is in
// listeners_test.cpp and rest_test.cpp, and its four programs are driven in scripts/check-page.
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "eventer/compat/detail/loops.hpp"
#include "loops.hpp"

using compat_test::notice;
using compat_test::run_callback;
using compat_test::run_coroutine;
using compat_test::socket_pair;

namespace {

eventer::event_loop& first_loop() { return eventer::compat::runtime::of_process().first().loop; }
// Asked on the loop's thread.
eventer::loop_stats stats_of_first_loop() {
  eventer::loop_stats result;
  run_callback([&result] { result = first_loop().stats(); });
  return result;
}

eventer_aco_t converted(int fd) {
  return eventer_set_eventer_aco(eventer_alloc_fd(nullptr, nullptr, fd, EVENTER_READ));
}
void finish(eventer_aco_t e) {
  eventer_aco_close(e);
  eventer_aco_free(e);
}

// Coroutines that have filled some of their stack and wait on a pipe of their own.
struct parked {
  explicit parked(int count) : pairs(static_cast<std::size_t>(count)) {
    for (auto& each : pairs) {
      each = std::make_unique<one>();
      each->all = this;
      eventer_aco_start(&wait, each.get());
    }
    begun.wait(count);
  }
  void end() {
    for (const auto& each : pairs) (void)::send(each->pair.ends[1], "x", 1, MSG_NOSIGNAL);
    done.wait(static_cast<int>(pairs.size()));
  }

  struct one {
    socket_pair pair;
    parked* all = nullptr;
    std::uintptr_t address = 0;
    bool kept = false;
  };
  static void wait() {
    one& mine = *static_cast<one*>(eventer_aco_arg());
    char filled[64];
    std::memset(filled, static_cast<int>(reinterpret_cast<std::uintptr_t>(&mine) >> 6), sizeof filled);
    mine.address = reinterpret_cast<std::uintptr_t>(&filled);
    const eventer_aco_t e = converted(mine.pair.give(0));
    mine.all->begun.give();
    char byte = 0;
    (void)eventer_aco_read(e, &byte, 1, nullptr);
    mine.kept = true;
    for (const char each : filled)
      mine.kept = mine.kept && each == static_cast<char>(reinterpret_cast<std::uintptr_t>(&mine) >> 6);
    finish(e);
    mine.all->done.give();
  }

  std::vector<std::unique_ptr<one>> pairs;
  notice begun, done;
};

}  // namespace

TEST_CASE("page: \"call you back later\" happens in a seemingly blocking coding style") {
  socket_pair pair;
  const int other = pair.ends[1];
  std::string heard;
  run_coroutine([&] {
    const eventer_aco_t e = converted(pair.give(0));
    struct later {
      static int callback(eventer_t, int, void* closure, timeval*) {
        (void)::send(*static_cast<int*>(closure), "later", 5, MSG_NOSIGNAL);
        return 0;
      }
    };
    const auto to = std::make_unique<int>(other);
    eventer_add_in_s_us(&later::callback, to.get(), 0, 1000);
    char bytes[16];
    const int got = eventer_aco_read(e, bytes, sizeof bytes, nullptr);
    heard.assign(bytes, got > 0 ? static_cast<std::size_t>(got) : 0);
    finish(e);
  });
  CHECK(heard == "later");
}

TEST_CASE("page: you must start an ACO procedure; it should not return but call aco_exit() (and may return)") {
  struct two {
    notice ended;
    int steps = 0;
  } mine;
  compat_test::start();
  CHECK(eventer_is_aco(nullptr) == mtev_false);
  const auto exits = [] {
    auto& it = *static_cast<two*>(eventer_aco_arg());
    ++it.steps;
    it.ended.give();
    aco_exit();
  };
  const auto returns = [] {
    auto& it = *static_cast<two*>(eventer_aco_arg());
    ++it.steps;
    it.ended.give();
  };
  eventer_aco_start(exits, &mine);
  eventer_aco_start(returns, &mine);
  mine.ended.wait(2);
  CHECK(mine.steps == 2);
  CHECK(stats_of_first_loop().coroutines == 0);
}

TEST_CASE("page: within this function the execution is in the context of a \"green thread\"") {
  mtev_boolean is_aco = mtev_false;
  std::set<pthread_t> threads;
  run_coroutine([&] {
    is_aco = eventer_is_aco(nullptr);
    timeval pause{0, 100};
    for (int i = 0; i < 10; ++i) {
      threads.insert(::pthread_self());
      eventer_aco_sleep(&pause);
    }
  });
  CHECK(is_aco == mtev_true);
  CHECK(threads.size() == 1);
  CHECK(eventer_is_loop(*threads.begin()) == 0);
}

TEST_CASE("page: the stack pointer is switched to a shared stack, of which a thread has few", "[shared-stack]") {
  compat_test::start();
  if (EVENTER_ASAN) EVENTER_SKIP("AddressSanitizer has locals elsewhere, and larger frames");
  if (first_loop().options().private_stacks || eventer::context::prefers_private_stacks())
    EVENTER_SKIP("each coroutine has a stack of its own here");
  const auto swaps_before = stats_of_first_loop().swaps;
  parked crowd(200);
  std::set<std::uintptr_t> addresses;
  for (const auto& each : crowd.pairs) addresses.insert(each->address);
  CHECK(addresses.size() <= 16 + 1);  // loop_options::shared_stacks; the frames above may differ in their size once
  // "Each co-routine will have a small save stack", "right-sized", and occupies "very little space".
  const auto stats = stats_of_first_loop();
  CHECK(stats.coroutines >= 200);
  CHECK(stats.parked_bytes / 200 <= 1024);
  CHECK(stats.swaps > swaps_before);
  // "If the co-routine wasn't the last one on the shared stack then it is swapped in."
  crowd.end();
  for (const auto& each : crowd.pairs) CHECK(each->kept);
  CHECK(stats_of_first_loop().swaps >= stats.swaps + 100);
}

TEST_CASE("page: where a callback would be needed it yields control back to the event loop; an event resumes it") {
  parked waits(1);
  int between = 0;
  run_callback([&between] { ++between; });  // the loop is free
  CHECK(between == 1);
  waits.end();
  CHECK(waits.pairs[0]->kept);
}

TEST_CASE("page: turning on debug logging reports stack sizes of co-routines as they are resumed") {
  compat_test::start();
  static std::mutex lock;
  static std::vector<std::string> lines;
  mtev_log_set_writer([](const char* stream, const char* line, std::size_t length) {
    const std::lock_guard guard(lock);
    if (std::strcmp(stream, "debug/eventer/aco") == 0) lines.emplace_back(line, length);
  });
  const auto sleeps = [] {
    timeval pause{0, 100};
    eventer_aco_sleep(&pause);
  };
  run_callback([] {});
  run_coroutine(sleeps);
  const auto count = [] {
    const std::lock_guard guard(lock);
    return lines.size();
  };
  CHECK(count() == 0);
  mtev_main_enable_log("debug/eventer/aco");
  run_callback([] {});  // the loop has heard of it
  run_coroutine(sleeps);
  CHECK(count() >= 2);  // its beginning, and behind the sleep
  {
    const std::lock_guard guard(lock);
    REQUIRE(!lines.empty());
    CHECK(lines.back().find(" stack bytes") != std::string::npos);
  }
  mtev_main_disable_log("debug/eventer/aco");
  run_callback([] {});
  const auto before = count();
  run_coroutine(sleeps);
  CHECK(count() == before);
  mtev_log_set_writer(nullptr);
}

TEST_CASE("page: classic events can be created and scheduled from anywhere, including a co-routine") {
  struct shared {
    notice done;
    std::atomic<int> calls{0};
  } mine;
  run_coroutine([&mine] {
    const auto callback = [](eventer_t, int, void* closure, timeval*) {
      auto& it = *static_cast<shared*>(closure);
      ++it.calls;
      it.done.give();
      return 0;
    };
    eventer_add_in_s_us(callback, &mine, 0, 0);
    eventer_add(eventer_alloc_recurrent(callback, &mine));
    eventer_add_at(callback, &mine, timeval{});
  });
  mine.done.wait(3);
  CHECK(mine.calls == 3);
}

TEST_CASE("page: recurrent and timed events make no sense in a coroutine: converted ones answer EBADF") {
  int timer_answer = 0, timer_number = 0, recurrent_answer = 0;
  run_coroutine([&] {
    timeval never{};
    char byte;
    const eventer_aco_t timer = eventer_set_eventer_aco(eventer_alloc_timer(nullptr, nullptr, &never));
    timer_answer = eventer_aco_read(timer, &byte, 1, nullptr);
    timer_number = errno;
    eventer_aco_free(timer);
    const eventer_aco_t recurrent = eventer_set_eventer_aco(eventer_alloc_recurrent(nullptr, nullptr));
    recurrent_answer = eventer_aco_write(recurrent, "x", 1, nullptr);
    eventer_aco_free(recurrent);
  });
  CHECK(timer_answer == -1);
  CHECK(timer_number == EBADF);
  CHECK(recurrent_answer == -1);
}

TEST_CASE("page: eventer_aco_sleep should be everything you need (and mtev_aco_sleep, as the example spells it)") {
  std::int64_t slept = 0;
  run_coroutine([&slept] {
    timeval pause{0, 5000};
    const mtev_hrtime_t begun = mtev_gethrtime();
    eventer_aco_sleep(&pause);
    mtev_aco_sleep(&pause);
    slept = static_cast<std::int64_t>(mtev_gethrtime() - begun);
  });
  CHECK(slept >= 10'000'000);
}

TEST_CASE("page: waiting for the completion of an asynchronous event is quite useful") {
  struct shared {
    std::vector<int> masks;
    pthread_t worker{}, loop{};
    int after_simple = 0;
  };
  const auto mine = std::make_unique<shared>();
  shared* const it = mine.get();
  run_coroutine([it] {
    eventer_aco_simple_asynch(
        [](void* closure) {
          auto& here = *static_cast<shared*>(closure);
          here.worker = ::pthread_self();
          here.after_simple = 1;
        },
        it);
    it->after_simple = it->after_simple * 10;  // it has run: the call appears to block until it is complete
    const eventer_t e = eventer_alloc_asynch(
        [](eventer_t, int mask, void* closure, timeval*) {
          auto& here = *static_cast<shared*>(closure);
          here.masks.push_back(mask);
          if (mask == EVENTER_ASYNCH_COMPLETE) here.loop = ::pthread_self();
          return 0;
        },
        it);
    eventer_aco_run_asynch(e);
    it->masks.push_back(0);
  });
  CHECK(mine->after_simple == 10);
  CHECK(mine->masks == std::vector<int>{EVENTER_ASYNCH_WORK, EVENTER_ASYNCH_CLEANUP, EVENTER_ASYNCH_COMPLETE, 0});
  CHECK(eventer_is_loop(mine->worker) == -1);
  CHECK(eventer_is_loop(mine->loop) == 0);
}

TEST_CASE("page: the eventer_aco_ variants have optional timeouts instead of a mask; a normal call on one has none") {
  socket_pair pair;
  const int other = pair.ends[1];
  struct answers {
    int limited = 0, limited_number = 0, cast = 0, cast_write = 0, cast_close = 0;
    char byte = 0;
  } seen;
  run_coroutine([&] {
    const eventer_aco_t e = converted(pair.give(0));
    timeval soon{0, 1000};
    seen.limited = eventer_aco_read(e, &seen.byte, 1, &soon);
    seen.limited_number = errno;
    const auto as_classic = reinterpret_cast<eventer_t>(e);
    const auto to = std::make_unique<int>(other);
    eventer_add_in_s_us(
        [](eventer_t, int, void* closure, timeval*) {
          (void)::send(*static_cast<int*>(closure), "x", 1, MSG_NOSIGNAL);
          return 0;
        },
        to.get(), 0, 5000);
    int mask = 0;
    seen.cast = eventer_read(as_classic, &seen.byte, 1, &mask);  // waits, and answers no EAGAIN
    seen.cast_write = eventer_write(as_classic, "y", 1, &mask);
    seen.cast_close = eventer_close(as_classic, &mask);
    eventer_aco_free(e);
  });
  CHECK(seen.limited == -1);
  CHECK(seen.limited_number == ETIME);
  CHECK(seen.cast == 1);
  CHECK(seen.byte == 'x');
  CHECK(seen.cast_write == 1);
  CHECK(seen.cast_close == 0);
}

TEST_CASE("page: it can be started any time after eventer_init(), and cooperates with all other events of its thread") {
  struct shared {
    std::atomic<int> wakes{0}, timers{0};
    notice done;
  } mine;
  compat_test::start();
  const auto sleeper = [] {
    auto& it = *static_cast<shared*>(eventer_aco_arg());
    timeval pause{0, 200};
    for (int i = 0; i < 20; ++i) {
      mtev_aco_sleep(&pause);
      ++it.wakes;
    }
    it.done.give();
    aco_exit();
  };
  for (int i = 0; i < 3; ++i) eventer_aco_start(sleeper, &mine);
  const auto tick = [](eventer_t e, int, void* closure, timeval* now) {
    auto& it = *static_cast<shared*>(closure);
    if (++it.timers == 20) {
      it.done.give();
      return 0;
    }
    timeval next{};
    add_timeval(*now, timeval{0, 200}, &next);
    eventer_update_whence(e, next);
    return EVENTER_TIMER;
  };
  eventer_add_in_s_us(tick, &mine, 0, 200);
  mine.done.wait(4);
  CHECK(mine.wakes == 60);
  CHECK(mine.timers == 20);
}
