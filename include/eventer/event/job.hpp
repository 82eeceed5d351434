// job: a function that is to run on a thread of a job_queue, with its result: one block on the heap.
//
// Who waits for it owns it, until it gives it up; then it is the loop's that it came from, where it is destroyed when
// it comes home, or the worker's, where it came from no loop or that one has ended. What must not be broken: nothing
// that a worker reaches is on a coroutine's stack, and `node`, `kept` and `is_home` are the loop's thread's alone.
#pragma once

#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include "eventer/base/clock.hpp"
#include "eventer/coro/capture_check.hpp"
#include "eventer/coro/remote_join.hpp"
#include "eventer/coro/spawn.hpp"
#include "eventer/coro/sync/wait_list.hpp"

namespace eventer::inline EVENTER_ABI::detail {

class job_workers;

// The jobs of one key, first come first served; the lanes of a queue take turns.
struct job_lane;

// Ends the wait of who brought a job when there was no room for it.
class room_for_job final : public completion {
 public:
  void given() {
    complete([] {});
  }

 private:
  completed_by who_completes(const scheduler&) const noexcept override { return completed_by::another_thread; }
};

struct job : post_queue::message, wait_source {
  enum class stage : std::uint8_t {
    made,              // and not submitted
    waiting_for_room,  // to be queued
    queued,
    running,
    finished,
    dropped,  // by its queue's end
  };

  job(void (*run)(job&) noexcept, void (*destroyer)(job*) noexcept) noexcept : work(run), destroy(destroyer) {
    finish = &come_home;
    abandon = [](wait_source& source, wait_node&) noexcept { static_cast<job&>(source).node = nullptr; };
  }
  job(const job&) = delete;
  job& operator=(const job&) = delete;

  void (*const work)(job&) noexcept;     // on a worker: runs the function and keeps what it gives
  void (*const destroy)(job*) noexcept;  // deletes it

  bool nobody_waits = false;   // from the beginning; else somebody may stop waiting
  std::exception_ptr failure;  // what its function threw; the worker's, then whose the job is

  // Under the lock of its workers.
  job_lane* lane = nullptr;
  job *next_job = nullptr, *previous_job = nullptr;
  std::shared_ptr<room_for_job> entered;  // who waits until it is queued
  waiting_thread* thread = nullptr;       // the plain thread that waits
  time_point submitted;
  stage at = stage::made;

  // The loop that it came from.
  mailbox* home = nullptr;
  scheduler* loop = nullptr;
  wait_node* node = nullptr;  // who waits
  bool kept = true;           // somebody will ask for the result
  bool is_home = false;       // finished or dropped, and back on its loop
  bool is_counted = false;    // among what the loop waits for from outside

  // Suspends the running coroutine until the job is home, or its wait ends otherwise. On its loop.
  EVENTER_NOINLINE wake_reason park() {
    node = loop->running();
    node->waiting_on = this;
    return loop->park();
  }
  // On its loop: it is submitted; it is the loop's again; nobody waits for it any more.
  void goes_out() noexcept {
    if (loop == nullptr) return;
    home->expect();
    is_counted = true;
    loop->count_outside_wait(true);
  }
  void is_back() noexcept {
    if (loop == nullptr) return;
    home->no_longer_expected();
    is_not_waited_for();
  }
  void is_not_waited_for() noexcept {
    if (std::exchange(is_counted, false)) loop->count_outside_wait(false);
  }

 private:
  static void come_home(post_queue::message* which, bool) {
    job& self = static_cast<job&>(*which);
    self.is_back();
    self.is_home = true;
    if (!self.kept) return self.destroy(&self);
    wait_node* const who = std::exchange(self.node, nullptr);
    if (who == nullptr) return;
    who->waiting_on = nullptr;
    self.loop->wake(*who, wake_reason::ready);
  }
};

template <class Call>
class typed_job final : public job {
 public:
  using result_type = typename unwrapped<std::invoke_result_t<Call&>>::type;

  template <class... Arguments>
  explicit typed_job(Arguments&&... arguments)
      : job(&run, [](job* self) noexcept { delete static_cast<typed_job*>(self); }),
        call_(std::forward<Arguments>(arguments)...) {}

  const Call& call() const noexcept { return call_; }
  // Once it has finished.
  result_type take() {
#if EVENTER_EXCEPTIONS
    if (failure != nullptr) std::rethrow_exception(std::exchange(failure, nullptr));
#endif
    if constexpr (std::is_void_v<result_type>)
      return;
    else if constexpr (std::is_reference_v<result_type>)
      return **value_;
    else
      return std::move(*value_);
  }

 private:
  static void run(job& base) noexcept {
    auto& self = static_cast<typed_job&>(base);
#if EVENTER_EXCEPTIONS
    try {
      self.call_and_keep();
    }
#if defined(__GLIBCXX__)
    catch (const abi::__forced_unwind&) {
      broken_rule("pthread_exit in a job would end a thread of its job_queue: return instead");
    }
#endif
    catch (...) {
      self.failure = std::current_exception();
    }
#else
    self.call_and_keep();
#endif
  }
  void call_and_keep() {
    if constexpr (std::is_void_v<result_type>)
      call_unwrapped(call_);
    else if constexpr (std::is_reference_v<result_type>)
      value_.emplace(std::addressof(call_unwrapped(call_)));
    else
      value_.emplace(call_unwrapped(call_));
  }

  Call call_;
  std::optional<value_or_void<result_type>> value_;
};

}  // namespace eventer::inline EVENTER_ABI::detail
