// A lack of descriptors and memory, in every way to accept.
#include <sys/resource.h>

#include "../background.hpp"
#include "../captured_log.hpp"
#include "../faults.hpp"
#include "../plain_descriptors.hpp"
#include "servers.hpp"

using call = faults::call;
using eventer::accept_mode;

TEST_CASE("a lack of descriptors is waited out in each way to accept, and connections that came meanwhile are served") {
  const scratch_folder folder;
  for (const std::string& address : {std::string("127.0.0.1:0"), folder.address("a")})
    for (const auto mode : {accept_mode::automatic, accept_mode::hand_over}) {
      const captured_log log;
      eventer::run([address, mode] {
        auto config = at(address);
        config.accept = mode;
        auto all = eventer::start_listeners(service_of({config}), line_registry());
        eventer::yield();
        faults injected;
        injected.fail(call::accept4, EMFILE);  // once: the pause helps
        const auto where = eventer::endpoint::parse(all.statistics().at(0).local).value();
        const auto ask = [&](auto client) {
          std::string text;
          CHECK(client.write_all("hello\n").has_value());
          CHECK(client.read_until(text, "\n", 100, 10s).value() == "1 hello\n");
        };
        if (where.family() == AF_UNIX)
          ask(eventer::unix_stream::connect(where, 5s).value());
        else
          ask(eventer::tcp_stream::connect(where, 5s).value());
        CHECK(injected.faults_left(call::accept4) == 0);
        CHECK(all.drain(10s, 0s) == 0);
      });
      CHECK(log.count("pausing") == 1);
    }
}

TEST_CASE("where the kernel does not know how to filter, a drain goes on without") {
  eventer::run([] {
    auto all = eventer::start_listeners(service_of({at("127.0.0.1:0")}), line_registry());
    faults injected;
    injected.fail(call::setsockopt, ENOPROTOOPT, 1000);
    CHECK(all.drain(10s, 0s) == 0);
  });
}

TEST_CASE("each call that can fail while listeners are started is an error with its address, and nothing stays open") {
  const scratch_folder folder;
  auto path = at(folder.address("a"));
  path.unix_mode = 0600;
  const std::pair<call, int> cases[] = {{call::socket, EMFILE},     {call::bind, EACCES}, {call::listen, EADDRINUSE},
                                        {call::setsockopt, ENOMEM}, {call::chmod, EPERM}, {call::lstat, EACCES}};
  for (const auto& [which, error] : cases) {
    const auto before = open_descriptors();
    eventer::run([path, which = which, error = error] {
      const auto config = std::make_shared<eventer::service_config>(service_of({at("127.0.0.1:0"), path}));
      faults injected;
      injected.fail(which, error, 1000);
      CHECK_THROWS_AS(eventer::start_listeners(*config, line_registry()), eventer::config_error);
    });
    CHECK(open_descriptors() == before);
    CHECK(::access(folder.file("a").c_str(), F_OK) != 0);
  }
}

TEST_CASE("a loop that takes no more coroutines closes connections, and says so, but goes on") {
  const captured_log log;
  eventer::loop_pool pool(1, {.max_coroutines = 6});
  pool.start();
  auto all = eventer::start_listeners(service_of({at("127.0.0.1:0")}), line_registry(), pool);
  const std::string where = all.statistics().at(0).local;
  std::vector<plain_client> clients;
  std::size_t served = 0;
  for (int i = 0; i < 20; ++i) {
    clients.emplace_back(where);
    served += clients.back().ask("x") == "1 x";
  }
  CHECK(served == 5);
  CHECK(all.statistics().at(0).shed == 15);
  clients.clear();
  REQUIRE(running_service::eventually([&] { return all.statistics().at(0).open == 0; }));
  CHECK(plain_client(where).ask("again") == "1 again");
  CHECK(log.count("connections are closed unserved") == 1);
}

// The real thing, in a process of its own.
TEST_CASE("child: listeners at their descriptor limit", "[.child]") {
  const char* const mode = std::getenv("EVENTER_TEST_ACCEPT");
  if (mode == nullptr) return;  // not by itself
  const rlimit few{128, 128};
  ::setrlimit(RLIMIT_NOFILE, &few);
  auto config = at("127.0.0.1:0");
  config.accept = *mode == 'h' ? accept_mode::hand_over : accept_mode::per_loop;
  running_service service(service_of({config}), line_registry(), 2);
  std::printf("%s\n", service.address().c_str());
  std::fflush(stdout);
  char end;
  (void)!::read(0, &end, 1);  // never: it is killed
}

TEST_CASE("400 connections at a limit of 128 descriptors: some are shed, and afterwards all is well", "[no-emulator]") {
  rlimit own{};
  ::getrlimit(RLIMIT_NOFILE, &own);
  if (own.rlim_cur < 600) EVENTER_SKIP("needs 600 descriptors (ulimit -n)");
  if (EVENTER_ASAN) EVENTER_SKIP("UBSan looks at virtual calls through a pipe, for which there is no descriptor");
  for (const bool hand_over : {false, true}) {
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    const eventer::unique_fd unread(ends[0]), unwritten(ends[1]);
    background child([&] {
      ::dup2(ends[0], 0);
      ::setenv("EVENTER_TEST_ACCEPT", hand_over ? "hand_over" : "per_loop", 1);
      ::execl("/proc/self/exe", "test", "child: listeners at their descriptor limit", nullptr);
    });
    std::string where = child.line();
    while (!where.empty() && !where.starts_with("127.")) where = child.line();
    REQUIRE(where.starts_with("127."));
    std::vector<plain_client> clients;
    for (int i = 0; i < 400; ++i) {
      clients.emplace_back(where);
      (void)clients.back().send("x\n");
    }
    // Those beyond the limit are closed; of those that wait none is forgotten.
    std::size_t served = 0, closed = 0;
    for (auto& each : clients) {
      const std::string answer = each.line();
      served += answer == "1 x";
      closed += answer == "<end>" || answer == "<error>";
      if (answer != "1 x") each.close();
    }
    CHECK(served > 60);
    CHECK(served < 128);
    CHECK(served + closed == 400);
    clients.clear();
    // It may have to close some first.
    REQUIRE(running_service::eventually([&] { return plain_client(where).ask("early") == "1 early"; }));
    for (int i = 0; i < 20; ++i) {
      plain_client late(where);
      CHECK(late.ask("late") == "1 late");
    }
  }
}
