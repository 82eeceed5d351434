// Listening and accepting, and what the world does to listeners.
#include <memory>

#include "../captured_log.hpp"
#include "../catch.hpp"
#include "../faults.hpp"
#include "../sockets.hpp"
#include "eventer/eventer.hpp"

using namespace std::chrono_literals;
using eventer::errc;
using eventer::tcp_acceptor;
using call = faults::call;

TEST_CASE("port 0 lets the kernel choose, and local says what it chose") {
  auto a = tcp_acceptor::listen("127.0.0.1:0").value(), b = tcp_acceptor::listen("127.0.0.1:0").value();
  CHECK(a.local().port() != 0);
  CHECK(a.local().port() != b.local().port());
  CHECK(a.local().to_string().starts_with("127.0.0.1:"));
}

TEST_CASE("listening where it is not possible is an error that says why") {
  auto taken = tcp_acceptor::listen("127.0.0.1:0").value();
  CHECK(tcp_acceptor::listen(taken.local()).error() == std::errc::address_in_use);
  CHECK(tcp_acceptor::listen("203.0.113.1:0").error() == std::errc::address_not_available);
  for (const char* const text : {"", "nonsense", "127.0.0.1", "localhost:0", "unix:/tmp/x"})
    CHECK(tcp_acceptor::listen(text).error() == errc::bad_address);
  for (const auto& [which, error] :
       {std::pair{call::socket, EMFILE}, std::pair{call::bind, EACCES}, std::pair{call::listen, EADDRINUSE}}) {
    const int next_free = eventer::unique_fd(::dup(0)).get();
    faults injected;
    injected.fail(which, error);
    CHECK(tcp_acceptor::listen("127.0.0.1:0").error().value() == error);
    CHECK(eventer::unique_fd(::dup(0)).get() == next_free);
  }
}

TEST_CASE("a port can be listened on again as soon as its listener has gone, and by several if all ask for it") {
  auto first = tcp_acceptor::listen("127.0.0.1:0").value();
  const auto where = first.local();
  auto client = eventer::tcp_stream::connect(where).value();
  auto server = first.accept().value();
  server.close();  // the server closes first: its side of the connection lingers in TIME_WAIT
  client.close();
  first.close();
  auto second = tcp_acceptor::listen(where, {.reuse_port = true});
  REQUIRE(second.has_value());
  CHECK(tcp_acceptor::listen(where, {.reuse_port = true}).has_value());
  CHECK(tcp_acceptor::listen(where).error() == std::errc::address_in_use);
}

TEST_CASE("an IPv6 listener takes IPv4 peers unless it is told not to") {
  for (const bool only : {false, true}) {
    auto acceptor = tcp_acceptor::listen("[::]:0", {.v6_only = only});
    if (!acceptor) EVENTER_SKIP("no IPv6 here");
    const auto v4 = eventer::endpoint::parse("127.0.0.1:" + std::to_string(acceptor->local().port())).value();
    CHECK(eventer::tcp_stream::connect(v4, 2s).has_value() == !only);
  }
}

TEST_CASE("accept ends at its time limit, and the next one works") {
  const auto check = [] {
    auto acceptor = tcp_acceptor::listen("127.0.0.1:0").value();
    CHECK(acceptor.accept(2ms).error() == std::errc::timed_out);
    CHECK(acceptor.accept(-1s).error() == std::errc::timed_out);
    auto client = eventer::tcp_stream::connect(acceptor.local()).value();
    CHECK(acceptor.accept(2s).has_value());
  };
  SECTION("on a plain thread") { check(); }
  SECTION("in a coroutine") { eventer::run(check); }
}

TEST_CASE("close wakes an accept with closed, and a second accept at a time gets busy") {
  eventer::run([] {
    auto acceptor = std::make_shared<tcp_acceptor>(tcp_acceptor::listen("127.0.0.1:0").value());
    auto waiting = eventer::spawn([acceptor] { return acceptor->accept().error(); });
    eventer::yield();
    CHECK(acceptor->accept().error() == errc::busy);
    acceptor->close();
    acceptor->close();
    CHECK(waiting.join() == errc::closed);
    CHECK(acceptor->accept().error() == errc::closed);
    CHECK_FALSE(acceptor->is_open());
    CHECK(acceptor->native_handle() == -1);
    CHECK(acceptor->local().to_string() == "(no address)");
  });
  tcp_acceptor none;
  CHECK(none.accept().error() == errc::closed);
  CHECK_FALSE(none.is_open());
}

TEST_CASE("an accept can be cancelled") {
  eventer::run([] {
    auto acceptor = std::make_shared<tcp_acceptor>(tcp_acceptor::listen("127.0.0.1:0").value());
    auto waiting = eventer::spawn([acceptor] { (void)acceptor->accept(); });
    eventer::yield();
    waiting.cancel();
    CHECK(waiting.try_join().error() == std::errc::operation_canceled);
    auto client = eventer::tcp_stream::connect(acceptor->local()).value();
    CHECK(acceptor->accept(2s).has_value());
  });
}

TEST_CASE("connections that ended before they were taken do not end the server") {
  const captured_log log;
  eventer::run([] {
    auto acceptor = tcp_acceptor::listen("127.0.0.1:0").value();
    for (const int error :
         {ECONNABORTED, EPROTO, EPERM, ENETDOWN, EHOSTUNREACH, ENETUNREACH, EOPNOTSUPP, ENOPROTOOPT, EINTR}) {
      CAPTURE(error);
      auto client = eventer::tcp_stream::connect(acceptor.local()).value();
      faults injected;
      injected.fail(call::accept4, error, 3);
      CHECK(acceptor.accept(2s).has_value());
      CHECK(injected.faults_left(call::accept4) == 0);
    }
  });
  CHECK(log.lines().empty());
}

TEST_CASE("a filter that refuses every connection does not make the server spin or starve others") {
  const captured_log log;
  eventer::run([] {
    auto acceptor = tcp_acceptor::listen("127.0.0.1:0").value();
    auto ticker = eventer::spawn([] {
      for (int ticks = 0; ticks < 5; ++ticks) eventer::sleep_for(1ms);
    });
    faults injected;
    injected.fail(call::accept4, EPERM, 1'000'000'000);
    CHECK(acceptor.accept(50ms).error() == std::errc::timed_out);
    CHECK(injected.calls(call::accept4) < 10'000);
    ticker.join();
  });
  CHECK(log.lines().size() == 1);
}

TEST_CASE("a lack of descriptors or memory is waited out: one line, others run, and the connection is served") {
  for (const int error : {EMFILE, ENFILE, ENOBUFS, ENOMEM}) {
    const captured_log log;
    eventer::run([error] {
      auto acceptor = tcp_acceptor::listen("127.0.0.1:0").value();
      const auto ran = std::make_shared<bool>(false);
      auto other = eventer::spawn([ran] { *ran = true; });
      auto client = eventer::tcp_stream::connect(acceptor.local()).value();
      faults injected;
      injected.fail(call::accept4, error);  // once: the pause helps
      auto server = acceptor.accept(2s);
      REQUIRE(server.has_value());
      CHECK(*ran);
      CHECK(acceptor.shed() == 0);
      CHECK(client.write_all("served").has_value());
      CHECK(read_text(*server) == "served");
      injected.fail(call::accept4, error, 5);
      CHECK(acceptor.accept(2ms).error() == std::errc::timed_out);
    });
    CHECK(log.lines().size() == 1);
    CHECK(log.count(std::error_code(error, std::system_category()).message()) == 1);
  }
}

TEST_CASE("a lack that lasts is tried again now and then, not all the time") {
  const captured_log log;
  eventer::run([] {
    auto acceptor = tcp_acceptor::listen("127.0.0.1:0").value();
    auto client = eventer::tcp_stream::connect(acceptor.local()).value();
    faults injected;
    injected.fail(call::accept4, EMFILE, 1'000'000'000);
    CHECK(acceptor.accept(250ms).error() == std::errc::timed_out);
    CHECK(injected.calls(call::accept4) < 40);
    CHECK(injected.calls(call::accept4) >= 4);
    injected.fail(call::accept4, 0, 0);
    CHECK(acceptor.accept(2s).has_value());
  });
  CHECK(log.lines().size() == 1);
}

TEST_CASE("where another thread has taken the reserve descriptor's place, the next connection becomes the reserve") {
  const captured_log log;
  eventer::run([] {
    auto acceptor = tcp_acceptor::listen("127.0.0.1:0").value();
    auto first = eventer::tcp_stream::connect(acceptor.local()).value();
    auto second = eventer::tcp_stream::connect(acceptor.local()).value();
    faults injected;
    injected.fail(call::accept4, EMFILE, 3);  // a pause, the next try, and the one in the reserve's place
    injected.fail(call::open, EMFILE);
    auto server = acceptor.accept(2s);
    REQUIRE(server.has_value());
    CHECK(acceptor.shed() == 1);
    CHECK(read_text(first) == end_of_stream_text);
    CHECK(second.write_all("served").has_value());
    CHECK(read_text(*server) == "served");
  });
}

TEST_CASE("accept waits out that the kernel refuses to watch one more descriptor", "[epoll]") {
  const captured_log log;
  eventer::run([] {
    auto acceptor = tcp_acceptor::listen("127.0.0.1:0").value();
    faults injected;
    injected.fail(call::epoll_ctl, ENOSPC, 2);
    CHECK(acceptor.accept(50ms).error() == std::errc::timed_out);
    CHECK(injected.faults_left(call::epoll_ctl) == 0);
    auto client = eventer::tcp_stream::connect(acceptor.local()).value();
    CHECK(acceptor.accept(2s).has_value());
  });
  CHECK(log.lines().size() == 1);
}

TEST_CASE("an acceptor that is closed while it pauses answers closed") {
  const captured_log log;
  eventer::run([] {
    auto acceptor = std::make_shared<tcp_acceptor>(tcp_acceptor::listen("127.0.0.1:0").value());
    faults injected;
    injected.fail(call::accept4, EMFILE, 1000);
    auto waiting = eventer::spawn([acceptor] { return acceptor->accept().error(); });
    eventer::sleep_for(2ms);
    acceptor->close();
    CHECK(waiting.join() == errc::closed);
  });
}
