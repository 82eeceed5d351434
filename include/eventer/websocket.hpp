// WebSocket over the HTTP server: router::websocket, serve_websocket, websocket. See docs/websocket.md.
//
// Outside http.hpp because it needs wslay (Debian: libwslay-dev; link with -lwslay).
#pragma once

#include "eventer/websocket/serve.hpp"
