/* Under libmtev's name: all of eventer_aco.h. */
#ifndef EVENTER_COMPAT_EVENTER_H
#define EVENTER_COMPAT_EVENTER_H
#include "../mtev_defines.h"
#endif
