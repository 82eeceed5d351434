// Exceptions belong to the coroutine, however it waits: those it has caught, those in flight, those that nobody takes.
#include <execinfo.h>
#include <pthread.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

#include "../catch.hpp"
#include "../child.hpp"
#include "eventer/eventer.hpp"
#include "waits.hpp"

using namespace std::chrono_literals;

namespace {

struct numbered {
  int number;
};

[[noreturn]] void fail(const char* what) { throw std::runtime_error(what); }

template <class Body>
struct at_end {
  Body body;
  ~at_end() { body(); }
};
template <class Body>
at_end(Body) -> at_end<Body>;

}  // namespace

// --- caught ---

TEST_CASE("throw; after a wait of any kind rethrows one's own exception, the same object") {
  for (const wait_kind& each : every_wait) {
    INFO(each.name);
    const void* before = nullptr;
    const void* after = nullptr;
    int number = 0;
    bool current = false;
    run_crowded([&] {
      try {
        throw numbered{17};
      } catch (const numbered& mine) {
        const std::exception_ptr kept = std::current_exception();
        before = &mine;
        each.wait();
        current = std::current_exception() == kept;
        try {
          throw;
        } catch (const numbered& again) {
          each.wait();
          after = &again;
          number = again.number;
        }
      }
      current = current && std::current_exception() == nullptr;
    });
    CHECK(before == after);
    CHECK(number == 17);
    CHECK(current);
  }
}

TEST_CASE("five coroutines in catch blocks within catch blocks, resumed in any order, each rethrow their own") {
  constexpr int coroutines = 5, rounds = 3;
  std::set<std::string> orders;
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    std::string order;
    int outer_right = 0, inner_right = 0;
    run_crowded(
        [&] {
          eventer::task_group all;
          for (int who = 0; who < coroutines; ++who)
            all.spawn([&, who] {
              for (int round = 0; round < rounds; ++round) try {
                  throw numbered{10 * who + round};
                } catch (const numbered& outer) {
                  eventer::yield();
                  order += static_cast<char>('a' + who);
                  try {
                    throw std::to_string(who);
                  } catch (const std::string& inner) {
                    eventer::yield();
                    try {
                      throw;
                    } catch (const std::string& again) {
                      inner_right += &again == &inner && again == std::to_string(who);
                    }
                  }
                  eventer::yield();
                  try {
                    throw;
                  } catch (const numbered& again) {
                    outer_right += &again == &outer && again.number == 10 * who + round;
                  }
                }
            });
          all.join();
        },
        {.seed = seed});
    orders.insert(order);
    CHECK(inner_right == coroutines * rounds);
    CHECK(outer_right == coroutines * rounds);
  }
  CHECK(orders.size() > 90);
  CHECK(std::current_exception() == nullptr);
}

namespace {

[[noreturn]] void fail_at(int level, const std::string& who) {
  if (level == 3) {
    eventer::yield();
    throw std::runtime_error(who + '3');
  }
  try {
    fail_at(level + 1, who);
  } catch (...) {
    eventer::yield();
    std::throw_with_nested(std::runtime_error(who + std::to_string(level)));
  }
}

// What it says, and what is nested in it, waiting at each step.
std::string all_levels(const std::exception& failure) {
  std::string text = failure.what();
  eventer::yield();
  try {
    std::rethrow_if_nested(failure);
  } catch (const std::exception& inner) {
    eventer::yield();
    text += ' ' + all_levels(inner);
  }
  return text;
}

}  // namespace

TEST_CASE("exceptions nested in others are each coroutine's own, from throw_with_nested to rethrow_if_nested") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    std::string texts[4];
    run_crowded(
        [&] {
          eventer::task_group all;
          for (int who = 0; who < 4; ++who)
            all.spawn([&texts, who] {
              try {
                fail_at(1, std::string(1, static_cast<char>('a' + who)));
              } catch (const std::exception& outermost) {
                texts[who] = all_levels(outermost);
              }
            });
          all.join();
        },
        {.seed = seed});
    CHECK(texts[0] == "a1 a2 a3");
    CHECK(texts[1] == "b1 b2 b3");
    CHECK(texts[2] == "c1 c2 c3");
    CHECK(texts[3] == "d1 d2 d3");
  }
}

TEST_CASE("an exception_ptr is rethrown in several other coroutines at once, and its object is destroyed once") {
  struct counted {
    int* living;
    explicit counted(int* count) : living(count) { ++*living; }
    counted(const counted& other) : living(other.living) { ++*living; }
    ~counted() { --*living; }
  };
  int living = 0, right = 0;
  std::exception_ptr taken;
  std::set<const void*> addresses;
  run_crowded([&] {
    eventer::spawn([&] {
      try {
        throw counted(&living);
      } catch (const counted&) {
        eventer::yield();
        taken = std::current_exception();
      }
    }).join();
    CHECK(living == 1);
    eventer::task_group all;
    for (int i = 0; i < 3; ++i)
      all.spawn([&] {
        try {
          std::rethrow_exception(taken);
        } catch (const counted& mine) {
          eventer::yield();
          addresses.insert(&mine);
          try {
            throw;
          } catch (const counted& again) {
            eventer::yield();
            right += &again == &mine;
          }
        }
      });
    all.join();
    CHECK(addresses.size() == 1);
    CHECK(living == 1);
    taken = nullptr;
  });
  CHECK(right == 3);
  CHECK(living == 0);
}

TEST_CASE("what a call on an own stack throws in a catch block leaves the exception around it as it was") {
  std::string order;
  run_crowded([&] {
    try {
      throw std::runtime_error("outer");
    } catch (const std::runtime_error& outer) {
      const std::exception_ptr kept = std::current_exception();
      for (int i = 0; i < 3; ++i) {
        try {
          eventer::call_on_own_stack([&order, i] {
            disturb();
            eventer::yield();
            try {
              throw;
            } catch (const std::exception& around) {
              order += around.what();
            }
            const at_end note{[&order] {
              disturb();
              eventer::yield();
              order += " unwound" + std::to_string(std::uncaught_exceptions());
            }};
            throw std::logic_error(" inner" + std::to_string(i) + ' ');
          });
        } catch (const std::logic_error& inner) {
          disturb();
          eventer::yield();
          order += inner.what();
        }
        CHECK(std::current_exception() == kept);
        CHECK(std::uncaught_exceptions() == 0);
      }
      CHECK(std::string(outer.what()) == "outer");
    }
    CHECK(std::current_exception() == nullptr);
  });
  CHECK(order == "outer unwound1 inner0 outer unwound1 inner1 outer unwound1 inner2 ");
}

// --- in flight ---

TEST_CASE("a destructor that an exception has called waits as usual, in any way") {
  for (const wait_kind& each : every_wait) {
    INFO(each.name);
    int uncaught_before = 0, uncaught_after = 0;
    std::string caught;
    run_crowded([&] {
      try {
        const at_end waits{[&] {
          uncaught_before = std::uncaught_exceptions();
          each.wait();
          uncaught_after = std::uncaught_exceptions();
        }};
        throw std::runtime_error("in flight");
      } catch (const std::runtime_error& failure) {
        caught = failure.what();
      }
      CHECK(std::uncaught_exceptions() == 0);
    });
    CHECK(uncaught_before == 1);
    CHECK(uncaught_after == 1);
    CHECK(caught == "in flight");
  }
}

namespace {

eventer::join_handle<int> receive_in_an_hour(eventer::channel<int> numbers) {
  return eventer::spawn([numbers]() mutable {
    eventer::sleep_for(1h);
    return numbers.receive().value();
  });
}
void send_within_two_hours(eventer::channel<int>& numbers, int value) {
  eventer::sleep_for(1h);
  numbers.send(value).value();
  eventer::sleep_for(1h);
}

}  // namespace

TEST_CASE("a destructor of an ordinary unwinding sleeps its whole time, and what it sends is received") {
  run_crowded([] {
    eventer::channel<int> numbers(0);
    auto receiver = receive_in_an_hour(numbers);
    const auto start = eventer::event_loop::current().now();
    auto thrower = eventer::spawn([numbers]() mutable {
      const at_end sends{[&numbers] { send_within_two_hours(numbers, 5); }};
      throw std::runtime_error("in flight");
    });
    CHECK_THROWS_WITH(thrower.join(), "in flight");
    CHECK(receiver.join() == 5);
    CHECK(eventer::event_loop::current().now() - start == 2h);
  });
}

TEST_CASE("a destructor of one that is cancelled is answered operation_canceled at once, whatever it waits for") {
  std::string answers;
  const auto note = [&answers](const char* what, std::error_code error) {
    answers += what;
    answers += error == std::errc::operation_canceled ? " " : ": " + error.message() + ' ';
  };
  run_crowded([&] {
    const auto start = eventer::event_loop::current().now();
    auto pair = eventer::memory_stream_pair();
    auto cancelled = eventer::spawn([&, near = std::move(pair.near)]() mutable {
      const at_end asks{[&] {
        eventer::sleep_for(1h);
        disturb();
        eventer::yield();
        eventer::channel<int> numbers(0);
        note("send", numbers.send(1).error());
        note("receive", numbers.receive().error());
        note("join", eventer::spawn([] { eventer::sleep_for(1h); }).try_join().error());
        char byte;
        note("read", near.read_some({&byte, 1}).error());
        const plain_pair ends = plain_pipe();
        note("readable", eventer::await(eventer::readable(ends.ours.get())).error());
        answers += std::to_string(std::uncaught_exceptions());
      }};
      eventer::sleep_for(1h);
    });
    disturb();
    eventer::yield();
    cancelled.cancel();
    CHECK(cancelled.try_join().error() == std::errc::operation_canceled);
    CHECK(eventer::event_loop::current().now() == start);
  });
  CHECK(answers == "send receive join read readable 1");
}

TEST_CASE("what can't answer throws operation_canceled, not `cancelled`, in a destructor of one that is cancelled") {
  const wait_kind waits[] = {
      {"event", [] { eventer::manual_reset_event().wait(); }},
      {"shared_event", [] { eventer::shared_event().wait(); }},
      {"semaphore", [] { eventer::semaphore(0).acquire(); }},
      {"wait_group",
       [] {
         eventer::wait_group one;
         one.add(1);
         one.wait();
       }},
      {"condition",
       [] {
         eventer::mutex held;
         std::unique_lock lock(held);
         eventer::condition().wait(lock);
       }},
      {"when_any", [] { (void)eventer::when_any(eventer::after(1h), eventer::after(2h)); }},
      {"when_all", [] { (void)eventer::when_all(eventer::after(1h), eventer::after(2h)); }},
      {"join", [] { eventer::spawn([] { eventer::sleep_for(1h); }).join(); }},
      {"handle", [] { eventer::await(eventer::spawn([] { eventer::sleep_for(1h); })); }},
      {"task_group",
       [] {
         eventer::task_group all;
         all.spawn([] { eventer::sleep_for(1h); });
         all.join();
       }},
  };
  for (const wait_kind& each : waits) {
    INFO(each.name);
    std::error_code thrown;
    run_crowded([&thrown, wait = each.wait] {
      const auto start = eventer::event_loop::current().now();
      auto cancelled = eventer::spawn([&thrown, wait] {
        const at_end asks{[&thrown, wait] {
          try {
            wait();
          } catch (const std::system_error& answer) {
            disturb();
            eventer::yield();  // returns at once, in this catch block too
            thrown = answer.code();
          }
        }};
        eventer::sleep_for(1h);
      });
      disturb();
      eventer::yield();
      cancelled.cancel();
      CHECK(cancelled.try_join().error() == std::errc::operation_canceled);
      CHECK(eventer::event_loop::current().now() == start);
    });
    CHECK(thrown == std::errc::operation_canceled);
  }
}

TEST_CASE(
    "a cancellation that comes while an ordinary exception is in flight is an answer, and the exception goes on") {
  std::error_code answer;
  run_crowded([&] {
    eventer::channel<int> numbers(0);
    auto thrower = eventer::spawn([&answer, numbers]() mutable {
      const at_end sends{[&] { answer = numbers.send(5).error(); }};
      throw std::runtime_error("in flight");
    });
    disturb();
    eventer::yield();
    thrower.cancel();
    CHECK_THROWS_WITH(thrower.join(), "in flight");
  });
  CHECK(answer == std::errc::operation_canceled);
}

TEST_CASE("a destructor of one that is cancelled waits as usual in a cancel_shield") {
  run_crowded([] {
    eventer::channel<int> numbers(0);
    auto receiver = receive_in_an_hour(numbers);
    const auto start = eventer::event_loop::current().now();
    auto cancelled = eventer::spawn([numbers]() mutable {
      const at_end sends{[&numbers] {
        const eventer::cancel_shield still;
        send_within_two_hours(numbers, 6);
      }};
      eventer::sleep_for(24h);
    });
    disturb();
    eventer::yield();
    cancelled.cancel();
    CHECK(cancelled.try_join().error() == std::errc::operation_canceled);
    CHECK(receiver.join() == 6);
    CHECK(eventer::event_loop::current().now() - start == 2h);
  });
}

TEST_CASE("a cancelled coroutine that waits in a catch block is unwound from there") {
  std::string order;
  run_crowded([&] {
    auto cancelled = eventer::spawn([&order] {
      try {
        throw numbered{1};
      } catch (const numbered&) {
        const at_end note{[&order] { order += std::to_string(std::uncaught_exceptions()) + " unwound"; }};
        eventer::sleep_for(1h);
      }
    });
    disturb();
    eventer::yield();
    cancelled.cancel();
    CHECK(cancelled.try_join().error() == std::errc::operation_canceled);
  });
  CHECK(order == "1 unwound");
  CHECK(std::current_exception() == nullptr);
}

TEST_CASE("uncaught_exceptions counts one's own in destructors within destructors, with catch blocks that wait") {
  constexpr const char* expected = "1 2 1 1 1 0 0";
  constexpr int coroutines = 4;
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    std::string counts[coroutines];
    int strange = 0;
    run_crowded(
        [&] {
          eventer::task_group all;
          for (int who = 0; who < coroutines; ++who)
            all.spawn([&text = counts[who]] {
              const auto count = [&text] {
                eventer::yield();
                text += (text.empty() ? "" : " ") + std::to_string(std::uncaught_exceptions());
              };
              try {
                const at_end outer{[&count] {
                  count();  // 1
                  try {
                    const at_end inner{count};  // 2
                    throw std::runtime_error("inner");
                  } catch (const std::runtime_error&) {
                    count();  // 1
                    try {
                      throw;
                    } catch (...) {
                      count();  // 1
                    }
                  }
                  count();  // 1
                }};
                throw std::runtime_error("outer");
              } catch (const std::runtime_error&) {
                count();  // 0
              }
              count();  // 0
            });
          // One that throws nothing sees nothing.
          all.spawn([&strange] {
            for (int i = 0; i < 20; ++i) {
              strange += std::uncaught_exceptions() + (std::current_exception() != nullptr);
              eventer::yield();
            }
          });
          all.join();
        },
        {.seed = seed});
    for (const std::string& each : counts) CHECK(each == expected);
    CHECK(strange == 0);
  }
}

// --- what nobody takes ---

TEST_CASE("an exception out of a noexcept function ends the program with the coroutine's name") {
  const auto result = run_in_child([] {
    run_crowded([] {
      eventer::spawn({.name = "breaks its word"}, [] {
        const auto never_throws = []() noexcept {
          disturb();
          eventer::yield();
          fail("after all");
        };
        never_throws();
      }).join();
    });
  });
  CHECK(result.signal == SIGABRT);
  CHECK(contains(result.output, "terminate in coroutine \"breaks its word\""));
  CHECK(contains(result.output, "after all"));
}

TEST_CASE(
    "a cancellation out of a destructor that no exception has called ends the program with the coroutine's name") {
  const auto result = run_in_child([] {
    run_crowded([] {
      auto cancelled = eventer::spawn({.name = "unshielded"}, [] {
        const at_end sleeps{[] { eventer::sleep_for(1h); }};  // a destructor is noexcept
      });
      eventer::yield();
      cancelled.cancel();
      (void)cancelled.try_join();
    });
  });
  CHECK(result.signal == SIGABRT);
  CHECK(contains(result.output, "terminate in coroutine \"unshielded\""));
}

namespace {

// A section of its own, so that its addresses are known.
__attribute__((noinline, section("eventer_test_thrower"))) void throw_here() {
  throw std::runtime_error("nobody hears this");
}
extern "C" __attribute__((visibility("hidden"))) const char __start_eventer_test_thrower[],
    __stop_eventer_test_thrower[];

void look_for_the_thrower() {
  void* frames[64];
  const int count = ::backtrace(frames, 64);
  for (int i = 0; i < count; ++i)
    if (frames[i] > __start_eventer_test_thrower && frames[i] <= __stop_eventer_test_thrower)
      std::printf("the backtrace has the thrower\n");
  std::fflush(nullptr);
  std::abort();
}

}  // namespace

TEST_CASE("an exception of a detached coroutine is named, and the backtrace shows where it was thrown") {
  for (const auto kind : {eventer::stack_kind::shared, eventer::stack_kind::own}) {
    const auto result = run_in_child([kind] {
      std::set_terminate(&look_for_the_thrower);
      run_crowded([kind] {
        (void)eventer::spawn({.name = "detached", .stack = kind}, [] {
          const std::string local(100, 'x');
          disturb();
          eventer::yield();
          try {
            throw_here();
          } catch (const std::logic_error&) {
          }
        });
        eventer::sleep_for(1h);
      });
    });
    CHECK(result.signal == SIGABRT);
    CHECK(contains(result.output, "terminate in coroutine \"detached\""));
    CHECK(contains(result.output, "the backtrace has the thrower"));
  }
  // Without a handler of the program's the C++ library's says what it is.
  const auto plain = run_in_child([] {
    run_crowded([] {
      (void)eventer::spawn({.name = "detached"}, [] { throw_here(); });
      eventer::sleep_for(1h);
    });
  });
  CHECK(contains(plain.output, "terminate in coroutine \"detached\""));
  CHECK(contains(plain.output, "nobody hears this"));
}

namespace {

// Another thread spawns one that fails, and drops its handle before or after it has begun.
void fail_from_another_thread(bool after_it_began) {
  const auto begun = std::make_shared<std::atomic<bool>>(false);
  auto& loop = eventer::event_loop::current();
  std::thread other([&loop, begun, after_it_began] {
    auto handle = loop.spawn({.name = "forgotten"}, [begun] {
      *begun = true;
      begun->notify_one();
      eventer::sleep_for(1h);
      throw_here();
    });
    if (after_it_began) begun->wait(false);
  });
  if (after_it_began)
    while (!*begun) eventer::yield();
  other.join();
  eventer::sleep_for(2h);
}

}  // namespace

TEST_CASE("an exception of a coroutine that another thread has started and forgotten is not lost") {
  for (const bool after_it_began : {false, true}) {
    static std::string heard;
    heard.clear();
    run_crowded([after_it_began] { fail_from_another_thread(after_it_began); },
                {.unhandled_exception = [](const char* coroutine, std::exception_ptr) { heard += coroutine; }});
    CHECK(heard == "forgotten");
    if (EVENTER_TSAN) continue;  // in a forked child it lets no thread start
    const auto result = run_in_child([after_it_began] {
      std::set_terminate(&look_for_the_thrower);
      run_crowded([after_it_began] { fail_from_another_thread(after_it_began); });
    });
    CHECK(result.signal == SIGABRT);
    CHECK(contains(result.output, "\"forgotten\""));
    if (!after_it_began) CHECK(contains(result.output, "the backtrace has the thrower"));
  }
}

// --- ending the program or the thread ---

TEST_CASE("exit in a coroutine runs static destructors and exit handlers, and ends with its status") {
  if (eventer::context::running_on_valgrind())
    EVENTER_SKIP("memcheck counts what is alive then, and puts its own status");
  for (const auto kind : {eventer::stack_kind::shared, eventer::stack_kind::own}) {
    const auto result = run_in_child([kind] {
      // What the test framework has to do at its end is not this process's.
      ::on_exit(
          [](int status, void*) {
            std::fflush(nullptr);
            ::_exit(status);
          },
          nullptr);
      static const at_end says_so{[] { std::printf("static destructor\n"); }};
      static thread_local const at_end says_it_too{[] { std::printf("thread_local destructor\n"); }};
      (void)says_so, (void)&says_it_too;
      std::atexit([] { std::printf("exit handler\n"); });
      run_crowded([kind] {
        (void)eventer::spawn([] {
          const at_end never{[] { std::printf("unwound\n"); }};
          eventer::sleep_for(24h);
        });
        eventer::spawn({.stack = kind}, [] {
          disturb();
          eventer::yield();
          std::exit(7);
        }).join();
      });
    });
    CHECK(result.exit_status == 7);
    CHECK(contains(result.output, "static destructor"));
    CHECK(contains(result.output, "thread_local destructor"));
    CHECK(contains(result.output, "exit handler"));
    CHECK_FALSE(contains(result.output, "unwound"));
  }
}

TEST_CASE("pthread_exit in a coroutine is refused with a sentence and the coroutine's name") {
  if (EVENTER_TSAN) EVENTER_SKIP("ThreadSanitizer lets no fiber exit");
  static constexpr auto leave = [] {
    disturb();
    eventer::yield();
    ::pthread_exit(nullptr);
  };
  const std::pair<const char*, void (*)()> places[] = {
      {"joined", [] { eventer::spawn({.name = "leaver"}, leave).join(); }},
      {"detached",
       [] {
         (void)eventer::spawn({.name = "leaver"}, leave);
         eventer::sleep_for(1h);
       }},
      {"in call_on_own_stack",
       [] { eventer::spawn({.name = "leaver"}, [] { eventer::call_on_own_stack(leave); }).join(); }},
  };
  for (const auto& [name, place] : places) {
    for (const bool main_thread : {true, false}) {
      INFO(name << ", main thread: " << main_thread);
      const auto result = run_in_child([place = place, main_thread] {
        if (main_thread) return run_crowded(place);
        std::thread([place] { run_crowded(place); }).join();
      });
      CHECK(result.signal == SIGABRT);
      CHECK(contains(result.output, "\"leaver\""));
      CHECK(contains(result.output, "pthread_exit in a coroutine"));
    }
  }
}
