// Listeners are changed while they run: what keeps its address keeps its socket and its connections.
#include "../captured_log.hpp"
#include "servers.hpp"

#include <mutex>

using eventer::accept_mode;

namespace {

// A configuration that changes under a running service.
struct changing_config {
  struct state {
    std::mutex mutex;
    eventer::service_config config;
    bool broken = false;
  };
  std::shared_ptr<state> now = std::make_shared<state>();

  explicit changing_config(const eventer::service_config& first) { now->config = first; }
  eventer::service_config operator()() const {
    const std::lock_guard lock(now->mutex);
    if (now->broken) throw eventer::config_error({{"service.toml", 3, 1, "", "this is no TOML"}});
    return now->config;
  }
};

std::string what_reload_says(eventer::listeners& all, const eventer::service_config& config) {
  try {
    all.reload(config);
  } catch (const eventer::config_error& error) {
    return error.what();
  }
  return "none";
}

// Plain programs that connect, ask once and go, as fast as they can.
class connecting_crowd {
 public:
  connecting_crowd(const std::string& address, std::size_t threads, bool until_refused = false) {
    for (std::size_t i = 0; i < threads; ++i)
      threads_.emplace_back([this, address, until_refused] {
        while (!stop_.load()) {
          plain_client client(address);
          if (!client.connected()) {
            ++refused;
            if (until_refused) return;
            continue;
          }
          ++connected;
          const std::string answer = client.ask("hello");
          if (answer == "1 hello" || answer == "2 hello") ++answered;
        }
      });
  }
  ~connecting_crowd() { join(); }
  void join() {
    stop_.store(true);
    wait();
  }
  void wait() {
    for (std::thread& each : threads_) each.join();
    threads_.clear();
  }
  bool more(std::size_t by) {
    const std::size_t wanted = answered.load() + by;
    return running_service::eventually([&] { return answered.load() >= wanted; });
  }
  std::atomic<std::size_t> connected{0}, answered{0}, refused{0};

 private:
  std::atomic<bool> stop_{false};
  std::vector<std::thread> threads_;
};

}  // namespace

TEST_CASE("a reload keeps the connections of what stays, changes its function in place, adds, and removes in peace") {
  const scratch_folder folder;
  auto stays = at("127.0.0.1:0"), goes = at(folder.address("a")), comes = at(folder.address("b"), "others");
  const changing_config config(service_of({stays, goes}));
  eventer::loop_pool pool(2);
  pool.start();
  auto all = eventer::start_listeners(config, line_registry(), pool);
  const std::string where = all.statistics().at(0).local;
  plain_client old_one(where), leaving(folder.address("a"));
  CHECK(old_one.ask("a") == "1 a");
  CHECK(leaving.ask("a") == "1 a");
  REQUIRE(leaving.send("half"));

  stays.type = "others";
  stays.max_connections = 2;
  config.now->config = service_of({comes, stays});
  config.now->config.drain_idle = 10ms;
  all.reload();
  const auto now = all.statistics();
  REQUIRE(now.size() == 2);
  CHECK(now[1].local == where);
  CHECK(now[1].type == "others");
  CHECK(now[1].open == 1);
  CHECK(old_one.ask("b") == "1 b");  // its function is the one that it began with
  plain_client new_one(where);
  CHECK(new_one.ask("c") == "2 c");
  CHECK(plain_client(folder.address("b")).ask("d") == "2 d");
  const std::string beyond = plain_client(where).ask("e");
  CHECK((beyond == "<end>" || beyond == "<error>"));
  REQUIRE(running_service::eventually([&] { return !plain_client(folder.address("a")).connected(); }));
  REQUIRE(leaving.send(" a request\n"));
  CHECK(leaving.line() == "1 half a request");
  CHECK(leaving.line() == "<end>");
  CHECK(all.ready());

  config.now->config = service_of({stays, goes});  // what was removed comes back
  all.reload();
  CHECK(plain_client(folder.address("a")).ask("f") == "1 f");
  CHECK(old_one.ask("g") == "1 g");
}

TEST_CASE("a bad configuration changes nothing, and all that is wrong with it is told") {
  const scratch_folder folder;
  const changing_config config(service_of({at("127.0.0.1:0"), at(folder.address("a"))}));
  eventer::loop_pool pool(2);
  pool.start();
  auto all = eventer::start_listeners(config, line_registry(), pool);
  const std::string where = all.statistics().at(0).local;
  plain_client client(where);
  CHECK(client.ask("a") == "1 a");

  auto unknown = at("127.0.0.1:0", "liens");
  auto fine = at(folder.address("b"), "others");
  auto bad_address = at("127.0.0.1");
  std::string errors = what_reload_says(all, service_of({unknown, bad_address, fine}));
  CHECK(errors.find("\"liens\"; did you mean \"lines\"?") != std::string::npos);
  CHECK(errors.find("\"127.0.0.1\" is none to listen on") != std::string::npos);
  CHECK(::access(folder.file("b").c_str(), F_OK) != 0);

  // Right, but one of the new addresses is taken.
  auto taken = eventer::tcp_acceptor::listen("127.0.0.1:0").value();
  errors = what_reload_says(all, service_of({at("127.0.0.1:0", "others"), fine, at(taken.local().to_string())}));
  CHECK(errors.find("Address already in use") != std::string::npos);
  CHECK(::access(folder.file("b").c_str(), F_OK) != 0);
  config.now->broken = true;
  CHECK_THROWS_AS(all.reload(), eventer::config_error);

  CHECK(client.ask("b") == "1 b");
  CHECK(plain_client(where).ask("c") == "1 c");
  CHECK(plain_client(folder.address("a")).ask("d") == "1 d");
  CHECK(all.statistics().size() == 2);
  CHECK(all.ready());
}

TEST_CASE("limits and access lists of a reload hold for new connections") {
  const captured_log log;
  auto config = at("127.0.0.1:0");
  running_service service(service_of({config}));
  const std::string where = service.address();
  plain_client first(where, "127.0.0.5");
  CHECK(first.ask("a") == "1 a");
  config.access = eventer::access_list::parse({"127.0.0.1"});
  service.all.reload(service_of({config}));
  CHECK(first.ask("b") == "1 b");
  const std::string denied = plain_client(where, "127.0.0.5").ask("c");
  CHECK((denied == "<end>" || denied == "<error>"));
  CHECK(plain_client(where, "127.0.0.1").ask("d") == "1 d");
  config.v6_only = true;
  CHECK(what_reload_says(service.all, service_of({config})).find("v6_only: can't be changed") != std::string::npos);
}

TEST_CASE("a group of sockets shrinks to one and grows again, and who connects meanwhile is answered") {
  auto config = at("127.0.0.1:0");
  config.accept = accept_mode::per_loop;
  running_service service(service_of({config}), line_registry(), 3);
  connecting_crowd crowd(service.address(), 3);
  REQUIRE(crowd.more(50));
  for (int round = 0; round < 4; ++round) {
    config.accept = round % 2 == 0 ? accept_mode::hand_over : accept_mode::per_loop;
    config.type = round % 2 == 0 ? "others" : "lines";
    service.all.reload(service_of({config}));
    REQUIRE(crowd.more(50));
  }
  crowd.join();
  CHECK(crowd.connected == crowd.answered);
  CHECK(crowd.refused == 0);
}

TEST_CASE("a listener that is removed answers whoever could connect to it") {
  const scratch_folder folder;
  for (const std::string& address :
       {std::string("127.0.0.1:0"), folder.address("a"), "unix:@eventer-gone-" + std::to_string(::getpid())})
    for (const auto mode : {accept_mode::automatic, accept_mode::hand_over}) {
      CAPTURE(address, static_cast<int>(mode));
      auto config = at(address);
      config.accept = mode;
      running_service service(service_of({config}), line_registry(), 2);
      connecting_crowd crowd(service.address(), 3, true);
      REQUIRE(crowd.more(50));
      auto next = service_of({});
      next.drain_idle = 10s;
      next.drain_limit = 30s;
      service.all.reload(next);
      crowd.wait();
      CHECK(crowd.connected == crowd.answered);
      CHECK(service.all.statistics().empty());
    }
}

TEST_CASE("reloads of everything, again and again, while clients come and go") {
  const scratch_folder folder;
  auto tcp = at("127.0.0.1:0"), path = at(folder.address("a"));
  running_service service(service_of({tcp, path}), line_registry(), 2);
  connecting_crowd over_tcp(service.address(), 2), over_path(folder.address("a"), 1);
  for (int round = 0; round < 20; ++round) {
    tcp.type = path.type = round % 2 == 0 ? "others" : "lines";
    tcp.backlog = 100 + round;
    std::vector<eventer::listener_config> next{tcp, path};
    if (round % 3 == 0) next.push_back(at(folder.address("b")));
    service.all.reload(service_of(next));
  }
  REQUIRE(over_tcp.more(1));
  REQUIRE(over_path.more(1));
  over_tcp.join();
  over_path.join();
  CHECK(over_tcp.connected == over_tcp.answered);
  CHECK(over_path.connected == over_path.answered);
}
