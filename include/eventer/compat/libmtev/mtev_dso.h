/* Under libmtev's name: all of eventer_aco.h, in which EVENTER_ACO_LIBMTEV_STUBS stands for what this one is included for. */
#ifndef EVENTER_COMPAT_MTEV_DSO_H
#define EVENTER_COMPAT_MTEV_DSO_H
#include "mtev_defines.h"
#endif
