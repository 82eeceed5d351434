// client_exchange: one request and its answer, on one connection after another until there is one. It lies on the heap:
// the loop and the answer's reader reach it.
//
// An answer may begin while the request is still sent. One of 300 and above, and one behind which the server closes,
// say that the rest is not wanted (RFC 9112 9.5); beside every other the request is sent to its end.
//
// What must not be broken: a connection goes back to the pool only where the whole request was sent, the whole answer
// was read, and nothing has come behind it; and a request is sent a second time only where the first can't have been
// answered, and may be repeated.
#pragma once

#include <sys/socket.h>

#include <cerrno>
#include <charconv>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "eventer/coro/when.hpp"
#include "eventer/http/answer_head.hpp"
#include "eventer/http/body_reader.hpp"
#include "eventer/http/client_pool.hpp"
#include "eventer/http/client_request.hpp"
#include "eventer/http/input.hpp"

namespace eventer::inline EVENTER_ABI::http::detail {

class client_exchange final : body_writer {
 public:
  client_exchange(client_pool& pool, url to, const client_request& request, time_point deadline)
      : pool_(pool.shared_from_this()),
        settings_(pool.settings()),
        to_(std::move(to)),
        lease_(std::make_unique<client_pool::lease>(pool, to_.origin())),
        in_owned_(pool.take_buffers()),
        in_(*in_owned_),
        body_(in_, nullptr),
        deadline_(deadline),
        to_head_(request.method_ == "HEAD"),
        body_limit_(request.body_limit_.value_or(settings_.options.body)) {}

  client_exchange(const client_exchange&) = delete;
  client_exchange& operator=(const client_exchange&) = delete;
  ~client_exchange() { pool_->give_back(std::move(in_owned_)); }

  // Any thread: whether all that is left of it may be done here. Without a connection that is so everywhere.
  bool is_at_home() const noexcept { return lease_ == nullptr || lease_->is_at_home(); }
  // Any thread but its loop's; see client_pool::lease.
  bool send_home(post_queue::message& what) noexcept { return lease_->send_home(what); }

  // Sends it and reads the answer's head. Errors: see client::send.
  std::error_code run(client_request& request) {
    const time_point queue_end = client_settings::end_of(settings_.options.queue_time, deadline_);
    if (const std::error_code error = lease_->wait(queue_end)) return error;
    for (bool is_first = true;; is_first = false) {
      if (const std::error_code error = lease_->connect(to_, !is_first, deadline_)) return error;
      const std::error_code error = ask(request);
      if (!error) return begin_body();
      const bool repeats = is_first && may_repeat(request, error);
      lease_->close();
      if (!repeats) return error;
    }
  }

  const answer_head& head() const noexcept { return head_; }
  const url& where() const noexcept { return to_; }
  body_reader& body() noexcept { return body_; }
  std::uint64_t body_limit() const noexcept { return body_limit_; }
  bool request_was_sent() const noexcept { return state_.sent; }

  // Before each read of the body.
  void check_home() const {
    if (EVENTER_UNLIKELY(!is_at_home()))
      broken_rule(
          "the body of an http::client_response is read outside of the loop whose coroutine has asked for it, or behind "
          "that loop's end: read it there, and hand on what was read");
  }
  // After each read of the body: at its end, or after an error, nobody needs the connection here any more.
  void look_at_end() {
    if (lease_ == nullptr) return;
    if (body_.ended() && is_reusable_ && in_.empty()) lease_->give_back(server_idle());
    if (body_.ended() || body_.failure()) lease_.reset();
  }
  // The rest of the answer is not wanted. Never waits, and reads nothing: only what has come with the head can be the
  // rest of it.
  void drop_rest() noexcept {
    if (lease_ == nullptr) return;
    if (is_reusable_ && body_.drop_what_came() && in_.empty()) lease_->give_back(server_idle());
    lease_.reset();
  }

 private:
  static constexpr unsigned interim_at_most = 20;
  static constexpr std::size_t written_with_head = 16 << 10;

  any_stream& stream() const noexcept { return lease_->connection().stream(); }

  // --- one try ---

  std::error_code ask(client_request& request) {
    in_.reset();
    interims_ = 0;
    state_ = {};
    write_head(request);
    std::error_code error;
    if (!request.has_body_ || (request.source_ == nullptr && !request.expects_continue_)) {
      // In one piece mostly: a server that has to wait for the body answers later.
      const std::string_view body = request.has_body_ ? std::string_view(request.body_) : std::string_view();
      const std::string_view with_head = body.size() <= written_with_head ? body : std::string_view();
      out_.append(with_head);
      error = put(out_);
      if (!error) error = put(body.substr(with_head.size()));
    } else {
      error = put(out_);
      if (!error && request.expects_continue_) error = wait_for_leave();
      if (!error && !state_.refused) error = send_body(request);
    }
    if (!error) {
      state_.sent = !state_.refused;
      return state_.answered ? std::error_code() : read_final_head(head_end());
    }
    // It may have said why it takes no more. What it has answered as if it took everything is none of this request.
    if (state_.answered || error == std::errc::operation_canceled || error.category() == http_category()) return error;
    return !read_final_head(scheduler::current()->now()) && state_.refused ? std::error_code() : error;
  }
  bool may_repeat(const client_request& request, const std::error_code& error) const {
    return lease_->connection().is_reused() && is_connection_lost(error) && !state_.heard && request.is_repeatable() &&
           !request.is_body_gone();
  }
  // The server's end, or the network's: whatever the stream has said, TLS's words among them.
  static bool is_connection_lost(const std::error_code& error) noexcept {
    if (error == make_error_code(errc::no_answer)) return true;
    return error.category() != http_category() && error != std::errc::timed_out &&
           error != std::errc::operation_canceled && error != eventer::errc::closed;
  }
  time_point head_end() const { return client_settings::end_of(settings_.options.head_time, deadline_); }

  // --- the request ---

  void write_head(const client_request& request) {
    out_.clear();
    out_.append(request.method_).append(1, ' ').append(to_.target()).append(" HTTP/1.1\r\n");
    if (!request.fields_.has("Host")) out_.append("Host: ").append(to_.authority()).append("\r\n");
    const std::string& agent = settings_.options.user_agent;
    if (!agent.empty() && !request.fields_.has("User-Agent")) out_.append("User-Agent: ").append(agent).append("\r\n");
    out_.append(request.fields_.lines());
    if (request.has_body_) {
      if (request.source_ == nullptr)
        write_length(request.body_.size());
      else if (request.length_)
        write_length(*request.length_);
      else
        out_.append("Transfer-Encoding: chunked\r\n");
      if (request.expects_continue_) out_.append("Expect: 100-continue\r\n");
    } else if (request.method_ == "POST" || request.method_ == "PUT" || request.method_ == "PATCH") {
      write_length(0);  // RFC 9110 8.6
    }
    out_.append("\r\n");
  }
  void write_length(std::uint64_t bytes) {
    out_.append("Content-Length: ").append(std::to_string(bytes)).append("\r\n");
  }

  std::error_code send_body(client_request& request) {
    if (request.source_ == nullptr) return put(request.body_);
    request.source_begun_ = true;
    is_chunked_ = !request.length_;
    left_ = request.length_.value_or(0);
    request.source_->write_to(*this);
    if (state_.write_failure) return state_.refused ? std::error_code() : state_.write_failure;
    if (is_chunked_) return put("0\r\n\r\n");
    return left_ == 0 ? std::error_code() : make_error_code(errc::wrong_length);
  }
  // For the body's source.
  io_result<void> write(std::string_view bytes) override {
    if (!state_.write_failure) state_.write_failure = listen();  // who makes pieces slowly never fills the pipe
    if (!state_.write_failure && !bytes.empty()) state_.write_failure = write_piece(bytes);
    if (!state_.write_failure && state_.refused) state_.write_failure = make_error_code(eventer::errc::canceled);
    return io_result<void>(state_.write_failure);
  }
  std::error_code write_piece(std::string_view bytes) {
    if (state_.refused) return {};
    if (!is_chunked_) {
      if (bytes.size() > left_) return make_error_code(errc::wrong_length);
      left_ -= bytes.size();
      return put(bytes);
    }
    char size[20];
    const auto [end, error] = std::to_chars(size, size + sizeof size, bytes.size(), 16);
    out_.assign(size, static_cast<std::size_t>(end - size)).append("\r\n");
    if (bytes.size() <= written_with_head) {
      out_.append(bytes).append("\r\n");
      return put(out_);
    }
    if (const std::error_code failed = put(out_)) return failed;
    if (const std::error_code failed = put(bytes)) return failed;
    return put("\r\n");
  }

  // Writes it all, unless an answer comes first that says that the rest is not wanted. It is looked for behind each
  // part that the kernel has taken, and while there is no room to write.
  std::error_code put(std::string_view bytes) {
    while (!bytes.empty() && !state_.refused) {
      scheduler& here = *scheduler::current();
      if (here.count_operation())
        if (const std::error_code error = here.let_others_run()) return error;
      const time_point end = here.within_scope(deadline_);  // also where the server takes everything at once
      if (end != no_deadline && here.now() >= end) return make_error_code(eventer::errc::timed_out);
      descriptor* const file = stream().file();
      if (file == nullptr || !file->is_usable()) return make_error_code(eventer::errc::closed);
      const auto tried = eventer::detail::try_write(*file, bytes.data(), bytes.size());
      if (tried.is_done()) {
        bytes.remove_prefix(tried.value());
        if (bytes.empty()) break;
        if (const std::error_code error = listen()) return error;
        continue;
      }
      if (tried.is_final()) return eventer::detail::error_of(*file, tried);
      if (const std::error_code error = write_or_listen(bytes)) return error;
    }
    return {};
  }
  std::error_code write_or_listen(std::string_view& bytes) {
    const time_point end = client_settings::end_of(settings_.options.send_stall, deadline_);
    if (!can_listen()) {
      const auto written = stream().write_some(bytes, end);
      if (!written) return written.error();
      bytes.remove_prefix(*written);
      return {};
    }
    if (heard_ == nullptr) heard_ = std::make_unique<char[]>(heard_at_once);
    try {
      auto first = when_any(stream().async_write_some(bytes, end),
                            stream().async_read_some(buffer(heard_.get(), heard_at_once), end));
      if (first.index == 0) {
        const auto& written = std::get<0>(first.results);
        if (!written) return written.error();
        bytes.remove_prefix(*written);
        return {};
      }
      const auto& got = std::get<1>(first.results);
      return got ? take_heard(*got) : take_end(got.error());
    } catch (const std::system_error& failure) {  // at the end of a deadline_scope, which for others is a result
      return failure.code();
    }
  }

  // --- what the server says while the request is sent ---

  // Not over TLS, which can't leave a record half written and go on later. Behind the head of an answer only so much is
  // kept; a server that wants it read before it reads on is left to send_stall.
  bool can_listen() const noexcept {
    return !state_.has_ended && stream().file()->other() == nullptr && in_.size() < heard_at_most;
  }
  // Takes what has come, and never waits.
  std::error_code listen() {
    descriptor* const file = stream().file();
    if (file == nullptr || !file->is_usable()) return make_error_code(eventer::errc::closed);
    if (!can_listen()) return {};
    // Only the loop's events take back what is known; before the file is registered there are none.
    const bool is_registered = file->loop() != nullptr;
    if (is_registered && file->known_empty()) return {};
    if (heard_ == nullptr) heard_ = std::make_unique<char[]>(heard_at_once);
    const ssize_t got = syscalls::recv(file->fd(), heard_.get(), heard_at_once, MSG_DONTWAIT);
    if (got > 0) return take_heard(static_cast<std::size_t>(got));
    if (got == 0) return take_end(make_error_code(eventer::errc::end_of_stream));
    if (errno == EINTR) return {};
    if (!eventer::detail::would_block(errno)) return take_end(error_from_errno(errno));
    if (is_registered) file->note_read_would_block();
    return {};
  }
  std::error_code take_heard(std::size_t size) {
    state_.heard = true;
    if (state_.answered) {
      in_.append_body({heard_.get(), size});
      return {};
    }
    in_.append({heard_.get(), size});
    return look_for_answer();
  }
  // Behind an answer the end of the server's side says nothing about the other one.
  std::error_code take_end(std::error_code how) {
    if (!state_.answered) return without_answer(how);
    state_.has_ended = true;
    return how == eventer::errc::end_of_stream ? std::error_code() : how;
  }
  std::error_code without_answer(std::error_code how) const noexcept {
    if (how != eventer::errc::end_of_stream) return how;
    return make_error_code(state_.heard ? errc::answer_cut_off : errc::no_answer);
  }

  // --- the answer's head ---

  // Whether the final one is there; those before it are taken.
  std::error_code look_for_answer() {
    for (;;) {
      const answer_scanner::state state = scanner_.scan(in_.view(), settings_.bounds);
      if (state == answer_scanner::state::incomplete) return {};
      if (state == answer_scanner::state::refused) return refused(scanner_.why());
      const std::size_t size = scanner_.size();
      scanner_.reset();
      in_.consume(size);
      if (const refusal why = head_.parse({in_.head(), size}, to_head_)) return refused(why);
      if (head_.status() == 101) return make_error_code(errc::bad_answer);  // nobody has asked for another protocol
      if (!head_.is_interim()) {
        state_.answered = true;
        state_.refused = head_.status() >= 300 || !head_.keep_alive();
        return {};
      }
      if (++interims_ > interim_at_most) return make_error_code(errc::bad_answer);
      if (head_.status() == 100) state_.may_go_on = true;
      in_.begin_request();
    }
  }
  static std::error_code refused(const refusal& why) noexcept {
    return make_error_code(why.status == 431 ? errc::head_too_large : errc::bad_answer);
  }
  std::error_code read_final_head(time_point end) {
    for (;;) {
      if (const std::error_code error = look_for_answer()) return error;
      if (state_.answered) return {};
      if (const auto got = in_.read_head(stream(), end); !got) return without_answer(got.error());
      state_.heard = true;
    }
  }
  // For 100 (Continue), or an answer without it; no longer than continue_time, after which the body is sent.
  std::error_code wait_for_leave() {
    const time_point end = client_settings::end_of(settings_.options.continue_time, deadline_);
    while (!state_.answered && !state_.may_go_on) {
      const auto got = in_.read_head(stream(), end);
      if (!got && got.error() == std::errc::timed_out) {
        const scheduler& here = *scheduler::current();
        const time_point now = here.now();
        return now >= end && now < here.within_scope(deadline_) ? std::error_code() : got.error();
      }
      if (!got) return without_answer(got.error());
      state_.heard = true;
      if (const std::error_code error = look_for_answer()) return error;
    }
    return {};
  }

  // --- its body ---

  std::error_code begin_body() {
    is_reusable_ = state_.sent && head_.keep_alive();
    body_.begin(stream(), head_, settings_.bounds, deadline_);
    look_at_end();
    return {};
  }
  // "Keep-Alive: timeout=5": a second less, so that the server's end does not meet the next request.
  duration server_idle() const noexcept {
    const auto said = head_.find("Keep-Alive");
    if (!said) return duration::max();
    for (std::string_view list = *said; !list.empty();) {
      const std::string_view each = take_element(list);
      constexpr std::string_view name = "timeout=";
      unsigned seconds = 0;
      if (!equals_any_case(each.substr(0, name.size()), name)) continue;
      const auto [end, error] = std::from_chars(each.data() + name.size(), each.data() + each.size(), seconds);
      if (error == std::errc() && end == each.data() + each.size())
        return std::chrono::seconds(seconds > 0 ? seconds - 1 : 0);
    }
    return duration::max();
  }

  // Of one try.
  struct progress {
    bool sent = false;              // the whole request
    bool heard = false;             // a byte has come
    bool answered = false;          // head_ is the final answer's
    bool refused = false;           // and it says that no more of the request is wanted
    bool has_ended = false;         // the server will say no more
    bool may_go_on = false;         // it has said 100 (Continue)
    std::error_code write_failure;  // of the body's source
  };
  static constexpr std::size_t heard_at_once = 4 << 10;
  static constexpr std::size_t heard_at_most = 256 << 10;

  const std::shared_ptr<client_pool> pool_;
  const client_settings& settings_;
  const url to_;
  std::unique_ptr<client_pool::lease> lease_;
  std::unique_ptr<input> in_owned_;
  input& in_;
  std::string out_;
  answer_scanner scanner_;
  answer_head head_;
  body_reader body_;
  const time_point deadline_;
  const bool to_head_;
  const std::uint64_t body_limit_;
  progress state_;
  unsigned interims_ = 0;
  bool is_chunked_ = false, is_reusable_ = false;
  std::uint64_t left_ = 0;         // of a request's body whose length was announced
  std::unique_ptr<char[]> heard_;  // while a request is sent
};

}  // namespace eventer::inline EVENTER_ABI::http::detail
