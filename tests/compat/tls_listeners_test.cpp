// Listeners of the C interface that speak TLS: coroutines, classic events, whose readiness comes through the layer, and
// control_dispatch.
#include <cerrno>
#include <cstring>

#include "../catch.hpp"
#include "../tls/certificates.hpp"
#include "configured_listeners.hpp"
#include "eventer/compat/detail/acceptor.hpp"
#include "eventer/tls.hpp"

namespace tls = eventer::tls;
using namespace std::chrono_literals;

namespace {

void tls_echo() {
  auto* const e = static_cast<eventer_aco_t>(eventer_aco_arg());
  auto* const ac = static_cast<mtev_acceptor_closure_t*>(eventer_aco_get_closure(e));
  const char* const name = mtev_acceptor_closure_remote_cn(ac);
  const std::string hello = std::string(name != nullptr ? name : "nobody") + "\n";
  (void)eventer_aco_write_all(e, hello.data(), hello.size(), nullptr);
  char buff[128];
  int got;
  while ((got = eventer_aco_read(e, buff, sizeof buff, nullptr)) > 0)
    (void)eventer_aco_write_all(e, buff, static_cast<size_t>(got), nullptr);
  eventer_aco_close(e);
  eventer_aco_free(e);
}

int end_of(eventer_t e, void* closure) {
  int mask = 0;
  eventer_remove_fde(e);
  eventer_close(e, &mask);
  mtev_acceptor_closure_free(static_cast<mtev_acceptor_closure_t*>(closure));
  return 0;
}
void free_text(void* text) { delete static_cast<std::string*>(text); }
std::string& text_of(void* closure) {
  auto* const ac = static_cast<mtev_acceptor_closure_t*>(closure);
  if (mtev_acceptor_closure_ctx(ac) == nullptr) mtev_acceptor_closure_set_ctx(ac, new std::string, &free_text);
  return *static_cast<std::string*>(mtev_acceptor_closure_ctx(ac));
}

// Reads once in each call, and writes once: what is left it must be called for again.
int tls_echo_callback(eventer_t e, int, void* closure, struct timeval*) {
  std::string& left = text_of(closure);
  char buff[700];
  int mask = 0;
  int wanted = EVENTER_EXCEPTION;
  const int got = left.size() > 50'000 ? -1 : eventer_read(e, buff, sizeof buff, &mask);
  if (got == 0 || (got < 0 && left.size() <= 50'000 && errno != EAGAIN)) return end_of(e, closure);
  if (got > 0) left.append(buff, static_cast<std::size_t>(got));
  if (!left.empty()) {
    const int put = eventer_write(e, left.data(), left.size(), &mask);
    if (put < 0 && errno != EAGAIN) return end_of(e, closure);
    if (put > 0) left.erase(0, static_cast<std::size_t>(put));
  }
  if (left.size() <= 50'000) wanted |= EVENTER_READ;
  if (!left.empty()) wanted |= EVENTER_WRITE;
  return wanted;
}

// Does something at every second call only: it is called for the same again.
std::atomic<int> calls{0};
int lazy_callback(eventer_t e, int mask, void* closure, struct timeval* now) {
  if (calls++ % 2 == 0) return EVENTER_READ | EVENTER_EXCEPTION;
  return tls_echo_callback(e, mask, closure, now);
}

// Waits on each loop in turn for one line.
std::atomic<int> moves{0};
int moving_callback(eventer_t e, int, void* closure, struct timeval*) {
  std::string& line = text_of(closure);
  char each;
  int mask = 0, got;
  while ((got = eventer_read(e, &each, 1, &mask)) == 1) {
    line += each;
    if (each != '\n') continue;
    const std::string answer = std::to_string(eventer_is_loop(::pthread_self())) + "\n";
    (void)eventer_write(e, answer.data(), answer.size(), &mask);
    line.clear();
    eventer_set_owner(e, eventer_choose_owner(++moves % 2 + 1));
    return EVENTER_READ | EVENTER_EXCEPTION;
  }
  return got < 0 && errno == EAGAIN ? mask : end_of(e, closure);
}

// Waits for nothing until another thread triggers it, or adds it again.
std::atomic<eventer_t> floating{nullptr};
std::atomic<int> spurious{0};
int floating_callback(eventer_t e, int mask, void* closure, struct timeval*) {
  if (text_of(closure).empty()) {
    text_of(closure) = "has begun";
    eventer_remove_fde(e);
    eventer_ref(e);
    floating = e;
    return 0;
  }
  if ((mask & EVENTER_WRITE) == 0) ++spurious;
  (void)eventer_write(e, "triggered\n", 10, &mask);
  return end_of(e, closure);
}

int command_callback(eventer_t e, int, void* closure, struct timeval*) {
  char rest[16];
  int mask = 0;
  const int got = eventer_read(e, rest, sizeof rest, &mask);
  if (got < 0 && errno == EAGAIN) return mask;
  (void)eventer_write(e, rest, got > 0 ? static_cast<size_t>(got) : 0, &mask);
  return end_of(e, closure);
}
void serve_tls_http(eventer::any_stream&& peer, mtev_acceptor_closure_t&) {
  std::string text;
  const auto line = peer.read_until(text, "\n", 100);
  (void)peer.write_all(line ? std::string(*line) : "none\n");
  (void)peer.shutdown_write();
}

std::string sslconfig(const certificates& files, const std::string& more = {}) {
  return "ssl = \"on\"\nsslconfig = { certificate_file = \"" + files.certificate() + "\", key_file = \"" + files.key() +
         "\"" + more + " }\n";
}
void start_tls(const std::string& text) {
  (void)eventer_propset("concurrency", "3");
  start_configured(text);
}

class secure_client {
 public:
  explicit secure_client(const char* type, const tls::client_options& options = {}) {
    auto plain = eventer::tcp_stream::connect("127.0.0.1:" + std::to_string(mtev_listener_port(type)), 30s).value();
    auto made = tls::stream::connect(test_certificates().client(options), std::move(plain), "localhost", 30s);
    if (made) stream_ = std::move(*made);
  }
  tls::stream& stream() { return stream_; }
  void send(std::string_view text) { (void)stream_.write_all(text, 30s); }
  std::string line() {
    const auto got = stream_.read_until(unread_, "\n", 4096, 30s);
    if (!got)
      return got.error() == eventer::make_error_code(eventer::errc::end_of_stream) ? "<end>"
                                                                                   : "<" + got.error().message() + ">";
    std::string result(got->substr(0, got->size() - 1));
    unread_.erase(0, got->size());
    return result;
  }
  std::string ask(std::string_view text) {
    send(text);
    return line();
  }

 private:
  tls::stream stream_;
  std::string unread_;
};

}  // namespace

TEST_CASE("a coroutine over TLS reads and writes as ever, and knows the client's certified name") {
  const certificates& files = test_certificates();
  files.make("client", {.names = "", .common_name = "the client"});
  mtev_listener_register_aco_function("tls_echo", &tls_echo);
  mtev_listener_register_aco_function("tls_names", &tls_echo);
  start_tls(
      stanza("tls_echo", sslconfig(files)) +
      stanza("tls_names", sslconfig(files, ", ca_chain = \"" + files.ca() +
                                               "\", layer = \"TLSv1.3\", alpn = \"x/1,x/2\", optional_no_ca = true")));
  const std::int64_t events = eventer_allocations_current();
  {
    secure_client plain("tls_echo");
    CHECK(plain.line() == "nobody");
    CHECK(plain.ask("hello\n") == "hello");
    secure_client named("tls_names",
                        {.alpn = {"x/2"}, .certificate = files.certificate("client"), .key = files.key("client")});
    CHECK(named.line() == "the client");
    CHECK(named.ask("hello\n") == "hello");
    CHECK(named.stream().alpn() == "x/2");
    CHECK(named.stream().version() == tls::version::tls_1_3);
    secure_client unnamed("tls_names", {.alpn = {"x/1"}});
    CHECK(unnamed.line() == "nobody");
  }
  CHECK(comes_true([&] { return eventer_allocations_current() == events; }));
}

TEST_CASE("a classic event over TLS is called as long as there is something to read, or to write") {
  (void)eventer_name_callback("tls_callback", &tls_echo_callback);
  start_tls(stanza("tls_callback", sslconfig(test_certificates())));
  const std::int64_t events = eventer_allocations_current();
  {
    secure_client client("tls_callback");
    CHECK(client.ask("hello\n") == "hello");
    CHECK(client.ask("again\n") == "again");
  }
  // More than one record, and more than a call of the event takes.
  {
    secure_client client("tls_callback");
    std::string sent, echoed(std::size_t{1} << 20, '\0');
    for (std::size_t i = 0; sent.size() < echoed.size(); ++i) sent += static_cast<char>('a' + i % 23);
    std::size_t done = 0;
    while (done < sent.size()) {
      constexpr std::size_t piece = 40'000;
      const std::size_t count = std::min(piece, sent.size() - done);
      client.send(std::string_view(sent).substr(done, count));
      const auto got = client.stream().read_exact({echoed.data() + done, count}, 30s);
      REQUIRE(got);
      done += count;
    }
    CHECK((echoed == sent));
  }
  CHECK(comes_true([&] { return eventer_allocations_current() == events; }));
}

TEST_CASE("a classic event over TLS that does not look at what has come is called again for it") {
  (void)eventer_name_callback("tls_lazy", &lazy_callback);
  start_tls(stanza("tls_lazy", sslconfig(test_certificates())));
  secure_client client("tls_lazy");
  for (const char* const line : {"a", "b", "c", "d"}) CHECK(client.ask(std::string(line) + "\n") == line);
}

TEST_CASE("a classic event over TLS that is stuck in writing goes on when its client reads") {
  (void)eventer_name_callback("tls_stuck", &tls_echo_callback);
  start_tls(stanza("tls_stuck", sslconfig(test_certificates())));
  secure_client client("tls_stuck");
  // Until the way back is full, and the way there too.
  std::size_t sent = 0;
  const std::string piece(64 << 10, 'x');
  for (;;) {
    const auto put = client.stream().write_some(piece, 300ms);
    if (!put) break;
    sent += *put;
    REQUIRE(sent < (std::size_t{1} << 30));
  }
  std::string into(64 << 10, '\0');
  std::size_t back = 0;
  while (back < sent) {
    const auto got = client.stream().read_some({into.data(), into.size()}, 30s);
    REQUIRE(got);
    back += *got;
  }
  CHECK(back >= sent);
}

TEST_CASE("a classic event over TLS may move to another loop", "[.tls-alone]") {
  (void)eventer_name_callback("tls_moving", &moving_callback);
  start_tls(stanza("tls_moving", sslconfig(test_certificates())));
  REQUIRE(eventer_loop_concurrency() == 3);
  secure_client client("tls_moving");
  std::string where;
  for (int i = 0; i < 6; ++i) where += client.ask("line\n");
  INFO(where);
  CHECK(where.front() == '0');
  CHECK((where.substr(1) == "21212" || where.substr(1) == "12121"));
}

TEST_CASE("a classic event over TLS can be taken from the loop, triggered, and added again") {
  (void)eventer_name_callback("tls_floating", &floating_callback);
  start_tls(stanza("tls_floating", sslconfig(test_certificates())));
  const std::int64_t events = eventer_allocations_current();
  for (const bool adds : {false, true}) {
    floating = nullptr;
    secure_client client("tls_floating");
    REQUIRE(comes_true([] { return floating != nullptr; }));
    client.send("what comes now is not asked for");
    std::this_thread::sleep_for(20ms);
    if (adds) {
      eventer_set_mask(floating, EVENTER_WRITE);
      eventer_add(floating);
    } else {
      eventer_trigger(floating, EVENTER_WRITE);
    }
    CHECK(client.line() == "triggered");
    CHECK(client.line() == "<end>");
  }
  CHECK(spurious == 0);
  CHECK(comes_true([&] { return eventer_allocations_current() == events; }));
}

TEST_CASE("control_dispatch over TLS: what was looked at is there to be read", "[.tls-alone]") {
  eventer::compat::add_connection_type("http_rest_api", &serve_tls_http);
  mtev_control_dispatch_delegate(&mtev_control_dispatch, 0x746c7301, &command_callback);
  mtev_listener_register_aco_function("tls_unused", &tls_echo);
  start_tls("[[listener]]\ntype = \"control_dispatch\"\naddress = \"127.0.0.2\"\nport = 0\n" +
            sslconfig(test_certificates()));
  const std::int64_t events = eventer_allocations_current();
  const captured_streams log;
  {
    // mtev_listener_port knows the first one of a type.
    start_tls("[[listener]]\ntype = \"control_dispatch\"\naddress = \"127.0.0.1:0\"\n" +
              sslconfig(test_certificates()));
    const std::string text = log.text();
    const std::string port = text.substr(text.rfind(':') + 1);
    const auto connected = [&] {
      auto plain = eventer::tcp_stream::connect("127.0.0.1:" + port.substr(0, port.find('\n')), 30s).value();
      return tls::stream::connect(test_certificates().client(), std::move(plain), "localhost", 30s).value();
    };
    std::string unread;
    tls::stream http = connected();
    REQUIRE(http.write_all("GET /over/tls\n", 30s));
    const auto line = http.read_until(unread, "\n", 100, 30s);
    REQUIRE(line);
    CHECK(*line == "GET /over/tls\n");
    tls::stream command = connected();
    REQUIRE(command.write_all("tls\1", 30s));
    std::this_thread::sleep_for(5ms);
    REQUIRE(command.write_all("behind\n", 30s));
    unread.clear();
    const auto answer = command.read_until(unread, "\n", 100, 30s);
    REQUIRE(answer);
    CHECK(*answer == "behind\n");
  }
  CHECK(comes_true([&] { return eventer_allocations_current() == events; }));
}

TEST_CASE("TLS with loops and an http_rest_api of the test's, in a process of its own") {
  CHECK(run_alone("[.tls-alone]") == 0);
}

TEST_CASE("certificates that can't be read skip their listener, with the reason") {
  mtev_listener_register_aco_function("tls_wrong", &tls_echo);
  const captured_streams log;
  start_tls(stanza("tls_wrong",
                   "ssl = true\nsslconfig = { certificate = \"/nonexistent.pem\", key = \"/nonexistent.key\" }") +
            stanza("tls_wrong", sslconfig(test_certificates(), ", ciphers = \"NONSENSE\"")) +
            stanza("tls_wrong", sslconfig(test_certificates(), ", ignore_dates = true")));
  INFO(log.text());
  CHECK(log.has("/nonexistent.pem"));
  CHECK(log.has("service.toml:1: tls: "));
  CHECK(log.has("NONSENSE"));
  CHECK(log.has("sslconfig.ignore_dates is ignored: who sends a certificate must send one that verifies"));
  CHECK(mtev_listener_port("tls_wrong") > 0);
}
