// Steps with what coroutines share: channels, events, gates, semaphores, mutexes with conditions, once.
#pragma once

#include <mutex>

#include "callbacks.hpp"

namespace model {

template <class F>
void with_pipe(draws& d, F function) {
  switch (d.below(3)) {
    case 0:
      return function(the->bounded);
    case 1:
      return function(the->rendezvous);
    default:
      return function(the->shared);
  }
}

inline void do_send(record& me, place, draws& d) {
  with_pipe(d, [&](auto& through) {
    parcel p = the->new_parcel(&me);
    const std::uint32_t number = p.number;
    if (d.chance(20)) {
      through.channel.try_send(p) ? the->sent(through, number) : the->refused(number);
      return;
    }
    try {
      const auto limit = d.time();
      const auto done = limited(me, "send", limit, [&] { return through.channel.send(std::move(p), limit); });
      in_vain(me, done, through.closed, through.changed);
      if (!done && done.error() == eventer::errc::closed)
        the->require(through.closed, "closed, says a channel that is not", &me);
      done ? the->sent(through, number) : the->refused(number);
    } catch (const eventer::cancelled&) {
      the->refused(number);
      throw;
    }
  });
}
inline void do_receive(record& me, place, draws& d) {
  with_pipe(d, [&](auto& through) {
    if (d.chance(20)) {
      if (auto p = through.channel.try_receive()) the->received(through, *p, &me);
      return;
    }
    const auto limit = d.time();
    const auto got = limited(me, "receive", limit, [&] { return through.channel.receive(limit); });
    in_vain(me, got, through.channel.size() > 0 || through.closed, through.changed);
    if (got)
      the->received(through, *got, &me);
    else if (got.error() == eventer::errc::closed)
      the->require(through.closed && (through.channel.size() == 0 || through.reordered),
                   "closed, says a channel that is not, or not empty", &me);
  });
}
inline void do_select(record& me, place, draws& d) {
  unsigned called = 0;
  std::size_t which = 9;
  parcel p = the->new_parcel(&me);
  const std::uint32_t number = p.number;
  const auto receives = [&](auto& through, std::size_t index) {
    return eventer::on_receive(through.channel, [&, index](eventer::io_result<parcel> got) {
      ++called;
      which = index;
      if (got) the->received(through, *got, &me);
    });
  };
  bool was_sent = false;
  const auto limit = d.time();
  try {
    with_pipe(d, [&](auto& out) {
      auto sends = eventer::on_send(out.channel, std::move(p), [&](eventer::io_result<void> done) {
        ++called;
        which = 1;
        if (!done) return;
        was_sent = true;
        the->sent(out, number);
      });
      const bool two = d.chance(50);
      const auto done = limited(me, "select", limit, [&]() -> eventer::io_result<std::size_t> {
        if (two) return eventer::select(limit, receives(the->bounded, 0), std::move(sends));
        return eventer::select(limit, receives(the->rendezvous, 0), std::move(sends), receives(the->shared, 2));
      });
      the->require(called == (done ? 1 : 0) && (!done || *done == which),
                   "a select has called other handlers than it says", &me);
    });
  } catch (const eventer::cancelled&) {
    the->require(called == 0, "a select was cancelled and has called a handler", &me);
    the->refused(number);
    throw;
  }
  if (!was_sent) the->refused(number);
}
inline void do_close(record& me, place, draws& d) {
  if (d.chance(60)) return;
  with_pipe(d, [&](auto& which) {
    which.closed = true;
    which.changed = the->now();
    which.channel.close();
  });
  the->note(&me, "close");
}

inline void do_event(record& me, place, draws& d) {
  world& w = *the;
  if (d.chance(30)) {
    set_event();
    return;
  }
  if (d.chance(30)) return w.event.reset();
  const bool set = w.event.is_set();
  const std::size_t before = w.event_sets;
  const auto limit = d.time();
  const auto done = limited(me, "event", limit, [&] { return w.event.wait(limit); });
  in_vain(me, done, w.event.is_set(), w.event_set_at);
  if (done) w.require(set || w.event_sets != before, "a wait for an event that was not set has ended", &me);
}
inline void do_wait_group(record& me, place at, draws& d) {
  world& w = *the;
  if (d.chance(50)) {
    struct added {
      added() { the->group.add(); }
      ~added() {
        the->group.done();
        if (the->group.count() > 0) return;
        ++the->group_zeros;
        the->group_zero_at = the->now();
      }
    } const one;
    return steps(me, {0, at.holding}, d.next(), 2);
  }
  const bool zero = w.group.count() == 0;
  const std::size_t before = w.group_zeros;
  const auto limit = d.time();
  const auto done = limited(me, "wait_group", limit, [&] { return w.group.wait(limit); });
  in_vain(me, done, w.group.count() == 0, w.group_zero_at);
  if (done) w.require(zero || w.group_zeros != before, "a wait for a wait_group has ended before its count", &me);
}
inline void do_gate(record& me, place at, draws& d) {
  world& w = *the;
  if (d.chance(85)) {
    const bool closed = w.gate.is_closed();
    struct leaves {
      ~leaves() { the->gate_left_at = the->now(); }
    } const notes_when;
    const auto inside = w.gate.hold();
    w.require(inside.has_value() != closed, "a closed gate was entered, or an open one not", &me);
    return steps(me, {0, at.holding}, d.next(), 2);
  }
  const auto limit = d.time();
  const auto done = limited(me, "gate", limit, [&] { return w.gate.close(limit); });
  in_vain(me, done, w.gate.inside() == 0, w.gate_left_at);
  if (done) w.require(w.gate.inside() == 0, "a gate was closed with somebody inside", &me);
}
inline void do_semaphore(record& me, place at, draws& d) {
  world& w = *the;
  const std::size_t units = 1 + d.below(3);
  const auto limit = at.holding || d.chance(50) ? d.time() : eventer::duration(1h);
  struct leaves {
    ~leaves() { the->units_changed = the->now(); }
  };
  const auto done = [&] {
    const leaves notes_when;
    const queue::place mine(w.for_units, me, w.now() + limit);
    auto answer = limited(me, "semaphore", limit, [&] { return w.semaphore.acquire_for(limit, units); });
    in_vain(me, answer, w.semaphore.available() >= units && mine.first(), w.units_changed);
    return answer;
  }();
  if (!done) return;
  struct held {
    const std::size_t units;
    explicit held(std::size_t n) : units(n) { the->units_held += n; }
    ~held() {
      the->units_held -= units;
      the->units_changed = the->now();
      the->semaphore.release(units);
    }
  } const mine(units);
  w.require(w.units_held + w.semaphore.available() <= world::semaphore_units, "a semaphore has given more than it has",
            &me);
  steps(me, {0, true}, d.next(), 2);
}

template <class Monitor>
void use_monitor(Monitor& which, record& me, place at, draws& d) {
  world& w = *the;
  if (d.chance(20)) {
    const bool all = d.chance(50);
    which.for_condition.notify(
        all, [&w](const waiting& who) { return who.until > w.now() && !w.may_have_been_asked(*who.who); });
    all ? which.condition.notify_all() : which.condition.notify_one();
    which.changed = w.now();  // whoever is notified may have the mutex already
    return;
  }
  std::unique_lock lock(which.mutex, std::defer_lock);
  const bool impatient = at.holding || d.chance(50);
  const auto limit = d.time();
  const time_point end = impatient ? w.now() + limit : eventer::no_deadline;
  try {
    const queue::place mine(which.for_mutex, me, end);
    if (impatient) {
      const bool got = awaiting(me, "try_lock_for", is::not_always, [&] { return which.mutex.try_lock_for(limit); });
      w.require(got ? w.now() <= end : w.now() == end, "a mutex was given too late, or given up too early", &me);
      w.require(got || which.holder != nullptr || which.changed == w.now(), "a mutex was given up that was free", &me);
      if (!got) return;
      lock = std::unique_lock(which.mutex, std::adopt_lock);
    } else {
      awaiting(me, "lock", is::not_always, [&] { lock.lock(); });
    }
    w.require(w.ending || mine.first_in_time(w.now()), "a mutex was given to who came later", &me);
  } catch (const std::system_error& error) {
    const bool twice = which.holder == &me && error.code() == std::errc::resource_deadlock_would_occur;
    w.require(twice || (w.ending && error.code() == eventer::errc::canceled), "a mutex was refused", &me);
    return;
  }
  struct holds {
    Monitor& which;
    record& me;
    holds(Monitor& m, record& r) : which(m), me(r) { begin(); }
    ~holds() { end(); }
    void begin() {
      the->require(which.holder == nullptr, "a mutex is held by two", &me);
      which.holder = &me;
    }
    void end() {
      if (which.holder == &me) which.holder = nullptr;
      which.changed = the->now();
    }
  } mine(which, me);
  steps(me, {0, true}, d.next(), 2);
  if (!d.chance(50)) return;
  mine.end();
  struct waits_no_more {
    Monitor& which;
    holds& mine;
    const std::unique_lock<decltype(which.mutex)>& lock;
    ~waits_no_more() {
      if (lock.owns_lock()) mine.begin();
    }
  };
  {
    const waits_no_more end_of_wait{which, mine, lock};
    const auto patience = d.time();
    const queue::place in(which.for_condition, me, std::min(w.now() + patience, me.scope));
    const auto wait = [&] { return which.condition.wait(lock, patience); };
    const auto woken = limited(me, "condition", patience, wait, is::cancellation_point, false);
    w.require(woken || !in.notified() || woken.error() != std::errc::timed_out, "a notification was lost", &me);
    w.require(lock.owns_lock() || w.ending, "a wait for a condition has not taken its mutex again", &me);
  }
  if (lock.owns_lock()) steps(me, {0, true}, d.next(), 1);
}
inline void do_mutex(record& me, place at, draws& d) {
  d.chance(50) ? use_monitor(the->local, me, at, d) : use_monitor(the->wide, me, at, d);
}

inline void do_once(record& me, place at, draws& d) {
  world& w = *the;
  const auto limit = d.time();
  const time_point end = std::max(w.now(), std::min(w.now() + limit, me.scope));
  bool ran = false;
  const auto done = awaiting(me, "once", is::cancellation_point, [&] {
    return w.once.call(limit, [&] {
      w.require(!w.once_running && !w.once.done(), "a once runs twice", &me);
      struct runs {
        runs() { the->once_running = true; }
        ~runs() { the->once_running = false; }
      } const now;
      ran = true;
      steps(me, {0, at.holding}, d.next(), 2);
    });
  });
  w.require(!done || ran || w.now() <= end, "a once was answered after its time limit", &me);
  w.require(!done || w.once.done(), "a once has ended and is not done", &me);
}

}  // namespace model
