// client_connection: a connection to a server, and whether it can be used for one more request.
#pragma once

#include <sys/socket.h>

#include <cerrno>
#include <string>
#include <string_view>
#include <utility>

#include "eventer/http/client_security.hpp"
#include "eventer/http/client_settings.hpp"
#include "eventer/http/error.hpp"
#include "eventer/http/url.hpp"
#include "eventer/net/tcp.hpp"
#include "eventer/net/unix.hpp"

namespace eventer::inline EVENTER_ABI::http::detail {

class client_connection {
 public:
  // Connects, and makes the handshake of TLS for https. Errors: http::errc::no_tls; those of tcp_stream::connect and of
  // tls::stream::connect; timed_out.
  static io_result<client_connection> open(const client_settings& with, const url& to, time_point deadline) {
    const any_client_security* const security = to.is_secure() ? with.security() : nullptr;
    if (to.is_secure() && security == nullptr) return make_error_code(errc::no_tls);
    auto connected = connect(with, to, with.end_of(with.options.connect_time, deadline));
    if (!connected) return connected.error();
    client_connection result(std::move(*connected));
    if (security != nullptr) {
      const time_point end = with.end_of(with.options.handshake_time, deadline);
      if (const auto secured = security->connect(result.stream_, to.host(), end); !secured) return secured.error();
    }
    return result;
  }

  any_stream& stream() noexcept { return stream_; }
  // An answer came on it before the present request.
  bool is_reused() const noexcept { return is_reused_; }
  void note_answered() noexcept { is_reused_ = true; }

  // Whether nothing has come and nobody has closed it. Between requests a server has nothing to say: what comes there
  // would be taken for the answer to the next one. Costs a system call.
  bool is_quiet() noexcept {
    descriptor* const file = stream_.file();
    if (file == nullptr || !file->is_usable() || !has_nothing_left()) return false;
    char byte;
    const ssize_t got = syscalls::recv(file->fd(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return got < 0 && (eventer::detail::would_block(errno) || errno == EINTR);
  }
  // Whether the layer over the socket, if there is one, holds no decrypted bytes. What it finds below, tickets say, it
  // takes for itself.
  bool has_nothing_left() noexcept {
    transport* const layer = stream_.file()->other();
    char byte;
    return layer == nullptr || (layer->read(&byte, 1) < 0 && eventer::detail::would_block(errno));
  }

 private:
  explicit client_connection(any_stream&& stream) noexcept : stream_(std::move(stream)) {}

  static io_result<any_stream> connect(const client_settings& with, const url& to, time_point deadline) {
    const std::string& other = with.options.connect_to;
    if (other.starts_with("unix:")) {
      const auto where = endpoint::parse(other);
      if (!where) return where.error();
      return as_any(unix_stream::connect(*where, deadline));
    }
    if (!other.empty()) return as_any(tcp_stream::connect(other, deadline));
    const bool is_v6 = to.host().find(':') != std::string_view::npos;
    std::string address(is_v6 ? "[" : "");
    address.append(to.host()).append(is_v6 ? "]:" : ":").append(std::to_string(to.port()));
    return as_any(tcp_stream::connect(address, deadline));
  }
  template <class Stream>
  static io_result<any_stream> as_any(io_result<Stream> made) {
    if (!made) return made.error();
    return any_stream(std::move(*made));
  }

  any_stream stream_;
  bool is_reused_ = false;
};

}  // namespace eventer::inline EVENTER_ABI::http::detail
