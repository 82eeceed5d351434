// client_request: what is asked of a server. A method, a URL, fields, and a body: whole, or made while it is sent.
//
//   http::client_request ask("PUT", "http://127.0.0.1:8080/notes/7");
//   ask.header("If-Match", "\"3\"").body("text/plain", "remember the milk");
//   const auto answer = client.send(std::move(ask));
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "eventer/base/result.hpp"
#include "eventer/http/client_options.hpp"
#include "eventer/http/fields.hpp"
#include "eventer/http/target_form.hpp"

namespace eventer::inline EVENTER_ABI::http {

namespace detail {
class client_exchange;
}

// Where a body goes that is made while it is sent. Used by the function that makes it, and in its coroutine.
class body_writer {
 public:
  body_writer(const body_writer&) = delete;
  body_writer& operator=(const body_writer&) = delete;

  // Completes: when the kernel has taken them, so that a slow server slows down who writes. Errors: timed_out where it
  // takes nothing for client_options::send_stall, after total_time, and behind the end of a deadline_scope;
  // http::errc::wrong_length for more than was announced; operation_canceled where the server has answered already, and
  // wants no more: return, and send() gives its answer. Over TLS that is seen only when sending fails, and by nobody
  // who waits for something else than this. The stream's. After an error it stays with that.
  virtual io_result<void> write(std::string_view bytes) = 0;

 protected:
  body_writer() = default;
  ~body_writer() = default;
};

namespace detail {

class body_source {
 public:
  virtual ~body_source() = default;
  virtual void write_to(body_writer& out) = 0;
};
template <class F>
class body_from_function final : public body_source {
 public:
  explicit body_from_function(F&& function) : function_(std::forward<F>(function)) {}
  void write_to(body_writer& out) override { function_(out); }

 private:
  std::decay_t<F> function_;
};

}  // namespace detail

struct body_options {
  std::optional<std::uint64_t> length = {};  // of exactly so many bytes; else in chunks
  bool repeatable = false;                   // the function can be called again, for the same bytes
};

// Bad names and values throw std::invalid_argument; a bad URL is an error of send().
class client_request {
 public:
  client_request(std::string_view method, std::string_view url) : method_(method), url_(url) {
    if (method.empty() || !detail::is_all(detail::http_class::token, method) || method == "CONNECT")
      detail::refuse_argument("the method of a request is a word such as GET, but not CONNECT, and this is " +
                              eventer::detail::quoted(method));
  }

  // Sets a field, in the place of those of that name; Host too, where another one than the URL's is to be asked for.
  // How the body ends and the connection goes on are the library's matter: those fields are refused.
  client_request& header(std::string_view name, std::string_view value) {
    check(name, value);
    fields_.remove(name);
    fields_.add(name, value);
    return *this;
  }
  // Adds one, beside those of that name.
  client_request& add_header(std::string_view name, std::string_view value) {
    check(name, value);
    fields_.add(name, value);
    return *this;
  }

  // A whole body. An empty type sets no Content-Type.
  client_request& body(std::string_view type, std::string bytes) {
    if (!type.empty()) header("Content-Type", type);
    body_ = std::move(bytes);
    source_ = nullptr;
    has_body_ = true;
    return *this;
  }
  // One that `function(http::body_writer&)` writes, in the coroutine that sends, while it is sent.
  template <class F>
  requires std::is_invocable_v < std::decay_t<F>
  &, body_writer& > client_request& body_from(F&& function, const body_options& with = {}) {
    source_ = std::make_unique<detail::body_from_function<F>>(std::forward<F>(function));
    length_ = with.length;
    source_repeatable_ = with.repeatable;
    has_body_ = true;
    return *this;
  }
  // Asks the server before the body is sent (100-continue).
  client_request& expect_continue(bool on = true) noexcept {
    expects_continue_ = on;
    return *this;
  }
  // Whether the request may be sent twice, where a connection that was kept turns out to be closed and no byte of an
  // answer has come. GET, HEAD, PUT, DELETE, OPTIONS and TRACE may where nothing is said.
  client_request& may_repeat(bool on) noexcept {
    may_repeat_ = on;
    return *this;
  }
  // In the place of the client's; for the time zero is none.
  client_request& total_time(duration limit) noexcept {
    total_time_ = limit;
    return *this;
  }
  client_request& redirects(unsigned most) noexcept {
    redirects_ = most;
    return *this;
  }
  client_request& body_limit(std::uint64_t bytes) noexcept {
    body_limit_ = bytes;
    return *this;
  }
  client_request& apply(const request_options& with) {
    for (const auto& [name, value] : with.headers) add_header(name, value);
    if (with.total_time) total_time_ = with.total_time;
    if (with.redirects) redirects_ = with.redirects;
    if (with.body) body_limit_ = with.body;
    return *this;
  }

  std::string_view method() const noexcept { return method_; }
  std::string_view url() const noexcept { return url_; }

 private:
  friend class detail::client_exchange;
  friend class client;

  static void check(std::string_view name, std::string_view value) {
    for (const std::string_view own : {"Content-Length", "Transfer-Encoding", "Connection", "Keep-Alive", "TE",
                                       "Trailer", "Upgrade", "Expect", "Proxy-Connection"})
      if (detail::equals_any_case(name, own))
        detail::refuse_argument("the field " + std::string(own) +
                                " of a request is the library's to set: see body, body_from and expect_continue");
    if (detail::equals_any_case(name, "Host") && !detail::http_authority::is_valid(value))
      detail::refuse_argument("a Host that is no host: " + eventer::detail::quoted(value));
  }
  bool is_repeatable() const noexcept {
    if (may_repeat_) return *may_repeat_;
    for (const std::string_view each : {"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"})
      if (method_ == each) return true;
    return false;
  }
  // Whether there is a body that can't be sent again.
  bool is_body_gone() const noexcept { return source_ != nullptr && source_begun_ && !source_repeatable_; }
  void become_get() {
    if (method_ != "HEAD") method_ = "GET";
    has_body_ = expects_continue_ = false;
    source_ = nullptr;
    body_.clear();
    for (const char* const each : {"Content-Type", "Content-Encoding", "Content-Language", "Content-Location"})
      fields_.remove(each);
  }

  std::string method_, url_, body_;
  detail::fields fields_;
  std::unique_ptr<detail::body_source> source_;
  std::optional<std::uint64_t> length_;  // of what it writes
  bool has_body_ = false, source_repeatable_ = false, source_begun_ = false, expects_continue_ = false;
  std::optional<bool> may_repeat_;
  std::optional<duration> total_time_;
  std::optional<unsigned> redirects_;
  std::optional<std::uint64_t> body_limit_;
};

}  // namespace eventer::inline EVENTER_ABI::http
