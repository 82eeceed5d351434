// The one C++ file of these C programs: what eventer_aco.h declares.
#define EVENTER_ACO_IMPLEMENTATION
#define EVENTER_ACO_WITH_LISTENERS
#define EVENTER_ACO_WITH_HTTP
#include "eventer/compat/eventer_aco.h"
