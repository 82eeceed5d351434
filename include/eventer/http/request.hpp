// request: what a client has asked for. It lies on the heap, with its head: references and views of it may be handed
// on, and hold until the handler has returned.
#pragma once

#include <chrono>
#include <cstdint>
#include <forward_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "eventer/http/body_reader.hpp"
#include "eventer/http/client_watch.hpp"
#include "eventer/http/cookies.hpp"
#include "eventer/http/query.hpp"
#include "eventer/http/request_head.hpp"
#include "eventer/http/route_match.hpp"
#include "eventer/http/target.hpp"
#include "eventer/http/value.hpp"

namespace eventer::inline EVENTER_ABI::http {

namespace detail {
class exchange;
}

class request {
 public:
  request(const request&) = delete;
  request& operator=(const request&) = delete;

  // --- the head ---

  std::string_view method() const noexcept { return head_.method(); }
  // As it was sent: "/notes/a%20b?page=2".
  std::string_view target() const noexcept { return head_.target(); }
  // Decoded, without dot segments: "/notes/a b". Only %2F and %25 stay encoded; see http/target.hpp.
  std::string_view path() const noexcept { return target_.path(); }
  std::string_view query_string() const noexcept { return target_.raw_query(); }
  // Whom it was sent to: "example.org:8080". What a client says; empty where it says nothing.
  std::string_view host() const noexcept { return head_.host(); }
  // 0 or 1: of HTTP/1.0 and 1.1.
  unsigned minor_version() const noexcept { return head_.minor_version() > 0 ? 1 : 0; }

  // The first field of that name, in any case.
  value header(std::string_view name) const noexcept {
    const auto found = head_.find(name);
    return found ? value(*found) : value();
  }
  std::size_t header_count() const noexcept { return head_.field_count(); }
  header_field header(std::size_t index) const noexcept { return head_.field(index); }
  // Whether a field that is a list names `token`: has_token("Accept-Encoding", "gzip").
  bool has_token(std::string_view name, std::string_view token) const noexcept { return head_.has_token(name, token); }

  // Of the query string, decoded; the first of that name.
  value query(std::string_view name) { return keep(query_view(query_string()).find(name)); }
  // All of it: for_each, find_all.
  query_view query() const noexcept { return query_view(query_string()); }
  // The first cookie of that name, as it was sent.
  value cookie(std::string_view name) const noexcept {
    const auto found = find_cookie(header("Cookie"), name);
    return found ? value(*found) : value();
  }

  // --- what its route has found ---

  // Of a regex: 0 is what it matched, then its groups. Of a template: its parameters, in order, from 1.
  value capture(std::size_t index) const noexcept {
    const std::string_view found = match_.capture(index);
    return found.data() != nullptr ? value(found) : value();
  }
  // {name} of a template or (?P<name>...) of a regex, decoded.
  value parameter(std::string_view name) { return keep(match_.parameter(name)); }

  // --- the body. Read in one way or the other; what nobody reads is dropped. ---

  // All that was not read yet. Completes: when it has come. Errors: http::errc::body_too_large, bad_body, body_cut_off;
  // timed_out when the client pauses longer than limits::body_idle; the stream's. The view is valid as long as the
  // request, and a second call gives the same.
  io_result<std::string_view> body() {
    if (EVENTER_UNLIKELY(!is_whole_)) {
      if (const std::error_code failure = body_.read_all(text_)) return failure;
      is_whole_ = true;
    }
    return std::string_view(text_);
  }
  // The next bytes, at least one. Errors: end_of_stream at the body's end; otherwise as body().
  io_result<std::size_t> read_some(buffer into) { return body_.read_some(into); }
  // The parameters of a body of type application/x-www-form-urlencoded, which is read for it: the first of that name.
  // Nothing where the body is of another type, or can't be read.
  value form(std::string_view name) {
    const auto bytes = form();
    return bytes ? keep(bytes->find(name)) : value();
  }
  // All of them. Errors: those of body(); http::errc::bad_body where the type is another one.
  io_result<query_view> form() {
    if (!is_form(header("Content-Type"))) return make_error_code(errc::bad_body);
    const auto bytes = body();
    if (!bytes) return bytes.error();
    return query_view(*bytes);
  }
  // Bytes, where the client has said how many; nothing for chunks.
  std::optional<std::uint64_t> content_length() const noexcept {
    if (head_.body() == body_kind::chunked) return std::nullopt;
    return head_.body() == body_kind::length ? head_.content_length() : 0;
  }

  // --- the connection ---

  // Who asks, as a PROXY header has announced it or as the kernel says.
  endpoint peer() const { return stream_->peer(); }
  any_stream& stream() noexcept { return *stream_; }
  // The server is about to end: begin nothing that lasts.
  bool draining() const noexcept { return stream_->draining(); }
  // Whether the connection is broken, so that nobody will read the answer. A client that has only finished sending is
  // not gone. Costs a system call: for handlers that work for seconds.
  bool client_gone() const noexcept { return detail::client_has_gone(*stream_); }

 private:
  friend class detail::exchange;

  request(detail::input& in, detail::output& out) noexcept : body_(in, &out) {}

  // For the next request.
  void begin(any_stream& from) noexcept {
    stream_ = &from;
    is_whole_ = false;
    text_.clear();
    if (EVENTER_UNLIKELY(text_.capacity() > kept_at_most)) text_ = std::string();
    if (EVENTER_UNLIKELY(!kept_.empty())) kept_.clear();
  }
  // Between connections: small buffers are kept.
  void release() noexcept {
    if (text_.capacity() > kept_at_most) text_ = std::string();
    kept_.clear();
  }
  // It could not be read.
  void forget() {
    head_ = request_head();
    target_ = http::target();
    match_ = route_match();
    body_.forget();
  }
  value keep(std::optional<std::string>&& text) {
    return text ? value(kept_.emplace_front(std::move(*text))) : value();
  }
  static bool is_form(std::string_view type) noexcept {
    constexpr std::string_view form = "application/x-www-form-urlencoded";
    return detail::equals_any_case(type.substr(0, form.size()), form) &&
           (type.size() == form.size() || type[form.size()] == ';' || type[form.size()] == ' ');
  }

  static constexpr std::size_t kept_at_most = 16 << 10;

  any_stream* stream_ = nullptr;
  request_head head_;
  http::target target_;
  route_match match_;
  detail::body_reader body_;
  bool is_whole_ = false;
  std::string text_;                     // the body, where all of it was asked for
  std::forward_list<std::string> kept_;  // what was decoded for the handler
};

}  // namespace eventer::inline EVENTER_ABI::http
