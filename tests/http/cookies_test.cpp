// Cookies: what is read from a Cookie header, and which Set-Cookie headers are made or refused.
#include "eventer/http/cookies.hpp"

#include <chrono>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "../catch.hpp"

using namespace std::chrono_literals;
using namespace std::string_literals;
using eventer::http::cookie;
using eventer::http::find_cookie;
using eventer::http::for_each_cookie;
using eventer::http::same_site;

TEST_CASE("a Cookie header is read, whatever is between the cookies") {
  using pairs = std::vector<std::pair<std::string, std::string>>;
  struct row {
    std::string header;
    pairs expected;
  };
  const std::vector<row> rows = {
      {"", {}},
      {"a=1", {{"a", "1"}}},
      {"a=1; b=2", {{"a", "1"}, {"b", "2"}}},
      {"a=1;b=2", {{"a", "1"}, {"b", "2"}}},
      {" a = 1 ;\tb\t=\t2\t", {{"a", "1"}, {"b", "2"}}},
      {";;; a=1;;", {{"a", "1"}}},
      {"a=1; a=2", {{"a", "1"}, {"a", "2"}}},
      {"a", {}},
      {"a; b=2", {{"b", "2"}}},
      {"a=", {{"a", ""}}},
      {"=1", {{"", "1"}}},
      {"a=b=c", {{"a", "b=c"}}},
      {"a=\"1\"", {{"a", "1"}}},
      {"a=\"\"", {{"a", ""}}},
      {"a=\"", {{"a", "\""}}},
      {"a=\"1", {{"a", "\"1"}}},
      {"a=\"\"1\"\"", {{"a", "\"1\""}}},
      {"a=\"1;2\"", {{"a", "\"1"}}},  // quotes do not protect a semicolon
      {"a=%20", {{"a", "%20"}}},
      {"a=1,b=2", {{"a", "1,b=2"}}},
      {"$Version=1; a=1", {{"$Version", "1"}, {"a", "1"}}},
      {"a=x y", {{"a", "x y"}}},
      {"a=\xc3\xa4", {{"a", "\xc3\xa4"}}},
  };
  for (const row& each : rows) {
    CAPTURE(each.header);
    pairs seen;
    for_each_cookie(each.header, [&](std::string_view name, std::string_view value) {
      seen.emplace_back(name, value);
      return true;
    });
    CHECK(seen == each.expected);
    if (!seen.empty()) CHECK(find_cookie(each.header, seen.front().first) == seen.front().second);
    CHECK(find_cookie(each.header, "absent") == std::nullopt);
    CHECK(find_cookie(each.header, "A") == std::nullopt);
  }
}

TEST_CASE("of two cookies with one name the first is found") {
  CHECK(find_cookie("id=1; id=2", "id") == "1");
  CHECK(find_cookie("xid=0; id2=1; id=2", "id") == "2");
  CHECK(find_cookie("a=id=1; id=2", "id") == "2");
}

TEST_CASE("a header of a megabyte is read once") {
  const std::string many(1'000'000, ';');
  CHECK(find_cookie(many + "a=1", "a") == "1");
  CHECK(find_cookie("a=" + many, "a") == "");
  CHECK(find_cookie(std::string(1'000'000, ' ') + "a=1", "a") == "1");
}

TEST_CASE("a cookie is written with its attributes") {
  using namespace std::chrono;
  const system_clock::time_point date = sys_days(year(2021) / June / 9) + 10h + 18min + 14s + 900ms;
  const std::vector<std::pair<cookie, std::string>> rows = {
      {{.name = "a", .value = "1"}, "a=1; Path=/; HttpOnly; SameSite=Lax"},
      {{.name = "a"}, "a=; Path=/; HttpOnly; SameSite=Lax"},
      {{.name = "a", .value = "1", .path = "", .http_only = false, .site = same_site::unset}, "a=1"},
      {{.name = "a", .value = "\"1\"", .path = "", .http_only = false, .site = same_site::unset}, "a=\"1\""},
      {{.name = "a", .value = "1", .path = "/x y", .domain = "example.org", .max_age = 3600s, .secure = true},
       "a=1; Path=/x y; Domain=example.org; Max-Age=3600; Secure; HttpOnly; SameSite=Lax"},
      {{.name = "a", .max_age = 0s}, "a=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"},
      {{.name = "a", .max_age = -1s}, "a=; Path=/; Max-Age=-1; HttpOnly; SameSite=Lax"},
      {{.name = "a", .expires = date}, "a=; Path=/; Expires=Wed, 09 Jun 2021 10:18:14 GMT; HttpOnly; SameSite=Lax"},
      {{.name = "a", .expires = system_clock::time_point()},
       "a=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly; SameSite=Lax"},
      {{.name = "a", .expires = system_clock::time_point() - 1s},
       "a=; Path=/; Expires=Wed, 31 Dec 1969 23:59:59 GMT; HttpOnly; SameSite=Lax"},
      {{.name = "a", .expires = sys_days(year(2024) / February / 29)},
       "a=; Path=/; Expires=Thu, 29 Feb 2024 00:00:00 GMT; HttpOnly; SameSite=Lax"},
      {{.name = "a", .secure = true, .site = same_site::none}, "a=; Path=/; Secure; HttpOnly; SameSite=None"},
      {{.name = "a", .site = same_site::strict}, "a=; Path=/; HttpOnly; SameSite=Strict"},
      {{.name = "__Host-a", .value = "1", .secure = true}, "__Host-a=1; Path=/; Secure; HttpOnly; SameSite=Lax"},
      {{.name = "__Secure-a", .domain = ".example.org", .secure = true},
       "__Secure-a=; Path=/; Domain=.example.org; Secure; HttpOnly; SameSite=Lax"},
      {{.name = "__Hosta"}, "__Hosta=; Path=/; HttpOnly; SameSite=Lax"},
  };
  for (const auto& [each, expected] : rows) CHECK(each.to_string() == expected);
}

static std::string refused(const cookie& each) {
  try {
    return "made: " + each.to_string();
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
}

TEST_CASE("a cookie that browsers would drop or misread is refused with a sentence") {
  const std::string high = "a\x80";
  const std::vector<std::pair<cookie, std::string>> rows = {
      {{}, "a cookie has a name"},
      {{.name = "a b"}, "a name has letters"},
      {{.name = "a=b"}, "a name has letters"},
      {{.name = "a;b"}, "a name has letters"},
      {{.name = "a\r\nb"}, "a name has letters"},
      {{.name = high}, "a name has letters"},
      {{.name = "a", .value = "x y"}, "percent_encode() on \"x y\""},
      {{.name = "a", .value = "x;y"}, "percent_encode()"},
      {{.name = "a", .value = "x,y"}, "percent_encode()"},
      {{.name = "a", .value = "x\\y"}, "percent_encode()"},
      {{.name = "a", .value = "x\"y"}, "percent_encode()"},
      {{.name = "a", .value = "\""}, "percent_encode()"},
      {{.name = "a", .value = "x\r\nSet-Cookie: b=1"}, "percent_encode()"},
      {{.name = "a", .value = "\0"s}, "percent_encode()"},
      {{.name = "a", .value = "\x7f"}, "percent_encode()"},
      {{.name = "a", .value = high}, "percent_encode()"},
      {{.name = "a", .value = std::string(4096, 'x')}, "4096 bytes"},
      {{.name = "a", .path = "x"}, "begins with a slash, and this is \"x\""},
      {{.name = "a", .path = "/;Domain=evil"}, "no semicolon"},
      {{.name = "a", .path = "/\r\n"}, "no semicolon"},
      {{.name = "a", .path = "/" + std::string(1024, 'x')}, "1024 bytes"},
      {{.name = "a", .domain = "a b"}, "host's name"},
      {{.name = "a", .domain = "."}, "host's name"},
      {{.name = "a", .domain = "a..b"}, "host's name"},
      {{.name = "a", .domain = "a.b."}, "host's name"},
      {{.name = "a", .domain = "a;Secure"}, "host's name"},
      {{.name = "a", .domain = "host:80"}, "host's name"},
      {{.name = "a", .site = same_site::none}, "without Secure"},
      {{.name = "__Secure-a"}, "needs secure"},
      {{.name = "__secure-a"}, "needs secure"},
      {{.name = "__Host-a"}, "needs secure"},
      {{.name = "__HOST-a"}, "needs secure"},
      {{.name = "__Host-a", .path = "", .secure = true}, "needs secure"},
      {{.name = "__Host-a", .path = "/x", .secure = true}, "needs secure"},
      {{.name = "__Host-a", .domain = "example.org", .secure = true}, "no domain"},
  };
  for (const auto& [each, why] : rows) {
    const std::string sentence = refused(each);
    CAPTURE(each.name, sentence);
    CHECK(sentence.starts_with("cookie \""));
    CHECK(sentence.find(why) != std::string::npos);
  }
  CHECK(refused({.name = "a", .value = std::string(4095, 'x')}).starts_with("made"));
}
