// Targets: what is cut where, what a path looks like decoded, and what is refused.
#include "eventer/http/target.hpp"

#include <random>
#include <string>
#include <vector>

#include "../catch.hpp"

using namespace std::string_literals;
using eventer::http::percent_decode;
using eventer::http::percent_encode;
using eventer::http::refusal;
using eventer::http::target;

// Text without escapes as RFC 3986, 5.2.4 says it, letter by letter.
static std::string without_dot_segments(std::string input) {
  std::string output;
  while (!input.empty()) {
    if (input.starts_with("/./")) {
      input.erase(0, 2);
    } else if (input == "/.") {
      input = "/";
    } else if (input.starts_with("/../") || input == "/..") {
      input = input == "/.." ? "/" : input.substr(3);
      output.erase(output.empty() ? 0 : output.rfind('/'));
    } else {
      const std::size_t end = std::min(input.find('/', 1), input.size());
      output += input.substr(0, end);
      input.erase(0, end);
    }
  }
  return output;
}

TEST_CASE("a target is cut into path and query, and its path decoded") {
  struct row {
    std::string text, raw_path, path, query;
    bool has_query = false;
  };
  const std::vector<row> rows = {
      {"/", "/", "/", ""},
      {"/a", "/a", "/a", ""},
      {"/a/b?c=d", "/a/b", "/a/b", "c=d", true},
      {"/a?", "/a", "/a", "", true},
      {"/a?b?c/../d", "/a", "/a", "b?c/../d", true},
      {"/?%zz", "/", "/", "%zz", true},  // queries are read tolerantly
      {"/a%20b", "/a%20b", "/a b", ""},
      {"/%41%7a%C3%a4", "/%41%7a%C3%a4", "/Az\xc3\xa4", ""},
      {"/\xc3\xa4", "/\xc3\xa4", "/\xc3\xa4", ""},
      {"/%ff%fe", "/%ff%fe", "/\xff\xfe", ""},
      {"/%3f%23", "/%3f%23", "/?#", ""},
      {"/a+b", "/a+b", "/a+b", ""},  // a plus is a plus
      {"/a;b=c,d", "/a;b=c,d", "/a;b=c,d", ""},
      {"/a%2Fb", "/a%2Fb", "/a%2Fb", ""},
      {"/a%2fb", "/a%2fb", "/a%2Fb", ""},
      {"/a%252Fb", "/a%252Fb", "/a%252Fb", ""},
      {"/a%25252Fb", "/a%25252Fb", "/a%25252Fb", ""},
      {"/100%25", "/100%25", "/100%25", ""},
      {"/%252e%252e/x", "/%252e%252e/x", "/%252e%252e/x", ""},  // nothing is decoded twice
      {"//", "//", "//", ""},
      {"//a//b/", "//a//b/", "//a//b/", ""},
      {"/a//../b", "/a//../b", "/a/b", ""},
      {"/.", "/.", "/", ""},
      {"/..", "/..", "/", ""},
      {"/./", "/./", "/", ""},
      {"/../../../etc/passwd", "/../../../etc/passwd", "/etc/passwd", ""},
      {"/a/./b", "/a/./b", "/a/b", ""},
      {"/a/../b", "/a/../b", "/b", ""},
      {"/a/b/..", "/a/b/..", "/a/", ""},
      {"/a/b/.", "/a/b/.", "/a/b/", ""},
      {"/a/b/../", "/a/b/../", "/a/", ""},
      {"/a/b/c/./../../g", "/a/b/c/./../../g", "/a/g", ""},
      {"/a/..?x=..", "/a/..", "/", "x=..", true},
      {"/%2e%2E/a", "/%2e%2E/a", "/a", ""},
      {"/a/.%2e/b", "/a/.%2e/b", "/b", ""},
      {"/a/%2e/b", "/a/%2e/b", "/a/b", ""},
      {"/...", "/...", "/...", ""},
      {"/.a/..b/c./d..", "/.a/..b/c./d..", "/.a/..b/c./d..", ""},
      {"/.well-known/x", "/.well-known/x", "/.well-known/x", ""},
      {"/a%2Fb/../c", "/a%2Fb/../c", "/c", ""},  // one segment
      {"/a%2F..b", "/a%2F..b", "/a%2F..b", ""},
      {"/\\..\\a", "/\\..\\a", "/\\..\\a", ""},
  };
  for (const row& each : rows) {
    for (const std::string& before : {""s, "http://host"s, "HTTPS://[::1]:443"s}) {
      CAPTURE(before, each.text);
      const std::string text = before + each.text;
      target got;
      const refusal why = target::parse(text, got);
      REQUIRE_FALSE(why);
      CHECK(got.raw() == text);
      CHECK(got.raw_path() == each.raw_path);
      CHECK(got.path() == each.path);
      CHECK(got.raw_query() == each.query);
      CHECK(got.has_query() == each.has_query);
      CHECK(got.authority() == before.substr(before.empty() ? 0 : before.find("//") + 2));
      CHECK_FALSE(got.is_asterisk());
    }
  }
}

TEST_CASE("an absolute target may have no path, and an asterisk is one of its own") {
  target got;
  REQUIRE_FALSE(target::parse("http://example.org", got));
  CHECK(got.path() == "/");
  CHECK(got.raw_path().empty());
  CHECK(got.authority() == "example.org");
  REQUIRE_FALSE(target::parse("http://example.org:80?a", got));
  CHECK(got.path() == "/");
  CHECK(got.raw_query() == "a");
  CHECK(got.authority() == "example.org:80");
  REQUIRE_FALSE(target::parse("*", got));
  CHECK(got.is_asterisk());
  CHECK(got.path() == "*");
  CHECK(got.authority().empty());
}

TEST_CASE("what is no target, or hides something, is refused with 400, and the object can be used again") {
  const std::vector<std::string> bad = {
      "",
      "a",
      "**",
      "*?a",
      "host:80",
      "http:/a",
      "http://",
      "http:///a",
      "http://?a",
      "http://u:p@host/",
      "http://ho st/",
      "http://host#a",
      "ftp://host/",
      "?a",
      "/a#b",
      "/a?b#c",
      "/a b",
      "/a?b c",
      "/a\tb",
      "/a\r\nb",
      "/a\0b"s,
      "/a?\0"s,
      "/a\x7f",
      "/%",
      "/%4",
      "/%zz",
      "/%4g",
      "/% 41",
      "/%%41",
      "/a%",
      "/a%?41",
      "/a%/41",
      "/%00",
      "/a%00.html",
      "/%0d%0aSet-Cookie:x",
      "/%1f",
      "/%7F",
      "/..%2Fetc/passwd",
      "/..%2f..%2fetc",
      "/a%2F..",
      "/a%2F../b",
      "/a%2F..%2Fb",
      "/a%2f%2e%2e%2fb",
      "/.%2Fa",
      "/a%2F.",
      "/%2F..",
      "/a/..%2F",
  };
  for (const std::string& text : bad) {
    CAPTURE(text);
    target got;
    const refusal why = target::parse(text, got);
    CHECK(why.status == 400);
    REQUIRE(why.why != nullptr);
    CHECK(std::string(why.why).size() > 10);
    CHECK(got.path() == "/");
    REQUIRE_FALSE(target::parse("/behind%20", got));
    CHECK(got.path() == "/behind ");
    CHECK_FALSE(got.has_query());
    CHECK(got.authority().empty());
  }
}

TEST_CASE("each encoded byte is decoded, refused or kept") {
  constexpr char digits[] = "0123456789abcdef";
  for (unsigned byte = 0; byte < 256; ++byte) {
    CAPTURE(byte);
    const std::string text = "/x%"s + digits[byte >> 4] + digits[byte & 15];
    target got;
    const refusal why = target::parse(text, got);
    CHECK(static_cast<bool>(why) == (byte < 0x20 || byte == 0x7f));
    if (why) continue;
    const std::string meant(1, static_cast<char>(byte));
    CHECK(got.path() == "/x" + (meant == "/" ? "%2F" : meant == "%" ? "%25" : meant));
    CHECK(percent_decode(got.path()) == "/x" + meant);
  }
}

TEST_CASE("a path without escapes and dot segments is not copied, and a copied target has its own") {
  const std::string text = "/users/.hidden/.../7?x=..";
  target plain;
  REQUIRE_FALSE(target::parse(text, plain));
  CHECK(plain.path().data() == text.data());

  target first;
  REQUIRE_FALSE(target::parse("/a%20b", first));
  target second = first;
  REQUIRE_FALSE(target::parse("/c%20d", first));
  CHECK(second.path() == "/a b");
  const target third = std::move(second);
  CHECK(third.path() == "/a b");
}

TEST_CASE("dot segments are removed as the RFC says, from random paths") {
  std::mt19937 random(1);
  const std::vector<std::string> pieces = {"/", "/", ".", "..", "a", "bc", "/.", "/..", "...", "/../"};
  for (int round = 0; round < 20000; ++round) {
    std::string text = "/";
    for (auto left = random() % 12; left > 0; --left) text += pieces[random() % pieces.size()];
    CAPTURE(text);
    target got;
    REQUIRE_FALSE(target::parse(text, got));
    REQUIRE(got.path() == without_dot_segments(text));
  }
}

TEST_CASE("long targets take no longer than they are long") {
  const auto repeated = [](const std::string& piece, std::size_t count) {
    std::string result;
    for (std::size_t i = 0; i < count; ++i) result += piece;
    return result;
  };
  const std::size_t count = 300'000;
  target got;
  const std::string dots = repeated("/..", count), folders = repeated("/a", count), names = repeated("%41", count),
                    climbing = repeated("/a/..", count), slashes = std::string(count, '/');
  REQUIRE_FALSE(target::parse(dots, got));
  CHECK(got.path() == "/");
  const std::string up_again = folders + dots;
  REQUIRE_FALSE(target::parse(up_again, got));
  CHECK(got.path() == "/");
  REQUIRE_FALSE(target::parse(climbing, got));
  CHECK(got.path() == "/");
  const std::string one_name = "/" + names;
  REQUIRE_FALSE(target::parse(one_name, got));
  CHECK(got.path() == "/" + std::string(count, 'A'));
  REQUIRE_FALSE(target::parse(slashes, got));
  CHECK(got.path() == slashes);
  const std::string slashes_and_up = slashes + "..";
  REQUIRE_FALSE(target::parse(slashes_and_up, got));
  CHECK(got.path().size() == count - 1);
  const std::string many_dots = "/" + std::string(10'000, '.');
  REQUIRE_FALSE(target::parse(many_dots, got));
  CHECK(got.path() == many_dots);
}

TEST_CASE("what is encoded decodes to itself, and bad escapes don't decode") {
  std::string all;
  for (unsigned byte = 0; byte < 256; ++byte) all += static_cast<char>(byte);
  CHECK(percent_decode(percent_encode(all)) == all);
  CHECK(percent_encode("a b/c%~") == "a%20b%2Fc%25~");
  CHECK(percent_encode("/a b", "/") == "/a%20b");
  CHECK(percent_encode("\xc3\xa4") == "%C3%A4");
  CHECK(percent_decode("a+b") == "a+b");
  CHECK(percent_decode("%2541") == "%41");
  CHECK(percent_decode("") == "");
  for (const char* bad : {"%", "%4", "a%", "%g1", "%1g", "%%", "%-1", "%+1", "% 1"})
    CHECK(percent_decode(bad) == std::nullopt);
}
