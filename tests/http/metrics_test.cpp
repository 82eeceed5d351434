// Numbers for Prometheus: the format, whose numbers they are, and who may see them.
#include "eventer/http/metrics.hpp"

#include <clocale>
#include <limits>
#include <string>
#include <vector>

#include "../captured_log.hpp"
#include "../catch.hpp"
#include "../virtual_run.hpp"
#include "json_client.hpp"

namespace http = eventer::http;
using namespace std::chrono_literals;
using eventer::metric_kind;
using eventer::metric_text;

// Every line of an exposition is a comment of one of two kinds, or a sample of the family that the comments name.
static void check_exposition(const std::string& text) {
  REQUIRE((text.empty() || text.back() == '\n'));
  std::string family;
  std::vector<std::string> seen;
  for (std::size_t at = 0; at < text.size();) {
    const std::string line = text.substr(at, text.find('\n', at) - at);
    CAPTURE(line);
    at += line.size() + 1;
    if (line.starts_with("# HELP ")) {
      family = line.substr(7, line.find(' ', 7) - 7);
      CHECK(std::find(seen.begin(), seen.end(), family) == seen.end());
      seen.push_back(family);
      CHECK(metric_text::is_name(family));
    } else if (line.starts_with("# TYPE ")) {
      CHECK(line.starts_with("# TYPE " + family + " "));
      CHECK((line.ends_with("counter") == family.ends_with("_total")));
    } else {
      CHECK(line.starts_with(family));
      CHECK(line.find_last_of(' ') + 1 < line.size());
    }
  }
}
static bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST_CASE("metric text escapes what stands in labels and help texts") {
  metric_text text;
  text.family("a", metric_kind::gauge, "back\\slash, \"quotes\" and\nlines");
  text.add(metric_text::label("name", "a\"b\\c\nd\re"), 1);
  CHECK(text.text() ==
        "# HELP a back\\\\slash, \"quotes\" and\\nlines\n# TYPE a gauge\na{name=\"a\\\"b\\\\c\\nd e\"} 1\n");
}

TEST_CASE("metric text writes numbers as the format has them, whatever the locale is") {
  const double infinity = std::numeric_limits<double>::infinity();
  const char* const before = std::setlocale(LC_NUMERIC, "de_DE.UTF-8");  // where it is there
  metric_text text;
  text.family("a", metric_kind::gauge, "");
  text.add("", 1.5);
  text.add("", infinity);
  text.add("", -infinity);
  text.add("", std::numeric_limits<double>::quiet_NaN());
  text.add("", std::numeric_limits<std::uint64_t>::max());
  text.add("", -1);
  text.add("", true);
  text.add("", eventer::duration(1500ms));
  if (before != nullptr) std::setlocale(LC_NUMERIC, "C");
  CHECK(text.text() ==
        "# HELP a \n# TYPE a gauge\na 1.5\na +Inf\na -Inf\na NaN\na 18446744073709551615\na -1\na 1\na 1.5\n");
}

TEST_CASE("a histogram's buckets count exactly, and the last one counts all") {
  eventer::duration_histogram times;
  for (const auto each : {0ns, 1023ns, 1024ns, 4095ns, 4096ns, 1000000ns}) times.record(each);
  times.record(100h);
  metric_text text;
  text.family("t", metric_kind::histogram, "x");
  text.add_histogram("queue=\"q\"", times);
  for (const char* const each :
       {"t_bucket{queue=\"q\",le=\"1.024e-06\"} 2\n", "t_bucket{queue=\"q\",le=\"4.096e-06\"} 4\n",
        "t_bucket{queue=\"q\",le=\"1.6384e-05\"} 5\n", "le=\"0.001048576\"} 6\n", "le=\"17.179869184\"} 6\n",
        "t_bucket{queue=\"q\",le=\"+Inf\"} 7\n", "t_count{queue=\"q\"} 7\n", "t_sum{queue=\"q\"} "}) {
    CAPTURE(each);
    CHECK(has(text.text(), each));
  }
  for (unsigned power = 0; power < 42; ++power) {
    CAPTURE(power);
    eventer::duration_histogram one;
    one.record(std::chrono::nanoseconds((std::int64_t{1} << power) - 1));
    one.record(std::chrono::nanoseconds(std::int64_t{1} << power));
    CHECK(one.count_below_power(power) == 1);
  }
}

TEST_CASE("metrics have the numbers of the loop, of queues, of the server and of the program") {
  eventer::run([] {
    const eventer::job_queue queue("q \"1\"");
    queue.run([] {});
    const http::metrics_handler numbers;
    http::router routes;
    http::mount_metrics(routes, "/metrics", numbers);
    const http::server server(std::move(routes));
    numbers.watch(queue).watch(eventer::job_queue::shared()).watch(server, "public");
    numbers.add("notes_total", "Notes.", [] { return 3u; }).add("warmth", "Degrees.", [] { return 36.6; });
    numbers.add("slow", "Waits.", [] {
      eventer::sleep_for(1ms);
      return 1;
    });
    (void)ask(server, {.target = "/metrics"});
    const http_reply reply = ask(server, {.target = "/metrics"});
    REQUIRE(reply.status == 200);
    CHECK(reply.field("Content-Type") == "text/plain; version=0.0.4; charset=utf-8");
    CHECK(reply.field("Cache-Control") == "no-store");
    check_exposition(reply.body);
    for (const char* const each :
         {"eventer_loop_coroutines{loop=\"current\"} ", "eventer_jobs_completed_total{queue=\"q \\\"1\\\"\"} 1\n",
          "eventer_jobs_queued{queue=\"blocking\"} 0\n",
          "eventer_job_run_seconds_bucket{queue=\"q \\\"1\\\"\",le=\"+Inf\"} 1\n",
          "eventer_http_requests_total{server=\"public\"} 1\n", "# TYPE notes_total counter\nnotes_total 3\n",
          "# TYPE warmth gauge\nwarmth 36.6\n", "slow 1\n"}) {
      CAPTURE(each);
      CHECK(has(reply.body, each));
    }
    CHECK(ask(server, {.method = "HEAD", .target = "/metrics"}).body.empty());
  });
}

TEST_CASE("a number of the program that fails is left out, and costs no other") {
  const captured_log log;
  eventer::run([] {
    http::metrics_handler numbers;
    numbers.add("good", "x", [] { return 1; });
    numbers.add("bad", "x", []() -> int { throw std::runtime_error("no such number"); });
    numbers.write([](metric_text& to) {
      to.family("half", metric_kind::gauge, "x");
      throw std::runtime_error("half of it");
    });
    numbers.add("better", "x", [] { return 2; });
    const std::string text = numbers.text();
    check_exposition(text);
    CHECK(has(text, "good 1\n"));
    CHECK(has(text, "better 2\n"));
    CHECK_FALSE(has(text, "bad"));
    CHECK_FALSE(has(text, "half"));
    for (const char* const name : {"", "1a", "a b", "a-b", "a{", "\xc3\xa4"}) {
      CAPTURE(name);
      CHECK_THROWS_AS(numbers.add(name, "x", [] { return 1; }), std::invalid_argument);
    }
  });
  CHECK(log.count("no such number") == 1);
  CHECK(log.count("half of it") == 1);
}

TEST_CASE("metrics have a row for every loop of a pool, and go without one that is held up") {
  const auto hold = std::make_shared<std::atomic<bool>>(true);
  const auto held = std::make_shared<std::atomic<bool>>(false);
  eventer::loop_pool pool(3);
  pool.start();
  std::string before, meanwhile;
  eventer::run([&] {
    http::metrics_handler numbers;
    numbers.watch(pool);
    before = pool[1].spawn([numbers] { return numbers.text(); }).join();
    pool[2].post([hold, held] {
      held->store(true);
      while (hold->load()) ::usleep(100);
    });
    while (!held->load()) eventer::yield();
    meanwhile = pool[1].spawn([numbers] { return numbers.text(); }).join();
    hold->store(false);
  });
  pool.stop();
  pool.join();
  check_exposition(before);
  check_exposition(meanwhile);
  for (const char* const loop : {"0", "1", "2"}) {
    CHECK(has(before, "eventer_loop_answers{loop=\"" + std::string(loop) + "\"} 1\n"));
    CHECK(has(before, "eventer_loop_turns_total{loop=\"" + std::string(loop) + "\"} "));
  }
  CHECK(has(meanwhile, "eventer_loop_answers{loop=\"1\"} 1\n"));
  CHECK(has(meanwhile, "eventer_loop_answers{loop=\"2\"} 0\n"));
  CHECK_FALSE(has(meanwhile, "eventer_loop_turns_total{loop=\"2\"}"));
}

// As service_monitor, which needs a service.
struct pretended_monitor {
  struct listener {
    std::string type = "lines", local = "127.0.0.1:7777";
    std::size_t open = 3;
    std::uint64_t accepted = 4, refused = 5, denied = 6, shed = 7, failed = 8;
  };
  std::vector<eventer::loop_stats> of_loops() const {
    if (is_stuck) eventer::shared_event().wait();  // for ever, or until the deadline_scope's end
    return {eventer::loop_stats{.turns = 1}, eventer::loop_stats{.turns = 2}};
  }
  std::vector<listener> of_listeners() const { return {listener()}; }
  bool is_stuck = false;
};

TEST_CASE("metrics have loops and listeners of a service") {
  run_virtually([] {
    http::metrics_handler numbers;
    numbers.watch(pretended_monitor());
    const std::string text = numbers.text();
    check_exposition(text);
    CHECK(has(text, "eventer_loop_turns_total{loop=\"1\"} 2\n"));
    CHECK(has(text, "eventer_connections_open{type=\"lines\",address=\"127.0.0.1:7777\"} 3\n"));
    CHECK_FALSE(has(text, "current"));
    http::metrics_handler stuck;
    stuck.watch(pretended_monitor{true});
    const std::string without_loops = stuck.text();
    check_exposition(without_loops);
    CHECK_FALSE(has(without_loops, "eventer_loop_"));
    CHECK(has(without_loops, "eventer_connections_failed_total"));
  });
}

TEST_CASE("a metrics handler does not keep the server that it watches and is mounted on") {
  eventer::run([] {
    const auto alive = std::make_shared<int>(0);
    const http::metrics_handler numbers;
    {
      http::router routes;
      http::mount_metrics(routes, "/metrics", numbers);
      routes.get("/", [alive](http::request&, http::response& answer) { answer.text(""); });
      const http::server server(std::move(routes));
      numbers.watch(server);
      CHECK(has(numbers.text(), "eventer_http_requests_total"));
    }
    CHECK(alive.use_count() == 1);
    CHECK_FALSE(has(numbers.text(), "eventer_http_requests_total"));
  });
}

TEST_CASE("metrics are for this machine alone, unless the route is opened") {
  eventer::run([] {
    http::router routes;
    http::mount_metrics(routes, "/closed");
    http::mount_metrics(routes, "/open").anywhere();
    http::mount_metrics(routes, "/network").anywhere().allow("10.0.0.0/8");
    http::mount_metrics(routes, "/both").allow("10.0.0.0/8");
    const http::server server(std::move(routes));
    const struct {
      const char *target, *from, *fields;
      int status;
    } all[] = {
        {"/closed", "127.0.0.1:1", "", 200},
        {"/closed", "[::1]:1", "", 200},
        {"/closed", "10.0.0.1:1", "", 403},
        {"/closed", "127.0.0.1:1", "X-Forwarded-For: 127.0.0.1\r\n", 403},
        {"/closed", "127.0.0.1:1", "Forwarded: for=127.0.0.1\r\n", 403},
        {"/closed", "127.0.0.1:1", "Via: 1.1 proxy\r\n", 403},
        {"/open", "192.0.2.1:1", "Via: 1.1 proxy\r\n", 200},
        {"/network", "10.1.2.3:1", "", 200},
        {"/network", "192.0.2.1:1", "", 403},
        {"/network", "127.0.0.1:1", "", 403},
        {"/both", "10.1.2.3:1", "", 403},  // both must hold: nothing is opened by an allow()
        {"/both", "127.0.0.1:1", "", 403},
    };
    for (const auto& each : all) {
      CAPTURE(each.target, each.from, each.fields);
      CHECK(ask(server, {.target = each.target, .fields = each.fields, .from = each.from}).status == each.status);
    }
  });
}
