// A world that breaks: system calls that fail, connections that are reset at every byte, coroutines that are cancelled
// at every wait, loops that end.
#include "../captured_log.hpp"
#include "../one_fault.hpp"
#include "../plain_descriptors.hpp"
#include "../virtual_run.hpp"
#include "http_client.hpp"

using namespace http_test;
using system_call = eventer::syscalls::call;

namespace {

// Counts itself, so that a handler that is not unwound is found.
struct alive {
  explicit alive(std::shared_ptr<int> c) : count(std::move(c)) { ++*count; }
  alive(const alive&) = delete;
  alive& operator=(const alive&) = delete;
  ~alive() { --*count; }
  std::shared_ptr<int> count;
};

// Handlers that wait in each of the ways in which one can.
http::server waiting_server(std::shared_ptr<int> count, std::shared_ptr<std::optional<http::done>> kept = nullptr) {
  http::router routes;
  routes.get("/", [count](http::request&, http::response& answer) {
    const alive here(count);
    answer.text("hello");
  });
  routes.get("/sleep", [count](http::request&, http::response& answer) {
    const alive here(count);
    eventer::sleep_for(1s);
    answer.text("slept");
  });
  routes.post("/body", [count](http::request& asked, http::response& answer) {
    const alive here(count);
    if (const auto body = asked.body()) answer.text(*body);
  });
  routes.get("/pieces", [count](http::request&, http::response& answer) {
    const alive here(count);
    const std::string piece(3000, 'x');
    for (int i = 0; i < 5; ++i)
      if (!answer.write(piece)) return;
  });
  routes.get("/task", [count](http::request&, http::response& answer) -> eventer::task<> {
    const alive here(count);
    co_await eventer::after(1s);
    answer.text("task");
  });
  routes.get("/done", [count](http::request&, http::response& answer, http::done done) {
    eventer::event_loop::current().after(1s, [&answer, done, here = std::make_shared<alive>(count)] {
      answer.text("done");
      done();
    });
  });
  routes.get("/kept", [count, kept](http::request&, http::response&, http::done done) { *kept = std::move(done); });
  return http::server(std::move(routes));
}
std::string everything() {
  return get("/") + post("/body", std::string(5000, 'b')) + get("/sleep") + get("/pieces") + get("/task") +
         post_chunks("/body", "5\r\nhello\r\n0\r\n\r\n") + get("/done") + get("/", "Connection: close\r\n");
}
const char* const all_well = "200 200 200 200 200 200 200 200";

}  // namespace

TEST_CASE("any system call may fail once: the server answers the next one who asks, and nothing stays open") {
  const captured_log log;
  const auto before = open_descriptors();
  int happened = 0;
  for (const system_call which :
       {system_call::accept4, system_call::recv, system_call::send, system_call::shutdown, system_call::epoll_ctl,
        system_call::getsockopt, system_call::setsockopt, system_call::close, system_call::fcntl, system_call::socket,
        system_call::connect, system_call::recvmsg}) {
    for (const int error : {EINTR, EAGAIN, ECONNRESET, EPIPE, EMFILE, ENOMEM, ENOBUFS}) {
      for (int nth = 1;; ++nth) {
        CAPTURE(static_cast<int>(which), std::generic_category().message(error), nth);
        const auto count = std::make_shared<int>(0);
        const auto statuses = std::make_shared<std::string>();
        bool did = false;
        {
          eventer::manual_clock time;
          const one_fault fault(which, error, nth);
          try {
            eventer::run(
                [count, statuses] {
                  const http::server server = waiting_server(count);
                  auto acceptor = eventer::tcp_acceptor::listen("127.0.0.1:0");
                  if (!acceptor) return (void)(*statuses = "no listener");
                  const auto where = acceptor->local();
                  (void)eventer::spawn([server, statuses, acceptor = std::move(*acceptor)]() mutable {
                    if (!http::server(server).serve(acceptor)) *statuses = "not listening";
                  });
                  for (int i = 0; i < 4 && *statuses != all_well && !statuses->starts_with("no"); ++i) {
                    auto stream = eventer::tcp_stream::connect(where, 10s);
                    if (!stream) continue;
                    client peer(std::move(*stream));
                    if (peer.send(everything())) *statuses = statuses_of(peer.rest());
                  }
                  (void)server.drain(10s, 0s);
                },
                {.clock = &time});
          } catch (const std::system_error& failure) {
            *statuses = "thrown";
          }
          did = fault.happened();
        }
        if (!did) break;
        ++happened;
        const bool may_end = which == system_call::accept4 && (error == ECONNRESET || error == EPIPE || error == EINTR);
        CHECK((*statuses == all_well || *statuses == "no listener" || (may_end && *statuses != "thrown") ||
               (which == system_call::epoll_ctl && *statuses == "thrown")));
        CHECK(*count == 0);
        REQUIRE(open_descriptors() == before);
      }
    }
  }
  CHECK(happened > 100);
}

TEST_CASE("a connection may be reset behind any byte, and any read or write may be short") {
  const captured_log log;
  const auto count = std::make_shared<int>(0);
  run_virtually([count] {
    const http::server server = waiting_server(count);
    std::uint64_t total = 0;
    {
      served peer(server);
      REQUIRE(peer.send(everything()));
      REQUIRE(statuses_of(peer.rest()) == all_well);
      total = peer.link.bytes_moved();
    }
    for (std::uint64_t at = 0; at < total; at += 1 + at / 40) {
      CAPTURE(at);
      served peer(server, {.seed = at + 1,
                           .short_reads = at % 3 == 0 ? 50u : 0,
                           .short_writes = at % 5 == 0 ? 50u : 0,
                           .would_blocks = at % 2 == 0 ? 30u : 0,
                           .capacity = at % 7 == 0 ? 2000u : 65536u,
                           .reset_after = at});
      (void)peer.send(everything());
      (void)peer.rest();
      for (int i = 0; i < 10 && !peer.is_over(); ++i) eventer::sleep_for(1s);
      REQUIRE(peer.is_over());
      REQUIRE(*count == 0);
    }
  });
}

TEST_CASE("a client may close behind any byte of its requests") {
  const captured_log log;
  const auto count = std::make_shared<int>(0);
  run_virtually([count] {
    const http::server server = waiting_server(count);
    const std::string requests = everything();
    for (std::size_t at = 0; at < requests.size(); at += 1 + at / 60) {
      CAPTURE(at);
      {  // one that only finishes sending is answered for all that it has sent
        const std::string statuses = statuses_of(all_answers(server, requests.substr(0, at)));
        CHECK(statuses.find('<') == std::string::npos);
      }
      served peer(server, {.latency = 1ms});
      REQUIRE(peer.send(requests.substr(0, at)));
      peer.close();
      for (int i = 0; i < 10 && !peer.is_over(); ++i) eventer::sleep_for(1s);
      REQUIRE(peer.is_over());
      REQUIRE(*count == 0);
    }
  });
}

TEST_CASE("a connection may be cancelled at each of its waits") {
  const captured_log log;
  const auto count = std::make_shared<int>(0);
  const auto cancelled_at = std::make_shared<int>(0);
  run_virtually([count, cancelled_at] {
    const http::server server = waiting_server(count);
    for (int turn = 0;; ++turn) {
      auto [near, far, link] = eventer::memory_stream_pair({.seed = 5, .would_blocks = 60, .capacity = 4000});
      const auto mine = std::make_shared<eventer::tcp_stream>(std::move(near));
      auto serves = eventer::spawn(
          [server, stream = eventer::any_stream(std::move(far))]() mutable { server(std::move(stream)); });
      auto sends = eventer::spawn([mine] { (void)mine->write_all(everything(), 100s); });
      const auto all = std::make_shared<std::string>();
      auto reads = eventer::spawn([mine, all] {
        std::string part(4096, '\0');
        while (const auto got = mine->read_some(part, 100s)) all->append(part, 0, *got);
      });
      // So many turns of the loop; sleeps are turns as well.
      for (int i = 0; i < turn; ++i) i % 3 == 0 ? eventer::sleep_for(50ms) : eventer::yield();
      const bool was_over = serves.done();
      if (!was_over) {
        serves.cancel();
        ++*cancelled_at;
      }
      try {
        serves.join();
      } catch (const eventer::cancelled&) {
      } catch (const std::system_error&) {
      }
      mine->close();
      sends.join();
      reads.join();
      eventer::sleep_for(2s);  // callbacks that still hold a done
      REQUIRE(*count == 0);
      if (was_over) {
        CHECK(statuses_of(*all) == all_well);
        break;
      }
    }
  });
  CHECK(*cancelled_at > 30);
}

TEST_CASE("a loop may end with connections open in every state") {
  const captured_log log;
  const auto count = std::make_shared<int>(0);
  const auto before = open_descriptors();
  const auto kept = std::make_shared<std::optional<http::done>>();
  for (int i = 0; i < 3; ++i) {
    eventer::manual_clock time;
    eventer::run(
        [count, kept, i] {
          http::server server = waiting_server(count, kept);
          auto acceptor = eventer::tcp_acceptor::listen("127.0.0.1:0").value();
          const auto where = acceptor.local();
          (void)eventer::spawn([server, acceptor = std::move(acceptor)]() mutable { (void)server.serve(acceptor); });
          std::vector<std::unique_ptr<client>> clients;
          const std::string texts[] = {"",
                                       "G",
                                       get("/"),
                                       get("/sleep"),
                                       post("/body", "x").substr(0, 60),
                                       get("/task"),
                                       get("/pieces"),
                                       get("/done"),
                                       get("/kept"),
                                       everything()};
          for (const std::string& text : texts) {
            clients.push_back(std::make_unique<client>(eventer::tcp_stream::connect(where, 10s).value()));
            REQUIRE(clients.back()->send(text));
          }
          for (int turn = 0; turn < 5 * i; ++turn) eventer::sleep_for(0ms);
        },
        {.clock = &time});
    CHECK(*count == 0);
    CHECK(open_descriptors() == before);
    if (*kept) (**kept)();  // it comes too late, and does no harm
    kept->reset();
  }
}
