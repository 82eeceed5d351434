// What a loop says about itself: statistics and the stack report.
#include <sstream>
#include <vector>

#include "../captured_log.hpp"
#include "../catch.hpp"
#include "../child.hpp"
#include "../sockets.hpp"
#include "eventer/eventer.hpp"

using namespace std::chrono_literals;

namespace {

void named_function() { eventer::sleep_for(1h); }

const eventer::stack_report::row* find(const eventer::stack_report& report, const std::string& name) {
  for (const auto& row : report.rows)
    if (contains(row.name, name)) return &row;
  return nullptr;
}

}  // namespace

TEST_CASE("the statistics count coroutines, events, registrations and timers") {
  eventer::event_loop loop;
  const auto fresh = loop.stats();
  CHECK(fresh.coroutines == 0);
  CHECK(fresh.resumes == 0);
  CHECK(fresh.registrations == 0);
  (void)loop.spawn([] {
    auto& here = eventer::event_loop::current();
    auto pair = connected_pair();
    const auto registrations = here.stats().registrations;  // the client may have had to wait for its connection
    CHECK(registrations <= 1);
    auto reader = eventer::spawn([&here, registrations, server = std::move(pair.server)]() mutable {
      CHECK(read_text(server, 1h) == "x");
      CHECK(here.stats().registrations == registrations + 1);
    });
    eventer::yield();
    CHECK(here.stats().coroutines == 2);
    CHECK(here.stats().registrations == registrations + 1);
    CHECK(here.stats().timers == 1);
    CHECK(pair.client.write_all("x").has_value());
    reader.join();
    CHECK(here.stats().coroutines == 1);
    CHECK(here.stats().registrations == registrations);
    CHECK(here.stats().timers == 0);
  });
  loop.run();
  const auto after = loop.stats();
  CHECK(after.coroutines == 0);
  CHECK(after.resumes >= 4);
  CHECK(after.turns >= 1);
  CHECK(after.waits >= 1);
  CHECK(after.events >= 1);
  CHECK(after.stale_events == 0);
  CHECK(after.rebuilds == 0);
}

TEST_CASE("the stack report has a row per spawn name, else per entry function", "[shared-stack]") {
  eventer::event_loop loop({.shared_stacks = 1});
  (void)loop.spawn([] {
    std::vector<eventer::join_handle<void>> all;
    for (int i = 0; i < 10; ++i)
      all.push_back(eventer::spawn({.name = "reader"}, [] {
        char deep[600];
        asm volatile("" : : "r"(deep) : "memory");  // used, as far as the compiler knows, before and after
        eventer::sleep_for(1h);
        asm volatile("" : : "r"(deep) : "memory");
      }));
    for (int i = 0; i < 3; ++i) all.push_back(eventer::spawn(named_function));
    eventer::spawn({.name = "short"}, [] { eventer::yield(); }).join();
    eventer::sleep_for(1ms);
    eventer::event_loop::current().stop();
    for (auto& each : all) each.join();
  });
  loop.run();
  const auto report = loop.stacks();

  const auto* const reader = find(report, "reader");
  REQUIRE(reader != nullptr);
  CHECK(reader->alive == 10);
  CHECK(reader->spawned == 10);
  CHECK(reader->p50 >= 600);
  CHECK(reader->p99 >= reader->p50);
  CHECK(reader->max >= reader->p99);
  CHECK(reader->high_water_mark >= reader->max);
  CHECK(&report.rows.front() == reader);  // most living ones first
  const auto* const gone = find(report, "short");
  REQUIRE(gone != nullptr);
  CHECK(gone->alive == 0);
  CHECK(gone->spawned == 1);
  CHECK(gone->high_water_mark > 0);
  const auto* const function = find(report, "named_function");
  if (function != nullptr) CHECK(function->alive == 3);  // a local symbol has a name only where the linker keeps it
  CHECK(report.total.alive == loop.stats().coroutines);
  if (!loop.options().private_stacks) {
    CHECK(reader->swaps >= 9);
    CHECK(reader->bytes_copied >= 9 * 600);
    CHECK(reader->parked_bytes >= 9 * 600);
    CHECK(report.stacks.bytes_copied > 0);
    CHECK(report.shared_stacks == 1);
  }
}

TEST_CASE("the stack report prints as a table and as JSON, whatever the names are") {
  eventer::event_loop loop;
  (void)loop.spawn({.name = "says \"hello\\\"\n"},
                   [] { eventer::event_loop::current().stop(), eventer::sleep_for(1h); });
  loop.run();
  std::ostringstream out;
  out << loop.stacks();
  CHECK(out.str() == loop.stacks().to_string());
  CHECK(contains(out.str(), "coroutine"));
  CHECK(contains(out.str(), "alive"));
  CHECK(contains(out.str(), "says"));

  const std::string json = loop.stacks().to_json();
  CHECK(contains(json, R"({"rows":[{"name":"says \"hello\\\"\u000a","alive":1,"spawned":1,)"));
  int depth = 0;
  bool quoted = false, escaped = false;
  for (const char c : json) {
    CHECK(static_cast<unsigned char>(c) >= 0x20);
    if (escaped)
      escaped = false;
    else if (c == '\\')
      escaped = true;
    else if (c == '"')
      quoted = !quoted;
    else if (!quoted)
      depth += (c == '{' || c == '[') - (c == '}' || c == ']');
    REQUIRE(depth >= 0);
  }
  CHECK(depth == 0);
  CHECK_FALSE(quoted);
}

TEST_CASE("a loop that runs logs its resumes from when it is told to look at the log's level again") {
  const captured_log log;
  const auto ask = [](eventer::log_level level) {
    eventer::set_log_level(level);
    eventer::event_loop::current().look_at_log_again();
  };
  eventer::event_loop loop;
  std::size_t before = 0;
  std::size_t during = 0;
  (void)loop.spawn(eventer::spawn_options{.name = "talker"}, [&] {
    eventer::yield();
    before = log.count("resume \"talker\"");
    ask(eventer::log_level::debug);
    eventer::yield();
    during = log.count("resume \"talker\"");
    ask(eventer::log_level::warning);
    eventer::yield();
  });
  loop.run();
  CHECK(before == 0);
  CHECK(during == 1);
  CHECK(log.count("resume \"talker\"") == during);
  CHECK(log.count(" stack bytes") == during);
}
