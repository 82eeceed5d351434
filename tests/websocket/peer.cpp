// A program for scripts/check-websocket: a server that peers of others try, or a client that tries theirs.
//
//   websocket_peer serve        echoes on /; prints where it listens; ends with SIGTERM
//   websocket_peer ask URL      sends what an echo server is to send back, and closes; prints "all is well"
#include <signal.h>

#include <cstdio>
#include <string>
#include <string_view>

#include "eventer/eventer.hpp"
#include "eventer/http.hpp"
#include "eventer/websocket.hpp"

namespace {

namespace http = eventer::http;
using namespace std::chrono_literals;

void echo(http::websocket& socket) {
  while (const auto message = socket.read()) {
    if (message->data == "close 4321") return (void)socket.close(4321, "as you wish");
    if (message->data == "throw") throw std::runtime_error("as you wish");
    if (!socket.write(*message)) break;
  }
}

int serve() {
  eventer::signal_set signals{SIGTERM};
  http::router routes;
  routes.websocket("/", echo, {.max_message = 20 << 20, .protocols = {"chat.v2", "chat"}});
  routes.websocket("/small", echo, {.max_message = 100});
  routes.websocket("/pings", echo, {.ping_every = 100ms, .pong_within = 100ms});
  const http::server server(std::move(routes));
  const auto acceptor =
      std::make_shared<eventer::tcp_acceptor>(eventer::tcp_acceptor::listen("127.0.0.1:0", {.backlog = 1024}).value());
  std::printf("listens on %s\n", acceptor->local().to_string().c_str());
  std::fflush(stdout);
  auto serving = eventer::spawn([server, acceptor] { return server.serve(*acceptor).has_value(); });
  (void)signals.next();
  const std::size_t cut = server.drain(10s, 100ms);
  std::printf("drained, %zu cancelled\n", cut);
  return serving.join() ? 0 : 1;
}

// Empty: as it should be.
std::string ask(std::string_view url) {
  auto socket = http::connect_websocket(url, {.socket = {.max_message = 20 << 20, .protocols = {"chat"}}});
  if (!socket) return "no connection: " + socket.error().message();
  for (const std::size_t size : {0u, 1u, 125u, 126u, 65535u, 65536u, 5'000'000u})
    for (const bool is_text : {true, false}) {
      const std::string payload(size, is_text ? 't' : '\xff');
      if (!(is_text ? socket->write(payload) : socket->write_binary(payload))) return "a write has failed";
      if (!socket->ping("are you there?")) return "a ping has failed";
      const auto got = socket->read(30s);
      if (!got) return "no answer to " + std::to_string(size) + " bytes: " + got.error().message();
      if (got->data != payload || got->is_text != is_text)
        return "another answer to " + std::to_string(size) + " bytes";
    }
  const auto closed = socket->close(1000, "done");
  if (!closed) return "no close: " + closed.error().message();
  return socket->close_code() == 1000 ? "" : "closed with " + std::to_string(socket->close_code());
}

}  // namespace

int main(int count, char** arguments) {
  const std::string_view what = count > 1 ? arguments[1] : "";
  if (what == "serve") return eventer::run(serve);
  if (what != "ask" || count != 3) return std::fprintf(stderr, "usage: websocket_peer serve | ask URL\n"), 2;
  return eventer::run([url = std::string_view(arguments[2])] {
    const std::string wrong = ask(url);
    std::printf("%s\n", wrong.empty() ? "all is well" : wrong.c_str());
    return wrong.empty() ? 0 : 1;
  });
}
