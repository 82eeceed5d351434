// answer_head: what the head of a server's answer says: its status, its fields, where its body ends (RFC 9112 6.3).
// Rests on Boost.Beast for the syntax of fields, as request_head does; what decides about the connection's next byte is
// judged here and in framing.hpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "eventer/http/answer_scanner.hpp"
#include "eventer/http/characters.hpp"
#include "eventer/http/field_places.hpp"
#include "eventer/http/framing.hpp"
#include "eventer/http/header_parser.hpp"
#include "eventer/http/limits.hpp"
#include "eventer/http/refusal.hpp"

namespace eventer::inline EVENTER_ABI::http {

// Keeps places in the head, not its bytes: they stay the caller's, and may move (rebase). All views end when they do.
// One object serves answer after answer, and then doesn't allocate.
class answer_head : public detail::field_places {
 public:
  // Takes the place of what was parsed before. `head`: as answer_scanner found it, without bytes around it. Whatever
  // else it is given is refused, or understood as its bytes say. `to_head`: it answers a HEAD request, and has no body.
  // Returns: what is wrong with it; then nothing else may be asked. No length of a body is too large here.
  refusal parse(std::string_view head, bool to_head) {
    clear(head.data());
    flags_ = {};
    framing_ = {};
    if (head.size() > limits::largest_head) return {431, "a head larger than allowed"};
    const std::size_t line = head.find('\r');
    if (line == std::string_view::npos || line < behind_status || head.size() < line + 4) return {400, malformed};
    minor_version_ = static_cast<std::uint8_t>(head[7] - '0');
    status_ = 0;
    for (const char digit : head.substr(behind_status - 3, 3)) {
      if (digit < '0' || digit > '9') return {400, malformed};
      status_ = static_cast<std::uint16_t>(status_ * 10 + (digit - '0'));
    }
    if (minor_version_ > 9 || status_ < 100) return {400, malformed};
    line_size_ = static_cast<std::uint16_t>(line);
    if (const refusal why = detail::answer_parser<answer_head>::parse_answer_fields(head.substr(line + 2), *this))
      return why;
    return judge(to_head);
  }

  int status() const noexcept { return status_; }
  // What stands behind the status, for people; may be empty.
  std::string_view reason() const noexcept {
    const std::string_view line(bytes(), line_size_);
    return line.substr(line_size_ > behind_status ? behind_status + 1 : behind_status);
  }
  // 1.0 or 1.x; what is higher than 1.1 is read as 1.1.
  unsigned minor_version() const noexcept { return minor_version_; }
  // Another answer to the same request follows: 100 (Continue), 103 (Early Hints); but not 101, behind which another
  // protocol is spoken.
  bool is_interim() const noexcept { return status_ < 200 && status_ != 101; }

  body_kind body() const noexcept { return body_; }
  // Requires: body() == body_kind::length.
  std::uint64_t content_length() const noexcept { return framing_.length(); }
  // Whether the server means to answer another request on this connection, and its next byte can be told from this
  // answer's.
  bool keep_alive() const noexcept {
    return !flags_.close && (minor_version_ > 0 || flags_.keep_alive) && body_ != body_kind::until_close &&
           !claims_a_body_;
  }

 private:
  friend class detail::header_parser<false, answer_head>;

  struct flags {
    bool close, keep_alive;
  };
  static constexpr std::size_t behind_status = sizeof "HTTP/1.1 200" - 1;
  static constexpr const char* malformed = "a malformed head of an answer";

  refusal on_field(detail::known_field known, std::string_view name, std::string_view value) {
    if (!is_on_one_line(name, value)) return {400, "a header field folded into a second line"};
    add(name, value);
    switch (known) {
      case detail::known_field::content_length:
        return framing_.on_content_length(value);
      case detail::known_field::transfer_encoding:
        return framing_.on_transfer_encoding(value);
      case detail::known_field::connection:
        on_connection(value);
        return {};
      default:
        return {};
    }
  }
  void on_connection(std::string_view value) noexcept {
    while (!value.empty()) {
      const std::string_view option = detail::take_element(value);
      if (detail::equals_any_case(option, "close")) flags_.close = true;
      if (detail::equals_any_case(option, "keep-alive")) flags_.keep_alive = true;
    }
  }

  refusal judge(bool to_head) noexcept {
    if (const refusal why = framing_.judge(minor_version_ == 0, UINT64_MAX)) return why;
    body_ = framing_.kind();
    const bool never_has_one = status_ < 200 || status_ == 204;
    claims_a_body_ =
        never_has_one && (body_ == body_kind::chunked || (body_ == body_kind::length && content_length() > 0));
    if (never_has_one || to_head || status_ == 304)
      body_ = body_kind::none;
    else if (body_ == body_kind::none)
      body_ = body_kind::until_close;
    return {};
  }

  detail::body_framing framing_;
  std::uint16_t status_ = 0, line_size_ = 0;
  std::uint8_t minor_version_ = 0;
  body_kind body_ = body_kind::none;
  bool claims_a_body_ = false;  // where none can be: what follows may be that, or not
  flags flags_{};
};

}  // namespace eventer::inline EVENTER_ABI::http
