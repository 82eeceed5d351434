// Frames made and read without the library: what tests and the fuzzer compare it with. Knows nothing of Catch.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "eventer/websocket/frame_receiver.hpp"

namespace frames {

using namespace std::string_literals;

enum class length_form { shortest, two_bytes, eight_bytes };

struct shape {
  bool last = true;
  bool masked = true;
  unsigned reserved = 0;  // the three bits
  length_form form = length_form::shortest;
  std::uint64_t claims = UINT64_MAX;  // another length than that of the payload
};

inline std::string frame(unsigned opcode, std::string_view payload, const shape& with = {}) {
  constexpr unsigned char mask[] = {0x37, 0xfa, 0x21, 0x3d};
  const std::uint64_t size = with.claims != UINT64_MAX ? with.claims : payload.size();
  const bool two = with.form == length_form::two_bytes || (with.form == length_form::shortest && size > 125);
  const bool eight = with.form == length_form::eight_bytes || (with.form == length_form::shortest && size > 65535);
  const unsigned bytes = eight ? 8 : two ? 2 : 0;
  std::string result;
  result += static_cast<char>((with.last ? 0x80u : 0u) | with.reserved << 4 | opcode);
  result += static_cast<char>((with.masked ? 0x80u : 0u) | (eight ? 127u : two ? 126u : static_cast<unsigned>(size)));
  for (unsigned i = bytes; i-- > 0;) result += static_cast<char>(size >> (8 * i) & 255);
  if (with.masked) result.append(reinterpret_cast<const char*>(mask), 4);
  for (std::size_t i = 0; i < payload.size(); ++i)
    result += with.masked ? static_cast<char>(static_cast<unsigned char>(payload[i]) ^ mask[i % 4]) : payload[i];
  return result;
}
inline std::string text(std::string_view payload, const shape& with = {}) { return frame(1, payload, with); }
inline std::string close(unsigned code, std::string_view reason = {}, const shape& with = {}) {
  return frame(8, std::string{static_cast<char>(code >> 8), static_cast<char>(code & 255)}.append(reason), with);
}

// What a receiver makes of bytes: T, B, I, O and C for text, binary, ping, pong and close, with "<...>"; then "!1002"
// where it refuses, or "..." where something is half.
class reader {
 public:
  reader(eventer::http::detail::websocket_side side, std::size_t most) { receiver_.begin(side, most); }

  void feed(std::string_view bytes) {
    using event = eventer::http::detail::frame_receiver::event;
    while (!over_) {
      const event what = receiver_.feed(bytes);
      if (what == event::incomplete) break;
      tell(what);
    }
  }
  std::string end() {
    if (!over_ && !receiver_.is_between_messages()) told_ += "...";
    return told_;
  }
  bool is_over() const noexcept { return over_; }
  // For another connection, as receivers are lent. False: where this one stands that can't be.
  bool reuse(eventer::http::detail::websocket_side side, std::size_t most) {
    if (!receiver_.reset()) return false;
    receiver_.begin(side, most);
    told_.clear();
    over_ = false;
    return true;
  }

 private:
  void tell(eventer::http::detail::frame_receiver::event what) {
    using event = eventer::http::detail::frame_receiver::event;
    const auto add = [this](char kind, std::string_view payload) {
      told_.append(1, kind).append("<").append(payload).append(">");
    };
    switch (what) {
      case event::message:
        return add(receiver_.is_text() ? 'T' : 'B', receiver_.take_message());
      case event::ping:
        return add('I', receiver_.control());
      case event::pong:
        return add('O', receiver_.control());
      case event::close:
        over_ = true;
        return add('C', std::to_string(receiver_.close_code()).append(" ").append(receiver_.close_reason()));
      default:
        over_ = true;
        told_ += "!" + std::to_string(receiver_.close_code());
    }
  }

  eventer::http::detail::frame_receiver receiver_;
  std::string told_;
  bool over_ = false;
};

inline std::string read_whole(std::string_view bytes, eventer::http::detail::websocket_side side,
                              std::size_t most = 1 << 20) {
  reader all(side, most);
  all.feed(bytes);
  return all.end();
}
inline std::string read_bytewise(std::string_view bytes, eventer::http::detail::websocket_side side,
                                 std::size_t most = 1 << 20) {
  reader all(side, most);
  for (std::size_t i = 0; i < bytes.size(); ++i) all.feed(std::string(1, bytes[i]));  // each elsewhere
  return all.end();
}
inline std::string read_split(std::string_view bytes, std::size_t at, eventer::http::detail::websocket_side side,
                              std::size_t most = 1 << 20) {
  reader all(side, most);
  all.feed(std::string(bytes.substr(0, at)));
  all.feed(std::string(bytes.substr(at)));
  return all.end();
}

}  // namespace frames
