// request_head: what a request's head says: its line, its fields, where its body ends. Rests on Boost.Beast for the
// syntax; all that decides about the connection's next byte is judged here and in framing.hpp, because Beast takes
// unknown codings for "no body", HTTP/1.0 with chunks, missing and repeated Hosts, targets of any form.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "eventer/http/characters.hpp"
#include "eventer/http/field_places.hpp"
#include "eventer/http/framing.hpp"
#include "eventer/http/header_parser.hpp"
#include "eventer/http/limits.hpp"
#include "eventer/http/refusal.hpp"
#include "eventer/http/target_form.hpp"

namespace eventer::inline EVENTER_ABI::http {

// Keeps places in the head, not its bytes: they stay the caller's, and may move (rebase). All views end when they do.
// One object serves request after request, and then doesn't allocate.
class request_head : public detail::field_places {
 public:
  // Takes the place of what was parsed before. `head`: as head_scanner found it, without bytes around it. Whatever else
  // it is given is refused, or understood as its bytes say. Returns: what is wrong with the request; then only
  // method(), target() and minor_version() may be asked, and are empty where they were not come to. A declared length
  // above with.body is 413.
  refusal parse(std::string_view head, const limits& with) {
    clear(head.data());
    method_size_ = target_size_ = 0;
    minor_version_ = 0;
    path_ = query_ = authority_ = {};
    flags_ = {};
    framing_ = {};
    if (head.size() > limits::largest_head) return {431, "a head larger than allowed"};
    const std::size_t line = head.find('\r');
    constexpr std::size_t shortest = sizeof "M / HTTP/1.1" - 1;
    if (line == std::string_view::npos || line < shortest || head.size() < line + 2 || head[line - 2] != '.' ||
        head[line - 3] != '1')
      return {400, "a malformed request"};
    minor_version_ = static_cast<std::uint8_t>(head[line - 1] - '0');
    if (minor_version_ > 9) return {400, "a malformed request"};
    if (const refusal why = detail::request_parser<request_head>::parse_request(head, line, minor_version_, *this))
      return why;
    return judge(with);
  }

  std::string_view method() const noexcept { return {bytes(), method_size_}; }  // case-sensitive
  std::string_view target() const noexcept { return {bytes() + method_size_ + 1, target_size_}; }
  // 1.0 or 1.x; what is higher than 1.1 is served as 1.1.
  unsigned minor_version() const noexcept { return minor_version_; }

  // Parts of the target, percent escapes and dots as they were sent: "/" where a URL has no path, "*" for OPTIONS *.
  std::string_view path() const noexcept {
    const std::string_view path = parts().path;
    return path.empty() ? std::string_view("/") : path;
  }
  std::string_view query() const noexcept { return parts().query; }
  // Whom it is for, with the port if one was given: of the target if that is a URL, which overrides the Host field
  // (RFC 9112 3.2.2). Empty: HTTP/1.0 without Host, or a client that sends an empty one.
  std::string_view host() const noexcept {
    const std::string_view authority = parts().authority;
    return authority.empty() && flags_.host ? field(host_field_).value : authority;
  }

  body_kind body() const noexcept { return framing_.kind(); }
  // Requires: body() == body_kind::length.
  std::uint64_t content_length() const noexcept { return framing_.length(); }
  // Whether the client means to send another request on this connection.
  bool keep_alive() const noexcept { return !flags_.close && (minor_version_ > 0 || flags_.keep_alive); }
  // The client waits for a 100 (Continue) before it sends the body.
  bool expects_continue() const noexcept {
    return flags_.expects_continue && minor_version_ > 0 &&
           (body() == body_kind::chunked || (body() == body_kind::length && content_length() > 0));
  }
  // The Upgrade field says to what.
  bool wants_upgrade() const noexcept { return flags_.upgrade && flags_.connection_upgrade && minor_version_ > 0; }

 private:
  friend class detail::header_parser<true, request_head>;

  struct flags {
    bool host, close, keep_alive, connection_upgrade, upgrade, expects_continue, expects_else;
  };

  void on_line(std::string_view method, std::string_view target) noexcept {
    method_size_ = static_cast<std::uint16_t>(method.size());
    target_size_ = static_cast<std::uint16_t>(target.size());
  }
  refusal on_field(detail::known_field known, std::string_view name, std::string_view value) {
    if (!is_on_one_line(name, value)) return {400, "a header field folded into a second line"};
    add(name, value);
    switch (known) {
      case detail::known_field::host:
        return on_host(value);
      case detail::known_field::content_length:
        return framing_.on_content_length(value);
      case detail::known_field::transfer_encoding:
        return framing_.on_transfer_encoding(value);
      case detail::known_field::connection:
        on_connection(value);
        return {};
      case detail::known_field::upgrade:
        flags_.upgrade = true;
        return {};
      case detail::known_field::expect:
        (detail::equals_any_case(value, "100-continue") ? flags_.expects_continue : flags_.expects_else) = true;
        return {};
      default:
        return {};
    }
  }
  refusal on_host(std::string_view value) noexcept {
    if (flags_.host) return {400, "more than one Host"};
    flags_.host = true;
    host_field_ = static_cast<std::uint16_t>(field_count() - 1);
    // Empty is what a client sends whose URL has no host (RFC 9112 3.2).
    if (!value.empty() && !detail::http_authority::is_valid(value)) return {400, "a Host that is no host"};
    return {};
  }
  void on_connection(std::string_view value) noexcept {
    while (!value.empty()) {
      const std::string_view option = detail::take_element(value);
      if (detail::equals_any_case(option, "close")) flags_.close = true;
      if (detail::equals_any_case(option, "keep-alive")) flags_.keep_alive = true;
      if (detail::equals_any_case(option, "upgrade")) flags_.connection_upgrade = true;
    }
  }

  refusal judge(const limits& with) noexcept {
    if (minor_version_ > 0 && !flags_.host) return {400, "no Host"};
    detail::http_target parts;
    const refusal by_target = detail::http_target::parse(method(), target(), parts);
    if (by_target.status == 400) return by_target;
    path_ = parts_of(parts.path);
    query_ = parts_of(parts.query);
    authority_ = parts_of(parts.authority);
    if (const refusal why = framing_.judge(minor_version_ == 0, with.body)) return why;
    if (by_target) return by_target;
    if (flags_.expects_else && minor_version_ > 0) return {417, "an expectation other than 100-continue"};
    return {};
  }
  struct part {
    std::uint16_t at, size;
  };
  part parts_of(std::string_view of) const noexcept {
    return {of.empty() ? std::uint16_t{0} : place(of), static_cast<std::uint16_t>(of.size())};
  }
  detail::http_target parts() const noexcept {
    return {{bytes() + authority_.at, authority_.size},
            {bytes() + path_.at, path_.size},
            {bytes() + query_.at, query_.size}};
  }

  detail::body_framing framing_;
  part path_{}, query_{}, authority_{};
  std::uint16_t host_field_ = 0;
  std::uint16_t method_size_ = 0, target_size_ = 0;
  std::uint8_t minor_version_ = 0;
  flags flags_{};
};

}  // namespace eventer::inline EVENTER_ABI::http
