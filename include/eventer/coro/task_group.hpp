// task_group: coroutines that end with the scope that started them.
//
//   eventer::task_group all;
//   for (auto& name : names) all.spawn(fetch, name);
//   all.join();                        // the first exception cancels the others, and is thrown when all have ended
#pragma once

#include <exception>
#include <utility>

#include "eventer/base/counted_ptr.hpp"
#include "eventer/coro/spawn.hpp"
#include "eventer/coro/this_coroutine.hpp"

namespace eventer::inline EVENTER_ABI {

namespace detail {

// What a group and its coroutines share; on one thread.
class group_state : public counted<std::uint32_t>, public wait_source {
 public:
  // One that runs. It is a part of its coroutine's closure, which is not on a stack.
  struct member {
    control_block* block = nullptr;
    member *next = nullptr, *previous = nullptr;
  };

  group_state() {
    abandon = [](wait_source& source, wait_node&) noexcept { static_cast<group_state&>(source).joiner_ = nullptr; };
  }

  bool canceled() const noexcept { return canceled_; }
  std::size_t living() const noexcept { return living_; }

  void begun() noexcept { ++living_; }
  void ended() {
    if (--living_ > 0 || joiner_ == nullptr) return;
    wait_node& who = *std::exchange(joiner_, nullptr);
    who.waiting_on = nullptr;
    scheduler::current()->wake(who, wake_reason::ready);
  }
  void runs(member& which, control_block& block) noexcept {
    which.block = &block;
    which.next = first_;
    if (first_ != nullptr) first_->previous = &which;
    first_ = &which;
  }
  void runs_no_more(member& which) noexcept {
    (which.previous != nullptr ? which.previous->next : first_) = which.next;
    if (which.next != nullptr) which.next->previous = which.previous;
  }
  bool contains(const control_block& block) const noexcept {
    const member* each = first_;
    while (each != nullptr && each->block != &block) each = each->next;
    return each != nullptr;
  }
  // Those that run now, and those that have not begun.
  void cancel(scheduler& here) {
    canceled_ = true;
    for (member* each = first_; each != nullptr; each = each->next) here.cancel(*each->block);
  }
  void failed(std::exception_ptr exception) {
    if (failure_ == nullptr) failure_ = std::move(exception);
    cancel(*scheduler::current());
  }
  std::exception_ptr take_failure() noexcept { return std::exchange(failure_, nullptr); }
  bool has_failed() const noexcept { return failure_ != nullptr; }
  // All have ended: it may be used again.
  void begin_anew() noexcept { canceled_ = false; }

  // Until none of them lives.
  wake_reason wait(scheduler& here, time_point deadline) {
    if (living_ == 0) return wake_reason::ready;
#if !defined(NDEBUG)
    if (contains(*here.running()))
      broken_rule("a task_group is joined or destroyed by one of its own coroutines, for whose end it would wait");
#endif
    if (joiner_ != nullptr) broken_rule("a task_group is joined by two coroutines at the same time");
    here.arm(*here.running(), deadline);
    joiner_ = here.running();
    joiner_->waiting_on = this;
    return here.park();
  }
  void wait_shielded(scheduler& here) {
    const cancel_shield until_all_have_ended;
    while (living_ > 0) (void)wait(here, no_deadline);  // again, if the loop's end tears it out of its wait
  }

 private:
  std::size_t living_ = 0;
  member* first_ = nullptr;
  wait_node* joiner_ = nullptr;
  std::exception_ptr failure_;
  bool canceled_ = false;
};

// The closure of one of them.
template <class Call>
class group_member {
 public:
  group_member(counted_ptr<group_state> state, Call&& call) : in_(std::move(state)), call_(std::move(call)) {}
  group_member(group_member&& other) noexcept(std::is_nothrow_move_constructible_v<Call>)
      : in_(std::move(other.in_)), call_(std::move(other.call_)) {}

  void operator()() {
    if (in_.state->canceled()) return;
    in_.state->runs(me_, *scheduler::running_block());
    struct at_end {
      group_member& self;
      ~at_end() { self.in_.state->runs_no_more(self.me_); }
    } const end{*this};
#if EVENTER_EXCEPTIONS
    try {
      (void)call_unwrapped(call_);
    } catch (const cancelled&) {
      throw;
    }
    EVENTER_REFUSE_THREAD_EXIT
    catch (...) {
      in_.state->failed(std::current_exception());
    }
#else
    (void)call_unwrapped(call_);
#endif
  }

 private:
  // It has ended when its closure is gone too.
  struct membership {
    counted_ptr<group_state> state;
    explicit membership(counted_ptr<group_state> s) noexcept : state(std::move(s)) { state->begun(); }
    membership(membership&&) noexcept = default;
    ~membership() {
      if (state) state->ended();
    }
  };

  membership in_;
  Call call_;
  group_state::member me_;
};

template <class Call>
inline constexpr bool is_checked<group_member<Call>> = is_checked<Call>;

}  // namespace detail

// Starts coroutines and ends when all of them have ended. Lives on a coroutine's own stack (or in its C++20 frame); its
// coroutines run on this loop and may outlive no scope that it stands in. What they give is dropped: let them put it
// into something on the heap, or use when_all.
class task_group {
 public:
  task_group() : state_(make_counted<detail::group_state>()) {
    (void)detail::suspending_scheduler("a task_group outside a coroutine, where nobody could wait for its end");
  }
  task_group(const task_group&) = delete;
  task_group& operator=(const task_group&) = delete;
  // Cancels what still runs and waits until it has ended, also while an exception is in flight. An exception of one of
  // them that no join() has thrown goes to the loop's handler.
  ~task_group() {
    scheduler& here = detail::suspending_scheduler(
        "a task_group is destroyed outside a coroutine, where nobody can wait for its end");
    state_->cancel(here);
    state_->wait_shielded(here);
#if EVENTER_EXCEPTIONS
    if (const std::exception_ptr failure = state_->take_failure(); failure != nullptr)
      here.report_unhandled(*here.running(), failure);
#endif
  }

  // As eventer::spawn, which says what may be passed.
  template <class F, class... Arguments>
  requires detail::spawnable<F, Arguments...>
  void spawn(F&& function, Arguments&&... arguments) {
    spawn(spawn_options{}, std::forward<F>(function), std::forward<Arguments>(arguments)...);
  }
  template <class F, class... Arguments>
  requires detail::spawnable<F, Arguments...>
  void spawn(const spawn_options& options, F&& function, Arguments&&... arguments) {
    using call = detail::bound_call<std::decay_t<F>, std::decay_t<Arguments>...>;
    (void)eventer::spawn(options, detail::group_member<call>(state_, call(std::in_place, std::forward<F>(function),
                                                                          std::forward<Arguments>(arguments)...)));
  }
  template <class T>
  void spawn(task<T> what) {
    spawn(detail::task_call<T>{std::move(what)});
  }

  // Waits until all have ended; then the group may be used again.
  //
  // Errors: what the first that threw has thrown: it cancelled the others, and they have ended. `cancelled`, where the
  // caller is cancelled, and std::system_error(timed_out), at the end of a deadline_scope: they too cancel what runs,
  // and come when it has ended.
  void join() {
    if (const io_result<void> done = wait(); !done)
      throw_error(done.error(),
                  "task_group::join() in a coroutine that is cancelled, or whose deadline_scope has expired");
#if EVENTER_EXCEPTIONS
    if (const std::exception_ptr failure = state_->take_failure(); failure != nullptr) std::rethrow_exception(failure);
#endif
  }
  // join() without exceptions: a std::system_error becomes its code, any other errc::exception.
  io_result<void> try_join() {
    if (const io_result<void> done = wait(); !done) return done;
#if EVENTER_EXCEPTIONS
    if (const std::exception_ptr failure = state_->take_failure(); failure != nullptr) {
      try {
        std::rethrow_exception(failure);
      } catch (const std::system_error& error) {
        return error.code();
      } catch (...) {
        return errc::exception;
      }
    }
#endif
    return {};
  }

  // Cancels those that run, and those that have not begun. They have not ended yet when this returns.
  void cancel() { state_->cancel(detail::suspending_scheduler("task_group::cancel() outside a coroutine")); }
  // How many have not ended.
  std::size_t size() const noexcept { return state_->living(); }

 private:
  io_result<void> wait() {
    scheduler& here = detail::suspending_scheduler("task_group::join() outside a coroutine");
    wake_reason reason = wake_reason::canceled;
    if (!here.cancellation_requested()) reason = state_->wait(here, here.within_scope(no_deadline));
    if (reason != wake_reason::ready) {
      state_->cancel(here);
      state_->wait_shielded(here);
    }
    state_->begin_anew();
    if (reason == wake_reason::ready || (reason == wake_reason::timed_out && state_->has_failed())) return {};
    if (reason == wake_reason::timed_out) return errc::timed_out;
    (void)here.cancellation_due();
    return errc::canceled;
  }

  counted_ptr<detail::group_state> state_;
};

}  // namespace eventer::inline EVENTER_ABI
