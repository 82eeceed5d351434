// request_head: what a request's head says: its line, its fields, where its body ends. Rests on Boost.Beast for the
// syntax; all that decides about the connection's next byte is judged here and in framing.hpp, because Beast takes
// unknown codings for "no body", HTTP/1.0 with chunks, missing and repeated Hosts, targets of any form.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "eventer/http/characters.hpp"
#include "eventer/http/framing.hpp"
#include "eventer/http/header_parser.hpp"
#include "eventer/http/limits.hpp"
#include "eventer/http/refusal.hpp"
#include "eventer/http/target_form.hpp"

namespace eventer::inline EVENTER_ABI::http {

struct header_field {
  std::string_view name, value;  // as they were sent; the value without blanks around it
};

// Keeps places in the head, not its bytes: they stay the caller's, and may move (rebase). All views end when they do.
// One object serves request after request, and then doesn't allocate.
class request_head {
 public:
  // Takes the place of what was parsed before. `head`: as head_scanner found it, without bytes around it. Whatever else
  // it is given is refused, or understood as its bytes say. Returns: what is wrong with the request; then only
  // method(), target() and minor_version() may be asked, and are empty where they were not come to. A declared length
  // above with.body is 413.
  refusal parse(std::string_view head, const limits& with) {
    bytes_ = head.data();
    method_size_ = target_size_ = field_count_ = 0;
    minor_version_ = 0;
    path_ = query_ = authority_ = {};
    flags_ = {};
    framing_ = {};
    more_fields_.clear();
    if (head.size() > limits::largest_head) return {431, "a head larger than allowed"};
    const std::size_t line = head.find('\r');
    constexpr std::size_t shortest = sizeof "M / HTTP/1.1" - 1;
    if (line == std::string_view::npos || line < shortest || head[line - 2] != '.' || head[line - 3] != '1')
      return {400, "a malformed request"};
    minor_version_ = static_cast<std::uint8_t>(head[line - 1] - '0');
    if (minor_version_ > 9) return {400, "a malformed request"};
    if (const refusal why = detail::header_parser<request_head>::parse(head, line, minor_version_, *this)) return why;
    return judge(with);
  }
  // The head lies at `bytes` from now on.
  void rebase(const char* bytes) noexcept { bytes_ = bytes; }

  std::string_view method() const noexcept { return {bytes_, method_size_}; }  // case-sensitive
  std::string_view target() const noexcept { return {bytes_ + method_size_ + 1, target_size_}; }
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

  std::size_t field_count() const noexcept { return field_count_; }
  // In the order in which they were sent. Requires: i < field_count().
  header_field field(std::size_t i) const noexcept {
    const places& at = i < first_fields_.size() ? first_fields_[i] : more_fields_[i - first_fields_.size()];
    return {{bytes_ + at.name, at.name_size}, {bytes_ + at.value, at.value_size}};
  }
  // The first field of this name, in any case.
  std::optional<std::string_view> find(std::string_view name) const noexcept {
    for (std::size_t i = 0; i < field_count_; ++i)
      if (const header_field each = field(i); detail::equals_any_case(each.name, name)) return each.value;
    return std::nullopt;
  }
  // How many fields of this name there are.
  std::size_t count(std::string_view name) const noexcept {
    std::size_t found = 0;
    for (std::size_t i = 0; i < field_count_; ++i) found += detail::equals_any_case(field(i).name, name);
    return found;
  }
  // Whether one of the fields of this name, which are lists of tokens, names it, in any case and without parameters:
  // has_token("Upgrade", "websocket").
  bool has_token(std::string_view name, std::string_view token) const noexcept {
    for (std::size_t i = 0; i < field_count_; ++i)
      if (const header_field each = field(i); detail::equals_any_case(each.name, name) && is_in(each.value, token))
        return true;
    return false;
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
  friend class detail::header_parser<request_head>;

  struct places {
    std::uint16_t name, name_size, value, value_size;
  };
  struct flags {
    bool host, close, keep_alive, connection_upgrade, upgrade, expects_continue, expects_else;
  };

  static bool is_in(std::string_view list, std::string_view token) noexcept {
    while (!list.empty())
      if (detail::equals_any_case(detail::take_element(list), token)) return true;
    return false;
  }

  void on_line(std::string_view method, std::string_view target) noexcept {
    method_size_ = static_cast<std::uint16_t>(method.size());
    target_size_ = static_cast<std::uint16_t>(target.size());
  }
  refusal on_field(detail::known_field known, std::string_view name, std::string_view value) {
    if (!is_on_one_line(name, value)) return {400, "a header field folded into a second line"};
    const places at{place(name), static_cast<std::uint16_t>(name.size()), place(value),
                    static_cast<std::uint16_t>(value.size())};
    if (field_count_ < first_fields_.size())
      first_fields_[field_count_] = at;
    else
      more_fields_.push_back(at);
    ++field_count_;
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
  // Where it is folded Beast puts it together elsewhere, or passes over the line's end.
  bool is_on_one_line(std::string_view name, std::string_view value) const noexcept {
    const char* p = name.data() + name.size() + 1;
    while (p != value.data() && (*p == ' ' || *p == '\t')) ++p;
    return p == value.data();
  }
  std::uint16_t place(std::string_view of) const noexcept { return static_cast<std::uint16_t>(of.data() - bytes_); }

  refusal on_host(std::string_view value) noexcept {
    if (flags_.host) return {400, "more than one Host"};
    flags_.host = true;
    host_field_ = static_cast<std::uint16_t>(field_count_ - 1);
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
    return {
        {bytes_ + authority_.at, authority_.size}, {bytes_ + path_.at, path_.size}, {bytes_ + query_.at, query_.size}};
  }

  const char* bytes_ = "";
  detail::body_framing framing_;
  std::vector<places> more_fields_;      // behind the first ones; keeps its memory
  std::array<places, 16> first_fields_;  // more than what browsers send
  part path_{}, query_{}, authority_{};
  std::uint16_t field_count_ = 0, host_field_ = 0;
  std::uint16_t method_size_ = 0, target_size_ = 0;
  std::uint8_t minor_version_ = 0;
  flags flags_{};
};

}  // namespace eventer::inline EVENTER_ABI::http
