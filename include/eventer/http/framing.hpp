// framing: where a body ends, by its Transfer-Encoding and Content-Length (RFC 9112 6). Whatever two readers could
// understand differently is refused: the rest of one request, or answer, must never become the next.
#pragma once

#include <charconv>
#include <cstdint>
#include <string_view>

#include "eventer/http/characters.hpp"
#include "eventer/http/refusal.hpp"

namespace eventer::inline EVENTER_ABI::http {

enum class body_kind : std::uint8_t {
  none,
  length,
  chunked,
  until_close,  // of answers only
};

}  // namespace eventer::inline EVENTER_ABI::http
namespace eventer::inline EVENTER_ABI::http::detail {

class body_framing {
 public:
  http::refusal on_content_length(std::string_view value) noexcept {
    if (has_length_) return {400, "more than one Content-Length"};
    has_length_ = true;
    const char* const end = value.data() + value.size();
    const auto [stopped, error] = std::from_chars(value.data(), end, length_);
    if (value.empty() || value.front() == '-' || error != std::errc() || stopped != end)
      return {400, "a Content-Length that is not one number"};
    return {};
  }

  // Several fields are one list.
  http::refusal on_transfer_encoding(std::string_view value) noexcept {
    has_coding_ = true;
    if (value.ends_with(',')) return {400, "a Transfer-Encoding that is no list of codings"};
    do {
      const std::string_view coding = take_element(value);
      const std::string_view name = coding.substr(0, coding.find_first_of("; \t"));
      if (name.empty() || !is_all(http_class::token, name))
        return {400, "a Transfer-Encoding that is no list of codings"};
      if (ends_chunked_) return {400, "a Transfer-Encoding that goes on behind chunked"};
      ends_chunked_ = equals_any_case(coding, "chunked");
      if (!ends_chunked_ && equals_any_case(name, "chunked")) return {400, "chunked with parameters"};
      has_others_ = has_others_ || !ends_chunked_;
    } while (!value.empty());
    return {};
  }

  http::refusal judge(bool is_1_0, std::uint64_t most) const noexcept {
    if (has_coding_ && is_1_0) return {400, "Transfer-Encoding in HTTP/1.0"};
    if (has_coding_ && has_length_) return {400, "both Transfer-Encoding and Content-Length"};
    if (has_coding_ && !ends_chunked_) return {400, "a Transfer-Encoding that does not end with chunked"};
    if (has_others_) return {501, "a Transfer-Encoding besides chunked"};
    if (length_ > most) return {413, "a body larger than allowed"};
    return {};
  }

  http::body_kind kind() const noexcept {
    if (has_coding_) return http::body_kind::chunked;
    return has_length_ ? http::body_kind::length : http::body_kind::none;
  }
  std::uint64_t length() const noexcept { return length_; }

 private:
  std::uint64_t length_ = 0;
  bool has_length_ = false;
  bool has_coding_ = false;
  bool has_others_ = false;    // codings besides chunked
  bool ends_chunked_ = false;  // the last so far
};

}  // namespace eventer::inline EVENTER_ABI::http::detail
