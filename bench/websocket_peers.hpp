// What WebSocket is compared with: Boost.Beast's stream, asynchronous, and node's ws. Each echoes on one thread, takes
// messages of a megabyte, and offers no compression.
#pragma once

#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/websocket.hpp>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include "servers.hpp"

namespace bench {

class beast_socket : public std::enable_shared_from_this<beast_socket> {
 public:
  explicit beast_socket(boost::asio::ip::tcp::socket socket) : stream_(std::move(socket)) {
    namespace websocket = boost::beast::websocket;
    stream_.set_option(websocket::stream_base::timeout::suggested(boost::beast::role_type::server));
    stream_.read_message_max(1 << 20);
  }
  void accept() {
    stream_.async_accept([self = shared_from_this()](boost::beast::error_code failed) {
      if (!failed) self->read();
    });
  }

 private:
  void read() {
    stream_.async_read(received_, [self = shared_from_this()](boost::beast::error_code failed, std::size_t) {
      if (!failed) self->write();
    });
  }
  void write() {
    stream_.text(stream_.got_text());
    stream_.async_write(received_.data(),
                        [self = shared_from_this()](boost::beast::error_code failed, std::size_t bytes) {
                          self->received_.consume(bytes);
                          if (!failed) self->read();
                        });
  }

  boost::beast::websocket::stream<boost::beast::tcp_stream> stream_;
  boost::beast::flat_buffer received_;
};

[[noreturn]] inline void serve_beast_sockets() {
  using boost::asio::ip::tcp;
  boost::asio::io_context loop(1);
  tcp::acceptor acceptor(loop, {boost::asio::ip::address_v4::loopback(), 0});
  shared->port = acceptor.local_endpoint().port();
  struct accept_loop {
    tcp::acceptor& from;
    void next() {
      from.async_accept([this](boost::beast::error_code failed, tcp::socket socket) {
        if (!failed) {
          socket.set_option(tcp::no_delay(true));
          std::make_shared<beast_socket>(std::move(socket))->accept();
        }
        next();
      });
    }
  } accepting{acceptor};
  accepting.next();
  loop.run();
  ::_exit(0);
}

// Where Debian has ws, and wherever else node looks for it.
inline bool has_node() {
  ::setenv("NODE_PATH", "/usr/share/nodejs", 0);
  return std::system("node -e 'require(\"ws\")' >/dev/null 2>&1") == 0;
}
[[noreturn]] inline void serve_node_sockets() {
  int port = 0;
  ::close(listening_socket(port));
  const std::string program =
      "const {WebSocketServer} = require('ws');"
      "new WebSocketServer({host: '127.0.0.1', port: " +
      std::to_string(port) +
      ", perMessageDeflate: false, maxPayload: 1 << 20})"
      ".on('connection', socket => socket.on('message', (data, binary) => socket.send(data, {binary})));";
  shared->port = port;  // its clients try again until it listens
  ::execlp("node", "node", "-e", program.c_str(), static_cast<char*>(nullptr));
  ::_exit(127);
}

}  // namespace bench
