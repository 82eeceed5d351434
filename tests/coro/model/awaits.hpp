// What holds for every await of a program, and the scopes that limit awaits or put their cancellation off, with what
// the model knows of them.
#pragma once

#include "world.hpp"

namespace model {

// Where a step is: `holding` what others may wait for without a limit, it may not do that itself.
struct place {
  unsigned depth;
  bool holding = false;
};
void steps(record& me, place at, std::uint64_t key, unsigned most);

enum class is { cancellation_point, not_always };

class await_check {
 public:
  await_check(record& me, const char* what, is kind = is::cancellation_point)
      : me_(me),
        what_(what),
        kind_(kind),
        began_(the->now()),
        due_(me.cancel_due()),
        in_flight_(std::uncaught_exceptions()) {
    the->count_await();
    the->require(me.group == nullptr || !me.group->left, "a coroutine runs after its scope", &me);
    the->require(eventer::this_coroutine::id() == me.id, "another coroutine runs", &me);
    handled_ = std::current_exception();
    errno = number();
  }
  await_check(const await_check&) = delete;
  await_check& operator=(const await_check&) = delete;
  ~await_check() {
    const int now_in_flight = std::uncaught_exceptions();
    the->require(errno == number(), "errno has changed over a wait", &me_);
    the->require(eventer::this_coroutine::id() == me_.id, "another coroutine goes on", &me_);
    the->require(the->now() >= began_, "time went back", &me_);
    the->require(now_in_flight == in_flight_ || now_in_flight == in_flight_ + 1,
                 "the number of exceptions in flight has changed over a wait", &me_);
    the->require(std::current_exception() == handled_, "the exception that is handled has changed over a wait", &me_);
    the->require(me_.group == nullptr || !me_.group->left, "a coroutine goes on after its scope", &me_);
    const bool normally = now_in_flight == in_flight_;
    if (normally && due_ && kind_ == is::cancellation_point && in_flight_ == 0)
      the->violated("an await of a cancelled coroutine has not thrown", &me_);
    the->note(&me_, what_, normally ? 0 : -1);
  }
  void was_cancelled() const {
    the->require(the->may_be_cancelled(me_), "a coroutine was cancelled that nobody has cancelled", &me_);
    the->require(in_flight_ == 0, "an await has thrown while an exception was in flight", &me_);
  }
  time_point began() const noexcept { return began_; }

 private:
  int number() const noexcept { return 1000 + static_cast<int>(me_.number); }

  record& me_;
  const char* const what_;
  const is kind_;
  const time_point began_;
  const bool due_;
  const int in_flight_;
  std::exception_ptr handled_;
};

template <class F>
auto awaiting(record& me, const char* what, is kind, F operation) {
  const await_check check(me, what, kind);
  try {
    return operation();
  } catch (const eventer::cancelled&) {
    check.was_cancelled();
    throw;
  }
}

// One with a time limit, which answers an io_result. `exact`: at the limit's time, not later.
template <class F>
auto limited(record& me, const char* what, eventer::duration limit, F operation, is kind = is::cancellation_point,
             bool exact = true) {
  const time_point began = the->now(), end = std::max(began, std::min(began + limit, me.scope));
  auto answer = awaiting(me, what, kind, operation);
  if (answer)
    the->require(the->now() <= end || !exact, "a wait was answered after its time limit", &me);
  else if (answer.error() == std::errc::timed_out)
    the->require(exact ? the->now() == end : the->now() >= end, "timed out at another time than the limit's", &me);
  else if (answer.error() == std::errc::operation_canceled)
    the->require(std::uncaught_exceptions() > 0 && the->may_be_cancelled(me), "operation_canceled without a reason",
                 &me);
  return answer;
}

// Who was told that its time is over has waited in vain. `there`: what it waited for is there, since `changed`; what
// has come at this very moment may have come after the time-out.
template <class T>
void in_vain(record& me, const eventer::io_result<T>& answer, bool there, time_point changed) {
  if (!answer && answer.error() == std::errc::timed_out && me.scope > the->now())
    the->require(!there || changed == the->now(), "timed out while there was what it waited for", &me);
}

inline void sleep(record& me, eventer::duration time) {
  const time_point end = std::max(the->now(), std::min(the->now() + time, me.scope));
  awaiting(me, "sleep", is::cancellation_point, [&] { eventer::sleep_for(time); });
  the->require(the->now() == end || std::uncaught_exceptions() > 0, "a sleep has ended early or late", &me);
}

// What the library limits and puts off, with what the model knows of it.
class shield {
 public:
  explicit shield(record& me) noexcept : me_(me) {
    if (me.shields++ == 0) me.shielded_since = the->now();
    if (me.shields == 1 && the->ending) me.shielded_since = time_point::max();
  }
  ~shield() { --me_.shields; }

 private:
  record& me_;
  const eventer::cancel_shield holds_;
};
class deadline {
 public:
  deadline(record& me, eventer::duration time) : me_(me), outer_(me.scope), limits_(time) {
    me.scope = std::min(me.scope, the->now() + time);
  }
  ~deadline() { me_.scope = outer_; }

 private:
  record& me_;
  const time_point outer_;
  const eventer::deadline_scope limits_;
};

}  // namespace model
