// A server over TLS: what its handlers see, handshakes that fail, certificates that are read again, and its end.
#include "../captured_log.hpp"
#include "../faults.hpp"
#include "../plain_descriptors.hpp"
#include "../tls/certificates.hpp"
#include "folder.hpp"
#include "http_client.hpp"

using namespace http_test;
namespace tls = eventer::tls;

namespace {

struct gate {
  eventer::manual_reset_event entered, go;
};

http::router secure_routes(const std::shared_ptr<gate>& at) {
  http::router routes;
  routes.get("/about", [](http::request& asked, http::response& answer) {
    const tls::info* const about = tls::info_of(asked.stream());
    answer.text(about == nullptr ? "in the clear"
                                 : std::string(about->alpn()) + " " + std::string(about->server_name()));
  });
  routes.get("/wait", [at](http::request&, http::response& answer) {
    at->entered.set();
    at->go.wait();
    answer.text("waited");
  });
  return routes;
}

struct secure_server {
  std::shared_ptr<gate> at = std::make_shared<gate>();
  tls::context context;
  http::server server;
  eventer::endpoint where;
  eventer::join_handle<bool> serving;

  explicit secure_server(tls::context with, http::server_options options = {})
      : context(std::move(with)), server(secure_routes(at), std::move(options)) {
    auto acceptor = std::make_shared<eventer::tcp_acceptor>(eventer::tcp_acceptor::listen("127.0.0.1:0").value());
    where = acceptor->local();
    serving = eventer::spawn(
        [server = server, context = context, acceptor] { return server.serve(*acceptor, context).has_value(); });
  }
  eventer::tcp_stream plain() const { return eventer::tcp_stream::connect(where, 100s).value(); }
  eventer::io_result<tls::stream> connect(const tls::context& with) const {
    return tls::stream::connect(with, plain(), "localhost", 100s);
  }
};

// The body of the answer, which has to be a 200 with its length; otherwise what is wrong.
std::string body_of(tls::stream& stream) {
  std::string text;
  for (;;) {
    answer result;
    std::size_t used = 0;
    if (answer_parser::parse(text, false, false, result, used) == parsed::whole)
      return result.status == 200 ? result.body : std::to_string(result.status);
    std::string part(4096, '\0');
    const auto got = stream.read_some(part, 100s);
    if (!got) return got.error().message();
    text.append(part, 0, *got);
  }
}
std::string ask(tls::stream& stream, std::string_view target) {
  const auto sent = stream.write_all(get(target), 100s);
  return sent ? body_of(stream) : sent.error().message();
}
// How the server ends the connection, after which nothing was asked.
std::error_code end_of(eventer::any_stream& stream) {
  std::string part(4096, '\0');
  return stream.read_some(part, 100s).error();
}

}  // namespace

TEST_CASE("HTTPS: requests on one connection, and handlers that see what TLS has agreed on") {
  eventer::run([] {
    const secure_server run(test_certificates().server({.alpn = {"http/1.1"}}));
    auto peer = run.connect(test_certificates().client({.alpn = {"h2", "http/1.1"}})).value();
    for (int i = 0; i < 3; ++i) CHECK(ask(peer, "/about") == "http/1.1 localhost");
    CHECK(run.server.statistics().requests == 3);
    CHECK(run.server.drain(100s, 0s) == 0);
    CHECK(end_of(peer) == eventer::errc::end_of_stream);
    return 0;
  });
}

TEST_CASE("HTTPS: an address, and a server over TLS and in the clear at once") {
  eventer::run([] {
    const auto at = std::make_shared<gate>();
    const http::server server(secure_routes(at));
    const tls::context context = test_certificates().server();
    CHECK(server.serve("nonsense", context).error() == eventer::errc::bad_address);
    auto closed = eventer::tcp_acceptor::listen("127.0.0.1:0").value();
    closed.close();
    CHECK(server.serve(closed, context).error() == eventer::errc::closed);

    const secure_server run(context);
    auto acceptor = std::make_shared<eventer::tcp_acceptor>(eventer::tcp_acceptor::listen("127.0.0.1:0").value());
    const eventer::endpoint in_the_clear = acceptor->local();
    auto serving = eventer::spawn([server = run.server, acceptor] { return server.serve(*acceptor).has_value(); });
    auto secure = run.connect(test_certificates().client()).value();
    client plain(eventer::tcp_stream::connect(in_the_clear, 100s).value());
    CHECK(ask(secure, "/about") == " localhost");
    CHECK(plain.ask(get("/about")).body == "in the clear");
    CHECK(run.server.drain(100s, 0s) == 0);
    CHECK(serving.join());
    return 0;
  });
}

TEST_CASE("HTTPS: a handshake that fails is counted and logged, and nobody else notices") {
  captured_log log;
  eventer::run([] {
    const secure_server run(test_certificates().server());
    auto before = run.connect(test_certificates().client()).value();
    client speaks_plainly(run.plain());
    CHECK(speaks_plainly.send(get("/about")));
    const std::string said = speaks_plainly.rest();
    CHECK(said.find("HTTP/") == std::string::npos);
    const certificates strangers;
    CHECK(tls::is_verification_error(run.connect(strangers.client()).error()));
    CHECK(ask(before, "/about") == " localhost");
    CHECK(run.server.drain(100s, 0s) == 0);
    CHECK(run.server.statistics().failed_handshakes == 2);
    CHECK(run.server.statistics().requests == 1);
    return 0;
  });
  CHECK(log.count("http: the handshake with 127.0.0.1:") == 1);  // the second is within ten seconds
}

TEST_CASE("HTTPS: a handshake that is not made ends at its own limit, not at the one for idle connections") {
  captured_log log;
  eventer::run([] {
    const secure_server run(test_certificates().server({.handshake_timeout = 50ms}),
                            {.limits = {.keep_alive_idle = 1h}});
    eventer::any_stream silent(run.plain());
    CHECK(end_of(silent));
    CHECK(run.server.drain(100s, 0s) == 0);
    CHECK(run.server.statistics().failed_handshakes == 1);
    return 0;
  });
}

TEST_CASE("HTTPS: after reload new connections have the new certificate, those that are open go on") {
  eventer::run([] {
    const certificates files;
    const secure_server run(files.server());
    auto before = run.connect(files.client()).value();
    CHECK(ask(before, "/about") == " localhost");
    files.make("server", {.common_name = "renewed"});
    run.context.reload();
    auto after = run.connect(files.client({.resume = false})).value();
    CHECK(after.peer_certificate_subject() == "CN=renewed");
    CHECK(before.peer_certificate_subject() == "CN=server");
    CHECK(ask(before, "/about") == " localhost");
    CHECK(run.server.drain(100s, 0s) == 0);
    return 0;
  });
}

TEST_CASE("HTTPS: a drain answers what was begun, ends who is idle, and cancels a handshake at its limit") {
  captured_log log;
  eventer::run([] {
    secure_server run(test_certificates().server());
    auto idle = run.connect(test_certificates().client()).value();
    auto waits = run.connect(test_certificates().client()).value();
    CHECK(ask(idle, "/about") == " localhost");
    REQUIRE(waits.write_all(get("/wait"), 100s));
    run.at->entered.wait();
    auto drains = eventer::spawn([server = run.server] { return server.drain(100s, 0s); });
    CHECK(end_of(idle) == eventer::errc::end_of_stream);
    run.at->go.set();
    CHECK(body_of(waits) == "waited");
    CHECK(end_of(waits) == eventer::errc::end_of_stream);
    waits.close();
    CHECK(drains.join() == 0);
    CHECK(run.serving.join());

    // The first bytes of a record, whose rest never comes.
    secure_server other(test_certificates().server());
    eventer::any_stream half(other.plain());
    REQUIRE(half.write_all("\x16\x03\x01"sv, 100s));
    while (other.server.statistics().open == 0) eventer::yield();
    CHECK(other.server.drain(50ms, 0s) <= 1);
    CHECK(end_of(half));
    CHECK(other.serving.join());
    return 0;
  });
}

TEST_CASE("HTTPS: one that is beyond max_connections is closed without a word in the clear") {
  captured_log log;
  eventer::run([] {
    const secure_server run(test_certificates().server(), {.max_connections = 1});
    auto first = run.connect(test_certificates().client()).value();
    client second(run.plain());
    CHECK(second.rest().empty());
    CHECK(ask(first, "/about") == " localhost");
    CHECK(run.server.statistics().refused == 1);
    CHECK(run.server.drain(100s, 0s) == 0);
    return 0;
  });
}

TEST_CASE("HTTPS: files of every size, in ranges, and a client that takes nothing more") {
  const folder documents;
  const std::string content = some_content(700'001);
  documents.file("large", content);
  documents.file("small", content.substr(0, 300));
  documents.sparse("huge", off_t{64} << 20);
  const auto before = open_descriptors();
  eventer::run([&] {
    http::router routes;
    routes.files("/", documents.path()).response_stall(100ms);
    const http::server server(std::move(routes));
    const tls::context context = test_certificates().server();
    auto acceptor = std::make_shared<eventer::tcp_acceptor>(eventer::tcp_acceptor::listen("127.0.0.1:0").value());
    auto serving = eventer::spawn([server, context, acceptor] { return server.serve(*acceptor, context).has_value(); });
    const tls::context client_context = test_certificates().client();
    const auto connect = [&] {
      auto plain = eventer::tcp_stream::connect(acceptor->local(), 100s).value();
      return tls::stream::connect(client_context, std::move(plain), "localhost", 100s).value();
    };
    auto peer = connect();
    const faults world;
    CHECK((ask(peer, "/large") == content));
    CHECK((ask(peer, "/small") == content.substr(0, 300)));
    CHECK(world.calls(eventer::syscalls::call::sendfile) == 0);
    REQUIRE(peer.write_all(get("/large", "Range: bytes=600000-\r\n"), 100s));
    CHECK(body_of(peer) == "206");
    {
      auto silent = connect();
      REQUIRE(silent.write_all(get("/huge"), 100s));
      while (server.statistics().open > 1) eventer::sleep_for(10ms);
    }
    CHECK((ask(peer, "/large") == content));
    peer.close();
    CHECK(server.drain(100s, 0s) == 0);
    CHECK(serving.join());
  });
  CHECK(open_descriptors() == before);
}
