// response: the answer that a handler makes. It lies on the heap: references to it may be handed on.
//
//   answer.text("Hello world.\n");                          // whole: sent when the handler returns
//   answer.status(201).header("Location", "/notes/7");
//   while (more()) if (!answer.write(piece())) return;       // in pieces: each is sent at once
//
// What must not be broken: whatever is said here, the peer can tell where the answer ends.
#pragma once

#include <charconv>
#include <concepts>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "eventer/base/unique_fd.hpp"
#include "eventer/http/cookies.hpp"
#include "eventer/http/date.hpp"
#include "eventer/http/error.hpp"
#include "eventer/http/fields.hpp"
#include "eventer/http/file_options.hpp"
#include "eventer/http/input.hpp"
#include "eventer/http/output.hpp"
#include "eventer/http/request_head.hpp"
#include "eventer/http/status.hpp"

namespace eventer::inline EVENTER_ABI::http {

class byte_ranges;
struct byte_range;

namespace detail {
class exchange;
class file_handler;
class served_file;
}  // namespace detail

// Who gets a connection that another protocol is spoken on, when the request is answered and its exchange is given
// back: what is parked then holds nothing of HTTP.
class heir {
 public:
  heir() noexcept = default;
  heir(const heir&) = delete;
  heir& operator=(const heir&) = delete;
  virtual ~heir() = default;
  // The connection, of which nobody else has anything any more, and what the client has sent behind its request.
  virtual void take(any_stream&& stream, std::string_view received) = 0;
  // Called once, after take(), as the connection's coroutine, which ends when it returns; may wait. Must not throw, but
  // `cancelled`.
  virtual void run() = 0;
};

class response {
 public:
  response(const response&) = delete;
  response& operator=(const response&) = delete;

  // --- the head, which can be changed until it is sent. Bad names and values: std::invalid_argument. ---

  // 200 to 599; 200 where nothing is said.
  response& status(int code) {
    if (code < 200 || code > 599)
      detail::refuse_argument("the status of an answer is 200 to 599, and this is " + std::to_string(code));
    if (EVENTER_UNLIKELY(heir_ != nullptr)) disinherit();
    status_ = code;
    reason_.clear();
    begun_ = true;
    return *this;
  }
  // With words of one's own behind the number, which no client looks at: "404 NOT FOUND".
  response& status(int code, std::string_view reason) {
    detail::fields::check("the reason of a status", reason);
    status(code);
    if (reason != reason_phrase(code)) reason_.assign(reason);
    return *this;
  }
  int status() const noexcept { return status_; }

  // Sets a field, in the place of those of that name.
  response& header(std::string_view name, std::string_view value) {
    fields_.remove(name);
    return add_header(name, value);
  }
  // Adds one, beside those of that name. How the answer ends is the library's matter: Content-Length is
  // content_length(), "Connection: close" is close_connection(), and Transfer-Encoding can't be set.
  response& add_header(std::string_view name, std::string_view value) {
    if (EVENTER_UNLIKELY(is_about_framing(name, value))) return *this;
    fields_.add(name, value);
    return *this;
  }
  // What was set, valid until the next change; empty where nothing was.
  std::string_view header(std::string_view name) const noexcept { return fields_.find(name); }
  response& set_cookie(const cookie& what) { return add_header("Set-Cookie", what.to_string()); }

  // For an answer in pieces whose size is known: exactly so many bytes are written then, and no chunks are made.
  response& content_length(std::uint64_t bytes) noexcept {
    length_ = bytes;
    has_length_ = true;
    return *this;
  }
  // The connection ends behind this answer.
  response& close_connection() noexcept {
    close_ = true;
    return *this;
  }

  // --- the body, whole: sent when the handler returns, or by end(). A type that header() has set stays. Beside pieces
  // it is one more of them: the first where write() comes later, the last where it came before. ---

  void text(std::string_view bytes) { body("text/plain; charset=utf-8", bytes); }
  void html(std::string_view bytes) { body("text/html; charset=utf-8", bytes); }
  // JSON that is text already; http_json.hpp takes values.
  void json(std::string_view bytes) { body("application/json", bytes); }
  void body(std::string_view type, std::string_view bytes) {
    body_.assign(bytes);
    has_body(type);
  }
  // The same without a copy: answer.text(std::move(page)).
  template <std::same_as<std::string> S>
  void text(S&& bytes) {
    body("text/plain; charset=utf-8", std::move(bytes));
  }
  template <std::same_as<std::string> S>
  void html(S&& bytes) {
    body("text/html; charset=utf-8", std::move(bytes));
  }
  template <std::same_as<std::string> S>
  void json(S&& bytes) {
    body("application/json", std::move(bytes));
  }
  template <std::same_as<std::string> S>
  void body(std::string_view type, S&& bytes) {
    body_ = std::move(bytes);
    has_body(type);
  }
  void redirect(std::string_view location, int code = 302) { status(code).header("Location", location); }

  // --- the body, in pieces ---

  // Sends the head, if it is not sent yet, and these bytes. Completes: when the kernel has taken them, so that a slow
  // peer slows down its handler. Errors: timed_out where the peer takes nothing for limits::response_stall;
  // http::errc::answered, wrong_length; the stream's. After an error the connection ends with the handler.
  io_result<void> write(std::string_view bytes) {
    if (ended_) return make_error_code(errc::answered);
    if (failure_) return failure_;
    if (!head_sent_) {
      begin_pieces();
      if (const auto before = write_prepared(); !before) return before;
    }
    if (drops_body_ || bytes.empty()) return {};
    if (has_length_ && bytes.size() > length_ - written_) {
      (void)to_->send(stall_);  // other answers may be in it
      return fail(make_error_code(errc::wrong_length));
    }
    written_ += bytes.size();
    if (is_chunked_) return write_chunk(bytes);
    return sent(to_->send(bytes, stall_));
  }
  // Sends the head without waiting for the first piece, so that the client knows that the answer has begun.
  io_result<void> flush() {
    if (const auto written = write({}); !written) return written.error();
    return sent(to_->send(stall_));
  }
  // The answer is complete, and is sent. Whatever the handler does behind it is done without its client.
  io_result<void> end() {
    if (ended_) return make_error_code(errc::answered);
    complete();
    return failure_ ? io_result<void>(failure_) : sent(to_->send(stall_));
  }
  // The same, but it is sent when the handler's coroutine waits for anything or the handler returns, together with the
  // answers to pipelined requests. Errors: those of what had to be sent at once, a large body.
  io_result<void> end_soon() {
    if (ended_) return make_error_code(errc::answered);
    complete();
    if (failure_) return failure_;
    to_->send_when_waiting();
    return {};
  }

  // --- a file; defined in file_answer.hpp ---

  // The file as the answer, or the ranges of it that were asked for; 304, 412 and 416 where the request's conditions
  // say so. `name`: by whose end its type is known, where header() has set none. ETag, Last-Modified and Cache-Control
  // that were set stay, and are what conditions are compared with. Where a status other than 200 was set, all of it is
  // sent with that one, or nothing where such an answer has no body.
  //
  // Memory: a piece of 64 KB, and where it came from the disk and the client is slow a copy of it. The loop does not
  // wait for the disk to read. A small file is sent as text() is, of a large one the last piece. The file is closed in
  // any case. Completes, Errors: as write(); connection_aborted where the file has become shorter meanwhile, or can't
  // be read on: the connection is cut then. http::error is thrown, and is the answer, where it can't be sent at all:
  // 404 for what is no regular file, 500 where its first bytes can't be read. Requires: not in a callback.
  io_result<void> send_file(unique_fd file, std::string_view name, const file_options& with);
  io_result<void> send_file(unique_fd file, std::string_view name);
  // The same with a file that the program has chosen: links are followed. http::error: 404 where it is not there, 403
  // where it must not be read, 503 where there is no descriptor left, with a line in the log.
  io_result<void> send_file(const std::string& path, const file_options& with);
  io_result<void> send_file(const std::string& path);

  bool head_sent() const noexcept { return head_sent_; }
  bool ended() const noexcept { return ended_; }
  // Of the body, sent or to be sent.
  std::uint64_t body_bytes() const noexcept { return written_ > 0 ? written_ : body_.size(); }
  // Why nothing more can be sent; none while all is well.
  std::error_code failure() const noexcept { return failure_; }

  // --- another protocol on this connection ---

  // Answers 101 and gives the connection to the caller, who alone uses it from then on; what the client has sent behind
  // its request already is `received`. Fields that were set are sent along (Sec-WebSocket-Accept, say). Errors:
  // not_upgradable where the request does not ask for `protocol`, has a body, or something was answered; the stream's.
  struct upgraded {
    any_stream stream;
    std::string received;
  };
  io_result<upgraded> upgrade(std::string_view protocol) {
    if (!can_upgrade(protocol)) return make_error_code(errc::not_upgradable);
    if (const auto done = send_upgrade(protocol); !done) return done.error();
    const endpoint peer = stream_->peer();
    upgraded result{std::move(*stream_), take_received()};
    stream_->announce_peer(peer);  // the access log asks the request for it
    return result;
  }
  // The same when the handler and what is around it have returned, if nobody chooses another status until then:
  // `next` gets the connection when this request holds nothing any more. Errors: not_upgradable, and `next` is gone.
  io_result<void> upgrade_later(std::string_view protocol, std::unique_ptr<heir> next) {
    if (!can_upgrade(protocol)) return make_error_code(errc::not_upgradable);
    heir_ = std::move(next);
    protocol_.assign(protocol);
    status_ = 101;
    begun_ = ended_ = true;
    return {};
  }

 private:
  friend class detail::exchange;
  friend class detail::file_handler;

  response(detail::input& received, detail::output& to) noexcept : received_(&received), to_(&to) {}

  // For the next request. `keep`: the connection goes on behind it, if nobody objects.
  void begin(any_stream& stream, const request_head& asked, bool keep, duration stall) {
    stream_ = &stream;
    asked_ = &asked;
    stall_ = stall;
    is_head_ = asked.method() == "HEAD";
    speaks_1_1_ = asked.minor_version() >= 1;
    close_ = !keep;
    failure_ = {};
    to_->note_answer(false);
    start_again();
  }
  // Between connections: small buffers are kept.
  void release() noexcept {
    if (body_.capacity() > kept_at_most) body_ = std::string();
    heir_.reset();
  }
  // Forgets what a handler has prepared. Requires: nothing of it was sent.
  void start_again() {
    heir_.reset();
    status_ = 200;
    reason_.clear();
    fields_.clear();
    type_.clear();
    body_.clear();
    if (EVENTER_UNLIKELY(body_.capacity() > kept_at_most)) body_ = std::string();
    length_ = written_ = 0;
    begun_ = has_length_ = head_sent_ = ended_ = is_chunked_ = false;
    drops_body_ = is_head_;
  }
  // Whether the handler has said anything at all.
  bool begun() const noexcept { return begun_ || head_sent_; }
  bool ends_connection() const noexcept { return close_ || failure_; }
  // Its handler has broken it, not the connection: answers before it are to arrive.
  bool was_cut() const noexcept {
    return failure_ && (failure_ == errc::wrong_length || failure_ == std::errc::connection_aborted);
  }
  bool was_upgraded() const noexcept { return status_ == 101; }
  bool has_heir() const noexcept { return heir_ != nullptr; }
  io_result<void> send_upgrade_for_heir() { return send_upgrade(protocol_); }
  std::unique_ptr<heir> take_heir() {
    heir_->take(std::move(*stream_), take_received());
    return std::move(heir_);
  }
  std::string take_received() {
    std::string result;
    while (!received_->empty()) {
      result.append(received_->view());
      received_->consume(received_->view().size());
    }
    return result;
  }
  // The head is sent, and what it promises will not come: the client sees that by the connection's end.
  void cut() {
    if (ended_) return;
    (void)to_->send(stall_);
    (void)fail(std::make_error_code(std::errc::connection_aborted));
    ended_ = true;
  }

  bool can_upgrade(std::string_view protocol) const noexcept {
    // Which must not be taken for the other protocol. Content-Length: 0 announces none.
    const bool has_body =
        asked_->body() != body_kind::none && !(asked_->body() == body_kind::length && asked_->content_length() == 0);
    return !head_sent_ && !ended_ && !has_body && asked_->wants_upgrade() && asked_->has_token("upgrade", protocol);
  }
  io_result<void> send_upgrade(std::string_view protocol) {
    head_sent_ = ended_ = close_ = true;
    status_ = 101;
    std::string& head = to_->bytes();
    head.append("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ").append(protocol);
    head.append("\r\n").append(fields_.lines()).append("\r\n");
    const auto done = sent(to_->send(stall_));
    if (done) stream_->end_request();  // what is a request from now on is its new owner's to say
    return done;
  }
  EVENTER_NOINLINE void disinherit() noexcept {
    heir_.reset();
    ended_ = false;
  }

  void has_body(std::string_view type) {
    detail::fields::check("Content-Type", type);
    type_.assign(type);
    begun_ = true;
  }
  // Whether the field is one that says how the answer ends; then it is dealt with.
  bool is_about_framing(std::string_view name, std::string_view value) {
    using detail::equals_any_case;
    if (name.size() == 17 && equals_any_case(name, "transfer-encoding"))
      detail::refuse_argument("Transfer-Encoding can't be set: write() sends chunks where they are needed");
    if (name.size() == 14 && equals_any_case(name, "content-length")) {
      std::uint64_t bytes = 0;
      const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), bytes);
      if (error != std::errc() || end != value.data() + value.size())
        detail::refuse_argument("Content-Length is a number of bytes, and this is " + eventer::detail::quoted(value));
      content_length(bytes);
      return true;
    }
    if (name.size() == 10 && equals_any_case(name, "connection")) {
      if (!equals_any_case(value, "close"))
        detail::refuse_argument("of Connection only \"close\" can be set: the library does the rest");
      close_ = true;
      return true;
    }
    return false;
  }

  // See file_answer.hpp.
  io_result<void> send_examined(const std::shared_ptr<detail::served_file>& opened, std::string_view name,
                                const file_options& with);
  void refuse_range(std::uint64_t size, const file_options& with);
  void leave_content_out();
  io_result<void> send_whole(detail::served_file& file, std::string_view name, const file_options& with);
  io_result<void> send_ranges(detail::served_file& file, std::string_view name, const byte_ranges& asked,
                              const file_options& with);
  // How a file begins that can be read: see begin_reading().
  struct file_start {
    std::string_view piece;           // in the loop's scratch buffer, or the file's own
    std::uint64_t brought_in_to = 0;  // where the kernel sends it
  };
  file_start begin_reading(detail::served_file& file, const byte_range& part, std::string_view name,
                           const file_options& with);
  bool goes_by_kernel(const byte_range& part) const noexcept;
  io_result<void> write_from(detail::served_file& file, byte_range part, const file_options& with, file_start start);
  io_result<void> cut_short(const detail::served_file& file);

  void begin_pieces() {
    if (has_no_body(status_))
      write_head();
    else if (has_length_)
      write_head_of(length_);
    else if (speaks_1_1_)
      is_chunked_ = true, write_head("Transfer-Encoding: chunked\r\n");
    else
      close_ = true, write_head();  // the connection's end is the answer's
  }
  // What was given as a whole, as a piece.
  io_result<void> write_prepared() {
    if (EVENTER_LIKELY(body_.empty())) return {};
    const std::string prepared = std::exchange(body_, {});
    return write(prepared);
  }
  void complete() {
    if (head_sent_) (void)write_prepared();
    if (!head_sent_) {
      if (has_no_body(status_)) {
        write_head();
      } else {
        write_head_of(is_head_ && has_length_ && body_.empty() ? length_ : body_.size());
        if (!drops_body_ && body_.size() <= copied_at_most)
          to_->bytes().append(body_);
        else if (!drops_body_)
          (void)sent(to_->send(body_, stall_));
      }
    } else if (is_chunked_ && !drops_body_) {
      to_->bytes().append("0\r\n\r\n");
    } else if (has_length_ && !drops_body_ && written_ != length_) {
      (void)fail(make_error_code(errc::wrong_length));
    }
    ended_ = true;
  }
  void write_head_of(std::uint64_t bytes) {
    char line[48] = "Content-Length: ";
    char* const end = std::to_chars(line + 16, line + 44, bytes).ptr;
    end[0] = '\r', end[1] = '\n';
    write_head({line, static_cast<std::size_t>(end + 2 - line)});
  }
  void write_head(std::string_view framing = {}) {
    head_sent_ = true;
    to_->note_answer(true);
    if (has_no_body(status_)) drops_body_ = true;
    if (EVENTER_UNLIKELY(stream_->draining())) close_ = true;
    std::string& head = to_->bytes();
    if (EVENTER_LIKELY(status_ == 200 && reason_.empty())) {
      head.append("HTTP/1.1 200 OK\r\n");
    } else {
      head.append("HTTP/1.1 ").append(std::to_string(status_)).append(1, ' ');
      head.append(reason_.empty() ? reason_phrase(status_) : std::string_view(reason_));
      head.append("\r\n");
    }
    if (!fields_.has("date")) head.append("Date: ").append(detail::date_now()).append("\r\n");
    head.append(fields_.lines());
    if (!type_.empty() && !fields_.has("content-type")) head.append("Content-Type: ").append(type_).append("\r\n");
    head.append(framing);
    if (close_)
      head.append("Connection: close\r\n");
    else if (!speaks_1_1_)
      head.append("Connection: keep-alive\r\n");
    if (EVENTER_UNLIKELY(fields_.has("upgrade"))) head.append("Connection: Upgrade\r\n");  // RFC 9110 7.8
    head.append("\r\n");
  }
  io_result<void> write_chunk(std::string_view bytes) {
    char line[24];
    char* const end = std::to_chars(line, line + 20, bytes.size(), 16).ptr;
    end[0] = '\r', end[1] = '\n';
    to_->bytes().append(line, end + 2);
    if (bytes.size() <= copied_at_most) {
      to_->bytes().append(bytes).append("\r\n");
      return sent(to_->send(stall_));
    }
    if (const auto most = sent(to_->send(bytes, stall_)); !most) return most;
    to_->bytes().append("\r\n");
    return sent(to_->send(stall_));
  }

  io_result<void> sent(std::error_code failure) { return failure ? fail(failure) : io_result<void>(); }
  std::error_code fail(std::error_code why) noexcept {
    to_->drop();
    return failure_ = why;
  }

  static constexpr std::size_t copied_at_most = 16 << 10;
  static constexpr std::size_t kept_at_most = 16 << 10;

  detail::input* received_;
  detail::output* to_;
  any_stream* stream_ = nullptr;
  const request_head* asked_ = nullptr;
  duration stall_{};
  int status_ = 200;
  bool begun_ : 1 = false;       // the handler has said something
  bool has_length_ : 1 = false;  // length_ is what the handler has announced
  bool head_sent_ : 1 = false;
  bool ended_ : 1 = false;
  bool is_chunked_ : 1 = false;
  bool close_ : 1 = false;
  bool is_head_ : 1 = false;  // asked for by HEAD
  bool drops_body_ : 1 = false;
  bool speaks_1_1_ : 1 = true;
  std::uint64_t length_ = 0, written_ = 0;
  std::error_code failure_;
  detail::fields fields_;
  std::string reason_;  // of the status, where it is not the usual one
  std::string type_, body_;
  std::unique_ptr<heir> heir_;  // while the status is 101, and nothing is sent
  std::string protocol_;        // that it speaks
};

}  // namespace eventer::inline EVENTER_ABI::http
