// The one C++ file of a C program with WebSocket; link with -lre2 -lwslay.
#define EVENTER_ACO_IMPLEMENTATION
#define EVENTER_ACO_WITH_LISTENERS
#define EVENTER_ACO_WITH_HTTP
#define EVENTER_ACO_WITH_WEBSOCKET
#include "eventer/compat/eventer_aco.h"
