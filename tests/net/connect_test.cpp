// Connecting: refused, in time, too late, cancelled, and with every call failing once.
#include <memory>

#include "../catch.hpp"
#include "../faults.hpp"
#include "../sockets.hpp"
#include "eventer/eventer.hpp"

using namespace std::chrono_literals;
using eventer::tcp_acceptor;
using eventer::tcp_stream;
using call = faults::call;

namespace {

eventer::endpoint nobody_listens() { return tcp_acceptor::listen("127.0.0.1:0").value().local(); }

// A listener whose queue is full: the kernel drops further handshakes, so that connecting takes for ever.
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
  eventer::endpoint address() const { return acceptor_.local(); }

 private:
  tcp_acceptor acceptor_;
  std::vector<tcp_stream> waiting_;
};

template <class F>
void in_both_worlds(F&& function) {
  SECTION("on a plain thread") { function(); }
  SECTION("in a coroutine") { eventer::run(function); }
}

}  // namespace

TEST_CASE("connecting gives a stream that talks, over IPv4 and IPv6, from text and from an endpoint") {
  in_both_worlds([] {
    for (const char* const where : {"127.0.0.1:0", "[::1]:0"}) {
      auto acceptor = tcp_acceptor::listen(where);
      if (!acceptor && acceptor.error() == std::errc::address_not_available) continue;  // no IPv6 here
      for (const bool as_text : {true, false}) {
        auto client =
            as_text ? tcp_stream::connect(acceptor->local().to_string(), 2s) : tcp_stream::connect(acceptor->local());
        auto server = acceptor->accept(2s);
        REQUIRE((client && server));
        CHECK(client->write_all("hello").has_value());
        CHECK(read_text(*server) == "hello");
      }
    }
  });
}

TEST_CASE("connecting where nobody listens is refused") {
  in_both_worlds([] {
    const auto nobody = nobody_listens();
    CHECK(tcp_stream::connect(nobody).error() == std::errc::connection_refused);
    CHECK(tcp_stream::connect(nobody, 5s).error() == std::errc::connection_refused);
  });
}

TEST_CASE("connecting to what is no TCP address is refused without a try") {
  const faults counted;
  for (const char* const text : {"", "nonsense", "127.0.0.1", "unix:/tmp/x"})
    CHECK(tcp_stream::connect(text).error() == eventer::errc::bad_address);
  CHECK(counted.calls(call::socket) == 0);
}

TEST_CASE("connecting ends at its time limit") {
  in_both_worlds([] {
    const full_listener full;
    const auto start = eventer::clock::now();
    CHECK(tcp_stream::connect(full.address(), 10ms).error() == std::errc::timed_out);
    CHECK(eventer::clock::now() - start < 10s);
  });
}

TEST_CASE("connecting can be cancelled, and closes its socket") {
  eventer::run([] {
    const full_listener full;
    const auto registrations = eventer::event_loop::current().stats().registrations;
    auto connecting = eventer::spawn([where = full.address()] { return tcp_stream::connect(where).has_value(); });
    next_turn();
    CHECK(eventer::event_loop::current().stats().registrations == registrations + 1);
    connecting.cancel();
    CHECK(connecting.try_join().error() == std::errc::operation_canceled);
    CHECK(eventer::event_loop::current().stats().registrations == registrations);
  });
}

TEST_CASE("each call that can fail while connecting is answered as an error, and nothing stays open") {
  eventer::run([] {
    auto acceptor = tcp_acceptor::listen("127.0.0.1:0").value();
    for (const auto& [which, error] : {std::pair{call::socket, EMFILE}, std::pair{call::connect, ENETUNREACH},
                                       std::pair{call::epoll_ctl, ENOSPC}, std::pair{call::getsockopt, ENOBUFS}}) {
      const int next_free = eventer::unique_fd(::dup(0)).get();
      faults injected;
      injected.fail(which, error, 2);
      const auto failed = tcp_stream::connect(acceptor.local());
      if (which == call::connect || which == call::socket || !failed) CHECK(failed.error().value() == error);
      if (!failed) CHECK(eventer::unique_fd(::dup(0)).get() == next_free);
    }
    CHECK(tcp_stream::connect(acceptor.local()).has_value());
  });
}

TEST_CASE("many connect at once, each in its coroutine") {
  eventer::run([] {
    auto acceptor = std::make_shared<tcp_acceptor>(tcp_acceptor::listen("127.0.0.1:0").value());
    auto serving = eventer::spawn([acceptor] {
      while (auto client = acceptor->accept()) (void)eventer::spawn(echo, std::move(*client));
    });
    std::vector<eventer::join_handle<bool>> all;
    for (int i = 0; i < 200; ++i)
      all.push_back(eventer::spawn([where = acceptor->local(), i] {
        auto client = tcp_stream::connect(where, 5s);
        const std::string text = "number " + std::to_string(i);
        return client && client->write_all(text) && read_text(*client) == text;
      }));
    int good = 0;
    for (auto& each : all) good += each.join();
    CHECK(good == 200);
    acceptor->close();
    serving.join();
  });
}
