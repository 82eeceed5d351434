// The client: its handshake, the answers that it takes and does not take, its frames.
#include <functional>

#include "../child.hpp"
#include "../one_fault.hpp"
#include "../tls/certificates.hpp"
#include "eventer/tls.hpp"
#include "ws_client.hpp"

using namespace ws_test;

namespace {

// A server by hand, over a stream in memory: reads the handshake, and answers with what `make` makes of the key.
struct by_hand {
  explicit by_hand(std::function<std::string(std::string)> make, const eventer::memory_stream_options& options = {}) {
    auto pair = eventer::memory_stream_pair(options);
    near = eventer::any_stream(std::move(pair.near));
    (void)eventer::spawn([stream = std::make_shared<eventer::tcp_stream>(std::move(pair.far)), make = std::move(make),
                          request = request] {
      const auto head = stream->read_until(*request, "\r\n\r\n", 10'000, 10s);
      if (!head) return;
      const std::size_t key = request->find("Sec-WebSocket-Key: ") + 19;
      (void)stream->write_all(make(request->substr(key, 24)), 10s);
      (void)stream->shutdown_write();
      std::string rest(1000, '\0');
      while (stream->read_some(rest, 10s)) {
      }
    });
  }
  eventer::any_stream near;
  std::shared_ptr<std::string> request = std::make_shared<std::string>();
};
std::string agree(const std::string& key, std::string_view more = {}) {
  return "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " +
         http::detail::websocket_accept(key) + "\r\n" + std::string(more) + "\r\n";
}

}  // namespace

TEST_CASE("client: answers to its handshake") {
  struct answer_case {
    const char* what;
    std::function<std::string(std::string)> make;
    std::string told;
  };
  const std::string bad = make_error_code(http::websocket_errc::bad_handshake).message();
  const answer_case cases[] = {
      {"agreed", [](const std::string& key) { return agree(key); }, ""},
      {"with a subprotocol", [](const std::string& key) { return agree(key, "Sec-WebSocket-Protocol: b\r\n"); }, ""},
      {"other cases",
       [](const std::string& key) {
         return "HTTP/1.1 101 \r\nupgrade: WebSocket\r\nconnection: keep-alive, upgrade\r\nsec-websocket-accept: " +
                http::detail::websocket_accept(key) + "\r\n\r\n";
       },
       ""},
      {"behind a hint",
       [](const std::string& key) { return "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + agree(key); }, ""},
      {"hints without end",
       [](const std::string&) {
         std::string all;
         for (int i = 0; i < 100; ++i) all += "HTTP/1.1 103 Early Hints\r\n\r\n";
         return all;
       },
       bad},
      {"401", [](const std::string&) { return "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"s; },
       "the server has answered the WebSocket handshake with 401 Unauthorized"},
      {"200", [](const std::string&) { return "HTTP/1.1 200 OK\r\n\r\nhello"s; },
       "the server has answered the WebSocket handshake with 200 OK"},
      {"another key", [](const std::string&) { return agree("AAAAAAAAAAAAAAAAAAAAAA=="); }, bad},
      {"no Upgrade",
       [](const std::string& key) {
         return "HTTP/1.1 101 x\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " +
                http::detail::websocket_accept(key) + "\r\n\r\n";
       },
       bad},
      {"no Connection",
       [](const std::string& key) {
         return "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: " + http::detail::websocket_accept(key) +
                "\r\n\r\n";
       },
       bad},
      {"no accept",
       [](const std::string&) { return "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"s; }, bad},
      {"HTTP/1.0, which has no upgrades", [](const std::string& key) { return agree(key).replace(7, 1, "0"); }, bad},
      {"an extension",
       [](const std::string& key) { return agree(key, "Sec-WebSocket-Extensions: permessage-deflate\r\n"); }, bad},
      {"a subprotocol that was not offered",
       [](const std::string& key) { return agree(key, "Sec-WebSocket-Protocol: c\r\n"); }, bad},
      {"two subprotocols",
       [](const std::string& key) { return agree(key, "Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: b\r\n"); },
       bad},
      {"a head without end", [](const std::string&) { return "HTTP/1.1 101 x\r\nA: " + std::string(20'000, 'a'); },
       bad},
      {"not HTTP", [](const std::string&) { return "SSH-2.0-OpenSSH\r\n"s; }, bad},
      {"the end", [](const std::string&) { return "HTTP/1.1 101 x\r\n"s; },
       "end of stream: the peer has closed its side"},
      {"nothing",
       [](const std::string&) {
         eventer::sleep_for(20s);
         return ""s;
       },
       "timed out"},
  };
  run_virtually([&cases] {
    for (const answer_case& each : cases) {
      for (const bool bytewise : {false, true}) {
        CAPTURE(each.what, bytewise);
        by_hand server(each.make, {.seed = 5, .short_reads = bytewise ? 100u : 0, .would_blocks = bytewise ? 10u : 0});
        const auto got =
            http::websocket_over(std::move(server.near), "host.example:81", "/path?q",
                                 {.socket = {.protocols = {"a", "b"}}, .headers = {{"Authorization", "me"}}});
        CHECK(why(got) == each.told);
        CHECK(http::status_of_refusal(got ? std::error_code() : got.error()) == (each.what == "401"sv   ? 401
                                                                                 : each.what == "200"sv ? 200
                                                                                                        : 0));
        CHECK(server.request->starts_with("GET /path?q HTTP/1.1\r\nHost: host.example:81\r\n"));
        CHECK(server.request->find("\r\nSec-WebSocket-Protocol: a, b\r\n") != std::string::npos);
        CHECK(server.request->find("\r\nAuthorization: me\r\n") != std::string::npos);
        if (got) CHECK(got->subprotocol() == (each.what == "with a subprotocol"sv ? "b" : ""));
      }
    }
  });
}

TEST_CASE("client: what can't be meant so is refused before anything is sent") {
  run_virtually([] {
    const auto over = [](const http::websocket_client_options& with) {
      auto pair = eventer::memory_stream_pair();
      (void)http::websocket_over(std::move(pair.near), "a", "/", with);
    };
    CHECK_THROWS_AS(over({.headers = {{"Sec-WebSocket-Key", "x"}}}), std::invalid_argument);
    CHECK_THROWS_AS(over({.headers = {{"X", "a\r\nHost: b"}}}), std::invalid_argument);
    CHECK_THROWS_AS(over({.socket = {.protocols = {"a b"}}}), std::invalid_argument);
    const auto asks = [](std::string_view host, std::string_view target) {
      auto pair = eventer::memory_stream_pair();
      (void)http::websocket_over(std::move(pair.near), host, target, {.handshake_time = 1s});
    };
    for (const char* host : {"", "a\r\nX-Evil: 1", "a b", "a/b", "user@a"})
      CHECK_THROWS_AS(asks(host, "/"), std::invalid_argument);
    for (const char* target : {"", "x", "*", "/x HTTP/1.1\r\nCookie: admin", "/a b", "http://a/"})
      CHECK_THROWS_AS(asks("a", target), std::invalid_argument);
    CHECK_NOTHROW(asks("[::1]:80", "/a%20b?c=d"));
    CHECK(http::connect_websocket("127.0.0.1:1").error().category() == http::url_category());
    CHECK(http::connect_websocket("wss://127.0.0.1:1/").error() == make_error_code(http::errc::no_tls));
    const eventer::syscalls::fault_function no_random = [](eventer::syscalls::call which) {
      return which == eventer::syscalls::call::getrandom ? ENOSYS : 0;
    };
    auto pair = eventer::memory_stream_pair();
    eventer::syscalls::fault_hook = no_random;
    const auto got = http::websocket_over(std::move(pair.near), "a", "/");
    eventer::syscalls::fault_hook = nullptr;
    CHECK(got.error() == std::errc::io_error);
    http::websocket none;
    CHECK(none.read().error() == eventer::errc::closed);
    CHECK(none.write("x").error() == eventer::errc::closed);
    CHECK(none.close().error() == eventer::errc::closed);
    CHECK_FALSE(none.is_open());
  });
}

TEST_CASE("outside of any loop each call is refused with a sentence") {
  const auto over = [](const auto& call) {
    return [call] {
      http::websocket socket;
      eventer::run([&] {
        socket = http::websocket(std::move(eventer::memory_stream_pair().near), http::detail::websocket_side::client,
                                 {.write_stall = 0s});
      });
      call(socket);
    };
  };
  struct outside {
    const char* sentence;
    std::function<void()> call;
  };
  const outside cases[] = {
      {"connect_websocket outside a coroutine", [] { (void)http::connect_websocket("ws://127.0.0.1:1/"); }},
      {"websocket_over outside a coroutine",
       [] { (void)http::websocket_over(std::move(eventer::memory_stream_pair().near), "a", "/"); }},
      {"a websocket is read outside a coroutine", over([](http::websocket& socket) { (void)socket.read(); })},
      {"a websocket on a thread that runs no loop", over([](http::websocket& socket) { (void)socket.write("a"); })},
      {"a websocket on a thread that runs no loop", over([](http::websocket& socket) { (void)socket.ping(); })},
      {"a websocket on a thread that runs no loop", over([](http::websocket& socket) { (void)socket.close(); })},
      {"a websocket is read outside a coroutine",
       [] {
         eventer::run([] {
           const auto socket = std::make_shared<http::websocket>(std::move(eventer::memory_stream_pair().near),
                                                                 http::detail::websocket_side::client);
           eventer::event_loop::current().post([socket] { (void)socket->read(); });
           eventer::sleep_for(1s);
         });
       }},
  };
  for (const outside& each : cases) {
    const child_result result = run_in_child(each.call);
    CAPTURE(each.sentence, result.output);
    CHECK(result.signal == SIGABRT);
    CHECK(contains(result.output, each.sentence));
  }
}

TEST_CASE("client and server: messages of all sizes both ways, and the end from each side") {
  eventer::run([] {
    http::router routes;
    routes.websocket("/echo", echo);
    routes.websocket("/ends", [](http::websocket& socket) {
      (void)socket.write("last words");
      (void)socket.close(4001, "over");
    });
    const http::server server(std::move(routes));
    auto acceptor = eventer::tcp_acceptor::listen("127.0.0.1:0").value();
    const std::string url = "ws://" + acceptor.local().to_string();
    auto serves = eventer::spawn([server, acceptor = std::move(acceptor)]() mutable { (void)server.serve(acceptor); });
    auto socket = http::connect_websocket(url + "/echo", {.socket = {.max_message = 10'000'000}});
    REQUIRE(why(socket).empty());
    for (const std::size_t size : {0u, 1u, 125u, 126u, 65535u, 65536u, 1'000'000u}) {
      const std::string payload(size, 'm');
      REQUIRE(socket->write(payload));
      const auto got = socket->read(10s);
      REQUIRE(got);
      CHECK(got->is_text);
      CHECK(got->data == payload);
      REQUIRE(socket->ping("x"));
      REQUIRE(socket->write_binary(payload));
      CHECK_FALSE(socket->read(10s).value().is_text);
    }
    CHECK(why(socket->close(1000, "bye")).empty());
    CHECK(socket->close_code() == 1000);
    auto other = http::connect_websocket(url + "/ends");
    REQUIRE(other);
    CHECK(other->read(10s).value().data == "last words");
    CHECK(other->read(10s).error() == eventer::errc::end_of_stream);
    CHECK(other->close_code() == 4001);
    CHECK(other->close_reason() == "over");
    CHECK(http::status_of_refusal(http::connect_websocket(url + "/none").error()) == 404);
    auto large = http::connect_websocket(url + "/echo", {.socket = {.max_message = 100}});
    REQUIRE(large->write(std::string(101, 'l')));
    CHECK(large->read(10s).error() == make_error_code(http::websocket_errc::too_large));
    CHECK(large->close_code() == 1009);
    (void)large->close();
    (void)server.drain(10s, 0s);
    serves.join();
  });
}

TEST_CASE("client: a message that is sent in many pieces is whole, masked, and cut by a cancellation only") {
  run_virtually([] {
    const auto got_size = std::make_shared<std::size_t>(0);
    const http::server server(one_socket([got_size](http::websocket& socket) {
      while (const auto message = socket.read()) *got_size = message->data.size();
    }));
    auto pair = eventer::memory_stream_pair({.seed = 2, .short_writes = 30, .would_blocks = 20, .capacity = 3000});
    (void)eventer::spawn(
        [server, far = eventer::any_stream(std::move(pair.far))]() mutable { server(std::move(far)); });
    const auto socket = std::make_shared<http::websocket>(http::websocket_over(std::move(pair.near), "a", "/").value());
    REQUIRE(socket->write(std::string(100'000, 'x')));
    eventer::sleep_for(1s);
    CHECK(*got_size == 100'000);
    CHECK(why(socket->close()).empty());
  });
}

TEST_CASE("client: a server that masks, or sends what is none, is told so") {
  run_virtually([] {
    for (const std::string& wrong : {text("a"), frame(3, "", {.masked = false}), text("\xff", {.masked = false})}) {
      by_hand server([wrong](const std::string& key) { return agree(key) + wrong; });
      auto socket = http::websocket_over(std::move(server.near), "a", "/");
      REQUIRE(socket);
      const auto got = socket->read();
      CHECK_FALSE(got);
      CHECK(socket->close_code() == (wrong.ends_with("\xff") ? 1007 : 1002));
    }
  });
}

TEST_CASE("client: a connection may be reset behind any byte, and any read or write may be short") {
  run_virtually([] {
    const http::server server(one_socket(echo));
    std::size_t whole = 0, cut = 0;
    for (std::uint64_t at = 0; at < 1000; ++at) {
      CAPTURE(at);
      auto pair = eventer::memory_stream_pair({.seed = at + 1,
                                               .short_reads = at % 3 == 0 ? 50u : 0,
                                               .short_writes = at % 5 == 0 ? 50u : 0,
                                               .would_blocks = at % 2 == 0 ? 30u : 0,
                                               .reset_after = at});
      auto serves = eventer::spawn(
          [server, far = eventer::any_stream(std::move(pair.far))]() mutable { server(std::move(far)); });
      {
        auto socket = http::websocket_over(std::move(pair.near), "a", "/");
        const bool works = socket && socket->write(std::string(200, 'x')) && socket->read(10s) && socket->close();
        ++(works ? whole : cut);
        if (socket && !works) CHECK_FALSE(socket->is_open());
      }
      serves.join();
    }
    CHECK(cut > 500);
    CHECK(whole > 100);
  });
}

TEST_CASE("wss: the same over TLS, with a certificate that is verified") {
  eventer::run([] {
    const http::server server(one_socket(echo));
    auto acceptor = eventer::tcp_acceptor::listen("127.0.0.1:0").value();
    const auto port = acceptor.local().port();
    auto serves = eventer::spawn([server, acceptor = std::move(acceptor)]() mutable {
      (void)server.serve(acceptor, test_certificates().server());
    });
    const std::string url = "wss://localhost:" + std::to_string(port) + "/";
    auto socket = http::connect_websocket(url, test_certificates().client());
    REQUIRE(why(socket).empty());
    for (const std::size_t size : {1u, 100'000u}) {
      REQUIRE(socket->write(std::string(size, 't')));
      CHECK(socket->read(10s).value().data.size() == size);
    }
    CHECK(why(socket->close()).empty());
    CHECK(socket->close_code() == 1000);
    CHECK_FALSE(http::connect_websocket("wss://127.0.0.2:" + std::to_string(port), test_certificates().client()));
    // Over the server's own TLS a page that came in the clear is not its host's.
    const auto from = [&](const std::string& origin) {
      return http::status_of_refusal(
          http::connect_websocket(url, test_certificates().client(), {.headers = {{"Origin", origin}}}).error());
    };
    CHECK(from("http://localhost:" + std::to_string(port)) == 403);
    auto page = http::connect_websocket(url, test_certificates().client(),
                                        {.headers = {{"Origin", "https://localhost:" + std::to_string(port)}}});
    CHECK(why(page).empty());
    if (page) CHECK(why(page->close()).empty());
    auto drained = http::connect_websocket(url, test_certificates().client());
    auto drains = eventer::spawn([server] { return server.drain(10s, 10ms); });
    CHECK(drained->read(10s).error() == eventer::errc::end_of_stream);
    CHECK(drained->close_code() == 1001);
    CHECK(drains.join() == 0);
    serves.join();
  });
}
