// make_default_reactor: this platform's reactor, epoll on Linux and kqueue elsewhere.
#pragma once

#if defined(__linux__)
#include "eventer/event/reactor/epoll.hpp"
#endif
#if !defined(__linux__) || defined(EVENTER_TEST_KQUEUE)
#include <cstdlib>
#include <cstring>

#include "eventer/event/reactor/kqueue.hpp"
#endif

namespace eventer::inline EVENTER_ABI {

inline std::unique_ptr<reactor> make_default_reactor() {
#if defined(EVENTER_TEST_KQUEUE)
  // The library's own tests run everything with either reactor.
  if (const char* const name = std::getenv("EVENTER_REACTOR"); name != nullptr && std::strcmp(name, "kqueue") == 0)
    return make_kqueue_reactor();
#endif
#if defined(__linux__)
  return make_epoll_reactor();
#else
  return make_kqueue_reactor();
#endif
}

}  // namespace eventer::inline EVENTER_ABI
