// Every system call of a small client and server fails once, in turn, with every errno that a kernel may have in store:
// nothing hangs, no descriptor stays open, and a client that tries again gets its answer.

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "../captured_log.hpp"
#include "../catch.hpp"
#include "../one_fault.hpp"
#include "../plain_descriptors.hpp"
#include "../two_worlds.hpp"
#include "eventer/eventer.hpp"

using namespace std::chrono_literals;
using call = eventer::syscalls::call;

namespace {

const call calls[] = {
    call::accept4,        call::bind,
    call::close,          call::connect,
    call::epoll_create1,  call::epoll_ctl,
    call::epoll_wait,     call::eventfd,
    call::fcntl,          call::fstat,
    call::getpeername,    call::getsockname,
    call::getsockopt,     call::listen,
    call::open,           call::poll,
    call::read,           call::readv,
    call::recv,           call::send,
    call::sendmsg,        call::setsockopt,
    call::shutdown,       call::socket,
    call::timerfd_create, call::timerfd_settime,
    call::write,          call::writev,
};
const int errors[] = {EINTR, EAGAIN, EMFILE, ENOMEM, ECONNRESET, EPIPE, EPERM};

constexpr auto limit = 5s;
constexpr int attempts = 5;
const std::string question(3000, '?');

// A server that echoes, in each world; it ends with its acceptor.
template <class Acceptor>
void start_server(stackful, std::shared_ptr<Acceptor> acceptor) {
  (void)eventer::spawn([acceptor] {
    while (auto client = acceptor->accept())
      (void)eventer::spawn([stream = std::move(*client)]() mutable {
        std::array<char, 512> bytes;
        while (const auto got = stream.read_some(bytes, limit))
          if (!stream.write_all({bytes.data(), *got}, limit)) return;
      });
  });
}
template <class Stream>
fire_and_forget echo_to(Stream stream) {
  std::array<char, 512> bytes;
  for (;;) {
    const auto got = co_await stream.async_read_some(bytes, limit);
    if (!got) break;
    const auto put = co_await stream.async_write_all({bytes.data(), *got}, limit);
    if (!put) break;
  }
}
template <class Acceptor>
fire_and_forget serve(std::shared_ptr<Acceptor> acceptor) {
  for (;;) {
    auto client = co_await acceptor->async_accept();
    if (!client) break;
    echo_to(std::move(*client));
  }
}
template <class Acceptor>
void start_server(foreign, std::shared_ptr<Acceptor> acceptor) {
  eventer::event_loop::current().post([acceptor] { serve(acceptor); });
}

// One question: "ok", or what went wrong.
template <class Stream>
pending<std::string> ask(stackful, eventer::endpoint server) {
  pending<std::string> result;
  (void)eventer::spawn([result, server] {
    auto stream = Stream::connect(server, limit);
    if (!stream) return result.end("connect: " + text_of(stream.error()));
    if (const auto put = stream->write_all(question, limit); !put) return result.end("write: " + text_of(put.error()));
    std::string answer(question.size(), ' ');
    if (const auto got = stream->read_exact(answer, limit); !got) return result.end("read: " + text_of(got.error()));
    result.end(answer == question ? "ok" : "other bytes");
  });
  return result;
}
template <class Stream>
fire_and_forget ask_and_tell(pending<std::string> result, eventer::endpoint server) {
  std::string how = "ok";
  auto stream = co_await Stream::async_connect(server, limit);
  if (stream) {
    std::string answer(question.size(), ' ');
    const auto put = co_await stream->async_write_all(question, limit);
    const auto got = co_await stream->async_read_exact(answer, put ? eventer::time_limit(limit) : 0s);
    if (!put)
      how = "write: " + text_of(put.error());
    else if (!got)
      how = "read: " + text_of(got.error());
    else if (answer != question)
      how = "other bytes";
  } else {
    how = "connect: " + text_of(stream.error());
  }
  result.end(how);
}
template <class Stream>
pending<std::string> ask(foreign, eventer::endpoint server) {
  pending<std::string> result;
  eventer::event_loop::current().post([result, server] { ask_and_tell<Stream>(result, server); });
  return result;
}

// What became of it: the answers in turn, or how it ended earlier.
template <class World, class Stream>
std::string outcome(const std::string& address) {
  using acceptor_type = eventer::basic_acceptor<Stream>;
  eventer::manual_clock time;
  std::string all;
  try {
    eventer::run(
        [&all, &address] {
          auto listening = acceptor_type::listen(address);
          if (!listening) return (void)(all = "listen");
          auto acceptor = shared(std::move(*listening));
          start_server(World(), acceptor);
          const auto where = acceptor->local();
          if (where.family() == AF_UNSPEC) return (void)(all = "local");
          for (int i = 0; i < attempts && all != "ok"; ++i) {
            if (!acceptor->is_open()) return (void)(all = "not listening");
            all = ask<Stream>(World(), where).get();
          }
          acceptor->close();
        },
        {.clock = &time});
  } catch (const std::system_error& failure) {
    all = "thrown: " + text_of(failure.code());
  }
  return all;
}

// A fault that a kernel does not have for this call may end the server or the loop, if it says so.
bool may_end_badly(call which, int error, const std::string& how) {
  switch (which) {
    case call::accept4:
      return how == "not listening" && (error == ECONNRESET || error == EPIPE);
    case call::epoll_wait:
    case call::epoll_create1:
    case call::eventfd:
    case call::epoll_ctl:
      return how.starts_with("thrown: ");
    case call::bind:
    case call::listen:
    case call::socket:
      return how == "listen";
    case call::getsockname:
      return how == "local";
    default:
      return false;
  }
}

}  // namespace

TEMPLATE_TEST_CASE("any system call may fail once: nothing hangs, leaks or is lost, over unix sockets",
                   "[faults][epoll]", stackful, foreign) {
  const captured_log log;
  const auto before = open_descriptors();
  int happened = 0;
  for (const call which : calls) {
    for (const int error : errors) {
      for (int nth = 1;; ++nth) {
        CAPTURE(static_cast<int>(which), std::generic_category().message(error), nth);
        std::string how;
        {
          const one_fault fault(which, error, nth);
          how = outcome<TestType, eventer::unix_stream>("unix:@eventer-faults-" + std::to_string(::getpid()));
          if (!fault.happened()) break;
        }
        ++happened;
        CAPTURE(how);
        CHECK((how == "ok" || may_end_badly(which, error, how)));
        REQUIRE(open_descriptors() == before);
      }
    }
  }
  CHECK(happened > 200);
}

TEMPLATE_TEST_CASE("three failures in a row are survived as one is", "[faults]", stackful, foreign) {
  const captured_log log;
  const auto before = open_descriptors();
  for (const call which : {call::accept4, call::connect, call::socket, call::recv, call::send, call::epoll_ctl}) {
    for (const int error : errors) {
      for (int nth = 2; nth < 6; ++nth) {
        CAPTURE(static_cast<int>(which), std::generic_category().message(error), nth);
        const one_fault fault(which, error, nth, 3);
        const std::string how =
            outcome<TestType, eventer::unix_stream>("unix:@eventer-faults-" + std::to_string(::getpid()));
        CAPTURE(how);
        CHECK((how == "ok" || may_end_badly(which, error, how)));
        REQUIRE(open_descriptors() == before);
      }
    }
  }
}

TEMPLATE_TEST_CASE("any system call may fail once over TCP too", "[faults]", stackful, foreign) {
  const captured_log log;
  const auto before = open_descriptors();
  for (const call which : {call::accept4, call::connect, call::epoll_ctl, call::epoll_wait, call::getsockopt,
                           call::getpeername, call::recv, call::send, call::setsockopt, call::socket}) {
    for (const int error : errors) {
      for (int nth = 1; nth < 6; ++nth) {
        CAPTURE(static_cast<int>(which), std::generic_category().message(error), nth);
        const one_fault fault(which, error, nth);
        const std::string how = outcome<TestType, eventer::tcp_stream>("127.0.0.1:0");
        CAPTURE(how);
        CHECK((how == "ok" || may_end_badly(which, error, how)));
        REQUIRE(open_descriptors() == before);
      }
    }
  }
}
