/* check-compat: c++ run
 * What a program in C uses of sections 0, 1.6 and 7: logging, hash tables, times, names, mtev_main. */
#define _POSIX_C_SOURCE 200809L /* strdup, which C99 lacks */
#include "mtev_conf.h"
#include "mtev_hash.h"
#include "mtev_log.h"
#include "mtev_main.h"
#include "mtev_memory.h"
#include "mtev_time.h"
#include "eventer/eventer.h"

struct owner {
  int before;
  mtev_hash_table table; /* by value */
  int after;
};

static char lines[1024];
static int evaluated;

static void keep(const char *stream, const char *line, size_t length) {
  size_t used = strlen(lines);
  snprintf(lines + used, sizeof lines - used, "%s|%.*s", stream, (int)length, line);
}

static int count(void) { return ++evaluated; }

static void test_log(void) {
  struct timeval when = {0, 0};
  mtev_log_set_writer(keep);
  mtevL(mtev_error, "plain\n");
  mtevL(mtev_notice, "%s %d\n", "with arguments", count());
  mtevLT(mtev_error, &when, "with a time\n");
  mtevAssert(evaluated == 1);
  mtevL(mtev_debug, "off %d\n", count());
  mtevL(NULL, "nobody's %d\n", count());
  mtevL(mtev_log_stream_find("debug/of/mine"), "off as well %d\n", count());
  mtevAssert(evaluated == 1);
  mtev_main_enable_log("debug/of");
  if (mtev_log_enabled(mtev_log_stream_findf("debug/%s/mine", "of"))) mtevL(mtev_log_stream_find("debug/of/mine"), "on\n");
  else mtevL(mtev_error, "not on\n");
  mtev_main_disable_log("debug/of");
  mtev_log_set_writer(NULL);
  mtevEvalAssert(strcmp(lines, "error|plain\nnotice|with arguments 1\nerror|with a time\ndebug/of/mine|on\n") == 0);
}

static void test_hash(void) {
  struct owner owner;
  mtev_hash_table empty = MTEV_HASH_EMPTY;
  mtev_hash_iter it = MTEV_HASH_ITER_ZERO, older = MTEV_HASH_ITER_ZERO;
  const char *text = NULL, *key = NULL;
  int length = 0, seen = 0;
  void *value = NULL;

  memset(&owner, 0, sizeof owner);
  owner.before = owner.after = 7;
  mtevAssert(mtev_hash_store(&owner.table, "one", strlen("one"), strdup("1")) == 1);
  mtevAssert(mtev_hash_store(&owner.table, "two", strlen("two"), strdup("2")) == 1);
  mtevAssert(mtev_hash_store(&owner.table, "one", strlen("one"), NULL) == 0);
  mtevAssert(mtev_hash_size(&owner.table) == 2 && owner.table.count == 2);
  mtevAssert(mtev_hash_retr_str(&owner.table, "two", 3, &text) && strcmp(text, "2") == 0);
  mtevAssert(mtev_hash_retrieve(&owner.table, "two", 3, &value) && value == text);
  mtevAssert(strcmp(mtev_hash_dict_get(&owner.table, "one"), "1") == 0);
  while (mtev_hash_adv(&owner.table, &it)) {
    mtevAssert(it.klen == 3 && (!memcmp(it.key.str, "one", 3) || !memcmp(it.key.str, "two", 3)));
    seen += atoi(it.value.str);
  }
  mtevAssert(seen == 3);
  while (mtev_hash_next(&owner.table, &older, &key, &length, &value)) seen += length;
  mtevAssert(seen == 9);
  mtev_hash_replace(&owner.table, "one", 3, strdup("3"), NULL, free);
  mtevAssert(mtev_hash_delete(&owner.table, "two", 3, NULL, free) == 1);
  mtev_hash_merge_as_dict(&empty, &owner.table);
  mtevAssert(strcmp(mtev_hash_dict_get(&empty, "one"), "3") == 0);
  mtev_hash_destroy(&empty, free, free);
  mtev_hash_destroy(&owner.table, NULL, free);
  mtevAssert(owner.before == 7 && owner.after == 7 && owner.table.count == 0);
}

static void test_time(void) {
  struct timeval a, b = {1, 600000}, difference;
  mtev_hrtime_t start = mtev_gethrtime();
  mtevAssert(mtev_gettimeofday(&a, NULL) == 0);
  add_timeval(a, b, &a);
  sub_timeval(a, b, &difference);
  mtevAssert(compare_timeval(difference, a) < 0);
  mtevAssert(sub_timeval_ms(a, difference) == 1600 && sub_timeval_d(a, difference) > 1.5);
  mtevAssert(mtev_now_ms() <= mtev_now_us() / 1000 && start <= mtev_gethrtime());
}

static int callback(eventer_t e, int mask, void *closure, struct timeval *now) {
  (void)e;
  (void)mask;
  (void)closure;
  (void)now;
  return 0;
}

static int child_main(void) {
  if (mtev_conf_load(NULL) == -1) return 1;
  test_log();
  test_hash();
  test_time();
  mtevAssert(eventer_name_callback("frame/callback", callback) == 0);
  mtevAssert(eventer_callback_for_name("frame/callback") == callback);
  mtevAssert(strcmp(eventer_name_for_callback(callback), "frame/callback") == 0);
  return 0;
}

int main(int argc, char **argv) {
  (void)argc;
  mtev_memory_init();
  mtev_main_eventer_config("concurrency", "2");
  return mtev_main("frame", argv[0], 0, 1, MTEV_LOCK_OP_NONE, NULL, NULL, NULL, child_main);
}
