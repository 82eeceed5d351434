// What the tests of the C interface share: loops that run, and ways to do something on them and wait for its end.
#pragma once

#include <sys/socket.h>
#include <unistd.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <utility>

#include "catch.hpp"
#include "eventer/compat/eventer_aco.h"

namespace compat_test {

// Once in a process: three loops, two of them in the default pool.
inline void start() {
  static const bool started = [] {
    eventer_propset("concurrency", "2");
    eventer_propset("loop_side", "1");
    return eventer_init() == 0;
  }();
  REQUIRE(started);
}

// What one thread waits for and another does.
class notice {
 public:
  void give() {
    const std::lock_guard lock(mutex_);
    ++count_;
    changed_.notify_all();
  }
  void wait(int times = 1) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return count_ >= times; });
    count_ -= times;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int count_ = 0;
};

// A function that another thread runs, and its end.
template <class F>
struct awaited_call {
  explicit awaited_call(F&& f) : function(std::move(f)) {}
  static void run(void* self) {
    auto& mine = *static_cast<awaited_call*>(self);
    mine.function();
    mine.done.give();
  }
  F function;
  notice done;
};
// Runs a function as a coroutine of eventer_aco_start and waits for its end.
template <class F>
void run_coroutine(F function) {
  start();
  const auto shared = std::make_unique<awaited_call<F>>(std::move(function));
  eventer_aco_start([] { awaited_call<F>::run(eventer_aco_arg()); }, shared.get());
  shared->done.wait();
}
// The same in a callback of the loop with that number (of the default pool).
template <class F>
void run_callback(F function, int loop = 0) {
  start();
  const auto shared = std::make_unique<awaited_call<F>>(std::move(function));
  eventer_add_timer_next_opportunity(
      [](eventer_t, int, void* closure, timeval*) {
        awaited_call<F>::run(closure);
        return 0;
      },
      shared.get(), eventer_choose_owner(loop));
  shared->done.wait();
}

// Two connected sockets, non-blocking.
struct socket_pair {
  int ends[2] = {-1, -1};
  socket_pair() { REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0); }
  socket_pair(const socket_pair&) = delete;
  socket_pair& operator=(const socket_pair&) = delete;
  ~socket_pair() {
    for (const int each : ends)
      if (each >= 0) ::close(each);
  }
  // It is somebody else's to close.
  int give(int which) { return std::exchange(ends[which], -1); }
};

inline void end(eventer_aco_t e) {
  eventer_aco_close(e);
  eventer_aco_free(e);
}

// How many events are allocated when nothing is under way: callbacks of an earlier case may be ending.
inline std::int64_t at_rest() {
  start();
  for (std::int64_t last = -1;;) {
    run_coroutine([] {});
    const std::int64_t now = eventer_allocations_current();
    if (now == last) return now;
    last = now;
    ::usleep(1000);
  }
}
// No more events are allocated than were before; callbacks may be ending.
inline bool allocations_come_to(std::int64_t count) {
  for (int i = 0; i < 5000 && eventer_allocations_current() > count; ++i) ::usleep(1000);
  return eventer_allocations_current() <= count;
}

}  // namespace compat_test
