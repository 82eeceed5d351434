// Handshakes: what two sides agree on, why they do not, and how each failure is told.
#include <openssl/err.h>
#include <openssl/ssl.h>

#include <vector>

#include "../catch.hpp"
#include "../virtual_run.hpp"
#include "tls_pairs.hpp"

using namespace std::chrono_literals;

namespace {

const certificates& files() { return test_certificates(); }

// What goes wrong on one side, and a part of its message.
struct expected {
  const char* what;
  tls::server_options server;
  tls::client_options client;
  const char* host;
  const char *client_says, *server_says;  // nullptr: whatever it says
};

std::string message(std::error_code error) { return error ? error.message() : "ok"; }
void check_contains(std::error_code error, const char* part) {
  CAPTURE(error.message());
  if (part != nullptr) CHECK(message(error).find(part) != std::string::npos);
}

tls_pair try_with(const tls::context& server, const tls::context& client, const std::string& host = "localhost") {
  return connected_tls(server, client, host);
}

}  // namespace

TEST_CASE("TLS: a client accepts the certificate of the host that it wants, by name or address, and no other") {
  struct row {
    const char* names;
    const char* host;
    const char* says;
  };
  const row rows[] = {{"DNS:localhost", "localhost", "ok"},
                      {"DNS:localhost", "LOCALHOST", "ok"},
                      {"DNS:localhost", "localhost.", "ok"},
                      {"DNS:localhost", "example.org", "hostname mismatch"},
                      {"DNS:*.example.org", "www.example.org", "ok"},
                      {"DNS:*.example.org", "example.org", "hostname mismatch"},
                      {"DNS:*.example.org", "a.b.example.org", "hostname mismatch"},
                      {"DNS:w*.example.org", "www.example.org", "hostname mismatch"},
                      {"IP:127.0.0.1", "127.0.0.1", "ok"},
                      {"IP:::1", "::1", "ok"},
                      {"IP:::1", "[::1]", "ok"},
                      {"DNS:127.0.0.1", "127.0.0.1", "IP address mismatch"},
                      {"IP:127.0.0.2", "127.0.0.1", "IP address mismatch"}};
  eventer::run([&rows] {
    for (const row& each : rows) {
      CAPTURE(each.names, each.host);
      files().make("named", {.names = each.names});
      const auto server = tls::context::server(files().certificate("named"), files().key("named"));
      const auto pair = try_with(server, files().client(), each.host);
      check_contains(pair.client_error, each.says);
      CHECK((pair.client_error == std::error_code()) == (each.says == std::string("ok")));
      if (pair.client_error) CHECK(tls::is_verification_error(pair.client_error));
      if (pair.client_error) CHECK(pair.server_error.category() == tls::tls_category());
    }
  });
}

TEST_CASE("TLS: a certificate that nobody signed, has expired or is signed by others is refused with its reason") {
  files().make("self", {.by_itself = true});
  files().make("expired", {.from_day = -10, .to_day = -1});
  files().make("early", {.from_day = 1, .to_day = 10});
  const certificates others;
  struct row {
    const certificates& from;
    const char* name;
    int code;
  };
  const row rows[] = {{files(), "self", X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT},
                      {files(), "expired", X509_V_ERR_CERT_HAS_EXPIRED},
                      {files(), "early", X509_V_ERR_CERT_NOT_YET_VALID},
                      {others, "server", X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY}};
  eventer::run([&rows] {
    for (const row& each : rows) {
      CAPTURE(each.name);
      const auto server =
          tls::context::server(each.from.certificate(each.name), each.from.key(each.name), {.allow_expired = true});
      const auto refused = try_with(server, files().client());
      CHECK(refused.client_error == tls::verification_error(each.code));
      CHECK(refused.server_error);
      CHECK(try_with(server, tls::context::client({.verify = false})).connected());
    }
    CHECK(try_with(files().server(), tls::context::client()).client_error ==
          tls::verification_error(X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY));  // the system does not trust it
  });
}

TEST_CASE("TLS: two sides without a version, cipher or protocol in common say so") {
  using v = tls::version;
  const expected rows[] = {
      {"versions",
       {.min_version = v::tls_1_3},
       {.max_version = v::tls_1_2},
       "localhost",
       "protocol version",
       "no version of TLS in common"},
      {"versions, the other way round",
       {.max_version = v::tls_1_2},
       {.min_version = v::tls_1_3},
       "localhost",
       "protocol version",
       "no version of TLS in common"},
      {"ciphers",
       {.max_version = v::tls_1_2, .ciphers = "ECDHE-ECDSA-AES128-GCM-SHA256"},
       {.max_version = v::tls_1_2, .ciphers = "ECDHE-ECDSA-AES256-GCM-SHA384"},
       "localhost",
       "handshake failure",
       "no cipher in common"},
      {"application protocols",
       {.alpn = {"h2"}},
       {.alpn = {"http/1.1"}},
       "localhost",
       "no application protocol",
       nullptr},
  };
  eventer::run([&rows] {
    for (const expected& each : rows) {
      CAPTURE(each.what);
      tls::client_options client = each.client;
      const auto pair = try_with(files().server(each.server), files().client(client), each.host);
      check_contains(pair.client_error, each.client_says);
      check_contains(pair.server_error, each.server_says);
      CHECK(pair.client_error == std::errc::protocol_error);
      CHECK(pair.server_error == std::errc::protocol_error);
    }
  });
}

TEST_CASE("TLS: the protocol that both know is chosen, the server's favourite first; and what was agreed on is told") {
  eventer::run([] {
    const auto server = files().server({.alpn = {"h2", "http/1.1"}});
    const auto both = try_with(server, files().client({.alpn = {"http/1.1", "h2"}}));
    REQUIRE(both.connected());
    CHECK(both.server->alpn() == "h2");
    CHECK(both.client->alpn() == "h2");
    CHECK(both.server->server_name() == "localhost");
    CHECK(both.client->server_name() == "localhost");
    CHECK(both.server->version() == tls::version::tls_1_3);
    CHECK(std::string(both.server->cipher()).starts_with("TLS_"));
    CHECK(both.client->peer_certificate_subject() == "CN=server");
    CHECK(both.server->peer_certificate_subject().empty());
    CHECK(both.server->context() == server);
    CHECK(!both.server->session_reused());
    const auto none = try_with(server, files().client());
    REQUIRE(none.connected());
    CHECK(none.server->alpn().empty());
    const auto by_address = try_with(server, files().client(), "127.0.0.1");
    REQUIRE(by_address.connected());
    CHECK(by_address.server->server_name().empty());

    eventer::any_stream any(std::move(*both.server));
    REQUIRE(tls::info_of(any) != nullptr);
    CHECK(tls::info_of(any)->alpn() == "h2");
    REQUIRE(both.client->write_all("to whom it may concern"));
    CHECK(read_text(any) == "to whom it may concern");
    auto plain = connected_pair();
    CHECK(tls::info_of(eventer::any_stream(std::move(plain.server))) == nullptr);
    CHECK(tls::info_of(eventer::any_stream()) == nullptr);
  });
}

TEST_CASE("TLS: a server shows the certificate of the name that is asked for") {
  files().make("a", {.names = "DNS:a.test,DNS:www.a.test", .common_name = "a"});
  files().make("wild", {.names = "DNS:*.wild.test", .common_name = "wild"});
  files().make("told", {.names = "DNS:x.test", .common_name = "told"});
  eventer::run([] {
    const auto server =
        files().server({.certificates = {{files().certificate("a"), files().key("a")},
                                         {files().certificate("wild"), files().key("wild")},
                                         {files().certificate("told"), files().key("told"), {"b.test", "*.a.test"}}},
                        .alpn = {"x"}});
    const std::pair<const char*, const char*> rows[] = {
        {"localhost", "CN=server"},   {"a.test", "CN=a"},          {"A.Test", "CN=a"},
        {"www.a.test", "CN=a"},       {"other.a.test", "CN=told"}, {"b.test", "CN=told"},
        {"one.wild.test", "CN=wild"}, {"wild.test", "CN=server"},  {"a.b.wild.test", "CN=server"},
        {"unknown", "CN=server"},     {"127.0.0.1", "CN=server"}};
    for (const auto& [host, subject] : rows) {
      CAPTURE(host);
      const auto pair = try_with(server, tls::context::client({.alpn = {"x"}, .verify = false}), host);
      REQUIRE(pair.connected());
      CHECK(pair.client->peer_certificate_subject() == subject);
      CHECK(pair.client->alpn() == "x");
    }
  });
}

TEST_CASE("TLS: a server that wants certificates of its clients") {
  files().make("client", {.names = "", .common_name = "somebody"});
  const certificates others;
  others.make("stranger", {.names = "", .common_name = "stranger"});
  using wants = tls::client_certificates;
  struct row {
    wants what;
    tls::client_options client;
    const char* server_says;
    const char* subject;
  };
  const auto own = [](const certificates& of, const char* name) {
    return tls::client_options{.certificate = of.certificate(name), .key = of.key(name)};
  };
  for (const tls::version which : {tls::version::tls_1_2, tls::version::tls_1_3}) {
    const row rows[] = {{wants::none, own(files(), "client"), "ok", ""},
                        {wants::optional, {}, "ok", ""},
                        {wants::optional, own(files(), "client"), "ok", "CN=somebody"},
                        {wants::optional, own(others, "stranger"), "unable to get local issuer", ""},
                        {wants::required, {}, "peer did not return a certificate", ""},
                        {wants::required, own(files(), "client"), "ok", "CN=somebody"},
                        {wants::required, own(others, "stranger"), "unable to get local issuer", ""}};
    eventer::run([&rows, which] {
      for (const row& each : rows) {
        CAPTURE(static_cast<int>(each.what), each.client.certificate);
        const auto server = files().server({.clients = each.what, .client_ca = files().ca(), .max_version = which});
        const auto pair = try_with(server, files().client(each.client));
        check_contains(pair.server_error, each.server_says);
        if (pair.server_error) {
          // In TLS 1.3 the client has finished by then: it is told at its first read.
          CHECK((pair.client_error || pair.client->read_borrowed(2s).error().category() == tls::tls_category()));
        } else {
          REQUIRE(pair.connected());
          CHECK(pair.server->peer_certificate_subject() == each.subject);
        }
      }
    });
  }
}

TEST_CASE("TLS: what is no TLS is told from what is, and nothing waits for ever") {
  struct row {
    const char* what;
    std::string bytes;
    const char* says;
  };
  const row rows[] = {{"plain HTTP", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "plain HTTP came"},
                      {"garbage", std::string(300, '\x7f'), "does not speak TLS"},
                      {"SSH", "SSH-2.0-OpenSSH_9.2\r\n", "does not speak TLS"},
                      {"a record of the greatest length", "\x16\x03\x01\xff\xff" + std::string(100, 'x'), "TLS: "}};
  eventer::run([&rows] {
    for (const row& each : rows) {
      CAPTURE(each.what);
      auto peer = connected_to_plain_peer();
      plain_send(peer.client, each.bytes);
      const auto made = tls::stream::accept(files().server(), std::move(peer.server), 5s);
      check_contains(made.error(), each.says);
      CHECK(made.error() == std::errc::protocol_error);
    }
    // A client that speaks to somebody who does not know TLS.
    auto pair = connected_pair();
    REQUIRE(pair.server.write_all("220 mail.example.org ESMTP\r\n"));
    const auto made = tls::stream::connect(files().client(), std::move(pair.client), "localhost", 5s);
    check_contains(made.error(), "does not speak TLS");
    // Who says nothing, goes away, or is gone.
    for (const bool bytes : {false, true}) {
      auto leaving = connected_to_plain_peer();
      if (bytes) plain_send(leaving.client, "\x16\x03\x01");
      leaving.client.reset();
      const auto ended = tls::stream::accept(files().server(), std::move(leaving.server), 5s);
      CHECK(ended.error() == tls::errc::truncated);
    }
    CHECK(tls::stream::accept(files().server(), eventer::tcp_stream(), 5s).error() == eventer::errc::closed);
    auto closed = connected_pair();
    closed.server.close();
    CHECK(tls::stream::accept(files().server(), std::move(closed.server), 5s).error() == eventer::errc::closed);
    CHECK(tls::stream::connect(files().client(), std::move(closed.client), "", 5s).error() ==
          std::errc::invalid_argument);
  });
}

TEST_CASE("TLS: a handshake has a time limit of its own, ten seconds unless something else is said") {
  run_virtually([] {
    const auto took = [](const tls::context& with, eventer::time_limit limit, bool trickles) {
      auto streams = eventer::memory_stream_pair();
      const auto peer = std::make_shared<eventer::tcp_stream>(std::move(streams.near));
      auto sender = eventer::spawn([peer, trickles] {
        const std::string_view begin = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
        for (const char& each : begin) {
          if (!trickles || !peer->write_all(std::string_view(&each, 1))) return;
          eventer::sleep_for(3s);
        }
      });
      const eventer::time_point before = eventer::event_loop::current().now();
      const auto made = tls::stream::accept(with, std::move(streams.far), limit);
      CHECK(made.error() == std::errc::timed_out);
      const eventer::duration time = eventer::event_loop::current().now() - before;
      sender.cancel();
      (void)sender.try_join();
      return time;
    };
    for (const bool trickles : {false, true}) {
      CHECK(took(files().server(), {}, trickles) == 10s);
      CHECK(took(files().server({.handshake_timeout = 3s}), {}, trickles) == 3s);
      CHECK(took(files().server(), 2s, trickles) == 2s);
    }
  });
}

TEST_CASE("TLS: a handshake is cancelled as any wait is") {
  eventer::run([] {
    auto pair = connected_pair();
    auto accepting = eventer::spawn(
        [s = std::move(pair.server)]() mutable { (void)tls::stream::accept(files().server(), std::move(s)); });
    next_turn();
    accepting.cancel();
    CHECK(accepting.try_join().error() == std::errc::operation_canceled);
    CHECK(read_text(pair.client) == end_of_stream_text);
  });
}

TEST_CASE("TLS: a call leaves nothing in OpenSSL's queue of errors, and does not mind what others have left there") {
  eventer::run([] {
    const auto leave = [] { ERR_raise(ERR_LIB_USER, 7); };
    leave();
    const auto pair = connected_tls();
    REQUIRE(pair.connected());
    auto echoing = eventer::spawn([server = pair.server] { echo_all(server); });
    for (int i = 0; i < 3; ++i) {
      leave();
      REQUIRE(pair.client->write_all("x"));
      leave();
      CHECK(read_text(*pair.client) == "x");
    }
    leave();
    REQUIRE(pair.client->shutdown_write());
    CHECK(::ERR_peek_error() == 0);
    leave();
    CHECK(read_text(*pair.client) == end_of_stream_text);
    CHECK(::ERR_peek_error() == 0);
    CHECK_THROWS(tls::context::server(files().path("none"), files().key()));
    CHECK(::ERR_peek_error() == 0);
    auto broken = connected_to_plain_peer();
    plain_send(broken.client, std::string(100, 'x'));
    CHECK(tls::stream::accept(files().server(), std::move(broken.server)).error());
    CHECK(::ERR_peek_error() == 0);
    echoing.join();
  });
}
