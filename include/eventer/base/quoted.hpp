// quoted: somebody else's text as it may stand in a message: in double quotes, on one line, cut where it is long.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "eventer/base/config.hpp"

namespace eventer::inline EVENTER_ABI::detail {

// What a terminal would obey is written as \xNN: control characters, also those that UTF-8 writes with two bytes.
inline std::string quoted(std::string_view text, std::size_t most = 60) {
  constexpr char digits[] = "0123456789abcdef";
  const bool cut = text.size() > most;
  std::size_t size = cut ? most : text.size();
  while (cut && size > 0 && (static_cast<unsigned char>(text[size]) & 0xc0) == 0x80) --size;  // not inside a character
  std::string result = "\"";
  for (std::size_t i = 0; i < size; ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const auto next = static_cast<unsigned char>(i + 1 < size ? text[i + 1] : 0);
    const auto last = static_cast<unsigned char>(i > 0 ? text[i - 1] : 0);
    const bool control = (byte == 0xc2 && next >= 0x80 && next < 0xa0) || (last == 0xc2 && byte >= 0x80 && byte < 0xa0);
    if (byte < 0x20 || byte == 0x7f || control) {
      result.append("\\x").append(1, digits[byte >> 4]).append(1, digits[byte & 15]);
      continue;
    }
    if (byte == '"' || byte == '\\') result += '\\';
    result += text[i];
  }
  return result.append(cut ? "...\"" : "\"");
}

}  // namespace eventer::inline EVENTER_ABI::detail
