// characters: which bytes may stand where in HTTP (RFC 9110 5.6.2, RFC 9112 3.2, RFC 3986), and the search for the
// first that may not. All tables of the wire layer are here.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "eventer/base/config.hpp"

namespace eventer::inline EVENTER_ABI::http::detail {

enum class http_class : std::uint8_t {
  token = 1,   // methods, field names, codings
  text = 2,    // field values: all but control characters; HTAB is none of these, and bytes from 0x80 on are allowed
  line = 4,    // request lines: what is visible in ASCII, and the space
  target = 8,  // request targets: as lines, without space, and without '#', which no client sends
  host = 16,   // names of hosts: unreserved and sub-delims of RFC 3986, but for the comma, by which proxies join fields
  hex = 32,
};

inline constexpr std::array<std::uint8_t, 256> http_characters = [] {
  std::array<std::uint8_t, 256> table{};
  const auto mark = [&table](http_class as, std::string_view bytes) {
    for (const char byte : bytes) table[static_cast<unsigned char>(byte)] |= static_cast<std::uint8_t>(as);
  };
  constexpr std::string_view alphanumeric = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
  mark(http_class::token, alphanumeric);
  mark(http_class::token, "!#$%&'*+-.^_`|~");
  mark(http_class::host, alphanumeric);
  mark(http_class::host, "-._~!$&'()*+;=");
  mark(http_class::hex, "0123456789abcdefABCDEF");
  mark(http_class::text, "\t");
  for (unsigned byte = 0x20; byte < 256; ++byte) {
    const char as_char = static_cast<char>(byte);
    if (byte != 0x7f) mark(http_class::text, {&as_char, 1});
    if (byte < 0x7f) mark(http_class::line, {&as_char, 1});
    if (byte < 0x7f && byte != ' ' && byte != '#') mark(http_class::target, {&as_char, 1});
  }
  return table;
}();

constexpr bool is_http(http_class of, char byte) noexcept {
  return (http_characters[static_cast<unsigned char>(byte)] & static_cast<std::uint8_t>(of)) != 0;
}
constexpr const char* find_not(http_class of, const char* p, const char* end) noexcept {
  while (p != end && is_http(of, *p)) ++p;
  return p;
}
constexpr bool is_all(http_class of, std::string_view text) noexcept {
  return find_not(of, text.data(), text.data() + text.size()) == text.data() + text.size();
}

// The same for the two classes that make up most of a head, 16 bytes at a time. Nothing beyond `end` is read.
inline const char* find_not_text(const char* p, const char* end) noexcept {
#if defined(__SSE2__)
  for (; end - p >= 16; p += 16) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    const __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1f)), bytes);
    const __m128i allowed = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\t'));
    const __m128i wrong = _mm_or_si128(_mm_andnot_si128(allowed, control), _mm_cmpeq_epi8(bytes, _mm_set1_epi8(0x7f)));
    const unsigned found = static_cast<unsigned>(_mm_movemask_epi8(wrong));
    if (found != 0) return p + std::countr_zero(found);
  }
#endif
  return find_not(http_class::text, p, end);
}
inline const char* find_not_line(const char* p, const char* end) noexcept {
#if defined(__SSE2__)
  for (; end - p >= 16; p += 16) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    const __m128i low = _mm_cmplt_epi8(bytes, _mm_set1_epi8(0x20));  // signed: bytes from 0x80 on, too
    const __m128i wrong = _mm_or_si128(low, _mm_cmpeq_epi8(bytes, _mm_set1_epi8(0x7f)));
    const unsigned found = static_cast<unsigned>(_mm_movemask_epi8(wrong));
    if (found != 0) return p + std::countr_zero(found);
  }
#endif
  return find_not(http_class::line, p, end);
}

constexpr char lower_case(char byte) noexcept {
  return byte >= 'A' && byte <= 'Z' ? static_cast<char>(byte - 'A' + 'a') : byte;
}
constexpr bool equals_any_case(std::string_view a, std::string_view b) noexcept {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i)
    if (lower_case(a[i]) != lower_case(b[i])) return false;
  return true;
}

// Takes the first element off a comma-separated list, without the blanks around it; it may be empty. Commas in quoted
// strings separate, too: for lists of tokens only.
constexpr std::string_view take_element(std::string_view& list) noexcept {
  const std::size_t comma = list.find(',');
  std::string_view element = list.substr(0, comma);
  list.remove_prefix(comma == std::string_view::npos ? list.size() : comma + 1);
  while (!element.empty() && (element.front() == ' ' || element.front() == '\t')) element.remove_prefix(1);
  while (!element.empty() && (element.back() == ' ' || element.back() == '\t')) element.remove_suffix(1);
  return element;
}

}  // namespace eventer::inline EVENTER_ABI::http::detail
