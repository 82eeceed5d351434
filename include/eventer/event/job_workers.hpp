// job_workers: the threads of a job_queue and what they have to do.
//
// The queue, its threads and its jobs own it together, so that a thread that never comes back harms nobody. What must
// not be broken: its lock is not held while a job runs, is handed back or is destroyed.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "eventer/base/brief_wait.hpp"
#include "eventer/base/counted_ptr.hpp"
#include "eventer/base/process_mark.hpp"
#include "eventer/base/usable_cpus.hpp"
#include "eventer/event/job.hpp"
#include "eventer/event/job_options.hpp"

namespace eventer::inline EVENTER_ABI::detail {

// A doubly linked list of jobs, in the order in which they came.
class job_list {
 public:
  bool empty() const noexcept { return first_ == nullptr; }
  std::size_t size() const noexcept { return size_; }
  const job* front() const noexcept { return first_; }
  void push_back(job& which) noexcept {
    which.next_job = nullptr;
    which.previous_job = last_;
    (last_ != nullptr ? last_->next_job : first_) = &which;
    last_ = &which;
    ++size_;
  }
  void remove(job& which) noexcept {
    (which.previous_job != nullptr ? which.previous_job->next_job : first_) = which.next_job;
    (which.next_job != nullptr ? which.next_job->previous_job : last_) = which.previous_job;
    --size_;
  }
  job* pop_front() noexcept { return pop(first_); }
  job* pop_back() noexcept { return pop(last_); }

 private:
  job* pop(job* which) noexcept {
    if (which != nullptr) remove(*which);
    return which;
  }

  job *first_ = nullptr, *last_ = nullptr;
  std::size_t size_ = 0;
};

struct job_lane {
  std::uint64_t key = 0;
  std::size_t jobs = 0;  // in it, or waiting for room
  job_list queued;
  job_lane *next = nullptr, *previous = nullptr;  // among those that have something queued
};

// The jobs of a queue, and whose turn it is.
class job_backlog {
 public:
  std::size_t queued() const noexcept { return queued_.load(std::memory_order_relaxed); }

  std::size_t waiting_for_room() const noexcept { return overflow_.size(); }
  void set_order(job_order order) noexcept { takes_last_ = order == job_order::lifo; }

  // Throws std::bad_alloc where a new key finds no memory.
  void add(job& which, std::uint64_t key, bool has_room) {
    job_lane& lane = key == 0 ? default_ : keyed_[key];
    lane.key = key;
    ++lane.jobs;
    which.lane = &lane;
    if (has_room) return enter(which);
    which.at = job::stage::waiting_for_room;
    overflow_.push_back(which);
  }
  // Queues the first that waits for room; false: none does.
  bool admit_one() {
    job* const next = overflow_.pop_front();
    if (next != nullptr) enter(*next);
    return next != nullptr;
  }
  // The next one that is to run, of the lane whose turn it is; nullptr: none.
  job* take() {
    job_lane* const lane = first_;
    if (lane == nullptr) return nullptr;
    job* const which = takes_last_ ? lane->queued.pop_back() : lane->queued.pop_front();
    deactivate(*lane);
    if (!lane->queued.empty()) activate(*lane);
    leave(*which);
    return which;
  }
  // Requires: it waits for room or is queued.
  void remove(job& which) {
    if (which.at == job::stage::waiting_for_room) {
      overflow_.remove(which);
      return forget_lane_of(which);
    }
    which.lane->queued.remove(which);
    if (which.lane->queued.empty()) deactivate(*which.lane);
    leave(which);
  }
  time_point oldest() const noexcept {
    time_point result = time_point::max();
    for (const job_lane* each = first_; each != nullptr; each = each->next) earlier(result, each->queued);
    earlier(result, overflow_);
    return result;
  }

 private:
  static void earlier(time_point& than, const job_list& which) noexcept {
    if (!which.empty() && which.front()->submitted < than) than = which.front()->submitted;
  }
  void enter(job& which) {
    which.at = job::stage::queued;
    which.lane->queued.push_back(which);
    if (which.lane->queued.size() == 1) activate(*which.lane);
    queued_.store(queued() + 1, std::memory_order_relaxed);
    if (which.entered != nullptr) which.entered->given();
  }
  void leave(job& which) {
    queued_.store(queued() - 1, std::memory_order_relaxed);
    forget_lane_of(which);
  }
  void forget_lane_of(job& which) {
    job_lane* const lane = std::exchange(which.lane, nullptr);
    if (--lane->jobs == 0 && lane != &default_) keyed_.erase(lane->key);
  }
  void activate(job_lane& which) noexcept {
    which.next = nullptr;
    which.previous = last_;
    (last_ != nullptr ? last_->next : first_) = &which;
    last_ = &which;
  }
  void deactivate(job_lane& which) noexcept {
    (which.previous != nullptr ? which.previous->next : first_) = which.next;
    (which.next != nullptr ? which.next->previous : last_) = which.previous;
  }

  job_lane default_;
  std::unordered_map<std::uint64_t, job_lane> keyed_;
  job_lane *first_ = nullptr, *last_ = nullptr;
  job_list overflow_;
  bool takes_last_ = false;
  std::atomic<std::size_t> queued_{0};  // written under the lock
};

// A mutex under which little is done: whoever finds it taken looks again for a moment before it sleeps. (Drepper,
// "Futexes Are Tricky", the second mutex.)
class brief_mutex {
 public:
  void lock() noexcept {
    std::uint32_t seen = open;
    if (EVENTER_LIKELY(word_.compare_exchange_strong(seen, taken, std::memory_order_acquire))) return;
    for (int i = 0; i < looks; ++i) {
      relax();
      seen = word_.load(std::memory_order_relaxed);
      if (seen == open && word_.compare_exchange_strong(seen, taken, std::memory_order_acquire)) return;
    }
    while (word_.exchange(awaited, std::memory_order_acquire) != open)
      syscalls::sleep_while(word_, awaited, no_deadline);
  }
  void unlock() noexcept {
    if (EVENTER_UNLIKELY(word_.exchange(open, std::memory_order_release) == awaited)) syscalls::wake_sleeper(word_);
  }

 private:
  static constexpr std::uint32_t open = 0, taken = 1, awaited = 2;
  static constexpr int looks = 100;
  std::atomic<std::uint32_t> word_{open};
};

class EVENTER_API job_workers : public counted<std::atomic<std::uint32_t>> {
 public:
  // `before` is what it replaces in a forked child, so that leak checkers find it.
  job_workers(std::string name, const job_options& options, counted_ptr<job_workers> before = {})
      : name_(std::move(name)), options_(options), before_fork_(std::move(before)) {
    limit_threads(options.min_concurrency, options.max_concurrency);
    backlog_.set_order(options.order);
  }
  job_workers(const job_workers&) = delete;
  job_workers& operator=(const job_workers&) = delete;

  const std::string& name() const noexcept { return name_; }
  const job_options& options() const noexcept { return options_; }
  // In a forked child, where the threads are not, and the lock may be held for ever: nothing else may be called there.
  bool forked() const noexcept { return process_.forked(); }
  // Whether the caller is one of its jobs.
  bool is_mine() const noexcept { return serving_ == this; }
  // Jobs that wait for a thread. Without the lock: as it was a moment ago.
  std::size_t queued() const noexcept { return backlog_.queued(); }

  // Takes a job over, unless it answers an error: backlog_full where there is no room and it may not
  // wait for it, or what pthread_create says where there is no thread at all; canceled at the queue's end. `entered`,
  // where given, becomes what tells that there is room, if the job has to wait for it.
  std::error_code submit(job& which, std::uint64_t key, bool may_wait,
                         std::shared_ptr<room_for_job>* entered = nullptr) {
    if (EVENTER_UNLIKELY(forked())) return make_error_code(errc::canceled);
    which.submitted = clock::now();
    std::unique_lock lock(mutex_);
    if (closed_) return make_error_code(errc::canceled);
    const bool room = has_room() || is_mine();
    if (!room && !may_wait) return ++stats_.refused, make_error_code(errc::backlog_full);
    if (!room && entered != nullptr) which.entered = *entered = std::make_shared<room_for_job>();
    backlog_.add(which, key, room);
    if (const int error = start_thread_if_needed(); EVENTER_UNLIKELY(error != 0 && threads_ == 0)) {
      backlog_.remove(which);
      which.at = job::stage::made;
      ++stats_.refused;
      return error_from_errno(error);
    }
    ++stats_.submitted;
    which.goes_out();
    worker* const sleeper = call_one();
    lock.unlock();
    if (sleeper != nullptr) syscalls::wake_sleeper(sleeper->called);
    return {};
  }

  // Nobody wants the job any more. True: it had not begun, and is the caller's. False: it has; the worker, or the loop
  // that it came from, destroys it if the caller gives it up.
  bool withdraw(job& which) {
    if (forked()) return false;
    const std::lock_guard lock(mutex_);
    if (which.at != job::stage::waiting_for_room && which.at != job::stage::queued) return false;
    take_out(which);
    which.at = job::stage::made;
    ++stats_.withdrawn;
    return true;
  }
  // The same of one that nobody waits for, and that is gone perhaps if there has been room for it.
  bool withdraw(job& which, const room_for_job& entered) {
    if (forked()) return false;
    const std::lock_guard lock(mutex_);
    if (entered.done()) return false;
    take_out(which);
    ++stats_.withdrawn;
    return true;
  }
  void count_abandoned() {
    if (forked()) return;
    const std::lock_guard lock(mutex_);
    ++stats_.abandoned;
  }
  // A plain thread has waited. True: the job is the caller's, with what it has come to.
  bool end_wait_of_thread(job& which) {
    const std::lock_guard lock(mutex_);
    which.thread = nullptr;
    if (which.at == job::stage::finished || which.at == job::stage::dropped) return true;
    if (which.at != job::stage::running) {
      take_out(which);
      which.at = job::stage::made;
      ++stats_.withdrawn;
      return true;
    }
    ++stats_.abandoned;
    which.kept = false;
    return false;
  }

  void set_concurrency(unsigned least, unsigned most) {
    if (forked()) return;
    const std::lock_guard lock(mutex_);
    limit_threads(least, most);
    admit();
    for (std::size_t before = threads_ + 1; before != threads_;) {
      before = threads_;
      (void)start_thread_if_needed();
    }
    // Those that are too many end, and the others look how long they may wait.
    while (worker* const each = call_idle()) syscalls::wake_sleeper(each->called);
  }
  void set_order(job_order order) {
    if (forked()) return;
    const std::lock_guard lock(mutex_);
    options_.order = order;
    backlog_.set_order(order);
  }

  job_stats stats() const {
    const std::lock_guard lock(mutex_);
    job_stats result = stats_;
    result.threads = threads_;
    result.running = running_;
    result.queued = backlog_.queued();
    result.waiting_for_room = backlog_.waiting_for_room();
    if (const time_point oldest = backlog_.oldest(); oldest != time_point::max()) result.oldest = clock::now() - oldest;
    return result;
  }

  // Waits until nothing is queued and nothing runs. `in_full`: whatever deadline_scope ends before the limit. Returns:
  // the jobs left at the limit.
  std::size_t drain(time_limit limit, bool in_full = false) {
    const auto all_done = when_drained();
    if (all_done == nullptr) return 0;
    const wake_reason reason = in_full ? all_done->wait_beyond_scopes(limit) : all_done->wait(limit);
    const std::lock_guard lock(mutex_);
    std::erase(drained_, all_done);
    if (reason == wake_reason::ready) return 0;
    return jobs();
  }

  // The same without an end, whatever happens meanwhile; in a callback it holds the loop up.
  void drain_shielded() {
    if (const auto all_done = when_drained()) all_done->wait_shielded();
  }

  // No more jobs: those that have not begun go back to where they came from, and each thread ends with what it runs.
  void close() {
    job_list left;
    std::unique_lock lock(mutex_);
    closed_ = true;
    for (job* each = backlog_.take(); each != nullptr || backlog_.admit_one(); each = backlog_.take()) {
      if (each == nullptr) continue;
      each->at = job::stage::dropped;
      ++stats_.withdrawn;
      if (each->home == nullptr && each->kept)
        each->thread->wake();  // whose the job is
      else
        left.push_back(*each);
    }
    if (all_is_done()) tell_drained();
    while (worker* const each = call_idle()) syscalls::wake_sleeper(each->called);
    lock.unlock();
    while (job* const each = left.pop_front()) hand_back(*each);
  }

 private:
  // A thread, or the place of one that has ended. They are kept, so that whoever calls one need not hold the lock.
  struct worker {
    std::atomic<std::uint32_t> called{0};         // it is to look for work
    worker *next = nullptr, *previous = nullptr;  // among the idle ones, or those without a thread
  };

  std::size_t jobs() const noexcept { return backlog_.queued() + backlog_.waiting_for_room() + running_; }

  // A job for which there may be a thread does not wait for one.
  bool has_room() const noexcept {
    const std::size_t under_way = backlog_.queued() + running_;
    return under_way < options_.max_concurrency || under_way - options_.max_concurrency < options_.max_backlog;
  }
  void admit() {
    while (has_room() && backlog_.admit_one()) {
    }
  }
  void take_out(job& which) {
    backlog_.remove(which);
    admit();
  }
  bool all_is_done() const noexcept { return jobs() == 0 && being_handed_back_ == 0; }
  // Told when all is done; nullptr: it is.
  std::shared_ptr<room_for_job> when_drained() {
    auto told = std::make_shared<room_for_job>();
    const std::lock_guard lock(mutex_);
    if (all_is_done()) return nullptr;
    drained_.push_back(told);
    return told;
  }

  // --- threads; all under the lock ---

  void limit_threads(unsigned least, unsigned most) noexcept {
    if (most == 0) most = 4 * usable_cpus();
    options_.max_concurrency = most;
    options_.min_concurrency = least < most ? least : most;
  }
  // The limit has been lowered: a thread that comes back ends.
  bool has_too_many() const noexcept { return EVENTER_UNLIKELY(threads_ > options_.max_concurrency); }
  // Of the idle ones the last that came, whose caches are warm.
  worker* call_idle() noexcept {
    worker* const which = idle_;
    if (which == nullptr) return nullptr;
    unlink_idle(*which);
    which->called.store(1, std::memory_order_release);
    ++called_;
    return which;
  }
  worker* call_one() noexcept { return backlog_.queued() > called_ + looking_ ? call_idle() : nullptr; }
  void link_idle(worker& which) noexcept {
    which.previous = nullptr;
    which.next = idle_;
    if (idle_ != nullptr) idle_->previous = &which;
    idle_ = &which;
    ++idle_count_;
  }
  void unlink_idle(worker& which) noexcept {
    (which.previous != nullptr ? which.previous->next : idle_) = which.next;
    if (which.next != nullptr) which.next->previous = which.previous;
    --idle_count_;
  }
  int start_thread_if_needed() {
    if (backlog_.queued() <= idle_count_ + called_ + looking_ || threads_ >= options_.max_concurrency) return 0;
    if (free_ == nullptr && !add_place()) return ENOMEM;
    std::unique_ptr<beginning> begun(new (std::nothrow) beginning{counted_ptr(this), free_});
    if (begun == nullptr) return ENOMEM;
    worker& place = *std::exchange(free_, free_->next);
    place.called.store(1, std::memory_order_relaxed);
    const int error = syscalls::start_thread(
        [](void* argument) -> void* {
          const std::unique_ptr<beginning> given(static_cast<beginning*>(argument));
          given->workers->serve(*given->place);
          return nullptr;
        },
        begun.get());
    if (error != 0) {
      place.next = std::exchange(free_, &place);
      return error;
    }
    (void)begun.release();
    ++called_;
    ++threads_;
    return 0;
  }
  struct beginning {
    counted_ptr<job_workers> workers;
    worker* place;
  };
  bool add_place() noexcept {
#if EVENTER_EXCEPTIONS
    try {
#endif
      workers_.push_back(std::make_unique<worker>());
      free_ = workers_.back().get();
      return true;
#if EVENTER_EXCEPTIONS
    } catch (const std::bad_alloc&) {
      return false;
    }
#endif
  }

  void serve(worker& me) {
    serving_ = this;
    ::pthread_setname_np(::pthread_self(), name_.substr(0, 15).c_str());
    std::unique_lock lock(mutex_);
    while (wait_for_work(lock, me)) {
      job* done = nullptr;
      time_point begun = clock::now();
      while (job* const next = has_too_many() ? nullptr : take_next()) {
        lock.unlock();
        if (done != nullptr) hand_back(*done);
        next->work(*next);
        const time_point ended = clock::now();
        lock.lock();
        if (done != nullptr) --being_handed_back_;
        done = account(*next, std::exchange(begun, ended), ended) ? next : nullptr;
      }
      if (done == nullptr) continue;
      lock.unlock();
      hand_back(*done);
      lock.lock();
      --being_handed_back_;
      if (all_is_done()) tell_drained();
    }
    me.next = std::exchange(free_, &me);
    --threads_;
  }
  job* take_next() {
    job* const next = backlog_.take();
    if (next == nullptr) return nullptr;
    next->at = job::stage::running;
    ++running_;
    return next;
  }
  // False: a plain thread has waited for it, and has it by now.
  bool account(job& which, time_point begun, time_point ended) {
    --running_;
    ++stats_.completed;
    stats_.waited.record(begun - which.submitted);
    stats_.ran.record(ended - begun);
    which.at = job::stage::finished;
    admit();
    ++being_handed_back_;
    if (which.home != nullptr || !which.kept) return true;
    which.thread->wake();
    --being_handed_back_;
    if (all_is_done()) tell_drained();
    return false;
  }
  void tell_drained() {
    for (const auto& each : drained_) each->given();
    drained_.clear();
  }
  // Without the lock. It may be gone as soon as it is delivered.
  void hand_back(job& which) const noexcept {
    if (EVENTER_UNLIKELY(which.nobody_waits && which.failure != nullptr))
      log(log_level::error, "an exception left a job of the queue \"%s\", for which nobody waits%s", name_.c_str(),
          text_of(which.failure).c_str());
    if (which.home == nullptr || !which.home->deliver(which)) which.destroy(&which);
  }
  // Looks for work for a moment, one thread of the queue at a time: whoever sends one job after the other needs no
  // system call for it. True: there is some.
  bool look_briefly(std::unique_lock<brief_mutex>& lock) {
    if (looking_ != 0) return false;
    looking_ = 1;
    lock.unlock();
    (void)brief_.until([this] { return backlog_.queued() > 0; });
    lock.lock();
    looking_ = 0;
    return backlog_.queued() > 0;  // also what has come since: its sender relies on this thread
  }
  // False: the thread is to end.
  bool wait_for_work(std::unique_lock<brief_mutex>& lock, worker& me) {
    if (me.called.exchange(0, std::memory_order_relaxed) != 0) --called_;  // it has just begun
    if (has_too_many()) return false;
    if (backlog_.queued() > 0 || (!closed_ && look_briefly(lock))) return true;
    // Also where the limit has changed meanwhile: while there are too many, none sleeps that was not called, so that
    // one that ends leaves no job to a sleeper.
    if (closed_ || has_too_many()) return false;
    link_idle(me);
    const time_point end = deadline_after(clock::now(), options_.idle);
    for (;;) {
      const bool may_end = threads_ > options_.min_concurrency;
      lock.unlock();
      syscalls::sleep_while(me.called, 0, may_end ? end : no_deadline);
      lock.lock();
      if (me.called.exchange(0, std::memory_order_acquire) != 0) {
        --called_;
        if (has_too_many()) return false;
        if (backlog_.queued() > 0) return true;
        if (closed_) return false;
        link_idle(me);  // another one was faster
      } else if (threads_ > options_.min_concurrency && clock::now() >= end) {
        unlink_idle(me);
        return false;
      }
    }
  }

  const std::string name_;
  job_options options_;
  const process_mark process_;
  const counted_ptr<job_workers> before_fork_;

  mutable brief_mutex mutex_;
  job_backlog backlog_;
  std::vector<std::unique_ptr<worker>> workers_;
  worker* idle_ = nullptr;
  worker* free_ = nullptr;      // without a thread
  std::size_t idle_count_ = 0;  // threads that wait to be called
  std::size_t called_ = 0;      // that were called, or begun, and have not looked yet
  std::size_t looking_ = 0;     // 0, or 1: a thread looks for work and need not be called
  brief_wait brief_;            // of that thread
  std::size_t threads_ = 0, running_ = 0;
  std::size_t being_handed_back_ = 0;  // have run, and are on their way home, or being destroyed
  bool closed_ = false;
  std::vector<std::shared_ptr<room_for_job>> drained_;
  job_stats stats_;

  static inline constinit thread_local const job_workers* serving_ = nullptr;
};

}  // namespace eventer::inline EVENTER_ABI::detail
