/* A REST handler in C that waits for a job: code that blocks runs on a job queue's thread, the handler seems to block, and other
 * requests go on meanwhile.
 *
 *   rest [FILE.toml]       curl http://127.0.0.1:8080/hello
 *
 * Compiles as C99 and as C++. */
#define _DEFAULT_SOURCE /* what C99 lacks: struct timeval, strncasecmp, sleep */
#include <unistd.h>

#include "eventer/compat/eventer_aco.h"

#define APPNAME "myapp"

static void asynch_hello(void *closure) {
  mtev_http_rest_closure_t *restc = (mtev_http_rest_closure_t *)closure;
  mtev_http_session_ctx *ctx = restc->http_ctx;
  sleep(1);
  mtev_http_response_append_str(ctx, "Hello world.\n");
}

static int hello_handler(mtev_http_rest_closure_t *restc, int npats, char **pats) {
  mtev_http_session_ctx *ctx = restc->http_ctx;
  (void)npats, (void)pats;
  mtev_http_response_ok(ctx, "text/plain");
  eventer_aco_simple_asynch(asynch_hello, restc);
  mtev_http_response_end(ctx);
  return 0;
}

/* One that answers at once, to see that it does while others wait. */
static int ping_handler(mtev_http_rest_closure_t *restc, int npats, char **pats) {
  (void)npats, (void)pats;
  mtev_http_response_ok(restc->http_ctx, "text/plain");
  mtev_http_response_append_str(restc->http_ctx, "pong\n");
  mtev_http_response_end(restc->http_ctx);
  return 0;
}

static int child_main(void) {
  mtev_rest_mountpoint_t *rule;
  if (mtev_conf_load(NULL) == -1) return 1;
  eventer_init();
  mtev_http_rest_init();
  mtev_listener_init(APPNAME);
  rule = mtev_http_rest_new_rule("GET", "/", "^hello$", hello_handler);
  if (rule == NULL) return 1;
  mtev_rest_mountpoint_set_aco(rule, mtev_true);
  if (mtev_http_rest_register("GET", "/", "^ping$", ping_handler) != 0) return 1;
  eventer_loop();
  return 0;
}

int main(int argc, char **argv) {
  return mtev_main(APPNAME, argc > 1 ? argv[1] : "myapp.toml", 0, 1, MTEV_LOCK_OP_NONE, NULL, NULL, NULL, child_main);
}
