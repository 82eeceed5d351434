// make_default_reactor: this platform's reactor, epoll on Linux and kqueue elsewhere.
#pragma once

#if defined(__linux__)
#include "eventer/event/reactor/epoll.hpp"
#else
#include "eventer/event/reactor/kqueue.hpp"
#endif

namespace eventer::inline EVENTER_ABI {

inline std::unique_ptr<reactor> make_default_reactor() {
#if defined(__linux__)
  return make_epoll_reactor();
#else
  return make_kqueue_reactor();
#endif
}

}  // namespace eventer::inline EVENTER_ABI
