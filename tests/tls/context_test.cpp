// Contexts: files and what is wrong with them, reload, tickets.
#include <sys/stat.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "../catch.hpp"
#include "tls_pairs.hpp"

using namespace std::chrono_literals;

namespace {

std::string contents(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}
template <class F>
std::string what_is_thrown(const F& function) {
  try {
    function();
  } catch (const std::system_error& failure) {
    return failure.what();
  }
  return "nothing";
}
// Who resumes needs the ticket, which comes behind the handshake: so something is read first.
bool resumes(const tls::context& server, const tls::context& client, tls_pair* out = nullptr) {
  const auto pair = connected_tls(server, client);
  REQUIRE(pair.connected());
  REQUIRE(pair.server->write_all("x"));
  CHECK(read_text(*pair.client) == "x");
  CHECK(pair.server->session_reused() == pair.client->session_reused());
  if (out != nullptr) *out = pair;
  return pair.client->session_reused();
}

}  // namespace

TEST_CASE("TLS: what is wrong with a file is said with its name, what was expected and what OpenSSL says") {
  const certificates files;
  files.make("other");
  files.make("expired", {.from_day = -10, .to_day = -1});
  files.make("early", {.from_day = 1, .to_day = 10});
  files.write("empty.pem", "");
  files.write("text.pem", "certificate\n");
  files.write("cut.pem", contents(files.certificate()).substr(0, 200));
  files.write("chain.pem", contents(files.certificate()) + contents(files.ca()));
  files.write("half_chain.pem", contents(files.certificate()) + contents(files.ca()).substr(0, 200));
  files.write(
      "locked.key",
      "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIHjME4GCSqGSIb3DQEFDTBBMCkGCSqGSIb3DQEFDDAcBAh=\n-----END ENCRYPTED "
      "PRIVATE KEY-----\n");
  REQUIRE(::mkfifo(files.path("fifo").c_str(), 0600) == 0);
  struct row {
    std::string certificate, key;
    std::vector<std::string> says;
  };
  const std::string good = files.certificate(), key = files.key();
  const row rows[] = {
      {files.path("none.pem"), key, {"certificate file " + files.path("none.pem"), "can't be read", "No such file"}},
      {files.path("fifo"), key, {"can't be read", "Invalid argument"}},
      {files.path(""), key, {"can't be read"}},
      {files.path("empty.pem"), key, {"empty.pem: expected certificates in PEM form", "no start line"}},
      {files.path("text.pem"), key, {"text.pem: expected certificates in PEM form"}},
      {files.path("cut.pem"), key, {"cut.pem: expected certificates in PEM form"}},
      {files.path("half_chain.pem"), key, {"half_chain.pem: expected certificates in PEM form"}},
      {files.path("expired.pem"), key, {"certificate file", "expired.pem", "certificate has expired"}},
      {files.path("early.pem"), key, {"early.pem", "certificate is not yet valid"}},
      {good, files.path("none.key"), {"key file " + files.path("none.key"), "can't be read", "No such file"}},
      {good, good, {"server.pem: expected a private key in PEM form, without a password"}},
      {good, files.path("locked.key"), {"locked.key: expected a private key in PEM form, without a password"}},
      {good, files.key("other"), {"other.key: expected the key of certificate file", "key values mismatch"}},
  };
  for (const row& each : rows) {
    const std::string said = what_is_thrown([&] { (void)tls::context::server(each.certificate, each.key); });
    CAPTURE(said);
    for (const std::string& part : each.says) CHECK(said.find(part) != std::string::npos);
  }
  CHECK_NOTHROW(tls::context::server(files.path("chain.pem"), key));
  CHECK_NOTHROW(tls::context::server(files.path("expired.pem"), files.key("expired"), {.allow_expired = true}));
}

TEST_CASE("TLS: options that can't be are errors") {
  const certificates& files = test_certificates();
  const auto server = [&](tls::server_options options) {
    return what_is_thrown([&] { (void)files.server(std::move(options)); });
  };
  CHECK(server({.alpn = {""}}).find("ALPN") != std::string::npos);
  CHECK(server({.alpn = {std::string(256, 'x')}}).find("ALPN") != std::string::npos);
  CHECK(server({.clients = tls::client_certificates::required}).find("client_ca") != std::string::npos);
  CHECK(server({.min_version = tls::version::tls_1_3, .max_version = tls::version::tls_1_2}).find("min_version") !=
        std::string::npos);
  CHECK(server({.ciphers = "NONSENSE"}).find("ciphers \"NONSENSE\"") != std::string::npos);
  CHECK(server({.certificates = {{files.path("nothing.pem"), files.key()}}}).find("nothing.pem") != std::string::npos);
  CHECK(what_is_thrown([&] { (void)tls::context::client({.ca_file = files.key()}); }).find("ca file") !=
        std::string::npos);
}

TEST_CASE("TLS: reload takes new files; broken ones change nothing; connections keep what they began with") {
  eventer::run([] {
    const auto files = std::make_shared<certificates>();
    const auto server = files->server();
    const auto client = files->client({.resume = false});
    const auto before = connected_tls(server, client);
    REQUIRE(before.connected());
    files->make("server", {.common_name = "second"});
    server.reload();
    const auto after = connected_tls(server, client);
    REQUIRE(after.connected());
    CHECK(after.client->peer_certificate_subject() == "CN=second");
    CHECK(before.client->peer_certificate_subject() == "CN=server");

    files->write("server.key", "no key");
    CHECK(what_is_thrown([&] { server.reload(); }).find("server.key") != std::string::npos);
    const auto still = connected_tls(server, client);
    REQUIRE(still.connected());
    CHECK(still.client->peer_certificate_subject() == "CN=second");
    for (const tls_pair& each : {before, after, still}) {
      REQUIRE(each.client->write_all("ping"));
      CHECK(read_text(*each.server) == "ping");
    }
  });
}

TEST_CASE(
    "TLS: clients come back without a full handshake, also after a reload and to another context of the listener") {
  for (const tls::version which : {tls::version::tls_1_2, tls::version::tls_1_3})
    eventer::run([which] {
      const auto files = std::make_shared<certificates>();
      const tls::ticket_keys keys;
      const auto server = files->server({.max_version = which, .tickets = keys});
      const auto client = files->client();
      CHECK(!resumes(server, client));
      CHECK(resumes(server, client));
      server.reload();
      CHECK(resumes(server, client));
      const auto twin = files->server({.max_version = which, .tickets = keys});
      CHECK(resumes(twin, client));
      CHECK(!resumes(files->server({.max_version = which}), client));  // has keys of its own
      CHECK(!resumes(server, files->client({.resume = false})));

      CHECK(!resumes(server, client));
      keys.rotate();
      CHECK(resumes(server, client));
      keys.rotate();
      keys.rotate();
      CHECK(!resumes(server, client));
      CHECK(!resumes(files->server({.max_version = which, .session_tickets = false}), client));
      CHECK(!resumes(files->server({.max_version = which, .session_tickets = false}), client));
    });
}

TEST_CASE("TLS: a ticket is worth nothing where other clients are asked for, and keeps who the client was") {
  eventer::run([] {
    const auto files = std::make_shared<certificates>();
    files->make("client", {.names = "", .common_name = "somebody"});
    const tls::ticket_keys keys;
    const auto open = files->server({.tickets = keys});
    const auto closed =
        files->server({.clients = tls::client_certificates::required, .client_ca = files->ca(), .tickets = keys});
    const auto nobody = files->client();
    CHECK(!resumes(open, nobody));
    const auto refused = connected_tls(closed, nobody);
    CHECK(refused.server_error);
    const auto somebody = files->client({.certificate = files->certificate("client"), .key = files->key("client")});
    CHECK(!resumes(closed, somebody));
    tls_pair again;
    CHECK(resumes(closed, somebody, &again));
    CHECK(again.server->peer_certificate_subject() == "CN=somebody");
  });
}

TEST_CASE("TLS: a ticket key lasts 12 hours, and is accepted for 12 more") {
  const tls::ticket_keys keys;
  const eventer::time_point begin = eventer::clock::now();
  struct ticket {
    unsigned char name[16] = {}, vector[EVP_MAX_IV_LENGTH] = {};
  };
  const auto use = [&keys](ticket& which, bool encrypt, eventer::time_point when) {
    EVP_CIPHER_CTX* const cipher = ::EVP_CIPHER_CTX_new();
    EVP_MAC* const kind = ::EVP_MAC_fetch(nullptr, "HMAC", nullptr);
    EVP_MAC_CTX* const mac = ::EVP_MAC_CTX_new(kind);
    const int result = keys.use(which.name, which.vector, cipher, mac, encrypt, when);
    ::EVP_MAC_CTX_free(mac);
    ::EVP_MAC_free(kind);
    ::EVP_CIPHER_CTX_free(cipher);
    return result;
  };
  const auto same_key = [](const ticket& a, const ticket& b) { return std::equal(a.name, a.name + 16, b.name); };
  ticket first, early, late, next_day;
  CHECK(use(first, true, begin) == 1);
  CHECK(use(early, true, begin + 11h) == 1);
  CHECK(same_key(first, early));
  CHECK(use(first, false, begin + 11h) == 2);
  CHECK(use(late, true, begin + 13h) == 1);
  CHECK(!same_key(first, late));
  CHECK(use(first, false, begin + 13h) == 2);
  CHECK(use(first, false, begin + 23h) == 2);
  CHECK(use(late, false, begin + 23h) == 2);
  CHECK(use(first, false, begin + 25h) == 0);
  CHECK(use(late, false, begin + 25h) == 2);
  CHECK(use(late, false, begin + 60h) == 0);
  CHECK(use(next_day, true, begin + 60h) == 1);
  CHECK(!same_key(late, next_day));
  ticket unknown;
  CHECK(use(unknown, false, begin + 60h) == 0);
}

TEST_CASE("TLS: tickets hold on all loops of a pool") {
  eventer::loop_pool pool(2);
  pool.start();
  const auto server = test_certificates().server();
  const auto client = test_certificates().client();
  int resumed = 0;
  for (unsigned i = 0; i < 6; ++i)
    resumed += pool[i % 2]
                   .spawn([server, client] {
                     const auto pair = connected_tls(server, client);
                     return pair.connected() && pair.server->write_all("x") && read_text(*pair.client) == "x" &&
                            pair.client->session_reused();
                   })
                   .join();
  CHECK(resumed == 5);
}
