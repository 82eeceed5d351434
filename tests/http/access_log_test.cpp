// The access log: its lines, whatever clients send; where they go; and what happens when that is slow or full.
#include "eventer/http/access_log.hpp"

#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <mutex>
#include <sstream>
#include <string>
#include <vector>

#include "../captured_log.hpp"
#include "../catch.hpp"
#include "json_client.hpp"

namespace http = eventer::http;
using namespace std::chrono_literals;
using namespace std::string_literals;
using http::access_format;
using http::detail::access_line;

static const eventer::endpoint peer = eventer::endpoint::parse("192.0.2.1:40000").value();
static const std::chrono::system_clock::time_point then{1795659928123ms};  // 2026-11-26 02:25:28.123

static std::string combined(const access_line& line) {
  std::string text;
  http::detail::append_combined_line(text, line);
  return text;
}
static std::string json(const access_line& line) {
  std::string text;
  http::detail::append_json_line(text, line);
  return text;
}

TEST_CASE("a line in combined format and one in JSON have everything in its place") {
  const access_line line{.time = then,
                         .peer = peer,
                         .method = "GET",
                         .target = "/a?b=c",
                         .status = 200,
                         .body_bytes = 13,
                         .took = 1500us,
                         .referer = "http://example.org/",
                         .user_agent = "curl/8"};
  CHECK(combined(line) ==
        "192.0.2.1 - - [26/Nov/2026:02:25:28 +0000] \"GET /a?b=c HTTP/1.1\" 200 13 \"http://example.org/\" "
        "\"curl/8\"\n");
  CHECK(json(line) ==
        "{\"time\":\"2026-11-26T02:25:28.123Z\",\"peer\":\"192.0.2.1:40000\",\"method\":\"GET\",\"target\":\"/a?b=c\","
        "\"version\":\"1.1\",\"status\":200,\"bytes\":13,\"microseconds\":1500,\"referer\":\"http://example.org/\","
        "\"user_agent\":\"curl/8\"}\n");
}

TEST_CASE("a line of a request that could not be read, from nobody, is a line still") {
  const access_line line{.time = then, .status = 400, .failure = "Broken pipe"};
  CHECK(combined(line) == "- - - [26/Nov/2026:02:25:28 +0000] \"-\" 400 0 \"-\" \"-\"\n");
  CHECK(json(line) ==
        "{\"time\":\"2026-11-26T02:25:28.123Z\",\"status\":400,\"bytes\":0,\"microseconds\":0,"
        "\"failure\":\"Broken pipe\"}\n");
}

TEST_CASE("peers of every kind keep to their field") {
  const std::vector<std::pair<const char*, const char*>> all = {{"[2001:db8::1]:80", "2001:db8::1 - - ["},
                                                                {"unix:/run/a b\"c", "unix:/run/a\\x20b\\x22c - - ["}};
  for (const auto& [address, begin] : all) {
    CAPTURE(address);
    const access_line line{.time = then, .peer = eventer::endpoint::parse(address).value()};
    CHECK(combined(line).starts_with(begin));
  }
}

TEST_CASE("nothing that a client sends leaves its field or its line") {
  const struct {
    std::string sent, combined, json;
  } all[] = {
      {"a\"b", "a\\x22b", "a\\\"b"},
      {"a\\b", "a\\x5Cb", "a\\\\b"},
      {"a\\", "a\\x5C", "a\\\\"},
      {"a\nb\rc", "a\\x0Ab\\x0Dc", "a\\u000ab\\u000dc"},
      {"a\0b"s, "a\\x00b", "a\\u0000b"},
      {"\x1b[2J\x7f", "\\x1B[2J\\x7F", "\\u001b[2J\\u007f"},
      {"\xc2\x9b", "\\xC2\\x9B", "\\u009b"},  // what a terminal takes for ESC [
      {"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", "\\xC3\\xA9\\xE2\\x82\\xAC\\xF0\\x9F\\x98\\x80",
       "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"},
      {"\xff", "\\xFF", "\\ufffd"},
      {"\xc3", "\\xC3", "\\ufffd"},
      {"\xc0\xaf", "\\xC0\\xAF", "\\ufffd\\ufffd"},
      {"\xed\xa0\x80", "\\xED\\xA0\\x80", "\\ufffd\\ufffd\\ufffd"},
      {"\xf4\x90\x80\x80", "\\xF4\\x90\\x80\\x80", "\\ufffd\\ufffd\\ufffd\\ufffd"},
      {"\xe2\x82"
       "A",
       "\\xE2\\x82A", "\\ufffd\\ufffdA"},
      {"\xc3\"", "\\xC3\\x22", "\\ufffd\\\""},
      {std::string(4097, 'x'), std::string(4096, 'x') + "...", std::string(4096, 'x') + "..."},
  };
  for (const auto& each : all) {
    CAPTURE(each.sent);
    const access_line line{
        .time = then, .method = "GET", .target = each.sent, .referer = each.sent, .user_agent = each.sent};
    const std::string text = combined(line);
    CHECK(std::count(text.begin(), text.end(), '\n') == 1);
    CHECK(std::count(text.begin(), text.end(), '"') == 6);
    CHECK(text.find("\"GET " + each.combined + " HTTP/1.1\"") != std::string::npos);
    CHECK(text.ends_with(" \"" + each.combined + "\" \"" + each.combined + "\"\n"));
    const std::string object = json(line);
    CHECK(std::count(object.begin(), object.end(), '\n') == 1);
    CHECK(object.find("\"target\":\"" + each.json + "\",") != std::string::npos);
  }
}

// Lines as they come, and a gate that holds whoever writes them.
struct collected_lines {
  std::atomic<bool> is_stuck{false};
  std::mutex mutex;
  std::string text;
  std::vector<std::string> all() {
    const std::lock_guard lock(mutex);
    std::vector<std::string> result;
    std::istringstream from(text);
    for (std::string line; std::getline(from, line);) result.push_back(line);
    return result;
  }
};
static http::access_log log_into(const std::shared_ptr<collected_lines>& where, http::access_log_options options = {}) {
  return http::access_log(
      [where](std::string_view lines) {
        where->is_stuck.wait(true);
        const std::lock_guard lock(where->mutex);
        where->text.append(lines);
      },
      options);
}
static http::server logged_server(const http::access_log& log) {
  http::router routes;
  routes.get("/", [](http::request&, http::response& answer) { answer.text("hello\n"); });
  routes.get("/none", [](http::request&, http::response& answer) { answer.status(204); });
  routes.get("/pieces", [](http::request&, http::response& answer) {
    for (const char* const each : {"one", "two"}) (void)answer.write(each);
  });
  routes.get("/throws", [](http::request&, http::response&) { throw http::error(418, "teapot\n"); });
  return http::server(std::move(routes), {.access_log = log});
}

TEST_CASE("a server writes a line for each answer, also of what it refuses") {
  const auto lines = std::make_shared<collected_lines>();
  eventer::run([&] {
    const http::access_log log = log_into(lines);
    const http::server server = logged_server(log);
    for (const char* const target : {"/", "/none", "/pieces", "/throws", "/missing"})
      (void)ask(server, {.target = target, .fields = "User-Agent: a\"b\r\nReferer: here\r\n"});
    (void)ask(server, {.method = "HEAD"});
    (void)ask(server, {.method = "POST"});
    (void)say(server, "GARBAGE\r\n\r\n");
    (void)say(server, "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.0\r\n\r\n", "[::1]:1");
    CHECK(log.flush(10s));
    CHECK(log.lost() == 0);
  });
  const std::vector<std::string> expected = {"\"GET / HTTP/1.1\" 200 6 \"here\" \"a\\x22b\"",
                                             "\"GET /none HTTP/1.1\" 204 0 \"here\" \"a\\x22b\"",
                                             "\"GET /pieces HTTP/1.1\" 200 6 \"here\" \"a\\x22b\"",
                                             "\"GET /throws HTTP/1.1\" 418 7 \"here\" \"a\\x22b\"",
                                             "\"GET /missing HTTP/1.1\" 404 14 \"here\" \"a\\x22b\"",
                                             "\"HEAD / HTTP/1.1\" 200 0 \"-\" \"-\"",
                                             "\"POST / HTTP/1.1\" 405 23 \"-\" \"-\"",
                                             "\"-\" 400 16 \"-\" \"-\"",
                                             "\"GET / HTTP/1.1\" 200 6 \"-\" \"-\"",
                                             "\"GET / HTTP/1.0\" 200 6 \"-\" \"-\""};
  const std::vector<std::string> all = lines->all();
  REQUIRE(all.size() == expected.size());
  for (std::size_t i = 0; i < all.size(); ++i) {
    CHECK(all[i].starts_with(i < 8 ? "127.0.0.1 - - [" : "::1 - - ["));
    CHECK(all[i].ends_with("] " + expected[i]));
  }
}

TEST_CASE("lines that come faster than they are written are lost beyond the limit, counted, and said once") {
  const captured_log messages;
  const auto lines = std::make_shared<collected_lines>();
  lines->is_stuck = true;
  eventer::run([&] {
    const http::access_log log = log_into(lines, {.waiting_bytes = 1000});
    const http::server server = logged_server(log);
    for (int i = 0; i < 100; ++i) CHECK(ask(server, {}).status == 200);  // nobody waits for it
    CHECK_FALSE(log.flush(1ms));
    CHECK(log.lost() > 60);
    lines->is_stuck = false;
    lines->is_stuck.notify_all();
    CHECK(log.flush(10s));
    CHECK(lines->all().size() + log.lost() == 100);
    const std::uint64_t lost = log.lost();
    (void)ask(server, {});
    CHECK(log.flush(10s));
    CHECK(log.lost() == lost);
  });
  CHECK(messages.count("access log: lines are lost: they come faster than they are written") == 1);
  CHECK(messages.count("access log: goes on") == 1);
}

TEST_CASE("a full disk costs lines and nothing else") {
  if (::access("/dev/full", W_OK) != 0) EVENTER_SKIP("there is no /dev/full");
  const captured_log messages;
  eventer::run([&] {
    const http::access_log log("/dev/full");
    const http::server server = logged_server(log);
    for (int i = 0; i < 3; ++i) {
      CHECK(ask(server, {}).status == 200);
      CHECK(log.flush(10s));
    }
    CHECK(log.lost() == 3);
  });
  CHECK(messages.count("No space left on device") == 1);
}

TEST_CASE("a sink that throws loses its lines, and gets the next ones") {
  const captured_log messages;
  const auto calls = std::make_shared<std::atomic<int>>(0);
  eventer::run([&] {
    const http::access_log log([calls](std::string_view) {
      if (calls->fetch_add(1) == 0) throw std::runtime_error("no room");
    });
    const http::server server = logged_server(log);
    for (int i = 0; i < 2; ++i) {
      (void)ask(server, {});
      CHECK(log.flush(10s));
    }
    CHECK(log.lost() == 1);
    CHECK(log.reopen());
  });
  CHECK(*calls == 2);
  CHECK(messages.count("no room") == 1);
}

// A folder of its own, which goes with it.
struct temporary_folder {
  temporary_folder() { REQUIRE(::mkdtemp(path.data()) != nullptr); }
  ~temporary_folder() {
    for (const char* const each : {"/log", "/log.1"}) ::unlink((path + each).c_str());
    ::rmdir(path.c_str());
  }
  std::string path = "/tmp/eventer-access-log-XXXXXX";
};
static std::size_t lines_of(const std::string& path) {
  std::ifstream file(path);
  std::size_t count = 0;
  for (std::string line; std::getline(file, line);) ++count;
  return count;
}

TEST_CASE("a file is appended to, and opened anew where it was moved away") {
  const temporary_folder folder;
  const std::string path = folder.path + "/log";
  eventer::run([&] {
    for (int i = 0; i < 2; ++i) {
      const http::access_log log(path);
      (void)ask(logged_server(log), {});
      CHECK(log.flush(10s));
    }
    CHECK(lines_of(path) == 2);
    const http::access_log log(path, {.format = access_format::json});
    const http::server server = logged_server(log);
    REQUIRE(std::rename(path.c_str(), (path + ".1").c_str()) == 0);
    (void)ask(server, {});
    CHECK(log.flush(10s));
    CHECK(lines_of(path + ".1") == 3);
    CHECK(log.reopen());
    (void)ask(server, {});
    CHECK(log.flush(10s));
    CHECK(lines_of(path + ".1") == 3);
    CHECK(lines_of(path) == 1);
    CHECK(log.lost() == 0);
  });
}

TEST_CASE("a file that can't be opened is an error with its name, and at a reopen the old one stays") {
  try {
    const http::access_log log("/nowhere/log");
    FAIL("opened");
  } catch (const std::system_error& failure) {
    CHECK(failure.code() == std::errc::no_such_file_or_directory);
    CHECK(std::string(failure.what()).find("\"/nowhere/log\"") != std::string::npos);
  }
  temporary_folder folder;
  const std::string path = folder.path + "/log", moved = folder.path + "-moved";
  eventer::run([&] {
    const http::access_log log(path);
    REQUIRE(std::rename(folder.path.c_str(), moved.c_str()) == 0);
    CHECK(log.reopen().error() == std::errc::no_such_file_or_directory);
    (void)ask(logged_server(log), {});
    CHECK(log.flush(10s));
    CHECK(lines_of(moved + "/log") == 1);
    REQUIRE(std::rename(moved.c_str(), folder.path.c_str()) == 0);
  });
}

TEST_CASE("a line that could not be written whole does not become the beginning of the next") {
  const temporary_folder folder;
  const std::string path = folder.path + "/log";
  http::detail::file_sink sink(path);
  REQUIRE_FALSE(sink.reopen());
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &before) == 0);
  const rlimit small{10, before.rlim_max};
  ::signal(SIGXFSZ, SIG_IGN);
  ::setrlimit(RLIMIT_FSIZE, &small);
  const std::size_t whole = sink.write("12345\n"), half = sink.write("6789 and more\n"), none = sink.write("x\n");
  ::setrlimit(RLIMIT_FSIZE, &before);
  ::signal(SIGXFSZ, SIG_DFL);
  CHECK(whole == 6);
  CHECK(half == 4);
  CHECK(none == 0);
  CHECK(sink.write("next\n") == 5);
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  CHECK(text.str() == "12345\n6789\nnext\n");
}

TEST_CASE("many loops write to one log, and every line is whole") {
  const auto lines = std::make_shared<collected_lines>();
  const http::access_log log = log_into(lines, {.format = access_format::json, .waiting_bytes = 10 << 20});
  const http::server server = logged_server(log);
  eventer::loop_pool pool(3);
  pool.start();
  std::vector<eventer::join_handle<void>> all;
  for (unsigned i = 0; i < 3; ++i)
    all.push_back(pool[i].spawn([server] {
      for (int each = 0; each < 300; ++each) (void)ask(server, {});
    }));
  for (auto& each : all) each.join();
  CHECK(log.flush(10s));
  pool.stop();
  pool.join();
  CHECK(log.lost() == 0);
  const std::vector<std::string> got = lines->all();
  CHECK(got.size() == 900);
  for (const std::string& each : got)
    if (!each.starts_with("{\"time\":\"") || !each.ends_with("}")) FAIL(each);
}
