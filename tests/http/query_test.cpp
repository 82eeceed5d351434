// Query strings and forms: what WHATWG's URL standard reads in them.
#include "eventer/http/query.hpp"

#include <string>
#include <utility>
#include <vector>

#include "../catch.hpp"

using namespace std::string_literals;
using eventer::http::form_decode;
using eventer::http::query_view;
using pairs = std::vector<std::pair<std::string, std::string>>;

static pairs all_of(std::string_view text) {
  pairs result;
  query_view(text).for_each(
      [&](std::string name, std::string value) { result.emplace_back(std::move(name), std::move(value)); });
  return result;
}

TEST_CASE("parameters are read as browsers write them") {
  struct row {
    std::string text;
    pairs expected;
  };
  const std::vector<row> rows = {
      {"", {}},
      {"a=1", {{"a", "1"}}},
      {"a=1&b=2", {{"a", "1"}, {"b", "2"}}},
      {"a=1&a=2", {{"a", "1"}, {"a", "2"}}},
      {"a", {{"a", ""}}},
      {"a=", {{"a", ""}}},
      {"=a", {{"", "a"}}},
      {"=", {{"", ""}}},
      {"a=b=c", {{"a", "b=c"}}},
      {"a==", {{"a", "="}}},
      {"&", {}},
      {"&&&", {}},
      {"&a=1&&b=2&", {{"a", "1"}, {"b", "2"}}},
      {"a=x+y", {{"a", "x y"}}},
      {"a+b=1", {{"a b", "1"}}},
      {"a=x%20y", {{"a", "x y"}}},
      {"a=%2B", {{"a", "+"}}},
      {"a=%26b%3D", {{"a", "&b="}}},
      {"%61=%62", {{"a", "b"}}},
      {"a=%C3%A4", {{"a", "\xc3\xa4"}}},
      {"a=\xc3\xa4", {{"a", "\xc3\xa4"}}},
      {"a=%ff", {{"a", "\xff"}}},
      {"a=%00", {{"a", "\0"s}}},
      {"a=%", {{"a", "%"}}},
      {"a=%4", {{"a", "%4"}}},
      {"a=%zz", {{"a", "%zz"}}},
      {"a=%%41", {{"a", "%A"}}},
      {"a=%2541", {{"a", "%41"}}},
      {"a=1;b=2", {{"a", "1;b=2"}}},
      {"a=1?b=2", {{"a", "1?b=2"}}},
      {"a[]=1&a[]=2", {{"a[]", "1"}, {"a[]", "2"}}},
      {"a=%0d%0a", {{"a", "\r\n"}}},
  };
  for (const row& each : rows) {
    CAPTURE(each.text);
    CHECK(all_of(each.text) == each.expected);
    const query_view query(each.text);
    CHECK(query.raw() == each.text);
    CHECK_FALSE(query.has_too_many());
    for (const auto& [name, value] : each.expected) {  // each question has the same answer
      CHECK(query.contains(name));
      std::vector<std::string> values;
      for (const auto& other : each.expected)
        if (other.first == name) values.push_back(other.second);
      CHECK(query.find(name) == values.front());
      CHECK(query.find_all(name) == values);
    }
    for (const char* absent : {"A", "aa", "zz", "%61", "a=", "a&b"}) {
      CHECK(query.find(absent) == std::nullopt);
      CHECK(query.find_all(absent).empty());
      CHECK_FALSE(query.contains(absent));
    }
  }
  CHECK(query_view().find("a") == std::nullopt);
}

TEST_CASE("names that only begin alike are told apart") {
  const query_view query("ab=1&a=2&abc=3&%61%62%63%64=4");
  CHECK(query.find("a") == "2");
  CHECK(query.find("ab") == "1");
  CHECK(query.find("abc") == "3");
  CHECK(query.find("abcd") == "4");
  CHECK(query.find("abcde") == std::nullopt);
  CHECK(query.find("") == std::nullopt);
}

TEST_CASE("a walk over the parameters ends when it is told to") {
  int seen = 0;
  query_view("a&b&c").for_each([&](const std::string& name, const std::string&) {
    ++seen;
    return name != "b";
  });
  CHECK(seen == 2);
}

TEST_CASE("of very many parameters the first thousand are looked at, and it is said that there are more") {
  const auto numbered = [](std::size_t count) {
    std::string text;
    for (std::size_t i = 0; i < count; ++i) text.append("&p").append(std::to_string(i)).append("=").append("x");
    return text;
  };
  const std::string exactly = numbered(1000), more = numbered(1001), flood = numbered(200'000);
  CHECK_FALSE(query_view(exactly).has_too_many());
  CHECK(query_view(exactly).contains("p999"));
  CHECK(query_view(more).has_too_many());
  CHECK(query_view(more).contains("p999"));
  CHECK_FALSE(query_view(more).contains("p1000"));
  CHECK(query_view(flood).has_too_many());
  CHECK(all_of(flood).size() == 1000);
  const std::string empty_pieces(1'000'000, '&');
  CHECK_FALSE(query_view(empty_pieces).has_too_many());
  CHECK(query_view(empty_pieces + "a=1").find("a") == "1");
}

TEST_CASE("long names and values are read whole") {
  const std::string name(500'000, 'n');
  std::string escaped;
  for (std::size_t i = 0; i < name.size(); ++i) escaped += "%6e";
  const std::string text = escaped + "=" + escaped;
  CHECK(query_view(text).find(name) == name);
  CHECK(form_decode(escaped) == name);
  CHECK(form_decode("+%") == " %");
}
