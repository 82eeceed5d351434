// HTTPS: an HTTP server over TLS.
//
//   openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=localhost
//     -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout key.pem -out cert.pem           (one line)
//   https [--listen 127.0.0.1:8443] [--certificate cert.pem] [--key key.pem]
//
//   curl --cacert cert.pem https://localhost:8443/hello
//   curl --cacert cert.pem -N https://localhost:8443/ticks     a line every 100 ms
//   curl --cacert cert.pem https://localhost:8443/tls          what was agreed on
//   kill -HUP PID         reads the certificate again; connections keep the one that they began with
//   kill -TERM PID        answers what has begun, and ends
#include <signal.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <eventer/eventer.hpp>
#include <eventer/http.hpp>
#include <eventer/tls.hpp>
#include <string>

namespace {

namespace http = eventer::http;
namespace tls = eventer::tls;

http::router routes() {
  http::router all;
  all.get("/hello", [](http::request&, http::response& answer) { answer.text("Hello world.\n"); });
  all.post("/length", [](http::request& asked, http::response& answer) {
    answer.text(std::to_string(asked.body().value().size()) + "\n");
  });
  all.get("/ticks", [](http::request& asked, http::response& answer) {
    for (int i = 0; i < 10 && !asked.draining(); ++i) {
      if (!answer.write("tick " + std::to_string(i) + "\n")) return;
      eventer::sleep_for(std::chrono::milliseconds(100));
    }
  });
  all.get("/tls", [](http::request& asked, http::response& answer) {
    const tls::info* const agreed = tls::info_of(asked.stream());
    if (agreed == nullptr) throw http::error(500, "this connection is in the clear\n");
    answer.text("version: " + std::string(agreed->version() == tls::version::tls_1_3 ? "1.3" : "1.2") +
                "\ncipher: " + std::string(agreed->cipher()) + "\nserver name: " + std::string(agreed->server_name()) +
                "\nalpn: " + std::string(agreed->alpn()) + "\nresumed: " + (agreed->session_reused() ? "yes" : "no") +
                "\n");
  });
  return all;
}

// A certificate that can't be read changes nothing.
void reload(const tls::context& context) {
  try {
    context.reload();
    std::printf("the certificate was read again\n");
  } catch (const std::exception& failure) {
    std::printf("the certificate stays as it was: %s\n", failure.what());
  }
  std::fflush(stdout);
}

int serve(const std::string& address, const std::string& certificate, const std::string& key) {
  eventer::signal_set signals{SIGTERM, SIGINT, SIGHUP};
  const tls::context context = tls::context::server(certificate, key, {.alpn = {"http/1.1"}});
  const http::server server(routes());
  const auto acceptor = std::make_shared<eventer::tcp_acceptor>(eventer::tcp_acceptor::listen(address).value());
  std::printf("listening on %s\n", acceptor->local().to_string().c_str());
  std::fflush(stdout);
  auto serving = eventer::spawn([server, acceptor, context] { return server.serve(*acceptor, context); });
  while (signals.next() == SIGHUP) reload(context);
  const std::size_t left = server.drain();
  if (left > 0) std::fprintf(stderr, "https: %zu connections were cancelled\n", left);
  return serving.join() ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  std::string address = "127.0.0.1:8443", certificate = "cert.pem", key = "key.pem";
  CLI::App app{"Says hello over HTTPS."};
  app.add_option("-l,--listen", address, "where, such as 127.0.0.1:8443")->capture_default_str();
  app.add_option("-c,--certificate", certificate, "PEM, with those in between behind it")->capture_default_str();
  app.add_option("-k,--key", key, "PEM, without a password")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    return eventer::run([&] { return serve(address, certificate, key); });
  } catch (const std::exception& failure) {
    return std::fprintf(stderr, "https: %s\n", failure.what()), 1;
  }
}
