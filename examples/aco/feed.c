/* WebSocket in C: a client sends how many ticks it wants, and a thread that is no loop's sends them; anything that is no number is
 * an error, which ends the connection.
 *
 *   feed [FILE.toml]       ws://127.0.0.1:8081/feed, with the protocol "ticks"
 *
 * Compiles as C99 and as C++. */
#define _DEFAULT_SOURCE /* what C99 lacks: struct timeval, strncasecmp, usleep */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "eventer/compat/eventer_aco.h"

#define APPNAME "feed"
#define WEBSOCKET_TEXT 1

/* What a connection has asked for. The thread has a reference to the session, so that it may queue when the client has gone. */
typedef struct {
  mtev_http_session_ctx *ctx;
  int ticks;
} feed_t;

static void *send_ticks(void *closure) {
  feed_t *feed = (feed_t *)closure;
  char text[32];
  int i;
  for (i = 0; i < feed->ticks; i++) {
    int size = snprintf(text, sizeof(text), "tick %d", i);
    /* False: the connection is over. */
    if (!mtev_http_websocket_queue_msg(feed->ctx, WEBSOCKET_TEXT, (const unsigned char *)text, (size_t)size)) break;
    usleep(1000);
  }
  mtev_http_session_ref_dec(feed->ctx);
  free(feed);
  return NULL;
}

static int fail(mtev_http_session_ctx *ctx, const char *why) {
  mtev_http_websocket_queue_msg(ctx, WEBSOCKET_TEXT, (const unsigned char *)why, strlen(why));
  return -1;
}

static int feed_message(mtev_http_rest_closure_t *restc, int opcode, const unsigned char *msg, size_t len) {
  pthread_t thread;
  feed_t *feed;
  int ticks = atoi((const char *)msg); /* there is a NUL behind it */
  (void)len;
  if (opcode != WEBSOCKET_TEXT || ticks <= 0) return fail(restc->http_ctx, "how many ticks?");
  feed = (feed_t *)calloc(1, sizeof(*feed));
  if (feed == NULL) return fail(restc->http_ctx, "no memory");
  feed->ctx = restc->http_ctx;
  feed->ticks = ticks;
  mtev_http_session_ref_inc(feed->ctx);
  if (pthread_create(&thread, NULL, send_ticks, feed) != 0) {
    mtev_http_session_ref_dec(feed->ctx);
    free(feed);
    return fail(restc->http_ctx, "no thread");
  }
  pthread_detach(thread);
  return 0;
}

static int child_main(void) {
  if (mtev_conf_load(NULL) == -1) return 1;
  eventer_init();
  mtev_http_rest_init();
  mtev_listener_init(APPNAME);
  if (mtev_http_rest_websocket_register("/", "^feed$", "ticks", feed_message) != 0) return 1;
  eventer_loop();
  return 0;
}

int main(int argc, char **argv) {
  return mtev_main(APPNAME, argc > 1 ? argv[1] : "feed.toml", 0, 1, MTEV_LOCK_OP_NONE, NULL, NULL, NULL, child_main);
}
