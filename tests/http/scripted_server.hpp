// A server that does what a test says, byte by byte, on the loop of the test; and how a client's answers are told.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "eventer/http_client.hpp"
#include "http_client.hpp"

namespace http_test {

// One connection, as the script has it. Used by the coroutine of the script.
struct scripted_peer : client {
  using client::client;
  // The next request, with a body of Content-Length; empty where the client has closed.
  std::string request() {
    std::size_t end;
    while ((end = unread().find("\r\n\r\n")) == std::string::npos)
      if (!more()) return {};
    end += 4;
    const std::string head = unread().substr(0, end);
    const std::size_t at = head.find("Content-Length: ");
    const std::size_t size = at == std::string::npos ? 0 : std::stoul(head.substr(at + 16));
    while (unread().size() < end + size)
      if (!more()) return {};
    std::string whole = unread().substr(0, end + size);
    unread().erase(0, end + size);
    return whole;
  }
  // Each byte by itself, and the client looks in between.
  bool send_bytewise(std::string_view text) {
    for (const char each : text) {
      if (!send({&each, 1})) return false;
      eventer::yield();
      eventer::sleep_for(1ms);
    }
    return true;
  }
};

class scripted_server {
 public:
  // `script(peer, number)` for each connection, from 1, in a coroutine of its own; behind it the connection is closed.
  using script = std::function<void(scripted_peer&, int)>;
  explicit scripted_server(script what) : state_(std::make_shared<state>()) {
    state_->acceptor = eventer::tcp_acceptor::listen("127.0.0.1:0").value();
    address = state_->acceptor.local().to_string();
    (void)eventer::spawn([state = state_, what = std::make_shared<script>(std::move(what))] {
      while (auto stream = state->acceptor.accept()) {
        const int number = ++state->connections;
        (void)eventer::spawn([what, number, state, stream = std::move(*stream)]() mutable {
          scripted_peer peer(std::move(stream));
          (*what)(peer, number);
          ++state->ended;
        });
      }
    });
  }
  scripted_server(const scripted_server&) = delete;
  scripted_server& operator=(const scripted_server&) = delete;
  ~scripted_server() { state_->acceptor.close(); }

  std::string url(std::string_view target = "/") const { return "http://" + address + std::string(target); }
  int connections() const { return state_->connections; }
  int ended() const { return state_->ended; }
  std::string address;

 private:
  struct state {
    eventer::tcp_acceptor acceptor;
    int connections = 0, ended = 0;
  };
  std::shared_ptr<state> state_;
};

// The library's server, on loopback.
class real_server {
 public:
  explicit real_server(http::router routes, http::server_options options = {})
      : server(std::move(routes), std::move(options)) {
    auto acceptor = eventer::tcp_acceptor::listen("127.0.0.1:0").value();
    address = acceptor.local().to_string();
    (void)eventer::spawn([server = server, acceptor = std::move(acceptor)]() mutable { (void)server.serve(acceptor); });
  }
  std::string url(std::string_view target = "/") const { return "http://" + address + std::string(target); }
  http::server server;
  std::string address;
};

inline std::string ok_with(std::string_view body, std::string_view fields = {}) {
  return "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" + std::string(fields) + "\r\n" +
         std::string(body);
}
// "200 body", or the error's sentence.
inline std::string told(eventer::io_result<http::client_response> answer) {
  if (!answer) return answer.error().message();
  const auto body = answer->body();
  return std::to_string(answer->status()) + " " + (body ? std::string(*body) : body.error().message());
}
inline std::string sentence(http::errc code) { return make_error_code(code).message(); }

}  // namespace http_test
