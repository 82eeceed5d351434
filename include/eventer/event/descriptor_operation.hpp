// descriptor_operation: an operation on a descriptor from its steps, such as "try to read". A step tries once and says
// how it went; whether a stackful coroutine parks in between, a thread blocks or a continuation is called back is
// decided here, in one place for all of them.
#pragma once

#include <cstdint>
#include <utility>

#include "eventer/coro/operation.hpp"
#include "eventer/event/event_loop.hpp"

namespace eventer::inline EVENTER_ABI::detail {

// How one try went: a number, an error, or what has to happen before the next try. One word.
class attempt {
 public:
  static constexpr attempt done(std::size_t value = 0) noexcept { return attempt(static_cast<std::int64_t>(value)); }
  static constexpr attempt failed(int error) noexcept { return attempt(-std::int64_t{error}); }
  static constexpr attempt failed(errc error) noexcept {
    return attempt(first_of_ours - static_cast<std::int64_t>(error));
  }
  static constexpr attempt wait_readable() noexcept { return attempt(waits); }
  static constexpr attempt wait_writable() noexcept { return attempt(waits + 1); }
  static constexpr attempt again_at() noexcept { return attempt(waits + 2); }  // at the step's `resume_at`

  constexpr bool is_done() const noexcept { return code_ >= 0; }
  constexpr bool is_final() const noexcept { return code_ > waits + 2; }
  constexpr bool is_pause() const noexcept { return code_ == waits + 2; }
  constexpr descriptor::direction direction() const noexcept {
    return code_ == waits ? descriptor::direction::read : descriptor::direction::write;
  }
  constexpr std::size_t value() const noexcept { return static_cast<std::size_t>(code_); }
  // 0 where it is none of the system's.
  constexpr int error_number() const noexcept { return code_ <= first_of_ours ? 0 : static_cast<int>(-code_); }
  std::error_code error() const noexcept {
    return code_ <= first_of_ours ? make_error_code(static_cast<errc>(first_of_ours - code_))
                                  : error_from_errno(static_cast<int>(-code_));
  }

 private:
  static constexpr std::int64_t first_of_ours = -100'000;
  static constexpr std::int64_t waits = INT64_MIN;
  explicit constexpr attempt(std::int64_t code) noexcept : code_(code) {}

  std::int64_t code_;
};

inline bool would_block(int error) noexcept { return error == EAGAIN || error == EWOULDBLOCK; }

// Asked before each try of an operation, as it may otherwise never wait: then others get their turn, and a cancellation
// is delivered.
EVENTER_ALWAYS_INLINE bool turn_is_over() noexcept {
  scheduler* const here = scheduler::current();
  return EVENTER_LIKELY(here != nullptr) && here->count_operation();
}

// What follows lets others run without waiting for the descriptor, which may be closed and destroyed meanwhile: then
// the answer is `closed`. Others reach what they hold, so that it can't be on a shared stack.
EVENTER_NOINLINE inline std::error_code let_others_run(descriptor* on) {
  event_loop& here = event_loop::current();
  const event_loop::idle_place held(here, on);
  if (const std::error_code error = here.let_others_run()) return error;
  return on == nullptr || held.is_there() ? std::error_code() : make_error_code(errc::closed);
}
// The running coroutine, or the thread, waits until `when`. Errors: timed_out, canceled, closed.
EVENTER_NOINLINE inline std::error_code pause_until(descriptor& on, time_point when, time_point deadline) {
  if (scheduler::current() == nullptr) {
    sleep_on_thread(when < deadline ? when : deadline);
    return when < deadline ? std::error_code() : make_error_code(errc::timed_out);
  }
  event_loop& here = event_loop::current();
  if (here.running() == nullptr)
    broken_rule("an operation that has to pause would block its loop in a callback: spawn a coroutine for it");
  const time_point end = here.within_scope(deadline);
  const event_loop::idle_place held(here, &on);
  sleep(when < end ? when : end);
  if (here.cancellation_due()) return make_error_code(errc::canceled);
  if (!held.is_there()) return make_error_code(errc::closed);
  return when < end ? std::error_code() : make_error_code(errc::timed_out);
}

EVENTER_NOINLINE inline time_limit fixed_now(time_limit limit) noexcept {
  scheduler* const here = scheduler::current();
  return limit.resolve(here != nullptr ? here->now() : clock::now());
}
// The limit as a fixed time. By value: a limit whose address were taken would be one more word of a parked stack.
EVENTER_ALWAYS_INLINE time_limit fixed(time_limit limit) noexcept {
  return EVENTER_LIKELY(!limit.needs_clock()) ? limit : fixed_now(limit);
}

// Why a try has failed. Out of line: it happens once a connection.
EVENTER_NOINLINE inline std::error_code error_of(const descriptor& on, attempt tried) noexcept {
  const int number = tried.error_number();
  return number != 0 && on.other() != nullptr ? on.other()->error_of(number) : tried.error();
}

// A step has: attempt try_once(descriptor&); result(attempt) -> result_type; failed(std::error_code) -> result_type;
// before_waiting(), which puts into safety what does not survive a wait; survives(descriptor&, error), whether to try
// again at resume_at() where the kernel refuses to watch one descriptor more.
//
// Runs the step to its end on this stack. The limit is looked at only where the step has to wait: on one that does not
// it costs nothing.
template <class Step>
EVENTER_ALWAYS_INLINE auto run_to_end(descriptor* on, Step& step, time_limit limit) -> typename Step::result_type {
  for (;;) {
    if (EVENTER_UNLIKELY(turn_is_over())) {
      step.before_waiting();
      if (const std::error_code error = let_others_run(on)) return step.failed(error);
    }
    if (EVENTER_UNLIKELY(on == nullptr || !on->is_usable())) return step.failed(make_error_code(errc::closed));
    const attempt tried = step.try_once(*on);
    if (EVENTER_LIKELY(tried.is_final()))
      return tried.is_done() ? step.result(tried.value()) : step.failed(error_of(*on, tried));
    step.before_waiting();
    limit = fixed(limit);
    if (EVENTER_UNLIKELY(tried.is_pause())) {
      if (const std::error_code error = pause_until(*on, step.resume_at(), limit.deadline())) return step.failed(error);
    } else if (const std::error_code error = on->wait(tried.direction(), limit.deadline())) {
      if (!step.survives(*on, error)) return step.failed(error);  // after `closed` it may be gone
      if (const std::error_code end = pause_until(*on, step.resume_at(), limit.deadline())) return step.failed(end);
    }
  }
}

// Out of line, with the step made here from its arguments: a parked stack then holds the frame of this one operation,
// and not room for all that its caller might do.
template <class Step, class... Arguments>
EVENTER_NOINLINE auto perform(const std::unique_ptr<descriptor>& on, time_limit limit, Arguments... arguments) ->
    typename Step::result_type {
  static_assert((... && std::is_trivially_copyable_v<Arguments>), "arguments are copied: hand over a pointer");
  Step step(arguments...);
  return run_to_end(on.get(), step, limit);
}

// The same as something to await. Requires: what it works on lives until it has ended, or is closed before it goes.
template <class Step>
class descriptor_operation {
 public:
  using result_type = typename Step::result_type;

  descriptor_operation(const std::unique_ptr<descriptor>& on, Step&& step, time_limit limit) noexcept
      : owner_(&on), step_(std::move(step)), limit_(limit) {}

  void block() { result_.emplace(run_to_end(owner_->get(), step_, limit_)); }
  bool advance(continuation& who) {
    if (who.home == nullptr) on_ = owner_->get();  // the first time; the stream object may move from now on
    if (std::exchange(idle_, false)) on_ = hold_.let_go();
    if (const std::error_code error = error_of_wait(who)) return fail(error);
    auto& here = static_cast<event_loop&>(scheduler_for_continuations());
    for (;;) {
      if (EVENTER_UNLIKELY(here.count_operation())) {
        step_.before_waiting();
        here.operation_waited();
        if (on_ != nullptr) hold();
        here.attach(who);
        here.make_ready(who, wake_reason::ready);
        return false;
      }
      if (on_ == nullptr || !on_->is_usable()) return fail(make_error_code(errc::closed));
      const attempt tried = step_.try_once(*on_);
      if (tried.is_final()) {
        result_.emplace(tried.is_done() ? step_.result(tried.value()) : step_.failed(error_of(*on_, tried)));
        return true;
      }
      step_.before_waiting();
      if (tried.is_pause()) return pause(here, who);
      waits_ = true;
      direction_ = tried.direction();
      const std::error_code error = on_->start_wait(direction_, who, limit_);
      if (!error) return false;
      waits_ = false;
      return step_.survives(*on_, error) ? pause(here, who) : fail(error);
    }
  }
  result_type result() { return std::move(*result_); }

 private:
  std::error_code error_of_wait(continuation& who) {
    if (std::exchange(waits_, false)) return on_->finish_wait(direction_, who);
    return who.wake == wake_reason::canceled ? make_error_code(errc::canceled) : std::error_code();
  }
  bool fail(std::error_code error) {
    result_.emplace(step_.failed(error));
    return true;
  }
  void hold() noexcept {
    idle_ = true;
    hold_.hold(*on_);
  }
  bool pause(event_loop& here, continuation& who) {
    const time_point end = here.resolve(limit_);
    if (end <= here.now()) return fail(make_error_code(errc::timed_out));
    hold();
    here.attach(who);
    here.arm(who, step_.resume_at() < end ? step_.resume_at() : end);
    return false;
  }

  const std::unique_ptr<descriptor>* owner_;
  descriptor* on_ = nullptr;
  Step step_;
  time_limit limit_;
  std::optional<result_type> result_;
  descriptor::idle_hold hold_;
  bool waits_ = false, idle_ = false;
  descriptor::direction direction_ = descriptor::direction::read;
};

}  // namespace eventer::inline EVENTER_ABI::detail
