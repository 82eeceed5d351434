// Runs a coroutine on a loop in virtual time: sleeps take no time, and end in their order.
#pragma once

#include <functional>

#include "eventer/eventer.hpp"

inline void run_virtually(const std::function<void()>& body) {
  eventer::manual_clock clock;
  eventer::run(body, {.clock = &clock});
}
