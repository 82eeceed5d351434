// Servers of a folder for tests, on loopback, and a client that keeps nothing of what it gets.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "folder.hpp"
#include "http_client.hpp"

namespace http_test {

inline http::server serving(const folder& from, http::file_options options = {}) {
  http::router routes;
  routes.files("/", from.path(), std::move(options));
  return http::server(std::move(routes));
}

// A server on loopback, in a coroutine of this loop.
struct on_loopback {
  explicit on_loopback(http::server what)
      : server(std::move(what)),
        acceptor(std::make_shared<eventer::tcp_acceptor>(eventer::tcp_acceptor::listen("127.0.0.1:0").value())) {
    serves = eventer::spawn([server = server, on = acceptor] { return server.serve(*on).has_value(); });
  }
  ~on_loopback() { (void)server.drain(10s, 0s); }
  eventer::tcp_stream connect() const { return eventer::tcp_stream::connect(acceptor->local(), 100s).value(); }

  http::server server;
  std::shared_ptr<eventer::tcp_acceptor> acceptor;
  eventer::join_handle<bool> serves;
};

// Reads an answer of which nothing is kept: how many bytes of a body came, and how it ended.
struct counted {
  std::string head;
  std::uint64_t body = 0;
  bool only_zeros = true;
  std::error_code end;
};
// Until so many bytes of the body have come, or the end. `so_far`: what came before.
inline counted count_answer(eventer::tcp_stream& from, std::uint64_t wanted = UINT64_MAX, counted so_far = {}) {
  counted result = std::move(so_far);
  const auto part = std::make_unique<char[]>(256 << 10);
  while (result.body < wanted) {
    const auto got = from.read_some(eventer::buffer(part.get(), 256 << 10), 100s);
    if (!got) {
      result.end = got.error();
      return result;
    }
    std::string_view bytes(part.get(), *got);
    if (result.head.find("\r\n\r\n") == std::string::npos) {
      result.head.append(bytes);
      const std::size_t end = result.head.find("\r\n\r\n");
      if (end == std::string::npos) continue;
      bytes.remove_prefix(bytes.size() - (result.head.size() - end - 4));
      result.head.resize(end + 4);
    }
    result.body += bytes.size();
    result.only_zeros = result.only_zeros && bytes.find_first_not_of('\0') == std::string_view::npos;
  }
  return result;
}

}  // namespace http_test
