// Any bytes as the fields of a request for a file, with a size before them: no more than the file is ever sent, each
// range lies within it, and what a condition says does not depend on what is behind the end of a field.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>

#include "eventer/http/byte_ranges.hpp"
#include "eventer/http/conditions.hpp"
#include "eventer/http/limits.hpp"
#include "eventer/http/media_types.hpp"

namespace http = eventer::http;

static void must(bool holds) {
  if (!holds) std::abort();
}

static void look_at_ranges(std::string_view field, std::uint64_t size, std::size_t most) {
  const http::byte_ranges found = http::byte_ranges::parse(field, size, most);
  must((found.what() == http::byte_ranges::status::some) == !found.ranges().empty());
  must(found.ranges().size() <= most);
  std::uint64_t left = size;
  for (const http::byte_range& each : found.ranges()) {
    must(each.size > 0 && each.size <= left && each.begin < size && each.size <= size - each.begin);
    left -= each.size;
    for (const http::byte_range& other : found.ranges())
      must(&each == &other || each.end() < other.begin || other.end() < each.begin);
  }
  const std::string spaced = "bytes=," + std::string(field.substr(std::min<std::size_t>(field.size(), 6))) + ", ";
  if (found.what() == http::byte_ranges::status::some)
    must(http::byte_ranges::parse(spaced, size, most).ranges() == found.ranges());
}

static void look_at_conditions(std::string_view fields) {
  std::string text = "GET / HTTP/1.1\r\nHost: a\r\n" + std::string(fields) + "\r\n\r\n";
  if (const std::size_t end = text.find("\r\n\r\n"); end + 4 < text.size()) text.resize(end + 4);
  // Exactly so large, so that a look beyond the end is found.
  const auto exact = std::make_unique<char[]>(text.size());
  std::memcpy(exact.get(), text.data(), text.size());
  http::request_head head;
  if (head.parse({exact.get(), text.size()}, http::limits())) return;
  const http::validators content{"\"abc\"", 784111777};
  const auto verdict = http::evaluate_conditions(head, content);
  if (!head.find("If-Match") && !head.find("If-Unmodified-Since")) must(verdict != http::precondition::failed);
  if (!head.find("If-None-Match") && !head.find("If-Modified-Since")) must(verdict != http::precondition::not_modified);
  if (!head.find("If-Range")) must(http::if_range_holds(head, content));
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::uint64_t of_file = 0;
  if (size < sizeof of_file) return 0;
  std::memcpy(&of_file, data, sizeof of_file);
  const std::string_view text(reinterpret_cast<const char*>(data) + sizeof of_file, size - sizeof of_file);
  for (const std::uint64_t each : {of_file >> 1, of_file % 1000, std::uint64_t{10}})
    for (const std::size_t most : {0u, 2u, 16u, 1000u}) look_at_ranges(text, each, most);
  look_at_conditions(text);
  if (const auto date = http::parse_date(text); date && *date >= 0) {
    char again[30];
    http::format_date(*date, again);
    must(http::parse_date(again) == date);
  }
  must(!http::media_type_of(text).empty());
  return 0;
}
