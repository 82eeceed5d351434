// Listeners are drained: what was begun is answered, and nobody who could connect is lost.
#include "../captured_log.hpp"
#include "servers.hpp"

#include <numeric>

namespace {

// Waits for its parts of a question: reads in pieces of its own, and keeps what is too much.
struct piecewise_server {
  void operator()(eventer::any_stream peer) const {
    std::string text;
    std::array<char, 64> part;
    for (;;) {
      const std::size_t end = text.find('\n');
      if (end == std::string::npos) {
        const auto got = peer.read_some(part);
        if (!got) return;
        peer.begin_request();
        text.append(part.data(), *got);
        continue;
      }
      if (!peer.write_all(text.substr(0, end + 1))) return;
      text.erase(0, end + 1);
      if (text.empty()) peer.end_request();
    }
  }
};

}  // namespace

TEST_CASE(
    "a drain ends idle connections after a while, the others when they have answered, and the rest at its limit") {
  eventer::listener_registry functions = line_registry();
  functions.add("piecewise", piecewise_server());
  functions.add("pushes", [](eventer::any_stream peer) {
    while (peer.write_all(peer.draining() ? "draining\n" : "tick\n")) eventer::sleep_for(5ms);
  });
  running_service service(service_of({at("127.0.0.1:0"), at("127.0.0.1:0", "piecewise"), at("127.0.0.1:0", "pushes")}),
                          functions);
  plain_client idle(service.address()), half(service.address()), pipelined(service.address());
  plain_client parts(service.address(1)), pushed(service.address(2));
  CHECK(idle.ask("a") == "1 a");
  CHECK(half.ask("b") == "1 b");
  CHECK(pushed.line() == "tick");
  CHECK(parts.ask("c") == "c");
  REQUIRE(half.send("be"));
  REQUIRE(pipelined.send("first\nsec"));
  CHECK(pipelined.line() == "1 first");
  REQUIRE(parts.send("one\ntw"));
  CHECK(parts.line() == "one");
  std::atomic<std::size_t> cut{99};
  std::thread drains([&] { cut = service.all.drain(3s, 50ms); });
  CHECK(idle.line() == "<end>");
  CHECK_FALSE(service.all.ready());
  CHECK(service.all.drain_begun().is_set());
  for (std::string line = pushed.line(); line != "draining"; line = pushed.line()) REQUIRE(line == "tick");
  // These are in the middle of a request, however long it takes.
  for (const auto& [client, rest, answer] :
       {std::tuple(&half, "gun\nand", "1 begun"), std::tuple(&pipelined, "ond\n", "1 second"),
        std::tuple(&parts, "o\n", "two")}) {
    REQUIRE(client->send(rest));
    CHECK(client->line() == answer);
  }
  REQUIRE(half.send(" more\n"));
  CHECK(half.line() == "1 and more");
  for (plain_client* const each : {&half, &pipelined, &parts}) CHECK(each->line() == "<end>");
  CHECK_FALSE(plain_client(service.address(0)).connected());
  drains.join();
  CHECK(cut == 1);
  std::string last = pushed.line();
  while (last == "draining") last = pushed.line();
  CHECK((last == "<end>" || last == "<error>"));
}

TEST_CASE("what has come before a drain is answered, also by a connection that was not accepted yet") {
  for (const auto mode : {eventer::accept_mode::per_loop, eventer::accept_mode::hand_over}) {
    auto config = at("127.0.0.1:0");
    config.accept = mode;
    running_service service(service_of({config}));
    std::vector<plain_client> clients;
    for (int i = 0; i < 300; ++i) {
      clients.emplace_back(service.address());
      REQUIRE(clients.back().send("question\n"));
    }
    CHECK(service.all.drain(10s, 1ms) == 0);
    std::size_t answered = 0;
    for (auto& each : clients) answered += each.line() == "1 question" && each.line() == "<end>";
    CHECK(answered == 300);
  }
}

TEST_CASE("a drained set can't be changed any more, and draining again is harmless") {
  running_service service(service_of({at("127.0.0.1:0")}));
  CHECK(service.all.drain(5s) == 0);
  CHECK(service.all.drain(5s) == 0);
  CHECK_THROWS_AS(service.all.reload(service_of({})), std::system_error);
  CHECK_THROWS_AS(service.all.reload(), std::logic_error);
  CHECK_THROWS_AS(eventer::listeners().drain(1s), std::logic_error);
}

TEST_CASE("a reader that waits for the rest, while another coroutine answers, ends when that has answered") {
  eventer::listener_registry functions;
  const auto answer_now = std::make_shared<eventer::shared_event>();
  functions.add("two", [answer_now](eventer::any_stream peer) {
    auto shared = std::make_shared<eventer::any_stream>(std::move(peer));
    auto answers = eventer::spawn([shared, answer_now] {
      answer_now->wait();
      (void)shared->write_all("answer\n");
    });
    std::array<char, 64> some;
    while (shared->read_some(some)) {
    }
    answers.join();
  });
  running_service service(service_of({at("127.0.0.1:0", "two")}), functions);
  plain_client client(service.address());
  REQUIRE(client.send("question\n"));
  std::thread drains([&] { (void)service.all.drain(20s, 1ms); });
  REQUIRE(running_service::eventually([&] { return !service.all.ready(); }));
  answer_now->set();
  CHECK(client.line() == "answer");
  CHECK(client.line() == "<end>");
  drains.join();
}

// The promise: every request of which a byte was read is answered. The server notes for each connection how many
// requests it has begun to read, the clients how many answers have come.
namespace {

constexpr std::size_t crowd = 1000;

struct tallies {
  std::array<std::atomic<unsigned>, crowd> begun{}, answered{};
  std::atomic<std::size_t> wrong{0}, clients_left{crowd};
};

struct counting_server {
  std::shared_ptr<tallies> all;
  void operator()(eventer::any_stream peer) const {
    std::string text;
    std::size_t who = crowd;
    for (bool begun = false;;) {
      const auto line = peer.read_until(text, "\n", 4096, 30s);
      if (!line) {
        // Nothing of a request may have been read: what was begun before it is answered.
        if (who < crowd && !text.empty()) all->begun[who].fetch_add(1);
        return;
      }
      (void)begun;
      who = std::stoul(std::string(line->substr(0, line->find(' '))));
      all->begun[who].fetch_add(1);
      if (!peer.write_all(*line)) return;
      text.erase(0, line->size());
    }
  }
};

// Asks in two pieces, or several questions at once, until the server ends.
void ask_until_end(std::size_t who, const eventer::endpoint& server, const std::shared_ptr<tallies>& all) {
  auto stream = eventer::tcp_stream::connect(server, 20s);
  std::string text;
  const std::string question = std::to_string(who) + " what is the answer\n";
  for (unsigned round = 0; stream; ++round) {
    const unsigned questions = who % 3 == 0 ? 3 : 1;
    std::string block;
    for (unsigned i = 0; i < questions; ++i) block += question;
    const std::size_t half = who % 2 == 0 ? block.size() / 2 : block.size();
    if (!stream->write_all({block.data(), half})) break;
    if (half < block.size()) {
      eventer::sleep_for(std::chrono::microseconds(500 + who));
      if (!stream->write_all({block.data() + half, block.size() - half})) break;
    }
    bool ended = false;
    for (unsigned i = 0; i < questions && !ended; ++i) {
      const auto line = stream->read_until(text, "\n", 4096, 20s);
      ended = !line;
      if (ended) break;
      if (*line != question) all->wrong.fetch_add(1);
      all->answered[who].fetch_add(1);
      text.erase(0, line->size());
    }
    if (ended) break;
  }
  all->clients_left.fetch_sub(1);
}

}  // namespace

TEST_CASE("a drain under load, with 1,000 open connections: every request of which a byte was read is answered") {
  const captured_log log;
  for (const auto mode : {eventer::accept_mode::per_loop, eventer::accept_mode::hand_over}) {
    const auto all = std::make_shared<tallies>();
    eventer::listener_registry functions;
    functions.add("count", counting_server{all});
    auto config = at("127.0.0.1:0", "count");
    config.accept = mode;
    running_service service(service_of({config}), functions, 2);
    const auto where = eventer::endpoint::parse(service.address()).value();
    eventer::loop_pool clients(1);
    clients.start();
    for (std::size_t who = 0; who < crowd; ++who)
      (void)clients[0].spawn([who, where, all] { ask_until_end(who, where, all); });
    REQUIRE(running_service::eventually([&] {
      return std::all_of(all->answered.begin(), all->answered.end(), [](const auto& each) { return each.load() > 0; });
    }));
    CHECK(service.all.statistics().at(0).open == crowd);
    CHECK(service.all.drain(30s, 20ms) == 0);
    REQUIRE(running_service::eventually([&] { return all->clients_left.load() == 0; }));
    std::size_t unanswered = 0, requests = 0;
    for (std::size_t who = 0; who < crowd; ++who) {
      unanswered += all->begun[who].load() != all->answered[who].load();
      requests += all->begun[who].load();
    }
    CHECK(unanswered == 0);
    CHECK(requests >= crowd);
    CHECK(all->wrong == 0);
    clients.stop();
    clients.join();
  }
}

TEST_CASE("who can connect while the listeners are drained is answered: nobody is reset") {
  const scratch_folder folder;
  for (const std::string& address : {std::string("127.0.0.1:0"), folder.address("a")})
    for (const auto mode : {eventer::accept_mode::automatic, eventer::accept_mode::hand_over}) {
      CAPTURE(address, static_cast<int>(mode));
      auto config = at(address);
      config.accept = mode;
      running_service service(service_of({config}));
      const std::string where = service.address();
      std::atomic<std::size_t> connected{0}, answered{0};
      std::vector<std::thread> threads;
      for (int i = 0; i < 3; ++i)
        threads.emplace_back([&] {
          for (;;) {
            plain_client client(where);
            if (!client.connected()) return;
            ++connected;
            answered += client.ask("hello") == "1 hello";
          }
        });
      REQUIRE(running_service::eventually([&] { return answered.load() > 100; }));
      CHECK(service.all.drain(30s, 10s) == 0);
      for (std::thread& each : threads) each.join();
      CHECK(connected == answered);
    }
}
