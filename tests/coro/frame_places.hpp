// Where the compiler puts the frames of C++20 coroutines that stackful ones await or start. clang puts one onto the
// stack of whoever makes it where it sees both its making and its end (-O1 and above); on a shared stack the loop would
// find other bytes there. Used by frames_test.cpp and, at each level of optimisation, by scripts/check-elision.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "../foreign_coroutines.hpp"
#include "eventer/eventer.hpp"
#include "promise_types.hpp"

namespace frame_places {

using namespace std::chrono_literals;
using eventer::operator co_await;

// What was found on a shared stack so far. For one thread.
inline std::vector<std::string> misplaced;

inline void look_at(const char* what, const void* place) {
  const auto* const here = eventer::scheduler::current();
  if (here != nullptr && here->stacks_in_use().contains(place)) misplaced.emplace_back(what);
}
// False, but the compiler does not know it: an awaiter that it sees to never suspend may lie anywhere.
inline bool unknown_false() noexcept {
  bool value = false;
  asm volatile("" : "+r"(value));
  return value;
}

// co_await probe{...}: looks at the frame of whoever awaits it, and at itself.
struct probe {
  const char* who;
  bool await_ready() const noexcept { return false; }
  bool await_suspend(std::coroutine_handle<> frame) const {
    look_at(who, frame.address());
    look_at(who, this);
    return unknown_false();
  }
  void await_resume() const noexcept {}
};
// Waits with an awaiter of the library's that looks at where it is while it is waited for.
struct watched_sleep {
  const char* who;
  bool waits = false;
  void block() { eventer::sleep_for(0ms); }
  bool advance(eventer::continuation& node) {
    look_at(who, this);
    look_at(who, &node);
    if (waits) return true;
    waits = true;
    auto& here = *eventer::scheduler::current();
    here.attach(node);
    here.arm(node, here.now());
    return false;
  }
  void result() const noexcept {}
};

// The body of each coroutine: a local that lives over the waits, a probe, a wait of the library's.
#define FRAME_PLACES_BODY(who)               \
  int number = 0;                            \
  frame_places::look_at(who, &number);       \
  co_await frame_places::probe{who};         \
  co_await frame_places::watched_sleep{who}; \
  frame_places::look_at(who, &number);       \
  ++number

inline lazy_task<int> lazy() {
  FRAME_PLACES_BODY("a lazy task");
  co_return number;
}
inline lazy_task<int> nested_lazy() {
  FRAME_PLACES_BODY("a lazy task that awaits one");
  co_return number + co_await lazy();
}
inline shared_task<int> shared() {
  FRAME_PLACES_BODY("a shared task");
  co_return number;
}
inline eventer::task<int> task() {
  FRAME_PLACES_BODY("a task");
  co_return number;
}
inline eventer::task<int> nested_task() {
  FRAME_PLACES_BODY("a task that awaits tasks");
  const int own = co_await task();
  const int foreign = co_await lazy();
  co_return number + own + foreign;
}
inline lazy_task<int> around_task() {
  FRAME_PLACES_BODY("a lazy task that awaits a task");
  co_return number + co_await task();
}
inline fire_and_forget forgotten(std::shared_ptr<int> to) {
  FRAME_PLACES_BODY("a coroutine that starts at once");
  *to = number;
}
inline with_allocator allocated(counting_allocator, std::shared_ptr<int> to) {
  FRAME_PLACES_BODY("a coroutine with an allocator");
  *to = number;
}
inline by_hand kept(std::shared_ptr<int> to) {
  FRAME_PLACES_BODY("a coroutine that its owner starts");
  *to = number;
}
inline generator<int> numbers() {
  // It runs on the coroutine that asks it, and may block there; nobody else knows its frame.
  for (int i = 1; i <= 3; ++i) {
    eventer::sleep_for(0ms);
    co_yield i;
  }
}

struct way {
  const char* name;
  bool (*right)();  // in a stackful coroutine; whether the right values came
};
// With these no frame may lie on a shared stack.
inline const way awaited[] = {
    {"await of a lazy task", [] { return eventer::await(lazy()) == 1; }},
    {"await of a lazy task that awaits one", [] { return eventer::await(nested_lazy()) == 2; }},
    {"await of a lazy task that awaits a task", [] { return eventer::await(around_task()) == 2; }},
    {"await of a shared task", [] { return eventer::await(shared()) == 1; }},
    {"await of a task", [] { return eventer::await(task()) == 1; }},
    {"await of a task that awaits tasks", [] { return eventer::await(nested_task()) == 3; }},
    {"await of a named task",
     [] {
       auto kept = task();
       eventer::yield();
       return eventer::await(std::move(kept)) == 1;
     }},
    {"spawn of a task", [] { return eventer::spawn(task()).join() == 1; }},
    {"spawn of a function that gives a task", [] { return eventer::spawn(nested_task).join() == 3; }},
    {"when_all of tasks",
     [] {
       const auto [one, two] = eventer::when_all(task(), nested_task());
       return one == 1 && two == 3;
     }},
    {"when_any of tasks", [] { return eventer::when_any(task(), eventer::after(1h)).index == 0; }},
    // Its handle is hidden from the compiler.
    {"a task that is started by hand",
     [] {
       auto one = task();
       one.handle().resume();
       while (!one.handle().done()) eventer::sleep_for(0ms);
       return true;
     }},
    {"a coroutine that starts at once",
     [] {
       const auto number = std::make_shared<int>(0);
       forgotten(number);
       while (*number == 0) eventer::sleep_for(0ms);
       return *number == 1;
     }},
    {"a coroutine with an allocator",
     [] {
       const auto number = std::make_shared<int>(0);
       const counting_allocator from;
       allocated(from, number);
       while (*number == 0) eventer::sleep_for(0ms);
       return from.of->allocated == 1 && from.of->freed == 1;
     }},
    {"a generator",
     [] {
       auto all = numbers();
       int sum = 0;
       while (const auto one = all.next()) sum += *one;
       return sum == 6;
     }},
};
// With these one may, and then the library stops with a sentence.
inline const way started_by_hand[] = {
    {"a coroutine that its owner starts and ends",
     [] {
       const auto number = std::make_shared<int>(0);
       auto one = kept(number);
       one.handle.resume();
       while (!one.handle.done()) eventer::sleep_for(0ms);
       return *number == 1;
     }},
    {"a lazy task that is started by hand",
     [] {
       auto one = lazy();
       one.start_by_hand();
       while (!one.done()) eventer::sleep_for(0ms);
       return true;
     }},
};
inline constexpr const char* sentence = "whose frame the compiler has put onto a shared stack";

// On a loop with one shared stack, whose bytes are copied away at every wait.
inline bool is_right(const way& which) {
  bool right = false;
  eventer::run([&right, &which] { right = which.right(); }, {.shared_stacks = 1, .evict_always = true});
  return right;
}

}  // namespace frame_places
