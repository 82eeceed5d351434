// Error pages of the program: for which answers they are asked, and what stays the server's.
#include <string>
#include <vector>

#include "../captured_log.hpp"
#include "../catch.hpp"
#include "json_client.hpp"

namespace http = eventer::http;
using namespace std::chrono_literals;
using namespace std::string_literals;

static http::router routes_that_fail() {
  http::router routes;
  routes.get("/", [](http::request&, http::response& answer) { answer.text("hello\n"); });
  routes.get("/forgets", [](http::request&, http::response&) {});
  routes.get("/throws", [](http::request&, http::response& answer) {
    answer.header("X-Half", "done").html("half of it");
    throw std::runtime_error("no such luck");
  });
  routes.get("/chosen", [](http::request&, http::response&) { throw http::error(404, "no such note\n"); });
  routes.get("/silent", [](http::request&, http::response&) { throw http::error(404); });
  routes.get("/own", [](http::request&, http::response& answer) { answer.status(404).text("my own\n"); });
  routes.get("/begun", [](http::request&, http::response& answer) {
    (void)answer.write("begun");
    throw std::runtime_error("too late");
  });
  routes.get("/local", [](http::request&, http::response& answer) { answer.text("here\n"); }).loopback_only();
  routes
      .post("/upload",
            [](http::request& asked, http::response& answer) {
              if (asked.body()) answer.text("got it\n");
            })
      .body_limit(10);
  return routes;
}

TEST_CASE("an error page is asked for whatever the server answers itself, and for nothing else") {
  const captured_log log;
  const auto asked_for = std::make_shared<std::vector<int>>();
  eventer::run([&] {
    http::server_options options;
    options.limits.header_bytes = 1000;
    options.limits.request_line = 500;
    options.error_page = [asked_for](const http::request& asked, http::response& answer, int status) {
      asked_for->push_back(status);
      answer.header("X-Page", "own").html("<h1>" + std::to_string(status) + " " + std::string(asked.path()) + "</h1>");
    };
    const http::server server(routes_that_fail(), options);
    const auto get = [](const std::string& target, const std::string& fields = "") {
      return "GET " + target + " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + fields + "\r\n";
    };
    const auto post = [](const std::string& fields) { return "POST /upload HTTP/1.1\r\nHost: a\r\n" + fields; };
    const struct {
      std::string text;
      int status;
      std::string body;
    } pages[] = {
        {get("/missing"), 404, "<h1>404 /missing</h1>"},
        {"DELETE / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 405, "<h1>405 /</h1>"},
        {get("/forgets"), 500, "<h1>500 /forgets</h1>"},
        {get("/throws"), 500, "<h1>500 /throws</h1>"},
        {get("/silent"), 404, "<h1>404 /silent</h1>"},
        {get("/local", "Via: 1.1 a\r\n"), 403, "<h1>403 /local</h1>"},
        {post("Connection: close\r\nContent-Length: 11\r\n\r\n12345678901"), 413, "<h1>413 /upload</h1>"},
        {post("Transfer-Encoding: chunked\r\n\r\nb\r\n12345678901\r\n0\r\n\r\n"), 413, "<h1>413 /upload</h1>"},
        {post("Transfer-Encoding: chunked\r\n\r\nx\r\n"), 400, "<h1>400 /upload</h1>"},
        {"GET / HTTP/1.1\r\n\r\n", 400, "<h1>400 /</h1>"},
        {"nonsense\r\n\r\n", 400, "<h1>400 /</h1>"},
        {get("/%zz"), 400, "<h1>400 /</h1>"},
        {get("/" + std::string(600, 'x')), 414, "<h1>414 /</h1>"},
        {get("/", "X: " + std::string(1000, 'x') + "\r\n"), 431, "<h1>431 /</h1>"},
        {"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505, "<h1>505 /</h1>"},
    };
    for (const auto& each : pages) {
      CAPTURE(each.text);
      asked_for->clear();
      const http_reply reply = parse_reply(say(server, each.text));
      CHECK(reply.status == each.status);
      CHECK(reply.body == each.body);
      CHECK(reply.field("Content-Type") == "text/html; charset=utf-8");
      CHECK(reply.field("X-Page") == "own");
      CHECK(reply.field("X-Half").empty());
      CHECK(reply.field("Connection") == "close");
      CHECK(reply.field("Content-Length") == std::to_string(each.body.size()));
      CHECK((reply.field("Allow") == "GET, HEAD") == (each.status == 405));
      CHECK(*asked_for == std::vector<int>{each.status});
    }
    const struct {
      const char* target;
      int status;
      const char* body;
    } others[] = {{"/", 200, "hello\n"}, {"/chosen", 404, "no such note\n"}, {"/own", 404, "my own\n"}};
    asked_for->clear();
    for (const auto& each : others) {
      CAPTURE(each.target);
      const http_reply reply = ask(server, {.target = each.target});
      CHECK(reply.status == each.status);
      CHECK(reply.body == each.body);
    }
    CHECK(say(server, get("/begun")).ends_with("5\r\nbegun\r\n"));  // cut: no page in the middle of an answer
    CHECK(asked_for->empty());
    const http_reply head = ask(server, {.method = "HEAD", .target = "/missing"});
    CHECK(head.status == 404);
    CHECK(head.body.empty());
    CHECK(head.field("Content-Length") == "21");
  });
  CHECK(log.count("no such luck") == 1);
  CHECK(log.count("too late") == 1);
}

TEST_CASE("a connection goes on behind an error page") {
  eventer::run([] {
    const http::server server(routes_that_fail(), {.error_page = [](const http::request&, http::response& answer, int) {
                                answer.text("page");
                              }});
    const std::string all = say(server,
                                "GET /missing HTTP/1.1\r\nHost: a\r\n\r\nPUT / HTTP/1.1\r\nHost: a\r\n\r\n"
                                "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    CHECK(all.find(" 404 ") < all.find(" 405 "));
    CHECK(all.find(" 405 ") < all.find(" 200 "));
    CHECK(all.ends_with("hello\n"));
  });
}

TEST_CASE("a page's status is settled, and a page that can't be made is replaced by the plain one") {
  const captured_log log;
  eventer::run([] {
    const auto server_with = [](auto page) { return http::server(routes_that_fail(), {.error_page = page}); };
    const std::vector<http::server> servers = {
        server_with([](const http::request&, http::response& answer, int) { answer.status(200).text("page"); }),
        server_with([](const http::request&, http::response&, int) { throw std::runtime_error("no page"); }),
        server_with([](const http::request&, http::response&, int) { throw http::error(402, "pay\n"); }),
        server_with([](const http::request&, http::response& answer, int) { answer.header("X", "a\nb"); }),
        server_with([](const http::request&, http::response& answer, int) { (void)answer.header("Allow", "all"); }),
    };
    const char* const bodies[][3] = {{"page", "page", "page"},
                                     {"404 Not Found\n", "405 Method Not Allowed\n", "400 Bad Request\n"},
                                     {"404 Not Found\n", "405 Method Not Allowed\n", "400 Bad Request\n"},
                                     {"404 Not Found\n", "405 Method Not Allowed\n", "400 Bad Request\n"},
                                     {"", "", ""}};
    for (std::size_t i = 0; i < servers.size(); ++i) {
      CAPTURE(i);
      const http_reply missing = ask(servers[i], {.target = "/missing"});
      const http_reply refused = ask(servers[i], {.method = "PUT"});
      const http_reply unread = parse_reply(say(servers[i], "nonsense\r\n\r\n"));
      CHECK(missing.status == 404);
      CHECK(refused.status == 405);
      CHECK(unread.status == 400);
      CHECK(missing.body == bodies[i][0]);
      CHECK(refused.body == bodies[i][1]);
      CHECK(unread.body == bodies[i][2]);
      CHECK(refused.field("Allow") == (i == 4 ? "all" : "GET, HEAD"));
    }
  });
  CHECK(log.count("no page") == 3);
}

TEST_CASE("a page may wait") {
  eventer::run([] {
    const http::server server(routes_that_fail(), {.error_page = [](const http::request&, http::response& answer, int) {
                                eventer::sleep_for(1ms);
                                answer.text("late page");
                              }});
    CHECK(ask(server, {.target = "/missing"}).body == "late page");
    CHECK(parse_reply(say(server, "nonsense\r\n\r\n")).body == "late page");
  });
}
