// Tests of the loop run with every reactor that this build has: EVENT_TEST instead of TEST_CASE, and tested_reactor
// for what depends on which it is. Their bodies are compiled once: templates would be compiled for each.
#pragma once

#include <memory>

#include "catch.hpp"
#include "eventer/event/loop_options.hpp"
#include "eventer/event/reactor/epoll.hpp"
#include "eventer/event/reactor/kqueue.hpp"

// The reactor that the running test is to use.
struct tested_reactor {
  static inline eventer::reactor_factory factory = &eventer::make_epoll_reactor;

  static bool is_kqueue() { return factory != &eventer::make_epoll_reactor; }
  static eventer::syscalls::call waits_by() {
    return is_kqueue() ? eventer::syscalls::call::kevent : eventer::syscalls::call::epoll_wait;
  }
  static std::unique_ptr<eventer::reactor> make() { return factory(); }
  static eventer::loop_options options(eventer::loop_options others = {}) {
    others.reactor = factory;
    return others;
  }
};

struct with_epoll {
  static void select() { tested_reactor::factory = &eventer::make_epoll_reactor; }
};
// clang's ThreadSanitizer has a close() of its own, which takes the place of the imitation's.
#if defined(EVENTER_TEST_KQUEUE) && !(defined(__clang__) && EVENTER_TSAN)
struct with_kqueue {
  static void select() { tested_reactor::factory = &eventer::make_kqueue_reactor; }
};
#define TESTED_REACTORS with_epoll, with_kqueue
#else
#define TESTED_REACTORS with_epoll
#endif

#define REACTORS_TEST(name, tags)                   \
  static void TEST_BODY();                          \
  TEMPLATE_TEST_CASE(name, tags, TESTED_REACTORS) { \
    TestType::select();                             \
    TEST_BODY();                                    \
  }                                                 \
  static void TEST_BODY()
#define EVENT_TEST(name) REACTORS_TEST(name, "[event]")
