// Time limits, and fairness: whoever is always busy starves neither timers nor descriptors nor other coroutines.
#include <chrono>
#include <memory>

#include "../catch.hpp"
#include "../sockets.hpp"
#include "eventer/eventer.hpp"

using namespace std::chrono_literals;

namespace {

constexpr auto patience = 30s;  // how long a starved test goes on before it gives up

eventer::tcp_stream device(const char* path, int flags) {
  return eventer::tcp_stream::from_fd(::open(path, flags | O_CLOEXEC)).value();
}

struct progress {
  eventer::clock::time_point give_up = eventer::clock::now() + patience;
  bool done = false;
  bool over() const { return done || eventer::clock::now() >= give_up; }
};

// Ways to keep the loop busy that never have to wait for a descriptor.
struct busy_work {
  const char* name;
  void (*run)(std::shared_ptr<progress>);
};
const busy_work never_waits[] = {
    {"yield",
     [](std::shared_ptr<progress> all) {
       while (!all->over()) eventer::yield();
     }},
    {"read_some",
     [](std::shared_ptr<progress> all) {
       auto zero = device("/dev/zero", O_RDONLY);
       std::array<char, 64> bytes;
       while (!all->over() && zero.read_some(bytes)) {
       }
     }},
    {"read_exact",
     [](std::shared_ptr<progress> all) {
       auto zero = device("/dev/zero", O_RDONLY);
       std::array<char, 64> bytes;
       while (!all->over() && zero.read_exact(bytes)) {
       }
     }},
    {"read_borrowed",
     [](std::shared_ptr<progress> all) {
       auto zero = device("/dev/zero", O_RDONLY);
       while (!all->over() && zero.read_borrowed()) {
       }
     }},
    {"write_some",
     [](std::shared_ptr<progress> all) {
       auto null = device("/dev/null", O_WRONLY);
       while (!all->over() && null.write_some("text")) {
       }
     }},
    {"write_all",
     [](std::shared_ptr<progress> all) {
       auto null = device("/dev/null", O_WRONLY);
       while (!all->over() && null.write_all("text")) {
       }
     }},
    {"spawn and join",
     [](std::shared_ptr<progress> all) {
       while (!all->over()) eventer::spawn([] {}).join();
     }},
};

}  // namespace

TEST_CASE("a deadline on a whole second is a deadline") {
  eventer::run([] {
    const auto whole = std::chrono::ceil<std::chrono::seconds>(eventer::clock::now() + 1ms);
    CHECK(whole.time_since_epoch() % 1s == 0ns);
    eventer::sleep_until(whole);
    const auto late = eventer::clock::now() - whole;
    CHECK(late >= 0ns);
    CHECK(late < 500ms);
  });
}

TEST_CASE("a sleep below a millisecond is neither cut to nothing nor rounded up to one") {
  eventer::run([] {
    auto best = 1h + 0ns;
    for (int i = 0; i < 200 && best > 900us; ++i) {
      const auto start = eventer::clock::now();
      eventer::sleep_for(200us);
      const auto took = eventer::clock::now() - start;
      CHECK(took >= 200us);
      best = std::min<decltype(best)>(best, took);
    }
    // Without the call (under qemu-user, before Linux 5.11) a loop waits whole milliseconds.
    const bool whole_only =
        eventer::syscalls::epoll_pwait2(-1, nullptr, 0, 0ns) == -1 && (errno == ENOSYS || errno == EPERM);
    CHECK((best < 1ms || whole_only));
  });
}

TEST_CASE("a deadline that has passed ends at once") {
  eventer::run([] {
    const auto start = eventer::clock::now();
    for (const eventer::duration limit :
         {eventer::duration(0), eventer::duration(-1), eventer::duration(-1h), eventer::duration::min()}) {
      eventer::sleep_for(limit);
      auto pair = connected_pair();
      CHECK(read_text(pair.server, limit) == timed_out_text);
    }
    for (const eventer::time_point deadline :
         {eventer::time_point::min(), eventer::time_point(), eventer::clock::now() - 1s})
      eventer::sleep_until(deadline);
    CHECK(eventer::clock::now() - start < 1s);
    CHECK(eventer::event_loop::current().stats().timers == 0);
  });
}

TEST_CASE("bytes that are there already win over a limit that has passed") {
  eventer::run([] {
    auto pair = connected_pair();
    CHECK(pair.client.write_all("there").has_value());
    CHECK(read_text(pair.server, -1s) == "there");
  });
}

TEST_CASE("a limit too long for the clock arms no timer") {
  eventer::run([] {
    auto sleeper = eventer::spawn([] { eventer::sleep_for(eventer::duration::max()); });
    eventer::yield();
    CHECK(eventer::event_loop::current().stats().timers == 0);
    sleeper.cancel();
    CHECK(sleeper.try_join().error() == std::errc::operation_canceled);
  });
}

TEST_CASE("the longest limits of every unit are none, and the most negative ones have passed") {
  eventer::run([] {
    auto pair = connected_pair();
    std::array<char, 8> bytes;
    CHECK(pair.server.read_some(bytes, std::chrono::hours::min()).error() == std::errc::timed_out);
    CHECK(pair.server.read_some(bytes, std::chrono::duration<double>(-1e300)).error() == std::errc::timed_out);
    CHECK(pair.client.write_all("xxx").has_value());
    CHECK(pair.server.read_some(eventer::buffer(bytes.data(), 1), std::chrono::seconds::max()).has_value());
    for (const eventer::time_limit limit :
         {eventer::time_limit(std::chrono::hours::max()), eventer::time_limit(std::chrono::duration<double>(1e300)),
          eventer::time_limit(eventer::duration::max())})
      CHECK(limit.unlimited());
    CHECK_FALSE(eventer::time_limit(std::chrono::hours(24 * 365)).unlimited());
  });
}

TEST_CASE("limits that are never reached leave no timers behind") {
  eventer::run([] {
    auto pair = connected_pair();
    auto echoing = eventer::spawn(echo, std::move(pair.server));
    std::size_t most = 0;
    for (int i = 0; i < 2000; ++i) {
      CHECK(pair.client.write_all("ping", 1h).has_value());
      CHECK(read_text(pair.client, 1h) == "ping");
      eventer::spawn([] { eventer::yield(); }).join_for(1h).value();
      most = std::max(most, eventer::event_loop::current().stats().timers);
    }
    CHECK(most <= 2);
    pair.client.close();
    echoing.join();
    CHECK(eventer::event_loop::current().stats().timers == 0);
  });
}

TEST_CASE("one who never has to wait starves neither timers nor descriptors") {
  for (const auto& [name, work] : never_waits) {
    DYNAMIC_SECTION(name) {
      int ticks = 0, echoes = 0;
      const auto start = eventer::clock::now();
      eventer::run([&, work = work] {
        auto all = std::make_shared<progress>();
        auto busy = eventer::spawn(work, all);
        auto pair = connected_pair();
        auto echoing = eventer::spawn(echo, std::move(pair.server));
        auto ticker = eventer::spawn([&ticks] {
          for (; ticks < 5; ++ticks) eventer::sleep_for(1ms);
        });
        for (; echoes < 10 && !all->over(); ++echoes) {
          if (!pair.client.write_all("x") || read_text(pair.client) != "x") break;
        }
        ticker.join();
        all->done = true;
        busy.join();
      });
      CHECK(ticks == 5);
      CHECK(echoes == 10);
      CHECK(eventer::clock::now() - start < patience);
    }
  }
}

TEST_CASE("one who never has to wait can be cancelled") {
  for (const auto& [name, work] : never_waits) {
    DYNAMIC_SECTION(name) {
      const auto start = eventer::clock::now();
      eventer::run([work = work] {
        auto busy = eventer::spawn(work, std::make_shared<progress>());
        eventer::yield();
        busy.cancel();
        CHECK(busy.try_join().error() == std::errc::operation_canceled);
      });
      CHECK(eventer::clock::now() - start < patience);
    }
  }
}

TEST_CASE("a loop with coroutines that never have to wait can be destroyed") {
  const auto start = eventer::clock::now();
  {
    eventer::event_loop loop;
    for (const auto& [name, work] : never_waits) (void)loop.spawn(work, std::make_shared<progress>());
    for (int i = 0; i < 3; ++i) loop.poll();
    CHECK(loop.stats().coroutines >= std::size(never_waits));
  }
  CHECK(eventer::clock::now() - start < patience);
}
