// The same for programs that need coroutines, timers and job queues alone: no library is linked but pthreads.
#define EVENTER_ACO_IMPLEMENTATION
#include "eventer/compat/eventer_aco.h"
