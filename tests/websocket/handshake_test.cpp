// The handshake: what is agreed on, what is refused and how, and whose the connection is then.
#include "../captured_log.hpp"
#include "ws_client.hpp"

using namespace ws_test;

TEST_CASE("SHA-1 and base64: the examples of their standards, and of RFC 6455") {
  using namespace eventer::http::detail;
  const auto hex = [](std::string_view bytes) {
    std::string result;
    for (const char each : bytes) {
      const auto byte = static_cast<unsigned char>(each);
      result += "0123456789abcdef"[byte >> 4];
      result += "0123456789abcdef"[byte & 15];
    }
    return result;
  };
  CHECK(hex(sha1("")) == "da39a3ee5e6b4b0d3255bfef95601890afd80709");
  CHECK(hex(sha1("abc")) == "a9993e364706816aba3e25717850c26c9cd0d89d");
  CHECK(hex(sha1("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")) ==
        "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
  CHECK(hex(sha1(std::string(1'000'000, 'a'))) == "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
  CHECK(base64("").empty());
  CHECK(base64("f") == "Zg==");
  CHECK(base64("fo") == "Zm8=");
  CHECK(base64("foo") == "Zm9v");
  CHECK(base64("foob") == "Zm9vYg==");
  CHECK(base64("\xff\xfe\xfd") == "//79");
  CHECK(websocket_accept("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
  CHECK(is_base64_of_16("dGhlIHNhbXBsZSBub25jZQ=="));
  for (const std::string_view wrong :
       {"", "dGhlIHNhbXBsZSBub25jZQ=", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZR==", "dGhlIHNhbXBsZSBub25jZ===",
        "dGhlIHNhbXBsZSBub2-jZQ==", "dGhlIHNhbXBsZSBub25jZQ==AAAA"}) {
    CAPTURE(wrong);
    CHECK_FALSE(is_base64_of_16(wrong));
  }
}

TEST_CASE("what is a handshake, and what is answered to everything else") {
  struct refused {
    const char* what;
    std::string request;
    int status;
  };
  const std::string key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", version = "Sec-WebSocket-Version: 13\r\n",
                    upgrade = "Upgrade: websocket\r\n", connection = "Connection: Upgrade\r\n";
  const auto ask = [](const std::string& fields, const std::string& line = "GET / HTTP/1.1") {
    return line + "\r\nHost: a.example\r\n" + fields + "\r\n";
  };
  const std::string all = key + version + upgrade + connection;
  const refused cases[] = {
      {"plain", ask(all), 101},
      {"other cases", ask("UPGRADE: WebSocket\r\nconnection: keep-alive, upgrade\r\n" + key + version), 101},
      {"one of two protocols", ask("Upgrade: h2c, websocket\r\n" + connection + key + version), 101},
      {"the same origin", ask(all + "Origin: http://a.example\r\n"), 101},
      {"the same origin, in capitals, with its port", ask(all + "Origin: https://A.Example:443\r\n"), 101},
      {"no body, and it says so", ask(all + "Content-Length: 0\r\n"), 101},
      {"no upgrade", ask(""), 426},
      {"another protocol", ask("Upgrade: h2c\r\n" + connection + key + version), 426},
      {"not in Connection", ask(upgrade + key + version), 426},
      {"Connection without Upgrade", ask(connection + key + version), 426},
      {"HTTP/1.0", ask(all, "GET / HTTP/1.0"), 426},
      {"HEAD", ask(all, "HEAD / HTTP/1.1"), 426},
      {"no version", ask(key + upgrade + connection), 426},
      {"another version", ask(key + upgrade + connection + "Sec-WebSocket-Version: 8\r\n"), 426},
      {"no key", ask(version + upgrade + connection), 400},
      {"an empty key", ask(version + upgrade + connection + "Sec-WebSocket-Key: \r\n"), 400},
      {"a short key", ask(version + upgrade + connection + "Sec-WebSocket-Key: AAAA\r\n"), 400},
      {"two keys", ask(all + key), 400},
      {"two versions", ask(all + "Sec-WebSocket-Version: 8\r\n"), 400},
      {"two versions, the right one behind", ask("Sec-WebSocket-Version: 8\r\n" + all), 400},
      {"two origins", ask(all + "Origin: http://a.example\r\nOrigin: http://b.example\r\n"), 400},
      {"a body", ask(all + "Content-Length: 1\r\n") + "x", 400},
      {"a body in chunks", ask(all + "Transfer-Encoding: chunked\r\n") + "0\r\n\r\n", 400},
      {"another origin", ask(all + "Origin: http://b.example\r\n"), 403},
      {"another port", ask(all + "Origin: http://a.example:8080\r\n"), 403},
      {"no port of the scheme", ask(all + "Origin: https://a.example:80\r\n"), 403},
      {"a longer host", ask(all + "Origin: http://a.example.org\r\n"), 403},
      {"another scheme", ask(all + "Origin: ftp://a.example\r\n"), 403},
      {"a page of nobody", ask(all + "Origin: null\r\n"), 403},
      {"POST", ask(all, "POST / HTTP/1.1"), 405},
  };
  run_virtually([&cases] {
    const http::server server(one_socket(echo));
    for (const refused& each : cases) {
      CAPTURE(each.what);
      memory_client peer(server);
      const answer got = peer.ask(each.request, each.request.starts_with("HEAD"));
      CHECK(got.status == each.status);
      if (each.status == 426) {
        CHECK(got.field("sec-websocket-version") == "13");
        CHECK(got.field("upgrade") == "websocket");
        if (!each.request.starts_with("GET / HTTP/1.0")) CHECK(got.field("connection") == "Upgrade");
      }
      if (each.status != 101 && !each.request.starts_with("HEAD")) CHECK_FALSE(got.body.empty());
      if (each.status != 101) continue;
      CHECK(got.field("sec-websocket-accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
      CHECK(lower(got.field("upgrade")) == "websocket");
      CHECK(lower(got.field("connection")) == "upgrade");
      CHECK(got.count("sec-websocket-protocol") == 0);
      REQUIRE(peer.send(text("hello")));
      CHECK(peer.next() == "T<hello>");
    }
  });
}

TEST_CASE("origins: a list, or everybody") {
  run_virtually([] {
    const http::server listed(one_socket(echo, {.origins = {"https://page.example", "null"}}));
    const http::server open(one_socket(echo, {.origins = {"*"}}));
    const auto status = [](const http::server& of, const std::string& origin) {
      memory_client peer(of);
      return peer.open("/", origin.empty() ? origin : "Origin: " + origin + "\r\n");
    };
    CHECK(status(listed, "https://page.example") == 101);
    CHECK(status(listed, "null") == 101);
    CHECK(status(listed, "") == 101);
    CHECK(status(listed, "http://page.example") == 403);
    CHECK(status(listed, "http://a") == 403);  // the host itself is not in the list
    CHECK(status(open, "http://anybody.example") == 101);
    for (const char* each : {"https://page.example/", "page.example", "", "://page.example", "https://", "https://a b"})
      CHECK_THROWS_AS(one_socket(echo, {.origins = {each}}), std::invalid_argument);
    CHECK_NOTHROW(one_socket(echo, {.origins = {"https://[::1]:8080", "chrome-extension://abc"}}));
  });
}

TEST_CASE("subprotocols: the client's first that is known") {
  run_virtually([] {
    const http::server server(one_socket([](http::websocket& socket) { (void)socket.write(socket.subprotocol()); },
                                         {.protocols = {"soap", "chat.v2", "chat"}}));
    const auto agreed = [&server](std::string_view fields) {
      memory_client peer(server);
      const answer got = peer.ask(handshake("/", fields));
      const std::string told = got.status == 101 ? peer.next() : "refused";
      CHECK(told == "T<" + (got.count("sec-websocket-protocol") == 1 ? got.field("sec-websocket-protocol") : "") + ">");
      return told;
    };
    CHECK(agreed("") == "T<>");
    CHECK(agreed("Sec-WebSocket-Protocol: chat\r\n") == "T<chat>");
    CHECK(agreed("Sec-WebSocket-Protocol: unknown, chat.v2 ,chat\r\n") == "T<chat.v2>");
    CHECK(agreed("Sec-WebSocket-Protocol: unknown\r\nSec-WebSocket-Protocol: soap\r\n") == "T<soap>");
    CHECK(agreed("Sec-WebSocket-Protocol: CHAT\r\n") == "T<>");
  });
}

TEST_CASE("a handler agrees or not, and what is around it has the last word") {
  const auto statuses = std::make_shared<std::string>();
  run_virtually([statuses] {
    http::router routes;
    routes.use([](http::request& asked, http::response& answer, const http::next& next) {
      next();
      answer.header("X-Around", "1");
      if (asked.query("take") == "back") answer.status(503).text("not now");
    });
    routes.get("/rooms/{room}", [](http::request& asked, http::response& answer) {
      if (asked.parameter("room") == "secret") return void(answer.status(401));
      answer.header("X-Room", asked.parameter("room"));
      CHECK(http::serve_websocket(
          asked, answer,
          [room = std::string(asked.parameter("room"))](http::websocket& socket) { (void)socket.write(room); }));
      CHECK(answer.status() == 101);
    });
    routes.get("/throws", [](http::request& asked, http::response& answer) {
      http::serve_websocket(asked, answer, echo);
      throw http::error(409, "no");
    });
    routes.get("/writes", [](http::request& asked, http::response& answer) {
      http::serve_websocket(asked, answer, echo);
      CHECK(answer.write("x").error() == make_error_code(http::errc::answered));
      CHECK_FALSE(answer.upgrade("websocket"));
    });
    const http::server server(std::move(routes), {.access_log = [statuses](const http::access_entry& entry) {
                                *statuses += std::to_string(entry.answer.status()) + " ";
                              }});
    memory_client agreed(server), secret(server), taken(server), throws(server), writes(server);
    const answer got = agreed.ask(handshake("/rooms/blue"));
    CHECK(got.status == 101);
    CHECK(got.field("x-room") == "blue");
    CHECK(got.field("x-around") == "1");
    CHECK(agreed.next() == "T<blue>");
    CHECK(agreed.next() == "C<1000 >");
    CHECK(secret.open("/rooms/secret") == 401);
    const answer back = taken.ask(handshake("/rooms/blue?take=back"));
    CHECK(back.status == 503);
    CHECK(back.body == "not now");
    CHECK(taken.ask(get("/none")).status == 404);  // and the connection is HTTP's still
    CHECK(throws.open("/throws") == 409);
    CHECK(writes.open("/writes") == 101);
    REQUIRE(writes.send(text("x")));
    CHECK(writes.next() == "T<x>");
  });
  CHECK(*statuses == "101 401 503 404 409 101 ");
}

TEST_CASE("what is sent around the handshake is not lost: requests before it, frames behind it") {
  run_virtually([] {
    http::router routes = one_socket(echo);
    routes.get("/page", [](http::request&, http::response& answer) { answer.text("page"); });
    const http::server server(std::move(routes));
    const std::string big(100'000, 'b');
    const std::string bytes = get("/page") + get("/page") + handshake() + text("at once") + frame(9, "p") + text(big) +
                              text("tail", open_ended);
    for (const std::size_t cut : {std::size_t{0}, get("/page").size() * 2 + handshake().size(),
                                  get("/page").size() * 2 + handshake().size() + 3, bytes.size() - 2}) {
      CAPTURE(cut);
      const auto shared = std::make_shared<memory_client>(server);
      memory_client& peer = *shared;
      auto sends = eventer::spawn([shared, bytes, cut] {
        (void)shared->send(bytes.substr(0, cut));
        eventer::sleep_for(1s);
        (void)shared->send(bytes.substr(cut) + frame(0, "."));
      });
      CHECK(peer.read().body == "page");
      CHECK(peer.read().body == "page");
      CHECK(peer.read().status == 101);
      CHECK(peer.next() == "T<at once>");
      CHECK(peer.next() == "O<p>");
      CHECK(peer.next() == "T<" + big + ">");
      CHECK(peer.next() == "T<tail.>");
      sends.join();
    }
  });
}

TEST_CASE("the request and its exchange are gone while a socket is served, and the stream is the socket's") {
  run_virtually([] {
    const auto gone = std::make_shared<int>(0);
    struct counted {
      std::shared_ptr<int> count;
      ~counted() {
        if (count != nullptr) ++*count;
      }
      counted(std::shared_ptr<int> c) : count(std::move(c)) {}
      counted(counted&&) = default;
    };
    http::router routes;
    routes.get("/", [gone](http::request& asked, http::response& answer) {
      const counted here(gone);
      http::serve_websocket(asked, answer, [gone, kept = std::make_shared<counted>(gone)](http::websocket& socket) {
        CHECK(*gone == 1);
        CHECK(socket.peer().to_string() == eventer::endpoint().to_string());
        CHECK(socket.is_open());
        echo(socket);
        CHECK_FALSE(socket.is_open());
      });
    });
    const http::server server(std::move(routes));
    memory_client peer(server);
    REQUIRE(peer.open() == 101);
    REQUIRE(peer.send(text("a")));
    CHECK(peer.next() == "T<a>");
    CHECK(server.statistics().requests == 1);
    CHECK(server.statistics().open == 1);
    REQUIRE(peer.send(frames::close(1000)));
    CHECK(peer.next() == "C<1000 >");
    CHECK(peer.ends());
    eventer::sleep_for(1s);
    CHECK(peer.is_over());
    CHECK(*gone == 2);
    CHECK(server.statistics().open == 0);
  });
}
