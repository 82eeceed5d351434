// client_response: what a server has answered. Its head is there; its body comes when it is read.
//
//   auto answer = http::get("http://127.0.0.1:8080/notes");
//   if (answer && answer->ok()) use(answer->body().value());
//
// A handle to what lies on the heap, to be moved. It holds a connection until its body is read, or it is dropped; with
// the body unread the connection is closed, unless all of it came with the head.
//
// It belongs to the loop whose coroutine has asked: the body is read there, and while that loop lives; whoever does it
// elsewhere ends the process with a sentence. Its head, and a body that body() has given already, may be looked at by
// any thread that has it, and it may be dropped on any thread, at any time.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "eventer/http/client_exchange.hpp"
#include "eventer/http/value.hpp"

namespace eventer::inline EVENTER_ABI::http {

class client_response {
 public:
  client_response(client_response&&) noexcept = default;
  client_response& operator=(client_response&& other) noexcept {
    if (this == &other) return *this;
    drop();
    state_ = std::move(other.state_);
    return *this;
  }
  ~client_response() { drop(); }

  int status() const noexcept { return head().status(); }
  bool ok() const noexcept { return status() >= 200 && status() < 300; }
  // What the server has put behind the number; may be empty.
  std::string_view reason() const noexcept { return head().reason(); }
  unsigned minor_version() const noexcept { return head().minor_version(); }
  // Whom it came from, after all redirects.
  const http::url& url() const noexcept { return state_->exchange.where(); }

  // False: the server has answered before it had taken all of the request, and wanted no more of it. Then the status is
  // 300 or above, or the server closes behind its answer.
  bool request_was_sent() const noexcept { return state_->exchange.request_was_sent(); }

  // The first field of that name, in any case. All views are valid as long as the response, wherever it is moved.
  value header(std::string_view name) const noexcept {
    const auto found = head().find(name);
    return found ? value(*found) : value();
  }
  std::size_t header_count() const noexcept { return head().field_count(); }
  // In the order in which they were sent. Requires: i < header_count().
  header_field header(std::size_t i) const noexcept { return head().field(i); }
  // Whether a field that is a list names `token`: has_token("Vary", "accept").
  bool has_token(std::string_view name, std::string_view token) const noexcept { return head().has_token(name, token); }
  // Bytes, where the server has said how many; nothing for chunks, and for bodies that end with the connection.
  std::optional<std::uint64_t> content_length() const noexcept {
    if (head().body() == body_kind::none) return 0;
    return head().body() == body_kind::length ? std::optional(head().content_length()) : std::nullopt;
  }

  // --- the body. Requires: on its loop, in a coroutine. ---

  // All that was not read yet. Errors: body_too_large beyond client_options::body, at once where it is announced;
  // http::errc::bad_body, body_cut_off; timed_out when the server pauses longer than client_options::body_idle, or
  // after total_time or the end of a deadline_scope, however fast bytes come; the stream's. A second call gives the
  // same.
  io_result<std::string_view> body() {
    if (state_->is_whole) return std::string_view(state_->text);
    detail::client_exchange& exchange = state_->exchange;
    exchange.check_home();
    if (head().body() == body_kind::length && exchange.body().left() > exchange.body_limit())
      return make_error_code(errc::body_too_large);
    const std::error_code failure = exchange.body().read_all(state_->text, exchange.body_limit());
    exchange.look_at_end();
    if (failure) return failure;
    state_->is_whole = true;
    return std::string_view(state_->text);
  }
  // The next bytes, at least one, as they come; who reads slowly slows down the server. Errors: end_of_stream at the
  // body's end; otherwise as body(), but for the size.
  io_result<std::size_t> read_some(buffer into) {
    state_->exchange.check_home();
    const auto got = state_->exchange.body().read_some(into);
    state_->exchange.look_at_end();
    return got;
  }
  // The same where they lie: valid until the next call.
  io_result<std::string_view> read_piece() {
    state_->exchange.check_home();
    const auto got = state_->exchange.body().next();
    state_->exchange.look_at_end();
    return got;
  }
  // Whether all of it was read: the next read answers end_of_stream.
  bool ended() const noexcept { return state_->exchange.body().is_used_up(); }

 private:
  friend class client;

  // A message to its loop, by which it gets home from other threads.
  struct state : post_queue::message {
    template <class... Arguments>
    explicit state(std::shared_ptr<detail::client_pools> of, Arguments&&... arguments)
        : owner(std::move(of)), exchange(std::forward<Arguments>(arguments)...) {
      finish = [](message* self, bool) { delete static_cast<state*>(self); };
    }
    const std::shared_ptr<detail::client_pools> owner;  // the client lives as long as its answers
    detail::client_exchange exchange;
    std::string text;
    bool is_whole = false;
  };

  explicit client_response(std::unique_ptr<state> of) noexcept : state_(std::move(of)) {}
  const answer_head& head() const noexcept { return state_->exchange.head(); }
  void drop() noexcept {
    if (state_ == nullptr) return;
    if (state_->exchange.is_at_home()) return state_->exchange.drop_rest();
    state* const away = state_.release();
    if (!away->exchange.send_home(*away)) delete away;
  }

  std::unique_ptr<state> state_;
};

}  // namespace eventer::inline EVENTER_ABI::http
