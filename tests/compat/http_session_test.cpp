// Requests and answers of the C interface: what is told of a request, how an answer is collected and sent, and from
// which threads.
#include <unistd.h>

#include <thread>

#include "rest_client.hpp"

using namespace rest_test;

namespace {

std::string text_or(const char* text, const char* otherwise = "NULL") { return text == nullptr ? otherwise : text; }

}  // namespace

TEST_CASE("what is told of a request") {
  rule("POST", "/told/", "^(.)", [](mtev_http_rest_closure_t* rest, int npats, char** pats) {
    mtev_http_session_ctx* const ctx = rest->http_ctx;
    mtev_http_request* const asked = mtev_http_session_request(ctx);
    const auto parameter = [asked](const char* key) { return text_or(mtev_http_request_querystring(asked, key)); };
    mtev_hash_table* const fields = mtev_http_request_headers_table(asked);
    timeval began{}, now{};
    mtev_http_request_start_time(asked, &began);
    (void)mtev_gettimeofday(&now, nullptr);
    std::string text;
    text.append(mtev_http_request_method_str(asked)).append(" ").append(mtev_http_request_protocol_str(asked));
    text.append(" ").append(mtev_http_request_uri_str(asked)).append("\n");
    text.append(text_or(mtev_http_request_orig_querystring(asked))).append("\n");
    text.append(parameter("a")).append(",").append(parameter("b")).append(",").append(parameter("c"));
    text.append(",").append(parameter("d")).append(",").append(parameter("e")).append("\n");
    text.append(std::to_string(mtev_hash_size(mtev_http_request_querystring_table(asked)))).append("\n");
    text.append(text_or(mtev_hash_dict_get(fields, "x-mixed"))).append(",");
    text.append(text_or(mtev_hash_dict_get(fields, "X-Mixed"))).append("\n");
    text.append(std::to_string(mtev_http_request_content_length(asked)));
    text.append(mtev_http_request_has_payload(asked) ? " payload" : " none");
    text.append(mtev_http_request_payload_chunked(asked) ? " chunked" : " plain");
    text.append(mtev_http_request_payload_complete(asked) ? " complete\n" : " incomplete\n");
    const bool same = rest->nparams == npats && rest->params == pats && npats == 1 && rest->http_ctx == ctx &&
                      mtev_http_session_dispatcher_closure(ctx) == rest &&
                      mtev_http_session_acceptor_closure(ctx) == rest->ac && rest->remote_cn == "name"s &&
                      mtev_http_request_user(asked) == nullptr && mtev_http_request_auth(asked) == nullptr &&
                      compare_timeval(began, now) <= 0 && mtev_http_is_websocket(ctx) == mtev_false;
    text.append(same ? "same" : "other");
    say(rest, text);
    return 0;
  });
  client asks({.common_name = "name"});
  CHECK(asks.ask("POST /told/%41?a=1+2&b&c=&a=3&d=%3D HTTP/1.1\r\nHost: a\r\nX-Mixed: one\r\nx-MIXED: two\r\n"
                 "Content-Length: 3\r\n\r\nabc")
            .body ==
        "POST HTTP/1.1 /told/A\na=1+2&b&c=&a=3&d=%3D\n1 2,NULL,,=,NULL\n4\ntwo,NULL\n3 payload plain incomplete\nsame");
  CHECK(asks.ask("POST /told/B HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").body ==
        "POST HTTP/1.0 /told/B\nNULL\nNULL,NULL,NULL,NULL,NULL\n0\nNULL,NULL\n0 none plain complete\nsame");
  client again({.common_name = "name"});
  CHECK(again.ask("POST /told/C? HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n").body ==
        "POST HTTP/1.1 /told/C\n\nNULL,NULL,NULL,NULL,NULL\n0\nNULL,NULL\n0 payload chunked incomplete\nsame");
}

// --- how an answer looks ---

namespace {

// Calls the rule's closure, a function, then goes on as a handler does.
int by_script(mtev_http_rest_closure_t* rest, int, char**) {
  reinterpret_cast<void (*)(mtev_http_rest_closure_t*)>(rest->closure)(rest);
  return 0;
}
using script = void (*)(mtev_http_rest_closure_t*);
void scripted(const char* expression, script what) {
  for (const bool is_aco : {false, true})
    rule("GET", is_aco ? "/script/aco/" : "/script/classic/", expression, by_script, reinterpret_cast<void*>(what),
         is_aco);
}

}  // namespace

TEST_CASE("an answer ends where it ends, whatever a handler says of it") {
  struct row {
    const char* name;
    script what;
    // Status, body's size, how it is framed. What a classic handler says leaves when it has returned.
    const char *classic_1_1, *classic_1_0;
    const char *aco_1_1 = nullptr, *aco_1_0 = nullptr;  // nullptr: the same
  };
  const row rows[] = {
      {"ok", [](mtev_http_rest_closure_t* rest) { say(rest, "12345"); }, "200 5 length", "200 5 length close"},
      {"ok_with_length",
       [](mtev_http_rest_closure_t* rest) {
         mtev_http_response_ok(rest->http_ctx, "text/plain");
         (void)mtev_http_response_header_set(rest->http_ctx, "Content-Length", "5");
         (void)mtev_http_response_append_str(rest->http_ctx, "12345");
         (void)mtev_http_response_end(rest->http_ctx);
       },
       "200 5 length", "200 5 length close"},
      {"wrong_length",
       [](mtev_http_rest_closure_t* rest) {
         (void)mtev_http_response_header_set(rest->http_ctx, "Content-Length", "7");
         (void)mtev_http_response_append_str(rest->http_ctx, "12345");
         (void)mtev_http_response_end(rest->http_ctx);
       },
       "200 5 length", "200 5 length"},
      {"flushed_ok_with_length",
       [](mtev_http_rest_closure_t* rest) {
         mtev_http_response_ok(rest->http_ctx, "text/plain");
         (void)mtev_http_response_header_set(rest->http_ctx, "Content-Length", "9");
         (void)mtev_http_response_append_str(rest->http_ctx, "123");
         (void)mtev_http_response_flush(rest->http_ctx, mtev_false);
         (void)mtev_http_response_append_str(rest->http_ctx, "45");
         (void)mtev_http_response_end(rest->http_ctx);
       },
       "200 5 length", "200 5 length close", "200 5 chunked", "<cut>"},
      {"flushed_with_right_length",
       [](mtev_http_rest_closure_t* rest) {
         (void)mtev_http_response_header_set(rest->http_ctx, "Content-Length", "5");
         (void)mtev_http_response_append_str(rest->http_ctx, "123");
         (void)mtev_http_response_flush(rest->http_ctx, mtev_false);
         (void)mtev_http_response_append_str(rest->http_ctx, "45");
         (void)mtev_http_response_end(rest->http_ctx);
       },
       "200 5 length", "200 5 length"},
      {"flushed_with_short_length",
       [](mtev_http_rest_closure_t* rest) {
         (void)mtev_http_response_header_set(rest->http_ctx, "Content-Length", "4");
         (void)mtev_http_response_append_str(rest->http_ctx, "123");
         (void)mtev_http_response_flush(rest->http_ctx, mtev_false);
         (void)mtev_http_response_append_str(rest->http_ctx, "45");
         (void)mtev_http_response_end(rest->http_ctx);
       },
       "200 5 length", "200 5 length", "<cut>", "<cut>"},
      {"final_flush",
       [](mtev_http_rest_closure_t* rest) {
         mtev_http_response_not_found(rest->http_ctx, "text/plain");
         (void)mtev_http_response_append_str(rest->http_ctx, "none");
         (void)mtev_http_response_flush_asynch(rest->http_ctx, mtev_true);
       },
       "404 4 length", "404 4 length close"},
      {"large",
       [](mtev_http_rest_closure_t* rest) {
         mtev_http_response_ok(rest->http_ctx, "text/plain");
         const std::string bytes = some_bytes(100'000);
         (void)mtev_http_response_append(rest->http_ctx, bytes.data(), bytes.size());
         (void)mtev_http_response_end(rest->http_ctx);
       },
       "200 100000 length", "200 100000 length close", "200 100000 chunked", "200 100000 until_end close"},
      {"large_with_length",
       [](mtev_http_rest_closure_t* rest) {
         const std::string bytes = some_bytes(100'000);
         (void)mtev_http_response_header_set(rest->http_ctx, "Content-Length", "100000");
         (void)mtev_http_response_append(rest->http_ctx, bytes.data(), bytes.size());
         (void)mtev_http_response_end(rest->http_ctx);
       },
       "200 100000 length", "200 100000 length"},
      {"small_auto_flush",
       [](mtev_http_rest_closure_t* rest) {
         mtev_http_response_auto_flush(rest->http_ctx, 3);
         (void)mtev_http_response_option_set(rest->http_ctx, MTEV_HTTP_CHUNKED);
         for (int i = 0; i < 10; ++i) (void)mtev_http_response_appendf(rest->http_ctx, "%04d", i);
         (void)mtev_http_response_end(rest->http_ctx);
       },
       "200 40 length", "200 40 length", "200 40 chunked", "200 40 until_end close"},
      {"no_content",
       [](mtev_http_rest_closure_t* rest) {
         (void)mtev_http_response_status_set(rest->http_ctx, 204, "NO CONTENT");
         (void)mtev_http_response_append_str(rest->http_ctx, "ignored");
         (void)mtev_http_response_end(rest->http_ctx);
       },
       "204 0 none", "204 0 none"},
      {"empty", [](mtev_http_rest_closure_t* rest) { (void)mtev_http_response_end(rest->http_ctx); }, "200 0 length",
       "200 0 length"},
      {"close",
       [](mtev_http_rest_closure_t* rest) {
         (void)mtev_http_response_option_set(rest->http_ctx, MTEV_HTTP_CLOSE);
         (void)mtev_http_response_end(rest->http_ctx);
       },
       "200 0 length close", "200 0 length close"},
      {"shutdown",
       [](mtev_http_rest_closure_t* rest) {
         rest->wants_shutdown = 1;
         say(rest, "x");
       },
       "200 1 length close", "200 1 length close"},
      {"by_hand",
       [](mtev_http_rest_closure_t* rest) {
         (void)mtev_http_response_header_set(rest->http_ctx, "Transfer-Encoding", "chunked");
         (void)mtev_http_response_header_set(rest->http_ctx, "Connection", "keep-alive");
         (void)mtev_http_response_append_str(rest->http_ctx, "123");
         (void)mtev_http_response_flush(rest->http_ctx, mtev_false);
         (void)mtev_http_response_end(rest->http_ctx);
       },
       "200 3 length", "200 3 length", "200 3 chunked", "200 3 until_end close"},
  };
  for (const row& each : rows) scripted(("^"s + each.name + "$").c_str(), each.what);
  for (const row& each : rows)
    for (const char* const base : {"/script/classic/", "/script/aco/"})
      for (const bool old : {false, true}) {
        CAPTURE(each.name);
        CAPTURE(base);
        CAPTURE(old);
        const bool is_aco = base == "/script/aco/"s;
        const std::string request =
            "GET "s + base + each.name +
            (old ? " HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" : " HTTP/1.1\r\nHost: a\r\n\r\n");
        client asks;
        const answer got = asks.ask(request);
        std::string text = "<cut>";
        if (got.status != 0) {
          text = std::to_string(got.status) + " " + std::to_string(got.body.size());
          text += got.is_chunked ? " chunked" : got.is_until_end ? " until_end" : " length";
          if (got.status == 204) text = "204 0 none";
          if (got.says_close()) text += " close";
        }
        CHECK(got.count("content-length") + got.count("transfer-encoding") <= 1);
        const char* const of_aco = old ? each.aco_1_0 : each.aco_1_1;
        CHECK(text == (is_aco && of_aco != nullptr ? of_aco : old ? each.classic_1_0 : each.classic_1_1));
        if (got.status == 0) asks.unread.clear();  // what came before the cut
        if (got.status == 0 || got.says_close())
          CHECK(asks.ends());
        else
          CHECK(asks.ask(request).status == got.status);
      }
}

TEST_CASE("the words behind a status are the program's, and what can't be sent so is refused") {
  scripted("^refused$", [](mtev_http_rest_closure_t* rest) {
    mtev_http_session_ctx* const ctx = rest->http_ctx;
    std::string wrong;
    const auto expect = [&wrong](const char* what, mtev_boolean answered, bool expected) {
      if ((answered != mtev_false) != expected) wrong.append(what).append(" ");
    };
    expect("99", mtev_http_response_status_set(ctx, 99, "X"), false);
    expect("101", mtev_http_response_status_set(ctx, 101, "X"), false);
    expect("600", mtev_http_response_status_set(ctx, 600, "X"), false);
    expect("line", mtev_http_response_status_set(ctx, 200, "O\r\nK"), false);
    expect("name", mtev_http_response_header_set(ctx, "A B", "x"), false);
    expect("value", mtev_http_response_header_set(ctx, "A", "x\r\nSet-Cookie: y"), false);
    expect("length", mtev_http_response_header_set(ctx, "Content-Length", "many"), false);
    expect("coding", mtev_http_response_header_set(ctx, "Transfer-Encoding", "gzip"), false);
    expect("gzip", mtev_http_response_option_set(ctx, MTEV_HTTP_GZIP), false);
    expect("deflate", mtev_http_response_option_set(ctx, MTEV_HTTP_DEFLATE), false);
    expect("header", mtev_http_response_header_set(ctx, "X-One", "1"), true);
    expect("again", mtev_http_response_header_set(ctx, "x-one", "2"), true);
    expect("status", mtev_http_response_status_set(ctx, 404, "NOT FOUND"), true);
    mtev_http_response* const answer = mtev_http_session_response(ctx);
    if (text_or(mtev_hash_dict_get(mtev_http_response_headers_table(answer), "X-One")) != "2") wrong += "table ";
    if (mtev_http_response_status(answer) != 404) wrong += "status ";
    expect("append", mtev_http_response_append_str(ctx, "body "), true);
    if (mtev_http_response_buffered(ctx) != 5 || mtev_http_response_bytes_written(answer) != 0) wrong += "buffered ";
    expect("closed", mtev_http_response_closed(answer), false);
    expect("flush", mtev_http_response_flush(ctx, mtev_false), true);
    expect("late status", mtev_http_response_status_set(ctx, 500, "ERROR"), false);
    expect("late header", mtev_http_response_header_set(ctx, "X-Two", "1"), false);
    expect("late option", mtev_http_response_option_set(ctx, MTEV_HTTP_CLOSE), false);
    if (eventer_is_aco(nullptr) != mtev_false && mtev_http_response_bytes_written(answer) != 5) wrong += "written ";
    expect("append", mtev_http_response_append_str(ctx, wrong.empty() ? "right" : wrong.c_str()), true);
    expect("end", mtev_http_response_end(ctx), true);
    expect("closed", mtev_http_response_closed(answer), true);
    expect("complete", mtev_http_response_complete(answer), eventer_is_aco(nullptr) != mtev_false);
    expect("second end", mtev_http_response_end(ctx), false);
    expect("append behind", mtev_http_response_append_str(ctx, "x"), false);
    if (!wrong.empty()) mtevL(mtev_error, "wrong: %s\n", wrong.c_str());
  });
  const log_lines log;
  for (const char* const base : {"/script/classic/", "/script/aco/"}) {
    CAPTURE(base);
    client asks;
    REQUIRE(asks.send("GET "s + base + "refused HTTP/1.1\r\nHost: a\r\n\r\n"));
    REQUIRE(asks.more());
    CHECK(asks.unread.substr(0, 24) == "HTTP/1.1 404 NOT FOUND\r\n");
    const answer got = asks.read();
    CHECK(got.body == "body right");
    CHECK(got.field("x-one") == "2");
    CHECK(got.count("x-one") == 1);
  }
  CHECK_FALSE(log.has("wrong"));
}

TEST_CASE("a range of a file can be appended") {
  struct file {
    int fd = -1;
  };
  file& mine = kept<file>();
  std::FILE* const made = std::tmpfile();
  REQUIRE(made != nullptr);
  const std::string bytes = some_bytes(200'000);
  REQUIRE(std::fwrite(bytes.data(), 1, bytes.size(), made) == bytes.size());
  REQUIRE(std::fflush(made) == 0);
  mine.fd = ::fileno(made);
  rule(
      "GET", "/range/", "",
      [](mtev_http_rest_closure_t* rest, int, char**) {
        mtev_http_response_ok(rest->http_ctx, "text/plain");
        const bool whole = mtev_http_response_append_mmap(rest->http_ctx, of<file>(rest).fd, 150'000, 0, 1'001);
        const bool beyond = mtev_http_response_append_mmap(rest->http_ctx, of<file>(rest).fd, 10, 0, 200'000);
        (void)mtev_http_response_appendf(rest->http_ctx, "%d%d", whole, beyond);
        (void)mtev_http_response_end(rest->http_ctx);
        return 0;
      },
      &mine);
  client asks;
  CHECK(asks.get("/range/").body == bytes.substr(1'001, 150'000) + "10");
  std::fclose(made);
}

TEST_CASE("pipelined requests are answered in their order, classic ones and coroutines") {
  rule("GET", "/line/", "^classic$", [](mtev_http_rest_closure_t* rest, int, char**) { return say(rest, "c"), 0; });
  rule(
      "GET", "/line/", "^aco$",
      [](mtev_http_rest_closure_t* rest, int, char**) {
        timeval time{0, 1000};
        eventer_aco_sleep(&time);
        return say(rest, "a"), 0;
      },
      nullptr, true);
  std::string requests, got;
  for (int i = 0; i < 20; ++i)
    requests += "GET /line/"s + (i % 3 == 0 ? "aco" : "classic") + " HTTP/1.1\r\nHost: a\r\n\r\n";
  client asks;
  REQUIRE(asks.send(requests));
  for (int i = 0; i < 20; ++i) got += asks.read().body;
  CHECK(got == "accaccaccaccaccaccac");
}

// --- from other threads ---

namespace {

struct from_thread {
  std::size_t bytes = 0, most_buffered = 0;
  bool was_refused = false;
  once begun, ended;
};
void append_much(void* closure) {
  auto* const rest = static_cast<mtev_http_rest_closure_t*>(closure);
  from_thread& mine = of<from_thread>(rest);
  mine.begun.give();
  const std::string piece = some_bytes(10'000);
  for (std::size_t said = 0; said < mine.bytes && !mine.was_refused; said += piece.size()) {
    mine.was_refused = mtev_http_response_append(rest->http_ctx, piece.data(), piece.size()) == mtev_false;
    mine.most_buffered = std::max(mine.most_buffered, mtev_http_response_buffered(rest->http_ctx));
  }
  mine.ended.give();
}
int appends_in_job(mtev_http_rest_closure_t* rest, int, char**) {
  mtev_http_response_ok(rest->http_ctx, "text/plain");
  eventer_aco_simple_asynch(append_much, rest);
  (void)mtev_http_response_append_str(rest->http_ctx, "end");
  (void)mtev_http_response_end(rest->http_ctx);
  return 0;
}

}  // namespace

TEST_CASE("a job that appends 10 MB waits for a slow reader, and not more than so much is in memory") {
  from_thread& mine = kept<from_thread>();
  mine.bytes = 10'000'000;
  rule("GET", "/slow/", "^aco$", appends_in_job, &mine, true);
  client asks({.buffer_bytes = 64 << 10});
  REQUIRE(asks.send("GET /slow/aco HTTP/1.1\r\nHost: a\r\n\r\n"));
  REQUIRE(mine.begun.wait());
  CHECK_FALSE(mine.ended.given());  // it can't end before anything is read
  const answer got = asks.read_large(10'000'000);
  CHECK(mine.ended.wait());
  CHECK(got.body.size() == 10'000'003);
  bool same = true;
  const std::string piece = some_bytes(10'000);
  for (std::size_t i = 0; i < 1000; ++i) same = same && got.body.compare(i * piece.size(), piece.size(), piece) == 0;
  CHECK(same);
  CHECK(mine.most_buffered > 500'000);
  // What is on its way, what is collected before that is looked at, and a piece.
  CHECK(mine.most_buffered <= (1 << 20) + (32 << 10) + 10'000);
  CHECK_FALSE(mine.was_refused);
}

TEST_CASE("where the client is gone a job's append says so, and blocks nobody") {
  from_thread& mine = kept<from_thread>();
  mine.bytes = SIZE_MAX;
  rule("GET", "/gone/", "^aco$", appends_in_job, &mine, true);
  client asks({.buffer_bytes = 64 << 10});
  REQUIRE(asks.send("GET /gone/aco HTTP/1.1\r\nHost: a\r\n\r\n"));
  REQUIRE(mine.begun.wait());
  asks.reset();
  CHECK(mine.ended.wait());
  asks.wait_for_server();
  CHECK(mine.was_refused);
}

TEST_CASE("a connection that is cancelled takes its answer along, whoever is saying it") {
  from_thread& mine = kept<from_thread>();
  mine.bytes = SIZE_MAX;
  rule(
      "GET", "/cut/", "^thread$",
      [](mtev_http_rest_closure_t* rest, int, char**) {
        (void)mtev_http_connection_event_float(mtev_http_session_connection(rest->http_ctx));
        mtev_http_response_ok(rest->http_ctx, "text/plain");
        std::thread([rest] {
          append_much(rest);
          mtev_http_session_resume_after_float(rest->http_ctx);
        }).detach();
        return 0;
      },
      &mine);
  client asks({.buffer_bytes = 64 << 10});
  REQUIRE(asks.send("GET /cut/thread HTTP/1.1\r\nHost: a\r\n\r\n"));
  REQUIRE(mine.begun.wait());
  REQUIRE(asks.more());  // it is being sent
  asks.cancel_server();
  CHECK(mine.ended.wait());
  CHECK(mine.was_refused);
}

TEST_CASE("a job may set the head, flush and end") {
  struct both {
    once may_end;
  };
  both& mine = kept<both>();
  const auto from_job = [](void* closure) {
    auto* const rest = static_cast<mtev_http_rest_closure_t*>(closure);
    mtev_http_session_ctx* const ctx = rest->http_ctx;
    (void)mtev_http_response_status_set(ctx, 202, "ACCEPTED");
    (void)mtev_http_response_header_set(ctx, "X-From", "job");
    (void)mtev_http_response_append_str(ctx, "first ");
    (void)mtev_http_response_flush(ctx, mtev_false);
    const bool late = mtev_http_response_status_set(ctx, 500, "ERROR") == mtev_true;
    (void)of<both>(rest).may_end.wait();
    (void)mtev_http_response_append_str(ctx, late ? "late" : "last");
    (void)mtev_http_response_end(ctx);
  };
  static void (*const job)(void*) = from_job;
  rule(
      "GET", "/job/", "",
      [](mtev_http_rest_closure_t* rest, int, char**) {
        eventer_aco_simple_asynch(job, rest);
        (void)mtev_http_response_append_str(rest->http_ctx, "too late");
        return 0;
      },
      &mine, true);
  client asks;
  REQUIRE(asks.send("GET /job/ HTTP/1.1\r\nHost: a\r\n\r\n"));
  while (asks.unread.find("first ") == std::string::npos) REQUIRE(asks.more());
  mine.may_end.give();
  const answer got = asks.read();
  CHECK(got.status == 202);
  CHECK(got.body == "first last");
  CHECK(got.field("x-from") == "job");
  CHECK(asks.get("/job/").body == "first last");
}
