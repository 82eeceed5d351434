// What runs outside coroutines: posts, timers, and C++20 coroutines that nobody hosts.
#pragma once

#include "../../foreign_coroutines.hpp"
#include "coroutines.hpp"

namespace model {

inline void set_event() {
  ++the->event_sets;
  the->event_set_at = the->now();
  the->event.set();
}

inline void act(draws& d) {
  world& w = *the;
  switch (d.below(8)) {
    case 0:
      return set_event();
    case 1:
      return w.event.reset();
    case 2:
      if (w.room_for_more()) spawn(new_coroutine(nullptr, d, 1), d);
      return;
    case 3: {
      parcel p = w.new_parcel(nullptr);
      const std::uint32_t number = p.number;
      w.bounded.channel.try_send(p) ? w.sent(w.bounded, number) : w.refused(number);
      return;
    }
    case 4:
      if (auto p = w.bounded.channel.try_receive()) w.received(w.bounded, *p, nullptr);
      return;
    case 5:
      return cancel(w.any_coroutine(d));
    case 6:
      if (d.chance(80)) return;
      w.thrown_by_callback = w.new_failure();
      throw failure{token(), w.thrown_by_callback};
    default:
      if (d.chance(20)) w.stop();
  }
}

struct callback {
  std::uint64_t key;
  token content;
  struct counted {
    bool counts = true;
    counted() { ++the->posts_made; }
    counted(counted&& other) noexcept : counts(std::exchange(other.counts, false)) {}
    ~counted() { the->posts_destroyed += counts; }
  } once;
  bool called = false;
  void operator()() {
    content.look();
    the->require(!std::exchange(called, true), "a callback was called twice");
    the->require(!eventer::in_coroutine(), "a callback runs in a coroutine");
    the->note(nullptr, "callback");
    draws d(key);
    if (the->does(key)) act(d);
  }
};

// A C++20 coroutine that nobody hosts: it goes on on the loop's native stack.
inline fire_and_forget floats(std::uint64_t key) {
  ++the->floating;
  const token content;
  draws d(key);
  try {
    co_await eventer::after(d.time());
    if (auto p = co_await the->bounded.channel.async_receive(d.time())) the->received(the->bounded, *p, nullptr);
    if (auto p = co_await the->shared.channel.async_receive(d.time())) the->received(the->shared, *p, nullptr);
    if (co_await the->semaphore.async_acquire(1, d.time())) the->semaphore.release();
  } catch (const eventer::cancelled&) {
    the->require(the->ending, "a C++20 coroutine was cancelled");
  }
  content.look();
  --the->floating;
}

// --- steps ---

inline void do_post(record& me, place, draws& d) {
  the->note(&me, "post");
  the->loop->post(callback{d.next(), {}, {}});
}
inline void do_timer(record& me, place, draws& d) {
  the->note(&me, "timer");
  eventer::event made = the->loop->after(d.time(), callback{d.next(), {}, {}});
  if (d.chance(30))
    made.cancel();
  else if (d.chance(50))
    the->timers.push_back(std::move(made));
}
inline void do_stop(record& me, place, draws& d) {
  if (!d.chance(10)) return;
  the->note(&me, "stop");
  the->stop();
}

inline void do_float(record& me, place, draws& d) {
  the->note(&me, "floats");
  (void)floats(d.next());
}

}  // namespace model
