// head_scanner: where the head of a request ends, line by line and within the limits, before anything interprets it.
// The parser behind it (request_head) is given whole, well-formed heads only: nothing but what passes here reaches it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "eventer/http/characters.hpp"
#include "eventer/http/field_lines.hpp"
#include "eventer/http/limits.hpp"
#include "eventer/http/refusal.hpp"

namespace eventer::inline EVENTER_ABI::http {

class head_scanner {
 public:
  enum class state : std::uint8_t { incomplete, complete, refused };

  // `received` begins at the request's first byte, and with each call there is more of it, at whatever address; only
  // what is new is looked at. Returns the same for the same bytes, however they are cut into calls, and `refused` with
  // the first byte that can't be. Nothing behind a complete head is looked at.
  // Requires: the same limits in all calls for one request.
  state scan(std::string_view received, const limits& with) noexcept {
    if (state_ != state::incomplete) return state_;
    if (part_ != part::fields && !scan_request_line(received, with)) return state_;
    const std::size_t most = skipped_ + with.head_most();
    const char* const begin = received.data();
    const char* const end = begin + std::min(received.size(), most);
    move_to(begin, lines_.take(begin + at_, end, with.header_count, why_));
    if (why_) return state_ = state::refused;
    if (lines_.is_over()) return state_ = state::complete;
    if (at_ == most) refuse(431, "a head larger than allowed");
    return state_;
  }

  // Bytes of an empty line in front of the request, which some clients send behind a body: 2 or 0.
  std::size_t skipped() const noexcept { return skipped_; }
  // Of a complete head: the bytes up to and with the empty line, from received.begin() on. The head itself is
  // received.substr(skipped(), size() - skipped()).
  std::size_t size() const noexcept { return at_; }
  refusal why() const noexcept { return why_; }
  // For the next request.
  void reset() noexcept { *this = head_scanner(); }

 private:
  enum class part : std::uint8_t { empty_line, method, request_line, line_feed, fields };

  void move_to(const char* begin, const char* at) noexcept { at_ = static_cast<std::uint32_t>(at - begin); }
  bool refuse(int status, const char* why) noexcept {
    state_ = state::refused;
    why_ = {status, why};
    return false;
  }

  // False: refused, or there is more to come.
  bool scan_request_line(std::string_view received, const limits& with) noexcept {
    if (part_ == part::empty_line && !skip_empty_line(received)) return false;
    const std::size_t most = skipped_ + with.request_line_most();
    const char* const begin = received.data();
    const char* const end = begin + std::min(received.size(), most);
    const char* p = begin + at_;
    if (part_ == part::method) {
      p = detail::find_not(detail::http_class::token, p, end);
      move_to(begin, p);
      if (p != end && (*p != ' ' || at_ == skipped_)) return refuse(400, wrong_in_method(*p, at_ == skipped_));
      if (p != end) part_ = part::request_line;
    }
    if (part_ == part::request_line) {
      p = detail::find_not_line(p, end);
      move_to(begin, p);
      if (p != end && *p != '\r') return refuse(400, wrong_in_line(*p));
      if (p != end) ++p, ++at_, part_ = part::line_feed;
    }
    if (part_ == part::line_feed && p != end) {
      if (*p != '\n') return refuse(400, "a carriage return without a line feed");
      const std::string_view line = received.substr(skipped_, at_ - 1 - skipped_);
      ++at_;
      part_ = part::fields;
      return is_request_line(line);
    }
    return at_ == most ? refuse(414, "a request line longer than allowed") : false;
  }

  bool skip_empty_line(std::string_view received) noexcept {
    if (received.empty()) return false;
    if (received[0] == '\r') {
      if (received.size() < 2) return false;
      if (received[1] != '\n') return refuse(400, "a carriage return without a line feed");
      at_ = skipped_ = 2;
    }
    part_ = part::method;
    return true;
  }

  // Method, one space, target, one space, version; of which the method is known to be a token.
  bool is_request_line(std::string_view line) noexcept {
    const std::size_t method_end = line.find(' ');
    const std::size_t target_end = line.find(' ', method_end + 1);
    if (target_end == std::string_view::npos)
      return refuse(400, "a request line without a version, as of HTTP/0.9, which is not served");
    const std::string_view version = line.substr(target_end + 1);
    if (target_end == method_end + 1 || version.size() != 8 || !version.starts_with("HTTP/") || !is_digit(version[5]) ||
        version[6] != '.' || !is_digit(version[7]))
      return refuse(400, "a request line that is not a method, a target and a version with one space between them");
    if (line == "PRI * HTTP/2.0") return refuse(400, "an HTTP/2 client; HTTP/1.1 is spoken here");
    if (version[5] != '1') return refuse(505, "a version of HTTP other than 1.0 and 1.1");
    return true;
  }
  static bool is_digit(char byte) noexcept { return byte >= '0' && byte <= '9'; }

  static const char* wrong_in_method(char byte, bool is_first) noexcept {
    if (is_first && byte == '\x16') return "a TLS client, where TLS is not spoken";
    if (is_first && (byte == '\r' || byte == '\n')) return "an empty line in place of a request";
    return "a request that does not begin with a method and a space";
  }
  static const char* wrong_in_line(char byte) noexcept {
    if (byte == '\n') return "a line feed without a carriage return";
    return "a control character, or one beyond ASCII, in the request line";
  }

  refusal why_;
  std::uint32_t at_ = 0;  // looked at so far
  detail::field_lines lines_;
  std::uint8_t skipped_ = 0;
  part part_ = part::empty_line;
  state state_ = state::incomplete;
};

}  // namespace eventer::inline EVENTER_ABI::http
