// The job queues of the C interface, and what is in them.
//
// A job belongs to its queue until WORK and CLEANUP have been done there, then to the loop where COMPLETE is called,
// which frees it. What must not be broken: a job that was added from inside another one's WORK by a call with `_dep`
// keeps that one from being complete, and therefore alive.
#pragma once

#include <pthread.h>

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "eventer/compat/detail/event.hpp"
#include "eventer/compat/detail/frame.hpp"
#include "eventer/coro/sync/manual_reset_event.hpp"
#include "eventer/event/job_queue.hpp"

struct _eventer_jobq_t {
  explicit _eventer_jobq_t(std::string of) : name(std::move(of)), short_name(name.substr(0, longest_short_name)) {}

  static constexpr std::size_t longest_short_name = 13;
  // Limits of the C interface concern calls of eventer_try_ alone: nobody waits for room.
  const std::string name;
  const eventer::job_queue jobs{name, {.max_concurrency = 1, .max_backlog = SIZE_MAX}};
  std::atomic<std::uint32_t> max_backlog{0};  // 0: none
  std::atomic<bool> is_shut{false};
  std::atomic<std::uint32_t> renamed{1};  // how often `short_name` was set

  std::mutex mutex;  // of what follows
  std::string short_name;
  eventer_jobq_memory_safety_t memory_safety = EVENTER_JOBQ_MS_NONE;
  bool is_lifo = false;
  std::uint32_t wanted = 1, min = 0, max = 0, floor = 0;

  // Under the lock: what was set goes to the queue's threads.
  void set_concurrency() {
    if (wanted < min) wanted = min;
    if (max != 0 && wanted > max) wanted = max;
    if (wanted == 0) wanted = 1;
    jobs.set_concurrency(floor, wanted);
  }
  void set_lifo(bool on) {
    is_lifo = on;
    jobs.set_order(on ? eventer::job_order::lifo : eventer::job_order::fifo);
  }
  bool is_in_use() const {
    const eventer::job_stats now = jobs.stats();
    return now.threads + now.queued + now.running > 0;
  }
};

// What waits for jobs. Each of them owns a part of it, whoever has made it another.
struct _event_aco_gate : eventer::detail::level_state<_event_aco_gate, eventer::detail::any_thread> {
  bool holds() const noexcept { return jobs == 0; }
  void add() {
    const std::lock_guard guard(lock);
    ++jobs;
  }
  void done() {
    const std::lock_guard guard(lock);
    --jobs;
    changed();
  }

  std::size_t jobs = 0;
};

namespace eventer::inline EVENTER_ABI::compat {

using gate_part = counted_ptr<_event_aco_gate>;

inline thread_local eventer_job_t* this_job = nullptr;  // whose WORK or CLEANUP this thread does

// The thread of a queue, as far as it has run a job.
inline thread_local std::uint32_t thread_name_is = 0;  // see _eventer_jobq_t::renamed
inline bool is_queue_thread() noexcept { return thread_name_is != 0; }

}  // namespace eventer::inline EVENTER_ABI::compat

// An event; or a function with one call, or with those of an event.
struct _eventer_job_t final : eventer::detail::job {
  _eventer_job_t(eventer_jobq_t& to, std::uint64_t key) noexcept
      : job(&run, [](job* base) noexcept { one_has_ended(static_cast<_eventer_job_t*>(base)); }),
        queue(to),
        subqueue(key) {
    nobody_waits = true;
    kept = false;
  }

  eventer_jobq_t& queue;
  const std::uint64_t subqueue;
  timeval deadline{};  // of the wall clock; zero: none

  eventer_t event = nullptr;
  std::uint64_t added = 0;  // the event's state
  eventer_asynch_func_t function = nullptr;
  eventer_asynch_simple_func_t simple = nullptr;
  void* closure = nullptr;  // of the functions
  eventer::compat::loop_thread* completes_on = nullptr;

  bool works = false;  // its WORK is being done
  eventer_job_t* parent = nullptr;
  std::atomic<std::size_t> unfinished{1};  // itself, and those that it waits for
  eventer::compat::gate_part gate;

  // What it was added with is the caller's as before.
  void take_back() noexcept {
    if (event != nullptr) (void)eventer::compat::end_to_be_added(*event, added);
    if (parent != nullptr) parent->unfinished.fetch_sub(1, std::memory_order_relaxed);  // which is at work here
    if (gate) gate->done();
    delete this;
  }
  // Here instead of on a thread of its queue.
  void run_here() noexcept {
    run(*this);
    one_has_ended(this);
  }

 private:
  static void run(job& base) noexcept {
    auto& self = static_cast<_eventer_job_t&>(base);
    self.name_thread();
    eventer_job_t* const outer = std::exchange(eventer::compat::this_job, &self);
    if (!self.is_late()) {
      self.works = true;
      self.call(EVENTER_ASYNCH_WORK);
      self.works = false;
    }
    self.call(EVENTER_ASYNCH_CLEANUP);
    eventer::compat::this_job = outer;
  }
  bool is_late() const noexcept {
    const bool has_deadline = deadline.tv_sec != 0 || deadline.tv_usec != 0;
    return EVENTER_UNLIKELY(has_deadline) && eventer::compat::until(deadline) <= eventer::duration::zero();
  }
  void call(eventer_asynch_op_t what) const {
    if (event != nullptr)
      (void)eventer::compat::call_back(*event, what);
    else if (function != nullptr)
      function(what, closure);
    else if (what == EVENTER_ASYNCH_WORK)
      simple(closure);
  }
  void name_thread() const {
    const std::uint32_t now = queue.renamed.load(std::memory_order_relaxed);
    if (EVENTER_LIKELY(std::exchange(eventer::compat::thread_name_is, now) == now)) return;
    const std::lock_guard lock(queue.mutex);
    (void)::pthread_setname_np(::pthread_self(), queue.short_name.c_str());
  }

  // The job itself, or one that it waits for.
  static void one_has_ended(eventer_job_t* which) {
    while (which != nullptr && which->unfinished.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      if (which->simple == nullptr) return which->go_to_loop();
      which = which->end();
    }
  }
  void go_to_loop() {
    finish = [](message* base, bool) {
      auto* const self = static_cast<_eventer_job_t*>(base);
      self->complete();
      one_has_ended(self->end());
    };
    (event != nullptr ? event->loop_thread() : *completes_on).loop.post_message(*this);
  }
  void complete() const {
    if (event == nullptr) return call(EVENTER_ASYNCH_COMPLETE);
    const eventer::compat::held_event mine(event);
    (void)eventer::compat::end_to_be_added(*event, added);
    call(EVENTER_ASYNCH_COMPLETE);
    // Who has added it again has handed the reference on.
    if (event->state.load(std::memory_order_acquire) == added + 1) (void)eventer::compat::drop_reference(event);
  }
  // Answers who may have waited for it.
  eventer_job_t* end() {
    eventer_job_t* const waits = parent;
    const eventer::compat::gate_part of = std::move(gate);
    delete this;
    if (of) of->done();
    return waits;
  }
};

namespace eventer::inline EVENTER_ABI::compat {

// All that there are, by their names.
class queue_table {
 public:
  static constexpr const char* default_name = "default_queue";

  static queue_table& of_process() {
    static queue_table& all = *new queue_table;
    return all;
  }

  eventer_jobq_t& default_queue() {
    eventer_jobq_t* const known = default_.load(std::memory_order_acquire);
    return known != nullptr ? *known : *make(default_name);
  }
  eventer_jobq_t* find(const std::string& name) {
    const std::lock_guard lock(mutex_);
    const auto found = queues_.find(name);
    return found == queues_.end() ? nullptr : found->second.get();
  }
  // Or the one that has the name. nullptr: that is in use with another class of memory safety.
  eventer_jobq_t* make(const std::string& name, std::optional<eventer_jobq_memory_safety_t> safety = {}) {
    const std::lock_guard lock(mutex_);
    std::unique_ptr<eventer_jobq_t>& place = queues_[name];
    if (place == nullptr) {
      place = std::make_unique<eventer_jobq_t>(name);
      const properties& set = properties::of_process();
      const std::lock_guard its(place->mutex);
      place->set_lifo(set.find("default_jobq_ordering") == "lifo");
      if (name == default_name) {
        place->wanted = number_in(set.find("default_queue_threads").value_or("5")).value_or(5);
        default_.store(place.get(), std::memory_order_release);
      }
      place->set_concurrency();
    }
    if (!safety) return place.get();
    const std::lock_guard its(place->mutex);
    if (place->memory_safety != *safety && place->is_in_use()) return nullptr;
    place->memory_safety = *safety;
    return place.get();
  }
  void destroy(eventer_jobq_t& which) {
    std::unique_ptr<eventer_jobq_t> gone;
    const std::lock_guard lock(mutex_);
    const auto found = queues_.find(which.name);
    if (found == queues_.end()) return;
    gone = std::move(found->second);
    queues_.erase(found);
  }
  std::vector<eventer_jobq_t*> all() {
    std::vector<eventer_jobq_t*> result;
    const std::lock_guard lock(mutex_);
    for (const auto& [name, each] : queues_) result.push_back(each.get());
    return result;
  }

 private:
  std::mutex mutex_;
  std::map<std::string, std::unique_ptr<eventer_jobq_t>> queues_;
  std::atomic<eventer_jobq_t*> default_{nullptr};
};

inline eventer_jobq_t& queue_or_default(eventer_jobq_t* which) {
  return which != nullptr ? *which : queue_table::of_process().default_queue();
}

// The closure of what is to run elsewhere, while other frames lie on the stack of the coroutine that brings it.
inline void check_closure(const void* closure, const char* call) {
  scheduler* const here = scheduler::current();
  if (here == nullptr || here->running() == nullptr || EVENTER_LIKELY(!here->lies_on_shared_stack(closure))) return;
  if (here->options().checks == capture_checks::off) return;
  static constinit std::atomic<const void*> reported{nullptr};
  if (reported.exchange(closure) == closure) return;
  log(log_level::error,
      "%s: the closure %p lies on the stack of the coroutine that calls, which others use while it waits: the job would read and write "
      "what is theirs. Put it on the heap (malloc), or make it static",
      call, closure);
  if (here->options().checks == capture_checks::abort) std::abort();
}

// --- adding ---

// From inside another one's WORK: that one waits for it.
enum class job_kind : bool { free, dependent };

// Whether eventer_try_ calls may add.
inline bool has_place(const eventer_jobq_t& queue) {
  if (queue.is_shut.load(std::memory_order_acquire)) return false;
  const std::uint32_t most = queue.max_backlog.load(std::memory_order_relaxed);
  return most == 0 || queue.jobs.workers().queued() < most;
}
inline std::uint64_t inherited_subqueue() noexcept { return this_job == nullptr ? 0 : this_job->subqueue; }

inline eventer_job_t* job_of(eventer_jobq_t& queue, eventer_t event, std::uint64_t subqueue) {
  (void)event->loop_thread();  // where there is no loop nobody could call COMPLETE
  if (event->callback == nullptr) refuse("eventer_add_asynch() of an event without a callback: eventer_set_callback()");
  check_closure(event->closure, "eventer_add_asynch() or a call of its kind");
  const std::uint64_t state = begin_to_be_added(*event);
  if (state == 0) refuse("eventer_add_asynch() of an event that is added already");
  auto* const made = new eventer_job_t(queue, subqueue);
  made->event = event;
  made->added = state;
  made->deadline = event->whence;
  return made;
}
inline void depend(eventer_job_t& child) {
  if (this_job == nullptr || !this_job->works)
    refuse(
        "eventer_add_asynch_dep() outside of a job's EVENTER_ASYNCH_WORK: nothing could wait for it; "
        "eventer_add_asynch() adds a job that nothing waits for");
  child.parent = this_job;
  this_job->unfinished.fetch_add(1, std::memory_order_relaxed);
}
inline void let_through(eventer_job_t& which, const gate_part& gate) {
  gate->add();
  which.gate = gate;
}
// False: the queue has no thread, and none can be made; the job is the caller's still.
inline bool try_submit(eventer_job_t& which) {
  return !which.queue.jobs.workers().submit(which, which.subqueue, false);
}
inline void submit(eventer_job_t* which) {
  if (which->queue.is_shut.load(std::memory_order_acquire))
    refuse("a job for a queue after eventer_jobq_drain_and_shutdown(), where nobody would do it");
  if (!try_submit(*which)) refuse("a job for a queue without threads, and no thread can be made");
}

inline void add_asynch(eventer_jobq_t* to, eventer_t event, std::uint64_t subqueue, job_kind kind) {
  eventer_job_t* const made = job_of(queue_or_default(to), event, subqueue);
  if (kind == job_kind::dependent) depend(*made);
  submit(made);
}
inline bool try_add_asynch(eventer_jobq_t* to, eventer_t event, std::uint64_t subqueue, job_kind kind,
                           const gate_part& gate = {}) {
  eventer_jobq_t& queue = queue_or_default(to);
  if (!has_place(queue)) return false;
  eventer_job_t* const made = job_of(queue, event, subqueue);
  if (kind == job_kind::dependent) depend(*made);
  if (gate) let_through(*made, gate);
  if (try_submit(*made)) return true;
  made->take_back();
  return false;
}

}  // namespace eventer::inline EVENTER_ABI::compat
