// Everything of layers 0-5: coroutines on shared stacks, the event loop and the network. Needs libc, pthreads and the
// C++ library alone.
#pragma once

#include "eventer/base/config.hpp"
#include "eventer/coro/await.hpp"
#include "eventer/coro/coroutine.hpp"
#include "eventer/coro/deadline_scope.hpp"
#include "eventer/coro/task.hpp"
#include "eventer/coro/when.hpp"
#include "eventer/event/readiness.hpp"
#include "eventer/event/run.hpp"
#include "eventer/event/signal_set.hpp"
#include "eventer/net/memory_stream.hpp"
#include "eventer/net/resolver.hpp"
#include "eventer/net/tcp.hpp"
#include "eventer/net/udp.hpp"
#include "eventer/net/unix.hpp"
