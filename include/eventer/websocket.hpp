// WebSocket: router::websocket, serve_websocket, connect_websocket, websocket. See docs/websocket.md.
//
// Outside http.hpp because it needs wslay (Debian: libwslay-dev; link with -lwslay), beside what http.hpp needs.
#pragma once

#include "eventer/websocket/client.hpp"
#include "eventer/websocket/serve.hpp"
