// websocket_messages: what any thread has said to a WebSocket's peer, in order, on its way there. A coroutine of the
// connection's loop sends, which is started when there is something to be sent and ends with the last of it.
//
// What must not be broken: one such coroutine at a time, and none that looks at the socket when leave() has returned. A
// peer that takes nothing can't make messages pile up: beyond a limit its connection ends.
#pragma once

#include <cstdint>
#include <list>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "eventer/compat/detail/http_session.hpp"
#include "eventer/compat/detail/loops.hpp"
#include "eventer/compat/detail/rest_calls.hpp"
#include "eventer/websocket/utf8.hpp"
#include "eventer/websocket/websocket.hpp"

namespace eventer::inline EVENTER_ABI::compat {

// As frames and wslay have them.
namespace websocket_opcode {
inline constexpr int text = 1, binary = 2, close = 8, ping = 9, pong = 10;
}

class websocket_messages final : public message_queue {
 public:
  // On the connection's coroutine. `session`: which it belongs to.
  explicit websocket_messages(mtev_http_session_ctx& session)
      : session_(session), loop_(event_loop::current()), owner_(scheduler::running_block()), most_bytes_(limit()) {}

  // Bytes that wait: see eventer_propset("websocket_queue_limit").
  static std::size_t limit() {
    const auto set = properties::of_process().find("websocket_queue_limit");
    return set ? number_in(*set).value_or(default_limit) : default_limit;
  }

  // Copied. Beyond the limit the connection's own handler waits for room, and for anybody else the connection is over:
  // who does not look at the answer would leave a gap in what the peer reads.
  bool put(int opcode, std::string_view payload) override {
    if (!is_message(opcode, payload)) return false;
    const std::size_t bytes = payload.size() + sizeof(message);
    const bool is_own = scheduler::running_block() == owner_;
    const bool may_wait_here = is_own && socket_ != nullptr && may_wait();
    {
      message added{opcode, std::string(payload)};
      const std::lock_guard lock(mutex_);
      if (over_ || ends_) return false;
      if (!may_wait_here && bytes_ > 0 && bytes_ + bytes > most_bytes_) {
        overflown_ = over_ = true;
        waiting_.clear();
      } else {
        waiting_.push_back(std::move(added));
        bytes_ += bytes;
        ends_ = opcode == websocket_opcode::close;
      }
    }
    wake();
    return may_wait_here ? wait_for_room() : !is_over();
  }

  // --- the connection's coroutine ---

  // The handshake is made; what was said before goes first.
  void begin(http::websocket& to) {
    socket_ = &to;
    wake();
  }
  // Nothing more may be said, and what was said is sent. Errors: `cancelled`.
  void send_rest() {
    {
      const std::lock_guard lock(mutex_);
      ends_ = true;
    }
    start_sender();
    wait_for_sender();
  }
  void leave() noexcept override {
    give_up();
    if (sending_) {
      sender_.cancel();
      const cancel_shield until_it_has_ended;
      wait_for_sender();
    }
    // These are the loop's, and whoever drops the last reference to the session may be another thread.
    sender_ = {};
    sender_ended_.reset();
    room_.reset();
    socket_ = nullptr;
  }

 private:
  static constexpr unsigned default_limit = 8u << 20;
  static constexpr std::size_t longest_control = 125;

  struct message {
    int opcode;
    std::string payload;
  };

  // Runs as the coroutine that sends.
  class sender_call {
   public:
    explicit sender_call(websocket_messages& self) noexcept : held_(&self.session_), self_(&self) {}
    sender_call(sender_call&&) noexcept = default;
    ~sender_call() {
      if (held_) self_->note_sender_ended();
    }
    void operator()() const { self_->send_all(); }

   private:
    counted_ptr<mtev_http_session_ctx> held_;
    websocket_messages* self_;
  };

  static std::uint16_t code_in(std::string_view payload) noexcept {
    if (payload.empty()) return http::websocket_close::normal;
    const auto byte = [&](std::size_t at) { return static_cast<unsigned>(static_cast<unsigned char>(payload[at])); };
    return static_cast<std::uint16_t>(byte(0) << 8 | byte(1));
  }
  static std::string_view reason_in(std::string_view payload) noexcept {
    return payload.size() < 2 ? std::string_view() : payload.substr(2);
  }
  // What could not be sent is refused at once, so that sending fails for the connection's reasons alone.
  static bool is_message(int opcode, std::string_view payload) noexcept {
    switch (opcode) {
      case websocket_opcode::text:
        return http::detail::is_utf8(payload);
      case websocket_opcode::binary:
        return true;
      case websocket_opcode::close:
        return payload.size() != 1 && payload.size() <= longest_control &&
               http::websocket_close::may_be_sent(code_in(payload)) && http::detail::is_utf8(reason_in(payload));
      case websocket_opcode::ping:
      case websocket_opcode::pong:
        return payload.size() <= longest_control;
      default:
        return false;
    }
  }

  bool is_over() const {
    const std::lock_guard lock(mutex_);
    return over_;
  }
  void give_up() noexcept {
    const std::lock_guard lock(mutex_);
    over_ = true;
    waiting_.clear();
    bytes_ = 0;
  }

  // --- starting the sender ---

  void wake() {
    if (this_loop != nullptr && &this_loop->loop == &loop_) return start_sender();
    {
      const std::lock_guard lock(mutex_);
      if (std::exchange(asked_loop_, true)) return;
    }
    loop_.post([held = counted_ptr(&session_), this] {
      {
        const std::lock_guard lock(mutex_);
        asked_loop_ = false;
      }
      start_sender();
    });
  }
  // On the loop's thread. Who sends already looks again.
  void start_sender() {
    if (socket_ == nullptr) return;
    {
      const std::lock_guard lock(mutex_);
      if (over_ && !overflown_) return;
      if (!over_ && waiting_.empty()) return;
    }
    if (is_over()) return end_connection();
    if (sending_) return;
#if EVENTER_EXCEPTIONS
    try {
#endif
      sending_ = true;
      sender_ = loop_.spawn(spawn_options{.name = "websocket sender"}, sender_call(*this));
#if EVENTER_EXCEPTIONS
    } catch (const std::exception& failure) {
      log(log_level::error, "http: the messages of a websocket can't be sent: %s", failure.what());
      sending_ = false;
      give_up();
      end_connection();
    }
#endif
  }
  // Without a word: who takes nothing would not hear one. Its reader and its sender go on.
  void end_connection() {
    if (!socket_->stream().is_open()) return;
    log(log_level::warning, "http: %s takes too little of what a websocket is to send: its connection is ended",
        socket_->peer().to_string().c_str());
    socket_->stream().close();
    if (room_) room_->set();
  }

  // --- sending ---

  // Not by joining it: there may be another one as soon as it has ended.
  void wait_for_sender() {
    while (sending_) {
      if (!sender_ended_) sender_ended_.emplace();
      sender_ended_->reset();
      sender_ended_->wait();
    }
  }
  void note_sender_ended() {
    sending_ = false;
    if (sender_ended_) sender_ended_->set();
    if (room_) room_->set();
  }
  void send_all() {
#if EVENTER_EXCEPTIONS
    try {
      while (send_next()) {
      }
    } catch (const cancelled&) {  // by leave()
      give_up();
    }
#else
    while (send_next()) {
    }
#endif
  }
  bool send_next() {
    message next;
    {
      const std::lock_guard lock(mutex_);
      if (over_ || waiting_.empty()) return false;
      next = std::move(waiting_.front());
      waiting_.pop_front();
    }
    const bool went = static_cast<bool>(send(next));
    if (!went) give_up();  // the reader learns of it as well
    note_use(*session_.rest.ac);
    const std::lock_guard lock(mutex_);
    if (over_) return false;
    bytes_ -= next.payload.size() + sizeof(message);
    if (room_ && bytes_ <= most_bytes_) room_->set();
    return true;
  }
  io_result<void> send(const message& what) {
    switch (what.opcode) {
      case websocket_opcode::text:
        return socket_->write(what.payload);
      case websocket_opcode::binary:
        return socket_->write_binary(what.payload);
      case websocket_opcode::ping:
        return socket_->ping(what.payload);
      case websocket_opcode::pong:
        return socket_->pong(what.payload);
      default:
        return socket_->close(code_in(what.payload), reason_in(what.payload));
    }
  }

  // True: there is room again. False: all is over.
  bool wait_for_room() {
    for (;;) {
      {
        const std::lock_guard lock(mutex_);
        if (over_) return false;
        if (bytes_ <= most_bytes_) return true;
      }
      if (!room_) room_.emplace();
      room_->reset();
#if EVENTER_EXCEPTIONS
      try {
#endif
        room_->wait();
#if EVENTER_EXCEPTIONS
      } catch (const cancelled&) {
        return false;
      }
#endif
    }
  }

  mtev_http_session_ctx& session_;
  event_loop& loop_;
  const control_block* const owner_;
  const std::size_t most_bytes_;

  mutable std::mutex mutex_;
  std::list<message> waiting_;  // empty it takes nothing
  std::size_t bytes_ = 0;       // of what waits, and of what is being sent
  bool ends_ = false;           // nothing may follow
  bool over_ = false;           // nothing is sent any more
  bool overflown_ = false;      // because the peer has taken too little
  bool asked_loop_ = false;

  // The loop's thread's.
  http::websocket* socket_ = nullptr;
  bool sending_ = false;
  join_handle<void> sender_;
  std::optional<manual_reset_event> sender_ended_, room_;  // made when they are waited for
};

}  // namespace eventer::inline EVENTER_ABI::compat
