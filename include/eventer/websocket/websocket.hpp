// websocket: a connection on which messages go both ways at any time (RFC 6455), a server's or a client's.
//
//   while (const auto message = socket.read())
//     if (!socket.write(*message)) break;
//
// One coroutine reads; any number of coroutines of the same loop write. Pings are answered while somebody reads.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "eventer/websocket/link.hpp"

namespace eventer::inline EVENTER_ABI::http {

// A handle to what lies on the heap, to be moved. A server's handler gets a reference to one that lies on the heap
// itself, so that others may be given the reference; all of them must have ended when the handler returns, or is
// unwound: hold them in a task_group. (A call that is in progress then ends with `closed`; none may begin.)
class websocket {
 public:
  using message = websocket_message;

  websocket() noexcept = default;  // not connected: every call answers `closed`
  // Over a connection that has made its handshake. `received`: what has come behind that.
  websocket(any_stream&& stream, detail::websocket_side here, const websocket_options& options = {},
            std::string_view received = {}, std::string subprotocol = {})
      : link_(make_counted<detail::websocket_link>(std::move(stream), here, options, received)),
        subprotocol_(subprotocol.empty() ? nullptr : std::make_unique<std::string>(std::move(subprotocol))) {}
  websocket(websocket&&) noexcept = default;
  websocket& operator=(websocket&& other) noexcept {
    websocket old(std::move(*this));
    link_ = std::move(other.link_);
    subprotocol_ = std::move(other.subprotocol_);
    return *this;
  }
  ~websocket() {
    if (link_) link_->abandon();
  }

  // The next message, whole. Completes: when it has come. Errors: end_of_stream when the peer has closed, and was
  // answered; connection_aborted where it has gone without a close; websocket_errc::protocol_error, bad_text, too_large
  // when it has broken the rules, and was told so; timed_out at `limit`, after which reading goes on as before, and
  // where the peer is silent or idle for too long, after which everything is over (is_open()); busy: another coroutine
  // reads; the stream's.
  //
  // Reading does not wait for the pongs and pings that it sends. Behind the peer's close nothing more is read: where a
  // limit or a cancellation comes before that is answered, the next read answers it.
  //
  // Where a server drains: websocket_errc::draining, once, so that what is to be said can be said; return then. A
  // further read() says 1001 and reads on, until the peer has answered that.
  //
  // A cancelled read loses nothing that has come.
  io_result<message> read(time_limit limit = {}) {
    return !link_ ? io_result<message>(eventer::errc::closed) : counted_ptr(link_)->read(limit);
  }

  // Sends a message as one frame. Completes: when the kernel has taken it, so that a slow peer slows down who writes;
  // after those that other coroutines began before. Stack: the bytes may be locals of the caller; not the loop's
  // scratch buffer. Errors: bad_text where text is not UTF-8, of which nothing is sent; closed behind a close(), what
  // read() has answered when all was over, timed_out where the peer takes nothing for write_stall; the stream's. A
  // write that is cancelled, or fails, in the midst of a frame ends the connection: nothing could be sent behind it.
  // Over TLS so does one that had to wait, as its first bytes are encrypted by then.
  io_result<void> write(std::string_view text) { return send(WSLAY_TEXT_FRAME, text); }
  io_result<void> write_binary(std::string_view bytes) { return send(WSLAY_BINARY_FRAME, bytes); }
  // In the form in which it has come.
  io_result<void> write(const message& what) {
    return send(what.is_text ? WSLAY_TEXT_FRAME : WSLAY_BINARY_FRAME, what.data);
  }
  // Up to 125 bytes, which the peer sends back; nobody is told of it. read() asks by itself: see ping_every.
  io_result<void> ping(std::string_view payload = {}) {
    return !link_ ? io_result<void>(eventer::errc::closed) : counted_ptr(link_)->ping(payload);
  }
  // One that no ping has asked for: a sign of life which the peer does not answer. Pings are answered by read().
  io_result<void> pong(std::string_view payload = {}) {
    return !link_ ? io_result<void>(eventer::errc::closed) : counted_ptr(link_)->pong(payload);
  }

  // Says why, up to 123 bytes, and waits for the peer's close; messages that come until then are dropped. Where another
  // coroutine reads, it gets them, and end_of_stream; one that begins to read later gets end_of_stream. All that takes
  // close_within at most, the wait for those that write included. Then the connection is closed. Errors:
  // bad_code, bad_text, too_long, for which nothing is sent; timed_out; what had ended it before. Twice is harmless.
  io_result<void> close(std::uint16_t code = websocket_close::normal, std::string_view reason = {}) {
    return !link_ ? io_result<void>(eventer::errc::closed) : counted_ptr(link_)->close(code, reason);
  }

  // False: made without a connection, or moved away.
  bool is_connected() const noexcept { return static_cast<bool>(link_); }
  // Whether messages can be written.
  bool is_open() const noexcept { return link_ && link_->is_open(); }
  // The peer's when read() has answered end_of_stream: 1005 where it gave none. What the peer was told where it has
  // broken the rules. Otherwise 1006.
  std::uint16_t close_code() const noexcept { return !link_ ? websocket_close::abnormal : link_->close_code(); }
  std::string_view close_reason() const noexcept { return !link_ ? std::string_view() : link_->close_reason(); }
  // What was agreed on; empty: nothing.
  std::string_view subprotocol() const noexcept {
    return subprotocol_ == nullptr ? std::string_view() : std::string_view(*subprotocol_);
  }
  // The address of the other side, as for any_stream.
  endpoint peer() const { return !link_ ? endpoint() : link_->stream().peer(); }
  // To be asked (tls::info_of, say), not to be read or written. Requires: connected.
  any_stream& stream() noexcept { return link_->stream(); }

  // For the library: sends 1001 if that goes without waiting.
  void say_going_away() noexcept {
    if (link_) link_->say_going_away();
  }

 private:
  io_result<void> send(std::uint8_t opcode, std::string_view payload) {
    return !link_ ? io_result<void>(eventer::errc::closed) : counted_ptr(link_)->write(opcode, payload);
  }

  counted_ptr<detail::websocket_link> link_;
  std::unique_ptr<std::string> subprotocol_;
};

}  // namespace eventer::inline EVENTER_ABI::http
