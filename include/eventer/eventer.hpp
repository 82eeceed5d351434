// Everything of layers 0-5: coroutines on shared stacks, the event loop and the network. Needs libc, pthreads and the
// C++ library alone.
#pragma once

#include "eventer/base/config.hpp"
#include "eventer/coro/await.hpp"
#include "eventer/coro/coroutine.hpp"
#include "eventer/event/readiness.hpp"
#include "eventer/event/run.hpp"
#include "eventer/net/tcp.hpp"
