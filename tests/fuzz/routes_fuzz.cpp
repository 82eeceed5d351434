// Any text as rules, a line each ("GET /mount/ regex" or "GET /template"), and behind an empty line as a request's
// target: it is refused or has a path that hides nothing, and routes are found the same by every way of searching.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eventer/http/cookies.hpp"
#include "eventer/http/query.hpp"
#include "eventer/http/route_table.hpp"
#include "eventer/http/target.hpp"

using namespace eventer::http;

static void must(bool holds) {
  if (!holds) std::abort();
}

static void must_hide_nothing(std::string_view path) {
  std::string piece;
  for (const char each : std::string(path) + "/") {
    must(static_cast<unsigned char>(each) >= ' ' && each != '\x7f');
    if (each != '/') {
      piece += each;
      continue;
    }
    must(piece != "." && piece != "..");
    piece.clear();
  }
}
static void check_target(const target& parsed) {
  if (parsed.is_asterisk()) return must(parsed.path() == "*");
  const std::string_view path = parsed.path();
  must(path.starts_with('/') && path.size() <= parsed.raw().size() + 1);
  must_hide_nothing(path);
  const auto decoded = percent_decode(path);
  must(decoded.has_value());
  must_hide_nothing(*decoded);  // what lies behind an encoded slash included
  // Escaped again, except for the two escapes that stay, it is the same path.
  const std::string again = percent_encode(path, "/%");
  target second;
  must(!target::parse(again, second) && second.path() == path);
}
static void check_query(std::string_view text) {
  const query_view query(text);
  std::size_t count = 0;
  query.for_each([&](const std::string& name, const std::string& value) {
    const std::vector<std::string> all = query.find_all(name);
    must(query.contains(name) && !all.empty() && query.find(name) == all.front());
    must(std::find(all.begin(), all.end(), value) != all.end());
    return ++count < 20;
  });
  must(count > 0 || !query.has_too_many());
}
static void check_cookies(std::string_view header) {
  for_each_cookie(header, [&](std::string_view name, std::string_view value) {
    must(find_cookie(header, name).has_value() && name.find('=') == std::string_view::npos);
    must(value.find(';') == std::string_view::npos);
    try {
      const cookie each{.name = std::string(name), .value = std::string(value), .path = std::string(name)};
      const std::string made = each.to_string();
      for (const char byte : made) must(byte >= ' ' && byte < 0x7f);
      must(find_cookie(made, name).has_value());
    } catch (const std::invalid_argument&) {
    }
    return true;
  });
}

static void must_be_same(const route_match& a, const route_match& b) {
  must(a.what() == b.what() && a.allow() == b.allow() && a.captures() == b.captures());
  if (!a) return must((a.what() == route_match::status::not_found) == a.allow().empty());
  must(a.route() == b.route());
  for (std::size_t i = 0; i < a.captures(); ++i)
    must(a.capture(i).data() == b.capture(i).data() && a.capture(i).size() == b.capture(i).size());
}
static void check_routes(std::string_view rules, std::string_view path) {
  route_table by_set({.set_above = 0}), one_by_one({.set_above = 1000});
  route_table starved({.latin1 = false, .set_memory = 20'000, .set_above = 0});
  const auto add = [](route_table& to, std::string_view line) {
    const std::size_t blank = line.find(' ');
    if (blank == std::string_view::npos) return false;
    const std::string_view method = line.substr(0, blank), rest = line.substr(blank + 1);
    const std::size_t second = rest.find(' ');
    try {
      if (second == std::string_view::npos)
        to.add_template(method, rest);
      else
        to.add(method, rest.substr(0, second), rest.substr(second + 1));
    } catch (const std::invalid_argument& error) {
      must(std::string_view(error.what()).starts_with("route \"") && std::string_view(error.what()).size() < 1500);
      return false;
    }
    return true;
  };
  for (std::size_t begin = 0, count = 0; begin < rules.size() && count < 12; ++count) {
    const std::string_view line = rules.substr(begin, rules.find('\n', begin) - begin);
    begin += line.size() + 1;
    if (line.size() > 60) continue;
    const bool added = add(by_set, line);
    must(added == add(one_by_one, line) && added == add(starved, line));
  }
  by_set.compile();
  starved.compile();
  for (const char* method : {"GET", "HEAD", "OPTIONS", "X"}) {
    const route_match expected = std::as_const(one_by_one).match(method, path);
    must_be_same(std::as_const(by_set).match(method, path), expected);
    must_be_same(std::as_const(starved).match(method, path), expected);
    for (std::size_t i = 0; i < expected.captures(); ++i)
      if (const std::string_view part = expected.capture(i); part.data() != nullptr)
        must(part.data() >= path.data() && part.data() + part.size() <= path.data() + path.size());
    (void)expected.parameter("id");
  }
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const std::size_t gap = text.find("\n\n");
  const std::string_view rules = gap == std::string_view::npos ? std::string_view() : text.substr(0, gap);
  const std::string_view wanted = gap == std::string_view::npos ? text : text.substr(gap + 2);
  check_query(wanted);
  check_cookies(wanted);
  target parsed;
  if (const refusal why = target::parse(wanted, parsed)) {
    must(why.status == 400 && why.why != nullptr && parsed.path() == "/");
    return 0;
  }
  check_target(parsed);
  check_query(parsed.raw_query());
  check_routes(rules, parsed.path());
  return 0;
}
