/* check-compat: c++ run no-unwind-tables
 * eventer_stop(): every call of a coroutine answers -1 and ECANCELED, coroutines end, eventer_loop() returns. And aco_exit() where
 * frames can't be unwound. */
#define _DEFAULT_SOURCE /* usleep, which C99 lacks */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "eventer/compat/eventer_aco.h"

#define CROWD 100

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int canceled_reads, canceled_sleeps, exits, came_back;

static void count(int *which) {
  pthread_mutex_lock(&lock);
  ++*which;
  pthread_mutex_unlock(&lock);
}
static int count_of(const int *which) {
  int result;
  pthread_mutex_lock(&lock);
  result = *which;
  pthread_mutex_unlock(&lock);
  return result;
}

static void reads(void) {
  int *ends = (int *)eventer_aco_arg();
  eventer_aco_t e = eventer_set_eventer_aco(eventer_alloc_fd(NULL, NULL, ends[0], EVENTER_READ));
  char byte;
  if (eventer_aco_read(e, &byte, 1, NULL) == -1 && errno == ECANCELED) count(&canceled_reads);
  eventer_aco_close(e);
  eventer_aco_free(e);
}
static void sleeps(void) {
  struct timeval hour = {3600, 0};
  mtev_aco_sleep(&hour);
  count(&canceled_sleeps);
}
static void deep(int depth);
static void (*volatile deeper)(int) = deep; /* a call that no compiler sees through */
static void deep(int depth) {
  volatile char room[64];
  room[0] = (char)depth;
  if (depth > 0) {
    deeper(depth - 1);
  } else {
    struct timeval none = {0, 0};
    mtev_aco_sleep(&none);
    count(&exits);
    aco_exit();
  }
  count(&came_back);
  room[1] = room[0];
}
static void leaves(void) { deep(10); }

static void *stops(void *closure) {
  struct timeval grace = {60, 0};
  (void)closure;
  while (count_of(&exits) < CROWD) usleep(1000);
  return (void *)eventer_stop(&grace);
}

static int wrong(const char *what) {
  fprintf(stderr, "%s\n", what);
  return 1;
}

int main(void) {
  static int ends[CROWD][2];
  pthread_t stopper;
  void *left = NULL;
  int i;
  eventer_propset("concurrency", "2");
  eventer_propset("loop_side", "0"); /* as many as there are processors */
  if (eventer_init() != 0) return wrong("eventer_init");
  if (eventer_pool_concurrency(eventer_pool("side")) == 0) return wrong("a pool without loops");
  for (i = 0; i < CROWD; ++i) {
    if (pipe(ends[i]) != 0) return wrong("pipe");
    eventer_aco_start(reads, ends[i]);
    eventer_aco_start(sleeps, NULL);
    eventer_aco_start(leaves, NULL);
  }
  if (pthread_create(&stopper, NULL, stops, NULL) != 0) return wrong("pthread_create");
  eventer_loop();
  pthread_join(stopper, &left);
  if (left != NULL) return wrong("eventer_stop() has left coroutines");
  if (count_of(&canceled_reads) != CROWD) return wrong("reads that answered ECANCELED");
  if (count_of(&canceled_sleeps) != CROWD) return wrong("sleeps that ended");
  if (count_of(&exits) != CROWD || count_of(&came_back) != 0) return wrong("aco_exit()");
  if (eventer_allocations_current() != 0) return wrong("events are left");
  return 0;
}
