// Coroutines of a program: their closures, the ways to spawn, cancel, drop and join them, and what a join is to answer.
#pragma once

#include <array>
#include <initializer_list>
#include <optional>

#include "awaits.hpp"

namespace model {

inline token run_body(record& me) {
  the->note(&me, "begins");
  the->require(!me.started, "a coroutine runs twice", &me);
  the->require(!me.born_late, "a coroutine runs that was spawned at the loop's end", &me);
  the->require(me.group == nullptr || !me.group->canceled, "a coroutine of a cancelled group begins", &me);
  the->require(me.cancels == 0 || me.remote, "a coroutine begins that was cancelled before", &me);
  me.started = true;
  me.id = eventer::this_coroutine::id();
  const auto ends = [&me](how end, long result) {
    me.end = end;
    me.result = result;
    me.ended_at = the->now();
    me.not_joined = me.detached;
    the->note(&me, end == how::value ? "returns" : end == how::exception ? "throws" : "is cancelled", result);
  };
  try {
    steps(me, {me.depth}, me.seed, me.parent == nullptr ? 16 : 7);
    token result;
    ends(how::value, result.id());
    return result;
  } catch (const eventer::cancelled&) {
    the->require(the->may_be_cancelled(me), "a coroutine is cancelled that nobody has cancelled", &me);
    ends(how::canceled, 0);
    throw;
  } catch (...) {
    ends(how::exception, identity_of_current());
    if (group_record* const in = me.group; in != nullptr) {
      if (in->first_failure == 0) in->first_failure = me.result;
      in->cancel();
    }
    throw;
  }
}

// The closures: one that fits into a control block, and one that does not.
struct body {
  record* me;
  token content;
  token operator()() {
    content.look();
    token result = run_body(*me);
    content.look();
    return result;
  }
};
struct large_body : body {
  explicit large_body(body&& small) : body(std::move(small)) { values.fill(me->seed); }
  std::array<std::uint64_t, 12> values;
  token operator()() {
    token result = body::operator()();
    for (const std::uint64_t each : values) the->require(each == me->seed, "the bytes of a closure have changed", me);
    return result;
  }
};
static_assert(sizeof(body) == 16);
inline token function_with_arguments(record* me, token content, large_body with) {
  content.look();
  the->require(with.me == me, "an argument has changed", me);
  return run_body(*me);
}
struct throws_when_moved {
  token content;
  throws_when_moved() = default;
  throws_when_moved(throws_when_moved&&) : content() { throw failure{token(), 0}; }
  void operator()() const {}
};

inline record& new_coroutine(record* parent, draws& d, unsigned depth) {
  return the->new_record(parent, d.next(), depth);
}
inline body body_of(record& whose) {
  body made{&whose, {}};
  whose.closure = made.content.id();
  return made;
}
inline eventer::task<token> task_body(record* me, token content) {
  content.look();
  co_return run_body(*me);
}

// In one of the ways there are.
inline void spawn(record& child, draws& d) {
  static constexpr const char* names[] = {nullptr, nullptr, "one", "other"};
  eventer::spawn_options options{.name = names[d.below(4)]};
  if (d.chance(15)) options.stack = eventer::stack_kind::own;
  switch (d.below(5)) {
    case 0:
      child.handle = eventer::spawn(options, large_body(body_of(child)));
      break;
    case 1: {
      token content;
      child.closure = content.id();
      child.handle =
          eventer::spawn(options, &function_with_arguments, &child, std::move(content), large_body({&child, {}}));
      break;
    }
    case 2: {
      token content;
      child.closure = content.id();
      child.handle = eventer::spawn(options, task_body(&child, std::move(content)));
      break;
    }
    default:
      child.handle = eventer::spawn(options, body_of(child));
  }
  if (!d.chance(25)) return;
  child.detached = true;
  child.handle = {};
}

inline void cancel(record& which) {
  if (!which.handle.joinable()) return;
  if (!which.ended()) ++which.cancels;
  which.handle.cancel();
}

// An answer of a join is what the coroutine has ended with, and comes once.
inline void answered(record& which, how end, long result, const record* to) {
  the->note(to, "  joined", static_cast<long>(which.number));
  if (end == how::canceled && !which.started)
    the->require(the->may_have_been_asked(which) || which.born_late, "a coroutine that nobody cancelled has not run",
                 &which);
  else
    the->require(which.end == end && which.result == result, "a join was answered with something else", &which);
  the->require(!which.answered, "a coroutine was joined twice", &which);
  the->require(!the->alive(which.closure), "a coroutine has ended before its closure", &which);
  the->require(!which.handle.joinable(), "a handle is not empty after a join", &which);
  which.answered = true;
}

// With the handle where it is or on the joiner's stack, with exceptions or codes, with a limit or without.
inline void join(record* me, record& which, draws& d, bool with_limit) {
  eventer::join_handle<token> mine;
  const bool here = !with_limit && !which.remote && which.joined_by == nullptr && d.chance(30);
  if (here) mine = std::move(which.handle);
  eventer::join_handle<token>& handle = here ? mine : which.handle;
  const bool waits = !handle.done();
  const bool busy = which.joined_by != nullptr, self = me == &which;
  struct marked {
    record& which;
    bool marks;
    ~marked() {
      if (marks) which.joined_by = nullptr;
    }
  } const mark{which,
               !busy && !self && me != nullptr && (me->shields > 0 || !eventer::this_coroutine::cancel_requested())};
  if (mark.marks) which.joined_by = me;
  try {
    std::optional<eventer::io_result<token>> answer;
    const auto began = me != nullptr ? the->now() : time_point();
    time_point end = me != nullptr ? me->scope : eventer::no_deadline;
    const is kind = waits && !busy && !self ? is::cancellation_point : is::not_always;
    if (with_limit) {
      const auto limit = d.time();
      end = std::min(end, began + limit);
      answer = awaiting(*me, "join_for", kind, [&] { return handle.join_for(limit); });
    } else if (me != nullptr && d.chance(50)) {
      answer = awaiting(*me, "try_join", kind, [&] { return handle.try_join(); });
    } else if (me != nullptr) {
      const token got = awaiting(*me, "join", kind, [&] { return handle.join(); });
      got.look();
      answered(which, how::value, got.id(), me);
    } else {
      const token got = handle.join();
      answered(which, how::value, got.id(), me);
    }
    if (me != nullptr && waits && !handle.joinable())
      the->require(the->now() == std::max(began, which.ended_at) || !which.started, "a join was answered late", me);
    if (!answer) return;
    if (*answer) return answered(which, how::value, (*answer)->id(), me);
    const std::error_code error = answer->error();
    the->note(me, "  join answers an error", error.value());
    if (handle.joinable()) {
      the->require(
          (error == std::errc::timed_out && the->now() == std::max(began, end)) || std::uncaught_exceptions() > 0,
          "a join has timed out at another time than the limit's", me);
      if (here) which.handle = std::move(mine);
      return;
    }
    if (which.end != how::exception) {
      the->require(error == eventer::errc::canceled, "a join has answered another code", me);
      return answered(which, how::canceled, 0, me);
    }
    the->require(which.result == identity_of(error) || (which.result > 0 && error == eventer::errc::exception),
                 "a join has answered another code than that of the exception", me);
    answered(which, how::exception, which.result, me);
  } catch (const eventer::cancelled&) {
    if (here && mine.joinable()) which.handle = std::move(mine);
    throw;
  } catch (const std::system_error& error) {
    const bool joined = !handle.joinable();
    if (error.code() == eventer::errc::busy && (busy || (which.remote && which.answered))) return;
    if (joined && which.end == how::exception) {
      answered(which, how::exception, identity_of_current(), me);
    } else if (joined) {
      the->require(error.code() == eventer::errc::canceled, "a join has thrown another error", me);
      answered(which, how::canceled, 0, me);
    } else if (error.code() == std::errc::resource_deadlock_would_occur) {
      return the->require(self, "a join was refused", me);
    } else {
      the->require(error.code() == std::errc::timed_out && me != nullptr && the->now() >= me->scope,
                   "a join has failed without a reason", me);
    }
    if (here && mine.joinable()) which.handle = std::move(mine);
    if (me != nullptr && d.chance(40)) throw;
  } catch (const failure&) {
    answered(which, how::exception, identity_of_current(), me);
    if (me != nullptr && d.chance(40)) throw;
  }
}

// --- steps ---

inline void do_cancel(record& me, place, draws& d) {
  record& which = the->any_coroutine(d);
  the->note(&me, "cancel", static_cast<long>(which.number));
  cancel(which);
  if (d.chance(20)) cancel(which);
}
inline void do_drop(record& me, place, draws& d) {
  record& which = the->any_coroutine(d);
  if (which.joined_by != nullptr || which.remote) return;
  the->note(&me, "drop", static_cast<long>(which.number));
  if (which.handle.joinable()) (which.ended() ? which.not_joined : which.detached) = true;
  which.handle = {};
}
inline void do_join_any(record& me, place, draws& d) {
  record& which = the->any_coroutine(d);
  if (which.handle.joinable()) join(&me, which, d, true);
}
inline void do_join_child(record& me, place, draws& d) {
  for (record& each : the->coroutines)
    if (each.parent == &me && each.handle.joinable()) return join(&me, each, d, d.chance(40));
}
inline void do_spawn(record& me, place at, draws& d) {
  if (!the->room_for_more() || me.depth == 0) return;
  if (d.chance(3)) {
    try {
      (void)eventer::spawn(throws_when_moved());
      the->violated("a spawn has not thrown what its closure throws", &me);
    } catch (const failure&) {
    }
    return;
  }
  record& child = new_coroutine(&me, d, me.depth - 1);
  the->note(&me, "spawn", static_cast<long>(child.number));
  spawn(child, d);
  if (!at.holding && d.chance(50)) do_join_child(me, at, d);
}

// One that a coroutine hosts.
inline eventer::task<token> hosted(record* me, place at, std::uint64_t key, unsigned levels) {
  draws d(key);
  const token content;
  const time_point end = std::max(the->now(), std::min(the->now() + 1ms, me->scope));
  {
    const await_check check(*me, "co_await after");
    co_await eventer::after(1ms);
  }
  the->require(the->now() == end, "a co_await of after() has ended early or late", me);
  if (levels > 0) {
    const token inner = co_await hosted(me, at, d.next(), levels - 1);
    inner.look();
  }
  steps(*me, {0, at.holding}, d.next(), 2);
  content.look();
  co_return token();
}

inline void do_task(record& me, place at, draws& d) {
  const token got = eventer::await(hosted(&me, at, d.next(), d.below(2)));
  got.look();
}

// What they wait for is taken along: it has ended when they have, whatever they answer.
inline eventer::join_handle<token> spawn_along(record& me, record*& child, draws& d) {
  child = &new_coroutine(&me, d, 0);
  child->taken_along = true;
  return eventer::spawn(body_of(*child));
}
template <class F>
void combined(record& me, std::initializer_list<record**> children, F wait) {
  struct all_ended {
    std::initializer_list<record**> children;
    ~all_ended() {
      for (record** const each : children)
        the->require((*each)->ended() || !(*each)->started, "what was moved into a when_any or when_all lives on",
                     *each);
    }
  } const at_end{children};
  try {
    wait();
  } catch (const eventer::cancelled&) {
    throw;
  } catch (...) {
    const long what = identity_of_current();
    bool of_child = false;
    for (const record* const* const each : children)
      of_child = of_child ||
                 ((*each)->end == how::exception
                      ? (*each)->result == what
                      : (*each)->end != how::value && what == identity_of(make_error_code(eventer::errc::canceled)));
    the->require(of_child || (what == identity_of(make_error_code(eventer::errc::timed_out)) && the->now() >= me.scope),
                 "a when_any or when_all has thrown something else", &me);
  }
}
inline void do_when_any(record& me, place, draws& d) {
  if (!the->room_for_more() || me.depth == 0) return;
  record* child = nullptr;
  auto handle = spawn_along(me, child, d);
  const time_point began = the->now();
  const auto limit = d.time();
  the->bounded.reordered = true;
  struct may_put_back {
    ~may_put_back() { the->bounded.changed = the->now(); }
  } const at_end;
  combined(me, {&child}, [&] {
    auto first = awaiting(me, "when_any", is::cancellation_point, [&] {
      return eventer::when_any(eventer::after(limit), the->bounded.channel.async_receive(), std::move(handle));
    });
    the->note(&me, "  first", static_cast<long>(first.index));
    if (first.index == 0) the->require(the->now() >= began + limit, "an after() in a when_any has ended early", &me);
    if (first.index == 1)
      if (const auto& got = std::get<1>(first.results)) the->received(the->bounded, *got, nullptr);
    if (first.index == 2) answered(*child, how::value, std::get<2>(first.results).id(), &me);
  });
}
inline void do_when_all(record& me, place, draws& d) {
  if (!the->room_for_more() || me.depth == 0) return;
  record *one = nullptr, *other = nullptr;
  auto first = spawn_along(me, one, d), second = spawn_along(me, other, d);
  combined(me, {&one, &other}, [&] {
    const auto both = awaiting(me, "when_all", is::cancellation_point,
                               [&] { return eventer::when_all(std::move(first), std::move(second)); });
    answered(*one, how::value, std::get<0>(both).id(), &me);
    answered(*other, how::value, std::get<1>(both).id(), &me);
  });
}

}  // namespace model
