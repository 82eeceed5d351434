/* check-compat: c++ run
 * The fixed lines of a libmtev program's child_main, with its includes. */
#define EVENTER_ACO_LIBMTEV_STUBS
#include <mtev_capabilities_listener.h>
#include <mtev_conf.h>
#include <mtev_console.h>
#include <mtev_defines.h>
#include <mtev_dso.h>
#include <mtev_events_rest.h>
#include <mtev_heap_profiler.h>
#include <mtev_main.h>
#include <mtev_memory.h>
#include <mtev_stats.h>

static int runs;

static int child_main(void) {
  mtev_memory_init();
  if (mtev_conf_load(NULL) == -1) exit(-1);
  mtev_console_init("stubs");
  mtev_console_conf_init();
  mtev_capabilities_listener_init();
  mtev_events_rest_init();
  mtev_stats_rest_init();
  mtev_heap_profiler_rest_init();
  mtev_dso_init();
  mtev_dso_post_init();
  if (mtev_dso_load_failures() > 0) mtevStartupTerminate(mtev_error, "modules are missing\n");
  mtev_conf_write_log();
  mtev_conf_coalesce_changes(10);
  mtev_conf_watch_and_journal_watchdog(mtev_conf_write_log, NULL);
  return ++runs;
}

int main(int argc, char **argv) {
  const int answer = mtev_main("stubs", argv[argc - 1], 0, 1, MTEV_LOCK_OP_NONE, NULL, NULL, NULL, child_main);
  return answer == 1 && runs == 1 ? 0 : 1;
}
