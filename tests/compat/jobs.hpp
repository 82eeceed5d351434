// What the tests of the C interface's jobs share: events with a C++ function, coroutines that the test waits for, and
// counts that threads wait for.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "eventer/compat/eventer_aco.h"
#include "eventer/context/sanitizer.hpp"
#include "loops.hpp"

// Under the sanitizers and valgrind fewer are enough.
inline std::size_t many(std::size_t count) {
  if (eventer::context::running_on_valgrind()) return count / 100;
  return EVENTER_ASAN || EVENTER_TSAN ? count / 10 : count;
}

inline void start_runtime() { compat_test::start(); }

class count {
 public:
  void add(std::size_t some = 1) {
    const std::lock_guard lock(mutex_);
    value_ += some;
    changed_.notify_all();
  }
  // Blocks the thread. False: only to end a hang.
  bool until(std::size_t wanted) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::minutes(4), [&] { return value_ >= wanted; });
  }
  std::size_t now() {
    const std::lock_guard lock(mutex_);
    return value_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::size_t value_ = 0;
};

// True as soon as no more events live than did at the beginning: the last reference goes after the last callback.
class no_leaks {
 public:
  explicit operator bool() const { return compat_test::allocations_come_to(before_); }

 private:
  std::int64_t before_ = compat_test::at_rest();
};

using job_function = std::function<void(eventer_t, int mask)>;
struct job_closure {
  job_function call;
  bool again = false;  // it has been added once more

  static int callback(eventer_t e, int mask, void* closure, timeval*) {
    auto* const self = static_cast<job_closure*>(closure);
    // A thread of the queue may be at work already when the COMPLETE before returns: it leaves `again` alone.
    if (mask == EVENTER_ASYNCH_COMPLETE) self->again = false;
    self->call(e, mask);
    if (mask == EVENTER_ASYNCH_COMPLETE && !self->again) delete self;
    return 0;
  }
};
// The function is destroyed after COMPLETE.
inline eventer_t make_job(job_function call, timeval* deadline = nullptr) {
  return eventer_alloc_asynch_timeout(&job_closure::callback, new job_closure{std::move(call)}, deadline);
}
// One with nothing but WORK.
inline eventer_t make_work(std::function<void()> work) {
  return make_job([work = std::move(work)](eventer_t, int mask) {
    if (mask == EVENTER_ASYNCH_WORK) work();
  });
}
// For an event that was never added.
inline void free_job(eventer_t e) {
  delete static_cast<job_closure*>(eventer_get_closure(e));
  eventer_free(e);
}

// Runs a function in a coroutine of the first loop, and waits for its end. What it refers to is the test's own.
inline bool in_coroutine(const std::function<void()>& body) {
  struct started {
    const std::function<void()>& body;
    count ended{};
  } here{body};
  eventer_aco_start(
      [] {
        auto* const mine = static_cast<started*>(eventer_aco_arg());
        mine->body();
        mine->ended.add();
      },
      &here);
  return here.ended.until(1);
}

// A queue of the test's own.
class own_queue {
 public:
  explicit own_queue(const char* name, std::uint32_t threads = 1) : queue_(eventer_jobq_create(name)) {
    eventer_jobq_set_concurrency(queue_, threads);
  }
  own_queue(const own_queue&) = delete;
  own_queue& operator=(const own_queue&) = delete;
  ~own_queue() { eventer_jobq_destroy(queue_); }
  operator eventer_jobq_t*() const { return queue_; }

 private:
  eventer_jobq_t* queue_;
};
