/* A classic event, a callback, that becomes a coroutine's: the first bytes of a connection are awaited the classic way, and
 * from then on its code reads from top to bottom. Prints the port it listens at; talk to it with nc.
 *
 * Compiles as C99 and as C++. */
#define _DEFAULT_SOURCE /* what C99 lacks: struct timeval, strncasecmp, sleep */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "eventer/compat/eventer_aco.h"

static void my_aco_process(void);

static int classic_callback(eventer_t e, int mask, void *c, struct timeval *now) {
  eventer_t copy;
  (void)mask, (void)c, (void)now;
  /* First it is removed from the eventer. */
  eventer_remove_fde(e);
  /* When this function returns 0 the event is freed, so a copy is needed. */
  copy = eventer_alloc_copy(e);
  /* It is to be a coroutine's event, but there is no coroutine yet. */
  eventer_aco_start(my_aco_process, copy);
  return 0;
}

static void my_aco_process(void) {
  eventer_t classic_e = (eventer_t)eventer_aco_arg();
  /* This is a coroutine, so the event can be converted. */
  eventer_aco_t e = eventer_set_eventer_aco(classic_e);
  char line[128];
  int got;
  while ((got = eventer_aco_read(e, line, sizeof(line), NULL)) > 0) {
    if (got >= 4 && !strncasecmp(line, "quit", 4)) break;
    if (eventer_aco_write(e, "you said: ", 10, NULL) < 0) break;
    if (eventer_aco_write(e, line, (size_t)got, NULL) < 0) break;
  }
  eventer_aco_close(e);
  eventer_aco_free(e);
  aco_exit();
}

static int on_connection(eventer_t e, int mask, void *c, struct timeval *now) {
  int fd;
  (void)c, (void)now;
  while ((fd = eventer_accept(e, NULL, NULL, &mask)) >= 0) {
    eventer_set_fd_nonblocking(fd);
    eventer_add(eventer_alloc_fd(classic_callback, NULL, fd, EVENTER_READ));
  }
  return EVENTER_READ | EVENTER_EXCEPTION;
}

int main(void) {
  struct sockaddr_in address;
  socklen_t size = sizeof(address);
  const int listening = socket(AF_INET, SOCK_STREAM, 0);
  memset(&address, 0, sizeof(address));
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (bind(listening, (struct sockaddr *)&address, size) != 0 || listen(listening, 64) != 0 ||
      getsockname(listening, (struct sockaddr *)&address, &size) != 0) {
    perror("listening on 127.0.0.1");
    return 1;
  }
  printf("port %d\n", ntohs(address.sin_port));
  fflush(stdout);
  eventer_set_fd_nonblocking(listening);
  if (eventer_init() != 0) return 1;
  eventer_add(eventer_alloc_fd(on_connection, NULL, listening, EVENTER_READ));
  eventer_loop();
  return 0;
}
