// What files are sent by: ranges, conditions, dates, types. Tables, without a server.
#include "eventer/http/byte_ranges.hpp"
#include "eventer/http/conditions.hpp"
#include "eventer/http/file_options.hpp"
#include "http_client.hpp"

using http::byte_ranges;

namespace {

// "0-4 9-9", "whole" or "416".
std::string ranges_of(std::string_view field, std::uint64_t size, std::size_t most = 16) {
  const byte_ranges found = byte_ranges::parse(field, size, most);
  if (found.what() == byte_ranges::status::whole) return "whole";
  if (found.what() == byte_ranges::status::unsatisfiable) return "416";
  std::string result;
  for (const http::byte_range& each : found.ranges())
    result += (result.empty() ? "" : " ") + std::to_string(each.begin) + "-" + std::to_string(each.end() - 1);
  return result;
}
std::string many(std::size_t count, std::size_t step, std::size_t length = 1) {
  std::string field = "bytes=";
  for (std::size_t i = 0; i < count; ++i)
    field += (i == 0 ? "" : ",") + std::to_string(i * step) + "-" + std::to_string(i * step + length - 1);
  return field;
}

}  // namespace

TEST_CASE("ranges: what RFC 9110 gives as examples, and what else can be asked for") {
  struct row {
    const char* field;
    std::uint64_t size;
    const char* wanted;
  };
  const row rows[] = {
      // RFC 9110, 14.1.2
      {"bytes=0-499", 10000, "0-499"},
      {"bytes=500-999", 10000, "500-999"},
      {"bytes=-500", 10000, "9500-9999"},
      {"bytes=9500-", 10000, "9500-9999"},
      {"bytes=0-0,-1", 10000, "0-0 9999-9999"},
      {"bytes= 0-999, 4500-5499, -1000", 10000, "0-999 4500-5499 9000-9999"},
      {"bytes=500-600,601-999", 10000, "500-999"},
      {"bytes=500-700,601-999", 10000, "500-999"},
      // the end of the file
      {"bytes=0-", 1, "0-0"},
      {"bytes=0-99999", 10, "0-9"},
      {"bytes=9-9", 10, "9-9"},
      {"bytes=10-", 10, "416"},
      {"bytes=10-20", 10, "416"},
      {"bytes=-0", 10, "416"},
      {"bytes=-10", 10, "0-9"},
      {"bytes=-11", 10, "0-9"},
      {"bytes=5-6,10-20", 10, "5-6"},
      {"bytes=10-20,30-40", 10, "416"},
      {"bytes=0-", 0, "416"},
      {"bytes=0-0", 0, "416"},
      {"bytes=-1", 0, "whole"},
      // in another order; those that touch or nearly do are joined
      {"bytes=9000-9001,0-1", 10000, "9000-9001 0-1"},
      {"bytes=5-9,0-4", 10000, "0-9"},
      {"bytes=0-0,2-2", 10000, "0-2"},
      {"bytes=0-0,81-81", 10000, "0-81"},
      {"bytes=0-0,82-82", 10000, "0-0 82-82"},
      {"bytes=100-199,5000-5009,150-300", 10000, "100-300 5000-5009"},
      {"bytes=100-199,120-130", 10000, "100-199"},
      // more than the file
      {"bytes=0-,0-", 10, "whole"},
      {"bytes=0-9,-1", 10, "whole"},
      {"bytes=0-5,4-9", 10, "whole"},
      {"bytes=0-4,5-9", 10, "0-9"},
      // huge
      {"bytes=0-18446744073709551615", 10, "0-9"},
      {"bytes=0-18446744073709551616", 10, "0-9"},
      {"bytes=18446744073709551615-", 10, "416"},
      {"bytes=18446744073709551616-", 10, "416"},
      {"bytes=99999999999999999999999999-99999999999999999999999998", 10, "whole"},
      {"bytes=99999999999999999999999998-99999999999999999999999999", 10, "416"},
      {"bytes=-99999999999999999999999999", 10, "0-9"},
      {"bytes=9223372036854775806-9223372036854775807", 9223372036854775807u,
       "9223372036854775806-9223372036854775806"},
      {"bytes=00000000000000000000000000000001-2", 10, "1-2"},
      // empty elements, blanks, case
      {"bytes=,,0-1,", 10, "0-1"},
      {"BYTES=0-1", 10, "0-1"},
      {"bytes=\t0-1 ,\t3-4", 1000, "0-4"},
      // malformed: as if it were not there
      {"", 10, "whole"},
      {"bytes", 10, "whole"},
      {"bytes=", 10, "whole"},
      {"bytes=,", 10, "whole"},
      {"bytes=-", 10, "whole"},
      {"bytes=1", 10, "whole"},
      {"bytes=2-1", 10, "whole"},
      {"bytes=0-1,2-1", 10, "whole"},
      {"bytes=a-b", 10, "whole"},
      {"bytes=0-1;2-3", 10, "whole"},
      {"bytes=0x0-1", 10, "whole"},
      {"bytes=+0-1", 10, "whole"},
      {"bytes=0--1", 10, "whole"},
      {"bytes=--1", 10, "whole"},
      {"bytes=0 - 1", 10, "whole"},
      {"bytes =0-1", 10, "whole"},
      {"bytes:0-1", 10, "whole"},
      {"lines=0-1", 10, "whole"},
      {"bytesx=0-1", 10, "whole"},
  };
  for (const row& each : rows) {
    CAPTURE(each.field, each.size);
    CHECK(ranges_of(each.field, each.size) == each.wanted);
  }
}

TEST_CASE("ranges: however many are asked for, no more than the file is sent, and so many parts at most") {
  CHECK(ranges_of(many(16, 1000), 100'000) != "whole");
  CHECK(ranges_of(many(17, 1000), 100'000) == "whole");
  CHECK(ranges_of(many(3, 1000), 100'000, 2) == "whole");
  CHECK(ranges_of(many(3000, 1), 100'000, 5000) == "0-2999");
  CHECK(ranges_of("bytes=0-1", 10, 0) == "whole");
  for (std::size_t count = 1; count < 40; ++count)
    for (const std::size_t step : {1u, 10u, 90u, 200u})
      for (const std::size_t length : {1u, 50u, 300u}) {
        const byte_ranges found = byte_ranges::parse(many(count, step, length), 4000, 100);
        std::uint64_t total = 0;
        for (const http::byte_range& each : found.ranges()) {
          total += each.size;
          CHECK((each.size > 0 && each.end() <= 4000));
        }
        CHECK(total <= 4000);
        CHECK(found.ranges().size() <= count);
      }
}

TEST_CASE("dates: three forms, and nothing that only looks like one") {
  struct row {
    const char* text;
    std::int64_t wanted;
  };
  const row rows[] = {{"Sun, 06 Nov 1994 08:49:37 GMT", 784111777},  {"Sunday, 06-Nov-94 08:49:37 GMT", 784111777},
                      {"Sun Nov  6 08:49:37 1994", 784111777},       {"Sat Nov 26 08:49:37 1994", 785839777},
                      {"Thu, 01 Jan 1970 00:00:00 GMT", 0},          {"Wed, 31 Dec 1969 23:59:59 GMT", -1},
                      {"Tue, 29 Feb 2000 12:00:00 GMT", 951825600},  {"Thu, 29 Feb 2024 00:00:00 GMT", 1709164800},
                      {"Tue, 19 Jan 2038 03:14:08 GMT", 2147483648}, {"Fri, 31 Dec 9999 23:59:59 GMT", 253402300799},
                      {"Sat, 31 Dec 2016 23:59:60 GMT", 1483228800}};
  for (const row& each : rows) {
    CAPTURE(each.text);
    REQUIRE(http::parse_date(each.text));
    CHECK(*http::parse_date(each.text) == each.wanted);
  }
  for (const char* text :
       {"", "yesterday", "Sun, 06 Nov 1994 08:49:37", "Sun, 06 Nov 1994 08:49:37 UTC", "Sun, 06 Nov 1994 08:49:37 GMT ",
        "Sun, 6 Nov 1994 08:49:37 GMT", "Sun, 00 Nov 1994 08:49:37 GMT", "Sun, 31 Nov 1994 08:49:37 GMT",
        "Sun, 29 Feb 1900 08:49:37 GMT", "Sun, 06 Nov 1994 24:00:00 GMT", "Sun, 06 Nov 1994 08:60:00 GMT",
        "sun, 06 nov 1994 08:49:37 gmt", "Sun, 06 Foo 1994 08:49:37 GMT", "Xyz, 06 Nov 1994 08:49:37 GMT",
        "Sun Nov 6 08:49:37 1994", "784111777", "Sun, 06 Nov -994 08:49:37 GMT", ","}) {
    CAPTURE(text);
    CHECK_FALSE(http::parse_date(text));
  }
  for (const std::time_t when : {0, 1, 86399, 951782400, 1709164799, 1772323200}) {
    char text[30];
    http::format_date(when, text);
    CHECK(http::parse_date(text) == when);
  }
}

TEST_CASE("conditions: in the order of RFC 9110, 13.2.2") {
  const http::validators content{"\"abc\"", 784111777};
  const char* const at = "Sun, 06 Nov 1994 08:49:37 GMT";
  const char* const before = "Sun, 06 Nov 1994 08:49:36 GMT";
  const std::string older = std::string(": ") + before + "\r\n", same = std::string(": ") + at + "\r\n";
  struct row {
    std::string fields;
    int wanted;
  };
  const row rows[] = {
      {"", 200},
      {"If-None-Match: \"abc\"\r\n", 304},
      {"If-None-Match: W/\"abc\"\r\n", 304},
      {"If-None-Match: *\r\n", 304},
      {"If-None-Match: \"x\", \"abc\"\r\n", 304},
      {"If-None-Match: \"x,\\\", W/\"abc\"\r\n", 304},
      {"If-None-Match: \"x\"\r\nIf-None-Match: \"abc\"\r\n", 304},
      {"If-None-Match: \"ab\"\r\n", 200},
      {"If-None-Match: abc\r\n", 200},
      {"If-None-Match: \"abc\r\n", 200},
      {"If-None-Match: W/\r\n", 200},
      {"If-None-Match:\r\n", 200},
      {"If-None-Match: \"x\"\r\nIf-Modified-Since" + same, 200},  // which is not looked at then
      {"If-Modified-Since" + same, 304},
      {"If-Modified-Since: Sun, 06 Nov 1994 08:49:38 GMT\r\n", 304},
      {"If-Modified-Since: Sunday, 06-Nov-94 08:49:37 GMT\r\n", 304},
      {"If-Modified-Since: Sun Nov  6 08:49:37 1994\r\n", 304},
      {"If-Modified-Since" + older, 200},
      {"If-Modified-Since: then\r\n", 200},
      {"If-Modified-Since" + same + "If-Modified-Since" + same, 200},
      {"If-Match: \"abc\"\r\n", 200},
      {"If-Match: *\r\n", 200},
      {"If-Match: \"x\", \"abc\"\r\n", 200},
      {"If-Match: W/\"abc\"\r\n", 412},
      {"If-Match: \"x\"\r\n", 412},
      {"If-Match:\r\n", 412},
      {"If-Match: \"abc\"\r\nIf-Unmodified-Since" + older, 200},
      {"If-Unmodified-Since" + same, 200},
      {"If-Unmodified-Since" + older, 412},
      {"If-Unmodified-Since: then\r\n", 200},
      {"If-Match: \"abc\"\r\nIf-None-Match: \"abc\"\r\n", 304},
      {"If-Match: \"x\"\r\nIf-None-Match: \"abc\"\r\n", 412},
      {"If-Unmodified-Since" + older + "If-Modified-Since" + same, 412},
  };
  for (const row& each : rows) {
    CAPTURE(each.fields);
    const std::string text = "GET / HTTP/1.1\r\nHost: a\r\n" + each.fields + "\r\n";
    http::request_head head;
    REQUIRE_FALSE(head.parse(text, http::limits()));
    const http::precondition got = http::evaluate_conditions(head, content);
    CHECK((got == http::precondition::holds ? 200 : got == http::precondition::failed ? 412 : 304) == each.wanted);
  }
  const std::pair<std::string, bool> of_ranges[] = {{"", true},
                                                    {"If-Range: \"abc\"\r\n", true},
                                                    {"If-Range: W/\"abc\"\r\n", false},
                                                    {"If-Range: \"x\"\r\n", false},
                                                    {"If-Range: *\r\n", false},
                                                    {"If-Range" + same, true},
                                                    {"If-Range" + older, false},
                                                    {"If-Range: Sun, 06 Nov 1994 08:49:38 GMT\r\n", false},
                                                    {"If-Range: then\r\n", false}};
  for (const auto& [fields, wanted] : of_ranges) {
    CAPTURE(fields);
    const std::string text = "GET / HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n";
    http::request_head head;
    REQUIRE_FALSE(head.parse(text, http::limits()));
    CHECK(http::if_range_holds(head, content) == wanted);
  }
}

TEST_CASE("types by the end of a name") {
  const std::pair<const char*, const char*> rows[] = {{"a.html", "text/html; charset=utf-8"},
                                                      {"A.HTML", "text/html; charset=utf-8"},
                                                      {"a.tar.gz", "application/gzip"},
                                                      {"x/y.js", "text/javascript; charset=utf-8"},
                                                      {"7z.7z", "application/x-7z-compressed"},
                                                      {"a.zst", "application/zstd"},
                                                      {"a.svg", "image/svg+xml"},
                                                      {"a", "application/octet-stream"},
                                                      {"", "application/octet-stream"},
                                                      {".html", "application/octet-stream"},
                                                      {"x.html/a", "application/octet-stream"},
                                                      {"a.", "application/octet-stream"},
                                                      {"a.htmlx", "application/octet-stream"},
                                                      {"a.aaaaaaaaaaaaaaaaaaaaaaaaa", "application/octet-stream"}};
  for (const auto& [name, wanted] : rows) {
    CAPTURE(name);
    CHECK(http::media_type_of(name) == wanted);
  }
  for (const auto& each : http::detail::media_types)
    CHECK(http::media_type_of("a." + std::string(each.extension)) == each.type);
  const http::file_options own{.types = {{"html", "x/own"}, {"new", "x/new"}}};
  CHECK(own.type_of("a.HTML") == "x/own");
  CHECK(own.type_of("a.new") == "x/new");
  CHECK(own.type_of("a.txt") == "text/plain; charset=utf-8");
  CHECK(own.type_of("html") == http::unknown_media_type);
}
