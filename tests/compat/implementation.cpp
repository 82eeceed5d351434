// The one file that implements the C interface for the tests.
#define EVENTER_ACO_IMPLEMENTATION
#include "eventer/compat/eventer_aco.h"
