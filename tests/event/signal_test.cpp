// signal_set: signals that are waited for, in every way to wait, and what becomes of the thread's mask.
#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "../background.hpp"
#include "../catch.hpp"
#include "../child.hpp"
#include "../reactors.hpp"
#include "../sockets.hpp"
#include "../two_worlds.hpp"
#include "eventer/eventer.hpp"

using namespace std::chrono_literals;
using eventer::signal_set;

namespace {

bool blocked(int number) {
  sigset_t now;
  ::pthread_sigmask(SIG_BLOCK, nullptr, &now);
  return ::sigismember(&now, number) == 1;
}

// Counts what comes to the ordinary handler, for the time of the object.
class handled {
 public:
  explicit handled(int number) : number_(number) {
    count_ = 0;
    struct sigaction action {};
    action.sa_handler = [](int) { ++count_; };
    ::sigaction(number, &action, &before_);
  }
  handled(const handled&) = delete;
  handled& operator=(const handled&) = delete;
  ~handled() { ::sigaction(number_, &before_, nullptr); }
  int count() const { return count_; }

 private:
  int number_;
  struct sigaction before_ {};
  static inline std::atomic<int> count_ = 0;
};

struct way {
  const char* name;
  eventer::join_handle<int> (*start)(std::shared_ptr<signal_set>);
};
const way ways[] = {
    {"next", [](std::shared_ptr<signal_set> all) { return eventer::spawn([all] { return all->next(); }); }},
    {"next_for",
     [](std::shared_ptr<signal_set> all) { return eventer::spawn([all] { return all->next_for(5s).value(); }); }},
    {"await",
     [](std::shared_ptr<signal_set> all) { return eventer::spawn([all] { return eventer::await(*all).value(); }); }},
    {"co_await in a task",
     [](std::shared_ptr<signal_set> all) {
       return eventer::spawn(
           [](std::shared_ptr<signal_set> set) -> eventer::task<int> { co_return (co_await *set).value(); }(all));
     }},
    {"co_await in another's coroutine",
     [](std::shared_ptr<signal_set> all) {
       auto result = foreign::perform([all] { return all->next_for({}); }, [all] { return all->async_next(); },
                                      [all](const eventer::io_result<int>& got) { return got.value(); });
       return eventer::spawn([result] { return result.get(); });
     }},
    {"when_any",
     [](std::shared_ptr<signal_set> all) {
       return eventer::spawn([all] {
         auto first = eventer::when_any(eventer::after(1h), all->async_next());
         return std::get<1>(first.results).value();
       });
     }},
};

}  // namespace

EVENT_TEST("a signal is given to whoever waits for it, and to whoever comes later") {
  for (const way& each : ways) {
    for (const bool waiting : {false, true}) {
      DYNAMIC_SECTION(each.name << (waiting ? ", which waits" : ", which comes later")) {
        eventer::run(
            [&each, waiting] {
              const auto all = std::make_shared<signal_set>(std::initializer_list<int>{SIGUSR1, SIGUSR2});
              for (const int number : {SIGUSR1, SIGUSR2, SIGUSR1}) {
                if (!waiting) ::raise(number);
                auto next = each.start(all);
                if (waiting) {
                  next_turn();
                  CHECK_FALSE(next.done());
                  ::raise(number);
                }
                CHECK(next.join() == number);
              }
              CHECK(all->next_for(0s).error() == std::errc::timed_out);
            },
            tested_reactor::options());
        CHECK_FALSE(blocked(SIGUSR1));
        CHECK_FALSE(blocked(SIGUSR2));
      }
    }
  }
}

EVENT_TEST("several signals that have come are given one by one, each once") {
  eventer::run(
      [] {
        signal_set all{SIGUSR1, SIGUSR2, SIGHUP, SIGWINCH};
        for (const int number : {SIGUSR2, SIGHUP, SIGUSR1, SIGUSR1}) ::raise(number);
        int sum = 0;
        for (int i = 0; i < 3; ++i) sum += 1 << all.next();
        CHECK(sum == (1 << SIGUSR1) + (1 << SIGUSR2) + (1 << SIGHUP));
        CHECK(all.next_for(1ms).error() == std::errc::timed_out);
        ::raise(SIGWINCH);
        CHECK(all.next() == SIGWINCH);
      },
      tested_reactor::options());
}

EVENT_TEST("another thread wakes a loop with a signal") {
  const pthread_t loop_thread = ::pthread_self();
  eventer::run(
      [loop_thread] {
        signal_set all{SIGUSR1};
        for (int i = 0; i < 20; ++i) {
          std::thread other([loop_thread] { ::pthread_kill(loop_thread, SIGUSR1); });
          CHECK(all.next_for(5s).value() == SIGUSR1);
          other.join();
        }
      },
      tested_reactor::options());
}

TEST_CASE("on a plain thread the same calls block") {
  signal_set all{SIGUSR1, SIGUSR2};
  ::raise(SIGUSR2);
  CHECK(all.next() == SIGUSR2);
  CHECK(all.next_for(1ms).error() == std::errc::timed_out);
  CHECK(all.next_for(-1s).error() == std::errc::timed_out);
  const pthread_t here = ::pthread_self();
  std::thread other([here] { ::pthread_kill(here, SIGUSR1); });
  CHECK(eventer::await(all).value() == SIGUSR1);
  other.join();
  ::raise(SIGUSR1);
  CHECK(eventer::await([](signal_set& set) -> eventer::task<int> { co_return (co_await set).value(); }(all)) ==
        SIGUSR1);
}

EVENT_TEST("a second coroutine that waits for the same set is told that it is busy, and the first goes on") {
  eventer::run(
      [] {
        const auto all = std::make_shared<signal_set>(std::initializer_list<int>{SIGUSR1});
        auto first = eventer::spawn([all] { return all->next(); });
        next_turn();
        CHECK(all->next_for(1s).error() == eventer::errc::busy);
        CHECK_THROWS_AS(all->next(), std::system_error);
        CHECK(eventer::await(all->async_next()).error() == eventer::errc::busy);
        ::raise(SIGUSR1);
        CHECK(first.join() == SIGUSR1);
      },
      tested_reactor::options());
}

EVENT_TEST("who gave up waiting, by a limit, a scope or a cancellation, takes no signal with it") {
  eventer::run(
      [] {
        const auto all = std::make_shared<signal_set>(std::initializer_list<int>{SIGUSR1});
        for (int i = 0; i < 3; ++i) {
          CHECK(all->next_for(1ms).error() == std::errc::timed_out);
          {
            const eventer::deadline_scope scope(1ms);
            try {
              (void)all->next();
              FAIL("no signal was sent");
            } catch (const std::system_error& failure) {
              CHECK(failure.code() == std::errc::timed_out);
            }
          }
          for (const way& each : ways) {
            if (std::string_view(each.name) == "co_await in another's coroutine") continue;  // it can't be cancelled
            auto waiting = each.start(all);
            next_turn();
            waiting.cancel();
            CHECK(waiting.try_join().error() == std::errc::operation_canceled);
          }
          CHECK(eventer::when_any(all->async_next(), eventer::after(1ms)).index == 1);
          ::raise(SIGUSR1);
          CHECK(all->next() == SIGUSR1);
        }
      },
      tested_reactor::options());
}

EVENT_TEST("two sets each get their own signals, and may go in any order") {
  for (const int first_to_go : {0, 1}) {
    eventer::run(
        [first_to_go] {
          std::unique_ptr<signal_set> sets[] = {
              std::make_unique<signal_set>(std::initializer_list<int>{SIGUSR1}),
              std::make_unique<signal_set>(std::initializer_list<int>{SIGUSR2, SIGHUP})};
          const int numbers[] = {SIGUSR1, SIGUSR2};
          ::raise(SIGUSR2);
          ::raise(SIGUSR1);
          for (const int i : {0, 1}) CHECK(sets[i]->next_for(1s).value() == numbers[i]);
          sets[first_to_go] = nullptr;
          CHECK_FALSE(blocked(numbers[first_to_go]));
          CHECK(blocked(numbers[1 - first_to_go]));
          if (!blocked(numbers[1 - first_to_go])) return;  // it would end the test program
          ::raise(numbers[1 - first_to_go]);
          CHECK(sets[1 - first_to_go]->next_for(1s).value() == numbers[1 - first_to_go]);
        },
        tested_reactor::options());
    for (const int number : {SIGUSR1, SIGUSR2, SIGHUP}) CHECK_FALSE(blocked(number));
  }
}

TEST_CASE("the end of a set leaves the mask as it was, and what the program changed meanwhile as it is") {
  sigset_t one, other;
  ::sigemptyset(&one);
  ::sigemptyset(&other);
  ::sigaddset(&one, SIGUSR1);
  ::sigaddset(&other, SIGHUP);
  ::pthread_sigmask(SIG_BLOCK, &one, nullptr);
  {
    const signal_set all{SIGUSR1, SIGUSR2};
    CHECK(blocked(SIGUSR1));
    CHECK(blocked(SIGUSR2));
    ::pthread_sigmask(SIG_BLOCK, &other, nullptr);
  }
  CHECK(blocked(SIGUSR1));
  CHECK_FALSE(blocked(SIGUSR2));
  CHECK(blocked(SIGHUP));
  ::pthread_sigmask(SIG_UNBLOCK, &one, nullptr);
  ::pthread_sigmask(SIG_UNBLOCK, &other, nullptr);
}

TEST_CASE("what is pending when a set goes takes its usual way, and what was taken does not") {
  const handled usual(SIGUSR1);
  {
    signal_set all{SIGUSR1};
    ::raise(SIGUSR1);
    CHECK(all.next() == SIGUSR1);
    CHECK(usual.count() == 0);
  }
  CHECK(usual.count() == 0);
  {
    const signal_set all{SIGUSR1};
    ::raise(SIGUSR1);
    CHECK(usual.count() == 0);
  }
  CHECK(usual.count() == 1);
  ::raise(SIGUSR1);
  CHECK(usual.count() == 2);
}

TEST_CASE("a signal that was blocked and pending before the set was made is given too") {
  sigset_t one;
  ::sigemptyset(&one);
  ::sigaddset(&one, SIGUSR1);
  ::pthread_sigmask(SIG_BLOCK, &one, nullptr);
  ::raise(SIGUSR1);
  {
    signal_set all{SIGUSR1};
    CHECK(all.next_for(1s).value() == SIGUSR1);
  }
  ::pthread_sigmask(SIG_UNBLOCK, &one, nullptr);
}

TEST_CASE("threads that are started while a set lives leave its signals to it") {
  eventer::run([] {
    signal_set all{SIGUSR1};
    std::atomic<bool> blocked_there{false}, over{false};
    std::thread other([&] {
      blocked_there = blocked(SIGUSR1);
      over.wait(false);
    });
    ::kill(::getpid(), SIGUSR1);  // to whichever thread takes it
    CHECK(all.next_for(5s).value() == SIGUSR1);
    over = true;
    over.notify_one();
    other.join();
    CHECK(blocked_there);
  });
}

TEST_CASE("a number that is no signal is refused, and nothing is blocked") {
  for (const int number : {-1, 0, 1000}) {
    try {
      const signal_set all{SIGUSR1, number};
      FAIL("taken for a signal");
    } catch (const std::system_error& failure) {
      CHECK(failure.code() == std::errc::invalid_argument);
    }
    CHECK_FALSE(blocked(SIGUSR1));
  }
}

TEST_CASE("a set that can't have its descriptor throws, and nothing is blocked") {
  if (EVENTER_TSAN) EVENTER_SKIP("its runtime needs descriptors too");
  const auto result = run_in_child([] {
    const rlimit none{3, 3};
    ::setrlimit(RLIMIT_NOFILE, &none);
    try {
      const signal_set all{SIGUSR1};
    } catch (const std::system_error& failure) {
      std::printf("%d %d\n", failure.code() == std::errc::too_many_files_open, blocked(SIGUSR1));
    }
  });
  CHECK(result.output == "1 0\n");
}

TEST_CASE("a program that waits for SIGTERM ends in its own way") {
  background program([] {
    eventer::run([] {
      signal_set ends{SIGTERM, SIGINT};
      std::puts("ready");
      std::fflush(stdout);
      const int number = ends.next();
      std::puts(number == SIGTERM ? "terminated" : "interrupted");
    });
  });
  CHECK(program.line() == "ready");
  program.signal(SIGTERM);
  CHECK(program.line() == "terminated");
  CHECK(program.wait().status == 0);
}

TEST_CASE("a forked child has its own signals: with the parent's set, and as usual once that is gone", "[epoll]") {
  const auto result = run_in_child([] {
    auto all = std::make_unique<signal_set>(std::initializer_list<int>{SIGUSR1});
    ::raise(SIGUSR1);  // the parent's
    const pid_t child = ::fork();
    if (child == 0) {
      // What is pending is not inherited; the mask is.
      std::printf("%d", all->next_for(0s).error() == std::errc::timed_out);
      std::printf("%d", blocked(SIGUSR1));
      ::raise(SIGUSR1);
      std::printf("%d", all->next() == SIGUSR1);
      all = nullptr;
      std::printf("%d\n", blocked(SIGUSR1));
      std::fflush(stdout);
      ::raise(SIGUSR1);
      ::_exit(1);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    std::printf("%d", WIFSIGNALED(status) && WTERMSIG(status) == SIGUSR1);
    std::printf("%d", all->next() == SIGUSR1);
    std::printf("%d\n", all->next_for(0s).error() == std::errc::timed_out);
  });
  CHECK(result.output == "1110\n111\n");
}

TEST_CASE("a loop in a forked child goes on to wait for the signals of the child", "[epoll]") {
  const auto result = run_in_child([] {
    eventer::run([] {
      signal_set all{SIGUSR1, SIGUSR2};
      CHECK(all.next_for(1ms).error() == std::errc::timed_out);
      const pid_t child = ::fork();
      if (child == 0) {
        eventer::event_loop::current().after_fork_child();
        eventer::event_loop::current().after(1ms, [] { ::raise(SIGUSR2); });
        ::_exit(all.next_for(5s).value_or(0) == SIGUSR2 ? 7 : 1);
      }
      eventer::event_loop::current().after(5ms, [] { ::raise(SIGUSR1); });
      std::printf("%d ", all.next_for(5s).value_or(0) == SIGUSR1);
      int status = 0;
      ::waitpid(child, &status, 0);
      std::printf("%d\n", WEXITSTATUS(status));
    });
  });
  CHECK(result.output == "1 7\n");
}
