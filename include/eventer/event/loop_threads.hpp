// loop_threads: what a loop_pool is made of: its loops, a thread for each of them, and what these do together.
//
// A loop's thread is made when the pool is first started, and stays until the pool's end, also while it is stopped:
// what coroutines have found in thread_locals is there when they go on, and when they are unwound. What must not be
// broken: a loop is its thread's while `busy`, and else looked at under the lock; no loop is destroyed while another
// one could still be asked for something.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "eventer/base/process_mark.hpp"
#include "eventer/coro/completion.hpp"
#include "eventer/event/event_loop.hpp"

namespace eventer::inline EVENTER_ABI::detail {

// Called on each loop's thread when a pool is started.
struct loop_starter {
  virtual ~loop_starter() = default;
  virtual void begin(event_loop& loop, unsigned index) = 0;
};
template <class F>
struct typed_loop_starter final : loop_starter {
  explicit typed_loop_starter(F&& f) : function(std::move(f)) {}
  explicit typed_loop_starter(const F& f) : function(f) {}
  void begin(event_loop& loop, unsigned index) override { function(loop, index); }
  F function;
};

// Happens once.
class happening final : public completion {
 public:
  explicit happening(completed_by whom) noexcept : by_(whom) {}
  void happens() {
    complete([] {});
  }

 private:
  completed_by who_completes(const scheduler&) const noexcept override { return by_; }
  const completed_by by_;
};

// Asked of all loops of a pool; each answers for itself.
class stats_request final : public completion {
 public:
  explicit stats_request(std::size_t loops) : answers_(loops), missing_(loops) {}
  // Under the pool's lock, once for each.
  void answer(std::size_t index, const loop_stats& stats) {
    answers_[index] = stats;
    if (--missing_ == 0) complete([] {});
  }
  std::vector<loop_stats> take() { return std::move(answers_); }

 private:
  completed_by who_completes(const scheduler&) const noexcept override { return completed_by::another_thread; }

  std::vector<loop_stats> answers_;
  std::size_t missing_;
};

// From a start of the pool until its loops have left run(). What is not const is under the pool's lock.
struct pool_round {
  explicit pool_round(std::unique_ptr<loop_starter> f) noexcept : on_each(std::move(f)) {}
  ~pool_round() {
    if (failure != nullptr && !asked)
      log(log_level::error, "an exception has left a loop of a loop_pool that nobody has joined%s",
          text_of(failure).c_str());
  }

  std::unique_ptr<loop_starter> on_each;
  const std::shared_ptr<happening> running = std::make_shared<happening>(completed_by::another_thread);
  const std::shared_ptr<happening> over = std::make_shared<happening>(completed_by::anybody);
  unsigned prepared = 0;  // loops for which on_each was called
  unsigned begun = 0;     // that run, or have left already
  unsigned left = 0;
  std::exception_ptr failure;  // the first
  bool asked = false;          // somebody has got it
};

class loop_threads {
 public:
  loop_threads(unsigned count, const loop_options& options) {
    workers_.reserve(count);
    for (unsigned i = 0; i < count; ++i) workers_.push_back(std::make_unique<worker>(*this, i, options));
  }
  loop_threads(const loop_threads&) = delete;
  loop_threads& operator=(const loop_threads&) = delete;
  ~loop_threads() {
    if (here_ == this)
      broken_rule(
          "a loop_pool is destroyed on one of its own threads, by a coroutine or a callback of it (or by exit(), where it is static): "
          "call stop(), and let the thread that made it end it");
    stop();
    {
      const std::lock_guard lock(mutex_);
      ending_ = true;
      changed_.notify_all();
    }
    if (threads_ > 0) unwound_->wait_shielded();
    for (const auto& each : workers_)
      if (each->has_thread) syscalls::join_thread(each->thread);
    // Without a thread, or with messages that came too late: they may hold what belongs to other loops.
    for (bool again = true; again;) {
      for (const auto& each : workers_) each->loop.unwind_all();
      again = false;
      for (const auto& each : workers_) again = again || !each->loop.posts().empty();
    }
  }

  unsigned size() const noexcept { return static_cast<unsigned>(workers_.size()); }
  event_loop& loop(unsigned index) noexcept { return workers_[index]->loop; }
  bool forked() const noexcept { return process_.forked(); }
  // In a forked child, where the threads are not: whatever they were doing is half done, and stays so.
  void leave_behind() noexcept { before_ = std::exchange(left_behind_, this); }

  void start(std::unique_ptr<loop_starter> on_each) {
    refuse_forked();
    if (scheduler* const here = scheduler::current(); here != nullptr && here->running() == nullptr)
      broken_rule("loop_pool::start() in a callback would block its loop: call it in a coroutine");
    const std::shared_ptr<pool_round> present = begin_round(std::move(on_each));
    present->running->wait_shielded();
    present->on_each.reset();
    if (failure_of(*present) == nullptr) return;
    present->over->wait_shielded();
    rethrow_failure(present);
  }

  // Only atomics, and a write to each loop's descriptor.
  void stop() noexcept {
    stop_.store(true, std::memory_order_release);
    for (const auto& each : workers_) each->loop.stop();
  }

  // Where the waiting is given up: `stops` the pool first, or leaves it running.
  void join(bool stops) {
    refuse_forked();
    if (here_ == this)
      throw_error(std::make_error_code(std::errc::resource_deadlock_would_occur),
                  "loop_pool::join() on one of the pool's own threads, which would wait for itself");
    const std::shared_ptr<pool_round> present = present_round();
    if (present != nullptr) {
      stopped_at_exit given_up{*this, stops ? present : nullptr};
      wait_for(*present->over,
               "loop_pool::join() in a coroutine that is cancelled, or whose deadline_scope has expired");
      given_up.what = nullptr;
    }
    rethrow_failure(present);
  }

  std::vector<loop_stats> stats() {
    refuse_forked();
    const auto request = std::make_shared<stats_request>(workers_.size());
    {
      const std::lock_guard lock(mutex_);
      for (const auto& each : workers_) {
        if (!each->busy) {
          request->answer(each->index, each->loop.stats());
          continue;
        }
        each->asked.push_back(request);
        each->loop.post([which = each.get()] { which->of.answer(*which); });
      }
    }
    wait_for(*request, "loop_pool::stats() in a coroutine that is cancelled, or whose deadline_scope has expired");
    return request->take();
  }

 private:
  // One loop. Its thread's, or under the lock.
  struct worker {
    worker(loop_threads& p, unsigned i, const loop_options& options) : of(p), index(i), loop(options) {}

    loop_threads& of;
    const unsigned index;
    event_loop loop;
    pthread_t thread{};
    bool has_thread = false;
    bool busy = false;   // its thread uses the loop
    bool begun = false;  // it is counted in the round's `begun`
    std::vector<std::shared_ptr<stats_request>> asked;
  };

  void refuse_forked() const {
    if (EVENTER_UNLIKELY(process_.forked()))
      throw_error(std::make_error_code(std::errc::operation_not_permitted),
                  "this loop_pool was made before fork(), and its threads are the parent's: make one in the child");
  }

  static void wait_for(completion& what, const char* where) {
    const wake_reason reason = what.wait({});
    if (reason == wake_reason::ready) return;
    throw_if_canceled(reason);
    throw_error(make_error_code(reason == wake_reason::timed_out ? errc::timed_out : errc::canceled), where);
  }

  // --- rounds ---

  struct stopped_at_exit {
    loop_threads& of;
    std::shared_ptr<pool_round> what;
    ~stopped_at_exit() {
      if (what == nullptr) return;
      of.stop();
      what->over->wait_shielded();
      of.end_round(what);
    }
  };

  std::shared_ptr<pool_round> begin_round(std::unique_ptr<loop_starter> on_each) {
    const std::lock_guard lock(mutex_);
    if (round_ != nullptr || ending_)
      throw_error(make_error_code(errc::busy),
                  "loop_pool::start() of a pool that is started already: stop() and join() come first");
    auto fresh = std::make_shared<pool_round>(std::move(on_each));
    for (const auto& each : workers_) make_thread(*each);
    for (const auto& each : workers_) {
      each->busy = true;
      each->begun = false;
    }
    round_ = fresh;
    ++rounds_;
    changed_.notify_all();
    return fresh;
  }
  void make_thread(worker& of) {
    if (of.has_thread) return;
    const int error = syscalls::start_thread(
        of.thread,
        [](void* self) -> void* {
          auto& mine = *static_cast<worker*>(self);
          mine.of.serve(mine);
          return nullptr;
        },
        &of);
    if (error != 0) throw_error(error_from_errno(error), "loop_pool::start(): no thread for a loop");
    of.has_thread = true;
    ++threads_;
  }
  std::shared_ptr<pool_round> present_round() const {
    const std::lock_guard lock(mutex_);
    return round_;
  }
  std::exception_ptr failure_of(const pool_round& which) const {
    const std::lock_guard lock(mutex_);
    return which.failure;
  }
  // With the first of those that wait for its end, who takes along what stop() has asked for so far.
  void end_round(const std::shared_ptr<pool_round>& which) {
    const std::lock_guard lock(mutex_);
    if (round_ != which) return;
    round_ = nullptr;
    stop_.store(false, std::memory_order_relaxed);
  }
  void rethrow_failure(const std::shared_ptr<pool_round>& which) {
    end_round(which);
#if EVENTER_EXCEPTIONS
    if (which == nullptr) return;
    std::unique_lock lock(mutex_);
    const std::exception_ptr failure = which->failure;
    which->asked = true;
    lock.unlock();
    if (failure != nullptr) std::rethrow_exception(failure);
#endif
  }

  // --- the threads ---

  void serve(worker& mine) {
    here_ = this;
    char name[16];
    std::snprintf(name, sizeof name, "eventer/%u", mine.index % 1000000);
    syscalls::name_thread(name);
    std::unique_lock lock(mutex_);
    for (std::uint64_t seen = 0;;) {
      changed_.wait(lock, [&] { return ending_ || rounds_ != seen; });
      if (ending_) break;
      seen = rounds_;
      const std::shared_ptr<pool_round> present = round_;
      lock.unlock();
      take_part(mine, present);
      if (process_.forked()) return;  // the child's only thread: the process ends with it
      lock.lock();
      leave(mine, *present);
    }
    mine.busy = true;
    lock.unlock();
    unwind(mine);
    here_ = nullptr;
  }

  void take_part(worker& mine, const std::shared_ptr<pool_round>& present) {
#if EVENTER_EXCEPTIONS
    try {
      prepare_and_run(mine, present);
    } catch (...) {
      if (process_.forked()) {
        log(log_level::error, "in a forked child, an exception has left the loop of a loop_pool%s",
            text_of(std::current_exception()).c_str());
        broken_rule(
            "a coroutine of a loop_pool has forked, and its child has returned to the pool's loop: end the child with exec or _exit");
      }
      {
        const std::lock_guard lock(mutex_);
        if (present->failure == nullptr) present->failure = std::current_exception();
        changed_.notify_all();
      }
      stop();
    }
#else
    prepare_and_run(mine, present);
#endif
  }
  void prepare_and_run(worker& mine, const std::shared_ptr<pool_round>& present) {
    if (!prepare(mine, *present)) return;
    const work_guard stays(mine.loop);
    mine.loop.post(first_turns{&mine, present});
    // Somebody may have stopped the loop alone, now or before.
    do mine.loop.run();
    while (!stop_.load(std::memory_order_acquire));
  }
  // One loop after the other, and none runs before all are prepared. False: one could not be.
  bool prepare(worker& mine, pool_round& present) {
    std::unique_lock lock(mutex_);
    if (present.on_each != nullptr) {
      changed_.wait(lock, [&] { return present.prepared == mine.index || present.failure != nullptr; });
      if (present.failure != nullptr) return false;
      lock.unlock();
      {
        const scheduler::entered here(mine.loop);
        present.on_each->begin(mine.loop, mine.index);
      }
      lock.lock();
      ++present.prepared;
      changed_.notify_all();
      changed_.wait(lock, [&] { return present.prepared == size() || present.failure != nullptr; });
    }
    return present.failure == nullptr;
  }
  // The loop runs when it has looked at the kernel once.
  struct first_turns {
    worker* mine;
    std::shared_ptr<pool_round> present;
    bool looked = false;
    void operator()() {
      if (!std::exchange(looked, true)) return mine->loop.post(std::move(*this));
      mine->of.count_begun(*mine, *present);
    }
  };
  void count_begun(worker& mine, pool_round& present) {
    const std::lock_guard lock(mutex_);
    if (round_.get() == &present) count_begun_locked(mine, present);
  }
  void count_begun_locked(worker& mine, pool_round& present) {
    if (std::exchange(mine.begun, true)) return;
    if (++present.begun == size()) present.running->happens();
  }
  // Under the lock.
  void leave(worker& mine, pool_round& present) {
    give_back(mine);
    count_begun_locked(mine, present);
    if (++present.left == size()) present.over->happens();
  }
  // Under the lock: the loop is its thread's no longer.
  static void give_back(worker& mine) {
    mine.busy = false;
    for (const auto& each : std::exchange(mine.asked, {})) each->answer(mine.index, mine.loop.stats());
  }
  void answer(worker& mine) {
    if (process_.forked()) return;
    const std::lock_guard lock(mutex_);
    for (const auto& each : std::exchange(mine.asked, {})) each->answer(mine.index, mine.loop.stats());
  }

  // All are cancelled before anything runs: who joins another loop's coroutine is not told first that this one was
  // cancelled, which would be a failure. Until all have unwound theirs, each loop goes on answering: what another one's
  // coroutine, in its cancel_shield, spawns here is cancelled at once.
  void unwind(worker& mine) {
    mine.loop.cancel_all();
    {
      std::unique_lock lock(mutex_);
      ++canceled_;
      changed_.notify_all();
      changed_.wait(lock, [this] { return canceled_ == threads_; });
    }
    mine.loop.unwind_all();
    {
      const std::lock_guard lock(mutex_);
      if (++finished_ == threads_) {
        all_finished_.store(true, std::memory_order_release);
        for (const auto& each : workers_) each->loop.stop();
      }
    }
    {
      const work_guard stays(mine.loop);
      while (!all_finished_.load(std::memory_order_acquire)) run_at_end(mine.loop);
    }
    const std::lock_guard lock(mutex_);
    give_back(mine);
    if (--finished_ == 0) unwound_->happens();
  }
  static void run_at_end(event_loop& loop) {
#if EVENTER_EXCEPTIONS
    try {
      loop.run();
    } catch (...) {
      log(log_level::error, "a function of a loop that is being destroyed has thrown%s",
          text_of(std::current_exception()).c_str());
    }
#else
    loop.run();
#endif
  }

  const process_mark process_;
  std::vector<std::unique_ptr<worker>> workers_;
  std::atomic<bool> stop_{false};          // asked for, and no round has ended with it yet
  std::atomic<bool> all_finished_{false};  // with their unwinding
  const std::shared_ptr<happening> unwound_ = std::make_shared<happening>(completed_by::another_thread);

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::shared_ptr<pool_round> round_;  // nullptr: not started, or joined
  std::uint64_t rounds_ = 0;           // so far
  unsigned threads_ = 0;
  unsigned canceled_ = 0, finished_ = 0;
  bool ending_ = false;

  loop_threads* before_ = nullptr;
  static inline constinit loop_threads* left_behind_ = nullptr;              // for leak checkers
  static inline constinit thread_local const loop_threads* here_ = nullptr;  // whose thread this is
};

}  // namespace eventer::inline EVENTER_ABI::detail
