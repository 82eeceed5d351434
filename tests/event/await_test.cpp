// await: readiness of foreign descriptors, time, and other coroutines; from coroutines and from plain threads.
#include <unistd.h>

#include <thread>

#include "../catch.hpp"
#include "../child.hpp"
#include "../sockets.hpp"
#include "eventer/eventer.hpp"

using namespace std::chrono_literals;
using eventer::await, eventer::readable, eventer::writable, eventer::after;

namespace {

struct pipe_ends {
  eventer::unique_fd read, write;
};
pipe_ends make_pipe() {
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
  return {eventer::unique_fd(ends[0]), eventer::unique_fd(ends[1])};
}

void fill(int fd) {
  const std::string block(4096, 'x');
  while (::write(fd, block.data(), block.size()) > 0) {
  }
}

}  // namespace

TEST_CASE("a foreign descriptor is awaited until it can be read, and until it can be written") {
  eventer::run([] {
    const auto ends = std::make_shared<pipe_ends>(make_pipe());
    fill(ends->write.get());
    auto writer = eventer::spawn([ends] { return await(writable(ends->write.get(), 2s)).has_value(); });
    eventer::yield();
    CHECK_FALSE(writer.done());
    std::string all(1 << 20, ' ');
    while (::read(ends->read.get(), all.data(), all.size()) > 0) {
    }
    CHECK(writer.join());

    auto reader = eventer::spawn([ends] { return await(readable(ends->read.get(), 2s)).has_value(); });
    eventer::yield();
    CHECK_FALSE(reader.done());
    CHECK(::write(ends->write.get(), "x", 1) == 1);
    CHECK(reader.join());
  });
}

TEST_CASE("awaiting readiness answers the time limit, a second waiter, a bad number and a regular file") {
  eventer::run([] {
    const auto ends = std::make_shared<pipe_ends>(make_pipe());
    CHECK(await(readable(ends->read.get(), 1ms)).error() == std::errc::timed_out);
    auto first = eventer::spawn([ends] { (void)await(readable(ends->read.get())); });
    eventer::yield();
    CHECK(await(readable(ends->read.get())).error() == eventer::errc::busy);
    first.cancel();
    CHECK(first.try_join().error() == std::errc::operation_canceled);
    CHECK(await(readable(ends->read.get(), 1ms)).error() == std::errc::timed_out);
    CHECK(await(readable(-1)).error() == std::errc::bad_file_descriptor);
    CHECK(await(readable(987'654)).error() == std::errc::bad_file_descriptor);
    const eventer::unique_fd file(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
    CHECK(await(readable(file.get(), 2s)));
  });
}

TEST_CASE("the end of a peer makes its foreign descriptor readable") {
  eventer::run([] {
    auto ends = make_pipe();
    ends.write.reset();
    CHECK(await(readable(ends.read.get(), 2s)));
  });
}

TEST_CASE("time and other coroutines are awaited") {
  eventer::run([] {
    auto slow = eventer::spawn([] {
      await(after(2ms));
      return std::string("slow");
    });
    const auto start = eventer::clock::now();
    CHECK(await(slow) == "slow");
    CHECK(eventer::clock::now() - start >= 1ms);
    CHECK(await(eventer::spawn([] { return 7; })) == 7);
  });
}

TEST_CASE("on a plain thread an await blocks") {
  auto ends = make_pipe();
  CHECK(await(readable(ends.read.get(), 1ms)).error() == std::errc::timed_out);
  CHECK(await(writable(ends.write.get(), 2s)));
  ssize_t written = 0;
  std::thread other([&] { written = ::write(ends.write.get(), "x", 1); });
  CHECK(await(readable(ends.read.get())));
  other.join();
  CHECK(written == 1);
  CHECK(await(readable(-1, 1ms)).error());
  const auto start = eventer::clock::now();
  await(after(2ms));
  CHECK(eventer::clock::now() - start >= 2ms);
}

TEST_CASE("an await in a callback is refused with a sentence") {
  const auto result = run_in_child([] {
    eventer::event_loop loop;
    loop.post([] { (void)await(readable(0)); });
    loop.run();
  });
  CHECK(result.signal == SIGABRT);
  CHECK(contains(result.output, "await in a callback would block its loop"));
}
