// websocket_link: a WebSocket's connection: reading and writing messages, answering pings, ending. websocket.hpp says
// what each call does. It lies on the heap, and holds no buffer between two messages.
//
// What must not be broken: frames leave whole and one after the other, whoever writes; one that was sent in part is the
// last. And a peer that takes nothing can't make anything pile up: one pong at most waits for its turn.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "eventer/coro/cancelled.hpp"
#include "eventer/coro/sync/manual_reset_event.hpp"
#include "eventer/net/any_stream.hpp"
#include "eventer/websocket/frame_receiver.hpp"
#include "eventer/websocket/frame_sender.hpp"
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
    } else if (const std::string_view all = unread(); rest.data() + rest.size() == all.data() + all.size()) {
      used_ = bytes_.size() - rest.size();
    } else {
      bytes_.assign(rest);
      used_ = 0;
    }
  }
  bool is_idle() const noexcept { return used_ == bytes_.size() && frames.is_between_messages(); }
  bool reset() noexcept {
    keep({});
    if (bytes_.capacity() > kept_at_most) bytes_ = std::string();
    return frames.reset();
  }

 private:
  static constexpr std::size_t kept_at_most = 16 << 10;
  std::string bytes_;
  std::size_t used_ = 0;
};

class websocket_link {
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

  any_stream& stream() noexcept { return stream_; }
  const any_stream& stream() const noexcept { return stream_; }
  bool is_open() const noexcept { return !failure_ && !close_sent_; }
  std::uint16_t close_code() const noexcept { return code_; }
  std::string_view close_reason() const noexcept { return seldom_ != nullptr ? seldom_->reason : std::string_view(); }

  // --- reading ---

  // What lives across the wait is in every parked stack: it is waited for here, and not in a frame below.
  io_result<websocket_message> read(time_limit limit) {
    if (is_reading_) return eventer::errc::busy;
    const reader me(*this);
    begin_read(limit);
    for (arrival next{*this}; reply_ == reply::none;) eventer::detail::run_to_end(stream_.file(), next, wake_);
    return answer();
  }

  // --- writing ---

  // Out of line, as close(): what they need is not in the frames of handlers that read.
  EVENTER_NOINLINE io_result<void> write(std::uint8_t opcode, std::string_view payload) {
    if (opcode == WSLAY_TEXT_FRAME && !is_utf8(payload)) return make_error_code(websocket_errc::bad_text);
    if (const std::error_code failure = why_not_to_write()) return failure;
    const turn::held mine(writing_);
    if (!mine) return mine.failure();
    if (const std::error_code failure = why_not_to_write()) return failure;
    const std::error_code failure = send(opcode, payload);
    if (!failure) send_kept_pong();
    return failure;
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
    (void)send_close(code, reason);
    if (!failure_) wait_for_end();
    linger();
    if (stream_.is_open() && stream_.file()->other() != nullptr) (void)stream_.shutdown_write();  // TLS has a farewell
    stream_.close();
    return failure_ == eventer::errc::end_of_stream ? std::error_code() : failure_;
  }
  // As far as that goes without waiting: this coroutine is cancelled.
  void say_going_away() noexcept {
    const turn::held mine(writing_, std::try_to_lock);
    if (!mine || !is_open() || !stream_.is_open() || here_ == websocket_side::client) return;
    constexpr char frame[] = {'\x88', '\x02', '\x03', '\xe9'};
    (void)eventer::detail::try_write(*stream_.file(), frame, sizeof frame);
    close_sent_ = true;
  }

 private:
  static constexpr std::size_t longest_ping = 125, longest_reason = 123;
  static constexpr std::size_t copied_at_once = 16 << 10;
  static constexpr duration linger_time = std::chrono::seconds(2);

  // A parked connection has five of them.
  using limit_time = std::chrono::duration<std::uint32_t, std::milli>;
  static constexpr limit_time none = limit_time::max();
  static limit_time limit_of(duration limit) noexcept {
    const auto ticks = std::chrono::ceil<std::chrono::milliseconds>(limit).count();
    return ticks <= 0 || ticks >= none.count() ? none : limit_time(static_cast<std::uint32_t>(ticks));
  }
  static time_point now() { return scheduler::current()->now(); }
  static time_point after(limit_time limit) { return limit == none ? no_deadline : deadline_after(now(), limit); }

  struct seldom {
    std::optional<std::string> pong;          // that waits for its turn
    std::string reason;                       // of the peer's close
    std::optional<manual_reset_event> ended;  // for who closes while another reads
  };
  seldom& needed_seldom() {
    if (seldom_ == nullptr) seldom_ = std::make_unique<seldom>();
    return *seldom_;
  }

  // --- reading ---

  enum class reply : std::uint8_t { none, message, draining, timed_out, failure };

  struct reader {
    explicit reader(websocket_link& l) noexcept : link(l) { link.is_reading_ = true; }
    reader(const reader&) = delete;
    reader& operator=(const reader&) = delete;
    ~reader() {
      link.is_reading_ = false;
      if (link.failure_) link.in_.give_back();
    }
    websocket_link& link;
  };

  EVENTER_NOINLINE void begin_read(time_limit limit) {
    reply_ = reply::none;
    until_ = scheduler::current()->resolve(limit);
    if (std::exchange(had_message_, false)) idle_at_ = after(idle_);
    if (failure_) return void(reply_ = reply::failure);
    if (stream_.draining() && !close_sent_) {
      if (!std::exchange(told_draining_, true)) return void(reply_ = reply::draining);
      (void)send_close(websocket_close::going_away, {});
      if (failure_) return void(reply_ = reply::failure);
    }
    if (in_ && !in_->unread().empty()) use(in_->unread());
    set_wake();
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

  // A try at reading what is there, for run_to_end.
  struct arrival {
    using result_type = void;
    static void before_waiting() noexcept {}
    static bool survives(descriptor&, std::error_code) noexcept { return false; }
    static time_point resume_at() noexcept { return no_deadline; }
    EVENTER_NOINLINE static eventer::detail::attempt try_once(descriptor& from) {
      return eventer::detail::try_read(from, event_loop::current().scratch(), event_loop::scratch_bytes);
    }
    void result(std::size_t size) const { link.take({event_loop::current().scratch(), size}); }
    void failed(std::error_code why) const { link.take_failure(why); }

    websocket_link& link;
  };
  EVENTER_NOINLINE void take(std::string_view bytes) {
    note_heard();
    use(bytes);
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
    if (close_sent_ && close_by_ <= now()) {  // nor does a peer go on for ever that sends without a pause
      fail(eventer::errc::timed_out);
      reply_ = reply::failure;
    }
    wake_ = std::min({until_, check_at_, idle_at_, close_by_});
  }
  // A wait has taken as long as it may.
  void on_time() {
    const time_point time = now();
    if (close_by_ <= time) {
      fail(eventer::errc::timed_out);
    } else if (idle_at_ <= time) {
      refuse(websocket_close::policy, eventer::errc::timed_out);
    } else if (until_ > time && check_at_ <= time) {
      if (is_pinged_) {
        fail(eventer::errc::timed_out);
      } else {
        is_pinged_ = send_control_soon(WSLAY_PING, {});
        check_at_ = after(pong_within_);
      }
    } else {
      return void(reply_ = reply::timed_out);  // the caller's limit, or a deadline_scope around it
    }
    if (failure_) reply_ = reply::failure;
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
    for (;;) {
      const event what = in.frames.feed(bytes);
      if (what == event::pong) continue;
      in.keep(bytes);  // whatever is sent now may have to wait
      if (what == event::incomplete) return put_aside();
      if (what == event::ping) {
        (void)send_control_soon(WSLAY_PONG, in.frames.control());
        if (failure_) return void(reply_ = reply::failure);
        bytes = in.unread();
        continue;
      }
      if (what == event::message) return void(reply_ = reply::message);
      if (what == event::close) on_close(in.frames);
      if (what == event::refused) refuse(in.frames.close_code(), error_for(in.frames.close_code()));
      return void(reply_ = reply::failure);
    }
  }
  static std::error_code error_for(std::uint16_t code) noexcept {
    if (code == websocket_close::bad_text) return websocket_errc::bad_text;
    return code == websocket_close::too_large ? websocket_errc::too_large : websocket_errc::protocol_error;
  }
  void on_close(const frame_receiver& said) {
    code_ = said.close_code();
    if (!said.close_reason().empty()) needed_seldom().reason = said.close_reason();
    (void)send_close(code_, {});
    if (!failure_) end_with(eventer::errc::end_of_stream);
  }

  // --- writing ---

  std::error_code why_not_to_write() const noexcept {
    if (failure_) return failure_;
    return close_sent_ ? make_error_code(eventer::errc::closed) : std::error_code();
  }
  // A frame of the reader's: where somebody else is writing, a pong goes out behind that, and the latest one is enough
  // (RFC 6455 5.5.3); a ping is not sent then, as the write finds out who has gone. False: it is not sent.
  bool send_control_soon(std::uint8_t opcode, std::string_view payload) {
    if (why_not_to_write()) return false;
    const turn::held mine(writing_, std::try_to_lock);
    if (!mine) {
      if (opcode == WSLAY_PONG) needed_seldom().pong = payload;
      return false;
    }
    if (send(opcode, payload)) return false;
    send_kept_pong();
    return true;
  }
  // Requires: this coroutine's turn.
  void send_kept_pong() {
    while (seldom_ != nullptr && seldom_->pong && !why_not_to_write()) {
      const std::string payload = *std::exchange(seldom_->pong, std::nullopt);
      (void)send(WSLAY_PONG, payload);
    }
  }
  std::error_code send_close(std::uint16_t code, std::string_view reason) {
    if (const std::error_code failure = why_not_to_write()) return failure;
    const turn::held mine(writing_);
    if (!mine) return mine.failure();
    if (const std::error_code failure = why_not_to_write()) return failure;
    std::string payload;
    if (code != websocket_close::none) {
      payload += static_cast<char>(code >> 8);
      payload += static_cast<char>(code & 255);
      payload.append(reason);
    }
    close_sent_ = true;
    close_by_ = after(close_within_);
    return send(WSLAY_CONNECTION_CLOSE, payload);
  }

  // One frame. Requires: this coroutine's turn.
  std::error_code send(std::uint8_t opcode, std::string_view payload) {
    sending part(*this);
    return part.ended(here_ == websocket_side::server ? send_plain(part, opcode, payload)
                                                      : send_masked(part, opcode, payload));
  }
  class sending;
  static std::error_code send_plain(sending& part, std::uint8_t opcode, std::string_view payload) {
    std::string bytes;
    {
      const auto frame = lent<frame_sender<websocket_side::server>>::take();
      frame->begin(opcode, payload);
      (void)frame->append_head(bytes);
    }
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
    explicit sending(websocket_link& by) noexcept : link_(by) {}
    sending(const sending&) = delete;
    sending& operator=(const sending&) = delete;
    ~sending() {
      if (!ended_ && has_begun_) link_.fail(make_error_code(websocket_errc::broken));
    }

    std::error_code write(std::string_view left) {
      while (!left.empty()) {
        const time_point end = after(link_.write_stall_);
        const auto taken = link_.stream_.write_some(left, end);
        // A deadline_scope that ends before anything was sent is the caller's matter.
        if (!taken) {
          is_over_ = has_begun_ || taken.error() != std::errc::timed_out || now() >= end;
          return taken.error();
        }
        has_begun_ = true;
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
    websocket_link& link_;
    bool has_begun_ = false, is_over_ = false, ended_ = false;
  };

  // --- ending ---

  // Nothing more is read or sent.
  void end_with(std::error_code why) noexcept {
    if (failure_) return;
    failure_ = why;
    if (!is_reading_) in_.give_back();  // or the reader does, who may be in the midst of it
    if (seldom_ != nullptr && seldom_->ended) seldom_->ended->set();
  }
  // Without a word; whoever waits goes on.
  void fail(std::error_code why) noexcept {
    if (failure_) return;
    code_ = websocket_close::abnormal;
    end_with(why);
    stream_.close();
  }
  // With one: the peer is told why.
  void refuse(std::uint16_t code, std::error_code why) {
    (void)send_close(code, {});
    if (failure_) return;
    code_ = code;
    lingers_ = true;
    end_with(why);
  }
  void wait_for_end() {
    if (!is_reading_) {
      while (!failure_)
        if (const auto got = read({}); !got) fail(got.error());
      return;
    }
    if (!needed_seldom().ended) seldom_->ended.emplace();
    manual_reset_event ended = *seldom_->ended;
    if (!ended.wait(close_by_)) fail(eventer::errc::timed_out);
  }
  // A peer that sends still must not lose what it was told to a reset.
  void linger() {
    if (!std::exchange(lingers_, false) || !stream_.is_open() || !stream_.shutdown_write()) return;
    stream_.end_request();
    const time_point end = deadline_after(now(), linger_time);
    while (stream_.read_borrowed(end)) {
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
  bool is_reading_ = false, had_message_ = true;
  bool is_pinged_ = false, close_sent_ = false, told_draining_ = false, lingers_ = false;
};

}  // namespace detail

}  // namespace eventer::inline EVENTER_ABI::http
