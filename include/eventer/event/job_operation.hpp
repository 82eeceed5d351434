// job_operation: a job that is waited for, by a coroutine, a continuation or a plain thread.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "eventer/coro/operation.hpp"
#include "eventer/coro/this_coroutine.hpp"
#include "eventer/event/job_workers.hpp"

namespace eventer::inline EVENTER_ABI::detail {

// How a wait for a job has ended.
enum class job_end : std::uint8_t { none, finished, dropped, refused, timed_out, canceled };

// The part that does not know what the job gives.
class job_wait {
 public:
  // `abandons`: whoever stops waiting leaves the job behind, also after it has begun. Else he waits for its end.
  job_wait(counted_ptr<job_workers> workers, std::uint64_t key, job* owned, bool abandons, time_limit limit) noexcept
      : workers_(std::move(workers)), key_(key), limit_(limit), abandons_(abandons), job_(owned) {}
  job_wait(job_wait&& other) noexcept
      : workers_(std::move(other.workers_)),
        key_(other.key_),
        limit_(other.limit_),
        abandons_(other.abandons_),
        job_(std::exchange(other.job_, nullptr)) {}  // before it begins
  job_wait& operator=(job_wait&&) = delete;
  ~job_wait() { let_go(); }

  void block() {
    refuse_second_wait();
    scheduler* const here = scheduler::current();
    if (here == nullptr) return workers_->is_mine() ? run_here() : wait_on_thread();
    if (here->running() == nullptr)
      broken_rule("waiting for a job in a callback would block its loop: wait in a coroutine, or submit() the job");
    if (here->cancellation_due()) return end(job_end::canceled);
    wait_in_coroutine(*here);
  }
  bool advance(continuation& who) {
    return begun_ ? go_on(who) : begin(who, workers_->options().when_full == when_full::wait, nullptr);
  }
  // The first step; see job_workers::submit. True: it has ended already.
  bool begin(continuation& who, bool may_wait, std::shared_ptr<room_for_job>* entered) {
    refuse_second_wait();
    begun_ = true;
    scheduler& here = scheduler_for_continuations();
    here.attach(who);
    here.arm(who, here.resolve(limit_));  // which may throw: nobody has been told yet
    disarm_unless_listed armed{here, who};
    armed.listed = submit(&here, may_wait, entered);
    if (armed.listed) listen(who);
    return !armed.listed;
  }
  // It has lost a when_any. False: it has begun, and has to end first.
  bool lose() {
    if (!is_out()) return true;
    return how_ == job_end::none && stop_waiting(job_end::canceled);
  }

 protected:
  job_end how() const noexcept { return how_; }
  std::error_code error() const noexcept {
    switch (how_) {
      case job_end::finished:
        return {};
      case job_end::refused:
        return refusal_;
      case job_end::timed_out:
        return make_error_code(errc::timed_out);
      default:
        return make_error_code(errc::canceled);
    }
  }
  const std::string& queue_name() const noexcept { return workers_->name(); }
  job* owned() const noexcept { return job_; }

 private:
  void refuse_second_wait() const {
    if (EVENTER_UNLIKELY(job_ == nullptr))
      broken_rule("a job_queue's operation is awaited a second time: async_run() gives one for each job");
  }
  void end(job_end how) noexcept { how_ = how; }
  void end_at_home() noexcept { how_ = job_->at == job::stage::dropped ? job_end::dropped : job_end::finished; }
  bool submit(scheduler* loop) { return submit(loop, workers_->options().when_full == when_full::wait, nullptr); }
  // False: it ends here, refused.
  bool submit(scheduler* loop, bool may_wait, std::shared_ptr<room_for_job>* entered) {
    if (loop != nullptr) {
      job_->loop = loop;
      job_->home = &loop->mailbox();
    }
    refusal_ = workers_->submit(*job_, key_, may_wait, entered);
    if (!refusal_) return true;
    end(job_end::refused);
    return false;
  }
  void run_here() {
    job_->work(*job_);
    end(job_end::finished);
  }

  EVENTER_NOINLINE void wait_in_coroutine(scheduler& here) {
    wait_node& me = *here.running();
    here.operation_waited();
    here.arm(me, here.within_scope(here.resolve(limit_)));
    {
      disarm_unless_listed armed{here, me};
      if (!submit(&here)) return;
      armed.listed = true;
    }
    const wake_reason why = job_->park();
    if (EVENTER_LIKELY(job_->is_home)) return end_at_home();  // also where it came after the time limit
    if (stop_waiting(end_of(why))) return;
    const cancel_shield until_its_end;
    while (!job_->is_home && !here.unwinding_is_stuck()) (void)job_->park();
    stop_waiting_for_its_end();
  }
  bool go_on(continuation& who) {
    scheduler& here = *who.home;
    if (is_out() && how_ == job_end::none && stop_waiting(end_of(who.wake))) return true;
    if (is_out() && !here.unwinding_is_stuck()) {
      here.attach(who);
      listen(who);
      return false;
    }
    if (how_ == job_end::none)
      end_at_home();
    else
      stop_waiting_for_its_end();
    return true;
  }
  void listen(continuation& who) noexcept {
    job_->node = &who;
    who.waiting_on = job_;
  }
  void wait_on_thread() {
    waiting_thread me;
    job_->thread = &me;
    if (!submit(nullptr)) return;
    me.wait(limit_.resolve(clock::now()));
    if (!workers_->end_wait_of_thread(*job_)) {
      job_ = nullptr;
      return end(job_end::timed_out);
    }
    if (job_->at == job::stage::made) return end(job_end::timed_out);
    end_at_home();
  }

  // Whether it was submitted, and is not back. (Not by job_->at, which a thread may be changing.)
  bool is_out() const noexcept { return job_ != nullptr && job_->is_counted; }
  static job_end end_of(wake_reason why) noexcept {
    return why == wake_reason::timed_out ? job_end::timed_out : job_end::canceled;
  }
  // Ends the wait if the job has not begun, or may be left behind. Else it has to end first, because it may use what
  // the waiter has lent it.
  bool stop_waiting(job_end how) {
    end(how);
    if (workers_->withdraw(*job_)) {
      job_->is_back();
      return true;
    }
    if (abandons_ || workers_->forked()) {
      give_up_job();
      return true;
    }
    count_unfinished(true);
    return false;
  }
  void stop_waiting_for_its_end() {
    count_unfinished(false);
    if (job_->is_home) return;
    log(log_level::error,
        "a loop ends while a job of the queue \"%s\" runs for one of its coroutines, and has waited for loop_options::shutdown_grace: the "
        "job is left behind, and must not use what it was lent",
        queue_name().c_str());
    give_up_job();
  }
  void count_unfinished(bool begins) noexcept {
    if (std::exchange(is_unfinished_, begins) != begins) job_->loop->count_unfinished(begins);
  }
  // The loop destroys it when it comes home.
  void give_up_job() noexcept {
    workers_->count_abandoned();
    job* const left = std::exchange(job_, nullptr);
    left->is_not_waited_for();
    left->kept = false;
    if (left->node != nullptr) left->node->waiting_on = nullptr;
    left->node = nullptr;
  }
  // Somebody has destroyed the waiter.
  void let_go() noexcept {
    if (job_ == nullptr) return;
    count_unfinished(false);
    if (is_out()) {
      if (!workers_->withdraw(*job_)) return give_up_job();
      job_->is_back();
    }
    job_->destroy(job_);
  }

  counted_ptr<job_workers> workers_;
  std::uint64_t key_;
  time_limit limit_;
  const bool abandons_;
  bool begun_ = false;          // as a continuation
  bool is_unfinished_ = false;  // its wait is over, but for its job
  job_end how_ = job_end::none;
  job* job_;
  std::error_code refusal_;
};

// `Limited`: answers an io_result, in which the job's exceptions are codes; else what the job gives, and throws.
template <class Call, bool Limited>
class job_operation : public job_wait {
  using typed = typed_job<Call>;
  using value_type = typename typed::result_type;

 public:
  using result_type = std::conditional_t<Limited, io_result<value_type>, value_type>;
  using job_wait::job_wait;

  result_type result() {
    typed* const done = static_cast<typed*>(owned());
    if constexpr (Limited) {
      if (how() != job_end::finished) {
        if (how() == job_end::canceled) throw_if_canceled(wake_reason::canceled);
        return error();
      }
#if EVENTER_EXCEPTIONS
      if (done->failure != nullptr) return code_of(done->failure);
#endif
      if constexpr (std::is_void_v<value_type>)
        return {};
      else
        return done->take();
    } else {
      if (EVENTER_UNLIKELY(how() != job_end::finished)) fail();
      return done->take();
    }
  }

 private:
  [[noreturn]] EVENTER_NOINLINE void fail() {
    if (how() == job_end::canceled) throw_if_canceled(wake_reason::canceled);
    const std::string where = "a job of the queue \"" + queue_name() + "\"";
    throw_error(error(), (how() == job_end::dropped ? where + ", which has ended before it" : where).c_str());
  }
#if EVENTER_EXCEPTIONS
  EVENTER_NOINLINE std::error_code code_of(const std::exception_ptr& failure) {
    try {
      std::rethrow_exception(failure);
    } catch (const std::system_error& coded) {
      return coded.code();
    } catch (...) {
      log(log_level::warning,
          "an exception left a job of the queue \"%s\", which run_for() answers as errc::exception%s",
          queue_name().c_str(), text_of(failure).c_str());
      return make_error_code(errc::exception);
    }
  }
#endif
};

}  // namespace eventer::inline EVENTER_ABI::detail
