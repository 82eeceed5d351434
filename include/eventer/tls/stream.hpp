// tls::stream: a connection that speaks TLS. All members of stream read and write what is inside; see connection.hpp.
//
//   auto peer = eventer::tls::stream::accept(context, std::move(*acceptor.accept()));
//   auto server = eventer::tls::stream::connect(context, std::move(*eventer::tcp_stream::connect("example.org:443")),
//                                               "example.org");
//
// The peer's close_notify is end_of_stream; an end without it is tls::errc::truncated. close(), the destructor and
// shutdown_write() say close_notify, as far as there is room at once. release() gives the connection below, in the
// middle of what it was saying.
#pragma once

#include <string_view>
#include <utility>

#include "eventer/tls/handshake.hpp"

namespace eventer::inline EVENTER_ABI::tls {

// What a stream's TLS connection has agreed on; nullptr where it speaks in the clear. Valid as long as it is open.
inline const info* info_of(const any_stream& which) noexcept {
  const descriptor* const file = which.file();
  transport* const other = file != nullptr ? file->other() : nullptr;
  if (other == nullptr || other->kind() != detail::connection::kind_of_all()) return nullptr;
  return static_cast<detail::connection*>(other);
}

class stream : public any_stream {
 public:
  stream() noexcept = default;  // not connected: every call answers `closed`

  // Makes the handshake with a client that has connected, over a stream of any kind; then the stream is this one's.
  //
  // Completes: when both sides have finished. The limit is for all of it; none: the context's, 10 s. Stack: as a read.
  // Errors: timed_out; those of tls_category(), and tls::errc::truncated where the peer goes away in the middle;
  // closed, busy. After an error the connection is closed. Requires: a context of a server.
  static io_result<stream> accept(const tls::context& with, any_stream over, time_limit limit = {}) {
    if (const auto done = with.accept(over, limit); !done) return done.error();
    return stream(std::move(over));
  }
  static detail::handshake_operation<stream> async_accept(const tls::context& with, any_stream over,
                                                          time_limit limit = {}) {
    require(with.is_server());
    return {std::move(over), with, {}, limit};
  }

  // The same with a server. `host` is whom we want to reach, a name or an IP address: the certificate has to be for it,
  // and a name is asked for (SNI).
  //
  // Errors: as above; invalid_argument for a host that can't be one. What is wrong with a certificate is told as it is
  // (is_verification_error). A server that refuses our certificate in TLS 1.3 says so at the first read. Requires: a
  // context of a client.
  static io_result<stream> connect(const tls::context& with, any_stream over, std::string_view host,
                                   time_limit limit = {}) {
    require(!with.is_server());
    if (const auto done = detail::shake_hands(over, with, host, limit); !done) return done.error();
    return stream(std::move(over));
  }
  static detail::handshake_operation<stream> async_connect(const tls::context& with, any_stream over,
                                                           std::string_view host, time_limit limit = {}) {
    require(!with.is_server());
    return {std::move(over), with, host, limit};
  }

  // See info. Requires: open.
  std::string_view alpn() const { return about().alpn(); }
  std::string_view server_name() const { return about().server_name(); }
  tls::version version() const { return about().version(); }
  std::string_view cipher() const { return about().cipher(); }
  std::string peer_certificate_subject() const { return about().peer_certificate_subject(); }
  bool session_reused() const { return about().session_reused(); }
  const tls::context& context() const { return about().context(); }

 private:
  friend class detail::handshake_operation<stream>;
  friend class tls::context;
  explicit stream(any_stream&& over) noexcept : any_stream(std::move(over)) {}

  static void require(bool right_kind) {
    if (!right_kind) broken_rule("tls::stream::accept takes a context of a server, connect one of a client");
  }
  const info& about() const {
    const info* const result = info_of(*this);
    if (result == nullptr) broken_rule("a tls::stream that is not connected, or was closed, has nothing to tell");
    return *result;
  }
};

inline io_result<void> context::accept(any_stream& peer, time_limit limit) const {
  stream::require(is_server());
  return detail::shake_hands(peer, *this, {}, limit);
}
inline io_result<void> context::connect(any_stream& peer, std::string_view host, time_limit limit) const {
  stream::require(!is_server());
  return detail::shake_hands(peer, *this, host, limit);
}

}  // namespace eventer::inline EVENTER_ABI::tls
