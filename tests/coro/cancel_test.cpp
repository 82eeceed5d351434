// Cancellation, and a loop that ends with coroutines parked.
#include <memory>
#include <stdexcept>
#include <string>

#include "../catch.hpp"
#include "../child.hpp"
#include "eventer/eventer.hpp"

using namespace std::chrono_literals;

TEST_CASE("cancelling unwinds a waiting coroutine, and joining it says so") {
  eventer::run([] {
    auto destroyed = std::make_shared<bool>(false);
    auto waiting = eventer::spawn([destroyed] {
      struct set_at_end {
        std::shared_ptr<bool> flag;
        ~set_at_end() { *flag = true; }
      } local{destroyed};
      eventer::sleep_for(1h);
      FAIL("slept through");
    });
    eventer::yield();
    waiting.cancel();
    CHECK_THROWS_AS(waiting.join(), std::system_error);
    CHECK(*destroyed);
    CHECK(eventer::event_loop::current().stats().timers == 0);
  });
}

TEST_CASE("a coroutine cancelled before it started never runs, and loses its closure") {
  auto token = std::make_shared<int>(0);
  eventer::run([token] {
    auto never = eventer::spawn([token] { FAIL("ran"); });
    never.cancel();
    CHECK(never.try_join().error() == std::errc::operation_canceled);
  });
  CHECK(token.use_count() == 1);
}

TEST_CASE("cancelling one that has ended does nothing") {
  eventer::run([] {
    auto done = eventer::spawn([] { return 4; });
    eventer::yield();
    done.cancel();
    CHECK(done.join() == 4);
  });
}

TEST_CASE("a swallowed cancellation is thrown again by the next await") {
  eventer::run([] {
    auto stubborn = eventer::spawn([] {
      int thrown = 0;
      for (int i = 0; i < 3; ++i) {
        try {
          eventer::sleep_for(1h);
        } catch (const eventer::cancelled&) {
          ++thrown;
        }
      }
      return thrown;
    });
    eventer::yield();
    stubborn.cancel();
    CHECK(stubborn.join() == 3);
  });
}

TEST_CASE("who joins a cancelled coroutine and is cancelled too is cancelled, which is no failure") {
  eventer::run([] {
    auto target = eventer::spawn([] { eventer::sleep_for(1h); });
    auto told = std::make_shared<bool>(false);
    auto joiner = eventer::spawn([told, target = std::move(target)]() mutable {
      target.cancel();
      eventer::yield();
      try {
        target.join();
      } catch (const eventer::cancelled&) {
        *told = true;
        throw;
      }
    });
    eventer::yield();
    joiner.cancel();
    CHECK(joiner.try_join().error() == std::errc::operation_canceled);
    CHECK(*told);
    auto alone = eventer::spawn([] {
      auto other = eventer::spawn([] { eventer::sleep_for(1h); });
      other.cancel();
      return other.try_join().error() == std::errc::operation_canceled;
    });
    CHECK(alone.join());
  });
}

TEST_CASE("nothing is cancelled inside a shield, and it is afterwards") {
  eventer::run([] {
    auto reached = std::make_shared<std::string>();
    auto shielded = eventer::spawn([reached] {
      {
        const eventer::cancel_shield shield;
        eventer::sleep_for(2ms);
        *reached += "shield ";
      }
      eventer::yield();
      *reached += "never";
    });
    eventer::yield();
    shielded.cancel();
    CHECK(shielded.try_join().error() == std::errc::operation_canceled);
    CHECK(*reached == "shield ");
  });
}

TEST_CASE("while an exception is in flight an await of a cancelled coroutine answers instead of throwing") {
  eventer::run([] {
    auto pair = std::make_shared<std::error_code>();
    auto farewell = eventer::spawn([pair] {
      struct says_goodbye {
        std::shared_ptr<std::error_code> result;
        ~says_goodbye() {
          eventer::sleep_for(1h);  // returns at once
          *result = eventer::spawn([] { eventer::sleep_for(1h); }).try_join().error();
        }
      } local{pair};
      eventer::sleep_for(1h);
    });
    eventer::yield();
    farewell.cancel();
    CHECK(farewell.try_join().error() == std::errc::operation_canceled);
    CHECK(*pair == std::errc::operation_canceled);
  });
}

TEST_CASE("destroying a loop with 1,000 parked coroutines runs their destructors") {
  auto token = std::make_shared<int>(0);
  auto unwound = std::make_shared<int>(0);
  {
    eventer::event_loop loop;
    (void)loop.spawn([token, unwound] {
      for (int i = 0; i < 1000; ++i)
        (void)eventer::spawn([token, unwound] {
          struct count {
            std::shared_ptr<int> all;
            ~count() { ++*all; }
          } local{unwound};
          std::array<char, 100> block{};
          eventer::sleep_for(1h);
          block[0] = 1;
        });
      eventer::sleep_for(1ms);
      eventer::event_loop::current().stop();
      eventer::sleep_for(1h);
    });
    loop.run();
    CHECK(loop.stats().coroutines == 1001);
    CHECK(*unwound == 0);
  }
  CHECK(*unwound == 1000);
  CHECK(token.use_count() == 1);
}

TEST_CASE("spawning while the loop unwinds destroys the closure once and joins as cancelled") {
  auto token = std::make_shared<int>(0);
  auto error = std::make_shared<std::error_code>();
  eventer::run([token, error] {
    (void)eventer::spawn([token, error] {
      struct spawns_at_end {
        std::shared_ptr<int> token;
        std::shared_ptr<std::error_code> error;
        ~spawns_at_end() {
          const eventer::cancel_shield shield;
          *error = eventer::spawn([t = token] { FAIL("ran on a stopping loop"); }).try_join().error();
        }
      } local{token, error};
      eventer::sleep_for(1h);
    });
    eventer::yield();
  });
  CHECK(token.use_count() == 1);
  CHECK(*error == std::errc::operation_canceled);
}

TEST_CASE("awaiting inside catch blocks, nested and interleaved, keeps each coroutine's exceptions") {
  eventer::run([] {
    auto order = std::make_shared<std::string>();
    const auto body = [order](char name) {
      try {
        throw std::runtime_error(std::string("outer ") + name);
      } catch (const std::exception& outer) {
        eventer::yield();
        try {
          throw std::runtime_error(std::string("inner ") + name);
        } catch (...) {
          eventer::sleep_for(1ms);
          try {
            throw;
          } catch (const std::runtime_error& again) {
            *order += again.what();
          }
        }
        *order += '/';
        *order += outer.what();
        *order += ';';
      }
    };
    auto a = eventer::spawn(body, 'a'), b = eventer::spawn(body, 'b');
    a.join();
    b.join();
    CHECK(*order == "inner a/outer a;inner b/outer b;");
    CHECK(std::uncaught_exceptions() == 0);
  });
}

TEST_CASE("uncaught_exceptions is each coroutine's own") {
  eventer::run([] {
    auto during = std::make_shared<int>(-1);
    auto other = std::make_shared<int>(-1);
    auto thrower = eventer::spawn([during] {
      struct waits {
        std::shared_ptr<int> seen;
        ~waits() {
          eventer::yield();
          *seen = std::uncaught_exceptions();
        }
      };
      const waits local{during};
      throw std::runtime_error("in flight");
    });
    auto watcher = eventer::spawn([other] { *other = std::uncaught_exceptions(); });
    (void)thrower.try_join();
    watcher.join();
    CHECK(*during == 1);
    CHECK(*other == 0);
  });
}

TEST_CASE("a coroutine that swallows every cancellation does not let its loop hang: it is named") {
  const auto result = run_in_child([] {
    eventer::run([] {
      (void)eventer::spawn({.name = "stubborn"}, [] {
        for (;;) {
          try {
            eventer::sleep_for(1h);
          } catch (...) {
          }
        }
      });
      eventer::yield();
    });
  });
  CHECK(result.signal == SIGABRT);
  CHECK(contains(result.output, "stubborn"));
  CHECK(contains(result.output, "let `eventer::cancelled` leave it"));
}

TEST_CASE("a function that throws while its loop is being destroyed ends in a line, not in terminate") {
  const auto result = run_in_child([] {
    eventer::event_loop loop;
    loop.post([] {
      (void)eventer::spawn([] {
        struct posts_at_end {
          ~posts_at_end() {
            eventer::event_loop::current().post([] { throw std::runtime_error("too late"); });
          }
        } local;
        eventer::sleep_for(1h);
      });
      (void)eventer::spawn([] {
        struct waits_at_end {
          ~waits_at_end() { eventer::yield(); }
        } local;
        eventer::sleep_for(1h);
      });
    });
    (void)loop.poll();
  });
  CHECK(result.exit_status == 0);
}
