// What the HTTP server is compared with: nginx (nginx.hpp), Boost.Beast's asynchronous server, and a bare epoll loop
// that reads no request. Each answers "Hello world.\n" to everything, from one thread.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <memory>
#include <optional>

#include "nginx.hpp"
#include "servers.hpp"

namespace bench {

// As many answers as there are empty lines.
[[noreturn]] inline void serve_bare_http() {
  std::string answers;
  serve_bare_epoll([&answers](std::string_view rest) -> std::string_view {
    static const std::string answer =
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello world.\n";
    answers.clear();
    for (std::size_t end; (end = rest.find("\r\n\r\n")) != rest.npos; rest.remove_prefix(end + 4)) answers += answer;
    return answers;
  });
}

// As in Beast's example of an asynchronous server, with what it leaves out for brevity left out.
class beast_session : public std::enable_shared_from_this<beast_session> {
 public:
  explicit beast_session(boost::asio::ip::tcp::socket socket) : stream_(std::move(socket)) {}

  void read() {
    asked_ = {};
    boost::beast::http::async_read(stream_, received_, asked_,
                                   [self = shared_from_this()](boost::beast::error_code failed, std::size_t) {
                                     if (!failed) self->write();
                                   });
  }

 private:
  void write() {
    namespace http = boost::beast::http;
    answer_ = http::response<http::string_body>(http::status::ok, asked_.version());
    answer_.set(http::field::content_type, "text/plain");
    answer_.keep_alive(asked_.keep_alive());
    answer_.body() = asked_.target() == "/hello" ? "Hello world.\n" : "";
    answer_.prepare_payload();
    http::async_write(stream_, answer_, [self = shared_from_this()](boost::beast::error_code failed, std::size_t) {
      if (!failed) self->read();
    });
  }

  boost::beast::tcp_stream stream_;
  boost::beast::flat_buffer received_;
  boost::beast::http::request<boost::beast::http::string_body> asked_;
  boost::beast::http::response<boost::beast::http::string_body> answer_;
};

[[noreturn]] inline void serve_beast() {
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
          std::make_shared<beast_session>(std::move(socket))->read();
        }
        next();
      });
    }
  } accepting{acceptor};
  accepting.next();
  loop.run();
  ::_exit(0);
}

}  // namespace bench
