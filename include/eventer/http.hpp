// HTTP/1.1 servers whose handlers are coroutines: router, server, request, response. See docs/http.md.
//
// Outside eventer.hpp because it needs Boost.Beast (1.81, headers) and RE2 (-lre2). Requires: exceptions.
#pragma once

#include "eventer/http/server.hpp"
