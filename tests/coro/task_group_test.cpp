// task_group: coroutines that end with their scope. What a test's coroutines share is on the test's own stack.
#include <memory>
#include <stdexcept>
#include <string>

#include "../captured_log.hpp"
#include "../catch.hpp"
#include "../child.hpp"
#include "../virtual_run.hpp"
#include "eventer/eventer.hpp"

using namespace std::chrono_literals;

namespace {

struct note_at_end {
  std::string& to;
  const char* what;
  ~note_at_end() { to += what; }
};

}  // namespace

TEST_CASE("join waits for all, and the group may be used again") {
  int done = 0;
  run_virtually([&] {
    eventer::task_group all;
    for (int round = 1; round <= 2; ++round) {
      for (int i = 0; i < 10; ++i)
        all.spawn([&done, i] {
          eventer::sleep_for(std::chrono::milliseconds(i));
          ++done;
        });
      CHECK(all.size() == 10);
      all.join();
      CHECK(done == 10 * round);
      CHECK(all.size() == 0);
    }
    all.join();
  });
}

TEST_CASE("the first failure cancels the others, and is thrown when all of them have ended") {
  std::string order;
  run_virtually([&] {
    eventer::task_group all;
    all.spawn([&order] {
      const note_at_end note{order, "long "};
      eventer::sleep_for(1h);
    });
    all.spawn([&order] {
      const note_at_end note{order, "slow to end "};
      try {
        eventer::sleep_for(1h);
      } catch (const eventer::cancelled&) {
        const eventer::cancel_shield still;
        eventer::sleep_for(10ms);
        throw;
      }
    });
    all.spawn([] {
      eventer::sleep_for(1ms);
      throw std::runtime_error("first");
    });
    all.spawn([] {
      try {
        eventer::sleep_for(1h);
      } catch (const eventer::cancelled&) {
        throw std::runtime_error("second");
      }
    });
    CHECK_THROWS_WITH(all.join(), "first");
    order += "joined";
    CHECK(all.size() == 0);
    all.join();  // its failure was taken
  });
  CHECK(order == "long slow to end joined");
}

TEST_CASE("one that is spawned after the first failure, or has not begun, does not run") {
  auto token = std::make_shared<int>();
  bool ran = false;
  run_virtually([&] {
    eventer::task_group all;
    all.spawn([] { throw std::runtime_error("fails"); });
    all.spawn([&ran, token] { ran = true; });
    CHECK_THROWS_WITH(all.join(), "fails");
    CHECK_FALSE(ran);
    CHECK(token.use_count() == 1);
    all.spawn([&ran, token] { ran = true; });
    all.cancel();
    all.join();
    CHECK_FALSE(ran);
    all.spawn([&ran] { ran = true; });
    all.join();
    CHECK(ran);
  });
  CHECK(token.use_count() == 1);
}

TEST_CASE("leaving the scope cancels and joins what still runs, by return and by exception") {
  std::string order;
  run_virtually([&] {
    const auto scope = [&order](bool throws) {
      eventer::task_group all;
      all.spawn([&order] {
        const note_at_end note{order, "ended "};
        eventer::sleep_for(1h);
      });
      eventer::yield();
      if (throws) throw std::runtime_error("out");
    };
    scope(false);
    order += "left ";
    CHECK_THROWS_WITH(scope(true), "out");
    order += "left";
  });
  CHECK(order == "ended left ended left");
}

TEST_CASE("a joiner that is cancelled, or whose deadline is over, cancels the group and waits for its end") {
  std::string order;
  run_virtually([&] {
    auto joins = eventer::spawn([&order] {
      eventer::task_group all;
      all.spawn([&order] {
        const note_at_end note{order, "ended "};
        eventer::sleep_for(1h);
      });
      try {
        all.join();
      } catch (const eventer::cancelled&) {
        order += all.size() == 0 ? "cancelled " : "too early ";
        throw;
      }
    });
    eventer::yield();
    joins.cancel();
    CHECK(joins.try_join().error() == std::errc::operation_canceled);

    eventer::task_group all;
    all.spawn([&order] {
      const note_at_end note{order, "ended "};
      eventer::sleep_for(1h);
    });
    const eventer::deadline_scope soon(1ms);
    CHECK(all.try_join().error() == std::errc::timed_out);
    CHECK(all.size() == 0);
  });
  CHECK(order == "ended cancelled ended ");
}

TEST_CASE("cancelling ends the group without an error, and groups nest") {
  int ended = 0;
  run_virtually([&] {
    eventer::task_group outer;
    for (int i = 0; i < 3; ++i)
      outer.spawn([&ended] {
        eventer::task_group inner;
        for (int k = 0; k < 3; ++k)
          inner.spawn([&ended] {
            struct count {
              int& ended;
              ~count() { ++ended; }
            } const at_end{ended};
            eventer::sleep_for(1h);
          });
        inner.join();
      });
    eventer::sleep_for(1ms);
    outer.cancel();
    outer.join();
    CHECK(ended == 9);
  });
}

TEST_CASE("tasks, functions with arguments and options run in a group; one may add to it from inside") {
  std::string order;
  run_virtually([&] {
    eventer::task_group all;
    all.spawn(
        [](std::string* out) -> eventer::task<int> {
          co_await eventer::after(1ms);
          *out += "task ";
          co_return 3;
        },
        &order);
    all.spawn(
        {.name = "named"},
        [&order](std::unique_ptr<int> value) {
          order += eventer::this_coroutine::name() + std::to_string(*value) + ' ';
        },
        std::make_unique<int>(5));
    const auto inside = std::make_shared<eventer::task_group>();
    inside->spawn([&order, inside] { inside->spawn([&order] { order += "inner "; }); });
    inside->join();
    all.join();
  });
  CHECK(order == "named5 inner task ");
}

TEST_CASE("an exception of a group that nobody joins goes to the loop's handler") {
  static std::string heard;
  heard.clear();
  eventer::manual_clock clock;
  eventer::run(
      [] {
        try {
          eventer::task_group all;
          all.spawn([] { throw std::runtime_error("nobody's"); });
          eventer::yield();
          throw 1;
        } catch (int) {
        }
      },
      {.unhandled_exception =
           [](const char* name, std::exception_ptr failure) {
             try {
               std::rethrow_exception(failure);
             } catch (const std::exception& what) {
               heard = std::string(name) + ": " + what.what();
             }
           },
       .clock = &clock});
  CHECK(heard == "main: nobody's");
}

TEST_CASE("try_join gives a failure as a code") {
  run_virtually([] {
    eventer::task_group all;
    all.spawn([] { throw std::system_error(std::make_error_code(std::errc::broken_pipe)); });
    CHECK(all.try_join().error() == std::errc::broken_pipe);
    all.spawn([] { throw 5; });
    CHECK(all.try_join().error() == eventer::errc::exception);
    CHECK(all.try_join().has_value());
  });
}

TEST_CASE("a loop that ends unwinds groups from the inside, 1,000 in each other") {
  int ended = 0;
  struct count {
    int& ended;
    ~count() { ++ended; }
  };
  struct nest {
    int& ended;
    int depth;
    void operator()() {
      eventer::task_group inner;
      const count at_end{ended};
      if (depth > 0) inner.spawn(nest{ended, depth - 1});
      inner.join();
      eventer::sleep_for(1h);
    }
  };
  eventer::run([&] {
    eventer::spawn(nest{ended, 999});
    for (int i = 0; i < 1010; ++i) eventer::yield();
  });
  CHECK(ended == 1000);
}

TEST_CASE("a task_group outside a coroutine is refused with a sentence") {
  const auto result = run_in_child([] { eventer::task_group all; });
  CHECK(result.signal == SIGABRT);
  CHECK(contains(result.output, "a task_group outside a coroutine"));
}

TEST_CASE("after a join that failed in any way a group may be used again, and a failure comes before the time's end") {
  run_virtually([] {
    eventer::task_group all;
    const auto ran = std::make_shared<int>(0);
    all.spawn([] { eventer::sleep_for(1h); });
    {
      const eventer::deadline_scope soon(1ms);
      CHECK(all.try_join().error() == std::errc::timed_out);
    }
    all.spawn([ran] { ++*ran; });
    all.join();
    CHECK(*ran == 1);
    all.spawn([] {
      try {
        eventer::sleep_for(1h);
      } catch (const eventer::cancelled&) {
        throw std::runtime_error("while it ended");
      }
    });
    {
      const eventer::deadline_scope soon(1ms);
      CHECK_THROWS_WITH(all.join(), "while it ended");
    }
    all.spawn([ran] { ++*ran; });
    all.join();
    CHECK(*ran == 2);
    all.cancel();
    all.join();
    all.spawn([ran] { ++*ran; });
    all.join();
    CHECK(*ran == 3);
  });
}

TEST_CASE("a group's coroutine has ended when its closure is gone") {
  std::string order;
  struct slow_to_go {
    std::string* to;
    explicit slow_to_go(std::string& out) : to(&out) {}
    slow_to_go(slow_to_go&& other) noexcept : to(std::exchange(other.to, nullptr)) {}
    ~slow_to_go() {
      if (to == nullptr) return;
      eventer::sleep_for(1ms);
      *to += "closure ";
    }
  };
  run_virtually([&order] {
    eventer::task_group all;
    all.spawn([held = slow_to_go(order)] {});
    all.join();
    order += "joined";
  });
  CHECK(order == "closure joined");
}
