// Coroutines of the C interface: what runs when, what calls answer, how one ends.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/uio.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "child.hpp"
#include "eventer/base/config.hpp"
#include "loops.hpp"

using compat_test::end;
using compat_test::notice;
using compat_test::run_callback;
using compat_test::run_coroutine;
using compat_test::socket_pair;

namespace {

// An event of the running coroutine over one end.
eventer_aco_t converted(socket_pair& pair, int which) {
  return eventer_set_eventer_aco(eventer_alloc_fd(nullptr, nullptr, pair.give(which), EVENTER_READ));
}
std::string read_text(int fd) {
  char bytes[256];
  const ssize_t got = ::recv(fd, bytes, sizeof bytes, 0);
  return got > 0 ? std::string(bytes, static_cast<std::size_t>(got)) : std::string();
}

struct order {
  std::vector<std::string> steps;
};

}  // namespace

TEST_CASE("a coroutine that is started in a callback runs at once, to its first wait") {
  order what;
  notice done;
  struct both {
    order& what;
    notice& done;
  } shared{what, done};
  run_callback([&] {
    eventer_aco_start(
        [] {
          auto& mine = *static_cast<both*>(eventer_aco_arg());
          mine.what.steps.push_back("begins");
          timeval pause{0, 1000};
          eventer_aco_sleep(&pause);
          mine.what.steps.push_back("goes on");
          mine.done.give();
        },
        &shared);
    what.steps.push_back("the starter goes on");
  });
  done.wait();
  CHECK(what.steps == std::vector<std::string>{"begins", "the starter goes on", "goes on"});
}

TEST_CASE(
    "a callback's coroutine runs to its first wait also where it starts another one; an exception stays its own") {
  struct steps {
    std::vector<std::string> all;
    notice ended;
    int caught = 0;
  } what;
  run_callback([&what] {
    try {
      throw 7;
    } catch (int) {
      eventer_aco_start(
          [] {
            auto& mine = *static_cast<steps*>(eventer_aco_arg());
            mine.all.push_back("first");
            eventer_aco_start([] { static_cast<steps*>(eventer_aco_arg())->all.push_back("second"); }, &mine);
            mine.all.push_back("first goes on");
            timeval pause{0, 100};
            eventer_aco_sleep(&pause);
            mine.ended.give();
          },
          &what);
      what.all.push_back("the callback goes on");
      try {
        throw;
      } catch (int again) {
        what.caught = again;
      }
    }
  });
  what.ended.wait();
  CHECK(what.all == std::vector<std::string>{"first", "second", "first goes on", "the callback goes on"});
  CHECK(what.caught == 7);
}

TEST_CASE("the same in a coroutine; and in one that was started so, deeply") {
  order what;
  run_coroutine([&what] {
    eventer_aco_start(
        [] {
          auto& mine = *static_cast<order*>(eventer_aco_arg());
          mine.steps.push_back("second begins");
          eventer_aco_start([] { static_cast<order*>(eventer_aco_arg())->steps.push_back("third"); }, &mine);
          mine.steps.push_back("second goes on");
        },
        &what);
    what.steps.push_back("first goes on");
  });
  CHECK(what.steps == std::vector<std::string>{"second begins", "third", "second goes on", "first goes on"});

  static constexpr int depth = EVENTER_TSAN ? 500 : 10'000;  // which has few fibers
  struct chain {
    int begun = 0, went_on = 0;
    static void link() {
      auto& mine = *static_cast<chain*>(eventer_aco_arg());
      if (++mine.begun == depth) return;
      eventer_aco_start(&link, &mine);
      ++mine.went_on;
    }
  } links;
  run_coroutine([&links] { eventer_aco_start(&chain::link, &links); });
  CHECK(links.begun == depth);
  CHECK(links.went_on == depth - 1);
}

TEST_CASE("from another thread it starts soon, on the first loop") {
  compat_test::start();
  struct where {
    notice done;
    int loop = -1;
    mtev_boolean is_aco = mtev_false;
    eventer_t event = nullptr;
  } found;
  CHECK(eventer_is_aco(nullptr) == mtev_false);
  CHECK(eventer_aco_arg() == nullptr);
  std::thread([&found] {
    eventer_aco_start_stack(
        [] {
          auto& mine = *static_cast<where*>(eventer_aco_arg());
          mine.loop = eventer_is_loop(::pthread_self());
          mine.is_aco = eventer_is_aco(nullptr);
          mine.event = eventer_get_this_event();
          mine.done.give();
        },
        &found, 64 * 1024);
  }).join();
  found.done.wait();
  CHECK(found.loop == 0);
  CHECK(found.is_aco == mtev_true);
  CHECK(found.event == nullptr);
}

TEST_CASE("returning and aco_exit end a coroutine alike; destructors of C++ frames run") {
  struct trace {
    std::atomic<int> destroyed{0};
    bool came_back = false;
  } mine;
  struct guard {
    std::atomic<int>& count;
    ~guard() { ++count; }
  };
  run_coroutine([&mine] {
    eventer_aco_start(
        [] {
          auto& it = *static_cast<trace*>(eventer_aco_arg());
          const guard outer{it.destroyed};
          [&it] {
            const guard inner{it.destroyed};
            timeval none{0, 0};
            eventer_aco_sleep(&none);
            aco_exit();
          }();
          it.came_back = true;
        },
        &mine);
    timeval pause{0, 1000};
    while (mine.destroyed < 2) eventer_aco_sleep(&pause);
  });
  CHECK(mine.destroyed == 2);
  CHECK_FALSE(mine.came_back);
}

TEST_CASE("a coroutine that can't be unwound is left as it is by aco_exit") {
  // As a C function without unwind tables would be: no handler is found beyond a frame that says so.
  struct trace {
    notice after;
  } mine;
  run_coroutine([&mine] {
    eventer_aco_start(
        [] {
          try {
            throw 1;
          } catch (int) {
            aco_exit();  // while another exception is being handled
          }
        },
        nullptr);
    timeval none{0, 0};
    eventer_aco_sleep(&none);
    mine.after.give();
  });
  mine.after.wait();
}

TEST_CASE("aco_exit outside of a coroutine is refused with a sentence") {
  compat_test::start();
  const child_result child = run_in_child([] { aco_exit(); });
  CHECK(child.signal == SIGABRT);
  CHECK(contains(child.output, "aco_exit() outside of a coroutine"));
}

TEST_CASE("reading and writing wait; results are those of read(2) and write(2)") {
  const auto before = compat_test::at_rest();
  socket_pair pair;
  struct results {
    std::vector<int> read;
    std::string heard;
    int wrote = 0, all = 0, closed_again = 0, number = 0, fd_after = 0;
    std::int64_t vectors = 0;
  } seen;
  std::thread peer;
  const int other = pair.ends[1];
  run_coroutine([&] {
    const eventer_aco_t e = converted(pair, 0);
    peer = std::thread([other] {
      (void)::send(other, "hello", 5, MSG_NOSIGNAL);
      char bytes[64];
      std::size_t got = 0;
      while (got < 12) {
        const ssize_t some = ::recv(other, bytes, sizeof bytes, 0);
        if (some > 0)
          got += static_cast<std::size_t>(some);
        else
          ::usleep(1000);
      }
      ::shutdown(other, SHUT_WR);
    });
    char bytes[3];
    for (int got = 1; got > 0;) {
      got = eventer_aco_read(e, bytes, sizeof bytes, nullptr);
      seen.read.push_back(got);
      if (got > 0) seen.heard.append(bytes, static_cast<std::size_t>(got));
      if (seen.heard == "hello" && seen.wrote == 0) {
        seen.wrote = eventer_aco_write(e, "four", 4, nullptr);
        seen.all = static_cast<int>(eventer_aco_write_all(e, "four", 4, nullptr));
        char one[] = "fo", two[] = "ur";
        const iovec parts[] = {{one, 2}, {two, 2}};
        seen.vectors = eventer_aco_writev(e, parts, 2, nullptr);
      }
    }
    eventer_aco_close(e);
    seen.fd_after = eventer_get_fd(reinterpret_cast<eventer_t>(e));
    errno = 0;
    seen.closed_again = eventer_aco_close(e);
    seen.number = errno;
    eventer_aco_free(e);
  });
  peer.join();
  CHECK(seen.read == std::vector<int>{3, 2, 0});
  CHECK(seen.wrote == 4);
  CHECK(seen.all == 4);
  CHECK(seen.vectors == 4);
  CHECK(seen.fd_after == -1);
  CHECK(seen.closed_again == -1);
  CHECK(seen.number == EBADFD);
  CHECK(compat_test::allocations_come_to(before));
}

TEST_CASE("a limit ends a wait with -1 and ETIME, or ETIMEDOUT where the program says so; and one can read on") {
  socket_pair pair;
  struct results {
    int first = 0, first_number = 0, own = 0, own_number = 0, second = 0, third = 0, third_number = 0, casted = 0,
        casted_number = 0;
    char byte = 0;
  } seen;
  const int other = pair.ends[1];
  run_coroutine([&] {
    const eventer_aco_t e = converted(pair, 0);
    timeval soon{0, 2000};
    char byte = 0;
    seen.first = eventer_aco_read(e, &byte, 1, &soon);
    seen.first_number = errno;
    eventer_aco_set_read_timeout(e, &soon);
    seen.own = eventer_aco_read(e, &byte, 1, nullptr);
    seen.own_number = errno;
    // Also by a classic call on it, which takes the event for what it is.
    int mask = 0;
    seen.casted = eventer_read(reinterpret_cast<eventer_t>(e), &byte, 1, &mask);
    seen.casted_number = errno;
    eventer_aco_set_read_timeout(e, nullptr);
    (void)::send(other, "x", 1, MSG_NOSIGNAL);
    seen.second = eventer_aco_read(e, &seen.byte, 1, nullptr);
    eventer_propset("aco_timeout_errno", "ETIMEDOUT");
    seen.third = eventer_aco_read(e, &byte, 1, &soon);
    seen.third_number = errno;
    eventer_propset("aco_timeout_errno", "ETIME");
    end(e);
  });
  CHECK(seen.first == -1);
  CHECK(seen.first_number == ETIME);
  CHECK(seen.own == -1);
  CHECK(seen.own_number == ETIME);
  CHECK(seen.casted == -1);
  CHECK(seen.casted_number == ETIME);
  CHECK(seen.second == 1);
  CHECK(seen.byte == 'x');
  CHECK(seen.third == -1);
  CHECK(seen.third_number == ETIMEDOUT);
}

TEST_CASE("a classic event goes over to a coroutine that its callback starts, and back") {
  const auto before = compat_test::at_rest();
  compat_test::start();
  socket_pair pair;
  struct shared {
    notice done;
    std::string heard;
    eventer_t back = nullptr;
    int classic_calls = 0;
  } mine;
  struct moved {
    static void process() {
      const auto classic = static_cast<eventer_t>(eventer_aco_arg());
      auto& it = *static_cast<shared*>(eventer_get_closure(classic));
      const eventer_aco_t e = eventer_set_eventer_aco(classic);
      char bytes[16];
      for (;;) {
        const int got = eventer_aco_read(e, bytes, sizeof bytes, nullptr);
        if (got <= 0) break;
        it.heard.append(bytes, static_cast<std::size_t>(got));
        if (eventer_aco_write(e, "thanks", 6, nullptr) < 0) break;
        if (it.heard.find('!') != std::string::npos) {
          // Back to a classic one.
          it.back = eventer_unset_eventer_aco(e);
          eventer_set_callback(it.back, &finish);
          eventer_add(it.back);
          return;
        }
      }
      it.done.give();
    }
    static int callback(eventer_t e, int, void* closure, timeval*) {
      ++static_cast<shared*>(closure)->classic_calls;
      eventer_remove_fde(e);
      eventer_t copy = eventer_alloc_copy(e);
      eventer_aco_start(&process, copy);
      return 0;
    }
    static int finish(eventer_t e, int, void* closure, timeval*) {
      auto& it = *static_cast<shared*>(closure);
      char bytes[16];
      int mask = 0;
      const int got = eventer_read(e, bytes, sizeof bytes, &mask);
      if (got < 0) return mask;
      it.heard.append(bytes, static_cast<std::size_t>(got));
      if (got > 0) return EVENTER_READ;
      eventer_remove_fde(e);
      eventer_close(e, &mask);
      it.done.give();
      return 0;
    }
  };
  eventer_add(eventer_alloc_fd(&moved::callback, &mine, pair.give(0), EVENTER_READ));
  REQUIRE(::send(pair.ends[1], "one", 3, 0) == 3);
  std::string answers;
  while (answers.size() < 6) answers += read_text(pair.ends[1]);
  REQUIRE(::send(pair.ends[1], "two!", 4, 0) == 4);
  while (answers.size() < 12) answers += read_text(pair.ends[1]);
  REQUIRE(::send(pair.ends[1], "three", 5, 0) == 5);
  REQUIRE(::shutdown(pair.ends[1], SHUT_WR) == 0);
  mine.done.wait();
  CHECK(mine.classic_calls == 1);
  CHECK(mine.heard == "onetwo!three");
  CHECK(compat_test::allocations_come_to(before));
}

TEST_CASE("accept and connect wait") {
  const auto before = compat_test::at_rest();
  struct results {
    int accepted = -1, connected = -1, refused = 0, refused_number = 0, timed_out = 0, timed_out_number = 0;
    std::string heard;
  } seen;
  run_coroutine([&seen] {
    const int listening = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (::bind(listening, reinterpret_cast<sockaddr*>(&address), size) != 0 || ::listen(listening, 8) != 0) return;
    ::getsockname(listening, reinterpret_cast<sockaddr*>(&address), &size);
    const eventer_aco_t acceptor = eventer_set_eventer_aco(eventer_alloc_fd(nullptr, nullptr, listening, EVENTER_READ));
    timeval soon{0, 1000};
    seen.timed_out = eventer_aco_accept(acceptor, nullptr, nullptr, &soon);
    seen.timed_out_number = errno;
    struct dialled {
      sockaddr_in to{};
      int result = -2;
    };
    const auto call = std::make_unique<dialled>();  // both use it: not on a coroutine's stack
    call->to = address;
    eventer_aco_start(
        [] {
          auto& mine = *static_cast<dialled*>(eventer_aco_arg());
          const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
          const eventer_aco_t e = eventer_set_eventer_aco(eventer_alloc_fd(nullptr, nullptr, fd, EVENTER_READ));
          mine.result = eventer_aco_connect(e, reinterpret_cast<sockaddr*>(&mine.to), sizeof mine.to, nullptr);
          eventer_aco_write(e, "hello", 5, nullptr);
          end(e);
        },
        call.get());
    sockaddr_in peer{};
    socklen_t peer_size = sizeof peer;
    seen.accepted = eventer_aco_accept(acceptor, reinterpret_cast<sockaddr*>(&peer), &peer_size, nullptr);
    const eventer_aco_t e = eventer_set_eventer_aco(eventer_alloc_fd(nullptr, nullptr, seen.accepted, EVENTER_READ));
    char bytes[16];
    for (int got; (got = eventer_aco_read(e, bytes, sizeof bytes, nullptr)) > 0;)
      seen.heard.append(bytes, static_cast<std::size_t>(got));
    seen.connected = call->result;
    end(e);
    end(acceptor);
    const eventer_aco_t nobody = eventer_set_eventer_aco(
        eventer_alloc_fd(nullptr, nullptr, ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), EVENTER_READ));
    seen.refused = eventer_aco_connect(nobody, reinterpret_cast<sockaddr*>(&address), sizeof address, nullptr);
    seen.refused_number = errno;
    end(nobody);
  });
  CHECK(seen.timed_out == -1);
  CHECK(seen.timed_out_number == ETIME);
  CHECK(seen.accepted >= 0);
  CHECK(seen.connected == 0);
  CHECK(seen.heard == "hello");
  CHECK(seen.refused == -1);
  CHECK(seen.refused_number == ECONNREFUSED);
  CHECK(compat_test::allocations_come_to(before));
}

TEST_CASE("10,000 coroutines sleep and talk; nothing is left of them") {
  const auto before = compat_test::at_rest();
  constexpr int crowd = EVENTER_TSAN ? 500 : 10'000;  // which has few fibers
  struct shared {
    std::atomic<int> ended{0};
    notice done;
  } mine;
  compat_test::start();
  for (int i = 0; i < crowd; ++i)
    eventer_aco_start(
        [] {
          auto& it = *static_cast<shared*>(eventer_aco_arg());
          timeval pause{0, 1000};
          char bytes[100];
          std::memset(bytes, 7, sizeof bytes);
          mtev_aco_sleep(&pause);
          bool same = true;
          for (const char each : bytes) same = same && each == 7;
          if (same && ++it.ended == crowd) it.done.give();
        },
        &mine);
  mine.done.wait();
  CHECK(mine.ended == crowd);
  CHECK(compat_test::allocations_come_to(before));
}
