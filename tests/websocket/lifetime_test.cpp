// A server's sockets as a whole: how much a parked one takes, many of them, a server that ends, a world that breaks.
#include <malloc.h>
#include <sys/resource.h>

#include "../captured_log.hpp"
#include "../listener/servers.hpp"
#include "../one_fault.hpp"
#include "../plain_descriptors.hpp"
#include "ws_client.hpp"

using namespace ws_test;
using system_call = eventer::syscalls::call;

namespace {

struct running {
  http::server server;
  eventer::endpoint where;
  std::shared_ptr<bool> returned = std::make_shared<bool>(false);

  explicit running(http::server s) : server(std::move(s)) {
    auto acceptor = eventer::tcp_acceptor::listen("127.0.0.1:0", {.backlog = 1024}).value();
    where = acceptor.local();
    (void)eventer::spawn([server = server, returned = returned, acceptor = std::move(acceptor)]() mutable {
      (void)server.serve(acceptor);
      *returned = true;
    });
  }
  net_client connect() const { return net_client(eventer::tcp_stream::connect(where, 10s).value()); }
};

// Counts itself, so that a handler that is not unwound is found.
struct alive {
  explicit alive(std::shared_ptr<int> c) : count(std::move(c)) { ++*count; }
  alive(const alive&) = delete;
  alive& operator=(const alive&) = delete;
  ~alive() { --*count; }
  std::shared_ptr<int> count;
};

#if !EVENTER_ASAN && !EVENTER_TSAN
// Bytes of the heap and of save stacks. The blocks of coroutines are counted by their size.
std::size_t bytes_taken() {
  const auto stats = eventer::event_loop::current().stats();
  const auto heap = ::mallinfo2();
  return heap.uordblks + stats.parked_bytes +
         stats.coroutines * (sizeof(eventer::control_block) + sizeof(eventer::control_block_details));
}
#endif

}  // namespace

TEST_CASE("a parked socket takes no more than a kilobyte, whatever came before") {
#if EVENTER_ASAN || EVENTER_TSAN
  EVENTER_SKIP("a sanitizer's heap is larger");
#else
  eventer::run([] {
    running run(http::server(one_socket(echo), {.limits = {.keep_alive_idle = 0s}, .max_connections = 0}));
    constexpr std::size_t count = 400;
    // Clients without objects of the library: only what the server takes is counted.
    const auto descriptors = std::make_shared<std::vector<int>>();
    descriptors->reserve(2 * count);
    const auto open = [&run, descriptors](std::size_t more) {
      for (std::size_t i = 0; i < more; ++i) {
        net_client peer = run.connect();
        if (peer.open() != 101) FAIL("no handshake");
        for (const std::string& each : {"x"s, std::string(100'000, 'y'), "z"s})
          if (!peer.send(text(each.substr(0, 10), open_ended) + frame(9, "p") + frame(0, "")) ||
              peer.next() != "O<p>" || peer.next() != "T<" + each.substr(0, 10) + ">")
            FAIL("no echo");
        if (!peer.send(text(std::string(100'000, 'z'))) || peer.next().size() != 100'003) FAIL("no echo");
        descriptors->push_back(peer.stream().release());
      }
    };
    open(100);
    const std::size_t before = bytes_taken();
    open(count);
    eventer::yield();
    const std::size_t each = (bytes_taken() - before) / count;
    std::printf("    a parked websocket: %zu bytes\n", each);
    CHECK(each <= 1024);
    CHECK(run.server.statistics().open == count + 100);
    for (const int fd : *descriptors) ::close(fd);
    while (run.server.statistics().open > 0) eventer::sleep_for(1ms);
  });
#endif
}

TEST_CASE("a thousand clients on one loop, each of them told what each other says") {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur < 2'200) EVENTER_SKIP("needs 2,200 descriptors (ulimit -n)");
  eventer::run([] {
    constexpr std::size_t count = 1000;
    const auto all = std::make_shared<std::vector<http::websocket*>>();
    running run(http::server(one_socket([all](http::websocket& socket) {
      all->push_back(&socket);
      struct leaves {
        std::shared_ptr<std::vector<http::websocket*>> from;
        http::websocket* who;
        ~leaves() { std::erase(*from, who); }
      } const at_end{all, &socket};
      while (const auto message = socket.read()) {
        const auto those = *all;
        for (http::websocket* const each : those) (void)each->write(*message);
      }
    })));
    std::vector<std::unique_ptr<net_client>> clients;
    for (std::size_t i = 0; i < count; ++i) {
      clients.push_back(std::make_unique<net_client>(run.connect()));
      if (clients.back()->open() != 101) FAIL("no handshake");
    }
    while (all->size() < count) eventer::sleep_for(1ms);
    for (const std::size_t who : {std::size_t{0}, count / 2, count - 1}) {
      const std::string words = "from " + std::to_string(who);
      REQUIRE(clients[who]->send(text(words)));
      std::size_t heard = 0;
      for (const auto& each : clients) heard += each->next() == "T<" + words + ">";
      CHECK(heard == count);
    }
    for (const auto& each : clients) (void)each->send(frames::close(1000));
    std::size_t closed = 0;
    for (const auto& each : clients) closed += each->next() == "C<1000 >" && each->ends();
    CHECK(closed == count);
    while (run.server.statistics().open > 0) eventer::sleep_for(1ms);
    CHECK(all->empty());
  });
}

TEST_CASE("a server that drains: each handler is told, may say goodbye, and 1001 is said") {
  eventer::run([] {
    const auto told = std::make_shared<std::string>();
    http::router routes;
    routes.websocket("/polite", [told](http::websocket& socket) {
      for (;;) {
        const auto got = socket.read();
        if (got) continue;
        *told += got.error() == make_error_code(http::websocket_errc::draining) ? "d" : "?";
        CHECK(socket.is_open());
        CHECK(socket.write("goodbye"));
        return;
      }
    });
    routes.websocket("/deaf", [told](http::websocket& socket) {
      for (;;) {
        const auto got = socket.read();
        if (got) {
          *told += got->data;
        } else if (got.error() == make_error_code(http::websocket_errc::draining)) {
          *told += "D";
        } else {
          *told += got.error() == eventer::errc::end_of_stream ? "e" : "?";
          return;
        }
      }
    });
    running run((http::server(std::move(routes))));
    net_client polite = run.connect(), deaf = run.connect(), busy = run.connect();
    REQUIRE(polite.open("/polite") == 101);
    REQUIRE(deaf.open("/deaf") == 101);
    REQUIRE(busy.open("/polite") == 101);
    // In the midst of a message: it is told at its next read.
    REQUIRE(busy.send(text("half", open_ended)));
    const auto cut = std::make_shared<std::size_t>(99);
    auto drains = eventer::spawn([server = run.server, cut] { *cut = server.drain(20s, 50ms); });
    CHECK(polite.next() == "T<goodbye>");
    CHECK(polite.next() == "C<1001 >");
    REQUIRE(polite.send(frames::close(1001)));
    CHECK(polite.ends());
    CHECK(deaf.next() == "C<1001 >");
    REQUIRE(deaf.send(text("late") + frames::close(1001)));
    CHECK(deaf.ends());
    REQUIRE(busy.send(frame(0, " whole")));
    CHECK(busy.next() == "T<goodbye>");
    CHECK(busy.next() == "C<1001 >");
    busy.close();
    drains.join();
    CHECK(*cut == 0);
    std::sort(told->begin(), told->end());  // who is told first is nobody's concern
    CHECK(*told == "Daddeelt");
    eventer::sleep_for(1ms);
    CHECK(*run.returned);
  });
}

TEST_CASE("what does not end is cancelled at the drain's limit: 1001 where nothing is half sent") {
  eventer::run([] {
    const auto count = std::make_shared<int>(0);
    running run(http::server(one_socket([count](http::websocket& socket) {
      const alive here(count);
      (void)socket.read();
      (void)socket.write("w");
      eventer::sleep_for(1000h);
    })));
    net_client sleeps = run.connect();
    REQUIRE(sleeps.open() == 101);
    REQUIRE(sleeps.send(text("a")));
    CHECK(sleeps.next() == "T<w>");
    CHECK(run.server.drain(100ms, 10ms) == 1);
    CHECK(sleeps.next() == "C<1001 >");
    CHECK(sleeps.ends());
    CHECK(*count == 0);
  });
}

TEST_CASE("a peer that sends without a pause can't put off the end of a close") {
  eventer::run([] {
    const http::server server(
        one_socket([](http::websocket& socket) { (void)socket.close(4000, "enough"); }, {.close_within = 50ms}));
    // So much is under way that a read always finds some.
    const auto peer = std::make_shared<memory_client>(server, eventer::memory_stream_options{.capacity = 32 << 20});
    REQUIRE(peer->open() == 101);
    const auto floods = std::make_shared<bool>(true);
    auto flood = eventer::spawn([peer, floods] {
      std::string much;
      while (much.size() < 1'000'000) much += text("more") + frame(9, "p") + frame(2, std::string(100, 'b'));
      while (*floods && peer->send(much)) {
      }
    });
    for (int i = 0; i < 3'000 && !peer->is_over(); ++i) eventer::sleep_for(1ms);
    CHECK(peer->is_over());
    *floods = false;
    peer->close();
    flood.join();
  });
}

TEST_CASE("listeners serve sockets, and drain them") {
  eventer::listener_registry functions;
  functions.add("web", http::server(one_socket(echo)));
  running_service service(service_of({at("127.0.0.1:0", "web")}), functions);
  const auto where = eventer::endpoint::parse(service.address()).value();
  eventer::run([where, &service] {
    net_client peer(eventer::tcp_stream::connect(where, 10s).value());
    REQUIRE(peer.open() == 101);
    REQUIRE(peer.send(text("a")));
    CHECK(peer.next() == "T<a>");
    std::atomic<std::size_t> cut{99};
    std::thread drains([&] { cut = service.all.drain(10s, 10ms); });
    CHECK(peer.next() == "C<1001 >");
    REQUIRE(peer.send(frames::close(1001)));
    CHECK(peer.ends());
    drains.join();
    CHECK(cut == 0);
  });
}

TEST_CASE("a connection may be reset behind any byte, and any read or write may be short") {
  const captured_log log;
  const auto count = std::make_shared<int>(0);
  run_virtually([count] {
    const http::server server(one_socket([count](http::websocket& socket) {
      const alive here(count);
      echo(socket);
    }));
    const std::string all = handshake() + text("hello") + frame(9, "p") + frame(2, std::string(3000, 'b'), open_ended) +
                            frame(0, std::string(200, 'c')) + frames::close(1000);
    std::uint64_t total = 0;
    {
      memory_client peer(server);
      REQUIRE(peer.send(all));
      (void)peer.rest();
      total = peer.link.bytes_moved();
    }
    CHECK(total > 6000);
    for (std::uint64_t at = 0; at < total; at += at < 700 || at + 300 > total ? 1 : 37) {
      CAPTURE(at);
      memory_client peer(server, {.seed = at + 1,
                                  .short_reads = at % 3 == 0 ? 50u : 0,
                                  .short_writes = at % 5 == 0 ? 50u : 0,
                                  .would_blocks = at % 2 == 0 ? 30u : 0,
                                  .capacity = at % 7 == 0 ? 2000u : 65536u,
                                  .reset_after = at});
      (void)peer.send(all);
      (void)peer.rest();
      peer.close();
      eventer::sleep_for(100s);
      if (!peer.is_over() || *count != 0) FAIL("the handler goes on");
    }
  });
}

TEST_CASE("any system call may fail once: a socket works or ends, and nothing stays open") {
  const captured_log log;
  const auto before = open_descriptors();
  int happened = 0;
  for (const system_call which :
       {system_call::recv, system_call::send, system_call::epoll_ctl, system_call::shutdown}) {
    for (const int error : {EINTR, EAGAIN, ECONNRESET, ENOMEM}) {
      for (int nth = 1;; ++nth) {
        CAPTURE(static_cast<int>(which), std::generic_category().message(error), nth);
        const auto count = std::make_shared<int>(0);
        bool did = false;
        {
          eventer::manual_clock time;
          const one_fault fault(which, error, nth);
          try {
            eventer::run(
                [count] {
                  running run(http::server(one_socket([count](http::websocket& socket) {
                    const alive here(count);
                    echo(socket);
                  })));
                  for (int i = 0; i < 3; ++i) {
                    auto stream = eventer::tcp_stream::connect(run.where, 10s);
                    if (!stream) continue;
                    net_client peer(std::move(*stream));
                    if (!peer.send(handshake() + text("a") + frame(9, "p") + frames::close(1000))) continue;
                    if (peer.read().status == 101 && peer.rest_of_frames() == "T<a>O<p>C<1000 >") break;
                  }
                  (void)run.server.drain(10s, 0s);
                },
                {.clock = &time});
          } catch (const std::system_error&) {
            CHECK(which == system_call::epoll_ctl);
          }
          did = fault.happened();
        }
        if (!did) break;
        ++happened;
        CHECK(*count == 0);
        REQUIRE(open_descriptors() == before);
      }
    }
  }
  CHECK(happened > 30);
}

TEST_CASE("a handler that is cancelled at each of its waits is unwound, with all that it holds") {
  const captured_log log;
  for (const bool has_writer : {false, true}) {
    bool ended = false;
    int waits = 0;
    for (int nth = 0; !ended && nth < 2000; ++nth) {
      CAPTURE(has_writer, nth);
      const auto count = std::make_shared<int>(0);
      run_virtually([&, count] {
        const http::server server(one_socket([count, has_writer](http::websocket& socket) {
          const alive here(count);
          http::websocket* const shared = &socket;
          eventer::task_group writer;
          if (has_writer)
            writer.spawn([shared, held = std::make_shared<alive>(count)] {
              for (int i = 0; i < 5 && shared->write(std::string(2000, 'w')); ++i) {
              }
            });
          echo(socket);
          (void)socket.close(4000, "behind it");
        }));
        auto pair = eventer::memory_stream_pair({.seed = 9, .would_blocks = 30, .capacity = 600});
        auto serves = eventer::spawn(
            [server, far = eventer::any_stream(std::move(pair.far))]() mutable { server(std::move(far)); });
        const auto peer = std::make_shared<net_client>(std::move(pair.near));
        auto talks = eventer::spawn([peer] {
          (void)peer->send(handshake() + text(std::string(900, 'x')) + frame(9, "p") + text("y"));
          eventer::sleep_for(1s);
          (void)peer->rest();  // reads only now
        });
        auto closes = eventer::spawn([peer] {
          eventer::sleep_for(2s);
          (void)peer->send(frames::close(1000));
        });
        // The handler's turns, one by one: a sleep lets time go on where nobody has anything to do.
        for (int turn = 0; turn < nth && !serves.done(); ++turn)
          turn % 8 == 7 ? eventer::sleep_for(40ms) : eventer::yield();
        ended = serves.done();
        if (!ended) ++waits;
        serves.cancel();
        (void)serves.try_join();
        CHECK(*count == 0);
        peer->close();
        (void)talks.try_join();
        (void)closes.try_join();
      });
    }
    CHECK(ended);
    CHECK(waits > 50);
  }
}
