// unix_stream and unix_acceptor: paths and abstract names, pairs, pipes, and descriptors that were got elsewhere.
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <thread>

#include "../catch.hpp"
#include "../faults.hpp"
#include "../plain_descriptors.hpp"
#include "../sockets.hpp"
#include "../two_worlds.hpp"
#include "eventer/eventer.hpp"

using namespace std::chrono_literals;
using eventer::errc;
using eventer::unix_acceptor;
using eventer::unix_stream;
using call = faults::call;

#define WORLDS_TEST(name) TEMPLATE_TEST_CASE(name, "[unix]", stackful, foreign)

namespace {

const std::string broken_pipe_text = text_of(std::make_error_code(std::errc::broken_pipe));

// An address that no other test run uses.
std::string fresh_address(bool abstract) {
  static int count = 0;
  const std::string name = "eventer-test-" + std::to_string(::getpid()) + "-" + std::to_string(++count);
  return abstract ? "unix:@" + name : "unix:/tmp/" + name;
}
std::string path_of(const std::string& address) { return address.substr(5); }

}  // namespace

WORLDS_TEST("clients and a server meet at a path and at an abstract name") {
  for (const bool abstract : {false, true}) {
    const std::string address = fresh_address(abstract);
    eventer::run([&] {
      auto acceptor = shared(unix_acceptor::listen(address).value());
      CHECK(acceptor->local().to_string() == address);
      auto accepting = start_accept<TestType>(acceptor);
      next_turn();
      CHECK_FALSE(accepting.done());
      auto client = shared(unix_stream::connect(address, 1s).value());
      auto [error, server] = accepting.get();
      REQUIRE(error == "ok");
      CHECK(client->peer().to_string() == address);
      CHECK(server->local().to_string() == address);
      auto reading = start_read<TestType>(server);
      next_turn();
      CHECK(start_write<TestType>(client, "question").get() == "ok");
      CHECK(reading.get() == "question");
      CHECK(client->shutdown_write().has_value());
      CHECK(start_read<TestType>(server).get() == end_of_stream_text);
      CHECK(start_write<TestType>(server, "answer").get() == "ok");
      CHECK(start_read<TestType>(client).get() == "answer");
      server->close();
      CHECK(start_read<TestType>(client).get() == end_of_stream_text);
      CHECK(start_write<TestType>(client, "x").get() == broken_pipe_text);
    });
    if (!abstract) CHECK(::unlink(path_of(address).c_str()) == 0);
  }
}

TEST_CASE("what can't be listened on or connected to says why") {
  const std::string path = fresh_address(false), abstract = fresh_address(true);
  CHECK(unix_stream::connect(path).error() == std::errc::no_such_file_or_directory);
  CHECK(unix_stream::connect(abstract).error() == std::errc::connection_refused);
  {
    auto first = unix_acceptor::listen(path);
    REQUIRE(first.has_value());
    CHECK(unix_acceptor::listen(path).error() == std::errc::address_in_use);
  }
  CHECK(unix_stream::connect(path).error() == std::errc::connection_refused);  // the path stays
  CHECK(::unlink(path_of(path).c_str()) == 0);
  CHECK(unix_acceptor::listen("unix:/nonexistent/x").error() == std::errc::no_such_file_or_directory);
  for (const char* const text : {"", "unix:", "127.0.0.1:80", "/tmp/x"}) {
    CHECK(unix_acceptor::listen(text).error() == errc::bad_address);
    CHECK(unix_stream::connect(text).error() == errc::bad_address);
  }
  CHECK(unix_stream::connect("unix:/tmp/" + std::string(200, 'x')).error() == errc::bad_address);
  auto first = unix_acceptor::listen(abstract).value();
  CHECK(unix_acceptor::listen(abstract).error() == std::errc::address_in_use);
  first.close();
  CHECK(unix_acceptor::listen(abstract).has_value());  // an abstract name goes with its socket
}

TEST_CASE("a full backlog is waited for, until the limit") {
  const std::string address = fresh_address(true);
  eventer::run([&address] {
    auto acceptor = shared(unix_acceptor::listen(address, {.backlog = 1}).value());
    std::vector<unix_stream> queued;
    for (;;) {
      auto one = unix_stream::connect(address, 5ms);
      if (!one) {
        CHECK(one.error() == std::errc::timed_out);
        break;
      }
      queued.push_back(std::move(*one));
      REQUIRE(queued.size() < 10);
    }
    CHECK(queued.size() >= 1);
    auto waiting = eventer::spawn([address] { return unix_stream::connect(address, 5s).has_value(); });
    next_turn();
    CHECK_FALSE(waiting.done());
    CHECK(acceptor->accept(1s).has_value());
    CHECK(waiting.join());
  });
}

WORLDS_TEST("a pair is connected both ways") {
  eventer::run([] {
    auto pair = unix_stream::pair().value();
    auto near = shared(std::move(pair.first)), far = shared(std::move(pair.second));
    auto one = start_read<TestType>(near), other = start_read<TestType>(far);
    next_turn();
    CHECK(start_write<TestType>(near, "to far").get() == "ok");
    CHECK(start_write<TestType>(far, "to near").get() == "ok");
    CHECK(one.get() == "to near");
    CHECK(other.get() == "to far");
  });
}

namespace {
// As other programs do: a descriptor is sent along with the bytes.
void send_with_descriptor(const unix_stream& to, std::string_view text, int descriptor) {
  iovec part{const_cast<char*>(text.data()), text.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof descriptor)] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* const header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof descriptor);
  std::memcpy(CMSG_DATA(header), &descriptor, sizeof descriptor);
  CHECK(::sendmsg(to.native_handle(), &message, 0) == static_cast<ssize_t>(text.size()));
}
}  // namespace

WORLDS_TEST("bytes behind a descriptor that the peer has sent along are read too, and the descriptor is not kept") {
  eventer::run([] {
    auto pair = unix_stream::pair().value();
    const auto near = shared(std::move(pair.first)), far = shared(std::move(pair.second));
    int kept[2];
    REQUIRE(::pipe2(kept, O_CLOEXEC | O_NONBLOCK) == 0);
    const eventer::unique_fd reader(kept[0]);
    eventer::unique_fd writer(kept[1]);
    auto registered = start_read<TestType>(near, 5s);
    eventer::sleep_for(1ms);
    CHECK(far->write_all("first").has_value());
    CHECK(registered.get() == "first");
    send_with_descriptor(*far, "with", writer.get());
    CHECK(far->write_all(" and behind").has_value());
    std::string got;
    while (got.size() < 15) {
      const std::string part = start_read<TestType>(near, 2s).get();
      REQUIRE(part.front() != '<');
      got += part;
    }
    CHECK(got == "with and behind");
    send_with_descriptor(*far, "with", writer.get());
    CHECK(far->write_all(" and scattered").has_value());
    const auto all = std::make_shared<std::pair<std::string, std::array<eventer::buffer, 2>>>(
        std::string(64, ' '), std::array<eventer::buffer, 2>());
    all->second = {eventer::buffer(all->first.data(), 2), eventer::buffer(all->first.data() + 2, 60)};
    for (std::size_t read = 0; read < 18;) {
      auto reading =
          TestType::perform([=] { return near->read_some(std::span<const eventer::buffer>(all->second), 2s); },
                            [=] { return near->async_read_some(std::span<const eventer::buffer>(all->second), 2s); },
                            [](const eventer::io_result<std::size_t>& n) { return n.value_or(0); });
      const std::size_t count = reading.get();
      REQUIRE(count > 0);
      read += count;
    }
    writer.reset();
    char byte;
    CHECK(::read(reader.get(), &byte, 1) == 0);  // nobody holds the other end
  });
}

WORLDS_TEST("a pipe goes one way, and its ends are told of each other") {
  eventer::run([] {
    auto pipe = unix_stream::pipe().value();
    auto reader = shared(std::move(pipe.first)), writer = shared(std::move(pipe.second));
    auto reading = start_read<TestType>(reader);
    next_turn();
    CHECK(start_write<TestType>(writer, "text").get() == "ok");
    CHECK(reading.get() == "text");
    CHECK(start_write<TestType>(reader, "x").get() == text_of(std::make_error_code(std::errc::bad_file_descriptor)));
    CHECK(start_read<TestType>(writer).get() == text_of(std::make_error_code(std::errc::bad_file_descriptor)));
    CHECK_FALSE(writer->shutdown_write().has_value());  // close it: a pipe has no half
    auto full = start_write<TestType>(writer, std::string(1 << 20, 'x'));
    next_turn();
    CHECK_FALSE(full.done());
    CHECK(start_read_exact<TestType>(reader, 1 << 20).get() == std::string(1 << 20, 'x'));
    CHECK(full.get() == "ok");

    reading = start_read<TestType>(reader);
    next_turn();
    writer->close();
    CHECK(reading.get() == end_of_stream_text);

    auto other = unix_stream::pipe().value();
    auto lonely = shared(std::move(other.second));
    full = start_write<TestType>(lonely, std::string(1 << 20, 'x'));
    next_turn();
    other.first.close();
    CHECK(full.get() == broken_pipe_text);
  });
}

WORLDS_TEST("a descriptor is adopted, used, given back still open, and adopted again") {
  eventer::run([] {
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    auto peer = unix_stream::from_fd(ends[1]).value();
    for (int round = 0; round < 3; ++round) {
      auto stream = shared(unix_stream::from_fd(ends[0]).value());
      CHECK((::fcntl(ends[0], F_GETFL) & O_NONBLOCK) != 0);
      auto reading = start_read<TestType>(stream);
      next_turn();
      CHECK(peer.write_all("in").has_value());
      CHECK(reading.get() == "in");
      auto interrupted = start_read<TestType>(stream);
      next_turn();
      CHECK(stream->release() == ends[0]);
      CHECK(interrupted.get() == closed_text);
      CHECK_FALSE(stream->is_open());
      CHECK(stream->release() == -1);
      CHECK(::write(ends[0], "by hand", 7) == 7);
      CHECK(read_text(peer) == "by hand");
    }
    CHECK(eventer::event_loop::current().stats().registrations == 0);
    ::close(ends[0]);
    CHECK(read_text(peer) == end_of_stream_text);
  });
}

TEST_CASE("a listening socket is adopted and given back") {
  const std::string address = fresh_address(true);
  eventer::run([&address] {
    auto first = unix_acceptor::listen(address).value();
    CHECK(first.accept(1ms).error() == std::errc::timed_out);
    const int fd = first.release();
    CHECK_FALSE(first.is_open());
    CHECK(first.release() == -1);
    auto second = unix_acceptor::from_fd(fd).value();
    auto client = unix_stream::connect(address, 1s).value();
    auto server = second.accept(1s).value();
    CHECK(server.write_all("hello").has_value());
    CHECK(read_text(client) == "hello");
  });
  CHECK(unix_acceptor::from_fd(-1).error() == std::errc::bad_file_descriptor);
}

TEST_CASE("unix sockets work on plain threads as well") {
  const std::string address = fresh_address(true);
  auto acceptor = unix_acceptor::listen(address).value();
  std::thread client([&address] {
    auto stream = unix_stream::connect(address, 5s).value();
    std::string text;
    if (stream.write_all("ques") && stream.write_all("tion\n")) (void)stream.read_until(text, "\n", 100, 5s);
    (void)stream.write_all(text);
  });
  auto server = acceptor.accept(5s).value();
  std::string text;
  CHECK(server.read_until(text, "\n", 100, 5s).value() == "question\n");
  const eventer::const_buffer parts[] = {"ans", "", "wer\n"};
  CHECK(server.write_all(std::span<const eventer::const_buffer>(parts), 5s).value() == 7);
  std::array<char, 7> back;
  CHECK(server.read_exact(back, 5s).value() == 7);
  CHECK(std::string_view(back.data(), 7) == "answer\n");
  CHECK(read_text(server) == end_of_stream_text);
  client.join();
}

TEST_CASE("pairs and pipes that can't be had say why, and leave no descriptor open") {
  const auto before = open_descriptors();
  {
    faults injected;
    for (const int error : {EMFILE, ENFILE, ENOMEM}) {
      injected.fail(call::socketpair, error);
      CHECK(unix_stream::pair().error().value() == error);
      injected.fail(call::pipe2, error);
      CHECK(unix_stream::pipe().error().value() == error);
      injected.fail(call::socket, error);
      CHECK(unix_stream::connect("unix:@nobody").error().value() == error);
    }
  }
  CHECK(open_descriptors() == before);
}

TEST_CASE("descriptors of every kind are closed with their streams, and are not inherited by programs") {
  const auto before = open_descriptors();
  {
    auto pair = unix_stream::pair().value();
    auto pipe = unix_stream::pipe().value();
    const std::string address = fresh_address(true);
    auto acceptor = unix_acceptor::listen(address).value();
    auto client = unix_stream::connect(address).value();
    auto server = acceptor.accept(1s).value();
    for (const unix_stream* each : {&pair.first, &pair.second, &pipe.first, &pipe.second, &client, &server}) {
      CHECK((::fcntl(each->native_handle(), F_GETFD) & FD_CLOEXEC) != 0);
      CHECK((::fcntl(each->native_handle(), F_GETFL) & O_NONBLOCK) != 0);
    }
  }
  CHECK(open_descriptors() == before);
}
