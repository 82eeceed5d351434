// Awaitables of others in stackful coroutines, in tasks and on plain threads: every form that the language allows, and
// what becomes of one whose waiter is cancelled, times out or goes.
#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "../catch.hpp"
#include "../child.hpp"
#include "../foreign_coroutines.hpp"
#include "eventer/eventer.hpp"
#include "promise_types.hpp"

using namespace std::chrono_literals;
using eventer::await;
using eventer::task;

namespace {

template <class A>
using awaited = decltype(await(std::declval<A>()));

// A foreign coroutine around a task, which has no host then. A reference comes as a pointer.
template <class T>
lazy_task<T> around(task<T> what) {
  co_return co_await std::move(what);
}
template <class T>
lazy_task<T*> around(task<T&> what) {
  co_return &co_await std::move(what);
}

// Awaits what `make` makes in each kind of place, and hands `check` a function that does it.
template <class Make, class Check>
void everywhere(Make make, Check check) {
  using R = awaited<std::invoke_result_t<Make&>>;
  const auto in_task = [](Make how) -> task<R> { co_return co_await how(); };
  {
    INFO("on a plain thread");
    check([&]() -> R { return await(make()); });
  }
  eventer::run([&] {
    {
      INFO("in a stackful coroutine");
      check([&]() -> R { return await(make()); });
    }
    {
      INFO("in a task with a host");
      check([&]() -> R { return await(in_task(make)); });
    }
    {
      INFO("in a task of a foreign coroutine");
      check([&]() -> R {
        if constexpr (std::is_reference_v<R>)
          return *await(around(in_task(make)));
        else
          return await(around(in_task(make)));
      });
    }
  });
}

// --- the forms of an awaitable ---

enum class suspends { not_at_all, and_resumes_inside, and_answers_false, and_answers_true, and_transfers, elsewhere };
constexpr std::array all_ways = {suspends::not_at_all,       suspends::and_resumes_inside, suspends::and_answers_false,
                                 suspends::and_answers_true, suspends::and_transfers,      suspends::elsewhere};

void resume_on_thread(std::coroutine_handle<> waiting) {
  std::thread([waiting] { waiting.resume(); }).detach();
}

struct awaiter_base {
  explicit awaiter_base(int v, suspends h = suspends::and_answers_false) noexcept : value(v), how(h) {}
  bool await_ready() const noexcept { return how == suspends::not_at_all; }
  int await_resume() const noexcept { return value; }
  int value;
  suspends how;
};
struct suspends_with_void : awaiter_base {
  using awaiter_base::awaiter_base;
  void await_suspend(std::coroutine_handle<> waiting) const {
    how == suspends::elsewhere ? resume_on_thread(waiting) : waiting.resume();
  }
};
struct suspends_with_bool : awaiter_base {
  using awaiter_base::awaiter_base;
  bool await_suspend(std::coroutine_handle<> waiting) const {
    if (how == suspends::and_answers_false) return false;
    how == suspends::elsewhere ? resume_on_thread(waiting) : waiting.resume();
    return true;
  }
};
struct suspends_with_handle : awaiter_base {
  using awaiter_base::awaiter_base;
  std::coroutine_handle<> await_suspend(std::coroutine_handle<> waiting) const {
    if (how == suspends::elsewhere) {
      resume_on_thread(waiting);
      return std::noop_coroutine();
    }
    if (how == suspends::and_transfers) return waiting;
    waiting.resume();
    return std::noop_coroutine();
  }
};

template <class Awaiter>
struct by_member {
  Awaiter inner;
  Awaiter operator co_await() const noexcept { return inner; }
};
template <class Awaiter>
struct by_function {
  Awaiter inner;
};
template <class Awaiter>
Awaiter operator co_await(const by_function<Awaiter>& from) noexcept {
  return from.inner;
}
// Its awaiter can't be moved.
template <class Awaiter>
struct by_immovable {
  struct pinned : Awaiter {
    explicit pinned(const Awaiter& from) noexcept : Awaiter(from) {}
    pinned(const pinned&) = delete;
  };
  Awaiter inner;
  pinned operator co_await() const noexcept { return pinned(inner); }
};

// --- awaitables that are resumed by hand ---

// Counts what is alive, so that what is left behind is seen.
struct counted {
  counted() noexcept { ++alive; }
  counted(const counted&) noexcept { ++alive; }
  counted& operator=(const counted&) = default;
  ~counted() { --alive; }
  static inline std::atomic<int> alive{0};
};

// Waits for one of each kind. It counts what it has come through.
template <class Coroutine>
Coroutine awaits_everything(counting_allocator, std::shared_ptr<int> steps) {
  co_await eventer::after(0ms);
  ++*steps;
  auto [near, far] = eventer::unix_stream::pair().value();
  if (co_await near.async_write_all("text")) ++*steps;
  if (co_await eventer::readable(far.native_handle(), 2s)) ++*steps;
  std::array<char, 8> bytes;
  const auto got = co_await far.async_read_some(bytes, 2s);
  if (got && *got == 4) ++*steps;
  const auto late = co_await far.async_read_some(bytes, 0ms);
  if (late.error() == std::errc::timed_out) ++*steps;
  auto handle = eventer::spawn([] { return 5; });
  if (co_await handle == 5) ++*steps;
  if (co_await eventer::spawn([] { return 6; }) == 6) ++*steps;
  const auto seven = []() -> task<int> {
    co_await eventer::after(0ms);
    co_return 7;
  };
  if (co_await seven() == 7) ++*steps;
  const auto first = co_await eventer::async_when_any(eventer::after(1h), seven());
  if (first.index == 1) ++*steps;
  if constexpr (eventer::awaitable<Coroutine>) co_return *steps;
}

// Whoever holds it resumes all that wait, on any thread.
class switchboard {
 public:
  auto next() {
    struct awaiter {
      bool await_ready() const noexcept { return false; }
      void await_suspend(std::coroutine_handle<> who) {
        const std::lock_guard lock(of->mutex_);
        of->waiting_.push_back(who);
      }
      counted await_resume() const noexcept { return result; }
      switchboard* of;
      counted result;
    };
    return awaiter{this, {}};
  }
  std::size_t waiting() const {
    const std::lock_guard lock(mutex_);
    return waiting_.size();
  }
  void resume_all() {
    std::vector<std::coroutine_handle<>> all;
    {
      const std::lock_guard lock(mutex_);
      all.swap(waiting_);
    }
    for (const auto each : all) each.resume();
  }

 private:
  mutable std::mutex mutex_;
  std::vector<std::coroutine_handle<>> waiting_;
};

}  // namespace

TEMPLATE_TEST_CASE("every form of awaitable gives its value, whichever way it suspends", "[interop]",
                   suspends_with_void, suspends_with_bool, suspends_with_handle) {
  for (const suspends how : all_ways) {
    CAPTURE(static_cast<int>(how));
    const auto gives_seven = [](const auto& get) { CHECK(get() == 7); };
    const TestType awaiter(7, how);
    everywhere([=] { return awaiter; }, gives_seven);
    everywhere([=] { return by_member<TestType>{awaiter}; }, gives_seven);
    everywhere([=] { return by_function<TestType>{awaiter}; }, gives_seven);
    everywhere([=] { return by_immovable<TestType>{awaiter}; }, gives_seven);
  }
}

TEST_CASE("an awaitable that is a variable is awaited again and again", "[interop]") {
  eventer::run([] {
    const auto kept = std::make_shared<by_member<suspends_with_bool>>(
        by_member<suspends_with_bool>{suspends_with_bool(5, suspends::elsewhere)});
    for (int i = 0; i < 3; ++i) CHECK(await(*kept) == 5);
  });
}

TEST_CASE("what an awaitable throws comes out of the await, wherever it throws", "[interop]") {
  enum class where { ready, suspend, resume, conversion };
  struct throws_at {
    where place;
    static void go(bool here) {
      if (here) throw std::runtime_error("thrown");
    }
    struct awaiter {
      where place;
      bool await_ready() const {
        go(place == where::ready);
        return false;
      }
      bool await_suspend(std::coroutine_handle<>) const {
        go(place == where::suspend);
        return false;
      }
      int await_resume() const {
        go(place == where::resume);
        return 1;
      }
    };
    awaiter operator co_await() const {
      go(place == where::conversion);
      return {place};
    }
  };
  for (const where place : {where::ready, where::suspend, where::resume, where::conversion})
    everywhere([=] { return throws_at{place}; }, [](const auto& get) { CHECK_THROWS_WITH(get(), "thrown"); });
}

TEST_CASE("results that can only be moved, references and nothing at all come through", "[interop]") {
  struct gives {
    struct unique : awaiter_base, std::suspend_never {
      using awaiter_base::awaiter_base;
      using std::suspend_never::await_ready;
      std::unique_ptr<int> await_resume() const { return std::make_unique<int>(value); }
    };
  };
  everywhere([] { return gives::unique(3); }, [](const auto& get) { CHECK(*get() == 3); });

  // Nothing may be assigned, there is no default.
  struct rigid {
    explicit rigid(int n) noexcept : number(n) {}
    const int number;
  };
  struct gives_rigid : std::suspend_never {
    rigid await_resume() const { return rigid(4); }
  };
  everywhere([] { return gives_rigid(); }, [](const auto& get) { CHECK(get().number == 4); });

  static int target = 5;
  struct gives_reference : std::suspend_never {
    int& await_resume() const { return target; }
  };
  everywhere([] { return gives_reference(); }, [](const auto& get) { CHECK(&get() == &target); });

  // What it refers to is a part of the awaitable, which is gone by then.
  struct gives_itself_away : std::suspend_never {
    std::string&& await_resume() { return std::move(text); }
    std::string text = "a text that is too long to lie in the string itself";
  };
  everywhere([] { return gives_itself_away(); },
             [](const auto& get) {
               static_assert(std::is_same_v<decltype(get()), std::string>);
               CHECK(get() == "a text that is too long to lie in the string itself");
             });

  bool ended = false;
  eventer::run([&ended] {
    await(std::suspend_never());
    await([]() -> task<> { co_await std::suspend_never(); }());
    ended = true;
  });
  CHECK(ended);
}

TEST_CASE("tasks of others are awaited: owned, shared, and with transfers in both directions", "[interop]") {
  const auto lazy = [](int n) -> lazy_task<std::string> {
    co_await suspends_with_void(0, suspends::elsewhere);
    if (n < 0) throw std::runtime_error("negative");
    co_return std::to_string(n);
  };
  const auto outer = [](auto inner, int n) -> lazy_task<std::string> {
    auto text = co_await inner(n);
    co_return text + "!";
  };
  everywhere([&] { return lazy(1); }, [](const auto& get) { CHECK(get() == "1"); });
  everywhere([&] { return outer(lazy, 2); }, [](const auto& get) { CHECK(get() == "2!"); });
  everywhere([&] { return outer(lazy, -1); }, [](const auto& get) { CHECK_THROWS_WITH(get(), "negative"); });
  eventer::run([] {
    // A foreign coroutine goes on in the loop with what is ours.
    const auto sleeps = []() -> lazy_task<int> {
      co_await eventer::after(1ms);
      co_return 3;
    };
    CHECK(await(sleeps()) == 3);
    const auto shared = [](int n) -> shared_task<int> {
      co_await eventer::after(1ms);
      co_return n;
    };
    const auto both = shared(4);
    CHECK(await(both) == 4);
    CHECK(await(both) == 4);
    CHECK(await(shared_task<int>(both)) == 4);
  });
}

TEMPLATE_TEST_CASE("every awaitable of the library is awaited in every type of coroutine", "[interop]", fire_and_forget,
                   by_hand, lazy_task<int>, shared_task<int>, with_allocator, task<int>) {
  eventer::run([] {
    const auto steps = std::make_shared<int>(0);
    const counting_allocator from;
    // On the heap, so that clang does not put the frame onto this stack.
    const auto started = std::make_shared<TestType>(awaits_everything<TestType>(from, steps));
    if constexpr (std::is_same_v<TestType, by_hand>) started->handle.resume();
    if constexpr (eventer::awaitable<TestType>) CHECK(await(std::move(*started)) == 9);
    while (*steps < 9) eventer::sleep_for(1ms);
    CHECK(eventer::event_loop::current().stats().coroutines == 1);
  });
}

TEST_CASE("a coroutine stays on its loop's thread, and its awaitable ends before it goes on", "[interop]") {
  struct says_where : suspends_with_void {
    using suspends_with_void::suspends_with_void;
    std::pair<int, counted> await_resume() const noexcept { return {value, {}}; }
    counted alive;
  };
  eventer::run([] {
    const auto thread = std::this_thread::get_id();
    for (int i = 0; i < 200; ++i) {
      CHECK(await(says_where(i, suspends::elsewhere)).first == i);
      CHECK(std::this_thread::get_id() == thread);
      CHECK(counted::alive == 0);
    }
  });
}

TEST_CASE("a thousand foreign awaits at once", "[interop]") {
  switchboard board;
  eventer::run([&board] {
    const auto ended = std::make_shared<int>(0);
    std::vector<eventer::join_handle<void>> all;
    for (int i = 0; i < 1000; ++i)
      all.push_back(eventer::spawn([&board, ended, i]() -> void {
        if (i % 2 == 0)
          await(board.next());
        else
          await([](switchboard& on) -> task<> { co_await on.next(); }(board));
        ++*ended;
      }));
    while (board.waiting() < 1000) eventer::yield();
    std::thread([&board] { board.resume_all(); }).join();
    for (auto& each : all) each.join();
    CHECK(*ended == 1000);
  });
  CHECK(counted::alive == 0);
}

TEST_CASE("a waiter that is cancelled or out of time goes; the awaitable ends on its own, its result dropped",
          "[interop]") {
  switchboard board;
  eventer::run([&board] {
    const auto wait = [&board] { await(board.next()); };
    SECTION("cancelled while it waits") {
      auto waiter = eventer::spawn(wait);
      eventer::yield();
      waiter.cancel();
      CHECK(waiter.try_join().error() == std::errc::operation_canceled);
    }
    SECTION("cancelled before") {
      auto waiter = eventer::spawn([wait] {
        try {
          eventer::sleep_for(1h);
        } catch (const eventer::cancelled&) {
        }
        wait();
      });
      eventer::yield();
      waiter.cancel();
      CHECK(waiter.try_join().error() == std::errc::operation_canceled);
    }
    SECTION("cancelled in a task") {
      auto waiter = eventer::spawn([](switchboard& on) -> task<> { co_await on.next(); }(board));
      eventer::yield();
      waiter.cancel();
      CHECK(waiter.try_join().error() == std::errc::operation_canceled);
    }
    SECTION("at the end of a deadline_scope") {
      const eventer::deadline_scope soon(1ms);
      try {
        wait();
        FAIL("it did not wait");
      } catch (const std::system_error& failure) {
        CHECK(failure.code() == std::errc::timed_out);
      }
    }
    SECTION("having lost a when_any") {
      CHECK(
          eventer::when_any([](switchboard& on) -> task<> { co_await on.next(); }(board), eventer::after(1ms)).index ==
          1);
    }
    SECTION("not in a shield") {
      auto waiter = eventer::spawn([wait] {
        const eventer::cancel_shield shield;
        wait();
      });
      eventer::yield();
      waiter.cancel();
      eventer::yield();
      CHECK_FALSE(waiter.done());
      board.resume_all();
      waiter.join();
      return;
    }
    CHECK(counted::alive > 0);
    CHECK(eventer::event_loop::current().stats().coroutines == 1);
    if (board.waiting() > 0) board.resume_all();  // by whoever holds it, long after
    eventer::yield();
  });
  CHECK(counted::alive == 0);
}

TEST_CASE("an awaitable may end when its waiter's loop is long gone", "[interop]") {
  switchboard board;
  eventer::run([&board] {
    (void)eventer::spawn([&board] { await(board.next()); });
    (void)eventer::spawn([](switchboard& on) -> task<> { co_await on.next(); }(board));
    while (board.waiting() < 2) eventer::yield();
  });
  CHECK(counted::alive > 0);
  std::thread([&board] { board.resume_all(); }).join();
  CHECK(counted::alive == 0);
}

TEST_CASE("cancelling and resuming at the same time, from two threads", "[interop]") {
  switchboard board;
  std::atomic<bool> over{false};
  std::thread other([&] {
    while (!over) board.resume_all();
  });
  eventer::run([&] {
    int ended = 0, cancelled = 0;
    for (int i = 0; i < 500; ++i) {
      auto waiter = eventer::spawn([&board] { await(board.next()); });
      eventer::yield();
      if (i % 3 != 0) std::this_thread::yield();
      waiter.cancel();
      ++(waiter.try_join() ? ended : cancelled);
    }
    CHECK(ended + cancelled == 500);
  });
  over = true;
  other.join();
  board.resume_all();
  CHECK(counted::alive == 0);
}

TEST_CASE("a foreign await in a callback of a running loop is refused with a sentence", "[interop]") {
  const auto check_refused = [](void (*start)(eventer::event_loop&)) {
    const auto result = run_in_child([start] {
      eventer::event_loop loop;
      start(loop);
      loop.run();
    });
    CHECK(result.signal == SIGABRT);
    CHECK(contains(result.output, "in a callback would block its loop"));
  };
  check_refused([](eventer::event_loop& loop) { loop.post([] { await(suspends_with_void(1)); }); });
  check_refused([](eventer::event_loop& loop) {
    (void)loop.after(1ms, [] { await(suspends_with_bool(1, suspends::and_answers_false)); });
  });
  check_refused([](eventer::event_loop& loop) {
    loop.post([] {
      []() -> fire_and_forget {
        co_await eventer::after(1ms);
        await(suspends_with_void(1));
      }();
    });
  });
}
