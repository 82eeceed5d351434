// chunk_decoder: takes a chunked body (RFC 9112 7.1) apart where it lies: data comes out as views of what went in.
// What differs between two readers of the same bytes is how requests are smuggled: one form of each thing is accepted.
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

// Extensions and trailers are checked and dropped: a trailer changes no header.
class chunk_decoder {
 public:
  enum class state : std::uint8_t { more, data, end, refused };
  struct piece {
    state is;
    std::size_t consumed;   // bytes of `in`, those of `data` included
    std::string_view data;  // in `in`; empty unless `is` says data
  };

  // Completes with the next piece of data, with `end` behind the body's last byte (what follows belongs to the next
  // request), with `refused`, or with `more` when all of `in` is consumed. `in` goes on where the last call stopped
  // consuming, and may be cut anywhere.
  // Requires: the same limits in all calls for one body.
  piece next(std::string_view in, const limits& with) noexcept {
    const char* const begin = in.data();
    const char* const end = begin + in.size();
    const char* p = begin;
    const auto consumed = [&] { return static_cast<std::size_t>(p - begin); };
    while (p != end && part_ < part::trailers) {
      if (part_ == part::data) {
        const std::size_t size = std::min<std::uint64_t>(size_, static_cast<std::size_t>(end - p));
        const std::string_view data(p, size);
        p += size;
        size_ -= size;
        if (size_ == 0) part_ = part::data_return;
        return {state::data, consumed(), data};
      }
      if (!take(*p, with)) return {state::refused, consumed(), {}};
      ++p;
    }
    if (part_ == part::trailers && p != end) take_trailers(p, end, with);
    const state is = part_ == part::over ? state::end : part_ == part::refused ? state::refused : state::more;
    return {is, consumed(), {}};
  }

  refusal why() const noexcept { return why_; }
  // For the next body.
  void reset() noexcept { *this = chunk_decoder(); }

 private:
  // What comes next, in the order of the bytes. What stands before `trailers` comes anew with each chunk.
  enum class part : std::uint8_t {
    first_digit,
    size,            // another digit, an extension or the line's end
    extension_name,  // its first character
    extension_rest,
    extension_value,    // its first character
    extension_token,    // the rest of a value, as a token
    extension_quoted,   // or as a quoted string
    extension_escaped,  // in which a backslash was
    extension_end,      // which was closed
    line_feed,
    data,
    data_return,
    data_line_feed,
    trailers,
    over,
    refused,
  };

  bool refuse(int status, const char* why) noexcept {
    part_ = part::refused;
    why_ = {status, why};
    return false;
  }

  // One byte of the framing before the trailers.
  bool take(char byte, const limits& with) noexcept {
    switch (part_) {
      case part::first_digit:
      case part::size:
        if (detail::is_http(detail::http_class::hex, byte)) return take_digit(byte);
        if (part_ == part::first_digit) return refuse(400, "a chunk whose size is no hexadecimal number");
        return take_behind_size(byte, with);
      case part::line_feed:
        return byte == '\n' ? begin_data(with) : refuse(400, bare_return);
      case part::data_return:
        part_ = part::data_line_feed;
        return byte == '\r' || refuse(400, "a chunk longer than its size");
      case part::data_line_feed:
        part_ = part::first_digit;
        return byte == '\n' || refuse(400, bare_return);
      default:
        return take_extension(byte, with);
    }
  }

  // Sixteen digits are all that 64 bits hold: more could only be zeros in front, or an overflow.
  bool take_digit(char byte) noexcept {
    if (++digits_ > 16) return refuse(400, "a chunk's size of more than 16 digits");
    const char lower = detail::lower_case(byte);
    size_ = size_ << 4 | static_cast<unsigned>(lower <= '9' ? lower - '0' : lower - 'a' + 10);
    part_ = part::size;
    return true;
  }
  bool take_behind_size(char byte, const limits& with) noexcept {
    if (byte == '\r') return go_on(part::line_feed);
    if (byte == ';') return take_extension(byte, with);
    return refuse(400, "a chunk's size that is followed by neither its line's end nor an extension");
  }
  bool go_on(part with) noexcept {
    part_ = with;
    return true;
  }

  // *( ";" name [ "=" ( token / quoted-string ) ] ), without the blanks that RFC 9112 only tolerates.
  bool take_extension(char byte, const limits& with) noexcept {
    if (byte == '\r' && may_end()) return go_on(part::line_feed);
    if (++spent_ > with.chunk_extension) return refuse(400, "a chunk's extensions are longer than allowed");
    const bool is_token = detail::is_http(detail::http_class::token, byte);
    switch (part_) {
      case part::extension_name:
        if (is_token) return go_on(part::extension_rest);
        break;
      case part::extension_rest:
        if (is_token) return true;
        if (byte == '=') return go_on(part::extension_value);
        if (byte == ';') return go_on(part::extension_name);
        break;
      case part::extension_value:
        if (is_token) return go_on(part::extension_token);
        if (byte == '"') return go_on(part::extension_quoted);
        break;
      case part::extension_token:
        if (is_token) return true;
        [[fallthrough]];
      case part::extension_end:
      case part::size:
        if (byte == ';') return go_on(part::extension_name);
        break;
      case part::extension_quoted:
        if (byte == '"') return go_on(part::extension_end);
        if (byte == '\\') return go_on(part::extension_escaped);
        if (detail::is_http(detail::http_class::text, byte)) return true;
        break;
      case part::extension_escaped:
        if (detail::is_http(detail::http_class::text, byte)) return go_on(part::extension_quoted);
        break;
      default:
        break;
    }
    return refuse(400, "a malformed chunk extension");
  }
  bool may_end() const noexcept {
    return part_ == part::extension_rest || part_ == part::extension_token || part_ == part::extension_end;
  }

  bool begin_data(const limits& with) noexcept {
    const std::uint64_t left = with.body - total_;  // total_ was let in
    if (size_ > left || spent_ > left - size_) return refuse(413, "a body larger than allowed");
    total_ += size_ + spent_;
    part_ = size_ == 0 ? part::trailers : part::data;
    digits_ = 0;
    spent_ = 0;
    return true;
  }

  void take_trailers(const char*& p, const char* end, const limits& with) noexcept {
    const std::size_t most = with.trailer_bytes - std::min<std::size_t>(with.trailer_bytes, spent_);
    const char* const begin = p;
    p = lines_.take(p, begin + std::min<std::size_t>(static_cast<std::size_t>(end - p), most), with.header_count, why_);
    spent_ += static_cast<std::uint32_t>(p - begin);
    if (why_)
      part_ = part::refused;
    else if (lines_.is_over())
      part_ = part::over;
    else if (spent_ >= with.trailer_bytes)
      refuse(431, "trailers larger than allowed");
  }

  static constexpr const char* bare_return = "a carriage return without a line feed";

  std::uint64_t size_ = 0;   // of this chunk, what is still to come
  std::uint64_t total_ = 0;  // of all chunks so far, with their extensions
  refusal why_;
  detail::field_lines lines_;
  std::uint32_t spent_ = 0;  // bytes of this chunk's extensions; in the end, of the trailers
  std::uint8_t digits_ = 0;
  part part_ = part::first_digit;
};

}  // namespace eventer::inline EVENTER_ABI::http
