// What waiting costs: system calls, allocations and looks at the clock of a request and its answer, in each world.
#include <dlfcn.h>
#include <time.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>

#include "../catch.hpp"
#include "../faults.hpp"
#include "../sockets.hpp"
#include "../two_worlds.hpp"
#include "eventer/eventer.hpp"

using namespace std::chrono_literals;
using eventer::event_loop;
using eventer::tcp_stream;
using call = faults::call;

// The sanitizers have allocators and clocks of their own, and other C libraries other names.
#if defined(__GLIBC__) && !EVENTER_ASAN && !EVENTER_TSAN
#define EVENTER_TEST_COUNTS 1
#else
#define EVENTER_TEST_COUNTS 0
#endif

#if EVENTER_TEST_COUNTS
namespace {
thread_local long allocations_here = 0, clock_reads_here = 0;
}  // namespace

extern "C" {
void* __libc_malloc(std::size_t);

__attribute__((noinline)) void* malloc(std::size_t bytes) {
  ++allocations_here;
  return __libc_malloc(bytes);
}
// Still the C library's, which asks the kernel's page and not the kernel.
__attribute__((noinline)) int clock_gettime(clockid_t which, timespec* time) noexcept {
  using function = int (*)(clockid_t, timespec*);
  static const auto original = reinterpret_cast<function>(::dlsym(RTLD_NEXT, "clock_gettime"));
  ++clock_reads_here;
  return original(which, time);
}
}
#endif

namespace {

// A tcp echo on a thread of its own, which none of the counters here sees.
class plain_client {
 public:
  explicit plain_client(eventer::unique_fd connection, int requests)
      : thread_([fd = std::move(connection), requests] {
          char byte = 'x';
          for (int i = 0; i < requests; ++i)
            if (::send(fd.get(), &byte, 1, MSG_NOSIGNAL) != 1 || ::recv(fd.get(), &byte, 1, MSG_WAITALL) != 1) return;
        }) {}
  ~plain_client() { thread_.join(); }

 private:
  std::thread thread_;
};

// Servers that answer every byte, until the end.
struct server {
  const char* name;
  pending<std::string> (*start)(std::shared_ptr<tcp_stream>, eventer::time_limit);
};
pending<std::string> start_stackful(std::shared_ptr<tcp_stream> stream, eventer::time_limit limit) {
  pending<std::string> result;
  (void)eventer::spawn([result, stream, limit] {
    std::array<char, 64> bytes;  // with room for more than comes: a full buffer would have to be asked for more
    while (const auto got = stream->read_some(bytes, limit))
      if (!stream->write_all({bytes.data(), *got}, limit)) break;
    result.end("ok");
  });
  return result;
}
template <class Coroutine>
Coroutine answer(std::shared_ptr<tcp_stream> stream, eventer::time_limit limit, pending<std::string> result) {
  std::array<char, 64> bytes;
  for (;;) {
    const auto got = co_await stream->async_read_some(bytes, limit);
    if (!got) break;
    const auto put = co_await stream->async_write_all({bytes.data(), *got}, limit);
    if (!put) break;
  }
  result.end("ok");
}
pending<std::string> start_foreign(std::shared_ptr<tcp_stream> stream, eventer::time_limit limit) {
  pending<std::string> result;
  event_loop::current().post([=] { answer<fire_and_forget>(stream, limit, result); });
  return result;
}
pending<std::string> start_task(std::shared_ptr<tcp_stream> stream, eventer::time_limit limit) {
  pending<std::string> result;
  (void)eventer::spawn(answer<eventer::task<>>(stream, limit, result));
  return result;
}
const server servers[] = {{"stackful", &start_stackful}, {"co_await", &start_foreign}, {"task", &start_task}};

}  // namespace

TEST_CASE("a request and its answer on one connection cost three system calls, in every world and with time limits") {
  for (const server& each : servers) {
    for (const bool limited : {false, true}) {
      DYNAMIC_SECTION(each.name << (limited ? ", with limits" : "")) {
        eventer::run([&each, limited] {
          constexpr int requests = 2000;
          auto peer = connected_to_plain_peer();
          auto stream = shared(std::move(peer.server));
          const faults counted;
          auto serving = each.start(stream, limited ? eventer::time_limit(10s) : eventer::time_limit());
          const plain_client client(std::move(peer.client), requests);
          CHECK(serving.get() == "ok");
          int calls = 0;
          for (const call which : {call::epoll_wait, call::epoll_ctl, call::recv, call::recvmsg, call::send, call::read,
                                   call::write, call::timerfd_settime, call::poll, call::getsockopt, call::fcntl})
            calls += counted.calls(which);
          CHECK(counted.calls(call::send) == requests);
          CHECK(counted.calls(call::epoll_ctl) <= 1);
          CHECK(calls <= 3 * requests + 20);
        });
      }
    }
  }
}

#if EVENTER_TEST_COUNTS

TEST_CASE("waiting for requests allocates nothing, in every world and with time limits") {
  for (const server& each : servers) {
    for (const bool limited : {false, true}) {
      DYNAMIC_SECTION(each.name << (limited ? ", with limits" : "")) {
        eventer::run([&each, limited] {
          auto pair = connected_pair();
          auto near = shared(std::move(pair.client));
          const eventer::time_limit limit = limited ? eventer::time_limit(10s) : eventer::time_limit();
          auto serving = each.start(shared(std::move(pair.server)), limit);
          char byte = 'x';
          const auto talk = [&](int times) {
            bool right = true;
            for (int i = 0; i < times; ++i)
              right = near->write_all({&byte, 1}, limit) && near->read_exact({&byte, 1}, limit) && right;
            return right;
          };
          CHECK(talk(200));  // whatever grows has grown
          const long before = allocations_here;
          const bool right = talk(2000);
          const long allocated = allocations_here - before;
          CHECK(right);
          CHECK(allocated == 0);
          near->close();
          CHECK(serving.get() == "ok");
        });
      }
    }
  }
}

namespace {

// Each tells how much was allocated in its last waits.
constexpr int waits = 500, first_waits = 50;

template <class Coroutine>
Coroutine sleep_often(pending<long> result) {
  long before = 0;
  for (int i = 0; i < waits; ++i) {
    if (i == first_waits) before = allocations_here;
    co_await eventer::after(1us);
  }
  result.end(allocations_here - before);
}
template <class Coroutine>
Coroutine wait_for_readiness_often(pending<long> result, int fd) {
  long before = 0;
  for (int i = 0; i < waits; ++i) {
    if (i == first_waits) before = allocations_here;
    (void)co_await eventer::writable(fd);
  }
  result.end(allocations_here - before);
}
template <class Coroutine>
Coroutine time_out_often(pending<long> result, std::shared_ptr<tcp_stream> idle) {
  long before = 0;
  char byte;
  for (int i = 0; i < waits; ++i) {
    if (i == first_waits) before = allocations_here;
    (void)co_await idle->async_read_some({&byte, 1}, 1us);
  }
  result.end(allocations_here - before);
}

}  // namespace

TEST_CASE("sleeping, readiness and time-outs allocate nothing, in every world") {
  eventer::run([] {
    auto pair = connected_pair();
    const auto idle = shared(std::move(pair.server));
    const int fd = pair.client.native_handle();
    const auto allocated_by = [](auto start) {
      const pending<long> result;
      start(result);
      return result.get();
    };
    const auto in_foreign = [&](auto start) {
      return allocated_by(
          [&](const pending<long>& result) { event_loop::current().post([start, result] { start(result); }); });
    };
    const auto in_task = [&](auto start) {
      return allocated_by([&](const pending<long>& result) { (void)eventer::spawn(start(result)); });
    };
    using task = eventer::task<>;
    CHECK(in_foreign([](auto result) { sleep_often<fire_and_forget>(result); }) == 0);
    CHECK(in_foreign([fd](auto result) { wait_for_readiness_often<fire_and_forget>(result, fd); }) == 0);
    CHECK(in_foreign([idle](auto result) { time_out_often<fire_and_forget>(result, idle); }) == 0);
    CHECK(in_task([](auto result) { return sleep_often<task>(result); }) == 0);
    CHECK(in_task([fd](auto result) { return wait_for_readiness_often<task>(result, fd); }) == 0);
    CHECK(in_task([idle](auto result) { return time_out_often<task>(result, idle); }) == 0);
    long before = 0;
    for (int i = 0; i < waits; ++i) {
      if (i == first_waits) before = allocations_here;
      eventer::sleep_for(1us);
      (void)eventer::await(eventer::writable(fd));
      char byte;
      (void)idle->read_some({&byte, 1}, 1us);
    }
    const long allocated = allocations_here - before;
    CHECK(allocated == 0);
  });
}

TEST_CASE("a limit on a call that does not have to wait reads no clock") {
  eventer::run([] {
    auto pair = eventer::unix_stream::pair().value();
    auto near = shared(std::move(pair.first)), far = shared(std::move(pair.second));
    char byte = 'x';
    const auto talk = [&](int times, eventer::time_limit limit) {
      bool right = true;
      for (int i = 0; i < times; ++i)
        right = near->write_all({&byte, 1}, limit) && far->read_some({&byte, 1}, limit) &&
                near->write_some({&byte, 1}, limit) && far->read_exact({&byte, 1}, limit) && right;
      return right;
    };
    // Few enough, both times together, for the coroutine not to give way, whereupon the loop looks at the clock.
    for (const eventer::time_limit limit : {eventer::time_limit(), eventer::time_limit(10s)}) {
      eventer::yield();
      const long before = clock_reads_here;
      const bool right = talk(5, limit);
      const long read = clock_reads_here - before;
      CHECK(right);
      CHECK(read == 0);
    }
    const long before = clock_reads_here;
    const bool timed_out = far->read_some({&byte, 1}, 0s).error() == std::errc::timed_out;
    CHECK(clock_reads_here > before);  // the counter counts
    CHECK(timed_out);
  });
}

#endif

TEST_CASE(
    "a post from another thread that finds the loop awake makes no system call, and a sleeping one is woken by one",
    "[epoll]") {
  event_loop loop;
  constexpr int posts = 1000;
  int ran = 0;
  int calls = -1;
  loop.post([&] {
    // The loop is awake: it waits in this function for the thread to end.
    std::thread([&] {
      const faults counted;
      for (int i = 0; i < posts; ++i) loop.post([&ran] { ++ran; });
      calls = counted.calls(call::write);
    }).join();
  });
  loop.run();
  CHECK(ran == posts);
  CHECK(calls == 0);

  // Each time it sleeps, one post wakes it, however many come.
  const std::uint64_t waits_before = loop.stats().waits;
  std::atomic<bool> over{false};
  std::thread thread([&] {
    const faults counted;
    constexpr int rounds = 50;
    std::atomic<int> heard{0};
    for (int round = 1; round <= rounds; ++round) {
      for (int i = 0; i < 10; ++i)
        loop.post([&heard, i] {
          if (i == 9) {
            ++heard;
            heard.notify_one();
          }
        });
      for (int seen = heard; seen < round; seen = heard) heard.wait(seen);
    }
    calls = counted.calls(call::write);
    over = true;
    loop.post([] {});
  });
  {
    auto guard = std::make_unique<eventer::work_guard>(loop);
    eventer::event ending = loop.each_turn([&] {
      if (over) guard = nullptr;
    });
    loop.run();
    ending.cancel();
  }
  thread.join();
  CHECK(calls >= 1);
  CHECK(static_cast<std::uint64_t>(calls) <= loop.stats().waits - waits_before);
}
