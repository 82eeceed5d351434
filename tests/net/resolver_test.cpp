// Names: which need no thread, how many are looked up at once, and who leaves without waiting for the end.
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <thread>
#include <vector>

#include "../catch.hpp"
#include "../child.hpp"
#include "../faults.hpp"
#include "../foreign_coroutines.hpp"
#include "eventer/eventer.hpp"

using namespace std::chrono_literals;
using eventer::endpoint;
using eventer::errc;
using eventer::resolver;
using call = faults::call;

namespace {

using addresses = eventer::io_result<std::vector<endpoint>>;

std::vector<endpoint> some(int count = 1) {
  std::vector<endpoint> result;
  for (int i = 1; i <= count; ++i) result.push_back(endpoint::parse("192.0.2." + std::to_string(i) + ":80").value());
  return result;
}

// A network whose names are answered when the test says so. Copies share it.
class slow_names {
 public:
  addresses operator()(const std::string& host, const std::string&) const {
    std::unique_lock lock(all_->mutex);
    all_->asked.push_back(host);
    ++all_->running;
    all_->most = all_->most > all_->running ? all_->most : all_->running;
    all_->changed.notify_all();
    all_->changed.wait(lock, [&] { return all_->open || all_->answered.count(host) > 0; });
    --all_->running;
    all_->changed.notify_all();
    return some();
  }

  void answer(const std::string& host) const {
    const std::lock_guard lock(all_->mutex);
    all_->answered.insert(host);
    all_->changed.notify_all();
  }
  void answer_all() const {
    const std::lock_guard lock(all_->mutex);
    all_->open = true;
    all_->changed.notify_all();
  }
  // Blocks until so many names have been asked for; the threads that ask need no loop.
  void wait_until_asked(std::size_t count) const {
    std::unique_lock lock(all_->mutex);
    all_->changed.wait(lock, [&] { return all_->asked.size() >= count; });
  }
  std::vector<std::string> asked() const {
    const std::lock_guard lock(all_->mutex);
    return all_->asked;
  }
  int most_at_once() const {
    const std::lock_guard lock(all_->mutex);
    return all_->most;
  }

 private:
  struct state {
    std::mutex mutex;
    std::condition_variable changed;
    std::vector<std::string> asked;
    std::set<std::string> answered;
    bool open = false;
    int running = 0, most = 0;
  };
  std::shared_ptr<state> all_ = std::make_shared<state>();
};

// For tests that must not leave a thread in a lookup behind.
class answers_at_end {
 public:
  explicit answers_at_end(const slow_names& names) : names_(names) {}
  ~answers_at_end() { names_.answer_all(); }

 private:
  const slow_names names_;
};

// Shared by coroutines, so it is on the heap.
struct network {
  explicit network(const eventer::resolver_options& options = {}) : names(options, slow) {}
  slow_names slow;
  const answers_at_end at_end{slow};
  resolver names;
};
std::shared_ptr<network> make_network(const eventer::resolver_options& options = {}) {
  return std::make_shared<network>(options);
}

// Gives up waiting for a lookup when it has certainly begun.
void leave_running(network& net, const char* name) {
  while (net.slow.asked().empty()) CHECK(net.names.resolve(name, "80", 1ms).error() == std::errc::timed_out);
}

template <class F>
void in_both_worlds(F&& function) {
  SECTION("on a plain thread") { function(); }
  SECTION("in a coroutine") { eventer::run(function); }
}

}  // namespace

TEST_CASE("numeric addresses are answered without a thread, and what can't be a name is refused without one") {
  struct expected {
    const char *host, *service, *text;  // nullptr: bad_address
  };
  in_both_worlds([] {
    const auto net = make_network();
    for (const auto& [host, service, text] : {
             expected{"127.0.0.1", "80", "127.0.0.1:80"},
             expected{"127.0.0.1", "", "127.0.0.1:0"},
             expected{"::1", "65535", "[::1]:65535"},
             expected{"[::1]", "443", "[::1]:443"},
             expected{"fe80::1%2", "1", "[fe80::1%2]:1"},
             expected{"127.0.0.1", "65536", nullptr},
             expected{"name", "65536", nullptr},
             expected{"", "80", nullptr},
             expected{"[]", "80", nullptr},
             expected{"[name]", "80", nullptr},
             expected{"[127.0.0.1]", "80", nullptr},
             expected{"::g", "80", nullptr},
             expected{"a:b", "80", nullptr},
             // What inet_aton, and so getaddrinfo, would take for an address.
             expected{"127.1", "80", nullptr},
             expected{"127.0.0.256", "80", nullptr},
             expected{"2130706433", "80", nullptr},
             expected{"0x7f.1", "80", nullptr},
             expected{"0x7f000001", "80", nullptr},
             expected{"name.0177.", "80", nullptr},
         }) {
      CAPTURE(host, service);
      const auto found = net->names.resolve(host, service);
      CHECK(eventer::await(net->names.async_resolve(host, service)).error() == found.error());
      if (text == nullptr) {
        CHECK(found.error() == errc::bad_address);
      } else {
        REQUIRE(found.has_value());
        REQUIRE(found->size() == 1);
        CHECK(found->front().to_string() == text);
      }
    }
    const std::string_view with_nul("loc\0al", 6);
    CHECK(net->names.resolve(with_nul, "80").error() == errc::bad_address);
    CHECK(net->names.resolve("name", with_nul).error() == errc::bad_address);
    CHECK(net->names.resolve(std::string(300, 'a'), "80").error() == errc::bad_address);
    CHECK(net->names.stats().threads == 0);
    CHECK(net->slow.asked().empty());
  });
}

TEST_CASE("the machine's own names are found, and unknown ones are an error that says what to do") {
  in_both_worlds([] {
    const auto found = eventer::resolve("localhost", "80", 60s);
    REQUIRE(found.has_value());
    REQUIRE_FALSE(found->empty());
    for (const endpoint& each : *found) {
      CHECK((each.host() == "127.0.0.1" || each.host() == "::1"));
      CHECK(each.port() == 80);
    }
    CHECK(eventer::resolve("localhost", "no-such-service", 60s).error().category() == eventer::resolver_category());
    // An interface's name in an address asks the kernel, no name server.
    CHECK(eventer::resolve("fe80::1%no-such-interface", "80", 60s).error() == std::errc::no_such_device_or_address);
  });
}

TEST_CASE("each error of a lookup is of the resolver's category, says what to do, and compares with std::errc") {
  struct expected {
    int code;
    std::errc condition;
    const char* advice;
  };
  for (const auto& [code, condition, advice] :
       {expected{EAI_NONAME, std::errc::no_such_device_or_address, "/etc/hosts"},
        expected{EAI_NODATA, std::errc::no_such_device_or_address, "neither"},
        expected{EAI_AGAIN, std::errc::resource_unavailable_try_again, "try again"},
        expected{EAI_MEMORY, std::errc::not_enough_memory, "getaddrinfo"},
        expected{EAI_SERVICE, std::errc::invalid_argument, "number"},
        expected{EAI_FAMILY, std::errc::address_family_not_supported, "getaddrinfo"},
        expected{eventer::resolver_queue_full, std::errc::resource_unavailable_try_again, "longer queue"}}) {
    const std::error_code error(code, eventer::resolver_category());
    CAPTURE(error.message());
    CHECK(error == condition);
    CHECK(contains(error.message(), advice));
    CHECK(contains(error.message(), code == eventer::resolver_queue_full ? "too many" : ::gai_strerror(code)));
  }
  CHECK(std::string(eventer::resolver_category().name()) == "eventer.resolver");
  CHECK(contains(std::error_code(EAI_FAIL, eventer::resolver_category()).message(), "getent"));
  errno = EMFILE;
  CHECK(eventer::error_from_getaddrinfo(EAI_SYSTEM) == std::errc::too_many_files_open);
  CHECK(eventer::error_from_getaddrinfo(EAI_NONAME) == std::errc::no_such_device_or_address);
}

TEST_CASE("a name may have many addresses, or none, or a lookup that throws") {
  in_both_worlds([] {
    resolver names({}, [](const std::string& host, const std::string& service) -> addresses {
      if (host == "many") return some(100);
      if (host == "nobody") return eventer::error_from_getaddrinfo(EAI_NONAME);
      if (host == "throws") throw std::runtime_error("from a lookup");
      if (host == "throws.code") throw std::system_error(std::make_error_code(std::errc::timed_out));
      CHECK(service == "http");
      return std::vector<endpoint>();
    });
    CHECK(names.resolve("many", "80").value() == some(100));
    CHECK(names.resolve("nobody", "80").error() == std::errc::no_such_device_or_address);
    CHECK(names.resolve("throws", "80").error() == errc::exception);
    CHECK(names.resolve("throws.code", "80").error() == std::errc::timed_out);
    CHECK(names.resolve("none", "http").value().empty());
    CHECK(names.resolve("127.0.0.1", "http").value().empty());  // the service's name is looked up
    CHECK(names.stats().lookups == 6);
  });
}

TEST_CASE("a lookup that takes too long is left at the limit, and its end disturbs nobody") {
  in_both_worlds([] {
    const auto net = make_network();
    leave_running(*net, "slow");
    CHECK(net->names.resolve("slow", "80", 1ms).error() == std::errc::timed_out);
    CHECK(eventer::await(net->names.async_resolve("slow", "80", 1ms)).error() == std::errc::timed_out);
    CHECK(net->names.resolve("slow", "80", -1s).error() == std::errc::timed_out);
    CHECK(net->names.stats().running == 1);
    net->slow.answer("slow");
    net->slow.answer("other");
    CHECK(net->names.resolve("other", "80", 60s).has_value());
  });
}

TEST_CASE("100 who ask for the same name at the same time are one lookup; another service is another one") {
  eventer::run([] {
    const auto net = make_network();
    std::vector<eventer::join_handle<bool>> all;
    for (int i = 0; i < 100; ++i)
      all.push_back(eventer::spawn([net] { return net->names.resolve("name", "80").value() == some(); }));
    all.push_back(eventer::spawn([net] { return net->names.resolve("name", "443").has_value(); }));
    eventer::yield();
    net->slow.wait_until_asked(2);
    net->slow.answer_all();
    for (auto& each : all) CHECK(each.join());
    CHECK(net->slow.asked().size() == 2);
    CHECK(net->names.stats().lookups == 2);
    CHECK(net->names.stats().joined == 99);
    // It is no cache: who comes later gets a fresh answer.
    CHECK(net->names.resolve("name", "80").has_value());
    CHECK(net->names.stats().lookups == 3);
  });
}

TEST_CASE("no more names than there are threads are looked up at once, the others in the order in which they came") {
  for (const unsigned threads : {1u, 3u}) {
    const auto net = make_network({.threads = threads});
    eventer::run([net] {
      std::vector<eventer::join_handle<bool>> all;
      for (int i = 0; i < 20; ++i)
        all.push_back(
            eventer::spawn([net, i] { return net->names.resolve("n" + std::to_string(i), "80").has_value(); }));
      eventer::yield();
      net->slow.wait_until_asked(net->names.stats().threads);
      const auto stats = net->names.stats();
      CHECK(stats.running + stats.queued == 20);
      net->slow.answer_all();
      for (auto& each : all) CHECK(each.join());
    });
    CHECK(net->slow.most_at_once() == static_cast<int>(threads));
    CHECK(net->slow.asked().size() == 20);
    if (threads == 1)
      for (int i = 0; i < 20; ++i) CHECK(net->slow.asked()[static_cast<std::size_t>(i)] == "n" + std::to_string(i));
  }
}

TEST_CASE("a full queue is an error that says so, and who gives up makes room") {
  eventer::run([] {
    const auto net = make_network({.threads = 1, .queue = 2});
    std::vector<eventer::join_handle<bool>> all;
    for (const char* const name : {"running", "first", "second"})
      all.push_back(eventer::spawn([net, name] { return net->names.resolve(name, "80").has_value(); }));
    eventer::yield();
    net->slow.wait_until_asked(1);
    const std::error_code refused = net->names.resolve("third", "80").error();
    CHECK(refused == std::errc::resource_unavailable_try_again);
    CHECK(contains(refused.message(), "too many names"));
    CHECK(eventer::await(net->names.async_resolve("third", "80")).error() == refused);
    // Those that are queued already are joined all the same.
    CHECK(net->names.resolve("second", "80", 1ms).error() == std::errc::timed_out);

    all[1].cancel();
    CHECK(all[1].try_join().error() == std::errc::operation_canceled);
    auto third = eventer::spawn([net] { return net->names.resolve("third", "80").has_value(); });
    eventer::yield();
    net->slow.answer_all();
    CHECK(third.join());
    CHECK(all[0].join());
    CHECK(all[2].join());
    CHECK(net->slow.asked() == std::vector<std::string>{"running", "second", "third"});
    const auto stats = net->names.stats();
    CHECK(stats.refused == 2);
    CHECK(stats.abandoned == 1);
  });
}

TEST_CASE("what nobody waits for any more when its turn comes is not looked up") {
  const auto net = make_network({.threads = 1});
  leave_running(*net, "running");
  CHECK(net->names.resolve("forgotten", "80", 1ms).error() == std::errc::timed_out);
  net->slow.answer_all();
  CHECK(net->names.resolve("last", "80").has_value());
  CHECK(net->slow.asked() == std::vector<std::string>{"running", "last"});
}

TEST_CASE("resolving can be cancelled, in a coroutine and in a task, and others who wait for the name go on") {
  eventer::run([] {
    const auto net = make_network();
    auto patient = eventer::spawn([net] { return net->names.resolve("name", "80").has_value(); });
    auto stackful = eventer::spawn([net] { return net->names.resolve("name", "80").has_value(); });
    auto task = eventer::spawn([](std::shared_ptr<network> n) -> eventer::task<bool> {
      co_return (co_await n->names.async_resolve("name", "80")).has_value();
    }(net));
    eventer::yield();
    stackful.cancel();
    task.cancel();
    CHECK(stackful.try_join().error() == std::errc::operation_canceled);
    CHECK(task.try_join().error() == std::errc::operation_canceled);
    CHECK_FALSE(patient.done());
    net->slow.answer_all();
    CHECK(patient.join());
    CHECK(eventer::event_loop::current().stats().timers == 0);
  });
}

TEST_CASE("a loop may end while the thread that has answered it still wakes it") {
  static std::atomic<bool> woken;
  woken = false;
  bool open_while_woken = false;
  resolver names({}, [](const std::string&, const std::string&) -> addresses {
    std::this_thread::sleep_for(20ms);
    // The thread stands still right before it wakes the loop, which has been awake already for a timer.
    eventer::syscalls::fault_hook = [](call which) {
      if ((which == call::write || which == call::kevent) && !woken) {
        std::this_thread::sleep_for(50ms);
        woken = true;
      }
      return 0;
    };
    return std::vector<endpoint>{endpoint::parse("127.0.0.1:1").value()};
  });
  {
    eventer::event_loop loop;
    auto ticks = loop.every(1ms, [] {});
    auto found = loop.spawn([&names, &ticks] {
      const bool right = names.resolve("slow.test", "1").has_value();
      ticks.cancel();
      return right;
    });
    loop.run();
    CHECK(found.join());
    open_while_woken = woken;
  }
  CHECK(open_while_woken);
}

TEST_CASE("two loops and a plain thread wait for one lookup") {
  const auto net = make_network();
  const auto ask = [net] { return net->names.resolve("name", "80").has_value(); };
  std::vector<std::optional<bool>> good(3);
  const auto ask_on_a_loop = [ask](std::optional<bool>* out) {
    eventer::event_loop loop;
    auto asking = loop.spawn(ask);
    loop.run();
    *out = asking.join();
  };
  std::thread first(ask_on_a_loop, &good[0]), second(ask_on_a_loop, &good[1]);
  std::thread third([&] { good[2] = ask(); });
  while (net->names.stats().joined < 2) std::this_thread::yield();
  net->slow.answer_all();
  for (std::thread* const each : {&first, &second, &third}) each->join();
  for (const auto& each : good) CHECK(each == true);
  CHECK(net->slow.asked().size() == 1);
}

TEST_CASE("a foreign C++20 coroutine awaits a name, in time, too late and at its loop's end") {
  const auto ask = [](std::shared_ptr<network> net, const char* host, eventer::time_limit limit,
                      std::shared_ptr<std::optional<addresses>> out) -> fire_and_forget {
    // What the operation is given need not live.
    auto operation = net->names.async_resolve(std::string(host), std::string("80"), limit);
    out->emplace(co_await operation);
  };
  const auto net = make_network();
  const auto in_time = std::make_shared<std::optional<addresses>>();
  const auto too_late = std::make_shared<std::optional<addresses>>();
  const auto left = std::make_shared<std::optional<addresses>>();
  {
    eventer::event_loop loop;
    loop.post([&] {
      ask(net, "quick", {}, in_time);
      ask(net, "slow", 1ms, too_late);
      net->slow.wait_until_asked(2);
      net->slow.answer("quick");
    });
    loop.run();
    REQUIRE((in_time->has_value() && too_late->has_value()));
    CHECK((*in_time)->value() == some());
    CHECK((*too_late)->error() == std::errc::timed_out);
    loop.post([&] { ask(net, "slow", {}, left); });
    loop.poll();
    CHECK_FALSE(left->has_value());
  }
  REQUIRE(left->has_value());
  CHECK((*left)->error() == std::errc::operation_canceled);
}

TEST_CASE("several names are awaited at once, and the losers of when_any are only left") {
  eventer::run([] {
    const auto net = make_network();
    net->slow.answer("quick");
    auto first = eventer::when_any(net->names.async_resolve("slow", "80"), net->names.async_resolve("quick", "80"));
    CHECK(first.index == 1);
    CHECK(std::get<1>(first.results).value() == some());
    net->slow.answer("slow");
    auto [a, b] = eventer::when_all(net->names.async_resolve("slow", "80"), net->names.async_resolve("quick", "80"));
    CHECK((a && b));
  });
}

TEST_CASE("virtual time stands still while a name is looked up") {
  eventer::manual_clock time;
  eventer::event_loop loop({.clock = &time});
  std::atomic<bool> answered{false};
  resolver names({}, [&](const std::string&, const std::string&) -> addresses {
    // The loop has had turns with nothing to do: it would have gone on to the sleeper's time.
    for (int i = 0; i < 20; ++i) {
      std::atomic<bool> turned{false};
      loop.post([&] { turned = true; });
      while (!turned) std::this_thread::yield();
    }
    answered = true;
    return some();
  });
  auto sleeper = loop.spawn([&] {
    eventer::sleep_for(10s);
    return answered.load();
  });
  auto asker = loop.spawn([&] { return names.resolve("name", "80", 5s).has_value(); });
  loop.run();
  CHECK(asker.join());
  CHECK(sleeper.join());
}

TEST_CASE("a deadline_scope ends the wait for a name") {
  eventer::run([] {
    const auto net = make_network();
    const eventer::deadline_scope all(1ms);
    CHECK(net->names.resolve("slow", "80").error() == std::errc::timed_out);
    CHECK(net->names.resolve("slow", "80", 1h).error() == std::errc::timed_out);
  });
}

TEST_CASE("waiting for a name in a callback is refused with a sentence, but a number is answered") {
  const auto result = run_in_child([] {
    eventer::event_loop loop;
    loop.post([] {
      if (!eventer::resolve("127.0.0.1", "80")) return;
      (void)eventer::resolve("localhost", "80");
    });
    loop.run();
  });
  CHECK(result.signal == SIGABRT);
  CHECK(contains(result.output, "callback would block its loop"));
}

TEST_CASE("threads are made when they are needed, with all signals blocked, and end when they are idle") {
  std::atomic<bool> all_blocked{true};
  resolver names({.threads = 2, .idle = 1ms}, [&](const std::string&, const std::string&) -> addresses {
    sigset_t blocked;
    ::pthread_sigmask(SIG_SETMASK, nullptr, &blocked);
    for (const int each : {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGALRM, SIGPIPE})
      all_blocked = all_blocked && ::sigismember(&blocked, each) == 1;
    return some();
  });
  sigset_t before, after;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &before);
  CHECK(names.stats().threads == 0);
  for (int i = 0; i < 3; ++i) {
    CHECK(names.resolve("name", "80").has_value());
    while (names.stats().threads > 0) std::this_thread::yield();
  }
  ::pthread_sigmask(SIG_SETMASK, nullptr, &after);
  CHECK(all_blocked);
  CHECK(::sigismember(&before, SIGINT) == ::sigismember(&after, SIGINT));
}

TEST_CASE("where no thread can be made the error says so; where one runs already, it does the work") {
  in_both_worlds([] {
    const auto net = make_network({.threads = 2});
    faults injected;
    injected.fail(call::pthread_create, EAGAIN);
    CHECK(net->names.resolve("name", "80").error() == std::errc::resource_unavailable_try_again);
    CHECK(injected.faults_left(call::pthread_create) == 0);
    std::thread asks([&] { (void)net->names.resolve("name", "80"); });
    net->slow.wait_until_asked(1);  // else the thread could find that nobody waits any more, and take the next one
    injected.fail(call::pthread_create, EAGAIN);
    CHECK(net->names.resolve("other", "80", 1ms).error() == std::errc::timed_out);
    CHECK(injected.faults_left(call::pthread_create) == 0);
    net->slow.answer_all();
    asks.join();
    CHECK(net->names.resolve("last", "80").has_value());
    CHECK(net->names.stats().threads <= 2);
  });
}

TEST_CASE("a resolver that goes answers who is queued, and lets its threads end by themselves") {
  const slow_names slow;
  const answers_at_end at_end(slow);
  auto names = std::make_unique<resolver>(eventer::resolver_options{.threads = 1}, slow);
  std::optional<addresses> running, queued;
  std::thread first([&] { running = names->resolve("running", "80"); });
  slow.wait_until_asked(1);
  std::thread second([&] { queued = names->resolve("queued", "80"); });
  while (names->stats().queued < 1) std::this_thread::yield();
  names.reset();
  second.join();
  CHECK(queued->error() == std::errc::operation_canceled);
  slow.answer_all();
  first.join();
  CHECK(running->has_value());
}

TEST_CASE("a program can replace the resolver that everything asks") {
  const auto net = make_network();
  net->slow.answer_all();
  resolver::replace_shared(&net->names);
  const auto found = eventer::resolve("anything", "80");
  const auto awaited = eventer::await(eventer::async_resolve("anything", "80"));
  resolver::replace_shared(nullptr);
  CHECK(found.value() == some());
  CHECK(awaited.value() == some());
  CHECK(&resolver::shared() != &net->names);
}

TEST_CASE("a forked child looks names up with threads of its own, whatever the parent's threads do", "[no-emulator]") {
#if EVENTER_TSAN
  EVENTER_SKIP("ThreadSanitizer does not allow threads after a fork of a process with threads");
#else
  const slow_names slow;
  const answers_at_end at_end(slow);
  // Not the mutex of `slow` for names that the child asks for: a thread of the parent may hold it.
  resolver names({.threads = 1}, [slow](const std::string& host, const std::string& service) -> addresses {
    return host == "slow" ? slow(host, service) : some(2);
  });
  std::thread waits([&] { CHECK(names.resolve("slow", "80").has_value()); });
  slow.wait_until_asked(1);
  CHECK(eventer::resolve("localhost", "80", 60s).has_value());

  const auto child = run_in_child([&] {
    bool good = names.resolve("name", "80", 60s).has_value();
    eventer::run([&] { good = good && names.resolve("other", "80", 60s).value().size() == 2; });
    good = good && names.stats().lookups == 2 && eventer::resolve("localhost", "80", 60s).has_value();
    std::printf(good ? "good" : "bad");
  });
  CHECK(child.output == "good");
  slow.answer_all();
  waits.join();
  CHECK(names.resolve("name", "80").has_value());
#endif
}
