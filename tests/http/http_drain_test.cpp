// A server that ends: what was begun is answered, what is idle is closed, nobody who could connect is lost.
#include <thread>

#include "../captured_log.hpp"
#include "../listener/servers.hpp"
#include "http_client.hpp"

using namespace http_test;

namespace {

struct running {
  http::server server;
  eventer::endpoint where;
  std::shared_ptr<bool> returned = std::make_shared<bool>(false);

  explicit running(http::server s) : server(std::move(s)) {
    auto acceptor = eventer::tcp_acceptor::listen("127.0.0.1:0").value();
    where = acceptor.local();
    (void)eventer::spawn([server = server, returned = returned, acceptor = std::move(acceptor)]() mutable {
      (void)server.serve(acceptor);
      *returned = true;
    });
  }
  client connect() const { return client(eventer::tcp_stream::connect(where, 10s).value()); }
};

struct gates {
  eventer::manual_reset_event go;
  int waiting = 0;
};
http::server gated(const std::shared_ptr<gates>& all) {
  http::router routes;
  routes.get("/",
             [](http::request& asked, http::response& answer) { answer.text(asked.draining() ? "last" : "hello"); });
  routes.get("/wait", [all](http::request&, http::response& answer) {
    ++all->waiting;
    all->go.wait();
    answer.text("waited");
  });
  routes.get("/pieces", [all](http::request&, http::response& answer) {
    (void)answer.write("one,");
    ++all->waiting;
    all->go.wait();
    (void)answer.write("two");
  });
  routes.get("/forever", [](http::request&, http::response& answer) {
    (void)answer.write("x");
    eventer::sleep_for(1000h);
  });
  return http::server(std::move(routes));
}

}  // namespace

TEST_CASE("a drain answers what was begun, with Connection: close, and closes what is idle after a while") {
  eventer::run([] {
    const auto all = std::make_shared<gates>();
    running run(gated(all));
    client idle = run.connect(), fresh = run.connect(), waits = run.connect(), pieces = run.connect();
    client one_byte = run.connect(), half = run.connect(), body = run.connect();
    for (client* const each : {&idle, &one_byte, &half, &waits}) CHECK(each->ask(get("/")).body == "hello");
    REQUIRE(waits.send(get("/wait")));
    REQUIRE(pieces.send(get("/pieces")));
    REQUIRE(one_byte.send("G"));
    // What comes behind a whole request is begun as well.
    const std::string request = get("/");
    REQUIRE(half.send(request + request.substr(0, 20)));
    CHECK(half.read().body == "hello");
    while (all->waiting < 2) eventer::sleep_for(1ms);
    const auto cut = std::make_shared<std::size_t>(99);
    auto drains = eventer::spawn([server = run.server, cut] { *cut = server.drain(20s, 50ms); });
    CHECK(idle.ends());
    CHECK(fresh.ends());
    CHECK(run.server.draining());
    CHECK_FALSE(*run.returned);
    CHECK_FALSE(eventer::tcp_stream::connect(run.where, 10s));
    eventer::sleep_for(20ms);  // those in the middle of something are still there
    REQUIRE(one_byte.send(request.substr(1)));
    REQUIRE(half.send(request.substr(20)));
    for (client* const each : {&one_byte, &half}) {
      const answer got = each->read();
      CHECK(got.body == "last");
      CHECK(got.says_close());
      CHECK(each->ends());
    }
    CHECK_FALSE(*run.returned);
    all->go.set();
    const answer late = waits.read();
    CHECK(late.body == "waited");
    CHECK(late.says_close());
    CHECK(waits.ends());
    CHECK(pieces.read().body == "one,two");  // whose head was sent before
    CHECK(pieces.ends());
    drains.join();
    CHECK(*cut == 0);
    eventer::sleep_for(1ms);
    CHECK(*run.returned);
    CHECK(run.server.statistics().open == 0);
  });
}

TEST_CASE("what does not end is cancelled at the limit, and counted") {
  eventer::run([] {
    const auto all = std::make_shared<gates>();
    running run(gated(all));
    client forever = run.connect(), other = run.connect(), half = run.connect();
    for (client* const each : {&forever, &other}) REQUIRE(each->send(get("/forever")));
    for (client* const each : {&forever, &other}) REQUIRE(each->more());
    REQUIRE(half.send("GET"));
    REQUIRE(eventer::spawn([server = run.server] { return server.drain(100ms, 10ms); }).join() == 3);
    CHECK(statuses_of(forever.rest()) == "<malformed>");
    CHECK(statuses_of(half.rest()).empty());
    eventer::sleep_for(1ms);
    CHECK(*run.returned);
  });
}

TEST_CASE("a connection that waits to be accepted when the drain begins is served") {
  eventer::run([] {
    const auto all = std::make_shared<gates>();
    http::server server = gated(all);
    auto acceptor = eventer::tcp_acceptor::listen("127.0.0.1:0").value();
    const auto where = acceptor.local();
    // Nobody accepts yet; plain sockets, so that all of this happens within one turn of the loop.
    std::vector<std::unique_ptr<plain_client>> clients;
    for (int i = 0; i < 20; ++i) {
      clients.push_back(std::make_unique<plain_client>(where.to_string()));
      REQUIRE(clients.back()->send(get("/")));
    }
    auto serves = eventer::spawn([server, acceptor = std::move(acceptor)]() mutable { (void)server.serve(acceptor); });
    auto drains = eventer::spawn([server] { return server.drain(5s, 100ms); });
    CHECK(drains.join() == 0);
    serves.join();
    for (const auto& each : clients) CHECK(each->line() == "HTTP/1.1 200 OK\r");
  });
}

TEST_CASE("a program that returns from serve() when it is told to end has lost nothing") {
  std::thread client_thread;
  const auto answered = std::make_shared<std::string>();
  const auto all = std::make_shared<std::atomic<int>>(0);
  eventer::run([&client_thread, answered, all] {
    http::router routes;
    routes.get("/slow", [all](http::request&, http::response& answer) {
      all->store(1);
      eventer::sleep_for(50ms);
      answer.text("slow\n");
    });
    http::server server(std::move(routes));
    auto acceptor = eventer::tcp_acceptor::listen("127.0.0.1:0").value();
    client_thread = std::thread([answered, where = acceptor.local().to_string()] {
      plain_client peer(where);
      if (!peer.send(get("/slow"))) return;
      for (std::string line = peer.line(); line.front() != '<'; line = peer.line()) *answered = line;
    });
    (void)eventer::spawn([server, all] {
      while (all->load() == 0) eventer::sleep_for(1ms);
      (void)server.drain(5s, 1ms);
    });
    CHECK(server.serve(acceptor));
  });
  client_thread.join();
  CHECK(*answered == "slow");
}

TEST_CASE("a server may be drained when loops that it has served are gone, or before it has served any") {
  const auto all = std::make_shared<gates>();
  const http::server server = gated(all);
  for (int i = 0; i < 3; ++i)
    eventer::run([server] {
      served peer(server);
      CHECK(peer.ask(get("/")).body == "hello");
      auto acceptor = eventer::tcp_acceptor::listen("127.0.0.1:0").value();
      const auto where = acceptor.local();
      (void)eventer::spawn(
          [server, acceptor = std::move(acceptor)]() mutable { (void)http::server(server).serve(acceptor); });
      client other(eventer::tcp_stream::connect(where, 10s).value());
      CHECK(other.ask(get("/")).body == "hello");
    });
  eventer::run([server] {
    CHECK(server.drain(1s, 0s) == 0);
    auto acceptor = eventer::tcp_acceptor::listen("127.0.0.1:0").value();
    CHECK(http::server(server).serve(acceptor));  // it drains: nobody is accepted any more
    CHECK_FALSE(acceptor.is_open());
    CHECK_FALSE(http::server(server).serve(acceptor));
  });
}

TEST_CASE("bad addresses are errors of serve()") {
  eventer::run([] {
    const auto all = std::make_shared<gates>();
    http::server server = gated(all);
    CHECK_FALSE(server.serve("nonsense"));
    CHECK_FALSE(server.serve("192.0.2.1:1"));
    auto acceptor = eventer::tcp_acceptor::listen("127.0.0.1:0").value();
    CHECK(server.serve(acceptor.local().to_string()).error() == std::errc::address_in_use);
  });
}

TEST_CASE("on several loops: all are drained") {
  eventer::loop_pool pool(2);
  pool.start();
  const auto all = std::make_shared<gates>();
  http::router routes;
  routes.get("/", [](http::request&, http::response& answer) { answer.text("hello\n"); });
  const http::server server(std::move(routes));
  std::vector<eventer::join_handle<void>> serving;
  std::vector<std::string> where;
  for (unsigned i = 0; i < 2; ++i) {
    auto acceptor = pool[i].spawn([] { return eventer::tcp_acceptor::listen("127.0.0.1:0").value(); }).join();
    where.push_back(acceptor.local().to_string());
    serving.push_back(pool[i].spawn(
        [server, acceptor = std::move(acceptor)]() mutable { (void)http::server(server).serve(acceptor); }));
  }
  std::vector<std::unique_ptr<plain_client>> clients;
  for (int i = 0; i < 20; ++i) {
    clients.push_back(std::make_unique<plain_client>(where[static_cast<std::size_t>(i) % 2]));
    REQUIRE(clients.back()->send(get("/")));
    CHECK(clients.back()->line() == "HTTP/1.1 200 OK\r");
  }
  CHECK(server.statistics().open == 20);
  CHECK(pool[0].spawn([server] { return server.drain(10s, 1ms); }).join() == 0);
  for (auto& each : serving) each.join();
  CHECK(server.statistics().open == 0);
  CHECK(server.statistics().requests == 20);
}

TEST_CASE("a server that listeners serve is drained with them") {
  const auto begun = std::make_shared<std::atomic<int>>(0);
  http::router routes;
  routes.get("/", [](http::request&, http::response& answer) { answer.text("hello"); });
  routes.get("/slow", [begun](http::request&, http::response& answer) {
    ++*begun;
    eventer::sleep_for(100ms);
    answer.text("slow");
  });
  eventer::listener_registry functions;
  functions.add("web", http::server(std::move(routes)));
  running_service service(service_of({at("127.0.0.1:0", "web")}), functions);
  plain_client idle(service.address()), slow(service.address()), half(service.address());
  REQUIRE(idle.send(get("/")));
  CHECK(idle.line() == "HTTP/1.1 200 OK\r");
  REQUIRE(slow.send(get("/slow")));
  REQUIRE(half.send("GET / HTTP/1.1\r\nHo"));
  REQUIRE(running_service::eventually([&] { return begun->load() == 1 && service.open_becomes(3); }));
  std::atomic<std::size_t> cut{99};
  std::thread drains([&] { cut = service.all.drain(10s, 50ms); });
  std::string line = idle.line();
  while (line.front() != '<') line = idle.line();
  CHECK(line == "<end>");
  REQUIRE(half.send("st: a\r\n\r\n"));
  for (plain_client* const each : {&half, &slow}) {
    bool says_close = false;
    std::string all;
    for (line = each->line(); line.front() != '<'; line = each->line()) {
      all += line + "\n";
      says_close = says_close || line == "Connection: close\r";
    }
    CHECK(all.starts_with("HTTP/1.1 200 OK"));
    CHECK(says_close);
    CHECK(line == "<end>");
  }
  drains.join();
  CHECK(cut == 0);
}
