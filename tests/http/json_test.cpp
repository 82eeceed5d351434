// JSON bodies: what is taken, what is refused and where, and answers.
#include "eventer/http_json.hpp"

#include <boost/describe/class.hpp>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "../captured_log.hpp"
#include "../catch.hpp"
#include "json_client.hpp"

namespace http = eventer::http;
using namespace std::string_literals;

struct json_note {
  std::string text;
  int page = 0;
};
BOOST_DESCRIBE_STRUCT(json_note, (), (text, page))

struct picky {
  std::string name;
};
static picky tag_invoke(boost::json::value_to_tag<picky>, const boost::json::value& from) {
  const auto& name = from.at("name").as_string();
  if (name == "nobody") throw http::error(409, "somebody else is nobody\n");
  return {std::string(name)};
}

static std::string nested(std::size_t depth, const char* open, const char* close) {
  std::string text;
  for (std::size_t i = 0; i < depth; ++i) text += open;
  text += "1";
  for (std::size_t i = 0; i < depth; ++i) text += close;
  return text;
}
static std::string answer_to(std::string_view text, std::size_t depth = http::json_depth) {
  boost::json::value into;
  return http::parse_json(text, into, depth);
}

TEST_CASE("JSON is read as RFC 8259 has it") {
  const std::vector<std::pair<std::string, boost::json::value>> all = {
      {"null", nullptr},
      {" true\r\n", true},
      {"-0", 0},
      {"9223372036854775807", std::numeric_limits<std::int64_t>::max()},
      {"-9223372036854775808", std::numeric_limits<std::int64_t>::min()},
      {"18446744073709551615", std::numeric_limits<std::uint64_t>::max()},
      {"18446744073709551616", 18446744073709551616.0},
      {"1e3", 1000.0},
      {"1884467440736095516160", 1884467440736095516160.0},  // of which Boost.JSON misses the last bit
      {"[0.1e1,-2.2250738585072011e-308,1.7976931348623157e308]",
       {1.0, -2.2250738585072011e-308, 1.7976931348623157e308}},
      {"1e-999", 0.0},  // too small is nothing, and not refused
      {"\"\\u00e9\\ud83d\\ude00\\n\"", "\xc3\xa9\xf0\x9f\x98\x80\n"},
      {"[]", boost::json::array()},
      {"{}", boost::json::object()},
      {"{\"a\":{\"a\":{\"a\":1}},\"b\":[{\"a\":1},{\"a\":2}]}",
       {{"a", {{"a", {{"a", 1}}}}}, {"b", {{{"a", 1}}, {{"a", 2}}}}}},
      {"{\"\":1}", {{"", 1}}},
  };
  for (const auto& [text, expected] : all) {
    CAPTURE(text);
    boost::json::value value = "untouched";
    CHECK(http::parse_json(text, value).empty());
    CHECK(value == expected);
  }
}

TEST_CASE("what is refused is refused with its place and a reason, and leaves the value alone") {
  const std::vector<std::pair<std::string, std::string>> all = {
      {"", "byte 0: incomplete JSON"},
      {"[1,2", "byte 4: incomplete JSON"},
      {"{\"a\":1} x", "byte 8: extra data"},
      {"1 2", "byte 2: extra data"},
      {"[1,]", "byte 3: syntax error"},
      {"[1] // no", "byte 4: extra data"},
      {"{'a':1}", "byte 1: syntax error"},
      {"\xef\xbb\xbf{}", "byte 0: syntax error"},  // a byte order mark
      {"NaN", "byte 0: syntax error"},
      {"[Infinity]", "byte 1: syntax error"},
      {"01", "byte 1: extra data"},
      {"[1e400]", "byte 6: the number that ends here is too large"},
      {"-1e400", "byte 6: the number that ends here is too large"},
      {"1e99999999999", "byte 11: exponent overflow"},
      {"{\"a\":1,\"b\":{\"a\":2},\"\\u0061\":3}", "byte 29: the object that ends here has the key \"a\" twice"},
      {"[{\"\":1,\"\":1}]", "byte 11: the object that ends here has the key \"\" twice"},
      {"\"\xff\"", "byte 1: syntax error"},
      {"\"\xed\xa0\x80\"", "byte 1: syntax error"},  // half of a pair
      {"\"\xc0\xaf\"", "byte 1: syntax error"},      // longer than needed
      {"{\"\xc3\":1}", "byte 2: syntax error"},
      {"\"\\ud800\"", "byte 7: syntax error"},
      {"\"a\nb\"", "byte 2: syntax error"},
      {"\"a\0b\""s, "byte 2: syntax error"},
      {"[1\0]"s, "byte 2: syntax error"},
  };
  for (const auto& [text, expected] : all) {
    CAPTURE(text);
    boost::json::value value = "untouched";
    CHECK(http::parse_json(text, value) == expected);
    CHECK(value == "untouched");
  }
}

TEST_CASE("JSON is as deep as is allowed, and hostile depth costs nothing") {
  for (const auto& [open, close] : {std::pair("[", "]"), std::pair("{\"a\":", "}")}) {
    CHECK(answer_to(nested(32, open, close)).empty());
    CHECK(answer_to(nested(33, open, close)).find("more than 32 arrays and objects") != std::string::npos);
    CHECK(answer_to(nested(3, open, close), 3).empty());
    CHECK(answer_to(nested(4, open, close), 3).find("more than 3 ") != std::string::npos);
    CHECK(answer_to(nested(http::deepest_json, open, close), http::deepest_json).empty());
    CHECK_FALSE(answer_to(nested(100'000, open, close), http::deepest_json).empty());
  }
  CHECK(answer_to(std::string(100'000, '[')) == "byte 32: more than 32 arrays and objects in one another");
  boost::json::value into;
  CHECK_THROWS_AS(http::parse_json("1", into, http::deepest_json + 1), std::invalid_argument);
}

TEST_CASE("long numbers, long strings and many keys are read in linear time") {
  const std::string million(1'000'000, '9');
  CHECK(answer_to(million) == "byte 1000000: the number that ends here is too large");
  CHECK(answer_to("0." + million).empty());
  CHECK(answer_to("1e-" + million).find("exponent overflow") != std::string::npos);
  CHECK(answer_to("\"" + million + "\"").empty());
  std::string keys = "{";
  for (int i = 0; i < 100'000; ++i) keys += "\"" + std::to_string(i) + "\":1,";
  CHECK(answer_to(keys + "\"x\":1}").empty());
  CHECK(answer_to(keys + "\"777\":1}").find("the key \"777\" twice") != std::string::npos);
}

TEST_CASE("no change of one byte, and no cut, brings the JSON reader down") {
  const std::string text =
      "{\"a\":[1,-2.5e10,18446744073709551615,true,false,null,\"x\\u00e9\\n\xc3\xa9\"],\"b\":{\"c\":{}}}";
  REQUIRE(answer_to(text).empty());
  for (std::size_t i = 0; i < text.size(); ++i) {
    CHECK_FALSE(answer_to(text.substr(0, i)).empty());
    for (int byte = 0; byte < 256; ++byte) {
      std::string changed = text;
      changed[i] = static_cast<char>(byte);
      const std::string why = answer_to(changed);
      if (!why.empty() && !why.starts_with("byte ")) FAIL(why);
    }
  }
}

static http::server json_server() {
  http::router routes;
  routes.post("/echo",
              [](http::request& asked, http::response& answer) { http::send_json(answer, http::json_body(asked)); });
  routes.post("/flat", [](http::request& asked, http::response& answer) {
    http::send_json(answer, http::json_body(asked, 1), 201);
  });
  routes.post("/any", [](http::request& asked, http::response& answer) {
    http::send_json(answer, http::json_body(asked, {.any_type = true}));
  });
  routes.post("/note", [](http::request& asked, http::response& answer) {
    auto note = http::json_body<json_note>(asked);
    ++note.page;
    http::send_json(answer, note);
  });
  routes.post("/map", [](http::request& asked, http::response& answer) {
    http::send_json(answer, http::json_body<std::map<std::string, int>>(asked), 202);
  });
  routes.post("/picky",
              [](http::request& asked, http::response& answer) { answer.text(http::json_body<picky>(asked).name); });
  routes
      .post("/small",
            [](http::request& asked, http::response& answer) { http::send_json(answer, http::json_body(asked)); })
      .body_limit(10);
  routes.get("/nan", [](http::request&, http::response& answer) {
    http::send_json(answer, {{"a", {1.5, std::numeric_limits<double>::quiet_NaN()}}});
  });
  routes.get("/typed", [](http::request&, http::response& answer) {
    answer.header("Content-Type", "application/problem+json").status(404);
    http::send_json(answer, {{"title", "no such note"}});
  });
  return http::server(std::move(routes));
}

TEST_CASE("a JSON body reaches its handler, or is answered with what is wrong") {
  const char* const json = "Content-Type: application/json\r\n";
  const struct {
    const char *target, *fields;
    std::string body;
    int status;
    std::string answer;
  } all[] = {
      {"/echo", json, "{\"a\": [1, 2.5, \"x\"]}", 200, "{\"a\":[1,2.5E0,\"x\"]}"},
      {"/echo", "Content-Type: Application/JSON ; charset=utf-8\r\n", "1", 200, "1"},
      {"/echo", "Content-Type: application/merge-patch+json\r\n", "1", 200, "1"},
      {"/echo", "Content-Type: text/plain\r\n", "1", 415, "this takes JSON, with Content-Type: application/json\n"},
      {"/echo", "Content-Type: application/jsonp\r\n", "1", 415,
       "this takes JSON, with Content-Type: application/json\n"},
      {"/echo", "", "1", 415, "this takes JSON, with Content-Type: application/json\n"},
      {"/any", "", "[1]", 200, "[1]"},
      {"/any", "Content-Type: text/plain\r\n", "[1]", 200, "[1]"},
      {"/echo", json, "{\"a\":", 400, "the body is not the JSON that it should be: byte 5: incomplete JSON\n"},
      {"/echo", json, "", 400, "the body is not the JSON that it should be: byte 0: incomplete JSON\n"},
      {"/flat", json, "[1]", 201, "[1]"},
      {"/flat", json, "[[1]]", 400,
       "the body is not the JSON that it should be: byte 1: more than 1 arrays and objects in one another\n"},
      {"/small", json, "[1,2,3,4,5]", 413, "413 Content Too Large\n"},
      {"/note", json, "{\"text\":\"a\",\"page\":1}", 200, "{\"text\":\"a\",\"page\":2}"},
      {"/note", json, "{\"text\":1,\"page\":1}", 422,
       "the body is JSON, but not what is taken here: value is not a string\n"},
      {"/note", json, "{\"text\":\"a\",\"page\":1e10}", 422, ""},
      {"/note", json, "[]", 422, ""},
      {"/map", json, "{\"a\":1}", 202, "{\"a\":1}"},
      {"/picky", json, "{\"name\":\"me\"}", 200, "me"},
      {"/picky", json, "{\"name\":1}", 422,
       "the body is JSON, but not what is taken here: a member is missing, or of another type\n"},
      {"/picky", json, "{}", 422, ""},
      {"/picky", json, "{\"name\":\"nobody\"}", 409, "somebody else is nobody\n"},
  };
  eventer::run([&] {
    const http::server server = json_server();
    for (const auto& each : all) {
      CAPTURE(each.target, each.fields, each.body);
      const http_reply reply = ask(server, {"POST", each.target, each.fields, each.body});
      CHECK(reply.status == each.status);
      if (!each.answer.empty()) CHECK(reply.body == each.answer);
      if (each.status < 300 && each.target != "/picky"s) CHECK(reply.field("Content-Type") == "application/json");
    }
  });
}

TEST_CASE("a JSON body in chunks is read, and beyond the limit refused") {
  eventer::run([] {
    const http::server server = json_server();
    const auto send = [&](const char* target, const char* chunks) {
      return parse_reply(say(server, "POST "s + target +
                                         " HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
                                         "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n" +
                                         chunks));
    };
    CHECK(send("/echo", "3\r\n[1,\r\n2\r\n2]\r\n0\r\n\r\n").body == "[1,2]");
    CHECK(send("/small", "5\r\n[1,2,\r\n8\r\n3,4,5,6]\r\n0\r\n\r\n").status == 413);
    CHECK(send("/echo", "3\r\n[1,\r\nx\r\n").status == 400);
    CHECK(send("/echo", "3\r\n[1,\r\n").status == 400);  // and then the client closes
  });
}

TEST_CASE("an answer that JSON can't say is the server's fault, and a type that was set stays") {
  const captured_log log;
  eventer::run([] {
    const http::server server = json_server();
    CHECK(ask(server, {.target = "/nan"}).status == 500);
    const http_reply typed = ask(server, {.target = "/typed"});
    CHECK(typed.status == 404);
    CHECK(typed.field("Content-Type") == "application/problem+json");
    CHECK(typed.body == "{\"title\":\"no such note\"}");
  });
  CHECK(log.count("infinite or none (NaN)") == 1);
}
