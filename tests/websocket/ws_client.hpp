// A WebSocket client for tests that sends frames as they are, right or wrong, and tells what it gets. With servers in
// memory and on loopback.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "../http/http_client.hpp"
#include "../virtual_run.hpp"
#include "eventer/websocket.hpp"
#include "frames.hpp"

namespace ws_test {

using namespace http_test;
using frames::frame;
using frames::shape;
using frames::text;

inline const shape open_ended{.last = false};

inline std::string handshake(std::string_view target = "/", std::string_view fields = {}) {
  return "GET " + std::string(target) +
         " HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
         "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" +
         std::string(fields) + "\r\n";
}

template <class Client>
class frames_over : public Client {
 public:
  using Client::Client;

  // Makes the handshake; the status of the answer.
  int open(std::string_view target = "/", std::string_view fields = {}) {
    return this->ask(handshake(target, fields)).status;
  }
  // The next frame, as a reader tells it, or "<what has ended it>". A server's frames are whole messages.
  std::string next() {
    for (;;) {
      std::size_t size = 0;
      if (const std::string told = first_frame(size); !told.empty()) {
        this->unread().erase(0, size);
        return told;
      }
      if (!this->more()) return "<" + this->why + ">";
    }
  }
  // Frames until the end.
  std::string rest_of_frames() {
    std::string all;
    for (;;) {
      const std::string each = next();
      if (each.starts_with("<")) return all + (each == ended ? "" : each);
      all += each;
    }
  }

  static inline const std::string ended = "<end of stream: the peer has closed its side>";

 private:
  // How long the first frame is, and what it says; empty: it is not whole.
  std::string first_frame(std::size_t& size) {
    const std::string& bytes = this->unread();
    if (bytes.size() < 2) return {};
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
    std::size_t head = 2, length = byte(1);
    const std::size_t more = length == 127 ? 8 : length == 126 ? 2 : 0;
    if (bytes.size() < head + more) return {};
    if (more > 0) length = 0;
    for (std::size_t i = 0; i < more; ++i) length = length << 8 | byte(head + i);
    size = head + more + length;
    if (bytes.size() < size) return {};
    return frames::read_whole(std::string_view(bytes).substr(0, size), eventer::http::detail::websocket_side::client);
  }
};

using memory_client = frames_over<served>;
using net_client = frames_over<client>;

inline http::router one_socket(auto function, const http::websocket_options& options = {}) {
  http::router routes;
  routes.websocket("/", std::move(function), options);
  return routes;
}
inline void echo(http::websocket& socket) {
  while (const auto message = socket.read())
    if (!socket.write(*message)) break;
}
inline std::string why(const auto& result) { return result ? "" : result.error().message(); }

}  // namespace ws_test
