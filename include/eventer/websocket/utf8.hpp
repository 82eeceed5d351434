// utf8_check: whether bytes that come in pieces are UTF-8 (RFC 3629), told at the first byte that can't be.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

#include "eventer/base/config.hpp"

namespace eventer::inline EVENTER_ABI::http::detail {

class utf8_check {
 public:
  // False: whatever comes next, it is none. Then reset() only.
  bool feed(std::string_view bytes) noexcept {
    const char* p = bytes.data();
    const char* const end = p + bytes.size();
    while (p != end) {
      if (missing_ == 0) p = skip_ascii(p, end);
      if (p != end && !take(static_cast<std::uint8_t>(*p++))) return false;
    }
    return true;
  }
  // Whether no character is left half.
  bool is_complete() const noexcept { return missing_ == 0; }
  void reset() noexcept { *this = utf8_check(); }

 private:
  static const char* skip_ascii(const char* p, const char* end) noexcept {
    for (; end - p >= 8; p += 8) {
      std::uint64_t eight;
      std::memcpy(&eight, p, sizeof eight);
      if ((eight & 0x8080808080808080u) != 0) break;
    }
    while (p != end && static_cast<std::uint8_t>(*p) < 0x80) ++p;
    return p;
  }
  // The second byte says where a sequence is longer than needed, a surrogate, or beyond U+10FFFF.
  bool take(std::uint8_t byte) noexcept {
    if (missing_ > 0) {
      if (byte < low_ || byte > high_) return false;
      --missing_;
      low_ = 0x80, high_ = 0xbf;
      return true;
    }
    if (byte < 0xc2 || byte > 0xf4) return false;
    missing_ = byte < 0xe0 ? 1 : byte < 0xf0 ? 2 : 3;
    if (byte == 0xe0) low_ = 0xa0;
    if (byte == 0xed) high_ = 0x9f;
    if (byte == 0xf0) low_ = 0x90;
    if (byte == 0xf4) high_ = 0x8f;
    return true;
  }

  std::uint8_t missing_ = 0;               // bytes of the present character
  std::uint8_t low_ = 0x80, high_ = 0xbf;  // of the next one
};

inline bool is_utf8(std::string_view text) noexcept {
  utf8_check check;
  return check.feed(text) && check.is_complete();
}

}  // namespace eventer::inline EVENTER_ABI::http::detail

namespace eventer::inline EVENTER_ABI::http {
using detail::is_utf8;  // for programs too: text that is none can't be sent
}  // namespace eventer::inline EVENTER_ABI::http
