// sha1 (FIPS 180-4) and base64 (RFC 4648), as the handshake of RFC 6455 uses them: a proof that the server has read the
// request. No secret depends on either.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "eventer/base/config.hpp"

namespace eventer::inline EVENTER_ABI::http::detail {

namespace sha1_detail {
inline void add_block(std::array<std::uint32_t, 5>& state, const unsigned char* block) noexcept {
  std::array<std::uint32_t, 80> w{};
  for (std::size_t i = 0; i < 16; ++i)
    for (std::size_t byte = 0; byte < 4; ++byte) w[i] = w[i] << 8 | block[4 * i + byte];
  for (std::size_t i = 16; i < 80; ++i) w[i] = std::rotl(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
  auto [a, b, c, d, e] = state;
  for (std::size_t i = 0; i < 80; ++i) {
    const std::uint32_t f = i < 20   ? ((b & c) | (~b & d)) + 0x5a827999
                            : i < 40 ? (b ^ c ^ d) + 0x6ed9eba1
                            : i < 60 ? ((b & c) | (b & d) | (c & d)) + 0x8f1bbcdc
                                     : (b ^ c ^ d) + 0xca62c1d6;
    const std::uint32_t next = std::rotl(a, 5) + f + e + w[i];
    e = d, d = c, c = std::rotl(b, 30), b = a, a = next;
  }
  state[0] += a, state[1] += b, state[2] += c, state[3] += d, state[4] += e;
}
}  // namespace sha1_detail

// The 20 bytes.
inline std::string sha1(std::string_view text) {
  std::array<std::uint32_t, 5> state{0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
  std::string padded(text);
  padded += '\x80';
  while (padded.size() % 64 != 56) padded += '\0';
  for (int shift = 56; shift >= 0; shift -= 8)
    padded += static_cast<char>(std::uint64_t{text.size()} * 8 >> shift & 255);
  for (std::size_t at = 0; at < padded.size(); at += 64)
    sha1_detail::add_block(state, reinterpret_cast<const unsigned char*>(padded.data()) + at);
  std::string result;
  for (const std::uint32_t word : state)
    for (int shift = 24; shift >= 0; shift -= 8) result += static_cast<char>(word >> shift & 255);
  return result;
}

inline constexpr std::string_view base64_digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

inline std::string base64(std::string_view bytes) {
  std::string result;
  for (std::size_t at = 0; at < bytes.size(); at += 3) {
    std::uint32_t group = 0;
    const std::size_t count = bytes.size() - at < 3 ? bytes.size() - at : 3;
    for (std::size_t i = 0; i < 3; ++i)
      group = group << 8 | (i < count ? static_cast<unsigned char>(bytes[at + i]) : 0u);
    for (std::size_t i = 0; i < 4; ++i) result += i <= count ? base64_digits[group >> (18 - 6 * i) & 63] : '=';
  }
  return result;
}

// Whether it is the text of 16 bytes.
inline bool is_base64_of_16(std::string_view text) noexcept {
  if (text.size() != 24 || text.substr(22) != "==") return false;
  for (const char each : text.substr(0, 22))
    if (base64_digits.find(each) == std::string_view::npos) return false;
  return base64_digits.find(text[21]) % 16 == 0;  // bits that are of no byte
}

}  // namespace eventer::inline EVENTER_ABI::http::detail
