// Classic events: who may make and end them and from where, timers and their rhythm, each_turn, exceptions, and what
// keeps run() from returning. What is special to watch is in watch_test.cpp.
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "../captured_log.hpp"
#include "../catch.hpp"
#include "../plain_descriptors.hpp"
#include "../reactors.hpp"
#include "eventer/eventer.hpp"

using namespace std::chrono_literals;
using eventer::event;
using eventer::event_loop;
using eventer::io_mask;
using eventer::manual_clock;
using eventer::time_point;

namespace {

// One event, and how often it was called.
struct subject {
  event_loop& loop;
  bool ends_itself = true;
  plain_pair pair = plain_socket_pair();
  event handle{};
  int calls = 0;
  std::shared_ptr<int> token = std::make_shared<int>(0);  // the callable holds it
};

// Each is called a second after it was made (each_turn: in the next turn), and ends itself then.
struct kind {
  const char* name;
  event (*make)(subject&);
};
const kind kinds[] = {
    {"at", [](subject& s) { return s.loop.at(s.loop.now() + 1s, [&s, held = s.token] { ++s.calls; }); }},
    {"after", [](subject& s) { return s.loop.after(1s, [&s, held = s.token] { ++s.calls; }); }},
    {"every",
     [](subject& s) {
       return s.loop.every(1s, [&s, held = s.token] {
         ++s.calls;
         if (s.ends_itself) s.handle.cancel();
       });
     }},
    {"watch",
     [](subject& s) {
       s.loop.after(1s, [&s] { give(s.pair.peer, "x"); });
       return s.loop.watch(s.pair.ours.get(), io_mask::read, [&s, held = s.token](io_mask) {
         ++s.calls;
         return io_mask::none;
       });
     }},
    {"each_turn",
     [](subject& s) {
       return s.loop.each_turn([&s, held = s.token] {
         ++s.calls;
         if (s.ends_itself) s.handle.cancel();
       });
     }},
};

// Where a program may call the loop from.
struct place {
  const char* name;
  void (*run)(event_loop&, std::function<void()>);
};
const place places[] = {
    {"outside the running loop", [](event_loop&, std::function<void()> what) { what(); }},
    {"a posted function", [](event_loop& loop, std::function<void()> what) { loop.post(std::move(what)); }},
    {"a timer", [](event_loop& loop, std::function<void()> what) { loop.after(0s, std::move(what)); }},
    {"a watch",
     [](event_loop& loop, std::function<void()> what) {
       const auto pair = std::make_shared<plain_pair>(plain_socket_pair());
       loop.watch(pair->ours.get(), io_mask::write, [pair, what](io_mask) {
         what();
         return io_mask::none;
       });
     }},
    {"each turn",
     [](event_loop& loop, std::function<void()> what) {
       loop.each_turn([what, done = false]() mutable {
         if (!std::exchange(done, true)) what();
       });
     }},
    {"a coroutine", [](event_loop& loop, std::function<void()> what) { (void)loop.spawn(std::move(what)); }},
    {"another thread before the loop runs",
     [](event_loop&, std::function<void()> what) { std::thread(std::move(what)).join(); }},
    {"another thread while the loop runs",
     [](event_loop& loop, std::function<void()> what) { loop.post([what] { std::thread(what).join(); }); }},
};

template <class Test>
void for_each_kind_and_place(Test&& test) {
  for (const kind& what : kinds)
    for (const place& where : places) DYNAMIC_SECTION(what.name << ", " << where.name) {
        test(what, where);
      }
}

}  // namespace

EVENT_TEST("an event can be made anywhere, is called, and run returns after its end") {
  for_each_kind_and_place([](const kind& what, const place& where) {
    manual_clock time;
    event_loop loop(tested_reactor::options({.clock = &time}));
    subject s{loop};
    loop.after(1h, [] {});  // keeps the loop for an each_turn
    where.run(loop, [&] { s.handle = what.make(s); });
    loop.run();
    CHECK(s.calls == 1);
    CHECK_FALSE(s.handle.active());
    CHECK(s.token.use_count() == 1);  // the callable is destroyed, although the handle is still there
  });
}

EVENT_TEST("an event can be cancelled anywhere, and is not called after that") {
  for_each_kind_and_place([](const kind& what, const place& where) {
    manual_clock time;
    event_loop loop(tested_reactor::options({.clock = &time}));
    subject s{loop, false};
    int before = 0;
    s.handle = what.make(s);
    const auto cancel = [&] {
      before = s.calls;
      s.handle.cancel();
      CHECK_FALSE(s.handle.active());
      s.handle.cancel();  // twice is harmless
      s.handle.set_interest(io_mask::read);
      s.handle = event();
    };
    loop.after(500ms, [&] { where.run(loop, cancel); });
    loop.after(1h, [] {});
    loop.run();
    CHECK(s.calls == before);
    CHECK(s.token.use_count() == 1);
    CHECK(loop.stats().timers == 0);
  });
}

EVENT_TEST("an event that was cancelled before the loop heard of it is never called") {
  for (const kind& what : kinds) {
    DYNAMIC_SECTION(what.name) {
      manual_clock time;
      event_loop loop(tested_reactor::options({.clock = &time}));
      subject s{loop};
      std::thread([&] {
        s.handle = what.make(s);
        s.handle.cancel();
        s.handle = event();
      }).join();
      loop.run();
      CHECK(s.calls == 0);
      CHECK(s.token.use_count() == 1);
    }
  }
}

EVENT_TEST("dropping the handle leaves the event running") {
  for (const kind& what : kinds) {
    if (std::string_view(what.name) == "every" || std::string_view(what.name) == "each_turn") continue;
    DYNAMIC_SECTION(what.name) {
      manual_clock time;
      event_loop loop(tested_reactor::options({.clock = &time}));
      subject s{loop};
      (void)what.make(s);
      loop.run();
      CHECK(s.calls == 1);
      CHECK(s.token.use_count() == 1);
    }
  }
}

EVENT_TEST("a callable may own the object that holds its own event: it goes when the event ends") {
  struct connection {
    std::shared_ptr<int> token;
    plain_pair pair = plain_socket_pair();
    event handle{};
  };
  const auto token = std::make_shared<int>(0);
  manual_clock time;
  event_loop loop(tested_reactor::options({.clock = &time}));
  {
    const auto make = [&] { return std::make_shared<connection>(connection{token}); };
    const auto by_answer = make(), by_cancel = make(), once = make(), ticking = make(), turning = make();
    by_answer->handle = loop.watch(by_answer->pair.ours.get(), io_mask::read, [self = by_answer](io_mask) {
      return take(self->pair.ours) == "x" ? io_mask::none : io_mask::read;
    });
    give(by_answer->pair.peer, "x");
    by_cancel->handle = loop.watch(by_cancel->pair.ours.get(), io_mask::write, [self = by_cancel](io_mask) {
      self->handle.cancel();
      return io_mask::write;
    });
    once->handle = loop.after(1s, [self = once] { (void)self; });
    ticking->handle = loop.every(1s, [self = ticking] { self->handle.cancel(); });
    turning->handle = loop.each_turn([self = turning] { self->handle.cancel(); });
    CHECK(token.use_count() == 6);
  }
  loop.run();
  CHECK(token.use_count() == 1);
}

namespace {

// Eight events that are all due in one batch. Whichever is called first ends the others by `end`.
struct crowd {
  static constexpr std::size_t size = 8;

  explicit crowd(event_loop& here) : loop(here), pairs(size), handles(size), calls(size) {
    for (plain_pair& each : pairs) each = plain_socket_pair();
  }
  void called(std::size_t index) {
    ++calls[index];
    if (first == size) {
      first = index;
      end(*this);
    }
  }
  int all_calls() const {
    int sum = 0;
    for (const int each : calls) sum += each;
    return sum;
  }

  event_loop& loop;
  std::vector<plain_pair> pairs;
  std::vector<event> handles;
  std::vector<int> calls;
  std::size_t first = size;
  std::function<void(crowd&)> end = [](crowd&) {};
  std::shared_ptr<int> token = std::make_shared<int>(0);
};

struct batch {
  const char* name;
  event (*make)(crowd&, std::size_t index);
};
const batch batches[] = {
    {"timers at the same time",
     [](crowd& all, std::size_t i) {
       return all.loop.at(all.loop.now(), [&all, i, held = all.token] { all.called(i); });
     }},
    {"repeated timers",
     [](crowd& all, std::size_t i) { return all.loop.every(1s, [&all, i, held = all.token] { all.called(i); }); }},
    {"watches of readable sockets",
     [](crowd& all, std::size_t i) {
       give(all.pairs[i].peer, "x");
       return all.loop.watch(all.pairs[i].ours.get(), io_mask::read, [&all, i, held = all.token](io_mask) {
         all.called(i);
         return io_mask::read;
       });
     }},
    {"watches of devices that are always ready",
     [](crowd& all, std::size_t i) {
       all.pairs[i].ours = plain_open("/dev/null", O_RDWR);
       return all.loop.watch(all.pairs[i].ours.get(), io_mask::read, [&all, i, held = all.token](io_mask) {
         all.called(i);
         return io_mask::read;
       });
     }},
    {"called each turn",
     [](crowd& all, std::size_t i) { return all.loop.each_turn([&all, i, held = all.token] { all.called(i); }); }},
};

struct removal {
  const char* name;
  void (*end)(crowd&);
};
void cancel_one(crowd& all, std::size_t index) {
  all.handles[index].cancel();
  all.handles[index] = event();  // nothing but the loop may hold it now
}
const removal removals[] = {
    {"itself last",
     [](crowd& all) {
       for (std::size_t i = 0; i < crowd::size; ++i)
         if (i != all.first) cancel_one(all, i);
       cancel_one(all, all.first);
     }},
    {"itself first",
     [](crowd& all) {
       cancel_one(all, all.first);
       for (std::size_t i = 0; i < crowd::size; ++i) cancel_one(all, i);
     }},
    {"itself first, then backwards",
     [](crowd& all) {
       cancel_one(all, all.first);
       for (std::size_t i = crowd::size; i-- > 0;) cancel_one(all, i);
     }},
    {"and throws",
     [](crowd& all) {
       for (std::size_t i = 0; i < crowd::size; ++i) cancel_one(all, i);
       throw std::runtime_error("after the removal");
     }},
};

}  // namespace

EVENT_TEST("what a callback removes from its own batch, itself included, is not called any more") {
  for (const batch& which : batches) {
    for (const removal& how : removals) {
      DYNAMIC_SECTION(which.name << ", " << how.name) {
        manual_clock time(manual_clock::when_idle::wait);
        event_loop loop(tested_reactor::options({.clock = &time}));
        crowd all(loop);
        all.end = how.end;
        for (std::size_t i = 0; i < crowd::size; ++i) all.handles[i] = which.make(all, i);
        time.advance(1s);
        for (int i = 0; i < 5; ++i) {
          try {
            loop.poll();
          } catch (const std::runtime_error&) {
          }
        }
        CHECK(all.first < crowd::size);
        CHECK(all.all_calls() == 1);
        CHECK(all.token.use_count() == 1);
        loop.run();
      }
    }
  }
}

EVENT_TEST("a callback that throws ends run, but not its event nor the rest of its batch") {
  for (const batch& which : batches) {
    DYNAMIC_SECTION(which.name) {
      manual_clock time(manual_clock::when_idle::wait);
      event_loop loop(tested_reactor::options({.clock = &time}));
      crowd all(loop);
      const bool once = &which == &batches[0];
      all.end = [](crowd&) { throw std::runtime_error("from a callback"); };
      for (std::size_t i = 0; i < crowd::size; ++i) all.handles[i] = which.make(all, i);
      time.advance(1s);
      int thrown = 0;
      for (int i = 0; i < 5; ++i) {
        try {
          loop.poll();
        } catch (const std::runtime_error& failure) {
          CHECK(std::string(failure.what()) == "from a callback");
          ++thrown;
        }
      }
      CHECK(thrown == 1);
      for (std::size_t i = 0; i < crowd::size; ++i) {
        CAPTURE(i);
        CHECK(all.calls[i] >= 1);
        CHECK(all.handles[i].active() == !once);
      }
      time.advance(1s);
      for (int i = 0; i < 3; ++i) loop.poll();
      if (!once) CHECK(all.calls[all.first] >= 2);
      for (event& each : all.handles) each.cancel();
      loop.run();
    }
  }
}

EVENT_TEST("an exception out of run leaves the loop and its coroutines usable") {
  manual_clock time;
  event_loop loop(tested_reactor::options({.clock = &time}));
  std::string order;
  loop.after(2s, [] { throw std::runtime_error("two"); });
  (void)loop.spawn([&order] {
    eventer::sleep_for(1s);
    order += '1';
    eventer::sleep_for(2s);
    order += '3';
  });
  loop.after(4s, [&order] { order += '4'; });
  CHECK_THROWS_WITH(loop.run(), "two");
  CHECK(order == "1");
  loop.run();
  CHECK(order == "134");
}

EVENT_TEST("timers are called at their times, in the order of these") {
  manual_clock time;
  event_loop loop(tested_reactor::options({.clock = &time}));
  const time_point start = time.now();
  std::vector<std::pair<int, eventer::duration>> calls;
  const auto note = [&](int which) { return [&, which] { calls.emplace_back(which, time.now() - start); }; };
  loop.at(start + 3s, note(3));
  loop.after(1s, note(1));
  loop.after(1500us, note(0));
  loop.at(start + 2s + 1ns, note(2));
  loop.run();
  CHECK(calls == std::vector<std::pair<int, eventer::duration>>{{0, 1500us}, {1, 1s}, {2, 2s + 1ns}, {3, 3s}});
}

EVENT_TEST("times that have passed fire once and at once, those beyond the clock never") {
  manual_clock time;
  event_loop loop(tested_reactor::options({.clock = &time}));
  const time_point start = time.now();
  int passed = 0, never = 0;
  for (const time_point when : {time_point::min(), time_point(), start - 1s, start}) loop.at(when, [&] { ++passed; });
  for (const eventer::duration limit :
       {eventer::duration::min(), eventer::duration(-1h), eventer::duration(-1), eventer::duration(0)})
    loop.after(limit, [&] { ++passed; });
  event endless[] = {loop.at(eventer::no_deadline, [&] { ++never; }),
                     loop.after(eventer::duration::max(), [&] { ++never; }),
                     loop.every(eventer::duration::max(), [&] { ++never; })};
  loop.after(1s, [&] {
    CHECK(passed == 8);
    for (event& each : endless) {
      CHECK(each.active());
      each.cancel();
    }
  });
  loop.run();
  CHECK(passed == 8);
  CHECK(never == 0);
  CHECK(time.now() == start + 1s);
}

EVENT_TEST("every keeps its rhythm: ticks that were missed are one tick") {
  manual_clock time;
  event_loop loop(tested_reactor::options({.clock = &time}));
  const time_point start = time.now();
  std::vector<eventer::duration> ticks;
  event ticker = loop.every(10s, [&] {
    ticks.push_back(time.now() - start);
    if (ticks.size() == 1) time.advance(35s);  // a callback that takes long
    if (ticks.size() == 3) time.advance(10s);  // exactly until the next one is due
    if (ticks.size() == 6) ticker.cancel();
  });
  loop.run();
  CHECK(ticks == std::vector<eventer::duration>{10s, 45s, 50s, 60s, 70s, 80s});
}

EVENT_TEST("a period that no clock has room for twice ticks once") {
  manual_clock time;
  event_loop loop(tested_reactor::options({.clock = &time}));
  int ticks = 0;
  event ticker = loop.every(eventer::duration::max() / 3 * 2, [&] { ++ticks; });
  (void)loop.spawn([&] {
    eventer::sleep_for(eventer::duration::max() / 4 * 3);
    ticker.cancel();
  });
  loop.run();
  CHECK(ticks == 1);
}

EVENT_TEST("a period of zero or less is refused") {
  event_loop loop(tested_reactor::options());
  for (const eventer::duration period : {eventer::duration(0), eventer::duration(-1), eventer::duration::min()})
    CHECK_THROWS_AS(loop.every(period, [] {}), std::system_error);
  loop.run();
}

EVENT_TEST("each_turn is called once in every turn, and wakes nobody") {
  event_loop loop(tested_reactor::options());
  std::uint64_t calls = 0;
  event each = loop.each_turn([&calls] { ++calls; });
  loop.run();  // it does not keep the loop
  CHECK(calls == 0);
  for (int i = 0; i < 5; ++i) loop.poll();
  CHECK(calls == 5);
  const auto before = loop.stats().turns - calls;
  const eventer::work_guard guard(loop);
  loop.after(20ms, [&loop] { loop.stop(); });
  loop.run();
  CHECK(loop.stats().turns - before == calls);
  CHECK(calls < 5 + 10);  // it slept meanwhile
  CHECK(each.active());
  each.cancel();
  loop.poll();
  CHECK(loop.stats().turns - before == calls + 1);
}

EVENT_TEST("an each_turn that is made in a turn is called from the next one on") {
  event_loop loop(tested_reactor::options());
  int outer = 0, inner = 0;
  loop.each_turn([&] {
    if (++outer == 1) loop.each_turn([&] { ++inner; });
  });
  for (int i = 0; i < 3; ++i) loop.poll();
  CHECK(outer == 3);
  CHECK(inner == 2);
}

namespace {

// What may keep a loop, and how that ends. Virtual time tells when run() has returned.
struct keeper {
  const char* name;
  void (*put)(event_loop&);
  eventer::duration until;
};
const keeper keepers[] = {
    {"nothing", [](event_loop&) {}, 0s},
    {"each_turn", [](event_loop& loop) { loop.each_turn([] {}); }, 0s},
    {"after", [](event_loop& loop) { loop.after(1s, [] {}); }, 1s},
    {"at, cancelled earlier",
     [](event_loop& loop) {
       const auto late = std::make_shared<event>(loop.after(9s, [] {}));
       loop.after(2s, [late] { late->cancel(); });
     },
     2s},
    {"every, until it cancels itself",
     [](event_loop& loop) {
       const auto self = std::make_shared<event>();
       *self = loop.every(1s, [held = std::weak_ptr(self), keep = self, ticks = 0]() mutable {
         if (++ticks < 3) return;
         held.lock()->cancel();
         keep = nullptr;
       });
     },
     3s},
    {"watch, until its callback answers none",
     [](event_loop& loop) {
       const auto pair = std::make_shared<plain_pair>(plain_socket_pair());
       loop.watch(pair->ours.get(), io_mask::read, [pair](io_mask) { return io_mask::none; });
       loop.after(3s, [pair] { give(pair->peer, "x"); });
     },
     3s},
    {"watch for nothing, until it is cancelled",
     [](event_loop& loop) {
       const auto pair = std::make_shared<plain_pair>(plain_socket_pair());
       const auto watch =
           std::make_shared<event>(loop.watch(pair->ours.get(), io_mask::none, [](io_mask) { return io_mask::none; }));
       give(pair->peer, "x");
       loop.after(4s, [watch, pair] { watch->cancel(); });
     },
     4s},
    {"a coroutine that sleeps", [](event_loop& loop) { (void)loop.spawn([] { eventer::sleep_for(5s); }); }, 5s},
    {"a guard, with a timer that lets go of it",
     [](event_loop& loop) {
       const auto guard = std::make_shared<eventer::work_guard>(loop);
       loop.after(6s, [guard] {});
     },
     6s},
    {"what is posted by what is posted",
     [](event_loop& loop) { loop.post([&loop] { loop.post([&loop] { loop.after(1s, [] {}); }); }); }, 1s},
    {"stop, whatever there is",
     [](event_loop& loop) {
       loop.after(1s, [&loop] { loop.stop(); });
       loop.every(1h, [] {});
     },
     1s},
};

}  // namespace

EVENT_TEST("run returns as soon as nothing is left that it waits for, and not before") {
  for (const keeper& one : keepers) {
    for (const keeper& other : keepers) {
      if (std::string_view(one.name).starts_with("stop") || std::string_view(other.name).starts_with("stop")) continue;
      CAPTURE(one.name, other.name);
      manual_clock time;
      event_loop loop(tested_reactor::options({.clock = &time}));
      const time_point start = time.now();
      one.put(loop);
      other.put(loop);
      loop.run();
      CHECK(time.now() - start == std::max(one.until, other.until));
    }
  }
  manual_clock time;
  event_loop loop(tested_reactor::options({.clock = &time}));
  const time_point start = time.now();
  keepers[std::size(keepers) - 1].put(loop);
  loop.run();
  CHECK(time.now() - start == 1s);
}

EVENT_TEST("a loop that is destroyed with active events destroys each callable once, and calls none") {
  for (const kind& what : kinds) {
    for (const bool elsewhere : {false, true}) {
      DYNAMIC_SECTION(what.name << (elsewhere ? ", made by another thread and never begun" : "")) {
        event outlives;
        const auto token = std::make_shared<int>(0);
        {
          event_loop loop(tested_reactor::options());
          subject s{loop};
          s.token = token;
          const auto make = [&] {
            (void)what.make(s);  // its handle is dropped
            if (std::string_view(what.name) == "watch") s.pair = plain_socket_pair();
            outlives = what.make(s);
          };
          elsewhere ? std::thread(make).join() : make();
          CHECK(token.use_count() == 4);
        }
        CHECK(token.use_count() == 1);
        CHECK_FALSE(outlives.active());
        outlives.cancel();
        outlives.set_interest(io_mask::read);
      }
    }
  }
}

EVENT_TEST("a callable whose destructor ends its siblings and makes new events is no trouble at the loop's end") {
  struct meddler {
    event_loop* loop;
    std::vector<event>* all;
    std::shared_ptr<int> token;
    meddler(event_loop& here, std::vector<event>& events, std::shared_ptr<int> held)
        : loop(&here), all(&events), token(std::move(held)) {}
    meddler(meddler&& other) noexcept
        : loop(std::exchange(other.loop, nullptr)), all(other.all), token(std::move(other.token)) {}
    ~meddler() {
      if (loop == nullptr) return;
      for (event& each : *all) each.cancel();
      loop->after(1s, [held = token] {});
      loop->each_turn([held = token] {});
      loop->post([held = token] {});
    }
    void operator()() const {}
  };
  const auto token = std::make_shared<int>(0);
  std::vector<event> events;
  {
    event_loop loop(tested_reactor::options());
    for (int i = 0; i < 4; ++i) {
      events.push_back(loop.after(1s, meddler(loop, events, token)));
      events.push_back(loop.every(1s, meddler(loop, events, token)));
      events.push_back(loop.each_turn(meddler(loop, events, token)));
    }
    events.resize(6);  // of the others nobody but the loop knows
  }
  CHECK(std::none_of(events.begin(), events.end(), [](const event& each) { return each.active(); }));
}
