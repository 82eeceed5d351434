// websocket_link: a WebSocket's connection: reading and writing messages, answering pings, ending. websocket.hpp says
// what each call does. It lies on the heap, and holds no buffer between two messages.
//
// What must not be broken: frames leave whole and one after the other, whoever writes; one that was sent in part is the
// last. A peer that takes nothing can't make anything pile up: one pong at most waits for its turn. Reading never waits
// for what it sends (late_frame.hpp), but for the last word. And behind the peer's close, or a refusal, nothing is
// read.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "eventer/base/counted_ptr.hpp"
#include "eventer/coro/sync/manual_reset_event.hpp"
#include "eventer/coro/this_coroutine.hpp"
#include "eventer/net/any_stream.hpp"
#include "eventer/websocket/frame_receiver.hpp"
#include "eventer/websocket/frame_sender.hpp"
#include "eventer/websocket/late_frame.hpp"
#include "eventer/websocket/options.hpp"
#include "eventer/websocket/pool.hpp"
#include "eventer/websocket/turn.hpp"

namespace eventer::inline EVENTER_ABI::http {

struct websocket_message {
  bool is_text = false;  // else binary
  std::string data;
};

namespace detail {

// Bytes that have come: frames as far as they are read, and what is behind them.
class incoming {
 public:
  frame_receiver frames;

  std::string_view unread() const noexcept { return std::string_view(bytes_).substr(used_); }
  // The rest of what unread() was, or of what was read just now.
  void keep(std::string_view rest) {
    if (rest.empty()) {
      bytes_.clear();
      used_ = 0;
      if (bytes_.capacity() > kept_at_most) bytes_ = std::string();  // half a message may be here for long
    } else if (const std::string_view all = unread();
               rest.size() <= all.size() && rest.data() + rest.size() == all.data() + all.size()) {
      // (Without the sizes another buffer would do that ends where an empty one begins.)
      used_ = bytes_.size() - rest.size();
    } else {
      bytes_.assign(rest);
      used_ = 0;
    }
  }
  bool is_idle() const noexcept { return used_ == bytes_.size() && frames.is_between_messages(); }
  bool reset() noexcept {
    keep({});
    return frames.reset();
  }

 private:
  static constexpr std::size_t kept_at_most = 16 << 10;
  std::string bytes_;
  std::size_t used_ = 0;
};

// Shared by its websocket and the calls in progress, all of them of one loop: a call may outlive the handle.
class websocket_link : public counted<std::uint32_t> {
 public:
  websocket_link(any_stream&& stream, websocket_side here, const websocket_options& options, std::string_view received)
      : stream_(std::move(stream)),
        max_message_(options.max_message),
        ping_every_(limit_of(options.ping_every)),
        pong_within_(limit_of(options.pong_within)),
        idle_(limit_of(options.idle)),
        write_stall_(limit_of(options.write_stall)),
        close_within_(limit_of(options.close_within)),
        here_(here) {
    if (!received.empty()) needed_incoming().keep(received);
    note_heard();
  }
  websocket_link(const websocket_link&) = delete;
  websocket_link& operator=(const websocket_link&) = delete;

  any_stream& stream() noexcept { return stream_; }
  const any_stream& stream() const noexcept { return stream_; }
  bool is_open() const noexcept { return !failure_ && !close_sent_; }
  std::uint16_t close_code() const noexcept { return code_; }
  std::string_view close_reason() const noexcept { return seldom_ != nullptr ? seldom_->reason : std::string_view(); }

  // --- reading ---

  // What lives across the wait is in every parked stack: it is waited for here, and not in a frame below.
  io_result<websocket_message> read(time_limit limit) {
    if (is_reading_) return read_beside(limit);
    const reader me(*this);
    begin_read(limit);
    for (arrival next{*this}; reply_ == reply::none;) eventer::detail::run_to_end(stream_.file(), next, wake_);
    return answer();
  }

  // --- writing ---

  // Out of line, as close(): what they need is not in the frames of handlers that read.
  EVENTER_NOINLINE io_result<void> write(std::uint8_t opcode, std::string_view payload) {
    (void)this_loop();
    if (opcode == WSLAY_TEXT_FRAME && !is_utf8(payload)) return make_error_code(websocket_errc::bad_text);
    if (const std::error_code failure = why_not_to_write()) return failure;
    const sender mine(*this, no_deadline);
    if (!mine) return mine.failure();
    if (const std::error_code failure = why_not_to_write()) return failure;
    return send(opcode, payload);
  }
  io_result<void> ping(std::string_view payload) {
    if (payload.size() > longest_ping) return make_error_code(websocket_errc::too_long);
    return write(WSLAY_PING, payload);
  }
  io_result<void> pong(std::string_view payload) {
    if (payload.size() > longest_ping) return make_error_code(websocket_errc::too_long);
    return write(WSLAY_PONG, payload);
  }

  // --- ending ---

  // Says so, and waits for the peer's answer; whoever reads meanwhile gets it.
  EVENTER_NOINLINE io_result<void> close(std::uint16_t code, std::string_view reason) {
    if (!websocket_close::may_be_sent(code)) return make_error_code(websocket_errc::bad_code);
    if (reason.size() > longest_reason) return make_error_code(websocket_errc::too_long);
    if (!is_utf8(reason)) return make_error_code(websocket_errc::bad_text);
    const std::error_code said = send_close(code, reason, after(close_within_));
    if (said && !close_sent_) fail(said);
    while (!failure_) wait_for_end();
    linger();
    if (stream_.is_open() && stream_.file()->other() != nullptr) (void)stream_.shutdown_write();  // TLS has a farewell
    stream_.close();
    return failure_ == eventer::errc::end_of_stream ? std::error_code() : failure_;
  }
  // As far as that goes without waiting: this coroutine is cancelled.
  void say_going_away() noexcept {
    if (!is_open() || !stream_.is_open() || here_ == websocket_side::client || !writing_.try_get()) return;
    constexpr char frame[] = {'\x88', '\x02', '\x03', '\xe9'};
    (void)eventer::detail::try_write(*stream_.file(), frame, sizeof frame);
    close_sent_ = true;
    writing_.give();
  }
  // Its handle goes: calls in progress end with `closed`.
  void abandon() noexcept {
    fail(eventer::errc::closed);
    stream_.close();
  }

 private:
  static constexpr std::size_t longest_ping = 125, longest_reason = 123;
  static constexpr std::size_t copied_at_once = 16 << 10;
  static constexpr std::size_t piece_bytes = 4 << 10;  // this much that has come counts as an operation of the loop
  static constexpr unsigned piece_frames = 16;         // or so many frames
  static constexpr duration linger_time = std::chrono::seconds(2);

  // A parked connection has five of them.
  using limit_time = std::chrono::duration<std::uint32_t, std::milli>;
  static constexpr limit_time none = limit_time::max();
  static limit_time limit_of(duration limit) noexcept {
    const auto ticks = std::chrono::ceil<std::chrono::milliseconds>(limit).count();
    return ticks <= 0 || ticks >= none.count() ? none : limit_time(static_cast<std::uint32_t>(ticks));
  }
  static scheduler& this_loop() {
    scheduler* const here = scheduler::current();
    if (EVENTER_UNLIKELY(here == nullptr))
      broken_rule("a websocket on a thread that runs no loop: hand what is to be sent to the loop that it belongs to");
    return *here;
  }
  static time_point now() { return this_loop().now(); }
  static time_point after(limit_time limit) { return limit == none ? no_deadline : deadline_after(now(), limit); }

  // What is said before the end, and what the end is then: the peer has closed, or is refused.
  struct last_word {
    std::uint16_t code;
    std::error_code why;
    time_point by;
  };
  struct seldom {
    explicit seldom(websocket_link& of) noexcept : late(of.stream_, &late_frame_ended, &of) {}
    std::string pong;                           // a frame that waits for its turn; empty: none
    late_frame late;                            // the last one of the reader's that could not leave at once
    std::string reason;                         // of the peer's close
    std::optional<last_word> last;              // owed; nothing more is read
    std::optional<manual_reset_event> changed;  // a read has ended, or everything
  };
  seldom& needed_seldom() {
    if (seldom_ == nullptr) seldom_ = std::make_unique<seldom>(*this);
    return *seldom_;
  }

  // --- reading ---

  enum class reply : std::uint8_t { none, message, draining, timed_out, failure };

  struct reader {
    explicit reader(websocket_link& l) noexcept : link(l) { link.is_reading_ = true; }
    reader(const reader&) = delete;
    reader& operator=(const reader&) = delete;
    ~reader() {
      link.is_reading_ = link.closer_reads_ = false;
      link.tell_change();
      if (link.failure_) link.in_.give_back();
    }
    websocket_link& link;
  };

  EVENTER_NOINLINE void begin_read(time_limit limit) {
    scheduler& here = eventer::detail::suspending_scheduler("a websocket is read outside a coroutine: spawn one");
    reply_ = reply::none;
    until_ = here.within_scope(here.resolve(limit));
    if (std::exchange(had_message_, false)) idle_at_ = after(idle_);
    // Nor does a peer go on for ever whose messages come without a pause.
    if (close_by_ <= now()) fail(eventer::errc::timed_out);
    if (failure_) return void(reply_ = reply::failure);
    if (seldom_ != nullptr && seldom_->last) return say_last_word();
    if (stream_.draining() && !close_sent_) {
      if (!std::exchange(told_draining_, true)) return void(reply_ = reply::draining);
      if (has_ended_read(send_close(websocket_close::going_away, {}, after(close_within_), until_))) return;
    }
    set_wake();
  }
  // Where another coroutine reads: `busy`, but beside one that closes, and drops what comes, the end.
  EVENTER_NOINLINE io_result<websocket_message> read_beside(time_limit limit) {
    if (!closer_reads_) return eventer::errc::busy;
    const time_point until = this_loop().resolve(limit);
    while (closer_reads_ && !failure_)
      if (const std::error_code why = wait_for_change(until)) return why;
    return failure_ ? failure_ : make_error_code(eventer::errc::busy);
  }
  EVENTER_NOINLINE io_result<websocket_message> answer() {
    if (reply_ == reply::draining) return make_error_code(websocket_errc::draining);
    if (reply_ == reply::timed_out) return eventer::errc::timed_out;
    if (reply_ == reply::failure) return failure_;
    websocket_message result{in_->frames.is_text(), in_->frames.take_message()};
    put_aside();
    had_message_ = true;
    return result;
  }

  // A try at reading what is there, for run_to_end. The value is how many bytes are in the loop's buffer; 0: what has
  // come before is to be used first.
  struct arrival {
    using result_type = void;
    static void before_waiting() noexcept {}
    static bool survives(descriptor&, std::error_code) noexcept { return false; }
    static time_point resume_at() noexcept { return no_deadline; }
    EVENTER_NOINLINE eventer::detail::attempt try_once(descriptor& from) const {
      if (link.waits_too_long_) return eventer::detail::attempt::failed(eventer::errc::timed_out);
      if (link.in_ && !link.in_->unread().empty()) return eventer::detail::attempt::done();
      return eventer::detail::try_read(from, event_loop::current().scratch(), event_loop::scratch_bytes);
    }
    void result(std::size_t size) const { link.take({event_loop::current().scratch(), size}); }
    void failed(std::error_code why) const { link.take_failure(why); }

    websocket_link& link;
  };
  EVENTER_NOINLINE void take(std::string_view bytes) {
    if (bytes.empty()) {
      use(in_->unread());
    } else {
      note_heard();
      use(bytes);
    }
    // It had no time to wait, if bytes come without a pause.
    if (reply_ == reply::none && nearest_limit() <= now()) on_time();
    if (reply_ == reply::none) set_wake();
  }
  EVENTER_NOINLINE void take_failure(std::error_code why) {
    if (why == std::errc::timed_out) {
      on_time();
    } else if (why == eventer::errc::end_of_stream && !told_draining_ && stream_.is_open() &&
               stream_.file()->ends_now()) {
      told_draining_ = true;
      reply_ = reply::draining;
    } else {
      fail(why == eventer::errc::end_of_stream ? std::make_error_code(std::errc::connection_aborted) : why);
      reply_ = reply::failure;
    }
    if (reply_ == reply::none) set_wake();
  }
  void note_heard() {
    is_pinged_ = false;
    check_at_ = after(ping_every_);
  }
  void set_wake() {
    // From the drain on it is not the server that ends a read, but this.
    if (close_sent_ || told_draining_) stream_.begin_request();
    wake_ = nearest_limit();
    waits_too_long_ = false;
  }
  // Another coroutine has said a close: who waits to read waits no longer than that allows.
  void renew_wake() {
    waits_too_long_ = true;
    stream_.file()->retry_read();
  }
  time_point nearest_limit() const noexcept { return std::min({until_, check_at_, idle_at_, close_by_}); }
  // A wait has taken as long as it may.
  void on_time() {
    const time_point time = now();
    if (close_by_ <= time) {
      fail(eventer::errc::timed_out);
    } else if (idle_at_ <= time) {
      return say_last_word(websocket_close::policy, eventer::errc::timed_out);
    } else if (check_at_ <= time) {
      if (is_pinged_) {
        fail(eventer::errc::timed_out);
      } else {
        is_pinged_ = send_soon(WSLAY_PING, {});
        check_at_ = after(pong_within_);
      }
    }
    if (failure_) {
      reply_ = reply::failure;
    } else if (until_ <= time) {
      reply_ = reply::timed_out;  // the caller's limit, or a deadline_scope around it
    }
  }

  incoming& needed_incoming() {
    if (!in_) {
      in_ = lent<incoming>::take();
      in_->frames.begin(here_, max_message_);
    }
    return *in_;
  }
  // Between messages nothing is kept, and there is nothing that the peer could wait for.
  void put_aside() noexcept {
    if (!in_->is_idle()) return stream_.begin_request();
    in_.give_back();
    stream_.end_request();
  }
  void use(std::string_view bytes) {
    using event = frame_receiver::event;
    incoming& in = needed_incoming();
    for (unsigned frames = 1;; ++frames) {
      std::string_view piece = bytes.substr(0, piece_bytes);
      const std::size_t given = piece.size();
      const event what = in.frames.feed(piece);
      bytes.remove_prefix(given - piece.size());
      if (what == event::ping) {
        send_soon(WSLAY_PONG, in.frames.control());
        if (failure_) return void(reply_ = reply::failure);
      } else if (what == event::incomplete ? bytes.empty() : what != event::pong) {
        in.keep(bytes);
        return what == event::incomplete ? put_aside() : end_read(what, in.frames);
      }
      if (what != event::incomplete && frames % piece_frames != 0) continue;
      if (EVENTER_LIKELY(!eventer::detail::turn_is_over())) continue;
      // Others are let run where the read waits: a deeper stack would have to be kept for each connection.
      in.keep(bytes);
      return put_aside();
    }
  }
  void end_read(frame_receiver::event what, const frame_receiver& from) {
    using event = frame_receiver::event;
    if (what == event::message) return void(reply_ = reply::message);
    if (what == event::refused) return say_last_word(from.close_code(), error_for(from.close_code()));
    if (!from.close_reason().empty()) needed_seldom().reason = from.close_reason();
    say_last_word(from.close_code(), eventer::errc::end_of_stream);
  }
  // Whether a read ends with what has come of a close that it had to send.
  bool has_ended_read(std::error_code why) {
    if (!why || (close_sent_ && !failure_)) return false;
    if (!failure_ && why == std::errc::timed_out) return reply_ = reply::timed_out, true;
    fail(why);
    reply_ = reply::failure;
    return true;
  }

  static std::error_code error_for(std::uint16_t code) noexcept {
    if (code == websocket_close::bad_text) return websocket_errc::bad_text;
    return code == websocket_close::too_large ? websocket_errc::too_large : websocket_errc::protocol_error;
  }
  void say_last_word(std::uint16_t code, std::error_code why) {
    needed_seldom().last = last_word{code, why, after(close_within_)};
    say_last_word();
  }
  // Where the read's limit or a cancellation comes first, it is owed still: the next read says it.
  void say_last_word() {
    const last_word last = *seldom_->last;
    if (has_ended_read(send_close(last.code, {}, last.by, until_))) return;
    code_ = last.code;
    lingers_ = last.why != eventer::errc::end_of_stream;  // a refused peer may be sending still
    end_with(last.why);
    reply_ = reply::failure;
  }

  // --- writing ---

  std::error_code why_not_to_write() const noexcept {
    if (failure_) return failure_;
    return close_sent_ ? make_error_code(eventer::errc::closed) : std::error_code();
  }
  // The turn to write, for its life, where it has been got.
  class sender {
   public:
    sender(websocket_link& link, time_point until) : link_(link), failure_(link.writing_.get(until)) {}
    sender(const sender&) = delete;
    sender& operator=(const sender&) = delete;
    ~sender() {
      if (!failure_) link_.pass_turn_on();
    }
    explicit operator bool() const noexcept { return !failure_; }
    std::error_code failure() const noexcept { return failure_; }

   private:
    websocket_link& link_;
    const std::error_code failure_;
  };
  // Behind a frame: the pong that waits, for which nobody waits; then whoever is next.
  void pass_turn_on() {
    if (seldom_ == nullptr || seldom_->pong.empty() || why_not_to_write()) return writing_.give();
    seldom_->late.send(std::exchange(seldom_->pong, {}), after(write_stall_));
  }
  // A frame of the reader's, for which it does not wait. Where somebody else is writing, a pong goes out behind that,
  // and the latest one is enough (RFC 6455 5.5.3); a ping is not sent then, as the write finds out who has gone. False:
  // it is not sent, and not begun.
  bool send_soon(std::uint8_t opcode, std::string_view payload) {
    if (why_not_to_write()) return false;
    std::string frame = control_frame(opcode, payload);
    if (frame.empty()) return false;
    if (!writing_.try_get()) {
      if (opcode == WSLAY_PONG) needed_seldom().pong = std::move(frame);
      return false;
    }
    // Mostly it leaves at once, and nothing has to be kept for it.
    if (stream_.is_open()) {
      const auto tried = eventer::detail::try_write(*stream_.file(), frame.data(), frame.size());
      if (tried.is_done()) frame.erase(0, tried.value());
      if (frame.empty()) return writing_.give(), true;
    }
    needed_seldom().late.send(std::move(frame), after(write_stall_));
    return true;
  }
  static void late_frame_ended(void* of, std::error_code why) {
    auto& self = *static_cast<websocket_link*>(of);
    if (why) self.fail(why);
    // Who waits comes before the next pong, or a peer that pings would keep him waiting.
    self.writing_.is_waited_for() ? self.writing_.give() : self.pass_turn_on();
  }
  // Empty: the kernel has no random bytes for its mask.
  std::string control_frame(std::uint8_t opcode, std::string_view payload) const {
    std::string result;
    if (here_ == websocket_side::server) {
      append_head(result, opcode, payload);
      result.append(payload);
    } else {
      const auto frame = lent<frame_sender<websocket_side::client>>::take();
      frame->begin(opcode, payload);
      if (!frame->append_piece(result, payload.size())) result.clear();
    }
    return result;
  }
  static void append_head(std::string& to, std::uint8_t opcode, std::string_view payload) {
    const auto frame = lent<frame_sender<websocket_side::server>>::take();
    frame->begin(opcode, payload);
    (void)frame->append_head(to);
  }
  // `by`: when it must have left, or everything is over; `until`: how long the caller waits, before it has begun to
  // leave. Errors: timed_out where that comes first, and nothing has been said; as write().
  std::error_code send_close(std::uint16_t code, std::string_view reason, time_point by,
                             time_point until = no_deadline) {
    if (const std::error_code failure = why_not_to_write()) return failure;
    const sender mine(*this, std::min(by, until));
    if (!mine) {
      if (mine.failure() == std::errc::timed_out && by <= now()) fail(mine.failure());
      return mine.failure();
    }
    if (const std::error_code failure = why_not_to_write()) return failure;
    std::string payload;
    if (code != websocket_close::none) {
      payload += static_cast<char>(code >> 8);
      payload += static_cast<char>(code & 255);
      payload.append(reason);
    }
    sending part(*this, by, until);
    return send(part, WSLAY_CONNECTION_CLOSE, payload);
  }

  // One frame. Requires: this coroutine's turn.
  std::error_code send(std::uint8_t opcode, std::string_view payload) {
    sending part(*this);
    return send(part, opcode, payload);
  }
  class sending;
  std::error_code send(sending& part, std::uint8_t opcode, std::string_view payload) {
    return part.ended(here_ == websocket_side::server ? send_plain(part, opcode, payload)
                                                      : send_masked(part, opcode, payload));
  }
  static std::error_code send_plain(sending& part, std::uint8_t opcode, std::string_view payload) {
    std::string bytes;
    append_head(bytes, opcode, payload);
    const std::string_view with_the_head = payload.substr(0, copied_at_once);
    bytes.append(with_the_head);
    if (const std::error_code failure = part.write(bytes)) return failure;
    return part.write(payload.substr(with_the_head.size()));
  }
  static std::error_code send_masked(sending& part, std::uint8_t opcode, std::string_view payload) {
    const auto frame = lent<frame_sender<websocket_side::client>>::take();
    frame->begin(opcode, payload);
    std::string bytes;
    std::error_code failure;
    while (!failure && !frame->ended()) {
      bytes.clear();
      failure =
          frame->append_piece(bytes, copied_at_once) ? part.write(bytes) : std::make_error_code(std::errc::io_error);
    }
    return failure;
  }
  // What was sent of a frame. Where it ends in the midst of one, by an exception too, nothing can follow.
  class sending {
   public:
    explicit sending(websocket_link& from) noexcept : link_(from) {}
    // Of a close; the times are those of send_close().
    sending(websocket_link& from, time_point by, time_point until) noexcept
        : link_(from), by_(by), until_(until), is_close_(true) {}
    sending(const sending&) = delete;
    sending& operator=(const sending&) = delete;
    ~sending() {
      if (!ended_ && has_begun_) link_.fail(make_error_code(websocket_errc::broken));
    }

    std::error_code write(std::string_view left) {
      while (!left.empty()) {
        // Over TLS what was tried once must be tried again: it is made a record before the kernel takes any of it.
        if (link_.stream_.is_open() && link_.stream_.file()->is_layered()) begin();
        const time_point end = std::min(by_, after(link_.write_stall_));
        const auto taken = link_.stream_.write_some(left, std::min(end, until_));
        // A deadline_scope that ends before anything was sent is the caller's matter.
        if (!taken) {
          is_over_ = has_begun_ || taken.error() != std::errc::timed_out || now() >= end;
          return taken.error();
        }
        begin();
        left.remove_prefix(*taken);
      }
      return {};
    }
    std::error_code ended(std::error_code failure) {
      ended_ = true;
      if (failure && (is_over_ || has_begun_)) link_.fail(failure);
      return failure;
    }

   private:
    void begin() {
      has_begun_ = true;
      if (!is_close_ || link_.close_sent_) return;
      link_.close_sent_ = true;
      link_.close_by_ = by_;
      if (link_.is_reading_) link_.renew_wake();
    }
    websocket_link& link_;
    const time_point by_ = no_deadline, until_ = no_deadline;
    const bool is_close_ = false;
    bool has_begun_ = false, is_over_ = false, ended_ = false;
  };

  // --- ending ---

  // Nothing more is read or sent.
  void end_with(std::error_code why) noexcept {
    if (failure_) return;
    failure_ = why;
    if (!is_reading_) in_.give_back();  // or the reader does, who may be in the midst of it
    tell_change();
  }
  // Without a word; whoever waits goes on.
  void fail(std::error_code why) noexcept {
    if (failure_) return;
    code_ = websocket_close::abnormal;
    end_with(why);
    stream_.close();
  }
  void tell_change() noexcept {
    if (seldom_ != nullptr && seldom_->changed) seldom_->changed->set();
  }
  // Errors: timed_out.
  std::error_code wait_for_change(time_point until) {
    if (!needed_seldom().changed) seldom_->changed.emplace();
    manual_reset_event changed = *seldom_->changed;
    changed.reset();
    const io_result<void> got = changed.wait(until);
    return got ? std::error_code() : got.error();
  }
  // One step of who closes: a message is dropped, or another reader's read ends.
  void wait_for_end() {
    if (is_reading_) {
      if (const std::error_code why = wait_for_change(close_by_)) fail(why);
      return;
    }
    closer_reads_ = true;  // until that read ends
    if (const auto got = read({}); !got) fail(got.error());
  }
  // A peer that sends still must not lose what it was told to a reset.
  void linger() {
    if (!std::exchange(lingers_, false) || !stream_.is_open() || !stream_.shutdown_write()) return;
    stream_.end_request();
    const time_point end = deadline_after(now(), linger_time);
    while (now() < end && stream_.read_borrowed(end)) {
    }
  }

  any_stream stream_;
  turn writing_;
  lent<incoming> in_;               // while a message or a frame is half here
  std::unique_ptr<seldom> seldom_;  // what few have
  std::error_code failure_;         // why it has ended
  std::size_t max_message_;
  time_point until_ = no_deadline, wake_ = no_deadline;  // of the present read
  time_point check_at_ = no_deadline;                    // when to ping, or when the answer is missing
  time_point idle_at_ = no_deadline, close_by_ = no_deadline;
  limit_time ping_every_, pong_within_, idle_, write_stall_, close_within_;
  std::uint16_t code_ = websocket_close::abnormal;
  websocket_side here_;
  reply reply_ = reply::none;  // of the present read
  bool is_reading_ = false, closer_reads_ = false, had_message_ = true;
  bool is_pinged_ = false, close_sent_ = false, told_draining_ = false, lingers_ = false;
  bool waits_too_long_ = false;  // close_by_ is nearer than wake_, as a reader that waits has it
};

}  // namespace detail

}  // namespace eventer::inline EVENTER_ABI::http
