// percent_decode, percent_encode: bytes as "%2F" in targets and query strings (RFC 3986). Nothing here decodes twice,
// and neither must who calls it: what "%2541" says is "%41".
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "eventer/base/config.hpp"

namespace eventer::inline EVENTER_ABI::http {

namespace detail {

constexpr int hex_digit(char c) noexcept {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// The byte that the escape at `at` stands for, or -1 where none is there.
constexpr int escaped_byte(std::string_view text, std::size_t at) noexcept {
  if (text.size() < 3 || at > text.size() - 3 || text[at] != '%') return -1;
  const int high = hex_digit(text[at + 1]), low = hex_digit(text[at + 2]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

constexpr bool is_control(char c) noexcept {
  return static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) == 0x7f;
}
constexpr bool is_letter_or_digit(char c) noexcept {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

}  // namespace detail

// Returns: the bytes meant, with '+' as it is; nothing where a '%' has not two hexadecimal digits behind it.
inline std::optional<std::string> percent_decode(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      result += text[i];
      continue;
    }
    const int byte = detail::escaped_byte(text, i);
    if (byte < 0) return std::nullopt;
    result += static_cast<char>(byte);
    i += 2;
  }
  return result;
}

// Escapes all but letters, digits, "-._~" and what `kept` names: percent_encode(name) is one segment of a path or one
// value of a query, percent_encode(path, "/") a path.
inline std::string percent_encode(std::string_view text, std::string_view kept = {}) {
  constexpr char digits[] = "0123456789ABCDEF";
  constexpr std::string_view unreserved = "-._~";
  std::string result;
  result.reserve(text.size());
  for (const char each : text) {
    if (detail::is_letter_or_digit(each) || unreserved.find(each) != std::string_view::npos ||
        kept.find(each) != std::string_view::npos) {
      result += each;
      continue;
    }
    const auto byte = static_cast<unsigned char>(each);
    result.append(1, '%').append(1, digits[byte >> 4]).append(1, digits[byte & 15]);
  }
  return result;
}

}  // namespace eventer::inline EVENTER_ABI::http
