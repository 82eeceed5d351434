// Listeners are started: every way to accept, every kind of address, and what is refused before anything listens.
#include "../captured_log.hpp"
#include "../plain_descriptors.hpp"
#include "servers.hpp"

#include <sys/stat.h>

#include <set>

using eventer::accept_mode;

namespace {

std::string errors_of(const eventer::service_config& config, const eventer::listener_registry& functions) {
  eventer::loop_pool pool(2);
  try {
    const auto all = eventer::start_listeners(config, functions, pool);
  } catch (const eventer::config_error& error) {
    return error.what();
  }
  return "none";
}
std::size_t count_of(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}
bool has_ipv6() { return eventer::tcp_acceptor::listen("[::1]:0").has_value(); }

}  // namespace

TEST_CASE("each way to accept serves each kind of address, on all loops") {
  const scratch_folder folder;
  struct {
    std::string address;
    accept_mode mode;
  } const cases[] = {
      {"127.0.0.1:0", accept_mode::automatic},
      {"127.0.0.1:0", accept_mode::per_loop},
      {"127.0.0.1:0", accept_mode::hand_over},
      {"[::1]:0", accept_mode::per_loop},
      {"[::1]:0", accept_mode::hand_over},
      {folder.address("a"), accept_mode::automatic},
      {folder.address("a"), accept_mode::hand_over},
      {"unix:@eventer-test-" + std::to_string(::getpid()), accept_mode::automatic},
  };
  for (const auto& [address, mode] : cases) {
    CAPTURE(address, static_cast<int>(mode));
    if (address.starts_with('[') && !has_ipv6()) continue;
    const auto loops = std::make_shared<std::vector<eventer::event_loop*>>();
    eventer::listener_registry functions;
    functions.add("tell", loop_teller{loops});
    auto config = at(address, "tell");
    config.accept = mode;
    running_service service(service_of({config}), functions, 3);
    for (unsigned i = 0; i < 3; ++i) loops->push_back(&service.pool[i]);
    std::vector<plain_client> clients;
    std::set<std::string> seen;
    for (int i = 0; i < 200; ++i) {
      clients.emplace_back(service.address());
      REQUIRE(clients.back().connected());
      seen.insert(clients.back().ask("where"));
    }
    CHECK(seen == std::set<std::string>{"0", "1", "2"});
    const auto counts = service.all.statistics().at(0);
    CHECK(counts.type == "tell");
    CHECK(counts.address == address);
    CHECK(counts.accepted == 200);
    CHECK(counts.open == 200);
    clients.clear();
    CHECK(service.open_becomes(0));
    CHECK(service.all.ready());
    CHECK(service.all.drain(10s) == 0);
    CHECK_FALSE(service.all.ready());
  }
}

TEST_CASE("without a pool the loop of this thread serves") {
  eventer::run([] {
    auto all = eventer::start_listeners(service_of({at("127.0.0.1:0")}), line_registry());
    auto client = eventer::tcp_stream::connect(all.statistics().at(0).local, 5s).value();
    std::string text;
    REQUIRE(client.write_all("hello\n").has_value());
    CHECK(client.read_until(text, "\n", 100, 5s).value() == "1 hello\n");
    CHECK(all.drain(10s, 0s) == 0);
  });
}

TEST_CASE("1,000 connections at a time over three loops, in both ways, each answered again and again") {
  for (const accept_mode mode : {accept_mode::per_loop, accept_mode::hand_over}) {
    auto config = at("127.0.0.1:0");
    config.accept = mode;
    running_service service(service_of({config}), line_registry(), 3);
    std::vector<plain_client> clients;
    for (int i = 0; i < 1000; ++i) clients.emplace_back(service.address());
    std::size_t answered = 0;
    for (int round = 0; round < 3; ++round) {
      for (const auto& each : clients) (void)each.send("x\n");
      for (auto& each : clients) answered += each.line() == "1 x";
    }
    CHECK(answered == 3000);
    CHECK(service.all.statistics().at(0).open == 1000);
  }
}

TEST_CASE("handing over goes to the loop with the fewest connections") {
  const auto loops = std::make_shared<std::vector<eventer::event_loop*>>();
  eventer::listener_registry functions;
  functions.add("tell", loop_teller{loops});
  auto config = at("127.0.0.1:0", "tell");
  config.accept = accept_mode::hand_over;
  running_service service(service_of({config}), functions, 2);
  for (unsigned i = 0; i < 2; ++i) loops->push_back(&service.pool[i]);
  std::vector<plain_client> of[2];
  for (int i = 0; i < 20; ++i) {
    plain_client next(service.address());
    of[next.ask("where") == "1"].push_back(std::move(next));
  }
  CHECK(of[0].size() == 10);
  of[0].clear();
  REQUIRE(service.open_becomes(10));
  for (int i = 0; i < 10; ++i) {
    of[0].emplace_back(service.address());
    CHECK(of[0].back().ask("where") == "0");
  }
}

TEST_CASE("all that is wrong is told at once, and nothing listens") {
  const scratch_folder folder;
  auto misspelt = at("127.0.0.1:0", "linse");
  misspelt.source = "service.toml:3";
  auto nowhere = at("localhost");
  nowhere.source = "service.toml:7";
  auto impossible = at(folder.address("a"));
  impossible.accept = accept_mode::per_loop;
  auto pointless = at(folder.address("b"));
  REQUIRE(pointless.access.allow("10.0.0.0/8").empty());
  const auto twice = at("127.0.0.1:45678"), inherited = at("fd:web");
  const std::string errors =
      errors_of(service_of({misspelt, nowhere, impossible, pointless, twice, twice, inherited}), line_registry());
  CHECK(
      errors.find(
          "service.toml:3: type: nothing is registered as \"linse\"; did you mean \"lines\"? Registered: lines, others") !=
      std::string::npos);
  CHECK(errors.find("service.toml:7: address: \"localhost\"") != std::string::npos);
  CHECK(errors.find("per_loop is not possible with a unix socket") != std::string::npos);
  CHECK(errors.find("access: who connects to a unix socket") != std::string::npos);
  CHECK(errors.find("\"127.0.0.1:45678\" is listened on already") != std::string::npos);
  CHECK(errors.find("no socket named \"web\" was inherited (LISTEN_FDS); there is: none") != std::string::npos);
  CHECK(count_of(errors, "\n") == 5);
  CHECK(::access(folder.file("a").c_str(), F_OK) != 0);
  CHECK(errors_of(service_of({at("127.0.0.1:0", "x")}), {}).find("has registered no function at all") !=
        std::string::npos);
}

TEST_CASE("where one address can't be listened on, the others are closed again") {
  const scratch_folder folder;
  const auto taken = eventer::tcp_acceptor::listen("127.0.0.1:0").value();
  const auto before = open_descriptors();
  auto first = at(taken.local().to_string()), second = at("203.0.113.1:80");
  first.source = "service.toml:9";
  const std::string errors =
      errors_of(service_of({at("127.0.0.1:0"), at(folder.address("a")), first, second}), line_registry());
  CHECK(errors.find("service.toml:9: address: can't listen on \"" + taken.local().to_string() +
                    "\": Address already in use") != std::string::npos);
  CHECK(errors.find("\"203.0.113.1:80\": Cannot assign requested address") != std::string::npos);
  CHECK(count_of(errors, "\n") == 1);
  CHECK(::access(folder.file("a").c_str(), F_OK) != 0);
  CHECK(open_descriptors() == before);
}

TEST_CASE("a port on which this program listens already is an error, although its loops share it") {
  running_service service(service_of({at("127.0.0.1:0")}));
  CHECK(errors_of(service_of({at(service.address())}), line_registry()).find("Address already in use") !=
        std::string::npos);
}

TEST_CASE(
    "a unix socket: a stale file is replaced, a live one and other files are not; permissions; it goes at the end") {
  const scratch_folder folder;
  const auto stale = eventer::endpoint::parse(folder.address("a")).value();
  {
    const eventer::unique_fd dead(::socket(AF_UNIX, SOCK_STREAM, 0));
    REQUIRE(::bind(dead.get(), stale.data(), stale.size()) == 0);
  }
  auto config = at(folder.address("a"));
  config.unix_mode = 0640;
  {
    running_service service(service_of({config}));
    CHECK(plain_client(folder.address("a")).ask("hello") == "1 hello");
    struct stat status {};
    REQUIRE(::stat(folder.file("a").c_str(), &status) == 0);
    CHECK((status.st_mode & 0777) == 0640);
    CHECK(errors_of(service_of({config}), line_registry()).find("Address already in use") != std::string::npos);
    CHECK(plain_client(folder.address("a")).ask("still") == "1 still");
    CHECK(service.all.drain(10s, 0s) == 0);
    CHECK(::access(folder.file("a").c_str(), F_OK) != 0);
  }
  plain_open(folder.file("b").c_str(), O_CREAT | O_WRONLY);
  CHECK(errors_of(service_of({at(folder.address("b"))}), line_registry()).find("Address already in use") !=
        std::string::npos);
  CHECK(::access(folder.file("b").c_str(), F_OK) == 0);
}

TEST_CASE("the file of a unix socket that another one has replaced stays at the end") {
  const scratch_folder folder;
  running_service service(service_of({at(folder.address("a"))}));
  REQUIRE(::unlink(folder.file("a").c_str()) == 0);
  running_service next(service_of({at(folder.address("a"))}));
  CHECK(service.all.drain(10s, 0s) == 0);
  CHECK(plain_client(folder.address("a")).ask("hello") == "1 hello");
}

TEST_CASE("TCP options are those of the configuration, on each connection") {
  struct seen {
    std::atomic<int> no_delay{-1}, keep_alive{-1}, idle{-1}, user_timeout{-1}, receive_buffer{-1};
  };
  const auto options = std::make_shared<seen>();
  eventer::listener_registry functions;
  functions.add("look", [options](eventer::any_stream peer) {
    const auto get = [&peer](int level, int name) {
      int value = -1;
      socklen_t size = sizeof value;
      ::getsockopt(peer.native_handle(), level, name, &value, &size);
      return value;
    };
    options->no_delay = get(IPPROTO_TCP, TCP_NODELAY);
    options->keep_alive = get(SOL_SOCKET, SO_KEEPALIVE);
    options->idle = get(IPPROTO_TCP, TCP_KEEPIDLE);
    options->user_timeout = get(IPPROTO_TCP, TCP_USER_TIMEOUT);
    options->receive_buffer = get(SOL_SOCKET, SO_RCVBUF);
  });
  auto config = at("127.0.0.1:0", "look");
  config.tcp.keep_alive = 77s;
  config.tcp.user_timeout = 5s;
  config.tcp.receive_buffer = 50'000;
  config.tcp.defer_accept = 1s;
  running_service service(service_of({config}), functions);
  plain_client client(service.address());
  CHECK(client.ask("x") != "<nothing for ten seconds>");
  CHECK(options->no_delay == 1);
  CHECK(options->keep_alive == 1);
  CHECK(options->idle == 77);
  CHECK(options->user_timeout == 5000);
  CHECK(options->receive_buffer == 100'000);  // the kernel doubles it
  config.tcp = {.no_delay = false};
  service.all.reload(service_of({config}));  // another address: port 0 is the same one
  plain_client second(service.address());
  CHECK(second.line() == "<end>");
  CHECK(options->no_delay == 0);
  CHECK(options->keep_alive == 0);
  CHECK(options->user_timeout == 0);
}

TEST_CASE("an IPv6 listener takes IPv4 peers unless its configuration says v6_only") {
  if (!has_ipv6()) EVENTER_SKIP("no IPv6 here");
  for (const bool only : {false, true}) {
    auto config = at("[::]:0");
    config.v6_only = only;
    running_service service(service_of({config}));
    const std::string address = service.address();
    const std::string port = address.substr(address.rfind(':'));
    CHECK(plain_client("127.0.0.1" + port).connected() == !only);
    CHECK(plain_client("[::1]" + port).ask("hello") == "1 hello");
  }
}

TEST_CASE("who is not on the access list is closed and counted, also over IPv6") {
  const captured_log log;
  for (const std::string address : {"127.0.0.1:0", "[::]:0"}) {
    if (address.starts_with('[') && !has_ipv6()) continue;
    auto config = at(address);
    config.access = eventer::access_list::parse({"127.0.0.0/24"}, {"127.0.0.7"});
    running_service service(service_of({config}));
    const std::string local = service.address();
    const std::string where = "127.0.0.1" + local.substr(local.rfind(':'));
    CHECK(plain_client(where).ask("hello") == "1 hello");
    for (const char* const from : {"127.0.0.7", "127.0.1.1"}) {
      plain_client denied(where, from);
      const std::string answer = denied.ask("hello");
      CHECK((answer == "<end>" || answer == "<error>"));
    }
    CHECK(service.all.statistics().at(0).denied == 2);
    CHECK(service.all.statistics().at(0).accepted == 3);
    CHECK(service.open_becomes(0));
  }
  CHECK(log.count("is closed: access is denied") >= 1);
}

TEST_CASE("max_connections counts over all loops; those beyond it hear a polite refusal, or are closed") {
  const captured_log log;
  for (const bool polite : {true, false}) {
    eventer::listener_registry functions = line_registry();
    if (polite)
      functions.on_refuse("lines", [](eventer::any_stream peer) {
        (void)peer.write_all("busy\n");
        std::array<char, 64> rest;
        while (peer.read_some(rest)) {
        }
      });
    auto config = at("127.0.0.1:0");
    config.max_connections = 10;
    running_service service(service_of({config}), functions, 2);
    std::vector<plain_client> clients;
    for (int i = 0; i < 10; ++i) {
      clients.emplace_back(service.address());
      CHECK(clients.back().ask("in") == "1 in");
    }
    for (int i = 0; i < 20; ++i) {
      plain_client late(service.address());
      const std::string answer = late.line();
      if (polite) CHECK(answer == "busy");
      if (!polite) CHECK((answer == "<end>" || answer == "<error>"));
    }
    CHECK(service.all.statistics().at(0).refused == 20);
    CHECK(clients.front().ask("still in") == "1 still in");
    clients.pop_back();
    REQUIRE(service.open_becomes(9));
    CHECK(plain_client(service.address()).ask("now") == "1 now");
  }
  CHECK(log.count("others are refused") >= 1);
}

TEST_CASE("a refusal that takes its time ends after a second") {
  const captured_log log;
  eventer::listener_registry functions = line_registry();
  functions.on_refuse("lines", [](eventer::any_stream peer) {
    std::array<char, 64> rest;
    (void)peer.write_all("busy\n");
    (void)peer.read_some(rest);  // nothing comes
  });
  auto config = at("127.0.0.1:0");
  config.max_connections = 1;
  running_service service(service_of({config}), functions, 2);
  plain_client first(service.address());
  CHECK(first.ask("in") == "1 in");
  plain_client late(service.address());
  CHECK(late.line() == "busy");
  CHECK(late.line() == "<end>");
}

TEST_CASE("a function that throws ends its connection and nothing else") {
  const captured_log log;
  eventer::listener_registry functions = line_registry();
  functions.add("throws", [](eventer::any_stream peer) {
    std::array<char, 64> some;
    (void)peer.read_some(some);
    throw std::runtime_error("no such table");
  });
  running_service service(service_of({at("127.0.0.1:0", "throws")}), functions);
  for (int i = 0; i < 3; ++i) CHECK(plain_client(service.address()).ask("x") == "<end>");
  CHECK(service.open_becomes(0));
  CHECK(service.all.statistics().at(0).failed == 3);
  CHECK(log.count("no such table") == 3);
}

TEST_CASE("a function may be a C++20 coroutine, and may take its listener's configuration") {
  eventer::listener_registry functions;
  functions.add("task", [](eventer::any_stream peer, const eventer::listener_config& config) -> eventer::task<void> {
    std::array<char, 64> some;
    while (const auto got = co_await peer.async_read_some(some))
      if (!co_await peer.async_write_all(config.address + "\n")) co_return;
  });
  running_service service(service_of({at("127.0.0.1:0", "task")}), functions);
  plain_client client(service.address());
  CHECK(client.ask("x") == "127.0.0.1:0");
  CHECK(client.ask("y") == "127.0.0.1:0");
}

TEST_CASE("behind a proxy the announced peer is the peer, and the access list is for that one") {
  const captured_log log;
  eventer::listener_registry functions;
  functions.add("who", [](eventer::any_stream peer) {
    std::string text;
    while (const auto line = peer.read_until(text, "\n", 4096)) {
      if (!peer.write_all(peer.peer().to_string() + " " + std::string(*line))) return;
      text.erase(0, line->size());
    }
  });
  auto config = at("127.0.0.1:0", "who");
  config.proxy = eventer::proxy_protocol::required;
  config.trusted_proxies = eventer::access_list::parse({"127.0.0.1"});
  config.access = eventer::access_list::parse({}, {"192.0.2.66"});
  running_service service(service_of({config}), functions);
  const std::string where = service.address();
  const auto announced = [&](const std::string& source, const char* from) {
    return plain_client(where, from).ask("PROXY TCP4 " + source + " 192.0.2.2 56324 443\r\nhello");
  };
  const auto is_closed = [](const std::string& answer) { return answer == "<end>" || answer == "<error>"; };
  CHECK(announced("192.0.2.1", "127.0.0.1") == "192.0.2.1:56324 hello");
  CHECK(is_closed(announced("192.0.2.66", "127.0.0.1")));  // denied by the list
  CHECK(is_closed(announced("192.0.2.1", "127.0.0.9")));   // no proxy of ours
  CHECK(is_closed(plain_client(where, "127.0.0.1").ask("GET / HTTP/1.1")));
  plain_client health_check(where, "127.0.0.1");
  const std::string local("\r\n\r\n\0\r\nQUIT\n\x20\0\0\0up\n", 19);
  REQUIRE(health_check.send(local));
  CHECK(health_check.line().starts_with("127.0.0.1:"));
  CHECK(service.all.statistics().at(0).denied == 3);
  // A header alone is no request: its connection is idle.
  plain_client silent(where, "127.0.0.1");
  REQUIRE(silent.send("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"));
  REQUIRE(service.open_becomes(2));
  CHECK(service.all.drain(60s, 1ms) == 0);
  CHECK(silent.line() == "<end>");
}

TEST_CASE("listeners that are dropped close at once, with their connections") {
  eventer::loop_pool pool(2);
  pool.start();
  plain_client client;
  std::string address;
  {
    auto all = eventer::start_listeners(service_of({at("127.0.0.1:0")}), line_registry(), pool);
    address = all.statistics().at(0).local;
    client = plain_client(address);
    CHECK(client.ask("hello") == "1 hello");
    eventer::listeners moved = std::move(all);
    CHECK_FALSE(all.ready());
    CHECK(moved.ready());
  }
  CHECK(client.line() == "<end>");
  CHECK(running_service::eventually([&] { return !plain_client(address).connected(); }));
}
