// Tests of the loop run with every reactor that this build has: EVENT_TEST instead of TEST_CASE, and TestType::options
// for the loop.
#pragma once

#include "catch.hpp"
#include "eventer/event/event_loop.hpp"
#include "eventer/event/reactor/epoll.hpp"
#include "eventer/event/reactor/kqueue.hpp"

struct with_epoll {
  static constexpr bool is_kqueue = false;
  static eventer::loop_options options(eventer::loop_options others = {}) {
    others.reactor = &eventer::make_epoll_reactor;
    return others;
  }
};
// clang's ThreadSanitizer has a close() of its own, which takes the place of the imitation's.
#if defined(EVENTER_TEST_KQUEUE) && !(defined(__clang__) && EVENTER_TSAN)
struct with_kqueue {
  static constexpr bool is_kqueue = true;
  static eventer::loop_options options(eventer::loop_options others = {}) {
    others.reactor = &eventer::make_kqueue_reactor;
    return others;
  }
};
#define EVENT_TEST(name) TEMPLATE_TEST_CASE(name, "[event]", with_epoll, with_kqueue)
#else
#define EVENT_TEST(name) TEMPLATE_TEST_CASE(name, "[event]", with_epoll)
#endif
