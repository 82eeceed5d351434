// What the model test has found, each as small as it gets.
#include <memory>
#include <string>

#include "../catch.hpp"
#include "eventer/eventer.hpp"

using namespace std::chrono_literals;

TEST_CASE("who joins with a handle that another one joins with is told busy, also when that one is about to go on") {
  std::string order;
  eventer::run([&order] {
    const auto handle = std::make_shared<eventer::join_handle<int>>(eventer::spawn([] {
      eventer::yield();
      return 7;
    }));
    auto first = eventer::spawn([&order, handle] { order += std::to_string(handle->join()); });
    auto second = eventer::spawn([&order, handle] {
      while (!handle->done()) eventer::yield();
      try {
        (void)handle->join();
      } catch (const std::system_error& error) {
        order += error.code() == eventer::errc::busy ? "busy " : "? ";
      }
    });
    second.join();
    first.join();
  });
  CHECK(order == "busy 7");
}

TEST_CASE("who is cancelled while it waits in try_join or join_for gets the exception, as in any await") {
  std::string order;
  eventer::run([&order] {
    for (const bool limit : {false, true}) {
      auto joins = eventer::spawn([&order, limit] {
        auto child = eventer::spawn([] { eventer::sleep_for(1ms); });
        try {
          (void)(limit ? child.join_for(1h) : child.try_join());
          order += "went on ";
        } catch (const eventer::cancelled&) {
          order += "cancelled ";
          throw;
        }
      });
      eventer::yield();
      joins.cancel();
      (void)joins.try_join();
    }
  });
  CHECK(order == "cancelled cancelled ");
}

TEST_CASE("when a loop ends, what was moved into a when_all has ended before the one that waits goes on") {
  for (const bool hosted : {true, false}) {
    std::string order;
    eventer::manual_clock clock;
    eventer::run(
        [&] {
          const auto child = [&order]() -> eventer::task<> {
            struct note {
              std::string& to;
              ~note() { to += "child "; }
            } const at_end{order};
            try {
              co_await eventer::after(1h);
            } catch (const eventer::cancelled&) {
              eventer::cancel_shield slow;  // one more turn
              eventer::yield();
              throw;
            }
          };
          const auto parent = [&order, child]() -> eventer::task<> {
            struct note {
              std::string& to;
              ~note() { to += "parent "; }
            } const at_end{order};
            co_await eventer::async_when_all(eventer::spawn(child()), eventer::spawn(child()));
          };
          if (hosted)
            eventer::spawn(parent);
          else
            (void)[](auto what)->eventer::detail::detached_coroutine {
              try {
                co_await what();
              } catch (...) {
              }
            }
          (parent);
          eventer::yield();
        },
        {.clock = &clock});
    CHECK(order == "child child parent ");
  }
}

TEST_CASE("when a loop ends, a when_any in a shield goes on in the grace period") {
  std::string order;
  eventer::manual_clock clock;
  eventer::run(
      [&order] {
        eventer::spawn([&order] {
          const eventer::cancel_shield farewell;
          try {
            (void)eventer::when_any(eventer::after(10ms), eventer::channel<int>(0).async_receive());
            order += "done";
          } catch (const eventer::cancelled&) {
            order += "cancelled";
          }
        });
        eventer::yield();
      },
      {.clock = &clock});
  CHECK(order == "done");
}

TEST_CASE("the order that a seed gives does not depend on how fast the machine is") {
  const auto run = [](bool slow) {
    std::string order;
    eventer::manual_clock clock;
    eventer::event_loop loop({.clock = &clock, .seed = 7});
    for (int i = 0; i < 100; ++i)
      (void)loop.spawn([&order, i, slow, &loop] {
        for (int k = 0; k < 10; ++k) {
          order += std::to_string(i) + ' ';
          if (i == 3) loop.post([&order] { order += "post "; });
          if (slow && i == 3)
            for (const auto end = eventer::clock::now() + 300us; eventer::clock::now() < end;) {
            }
          eventer::yield();
        }
      });
    loop.run();
    return order;
  };
  CHECK(run(false) == run(true));
}
