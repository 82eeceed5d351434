// What a parsed head says, where its views lie, and that whatever bytes it is given it is no worse than refused.
#include "eventer/http/request_head.hpp"

#include <memory>
#include <string>
#include <vector>

#include "../catch.hpp"
#include "eventer/http/head_scanner.hpp"

using namespace std::string_literals;
using eventer::http::body_kind;
using eventer::http::head_scanner;
using eventer::http::limits;
using eventer::http::refusal;
using eventer::http::request_head;

static const std::string ordinary =
    "POST /a/b%20c?d=e&f HTTP/1.1\r\n"
    "Host: example.com:8080\r\n"
    "Accept: text/html, */*;q=0.8\r\n"
    "Cookie: a=b\r\n"
    "cookie:c=d \r\n"
    "Connection: keep-alive, Upgrade\r\n"
    "Upgrade: websocket, h2c\r\n"
    "Empty:\r\n"
    "Content-Length: 17\r\n"
    "\r\n";

static void check_is_ordinary(const request_head& head) {
  CHECK(head.method() == "POST");
  CHECK(head.target() == "/a/b%20c?d=e&f");
  CHECK(head.path() == "/a/b%20c");
  CHECK(head.query() == "d=e&f");
  CHECK(head.host() == "example.com:8080");
  CHECK(head.minor_version() == 1);
  REQUIRE(head.field_count() == 8);
  CHECK(head.field(0).name == "Host");
  CHECK(head.field(1).value == "text/html, */*;q=0.8");
  CHECK(head.field(3).name == "cookie");
  CHECK(head.field(3).value == "c=d");
  CHECK(head.field(6).value == "");
  CHECK(head.find("COOKIE") == "a=b");  // the first
  CHECK(head.find("empty") == "");
  CHECK(!head.find("Cooki"));
  CHECK(!head.find(""));
  CHECK(head.has_token("upgrade", "H2C"));
  CHECK(head.has_token("Connection", "upgrade"));
  CHECK(!head.has_token("Upgrade", "h2"));
  CHECK(!head.has_token("Upgrade", "websocket, h2c"));
  CHECK(!head.has_token("Empty", "x"));
  CHECK(!head.has_token("Nothing", ""));
  CHECK(head.body() == body_kind::length);
  CHECK(head.content_length() == 17);
  CHECK(head.keep_alive());
  CHECK(head.wants_upgrade());
  CHECK(!head.expects_continue());
}

TEST_CASE("a head says what was sent, as views of its bytes") {
  request_head head;
  REQUIRE(!head.parse(ordinary, {}));
  check_is_ordinary(head);
  for (std::size_t i = 0; i < head.field_count(); ++i) {
    CHECK(head.field(i).name.data() > ordinary.data());
    CHECK(head.field(i).value.data() + head.field(i).value.size() < ordinary.data() + ordinary.size());
  }
}

TEST_CASE("a head's bytes may move") {
  request_head head;
  auto first = std::make_unique<std::string>(ordinary);
  REQUIRE(!head.parse(*first, {}));
  const std::string second = *first;
  first->assign(first->size(), 'x');
  first.reset();
  head.rebase(second.data());
  check_is_ordinary(head);
}

TEST_CASE("one object serves one request after another, and keeps nothing of the last") {
  request_head head;
  const std::string bare = "GET / HTTP/1.0\r\n\r\n";
  std::string many = "GET http://b/ HTTP/1.1\r\nHost: a\r\n";
  for (int i = 0; i < 99; ++i)
    many.append("x").append(std::to_string(i)).append(": ").append(std::to_string(i * i)).append("\r\n");
  many += "\r\n";
  for (int round = 0; round < 3; ++round) {
    REQUIRE(!head.parse(many, {}));
    REQUIRE(head.field_count() == 100);
    for (int i = 0; i < 99; ++i) CHECK(head.find("X" + std::to_string(i)) == std::to_string(i * i));
    CHECK(head.host() == "b");
    CHECK(head.find("Host") == "a");
    CHECK(head.path() == "/");
    REQUIRE(!head.parse(bare, {}));
    CHECK(head.field_count() == 0);
    CHECK(head.host() == "");
    CHECK(head.query() == "");
    CHECK(head.body() == body_kind::none);
    CHECK(!head.keep_alive());
    CHECK(!head.wants_upgrade());
    REQUIRE(!head.parse(ordinary, {}));
    check_is_ordinary(head);
    const refusal why = head.parse("GET / HTTP/1.1\r\n\r\n", {});
    CHECK(why.status == 400);
    CHECK(why.why == "no Host"s);
  }
}

TEST_CASE("the parts of a target are as they were sent") {
  struct target {
    const char *line, *path, *query, *host;
  };
  const target all[] = {{"GET / HTTP/1.1", "/", "", "h"},
                        {"GET /? HTTP/1.1", "/", "", "h"},
                        {"GET /?? HTTP/1.1", "/", "?", "h"},
                        {"GET /a?b=/c HTTP/1.1", "/a", "b=/c", "h"},
                        {"GET http://b HTTP/1.1", "/", "", "b"},
                        {"GET http://b?c HTTP/1.1", "/", "c", "b"},
                        {"GET http://b:1/c/?d HTTP/1.1", "/c/", "d", "b:1"},
                        {"GET hTTps://[::1]:1/ HTTP/1.1", "/", "", "[::1]:1"},
                        {"GET //b/c HTTP/1.1", "//b/c", "", "h"},
                        {"OPTIONS * HTTP/1.1", "*", "", "h"},
                        {"OPTIONS http://b HTTP/1.1", "/", "", "b"}};
  for (const target& each : all) {
    CAPTURE(each.line);
    request_head head;
    const std::string bytes = each.line + "\r\nx: y\r\nHost: h\r\n\r\n"s;
    REQUIRE(!head.parse(bytes, {}));
    CHECK(head.path() == each.path);
    CHECK(head.query() == each.query);
    CHECK(head.host() == each.host);
  }
}

TEST_CASE("a head that no scanner has seen is refused where it is none") {
  const std::string bad[] = {"",
                             "\r",
                             "\r\n",
                             "\r\n\r\n",
                             "GET",
                             "GET / HTTP/1.1",
                             "GET / HTTP/1.1\r",
                             "GET / HTTP/1.1\r\n",
                             "GET / HTTP/1.1\r\nHost: a\r\n",
                             "GET / HTTP/1.1\r\nHost: a",
                             "GET / HTTP/1.1\r\nHost: a\r\n\r",
                             "GET / HTTP/1.1\r\nHost: a\r\n\r\nx",
                             "GET / HTTP/1.1\r\nHost: a\r\n\r\n\r\n",
                             "GET / HTTP/1.1\r\nHost:\r\n a\r\n\r\n",
                             "GET / HTTP/1.1\r\nHost: a\r\nx: y\r\n z\r\n\r\n",
                             "GET / HTTP/1.2\r\nHost: a\r\nx: y\r\n " + std::string(5000, 'z') + "\r\n\r\n",
                             "GET / HTTQ/1.1\r\nHost: a\r\n\r\n",
                             "GET / HTTP/1.2",
                             "GET / P/1.2\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n",
                             "GET / HTTP/1.2\r\n",
                             "GET / HTTP/1.2\r",
                             "GET / HTTP/1.2\rx",
                             "GET / HTTP/1.x\r\nHost: a\r\n\r\n",
                             "GET / HTTP/2.1\r\nHost: a\r\n\r\n",
                             "aaaaaaaaa/1.2\r\n\r\n",
                             std::string(100, '\0'),
                             std::string(100, '\r'),
                             "GET /\r HTTP/1.1\r\nHost: a\r\n\r\n"};
  for (const std::string& bytes : bad) {
    CAPTURE(bytes);
    request_head head;
    const refusal why = head.parse(bytes, {});
    CHECK(why.status == 400);
    CHECK(why.why != nullptr);
  }
  request_head head;
  CHECK(head.parse("GET / HTTP/1.1\r\nHost: a\r\nx: " + std::string(70'000, 'y') + "\r\n\r\n", {}).status == 431);
}

TEST_CASE("a head may be as large as 16 bits can say, whatever the limit is") {
  limits large;
  large.header_bytes = large.request_line = std::size_t{1} << 20;
  for (const std::size_t size : {limits::largest_head, limits::largest_head + 1}) {
    std::string bytes = "GET / HTTP/1.1\r\nHost: a\r\nx: \r\ny: last\r\n\r\n";
    bytes.insert(bytes.find("\r\ny"), size - bytes.size(), 'z');
    head_scanner scanner;
    const bool fits = size == limits::largest_head;
    CHECK(scanner.scan(bytes, large) == (fits ? head_scanner::state::complete : head_scanner::state::refused));
    CHECK(scanner.why().status == (fits ? 0 : 431));
    if (!fits) continue;
    request_head head;
    REQUIRE(!head.parse(bytes, large));
    CHECK(head.find("y") == "last");
    CHECK(head.find("x")->size() == size - 41);
  }
}

TEST_CASE("a scanner says where the head is, and serves again after reset") {
  const std::string bytes = "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\nGET";
  head_scanner scanner;
  for (int round = 0; round < 2; ++round) {
    CHECK(scanner.scan({}, {}) == head_scanner::state::incomplete);
    CHECK(scanner.scan({bytes.data(), 1}, {}) == head_scanner::state::incomplete);
    CHECK(scanner.scan({bytes.data(), bytes.size() - 4}, {}) == head_scanner::state::incomplete);
    CHECK(scanner.scan(bytes, {}) == head_scanner::state::complete);
    CHECK(scanner.scan(bytes, {}) == head_scanner::state::complete);
    CHECK(scanner.skipped() == 2);
    CHECK(scanner.size() == bytes.size() - 3);
    scanner.reset();
    CHECK(scanner.scan("@", {}) == head_scanner::state::refused);
    CHECK(scanner.scan("GET", {}) == head_scanner::state::refused);
    CHECK(scanner.why().status == 400);
    scanner.reset();
    CHECK(!scanner.why());
  }
}
