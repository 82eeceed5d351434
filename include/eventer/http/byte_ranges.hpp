// byte_ranges: which bytes of a file a Range field asks for (RFC 9110, section 14). Whatever it says, what is sent for
// it is not more than the file.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "eventer/http/characters.hpp"

namespace eventer::inline EVENTER_ABI::http {

struct byte_range {
  std::uint64_t begin = 0, size = 0;
  std::uint64_t end() const noexcept { return begin + size; }
  friend bool operator==(const byte_range&, const byte_range&) = default;
};

class byte_ranges {
 public:
  enum class status : std::uint8_t {
    whole,          // the field is to be ignored: it is malformed, of another unit, or asks for too much
    some,           // those in ranges(), of which there is one at least
    unsatisfiable,  // 416: all that it asks for lies behind the end
  };

  // `field`: its value. `size`: of the file, in bytes. `most`: how many ranges it may ask for.
  // Ranges that overlap, or lie closer to each other than the head of a part is long, are joined; then they are in the
  // order of the file, otherwise as they were asked for.
  static byte_ranges parse(std::string_view field, std::uint64_t size, std::size_t most) {
    byte_ranges result;
    result.what_ = result.take(field, size, most);
    if (result.what_ != status::some) result.ranges_.clear();
    return result;
  }

  status what() const noexcept { return what_; }
  const std::vector<byte_range>& ranges() const noexcept { return ranges_; }

 private:
  static constexpr std::uint64_t head_of_part = 80;

  status take(std::string_view field, std::uint64_t size, std::size_t most) {
    constexpr std::string_view unit = "bytes=";
    if (field.size() < unit.size() || !detail::equals_any_case(field.substr(0, unit.size()), unit))
      return status::whole;
    field.remove_prefix(unit.size());
    std::size_t asked = 0;
    while (!field.empty()) {
      const std::string_view each = detail::take_element(field);
      if (each.empty()) continue;
      if (++asked > most || !add(each, size)) return status::whole;
    }
    if (asked == 0) return status::whole;
    if (ranges_.empty()) return is_empty_suffix_ ? status::whole : status::unsatisfiable;
    std::uint64_t left = size;
    for (const byte_range& each : ranges_) {
      if (each.size > left) return status::whole;
      left -= each.size;
    }
    join();
    return status::some;
  }
  // One of them; false where it is none. What lies behind the end is left out.
  bool add(std::string_view text, std::uint64_t size) {
    const std::size_t dash = text.find('-');
    if (dash == std::string_view::npos) return false;
    const std::string_view first = text.substr(0, dash), last = text.substr(dash + 1);
    std::uint64_t from = 0, to = UINT64_MAX;
    if (first.empty()) {
      if (!number(last, to)) return false;
      is_empty_suffix_ = is_empty_suffix_ || (size == 0 && to > 0);  // all of nothing, which 206 can't say
      if (to > 0 && size > 0) ranges_.push_back({size - std::min(to, size), std::min(to, size)});
      return true;
    }
    if (!number(first, from) || (!last.empty() && !number(last, to))) return false;
    if (is_less(last, first) && !last.empty()) return false;
    if (from < size) ranges_.push_back({from, std::min(to, size - 1) - from + 1});
    return true;
  }
  // Digits; what is larger than any file is as large as can be.
  static bool number(std::string_view text, std::uint64_t& into) noexcept {
    if (text.empty()) return false;
    into = 0;
    for (const char each : text) {
      if (each < '0' || each > '9') return false;
      const auto digit = static_cast<std::uint64_t>(each - '0');
      into = into > (UINT64_MAX - digit) / 10 ? UINT64_MAX : into * 10 + digit;
    }
    return true;
  }
  // Of two numbers of any length.
  static bool is_less(std::string_view a, std::string_view b) noexcept {
    a.remove_prefix(std::min(a.find_first_not_of('0'), a.size()));
    b.remove_prefix(std::min(b.find_first_not_of('0'), b.size()));
    return a.size() != b.size() ? a.size() < b.size() : a < b;
  }
  void join() {
    std::vector<byte_range> sorted = ranges_;
    std::sort(sorted.begin(), sorted.end(), [](const byte_range& a, const byte_range& b) { return a.begin < b.begin; });
    std::vector<byte_range> joined;
    for (const byte_range& each : sorted) {
      if (!joined.empty() && each.begin <= joined.back().end() + head_of_part)
        joined.back().size = std::max(joined.back().end(), each.end()) - joined.back().begin;
      else
        joined.push_back(each);
    }
    if (joined.size() < ranges_.size()) ranges_ = std::move(joined);
  }

  status what_ = status::whole;
  bool is_empty_suffix_ = false;
  std::vector<byte_range> ranges_;
};

}  // namespace eventer::inline EVENTER_ABI::http
