// Rules of the C interface and how their handlers are called: matching, coroutines, floating, uploads, access lists,
// files.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <deque>
#include <thread>

#include "configured_listeners.hpp"
#include "rest_client.hpp"

using namespace rest_test;

namespace {

// Before the loops of the process are made, whichever test makes them.
const int pool_is_asked_for = eventer_propset("loop_rest_pool", "1");

}  // namespace

// --- the page's example ---

namespace {

struct held_job {
  once begun, may_end;
};
void asynch_hello(void* closure) {
  auto* const rest = static_cast<mtev_http_rest_closure_t*>(closure);
  held_job& job = of<held_job>(rest);
  job.begun.give();
  (void)job.may_end.wait();
  (void)mtev_http_response_append_str(rest->http_ctx, "Hello world.\n");
}
int hello_handler(mtev_http_rest_closure_t* rest, int, char**) {
  mtev_http_session_ctx* const ctx = rest->http_ctx;
  mtev_http_response_ok(ctx, "text/plain");
  eventer_aco_simple_asynch(asynch_hello, rest);
  (void)mtev_http_response_end(ctx);
  return 0;
}

}  // namespace

TEST_CASE("a handler in a coroutine waits for a job that appends, while other requests are answered") {
  held_job& job = kept<held_job>();
  rule("GET", "/page/", "^hello$", hello_handler, &job, true);
  rule("GET", "/page/", "^quick$", [](mtev_http_rest_closure_t* rest, int, char**) { return say(rest, "quick"), 0; });
  client slow, quick;
  REQUIRE(slow.send("GET /page/hello HTTP/1.1\r\nHost: a\r\n\r\n"));
  REQUIRE(job.begun.wait());
  CHECK(quick.get("/page/quick").body == "quick");
  job.may_end.give();
  const answer hello = slow.read();
  CHECK(hello.status == 200);
  CHECK(hello.body == "Hello world.\n");
  CHECK(hello.field("content-type") == "text/plain");
  CHECK(hello.field("content-length") == "13");
  CHECK_FALSE(hello.is_chunked);
}

// --- which rule ---

namespace {

int say_closure(mtev_http_rest_closure_t* rest, int npats, char** pats) {
  std::string text = static_cast<const char*>(rest->closure);
  for (int i = 0; i < npats; ++i) text.append("|").append(pats[i]);
  text.append("|").append(mtev_http_request_uri_str(mtev_http_session_request(rest->http_ctx)));
  say(rest, text);
  return 0;
}
void named(const char* method, const char* base, const char* expression, const char* name) {
  REQUIRE(mtev_http_rest_register_closure(method, base, expression, say_closure, const_cast<char*>(name)) == 0);
}

}  // namespace

TEST_CASE("the first rule that matches wins, below the longest base, on the decoded path, with captures") {
  named("GET", "/which/", "^a", "first");
  named("GET", "/which/", "^ab$", "second");
  named("GET", "/which/", "needle", "anywhere");
  named("GET", "/which/deep/", "^(\\d+)/([^/]*)(x)?$", "deep");
  named("PUT", "/which/deep/", "^put$", "put");
  named("POST", "/which/", "^a", "post");
  struct row {
    const char *request, *expected;
  };
  const row rows[] = {
      {"GET /which/ab", "200 first|/which/ab"},
      {"GET /which/has-needle-in-it", "200 anywhere|/which/has-needle-in-it"},
      {"GET /which/deep/7/b", "200 deep|7|b||/which/deep/7/b"},
      {"GET /which/deep/needle", "404"},  // only rules of the longest base are looked at
      {"GET /which/%61b", "200 first|/which/ab"},
      {"GET /which/deep/7/a%2Fb", "404"},  // the slash is one, decoded
      {"GET /which/deep/7/a%20b+c%2B", "200 deep|7|a b c+||/which/deep/7/a b c+"},
      {"GET /which/deep/../ab", "200 first|/which/ab"},
      {"GET /which/a%252e?x=y", "200 first|/which/a%2e"},
      {"GET /which/nothing", "404"},
      {"GET /elsewhere-altogether", "404"},
      {"POST /which/a", "200 post|/which/a"},
      {"DELETE /which/a", "405 GET, HEAD, POST"},
      {"OPTIONS /which/a", "204 GET, HEAD, POST"},
      {"GET /which/deep/put", "405 PUT"},
      {"HEAD /which/ab", "200 "},
  };
  client on_one_connection;
  for (const row& each : rows) {
    CAPTURE(each.request);
    const bool is_head = std::string_view(each.request).starts_with("HEAD");
    const answer got =
        on_one_connection.ask(each.request + " HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"s, is_head);
    std::string text = std::to_string(got.status);
    if (got.status == 200) text += " " + got.body;
    if (got.status == 204 || got.status == 405) text += " " + got.field("allow");
    CHECK(text == each.expected);
    if (is_head) CHECK(got.field("content-length") == "15");
  }
}

TEST_CASE("rules that can't be meant so are refused with a sentence") {
  const log_lines log;
  CHECK(mtev_http_rest_new_rule("GET", "/no/slash", "^x$", say_closure) == nullptr);
  CHECK(log.has("a mount begins and ends with a slash"));
  CHECK(mtev_http_rest_new_rule("GET", "/bad/", "(", say_closure) == nullptr);
  CHECK(mtev_http_rest_register("GET", "/bad/", "(a)\\1", say_closure) == -1);
  CHECK(log.has("neither back-references nor look-around"));
  CHECK(mtev_http_rest_register_auth("GET", "/bad/", "a(?!b)", say_closure, nullptr) == -1);
  client asks;
  CHECK(asks.get("/bad/w").status == 404);
}

TEST_CASE("a rule without a handler has an authorization, and is not found") {
  bool& may = kept<bool>();
  REQUIRE(mtev_http_rest_new_rule_auth_closure(
              "GET", "/bare/", "^x$", nullptr, nullptr, nullptr,
              [](mtev_http_rest_closure_t* rest, int, char**) { return of<bool>(rest) ? mtev_true : mtev_false; },
              &may) != nullptr);
  client asks;
  CHECK(asks.get("/bare/x").status == 403);
  may = true;
  CHECK(asks.get("/bare/x").status == 404);
}

#ifndef EVENTER_ACO_WITH_WEBSOCKET
TEST_CASE("a rule for WebSockets is refused where that part is not there") {
  const log_lines log;
  const auto on_message = [](mtev_http_rest_closure_t*, int, const unsigned char*, size_t) { return 0; };
  CHECK(mtev_http_rest_new_rule_auth_closure("GET", "/bad/", "^w$", nullptr, on_message, "chat", nullptr, nullptr) ==
        nullptr);
  CHECK(mtev_http_rest_websocket_register("/bad/", "^w$", "chat", on_message) == -1);
  CHECK(log.has("the program was built without WebSocket (EVENTER_ACO_WITH_WEBSOCKET)"));
}
#endif

TEST_CASE("a rule that is added while the server runs is served from then on, and can be changed") {
  client asks;
  CHECK(asks.get("/later/x").status == 404);
  mtev_rest_mountpoint_t* const added = rule("GET", "/later/", "^x$", say_closure, const_cast<char*>("one"));
  CHECK(asks.get("/later/x").body == "one|/later/x");
  mtev_rest_mountpoint_set_closure(added, const_cast<char*>("two"));
  CHECK(asks.get("/later/x").body == "two|/later/x");
  mtev_rest_mountpoint_set_handler(added, [](mtev_http_rest_closure_t* rest, int, char**) {
    say(rest, "three");
    return 0;
  });
  CHECK(asks.get("/later/x").body == "three");
  mtev_rest_mountpoint_set_auth(added, [](mtev_http_rest_closure_t*, int, char**) { return mtev_false; });
  CHECK(asks.get("/later/x").status == 403);
  mtev_rest_mountpoint_set_auth(added, nullptr);
  CHECK(asks.get("/later/x").status == 200);
}

TEST_CASE("the rules can be listed as JSON") {
  named("GET", "/listed/", "^a\"b\\d$", "x");
  mtev_http_rest_disclose_endpoints("/listed/", "^rules$");
  client asks;
  const answer got = asks.get("/listed/rules");
  CHECK(got.field("content-type") == "application/json");
  CHECK(got.body.find(R"({"method": "GET", "base": "/listed/", "expression": "^a\"b\\d$"})") != std::string::npos);
  CHECK(got.body.front() == '[');
}

// --- coroutines and classic handlers ---

TEST_CASE("a handler knows whether it may wait, and aco_exit ends one that may") {
  rule("GET", "/kind/", "^classic$", [](mtev_http_rest_closure_t* rest, int, char**) {
    say(rest, std::to_string(eventer_is_aco(nullptr)) + std::to_string(rest->aco_enabled) +
                  std::to_string(mtev_http_session_aco(rest->http_ctx)));
    return 0;
  });
  rule(
      "GET", "/kind/", "^aco$",
      [](mtev_http_rest_closure_t* rest, int, char**) {
        timeval no_time{0, 1000};
        eventer_aco_sleep(&no_time);
        const bool floats = mtev_http_connection_event_float(mtev_http_session_connection(rest->http_ctx)) != nullptr;
        say(rest, std::to_string(eventer_is_aco(nullptr)) + std::to_string(rest->aco_enabled) +
                      std::to_string(mtev_http_session_aco(rest->http_ctx)) + (floats ? "floats" : ""));
        aco_exit();
        return 0;
      },
      nullptr, true);
  client asks;
  CHECK(asks.get("/kind/classic").body == "000");
  CHECK(asks.get("/kind/aco").body == "111");
  CHECK(asks.get("/kind/classic").body == "000");
}

TEST_CASE("a handler that returns without an end is answered, and one that has said nothing with 500") {
  mtev_log_stream_set_enabled(mtev_debug, mtev_true);
  const log_lines log;
  for (const bool is_aco : {false, true}) {
    const char* const base = is_aco ? "/open/aco/" : "/open/classic/";
    rule(
        "GET", base, "^said$",
        [](mtev_http_rest_closure_t* rest, int, char**) {
          (void)mtev_http_response_status_set(rest->http_ctx, 201, "CREATED");
          (void)mtev_http_response_append_str(rest->http_ctx, "some");
          return 0;
        },
        nullptr, is_aco);
    rule(
        "GET", base, "^flushed$",
        [](mtev_http_rest_closure_t* rest, int, char**) {
          (void)mtev_http_response_status_set(rest->http_ctx, 202, "ACCEPTED");
          (void)mtev_http_response_flush(rest->http_ctx, mtev_false);
          return 0;
        },
        nullptr, is_aco);
    rule(
        "GET", base, "^nothing$", [](mtev_http_rest_closure_t*, int, char**) { return 0; }, nullptr, is_aco);
    rule(
        "GET", base, "^left$",
        [](mtev_http_rest_closure_t* rest, int, char**) {
          if (eventer_is_aco(nullptr) != mtev_false) aco_exit();
          say(rest, "");
          return 0;
        },
        nullptr, is_aco);
    client asks;
    const answer said = asks.get(base + "said"s);
    CHECK(said.status == 201);
    CHECK(said.body == "some");
    CHECK(asks.get(base + "flushed"s).status == 202);
    CHECK(asks.get(base + "nothing"s).status == 500);
    CHECK(asks.get(base + "left"s).status == (is_aco ? 500 : 200));
  }
  mtev_log_stream_set_enabled(mtev_debug, mtev_false);
  CHECK(log.has("debug: the handler of GET /open/classic/said has returned without mtev_http_response_end"));
}

TEST_CASE("a handler in C++ that throws is answered with 500") {
  const log_lines log;
  for (const bool is_aco : {false, true})
    rule(
        "GET", is_aco ? "/throws/aco/" : "/throws/classic/", "",
        [](mtev_http_rest_closure_t*, int, char**) -> int { throw std::runtime_error("bad"); }, nullptr, is_aco);
  client asks;
  CHECK(asks.get("/throws/aco/").status == 500);
  CHECK(asks.get("/throws/classic/").status == 500);
}

TEST_CASE("a handler that answers EVENTER_WRITE is called again when what it has said is sent") {
  struct left {
    int calls = 0;
  };
  rule("GET", "/again/", "", [](mtev_http_rest_closure_t* rest, int, char**) {
    if (rest->call_closure == nullptr) {
      rest->call_closure = new left();
      rest->call_closure_free = [](void* which) { delete static_cast<left*>(which); };
      mtev_http_response_ok(rest->http_ctx, "text/plain");
    }
    left& mine = *static_cast<left*>(rest->call_closure);
    (void)mtev_http_response_appendf(rest->http_ctx, "%d,", mine.calls);
    if (++mine.calls < 5) return EVENTER_WRITE | EVENTER_EXCEPTION;
    (void)mtev_http_response_end(rest->http_ctx);
    return 0;
  });
  client asks;
  CHECK(asks.get("/again/").body == "0,1,2,3,4,");
}

TEST_CASE("a rule's pool runs its handler, coroutines too") {
  eventer_pool_t* const pool = eventer_pool("rest_pool");
  { client has_started_the_loops; }
  eventer_pool_t* const found = pool != nullptr ? pool : eventer_pool("rest_pool");
  REQUIRE(found != nullptr);
  CHECK(pool_is_asked_for == 0);
  for (const bool is_aco : {false, true}) {
    const char* const base = is_aco ? "/pool/aco/" : "/pool/classic/";
    const auto answers = [](mtev_http_rest_closure_t* rest, int, char**) {
      int mask = 0;
      if (mtev_rest_complete_upload(rest, &mask) == mtev_false) return mask;
      int64_t size = 0;
      (void)mtev_http_request_get_upload(mtev_http_session_request(rest->http_ctx), &size);
      mtev_http_response_ok(rest->http_ctx, "text/plain");
      (void)mtev_http_response_appendf(rest->http_ctx, "%s %d %d ", eventer_get_thread_name(), static_cast<int>(size),
                                       eventer_is_aco(nullptr));
      const std::string more(300 << 10, 'x');
      for (int i = 0; i < 10; ++i) (void)mtev_http_response_append(rest->http_ctx, more.data(), more.size());
      (void)mtev_http_response_end(rest->http_ctx);
      return 0;
    };
    mtev_rest_mountpoint_set_eventer_pool(rule("POST", base, "", answers, nullptr, is_aco), found);
    client asks;
    REQUIRE(asks.send(post(base, some_bytes(40'000))));
    const answer got = asks.read_large(std::size_t{3000} << 10);
    const std::string begins = is_aco ? "e:rest_pool/0 40000 1 " : "e:rest_pool/0 40000 0 ";
    CHECK(got.body.substr(0, begins.size()) == begins);
    CHECK(got.body.size() == begins.size() + (std::size_t{3000} << 10));
    CHECK(asks.ask(post(base, "")).status == 200);
  }
}

// --- floating ---

namespace {

int end_of_float(mtev_http_rest_closure_t* rest, int, char**) {
  say(rest, static_cast<const char*>(rest->call_closure));
  return 0;
}
void let_float(mtev_http_rest_closure_t* rest, const char* text) {
  mtev_http_connection* const connection = mtev_http_session_connection(rest->http_ctx);
  if (const eventer_t event = mtev_http_connection_event_float(connection); event != nullptr)
    (void)eventer_remove_fde(event);
  rest->call_closure = const_cast<char*>(text);
  rest->fastpath = end_of_float;
}

// A thread that does what it is told.
class worker {
 public:
  explicit worker() : thread_([this] { run(); }) {}
  ~worker() {
    post(nullptr);
    thread_.join();
  }
  void post(mtev_http_session_ctx* ctx) {
    const std::lock_guard lock(mutex_);
    all_.push_back(ctx);
    changed_.notify_one();
  }
  // The same at once.
  void resume(mtev_http_session_ctx* ctx) {
    ++given_;
    mtev_http_session_resume_after_float(ctx);
  }
  int given() const noexcept { return given_; }

 private:
  void run() {
    for (;;) {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return !all_.empty(); });
      mtev_http_session_ctx* const next = all_.front();
      all_.pop_front();
      lock.unlock();
      if (next == nullptr) return;
      resume(next);
    }
  }
  std::atomic<int> given_{0};
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<mtev_http_session_ctx*> all_;
  std::thread thread_;
};

}  // namespace

TEST_CASE("a request floats until it is resumed, also where that came before its handler has returned") {
  struct floating {
    once floats;
    mtev_http_session_ctx* ctx = nullptr;
  };
  floating& later = kept<floating>();
  rule(
      "GET", "/float/", "^later$",
      [](mtev_http_rest_closure_t* rest, int, char**) {
        let_float(rest, "later");
        of<floating>(rest).ctx = rest->http_ctx;
        of<floating>(rest).floats.give();
        return 0;
      },
      &later);
  rule("GET", "/float/", "^before$", [](mtev_http_rest_closure_t* rest, int, char**) {
    let_float(rest, "before");
    std::thread([ctx = rest->http_ctx] { mtev_http_session_resume_after_float(ctx); }).join();
    return 0;
  });
  rule("GET", "/float/", "^by_connection$", [](mtev_http_rest_closure_t* rest, int, char**) {
    let_float(rest, "connection");
    mtev_http_connection_resume_after_float(mtev_http_session_connection(rest->http_ctx));
    return 0;
  });
  rule("GET", "/float/", "^triggered$", [](mtev_http_rest_closure_t* rest, int, char**) {
    let_float(rest, "triggered");
    const eventer_t event = mtev_http_connection_event(mtev_http_session_connection(rest->http_ctx));
    std::thread([event] { eventer_trigger(event, EVENTER_READ | EVENTER_WRITE); }).join();
    return 0;
  });
  const int64_t events_before = eventer_allocations_current();
  {
    client asks, other;
    REQUIRE(asks.send("GET /float/later HTTP/1.1\r\nHost: a\r\n\r\n"));
    REQUIRE(later.floats.wait());
    CHECK(other.get("/float/before").body == "before");
    mtev_http_session_resume_after_float(later.ctx);
    CHECK(asks.read().body == "later");
    CHECK(asks.get("/float/before").body == "before");
    CHECK(asks.get("/float/by_connection").body == "connection");
    CHECK(asks.get("/float/triggered").body == "triggered");
    CHECK(asks.get("/float/before").body == "before");
  }
  CHECK(eventer_allocations_current() <= events_before);  // one of an earlier test may have been ending
}

TEST_CASE("while a request floats 100,000 jobs run, each added by the COMPLETE of the one before") {
  struct chain {
    int left = EVENTER_ASAN || EVENTER_TSAN ? 10'000 : 100'000;
    static int next(eventer_t, int mask, void* closure, timeval*) {
      if (mask != EVENTER_ASYNCH_COMPLETE) return 0;
      auto* const rest = static_cast<mtev_http_rest_closure_t*>(closure);
      if (--of<chain>(rest).left > 0)
        eventer_add_asynch(nullptr, eventer_alloc_asynch(&next, rest));
      else
        mtev_http_session_resume_after_float(rest->http_ctx);
      return 0;
    }
  };
  rule(
      "GET", "/chain/", "",
      [](mtev_http_rest_closure_t* rest, int, char**) {
        if (of<chain>(rest).left == 0) {
          say(rest, "done");
          return 0;
        }
        (void)mtev_http_connection_event_float(mtev_http_session_connection(rest->http_ctx));
        eventer_add_asynch(nullptr, eventer_alloc_asynch(&chain::next, rest));
        return 0;
      },
      &kept<chain>());
  client asks;
  CHECK(asks.get("/chain/").body == "done");
}

TEST_CASE("10,000 resumes of one request, each before or behind its handler's return") {
  struct counted {
    worker resumes;
    int left = 10'000;
    int calls = 0, early = 0;
  };
  counted& all = kept<counted>();
  rule(
      "GET", "/often/", "",
      [](mtev_http_rest_closure_t* rest, int, char**) {
        counted& mine = of<counted>(rest);
        if (mine.calls++ != mine.resumes.given()) ++mine.early;
        if (mine.left == 0) {
          say(rest, "done");
          return 0;
        }
        (void)mtev_http_connection_event_float(mtev_http_session_connection(rest->http_ctx));
        if (--mine.left % 2 == 0)
          mine.resumes.post(rest->http_ctx);
        else
          mine.resumes.resume(rest->http_ctx);
        return 0;
      },
      &all);
  client asks;
  CHECK(asks.get("/often/").body == "done");
  CHECK(all.left == 0);
  CHECK(all.early == 0);
}

TEST_CASE("a thread that has the floating request may answer it to its end, and is not waited for then") {
  struct answering {
    once may_resume;
    std::thread thread{};
  };
  answering& mine = kept<answering>();
  rule(
      "GET", "/elsewhere/", "",
      [](mtev_http_rest_closure_t* rest, int, char**) {
        (void)mtev_http_connection_event_float(mtev_http_session_connection(rest->http_ctx));
        answering& here = of<answering>(rest);
        here.thread = std::thread([ctx = rest->http_ctx, &here] {
          mtev_http_response_ok(ctx, "text/plain");
          (void)mtev_http_response_append_str(ctx, "from there");
          (void)mtev_http_response_end(ctx);
          (void)here.may_resume.wait();
          mtev_http_session_resume_after_float(ctx);
        });
        return 0;
      },
      &mine);
  rule("GET", "/elsewhere/", "^next$", say_closure, const_cast<char*>("next"));
  client asks;
  CHECK(asks.get("/elsewhere/").body == "from there");
  CHECK(asks.get("/page/quick").status != 0);  // the connection goes on before the resume
  mine.may_resume.give();
  mine.thread.join();
}

TEST_CASE("a thread may end a floating request while what its handler has said is still being sent") {
  struct answering {
    once may_end, has_ended, may_resume;
    std::thread thread{};
    bool was_told = false;
  };
  answering& mine = kept<answering>();
  rule(
      "GET", "/beside/", "^$",
      [](mtev_http_rest_closure_t* rest, int, char**) {
        (void)mtev_http_connection_event_float(mtev_http_session_connection(rest->http_ctx));
        mtev_http_response_ok(rest->http_ctx, "text/plain");
        (void)mtev_http_response_append_str(rest->http_ctx, std::string(700'000, 'x').c_str());
        answering& here = of<answering>(rest);
        here.thread = std::thread([ctx = rest->http_ctx, &here] {
          (void)here.may_end.wait();
          (void)mtev_http_response_append_str(ctx, "end");
          (void)mtev_http_response_end(ctx);
          here.has_ended.give();
          here.was_told = here.may_resume.wait();
          mtev_http_session_resume_after_float(ctx);
        });
        return 0;
      },
      &mine);
  rule("GET", "/beside/", "^next$", say_closure, const_cast<char*>("next"));
  client asks({.buffer_bytes = 64 << 10});
  REQUIRE(asks.send("GET /beside/ HTTP/1.1\r\nHost: a\r\n\r\n"));
  REQUIRE(asks.more());  // it is being sent, and more than fits
  mine.may_end.give();
  CHECK(mine.has_ended.wait());
  CHECK(asks.read_large(700'000).body.size() == 700'003);
  CHECK(asks.get("/beside/next").status == 200);  // the connection goes on before the resume
  mine.may_resume.give();
  mine.thread.join();
  CHECK(mine.was_told);
}

TEST_CASE("a request that was answered elsewhere may be resumed through its event when its connection has gone") {
  struct answering {
    once may_resume;
    std::thread thread{};
    std::string name{};
    std::atomic<int> freed{0};
  };
  answering& mine = kept<answering>();
  rule(
      "GET", "/late/", "",
      [](mtev_http_rest_closure_t* rest, int, char**) {
        answering& here = of<answering>(rest);
        mtev_http_connection* const connection = mtev_http_session_connection(rest->http_ctx);
        const eventer_t event = mtev_http_connection_event_float(connection);
        rest->call_closure = &here;
        rest->call_closure_free = [](void* closure) { ++static_cast<answering*>(closure)->freed; };
        here.thread = std::thread([rest, event, &here] {
          say(rest, "late");
          (void)here.may_resume.wait();
          here.name = rest->remote_cn;
          eventer_trigger(event, EVENTER_READ | EVENTER_WRITE);
        });
        return 0;
      },
      &mine);
  {
    client asks({.common_name = "a name that is too long to be kept within its string"});
    CHECK(asks.get("/late/").body == "late");
    asks.close();
    asks.wait_for_server();
  }
  CHECK(mine.freed == 0);
  mine.may_resume.give();
  mine.thread.join();
  for (int i = 0; i < 5000 && mine.freed == 0; ++i) ::usleep(1000);  // the event's loop does it
  CHECK(mine.freed == 1);
  CHECK(mine.name == "a name that is too long to be kept within its string");
}

TEST_CASE(
    "what belongs to a request is freed once: at its end, or at the resume that its connection did not live to see") {
  struct counts {
    once floats;
    std::atomic<int> freed{0}, dispatched{0};
    std::atomic<bool> appended{true};
    mtev_http_session_ctx* ctx = nullptr;
  };
  const auto handler = [](mtev_http_rest_closure_t* rest, int, char**) {
    counts& mine = of<counts>(rest);
    if (mine.dispatched++ > 0) {
      mine.appended = mtev_http_response_append_str(rest->http_ctx, "nobody reads it") == mtev_true;
      (void)mtev_http_response_end(rest->http_ctx);
      return 0;
    }
    rest->call_closure = &mine;
    rest->call_closure_free = [](void* which) { ++static_cast<counts*>(which)->freed; };
    (void)mtev_http_connection_event_float(mtev_http_session_connection(rest->http_ctx));
    mine.ctx = rest->http_ctx;
    mine.floats.give();
    return 0;
  };
  SECTION("the client leaves") {
    counts& mine = kept<counts>();
    rule("GET", "/left/", "^client$", handler, &mine);
    client asks;
    REQUIRE(asks.send("GET /left/client HTTP/1.1\r\nHost: a\r\n\r\n"));
    REQUIRE(mine.floats.wait());
    asks.reset();
    CHECK(mine.freed == 0);
    mtev_http_session_resume_after_float(mine.ctx);
    asks.wait_for_server();
    CHECK(mine.dispatched == 2);
    CHECK(mine.freed == 1);
  }
  SECTION("the connection is cancelled") {
    counts& mine = kept<counts>();
    rule("GET", "/left/", "^cancelled$", handler, &mine);
    client asks;
    REQUIRE(asks.send("GET /left/cancelled HTTP/1.1\r\nHost: a\r\n\r\n"));
    REQUIRE(mine.floats.wait());
    asks.cancel_server();
    CHECK(mine.freed == 0);
    CHECK(mtev_http_response_append_str(mine.ctx, "too late") == mtev_false);
    CHECK(mtev_http_request_querystring(mtev_http_session_request(mine.ctx), "a") == nullptr);
    mtev_http_session_resume_after_float(mine.ctx);
    CHECK(mine.dispatched == 1);
    CHECK(mine.freed == 1);
  }
  SECTION("the program has a reference") {
    counts& mine = kept<counts>();
    rule(
        "GET", "/left/", "^held$",
        [](mtev_http_rest_closure_t* rest, int, char**) {
          counts& here = of<counts>(rest);
          rest->call_closure = &here;
          rest->call_closure_free = [](void* which) { ++static_cast<counts*>(which)->freed; };
          mtev_http_session_ref_inc(rest->http_ctx);
          here.ctx = rest->http_ctx;
          say(rest, "held");
          return 0;
        },
        &mine);
    client asks;
    CHECK(asks.get("/left/held").body == "held");
    asks.close();
    asks.wait_for_server();
    CHECK(mine.freed == 1);
    CHECK(mtev_http_request_uri_str(mtev_http_session_request(mine.ctx)) == "/left/held"s);
    CHECK(mtev_http_response_append_str(mine.ctx, "x") == mtev_false);
    CHECK(mtev_http_session_ref_dec(mine.ctx) == mtev_true);
    CHECK(mine.freed == 1);
  }
  SECTION("its handler cleans up") {
    counts& mine = kept<counts>();
    rule(
        "GET", "/left/", "^clean$",
        [](mtev_http_rest_closure_t* rest, int, char**) {
          rest->call_closure = rest->closure;
          rest->call_closure_free = [](void* which) { ++static_cast<counts*>(which)->freed; };
          mtev_http_rest_clean_request(rest);
          say(rest, std::to_string(of<counts>(rest).freed.load()));
          return 0;
        },
        &mine);
    client asks;
    CHECK(asks.get("/left/clean").body == "1");
    asks.close();
    asks.wait_for_server();
    CHECK(mine.freed == 1);
  }
}

// --- uploads ---

namespace {

std::string described(std::string_view bytes) {
  std::uint64_t sum = 14695981039346656037u;
  for (const char each : bytes) sum = (sum ^ static_cast<unsigned char>(each)) * 1099511628211u;
  return std::to_string(bytes.size()) + ":" + std::to_string(sum);
}
int take_upload(mtev_http_rest_closure_t* rest, int, char**) {
  int mask = 0;
  if (mtev_rest_complete_upload(rest, &mask) == mtev_false) return mask;
  int64_t size = 0;
  mtev_http_request* const asked = mtev_http_session_request(rest->http_ctx);
  const void* const bytes = mtev_http_request_get_upload(asked, &size);
  const std::string_view text(static_cast<const char*>(bytes), static_cast<std::size_t>(size));
  const bool is_right = mtev_http_request_payload_complete(asked) == mtev_true && text.data()[text.size()] == '\0' &&
                        mtev_http_request_content_length_read(asked) == text.size();
  say(rest, is_right ? described(text) : "wrong");
  return 0;
}
int consume_upload(mtev_http_rest_closure_t* rest, int, char**) {
  if (rest->call_closure == nullptr) {
    rest->call_closure = new std::string();
    rest->call_closure_free = [](void* which) { delete static_cast<std::string*>(which); };
  }
  std::string& taken = *static_cast<std::string*>(rest->call_closure);
  const auto piece = std::make_unique<char[]>(1000);
  for (;;) {
    int mask = 0;
    const int got = mtev_http_session_req_consume(rest->http_ctx, piece.get(), 1000, 1000, &mask);
    if (got == 0) break;
    if (got < 0) return errno == EAGAIN ? mask : 0;
    taken.append(piece.get(), static_cast<std::size_t>(got));
  }
  say(rest, described(taken));
  return 0;
}
std::string in_pieces(client& to, const std::string& request, std::size_t piece) {
  for (std::size_t at = 0; at < request.size(); at += piece)
    if (!to.send(std::string_view(request).substr(at, piece))) return "not sent";
  return to.read().body;
}

}  // namespace

TEST_CASE("uploads of all sizes arrive, plain and in coroutines, with a length and in chunks") {
  for (const bool is_aco : {false, true}) {
    rule("POST", is_aco ? "/up/aco/" : "/up/classic/", "^whole$", take_upload, nullptr, is_aco);
    rule("POST", is_aco ? "/up/aco/" : "/up/classic/", "^consumed$", consume_upload, nullptr, is_aco);
  }
  for (const std::string target : {"/up/classic/whole", "/up/aco/whole", "/up/classic/consumed", "/up/aco/consumed"}) {
    CAPTURE(target);
    client asks;
    for (std::size_t chunk = 1; chunk <= 10; ++chunk) {
      const std::string body = some_bytes(chunk * 5 + chunk / 2);
      CHECK(in_pieces(asks, post_chunks(target, in_chunks(body, chunk)), 1) == described(body));
    }
    CHECK(in_pieces(asks, post(target, some_bytes(33)), 1) == described(some_bytes(33)));
    std::size_t wrong = 0;
    const auto try_size = [&](std::size_t size) {
      const std::string body = some_bytes(size), expected = described(body);
      wrong += asks.ask(post(target, body)).body != expected;
      wrong += asks.ask(post_chunks(target, in_chunks(body, size < 5 ? size + 1 : size / 3))).body != expected;
    };
    for (std::size_t size = 32'684; size <= 32'704; ++size) try_size(size);
    for (std::size_t size = 1 << 10; size <= 1 << 20; size *= 4) try_size(size);
    try_size(0);
    try_size(1);
    CHECK(wrong == 0);
  }
}

TEST_CASE("an upload that is too large gets 413, one that is cut off frees what it has, and a broken one gets 400") {
  for (const bool is_aco : {false, true}) {
    const char* const base = is_aco ? "/limit/aco/" : "/limit/classic/";
    rule("POST", base, "", take_upload, nullptr, is_aco);
    {
      client asks;
      CHECK(asks.ask("POST "s + base + " HTTP/1.1\r\nHost: a\r\nContent-Length: 1048577\r\n\r\nx").status == 413);
    }
    {
      client asks;
      (void)asks.send(post_chunks(base, in_chunks(some_bytes((1 << 20) + 1), 50'000)));
      CHECK(asks.read().status == 413);
    }
    {
      client asks;
      CHECK(asks.ask(post_chunks(base, "5\r\nabcdeX")).status == 400);
    }
    {
      client asks;
      REQUIRE(asks.send("POST "s + base + " HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc"));
      asks.close();
      asks.wait_for_server();
    }
  }
  // What is consumed piece by piece has no limit.
  rule("POST", "/limit/", "^consumed$", consume_upload);
  client asks;
  const std::string body = some_bytes(3 << 20);
  CHECK(asks.ask(post("/limit/consumed", body)).body == described(body));
}

TEST_CASE("the older form of uploads, and an upload of the program's own") {
  rule("POST", "/raw/", "^old$", [](mtev_http_rest_closure_t* rest, int, char**) {
    int mask = 0, complete = 0, size = 0;
    const void* const bytes = rest_get_raw_upload(rest, &mask, &complete, &size);
    if (complete == 0) return mask;
    say(rest, described({static_cast<const char*>(bytes), static_cast<std::size_t>(size)}));
    return 0;
  });
  std::atomic<int>& freed = kept<std::atomic<int>>();
  rule(
      "POST", "/raw/", "^own$",
      [](mtev_http_rest_closure_t* rest, int, char**) {
        int mask = 0;
        if (mtev_rest_complete_upload(rest, &mask) == mtev_false) return mask;
        static char mine[] = "mine";
        mtev_http_request* const asked = mtev_http_session_request(rest->http_ctx);
        const auto count = [](void* data, int64_t size, void* closure) {
          if (data == mine && size == 4) ++*static_cast<std::atomic<int>*>(closure);
        };
        mtev_http_request_set_upload(asked, mine, 4, count, rest->closure);
        int64_t size = 0;
        const void* const bytes = mtev_http_request_get_upload(asked, &size);
        say(rest, {static_cast<const char*>(bytes), static_cast<std::size_t>(size)});
        return 0;
      },
      &freed);
  client asks;
  CHECK(asks.ask(post("/raw/old", some_bytes(70'000))).body == described(some_bytes(70'000)));
  CHECK(asks.ask(post("/raw/own", "theirs")).body == "mine");
  asks.close();
  asks.wait_for_server();
  CHECK(freed == 1);
}

// --- who may ask ---

namespace {

class configuration_file {
 public:
  explicit configuration_file(const std::string& text, bool loads_rules = true) {
    const int fd = ::mkstemp(path_);
    if (fd < 0 || ::write(fd, text.data(), text.size()) != static_cast<ssize_t>(text.size()))
      throw std::runtime_error("configuration file");
    ::close(fd);
    if (mtev_conf_load(path_) != 0) throw std::runtime_error("mtev_conf_load");
    if (loads_rules) mtev_http_rest_load_rules();
  }
  configuration_file(const configuration_file&) = delete;
  configuration_file& operator=(const configuration_file&) = delete;
  // What comes after is asked without access lists.
  ~configuration_file() {
    ::unlink(path_);
    eventer::compat::configuration().path.clear();
  }

 private:
  char path_[32] = "/tmp/eventer-rest-XXXXXX";
};

}  // namespace

TEST_CASE("access lists: the first list whose filters match decides by its first rule that matches, or denies") {
  struct row {
    const char* what;
    const char* lists;
    const char* statuses;  // of /access/a, /access/b, and of /access/a for the client with a name
  };
  const row rows[] = {
      {"none", "", "200 200 200"},
      {"other tables", "[rest]\nx = 1\n", "200 200 200"},
      {"in the program's table", "[[app.rest.acl]]\n", "403 403 403"},
      {"in a group", "[[rest.inside.acl]]\n", "403 403 403"},
      {"in one of several", "[[rest]]\n[[rest]]\n[[rest.acl]]\n", "403 403 403"},
      {"a list without rules", "[[rest.acl]]\n", "403 403 403"},
      {"allow", "[[rest.acl]]\n[[rest.acl.rule]]\ntype = \"allow\"\n", "200 200 200"},
      {"deny", "[[rest.acl]]\n[[rest.acl.rule]]\ntype = \"deny\"\n", "403 403 403"},
      {"a list's own type says nothing", "[[rest.acl]]\ntype = \"allow\"\n", "403 403 403"},
      {"url", "[[rest.acl]]\n[[rest.acl.rule]]\ntype = \"allow\"\nurl = \"^/access/a$\"\n", "200 403 200"},
      {"no list matches", "[[rest.acl]]\nurl = \"^/access/b\"\n[[rest.acl.rule]]\ntype = \"allow\"\n", "403 200 403"},
      {"the first list decides",
       "[[rest.acl]]\nurl = \"b$\"\n[[rest.acl.rule]]\ntype = \"deny\"\n[[rest.acl]]\n[[rest.acl.rule]]\ntype = \"allow\"\n",
       "200 403 200"},
      {"the first rule decides",
       "[[rest.acl]]\n[[rest.acl.rule]]\ntype = \"deny\"\nurl = \"a$\"\n[[rest.acl.rule]]\ntype = \"allow\"\n",
       "403 200 403"},
      {"ip", "[[rest.acl]]\n[[rest.acl.rule]]\ntype = \"allow\"\nip = \"127.0.0.0/8\"\n", "200 200 200"},
      {"another ip", "[[rest.acl]]\n[[rest.acl.rule]]\ntype = \"allow\"\nip = \"10.0.0.0/8\"\n", "403 403 403"},
      {"cn", "[[rest.acl]]\n[[rest.acl.rule]]\ntype = \"allow\"\ncn = \"^some\"\n", "403 403 200"},
      {"listener", "[[rest.acl]]\n[[rest.acl.rule]]\ntype = \"allow\"\nlistener_door = \"^front$\"\n", "403 403 200"},
      {"all filters have to match", "[[rest.acl]]\n[[rest.acl.rule]]\ntype = \"allow\"\ncn = \"^some\"\nurl = \"b$\"\n",
       "403 403 403"},
      {"user", "[[rest.acl]]\n[[rest.acl.rule]]\ntype = \"allow\"\nuser = \".\"\n", "403 403 403"},
      {"skipto",
       "[[rest.acl]]\n[[rest.acl.rule]]\nurl = \"a$\"\nskipto = \"end\"\n[[rest.acl.rule]]\ntype = \"allow\"\n"
       "[[rest.acl.rule]]\nname = \"end\"\ntype = \"deny\"\n",
       "403 200 403"},
      {"skipto nowhere", "[[rest.acl]]\n[[rest.acl.rule]]\nskipto = \"end\"\ntype = \"allow\"\n", "403 403 403"},
      {"an unknown filter", "[[rest.acl]]\n[[rest.acl.rule]]\ntype = \"allow\"\nurll = \".\"\n", "403 403 403"},
      {"a bad regex", "[[rest.acl]]\n[[rest.acl.rule]]\ntype = \"allow\"\nurl = \"(\"\n", "403 403 403"},
      {"a bad network", "[[rest.acl]]\n[[rest.acl.rule]]\ntype = \"allow\"\nip = \"10.0.0.1/8\"\n", "403 403 403"},
      {"no tables", "[rest]\nacl = 7\n", "403 403 403"},
      {"no TOML", "[[rest.acl\n", "403 403 403"},
  };
  rule("GET", "/access/", "", say_closure, const_cast<char*>("x"));
  CHECK(mtev_http_rest_register_auth(
            "GET", "/access/free/", "",
            [](mtev_http_rest_closure_t* rest, int, char**) {
              say(rest, "free");
              return 0;
            },
            nullptr) == 0);
  const log_lines log;
  config_table front{{"door", "front"}};
  for (const row& each : rows) {
    CAPTURE(each.what);
    const configuration_file file(each.lists);
    client nobody, somebody({.config = front.get(), .common_name = "someone"});
    std::string statuses = std::to_string(nobody.get("/access/a").status);
    statuses += " " + std::to_string(nobody.get("/access/b").status);
    statuses += " " + std::to_string(somebody.get("/access/a").status);
    CHECK(statuses == each.statuses);
    CHECK(nobody.get("/access/free/").status == 200);
  }
  CHECK(log.has("urll is no filter"));
  CHECK(log.has("every request is denied"));
}

TEST_CASE("access lists of a configuration that is named late hold, as if it had been there") {
  mtev_http_rest_init();  // nothing is configured
  rule("GET", "/late_access/", "", say_closure, const_cast<char*>("x"));
  client asks;
  CHECK(asks.get("/late_access/").status == 200);
  const configuration_file file("[[rest.acl]]\n", false);
  CHECK(asks.get("/late_access/").status == 403);
}

TEST_CASE("access lists see the user whom an authorization has found") {
  const configuration_file file(
      "[[rest.acl]]\n[[rest.acl.rule]]\ntype = \"allow\"\nuser = \"^ann$\"\nauth = \"^basic$\"\n");
  const auto finds_user = [](mtev_http_rest_closure_t* rest, int npats, char** pats) {
    mtev_http_request* const asked = mtev_http_session_request(rest->http_ctx);
    const char* const user = mtev_http_request_querystring(asked, "user");
    mtev_http_request_set_auth(asked, user, "basic");
    return mtev_http_rest_client_cert_auth(rest, npats, pats);
  };
  CHECK(mtev_http_rest_register_auth(
            "GET", "/user/", "",
            [](mtev_http_rest_closure_t* rest, int, char**) {
              say(rest, mtev_http_request_user(mtev_http_session_request(rest->http_ctx)));
              return 0;
            },
            finds_user) == 0);
  client asks;
  CHECK(asks.get("/user/?user=ann").body == "ann");
  CHECK(asks.get("/user/?user=bob").status == 403);
  CHECK(asks.get("/user/").status == 403);
}

// --- files ---

namespace {

class document_folder {
 public:
  document_folder() {
    if (::mkdtemp(path_) == nullptr) throw std::runtime_error("mkdtemp");
    make("outside.txt", "secret");
    folder("root");
    folder("root/sub");
    make("root/index.html", "<index>");
    make("root/a.txt", "text a");
    make("root/sub/start.htm", "start");
    make("root/large.bin", some_bytes(300'000));
    make("root/empty", "");
    link("../outside.txt", "root/out");
    link("a.txt", "root/in");
    link(path_, "root/up");
    all_.push_back("root/fifo");
    if (::mkfifo((path_ + "/root/fifo"s).c_str(), 0600) != 0) throw std::runtime_error("mkfifo");
  }
  document_folder(const document_folder&) = delete;
  document_folder& operator=(const document_folder&) = delete;
  ~document_folder() {
    for (auto each = all_.rbegin(); each != all_.rend(); ++each) (void)::remove((path_ + ("/" + *each)).c_str());
    ::rmdir(path_);
  }
  std::string root() const { return path_ + "/root"s; }

 private:
  void make(const std::string& name, const std::string& text) {
    all_.push_back(name);
    const int fd = ::open((path_ + ("/" + name)).c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ::write(fd, text.data(), text.size()) != static_cast<ssize_t>(text.size()))
      throw std::runtime_error("document");
    ::close(fd);
  }
  void folder(const std::string& name) {
    all_.push_back(name);
    if (::mkdir((path_ + ("/" + name)).c_str(), 0700) != 0) throw std::runtime_error("mkdir");
  }
  void link(const std::string& to, const std::string& name) {
    all_.push_back(name);
    if (::symlink(to.c_str(), (path_ + ("/" + name)).c_str()) != 0) throw std::runtime_error("symlink");
  }
  char path_[32] = "/tmp/eventer-files-XXXXXX";
  std::vector<std::string> all_;
};

}  // namespace

TEST_CASE("files beneath the document root are sent, and nothing else is") {
  const document_folder documents;
  config_table config{{"document_root", documents.root()}, {"mime_type_bin", "x/bin"}};
  for (const bool is_aco : {false, true}) {
    const char* const base = is_aco ? "/files/aco/" : "/files/classic/";
    rule("GET", base, "^(.*)$", mtev_rest_simple_file_handler, nullptr, is_aco);
    struct row {
      const char* path;
      int status;
      std::string body, type;
    };
    const row rows[] = {
        {"a.txt", 200, "text a", "text/plain; charset=utf-8"},
        {"", 200, "<index>", "text/html; charset=utf-8"},
        {"sub/", 404, "", ""},
        {"sub/start.htm", 200, "start", "text/html; charset=utf-8"},
        {"large.bin", 200, some_bytes(300'000), "x/bin"},
        {"empty", 200, "", "application/octet-stream"},
        {"nothing", 404, "", ""},
        {"a.txt/b", 404, "", ""},
        {"..%2Foutside.txt", 400, "", ""},
        {"%252e%252e/outside.txt", 404, "", ""},
        {"out", 404, "", ""},
        {"up/outside.txt", 404, "", ""},
        {"fifo", 404, "", ""},
        {"/a.txt", 200, "text a", "text/plain; charset=utf-8"},
    };
    client asks({.config = config.get()});
    for (const row& each : rows) {
      CAPTURE(each.path);
      CAPTURE(is_aco);
      if (each.status == 400) {
        client refused({.config = config.get()});
        CHECK(refused.get(base + std::string(each.path)).status == 400);
        continue;
      }
      const answer got = asks.get(base + std::string(each.path));
      CHECK(got.status == each.status);
      if (got.status != 200) continue;
      CHECK(got.body == each.body);
      CHECK(got.field("content-type") == each.type);
      CHECK(got.field("content-length") == std::to_string(each.body.size()));
    }
    const answer head = asks.ask("HEAD "s + base + "large.bin HTTP/1.1\r\nHost: a\r\n\r\n", true);
    CHECK(head.field("content-length") == "300000");
    CHECK(asks.get(base + "a.txt"s).status == 200);
    client without_root;
    CHECK(without_root.get(base + "a.txt"s).status == 404);
  }
  rule("GET", "/files/", "^two/(.*)/(.*)$", mtev_rest_simple_file_handler);
  client asks({.config = config.get()});
  CHECK(asks.get("/files/two/a/b").status == 500);
}

TEST_CASE("without openat2 the same files are opened, but behind no link") {
  const document_folder documents;
  struct row {
    const char* path;
    bool with, without;
  };
  const row rows[] = {{"a.txt", true, true},
                      {"sub/start.htm", true, true},
                      {"//sub//start.htm", true, true},
                      {"", true, true},
                      {"sub", true, true},
                      {"sub/../a.txt", true, false},
                      {"../outside.txt", false, false},
                      {"out", false, false},
                      {"up/outside.txt", false, false},
                      {"in", true, false},
                      {"nothing", false, false},
                      {"a.txt/b", false, false},
                      {"/etc/passwd", false, false}};
  for (const row& each : rows) {
    CAPTURE(each.path);
    CHECK(static_cast<bool>(open_beneath(documents.root(), each.path, true)) == each.with);
    CHECK(static_cast<bool>(open_beneath(documents.root(), each.path, false)) == each.without);
  }
  CHECK_FALSE(open_beneath(documents.root() + "/none", "a.txt", true));
}

// --- as a listener's type ---

TEST_CASE("http_rest_api is the type of a listener, and what control_dispatch does with HTTP", "[.listened]") {
  mtev_http_rest_init();
  rule("GET", "/listened/", "", [](mtev_http_rest_closure_t* rest, int, char**) {
    const char* found = nullptr;
    (void)mtev_hash_retr_str(mtev_acceptor_closure_config(rest->ac), "name", 4, &found);
    char who[64];
    (void)mtev_convert_sockaddr_to_buff(who, sizeof who, mtev_acceptor_closure_remote(rest->ac));
    say(rest, (found == nullptr ? "nobody" : found) + " "s + who);
    return 0;
  });
  const captured_streams log;
  start_configured(stanza("http_rest_api", "[listeners.listener.config]\nname = \"direct\"\nidle_timeout = 50\n") +
                   stanza("control_dispatch", "[listeners.listener.config]\nname = \"dispatched\"\n"));
  const auto ask = [](const char* type) {
    const int port = mtev_listener_port(type);
    REQUIRE(port > 0);
    const auto where = eventer::endpoint::parse("127.0.0.1:" + std::to_string(port)).value();
    eventer::unique_fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    REQUIRE(::connect(fd.get(), where.data(), where.size()) == 0);
    return client(std::move(fd));
  };
  client direct = ask("http_rest_api");
  CHECK(direct.get("/listened/").body == "direct 127.0.0.1");
  CHECK(direct.ends());  // by its idle_timeout
  client dispatched = ask("control_dispatch");
  CHECK(dispatched.get("/listened/").body == "dispatched 127.0.0.1");
  CHECK(dispatched.get("/listened/").body == "dispatched 127.0.0.1");
}
// Other tests of the suite have a type of that name.
TEST_CASE("REST as a listener's type, in a process of its own", "[no-emulator]") {
  CHECK(run_alone("[.listened]") == 0);
}
