// What a URL says to a client, what is refused, and what a reference means beside it.
#include "eventer/http/url.hpp"

#include <string>
#include <string_view>
#include <vector>

#include "../catch.hpp"

using eventer::http::url;
using eventer::http::url_errc;

TEST_CASE("a URL tells whom to connect to, whom to ask for and what for") {
  struct row {
    std::string_view text, host, authority, origin, target;
    unsigned port;
    bool secure;
  };
  const std::vector<row> rows = {
      {"http://example.org", "example.org", "example.org", "http://example.org", "/", 80, false},
      {"HTTPS://Example.ORG:443/A?b=C#d", "example.org", "example.org", "https://example.org", "/A?b=C", 443, true},
      {"https://example.org:80", "example.org", "example.org:80", "https://example.org:80", "/", 80, true},
      {"http://[::1]:8080?x", "::1", "[::1]:8080", "http://[::1]:8080", "/?x", 8080, false},
      {"http://[2001:DB8::2]/", "2001:db8::2", "[2001:db8::2]", "http://[2001:db8::2]", "/", 80, false},
      {"http://127.0.0.1:/a//b/../c", "127.0.0.1", "127.0.0.1", "http://127.0.0.1", "/a//b/../c", 80, false},
      {"ws://h/chat", "h", "h", "ws://h", "/chat", 80, false},
      {"wss://h:444/chat", "h", "h:444", "wss://h:444", "/chat", 444, true},
      {"http://a_b-c.example./%2F%41?%20", "a_b-c.example.", "a_b-c.example.", "http://a_b-c.example.", "/%2F%41?%20",
       80, false},
      {"http://h/?#", "h", "h", "http://h", "/?", 80, false},
  };
  for (const row& each : rows) {
    CAPTURE(each.text);
    const auto got = url::parse(each.text);
    REQUIRE(got);
    CHECK(got->host() == each.host);
    CHECK(got->authority() == each.authority);
    CHECK(got->origin() == each.origin);
    CHECK(got->target() == each.target);
    CHECK(got->port() == each.port);
    CHECK(got->is_secure() == each.secure);
    CHECK(got->text() == std::string(each.origin).append(each.target));
    CHECK(url::parse(got->text())->text() == got->text());
  }
  const auto parts = url::parse("http://h/a/b?c=d?e");
  CHECK(parts->path() == "/a/b");
  CHECK(parts->query() == "c=d?e");
  CHECK(url::parse("http://h/a")->query().empty());
}

TEST_CASE("what is no URL for a client is refused, with a sentence that says what is wrong") {
  const std::string long_name(255, 'a');
  const std::vector<std::pair<std::string, url_errc>> rows = {
      {"", url_errc::no_scheme},
      {"example.org/a", url_errc::no_scheme},
      {"//example.org/a", url_errc::no_scheme},
      {"/a", url_errc::no_scheme},
      {"1http://h", url_errc::no_scheme},
      {"ftp://h/", url_errc::unknown_scheme},
      {"localhost:80", url_errc::unknown_scheme},
      {"javascript:alert(1)", url_errc::unknown_scheme},
      {"http:h", url_errc::no_host},
      {"http:/h", url_errc::no_host},
      {"http://", url_errc::no_host},
      {"http:///a", url_errc::no_host},
      {"http://:80/", url_errc::no_host},
      {"http://h:0/", url_errc::bad_port},
      {"http://h:65536/", url_errc::bad_port},
      {"http://h:-1/", url_errc::bad_port},
      {"http://h:80a/", url_errc::bad_port},
      {"http://h:80:90/", url_errc::bad_port},
      {"http://[::1/", url_errc::bad_host},
      {"http://[::g]/", url_errc::bad_host},
      {"http://[::1]a/", url_errc::bad_host},
      {"http://[fe80::1%25eth0]/", url_errc::bad_host},
      {"http://[127.0.0.1]/", url_errc::bad_host},
      {"http://::1/", url_errc::no_host},
      {"http://ex%41mple/", url_errc::bad_host},
      {"http://a,b/", url_errc::bad_host},
      {"http://" + long_name, url_errc::bad_host},
      {"http://me@h/", url_errc::has_user},
      {"http://me:secret@h/", url_errc::has_user},
      {"http://h@evil.example:80/", url_errc::has_user},
      {"http://h /", url_errc::bad_character},
      {" http://h/", url_errc::bad_character},
      {"http://h/a b", url_errc::bad_character},
      {"http://h/\r\nX: y", url_errc::bad_character},
      {std::string("http://h/\0", 10), url_errc::bad_character},
      {"http://h/\xc3\xa4", url_errc::bad_character},
      {"http://h\\@evil/", url_errc::bad_character},
      {"http://h/%", url_errc::bad_escape},
      {"http://h/%4", url_errc::bad_escape},
      {"http://h/%zz", url_errc::bad_escape},
      {"http://h/" + std::string(url::longest, 'a'), url_errc::too_long},
  };
  for (const auto& [text, expected] : rows) {
    CAPTURE(text);
    const auto got = url::parse(text);
    REQUIRE_FALSE(got);
    CHECK(got.error() == make_error_code(expected));
    CHECK(got.error().message().size() > 20);
  }
}

TEST_CASE("a reference is resolved as RFC 3986 5.4 has it") {
  const auto base = url::parse("http://a/b/c/d;p?q");
  REQUIRE(base);
  const std::vector<std::pair<std::string_view, std::string_view>> rows = {
      {"g", "http://a/b/c/g"},
      {"./g", "http://a/b/c/g"},
      {"g/", "http://a/b/c/g/"},
      {"/g", "http://a/g"},
      {"//g", "http://g/"},
      {"?y", "http://a/b/c/d;p?y"},
      {"g?y", "http://a/b/c/g?y"},
      {"#s", "http://a/b/c/d;p?q"},
      {"g#s", "http://a/b/c/g"},
      {"g?y#s", "http://a/b/c/g?y"},
      {";x", "http://a/b/c/;x"},
      {"", "http://a/b/c/d;p?q"},
      {".", "http://a/b/c/"},
      {"./", "http://a/b/c/"},
      {"..", "http://a/b/"},
      {"../", "http://a/b/"},
      {"../g", "http://a/b/g"},
      {"../..", "http://a/"},
      {"../../g", "http://a/g"},
      {"../../../g", "http://a/g"},
      {"../../../../g", "http://a/g"},
      {"/./g", "http://a/g"},
      {"/../g", "http://a/g"},
      {"g.", "http://a/b/c/g."},
      {"..g", "http://a/b/c/..g"},
      {"./../g", "http://a/b/g"},
      {"./g/.", "http://a/b/c/g/"},
      {"g/./h", "http://a/b/c/g/h"},
      {"g/../h", "http://a/b/c/h"},
      {"g;x=1/../y", "http://a/b/c/y"},
      {"g?y/../x", "http://a/b/c/g?y/../x"},
      {"https://h:1/x/../y", "https://h:1/y"},
      {"HTTP://A", "http://a/"},
      {"//h:80/../..", "http://h/"},
      {"/a b/\xc3\xa4", "http://a/a%20b/%C3%A4"},
      {"./a:b", "http://a/b/c/a:b"},
      {"/g?a:b", "http://a/g?a:b"},
  };
  for (const auto& [reference, expected] : rows) {
    CAPTURE(reference);
    const auto got = base->resolve(reference);
    REQUIRE(got);
    CHECK(got->text() == expected);
  }
  CHECK(url::parse("https://h")->resolve("x")->text() == "https://h/x");
}

TEST_CASE("a reference to what a client can't ask for is refused") {
  const auto base = url::parse("http://a/b/c");
  const std::vector<std::pair<std::string, url_errc>> rows = {
      {"mailto:me", url_errc::unknown_scheme},
      {"http:g", url_errc::no_host},
      {"//me@h/", url_errc::has_user},
      {"//", url_errc::no_host},
      {"/a\r\nb", url_errc::bad_character},
      {"\\\\evil", url_errc::bad_character},
      {"/%", url_errc::bad_escape},
      {"//h\xc3\xa4/", url_errc::bad_host},
      {"/" + std::string(url::longest, 'a'), url_errc::too_long},
  };
  for (const auto& [reference, expected] : rows) {
    CAPTURE(reference);
    const auto got = base->resolve(reference);
    REQUIRE_FALSE(got);
    CHECK(got.error() == make_error_code(expected));
  }
}
