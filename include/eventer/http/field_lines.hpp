// field_lines: the lines "Name: value" of a head or of trailers, up to and with the empty line behind them, in whatever
// pieces they come. Strict, for what one server takes for two lines and the next for one is how requests are smuggled.
#pragma once

#include <cstddef>
#include <cstdint>

#include "eventer/http/characters.hpp"
#include "eventer/http/refusal.hpp"

namespace eventer::inline EVENTER_ABI::http::detail {

class field_lines {
 public:
  // Looks at the next bytes, of at most `most` lines. Returns behind the last one it took: `end`, unless the lines are
  // over or `why` is set, which it is to what is wrong at the returned place.
  const char* take(const char* p, const char* end, std::size_t most, http::refusal& why) noexcept {
    while (p != end) switch (place_) {
        case place::line_begin:
          if (*p == '\r') {
            place_ = place::last_line_feed;
            ++p;
            break;
          }
          if (!is_http(http_class::token, *p)) return why = {400, wrong_begin(*p)}, p;
          if (count_ >= most) return why = {431, "more header fields than allowed"}, p;
          ++count_;
          place_ = place::name;
          [[fallthrough]];
        case place::name:
          p = find_not(http_class::token, p, end);
          if (p == end) return p;
          if (*p != ':') return why = {400, wrong_in_name(*p)}, p;
          ++p;
          place_ = place::value;
          [[fallthrough]];
        case place::value:
          p = find_not_text(p, end);
          if (p == end) return p;
          if (*p != '\r') return why = {400, wrong_in_value(*p)}, p;
          ++p;
          place_ = place::line_feed;
          break;
        case place::line_feed:
        case place::last_line_feed:
          if (*p != '\n') return why = {400, "a carriage return without a line feed"}, p;
          ++p;
          place_ = place_ == place::line_feed ? place::line_begin : place::over;
          break;
        case place::over:
          return p;
      }
    return p;
  }
  bool is_over() const noexcept { return place_ == place::over; }

 private:
  enum class place : std::uint8_t { line_begin, name, value, line_feed, last_line_feed, over };

  static const char* wrong_begin(char byte) noexcept {
    if (byte == ' ' || byte == '\t') return "a header field folded into a second line";
    if (byte == ':') return "a header field without a name";
    return wrong_in_name(byte);
  }
  static const char* wrong_in_name(char byte) noexcept {
    if (byte == ' ' || byte == '\t') return "a blank in or behind a header field's name";
    if (byte == '\r' || byte == '\n') return "a header line without a colon, or without a carriage return";
    return "a character that no header field's name has";
  }
  static const char* wrong_in_value(char byte) noexcept {
    return byte == '\n' ? "a line feed without a carriage return" : "a control character in a header field's value";
  }

  place place_ = place::line_begin;
  std::uint32_t count_ = 0;
};

}  // namespace eventer::inline EVENTER_ABI::http::detail
