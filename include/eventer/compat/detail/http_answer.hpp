// collected_answer: what a C handler says, on its way to the client. Any thread may say something: a handler, a job it
// waits for, a thread to which a floating request was given. Bytes are sent on the connection's loop alone.
//
// Nothing is sent before so much was said, or flush or end have asked for it; then either the request's own coroutine
// sends, where it is the one that speaks and may wait, or a coroutine that is started for it. What must not be broken:
// one of the two sends at a time, and nobody looks at the http::response when detach() has returned.
#pragma once

#include <charconv>
#include <cstdint>
#include <list>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "eventer/compat/detail/frame.hpp"
#include "eventer/compat/eventer_aco.h"
#include "eventer/coro/sync/manual_reset_event.hpp"
#include "eventer/http/request.hpp"
#include "eventer/http/response.hpp"

namespace eventer::inline EVENTER_ABI::compat {

class collected_answer {
 public:
  static constexpr std::size_t sent_beyond = std::size_t{32} << 10;
  // Collected and not sent: a thread that says more waits. (A classic handler can't.)
  static constexpr std::size_t most_buffered = std::size_t{1} << 20;

  // On the request's coroutine.
  collected_answer(mtev_http_session_ctx& session, const http::request& asked, http::response& to)
      : session_(session),
        loop_(event_loop::current()),
        owner_(scheduler::running_block()),
        speaks_1_1_(asked.minor_version() >= 1),
        is_head_(asked.method() == "HEAD"),
        to_(&to) {}

  // --- any thread; false: it is too late, or can't be sent so ---

  bool set_status(int code, std::string_view reason) {
    if (code < 200 || code > 599 || !is_field("Reason", reason)) return false;
    const std::lock_guard lock(mutex_);
    if (begun_ || over_) return false;
    status_ = code;
    reason_.assign(reason);
    return said_ = true;
  }
  // In the place of one of that name. Those that say where the answer ends are seen to by the library: a Content-Length
  // counts where no chunks were asked for and not all is known at the end.
  bool set_field(std::string_view name, std::string_view value) {
    using http::detail::equals_any_case;
    if (!is_field(name, value)) return false;
    const std::lock_guard lock(mutex_);
    if (begun_ || over_) return false;
    if (equals_any_case(name, "Transfer-Encoding")) return equals_any_case(value, "chunked") && ask_for_chunks();
    if (equals_any_case(name, "Connection")) {
      closes_ = closes_ || equals_any_case(value, "close");
      return true;
    }
    if (equals_any_case(name, "Content-Length")) {
      std::uint64_t bytes = 0;
      const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), bytes);
      if (error != std::errc() || end != value.data() + value.size()) return false;
      length_ = bytes;
    }
    for (field& each : fields_)
      if (equals_any_case(each.name, name)) {
        each.value.assign(value);
        return true;
      }
    fields_.push_back({std::string(name), std::string(value)});
    return true;
  }
  bool set_option(std::uint32_t option) {
    constexpr std::uint32_t known = MTEV_HTTP_CHUNKED | MTEV_HTTP_CLOSE;
    const std::lock_guard lock(mutex_);
    if (begun_ || over_ || (option & ~known) != 0) return false;
    if ((option & MTEV_HTTP_CHUNKED) != 0 && !ask_for_chunks()) return false;
    if ((option & MTEV_HTTP_CLOSE) != 0) closes_ = true;
    return true;
  }
  void send_from(std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    send_from_ = std::min(bytes, most_buffered);
  }
  // Copied. False: it has ended, or the client is gone.
  bool append(std::string_view bytes) {
    do {
      const std::string_view piece = bytes.substr(0, sent_beyond);
      if (!collect(piece)) return false;
      bytes.remove_prefix(piece.size());
    } while (!bytes.empty());
    return true;
  }
  bool flush() {
    {
      const std::lock_guard lock(mutex_);
      if (ended_ || over_) return false;
      begin();
      said_ = due_ = true;
    }
    return get_out();
  }
  bool end() {
    {
      const std::lock_guard lock(mutex_);
      if (ended_ || over_) return false;
      begin();
      said_ = ended_ = due_ = true;
    }
    return get_out();
  }

  int status() const {
    const std::lock_guard lock(mutex_);
    return status_;
  }
  bool has_ended() const {
    const std::lock_guard lock(mutex_);
    return ended_;
  }
  bool has_failed() const {
    const std::lock_guard lock(mutex_);
    return over_;
  }
  // Whether the handler has said anything: how the answer looks, or a byte of it.
  bool has_said_anything() const {
    const std::lock_guard lock(mutex_);
    return said_;
  }
  bool is_complete() const {
    const std::lock_guard lock(mutex_);
    return complete_;
  }
  std::size_t buffered() const {
    const std::lock_guard lock(mutex_);
    return pending_.size() + in_flight_;
  }
  std::uint64_t bytes_sent() const {
    const std::lock_guard lock(mutex_);
    return sent_;
  }
  // Into a table of texts that hold until a field is set.
  void list_fields(mtev_hash_table& into) {
    const std::lock_guard lock(mutex_);
    mtev_hash_destroy(&into, nullptr, nullptr);
    for (field& each : fields_)
      (void)mtev_hash_replace(&into, each.name.c_str(), static_cast<int>(each.name.size()), each.value.data(), nullptr,
                              nullptr);
  }

  // --- the request's coroutine, outside of the handler ---

  // Sends what is due. Errors: `cancelled`.
  void send_due() {
    wait_for_sender();
    if (!is_due()) return;
    sending_ = true;
    const sending_ends at_end{*this};
    send_all();
  }
  // Nothing more is said. What is left is given to the connection, which sends it together with other answers.
  // False: it was cut off.
  bool finish(bool closes) {
    wait_for_sender();
    std::string rest;
    {
      const std::lock_guard lock(mutex_);
      if (closes) to_->close_connection();
      if (over_) return to_->ended();
      if (complete_) return true;
      begin();
      ended_ = true;
      due_ = false;
      rest.swap(pending_);
      sent_ += rest.size();
    }
    begin_head();
    // A large one takes its time, in which the connection is not idle.
    const bool is_large = rest.size() > sent_beyond;
    const bool went = give(std::move(rest)) && (!is_large || static_cast<bool>(to_->end()));
    const std::lock_guard lock(mutex_);
    complete_ = went;
    return went;
  }
  // The request is over for its connection: who speaks hears `false`, and the http::response is the connection's.
  void detach() noexcept {
    {
      const std::lock_guard lock(mutex_);
      give_up();
    }
    if (sending_) {
      sender_.cancel();
      const cancel_shield until_it_has_ended;
      wait_for_sender();
    }
    // Both are the loop's, and whoever drops the last reference to the session may be another thread.
    sender_ = {};
    sender_ended_.reset();
    to_ = nullptr;
  }
  // The coroutine that was started for it, and its end.
  void send_for_others();
  void note_sender_ended() {
    sending_ = false;
    if (sender_ended_) sender_ended_->set();
  }

 private:
  struct field {
    std::string name, value;
  };
  struct sending_ends {
    collected_answer& self;
    ~sending_ends() { self.sending_ = false; }
  };

  static bool is_field(std::string_view name, std::string_view value) {
    try {
      http::detail::fields().add(name, value);
      return true;
    } catch (const std::invalid_argument&) {
      return false;
    }
  }
  // Under the lock: from here on the head is as it is.
  void begin() noexcept;
  bool ask_for_chunks() noexcept { return speaks_1_1_ && (chunked_ = true); }

  bool collect(std::string_view piece) {
    {
      const std::lock_guard lock(mutex_);
      if (ended_ || over_) return false;
      said_ = true;
      pending_.append(piece);
      if (pending_.size() < send_from_ || pending_.empty()) return true;
      begin();
      due_ = true;
    }
    return get_out();
  }
  bool is_due() const {
    const std::lock_guard lock(mutex_);
    return due_ && !over_;
  }
  // Something is due to be sent. False: it could not be, as far as one knows.
  bool get_out() {
    if (scheduler::running_block() != owner_) {
      ask_loop();
      return wait_for_room();
    }
    if (!may_wait()) return true;  // when the handler has returned
#if EVENTER_EXCEPTIONS
    try {
#endif
      send_due();
#if EVENTER_EXCEPTIONS
    } catch (const cancelled&) {
    }
#endif
    return !has_failed() || is_complete();
  }

  // --- where others speak ---

  void ask_loop();
  void start_sender();
  // True: there is room for more, or who asks can't wait for it.
  bool wait_for_room() {
    for (;;) {
      std::optional<shared_event> room;
      {
        const std::lock_guard lock(mutex_);
        if (over_) return false;
        if (pending_.size() + in_flight_ <= most_buffered) return true;
        if (!room_) room_.emplace();
        room_->reset();
        room = room_;
      }
      if (this_loop != nullptr && !may_wait()) return true;
      if (runtime::of_process().has_stopped()) return false;
#if EVENTER_EXCEPTIONS
      try {
#endif
        // The limit: loops that have been stopped tell nobody.
        (void)room->wait(std::chrono::milliseconds(200));
#if EVENTER_EXCEPTIONS
      } catch (const cancelled&) {
        return false;
      }
#endif
    }
  }

  // --- sending, on the loop's thread; under the lock where it says so ---

  // Not by joining it: there may be another one as soon as it has ended.
  void wait_for_sender() {
    while (sending_) {
      if (!sender_ended_) sender_ended_.emplace();
      sender_ended_->reset();
      sender_ended_->wait();
    }
  }
  void send_all() {
#if EVENTER_EXCEPTIONS
    try {
      while (send_once()) {
      }
    } catch (...) {
      const std::lock_guard lock(mutex_);
      give_up();
      throw;
    }
#else
    while (send_once()) {
    }
#endif
  }
  bool send_once() {
    std::string piece;
    bool last = false;
    {
      const std::lock_guard lock(mutex_);
      if (!due_ || over_) return false;
      due_ = false;
      last = ended_;
      piece.swap(pending_);
      in_flight_ = piece.size();
    }
    begin_head();
    const std::size_t size = piece.size();
    const bool went = last ? give(std::move(piece)) && end_it() : send(piece);
    const std::lock_guard lock(mutex_);
    in_flight_ = 0;
    if (!went) {
      give_up();
      return false;
    }
    sent_ += size;
    complete_ = last;
    if (room_) room_->set();
    return !last;
  }
  // On the request's coroutine it goes with other answers; who sends for others has nothing that would make it go.
  bool end_it() { return static_cast<bool>(scheduler::running_block() == owner_ ? to_->end_soon() : to_->end()); }
  bool send(std::string_view piece) { return static_cast<bool>(piece.empty() ? to_->flush() : to_->write(piece)); }
  // The last bytes: whole, where they are the first.
  bool give(std::string&& rest) {
    if (to_->head_sent()) return static_cast<bool>(to_->write(rest));
    to_->body({}, std::move(rest));
    return true;
  }
  // What was set is not changed any more.
  void begin_head() {
    if (std::exchange(head_given_, true)) return;
    to_->status(status_, reason_.empty() ? http::reason_phrase(status_) : std::string_view(reason_));
    for (const field& each : fields_)
      if (!http::detail::equals_any_case(each.name, "Content-Length")) to_->header(each.name, each.value);
    if (length_ && (!chunked_ || is_head_)) to_->content_length(*length_);
    if (closes_) to_->close_connection();
  }
  // Under the lock.
  void give_up() noexcept {
    over_ = true;
    pending_ = std::string();
    in_flight_ = 0;
    if (room_) room_->set();
  }

  mtev_http_session_ctx& session_;
  event_loop& loop_;
  const control_block* const owner_;
  const bool speaks_1_1_, is_head_;

  mutable std::mutex mutex_;
  bool said_ = false;
  bool begun_ = false;  // the head can't be changed any more
  bool ended_ = false;
  bool over_ = false;      // nothing more can be sent
  bool complete_ = false;  // all of it is with the connection
  bool due_ = false;       // what is pending is to be sent
  bool asked_loop_ = false;
  bool chunked_ = false, closes_ = false;
  int status_ = 200;
  std::string reason_;
  std::optional<std::uint64_t> length_;
  std::list<field> fields_;
  std::size_t send_from_ = sent_beyond;
  std::string pending_;
  std::size_t in_flight_ = 0;
  std::uint64_t sent_ = 0;
  std::optional<shared_event> room_;  // made when somebody has to wait

  // The loop's thread's.
  http::response* to_;
  bool head_given_ = false;
  bool sending_ = false;  // somebody is: the request's coroutine, or
  join_handle<void> sender_;
  std::optional<manual_reset_event> sender_ended_;  // made when it is waited for
};

}  // namespace eventer::inline EVENTER_ABI::compat
