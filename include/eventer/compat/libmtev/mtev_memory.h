/* Under libmtev's name: all of eventer_aco.h. */
#ifndef EVENTER_COMPAT_MTEV_MEMORY_H
#define EVENTER_COMPAT_MTEV_MEMORY_H
#include "mtev_defines.h"
#endif
