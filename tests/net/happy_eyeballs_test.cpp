// Connecting to whichever of several addresses answers, and by name: who wins, after what time, and that nothing of the
// losers stays.

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "../catch.hpp"
#include "../child.hpp"
#include "../faults.hpp"
#include "../foreign_coroutines.hpp"
#include "../plain_descriptors.hpp"
#include "../sockets.hpp"
#include "eventer/eventer.hpp"

using namespace std::chrono_literals;
using eventer::endpoint;
using eventer::errc;
using eventer::tcp_acceptor;
using eventer::tcp_stream;
using eventer::unix_stream;
using call = faults::call;

namespace {

using addresses = eventer::io_result<std::vector<endpoint>>;

// How this thread's next calls of connect(2) go, a letter each: n never answers, r is refused, u has no route, c
// connects. Those after them connect.
class scripted_connects {
 public:
  explicit scripted_connects(std::string_view script) {
    script_ = script;
    made_ = 0;
    eventer::syscalls::fault_hook = &answer;
  }
  scripted_connects(const scripted_connects&) = delete;
  scripted_connects& operator=(const scripted_connects&) = delete;
  ~scripted_connects() { eventer::syscalls::fault_hook = nullptr; }
  std::size_t made() const { return made_; }

 private:
  static int answer(call which) {
    if (which != call::connect) return 0;
    const std::size_t number = made_++;
    switch (number < script_.size() ? script_[number] : 'c') {
      case 'n':
        return EINPROGRESS;
      case 'r':
        return ECONNREFUSED;
      case 'u':
        return ENETUNREACH;
      default:
        return 0;
    }
  }
  static inline thread_local std::string script_;
  static inline thread_local std::size_t made_ = 0;
};

// Unix sockets stand for addresses where the time counts: they connect within the call itself.
struct listeners {
  explicit listeners(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      const std::string name = "unix:@eventer-race-" + std::to_string(::getpid()) + "-" + std::to_string(i);
      all.push_back(eventer::unix_acceptor::listen(name).value());
      where.push_back(all.back().local());
    }
  }
  std::vector<eventer::unix_acceptor> all;
  std::vector<endpoint> where;
};

// The same operation, as each kind of caller makes it.
using race = eventer::detail::connect_operation<unix_stream>;
using connected = std::optional<eventer::io_result<unix_stream>>;
fire_and_forget await_race(race what, connected* out) { out->emplace(co_await std::move(what)); }

const struct caller {
  const char* name;
  void (*connect)(eventer::event_loop&, race, connected*);
} callers[] = {
    {"a stackful coroutine",
     [](eventer::event_loop& loop, race what, connected* out) {
       (void)loop.spawn(
           [operation = std::move(what), out]() mutable { out->emplace(eventer::await(std::move(operation))); });
     }},
    {"a task",
     [](eventer::event_loop& loop, race what, connected* out) {
       (void)loop.spawn([](race operation, connected* to) -> eventer::task<> {
         to->emplace(co_await std::move(operation));
       }(std::move(what), out));
     }},
    {"a foreign coroutine",
     [](eventer::event_loop& loop, race what, connected* out) {
       loop.post([operation = std::move(what), out]() mutable { await_race(std::move(operation), out); });
     }},
    {"when_any",
     [](eventer::event_loop& loop, race what, connected* out) {
       (void)loop.spawn([operation = std::move(what), out]() mutable {
         auto first = eventer::when_any(eventer::after(1h), std::move(operation));
         out->emplace(std::get<1>(std::move(first.results)));
       });
     }},
};

endpoint nobody_listens() { return tcp_acceptor::listen("127.0.0.1:0").value().local(); }

// A listener whose queue is full: the kernel drops further handshakes.
class full_listener {
 public:
  full_listener() : acceptor_(tcp_acceptor::listen("127.0.0.1:0", {.backlog = 1}).value()) {
    for (int i = 0; i < 20; ++i) {
      auto one = tcp_stream::connect(acceptor_.local(), 5ms);
      if (!one) return;
      waiting_.push_back(std::move(*one));
    }
    throw std::runtime_error("the queue never fills");
  }
  endpoint address() const { return acceptor_.local(); }

 private:
  tcp_acceptor acceptor_;
  std::vector<tcp_stream> waiting_;
};

// Names for the whole process, answered from a function.
class names_for_test {
 public:
  template <class F>
  explicit names_for_test(F&& function) : names_({}, std::forward<F>(function)) {
    eventer::resolver::replace_shared(&names_);
  }
  ~names_for_test() { eventer::resolver::replace_shared(nullptr); }
  eventer::resolver_stats stats() { return names_.stats(); }

 private:
  eventer::resolver names_;
};

}  // namespace

TEST_CASE("the families of a host's addresses take turns, and keep their order among themselves") {
  struct expected {
    std::vector<const char*> from, to;
  };
  for (const auto& [from, to] : {
           expected{{}, {}},
           expected{{"1.1.1.1:1"}, {"1.1.1.1:1"}},
           expected{{"[::1]:1", "[::2]:1", "[::3]:1"}, {"[::1]:1", "[::2]:1", "[::3]:1"}},
           expected{{"[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1"}, {"[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"}},
           expected{{"1.1.1.1:1", "2.2.2.2:1", "[::1]:1", "3.3.3.3:1"},
                    {"1.1.1.1:1", "[::1]:1", "2.2.2.2:1", "3.3.3.3:1"}},
           expected{{"[::1]:1", "1.1.1.1:1", "2.2.2.2:1", "3.3.3.3:1", "[::2]:1"},
                    {"[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "3.3.3.3:1"}},
       }) {
    std::vector<endpoint> all;
    for (const char* const each : from) all.push_back(endpoint::parse(each).value());
    std::vector<std::string> got;
    for (const endpoint& each : eventer::detail::families_in_turn(all)) got.push_back(each.to_string());
    CHECK(got == std::vector<std::string>(to.begin(), to.end()));
  }
}

TEST_CASE("the first address that answers wins, each next one begins 250 ms later or when one has failed") {
  constexpr int refused = -1, unreachable = -2, timed_out = -3;
  struct expected {
    const char* script;
    int winner;  // which address, or one of the errors above
    std::size_t attempts;
    eventer::duration time;
    eventer::time_limit limit = {};
  };
  const expected table[] = {
      {"cc", 0, 1, 0ms},
      {"c", 0, 1, 0ms},
      {"nc", 1, 2, 250ms},
      {"nnc", 2, 3, 500ms},
      {"nnnncc", 4, 5, 1s},
      {"rc", 1, 2, 0ms},
      {"ruruc", 4, 5, 0ms},
      {"nrc", 2, 3, 250ms},
      {"nrnc", 3, 4, 500ms},
      {"r", refused, 1, 0ms},
      {"rrr", refused, 3, 0ms},
      {"uuu", unreachable, 3, 0ms},
      {"ur", refused, 2, 0ms},
      {"ru", refused, 2, 0ms},
      {"n", timed_out, 1, 1s, 1s},
      {"nn", timed_out, 2, 1s, 1s},
      {"nr", timed_out, 2, 1s, 1s},
      {"nnnnnc", timed_out, 4, 900ms, 900ms},
      {"nc", timed_out, 1, 100ms, 100ms},
      {"cc", 0, 1, 0ms, 0ms},
  };
  const listeners there(6);
  for (const auto& [name, connect] : callers) {
    for (const auto& [script, winner, attempts, time, limit] : table) {
      CAPTURE(name, script);
      const auto descriptors = open_descriptors();
      {
        eventer::manual_clock clock;
        eventer::event_loop loop({.clock = &clock});
        const auto start = clock.now();
        const scripted_connects connects(script);
        connected result;
        connect(
            loop,
            race({there.where.begin(), there.where.begin() + static_cast<int>(std::string_view(script).size())}, limit),
            &result);
        loop.run();
        REQUIRE(result.has_value());
        CHECK(clock.now() - start == time);
        CHECK(connects.made() == attempts);
        CHECK(loop.stats().timers == 0);
        if (winner >= 0) {
          REQUIRE(result->has_value());
          CHECK((*result)->peer() == there.where[static_cast<std::size_t>(winner)]);
          CHECK(loop.stats().registrations == 0);  // the losers'
        } else {
          CHECK(result->error() == (winner == refused       ? std::errc::connection_refused
                                    : winner == unreachable ? std::errc::network_unreachable
                                                            : std::errc::timed_out));
        }
      }
      CHECK(open_descriptors() == descriptors);
    }
  }
}

TEST_CASE("while a race runs each attempt has a socket, and the winner alone keeps its own", "[epoll]") {
  eventer::manual_clock clock(eventer::manual_clock::when_idle::wait);
  eventer::run(
      [&clock] {
        auto acceptor = tcp_acceptor::listen("127.0.0.1:0").value();
        const auto descriptors = open_descriptors();
        const scripted_connects connects("nn");
        const std::vector<endpoint> where(3, acceptor.local());
        auto connecting = eventer::spawn([where] { return tcp_stream::connect(where, 10s); });
        const auto turns = [] {
          for (int i = 0; i < 3; ++i) next_turn();
        };
        turns();
        CHECK(open_descriptors().size() == descriptors.size() + 1);
        clock.advance(249ms);
        turns();
        CHECK(connects.made() == 1);
        clock.advance(1ms);
        turns();
        CHECK(connects.made() == 2);
        CHECK(open_descriptors().size() == descriptors.size() + 2);
        CHECK_FALSE(connecting.done());
        clock.advance(250ms);
        auto client = connecting.join();
        CHECK(connects.made() == 3);
        REQUIRE(client.has_value());
        CHECK(open_descriptors().size() == descriptors.size() + 1);
        auto server = acceptor.accept().value();
        CHECK(client->write_all("hello").has_value());
        CHECK(read_text(server) == "hello");
      },
      {.clock = &clock});
}

TEST_CASE("a race that is cancelled, or whose loop ends, closes every socket", "[epoll]") {
  const auto descriptors = open_descriptors();
  const std::vector<endpoint> where(3, nobody_listens());
  {
    const scripted_connects connects("nnn");
    eventer::manual_clock clock;
    eventer::run(
        [&where] {
          const auto before = open_descriptors();
          auto stackful = eventer::spawn([where] { return tcp_stream::connect(where).has_value(); });
          auto task = eventer::spawn([](std::vector<endpoint> to) -> eventer::task<bool> {
            co_return (co_await tcp_stream::async_connect(to)).has_value();
          }(where));
          eventer::sleep_for(300ms);
          CHECK(open_descriptors().size() > before.size());
          stackful.cancel();
          task.cancel();
          CHECK(stackful.try_join().error() == std::errc::operation_canceled);
          CHECK(task.try_join().error() == std::errc::operation_canceled);
          CHECK(open_descriptors() == before);
          CHECK(eventer::event_loop::current().stats().timers == 0);
        },
        {.clock = &clock});
  }
  CHECK(open_descriptors() == descriptors);
  // One attempt waits, and another one could begin.
  for (const auto& [name, connect] : callers) {
    CAPTURE(name);
    const listeners there(3);
    const scripted_connects connects("nnn");
    connected result;
    {
      eventer::event_loop loop;
      connect(loop, race(there.where, {}), &result);
      loop.poll();
      loop.poll();
      CHECK(connects.made() == 1);
    }
    if (result) CHECK(result->error() == std::errc::operation_canceled);
    CHECK(connects.made() == 1);
  }
  CHECK(open_descriptors() == descriptors);
}

TEST_CASE("a plain thread races too, in poll") {
  const full_listener dead;
  auto acceptor = tcp_acceptor::listen("127.0.0.1:0").value();
  const endpoint alive = acceptor.local(), nobody = nobody_listens();
  const auto descriptors = open_descriptors();
  {
    const auto start = eventer::clock::now();
    const auto late = tcp_stream::connect(std::vector{dead.address(), alive});
    REQUIRE(late.has_value());
    CHECK(late->peer() == alive);
    CHECK(eventer::clock::now() - start >= 250ms);
  }
  CHECK(tcp_stream::connect(std::vector{nobody, alive}).value().peer() == alive);
  CHECK(tcp_stream::connect(std::vector{nobody, dead.address(), nobody, alive}, 60s).value().peer() == alive);
  CHECK(tcp_stream::connect(std::vector{nobody, nobody}).error() == std::errc::connection_refused);
  CHECK(tcp_stream::connect(std::vector{dead.address(), nobody}, 300ms).error() == std::errc::timed_out);
  CHECK(tcp_stream::connect(std::vector{dead.address(), alive}, -1s).error() == std::errc::timed_out);
  CHECK(tcp_stream::connect(std::vector<endpoint>()).error() == errc::bad_address);
  CHECK(eventer::await(tcp_stream::async_connect(std::vector{nobody, alive})).value().peer() == alive);
  CHECK(open_descriptors() == descriptors);
}

TEST_CASE("a name is looked up, and all its addresses are tried") {
  auto acceptor = tcp_acceptor::listen("127.0.0.1:0").value();
  const endpoint alive = acceptor.local(), nobody = nobody_listens();
  names_for_test names([=](const std::string& host, const std::string& service) -> addresses {
    if (host == "one.test") return std::vector{alive};
    if (host == "two.test" && service == "http") return std::vector{nobody, alive};
    if (host == "none.test") return std::vector<endpoint>();
    if (host == "dead.test") return std::vector{nobody, nobody};
    return eventer::error_from_getaddrinfo(EAI_NONAME);
  });
  const auto check = [&] {
    CHECK(tcp_stream::connect("one.test:80", 60s).value().peer() == alive);
    CHECK(tcp_stream::connect("two.test:http").value().peer() == alive);
    CHECK(tcp_stream::connect("dead.test:80").error() == std::errc::connection_refused);
    CHECK(tcp_stream::connect("none.test:80").error() == errc::bad_address);
    CHECK(tcp_stream::connect("unknown.test:80").error() == std::errc::no_such_device_or_address);
    CHECK(eventer::await(tcp_stream::async_connect("two.test:http")).value().peer() == alive);
    CHECK(eventer::await(tcp_stream::async_connect("unknown.test:80")).error() == std::errc::no_such_device_or_address);
  };
  SECTION("on a plain thread") { check(); }
  SECTION("in a coroutine") { eventer::run(check); }
  SECTION("in a foreign coroutine") {
    struct outcome {
      std::string peer;
      std::error_code error;
    };
    std::vector<outcome> all;
    eventer::event_loop loop;
    loop.post([&all] {
      [](std::vector<outcome>* out) -> fire_and_forget {
        for (const char* const text : {"one.test:80", "two.test:http", "dead.test:80", "none.test:80",
                                       "unknown.test:80", "127.0.0.1:nonsense", "nonsense"}) {
          auto operation = tcp_stream::async_connect(std::string(text), 60s);
          auto client = co_await std::move(operation);
          out->push_back({client ? client->peer().to_string() : "", client.error()});
        }
      }(&all);
    });
    loop.run();
    REQUIRE(all.size() == 7);
    CHECK(all[0].peer == alive.to_string());
    CHECK(all[1].peer == alive.to_string());
    CHECK(all[2].error == std::errc::connection_refused);
    CHECK(all[3].error == errc::bad_address);
    CHECK(all[4].error == std::errc::no_such_device_or_address);
    CHECK(all[5].error == std::errc::no_such_device_or_address);  // what these names answer
    CHECK(all[6].error == errc::bad_address);
  }
}

TEST_CASE("what is neither an address nor a name with a port is refused without a lookup") {
  names_for_test names([](const std::string&, const std::string&) -> addresses { return std::vector<endpoint>(); });
  for (const char* const text :
       {"", ":", ":80", "name:", "name", "127.0.0.1", "::1:80", "::1", "[::1", "[::1]", "[name]:80", "[127.0.0.1]:80",
        "127.0.0.256:80", "127.1:80", "127.0.0.1:65536", "name:65536", "http://name:80", "unix:/tmp/x", "unix:"}) {
    CAPTURE(text);
    CHECK(tcp_stream::connect(text).error() == errc::bad_address);
    CHECK(eventer::await(tcp_stream::async_connect(text)).error() == errc::bad_address);
    CHECK_FALSE(unix_stream::connect(text).has_value());
  }
  CHECK(names.stats().lookups == 0);
  CHECK(tcp_stream::connect(std::vector{endpoint::parse("unix:/tmp/x").value()}).error() == errc::bad_address);
  CHECK(eventer::await(tcp_stream::async_connect(endpoint())).error() == errc::bad_address);
  CHECK(eventer::await(unix_stream::async_connect("127.0.0.1:80")).error() == errc::bad_address);
}

TEST_CASE("the machine's own name is connected to") {
  auto acceptor = tcp_acceptor::listen("127.0.0.1:0").value();
  const std::string address = "localhost:" + std::to_string(acceptor.local().port());
  const auto check = [&] {
    auto client = tcp_stream::connect(address, 60s);
    REQUIRE(client.has_value());
    CHECK(client->peer() == acceptor.local());
  };
  SECTION("on a plain thread") { check(); }
  SECTION("in a coroutine") { eventer::run(check); }
}

TEST_CASE("one time limit is for the lookup and all attempts together") {
  const auto done = std::make_shared<std::atomic<bool>>(false);  // the thread looks at it after this test's end
  names_for_test names([done](const std::string& host, const std::string&) -> addresses {
    while (host == "slow.test" && !*done) std::this_thread::yield();
    return std::vector{endpoint::parse("127.0.0.1:1").value(), endpoint::parse("127.0.0.1:2").value()};
  });
  eventer::manual_clock clock(eventer::manual_clock::when_idle::wait);
  eventer::run(
      [&] {
        const scripted_connects connects("nnnn");
        for (const bool stackful : {true, false}) {
          const auto connect = [stackful](const char* name) {
            return stackful ? eventer::spawn([name] { return tcp_stream::connect(name, 1s).has_value(); })
                            : eventer::spawn([](const char* to) -> eventer::task<bool> {
                                co_return (co_await eventer::when_any(tcp_stream::async_connect(to, 1s))).index == 9;
                              }(name));
          };
          const auto before = connects.made();
          auto waits = connect("slow.test:1"), races = connect("quick.test:1");
          while (connects.made() < before + 1) eventer::yield();
          clock.advance(900ms);
          while (connects.made() < before + 2) eventer::yield();
          CHECK_FALSE((waits.done() || races.done()));
          clock.advance(100ms);
          CHECK_FALSE(waits.join());
          CHECK_FALSE(races.join());
        }
      },
      {.clock = &clock});
  *done = true;
}

TEST_CASE("async_connect connects to one address, over TCP and to a unix socket") {
  auto tcp = tcp_acceptor::listen("127.0.0.1:0").value();
  auto path = eventer::unix_acceptor::listen("unix:@eventer-async-" + std::to_string(::getpid())).value();
  const endpoint nobody = nobody_listens();
  eventer::event_loop loop;
  struct outcomes {
    std::optional<eventer::io_result<tcp_stream>> tcp, refused;
    std::optional<eventer::io_result<unix_stream>> path, text, absent;
  };
  outcomes all;
  loop.post([&] {
    [](outcomes* out, endpoint tcp_address, endpoint unix_address, endpoint nobody_there) -> fire_and_forget {
      // What it is given is copied.
      auto first = tcp_stream::async_connect(endpoint(tcp_address));
      auto second = unix_stream::async_connect(endpoint(unix_address));
      out->tcp.emplace(co_await std::move(first));
      out->path.emplace(co_await std::move(second));
      out->text.emplace(co_await unix_stream::async_connect(unix_address.to_string(), 5s));
      out->absent.emplace(co_await unix_stream::async_connect("unix:@eventer-nobody"));
      out->refused.emplace(co_await tcp_stream::async_connect(nobody_there, 5s));
    }(&all, tcp.local(), path.local(), nobody);
  });
  loop.run();
  CHECK(all.tcp->value().peer() == tcp.local());
  CHECK(all.path->value().peer() == path.local());
  CHECK(all.text->value().peer() == path.local());
  CHECK(all.absent->error() == std::errc::connection_refused);
  CHECK(all.refused->error() == std::errc::connection_refused);
}

TEST_CASE("each call that can fail in a race or a connect by name costs one address, and nothing stays open",
          "[epoll]") {
  auto acceptor = tcp_acceptor::listen("127.0.0.1:0").value();
  const std::vector<endpoint> where(3, acceptor.local());
  names_for_test names([&](const std::string&, const std::string&) -> addresses { return where; });
  const auto check = [&](bool by_name) {
    for (const auto& [which, error] :
         {std::pair{call::socket, EMFILE}, std::pair{call::connect, ENETUNREACH}, std::pair{call::epoll_ctl, ENOSPC},
          std::pair{call::getsockopt, ENOBUFS}, std::pair{call::getpeername, ENOBUFS},
          std::pair{call::setsockopt, ENOBUFS}, std::pair{call::poll, ENOMEM}, std::pair{call::fstat, ENOMEM}}) {
      for (const int times : {1, 2, 1000}) {
        CAPTURE(by_name, static_cast<int>(which), error, times);
        const auto descriptors = open_descriptors();
        faults injected;
        injected.fail(which, error, times);
        {
          const auto client = by_name ? tcp_stream::connect("three.test:80") : tcp_stream::connect(where);
          if (!client) CHECK(client.error().value() == error);
          if (times < 3 && which != call::poll) CHECK(client.has_value());
          // In a look at the kernel the connection may have been there at once.
          if (times == 1000 && (which == call::socket || which == call::connect)) CHECK_FALSE(client.has_value());
        }
        CHECK(open_descriptors() == descriptors);
      }
    }
  };
  SECTION("on a plain thread") {
    check(false);
    check(true);
  }
  SECTION("in a coroutine") {
    eventer::run([&] {
      check(false);
      check(true);
      CHECK(eventer::event_loop::current().stats().timers == 0);
    });
  }
}

TEST_CASE("connecting in a callback is refused with a sentence") {
  const auto result = run_in_child([] {
    eventer::event_loop loop;
    loop.post([] {
      const std::vector<endpoint> where(2, endpoint::parse("127.0.0.1:1").value());
      (void)tcp_stream::connect(where);
    });
    loop.run();
  });
  CHECK(result.signal == SIGABRT);
  CHECK(contains(result.output, "connecting in a callback would block its loop"));
}

TEST_CASE("a hundred connect by name at once, on stacks that they share") {
  auto acceptor = std::make_shared<tcp_acceptor>(tcp_acceptor::listen("127.0.0.1:0").value());
  names_for_test names(
      [where = acceptor->local(), nobody = nobody_listens()](const std::string& host, const std::string&) -> addresses {
        if (host.back() == '0') return eventer::error_from_getaddrinfo(EAI_NONAME);
        return std::vector{nobody, where, where};
      });
  eventer::run([acceptor] {
    auto serving = eventer::spawn([acceptor] {
      while (auto client = acceptor->accept()) (void)eventer::spawn(echo, std::move(*client));
    });
    std::vector<eventer::join_handle<int>> all;
    for (int i = 0; i < 100; ++i)
      all.push_back(eventer::spawn([i] {
        const std::string text = "host" + std::to_string(i);
        auto client = tcp_stream::connect(text + ":80", 60s);
        if (!client) return client.error() == std::errc::no_such_device_or_address ? 1 : 0;
        return client->write_all(text) && read_text(*client) == text ? 1000 : 0;
      }));
    int sum = 0;
    for (auto& each : all) sum += each.join();
    CHECK(sum == 90 * 1000 + 10);
    acceptor->close();
    serving.join();
  });
}
