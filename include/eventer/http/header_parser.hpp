// header_parser: Boost.Beast's parser (1.81 or newer) over one complete head, for which it says what lies where.
// It frames nothing and judges nothing: what it lets through (request_head says what) would be requests smuggled.
#pragma once

#include "eventer/base/config.hpp"

#if !__has_include(<boost/beast/http/basic_parser.hpp>)
#error "eventer/http needs Boost.Beast 1.81 or newer: on Debian apt-get install libboost-dev"
#endif

// Where Boost is no system header its warnings would be the user's.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wold-style-cast"
#pragma GCC diagnostic ignored "-Wpedantic"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#include <boost/beast/http/basic_parser.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/field.hpp>
#include <boost/beast/version.hpp>
#pragma GCC diagnostic pop

#if BOOST_BEAST_VERSION < 345
#error "eventer/http needs Boost.Beast 1.81 or newer (BOOST_BEAST_VERSION 345)"
#endif

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "eventer/http/refusal.hpp"

namespace eventer::inline EVENTER_ABI::http::detail {

using known_field = boost::beast::http::field;

// Sink: http::refusal on_field(known_field, std::string_view name, std::string_view value), where both lie in the head;
// and of a request void on_line(std::string_view method, std::string_view target), where they may lie elsewhere.
template <bool IsRequest, class Sink>
class header_parser final : public boost::beast::http::basic_parser<IsRequest> {
 public:
  // `line_size`: bytes of the request line, without its end; `minor`: of its version.
  static http::refusal parse_request(std::string_view head, std::size_t line_size, unsigned minor, Sink& into) {
    header_parser parser(into);
    if (minor <= 1) return parser.run({}, head);
    // Beast knows no HTTP/1.2, which is to be read as 1.1.
    std::string line(head.substr(0, line_size + 2));
    line[line_size - 1] = '1';
    return parser.run(line, head.substr(line_size + 2));
  }
  // What follows an answer's status line, which is the caller's to read: Beast wants a blank behind the status that
  // some servers leave out.
  static http::refusal parse_answer_fields(std::string_view fields, Sink& into) {
    if (fields == "\r\n") return {};
    header_parser parser(into);
    return parser.run("HTTP/1.1 200 OK\r\n", fields);
  }

 private:
  using base = boost::beast::http::basic_parser<IsRequest>;
  using view = boost::beast::string_view;
  using error_code = boost::beast::error_code;
  using error = boost::beast::http::error;
  static constexpr const char* malformed = IsRequest ? "a malformed request" : "a malformed head of an answer";

  explicit header_parser(Sink& into) : into_(into) {
    base::skip(true);  // the body is ours
    base::header_limit(UINT32_MAX);
  }

  http::refusal run(std::string_view line, std::string_view rest) {
    error_code failed;
    if (!line.empty()) {
      const std::size_t parsed = base::put({line.data(), line.size()}, failed);
      if (failed != error::need_more || parsed != line.size()) return refused(failed);
    }
    const std::size_t parsed = base::put({rest.data(), rest.size()}, failed);
    if (failed) return refused(failed);
    if (!base::is_done() || parsed != rest.size()) return {400, malformed};
    return {};
  }
  http::refusal refused(const error_code& failed) const noexcept {
    if (why_) return why_;
    if (failed == error::bad_content_length || failed == error::multiple_content_length)
      return {400, "a Content-Length that is repeated, is not one number, or comes with Transfer-Encoding"};
    if (failed == error::bad_transfer_encoding)
      return {400, "a Transfer-Encoding that goes on behind chunked, or comes with Content-Length"};
    if (failed == error::bad_value) return {400, "a Connection or Proxy-Connection field that is no list of tokens"};
    return {400, malformed};
  }

  void on_request_impl(boost::beast::http::verb, view method, view target, int, error_code&) override {
    if constexpr (IsRequest) into_.on_line({method.data(), method.size()}, {target.data(), target.size()});
  }
  void on_field_impl(known_field known, view name, view value, error_code& failed) override {
    why_ = into_.on_field(known, {name.data(), name.size()}, {value.data(), value.size()});
    if (why_) failed = error::bad_value;
  }
  // The status line is not looked at, and of bodies nothing comes here.
  void on_response_impl(int, view, int, error_code&) override {}
  void on_header_impl(error_code&) override {}
  void on_body_init_impl(const boost::optional<std::uint64_t>&, error_code&) override {}
  std::size_t on_body_impl(view body, error_code&) override { return body.size(); }
  void on_chunk_header_impl(std::uint64_t, view, error_code&) override {}
  std::size_t on_chunk_body_impl(std::uint64_t, view body, error_code&) override { return body.size(); }
  void on_finish_impl(error_code&) override {}

  Sink& into_;
  http::refusal why_;
};

template <class Sink>
using request_parser = header_parser<true, Sink>;
template <class Sink>
using answer_parser = header_parser<false, Sink>;

}  // namespace eventer::inline EVENTER_ABI::http::detail
