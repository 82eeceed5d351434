// What can go wrong while a handler reads a request or writes an answer, or while a client gets one: http::errc, beside
// the stream's own errors; and http::error, by which a handler answers with a status of its choice.
#pragma once

#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

#include "eventer/base/result.hpp"
#include "eventer/http/bad_argument.hpp"

namespace eventer::inline EVENTER_ABI::http {

enum class errc {
  body_too_large = 1,  // beyond the limit of the server, the route or the client; a server answers with 413
  bad_body,            // its framing can't be trusted, a chunk's size say; answered with 400
  body_cut_off,        // the peer has closed before the body's end
  answered,            // the answer has ended already: nothing can be added to it
  wrong_length,        // more or less was written than content_length() has said
  not_upgradable,      // the request does not ask for this protocol, or its answer has begun

  // Of clients.
  no_answer,           // the server has closed the connection before the first byte of an answer
  answer_cut_off,      // or within its head
  bad_answer,          // its head is none of HTTP/1, can be understood in two ways, or comes too often (1xx)
  head_too_large,      // beyond client_options::header_bytes or header_count
  too_many_redirects,  // more than client_options::redirects
  bad_redirect,        // to what is no URL
  insecure_redirect,   // from https to http
  no_tls,              // an https URL, and nobody has said how TLS is spoken
};

class EVENTER_API error_category final : public std::error_category {
 public:
  const char* name() const noexcept override { return "eventer.http"; }
  std::string message(int code) const override {
    switch (static_cast<errc>(code)) {
      case errc::body_too_large:
        return "the body is larger than the limit (limits::body of the server or the route, client_options::body of a client)";
      case errc::bad_body:
        return "the body is not framed as HTTP/1.1 says";
      case errc::body_cut_off:
        return "the peer has closed the connection before the end of the body that it was sending";
      case errc::answered:
        return "the answer has ended already";
      case errc::wrong_length:
        return "the bytes written are not as many as content_length() has said";
      case errc::not_upgradable:
        return "the request does not ask for this protocol, or its answer has begun already";
      case errc::no_answer:
        return "the server has closed the connection without an answer";
      case errc::answer_cut_off:
        return "the server has closed the connection within the head of its answer";
      case errc::bad_answer:
        return "what the server has sent is no answer of HTTP/1.0 or 1.1, or one that can be understood in two ways";
      case errc::head_too_large:
        return "the head of the server's answer is larger than the limit (client_options::header_bytes, header_count)";
      case errc::too_many_redirects:
        return "the answer is one more redirect than allowed (client_options::redirects)";
      case errc::bad_redirect:
        return "the server redirects to something that is no URL of http or https";
      case errc::insecure_redirect:
        return "the server redirects from https to http, which client_options::insecure_redirects would allow";
      case errc::no_tls:
        return "https needs TLS: include eventer/https_client.hpp, or give the client a tls::context";
    }
    return "unknown eventer.http error";
  }
};

EVENTER_API inline const std::error_category& http_category() noexcept {
  static const error_category& instance = *new error_category;
  return instance;
}
inline std::error_code make_error_code(errc code) noexcept { return {static_cast<int>(code), http_category()}; }

// The status that a handler's failure to read a body is answered with; 0 where an error says nothing about a request.
inline int status_of(std::error_code failure) noexcept {
  if (failure == make_error_code(errc::body_too_large)) return 413;
  if (failure == make_error_code(errc::bad_body) || failure == make_error_code(errc::body_cut_off)) return 400;
  return 0;
}

// Thrown by a handler, it is the answer: `throw http::error(404, "there is no such note\n")`.
class error : public std::runtime_error {
 public:
  // `status`: 200 to 599, otherwise std::invalid_argument.
  explicit error(int status, const std::string& text = {}) : std::runtime_error(text), status_(status) {
    if (status < 200 || status > 599)
      detail::refuse_argument("the status of an http::error is 200 to 599, and this is " + std::to_string(status));
  }
  int status() const noexcept { return status_; }

 private:
  int status_;
};

}  // namespace eventer::inline EVENTER_ABI::http

template <>
struct std::is_error_code_enum<eventer::http::errc> : std::true_type {};
