/* Under libmtev's name: all of eventer_aco.h, and the libc headers that programs of libmtev have from it. */
#ifndef EVENTER_COMPAT_MTEV_DEFINES_H
#define EVENTER_COMPAT_MTEV_DEFINES_H

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "../eventer_aco.h"

#endif
