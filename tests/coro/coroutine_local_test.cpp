// coroutine_local<T>: one value a coroutine.
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "../catch.hpp"
#include "../child.hpp"
#include "eventer/eventer.hpp"

using namespace std::chrono_literals;

namespace {

constinit eventer::coroutine_local<int> depth(7);  // no constructor runs before main
eventer::coroutine_local<std::string> request_id{eventer::inherited};
eventer::coroutine_local<std::unique_ptr<int>> movable_only;

// Notes its end.
struct noted {
  std::string* to = nullptr;
  const char* name = "";
  void note(std::string& where, const char* what) { to = &where, name = what; }
  ~noted() {
    if (to != nullptr) *to += name;
  }
};
eventer::coroutine_local<noted> first, second;

}  // namespace

TEST_CASE("each coroutine has a value of its own, which begins as the initial one and stays over suspensions") {
  std::vector<int> seen;
  eventer::run([&seen] {
    eventer::task_group all;
    for (int i = 0; i < 200; ++i)
      all.spawn([&seen, i] {
        if (*depth != 7) seen.push_back(-1);
        int* const mine = &*depth;
        *depth = i;
        eventer::yield();
        if (mine != &*depth) seen.push_back(-2);
        eventer::sleep_for(eventer::duration(i % 3));
        seen.push_back(*depth);
      });
    all.join();
    CHECK(*depth == 7);
  });
  std::vector<int> sorted = seen;
  std::sort(sorted.begin(), sorted.end());
  CHECK(sorted.size() == 200);
  CHECK(sorted.front() == 0);
  CHECK(sorted.back() == 199);
}

TEST_CASE("an inherited value is copied to what a coroutine spawns, as it is then; another is not") {
  std::string log;
  eventer::run([&log] {
    *request_id = "a";
    *depth = 1;
    auto child = eventer::spawn([&log] {
      log += *request_id + std::to_string(*depth) + " ";
      *request_id = "child's";
      eventer::task_group all;
      all.spawn([&log] { log += *request_id + " "; });
      all.join();
    });
    *request_id = "b";
    child.join();
    eventer::spawn([&log] { log += *request_id + " "; }).join();
    eventer::call_on_own_stack([&log] { log += *request_id + " "; });
    eventer::event_loop::current().post([&log] { log += "[" + *request_id + "]"; });  // the thread's
    eventer::sleep_for(1ms);
  });
  CHECK(log == "a7 child's b b []");
}

TEST_CASE("a value that can only be moved begins empty, and its address holds while its coroutine lives") {
  int seen = 0;
  eventer::run([&seen] {
    CHECK(*movable_only == nullptr);
    *movable_only = std::make_unique<int>(5);
    auto* const place = &*movable_only;
    eventer::spawn([place, &seen] { seen = **place; }).join();
  });
  CHECK(seen == 5);
}

TEST_CASE("values are destroyed on their coroutine when it ends, the newest first, and may wait and look at others") {
  struct waits {
    std::string* to = nullptr;
    ~waits() {
      if (to == nullptr) return;
      eventer::yield();
      *to += eventer::in_coroutine() ? "waited " : "outside ";
      *to += std::string("sees ") + first->name;
    }
  };
  static eventer::coroutine_local<waits> patient;
  std::string order;
  eventer::run([&order] {
    auto ended = eventer::spawn([&order] {
      first->note(order, "first ");
      patient->to = &order;
      second->note(order, "second ");
      const std::shared_ptr<void> local(nullptr, [&order](void*) { order += "local "; });
      return 3;
    });
    CHECK(ended.join() == 3);
  });
  CHECK(order == "local second waited sees first first ");
}

TEST_CASE("values end once where their coroutine throws, is cancelled, never runs, or is left when its loop ends") {
  std::string order;
  {
    eventer::event_loop loop;
    (void)loop.spawn([&order] {
      CHECK_THROWS_WITH(eventer::spawn([&order] {
                          first->note(order, "thrown ");
                          throw std::runtime_error("boom");
                        }).join(),
                        "boom");
      auto cancelled = eventer::spawn([&order] {
        first->note(order, "cancelled ");
        eventer::sleep_for(1h);
      });
      eventer::yield();
      cancelled.cancel();
      eventer::yield();
      static eventer::coroutine_local<noted> heirloom{eventer::inherited};
      heirloom->note(order, "never ran ");
      auto never = eventer::spawn([] {});
      never.cancel();
      eventer::yield();
      heirloom->to = nullptr;
      order += "| ";
      first->note(order, "left ");
      eventer::sleep_for(1h);
    });
    (void)loop.drain(5ms);
    CHECK(order == "thrown cancelled never ran | ");
  }
  CHECK(order == "thrown cancelled never ran | left ");
}

TEST_CASE("an exception of a value's copy leaves the spawn, and nothing is half made") {
  struct fussy {
    bool refuses = false;
    fussy() = default;
    fussy(const fussy& from) : refuses(from.refuses) {
      if (refuses) throw std::runtime_error("no copies");
    }
    fussy& operator=(const fussy&) = default;
  };
  static eventer::coroutine_local<fussy> mine{eventer::inherited};
  int ran = 0;
  eventer::run([&ran] {
    mine->refuses = true;
    CHECK_THROWS_WITH(eventer::spawn([&ran] { ++ran; }), "no copies");
    mine->refuses = false;
    eventer::spawn([&ran] { ++ran; }).join();
  });
  CHECK(ran == 1);
}

TEST_CASE("outside coroutines the value is the thread's, and a coroutine_local may be gone before its values") {
  *depth = 100;
  int elsewhere = 0;
  std::thread([&elsewhere] { elsewhere = *depth; }).join();
  CHECK(elsewhere == 7);
  std::string order;
  eventer::run([&order] {
    CHECK(*depth == 7);
    auto local = std::make_unique<eventer::coroutine_local<noted>>();
    (*local)->note(order, "value ");
    local.reset();
    auto next = std::make_unique<eventer::coroutine_local<noted>>();
    CHECK((*next)->to == nullptr);
    order += "object ";
  });
  CHECK(order == "object value ");
  CHECK(*depth == 100);
  *depth = 7;
}

TEST_CASE("a value's destructor waits as one does while an exception is in flight: a cancellation is answered") {
  struct farewell {
    std::string* to = nullptr;
    ~farewell() {
      if (to == nullptr) return;
      eventer::sleep_for(1ms);  // at once, where the coroutine was cancelled
      eventer::channel<int> nobody(0);
      *to += nobody.receive(1ms).error() == eventer::errc::canceled ? "canceled " : "waited ";
    }
  };
  static eventer::coroutine_local<farewell> last;
  std::string order;
  eventer::run([&order] {
    auto cancelled = eventer::spawn([&order] {
      last->to = &order;
      eventer::sleep_for(1h);
    });
    auto returns = eventer::spawn([&order] { last->to = &order; });
    eventer::yield();
    cancelled.cancel();
    CHECK(cancelled.try_join().error() == eventer::errc::canceled);
    returns.join();
  });
  CHECK(order == "canceled waited ");
}

TEST_CASE("a copy that is inherited may use other values, and containers of what can't be copied are fine") {
  struct curious {
    int seen = 0;
    curious() = default;
    curious(const curious& from) : seen(from.seen + *depth) {
      static eventer::coroutine_local<int> more[20];
      for (const auto& each : more) *each = 1;  // the parent's list grows while it is read
    }
    curious& operator=(const curious&) = default;
  };
  static eventer::coroutine_local<curious> mine{eventer::inherited};
  static eventer::coroutine_local<std::vector<std::unique_ptr<int>>> many;
  int seen = 0;
  eventer::run([&seen] {
    mine->seen = 1;
    *request_id = "kept";
    *depth = 5;
    many->push_back(std::make_unique<int>(3));
    eventer::spawn([&seen] {
      seen = mine->seen + static_cast<int>(request_id->size()) + static_cast<int>(many->size());
    }).join();
  });
  CHECK(seen == 1 + 5 + 4);
}

TEST_CASE("100,000 coroutines have values at the same time, and none afterwards", "[shared-stack]") {
  static int alive;
  struct counted {
    counted() { ++alive; }
    ~counted() { --alive; }
    int number = 0;
  };
  static eventer::coroutine_local<counted> mine;
  alive = 0;
  std::size_t count = EVENTER_ASAN || EVENTER_TSAN || eventer::context::running_on_valgrind() ? 2'000 : 100'000;
  std::size_t right = 0;
  eventer::run([&right, count] {
    eventer::task_group all;
    for (std::size_t i = 0; i < count; ++i)
      all.spawn([&right, i] {
        mine->number = static_cast<int>(i);
        eventer::yield();
        right += mine->number == static_cast<int>(i);
      });
    eventer::yield();
    CHECK(alive == static_cast<int>(count));
    all.join();
    CHECK(alive == 0);
  });
  CHECK(right == count);
}

TEST_CASE("a value whose destructor always makes another one is stopped with a sentence") {
  const auto result = run_in_child([] {
    struct phoenix {
      int* made = nullptr;
      ~phoenix() {
        static eventer::coroutine_local<phoenix> next;
        if (made != nullptr) next->made = made;
      }
    };
    static eventer::coroutine_local<phoenix> one;
    static int count = 0;
    eventer::run([] { one->made = &count; });
  });
  CHECK(contains(result.output, "goes on making new values"));
  CHECK(result.signal == SIGABRT);
}
