// Files on their way: of every size, on sockets and on other streams, in little memory, while they change, while system
// calls fail, connections break and coroutines are cancelled.
#include <sys/resource.h>

#include "../captured_log.hpp"
#include "../faults.hpp"
#include "../one_fault.hpp"
#include "../plain_descriptors.hpp"
#include "../virtual_run.hpp"
#include "file_server.hpp"

using namespace http_test;
using system_call = eventer::syscalls::call;

namespace {

std::size_t resident_bytes() {
  std::size_t pages = 0, all = 0;
  std::FILE* const file = std::fopen("/proc/self/statm", "r");
  if (file == nullptr || std::fscanf(file, "%zu %zu", &all, &pages) != 2) throw std::runtime_error("statm");
  std::fclose(file);
  return pages * eventer::syscalls::page_size();
}

const std::size_t sizes[] = {0,     1,      4095,   16383,  16384,  16385,  65535,  65536,  65537,
                             81920, 100000, 262143, 262144, 278528, 278529, 524289, 700001, 1048576};

}  // namespace

TEST_CASE("files of every size come whole, over sockets and over other streams") {
  const folder documents;
  const std::string content = some_content(1 << 20);
  for (const std::size_t size : sizes) documents.file(std::to_string(size), content.substr(0, size));
  const auto ask_all = [&content](client& peer) {
    for (const std::size_t size : sizes) {
      CAPTURE(size);
      const answer got = peer.ask(get("/" + std::to_string(size)));
      CHECK(got.status == 200);
      CHECK((got.body == content.substr(0, size)));
    }
    for (const auto& [first, last] :
         {std::pair<std::size_t, std::size_t>{0, 70000}, {1, 1}, {65536, 400000}, {5, 1 << 20}}) {
      CAPTURE(first, last);
      const answer got =
          peer.ask(get("/1048576", "Range: bytes=" + std::to_string(first) + "-" + std::to_string(last) + "\r\n"));
      CHECK((got.status == 206 && got.body == content.substr(first, last - first + 1)));
    }
    const answer parts = peer.ask(get("/1048576", "Range: bytes=0-99999,200000-599999,-1\r\n"));
    CHECK(parts.status == 206);
    CHECK(parts.body.find(content.substr(200000, 400000)) != std::string::npos);
    CHECK(parts.body.find(content.substr(0, 100000)) != std::string::npos);
  };
  run_virtually([&] {
    const http::server server = serving(documents);
    served peer(server);
    ask_all(peer);
    served odd(server, {.seed = 3, .short_reads = 30, .short_writes = 50, .would_blocks = 30, .capacity = 3000});
    ask_all(odd);
  });
  eventer::run([&] {
    const on_loopback server(serving(documents));
    client peer(server.connect());
    ask_all(peer);
    const faults world;
    client another(server.connect());
    CHECK((another.ask(get("/65536")).body == content.substr(0, 65536)));
    CHECK(world.calls(system_call::sendfile) == 0);
    CHECK(world.calls(system_call::preadv2) == 1);
    CHECK((another.ask(get("/1048576")).body == content));
    CHECK(world.calls(system_call::sendfile) >= 4);
    const int looks = world.calls(system_call::preadv2) - 1;  // two before each call that may send something new
    CHECK((looks >= 2 * 4 && looks <= 2 * world.calls(system_call::sendfile)));
    CHECK(world.calls(system_call::send) <= 3);  // two are the client's
    CHECK(world.calls(system_call::pread) == 0);
  });
}

TEST_CASE("a file that the kernel can't send from is read and written") {
  const folder documents;
  const std::string content = some_content(700'001);
  documents.file("a", content);
  for (const int error : {EINVAL, ENOSYS, EPERM, EIO, ENOMEM}) {
    CAPTURE(std::generic_category().message(error));
    eventer::run([&] {
      const on_loopback server(serving(documents));
      client peer(server.connect());
      faults world;
      world.fail(system_call::sendfile, error);
      const answer got = peer.ask(get("/a"));
      CHECK((got.status == 200 && got.body == content));
      CHECK(world.calls(system_call::sendfile) == 1);
    });
  }
  eventer::run([&] {  // what is the socket's fault is no reason to try it otherwise
    const on_loopback server(serving(documents));
    client peer(server.connect());
    faults world;
    world.fail(system_call::sendfile, ECONNRESET);
    CHECK(peer.ask(get("/a")).status == 0);
    CHECK(world.calls(system_call::sendfile) == 1);
    CHECK(world.calls(system_call::preadv2) == 2);
  });
}

TEST_CASE("a file of gigabytes takes no memory: its head, its end, and a large part of it") {
  const folder documents;
  const std::uint64_t size = std::uint64_t{5} << 30;
  // AddressSanitizer keeps a while what was freed.
  const std::size_t room = std::size_t{EVENTER_ASAN ? 400 : 16} << 20;
  documents.sparse("huge", static_cast<off_t>(size));
  documents.sparse("large", off_t{256} << 20);
  const auto check_memory_within = [](client& peer, std::size_t before) {
    counted half = count_answer(peer.stream(), 128 << 20);
    CHECK(half.body < 200 << 20);
    CHECK(resident_bytes() < before + room);  // while the other half is still to be sent
    const counted all = count_answer(peer.stream(), 256 << 20, std::move(half));
    CHECK((all.body == 256 << 20 && all.only_zeros));
    CHECK(resident_bytes() < before + room);
  };
  eventer::run([&] {
    const on_loopback server(serving(documents));
    client peer(server.connect());
    const answer head = peer.ask("HEAD /huge HTTP/1.1\r\nHost: a\r\n\r\n", true);
    CHECK(head.field("content-length") == std::to_string(size));
    const answer end = peer.ask(get("/huge", "Range: bytes=-3\r\n"));
    CHECK((end.status == 206 && end.body == std::string(3, '\0')));
    CHECK(end.field("content-range") == "bytes 5368709117-5368709119/5368709120");
    const answer middle = peer.ask(get("/huge", "Range: bytes=4294967290-4295067289\r\n"));
    CHECK((middle.status == 206 && middle.body == std::string(100'000, '\0')));
    const std::size_t before = resident_bytes();
    REQUIRE(peer.send(get("/large")));
    check_memory_within(peer, before);
  });
  run_virtually([&] {
    served peer(serving(documents));
    REQUIRE(peer.send(get("/large")));
    const std::size_t before = resident_bytes();
    check_memory_within(peer, before);
  });
}

TEST_CASE("a file that becomes shorter while it is sent ends the connection, and one that grows is sent as announced") {
  const folder documents;
  const captured_log log;
  const auto before = open_descriptors();
  const auto small_room = eventer::memory_stream_options{.capacity = 4096};
  run_virtually([&] {
    const http::server server = serving(documents);
    documents.sparse("a", 1 << 20);
    served peer(server, small_room);
    REQUIRE(peer.send(get("/a")));
    counted begun = count_answer(peer.stream(), 100'000);
    CHECK(begun.body >= 100'000);
    documents.truncate("a", 300'000);
    const counted rest = count_answer(peer.stream(), UINT64_MAX, std::move(begun));
    CHECK((rest.body < 310'000 && rest.end == eventer::errc::end_of_stream));
    documents.sparse("b", 300'000);
    served another(server, small_room);
    REQUIRE(another.send(get("/b", "Connection: close\r\n")));
    counted came = count_answer(another.stream(), 100'000);
    documents.truncate("b", 1 << 20);
    CHECK(count_answer(another.stream(), UINT64_MAX, std::move(came)).body == 300'000);
  });
  eventer::run([&] {
    const on_loopback server(serving(documents));
    for (const bool shrinks : {true, false}) {
      CAPTURE(shrinks);
      const std::uint64_t size = std::uint64_t{64} << 20;
      documents.sparse("c", static_cast<off_t>(size));
      client peer(server.connect());
      REQUIRE(peer.send(get("/c", "Connection: close\r\n")));
      CHECK(peer.more());
      while (peer.unread().find("\r\n\r\n") == std::string::npos) CHECK(peer.more());
      const std::uint64_t came = peer.unread().size() - peer.unread().find("\r\n\r\n") - 4;
      documents.truncate("c", static_cast<off_t>(shrinks ? size / 2 : size * 2));
      std::uint64_t total = came;
      for (peer.unread().clear(); peer.more(); peer.unread().clear()) total += peer.unread().size();
      CHECK(peer.why == eventer::make_error_code(eventer::errc::end_of_stream).message());
      CHECK(total == (shrinks ? size / 2 : size));
    }
  });
  CHECK(log.count("the file has become shorter") == 2);
  CHECK(open_descriptors() == before);
}

TEST_CASE("a client that takes nothing more is given up after response_stall, and the file is closed") {
  const folder documents;
  documents.sparse("large", off_t{256} << 20);
  const auto before = open_descriptors();
  for (const bool on_socket : {false, true}) {
    CAPTURE(on_socket);
    eventer::manual_clock time;
    eventer::run(
        [&] {
          http::router routes;
          routes.files("/", documents.path()).response_stall(20s);
          const http::server server(std::move(routes));
          eventer::tcp_stream near, far;
          if (on_socket) {
            auto acceptor = eventer::tcp_acceptor::listen("127.0.0.1:0").value();
            near = eventer::tcp_stream::connect(acceptor.local(), 100s).value();
            far = acceptor.accept().value();
          } else {
            auto pair = eventer::memory_stream_pair();
            near = std::move(pair.near);
            far = std::move(pair.far);
          }
          const auto began = eventer::event_loop::current().now();
          auto serves = eventer::spawn(
              [server, stream = eventer::any_stream(std::move(far))]() mutable { server(std::move(stream)); });
          REQUIRE(near.write_all(get("/large"), 100s));
          serves.join();
          const auto took = eventer::event_loop::current().now() - began;
          CHECK((took >= 20s && took < 30s));
        },
        {.clock = &time});
    CHECK(open_descriptors() == before);
  }
}

TEST_CASE("others have their turn while a large file is sent to somebody who takes everything") {
  const folder documents;
  documents.sparse("large", 16 << 20);
  run_virtually([&] {
    const http::server server = serving(documents);
    served peer(server, {.capacity = 64 << 20});
    const auto turns = std::make_shared<int>(0);
    auto counts = eventer::spawn([turns] {
      for (;; ++*turns) eventer::yield();
    });
    REQUIRE(peer.send(get("/large")));
    int at_first_byte = 0;
    CHECK(peer.more());
    at_first_byte = *turns;
    std::uint64_t total = peer.unread().size();
    for (peer.unread().clear(); total < 16 << 20 && peer.more(); peer.unread().clear()) total += peer.unread().size();
    CHECK(*turns - at_first_byte > 40);
    counts.cancel();
    (void)counts.try_join();
  });
}

TEST_CASE("any system call may fail once while files are sent: whole, an error, or the connection's end") {
  const captured_log log;
  const folder documents;
  const std::string content = some_content(400'000);
  documents.file("small", content.substr(0, 500));
  documents.file("medium", content.substr(0, 60'000));
  documents.file("large", content);
  const auto before = open_descriptors();
  int happened = 0;
  for (const system_call which :
       {system_call::openat2, system_call::openat, system_call::fstat, system_call::preadv2, system_call::pread,
        system_call::sendfile, system_call::send, system_call::sendmsg, system_call::close, system_call::recv,
        system_call::epoll_ctl, system_call::pthread_create}) {
    for (const int error : {EINTR, EAGAIN, EINVAL, EIO, EPIPE, EMFILE}) {
      for (int nth = 1; nth < 40; nth += 1 + nth / 6) {
        CAPTURE(static_cast<int>(which), std::generic_category().message(error), nth);
        bool did = false, is_well = false;
        const auto wrong = std::make_shared<std::string>();
        {
          const eventer::job_queue jobs("files here");
          eventer::manual_clock time;
          const one_fault fault(which, error, nth);
          try {
            eventer::run(
                [&, wrong] {
                  const on_loopback server(serving(documents, {.queue = jobs}));
                  for (int i = 0; i < 2; ++i) {
                    auto stream = eventer::tcp_stream::connect(server.acceptor->local(), 10s);
                    if (!stream) continue;
                    client peer(std::move(*stream));
                    bool all = true;
                    for (const auto& [name, size] : {std::pair<const char*, std::size_t>{"/small", 500},
                                                     {"/medium", 60'000},
                                                     {"/large", 400'000}}) {
                      const answer got = peer.ask(get(name));
                      if (got.status == 200 && got.body != content.substr(0, size)) wrong->append(name);
                      all = all && got.status == 200;
                      if (got.status == 0) break;
                    }
                    is_well = is_well || all;
                  }
                },
                {.clock = &time});
          } catch (const std::system_error&) {
            is_well = true;  // the loop itself could not begin
          }
          did = fault.happened();
        }
        CHECK(*wrong == "");
        CHECK(is_well);  // the next one who asks is answered
        REQUIRE(open_descriptors() == before);
        if (!did) break;
        ++happened;
      }
    }
  }
  CHECK(happened > 80);
}

TEST_CASE("a connection may be reset behind any byte of a file, and closed by its client") {
  const captured_log log;
  const folder documents;
  const std::string content = some_content(200'000);
  documents.file("small", content.substr(0, 500));
  documents.file("large", content);
  const auto before = open_descriptors();
  const std::string requests = get("/small") + get("/large") + get("/large", "Range: bytes=0-9,100-70000,-5\r\n") +
                               get("/small", "Connection: close\r\n");
  run_virtually([&] {
    const http::server server = serving(documents);
    std::uint64_t total = 0;
    {
      served peer(server);
      REQUIRE(peer.send(requests));
      REQUIRE(statuses_of(peer.rest()) == "200 200 206 200");
      total = peer.link.bytes_moved();
    }
    for (std::uint64_t at = 0; at < total; at += 1 + at / 30) {
      CAPTURE(at);
      served peer(server, {.seed = at + 1,
                           .short_writes = at % 5 == 0 ? 50u : 0,
                           .would_blocks = at % 2 == 0 ? 30u : 0,
                           .capacity = at % 7 == 0 ? 2000u : 65536u,
                           .reset_after = at});
      (void)peer.send(requests);
      (void)peer.rest();
      for (int i = 0; i < 10 && !peer.is_over(); ++i) eventer::sleep_for(1s);
      REQUIRE(peer.is_over());
    }
  });
  CHECK(open_descriptors() == before);
  // The kernel raises SIGPIPE for sendfile: it must not arrive.
  eventer::run([&] {
    documents.sparse("huge", off_t{64} << 20);
    const on_loopback server(serving(documents));
    for (int i = 0; i < 20; ++i) {
      client peer(server.connect());
      REQUIRE(peer.send(get("/huge")));
      for (int j = 0; j < i; ++j) CHECK(peer.more());
      peer.close();
    }
    client peer(server.connect());
    CHECK(peer.ask(get("/small")).status == 200);
  });
  CHECK(open_descriptors() == before);
}

TEST_CASE("who sends a file may be cancelled at each of its waits") {
  const captured_log log;
  const folder documents;
  documents.file("large", some_content(400'000));
  const auto before = open_descriptors();
  const eventer::job_queue jobs("slow files");
  int cancelled_at = 0;
  for (const bool is_cold : {false, true}) {
    run_virtually([&, is_cold] {
      const http::server server = serving(documents, {.queue = jobs});
      for (int turn = 0;; ++turn) {
        faults world;
        if (is_cold) world.fail(system_call::preadv2, EAGAIN, 10'000), world.fail(system_call::openat2, EAGAIN, 1);
        auto [near, far, link] = eventer::memory_stream_pair({.seed = 5, .would_blocks = 60, .capacity = 30'000});
        const auto mine = std::make_shared<eventer::tcp_stream>(std::move(near));
        auto serves = eventer::spawn(
            [server, stream = eventer::any_stream(std::move(far))]() mutable { server(std::move(stream)); });
        const auto total = std::make_shared<std::uint64_t>(0);
        auto reads = eventer::spawn([mine, total] {
          (void)mine->write_all(get("/large", "Connection: close\r\n"), 100s);
          *total = count_answer(*mine).body;
        });
        for (int i = 0; i < turn * turn; ++i) i % 3 == 0 ? eventer::sleep_for(50ms) : eventer::yield();
        const bool was_over = serves.done();
        if (!was_over) {
          serves.cancel();
          ++cancelled_at;
        }
        (void)serves.try_join();
        if (!was_over) mine->close();
        reads.join();
        if (!was_over) continue;
        CHECK(*total == 400'000);
        break;
      }
    });
  }
  CHECK(cancelled_at > 8);
  CHECK(open_descriptors() == before);
}

TEST_CASE("who sends a file may be cancelled while the kernel waits for a client that reads slowly, or not at all") {
  const captured_log log;
  const folder documents;
  documents.file("large", some_content(3 << 20));
  const auto before = open_descriptors();
  for (int turn = 0; turn < 6; ++turn) {
    CAPTURE(turn);
    eventer::run([&] {
      auto acceptor = eventer::tcp_acceptor::listen("127.0.0.1:0").value();
      const int few = 4096;
      REQUIRE(::setsockopt(acceptor.native_handle(), SOL_SOCKET, SO_SNDBUF, &few, sizeof few) == 0);
      client peer(eventer::tcp_stream::connect(acceptor.local(), 100s).value());
      REQUIRE(::setsockopt(peer.stream().native_handle(), SOL_SOCKET, SO_RCVBUF, &few, sizeof few) == 0);
      const http::server server = serving(documents);
      const faults world;
      auto serves = eventer::spawn(
          [server, stream = eventer::any_stream(acceptor.accept().value())]() mutable { server(std::move(stream)); });
      REQUIRE(peer.send(get("/large")));
      for (int i = 0; i < turn * 3; ++i) REQUIRE(peer.more());
      const int sent = world.calls(system_call::sendfile);
      for (int i = 0; i < 5000 && world.calls(system_call::sendfile) < sent + 2; ++i) eventer::sleep_for(1ms);
      CHECK(world.calls(system_call::sendfile) >= 1);
      REQUIRE(!serves.done());
      serves.cancel();
      CHECK(serves.try_join().error() == std::errc::operation_canceled);
    });
    CHECK(open_descriptors() == before);
  }
}
