// Connected pairs for tests: two streams of the library, or one and a plain blocking socket as another program would
// have it.
#pragma once

#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <stdexcept>
#include <string>
#include <string_view>

#include "eventer/eventer.hpp"

struct tcp_pair {
  eventer::tcp_stream server, client;
};
inline tcp_pair connected_pair() {
  auto acceptor = eventer::tcp_acceptor::listen("127.0.0.1:0").value();
  auto client = eventer::tcp_stream::connect(acceptor.local()).value();
  return {acceptor.accept().value(), std::move(client)};
}

struct plain_peer {
  eventer::tcp_stream server;
  eventer::unique_fd client;
};
inline eventer::unique_fd plain_connect(const eventer::endpoint& server) {
  eventer::unique_fd fd(::socket(server.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int on = 1;
  if (::connect(fd.get(), server.data(), server.size()) != 0) throw std::runtime_error("plain_connect");
  ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);  // what a test sends, it sends now
  return fd;
}
inline plain_peer connected_to_plain_peer() {
  auto acceptor = eventer::tcp_acceptor::listen("127.0.0.1:0").value();
  auto client = plain_connect(acceptor.local());
  return {acceptor.accept().value(), std::move(client)};
}
inline void plain_send(const eventer::unique_fd& to, std::string_view text, int flags = 0) {
  if (::send(to.get(), text.data(), text.size(), flags | MSG_NOSIGNAL) != static_cast<ssize_t>(text.size()))
    throw std::runtime_error("plain_send");
}

// A stream socket pair, both ends adopted.
inline tcp_pair adopted_pair(int type = SOCK_STREAM) {
  int ends[2];
  if (::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends) != 0) throw std::runtime_error("socketpair");
  return {eventer::tcp_stream::from_fd(ends[0]).value(), eventer::tcp_stream::from_fd(ends[1]).value()};
}
struct pipe_pair {
  eventer::tcp_stream reader, writer;
};
inline pipe_pair adopted_pipe(int flags = 0) {
  int ends[2];
  if (::pipe2(ends, flags | O_CLOEXEC) != 0) throw std::runtime_error("pipe2");
  return {eventer::tcp_stream::from_fd(ends[0]).value(), eventer::tcp_stream::from_fd(ends[1]).value()};
}

// What one read gives: the bytes as text, or the error's message in angle brackets.
inline std::string read_text(eventer::stream& from, eventer::duration limit = std::chrono::seconds(2)) {
  std::array<char, 256> bytes;
  const auto got = from.read_some(bytes, limit);
  return got ? std::string(bytes.data(), *got) : "<" + got.error().message() + ">";
}
inline const std::string end_of_stream_text =
    "<" + eventer::make_error_code(eventer::errc::end_of_stream).message() + ">";
inline const std::string closed_text = "<" + eventer::make_error_code(eventer::errc::closed).message() + ">";
inline const std::string timed_out_text = "<" + eventer::make_error_code(eventer::errc::timed_out).message() + ">";

// Writes back what it reads, until the peer ends.
inline void echo(eventer::tcp_stream peer) {
  std::array<char, 256> bytes;
  while (const auto got = peer.read_some(bytes))
    if (!peer.write_all({bytes.data(), *got})) return;
}

// Returns after the loop has asked the kernel for events at least once.
inline void next_turn() { eventer::sleep_for(eventer::duration::zero()); }
