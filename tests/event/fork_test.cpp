// fork(): a loop that was made before belongs to the parent, until the child says that it goes on with it.
#include <sys/wait.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <string>

#include "../catch.hpp"
#include "../child.hpp"
#include "../faults.hpp"
#include "../plain_descriptors.hpp"
#include "../sockets.hpp"
#include "eventer/eventer.hpp"

using namespace std::chrono_literals;
using eventer::event;
using eventer::event_loop;
using eventer::io_mask;

namespace {

// Its child ignores what the forking fiber does, and no other: it then sees races between coroutines.
constexpr const char* fibers = "ThreadSanitizer does not know fibers in a forked child";

void say(const std::string& text) {
  std::fputs(text.c_str(), stdout);
  std::fflush(stdout);  // both processes print
}

// "fork" if what was thrown is what a child is told, else what it was.
std::string told_by(const std::function<void()>& use) {
  try {
    use();
  } catch (const std::system_error& failure) {
    const bool right = failure.code() == std::errc::operation_not_permitted && contains(failure.what(), "fork");
    return right ? "fork" : failure.what();
  }
  return "nothing";
}

// Everything that a loop may be asked to wait for, registered; then asked how much of it comes.
class busy_loop {
 public:
  busy_loop() {
    made_here_ = std::move(pair_.first);
    adopted_ = eventer::unix_stream::from_fd(sockets_.ours.release()).value();
    (void)loop->spawn([this] { note(read_text(made_here_, 30s) == "x", 'm'); });
    (void)loop->spawn([this] { note(read_text(adopted_, 30s) == "x", 'a'); });
    (void)loop->spawn([this] { note(eventer::await(eventer::readable(foreign_.ours.get(), 30s)).has_value(), 'f'); });
    watch_ = loop->watch(watched_.ours.get(), io_mask::read, [this](io_mask) {
      note(take(watched_.ours) == "x", 'w');
      return io_mask::none;
    });
    (void)loop->spawn([this] {
      gate_.join();
      note(true, 'j');
    });
    for (int i = 0; i < 3; ++i) loop->poll();
  }

  // Makes all of it ready, and runs to the end of it.
  std::string outcome() {
    if (!pair_.second.write_all("x")) return "the peer of a stream is gone";
    for (const plain_pair* each : {&sockets_, &foreign_, &watched_}) give(each->peer, "x");
    loop->after(1ms, [this] { note(true, 't'); });
    loop->post([this] { note(true, 'p'); });
    (void)loop->spawn([this] {
      eventer::sleep_for(2ms);
      auto inner = eventer::spawn([] { eventer::yield(); });
      inner.join();
      gate_.cancel();
      note(true, 's');
    });
    loop->run();
    std::sort(seen_.begin(), seen_.end());
    return seen_;
  }

  std::unique_ptr<event_loop> loop = std::make_unique<event_loop>();
  static constexpr const char* all = "afjmpstw";

  void close_everything() {
    made_here_.close();
    adopted_.close();
    watch_.cancel();
    for (plain_pair* each : {&sockets_, &foreign_, &watched_}) {
      each->ours.reset();
      each->peer.reset();
    }
    pair_.second.close();
  }
  void release_everything() {
    eventer::unique_fd(made_here_.release()).reset();
    eventer::unique_fd(adopted_.release()).reset();
  }
  // Makes the loop wait for what the parent does not have.
  void watch_others() {
    static plain_pair other = plain_socket_pair();
    watch_.set_interest(io_mask::write);
    loop->watch(other.ours.get(), io_mask::write, [](io_mask) { return io_mask::none; });
  }

 private:
  void note(bool right, char what) { seen_ += right ? what : '!'; }

  std::pair<eventer::unix_stream, eventer::unix_stream> pair_ = eventer::unix_stream::pair().value();
  plain_pair sockets_ = plain_socket_pair(), foreign_ = plain_socket_pair(), watched_ = plain_socket_pair();
  eventer::unix_stream made_here_, adopted_;
  event watch_;
  // In a coroutine of its own: joined by another one, and ended at the end.
  struct gate {
    explicit gate(event_loop& loop) {
      (void)loop.spawn([this] { handle = eventer::spawn([] { eventer::sleep_for(eventer::duration::max()); }); });
      loop.poll();
    }
    void join() { (void)handle.try_join(); }
    void cancel() { handle.cancel(); }
    eventer::join_handle<void> handle;
  } gate_{*loop};
  std::string seen_;
};

// Runs `in_child` in a fork of this process, to its end.
void in_fork(const std::function<void()>& in_child) {
  const pid_t child = ::fork();
  if (child == 0) {
    in_child();
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) say("[the child has crashed]");
}

}  // namespace

TEST_CASE("a child that uses its parent's loop without a word is told about fork, whatever it does", "[epoll]") {
  if (EVENTER_TSAN) EVENTER_SKIP(fibers);
  struct use {
    const char* name;
    void (*use)(event_loop&);
  };
  static const use uses[] = {
      {"run", [](event_loop& loop) { loop.run(); }},
      {"poll", [](event_loop& loop) { loop.poll(); }},
      {"spawn and run",
       [](event_loop& loop) {
         (void)loop.spawn([] {});
         loop.run();
       }},
      {"post and run",
       [](event_loop& loop) {
         loop.post([] { say("[posted functions run]"); });
         loop.run();
       }},
      {"stop and run",
       [](event_loop& loop) {
         loop.after(1ms, [] {});
         loop.poll();
       }},
  };
  for (const use& each : uses) {
    CAPTURE(each.name);
    const auto result = run_in_child([&each] {
      busy_loop all;
      in_fork([&] {
        say(told_by([&] { each.use(*all.loop); }) + " ");
        say(told_by([&] { each.use(*all.loop); }) + " ");
      });
      say(all.outcome());
    });
    CHECK(result.output == std::string("fork fork ") + busy_loop::all);
  }
}

TEST_CASE("a coroutine that forks is in both processes, and in the child run throws", "[epoll]") {
  if (EVENTER_TSAN) EVENTER_SKIP(fibers);
  const auto result = run_in_child([] {
    busy_loop all;
    pid_t child = 1;
    (void)all.loop->spawn([&child] {
      child = ::fork();
      if (child != 0) ::waitpid(child, nullptr, 0);
      eventer::yield();
      if (child != 0) say("goes on ");
    });
    try {
      const std::string seen = all.outcome();
      say(seen);
    } catch (const std::system_error& failure) {
      if (child != 0) ::_exit(1);
      say(contains(failure.what(), "fork") ? "fork " : failure.what());
      all.loop = nullptr;
      ::_exit(0);
    }
  });
  CHECK(result.output == std::string("fork goes on ") + busy_loop::all);
}

TEST_CASE("a child that says so goes on with timers, streams, watches, posts and spawns; so does its parent",
          "[epoll]") {
  if (EVENTER_TSAN) EVENTER_SKIP(fibers);
  for (const bool in_coroutine : {false, true}) {
    for (const bool destroys : {false, true}) {
      CAPTURE(in_coroutine, destroys);
      const auto result = run_in_child([in_coroutine, destroys] {
        busy_loop all;
        if (!in_coroutine) {
          in_fork([&] {
            all.loop->after_fork_child();
            say(all.outcome() + " ");
            if (destroys) all.loop = nullptr;
          });
          return say(all.outcome());
        }
        bool child = false;
        auto forking = all.loop->spawn([&] {
          const pid_t id = ::fork();
          if (id != 0) return (void)::waitpid(id, nullptr, 0);
          child = true;
          event_loop::current().after_fork_child();
        });
        while (!forking.done()) all.loop->poll();
        say(all.outcome() + (child ? " " : ""));
        if (!child) return;
        if (destroys) all.loop = nullptr;
        ::_exit(0);
      });
      CHECK(result.output == std::string(busy_loop::all) + " " + busy_loop::all);
    }
  }
}

TEST_CASE("whatever a child does with its copy of a loop, the parent's descriptors stay registered", "[epoll]") {
  if (EVENTER_TSAN) EVENTER_SKIP(fibers);
  struct deed {
    const char* name;
    void (*act)(busy_loop&);
  };
  static const deed deeds[] = {
      {"ends", [](busy_loop&) {}},
      {"destroys the loop", [](busy_loop& all) { all.loop = nullptr; }},
      {"destroys the loop after it was told",
       [](busy_loop& all) {
         (void)told_by([&] { all.loop->run(); });
         all.loop = nullptr;
       }},
      {"closes everything", [](busy_loop& all) { all.close_everything(); }},
      {"closes everything, then destroys the loop",
       [](busy_loop& all) {
         all.close_everything();
         all.loop = nullptr;
       }},
      {"releases and closes", [](busy_loop& all) { all.release_everything(); }},
      {"watches something else", [](busy_loop& all) { (void)told_by([&] { all.watch_others(); }); }},
      {"goes on and closes everything",
       [](busy_loop& all) {
         all.loop->after_fork_child();
         all.close_everything();
         for (int i = 0; i < 3; ++i) all.loop->poll();
         all.loop = nullptr;
       }},
      {"goes on and watches something else",
       [](busy_loop& all) {
         all.loop->after_fork_child();
         all.watch_others();
         for (int i = 0; i < 3; ++i) all.loop->poll();
       }},
      {"wakes the loop",
       [](busy_loop& all) {
         all.loop->post([] { say("[a child's function runs]"); });
         all.loop->stop();
       }},
  };
  for (const deed& each : deeds) {
    CAPTURE(each.name);
    const auto result = run_in_child([&each] {
      busy_loop all;
      in_fork([&] { each.act(all); });
      const auto before = all.loop->stats();
      say(all.outcome());
      if (all.loop->stats().stale_events != before.stale_events) say(" [stale events]");
    });
    CHECK(result.output == busy_loop::all);
  }
}

TEST_CASE("what a child waits for in a coroutine, before it was told, is not announced to its parent", "[epoll]") {
  if (EVENTER_TSAN) EVENTER_SKIP(fibers);
  const auto result = run_in_child([] {
    busy_loop all;
    bool child = false;
    (void)all.loop->spawn([&] {
      const pid_t id = ::fork();
      if (id != 0) return (void)::waitpid(id, nullptr, 0);
      child = true;
      // Both are ready at once; the parent has neither of the two descriptors.
      auto one = eventer::unix_stream::pair().value();
      (void)one.first.write_all("x");
      say(told_by([&] { (void)eventer::await(eventer::readable(one.second.native_handle())); }) + " ");
      auto other = eventer::unix_stream::pair().value();
      std::array<char, 4> bytes;
      say(told_by([&] { (void)other.first.read_some(bytes); }) + " ");
    });
    const std::string told = told_by([&] { say(all.outcome()); });
    if (child) {
      say(told + " ");
      all.loop = nullptr;
      ::_exit(0);
    }
    if (all.loop->stats().stale_events != 0) say(" [stale events]");
  });
  CHECK(result.output == std::string("fork fork fork ") + busy_loop::all);
}

TEST_CASE("a grandchild has to say so again, and leaves the child alone", "[epoll]") {
  if (EVENTER_TSAN) EVENTER_SKIP(fibers);
  const auto result = run_in_child([] {
    busy_loop all;
    in_fork([&] {
      all.loop->after_fork_child();
      in_fork([&] {
        say(told_by([&] { all.loop->run(); }) + " ");
        all.loop->after_fork_child();
        say(all.outcome() + " ");
        all.loop = nullptr;
      });
      say(all.outcome() + " ");
    });
    say(all.outcome());
  });
  const std::string each = busy_loop::all;
  CHECK(result.output == "fork " + each + " " + each + " " + each);
}

TEST_CASE("a loop that is made in the child needs no word, also inside a coroutine of one that does", "[epoll]") {
  if (EVENTER_TSAN) EVENTER_SKIP(fibers);
  const auto result = run_in_child([] {
    busy_loop all;
    in_fork([&] {
      say(eventer::run([] {
            eventer::sleep_for(1ms);
            return 5;
          }) == 5
              ? "fresh "
              : "?");
      say(told_by([&] { all.loop->run(); }) + " ");
      all.loop->after_fork_child();
      bool inner = false;
      (void)all.loop->spawn([&inner] {
        const pid_t id = ::fork();
        if (id != 0) return (void)::waitpid(id, nullptr, 0);
        inner = true;
        const auto heap = std::make_unique<busy_loop>();  // its callbacks hold its address
        busy_loop& inside = *heap;
        say(inside.outcome() + " ");
      });
      const std::string told = told_by([&] { say(all.outcome() + " "); });
      if (inner) say(told + " ");
    });
    say(all.outcome());
  });
  const std::string each = busy_loop::all;
  CHECK(result.output == "fresh fork " + each + " fork " + each + " " + each);
}

TEST_CASE("each of several loops is told for itself", "[epoll]") {
  if (EVENTER_TSAN) EVENTER_SKIP(fibers);
  const auto result = run_in_child([] {
    busy_loop first, second;
    in_fork([&] {
      first.loop->after_fork_child();
      say(told_by([&] { second.loop->run(); }) + " ");
      say(first.outcome() + " ");
      second.loop->after_fork_child();
      say(second.outcome() + " ");
    });
    say(first.outcome() + " " + second.outcome());
  });
  const std::string each = busy_loop::all;
  CHECK(result.output == "fork " + each + " " + each + " " + each + " " + each);
}

TEST_CASE("a child without a descriptor to spare is told so, and may try again", "[epoll]") {
  if (EVENTER_TSAN) EVENTER_SKIP(fibers);
  const auto result = run_in_child([] {
    busy_loop all;
    in_fork([&] {
      eventer::set_log_level(eventer::log_level::none);
      for (const auto& [which, error] :
           {std::pair{faults::call::epoll_create1, EMFILE}, std::pair{faults::call::eventfd, ENFILE},
            std::pair{faults::call::epoll_ctl, ENOMEM}}) {
        faults injected;
        injected.fail(which, error);
        try {
          all.loop->after_fork_child();
          say("nothing ");
        } catch (const std::system_error& failure) {
          say(failure.code().value() == error ? "thrown " : failure.what());
        }
        say(told_by([&] { all.loop->run(); }) + " ");
      }
      all.loop->after_fork_child();
      say(all.outcome() + " ");
    });
    say(all.outcome());
  });
  const std::string each = busy_loop::all;
  CHECK(result.output == "thrown fork thrown fork thrown fork " + each + " " + each);
}

TEST_CASE("virtual time, in-memory streams and files go on in a child too", "[epoll]") {
  if (EVENTER_TSAN) EVENTER_SKIP(fibers);
  const auto result = run_in_child([] {
    eventer::manual_clock time;
    event_loop loop({.clock = &time});
    const auto start = time.now();
    auto pair = eventer::memory_stream_pair({.latency = 10ms});
    const auto file = plain_open("/dev/null", O_RDWR);
    int calls = 0;
    event of_file = loop.watch(file.get(), io_mask::write, [&](io_mask ready) {
      ++calls;
      return ready;
    });
    std::string got;
    auto reading = loop.spawn([&] {
      eventer::sleep_for(1h);
      got = read_text(pair.far, 1s);
      of_file.cancel();
    });
    for (int i = 0; i < 3; ++i) loop.poll();
    const auto go_on = [&] {
      (void)loop.spawn([&] { (void)pair.near.write_all("x"); });
      const int before = calls;
      for (int i = 0; i < 3; ++i) loop.poll();
      say(calls > before ? "called " : "silent ");
      of_file.set_interest(io_mask::none);
      loop.run();
      say(got + (time.now() == start + 1h ? " in time " : " at another time "));
    };
    in_fork([&] {
      loop.after_fork_child();
      go_on();
    });
    go_on();
  });
  CHECK(result.output == "called x in time called x in time ");
}
