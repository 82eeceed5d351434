/* A coroutine in C that sleeps and wakes up. It looks as if it blocked, and its thread serves everybody else meanwhile.
 *
 *   sleeper [MILLISECONDS [TIMES]]     2000, and for ever
 *
 * Compiles as C99 and as C++. */
#define _DEFAULT_SOURCE /* what C99 lacks: struct timeval, strncasecmp, sleep */
#include <stdlib.h>

#include "eventer/compat/eventer_aco.h"

static long times = -1;

static void my_coroutine(void) {
  struct timeval *sleep_time = (struct timeval *)eventer_aco_arg();
  while (times != 0) {
    mtev_aco_sleep(sleep_time);
    mtevL(mtev_error, "Waking up to do something\n");
    if (times > 0) times--;
  }
  free(sleep_time);
  exit(0);
  aco_exit();
}

static void calling_function(long milliseconds) {
  struct timeval *sleep_time = (struct timeval *)malloc(sizeof(*sleep_time));
  sleep_time->tv_sec = milliseconds / 1000;
  sleep_time->tv_usec = milliseconds % 1000 * 1000;
  eventer_aco_start(my_coroutine, sleep_time);
}

int main(int argc, char **argv) {
  const long milliseconds = argc > 1 ? atol(argv[1]) : 2000;
  if (argc > 2) times = atol(argv[2]);
  if (eventer_init() != 0) return 1;
  calling_function(milliseconds);
  eventer_loop();
  return 0;
}
