// frame_receiver: messages and control frames out of a connection's bytes, in whichever pieces they come. Rests on
// wslay's frame functions; no I/O.
//
// What must not be broken: the same bytes in other pieces give the same events; the context never gets a byte beyond
// the present frame, so that it is empty between two; memory grows with what has come, not with what is announced.
#pragma once

#include <wslay/wslay.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <string>
#include <string_view>
#include <utility>

#include "eventer/websocket/error.hpp"
#include "eventer/websocket/utf8.hpp"

namespace eventer::inline EVENTER_ABI::http::detail {

// Which side of a connection one is: clients mask what they send, servers do not.
enum class websocket_side : bool { server, client };

class frame_receiver {
 public:
  enum class event : std::uint8_t {
    incomplete,  // all bytes are used
    message,     // is_text(), take_message()
    ping,        // control()
    pong,        // control()
    close,       // close_code(), close_reason()
    refused,     // close_code() is what to tell the peer; nothing more can be read
  };

  frame_receiver() {
    const wslay_frame_callbacks callbacks{nullptr, &give, nullptr};
    if (wslay_frame_context_init(&context_, &callbacks, this) != 0) throw std::bad_alloc();
  }
  frame_receiver(const frame_receiver&) = delete;
  frame_receiver& operator=(const frame_receiver&) = delete;
  ~frame_receiver() { wslay_frame_context_free(context_); }

  void begin(websocket_side here, std::size_t max_message) noexcept {
    here_ = here;
    max_message_ = max_message;
  }
  // Uses bytes up to the end of what it tells; call it again with the rest. Behind `close` and `refused` no more.
  event feed(std::string_view& bytes) {
    from_ = bytes;
    event told = event::incomplete;
    while (told == event::incomplete && !from_.empty()) told = step();
    bytes = from_;
    from_ = {};
    return told;
  }

  bool is_text() const noexcept { return is_text_; }
  std::string take_message() noexcept { return std::exchange(message_, {}); }
  std::string_view control() const noexcept { return {control_.data(), control_size_}; }
  std::uint16_t close_code() const noexcept { return code_; }
  std::string_view close_reason() const noexcept { return control().substr(std::min<std::size_t>(control_size_, 2)); }
  // Nothing of a message or a frame is here.
  bool is_between_messages() const noexcept { return !in_message_ && head_size_ == 0; }

  // For another connection; false where that can't be.
  bool reset() noexcept {
    if (!is_between_messages() || refused_code_ != 0) return false;
    message_ = {};
    control_size_ = 0;
    code_ = websocket_close::none;
    return true;
  }

 private:
  static constexpr std::size_t longest_head = 14, longest_control = 125;

  // --- what wslay gets ---

  static ssize_t give(std::uint8_t* into, std::size_t size, int, void* self) noexcept {
    return static_cast<frame_receiver*>(self)->give(into, size);
  }
  // The head as far as it is known how long it is, then the payload; -1: nothing is there, or it must not go on.
  ssize_t give(std::uint8_t* into, std::size_t size) noexcept {
    const bool in_head = head_size_ < head_wanted();
    const std::uint64_t wanted = in_head ? head_wanted() - head_size_ : payload_left_;
    const std::size_t count = static_cast<std::size_t>(std::min<std::uint64_t>({wanted, size, from_.size()}));
    if (count == 0) return 0;
    std::memcpy(into, from_.data(), count);
    if (in_head) {
      std::memcpy(head_.data() + head_size_, from_.data(), count);
      head_size_ += count;
    } else {
      payload_left_ -= count;
    }
    from_.remove_prefix(count);
    if (!in_head) return static_cast<ssize_t>(count);
    if (head_size_ == 2) refused_code_ = judge_kind();
    if (refused_code_ == 0 && head_size_ >= 2 && head_size_ == 2 + length_bytes()) {
      payload_left_ = payload_size();  // the mask comes first, if there is one
      refused_code_ = judge_length();
    }
    return refused_code_ == 0 ? static_cast<ssize_t>(count) : -1;
  }

  // --- the head of the present frame ---

  std::uint8_t opcode() const noexcept { return head_[0] & 15; }
  bool is_last() const noexcept { return (head_[0] & 0x80) != 0; }
  bool is_control() const noexcept { return (head_[0] & 8) != 0; }
  bool is_masked() const noexcept { return (head_[1] & 0x80) != 0; }
  std::size_t length_bytes() const noexcept {
    const int length = head_[1] & 0x7f;
    return length < 126 ? 0 : length == 126 ? 2 : 8;
  }
  // As far as it is known how much there is of it.
  std::size_t head_wanted() const noexcept {
    if (head_size_ < 2) return 2;
    const std::size_t with_length = 2 + length_bytes();
    return head_size_ < with_length || !is_masked() ? with_length : with_length + 4;
  }
  std::uint64_t payload_size() const noexcept {
    if (length_bytes() == 0) return head_[1] & 0x7f;
    std::uint64_t size = 0;
    for (std::size_t i = 0; i < length_bytes(); ++i) size = size << 8 | head_[2 + i];
    return size;
  }
  // RFC 6455 5.2 to 5.5, of the first two bytes. 0, or what to close with.
  std::uint16_t judge_kind() const noexcept {
    const int length = head_[1] & 0x7f;
    const bool is_plain = (head_[0] & 0x70) == 0 && is_masked() == (here_ == websocket_side::server);
    const bool is_right = is_control()
                              ? opcode() <= WSLAY_PONG && is_last() && length <= 125 &&
                                    (opcode() != WSLAY_CONNECTION_CLOSE || length != 1)
                              : opcode() <= WSLAY_BINARY_FRAME && (opcode() == WSLAY_CONTINUATION_FRAME) == in_message_;
    return is_plain && is_right ? 0 : websocket_close::protocol_error;
  }
  // The same of its length, which is written in the shortest form.
  std::uint16_t judge_length() const noexcept {
    const std::uint64_t size = payload_size();
    if ((length_bytes() == 2 && size < 126) || (length_bytes() == 8 && (size < 65536 || size >> 63 != 0)))
      return websocket_close::protocol_error;
    return !is_control() && size > max_message_ - message_.size() ? websocket_close::too_large : std::uint16_t{0};
  }

  // --- what wslay answers ---

  event step() {
    wslay_frame_iocb frame{};
    const ssize_t got = wslay_frame_recv(context_, &frame);
    if (refused_code_ != 0) return refuse(refused_code_);
    if (got == WSLAY_ERR_WANT_READ) return event::incomplete;
    if (got < 0) return refuse(websocket_close::protocol_error);
    const std::string_view piece(reinterpret_cast<const char*>(frame.data), frame.data_length);
    return is_control() ? on_control(piece) : on_data(piece);
  }
  event refuse(std::uint16_t code) noexcept {
    code_ = refused_code_ = code;
    return event::refused;
  }
  bool is_whole() noexcept {
    if (payload_left_ > 0) return false;
    head_size_ = 0;
    return true;
  }
  event on_data(std::string_view piece) {
    if (opcode() != WSLAY_CONTINUATION_FRAME && !in_message_) {
      in_message_ = true;
      is_text_ = opcode() == WSLAY_TEXT_FRAME;
      control_size_ = 0;
      text_.reset();
    }
    message_.append(piece);
    if (is_text_ && !text_.feed(piece)) return refuse(websocket_close::bad_text);
    const bool is_last_frame = is_last();
    if (!is_whole() || !is_last_frame) return event::incomplete;
    if (is_text_ && !text_.is_complete()) return refuse(websocket_close::bad_text);
    in_message_ = false;
    return event::message;
  }
  event on_control(std::string_view piece) noexcept {
    if (!in_control_) control_size_ = 0;
    in_control_ = true;
    std::memcpy(control_.data() + control_size_, piece.data(), piece.size());
    control_size_ += piece.size();
    const std::uint8_t kind = opcode();
    if (!is_whole()) return event::incomplete;
    in_control_ = false;
    if (kind == WSLAY_PING) return event::ping;
    return kind == WSLAY_PONG ? event::pong : on_close();
  }
  event on_close() noexcept {
    code_ = websocket_close::none;
    if (control_size_ == 0) return event::close;
    const auto byte = [this](std::size_t i) { return static_cast<std::uint8_t>(control_[i]); };
    const auto code = static_cast<std::uint16_t>(byte(0) << 8 | byte(1));
    if (!websocket_close::may_be_sent(code)) return refuse(websocket_close::protocol_error);
    if (!is_utf8(close_reason())) return refuse(websocket_close::bad_text);
    code_ = code;
    return event::close;
  }

  wslay_frame_context_ptr context_ = nullptr;
  std::string_view from_;
  std::string message_;
  std::size_t max_message_ = 0;
  std::uint64_t payload_left_ = 0;  // of the present frame, not given to wslay yet
  std::size_t head_size_ = 0;       // of its head, seen; 0: between two frames
  std::size_t control_size_ = 0;
  std::array<std::uint8_t, longest_head> head_{};
  std::array<char, longest_control> control_{};
  std::uint16_t code_ = websocket_close::none, refused_code_ = 0;
  websocket_side here_ = websocket_side::server;
  utf8_check text_;
  bool in_message_ = false;  // a data frame of it has come
  bool is_text_ = false, in_control_ = false;
};

}  // namespace eventer::inline EVENTER_ABI::http::detail
