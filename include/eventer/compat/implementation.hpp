// What EVENTER_ACO_IMPLEMENTATION makes of eventer_aco.h: the definitions of its functions, over the C++ layers.
// Included by one C++ file of a program.
//
// parts/ has the functions, a file for each section of eventer_aco.h; detail/ what several of them use.
#pragma once

#include "eventer/compat/eventer_aco.h"
#include "eventer/compat/parts/coroutines.hpp"
#include "eventer/compat/parts/events.hpp"
#include "eventer/compat/parts/gates.hpp"
#include "eventer/compat/parts/hash.hpp"
#include "eventer/compat/parts/io.hpp"
#include "eventer/compat/parts/jobs.hpp"
#include "eventer/compat/parts/log.hpp"
#include "eventer/compat/parts/main.hpp"
#include "eventer/compat/parts/names.hpp"
#include "eventer/compat/parts/time.hpp"

#ifdef EVENTER_ACO_WITH_LISTENERS
#include "eventer/compat/parts/acceptor.hpp"
#include "eventer/compat/parts/control_dispatch.hpp"
#include "eventer/compat/parts/listeners.hpp"
#endif
#ifdef EVENTER_ACO_WITH_HTTP
#include "eventer/compat/parts/http_session.hpp"
#include "eventer/compat/parts/rest.hpp"
#endif
