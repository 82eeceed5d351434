// The end of coroutines that are parked in I/O: cancelled, with their loop, by exceptions; and exceptions over real
// I/O.
#include <sys/resource.h>

#include <memory>
#include <stdexcept>

#include "../catch.hpp"
#include "../faults.hpp"
#include "../sockets.hpp"
#include "eventer/eventer.hpp"

using namespace std::chrono_literals;
using eventer::tcp_stream;

TEST_CASE("destroying a loop with 1,000 coroutines parked in reads runs their destructors and closes their descriptors",
          "[epoll]") {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur < 1100) EVENTER_SKIP("needs 1,100 descriptors (ulimit -n)");

  const auto token = std::make_shared<int>(0);
  int unwound = 0;
  const int next_free = eventer::unique_fd(::dup(0)).get();
  {
    auto pipe = adopted_pipe();
    eventer::event_loop loop;
    for (int i = 0; i < 1000; ++i)
      (void)loop.spawn(
          [token, &unwound, stream = tcp_stream::from_fd(::dup(pipe.reader.native_handle())).value()]() mutable {
            struct count {
              int* all;
              ~count() { ++*all; }
            } local{&unwound};
            std::array<char, 200> bytes;
            (void)stream.read_some(bytes);
            FAIL("read from a pipe that nobody writes to");
          });
    while (loop.stats().registrations < 1000) loop.poll();
    CHECK(unwound == 0);
  }
  CHECK(unwound == 1000);
  CHECK(token.use_count() == 1);
  CHECK(eventer::unique_fd(::dup(0)).get() == next_free);
}

TEST_CASE("cancelling ends a read and a write that wait, and the stream can be used by another") {
  eventer::run([] {
    auto pair = connected_pair();
    const auto stream = std::make_shared<tcp_stream>(std::move(pair.server));
    const std::string block(64 << 10, 'f');
    while (::send(stream->native_handle(), block.data(), block.size(), MSG_NOSIGNAL | MSG_DONTWAIT) > 0) {
    }
    auto reader = eventer::spawn([stream] { (void)read_text(*stream, 1h); });
    auto borrower =
        eventer::spawn([stream = std::make_shared<tcp_stream>(std::move(connected_pair().server))]() mutable {
          (void)stream->read_borrowed(1h);
        });
    auto writer = eventer::spawn([stream] { (void)stream->write_all("x", 1h); });
    next_turn();
    reader.cancel();
    writer.cancel();
    borrower.cancel();
    CHECK(reader.try_join().error() == std::errc::operation_canceled);
    CHECK(writer.try_join().error() == std::errc::operation_canceled);
    (void)borrower.try_join();
    CHECK(eventer::event_loop::current().stats().timers == 0);
    CHECK(pair.client.write_all("next").has_value());
    CHECK(read_text(*stream) == "next");
  });
}

TEST_CASE("a cancelled coroutine says farewell from a destructor, unless that has to wait") {
  eventer::run([] {
    auto pair = connected_pair();
    auto result = std::make_shared<std::error_code>();
    auto polite = eventer::spawn([stream = std::move(pair.server), result]() mutable {
      struct farewell {
        tcp_stream& stream;
        std::shared_ptr<std::error_code> result;
        ~farewell() {
          (void)stream.write_all("farewell");
          std::array<char, 8> bytes;
          *result = stream.read_some(bytes).error();
        }
      } local{stream, result};
      (void)read_text(stream, 1h);
    });
    eventer::yield();
    polite.cancel();
    CHECK(polite.try_join().error() == std::errc::operation_canceled);
    CHECK(*result == std::errc::operation_canceled);
    CHECK(read_text(pair.client) == "farewell");
  });
}

TEST_CASE("reading and writing inside catch blocks keeps each coroutine's exceptions apart") {
  eventer::run([] {
    std::vector<eventer::join_handle<std::string>> all;
    for (int i = 0; i < 20; ++i) {
      auto pair = connected_pair();
      (void)eventer::spawn(echo, std::move(pair.server));
      all.push_back(eventer::spawn([client = std::move(pair.client), i]() mutable {
        const std::string mine = std::to_string(i);
        try {
          throw std::runtime_error("outer " + mine);
        } catch (const std::exception& outer) {
          if (!client.write_all(mine) || read_text(client) != mine) return std::string("no echo");
          try {
            eventer::spawn([mine] { throw std::runtime_error("inner " + mine); }).join();
          } catch (...) {
            if (!client.write_all("more") || read_text(client) != "more") return std::string("no echo");
            try {
              throw;
            } catch (const std::runtime_error& inner) {
              return std::string(inner.what()) + " in " + outer.what();
            }
          }
        }
        return std::string("nothing thrown");
      }));
    }
    for (std::size_t i = 0; i < all.size(); ++i) {
      const std::string number = std::to_string(i);
      CHECK(all[i].join() == "inner " + number + " in outer " + number);
    }
    CHECK(std::uncaught_exceptions() == 0);
  });
}

TEST_CASE("an exception out of a coroutine closes its stream, and its peer sees the end") {
  eventer::run([] {
    auto pair = connected_pair();
    auto failing = eventer::spawn([stream = std::move(pair.server)]() mutable {
      (void)stream.write_all("before ");
      if (read_text(stream) == "go") throw std::runtime_error("while serving");
    });
    CHECK(read_text(pair.client) == "before ");
    CHECK(pair.client.write_all("go").has_value());
    CHECK_THROWS_WITH(failing.join(), "while serving");
    CHECK(read_text(pair.client) == end_of_stream_text);
  });
}

TEST_CASE("locals keep their values over reads while many others use the stacks") {
  eventer::run([] {
    std::vector<eventer::join_handle<bool>> all;
    for (int i = 0; i < 100; ++i) {
      auto pair = connected_pair();
      (void)eventer::spawn(echo, std::move(pair.server));
      all.push_back(eventer::spawn([client = std::move(pair.client), i]() mutable {
        std::array<int, 64> numbers;
        numbers.fill(i);
        for (int round = 0; round < 10; ++round) {
          std::array<int, 64> back{};
          if (!client.write_all(numbers) || !client.read_exact(back, 5s) || back != numbers) return false;
          for (int& each : numbers) ++each;
        }
        return numbers.back() == i + 10;
      }));
    }
    int good = 0;
    for (auto& each : all) good += each.join();
    CHECK(good == 100);
  });
}
