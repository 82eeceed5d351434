// The HTTP server of the benchmark `http` as a program in C has it: a REST rule, serviced within a coroutine.
#define EVENTER_ACO_IMPLEMENTATION
#define EVENTER_ACO_WITH_LISTENERS
#define EVENTER_ACO_WITH_HTTP
#include "http_c_interface.hpp"

#include <eventer/compat/eventer_aco.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "servers.hpp"

namespace {

int hello_handler(mtev_http_rest_closure_t* restc, int, char**) {
  mtev_http_session_ctx* const ctx = restc->http_ctx;
  mtev_http_response_ok(ctx, "text/plain");
  (void)mtev_http_response_append_str(ctx, "Hello world.\n");
  (void)mtev_http_response_end(ctx);
  return 0;
}

int count_calls_here(eventer_t, int, void*, timeval*) {
  eventer::syscalls::fault_hook = [](eventer::syscalls::call) {
    bench::shared->system_calls.fetch_add(1, std::memory_order_relaxed);
    return 0;
  };
  bench::shared->port = mtev_listener_port("http_rest_api");
  return 0;
}

// A configuration file that is gone as soon as it is read.
std::string configuration() {
  char name[] = "/tmp/eventer-bench.XXXXXX";
  const int fd = ::mkstemp(name);
  bench::check(fd >= 0, "a temporary file");
  const std::string text =
      "[[listeners]]\ntype = \"http_rest_api\"\naddress = \"127.0.0.1\"\nport = 0\nmax_connections = 0\n";
  bench::check(::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()), name);
  ::close(fd);
  return name;
}

}  // namespace

[[noreturn]] void bench::serve_c_interface() {
  eventer_propset("concurrency", "1");
  mtev_log_stream_set_enabled(mtev_notice, mtev_false);
  bench::check(eventer_init() == 0, "eventer_init");
  const std::string file = configuration();
  bench::check(mtev_conf_load(file.c_str()) == 0, "mtev_conf_load");
  mtev_http_rest_init();
  mtev_rest_mountpoint_t* const rule = mtev_http_rest_new_rule("GET", "/", "^hello$", &hello_handler);
  bench::check(rule != nullptr, "the rule");
  mtev_rest_mountpoint_set_aco(rule, mtev_true);
  mtev_listener_init("bench");
  ::unlink(file.c_str());
  eventer_add_timer_next_opportunity(&count_calls_here, nullptr, eventer_choose_owner(0));
  eventer_loop();
  ::_exit(0);
}
