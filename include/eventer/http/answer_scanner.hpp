// answer_scanner: where the head of a server's answer ends, line by line and within the limits, before anything
// interprets it. For clients what head_scanner is for servers; nothing but what passes here reaches answer_head.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "eventer/http/characters.hpp"
#include "eventer/http/field_lines.hpp"
#include "eventer/http/limits.hpp"
#include "eventer/http/refusal.hpp"

namespace eventer::inline EVENTER_ABI::http {

class answer_scanner {
 public:
  enum class state : std::uint8_t { incomplete, complete, refused };

  // `received` begins at the answer's first byte, and with each call there is more of it, at whatever address; only
  // what is new is looked at. Returns the same for the same bytes, however they are cut into calls, and `refused` with
  // the first byte that can't be. Nothing behind a complete head is looked at. Of the limits header_bytes and
  // header_count are heeded. Requires: the same limits in all calls for one answer.
  state scan(std::string_view received, const limits& with) noexcept {
    if (state_ != state::incomplete) return state_;
    const std::size_t most = with.head_most();
    const char* const begin = received.data();
    const char* const end = begin + std::min(received.size(), most);
    if (part_ != part::fields && !scan_status_line(begin, end)) return at_ == most ? refuse_size() : state_;
    move_to(begin, lines_.take(begin + at_, end, with.header_count, why_));
    if (why_) return state_ = state::refused;
    if (lines_.is_over()) return state_ = state::complete;
    return at_ == most ? refuse_size() : state_;
  }

  // Of a complete head: its bytes, from the status line's first up to and with the empty line.
  std::size_t size() const noexcept { return at_; }
  // 400: no answer of HTTP/1; 431: beyond a limit.
  refusal why() const noexcept { return why_; }
  // For the next answer.
  void reset() noexcept { *this = answer_scanner(); }

 private:
  enum class part : std::uint8_t { version, status_line, line_feed, fields };
  static constexpr std::string_view version = "HTTP/1.";

  void move_to(const char* begin, const char* at) noexcept { at_ = static_cast<std::uint32_t>(at - begin); }
  bool refuse(const char* why) noexcept {
    state_ = state::refused;
    why_ = {400, why};
    return false;
  }
  state refuse_size() noexcept {
    if (state_ == state::refused) return state_;
    why_ = {431, "a head larger than allowed"};
    return state_ = state::refused;
  }

  // False: refused, or there is more to come.
  bool scan_status_line(const char* begin, const char* end) noexcept {
    const char* p = begin + at_;
    for (; part_ == part::version && p != end; ++p, ++at_) {
      if (*p != version[at_]) return refuse("bytes that are no answer of HTTP/1");
      if (at_ + 1 == version.size()) part_ = part::status_line;
    }
    if (part_ == part::status_line) {
      p = detail::find_not_text(p, end);
      move_to(begin, p);
      if (p != end && *p != '\r') return refuse(wrong_in_line(*p));
      if (p != end) ++p, ++at_, part_ = part::line_feed;
    }
    if (part_ != part::line_feed || p == end) return false;
    if (*p != '\n') return refuse("a carriage return without a line feed");
    ++at_;
    part_ = part::fields;
    return is_status_line({begin, at_ - std::size_t{2}}) || refuse("a status line without a version and a status");
  }
  // "HTTP/1.1 200 OK", or without a reason; of which the beginning is known.
  static bool is_status_line(std::string_view line) noexcept {
    constexpr std::size_t status = sizeof "HTTP/1.1" - 1 + 1, behind = status + 3;
    if (line.size() < behind || !is_digit(line[status - 2]) || line[status - 1] != ' ') return false;
    for (const char digit : line.substr(status, 3))
      if (!is_digit(digit)) return false;
    return line[status] != '0' && (line.size() == behind || line[behind] == ' ');
  }
  static bool is_digit(char byte) noexcept { return byte >= '0' && byte <= '9'; }
  static const char* wrong_in_line(char byte) noexcept {
    return byte == '\n' ? "a line feed without a carriage return" : "a control character in the status line";
  }

  refusal why_;
  std::uint32_t at_ = 0;  // looked at so far
  detail::field_lines lines_;
  part part_ = part::version;
  state state_ = state::incomplete;
};

}  // namespace eventer::inline EVENTER_ABI::http
