// Any bytes as a JSON text, and as what a client sends into the access log: a text is refused with its place, or means
// the same when it is written and read again; a log's line is one line, whose JSON is JSON.
#if __has_include(<boost/json/src.hpp>)
#include <algorithm>
#include <boost/json/serialize.hpp>
#include <boost/json/src.hpp>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "eventer/http/access_line.hpp"
#include "eventer/http/json_parser.hpp"

namespace http = eventer::http;

static void must(bool holds) {
  if (!holds) std::abort();
}

static void read_json(std::string_view text, std::size_t depth) {
  boost::json::value value = "untouched";
  const std::string why = http::parse_json(text, value, depth);
  must(why.empty() || (why.starts_with("byte ") && value == "untouched"));
  if (!why.empty()) return;
  const std::string again = boost::json::serialize(value);
  boost::json::value same;
  must(http::parse_json(again, same, depth).empty());
  must(boost::json::serialize(same) == again);
}

static void write_lines(std::string_view text) {
  const http::detail::access_line line{.method = "GET", .target = text, .referer = text, .user_agent = text};
  std::string combined, json;
  http::detail::append_combined_line(combined, line);
  http::detail::append_json_line(json, line);
  must(std::count(combined.begin(), combined.end(), '"') == 6);
  for (const std::string* const each : {&combined, &json}) {
    must(std::count(each->begin(), each->end(), '\n') == 1 && each->back() == '\n');
    for (const char byte : *each) must(byte == '\n' || static_cast<unsigned char>(byte) >= 0x20);
  }
  boost::json::value value;
  must(http::parse_json(json, value).empty());
  must(value.as_object().contains("status"));
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  read_json(text, http::json_depth);
  read_json(text, 3);
  write_lines(text);
  return 0;
}
#else
extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long) { return 0; }  // Boost.JSON is not installed
#endif
