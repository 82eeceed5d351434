// The frames of C++20 coroutines: where they lie, and what becomes of those that are destroyed while they wait.
#include <array>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "../captured_log.hpp"
#include "../catch.hpp"
#include "../child.hpp"
#include "../foreign_coroutines.hpp"
#include "eventer/eventer.hpp"
#include "frame_places.hpp"
#include "promise_types.hpp"

using namespace std::chrono_literals;
using eventer::task;

namespace {

eventer::scheduler& here() { return *eventer::scheduler::current(); }

struct stream_pair {
  std::shared_ptr<eventer::unix_stream> near, far;
};
stream_pair make_pair() {
  auto both = eventer::unix_stream::pair().value();
  return {std::make_shared<eventer::unix_stream>(std::move(both.first)),
          std::make_shared<eventer::unix_stream>(std::move(both.second))};
}
std::string read_text(eventer::stream& from) {
  std::array<char, 16> bytes;
  const auto got = from.read_some(bytes, 2s);
  return got ? std::string(bytes.data(), *got) : "<" + got.error().message() + ">";
}

// What the coroutines of this file write down: that they went on, and how.
struct record {
  std::string text;
  int unwound = 0;
};
struct at_end {
  std::shared_ptr<record> to;
  ~at_end() { ++to->unwound; }
};

// Awaits `what` when it is started, and says how that ended.
template <class Make>
by_hand waits_for(std::shared_ptr<record> to, Make make) {
  const at_end guard{to};
  try {
    if constexpr (std::is_void_v<decltype(eventer::await(make()))>)
      co_await make();
    else
      (void)co_await make();
    to->text += "went on";
  } catch (const eventer::cancelled&) {
    to->text += "cancelled";
  }
}
// Starts one, lets it wait, destroys it, and looks whether anything is left of it.
template <class Make>
void check_destroyed_while_it_waits(Make make) {
  const auto log = std::make_shared<record>();
  eventer::sleep_for(0ms);
  const auto timers = eventer::event_loop::current().stats().timers;
  {
    const auto waiting = std::make_shared<by_hand>(waits_for(log, make));
    waiting->handle.resume();
    eventer::sleep_for(0ms);
    CHECK(log->text.empty());
    CHECK(here().continuation_count() > 0);
  }
  CHECK(log->unwound == 1);
  eventer::sleep_for(1ms);
  CHECK(log->text.empty());
  CHECK(here().continuation_count() == 0);
  CHECK(eventer::event_loop::current().stats().timers == timers);
}

}  // namespace

TEST_CASE("no frame that is awaited lies on a shared stack", "[frames]") {
  const captured_log quiet;
  frame_places::misplaced.clear();
  for (const auto& each : frame_places::awaited) {
    CAPTURE(each.name);
    CHECK(frame_places::is_right(each));
    CHECK(frame_places::misplaced.empty());
  }
}

TEST_CASE("a frame on a shared stack that waits for the loop is refused with a sentence", "[frames]") {
  if (eventer::context::running_on_valgrind()) EVENTER_SKIP("here every coroutine has a stack of its own");
  for (const auto& each : frame_places::started_by_hand) {
    CAPTURE(each.name);
    frame_places::misplaced.clear();
    const auto result = run_in_child([&each] { std::_Exit(frame_places::is_right(each) ? 0 : 1); });
    if (result.exit_status == 0) EVENTER_SKIP("this build puts no frame onto a shared stack");
    CHECK(result.signal == SIGABRT);
    CHECK(contains(result.output, frame_places::sentence));
  }
}

TEST_CASE("a coroutine that is destroyed while it waits is never called again", "[frames]") {
  const captured_log quiet;
  eventer::run([] {
    SECTION("for a time") {
      check_destroyed_while_it_waits([] { return eventer::after(1h); });
    }
    SECTION("for a descriptor that others read") {
      const auto pair = make_pair();
      check_destroyed_while_it_waits([pair] { return eventer::readable(pair.near->native_handle(), 1h); });
      CHECK(pair.far->write_all("text"));
      CHECK(eventer::await(eventer::readable(pair.near->native_handle(), 2s)));
    }
    SECTION("for bytes, which another one reads then") {
      const auto pair = make_pair();
      const auto bytes = std::make_shared<std::array<char, 16>>();
      check_destroyed_while_it_waits([pair, bytes] { return pair.near->async_read_some(*bytes, 1h); });
      CHECK(pair.far->write_all("text"));
      CHECK(read_text(*pair.near) == "text");
    }
    SECTION("for room, which another one gets then") {
      const auto pair = make_pair();
      const auto much = std::make_shared<std::string>(std::size_t{1} << 20, 'x');
      check_destroyed_while_it_waits([pair, much] { return pair.near->async_write_all(*much, 1h); });
      auto reader = eventer::spawn([pair] {
        while (read_text(*pair.far).find('|') == std::string::npos) {
        }
      });
      CHECK(pair.near->write_all("|", 2s));
      reader.join();
    }
    SECTION("for a connection") {
      const auto acceptor =
          std::make_shared<eventer::tcp_acceptor>(eventer::tcp_acceptor::listen("127.0.0.1:0").value());
      check_destroyed_while_it_waits([acceptor] { return acceptor->async_accept(1h); });
      auto client = eventer::tcp_stream::connect(acceptor->local()).value();
      CHECK(acceptor->accept(2s));
    }
    SECTION("for a coroutine whose handle others keep") {
      const auto handle = std::make_shared<eventer::join_handle<void>>(eventer::spawn([] { eventer::sleep_for(1h); }));
      check_destroyed_while_it_waits([handle]() -> auto& { return *handle; });
      CHECK_FALSE(handle->done());
      handle->cancel();
      CHECK(handle->try_join().error() == std::errc::operation_canceled);
    }
    SECTION("for a task") {
      check_destroyed_while_it_waits([] { return [](int) -> task<> { co_await eventer::after(1h); }(1); });
    }
    SECTION("for the first of several, and what was moved in is cancelled") {
      const auto log = std::make_shared<record>();
      check_destroyed_while_it_waits([log] {
        const auto sleeps = [](std::shared_ptr<record> to) -> task<> {
          const at_end guard{to};
          co_await eventer::after(1h);
        };
        return eventer::async_when_any(eventer::after(1h), sleeps(log));
      });
      CHECK(log->unwound == 1);
      CHECK(eventer::event_loop::current().stats().coroutines == 1);
    }
    SECTION("for all of several, and what was moved in is cancelled") {
      const auto log = std::make_shared<record>();
      const auto pair = make_pair();
      const auto bytes = std::make_shared<std::array<char, 16>>();
      check_destroyed_while_it_waits([log, pair, bytes] {
        auto sleeper = eventer::spawn([log] {
          const at_end guard{log};
          eventer::sleep_for(1h);
        });
        return eventer::async_when_all(std::move(sleeper), pair.near->async_read_some(*bytes));
      });
      CHECK(log->unwound == 1);
      CHECK(eventer::event_loop::current().stats().coroutines == 1);
    }
  });
}

TEST_CASE("a coroutine that is destroyed while it waits for another thread is never called again", "[frames]") {
  const captured_log quiet;
  eventer::event_loop other;
  std::thread runner([&other] {
    const eventer::work_guard guard(other);
    other.run();
  });
  eventer::run([&other] {
    const auto log = std::make_shared<record>();
    for (int i = 0; i < 200; ++i) {
      auto waiting = std::make_unique<by_hand>(waits_for(log, [&other] { return other.spawn([] { return 1; }); }));
      waiting->handle.resume();
      for (int j = 0; j < i % 5; ++j) std::this_thread::yield();
      if (i % 3 == 0) eventer::yield();
      waiting.reset();
    }
    const auto ended = log->text.size();
    CHECK(log->unwound == 200);
    eventer::sleep_for(2ms);
    CHECK(log->text.size() == ended);
    CHECK(here().continuation_count() == 0);
  });
  other.stop();
  runner.join();
}

TEST_CASE("a coroutine that is destroyed while it is ready is not called", "[frames]") {
  eventer::run([] {
    const auto log = std::make_shared<record>();
    // The spawned one ends, and the waiting one becomes ready behind this one, which destroys it.
    const auto waiting = std::make_shared<std::unique_ptr<by_hand>>();
    *waiting = std::make_unique<by_hand>(waits_for(log, [] { return eventer::spawn([] {}); }));
    (*waiting)->handle.resume();
    eventer::yield();
    CHECK(here().ready_count() == 1);
    waiting->reset();
    CHECK(log->unwound == 1);
    eventer::sleep_for(1ms);
    CHECK(log->text.empty());
    CHECK(here().continuation_count() == 0);

    // The same among many, in the order that a seed draws.
    std::vector<std::unique_ptr<by_hand>> all;
    for (int i = 0; i < 100; ++i) {
      all.push_back(std::make_unique<by_hand>(waits_for(log, [] { return eventer::spawn([] {}); })));
      all.back()->handle.resume();
    }
    eventer::yield();
    for (std::size_t i = 0; i < all.size(); i += 2) all[i].reset();
    eventer::sleep_for(1ms);
    CHECK(log->text.size() == 50 * std::string("went on").size());
  });
}

TEST_CASE("coroutines of others that wait when their loop ends hear of it", "[frames]") {
  const captured_log quiet;
  const auto log = std::make_shared<record>();
  std::vector<std::unique_ptr<by_hand>> owned;
  {
    eventer::event_loop loop;
    const auto pair = make_pair();
    const auto bytes = std::make_shared<std::array<char, 16>>();
    const auto start = [&](auto make) {
      owned.push_back(std::make_unique<by_hand>(waits_for(log, make)));
      loop.post([waiting = owned.back().get()] { waiting->handle.resume(); });
    };
    const auto says_error = [](std::shared_ptr<record> to, auto make) -> fire_and_forget {
      const at_end guard{to};
      const auto result = co_await make();
      to->text += result.error() == std::errc::operation_canceled ? "canceled " : "? ";
    };
    start([] { return eventer::after(1h); });
    start([] { return eventer::spawn([] { eventer::sleep_for(1h); }); });
    start([] { return eventer::async_when_any(eventer::after(1h), eventer::after(2h)); });
    start([] { return [](int) -> task<> { co_await eventer::after(1h); }(1); });
    loop.post([=] { says_error(log, [=] { return pair.near->async_read_some(*bytes); }); });
    loop.post([=] { says_error(log, [=] { return eventer::readable(pair.far->native_handle()); }); });
    loop.post([&loop] { (void)loop.after(1ms, [&loop] { loop.stop(); }); });
    loop.run();
    CHECK(log->text.empty());
  }
  const auto count = [&](const std::string& word) {
    std::size_t found = 0;
    for (auto at = log->text.find(word); at != std::string::npos; at = log->text.find(word, at + 1)) ++found;
    return found;
  };
  CHECK(count("cancelled") == 4);
  CHECK(count("canceled ") == 2);
  CHECK(log->unwound == 6);
  for (const auto& each : owned) CHECK(each->handle.done());
}

TEST_CASE("a coroutine of others may wait again when its loop ends, and is told again", "[frames]") {
  const auto log = std::make_shared<record>();
  {
    eventer::event_loop loop;
    loop.post([log] {
      [](std::shared_ptr<record> to) -> fire_and_forget {
        for (int i = 0; i < 3; ++i) {
          try {
            co_await eventer::after(1h);
          } catch (const eventer::cancelled&) {
            to->text += 'c';
          }
        }
      }(log);
    });
    loop.post([&loop] { loop.stop(); });
    loop.run();
  }
  CHECK(log->text == "ccc");
}

TEST_CASE("what a coroutine of others lets through leaves run, as what a callback throws does", "[frames]") {
  struct lets_through {
    struct promise_type {
      lets_through get_return_object() noexcept { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
      std::suspend_never initial_suspend() noexcept { return {}; }
      std::suspend_always final_suspend() noexcept { return {}; }
      void return_void() noexcept {}
      void unhandled_exception() { throw; }
    };
    std::coroutine_handle<promise_type> handle;
  };
  eventer::event_loop loop;
  const auto kept = std::make_shared<lets_through>();
  loop.post([kept] {
    *kept = []() -> lets_through {
      co_await eventer::after(1ms);
      throw std::runtime_error("let through");
    }();
  });
  CHECK_THROWS_WITH(loop.run(), "let through");
  kept->handle.destroy();
  bool goes_on = false;
  (void)loop.spawn([&goes_on] {
    eventer::sleep_for(1ms);
    goes_on = true;
  });
  loop.run();
  CHECK(goes_on);
}
