// stream::send_file: the kernel takes a file's bytes for a socket.
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../catch.hpp"
#include "../faults.hpp"
#include "../plain_descriptors.hpp"
#include "eventer/eventer.hpp"

using namespace std::chrono_literals;
using eventer::tcp_stream;
using eventer::unix_stream;

namespace {

eventer::unique_fd file_of(std::size_t bytes) {
  char name[] = "/tmp/eventer-send-file-XXXXXX";
  eventer::unique_fd made(::mkstemp(name));
  ::unlink(name);
  std::string text;
  for (std::size_t i = 0; text.size() < bytes; ++i) text += std::to_string(i) + " ";
  text.resize(bytes);
  give(made, text);
  return made;
}
std::string content(const eventer::unique_fd& file, std::size_t offset, std::size_t bytes) {
  std::string text(bytes, ' ');
  const ssize_t got = ::pread(file.get(), text.data(), bytes, static_cast<off_t>(offset));
  return text.substr(0, got > 0 ? static_cast<std::size_t>(got) : 0);
}
struct tcp_pair {
  tcp_pair() {
    auto acceptor = eventer::tcp_acceptor::listen("127.0.0.1:0").value();
    near = tcp_stream::connect(acceptor.local(), 100s).value();
    far = acceptor.accept().value();
  }
  tcp_stream near, far;
};

}  // namespace

TEST_CASE("bytes of a file go into a socket, from where they are asked for, and the file's position stays") {
  eventer::run([] {
    const eventer::unique_fd file = file_of(100'000);
    const off_t position = ::lseek(file.get(), 0, SEEK_CUR);
    tcp_pair pair;
    std::string got(500, ' ');
    CHECK(pair.near.send_file(file.get(), 1000, 500).value() == 500);
    CHECK(pair.far.read_exact(got).value() == 500);
    CHECK(got == content(file, 1000, 500));
    CHECK(pair.near.send_file(file.get(), 99'900, 500).value() == 100);  // up to its end
    CHECK(pair.near.send_file(file.get(), 100'000, 500).value() == 0);
    CHECK(pair.near.send_file(file.get(), 0, 0).value() == 0);
    got.resize(100);
    CHECK(pair.far.read_exact(got).value() == 100);
    CHECK(got == content(file, 99'900, 100));
    CHECK(::lseek(file.get(), 0, SEEK_CUR) == position);
    const auto sent = eventer::await(pair.near.async_send_file(file.get(), 7, 50));
    CHECK(sent.value() == 50);
    got.resize(50);
    CHECK(pair.far.read_exact(got).value() == 50);
    CHECK(got == content(file, 7, 50));
  });
}

TEST_CASE("a peer that takes nothing makes send_file wait, and its limit and a cancellation end that") {
  eventer::manual_clock clock;
  eventer::run(
      [] {
        const eventer::unique_fd file = file_of(1 << 20);
        tcp_pair pair;
        std::uint64_t total = 0;
        eventer::io_result<std::size_t> last = 0;
        while ((last = pair.near.send_file(file.get(), 0, 1 << 20, 5s))) total += *last;
        CHECK(last.error() == eventer::errc::timed_out);
        CHECK(total > 0);
        const auto near = std::make_shared<tcp_stream>(std::move(pair.near));
        auto waits = eventer::spawn([near, fd = file.get()] { return near->send_file(fd, 0, 100).has_value(); });
        eventer::sleep_for(1s);
        CHECK_FALSE(waits.done());
        waits.cancel();
        CHECK(waits.try_join().error() == eventer::errc::canceled);
        auto goes_on = eventer::spawn([near, fd = file.get()] { return near->send_file(fd, 0, 100).value(); });
        std::string bytes(1 << 20, ' ');
        while (!goes_on.done()) CHECK(pair.far.read_some(bytes, 100s));
        CHECK(goes_on.join() == 100);
      },
      {.clock = &clock});
}

TEST_CASE("where the kernel can't, send_file says so, and nothing was sent") {
  eventer::run([] {
    const eventer::unique_fd file = file_of(100);
    auto memory = eventer::memory_stream_pair();
    CHECK(memory.near.send_file(file.get(), 0, 100).error() == std::errc::operation_not_supported);
    auto pipe = plain_pipe();
    auto into_pipe = unix_stream::from_fd(pipe.peer.release()).value();
    CHECK(into_pipe.send_file(file.get(), 0, 100).error() == std::errc::operation_not_supported);
    tcp_pair pair;
    {
      faults world;
      for (const int error : {EINVAL, ENOSYS}) {
        world.fail(faults::call::sendfile, error);
        CHECK(pair.near.send_file(file.get(), 0, 100).error() == std::errc::operation_not_supported);
      }
      world.fail(faults::call::sendfile, EINTR, 3);
      CHECK(pair.near.send_file(file.get(), 0, 100).value() == 100);
      world.fail(faults::call::sendfile, EIO);
      CHECK(pair.near.send_file(file.get(), 0, 100).error() == std::errc::io_error);
    }
    pair.near.close();
    CHECK(pair.near.send_file(file.get(), 0, 100).error() == eventer::errc::closed);
    auto [near, far] = unix_stream::pair().value();
    CHECK(near.send_file(file.get(), 50, 100).value() == 50);
    std::string got(50, ' ');
    CHECK(far.read_exact(got).value() == 50);
    CHECK(got == content(file, 50, 50));
  });
}

// SIGPIPE would end the program: sendfile raises it although it may have sent something.
TEST_CASE("a peer that has gone is an error of send_file, and no signal") {
  eventer::run([] {
    const eventer::unique_fd file = file_of(4 << 20);
    for (int i = 0; i < 20; ++i) {  // who is told that he has gone by the first of the bytes
      tcp_pair pair;
      pair.far.close();
      while (pair.near.send_file(file.get(), 0, 4 << 20, 100s)) {
      }
    }
    for (int i = 0; i < 50; ++i) {
      tcp_pair pair;
      const auto far = std::make_shared<tcp_stream>(std::move(pair.far));
      auto leaves = eventer::spawn([far, i] {
        std::string bytes(4096, ' ');
        for (int j = 0; j < i; ++j) (void)far->read_some(bytes, 100s);
        far->close();
      });
      eventer::io_result<std::size_t> last = 0;
      while ((last = pair.near.send_file(file.get(), 0, 4 << 20, 100s))) {
      }
      CHECK((last.error() == std::errc::broken_pipe || last.error() == std::errc::connection_reset));
      leaves.join();
    }
    sigset_t pending;
    ::sigpending(&pending);
    CHECK(::sigismember(&pending, SIGPIPE) == 0);
  });
}
