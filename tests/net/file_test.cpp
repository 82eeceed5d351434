// Regular files behind streams: read and written on threads, while the loop goes on.
#include <fcntl.h>

#include "../catch.hpp"
#include "../event/jobs.hpp"
#include "../two_worlds.hpp"

using namespace std::chrono_literals;
using eventer::unix_stream;

namespace {

// A file without a name, with this in it, and its position at the beginning.
int file_with(const std::string& text) {
  char name[] = "/tmp/eventer-file-XXXXXX";
  const int fd = ::mkstemp(name);
  ::unlink(name);
  if (::write(fd, text.data(), text.size()) != static_cast<ssize_t>(text.size())) std::abort();
  ::lseek(fd, 0, SEEK_SET);
  return fd;
}
auto open_file(const std::string& text) { return shared(unix_stream::from_fd(file_with(text)).value()); }

// The whole file, whatever its position.
std::string content(int fd) {
  std::string text(1 << 20, ' ');
  const ssize_t got = ::pread(fd, text.data(), text.size(), 0);
  return text.substr(0, got > 0 ? static_cast<std::size_t>(got) : 0);
}

// Holds every thread of the queue of files, so that what comes next waits.
class occupied {
 public:
  occupied() {
    const auto threads = static_cast<int>(std::max(4u, 4 * eventer::usable_cpus()));
    for (int i = 0; i < threads; ++i) (void)eventer::job_queue::files().post([gate = gate_] { gate->wait(); });
    gate_->until_waiting(threads);
  }
  occupied(const occupied&) = delete;
  occupied& operator=(const occupied&) = delete;
  ~occupied() { release(); }
  void release() { gate_->open(); }

 private:
  std::shared_ptr<barrier> gate_ = make_barrier();
};

template <class World>
void reads_and_writes() {
  const auto file = open_file("hello, file");
  CHECK(start_read<World>(file, {}, 5).get() == "hello");
  CHECK(start_read_exact<World>(file, 2).get() == ", ");
  CHECK(start_read<World>(file).get() == "file");
  CHECK(start_read<World>(file).get() == "<end of stream: the peer has closed its side>");
  CHECK(start_write<World>(file, "!").get() == "ok");
  CHECK(content(file->native_handle()) == "hello, file!");
  const auto lines = open_file("one\ntwo\nthree");
  const auto into = std::make_shared<std::string>();
  CHECK(start_read_until<World>(lines, into, "\n", 100).get() == "one\n");
  CHECK(*into == "one\ntwo\nthree");
}

}  // namespace

TEST_CASE("a file is read and written through a stream, in either world") {
  eventer::run([] { reads_and_writes<stackful>(); });
  eventer::run([] { reads_and_writes<foreign>(); });
}

TEST_CASE("on a plain thread a file is read and written in place") {
  auto file = open_file("abc");
  std::string text(3, ' ');
  CHECK(file->read_exact(text).value() == 3);
  CHECK(text == "abc");
  CHECK(file->write_all("def").value() == 3);
  CHECK(content(file->native_handle()) == "abcdef");
}

TEST_CASE("the loop goes on while a file's thread is slow, and a time limit leaves the bytes to the next reader") {
  eventer::run([] {
    const auto file = open_file("late");
    occupied threads;
    auto late = start_read<stackful>(file, 1ms);
    CHECK(late.get() == "<timed out>");
    auto next = start_read<stackful>(file);
    for (int i = 0; i < 10; ++i) eventer::yield();
    CHECK_FALSE(next.done());
    threads.release();
    CHECK(next.get() == "late");
  });
}

TEST_CASE("a writer who leaves does not answer the next one, whose bytes follow") {
  eventer::run([] {
    const auto file = open_file("");
    occupied threads;
    CHECK(start_write<stackful>(file, "first ", 1ms).get() == "<timed out>");
    auto next = start_write<stackful>(file, "second");
    eventer::yield();
    threads.release();
    CHECK(next.get() == "ok");
    CHECK(content(file->native_handle()) == "first second");
  });
}

TEST_CASE("a write goes where the reader is, whatever was read for somebody who has left") {
  eventer::run([] {
    const auto file = open_file("0123456789");
    {
      occupied threads;
      CHECK(start_read<stackful>(file, 1ms, 8).get() == "<timed out>");
    }
    CHECK(eventer::job_queue::files().drain(10s) == 0);
    CHECK(start_read<stackful>(file, {}, 2).get() == "01");
    CHECK(start_write<stackful>(file, "ab").get() == "ok");
    CHECK(content(file->native_handle()) == "01ab456789");
    CHECK(start_read<stackful>(file).get() == "456789");
  });
}

TEST_CASE("a file given back is where its reader was") {
  eventer::run([] {
    const auto file = open_file("0123456789");
    {
      occupied threads;
      CHECK(start_read<stackful>(file, 1ms, 8).get() == "<timed out>");
    }
    CHECK(eventer::job_queue::files().drain(10s) == 0);
    CHECK(start_read<stackful>(file, {}, 3).get() == "012");
    const int fd = file->release();
    CHECK(::lseek(fd, 0, SEEK_CUR) == 3);
    CHECK_FALSE(file->is_open());
    ::close(fd);
  });
}

TEST_CASE("a file that is closed while a thread reads it keeps its number until that has ended") {
  eventer::run([] {
    const auto file = open_file("text");
    const int fd = file->native_handle();
    occupied threads;
    auto reads = start_read<stackful>(file);
    eventer::yield();
    CHECK(file->detach().error() == eventer::errc::busy);
    file->close();
    CHECK(reads.get() == "<closed on this side>");
    CHECK(::fcntl(fd, F_GETFD) >= 0);
    threads.release();
    yield_until([&] { return ::fcntl(fd, F_GETFD) < 0; });
  });
}

TEST_CASE("a reader and a writer of one file at once: each is told what has become of his own") {
  eventer::run([] {
    for (int i = 0; i < 200; ++i) {
      const auto file = open_file("0123456789abcdef");
      auto writes = start_write<stackful>(file, "WRITE");
      auto reads = start_read<stackful>(file, {}, 3);
      CHECK(writes.get() == "ok");
      CHECK(reads.get() == "567");
      CHECK(content(file->native_handle()) == "WRITE56789abcdef");
    }
  });
}

TEST_CASE("what a coroutine writes in a cancel_shield while its loop ends gets into the file") {
  std::string told;
  const int copy = [&] {
    auto file = open_file("");
    const int duplicate = ::dup(file->native_handle());
    eventer::run([&told, file] {
      const auto threads = std::make_shared<occupied>();
      (void)eventer::spawn([file, &told] {
        const eventer::cancel_shield to_the_end;
        const auto text = std::make_shared<std::string>(300'000, 'x');
        told = file->write_all(*text).has_value() ? "written" : "lost";
      });
      (void)eventer::spawn([threads] {
        const std::shared_ptr<void> at_end(nullptr, [threads](void*) { threads->release(); });
        eventer::sleep_for(1h);
      });
      eventer::yield();
      eventer::yield();
    });
    return duplicate;
  }();
  CHECK(told == "written");
  CHECK(content(copy).size() == 300'000);
  ::close(copy);
}

TEST_CASE("a file given back while a thread reads it comes as a duplicate, and its number goes when that has ended") {
  eventer::run([] {
    const auto file = open_file("0123456789");
    const int number = file->native_handle();
    occupied threads;
    auto reads = start_read<stackful>(file, {}, 4);
    eventer::yield();
    const int given = file->release();
    CHECK(given != number);
    CHECK(reads.get() == "<closed on this side>");
    CHECK(::fcntl(number, F_GETFD) >= 0);
    threads.release();
    yield_until([&] { return ::fcntl(number, F_GETFD) < 0; });
    CHECK(::lseek(given, 0, SEEK_CUR) == 0);
    CHECK(content(given) == "0123456789");
    ::close(given);
  });
}

TEST_CASE("a reader that is cancelled goes at once, and its loop may end before the thread has read") {
  const auto gate = make_barrier();
  std::unique_ptr<occupied> threads;
  eventer::run([&] {
    threads = std::make_unique<occupied>();
    const auto file = open_file("text");
    auto reads = eventer::spawn([file] {
      std::array<char, 4> text;
      (void)file->read_some(text);
    });
    eventer::yield();
    reads.cancel();
    CHECK(reads.try_join().error() == std::errc::operation_canceled);
  });
  threads.reset();
  CHECK(eventer::job_queue::files().drain(10s) == 0);
}

TEST_CASE("a megabyte goes through a file, gathered and in pieces; a directory says what it is") {
  eventer::run([] {
    const auto file = open_file("");
    const auto text = std::make_shared<std::string>(1'000'000, 'x');
    for (std::size_t i = 0; i < text->size(); ++i) (*text)[i] = static_cast<char>('a' + i % 23);
    const auto parts = std::make_shared<std::vector<eventer::const_buffer>>();
    for (std::size_t at = 0; at < text->size(); at += 100'000) parts->emplace_back(text->data() + at, 100'000u);
    CHECK(file->write_all(std::span<const eventer::const_buffer>(*parts)).value() == text->size());
    CHECK(content(file->native_handle()) == *text);
    ::lseek(file->native_handle(), 0, SEEK_SET);
    const auto back = std::make_shared<std::string>(text->size(), ' ');
    CHECK(file->read_exact(*back).value() == text->size());
    CHECK(*back == *text);
    auto folder = unix_stream::from_fd(::open("/tmp", O_RDONLY | O_DIRECTORY)).value();
    std::array<char, 10> some;
    CHECK(folder.read_some(some).error() == std::errc::is_a_directory);
  });
}
