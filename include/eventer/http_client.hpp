// An HTTP/1.1 client whose calls read as if they blocked: http::get, http::post, http::client. See docs/http-client.md.
//
// Outside http.hpp, as servers need none of it, and it needs no RE2; but Boost.Beast (1.81, headers). For https include
// eventer/https_client.hpp in its place. Requires: exceptions.
#pragma once

#include "eventer/http/client.hpp"
