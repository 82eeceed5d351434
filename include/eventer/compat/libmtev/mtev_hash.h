/* Under libmtev's name: all of eventer_aco.h. */
#ifndef EVENTER_COMPAT_MTEV_HASH_H
#define EVENTER_COMPAT_MTEV_HASH_H
#include "mtev_defines.h"
#endif
