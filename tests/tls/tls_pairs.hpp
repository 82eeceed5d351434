// Connected TLS streams for tests.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "../sockets.hpp"
#include "../two_worlds.hpp"
#include "certificates.hpp"

namespace tls = eventer::tls;

struct tls_pair {
  std::shared_ptr<tls::stream> server, client;
  std::error_code server_error, client_error;

  bool connected() const { return !server_error && !client_error; }
};

inline std::shared_ptr<tls::stream> shared_or_none(eventer::io_result<tls::stream>&& made) {
  return made ? std::make_shared<tls::stream>(std::move(*made)) : nullptr;
}

// Both sides of a handshake, at the same time.
inline tls_pair shake_hands(eventer::any_stream server, eventer::any_stream client, const tls::context& of_server,
                            const tls::context& of_client, const std::string& host = "localhost",
                            eventer::time_limit limit = {}) {
  auto result = std::make_shared<tls_pair>();
  auto other = eventer::spawn([result, of_server, limit, s = std::move(server)]() mutable {
    auto made = tls::stream::accept(of_server, std::move(s), limit);
    result->server_error = made.error();
    result->server = shared_or_none(std::move(made));
  });
  auto made = tls::stream::connect(of_client, std::move(client), host, limit);
  result->client_error = made.error();
  result->client = shared_or_none(std::move(made));
  // In TLS 1.3 a client has finished before its server.
  other.join();
  return *result;
}
inline tls_pair connected_tls(const tls::context& of_server, const tls::context& of_client,
                              const std::string& host = "localhost") {
  auto pair = connected_pair();
  return shake_hands(std::move(pair.server), std::move(pair.client), of_server, of_client, host);
}
inline tls_pair connected_tls() { return connected_tls(test_certificates().server(), test_certificates().client()); }

inline std::string pattern(std::size_t size) {
  std::string text(size, ' ');
  for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>('a' + (i * 7 + i / 1021) % 26);
  return text;
}

// Writes back what it reads, until the peer ends; then it ends too.
inline void echo_all(const std::shared_ptr<tls::stream>& peer) {
  while (const auto got = peer->read_borrowed())
    if (!peer->write_all({got->data(), got->size()})) return;
  (void)peer->shutdown_write();
}
