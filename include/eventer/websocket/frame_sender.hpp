// frame_sender: the bytes of frames. Rests on wslay's frame functions; no I/O.
//
// What must not be broken: one that has masked a frame masks all that follow, as wslay's context does. So a side is a
// type, and the two are lent separately.
#pragma once

#include <wslay/wslay.h>

#include <cstddef>
#include <cstdint>
#include <new>
#include <string>
#include <string_view>

#include "eventer/base/syscalls.hpp"
#include "eventer/websocket/frame_receiver.hpp"

namespace eventer::inline EVENTER_ABI::http::detail {

template <websocket_side Here>
class frame_sender {
 public:
  frame_sender() {
    const wslay_frame_callbacks callbacks{&take, nullptr, &make_mask};
    if (wslay_frame_context_init(&context_, &callbacks, this) != 0) throw std::bad_alloc();
  }
  frame_sender(const frame_sender&) = delete;
  frame_sender& operator=(const frame_sender&) = delete;
  ~frame_sender() { wslay_frame_context_free(context_); }

  // A frame that is the whole of a message, or a control frame.
  void begin(std::uint8_t opcode, std::string_view payload) noexcept {
    frame_ = {};
    frame_.fin = 1;
    frame_.opcode = opcode;
    frame_.mask = Here == websocket_side::client ? 1 : 0;
    frame_.payload_length = payload.size();
    left_ = payload;
    in_frame_ = true;
  }
  // A server's frame begins with this, and its payload follows as it is.
  bool append_head(std::string& to) {
    to.reserve(to.size() + longest_head);  // nothing may be thrown through wslay
    frame_.data = reinterpret_cast<const std::uint8_t*>(left_.data());
    frame_.data_length = left_.size();
    into_ = &to;
    drops_payload_ = true;
    const bool done = wslay_frame_send(context_, &frame_) >= 0;
    drops_payload_ = false;
    in_frame_ = !done;
    return done;
  }
  // The next bytes of the frame, head and mask included, of `at_most` bytes of payload. False: the kernel has no random
  // bytes for its mask, and the frame is not begun.
  bool append_piece(std::string& to, std::size_t at_most) {
    const std::string_view piece = left_.substr(0, at_most);
    to.reserve(to.size() + longest_head + piece.size());
    frame_.data = reinterpret_cast<const std::uint8_t*>(piece.data());
    frame_.data_length = piece.size();
    into_ = &to;
    if (wslay_frame_send(context_, &frame_) < 0) return false;
    left_.remove_prefix(piece.size());
    in_frame_ = !left_.empty();
    return true;
  }
  bool ended() const noexcept { return !in_frame_; }

  // For another frame; false where this one has not ended.
  bool reset() const noexcept { return !in_frame_; }

 private:
  static ssize_t take(const std::uint8_t* data, std::size_t size, int, void* of) {
    auto& self = *static_cast<frame_sender*>(of);
    if (!self.drops_payload_ || data != self.frame_.data) self.into_->append(reinterpret_cast<const char*>(data), size);
    return static_cast<ssize_t>(size);
  }
  // RFC 6455 5.3: nobody may be able to guess it, or a page could write what a proxy takes for a request.
  static int make_mask(std::uint8_t* into, std::size_t size, void*) noexcept {
    return syscalls::random_bytes(into, size) ? 0 : -1;
  }

  static constexpr std::size_t longest_head = 14;

  wslay_frame_context_ptr context_ = nullptr;
  wslay_frame_iocb frame_{};
  std::string_view left_;
  std::string* into_ = nullptr;
  bool in_frame_ = false, drops_payload_ = false;
};

}  // namespace eventer::inline EVENTER_ABI::http::detail
