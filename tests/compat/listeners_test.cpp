// Listeners of the C interface: what serves connections, what a configuration may say, and what becomes of it all.
#include "eventer/compat/detail/acceptor.hpp"

#include <strings.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>

#include "../catch.hpp"
#include "configured_listeners.hpp"
#include "eventer/compat/detail/configuration.hpp"
#include "eventer/compat/detail/listener_stanzas.hpp"

namespace {

// --- coroutines ---

// What a listener's own config says, in milliseconds.
timeval milliseconds_of_config(mtev_acceptor_closure_t* ac, const char* key) {
  const char* text = nullptr;
  timeval time{};
  if (mtev_hash_retr_str(mtev_acceptor_closure_config(ac), key, static_cast<int>(std::strlen(key)), &text) != 0) {
    const int milliseconds = std::atoi(text);
    time.tv_sec = milliseconds / 1000;
    time.tv_usec = milliseconds % 1000 * 1000;
  }
  return time;
}

void listen_to_me() {
  auto* const e = static_cast<eventer_aco_t>(eventer_aco_arg());
  timeval patience =
      milliseconds_of_config(static_cast<mtev_acceptor_closure_t*>(eventer_aco_get_closure(e)), "patience");
  for (;;) {
    char buff[128];
    const int rv = eventer_aco_read(e, buff, sizeof buff, &patience);
    if (rv == -1) {
      if (errno == ETIME) eventer_aco_write(e, "bye!\n", 5, nullptr);
      break;
    }
    if (rv >= 4 && ::strncasecmp(buff, "quit", 4) == 0) {
      eventer_aco_write(e, "quitter!\n", 9, nullptr);
      break;
    }
    if (eventer_aco_write(e, "thanks!\n", 9, nullptr) < 0) break;
  }
  eventer_aco_close(e);
  eventer_aco_free(e);
}

std::atomic<int> freed_ctx{0};
void free_ctx(void* ctx) {
  std::free(ctx);
  ++freed_ctx;
}

// Echoes, and leaves by aco_exit().
void echo_in_coroutine() {
  auto* const e = static_cast<eventer_aco_t>(eventer_aco_arg());
  auto* const ac = static_cast<mtev_acceptor_closure_t*>(eventer_aco_get_closure(e));
  mtev_acceptor_closure_set_ctx(ac, std::malloc(8), &free_ctx);
  char buff[4096];
  int got;
  while ((got = eventer_aco_read(e, buff, sizeof buff, nullptr)) > 0)
    if (eventer_aco_write_all(e, buff, static_cast<size_t>(got), nullptr) < 0) break;
  eventer_aco_close(e);
  eventer_aco_free(e);
  mtev_acceptor_closure_free(ac);  // early, as its owner would have to; the coroutine's end does not do it again
  mtev_acceptor_closure_free(ac);
  aco_exit();
}

// Says what it knows of itself.
void tell_about_me() {
  auto* const e = static_cast<eventer_aco_t>(eventer_aco_arg());
  auto* const ac = static_cast<mtev_acceptor_closure_t*>(eventer_aco_get_closure(e));
  char who[64];
  const int length = mtev_convert_sockaddr_to_buff(who, sizeof who, mtev_acceptor_closure_remote(ac));
  std::string text = std::string(who) + " " + std::to_string(length);
  mtev_hash_iter it = MTEV_HASH_ITER_ZERO;
  std::set<std::string> settings;
  while (mtev_hash_adv(mtev_acceptor_closure_config(ac), &it) != 0)
    settings.insert(" " + std::string(it.key.str, static_cast<std::size_t>(it.klen)) + "=" + it.value.str);
  for (const std::string& each : settings) text += each;
  if (const char* const name = mtev_acceptor_closure_remote_cn(ac); name != nullptr) text.append(" cn=").append(name);
  text += "\n";
  // On the heap, as everything that outlives a wait of a large frame may be.
  (void)eventer_aco_write_all(e, text.data(), text.size(), nullptr);
  eventer_aco_close(e);
  eventer_aco_free(e);
}

// --- callbacks ---

std::atomic<int> open_echoes{0};

// The usual form of a classic protocol: a state, and what is left to be written.
struct echo_state {
  std::string left;
  bool has_ended = false;
};
void free_echo(void* state) {
  delete static_cast<echo_state*>(state);
  --open_echoes;
}
int echo_callback(eventer_t e, int mask, void* closure, struct timeval* now) {
  auto* const ac = static_cast<mtev_acceptor_closure_t*>(closure);
  if (mtev_acceptor_closure_ctx(ac) == nullptr) {
    mtev_acceptor_closure_set_ctx(ac, new echo_state, &free_echo);
    ++open_echoes;
  }
  auto& state = *static_cast<echo_state*>(mtev_acceptor_closure_ctx(ac));
  bool failed = false;
  int wanted = 0;
  char buff[1000];
  while (!state.has_ended && state.left.size() < 100'000) {
    const int got = eventer_read(e, buff, sizeof buff, &wanted);
    if (got < 0 && errno == EAGAIN) break;
    if (got > 0) mtev_acceptor_closure_mark_read(ac, now);
    if (got > 0) state.left.append(buff, static_cast<std::size_t>(got));
    state.has_ended = got == 0;
    failed = failed || got < 0;
    if (failed) break;
  }
  wanted = state.has_ended ? 0 : EVENTER_READ | EVENTER_EXCEPTION;
  while (!failed && !state.left.empty()) {
    int mask_of_write = 0;
    const int put = eventer_write(e, state.left.data(), state.left.size(), &mask_of_write);
    if (put < 0 && errno == EAGAIN) {
      wanted |= mask_of_write;
      break;
    }
    if (put > 0) state.left.erase(0, static_cast<std::size_t>(put));
    failed = put < 0;
  }
  if (!failed && (mask & EVENTER_EXCEPTION) == 0 && (!state.has_ended || !state.left.empty())) return wanted;
  if ((mask & EVENTER_EXCEPTION) != 0 && !failed && !state.has_ended) return wanted;
  eventer_remove_fde(e);
  eventer_close(e, &wanted);
  mtev_acceptor_closure_free(ac);
  return 0;
}

// Says one thing and ends.
int say_and_end(eventer_t e, const std::string& text, void* closure) {
  int mask = 0;
  (void)eventer_write(e, text.data(), text.size(), &mask);
  eventer_remove_fde(e);
  eventer_close(e, &mask);
  mtev_acceptor_closure_free(static_cast<mtev_acceptor_closure_t*>(closure));
  return 0;
}
int say_callback(eventer_t e, int, void* closure, struct timeval*) { return say_and_end(e, "callback\n", closure); }
void say_coroutine() {
  auto* const e = static_cast<eventer_aco_t>(eventer_aco_arg());
  eventer_aco_write(e, "coroutine\n", 10, nullptr);
  eventer_aco_close(e);
  eventer_aco_free(e);
}

// Says its command, and what comes behind it.
int delegate_callback(eventer_t e, int, void* closure, struct timeval*) {
  auto* const ac = static_cast<mtev_acceptor_closure_t*>(closure);
  char rest[16];
  int mask = 0;
  const int got = eventer_read(e, rest, sizeof rest, &mask);
  if (got < 0 && errno == EAGAIN) return mask;
  char text[64];
  std::snprintf(text, sizeof text, "%08x %.*s\n", mtev_acceptor_closure_cmd(ac), got > 0 ? got : 0, rest);
  return say_and_end(e, text, closure);
}
// As the page has it: the event moves to a coroutine, and the closure goes along.
void moved_echo() {
  auto* const classic = static_cast<eventer_t>(eventer_aco_arg());
  auto* const ac = static_cast<mtev_acceptor_closure_t*>(eventer_get_closure(classic));
  const eventer_aco_t e = eventer_set_eventer_aco(classic);
  char buff[128];
  int got;
  while ((got = eventer_aco_read(e, buff, sizeof buff, nullptr)) > 0)
    if (eventer_aco_write(e, buff, static_cast<size_t>(got), nullptr) < 0) break;
  eventer_aco_close(e);
  eventer_aco_free(e);
  mtev_acceptor_closure_free(ac);
}
int moving_callback(eventer_t e, int, void*, struct timeval*) {
  eventer_remove_fde(e);
  eventer_aco_start(&moved_echo, eventer_alloc_copy(e));
  return 0;
}
// Goes on with a connection whose function has returned.
void go_on() {
  auto* const e = static_cast<eventer_aco_t>(eventer_aco_arg());
  timeval moment{0, 5000};
  eventer_aco_sleep(&moment);
  const bool has_closure = eventer_aco_get_closure(e) != nullptr;
  eventer_aco_write(e, has_closure ? "with\n" : "without\n", has_closure ? 5 : 8, nullptr);
  eventer_aco_close(e);
  eventer_aco_free(e);
}
void leave_to_another() { eventer_aco_start(&go_on, eventer_aco_arg()); }
// And the other way: a coroutine gives its connection to a callback.
void give_to_callback() {
  const eventer_t e = eventer_unset_eventer_aco(static_cast<eventer_aco_t>(eventer_aco_arg()));
  eventer_set_callback(e, &echo_callback);
  eventer_set_mask(e, EVENTER_READ | EVENTER_EXCEPTION);
  eventer_add(e);
}

// Leaves what it gets to control_dispatch, at once.
int leaving_callback(eventer_t e, int mask, void* closure, struct timeval* now) {
  return mtev_control_dispatch(e, mask, closure, now);
}

void serve_http(eventer::any_stream&& peer, mtev_acceptor_closure_t& from) {
  std::string text;
  const auto line = peer.read_until(text, "\n", 100);
  (void)peer.write_all("http " + std::to_string(from.cmd) + " " + (line ? std::string(*line) : "none\n"));
}

void register_types() {
  static const bool once = [] {
    (void)eventer_propset("concurrency", "3");
    mtev_listener_register_aco_function("listen_to_me", &listen_to_me);
    mtev_listener_register_aco_function("echo_in_coroutine", &echo_in_coroutine);
    mtev_listener_register_aco_function("about", &tell_about_me);
    mtev_listener_register_aco_function("say", &say_coroutine);
    mtev_listener_register_aco_function("say_first", &say_coroutine);
    mtev_listener_register_aco_function("say_first", &listen_to_me);
    (void)eventer_name_callback("say", &say_callback);
    (void)eventer_name_callback("echo", &echo_callback);
    (void)eventer_name_callback("leaving", &leaving_callback);
    eventer::compat::add_connection_type("http_rest_api", &serve_http);
    mtev_control_dispatch_delegate(&mtev_control_dispatch, 0xfeed0001, &delegate_callback);
    mtev_control_dispatch_delegate(&leaving_callback, 0xfeed0002, &delegate_callback);
    return true;
  }();
  (void)once;
}
void start_types(const std::string& text) {
  register_types();
  start_configured(text);
}

}  // namespace

TEST_CASE("a listener runs its coroutine for each connection, with the time that its config says") {
  start_types(stanza("listen_to_me", "config = { patience = 30000 }"));
  {
    const test_client first("listen_to_me"), second("listen_to_me");
    CHECK(first.ask("hello\n", 9) == std::string("thanks!\n", 9));
    CHECK(second.ask("hello\n", 9) == std::string("thanks!\n", 9));
    CHECK(first.ask("QUIT\n", 9) == "quitter!\n");
    CHECK(first.read_rest() == "");
    CHECK(second.ask("again\n", 9) == std::string("thanks!\n", 9));
  }
  register_types();
  mtev_listener_register_aco_function("impatient", &listen_to_me);
  start_types(stanza("impatient", "config = { patience = \"20\" }"));
  CHECK(test_client("impatient").read_rest() == "bye!\n");
}

TEST_CASE("a named callback is a listener type, with a descriptor that does not block and a closure that it frees") {
  start_types(stanza("echo"));
  const int before = open_echoes;
  {
    const test_client client("echo");
    CHECK(client.ask("a", 1) == "a");
    CHECK(client.ask("bcd", 3) == "bcd");
    std::string much(1 << 20, 'x');
    std::thread sender([&] {
      client.send(much);
      ::shutdown(client.fd(), SHUT_WR);
    });
    CHECK(client.read_rest() == much);
    sender.join();
  }
  CHECK(comes_true([&] { return open_echoes == before; }));
}

TEST_CASE("a connection may move from a callback to a coroutine, and the other way, with its closure") {
  mtev_listener_register_aco_function("gives", &give_to_callback);
  (void)eventer_name_callback("moves", &moving_callback);
  start_types(stanza("gives") + stanza("moves"));
  const std::int64_t events = events_there();
  const int open = open_echoes;
  {
    const test_client gives("gives"), moves("moves");
    for (const test_client* const each : {&gives, &moves, &gives, &moves}) CHECK(each->ask("xyz", 3) == "xyz");
  }
  CHECK(comes_true([&] { return eventer_allocations_current() <= events && open_echoes == open; }));
}

TEST_CASE("a connection that is left to another coroutine stays open, without the closure") {
  mtev_listener_register_aco_function("leaves", &leave_to_another);
  start_types(stanza("leaves"));
  const std::int64_t events = events_there();
  CHECK(test_client("leaves").read_rest() == "without\n");
  CHECK(comes_true([&] { return eventer_allocations_current() <= events; }));
}

TEST_CASE("a named callback wins over a coroutine function, and the first function of a name stays") {
  start_types(stanza("say") + stanza("say_first"));
  CHECK(test_client("say").read_rest() == "callback\n");
  CHECK(test_client("say_first").read_rest() == "coroutine\n");
}

TEST_CASE("two hundred connections leave no event, and their closures free what they were given once") {
  start_types(stanza("echo_in_coroutine", "fanout = \"on\""));
  const std::int64_t events = events_there();
  const int freed = freed_ctx;
  for (int round = 0; round < 4; ++round) {
    std::vector<test_client> clients;
    for (int i = 0; i < 50; ++i) clients.emplace_back("echo_in_coroutine");
    for (const test_client& each : clients) each.send("ping");
    for (const test_client& each : clients) CHECK(each.read(4) == "ping");
  }
  CHECK(comes_true([&] { return freed_ctx == freed + 200 && eventer_allocations_current() <= events; }));
  std::this_thread::sleep_for(std::chrono::milliseconds(10));
  CHECK(freed_ctx == freed + 200);
}

TEST_CASE("control_dispatch gives a connection to whom its first four bytes say, or closes it", "[.commands]") {
  start_types(stanza("control_dispatch"));
  CHECK(test_client("control_dispatch").ask(std::string("\xfe\xed\x00\x01more", 8), 14) == "feed0001 more\n");
  {
    const test_client bytewise("control_dispatch");
    for (const char each : {'\xfe', '\xed', '\x00', '\x01', 'x'}) {
      bytewise.send(std::string_view(&each, 1));
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    CHECK(bytewise.read_rest() == "feed0001 x\n");
  }
  CHECK(test_client("control_dispatch").ask("GET /x\n", 100) == "http 1195725856 GET /x\n");
  const captured_streams log;
  const test_client unknown("control_dispatch");
  unknown.send("\x01\x02\x03\x04");
  CHECK(unknown.read_rest() == "");
  CHECK(comes_true([&] { return log.has("127.0.0.1 is closed: nobody serves the command 0x01020304"); }));
}

TEST_CASE("a callback may leave its connection to control_dispatch, with delegates of its own", "[.commands]") {
  start_types(stanza("leaving"));
  const std::int64_t events = events_there();
  CHECK(test_client("leaving").ask(std::string("\xfe\xed\x00\x02more", 8), 14) == "feed0002 more\n");
  CHECK(test_client("leaving").ask("PUT /y\n", 100) == "http 1347769376 PUT /y\n");
  const captured_streams log;
  const test_client unknown("leaving");
  unknown.send(std::string("\xfe\xed\x00\x01", 4));  // another dispatcher's
  CHECK(unknown.read_rest() == "");
  CHECK(comes_true([&] { return eventer_allocations_current() <= events; }));
}

TEST_CASE("control_dispatch, in a process whose http_rest_api is the test's", "[no-emulator]") {
  CHECK(run_alone("[.commands]") == 0);
}

TEST_CASE("what groups say holds for the listeners in them, and the nearest counts") {
  mtev_listener_register_aco_function("about_inner", &tell_about_me);
  mtev_listener_register_aco_function("about_outer", &tell_about_me);
  mtev_listener_register_aco_function("about_program", &tell_about_me);
  const captured_streams log;
  start_types(R"(
[listeners]
address = "127.0.0.1"
port = "0"
no_delay = false
[listeners.config]
a = "outer"
b = 2
[[listeners.listener]]
type = "about_outer"
[[listeners.group.inside.listener]]
type = "about_inner"
backlog = "17"
[listeners.group.inside.listener.config]
a = "own"
c = true
[listeners.group]
max_connections = 10
[listeners.group.config]
b = 2.5
[[tests.listeners.listener]]
type = "about_program"
address = "inet:127.0.0.1"
port = 0
settings = { d = "ours" }
)");
  CHECK(test_client("about_outer").read_rest() == "127.0.0.1 9 a=outer b=2\n");
  CHECK(test_client("about_inner").read_rest() == "127.0.0.1 9 a=own b=2.5 c=true\n");
  CHECK(test_client("about_program").read_rest() == "127.0.0.1 9 d=ours\n");
  CHECK(log.has("listener about_inner at 127.0.0.1:" + std::to_string(mtev_listener_port("about_inner")) + "\n"));
  CHECK(mtev_listener_port("nobody") == -1);
}

TEST_CASE("two names of one key in sslconfig are one key, of which the nearest counts") {
  const toml::table file = toml::parse(R"(
[listeners.sslconfig]
ca_file = "all.pem"
key = "group.pem"
[[listeners.listener]]
[listeners.listener.sslconfig]
ca_chain = "few.pem"
key_file = "own.pem"
)");
  const auto found = eventer::compat::stanza_collector::collect(file, "");
  REQUIRE(found.size() == 1);
  CHECK(found[0].sslconfig.size() == 2);
  for (const auto& [name, value] :
       {std::pair<std::string, std::string>{"ca_chain", "few.pem"}, {"key_file", "own.pem"}}) {
    const auto at = found[0].sslconfig.find(name);
    REQUIRE(at != found[0].sslconfig.end());
    CHECK(at->second.node.value<std::string>() == value);
  }
}

TEST_CASE("ours: an address with its port, at the top of the file") {
  mtev_listener_register_aco_function("about_ours", &tell_about_me);
  mtev_listener_register_aco_function("about_array", &tell_about_me);
  start_types("[[listener]]\ntype = \"about_ours\"\naddress = \"127.0.0.1:0\"\n");
  CHECK(test_client("about_ours").read_rest() == "127.0.0.1 9\n");
  start_types("[[listeners]]\ntype = \"about_array\"\naddress = \"127.0.0.1:0\"\n");
  CHECK(test_client("about_array").read_rest() == "127.0.0.1 9\n");
}

TEST_CASE("a listener that is wrong is skipped, and the log says where and what would be right") {
  mtev_listener_register_aco_function("about_good", &tell_about_me);
  const struct {
    const char *what, *more, *complaint;
  } cases[] = {
      {"abuot_good", "",
       "service.toml:1:1: listeners.listener[0].type: nothing is registered as \"abuot_good\"; did you mean \"about_good\"?"},
      {"about_good", "backlag = 5",
       "service.toml:5:1: listeners.listener[0].backlag: unknown key; did you mean backlog?"},
      {"about_good", "backlog = \"many\"",
       "service.toml:5:11: listeners.listener[0].backlog: expected a whole number from 1 to 65535, got \"many\""},
      {"about_good", "ssl = \"perhaps\"",
       "service.toml:5:7: listeners.listener[0].ssl: expected \"on\" or \"off\", true or false, got \"perhaps\""},
      {"about_good", "fanout_pool = \"none\"",
       "there is no pool \"none\": the property loop_none makes one, before eventer_init"},
      {"about_good", "require_env = \"A=~b\"",
       "require_env: \"A=~b\": expected NAME, !NAME, NAME=value or NAME!=value"},
      {"about_good", "config = 5", "listeners.listener[0].config: expected a table, got 5"},
      {"about_good", "config = { idle_timeout = \"soon\" }",
       "listeners.listener[0].config.idle_timeout: expected a whole number from 0 to 1000000000, got \"soon\""},
      {"about_good", "config = { x = [1] }",
       "listeners.listener[0].config.x: expected text, a number, true or false, got an array"},
      {"about_good", "max_connections = \"x\"",
       "service.toml:5:19: listeners.listener[0].max_connections: expected a whole number from 0"},
      {"echo", "max_connections = 5", "max_connections: means nothing for a callback"},
      {"about_good", "ssl = true\nsslconfig = { certificat_file = \"x\" }",
       "sslconfig.certificat_file: unknown key; did you mean certificate_file?"},
      {"about_good", "ssl = true\nsslconfig = { certificate = \"x\" }",
       "sslconfig.key_file: is missing: expected a PEM file"},
      {"about_good", "ssl = true\nsslconfig = { crl = \"x\" }",
       "sslconfig.crl: revocation lists are not looked at here"},
      {"about_good", "ssl = true\nsslconfig = { layer = \"sslv3\" }",
       "sslconfig.layer: expected \"TLSv1.2\" or \"TLSv1.3\", the least that is spoken, got \"sslv3\""},
  };
  for (const auto& each : cases) {
    INFO(each.what << " " << each.more);
    const captured_streams log;
    start_types(stanza(each.what, each.more) + stanza("about_good"));
    INFO(log.text());
    CHECK(log.has(each.complaint));
    CHECK(log.has("listener about_good at 127.0.0.1:"));
    CHECK_FALSE(log.has("listener[1]"));
  }
  const struct {
    const char *address, *complaint;
  } addresses[] = {
      {"address = \"localhost\"\nport = 80",
       "expected \"*\", \"inet:*\", \"inet6:*\", an IPv4 or IPv6 address, or a path that begins with /, got \"localhost\""},
      {"address = \"inet:::1\"\nport = 80", "got \"inet:::1\""},
      {"address = \"127.0.0.1\"", "listeners.listener[0].port: is missing: expected a number from 1 to 65535, or 0"},
      {"address = \"127.0.0.1\"\nport = 65536",
       "listeners.listener[0].port: expected a whole number from 0 to 65535, got 65536"},
      {"", "listeners.listener[0].address: is missing"},
      {"address = [5]", "address: expected an address"},
  };
  for (const auto& each : addresses) {
    INFO(each.address);
    const captured_streams log;
    start_types(std::string("[[listeners.listener]]\ntype = \"about_good\"\n") + each.address + "\n" +
                stanza("about_good"));
    INFO(log.text());
    CHECK(log.has(each.complaint));
    CHECK(log.has("listener about_good at 127.0.0.1:"));
  }
  CHECK(test_client("about_good").read_rest() == "127.0.0.1 9\n");
}

TEST_CASE("an address that is in use keeps nobody else from starting") {
  mtev_listener_register_aco_function("about_twice", &tell_about_me);
  start_types(stanza("about_twice"));
  const std::string port = std::to_string(mtev_listener_port("about_twice"));
  const captured_streams log;
  start_types("[[listener]]\ntype = \"about_twice\"\naddress = \"127.0.0.1\"\nport = " + port + "\n" +
              stanza("about_twice"));
  CHECK(log.has("can't listen on \"127.0.0.1:" + port + "\": Address already in use"));
  CHECK(log.has("listener about_twice at"));
}

TEST_CASE("a file with an error in it starts nothing, and says so") {
  const captured_streams log;
  start_types("[[listener\n");
  CHECK(log.has("configuration: /tmp/eventer-listen-"));
  CHECK(log.has("service.toml:1:"));
}

TEST_CASE("a listener may be a unix socket, whose connections have no address") {
  mtev_listener_register_aco_function("about_unix", &tell_about_me);
  const test_folder folder;
  start_types("[listeners]\nport = 0\nno_delay = true\n[[listeners.listener]]\ntype = \"about_unix\"\naddress = \"" +
              folder.file("socket") + "\"\n");
  CHECK(test_client(folder.file("socket")).read_rest() == " 0\n");
  CHECK(mtev_listener_port("about_unix") == -1);
}

TEST_CASE("IPv6, where the machine has it") {
  mtev_listener_register_aco_function("about_v6", &tell_about_me);
  const eventer::unique_fd fd(::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in6 to{};
  to.sin6_family = AF_INET6;
  to.sin6_addr = in6addr_loopback;
  if (!fd || ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0)
    EVENTER_SKIP("no IPv6 on this machine");
  start_types("[[listeners.listener]]\ntype = \"about_v6\"\naddress = \"inet6:::1\"\nport = 0\n");
  to.sin6_port = htons(static_cast<std::uint16_t>(mtev_listener_port("about_v6")));
  const eventer::unique_fd client(::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
  REQUIRE(::connect(client.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0);
  char text[32] = "";
  CHECK(::recv(client.get(), text, sizeof text - 1, MSG_WAITALL) == 6);
  CHECK(std::string(text) == "::1 3\n");
}

// qemu-user does not know SO_COOKIE, by which a socket is told from one that has its number later.
TEST_CASE("an idle connection is shut down, and what is read or written counts", "[no-emulator]") {
  mtev_listener_register_aco_function("idle_echo", &echo_in_coroutine);
  (void)eventer_name_callback("idle_callback", &echo_callback);
  (void)eventer_name_callback("idle_moves", &moving_callback);
  start_types(stanza("idle_echo", "config = { idle_timeout = 400 }") +
              stanza("idle_callback", "config = { idle_timeout = 400 }") +
              stanza("idle_moves", "config = { idle_timeout = 400 }"));
  const std::int64_t events = events_there();
  const int open = open_echoes;
  for (const char* const type : {"idle_echo", "idle_callback", "idle_moves"}) {
    INFO(type);
    const auto begun = std::chrono::steady_clock::now();
    const test_client client(type);
    for (int i = 0; i < 8; ++i) {
      CHECK(client.ask("x", 1) == "x");
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
    CHECK(client.read_rest() == "");  // an end comes
    CHECK(std::chrono::steady_clock::now() - begun >= std::chrono::milliseconds(1100));
  }
  CHECK(comes_true([&] { return eventer_allocations_current() <= events && open_echoes == open; }));
}

TEST_CASE("a closure knows how long ago its marks are") {
  mtev_acceptor_closure_t closure;
  timeval read{100, 500'000}, written{102, 0}, now{104, 250'000}, age{};
  mtev_acceptor_closure_mark_read(&closure, &read);
  mtev_acceptor_closure_mark_write(&closure, &written);
  mtev_acceptor_closure_readwrite_age(&closure, &now, &age);
  CHECK(age.tv_sec == 2);
  CHECK(age.tv_usec == 250'000);
  mtev_acceptor_closure_mark_read(&closure, nullptr);
  mtev_acceptor_closure_readwrite_age(&closure, &now, &age);  // a clock that was set back
  CHECK(age.tv_sec == 0);
  CHECK(mtev_acceptor_closure_remote_cn(&closure) == nullptr);
  CHECK(mtev_acceptor_closure_dispatch(&closure) == nullptr);
}

TEST_CASE("an address fits into its buffer, or is cut") {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(0x7f000001);
  char text[32];
  CHECK(mtev_convert_sockaddr_to_buff(text, sizeof text, reinterpret_cast<sockaddr*>(&address)) == 9);
  CHECK(std::string(text) == "127.0.0.1");
  CHECK(mtev_convert_sockaddr_to_buff(text, 5, reinterpret_cast<sockaddr*>(&address)) == 0);
  CHECK(mtev_convert_sockaddr_to_buff(text, 0, reinterpret_cast<sockaddr*>(&address)) == 0);
  sockaddr_un path{};
  path.sun_family = AF_UNIX;
  std::memset(path.sun_path, 'p', sizeof path.sun_path);  // without a NUL
  char large[200];
  CHECK(mtev_convert_sockaddr_to_buff(large, sizeof large, reinterpret_cast<sockaddr*>(&path)) == sizeof path.sun_path);
  CHECK(mtev_convert_sockaddr_to_buff(text, 5, reinterpret_cast<sockaddr*>(&path)) == 4);
}

TEST_CASE("listeners that are skipped, or not wanted in this environment, do not start") {
  for (const char* const type : {"skipped", "unwanted", "wanted"})
    mtev_listener_register_aco_function(type, &tell_about_me);
  mtev_listener_skip("127.0.0.3", 0);
  mtev_listener_skip(nullptr, 34567);
  ::setenv("EVENTER_TEST_MODE", "blue", 1);
  const captured_streams log;
  start_types(
      "[[listener]]\ntype = \"skipped\"\naddress = \"127.0.0.3\"\nport = 0\n"
      "[[listener]]\ntype = \"skipped\"\naddress = \"127.0.0.1:34567\"\n" +
      stanza("unwanted", "require_env = \"EVENTER_TEST_NONE\"") +
      stanza("unwanted", "require_env = \"!EVENTER_TEST_MODE\"") +
      stanza("unwanted", "require_env = \"EVENTER_TEST_MODE=red\"") +
      stanza("unwanted", "require_env = \"EVENTER_TEST_MODE!=blue\"") +
      stanza("wanted", "require_env = \"EVENTER_TEST_MODE=blue\"") +
      "[listeners.group]\nrequire_env = \"EVENTER_TEST_NONE\"\n[[listeners.group.listener]]\ntype = \"unwanted\"\naddress = \"127.0.0.1\"\n"
      "port = 0\nrequire_env = \"EVENTER_TEST_MODE\"\n");
  INFO(log.text());
  CHECK(mtev_listener_port("skipped") == -1);
  CHECK(mtev_listener_port("unwanted") == -1);
  CHECK(mtev_listener_port("wanted") > 0);
}

TEST_CASE("[eventer] sets properties, the program's own count, and eventer_stop ends what listens", "[.alone]") {
  register_types();
  mtev_listener_register_aco_function("stays", &echo_in_coroutine);
  start_configured(
      "[eventer]\nimplementation = \"epoll\"\nconcurrency = 7\nloop_extra = \"2,5\"\n[eventer.config]\naco_timeout_errno = \"ETIMEDOUT\"\n" +
      stanza("stays", "fanout = true\nfanout_pool = \"extra\""));
  CHECK(eventer_loop_concurrency() == 3);
  REQUIRE(eventer_pool("extra") != nullptr);
  CHECK(eventer_pool_concurrency(eventer_pool("extra")) == 2);
  const int port = mtev_listener_port("stays");
  std::vector<test_client> clients;
  for (int i = 0; i < 10; ++i) {
    clients.emplace_back(port);
    CHECK(clients.back().ask("ping", 4) == "ping");
  }
  CHECK(eventer_stop(nullptr) == 0);
  for (const test_client& each : clients) CHECK(each.read_rest() == "");
  CHECK_THROWS(test_client(port));
  CHECK(freed_ctx == 10);
  CHECK(eventer_allocations_current() == 0);
}
TEST_CASE("properties of a file, and eventer_stop, in a process of their own", "[no-emulator]") {
  CHECK(run_alone("[.alone]") == 0);
}

TEST_CASE("where no file was loaded, mtev_listener_init reads the one that is named as the program", "[.named]") {
  const test_folder folder;
  REQUIRE(::chdir(folder.file("").c_str()) == 0);
  std::ofstream("service.toml") << stanza("about");
  register_types();
  REQUIRE(eventer_init() == 0);
  {
    const captured_streams log;
    mtev_listener_init(nullptr);
    CHECK(log.has("no configuration was loaded: see mtev_conf_load()"));
    mtev_listener_init("absent");
    CHECK(log.has("cannot read \"absent.toml\""));
  }
  mtev_listener_init("service");
  CHECK(eventer::compat::configuration_path() == "service.toml");
  CHECK(test_client("about").read_rest() == "127.0.0.1 9\n");
}
TEST_CASE("a file named as the program, in a process of its own", "[no-emulator]") {
  CHECK(run_alone("[.named]") == 0);
}
