// The loops of the C interface: made by eventer_init, each on a thread of its own, in pools that have names. They are
// never destroyed, because events, coroutines and queues may be anywhere when the program ends.
#pragma once

#include <pthread.h>

#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "eventer/compat/detail/library_log.hpp"
#include "eventer/compat/detail/properties.hpp"
#include "eventer/compat/eventer_aco.h"
#include "eventer/event/loop_pool.hpp"

namespace eventer::inline EVENTER_ABI::compat {

// A loop and its thread.
struct loop_thread {
  event_loop& loop;
  eventer_pool_t& pool;
  const unsigned index;  // among all loops of the process
  const std::string name;
  pthread_t thread{};

  // Whose callback is registered for a number on this loop; its thread's alone.
  std::unordered_map<int, _event*> watched{};

  std::mutex mutex{};
  std::unordered_set<_event*> timed{};  // under the lock: the timers that are set
};

inline thread_local loop_thread* this_loop = nullptr;

// What must not happen in a program: a sentence that says what to do, and the end.
[[noreturn]] inline void refuse(const char* sentence) {
  mtev_log_and_end(mtev_true, mtev_error, "eventer", 0, "%s\n", sentence);
}

}  // namespace eventer::inline EVENTER_ABI::compat

struct eventer_pool_t {
  std::string name;
  std::unique_ptr<eventer::loop_pool> loops;
  std::vector<eventer::compat::loop_thread*> threads;
};

namespace eventer::inline EVENTER_ABI::compat {

class runtime {
 public:
  static runtime& of_process() {
    static runtime& all = *new runtime;
    return all;
  }

  bool has_loops() const noexcept { return state_.load(std::memory_order_acquire) != stage::none; }
  bool has_stopped() const noexcept { return state_.load(std::memory_order_acquire) == stage::stopped; }
  // Makes the pools and starts their threads. Requires: nobody else does. Errors: std::system_error.
  void start() {
    const unsigned count = number_in(properties::of_process().find("concurrency").value_or("0")).value_or(0);
    add_pool("default", count);
    for (const auto& [name, value] : properties::of_process().beginning("loop_"))
      if (name != "default") add_pool(name, number_in(std::string_view(value).substr(0, value.find(','))).value_or(1));
    ::gettimeofday(&epoch_, nullptr);
    for (const auto& each : threads_) by_loop_.emplace(&each->loop, each.get());
    for (eventer_pool_t& each : pools_)
      each.loops->start([this](event_loop& loop, unsigned) {
        this_loop = by_loop_.at(&loop);
        this_loop->thread = ::pthread_self();
      });
    state_.store(stage::running, std::memory_order_release);
    resume_log_changed.store([]() noexcept {
      for (const auto& each : of_process().threads_)
        each->loop.post([&loop = each->loop] { loop.look_at_log_again(); });
    });
  }

  // After a start() that has failed, so that there may be another.
  void give_up() {
    if (has_loops()) return;
    pools_.clear();
    threads_.clear();
    by_loop_.clear();
  }

  std::list<eventer_pool_t>& pools() noexcept { return pools_; }
  eventer_pool_t* find_pool(std::string_view name) noexcept {
    for (eventer_pool_t& each : pools_)
      if (each.name == name) return &each;
    return nullptr;
  }
  // nullptr: not the thread of a loop.
  loop_thread* find(pthread_t thread) noexcept {
    if (this_loop != nullptr && ::pthread_equal(thread, this_loop->thread) != 0) return this_loop;
    for (const auto& each : threads_)
      if (::pthread_equal(thread, each->thread) != 0) return each.get();
    return nullptr;
  }
  const std::vector<std::unique_ptr<loop_thread>>& threads() const noexcept { return threads_; }
  // Where what was made on no loop's thread belongs. Requires: there are loops.
  loop_thread& first() {
    if (!has_loops()) refuse("there is no loop yet: call eventer_init() first");
    return *threads_.front();
  }
  const timeval& epoch() const noexcept { return epoch_; }

  // Called by eventer_stop before anything ends; each function once.
  void at_stop(void (*function)()) {
    const std::lock_guard lock(mutex_);
    for (void (*const each)() : at_stop_)
      if (each == function) return;
    at_stop_.push_back(function);
  }
  void begin_to_stop() {
    std::vector<void (*)()> all;
    {
      const std::lock_guard lock(mutex_);
      all.swap(at_stop_);
    }
    for (void (*const each)() : all) each();
  }
  void wait_until_stopped() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return has_stopped(); });
  }
  // All loops leave run(), and stay as they are.
  void stop() {
    for (eventer_pool_t& each : pools_) each.loops->stop();
    for (eventer_pool_t& each : pools_) each.loops->join();
    const std::lock_guard lock(mutex_);
    state_.store(stage::stopped, std::memory_order_release);
    changed_.notify_all();
  }

 private:
  enum class stage { none, running, stopped };

  void add_pool(const std::string& name, unsigned count) {
    if (count == 0) count = usable_cpus();
    eventer_pool_t& pool = pools_.emplace_back();
    pool.name = name;
    pool.loops = std::make_unique<loop_pool>(count);
    for (unsigned i = 0; i < count; ++i) {
      threads_.push_back(std::unique_ptr<loop_thread>(new loop_thread{.loop = (*pool.loops)[i],
                                                                      .pool = pool,
                                                                      .index = static_cast<unsigned>(threads_.size()),
                                                                      .name = "e:" + name + "/" + std::to_string(i)}));
      pool.threads.push_back(threads_.back().get());
    }
  }

  std::list<eventer_pool_t> pools_;  // the default one first
  std::vector<std::unique_ptr<loop_thread>> threads_;
  std::unordered_map<event_loop*, loop_thread*> by_loop_;
  timeval epoch_{};
  std::atomic<stage> state_{stage::none};
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<void (*)()> at_stop_;
};

}  // namespace eventer::inline EVENTER_ABI::compat
