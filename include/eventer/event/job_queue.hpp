// job_queue: threads for code that blocks, such as a database, a compression, a file. The coroutine waits, its loop
// goes on.
//
//   eventer::job_queue reports("reports", {.max_concurrency = 2});
//   const std::string text = reports.run([id] { return render(id); });     // what it throws is thrown here
//   const auto soon = reports.run_for(2s, [id] { return render(id); });    // io_result; on time-out the job goes on,
//   its result is dropped
//
// The function runs on another thread, while the caller's stack may belong to somebody else: it must not hold
// references to the caller's locals. Give it values, `run(render, id)`, or what is on the heap; the capture check says
// so where it finds one, in release builds too. In call_on_own_stack it may use locals: run() waits for its end in any
// case.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <utility>

#include "eventer/event/job_operation.hpp"

namespace eventer::inline EVENTER_ABI {

namespace detail {

// A job whose end is told to a function on its loop. It lives until then.
template <class Call, class Complete>
class job_with_callback : continuation {
 public:
  // Takes the job from `owned`.
  template <class Owner>
  job_with_callback(counted_ptr<job_workers> workers, std::uint64_t key, typed_job<Call>* which, Owner& owned,
                    time_limit limit, Complete&& complete)
      : continuation(&go_on),
        wait_(std::move(workers), key, (static_cast<void>(owned.release()), which), true, limit),
        complete_(std::move(complete)) {}
  ~job_with_callback() { scheduler::forget(*this); }
  const Complete& complete() const noexcept { return complete_; }
  // After an error nothing will be told.
  std::error_code start(bool may_wait, std::shared_ptr<room_for_job>& entered) {
    return wait_.begin(*this, may_wait, &entered) ? wait_.outcome() : std::error_code();
  }

 private:
  struct wait : job_operation<Call, true> {
    using job_operation<Call, true>::job_operation;
    std::error_code outcome() { return this->how() == job_end::finished ? this->result().error() : this->error(); }
  };
  static void go_on(continuation& who) {
    auto& self = static_cast<job_with_callback&>(who);
    if (!self.wait_.advance(self)) return;
    const std::unique_ptr<job_with_callback> at_end(&self);
    self.complete_(self.wait_.outcome());
  }

  wait wait_;
  Complete complete_;
};

// `cleanup` once, after `work` or in its place.
template <class Work, class Cleanup>
class work_and_cleanup {
 public:
  work_and_cleanup(Work&& work, Cleanup&& cleanup) : work_(std::move(work)), cleanup_(std::move(cleanup)) {}
  work_and_cleanup(work_and_cleanup&& other)
      : work_(std::move(other.work_)), cleanup_(std::move(other.cleanup_)), due_(std::exchange(other.due_, false)) {}
  ~work_and_cleanup() { clean(); }
  void operator()() {
    struct clean_at_end {
      work_and_cleanup& self;
      ~clean_at_end() { self.clean(); }
    } const at_end{*this};
    work_();
  }

 private:
  void clean() {
    if (std::exchange(due_, false)) cleanup_();
  }
  Work work_;
  Cleanup cleanup_;
  bool due_ = true;
};

template <class Work, class Cleanup>
inline constexpr bool is_checked<work_and_cleanup<Work, Cleanup>> = is_checked<Work>&& is_checked<Cleanup>;

// The calls that bring a job to a queue, for the queue itself and for its subqueues. `Self` has workers() and key().
template <class Self>
class brings_jobs {
  template <class F, class... Arguments>
  using result = spawn_result<F, Arguments...>;

 public:
  // Runs `function(arguments...)`, all of them decayed and moved off the caller's stack, on a thread of the queue.
  //
  // Completes: when the function has ended. On a plain thread it blocks; on a thread of the queue it runs the function
  // there and then. Returns: what the function returned; rethrows what it threw. Function and result are destroyed on
  // the caller's thread.
  //
  // Errors: std::system_error(backlog_full) with when_full::refuse; (resource_unavailable_try_again) where there is no
  // thread at all; (operation_canceled) if the queue is destroyed first; `cancelled`, and (timed_out) at the end of a
  // deadline_scope: a job that has not begun never runs then, and one that has is waited for first (unless
  // job_options::abandon). Requires: not in a callback; there is submit().
  template <class F, class... Arguments>
  requires spawnable<F, Arguments...> result<F, Arguments...> run(F&& function, Arguments&&... arguments)
  const {
    auto operation = async_run(std::forward<F>(function), std::forward<Arguments>(arguments)...);
    operation.block();
    return operation.result();
  }
  // The same with a limit, from the submission on. timed_out, and a cancellation, leave a job that has begun to itself:
  // its result is dropped, what it uses is kept until it has ended. Returns: what the function returned; what it threw
  // as try_join answers it. The other errors of run() come as codes too.
  template <class F, class... Arguments>
  requires spawnable<F, Arguments...> io_result<result<F, Arguments...>> run_for(time_limit limit, F&& function,
                                                                                 Arguments&&... arguments)
  const {
    auto operation = async_run_for(limit, std::forward<F>(function), std::forward<Arguments>(arguments)...);
    operation.block();
    return operation.result();
  }
  // As something to await. The job is submitted when the await begins. (g++ before 12.3 destroys what a lambda holds
  // that is written inside a co_await twice: give it a name in the line before.)
  template <class F, class... Arguments>
  requires spawnable<F, Arguments...>
  auto async_run(F&& function, Arguments&&... arguments) const {
    using call = call_type<F, Arguments...>;
    counted_ptr<job_workers> to = hold_workers();
    const bool abandons = to->options().abandon;
    auto* const made =
        make<call>("job_queue::run", abandons, std::forward<F>(function), std::forward<Arguments>(arguments)...);
    return job_operation<call, false>(std::move(to), self().key(), made, abandons, time_limit());
  }
  template <class F, class... Arguments>
  requires spawnable<F, Arguments...>
  auto async_run_for(time_limit limit, F&& function, Arguments&&... arguments) const {
    using call = call_type<F, Arguments...>;
    counted_ptr<job_workers> to = hold_workers();
    auto* const made =
        make<call>("job_queue::run_for", true, std::forward<F>(function), std::forward<Arguments>(arguments)...);
    return job_operation<call, true>(std::move(to), self().key(), made, true, limit);
  }

  // Runs the function there, and nobody waits. What it throws is a line in the log. The function is destroyed on the
  // loop it came from, or on the queue's thread where it came from none.
  //
  // Completes: at once, or when there is room in the queue. Errors: those of run(), backlog_full also in a callback
  // where there is no room.
  template <class F, class... Arguments>
  requires spawnable<F, Arguments...> io_result<void> post(F&& function, Arguments&&... arguments)
  const {
    using call = call_type<F, Arguments...>;
    return send(
        own(make<call>("job_queue::post", true, std::forward<F>(function), std::forward<Arguments>(arguments)...)));
  }

  // The classic form: `work()` on a thread of the queue, then `cleanup()` there, then `complete(std::error_code)` on
  // the loop that runs here; each exactly once.
  //
  // At the limit, or at the loop's end, complete() is told timed_out or canceled at once; work() may still run then,
  // and cleanup() follows it. Where work() never began, cleanup() is called on the loop in its place. What work()
  // throws reaches complete() as try_join answers it; cleanup() must not throw. Completes: as post(). Errors: as
  // post(); then only cleanup() is called, before this returns. Requires: a loop runs on this thread.
  template <class Work, class Cleanup, class Complete>
  io_result<void> submit(Work work, Cleanup cleanup, Complete complete, time_limit limit = {}) const {
    using call = work_and_cleanup<Work, Cleanup>;
    if (scheduler::current() == nullptr)
      broken_rule(
          "job_queue::submit on a thread without a running loop: nobody could call complete(); use post() or run()");
    std::shared_ptr<room_for_job> entered;
    const std::error_code error = start<call>(call(std::move(work), std::move(cleanup)), std::move(complete), limit,
                                              lines_up(workers()), entered);
    if (!error && entered != nullptr) throw_if_canceled(entered->wait({}));  // it is lined up in any case
    return error;
  }
  // For the library: post() where nobody can wait, on a loop. The job lines up where there is no room.
  template <class F>
  std::error_code post_at_once(F function) const {
    return hand_over(own(make<F>("job_queue::post", true, std::move(function))), true, nullptr).second;
  }

 private:
  struct destroyer {
    void operator()(job* which) const noexcept { which->destroy(which); }
  };
  using owned_job = std::unique_ptr<job, destroyer>;
  static owned_job own(job* which) noexcept { return owned_job(which); }
  const Self& self() const noexcept { return static_cast<const Self&>(*this); }
  job_workers& workers() const { return self().workers(); }
  counted_ptr<job_workers> hold_workers() const { return counted_ptr<job_workers>(&workers()); }

  template <class Call, class F, class... Arguments>
  static Call call_of(F&& function, Arguments&&... arguments) {
    if constexpr (std::is_same_v<Call, std::decay_t<F>>)
      return Call(std::forward<F>(function));
    else
      return Call(std::in_place, std::forward<F>(function), std::forward<Arguments>(arguments)...);
  }
  template <class Call, class F, class... Arguments>
  static typed_job<Call>* make(const char* what, bool abandons, F&& function, Arguments&&... arguments) {
    auto* const made =
        new typed_job<Call>(call_of<Call>(std::forward<F>(function), std::forward<Arguments>(arguments)...));
    check_captures_always(made->call(), what, abandons);
    return made;
  }
  template <class Call, class Complete>
  std::error_code start(Call&& what, Complete&& complete, time_limit limit, bool may_wait,
                        std::shared_ptr<room_for_job>& entered) const {
    auto* const made = make<Call>("job_queue::submit", true, std::move(what));
    owned_job waiting = own(made);
    auto started = std::make_unique<job_with_callback<Call, Complete>>(hold_workers(), self().key(), made, waiting,
                                                                       limit, std::move(complete));
    check_captures_always(started->complete(), "job_queue::submit", true);
    const std::error_code error = started->start(may_wait, entered);
    if (!error) (void)started.release();
    return error;
  }
  // A callback can't wait until there is room.
  static bool lines_up(const job_workers& to) noexcept {
    const scheduler* const here = scheduler::current();
    return to.options().when_full == when_full::wait && (here == nullptr || here->running() != nullptr);
  }
  // One that nobody waits for. nullptr: with an error.
  std::pair<job*, std::error_code> hand_over(owned_job what, bool lines_up,
                                             std::shared_ptr<room_for_job>* entered) const {
    what->nobody_waits = true;
    what->kept = false;
    if (scheduler* const here = scheduler::current(); here != nullptr) {
      what->loop = here;
      what->home = &here->mailbox();
    }
    const std::error_code error = workers().submit(*what, self().key(), lines_up, entered);
    if (error) return {nullptr, error};
    return {what.release(), error};
  }
  io_result<void> send(owned_job what) const {
    const counted_ptr<job_workers> to = hold_workers();
    std::shared_ptr<room_for_job> entered;
    const auto [sent, error] = hand_over(std::move(what), lines_up(*to), &entered);
    if (error) return error;
    if (entered == nullptr) return {};
    // Also where the wait throws.
    struct place_in_line {
      job_workers& of;
      job* which;
      const room_for_job& entered;
      // True: it had no room yet, and is gone.
      bool give_up() {
        job* const left = std::exchange(which, nullptr);
        if (left == nullptr || !of.withdraw(*left, entered)) return false;
        left->is_back();
        left->destroy(left);
        return true;
      }
      ~place_in_line() { (void)give_up(); }
    } place{*to, sent, *entered};
    const wake_reason reason = entered->wait({});
    if (reason == wake_reason::ready || !place.give_up()) return {};
    throw_if_canceled(reason);
    return reason == wake_reason::timed_out ? errc::timed_out : errc::canceled;
  }
};

// What the handles of a queue share.
class job_queue_state {
 public:
  explicit job_queue_state(job_workers* workers) noexcept : workers_(workers) { ++workers->owners; }
  job_queue_state(const job_queue_state&) = delete;
  job_queue_state& operator=(const job_queue_state&) = delete;
  ~job_queue_state() {
    const counted_ptr<job_workers> mine(workers_);
    --mine->owners;  // this object's
    if (mine->forked()) return;
    mine->close();
    if (!can_wait(*mine)) return;
    const cancel_shield to_the_end;
    const std::size_t left = mine->drain(mine->options().shutdown_grace, true);
    if (left > 0)
      log(log_level::error,
          "%zu jobs of the queue \"%s\" still run after job_options::shutdown_grace, and are left behind", left,
          mine->name().c_str());
  }

  // A forked child has none of the threads, and begins anew: whichever of its threads comes first, without a lock that
  // the parent may have held.
  job_workers& workers() {
    job_workers* present = workers_.load(std::memory_order_acquire);
    while (EVENTER_UNLIKELY(present->forked())) {
      const counted_ptr<job_workers> anew(
          new job_workers(present->name(), present->options(), counted_ptr<job_workers>(present)));
      job_workers* const before = present;
      if (!workers_.compare_exchange_strong(present, anew.get(), std::memory_order_acq_rel)) continue;
      ++anew->owners;
      --before->owners;  // the new one has it
      return *anew;
    }
    return *present;
  }

 private:
  // Not in one of its own jobs, nor in a callback of a loop, which can't be held up: both may have the last handle, as
  // the closure of a job is destroyed there.
  static bool can_wait(const job_workers& for_its_jobs) noexcept {
    if (for_its_jobs.is_mine()) return false;
    const scheduler* const here = scheduler::current();
    return here == nullptr || here->running() != nullptr;
  }

  std::atomic<job_workers*> workers_;  // counts as one of its owners
};
}  // namespace detail

class job_subqueue;

// Copies are handles to one queue. All members may be called on any thread.
class EVENTER_API job_queue : public detail::brings_jobs<job_queue> {
 public:
  // `name` is shown in messages and, its first 15 characters, as that of the threads. Threads are made when they are
  // needed.
  //
  // When the last handle goes: those that wait for jobs which have not begun are answered operation_canceled, and what
  // they have brought is destroyed where it came from. What runs is waited for, for job_options::shutdown_grace; what
  // runs still then is left to itself, with a line in the log. Where it goes in a callback of a loop, or in one of the
  // queue's own jobs, nothing is waited for: what runs goes on by itself.
  explicit job_queue(std::string name, const job_options& options = {})
      : job_queue(make_counted<detail::job_workers>(std::move(name), options)) {}

  // The process's own, on which run_blocking() runs. Never destroyed, as its jobs may be anywhere when the program
  // ends.
  static job_queue& shared() {
    static job_queue& instance = *new job_queue("blocking");
    return instance;
  }

  // On which streams read and write regular files. Never destroyed, likewise.
  static job_queue& files() {
    static job_queue& instance = *new job_queue("files");
    return instance;
  }

  // See job_subqueue.
  job_subqueue subqueue(std::uint64_t key) const noexcept;

  const std::string& name() const noexcept { return workers().name(); }
  job_stats stats() const { return workers().stats(); }
  // Changes job_options::min_concurrency and max_concurrency, while jobs run too: where there may be more threads now,
  // what is queued begins at once; where there are too many, each ends when its job has.
  void set_concurrency(unsigned least, unsigned most) const { workers().set_concurrency(least, most); }
  // Changes job_options::order, also for what is queued already.
  void set_order(job_order order) const { workers().set_order(order); }
  // Waits until nothing is queued and nothing runs, but does not keep anybody from bringing more. Returns: the jobs
  // left when the limit is over. Requires: not in one of its own jobs.
  std::size_t drain(time_limit limit) const {
    if (workers().is_mine())
      broken_rule("job_queue::drain in one of its own jobs waits for itself: drain from outside");
    return workers().drain(limit);
  }

  // For the library. They stay at least until the last handle goes.
  detail::job_workers& workers() const { return state_->workers(); }

 private:
  friend class detail::brings_jobs<job_queue>;
  friend class job_subqueue;
  explicit job_queue(const counted_ptr<detail::job_workers>& workers)
      : state_(std::make_shared<detail::job_queue_state>(workers.get())) {}

  static constexpr std::uint64_t key() noexcept { return 0; }

  std::shared_ptr<detail::job_queue_state> state_;
};

// The jobs of one key, a tenant say, in a queue: each key's are run in their order, and the keys take turns, however
// many jobs one of them brings. A handle, like the queue.
class job_subqueue : public detail::brings_jobs<job_subqueue> {
 public:
  job_subqueue(const job_queue& queue, std::uint64_t key) noexcept : queue_(queue), key_(key) {}
  std::uint64_t key() const noexcept { return key_; }

 private:
  friend class detail::brings_jobs<job_subqueue>;
  detail::job_workers& workers() const { return queue_.workers(); }
  job_queue queue_;
  std::uint64_t key_;
};

inline job_subqueue job_queue::subqueue(std::uint64_t key) const noexcept { return {*this, key}; }

// Runs `function(arguments...)`, which may block, on a thread of the process's own queue; the coroutine waits. See
// job_queue::run.
template <class F, class... Arguments>
requires detail::spawnable<F, Arguments...>
decltype(auto) run_blocking(F&& function, Arguments&&... arguments) {
  return job_queue::shared().run(std::forward<F>(function), std::forward<Arguments>(arguments)...);
}

}  // namespace eventer::inline EVENTER_ABI
