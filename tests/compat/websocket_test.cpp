// WebSocket under the names of the C interface: which rule serves it, its messages both ways, and its end. The client
// is the library's own.
#include <fcntl.h>

#include <atomic>
#include <thread>

#include "configured_listeners.hpp"
#include "eventer/websocket.hpp"
#include "rest_client.hpp"
#if defined(EVENTER_ACO_WITH_TLS)
#include "../tls/certificates.hpp"
#endif

using namespace rest_test;
namespace http = eventer::http;

namespace {

constexpr int text = 1, binary = 2, closing = 8, ping = 9, pong = 10;  // opcodes

// A client, and the connection that is served for it. In a coroutine of the test's own loop.
struct talk {
  explicit talk(const std::string& target, std::vector<std::string> protocols = {"chat"},
                std::vector<std::pair<std::string, std::string>> headers = {}, const client_options& options = {},
                http::websocket_options with = {})
      : served(options) {
    eventer::unique_fd fd = served.release();
    ::fcntl(fd.get(), F_SETFL, ::fcntl(fd.get(), F_GETFL) | O_NONBLOCK);
    with.protocols = std::move(protocols);
    auto made = http::websocket_over(eventer::any_stream(eventer::tcp_stream::from_fd(fd.release()).value()), "a",
                                     target, {.socket = with, .headers = std::move(headers)});
    if (made)
      socket = std::move(*made);
    else
      status = http::status_of_refusal(made.error());
  }
  // The next message, "[binary]" before one of that kind; or how it has ended: its code and reason.
  std::string next() {
    const auto got = socket.read(std::chrono::seconds(100));
    if (got) return (got->is_text ? "" : "[binary]") + got->data;
    return "<" + std::to_string(socket.close_code()) + std::string(socket.close_reason().empty() ? "" : " ") +
           std::string(socket.close_reason()) + ">";
  }
  std::string ask(std::string_view message) { return socket.write(message) ? next() : "<not sent>"; }

  client served;
  http::websocket socket;
  int status = 101;
};
// Runs the test's side of it.
template <class F>
void talking(const F& body) {
  eventer::run([&] { body(); });
}

mtev_boolean queue(mtev_http_session_ctx* to, int opcode, std::string_view what) {
  return mtev_http_websocket_queue_msg(to, opcode, reinterpret_cast<const unsigned char*>(what.data()), what.size());
}
std::string_view said(const unsigned char* message, size_t size) {
  return {reinterpret_cast<const char*>(message), size};
}
int echo(mtev_http_rest_closure_t* rest, int opcode, const unsigned char* message, size_t size) {
  const bool ends_with_nul = message[size] == '\0';
  return ends_with_nul && queue(rest->http_ctx, opcode, said(message, size)) != mtev_false ? 0 : -1;
}
void echoes(const char* base, const char* expression = "^x$") {
  REQUIRE(mtev_http_rest_websocket_register(base, expression, "chat", echo) == 0);
}

// A connection as other threads see it: the handler notes it at its first message, and the test holds it.
struct noted {
  std::atomic<mtev_http_session_ctx*> session{nullptr};
  once opened, freed;
  std::atomic<int> times_freed{0};
};
int note(mtev_http_rest_closure_t* rest, int, const unsigned char*, size_t) {
  auto& to = of<noted>(rest);
  if (rest->call_closure != nullptr) return 0;
  rest->call_closure = &to;
  rest->call_closure_free = [](void* closure) {
    auto& all = *static_cast<noted*>(closure);
    ++all.times_freed;
    all.freed.give();
  };
  mtev_http_session_ref_inc(rest->http_ctx);
  to.session = rest->http_ctx;
  to.opened.give();
  return 0;
}
noted& notes(const char* base, const char* expression = "^x$") {
  auto& made = kept<noted>();
  REQUIRE(mtev_http_rest_websocket_register_closure(base, expression, "chat", note, &made) == 0);
  return made;
}

}  // namespace

TEST_CASE("websocket: each message goes to the handler, whole, and what it queues comes back in order") {
  echoes("/ws-echo/");
  talking([] {
    talk one("/ws-echo/x");
    REQUIRE(one.status == 101);
    CHECK(one.socket.subprotocol() == "chat");
    CHECK(one.ask("hello") == "hello");
    CHECK(one.ask("") == "");
    CHECK(one.ask("gr\xc3\xbc\xc3\x9f") == "gr\xc3\xbc\xc3\x9f");
    REQUIRE(one.socket.write_binary("\xff\0\x01"s));
    CHECK(one.next() == "[binary]\xff\0\x01"s);
    const std::string large = some_bytes(900'000);
    CHECK(one.ask(large) == large);
    for (int i = 0; i < 100; ++i) REQUIRE(one.socket.write(std::to_string(i)));
    for (int i = 0; i < 100; ++i) CHECK(one.next() == std::to_string(i));
    CHECK(one.socket.close(1000));
  });
}

TEST_CASE("websocket: the rule is the one for the protocol and the path, and other requests have their own") {
  const auto says = [](mtev_http_rest_closure_t* rest, int, const unsigned char*, size_t) {
    std::string all = static_cast<const char*>(rest->closure);
    for (int i = 0; i < rest->nparams; ++i) all.append("|").append(rest->params[i]);
    return queue(rest->http_ctx, text, all) != mtev_false ? 0 : -1;
  };
  const auto plain = [](mtev_http_rest_closure_t* rest, int, char**) {
    say(rest, mtev_http_is_websocket(rest->http_ctx) != mtev_false ? "websocket?" : "plain");
    return 0;
  };
  const auto with = [](const char* name) { return const_cast<char*>(name); };
  REQUIRE(mtev_http_rest_websocket_register_closure("/ws-which/", "^a/(.*)$", "one", says, with("one")) == 0);
  REQUIRE(mtev_http_rest_websocket_register_closure("/ws-which/", "^a/(.*)$", "two", says, with("two")) == 0);
  REQUIRE(mtev_http_rest_register("GET", "/ws-which/", "^a/later$", plain) == 0);
  mtev_rest_mountpoint_t* const both =
      mtev_http_rest_new_rule_auth_closure("GET", "/ws-which/", "^both$", plain, says, "one", nullptr, with("both"));
  REQUIRE(both != nullptr);
  REQUIRE(mtev_http_rest_register("GET", "/ws-which/", "^none$", plain) == 0);
  struct row {
    const char* target;
    std::vector<std::string> protocols;
    std::string expected;
  };
  const row rows[] = {
      {"/ws-which/a/1", {"one"}, "one: one|1"},
      {"/ws-which/a/b%20c?x=y", {"two"}, "two: two|b c"},
      {"/ws-which/a/", {"three", "two", "one"}, "two: two|"},
      {"/ws-which/a/1", {"three"}, "400"},
      {"/ws-which/a/1", {"ONE"}, "400"},
      {"/ws-which/a/1", {}, "400"},
      {"/ws-which/both", {"one"}, "one: both"},
      {"/ws-which/both", {"two"}, "400"},
      {"/ws-which/none", {"one"}, "200"},  // it is no WebSocket's, and the server may go on with HTTP
      {"/ws-which/nothing", {"one"}, "404"},
  };
  talking([&] {
    for (const row& each : rows) {
      CAPTURE(each.target, each.protocols.size());
      talk one(each.target, each.protocols);
      std::string got = std::to_string(one.status);
      if (one.status == 101) got = std::string(one.socket.subprotocol()).append(": ").append(one.ask("?"));
      CHECK(got == each.expected);
    }
  });
  client asks;
  CHECK(asks.get("/ws-which/both").body == "plain");
  CHECK(asks.get("/ws-which/a/later").body == "plain");
  CHECK(asks.get("/ws-which/a/1").status == 404);
  CHECK(asks.ask(post("/ws-which/both", "x")).status == 405);

  SECTION("changed while the server runs") {
    mtev_rest_mountpoint_set_websocket(both, "new", says);
    talking([&] {
      CHECK(talk("/ws-which/both", {"one"}).status == 400);
      CHECK(talk("/ws-which/both", {"new"}).ask("?") == "both");
    });
    mtev_rest_mountpoint_set_websocket(both, nullptr, nullptr);
    talking([&] { CHECK(talk("/ws-which/both", {"new"}).status == 200); });
  }
  SECTION("malformed handshakes") {
    CHECK(asks.get("/ws-which/a/1",
                   "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 12\r\n"
                   "Sec-WebSocket-Protocol: one\r\n")
              .status == 426);
    CHECK(asks.get("/ws-which/a/1",
                   "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                   "Sec-WebSocket-Protocol: one\r\nSec-WebSocket-Key: short\r\n")
              .status == 400);
    CHECK(asks.get("/ws-which/both").body == "plain");  // the connection is HTTP's still
  }
}

TEST_CASE("websocket: rules that can't be served are refused with a sentence") {
  const log_lines log;
  const auto add = [](const char* method, const char* protocol) {
    return mtev_http_rest_new_rule_auth_closure(method, "/ws-bad/", "^x$", nullptr, echo, protocol, nullptr, nullptr);
  };
  CHECK(add("POST", "chat") == nullptr);
  CHECK(log.has("a WebSocket begins with a GET"));
  CHECK(add("GET", nullptr) == nullptr);
  CHECK(add("GET", "") == nullptr);
  CHECK(add("WS", "a b") == nullptr);
  CHECK(log.has("a WebSocket's rule has a protocol"));
  CHECK(mtev_http_rest_websocket_register("/no/slash", "^x$", "chat", echo) == -1);
  CHECK(mtev_http_rest_websocket_register("/ws-bad/", "(", "chat", echo) == -1);
  mtev_rest_mountpoint_t* const posted = mtev_http_rest_new_rule(
      "POST", "/ws-bad/", "^y$", [](mtev_http_rest_closure_t* rest, int, char**) { return say(rest, "y"), 0; });
  REQUIRE(posted != nullptr);
  mtev_rest_mountpoint_set_websocket(posted, "chat", echo);
  talking([] {
    CHECK(talk("/ws-bad/x").status == 404);
    CHECK(talk("/ws-bad/y").status == 405);
  });
}

TEST_CASE("websocket: its authorization is asked before the 101, and may say something first") {
  struct asked {
    std::atomic<int> freed{0};
  };
  asked& all = kept<asked>();
  const auto admits = [](mtev_http_rest_closure_t* rest, int, char** pats) {
    rest->call_closure = rest->closure;
    rest->call_closure_free = [](void* closure) { ++static_cast<asked*>(closure)->freed; };
    const std::string_view who = pats[0];
    if (mtev_http_is_websocket(rest->http_ctx) == mtev_false) return mtev_false;
    if (who == "itself") {
      mtev_http_response_standard(rest->http_ctx, 401, "UNAUTHORIZED", "text/plain");
      (void)mtev_http_response_end(rest->http_ctx);
      return mtev_false;
    }
    return queue(rest->http_ctx, text, "welcome") != mtev_false && who == "friend" ? mtev_true : mtev_false;
  };
  REQUIRE(mtev_http_rest_websocket_register_auth_closure("/ws-auth/", "^(.*)$", "chat", echo, admits, &all) == 0);
  talking([&] {
    CHECK(talk("/ws-auth/stranger").status == 403);
    CHECK(all.freed == 1);
    CHECK(talk("/ws-auth/itself").status == 401);
    CHECK(all.freed == 2);
    {
      talk one("/ws-auth/friend");
      REQUIRE(one.status == 101);
      CHECK(one.next() == "welcome");
      CHECK(one.ask("hello") == "hello");
      CHECK(all.freed == 2);
      CHECK(one.socket.close(1000));
    }
    CHECK(all.freed == 3);
  });
}

TEST_CASE("websocket: pages of another host may connect where the listener's config says so") {
  echoes("/ws-origin/");
  config_table some({{"websocket_origins", "https://one.example  https://two.example"}}),
      any({{"websocket_origins", "*"}});
  struct row {
    mtev_hash_table* config;
    const char* origin;
    int expected;
  };
  const row rows[] = {
      {nullptr, "http://a", 101},    {nullptr, "http://evil.example", 403},   {some.get(), "https://two.example", 101},
      {some.get(), "http://a", 403}, {any.get(), "http://evil.example", 101},
  };
  talking([&] {
    for (const row& each : rows) {
      CAPTURE(each.origin, each.config == nullptr);
      CHECK(talk("/ws-origin/x", {"chat"}, {{"Origin", each.origin}}, {.config = each.config}).status == each.expected);
    }
  });
}

TEST_CASE("websocket: what the request said can be asked for as long as the connection is there") {
  const auto tells = [](mtev_http_rest_closure_t* rest, int, const unsigned char*, size_t) {
    mtev_http_request* const request = mtev_http_session_request(rest->http_ctx);
    std::string all = mtev_http_request_method_str(request);
    all.append(" ").append(mtev_http_request_uri_str(request));
    all.append(" ").append(mtev_http_request_orig_querystring(request));
    all.append(" ").append(mtev_http_request_querystring(request, "b"));
    all.append(" ").append(mtev_http_request_protocol_str(request));
    all.append(" ").append(mtev_hash_dict_get(mtev_http_request_headers_table(request), "x-name"));
    all.append(" ").append(rest->remote_cn);
    all.append(mtev_http_response_append_str(rest->http_ctx, "late") != mtev_false ? " said" : "");
    return queue(rest->http_ctx, text, all) != mtev_false ? 0 : -1;
  };
  REQUIRE(mtev_http_rest_websocket_register("/ws-request/", "^x$", "chat", tells) == 0);
  talking([] {
    talk one("/ws-request/x?a=1&b=2%203", {"chat"}, {{"X-Name", "value"}}, {.common_name = "me"});
    CHECK(one.ask("?") == "GET /ws-request/x a=1&b=2%203 2 3 HTTP/1.1 value me");
    CHECK(one.ask("?") == "GET /ws-request/x a=1&b=2%203 2 3 HTTP/1.1 value me");
  });
}

TEST_CASE("websocket: a handler ends the connection, and what it has queued arrives first") {
  const auto ends = [](mtev_http_rest_closure_t* rest, int, const unsigned char* message, size_t size) {
    const std::string_view how = said(message, size);
    rest->call_closure = rest->closure;
    rest->call_closure_free = [](void* closure) { ++*static_cast<std::atomic<int>*>(closure); };
    for (const char* each : {"a", "b", "c"}) (void)queue(rest->http_ctx, text, each);
    if (how == "shutdown") rest->wants_shutdown = 1;
    if (how == "close") (void)queue(rest->http_ctx, closing, "");
    if (how == "code") (void)queue(rest->http_ctx, closing, "\x0f\xa1why");
    if (how == "close" || how == "code") return queue(rest->http_ctx, text, "too late") == mtev_false ? 0 : -1;
    return how == "result" ? -1 : 0;
  };
  std::atomic<int>& freed = kept<std::atomic<int>>();
  REQUIRE(mtev_http_rest_websocket_register_closure("/ws-end/", "^x$", "chat", ends, &freed) == 0);
  struct row {
    const char *how, *expected;
  };
  int ended = 0;
  for (const row& each :
       {row{"result", "<1000>"}, row{"shutdown", "<1000>"}, row{"close", "<1000>"}, row{"code", "<4001 why>"}}) {
    CAPTURE(each.how);
    talking([&] {
      {
        talk one("/ws-end/x");
        CHECK(one.ask(each.how) == "a");
        CHECK(one.next() == "b");
        CHECK(one.next() == "c");
        CHECK(one.next() == each.expected);
      }
      CHECK(freed == ++ended);
    });
  }
}

TEST_CASE("websocket: the handler may be changed between messages, and one in C++ that throws ends with 1011") {
  const auto first = [](mtev_http_rest_closure_t* rest, int, const unsigned char*, size_t) {
    rest->websocket_handler_memo = [](mtev_http_rest_closure_t* again, int, const unsigned char* m, size_t n) -> int {
      if (said(m, n) == "throw") throw std::runtime_error("x");
      return queue(again->http_ctx, text, "second") != mtev_false ? 0 : -1;
    };
    return queue(rest->http_ctx, text, "first") != mtev_false ? 0 : -1;
  };
  REQUIRE(mtev_http_rest_websocket_register("/ws-memo/", "^x$", "chat", first) == 0);
  talking([] {
    talk one("/ws-memo/x");
    CHECK(one.ask("?") == "first");
    CHECK(one.ask("?") == "second");
    CHECK(one.ask("throw") == "<1011 the server has failed>");
  });
}

TEST_CASE("websocket: a handler may wait, with its message, while other connections are served") {
  struct waiting {
    once begun, may_end;
    std::string seen{};
    const unsigned char* message = nullptr;
    std::size_t size = 0;
  };
  waiting& all = kept<waiting>();
  const auto waits = [](mtev_http_rest_closure_t* rest, int, const unsigned char* message, size_t size) {
    auto& mine = of<waiting>(rest);
    if (eventer_is_aco(nullptr) == 0) return -1;
    mine.message = message;
    mine.size = size;
    eventer_aco_simple_asynch(
        [](void* closure) {
          auto& job = *static_cast<waiting*>(closure);
          job.begun.give();
          (void)job.may_end.wait();
          job.seen = said(job.message, job.size);
        },
        &mine);
    return queue(rest->http_ctx, text, mine.seen) != mtev_false ? 0 : -1;
  };
  REQUIRE(mtev_http_rest_websocket_register_closure("/ws-wait/", "^x$", "chat", waits, &all) == 0);
  echoes("/ws-wait/", "^echo$");
  talking([&] {
    talk slow("/ws-wait/x"), quick("/ws-wait/echo");
    REQUIRE(slow.socket.write("short"));
    REQUIRE(all.begun.wait());
    for (int i = 0; i < 10; ++i) CHECK(quick.ask(std::to_string(i)) == std::to_string(i));
    all.may_end.give();
    CHECK(slow.next() == "short");
  });
}

TEST_CASE("websocket: threads queue messages at any time, and those of each arrive in order") {
  noted& one = notes("/ws-threads/");
  constexpr int threads = 4, each = 1000;
  talking([&] {
    talk peer("/ws-threads/x");
    REQUIRE(peer.socket.write("here"));
    REQUIRE(one.opened.wait());
    std::atomic<int> refused{0};
    std::vector<std::thread> all;
    for (int t = 0; t < threads; ++t)
      all.emplace_back([&, t] {
        for (int i = 0; i < each; ++i)
          if (queue(one.session, text, std::to_string(t * each + i)) == mtev_false) ++refused;
      });
    std::vector<int> seen(threads, 0);
    bool in_order = true;
    for (int i = 0; i < threads * each; ++i) {
      const int number = std::atoi(peer.next().c_str());
      in_order = in_order && number % each == seen[static_cast<std::size_t>(number / each)]++;
    }
    for (std::thread& thread : all) thread.join();
    CHECK(in_order);
    CHECK(refused == 0);
    CHECK(queue(one.session, closing, "\x03\xe9") == mtev_true);
    CHECK(queue(one.session, text, "x") == mtev_false);
    CHECK(peer.next() == "<1001>");
  });
  REQUIRE(one.freed.wait());
  CHECK(one.times_freed == 1);
  CHECK(queue(one.session, text, "x") == mtev_false);
  CHECK(mtev_http_is_websocket(one.session) == mtev_true);
  CHECK(mtev_http_session_ref_dec(one.session) == mtev_true);
}

TEST_CASE("websocket: what is no message is refused, and the connection goes on") {
  noted& one = notes("/ws-refused/");
  struct row {
    int opcode;
    std::string payload;
    bool is_taken;
  };
  const row rows[] = {
      {0, "x", false},
      {3, "x", false},
      {11, "", false},
      {text | binary | closing, "", false},
      {text, "\xff", false},
      {ping, std::string(126, 'x'), false},
      {pong, std::string(126, 'x'), false},
      {closing, "x", false},              // half a code
      {closing, "\x03\xed"s, false},      // 1005, which is never sent
      {closing, "\x03\xe8\xff"s, false},  // a reason that is not UTF-8
      {closing, "\x03\xe8" + std::string(124, 'x'), false},
      {ping, std::string(125, 'x'), true},
      {pong, "", true},
      {binary, "\xff", true},
  };
  talking([&] {
    talk peer("/ws-refused/x");
    REQUIRE(peer.socket.write("here"));
    REQUIRE(one.opened.wait());
    for (const row& each : rows) {
      CAPTURE(each.opcode, each.payload);
      CHECK((queue(one.session, each.opcode, each.payload) != mtev_false) == each.is_taken);
    }
    CHECK(peer.next() == "[binary]\xff");
    CHECK(peer.socket.close(1000));
  });
  REQUIRE(one.freed.wait());
  CHECK(mtev_http_session_ref_dec(one.session) == mtev_true);
}

TEST_CASE("websocket: a peer that takes too little ends, and whoever queues more hears so") {
  noted& one = notes("/ws-slow/");
  eventer_propset("websocket_queue_limit", "100000");
  talking([&] {
    talk peer("/ws-slow/x", {"chat"}, {}, {.buffer_bytes = 4096});
    REQUIRE(peer.socket.write("here"));
    REQUIRE(one.opened.wait());
    const std::string piece(10'000, 'x');
    bool went = true;
    int count = 0;
    for (; went && count < 10'000; ++count) went = queue(one.session, binary, piece) != mtev_false;
    CHECK_FALSE(went);
    CHECK(count >= 10);  // nine of them fit, and one at least is refused
    CHECK(queue(one.session, text, "x") == mtev_false);
    while (peer.next().starts_with("[binary]")) {
    }
    CHECK(peer.next() == "<1006>");
    REQUIRE(one.freed.wait());
  });
  CHECK(one.times_freed == 1);
  CHECK(mtev_http_session_ref_dec(one.session) == mtev_true);
  eventer_propset("websocket_queue_limit", "8388608");
}

TEST_CASE("websocket: the connection's own handler waits for room instead, and all of it arrives") {
  eventer_propset("websocket_queue_limit", "100000");
  constexpr int pieces = 500;
  const auto floods = [](mtev_http_rest_closure_t* rest, int, const unsigned char*, size_t) {
    for (int i = 0; i < pieces; ++i)
      if (queue(rest->http_ctx, text, std::to_string(i) + std::string(10'000, ' ')) == mtev_false) return -1;
    return 0;
  };
  REQUIRE(mtev_http_rest_websocket_register("/ws-flood/", "^x$", "chat", floods) == 0);
  talking([&] {
    talk peer("/ws-flood/x", {"chat"}, {}, {.buffer_bytes = 4096});
    REQUIRE(peer.socket.write("go"));
    int right = 0;
    for (int i = 0; i < pieces; ++i) right += std::atoi(peer.next().c_str()) == i ? 1 : 0;
    CHECK(right == pieces);
    CHECK(peer.socket.close(1000));
  });
  eventer_propset("websocket_queue_limit", "8388608");
}

TEST_CASE("websocket: the client goes, is cancelled, or says too much") {
  static int runs = 0;  // each section has a rule of its own
  const std::string path = std::to_string(++runs);
  noted& one = notes("/ws-gone/", ("^" + path + "$").c_str());
  SECTION("it closes without a word") {
    talking([&] {
      talk peer("/ws-gone/" + path);
      REQUIRE(peer.socket.write("here"));
      REQUIRE(one.opened.wait());
      peer.socket.stream().close();
      REQUIRE(one.freed.wait());
    });
  }
  SECTION("it closes as it should") {
    talking([&] {
      talk peer("/ws-gone/" + path);
      REQUIRE(peer.socket.write("here"));
      CHECK(peer.socket.close(4000, "enough"));
      CHECK(peer.socket.close_code() == 4000);
      REQUIRE(one.freed.wait());
    });
  }
  SECTION("its coroutine is cancelled while messages wait for the client") {
    talking([&] {
      talk peer("/ws-gone/" + path, {"chat"}, {}, {.buffer_bytes = 4096});
      REQUIRE(peer.socket.write("here"));
      REQUIRE(one.opened.wait());
      CHECK(queue(one.session, binary, std::string(4'000'000, 'x')) == mtev_true);
      peer.served.cancel_server();
      CHECK(one.times_freed == 1);
    });
  }
  SECTION("it is cancelled in peace") {
    talking([&] {
      talk peer("/ws-gone/" + path);
      REQUIRE(peer.socket.write("here"));
      REQUIRE(one.opened.wait());
      peer.served.cancel_server();
      CHECK(peer.next() == "<1001>");
    });
  }
  SECTION("it is silent for longer than idle_timeout") {
    talking([&] {
      talk peer("/ws-gone/" + path, {"chat"}, {}, {.idle_timeout = std::chrono::milliseconds(100)});
      REQUIRE(peer.socket.write("here"));
      CHECK(peer.next() == "<1006>");
      REQUIRE(one.freed.wait());
    });
  }
  SECTION("a message beyond http_upload_limit") {
    eventer_propset("http_upload_limit", "1000");
    talking([&] {
      talk peer("/ws-gone/" + path);
      REQUIRE(peer.socket.write(std::string(1000, 'x')));
      REQUIRE(one.opened.wait());
      CHECK(peer.ask(std::string(1001, 'x')) == "<1009>");
      REQUIRE(one.freed.wait());
    });
    eventer_propset("http_upload_limit", "1048576");
  }
  CHECK(one.times_freed == 1);
  CHECK(queue(one.session, text, "x") == mtev_false);
  CHECK(mtev_http_session_ref_dec(one.session) == mtev_true);
}

// --- as a listener's type ---

#if defined(EVENTER_ACO_WITH_TLS)
TEST_CASE("websocket: wss, of a listener with an sslconfig, for a client that verifies it", "[.wss]") {
  const certificates& files = test_certificates();
  mtev_http_rest_init();
  echoes("/wss/");
  noted& one = notes("/wss/", "^noted$");
  const captured_streams log;
  start_configured(stanza("http_rest_api", "ssl = \"on\"\nsslconfig = { certificate_file = \"" + files.certificate() +
                                               "\", key_file = \"" + files.key() + "\" }\n"));
  const int port = mtev_listener_port("http_rest_api");
  REQUIRE(port > 0);
  const std::string host = "127.0.0.1:" + std::to_string(port);
  talking([&] {
    const http::websocket_client_options chats{.socket = {.protocols = {"chat"}}};
    auto echoing = http::connect_websocket("wss://" + host + "/wss/x", files.client(), chats);
    REQUIRE(echoing);
    CHECK(echoing->subprotocol() == "chat");
    CHECK(eventer::tls::info_of(echoing->stream()) != nullptr);
    for (const std::size_t size : {0u, 5u, 100'000u, 1'000'000u}) {
      const std::string sent(size, 's');
      REQUIRE(echoing->write(sent));
      const auto got = echoing->read(std::chrono::seconds(100));
      REQUIRE(got);
      CHECK((got->data == sent));
    }
    CHECK(echoing->close(4000));
    CHECK(echoing->close_code() == 4000);

    // What a thread queues, while the connection's coroutine waits in a read of TLS.
    auto noting = http::connect_websocket("wss://" + host + "/wss/noted", files.client(), chats);
    REQUIRE(noting);
    REQUIRE(noting->write("here"));
    REQUIRE(one.opened.wait());
    std::thread queues([&one] {
      for (int i = 0; i < 100; ++i) (void)queue(one.session, text, std::to_string(i));
      (void)queue(one.session, closing, "\x0f\xa1it is over");
      mtev_http_session_ref_dec(one.session);
    });
    for (int i = 0; i < 100; ++i) CHECK(noting->read(std::chrono::seconds(100)).value().data == std::to_string(i));
    CHECK(noting->read(std::chrono::seconds(100)).error() == eventer::errc::end_of_stream);
    CHECK(noting->close_code() == 4001);
    CHECK(noting->close_reason() == "it is over");
    queues.join();
    REQUIRE(one.freed.wait());
    CHECK(one.times_freed == 1);

    // Another CA than the listener's; no TLS at all; an origin that may not.
    const certificates others;
    const auto distrusts = http::connect_websocket("wss://" + host + "/wss/x", others.client(), chats);
    CHECK(distrusts.error().category() == eventer::tls::tls_category());
    CHECK_FALSE(http::connect_websocket("ws://" + host + "/wss/x", chats));
    const auto page = [&](const std::string& origin) {
      const auto made =
          http::connect_websocket("wss://" + host + "/wss/x", files.client(),
                                  {.socket = {.protocols = {"chat"}}, .headers = {{"Origin", origin + host}}});
      return made ? 101 : http::status_of_refusal(made.error());
    };
    CHECK(page("https://") == 101);
    CHECK(page("http://") == 403);
  });
}
// Other tests of the suite have a type of that name.
TEST_CASE("websocket: wss of a listener, in a process of its own", "[no-emulator]") { CHECK(run_alone("[.wss]") == 0); }
#endif
