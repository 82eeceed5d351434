// Liveness, readiness and the stack report: what they answer, when, and in which form.
#include "eventer/http/health.hpp"

#include <string>
#include <vector>

#include "../catch.hpp"
#include "../virtual_run.hpp"
#include "eventer/http/diagnostics.hpp"
#include "json_client.hpp"

namespace http = eventer::http;
using namespace std::chrono_literals;

struct health_server {
  http::health state;
  http::server server;
};
static health_server make_health_server() {
  http::router routes;
  const http::health state;
  http::mount_liveness(routes);
  http::mount_readiness(routes, "/readyz", state);
  routes.get("/", [](http::request&, http::response& answer) { answer.text("hello\n"); });
  http::server server(std::move(routes));
  state.watch(server);
  return {state, server};
}

TEST_CASE("liveness and readiness are said as text, and as JSON to who asks for it") {
  eventer::run([] {
    const auto [state, server] = make_health_server();
    state.set_ready(false, "warming \"up\"");
    const struct {
      const char *target, *fields;
      int status;
      std::string body;
    } all[] = {
        {"/livez", "", 200, "alive\n"},
        {"/livez?format=json", "", 200, "{\"alive\":true}\n"},
        {"/readyz", "", 503, "not ready\nwarming \"up\"\n"},
        {"/readyz", "Accept: text/html, application/json;q=0.9\r\n", 503,
         "{\"ready\":false,\"reasons\":[\"warming \\\"up\\\"\"]}\n"},
        {"/readyz?format=text", "Accept: application/json\r\n", 503, "not ready\nwarming \"up\"\n"},
        {"/readyz", "Accept: */*\r\n", 503, "not ready\nwarming \"up\"\n"},
        {"/readyz", "Accept: application/jsonp\r\n", 503, "not ready\nwarming \"up\"\n"},
    };
    for (const auto& each : all) {
      CAPTURE(each.target, each.fields);
      const http_reply reply = ask(server, {.target = each.target, .fields = each.fields});
      CHECK(reply.status == each.status);
      CHECK(reply.body == each.body);
      CHECK(reply.field("Cache-Control") == "no-store");
      CHECK((reply.field("Content-Type") == "application/json") == (each.body[0] == '{'));
    }
    state.set_ready(true);
    CHECK(ask(server, {.target = "/readyz"}).status == 200);
    CHECK(ask(server, {.target = "/readyz?format=json"}).body == "{\"ready\":true,\"reasons\":[]}\n");
    CHECK(ask(server, {.target = "/readyz", .from = "10.0.0.1:1"}).status == 403);
    CHECK(ask(server, {.target = "/livez", .from = "10.0.0.1:1"}).status == 403);
  });
}

TEST_CASE("readiness depends on checks of every kind, which run beside each other and have their limits") {
  run_virtually([] {
    const http::health state;
    const auto began = std::make_shared<int>(0);
    const auto was_cancelled = std::make_shared<bool>(false);
    state.check("yes", [] { return true; });
    state.check("empty", [] { return std::string(); });
    state.check("code", [] { return std::error_code(); });
    state.check("result", []() -> eventer::io_result<int> { return 1; });
    state.check("nothing to tell", []() -> eventer::io_result<void> { return {}; });
    state.check("task", []() -> eventer::task<bool> { co_return true; });
    state.check("slow", [began] {
      ++*began;
      eventer::sleep_for(900ms);
      return true;
    });
    const eventer::time_point begin = eventer::event_loop::current().now();
    CHECK(state.reasons().empty());
    CHECK(*began == 1);
    state.check("no", [] { return false; });
    state.check("text", [] { return "the disk is full"; });
    state.check("bad code", [] { return std::make_error_code(std::errc::connection_refused); });
    state.check("bad result", []() -> eventer::io_result<int> { return eventer::errc::closed; });
    state.check("throws", []() -> bool { throw std::runtime_error("no route"); });
    state.check("throws anything", []() -> bool { throw 1; });
    state.check("bad task", []() -> eventer::task<bool> { co_return false; });
    state.check(
        "late",
        [was_cancelled] {
          try {
            eventer::sleep_for(1h);
          } catch (const eventer::cancelled&) {
            *was_cancelled = true;
            throw;
          }
          return true;
        },
        2s);
    const std::vector<std::string> reasons = state.reasons();
    const std::vector<std::string> expected = {"no: says no",
                                               "text: the disk is full",
                                               "bad code: Connection refused",
                                               "bad result: " + make_error_code(eventer::errc::closed).message(),
                                               "throws: no route",
                                               "throws anything: has thrown an exception",
                                               "bad task: says no",
                                               "late: no answer in time"};
    CHECK(reasons == expected);
    CHECK(eventer::event_loop::current().now() - begin == 2900ms);  // beside each other
    eventer::sleep_for(1ms);
    CHECK(*was_cancelled);
  });
}

TEST_CASE("a check that is asked for by a connection that ends is given up") {
  run_virtually([] {
    const auto ended = std::make_shared<bool>(false);
    const http::health state;
    state.check(
        "late",
        [ended] {
          struct at_end {
            bool& ended;
            ~at_end() { ended = true; }
          };
          const at_end told{*ended};
          eventer::sleep_for(1h);
          return true;
        },
        2h);
    auto asks = eventer::spawn([state] { (void)state.reasons(); });
    eventer::sleep_for(1s);
    CHECK_FALSE(*ended);
    asks.cancel();
    (void)asks.try_join();
    eventer::sleep_for(1ms);
    CHECK(*ended);
  });
}

TEST_CASE("a server that is to drain is not ready at once, and accepts until its notice is over") {
  run_virtually([] {
    const auto [state, server] = make_health_server();
    CHECK(ask(server, {.target = "/readyz"}).status == 200);
    auto drains = eventer::spawn([server = server] { return server.drain(10s, 1s, 5s); });
    eventer::sleep_for(4s);
    CHECK(server.draining());
    const http_reply reply = ask(server, {.target = "/readyz"});
    CHECK(reply.status == 503);
    CHECK(reply.body == "not ready\ndraining\n");
    CHECK(ask(server, {.target = "/livez"}).status == 200);
    CHECK(ask(server, {}).status == 200);
    CHECK(drains.join() == 0);
  });
}

TEST_CASE("during the notice new connections are accepted and live on, behind it none are") {
  eventer::run([] {
    const auto made = make_health_server();
    auto acceptor = eventer::tcp_acceptor::listen("127.0.0.1:0").value();
    const eventer::endpoint where = acceptor.local();
    auto serves = eventer::spawn([server = made.server, acceptor = std::move(acceptor)]() mutable {
      return server.serve(acceptor).has_value();
    });
    auto gives_notice = eventer::spawn([server = made.server] { return server.drain(10s, 0s, 1h); });
    while (!made.server.draining()) eventer::yield();
    auto client = eventer::tcp_stream::connect(where).value();
    for (const char* const path : {"/readyz", "/", "/livez"}) {
      CAPTURE(path);
      const http_reply reply = ask_on(client, path);
      CHECK(reply.status == (path == std::string("/readyz") ? 503 : 200));
      CHECK(reply.field("Connection").empty());
    }
    gives_notice.cancel();
    (void)gives_notice.try_join();
    CHECK(made.server.draining());  // what was said is said
    CHECK(made.server.drain(10s, 0s) == 0);
    CHECK(serves.join());
    CHECK(ask_on(client, "/").status == 0);
    CHECK_FALSE(eventer::tcp_stream::connect(where));
  });
}

TEST_CASE("a connection that is told of the drain is told so by readiness, also without watching the server") {
  run_virtually([] {
    http::router routes;
    http::mount_readiness(routes);
    const http::server server(std::move(routes));
    auto [near, far, link] = eventer::memory_stream_pair();
    eventer::any_stream served(std::move(far));
    served.announce_peer(eventer::endpoint::parse("127.0.0.1:1").value());
    served.file()->begin_draining();
    eventer::spawn([server, client = std::move(served)]() mutable { server(std::move(client)); });
    (void)near.write_all("GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n");
    std::string all;
    while (const auto got = near.read_borrowed()) all.append(got->data(), got->size());
    CHECK(parse_reply(all).status == 503);
    CHECK(parse_reply(all).body == "not ready\ndraining\n");
    CHECK(parse_reply(all).field("Connection") == "close");
  });
}

TEST_CASE("the stack report is shown as a table and as JSON, to this machine") {
  eventer::run([] {
    http::router routes;
    http::mount_stacks(routes);
    const http::server server(std::move(routes));
    auto parked = eventer::spawn({.name = "parked one"}, [] { eventer::sleep_for(1h); });
    eventer::yield();
    const http_reply text = ask(server, {.target = "/debug/stacks"});
    CHECK(text.status == 200);
    CHECK(text.field("Content-Type") == "text/plain; charset=utf-8");
    CHECK(text.body.starts_with("coroutine "));
    CHECK(text.body.find("parked one") != std::string::npos);
    for (const http_question& each :
         {http_question{.target = "/debug/stacks?format=json"},
          http_question{.target = "/debug/stacks", .fields = "Accept: application/json\r\n"}}) {
      const http_reply json = ask(server, each);
      CHECK(json.field("Content-Type") == "application/json");
      CHECK(json.body.starts_with("{\"loops\":[{\"rows\":["));
      CHECK(json.body.ends_with("]}\n"));
      CHECK(json.body.find("\"name\":\"parked one\"") != std::string::npos);
    }
    CHECK(ask(server, {.target = "/debug/stacks", .from = "10.0.0.1:1"}).status == 403);
    parked.cancel();
    (void)parked.try_join();
  });
}

TEST_CASE("the stack report of a pool has every loop that answers") {
  eventer::loop_pool pool(2);
  const http::stacks_handler handler(pool);
  http::router routes;
  http::mount_stacks(routes, "/stacks", handler);
  const http::server server(std::move(routes));
  std::string text, json, late;
  pool.start();
  text = pool[0].spawn([server] { return ask(server, {.target = "/stacks"}).body; }).join();
  json = pool[1].spawn([server] { return ask(server, {.target = "/stacks?format=json"}).body; }).join();
  pool.stop();
  pool.join();
  eventer::run([&] { late = ask(server, {.target = "/stacks?format=json"}).body; });
  CHECK(text.starts_with("loop 0\ncoroutine "));
  CHECK(text.find("\nloop 1\ncoroutine ") != std::string::npos);
  CHECK(json.find("},{\"rows\":[") != std::string::npos);
  CHECK(late == "{\"loops\":[null,null]}\n");  // they do not run
}
