// connect_websocket: a WebSocket to a server somewhere else.
//
//   auto socket = http::connect_websocket("ws://127.0.0.1:8080/chat");
//   if (!socket) return report(socket.error());               // status_of_refusal(error) is 401, say, or 0
//   (void)socket->write("hello");
//
// wss:// needs eventer/https_client.hpp, or a tls::context as an argument.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "eventer/coro/this_coroutine.hpp"
#include "eventer/http/answer_head.hpp"
#include "eventer/http/answer_scanner.hpp"
#include "eventer/http/client_connection.hpp"
#include "eventer/http/fields.hpp"
#include "eventer/http/status.hpp"
#include "eventer/http/target_form.hpp"
#include "eventer/http/url.hpp"
#include "eventer/websocket/handshake.hpp"
#include "eventer/websocket/websocket.hpp"

namespace eventer::inline EVENTER_ABI::http {

// Use designated initialisers; members are only ever appended. Zero: none, for times.
struct websocket_client_options {
  websocket_options socket = {};
  // Sent with the handshake: Authorization, Origin, Cookie. Bad names and values, and those of the handshake itself:
  // std::invalid_argument.
  std::vector<std::pair<std::string, std::string>> headers = {};
  duration connect_time = std::chrono::seconds(10);    // the name's lookup, all its addresses
  duration handshake_time = std::chrono::seconds(10);  // of TLS, and of WebSocket
  std::size_t header_bytes = std::size_t{16} << 10;    // of the server's answer
  std::size_t header_count = 100;
};

// The error of a server that has answered a handshake with another status than 101 is that status.
class EVENTER_API refusal_category final : public std::error_category {
 public:
  const char* name() const noexcept override { return "eventer.websocket.refusal"; }
  std::string message(int status) const override {
    return "the server has answered the WebSocket handshake with " +
           std::to_string(status).append(1, ' ').append(reason_phrase(status));
  }
};
EVENTER_API inline const std::error_category& websocket_refusal_category() noexcept {
  static const refusal_category& instance = *new refusal_category;
  return instance;
}
// 0: it is another error.
inline int status_of_refusal(std::error_code why) noexcept {
  return std::string_view(why.category().name()) == websocket_refusal_category().name() ? why.value() : 0;
}

namespace detail {

class client_handshake {
 public:
  explicit client_handshake(const websocket_client_options& with) : with_(with) {
    bounds_.header_bytes = with.header_bytes;
    bounds_.header_count = with.header_count;
    for (const auto& [name, value] : with.headers) {
      for (const std::string_view own :
           {"Host", "Upgrade", "Connection", "Content-Length", "Transfer-Encoding", "Sec-WebSocket-Key",
            "Sec-WebSocket-Version", "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions"})
        if (equals_any_case(name, own)) refuse_argument(name + " of a WebSocket handshake is the library's matter");
      more_.add(name, value);
    }
    for (const std::string& each : with.socket.protocols)
      if (each.empty() || !is_all(http_class::token, each))
        refuse_argument("a subprotocol of WebSocket is a token, and this is " + eventer::detail::quoted(each));
  }

  // std::invalid_argument where the request could be read as another.
  io_result<websocket> make(any_stream&& stream, std::string_view host, std::string_view target) {
    if (!http_authority::is_valid(host))
      refuse_argument("a WebSocket's host is none: " + eventer::detail::quoted(host));
    if (!target.starts_with('/') || !is_all(http_class::target, target))
      refuse_argument("a WebSocket's target is a path and a query, and this is " + eventer::detail::quoted(target));
    const time_point end = client_settings::end_of(with_.handshake_time, no_deadline);
    if (!make_key()) return std::make_error_code(std::errc::io_error);
    const std::string request = text(host, target);
    if (const auto sent = stream.write_all(request, end); !sent) return sent.error();
    if (const std::error_code failure = read(stream, end)) return failure;
    std::string protocol(head_.find("Sec-WebSocket-Protocol").value_or(std::string_view()));
    return websocket(std::move(stream), websocket_side::client, with_.socket,
                     std::string_view(received_).substr(head_size_), std::move(protocol));
  }

 private:
  bool make_key() {
    std::array<char, 16> bytes;
    if (!syscalls::random_bytes(bytes.data(), bytes.size())) return false;
    key_ = base64({bytes.data(), bytes.size()});
    return true;
  }
  std::string text(std::string_view host, std::string_view target) const {
    std::string result("GET ");
    result.append(target).append(" HTTP/1.1\r\nHost: ").append(host);
    result.append("\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ");
    result.append(key_).append("\r\n");
    const char* before = "Sec-WebSocket-Protocol: ";
    for (const std::string& each : with_.socket.protocols) result.append(std::exchange(before, ", ")).append(each);
    if (!with_.socket.protocols.empty()) result.append("\r\n");
    return result.append(more_.lines()).append("\r\n");
  }
  // The head of the server's answer, behind those that only say that one is to come.
  std::error_code read(any_stream& from, time_point end) {
    for (unsigned interim = 0; interim < interim_at_most; ++interim) {
      if (const std::error_code failure = read_head(from, end)) return failure;
      if (!head_.is_interim()) return judge();
      received_.erase(0, head_size_);
    }
    return websocket_errc::bad_handshake;
  }
  std::error_code read_head(any_stream& from, time_point end) {
    answer_scanner scanner;
    for (;;) {
      const auto state = scanner.scan(received_, bounds_);
      if (state == answer_scanner::state::complete) break;
      if (state == answer_scanner::state::refused) return websocket_errc::bad_handshake;
      const std::size_t before = received_.size();
      received_.resize(before + read_at_once);
      const auto got = from.read_some(buffer(received_.data() + before, read_at_once), end);
      received_.resize(before + (got ? *got : 0));
      if (!got) return got.error();
    }
    head_size_ = scanner.size();
    if (head_.parse(std::string_view(received_).substr(0, head_size_), false)) return websocket_errc::bad_handshake;
    return {};
  }
  // RFC 6455 4.1.
  std::error_code judge() const {
    if (head_.status() != 101) return {head_.status(), websocket_refusal_category()};
    const auto protocol = head_.find("Sec-WebSocket-Protocol");
    const auto& offered = with_.socket.protocols;
    const bool is_right = head_.minor_version() > 0 && head_.has_token("Upgrade", "websocket") &&
                          head_.has_token("Connection", "Upgrade") && count("Sec-WebSocket-Accept") == 1 &&
                          *head_.find("Sec-WebSocket-Accept") == websocket_accept(key_) &&
                          !head_.find("Sec-WebSocket-Extensions") && count("Sec-WebSocket-Protocol") <= 1 &&
                          (!protocol || std::find(offered.begin(), offered.end(), *protocol) != offered.end());
    return is_right ? std::error_code() : websocket_errc::bad_handshake;
  }
  std::size_t count(std::string_view name) const noexcept {
    std::size_t found = 0;
    for (std::size_t i = 0; i < head_.field_count(); ++i) found += equals_any_case(head_.field(i).name, name) ? 1u : 0u;
    return found;
  }

  static constexpr std::size_t read_at_once = 1024;
  static constexpr unsigned interim_at_most = 8;

  const websocket_client_options& with_;
  limits bounds_;
  fields more_;
  std::string key_, received_;
  std::size_t head_size_ = 0;
  answer_head head_;
};

inline io_result<websocket> connect_websocket(std::string_view url, const websocket_client_options& with,
                                              std::unique_ptr<const any_client_security> own) {
  const auto where = http::url::parse(url);
  if (!where) return where.error();
  (void)eventer::detail::suspending_scheduler("connect_websocket outside a coroutine");
  // On the heap: what a coroutine's stack would not have to hold while it waits.
  const auto handshake = std::make_unique<client_handshake>(with);
  const auto settings = std::make_unique<client_settings>(
      client_options{.connect_time = with.connect_time, .handshake_time = with.handshake_time}, std::move(own));
  auto connected = client_connection::open(*settings, *where, no_deadline);
  if (!connected) return connected.error();
  return handshake->make(std::move(connected->stream()), where->authority(), where->target());
}

}  // namespace detail

// A connection and its handshake; "ws://host:port/path", and http: and https: as well. Completes: when the server has
// answered 101. Errors: url_errc; those of tcp_stream::connect and of TLS; a status, see status_of_refusal;
// websocket_errc::bad_handshake; timed_out; http::errc::no_tls.
inline io_result<websocket> connect_websocket(std::string_view url, const websocket_client_options& with = {}) {
  return detail::connect_websocket(url, with, nullptr);
}
// The same with a tls::context of one's own for wss.
template <client_security Security>
io_result<websocket> connect_websocket(std::string_view url, const Security& over,
                                       const websocket_client_options& with = {}) {
  return detail::connect_websocket(url, with, std::make_unique<detail::typed_client_security<Security>>(over));
}
// The same over a stream that is connected already. `host` is what the Host field says, `target` path and query:
// std::invalid_argument where they are none.
inline io_result<websocket> websocket_over(any_stream&& stream, std::string_view host, std::string_view target,
                                           const websocket_client_options& with = {}) {
  (void)eventer::detail::suspending_scheduler("websocket_over outside a coroutine");
  const auto handshake = std::make_unique<detail::client_handshake>(with);
  return handshake->make(std::move(stream), host, target);
}

}  // namespace eventer::inline EVENTER_ABI::http
