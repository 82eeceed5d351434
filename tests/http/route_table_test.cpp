// The route table: which rule serves what, with which captures; what is refused; and that all ways of searching agree.
#include "eventer/http/route_table.hpp"

#include <atomic>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "../catch.hpp"
#include "eventer/http/target.hpp"

using namespace std::string_literals;
using eventer::http::regex_options;
using eventer::http::route_match;
using eventer::http::route_table;
using eventer::http::target;

// An answer as one line: "3 [whole|first|second]", "404", "405 GET, HEAD", "options GET, HEAD".
static std::string text_of(const route_match& match) {
  switch (match.what()) {
    case route_match::status::not_found:
      return "404";
    case route_match::status::method_not_allowed:
      return "405 " + match.allow();
    case route_match::status::options:
      return "options " + match.allow();
    case route_match::status::found:
      break;
  }
  std::string result = std::to_string(match.route()) + " [";
  for (std::size_t i = 0; i < match.captures(); ++i) {
    if (i > 0) result += '|';
    result += match.capture(i).data() == nullptr ? "-" : std::string(match.capture(i));
  }
  return result + "]";
}

struct rule {
  std::string method, mount, regex;  // without mount: `regex` is a template
};
struct question {
  std::string method, path, expected;
};
static route_table table_of(const std::vector<rule>& rules, regex_options options = {}) {
  route_table table(options);
  for (const rule& each : rules) {
    if (each.mount.empty())
      table.add_template(each.method, each.regex);
    else
      table.add(each.method, each.mount, each.regex);
  }
  return table;
}
// By a Set, one by one, and before anything was compiled.
static void check(const std::vector<rule>& rules, const std::vector<question>& questions) {
  route_table by_set = table_of(rules, {.set_above = 0}), one_by_one = table_of(rules, {.set_above = 1'000'000});
  const route_table not_compiled = table_of(rules);
  by_set.compile();
  for (const question& each : questions) {
    CAPTURE(each.method, each.path);
    CHECK(text_of(by_set.match(each.method, each.path)) == each.expected);
    CHECK(text_of(one_by_one.match(each.method, each.path)) == each.expected);
    CHECK(text_of(not_compiled.match(each.method, each.path)) == each.expected);
  }
}

TEST_CASE("a regex matches anywhere behind its mount, and the first rule in order wins") {
  check({{"GET", "/", "^hello$"},
         {"GET", "/", "^users/(\\d+)(?:/(\\w+))?$"},
         {"GET", "/", "^users/(.*)$"},
         {"POST", "/", "^users/(.*)$"},
         {"GET", "/", "needle"},
         {"GET", "/", "^(a)(b)(c)(d)(e)(f)(g)(h)(i)(j)(k)(l)$"},
         {"GET", "/", "^$"}},
        {{"GET", "/hello", "0 [hello]"},
         {"GET", "/hello/", "404"},
         {"GET", "/Hello", "404"},
         {"GET", "/users/7", "1 [users/7|7|-]"},
         {"GET", "/users/7/posts", "1 [users/7/posts|7|posts]"},
         {"GET", "/users/x", "2 [users/x|x]"},
         {"GET", "/users/", "2 [users/|]"},
         {"POST", "/users/7", "3 [users/7|7]"},
         {"GET", "/hay/needle/hay", "4 [needle]"},
         {"GET", "/abcdefghijkl", "5 [abcdefghijkl|a|b|c|d|e|f|g|h|i|j|k|l]"},
         {"GET", "/", "6 []"},
         {"GET", "//", "404"},
         {"GET", "/nothing", "404"},
         {"GET", "", "404"},
         {"GET", "*", "404"},
         {"GET", "hello", "404"}});
}

TEST_CASE("only the rules of the longest mount are asked") {
  check({{"GET", "/", "^api/x$"},
         {"GET", "/", "."},
         {"GET", "/api/", "^x$"},
         {"GET", "/api/v2/", "^x$"},
         {"GET", "/api-old/", "^x$"},
         {"GET", "/ap/", "^$"}},
        {{"GET", "/api/x", "2 [x]"},
         {"GET", "/api/y", "404"},
         {"GET", "/api", "1 [a]"},
         {"GET", "/api/", "404"},
         {"GET", "/api/v2/x", "3 [x]"},
         {"GET", "/api/v2", "404"},
         {"GET", "/api/v3/x", "404"},
         {"GET", "/api-old/x", "4 [x]"},
         {"GET", "/ap/", "5 []"},
         {"GET", "/apix", "1 [a]"},
         {"POST", "/api/x", "405 GET, HEAD"}});
  check({{"GET", "/api/", "x"}}, {{"GET", "/", "404"}, {"GET", "/ap", "404"}, {"GET", "/b/x", "404"}});
}

TEST_CASE("among a hundred nested and neighbouring mounts the longest is found") {
  std::vector<rule> rules;
  std::string mount = "/";
  for (int i = 0; i < 50; ++i) {
    rules.push_back({"GET", mount, ""});
    rules.push_back({"GET", "/n" + std::to_string(i) + "/", ""});
    mount += "a/";
  }
  std::vector<question> questions;
  std::string path = "/";
  for (int i = 0; i < 50; ++i) {
    questions.push_back({"GET", path, std::to_string(2 * i) + " []"});
    questions.push_back({"GET", path + "b", std::to_string(2 * i) + " []"});
    questions.push_back({"GET", path + "a", std::to_string(2 * i) + " []"});
    questions.push_back({"GET", "/n" + std::to_string(i) + "/z", std::to_string(2 * i + 1) + " []"});
    path += "a/";
  }
  questions.push_back({"GET", "/n50/z", "0 []"});
  check(rules, questions);
}

TEST_CASE("a template matches segment by segment, and the most specific one wins, whatever the order") {
  check({{"GET", "", "/users/{id}/posts/{post}"},
         {"GET", "", "/users/{id}"},
         {"GET", "", "/files/{path...}"},
         {"GET", "", "/users/me"},
         {"GET", "", "/"},
         {"GET", "", "/users/{id}/posts/latest"},
         {"GET", "", "/files/readme"},
         {"GET", "", "/users/me/{what}/latest"},
         {"DELETE", "", "/users/{user}"},
         {"GET", "", "/users/"},
         {"GET", "", "/a b/%2F/\xc3\xa4"},
         {"GET", "", "/files/{name}/raw"}},
        {{"GET", "/users/7/posts/9", "0 [/users/7/posts/9|7|9]"},
         {"GET", "/users/7", "1 [/users/7|7]"},
         {"GET", "/users/me", "3 [/users/me]"},
         {"GET", "/users/me/posts/9", "0 [/users/me/posts/9|me|9]"},  // back from the literal that leads nowhere
         {"GET", "/users/me/posts/latest", "7 [/users/me/posts/latest|posts]"},
         {"GET", "/users/7/posts/latest", "5 [/users/7/posts/latest|7]"},
         {"GET", "/files/", "2 [/files/|]"},
         {"GET", "/files", "404"},
         {"GET", "/files/a", "2 [/files/a|a]"},
         {"GET", "/files/a/b/", "2 [/files/a/b/|a/b/]"},
         {"GET", "/files//", "2 [/files//|/]"},
         {"GET", "/files/readme", "6 [/files/readme]"},
         {"GET", "/files/readme/x", "2 [/files/readme/x|readme/x]"},
         {"GET", "/files/x/raw", "11 [/files/x/raw|x]"},
         {"GET", "/", "4 [/]"},
         {"GET", "//", "404"},
         {"GET", "/users", "404"},
         {"GET", "/users/", "9 [/users/]"},
         {"GET", "/users//posts/9", "404"},
         {"GET", "/users/7/", "404"},
         {"GET", "/users/7/posts", "404"},
         {"GET", "/users/7/posts/9/x", "404"},
         {"GET", "/a b/%2F/\xc3\xa4", "10 [/a b/%2F/\xc3\xa4]"},
         {"DELETE", "/users/me", "8 [/users/me|me]"},  // the method counts before the literal
         {"POST", "/users/me", "405 DELETE, GET, HEAD"},
         {"GET", "", "404"},
         {"GET", "users/7", "404"}});
}

TEST_CASE("templates go before regexes, which serve what no template does") {
  check({{"GET", "/", "^users/"},
         {"GET", "", "/users/{id}"},
         {"POST", "/", "^users/7$"},
         {"PUT", "/users/", ""},
         {"GET", "", "/x"},
         {"DELETE", "/", "^x$"}},
        {{"GET", "/users/7", "1 [/users/7|7]"},
         {"GET", "/users/7/x", "405 PUT"},  // the mount /users/ is longer than /
         {"PUT", "/users/7", "3 []"},
         {"POST", "/users/7", "405 GET, HEAD, PUT"},
         {"GET", "/x", "4 [/x]"},
         {"DELETE", "/x", "5 [x]"},
         {"POST", "/x", "405 DELETE, GET, HEAD"}});
}

TEST_CASE("HEAD, OPTIONS and * are served as the rules say") {
  check({{"GET", "/", "^a$"},
         {"HEAD", "/", "^a$"},
         {"POST", "/", "^b$"},
         {"*", "/", "^c$"},
         {"GET", "/", "^c$"},
         {"OPTIONS", "/", "^d$"},
         {"GET", "/", "^d$"},
         {"GET", "", "/t"},
         {"HEAD", "", "/t"},
         {"*", "", "/t/{x}"},
         {"GET", "", "/t/{y}"},
         {"GET", "", "/u"},
         {"X-OWN", "", "/u"},
         {"HEAD", "/h/", "."}},
        {{"GET", "/a", "0 [a]"},
         {"HEAD", "/a", "1 [a]"},
         {"POST", "/a", "405 GET, HEAD"},
         {"OPTIONS", "/a", "options GET, HEAD"},
         {"HEAD", "/b", "405 POST"},
         {"OPTIONS", "/b", "options POST"},
         {"OPTIONS", "/none", "404"},
         {"GET", "/c", "3 [c]"},
         {"HEAD", "/c", "3 [c]"},
         {"ANY", "/c", "3 [c]"},
         {"OPTIONS", "/c", "3 [c]"},
         {"OPTIONS", "/d", "5 [d]"},
         {"POST", "/d", "405 GET, HEAD, OPTIONS"},
         {"GET", "/t", "7 [/t]"},
         {"HEAD", "/t", "8 [/t]"},
         {"GET", "/t/1", "10 [/t/1|1]"},
         {"HEAD", "/t/1", "10 [/t/1|1]"},
         {"POST", "/t/1", "9 [/t/1|1]"},
         {"HEAD", "/u", "11 [/u]"},
         {"X-OWN", "/u", "12 [/u]"},
         {"get", "/u", "405 GET, HEAD, X-OWN"},
         {"", "/u", "405 GET, HEAD, X-OWN"},
         {"GET", "/h/x", "405 HEAD"},
         {"OPTIONS", "*", "options GET, HEAD, OPTIONS, POST, X-OWN"},
         {"GET", "*", "404"}});
  check({}, {{"OPTIONS", "*", "404"}, {"GET", "/", "404"}});
}

TEST_CASE("parameters and named groups are found by name, decoded once") {
  route_table table;
  table.add_template("GET", "/users/{id}/{rest...}");
  table.add("GET", "/", "^posts/(?P<year>\\d+)/(?P<name>[^/]+)(/(?P<more>.+))?$");
  const auto ask = [&](const std::string& text, const char* name) {
    static target parsed;  // the answer is a view into it
    REQUIRE_FALSE(target::parse(text, parsed));
    return table.match("GET", parsed.path()).parameter(name);
  };
  CHECK(ask("/users/7/", "id") == "7");
  CHECK(ask("/users/7/", "rest") == "");
  CHECK(ask("/users/a%2Fb/c", "id") == "a/b");
  CHECK(ask("/users/a%252Fb/c", "id") == "a%2Fb");
  CHECK(ask("/users/a%20b%25/c", "id") == "a b%");
  CHECK(ask("/users/%C3%A4/c/d%2Fe", "id") == "\xc3\xa4");
  CHECK(ask("/users/7/c/d%2Fe", "rest") == "c/d/e");
  CHECK(ask("/users/7/", "name") == std::nullopt);
  CHECK(ask("/users/7/", "") == std::nullopt);
  CHECK(ask("/posts/2024/x", "year") == "2024");
  CHECK(ask("/posts/2024/a%2Fb", "name") == "a/b");
  CHECK(ask("/posts/2024/x", "more") == std::nullopt);  // took no part
  CHECK(ask("/posts/2024/x/y", "more") == "y");
  CHECK(ask("/nothing", "year") == std::nullopt);
  CHECK(table.match("GET", "/users/7/").capture(9).data() == nullptr);
  CHECK(table.match("GET", "/users/7/").capture(99).data() == nullptr);
}

static std::string refused(const rule& each, regex_options options = {}) {
  try {
    (void)table_of({each}, options);
    return "added";
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
}

TEST_CASE("a rule that can't be meant so is refused with a sentence that names it") {
  struct row {
    rule bad;
    std::string why;
  };
  const std::vector<row> rows = {
      {{"GET", "/", "(a)\\1"}, "neither back-references nor look-around"},
      {{"GET", "/", "a(?=b)"}, "write the rule as two"},
      {{"GET", "/", "a(?!b)"}, "RE2 says \"invalid perl operator: (?!\""},
      {{"GET", "/", "(?<=a)b"}, "neither back-references nor look-around"},
      {{"GET", "/", "(?<!a)b"}, "neither back-references nor look-around"},
      {{"GET", "/", "(?>a)b"}, "neither back-references nor look-around"},
      {{"GET", "/", "(?<name>a)"}, "(?P<name>...)"},
      {{"GET", "/", "a++"}, "no possessive quantifiers"},
      {{"GET", "/", "("}, "missing )"},
      {{"GET", "/", "[a"}, "missing ]"},
      {{"GET", "/", "\xff"}, "regex_options::latin1"},
      {{"GET", "/", "((a{100}){100})"}, "invalid repetition size"},
      {{"GET", "/", "\\pN{500}x"}, "regex_options::rule_memory"},
      {{"GET", "x", "a"}, "begins and ends with a slash"},
      {{"GET", "/x", "a"}, "begins and ends with a slash"},
      {{"GET", "x/", "a"}, "begins and ends with a slash"},
      {{"GET", "/a/../", "a"}, "dot segments"},
      {{"GET", "/a%20b/", "a"}, "decoded"},
      {{"GET", "/a\n/", "a"}, "control"},
      {{"get", "/", "a"}, "capitals"},
      {{"", "/", "a"}, "has a method"},
      {{"GET, POST", "/", "a"}, "no blanks"},
      {{"get", "", "/a"}, "capitals"},
      {{"GET", "", "a"}, "character 1: a template begins with a slash"},
      {{"GET", "", ""}, "character 1: a template begins with a slash"},
      {{"GET", "", "/a//b"}, "character 4: two slashes"},
      {{"GET", "", "/a/./b"}, "character 4: paths are matched without dot segments"},
      {{"GET", "", "/a/.."}, "character 4: paths are matched without dot segments"},
      {{"GET", "", "/a?b"}, "character 3: a template is a path"},
      {{"GET", "", "/a#b"}, "character 3: a template is a path"},
      {{"GET", "", "/a/%20"}, "character 4: paths are compared decoded"},
      {{"GET", "", "/a/%2f"}, "character 4: paths are compared decoded"},
      {{"GET", "", "/a\x01"}, "character 2: a path has no control characters"},
      {{"GET", "", "/{"}, "character 2: a parameter fills its segment"},
      {{"GET", "", "/}"}, "character 2: a parameter fills its segment"},
      {{"GET", "", "/{a"}, "character 2: a parameter fills its segment"},
      {{"GET", "", "/v{a}"}, "character 2: a parameter fills its segment"},
      {{"GET", "", "/{a}{b}"}, "character 2: a parameter fills its segment"},
      {{"GET", "", "/{{a}}"}, "character 2: a parameter fills its segment"},
      {{"GET", "", "/{a/b}"}, "character 2: a parameter fills its segment"},
      {{"GET", "", "/{}"}, "character 3: a parameter's name"},
      {{"GET", "", "/{...}"}, "character 3: a parameter's name"},
      {{"GET", "", "/{1a}"}, "character 3: a parameter's name"},
      {{"GET", "", "/{a b}"}, "character 3: a parameter's name"},
      {{"GET", "", "/{a..}"}, "character 3: a parameter's name"},
      {{"GET", "", "/{a}/{a}"}, "character 7: this name is there twice"},
      {{"GET", "", "/{a}/{a...}"}, "character 7: this name is there twice"},
      {{"GET", "", "/{a...}/b"}, "character 2: {name...} takes the rest"},
      {{"GET", "", "/{a...}/"}, "character 2: {name...} takes the rest"},
  };
  for (const row& each : rows) {
    const std::string sentence = refused(each.bad);
    CAPTURE(each.bad.mount, each.bad.regex, sentence);
    CHECK(sentence.starts_with("route \"" + each.bad.method + "\" \""));
    CHECK(sentence.find(each.why) != std::string::npos);
    for (const char byte : sentence) CHECK((byte < 0 || byte >= ' '));
  }
  std::string deep;
  for (int i = 0; i < 64; ++i) deep += "/{p" + std::to_string(i) + "}";
  CHECK(refused({"GET", "", deep}) == "added");
  CHECK(refused({"GET", "", deep + "/x"}).find("at most 64 segments") != std::string::npos);
}

TEST_CASE("a template for the same paths and method is refused, and changes nothing") {
  route_table table;
  table.add_template("GET", "/users/{id}");
  table.add_template("GET", "/files/{path...}");
  for (const char* same : {"/users/{name}", "/users/{id}", "/files/{rest...}"})
    CHECK_THROWS_WITH(table.add_template("GET", same), Catch::Contains("the same paths are served by"));
  CHECK_THROWS_AS(table.add("GET", "/", "("), std::invalid_argument);
  CHECK(table.size() == 2);
  CHECK(table.add_template("PUT", "/users/{name}") == 2);
  CHECK(table.add_template("*", "/users/{name}") == 3);
  CHECK(table.match("GET", "/users/7").parameter("id") == "7");
  CHECK(table.match("PUT", "/users/7").parameter("name") == "7");
  CHECK(table.match("PUT", "/users/7").parameter("id") == std::nullopt);
}

TEST_CASE("rules may be added after a match") {
  route_table table;
  for (int i = 0; i < 20; ++i) table.add("GET", "/", "^a" + std::to_string(i) + "$");
  CHECK(text_of(table.match("GET", "/b")) == "404");
  table.add("GET", "/", "^b$");
  CHECK(text_of(table.match("GET", "/b")) == "20 [b]");
  CHECK(text_of(table.match("GET", "/a19")) == "19 [a19]");
  route_table moved = std::move(table);
  CHECK(text_of(moved.match("GET", "/b")) == "20 [b]");
}

TEST_CASE("patterns and paths are bytes with latin1, and UTF-8 without") {
  route_table bytes = table_of({{"GET", "/", "^.$"}, {"GET", "/", "^\xff.$"}}, {.latin1 = true});
  CHECK(text_of(bytes.match("GET", "/\xff")) == "0 [\xff]");
  CHECK(text_of(bytes.match("GET", "/\xff\xfe")) == "1 [\xff\xfe]");
  CHECK(text_of(bytes.match("GET", "/\xc3\xa4")) == "404");
  route_table characters = table_of({{"GET", "/", "^.$"}});
  CHECK(text_of(characters.match("GET", "/\xc3\xa4")) == "0 [\xc3\xa4]");
  CHECK(text_of(characters.match("GET", "/\xff")) == "404");
}

static std::string random_text(std::mt19937& random, const std::vector<std::string>& pieces, std::size_t most) {
  std::string text;
  for (std::size_t left = random() % (most + 1); left > 0; --left) text += pieces[random() % pieces.size()];
  return text;
}

TEST_CASE("random rules give the same answer by a Set, with next to no memory for it, and one by one") {
  const std::vector<std::string> atoms = {"a",     "b",       "c",        "/",         ".",  "(a|b)", "(b*)",
                                          "[ab]+", "(?:ab)?", "(c/)",     "\\b",       "^",  "$",     "d",
                                          "(?i)B", "a{2,3}",  "\xc3\xa4", "(?P<n>a)?", ".*", "|",     "\\w"};
  const std::vector<std::string> letters = {"a", "b", "c", "/", "d", "B", "\xc3\xa4", "\xff", "ab", "aa"};
  const std::vector<std::string> mounts = {"/", "/a/", "/a/b/", "/b/"}, methods = {"GET", "POST", "HEAD", "*"};
  std::mt19937 random(7);
  for (int round = 0; round < 150; ++round) {
    std::vector<rule> rules;
    while (rules.size() < 30) {
      const rule each{methods[random() % (random() % 4 == 0 ? 4 : 2)], mounts[random() % mounts.size()],
                      random_text(random, atoms, 5)};
      if (refused(each) == "added") rules.push_back(each);
    }
    const bool latin1 = round % 3 == 0;
    route_table one_by_one = table_of(rules, {.latin1 = latin1, .set_above = 1000});
    route_table by_set = table_of(rules, {.latin1 = latin1, .set_above = 0});
    // With the smaller ones of these no Set can be compiled.
    route_table starved = table_of(rules, {.latin1 = latin1, .set_memory = 1 << (10 + round % 8), .set_above = 0});
    for (int i = 0; i < 100; ++i) {
      const std::string path = "/" + random_text(random, letters, 8);
      const std::string method = std::vector<std::string>{"GET", "HEAD", "PUT", "OPTIONS"}[random() % 4];
      CAPTURE(round, path, method);
      const std::string expected = text_of(one_by_one.match(method, path));
      REQUIRE(text_of(by_set.match(method, path)) == expected);
      REQUIRE(text_of(starved.match(method, path)) == expected);
    }
  }
}

namespace {
// What matches what, written down as plainly as can be: no tree, every template looked at.
struct plain_template {
  std::string method;
  std::vector<std::string> segments;
};
std::vector<std::string> split(std::string_view path) {
  std::vector<std::string> result(1);
  for (const char each : path.substr(1)) {
    if (each == '/')
      result.emplace_back();
    else
      result.back() += each;
  }
  return result;
}
bool is_rest(const std::string& segment) { return segment.ends_with("...}"); }
bool is_parameter(const std::string& segment) { return segment.starts_with("{"); }
bool matches(const plain_template& each, const std::vector<std::string>& path) {
  for (std::size_t i = 0; i < each.segments.size(); ++i) {
    if (i == path.size()) return false;
    if (is_rest(each.segments[i])) return true;
    if (is_parameter(each.segments[i]) ? path[i].empty() : path[i] != each.segments[i]) return false;
  }
  return each.segments.size() == path.size();
}
// Smaller is more specific.
std::string rank(const plain_template& each) {
  std::string result;
  for (const std::string& segment : each.segments) result += is_rest(segment) ? '2' : is_parameter(segment) ? '1' : '0';
  return result;
}
}  // namespace

TEST_CASE("random templates match what a plain search says") {
  const std::vector<std::string> segments = {"a", "b", "c", "{x}", "{x}", ""};
  const std::vector<std::string> methods = {"GET", "POST", "HEAD", "*"};
  std::mt19937 random(3);
  for (int round = 0; round < 300; ++round) {
    route_table table;
    std::vector<plain_template> plain;
    for (int i = 0; i < 30; ++i) {
      std::string text;
      for (std::size_t level = 0, levels = 1 + random() % 4; level < levels; ++level) {
        std::string segment = segments[random() % segments.size()];
        if (segment.empty() && level + 1 < levels) segment = "a";
        if (level + 1 == levels && random() % 5 == 0) segment = "{rest...}";
        if (segment == "{x}") segment = "{x" + std::to_string(level) + "}";
        text.append("/").append(segment);
      }
      const std::string method = methods[random() % methods.size()];
      try {
        const std::size_t added = table.add_template(method, text);
        REQUIRE(added == plain.size());
        plain.push_back({method, split(text)});
      } catch (const std::invalid_argument&) {  // there already
      }
    }
    for (int i = 0; i < 100; ++i) {
      std::string path;
      for (std::size_t level = 0, levels = 1 + random() % 5; level < levels; ++level)
        path.append("/").append(std::vector<std::string>{"a", "b", "c", "zz", ""}[random() % 5]);
      const std::string method = std::vector<std::string>{"GET", "HEAD", "POST", "PUT"}[random() % 4];
      const std::vector<std::string> parts = split(path);
      std::string best = "none";
      std::size_t route = 0;
      bool any = false;
      for (std::size_t at = 0; at < plain.size(); ++at) {
        if (!matches(plain[at], parts)) continue;
        any = true;
        int fit = plain[at].method == method                      ? 0
                  : method == "HEAD" && plain[at].method == "GET" ? 1
                  : plain[at].method == "*"                       ? 2
                                                                  : 3;
        const std::string key = rank(plain[at]) + std::to_string(fit);
        if (fit < 3 && (best == "none" || key < best)) {
          best = key;
          route = at;
        }
      }
      const route_match got = table.match(method, path);
      CAPTURE(round, method, path, text_of(got));
      REQUIRE(got.what() == (best != "none" ? route_match::status::found
                             : any          ? route_match::status::method_not_allowed
                                            : route_match::status::not_found));
      if (best == "none") continue;
      REQUIRE(got.route() == route);
      std::size_t index = 1;
      for (std::size_t level = 0; level < plain[route].segments.size(); ++level) {
        const std::string& segment = plain[route].segments[level];
        if (is_rest(segment)) {
          REQUIRE(got.capture(index).end() == got.capture(0).end());
        } else if (is_parameter(segment)) {
          REQUIRE(got.capture(index++) == parts[level]);
        }
      }
    }
  }
}

TEST_CASE("hostile paths are answered, however long they are") {
  route_table table;
  table.add("GET", "/", "^(a+)+$");
  table.add("GET", "/", "^(a|aa)*(b*)*c$");
  table.add("GET", "/", "(x+x+)+y");
  table.add("GET", "/", "^((((.*)*)*)*)z$");
  table.add_template("GET", "/{a}/{b}/{c}/end");
  table.add_template("GET", "/{a}/x/{c}/end");
  table.add_template("GET", "/deep/{rest...}");
  for (int i = 0; i < 20; ++i) table.add("GET", "/many/", "^(a|b)*c{" + std::to_string(i) + "}$");
  const std::string megabyte(1 << 20, 'a');
  CHECK(table.match("GET", "/" + megabyte).route() == 0);
  CHECK_FALSE(table.match("GET", "/" + megabyte + "!"));
  CHECK_FALSE(table.match("GET", "/" + std::string(1 << 20, 'x')));
  CHECK_FALSE(table.match("GET", "/" + std::string(1 << 20, '/')));
  CHECK(table.match("GET", "/deep/" + std::string(1 << 20, '/')).what() == route_match::status::found);
  CHECK(table.match("GET", "/many/" + megabyte + "ccc").route() == 10);
  CHECK_FALSE(table.match("GET", "/many/" + megabyte + "d"));
  CHECK_FALSE(table.match("GET", "/many/" + std::string(1 << 20, '\xff')));
  CHECK_FALSE(table.match(megabyte, "/" + megabyte));
}

TEST_CASE("a compiled table is matched by many threads at once") {
  route_table table;
  for (int i = 0; i < 30; ++i) table.add("GET", "/", "^r" + std::to_string(i) + "/(\\w+)$");
  table.add_template("GET", "/users/{id}");
  table.compile();
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread)
    threads.emplace_back([&wrong, &shared = std::as_const(table), thread] {
      for (int i = 0; i < 2000; ++i) {
        const std::size_t route = static_cast<std::size_t>((i + thread) % 30);
        const std::string name(static_cast<std::size_t>(i % 50 + 1), 'n');
        const std::string path = "/r" + std::to_string(route) + "/" + name;
        const route_match match = shared.match("GET", path);
        if (!match || match.route() != route || match.capture(1) != name) ++wrong;
        if (shared.match("GET", "/users/7").route() != 30) ++wrong;
      }
    });
  for (std::thread& each : threads) each.join();
  CHECK(wrong == 0);
}
