// Channels and select, within one loop and between threads.
#include <algorithm>
#include <atomic>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "../catch.hpp"
#include "../child.hpp"
#include "../foreign_coroutines.hpp"
#include "../virtual_run.hpp"
#include "eventer/eventer.hpp"

using namespace std::chrono_literals;
using eventer::io_result;
using eventer::on_receive;
using eventer::on_send;
using eventer::select;

namespace {

struct one_loop {
  template <class T>
  using channel = eventer::channel<T>;
};
struct any_thread {
  template <class T>
  using channel = eventer::shared_channel<T>;
};

#define CHANNEL_TEST(name) TEMPLATE_TEST_CASE(name, "[channel]", one_loop, any_thread)

}  // namespace

CHANNEL_TEST("a bounded channel takes as much as it holds, then sends wait, in their order") {
  typename TestType::template channel<int> c(2);
  std::string order;
  run_virtually([&] {
    eventer::task_group all;
    for (int i = 0; i < 5; ++i)
      all.spawn([&, c, i]() mutable {
        CHECK(c.send(i).has_value());
        order += "s" + std::to_string(i);
      });
    eventer::sleep_for(1ms);
    CHECK(order == "s0s1");
    CHECK(c.size() == 2);
    for (int i = 0; i < 5; ++i) CHECK(c.receive().value() == i);
    all.join();
    CHECK(order == "s0s1s2s3s4");
    CHECK(c.size() == 0);
  });
}

CHANNEL_TEST("a rendezvous: a send ends when its value has been taken") {
  typename TestType::template channel<std::unique_ptr<int>> c(0);
  std::string order;
  run_virtually([&] {
    auto sender = eventer::spawn([&, c]() mutable {
      CHECK(c.send(std::make_unique<int>(1)).has_value());
      order += 's';
    });
    eventer::sleep_for(1ms);
    order += 'r';
    CHECK(*c.receive().value() == 1);
    sender.join();
    auto receiver = eventer::spawn([c]() mutable { return *c.receive().value(); });
    eventer::sleep_for(1ms);
    auto value = std::make_unique<int>(2);
    CHECK(c.try_send(value));
    CHECK(value == nullptr);
    CHECK(receiver.join() == 2);
    value = std::make_unique<int>(3);
    CHECK_FALSE(c.try_send(value));
    CHECK(*value == 3);
  });
  CHECK(order == "rs");
}

CHANNEL_TEST("what is in a closed channel can be received; whoever waits hears closed") {
  typename TestType::template channel<std::string> c(1);
  run_virtually([&] {
    CHECK(c.send("kept").has_value());
    auto sender = eventer::spawn([c]() mutable { return c.send("too late"); });
    eventer::yield();
    c.close();
    c.close();
    CHECK(c.is_closed());
    CHECK(sender.join().error() == eventer::errc::closed);
    CHECK(c.send("refused").error() == eventer::errc::closed);
    std::string refused = "refused";
    CHECK_FALSE(c.try_send(refused));
    CHECK(refused == "refused");
    CHECK(c.receive().value() == "kept");
    CHECK(c.receive().error() == eventer::errc::closed);
    CHECK_FALSE(c.try_receive().has_value());
  });
  typename TestType::template channel<int> empty(0);
  run_virtually([&] {
    auto first = eventer::spawn([empty]() mutable { return empty.receive(); });
    auto second = eventer::spawn([empty]() mutable { return empty.receive(); });
    eventer::yield();
    empty.close();
    CHECK(first.join().error() == eventer::errc::closed);
    CHECK(second.join().error() == eventer::errc::closed);
  });
}

CHANNEL_TEST("a send or receive that gives up leaves nothing behind") {
  typename TestType::template channel<int> c(0);
  run_virtually([&] {
    CHECK(c.receive(1ms).error() == std::errc::timed_out);
    CHECK(c.send(1, 1ms).error() == std::errc::timed_out);
    CHECK_FALSE(c.try_receive().has_value());
    auto receiver = eventer::spawn([c]() mutable { (void)c.receive(); });
    auto sender = eventer::spawn([c]() mutable { (void)c.send(2); });
    receiver.cancel();
    sender.cancel();
    CHECK(receiver.try_join().error() == std::errc::operation_canceled);
    CHECK(sender.try_join().error() == std::errc::operation_canceled);
    int value = 3;
    CHECK_FALSE(c.try_send(value));
    CHECK_FALSE(c.try_receive().has_value());
    const eventer::deadline_scope soon(1ms);
    CHECK(c.receive().error() == std::errc::timed_out);
  });
}

CHANNEL_TEST("a value that came to a receive that has lost a when_any is received by the next") {
  typename TestType::template channel<int> c(0), other(0);
  run_virtually([&] {
    auto sender = eventer::spawn([c, other]() mutable {
      eventer::sleep_for(1ms);
      int one = 1, two = 2;
      CHECK(other.try_send(one));
      CHECK(c.try_send(two));
    });
    const auto first = eventer::when_any(c.async_receive(), other.async_receive());
    sender.join();
    // One is here, the other in its channel.
    const int here = first.index == 0 ? std::get<0>(first.results).value() : std::get<1>(first.results).value();
    CHECK(here == (first.index == 0 ? 2 : 1));
    CHECK((first.index == 0 ? other : c).receive(1ms).value() == (first.index == 0 ? 1 : 2));
    CHECK(eventer::when_any(eventer::after(1ms), c.async_receive()).index == 0);
  });
}

CHANNEL_TEST("pointers into channels: values are on the heap or in the channel, never on the sender's stack") {
  typename TestType::template channel<std::vector<int>> c(0);
  run_virtually([&] {
    eventer::task_group all;
    for (int i = 0; i < 20; ++i)
      all.spawn([c, i]() mutable {
        std::vector<int> mine(100, i);
        CHECK(c.send(std::move(mine)).has_value());
      });
    int sum = 0;
    for (int i = 0; i < 20; ++i) {
      const auto got = c.receive().value();
      CHECK(std::all_of(got.begin(), got.end(), [&](int each) { return each == got.front(); }));
      sum += got.front();
    }
    CHECK(sum == 190);
    all.join();
  });
}

CHANNEL_TEST("co_await sends and receives in C++20 coroutines of any type, and one that is destroyed loses nothing") {
  typename TestType::template channel<int> c(0);
  std::string order;
  run_virtually([&] {
    eventer::event_loop::current().post([&] {
      [](auto from, std::string* out) -> fire_and_forget {
        for (;;) {
          const io_result<int> got = co_await from.async_receive();
          *out += got ? std::to_string(*got) : got.error() == eventer::errc::closed ? "closed" : "?";
          if (!got) co_return;
        }
      }(c, &order);
    });
    eventer::yield();
    for (int i = 1; i <= 3; ++i) CHECK(c.send(i).has_value());
    c.close();
    eventer::yield();
  });
  CHECK(order == "123closed");

  typename TestType::template channel<int> d(0);
  eventer::run([&] {
    {
      const auto waits = std::make_shared<std::optional<by_hand>>();  // not on this stack: a callback fills it
      eventer::event_loop::current().post([&d, waits] {
        waits->emplace([](auto from) -> by_hand { (void)co_await from.async_receive(); }(d));
        (*waits)->handle.resume();
      });
      eventer::sleep_for(1ms);
      int value = 7;
      CHECK(d.try_send(value));
    }
    CHECK(d.try_receive() == 7);
  });
}

CHANNEL_TEST("select does exactly one of its cases") {
  typename TestType::template channel<int> a(0), b(1);
  std::string order;
  run_virtually([&] {
    eventer::spawn([a]() mutable {
      eventer::sleep_for(1ms);
      (void)a.send(1);
    });
    const auto heard = [&order](io_result<int> got) { order += got ? std::to_string(*got) : "closed"; };
    CHECK(select(on_receive(a, heard), on_receive(b, heard)).value() == 0);
    CHECK(select(1s, on_receive(a, heard),
                 on_send(b, 5, [&order](io_result<void> sent) { order += sent ? "sent" : "?"; }))
              .value() == 1);
    CHECK(b.size() == 1);
    CHECK(select(on_receive(a, heard), on_receive(b, heard)).value() == 1);
    CHECK(select(1ms, on_receive(a, heard), on_receive(b, heard)).error() == std::errc::timed_out);
    CHECK(select(0s, on_receive(a, heard)).error() == std::errc::timed_out);
    b.close();
    CHECK(select(on_receive(a, heard), on_receive(b, heard)).value() == 1);
    CHECK(select(on_send(b, 1, [&order](io_result<void> sent) {
            order += sent.error() == eventer::errc::closed ? "refused" : "?";
          })).value() == 0);
  });
  CHECK(order == "1sent5closedrefused");
}

CHANNEL_TEST("of several cases that are always ready none starves") {
  typename TestType::template channel<int> a(1), b(1), c(1);
  int counts[3] = {};
  run_virtually([&] {
    int value = 0;
    for (int i = 0; i < 300; ++i) {
      (void)a.try_send(value);
      (void)b.try_send(value);
      (void)c.try_send(value);
      const auto ignore = [](io_result<int>) {};
      ++counts[select(on_receive(a, ignore), on_receive(b, ignore), on_receive(c, ignore)).value()];
    }
  });
  for (const int each : counts) CHECK(each == 100);
}

CHANNEL_TEST("selects that wait for each other meet: each value is received once") {
  typename TestType::template channel<int> a(0), b(0);
  int sum = 0, sent = 0;
  run_virtually([&] {
    eventer::task_group all;
    for (int i = 0; i < 20; ++i) {
      all.spawn([&, a, b]() mutable {
        CHECK(select(on_receive(a, [&](io_result<int> v) { sum += *v; }),
                     on_receive(b, [&](io_result<int> v) { sum += *v; })));
      });
      all.spawn([&, a, b, i]() mutable {
        if (i % 2 == 0) eventer::yield();
        CHECK(select(on_send(b, i, [&](io_result<void>) { ++sent; }), on_send(a, i, [&](io_result<void>) { ++sent; })));
      });
    }
    all.join();
  });
  CHECK(sum == 190);
  CHECK(sent == 20);
}

CHANNEL_TEST("a select that is cancelled, or whose loop ends, leaves its channels as they were") {
  typename TestType::template channel<int> a(0), b(0);
  run_virtually([&] {
    const auto ignore = [](io_result<int>) {};
    auto waits = eventer::spawn([=]() mutable { (void)select(on_receive(a, ignore), on_receive(b, ignore)); });
    eventer::yield();
    waits.cancel();
    CHECK(waits.try_join().error() == std::errc::operation_canceled);
    int value = 1;
    CHECK_FALSE(a.try_send(value));
    CHECK_FALSE(b.try_send(value));
    eventer::spawn([=]() mutable { (void)select(on_receive(a, ignore), on_receive(b, ignore)); });
    eventer::yield();
  });
  int value = 1;
  CHECK_FALSE(a.try_send(value));
}

CHANNEL_TEST("co_await async_select") {
  typename TestType::template channel<int> a(0), b(0);
  std::string order;
  run_virtually([&] {
    eventer::event_loop::current().post([&] {
      [](auto one, auto other, std::string* out) -> fire_and_forget {
        const auto heard = [out](io_result<int> got) { *out += std::to_string(*got); };
        for (int i = 0; i < 2; ++i) {
          const auto which = co_await eventer::async_select(1h, on_receive(one, heard), on_receive(other, heard));
          *out += "case" + std::to_string(which.value()) + " ";
        }
        const auto late = co_await eventer::async_select(1ms, on_receive(one, heard));
        *out += late.error() == std::errc::timed_out ? "timed out" : "?";
      }(a, b, &order);
    });
    eventer::yield();
    CHECK(b.send(1).has_value());
    CHECK(a.send(2).has_value());
    eventer::sleep_for(1s);
  });
  CHECK(order == "1case1 2case0 timed out");
}

TEST_CASE("a select over a channel of one loop and one of all threads", "[channel][shared]") {
  eventer::channel<int> near(0);
  eventer::shared_channel<int> far(0);
  std::thread sender([far]() mutable {
    for (int i = 0; i < 200; ++i) (void)far.send(1);
    far.close();
  });
  int sum = 0;
  eventer::run([&] {
    auto local = eventer::spawn([near]() mutable {
      for (int i = 0; i < 200; ++i) CHECK(near.send(1000).has_value());
    });
    bool open = true;
    for (int i = 0; i < 200 || open;) {
      (void)select(on_receive(near, [&](io_result<int> v) { sum += *v, ++i; }),
                   on_receive(far, [&](io_result<int> v) { v ? void(sum += *v) : void(open = false); }));
      if (!open && i == 200) break;
    }
    local.join();
  });
  sender.join();
  CHECK(sum == 200 * 1000 + 200);
}

TEST_CASE("many senders and receivers of several loops and threads: each value comes once", "[channel][shared]") {
  for (const std::size_t capacity : {std::size_t{0}, std::size_t{1}, std::size_t{16}}) {
    eventer::shared_channel<int> c(capacity);
    std::atomic<long> sum{0};
    std::atomic<int> got{0}, senders{6};
    constexpr int each = 200;
    const auto send = [c, &senders]() mutable {
      for (int i = 1; i <= each; ++i)
        while (!c.send(i, i % 7 == 0 ? eventer::time_limit(20us) : eventer::time_limit())) {
        }
      if (--senders == 0) c.close();
    };
    const auto receive = [c, &sum, &got]() mutable {
      while (const auto v = c.receive()) sum += *v, ++got;
    };
    std::vector<std::thread> all;
    for (int i = 0; i < 2; ++i) {
      all.emplace_back(send);
      all.emplace_back(receive);
      all.emplace_back([=] {
        eventer::run([=] {
          eventer::task_group group;
          for (int k = 0; k < 2; ++k) {
            group.spawn(send);
            group.spawn(receive);
          }
          group.join();
        });
      });
    }
    for (auto& thread : all) thread.join();
    CHECK(got == 6 * each);
    CHECK(sum == 6L * each * (each + 1) / 2);
  }
}

TEST_CASE("selects of several loops and threads over shared channels: each value comes once", "[channel][shared]") {
  eventer::shared_channel<int> a(0), b(2);
  std::atomic<long> sum{0};
  std::atomic<int> left{4 * 200};
  const auto send = [a, b]() mutable {
    for (int i = 1; i <= 200; ++i)
      (void)select(on_send(a, i, [](io_result<void>) {}), on_send(b, i, [](io_result<void>) {}));
  };
  const auto receive = [a, b, &sum, &left]() mutable {
    bool open = true;
    const auto take = [&](io_result<int> v) {
      if (!v) return void(open = false);
      sum += *v;
      if (--left == 0) a.close(), b.close();
    };
    while (open) (void)select(1s, on_receive(a, take), on_receive(b, take));
  };
  std::vector<std::thread> all;
  for (int i = 0; i < 2; ++i) {
    all.emplace_back(send);
    all.emplace_back(receive);
    all.emplace_back([=] {
      eventer::run([=] {
        eventer::task_group group;
        group.spawn(send);
        group.spawn(receive);
        group.join();
      });
    });
  }
  for (auto& thread : all) thread.join();
  CHECK(left == 0);
  CHECK(sum == 4L * 200 * 201 / 2);
}

TEST_CASE("a channel of one loop is refused on another thread, and a wait in a callback too") {
  const auto callback = run_in_child([] {
    eventer::event_loop loop;
    loop.post([] {
      eventer::channel<int> c(0);
      (void)select(on_receive(c, [](io_result<int>) {}));
    });
    loop.run();
  });
  CHECK(contains(callback.output, "a select in a callback would block its loop"));
  const auto thread = run_in_child([] {
    eventer::channel<int> c(0);
    (void)select(on_receive(c, [](io_result<int>) {}));
  });
  CHECK(contains(thread.output, "use shared_channel, or a coroutine"));
}

CHANNEL_TEST("who always finds something in a channel lets others run, in each world") {
  typename TestType::template channel<int> c(1);
  bool other_ran = false;
  int co_rounds = 0;
  eventer::run([&] {
    eventer::spawn([&other_ran] { other_ran = true; });
    int rounds = 0;
    for (int value = 0; !other_ran && rounds < 1000; ++rounds) {
      CHECK(c.try_send(value));
      CHECK(c.receive().has_value());
    }
    CHECK(rounds < 1000);
    c.close();
    other_ran = false;
    eventer::spawn([&other_ran] { other_ran = true; });
    for (rounds = 0; !other_ran && rounds < 1000; ++rounds) CHECK(select(on_receive(c, [](io_result<int>) {})));
    CHECK(rounds < 1000);
    other_ran = false;
    eventer::event_loop::current().post([&] {
      [](auto from, bool* stop, int* count) -> fire_and_forget {
        for (; !*stop && *count < 1000; ++*count) {
          (void)co_await from.async_receive();
          (void)co_await eventer::async_select({}, on_receive(from, [](io_result<int>) {}));
        }
      }(c, &other_ran, &co_rounds);
    });
    eventer::event_loop::current().post([&other_ran] { other_ran = true; });
    while (!other_ran) eventer::yield();
    CHECK(co_rounds < 1000);
  });
}

CHANNEL_TEST("a select within a combination: it wins, loses, and is cancelled") {
  typename TestType::template channel<int> a(0), b(0);
  int sum = 0;
  run_virtually([&] {
    const auto add = [&sum](io_result<int> v) { sum += *v; };
    const auto both = [a, b, add] { return eventer::async_select({}, on_receive(a, add), on_receive(b, add)); };
    CHECK(eventer::when_any(eventer::after(1ms), both()).index == 0);
    eventer::spawn([b]() mutable { (void)b.send(5); });
    CHECK(eventer::when_any(eventer::after(1ms), both()).index == 1);
    CHECK(sum == 5);
    auto cancelled = eventer::spawn([both] { (void)eventer::when_all(eventer::after(1h), both()); });
    eventer::yield();
    cancelled.cancel();
    CHECK(cancelled.try_join().error() == std::errc::operation_canceled);
    {
      const eventer::deadline_scope soon(1ms);
      CHECK_THROWS_AS(eventer::when_any(eventer::after(1h), both()), std::system_error);
    }
    int value = 1;
    CHECK_FALSE(a.try_send(value));
    CHECK_FALSE(b.try_send(value));
  });
}
