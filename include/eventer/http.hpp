// HTTP/1.1 servers whose handlers are coroutines: router, server, request, response. See docs/http.md.
//
// What can be mounted ready-made has headers of its own, as a unit that includes them all takes a third longer to
// compile: http/metrics.hpp, http/health.hpp, http/diagnostics.hpp (a stack report), http/access_log.hpp.
//
// Outside eventer.hpp because it needs Boost.Beast (1.81, headers) and RE2 (-lre2). Requires: exceptions.
#pragma once

#include "eventer/http/server.hpp"
