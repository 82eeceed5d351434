// Files of which the kernel has nothing in memory, or parts, or does not say: what is read by jobs, and that nothing
// else is read in a way that may wait.
#include "../captured_log.hpp"
#include "../faults.hpp"
#include "../plain_descriptors.hpp"
#include "../virtual_run.hpp"
#include "file_server.hpp"
#include "pretended_cache.hpp"

using namespace http_test;
using system_call = eventer::syscalls::call;

namespace {

// Asks for all of them on a memory stream and on loopback.
void in_both_worlds(const http::server& server, const std::function<void(client&)>& asks) {
  run_virtually([&] {
    served peer(server);
    asks(peer);
  });
  eventer::run([&] {
    const on_loopback there(server);
    client peer(there.connect());
    asks(peer);
  });
}

}  // namespace

TEST_CASE("the loop looks at files in no other way than one that does not wait") {
  const folder documents;
  const std::string content = some_content(700'001);
  documents.file("small", content.substr(0, 500));
  documents.file("large", content);
  in_both_worlds(serving(documents), [&](client& peer) {
    const with_cache here({});
    CHECK(peer.ask(get("/small")).body == content.substr(0, 500));
    CHECK((peer.ask(get("/large")).body == content));
    CHECK(peer.ask(get("/large", "Range: bytes=7-8,300000-300001\r\n")).status == 206);
    CHECK(cache.looks > 4);
    CHECK(cache.waits == 0);
  });
}

TEST_CASE("a kernel that answers 0 for what is not in memory has not said that the file ends there") {
  const captured_log log;
  const folder documents;
  const std::string content = some_content(700'001);
  documents.file("small", content.substr(0, 500));
  documents.file("large", content);
  const eventer::job_queue jobs("cold files");
  in_both_worlds(serving(documents, {.queue = jobs}), [&](client& peer) {
    for (const std::uint64_t from : {0u, 100'000u, 300'000u}) {
      CAPTURE(from);
      const auto before = jobs.stats().submitted;
      const with_cache here({.missing_from = from, .answers_nothing = true});
      if (from == 0) CHECK(peer.ask(get("/small")).body == content.substr(0, 500));
      CHECK((peer.ask(get("/large")).body == content));
      CHECK(jobs.stats().submitted > before);
    }
  });
  CHECK(log.lines().empty());
}

TEST_CASE("what is on the disk is read by jobs") {
  const folder documents;
  const std::string content = some_content(2'000'000);
  const auto make_cold = [&](const std::string& name) {
    documents.file(name, content);
    const eventer::unique_fd file(::open(documents.path(name).c_str(), O_RDONLY | O_CLOEXEC));
    char byte = 0;
    const iovec part{&byte, 1};
    return ::fsync(file.get()) == 0 && ::posix_fadvise(file.get(), 0, 0, POSIX_FADV_DONTNEED) == 0 &&
           ::syscall(SYS_preadv2, file.get(), &part, 1L, 1'000'000L, 0L, long{RWF_NOWAIT}) < 0 && errno == EAGAIN;
  };
  if (!make_cold("a") || !make_cold("b")) EVENTER_SKIP("the file system has everything in memory, or can't tell");
  const eventer::job_queue jobs("cold files");
  const http::server server = serving(documents, {.queue = jobs});
  const auto asks = [&](client& peer, const char* target) {
    const auto before = jobs.stats().submitted;
    CHECK((peer.ask(get(target)).body == content));
    CHECK(jobs.stats().submitted > before);
  };
  run_virtually([&] {
    served peer(server);
    asks(peer, "/a");
  });
  eventer::run([&] {
    const on_loopback there(server);
    client peer(there.connect());
    asks(peer, "/b");
  });
}

TEST_CASE("once something was not in memory, holes are found too") {
  const folder documents;
  documents.file("a", some_content(500'000));
  const eventer::job_queue jobs("files with holes");
  eventer::run([&] {
    const auto file = std::make_shared<http::detail::served_file>(plain_open(documents.path("a").c_str(), O_RDONLY));
    REQUIRE(file->examine() == 0);
    const auto brings_in_with_hole = [&] {
      const with_cache here({.missing_from = 350'000, .missing_to = 380'000});
      CHECK(file->bring_in(262'144, 500'000 - 262'144, jobs));
      return jobs.stats().submitted;
    };
    CHECK(brings_in_with_hole() == 0);  // only both ends are looked at
    {
      const with_cache here({.missing_from = 0, .missing_to = 1});
      CHECK(file->bring_in(0, 262'144, jobs));
    }
    CHECK(jobs.stats().submitted == 1);
    CHECK(brings_in_with_hole() == 2);
    CHECK(file->bring_in(0, 0, jobs));
    CHECK(file->bring_in(499'000, 9'000, jobs));  // the file has become shorter, say: whoever sends finds out
    CHECK(file->failure() == 0);
  });
}

TEST_CASE("behind a wait for a slow client it is looked again whether the file is in memory still") {
  const folder documents;
  const std::string content = some_content(250'000);
  documents.file("a", content);
  const eventer::job_queue jobs("files that are dropped");
  eventer::run([&] {
    const on_loopback server(serving(documents, {.queue = jobs}));
    const int few = 4096;
    REQUIRE(::setsockopt(server.acceptor->native_handle(), SOL_SOCKET, SO_SNDBUF, &few, sizeof few) == 0);
    client peer(server.connect());
    REQUIRE(::setsockopt(peer.stream().native_handle(), SOL_SOCKET, SO_RCVBUF, &few, sizeof few) == 0);
    REQUIRE(peer.send(get("/a")));
    REQUIRE(peer.more());
    CHECK(jobs.stats().submitted == 0);
    const with_cache here({.missing_from = 0});
    CHECK((peer.read().body == content));
    CHECK(jobs.stats().submitted > 0);
  });
}

TEST_CASE("where the first bytes can't be read that is the answer, and the connection lives") {
  const captured_log log;
  const folder documents;
  documents.file("small", some_content(500));
  documents.file("large", some_content(300'000));
  http::router routes;
  routes.get("/unreadable/{name}", [&documents](http::request& asked, http::response& answer) {
    const std::string name(asked.capture(1));
    (void)answer.send_file(plain_open(documents.path(name).c_str(), O_WRONLY), name);
  });
  routes.files("/", documents.path());
  in_both_worlds(http::server(std::move(routes)), [&](client& peer) {
    for (const std::string name : {"small", "large"}) {
      const std::size_t lines = log.lines().size();
      const answer got = peer.ask(get("/unreadable/" + name));
      CHECK((got.status == 500 && got.count("etag") == 0));
      CHECK(peer.ask(get("/unreadable/" + name, "Range: bytes=0-9\r\n")).status == 500);
      CHECK(log.lines().size() == lines + 2);
      CHECK(peer.ask(get("/" + name)).status == 200);
    }
  });
}

TEST_CASE("a queue that takes no job is 503, or behind the first bytes a cut connection, and the loop does not read") {
  const folder documents;
  const std::string content = some_content(700'001);
  documents.file("small", content.substr(0, 500));
  documents.file("large", content);
  const captured_log log;
  const eventer::job_queue jobs("no thread at all");
  in_both_worlds(serving(documents, {.queue = jobs}), [&](client& peer) {
    const std::size_t refused = log.count("can't be read"), cut = log.count("is cut off");
    faults world;
    world.fail(system_call::pthread_create, EAGAIN, 1000);
    {
      const with_cache here({.missing_from = 0});
      CHECK(peer.ask(get("/small")).status == 503);
      CHECK(peer.ask(get("/large")).status == 503);
      CHECK(log.count("can't be read") == refused + 2);
    }
    const with_cache here({.missing_from = 262'144});
    CHECK(peer.ask(get("/small")).status == 200);
    REQUIRE(peer.send(get("/large")));
    const counted got = count_answer(peer.stream());
    CHECK(got.head.starts_with("HTTP/1.1 200"));
    CHECK((got.body > 0 && got.body <= 262'144));
    CHECK(got.end == eventer::errc::end_of_stream);
    CHECK(log.count("is cut off") == cut + 1);
  });
}

TEST_CASE("a file of which sendfile can't read more cuts the answer, with a line in the log") {
  const folder documents;
  documents.file("large", some_content(700'001));
  const captured_log log;
  const eventer::job_queue jobs("no thread at all");
  eventer::run([&] {
    const on_loopback server(serving(documents, {.queue = jobs}));
    client peer(server.connect());
    faults world;
    world.fail(system_call::sendfile, EIO);
    world.fail(system_call::pthread_create, EAGAIN, 1000);
    const with_cache here({.missing_from = 100'000, .missing_to = 200'000});  // between what is looked at
    REQUIRE(peer.send(get("/large")));
    const counted got = count_answer(peer.stream());
    CHECK(got.body == 128 << 10);
    CHECK(got.end == eventer::errc::end_of_stream);
    CHECK(log.count("is cut off") == 1);
  });
}
