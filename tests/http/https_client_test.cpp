// A client over TLS: with verification, kept connections, and what goes wrong with certificates and with ends.
#include "eventer/https_client.hpp"
#include "../tls/certificates.hpp"
#include "scripted_server.hpp"

using namespace http_test;
namespace tls = eventer::tls;

namespace {

struct secure_server {
  explicit secure_server(tls::context with) {
    http::router routes;
    routes.get("/", [](http::request&, http::response& answer) { answer.text("secure"); });
    routes
        .put("/",
             [](http::request& asked, http::response& answer) {
               auto part = std::make_unique<std::array<char, 10'000>>();
               std::size_t total = 0;
               while (const auto got = asked.read_some(*part)) total += *got;
               answer.text(std::to_string(total));
             })
        .body_limit(1 << 30);
    routes.put("/refused", [](http::request&, http::response& answer) { answer.status(413).text("no"); });
    routes.get("/large", [](http::request&, http::response& answer) {
      for (int i = 0; i < 100; ++i)
        if (!answer.write(std::string(50'000, 'x'))) return;
    });
    auto acceptor = eventer::tcp_acceptor::listen("127.0.0.1:0").value();
    port = std::to_string(acceptor.local().port());
    (void)eventer::spawn([server = http::server(std::move(routes)), with, acceptor = std::move(acceptor)]() mutable {
      (void)server.serve(acceptor, with);
    });
  }
  std::string url(std::string_view target = "/") const { return "https://localhost:" + port + std::string(target); }
  std::string port;
};

}  // namespace

TEST_CASE("https: a certificate that verifies, kept connections, bodies both ways") {
  eventer::run([] {
    const secure_server server(test_certificates().server({.alpn = {"http/1.1"}}));
    const http::client ask({}, test_certificates().client({.alpn = {"http/1.1"}}));
    for (int i = 0; i < 5; ++i) CHECK(told(ask.get(server.url())) == "200 secure");
    CHECK(told(ask.get(server.url("/large"))).size() == 4 + 5'000'000);
    http::client_request upload("PUT", server.url());
    upload.body_from([](http::body_writer& out) {
      const auto piece = std::make_unique<std::string>(100'000, 'x');
      for (int i = 0; i < 100; ++i)
        if (!out.write(*piece)) return;
    });
    CHECK(told(ask.send(std::move(upload))) == "200 10000000");
    CHECK(told(ask.get(server.url())) == "200 secure");
    CHECK(ask.statistics().opened == 1);
    CHECK(ask.statistics().idle == 1);
    ask.close_idle();
    CHECK(told(ask.get(server.url())) == "200 secure");
    CHECK(ask.statistics().opened == 2);
  });
}

TEST_CASE("https: who is not who was asked for gets no request") {
  eventer::run([] {
    const secure_server server(test_certificates().server());
    const http::client trusting({}, test_certificates().client());
    const http::client ordinary;  // trusts whom the system trusts
    const auto error_of = [](const http::client& by, const std::string& url) {
      const auto answer = by.get(url);
      REQUIRE_FALSE(answer);
      return answer.error();
    };
    CHECK(tls::is_verification_error(error_of(ordinary, server.url())));
    const http::client elsewhere({.connect_to = "127.0.0.1:" + server.port}, test_certificates().client());
    CHECK(tls::is_verification_error(error_of(elsewhere, "https://elsewhere.example/")));
    CHECK(told(trusting.get(server.url())) == "200 secure");
    // One that speaks no TLS, and one that says nothing.
    const scripted_server plain([](scripted_peer& peer, int) { peer.send(ok_with("plain")); });
    CHECK(error_of(trusting, "https://" + plain.address).category() == tls::tls_category());
    const scripted_server silent([](scripted_peer&, int) { eventer::sleep_for(100s); });
    const http::client hasty({.handshake_time = 50ms}, test_certificates().client());
    CHECK(error_of(hasty, "https://" + silent.address) == std::errc::timed_out);
  });
}

TEST_CASE("https: an end without a farewell is no end of an answer") {
  eventer::run([] {
    auto acceptor = std::make_shared<eventer::tcp_acceptor>(eventer::tcp_acceptor::listen("127.0.0.1:0").value());
    const std::string url = "https://localhost:" + std::to_string(acceptor->local().port()) + "/";
    auto serving = eventer::spawn([acceptor, with = test_certificates().server()] {
      for (const bool says_goodbye : {true, false}) {
        auto peer = tls::stream::accept(with, acceptor->accept().value(), 10s).value();
        std::string text;
        (void)peer.read_until(text, "\r\n\r\n", 4096, 10s);
        (void)peer.write_all("HTTP/1.1 200 OK\r\n\r\nall of it"sv);
        if (!says_goodbye) (void)::shutdown(peer.native_handle(), SHUT_WR);
        eventer::sleep_for(says_goodbye ? 0ms : 50ms);
        peer.close();
      }
    });
    const http::client ask({}, test_certificates().client());
    CHECK(told(ask.get(url)) == "200 all of it");
    CHECK(told(ask.get(url)) == "200 " + make_error_code(tls::errc::truncated).message());
    serving.join();
  });
}

TEST_CASE("https: redirects to http are refused, unless the client allows them") {
  eventer::run([] {
    http::router routes;
    const scripted_server plain([](scripted_peer& peer, int) {
      while (!peer.request().empty()) peer.send(ok_with("plain"));
    });
    routes.get("/", [to = plain.url()](http::request&, http::response& answer) { answer.redirect(to); });
    auto acceptor = eventer::tcp_acceptor::listen("127.0.0.1:0").value();
    const std::string url = "https://localhost:" + std::to_string(acceptor.local().port());
    (void)eventer::spawn([server = http::server(std::move(routes)), with = test_certificates().server(),
                          acceptor = std::move(acceptor)]() mutable { (void)server.serve(acceptor, with); });
    CHECK(told(http::client({}, test_certificates().client()).get(url)) == sentence(http::errc::insecure_redirect));
    CHECK(told(http::client({.insecure_redirects = true}, test_certificates().client()).get(url)) == "200 plain");
  });
}
