// What can go wrong on a WebSocket, beside the stream's own errors; and the codes that a close frame gives as a reason.
#pragma once

#include <cstdint>
#include <string>
#include <system_error>

#include "eventer/base/result.hpp"

namespace eventer::inline EVENTER_ABI::http {

enum class websocket_errc {
  protocol_error = 1,  // the peer breaks RFC 6455; it was told 1002
  bad_text,            // text that is not UTF-8: the peer's, which was told 1007, or one's own, which was not sent
  too_large,           // a message beyond max_message; the peer was told 1009
  draining,            // the server is about to end: say what is to be said, and return
  broken,              // a frame was sent in part only, when its writer was cancelled or had failed
  too_long,            // more than 125 bytes for a ping, or 123 for the reason of a close
  bad_code,            // of a close: not one that may be sent
  bad_handshake,  // a server's answer is none, or 101 without what the handshake asks for; see also status_of_refusal
};

class EVENTER_API websocket_error_category final : public std::error_category {
 public:
  const char* name() const noexcept override { return "eventer.websocket"; }
  std::string message(int code) const override {
    switch (static_cast<websocket_errc>(code)) {
      case websocket_errc::protocol_error:
        return "the peer has sent what is no WebSocket frame, or none that may come here";
      case websocket_errc::bad_text:
        return "the text of a WebSocket message is not UTF-8";
      case websocket_errc::too_large:
        return "the message is larger than the limit (websocket_options::max_message)";
      case websocket_errc::draining:
        return "the server is about to end";
      case websocket_errc::broken:
        return "a frame was sent in part only, so that nothing can be sent behind it";
      case websocket_errc::too_long:
        return "a ping has 125 bytes at most, and the reason of a close 123";
      case websocket_errc::bad_code:
        return "a close is sent with 1000 to 1003, 1007 to 1014 or 3000 to 4999";
      case websocket_errc::bad_handshake:
        return "the server's 101 is no answer to this WebSocket handshake";
    }
    return "unknown eventer.websocket error";
  }
};

EVENTER_API inline const std::error_category& websocket_category() noexcept {
  static const websocket_error_category& instance = *new websocket_error_category;
  return instance;
}
inline std::error_code make_error_code(websocket_errc code) noexcept {
  return {static_cast<int>(code), websocket_category()};
}

// RFC 6455 7.4.1 and the registry of IANA. From 3000 on they are libraries', from 4000 on the program's own.
namespace websocket_close {
inline constexpr std::uint16_t normal = 1000;
inline constexpr std::uint16_t going_away = 1001;  // a page is left, a server ends
inline constexpr std::uint16_t protocol_error = 1002;
inline constexpr std::uint16_t unsupported = 1003;  // a kind of message that is not taken
inline constexpr std::uint16_t none = 1005;         // never sent: the peer's close gave no code
inline constexpr std::uint16_t abnormal = 1006;     // never sent: the connection ended without a close
inline constexpr std::uint16_t bad_text = 1007;
inline constexpr std::uint16_t policy = 1008;
inline constexpr std::uint16_t too_large = 1009;
inline constexpr std::uint16_t internal_error = 1011;
inline constexpr std::uint16_t try_later = 1013;

// Whether a close frame may have it.
constexpr bool may_be_sent(std::uint16_t code) noexcept {
  return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
}
}  // namespace websocket_close

}  // namespace eventer::inline EVENTER_ABI::http

template <>
struct std::is_error_code_enum<eventer::http::websocket_errc> : std::true_type {};
