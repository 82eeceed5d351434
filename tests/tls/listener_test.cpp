// Listeners with [listener.tls]: the handshake before the function, certificates that are wrong, reload, drain.
#include <cstdio>
#include <fstream>
#include <future>

#include "../captured_log.hpp"
#include "../catch.hpp"
#include "../listener/servers.hpp"
#include "certificates.hpp"
#include "eventer/tls.hpp"

namespace tls = eventer::tls;
using namespace std::chrono_literals;

namespace {

eventer::listener_registry tls_registry() {
  eventer::listener_registry result = line_registry();
  result.add("about", [](eventer::any_stream peer) {
    const tls::info* const about = tls::info_of(peer);
    const std::string text =
        about == nullptr ? "in the clear" : std::string(about->alpn()) + " " + std::string(about->server_name());
    (void)peer.write_all(text + " " + peer.peer().host() + "\n");
  });
  result.on_refuse("lines", [](eventer::any_stream peer) { (void)peer.write_all("full\n"); });
  result.add("one line", [](eventer::any_stream peer) {
    std::string text;
    if (const auto line = peer.read_until(text, "\n", 4096)) (void)peer.write_all("1 " + std::string(*line));
  });
  result.add("http", [](eventer::any_stream peer) {
    std::string text;
    while (const auto head = peer.read_until(text, "\r\n\r\n", 8192)) {
      text.erase(0, head->size());
      if (!peer.write_all("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nyes\n")) return;
    }
  });
  tls::enable(result);
  return result;
}
eventer::listener_config with_tls(const certificates& files, eventer::listener_config config,
                                  const std::string& name = "server") {
  config.tls.emplace();
  config.tls->main = {files.certificate(name), files.key(name), {}};
  config.tls->source = "service.toml:7";
  return config;
}

// A client on a thread without a loop.
class tls_client {
 public:
  explicit tls_client(const std::string& address, const tls::context& with = test_certificates().client(),
                      std::string_view before = {}, const std::string& host = "localhost") {
    auto plain = eventer::tcp_stream::connect(address, 10s);
    if (!plain || (!before.empty() && !plain->write_all(before, 10s))) return;
    auto made = tls::stream::connect(with, std::move(*plain), host, 10s);
    error_ = made.error();
    if (made) stream_ = std::move(*made);
  }
  std::error_code error() const { return error_; }
  bool connected() const { return stream_.is_open(); }
  std::string line() {
    const auto got = stream_.read_until(unread_, "\n", 4096, 10s);
    if (!got) return "<" + got.error().message() + ">";
    std::string result(got->substr(0, got->size() - 1));
    unread_.erase(0, got->size());
    return result;
  }
  std::string ask(std::string_view question) {
    if (!stream_.write_all(std::string(question).append("\n"), 10s)) return "<error>";
    return line();
  }
  tls::stream& stream() { return stream_; }

 private:
  tls::stream stream_;
  std::error_code error_;
  std::string unread_;
};
const std::string end_text = "<" + eventer::make_error_code(eventer::errc::end_of_stream).message() + ">";

std::string what_is_wrong(const eventer::service_config& config, const eventer::listener_registry& functions) {
  eventer::loop_pool pool(1);
  try {
    (void)eventer::start_listeners(config, functions, pool);
  } catch (const eventer::config_error& error) {
    return error.what();
  }
  return "nothing";
}
void copy(const std::string& from, const std::string& to) { std::ofstream(to) << std::ifstream(from).rdbuf(); }

}  // namespace

TEST_CASE("TLS listener: the function gets a stream that speaks TLS, and may ask what was agreed on") {
  auto config = with_tls(test_certificates(), at("127.0.0.1:0"));
  auto about = with_tls(test_certificates(), at("127.0.0.1:0", "about"));
  about.tls->alpn = {"x/2", "x/1"};
  const running_service service(service_of({config, about, at("127.0.0.1:0", "about")}), tls_registry());
  tls_client client(service.address(0));
  REQUIRE(client.connected());
  CHECK(client.ask("a") == "1 a");
  CHECK(client.ask("b") == "1 b");
  tls_client asks(service.address(1), test_certificates().client({.alpn = {"x/1"}}));
  CHECK(asks.line() == "x/1 localhost 127.0.0.1");
  CHECK(asks.line() == end_text);
  CHECK(plain_client(service.address(2)).line() == "in the clear 127.0.0.1");
}

TEST_CASE("TLS listener: what is wrong with its certificates is an error of the configuration, with its place") {
  const certificates files;
  files.make("expired", {.from_day = -10, .to_day = -1});
  files.make("other");
  const auto missing = with_tls(files, at("127.0.0.1:0"), "missing");
  const auto expired = with_tls(files, at("127.0.0.1:0"), "expired");
  auto mixed = with_tls(files, at("127.0.0.1:0"));
  mixed.tls->main.key = files.key("other");
  auto more = with_tls(files, at("127.0.0.1:0"));
  more.tls->certificates.push_back({files.certificate(), files.path("nothing.key"), {"a.test"}});
  const std::string all = what_is_wrong(service_of({missing, expired, mixed, more}), tls_registry());
  CAPTURE(all);
  for (const std::string& part :
       {"service.toml:7: tls: certificate file " + files.path("missing.pem") + ": can't be read",
        std::string("certificate has expired"), std::string("expected the key of certificate file"),
        files.path("nothing.key") + ": can't be read"})
    CHECK(all.find(part) != std::string::npos);
  CHECK(std::count(all.begin(), all.end(), '\n') == 3);
  CHECK(what_is_wrong(service_of({with_tls(files, at("127.0.0.1:0"))}), line_registry())
            .find("service.toml:7: tls: the program does not speak TLS, and nothing is served in the clear instead") !=
        std::string::npos);
}

TEST_CASE("TLS listener: reload takes new certificates, or changes nothing; tickets hold over it") {
  const certificates files;
  const auto config = service_of({with_tls(files, at("127.0.0.1:0"))});
  running_service service(config, tls_registry());
  const auto fresh = files.client({.resume = false});
  const auto coming_back = files.client();
  tls_client old(service.address(), fresh);
  REQUIRE(old.connected());
  CHECK(tls_client(service.address(), coming_back).ask("a") == "1 a");

  files.make("second", {.common_name = "second"});
  copy(files.certificate("second"), files.certificate());
  CHECK_THROWS_AS(service.all.reload(config), eventer::config_error);  // the key is the first one's
  CHECK(tls_client(service.address(), fresh).stream().peer_certificate_subject() == "CN=server");
  copy(files.key("second"), files.key());
  service.all.reload(config);
  tls_client now(service.address(), fresh);
  CHECK(now.stream().peer_certificate_subject() == "CN=second");
  CHECK(now.ask("b") == "1 b");
  CHECK(old.ask("c") == "1 c");
  tls_client back(service.address(), coming_back);
  CHECK(back.stream().session_reused());
  CHECK(back.ask("d") == "1 d");
  // And in the clear from now on.
  service.all.reload(service_of({at("127.0.0.1:0")}));
  CHECK(plain_client(service.address()).ask("e") == "1 e");
  CHECK(old.ask("f") == "1 f");
}

TEST_CASE(
    "TLS listener: failed handshakes are counted and told, and count among the connections as long as they last") {
  const captured_log log;
  auto config = with_tls(test_certificates(), at("127.0.0.1:0"));
  config.max_connections = 1;
  const running_service service(service_of({config}), tls_registry(), 1);
  plain_client http(service.address());
  CHECK(http.send("GET / HTTP/1.1\r\n\r\n"));
  CHECK(running_service::eventually([&] { return service.all.statistics().at(0).failed_handshakes == 1; }));
  CHECK(log.count("the handshake with 127.0.0.1:") == 1);
  CHECK(log.count("plain HTTP came where TLS is spoken") == 1);
  CHECK(service.open_becomes(0));
  {
    const plain_client silent(service.address());
    CHECK(service.open_becomes(1));
    tls_client refused(service.address());
    CHECK(refused.line() == "full");
    CHECK(refused.line() == end_text);
    CHECK(service.all.statistics().at(0).refused == 1);
  }
  CHECK(running_service::eventually([&] { return service.all.statistics().at(0).failed_handshakes == 2; }));
  CHECK(service.open_becomes(0));
  CHECK(tls_client(service.address()).ask("a") == "1 a");
}

TEST_CASE("TLS listener: a PROXY header comes before TLS, and what it announces stays") {
  auto config = with_tls(test_certificates(), at("127.0.0.1:0", "about"));
  config.proxy = eventer::proxy_protocol::required;
  config.tls->alpn = {"x"};
  const running_service service(service_of({config}), tls_registry());
  tls_client client(service.address(), test_certificates().client({.alpn = {"x"}}),
                    "PROXY TCP4 192.0.2.7 192.0.2.1 5000 443\r\n");
  REQUIRE(client.connected());
  CHECK(client.line() == "x localhost 192.0.2.7");
  CHECK(tls_client(service.address()).error());
}

TEST_CASE(
    "TLS listener: a drain answers what was asked, ends who is idle, and cuts off who shakes hands at its limit") {
  const auto config = with_tls(test_certificates(), at("127.0.0.1:0"));
  running_service service(service_of({config}), tls_registry());
  tls_client idle(service.address());
  CHECK(idle.ask("a") == "1 a");
  const plain_client silent(service.address());
  CHECK(service.open_becomes(2));
  auto draining = std::async(std::launch::async, [&] { return service.all.drain(300ms, 1ms); });
  CHECK(idle.line() == end_text);
  CHECK(draining.get() == 1);
}

TEST_CASE("TLS listener: on all loops, and over unix sockets") {
  auto config = with_tls(test_certificates(), at("127.0.0.1:0"));
  config.accept = eventer::accept_mode::hand_over;
  const scratch_folder folder;
  const running_service service(service_of({config, with_tls(test_certificates(), at(folder.address("a")))}),
                                tls_registry(), 2);
  const auto client = test_certificates().client();
  for (int i = 0; i < 8; ++i) {
    tls_client each(service.address(), client);
    CHECK(each.ask("x") == "1 x");
    CHECK(each.stream().session_reused() == (i > 0));
  }
  auto local =
      tls::stream::connect(client, eventer::unix_stream::connect(folder.address("a"), 10s).value(), "localhost", 10s);
  REQUIRE(local);
  REQUIRE(local->write_all("y\n"));
  std::string text;
  CHECK(local->read_until(text, "\n", 100, 10s).value() == "1 y\n");
}

TEST_CASE("TLS listener: other programs' clients talk to it") {
  const auto http = with_tls(test_certificates(), at("127.0.0.1:0", "http"));
  const running_service service(service_of({with_tls(test_certificates(), at("127.0.0.1:0", "one line")), http}),
                                tls_registry());
  const auto output_of = [](const std::string& command) {
    std::string result;
    FILE* const pipe = ::popen(command.c_str(), "r");
    char part[512];
    while (pipe != nullptr && std::fgets(part, sizeof part, pipe) != nullptr) result += part;
    if (pipe != nullptr) ::pclose(pipe);
    return result;
  };
  if (output_of("command -v openssl").empty()) EVENTER_SKIP("the openssl command is not installed");
  const std::string to = "openssl s_client -brief -verify_return_error -CAfile " + test_certificates().ca() +
                         " -verify_hostname localhost -servername localhost -ign_eof -connect " + service.address(0);
  for (const char* const version : {" -tls1_2", " -tls1_3"}) {
    const std::string said = output_of("printf 'hello\\n' | timeout 10 " + to + version + " 2>&1");
    CAPTURE(said);
    CHECK(said.find("1 hello") != std::string::npos);
    CHECK(said.find("Verification: OK") != std::string::npos);
  }
  CHECK(output_of("timeout 10 " + to + " -tls1_1 </dev/null 2>&1").find("1 hello") == std::string::npos);

  if (output_of("command -v curl").empty()) EVENTER_SKIP("curl is not installed");
  const std::string port = service.address(1).substr(service.address(1).rfind(':'));
  const std::string url = "https://localhost" + port + "/ ";
  // Two requests on one connection, and one that comes back with a ticket.
  CHECK(output_of("curl -sS --max-time 10 --resolve localhost" + port + ":127.0.0.1 --cacert " +
                  test_certificates().ca() + " " + url + url + " --next -sS --max-time 10 --http1.1 --cacert " +
                  test_certificates().ca() + " " + url + " 2>&1") == "yes\nyes\nyes\n");
  CHECK(output_of("curl -sS --max-time 10 " + url + " 2>&1").find("certificate") != std::string::npos);
}
