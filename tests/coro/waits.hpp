// Loops that copy coroutines away at each suspension, others that overwrite what those have left on the shared stack,
// and every kind of wait: for tests of what a coroutine keeps while it waits.
#pragma once

#include <atomic>
#include <cerrno>
#include <memory>
#include <mutex>
#include <thread>

#include "../plain_descriptors.hpp"
#include "eventer/eventer.hpp"

// One stack for all, copied at every suspension; in virtual time.
template <class Body>
void run_crowded(Body&& body, eventer::loop_options options = {}) {
  eventer::manual_clock clock;
  options.shared_stacks = 1;
  options.evict_always = true;
  options.clock = &clock;
  eventer::run(body, options);
}

// Starts one that takes its turn while the caller waits: it uses so much of the stack, changes errno, throws, and waits
// while it has caught.
template <std::size_t Bytes = 8192>
void disturb() {
  (void)eventer::spawn([] {
    volatile char bytes[Bytes];
    for (volatile char& each : bytes) each = 0x55;
    errno = EDOM;
    try {
      throw 1;
    } catch (int) {
      eventer::yield();
    }
  });
}

struct wait_kind {
  const char* name;
  void (*wait)();                 // suspends at least once, and others run meanwhile
  bool calls_the_kernel = false;  // so that errno may be what a call of its own has left
};

inline constexpr wait_kind every_wait[] = {
    {"yield",
     [] {
       disturb();
       eventer::yield();
     }},
    {"sleep",
     [] {
       disturb();
       eventer::sleep_for(std::chrono::hours(1));
     }},
    {"join",
     [] {
       eventer::spawn([] {
         disturb();
         eventer::yield();
       }).join();
     }},
    {"receive",
     [] {
       eventer::channel<int> numbers(0);
       disturb();
       (void)eventer::spawn([numbers]() mutable { (void)numbers.send(1); });
       (void)numbers.receive();
     }},
    {"send",
     [] {
       eventer::channel<int> numbers(0);
       disturb();
       (void)eventer::spawn([numbers]() mutable { (void)numbers.receive(); });
       (void)numbers.send(1);
     }},
    {"lock",
     [] {
       eventer::mutex taken;
       auto holder = eventer::spawn([taken]() mutable {
         const std::lock_guard held(taken);
         eventer::sleep_for(std::chrono::hours(1));
       });
       disturb();
       eventer::yield();
       taken.lock();
       taken.unlock();
       holder.join();
     }},
    {"readable",
     [] {
       const plain_pair ends = plain_pipe();
       disturb();
       (void)eventer::spawn([to = ends.peer.get()] { (void)!::write(to, "x", 1); });
       (void)eventer::await(eventer::readable(ends.ours.get()));
     },
     true},
    {"read",
     [] {
       auto ends = eventer::memory_stream_pair();
       disturb();
       (void)eventer::spawn([far = std::move(ends.far)]() mutable { (void)far.write_all("x"); });
       char byte;
       (void)ends.near.read_some({&byte, 1});
     },
     true},
    {"task",
     [] {
       const auto after_a_while = []() -> eventer::task<void> { co_await eventer::after(std::chrono::hours(1)); };
       disturb();
       eventer::await(after_a_while());
     }},
    {"another thread's answer",
     [] {
       eventer::shared_event answer;
       const auto waits = std::make_shared<std::atomic<bool>>(false);
       std::thread other([answer, waits]() mutable {
         waits->wait(false);
         answer.set();
       });
       (void)eventer::spawn([waits] {
         *waits = true;
         waits->notify_one();
       });
       disturb();
       answer.wait();
       other.join();
     },
     true},
    {"call_on_own_stack",
     [] {
       eventer::call_on_own_stack([] {
         disturb();
         eventer::yield();
       });
     }},
};
