/* A listener whose connections are coroutines in C, each reading from top to bottom. What it listens at, and how long it
 * waits for a line, is in listen_to_me.toml.
 *
 *   listen_to_me [FILE.toml]
 *
 * Compiles as C99 and as C++. */
#define _DEFAULT_SOURCE /* what C99 lacks: struct timeval, strncasecmp, sleep */
#include <errno.h>
#include <stdlib.h>
#include <strings.h>

#include "eventer/compat/eventer_aco.h"

#define APPNAME "listen_to_me"

static void listen_to_me(void) {
  eventer_aco_t e = (eventer_aco_t)eventer_aco_arg();
  mtev_acceptor_closure_t *ac = (mtev_acceptor_closure_t *)eventer_aco_get_closure(e);
  const char *seconds = mtev_hash_dict_get(mtev_acceptor_closure_config(ac), "seconds");
  struct timeval tensec = {10, 0};
  if (seconds != NULL) tensec.tv_sec = atol(seconds);
  while (1) {
    int rv;
    char buff[128];
    rv = eventer_aco_read(e, buff, sizeof(buff), &tensec);
    if (rv == -1) {
      if (errno == ETIME) {
        eventer_aco_write(e, "bye!\n", 5, NULL);
      }
      break;
    }
    if (rv == 0) break; /* the other side has closed */
    if (rv >= 4 && !strncasecmp(buff, "quit", 4)) {
      eventer_aco_write(e, "quitter!\n", 9, NULL);
      break;
    }
    if (eventer_aco_write(e, "thanks!\n", 8, NULL) < 0) break;
  }
  eventer_aco_close(e);
  eventer_aco_free(e);
  /* Returning is as good as aco_exit(). */
}

static int child_main(void) {
  if (mtev_conf_load(NULL) == -1) return 1;
  eventer_init();
  mtev_listener_register_aco_function("listen_to_me", listen_to_me);
  mtev_listener_init(APPNAME);
  eventer_loop();
  return 0;
}

int main(int argc, char **argv) {
  return mtev_main(APPNAME, argc > 1 ? argv[1] : "listen_to_me.toml", 0, 1, MTEV_LOCK_OP_NONE, NULL, NULL, NULL, child_main);
}
