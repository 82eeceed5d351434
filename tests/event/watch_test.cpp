// watch: a descriptor's callback with level semantics, beside coroutines on the same descriptor, over files, and
// through everything that may happen to a number.
#include <sys/socket.h>

#include <climits>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "../captured_log.hpp"
#include "../catch.hpp"
#include "../faults.hpp"
#include "../plain_descriptors.hpp"
#include "../reactors.hpp"
#include "../sockets.hpp"
#include "eventer/eventer.hpp"

using namespace std::chrono_literals;
using eventer::any;
using eventer::event;
using eventer::event_loop;
using eventer::io_mask;

namespace {

void turns(event_loop& loop, int count = 3) {
  for (int i = 0; i < count; ++i) loop.poll();
}

eventer::unique_fd temporary_file() { return plain_open("/tmp", O_TMPFILE | O_RDWR); }

// Files for which epoll answers EPERM.
struct always_ready {
  const char* name;
  eventer::unique_fd (*open)();
};
const always_ready files[] = {
    {"a regular file", &temporary_file},
    {"/dev/null", [] { return plain_open("/dev/null", O_RDWR); }},
    {"/dev/zero", [] { return plain_open("/dev/zero", O_RDWR); }},
};

}  // namespace

EVENT_TEST("bytes that are left are reported again, as often as it takes") {
  event_loop loop(tested_reactor::options());
  const plain_pair pair = plain_socket_pair();
  give(pair.peer, "abc");
  std::string got;
  const event watch = loop.watch(pair.ours.get(), io_mask::read, [&](io_mask ready) {
    CHECK(any(ready & io_mask::read));
    got += take(pair.ours, 1);
    return got.size() < 3 ? io_mask::read : io_mask::none;
  });
  loop.run();
  CHECK(got == "abc");
  CHECK_FALSE(watch.active());
}

EVENT_TEST("a callback that leaves everything unread is called in every turn, and never otherwise") {
  event_loop loop(tested_reactor::options());
  const plain_pair pair = plain_socket_pair();
  int calls = 0;
  event watch = loop.watch(pair.ours.get(), io_mask::read, [&](io_mask) {
    ++calls;
    return io_mask::read;
  });
  turns(loop);
  CHECK(calls == 0);
  give(pair.peer, "x");
  turns(loop, 5);
  CHECK(calls == 5);
  CHECK(take(pair.ours) == "x");
  turns(loop);
  CHECK(calls == 5);
  watch.cancel();
  loop.run();
}

EVENT_TEST("the mask that a callback answers is what it is called for next, and none ends it") {
  event_loop loop(tested_reactor::options());
  const plain_pair pair = plain_socket_pair();
  give(pair.peer, "x");
  const io_mask answers[] = {io_mask::write, io_mask::read | io_mask::write, io_mask::write, io_mask::read,
                             io_mask::none};
  std::vector<io_mask> calls;
  const event watch = loop.watch(pair.ours.get(), io_mask::read, [&](io_mask ready) {
    calls.push_back(ready & (io_mask::read | io_mask::write));
    return answers[calls.size() - 1];
  });
  loop.run();
  CHECK(calls == std::vector<io_mask>{io_mask::read, io_mask::write, io_mask::read | io_mask::write, io_mask::write,
                                      io_mask::read});
  CHECK_FALSE(watch.active());
}

EVENT_TEST("hang-ups and errors are told to whoever is interested in anything") {
  struct end {
    const char* name;
    void (*happen)(plain_pair&);
    plain_pair (*make)();
    io_mask wanted, told;  // told: one of these
  };
  const auto both = [] { return plain_socket_pair(); };
  const auto hang_up = [](plain_pair& pair) { pair.peer.reset(); };
  const auto half_close = [](plain_pair& pair) { ::shutdown(pair.peer.get(), SHUT_WR); };
  const end ends[] = {
      {"a peer that is gone, reading", hang_up, both, io_mask::read, io_mask::read | io_mask::error},
      {"a peer that is gone, writing", hang_up,
       [] {
         plain_pair full = plain_socket_pair();
         fill_up(full.ours);
         return full;
       },
       io_mask::write, io_mask::write | io_mask::error},
      {"a peer that is gone, errors only", hang_up, both, io_mask::error, io_mask::error},
      {"a half-close, reading", half_close, both, io_mask::read, io_mask::read},
      {"the end of a pipe", hang_up, [] { return plain_pipe(); }, io_mask::read, io_mask::read | io_mask::error},
      {"a pipe that nobody reads", hang_up,
       [] {
         plain_pair pipe = plain_pipe();
         std::swap(pipe.ours, pipe.peer);
         fill_up(pipe.ours);
         return pipe;
       },
       io_mask::write, io_mask::write | io_mask::error},
  };
  for (const end& each : ends) {
    for (const bool before : {false, true}) {
      DYNAMIC_SECTION(each.name << (before ? ", before it is watched" : "")) {
        event_loop loop(tested_reactor::options());
        plain_pair pair = each.make();
        if (before) each.happen(pair);
        io_mask told = io_mask::none;
        event watch = loop.watch(pair.ours.get(), each.wanted, [&](io_mask ready) {
          told = ready;
          return io_mask::none;
        });
        if (!before) {
          turns(loop);
          CHECK(told == io_mask::none);
          each.happen(pair);
        }
        turns(loop);
        CHECK(any(told & each.told));
        watch.cancel();
      }
    }
  }
}

EVENT_TEST("a writer is not called because its peer has half-closed") {
  event_loop loop(tested_reactor::options());
  const plain_pair pair = plain_socket_pair();
  fill_up(pair.ours);
  int calls = 0;
  event watch = loop.watch(pair.ours.get(), io_mask::write, [&](io_mask) {
    ++calls;
    return io_mask::write;
  });
  ::shutdown(pair.peer.get(), SHUT_WR);
  turns(loop);
  CHECK(calls == 0);
  drain(pair.peer);
  turns(loop);
  CHECK(calls >= 1);
  watch.cancel();
}

EVENT_TEST("the interest can be changed from outside, to none and back") {
  event_loop loop(tested_reactor::options());
  const plain_pair pair = plain_socket_pair();
  give(pair.peer, "x");
  std::vector<io_mask> calls;
  event watch = loop.watch(pair.ours.get(), io_mask::none, [&](io_mask ready) {
    calls.push_back(ready);
    return ready;
  });
  const auto next_call = [&] {
    calls.clear();
    turns(loop);
    return calls.empty() ? io_mask::none : calls.back();
  };
  CHECK(next_call() == io_mask::none);
  watch.set_interest(io_mask::read);
  CHECK(next_call() == io_mask::read);
  watch.set_interest(io_mask::write);
  CHECK(next_call() == io_mask::write);
  watch.set_interest(io_mask::none);
  CHECK(next_call() == io_mask::none);
  CHECK(watch.active());
  std::thread([&] { watch.set_interest(io_mask::read | io_mask::write); }).join();
  CHECK(next_call() == (io_mask::read | io_mask::write));
  watch.cancel();
  watch.set_interest(io_mask::read);
  CHECK(next_call() == io_mask::none);
  loop.run();
}

EVENT_TEST("an interest that a sibling of the same batch takes away is not called for any more") {
  for (const int taker : {0, 1}) {
    event_loop loop(tested_reactor::options());
    plain_pair pairs[] = {plain_socket_pair(), plain_socket_pair()};
    event watches[2];
    int calls[] = {0, 0};
    for (const int i : {0, 1})
      watches[i] = loop.watch(pairs[i].ours.get(), io_mask::read, [&, i](io_mask) {
        ++calls[i];
        watches[1 - i].set_interest(io_mask::none);
        return io_mask::read;
      });
    for (const int i : {taker, 1 - taker}) give(pairs[i].peer, "x");
    turns(loop);
    CHECK(std::min(calls[0], calls[1]) == 0);
    CHECK(std::max(calls[0], calls[1]) >= 2);
    for (event& each : watches) each.cancel();
  }
}

EVENT_TEST("a watch for nothing is not called, also when coroutines on its descriptor are woken by a hang-up") {
  event_loop loop(tested_reactor::options());
  plain_pair pair = plain_socket_pair();
  int calls = 0;
  event watch = loop.watch(pair.ours.get(), io_mask::none, [&](io_mask) {
    ++calls;
    return io_mask::none;
  });
  auto reader = loop.spawn([fd = pair.ours.get()] { return eventer::await(eventer::readable(fd)).has_value(); });
  turns(loop);
  pair.peer.reset();
  turns(loop);
  CHECK(reader.done());
  CHECK(calls == 0);
  CHECK(watch.active());
  watch.cancel();
  loop.run();
}

EVENT_TEST("a descriptor has one watch: a second one is busy, until the first has ended") {
  event_loop loop(tested_reactor::options());
  const plain_pair pair = plain_socket_pair();
  const auto file = temporary_file();
  const auto ignore = [](io_mask ready) { return ready; };
  for (const int fd : {pair.ours.get(), file.get()}) {
    CAPTURE(fd == file.get());
    event first = loop.watch(fd, io_mask::read, ignore);
    try {
      (void)loop.watch(fd, io_mask::write, ignore);
      FAIL("a second watch");
    } catch (const std::system_error& failure) {
      CHECK(failure.code() == eventer::errc::busy);
    }
    {
      const captured_log log;
      event other;
      std::thread([&] { other = loop.watch(fd, io_mask::write, ignore); }).join();
      turns(loop);
      CHECK_FALSE(other.active());
      CHECK(log.count("busy") == 1);
    }
    CHECK(first.active());
    first.cancel();
    event second = loop.watch(fd, io_mask::write, ignore);
    CHECK(second.active());
    second.cancel();
  }
}

EVENT_TEST("watching a number that is no descriptor throws that") {
  event_loop loop(tested_reactor::options());
  const int closed = plain_socket_pair().ours.get();
  for (const int fd : {-1, INT_MIN, closed, 987'654, INT_MAX}) {
    CAPTURE(fd);
    try {
      (void)loop.watch(fd, io_mask::read, [](io_mask ready) { return ready; });
      FAIL("it was watched");
    } catch (const std::system_error& failure) {
      CHECK(failure.code() == std::errc::bad_file_descriptor);
    }
  }
  loop.run();
}

EVENT_TEST("a watch that the kernel refuses throws its answer and leaves nothing behind") {
  if (tested_reactor::is_kqueue()) return;
  event_loop loop(tested_reactor::options());
  const plain_pair pair = plain_socket_pair();
  const auto token = std::make_shared<int>(0);
  {
    faults injected;
    injected.fail(faults::call::epoll_ctl, ENOSPC);
    CHECK_THROWS_AS(loop.watch(pair.ours.get(), io_mask::read, [token](io_mask ready) { return ready; }),
                    std::system_error);
  }
  CHECK(token.use_count() == 1);
  loop.run();
  event watch = loop.watch(pair.ours.get(), io_mask::read, [token](io_mask) { return io_mask::none; });
  give(pair.peer, "x");
  loop.run();
  CHECK_FALSE(watch.active());
}

// --- beside coroutines ---

EVENT_TEST("a watch and coroutines that wait for the same descriptor are all told") {
  eventer::run(
      [] {
        struct state {
          plain_pair pair = plain_socket_pair();
          int calls = 0;
          event watch{};
        };
        const auto all = std::make_shared<state>();
        fill_up(all->pair.ours);
        all->watch = event_loop::current().watch(all->pair.ours.get(), io_mask::read, [all = all.get()](io_mask) {
          ++all->calls;
          return io_mask::read;
        });
        for (int round = 0; round < 3; ++round) {
          auto reader =
              eventer::spawn([fd = all->pair.ours.get()] { return eventer::await(eventer::readable(fd)).has_value(); });
          auto writer =
              eventer::spawn([fd = all->pair.ours.get()] { return eventer::await(eventer::writable(fd)).has_value(); });
          next_turn();
          CHECK_FALSE(reader.done());
          CHECK_FALSE(writer.done());
          const int before = all->calls;
          give(all->pair.peer, "x");
          CHECK(reader.join());
          next_turn();
          CHECK(all->calls > before);
          CHECK_FALSE(writer.done());
          CHECK(take(all->pair.ours) == "x");
          drain(all->pair.peer);
          CHECK(writer.join());
          fill_up(all->pair.ours);
        }
        all->watch.cancel();
        auto reader =
            eventer::spawn([fd = all->pair.ours.get()] { return eventer::await(eventer::readable(fd)).has_value(); });
        next_turn();
        const int before = all->calls;
        give(all->pair.peer, "x");
        CHECK(reader.join());
        CHECK(all->calls == before);
      },
      tested_reactor::options());
}

EVENT_TEST("a descriptor is watched or a stream's, and whoever comes second is told that it is busy") {
  eventer::run(
      [] {
        struct state {
          plain_pair pair = plain_socket_pair();
          int calls = 0;
        };
        const auto all = std::make_shared<state>();
        auto& loop = event_loop::current();
        const int fd = all->pair.ours.get();
        const auto watch = [all = all.get(), &loop, fd](io_mask wanted) {
          return loop.watch(fd, wanted, [all](io_mask) {
            ++all->calls;
            (void)take(all->pair.ours);
            return io_mask::read;
          });
        };
        const auto wait_in_stream = [fd](eventer::duration limit) {
          auto stream = eventer::unix_stream::from_fd(fd).value();
          const std::string got = read_text(stream, limit);
          stream.release();
          return got;
        };
        const std::string busy_text = "<" + make_error_code(eventer::errc::busy).message() + ">";
        {
          event watching = watch(io_mask::read);
          next_turn();
          CHECK(wait_in_stream(1ms) == busy_text);
          give(all->pair.peer, "x");
          next_turn();
          next_turn();
          CHECK(all->calls >= 1);  // it is not disturbed
          watching.cancel();
        }
        {
          auto reader = eventer::spawn([fd] { return eventer::await(eventer::readable(fd)).has_value(); });
          next_turn();
          CHECK(wait_in_stream(1ms) == busy_text);
          give(all->pair.peer, "x");
          CHECK(reader.join());
          CHECK(take(all->pair.ours) == "x");
        }
        {
          event idle = watch(io_mask::none);
          const captured_log log;
          auto reading = eventer::spawn([wait_in_stream] { return wait_in_stream(5s); });
          next_turn();
          CHECK(eventer::await(eventer::readable(fd, 1ms)).error() == eventer::errc::busy);
          CHECK_THROWS_AS(watch(io_mask::read), std::system_error);
          idle.set_interest(io_mask::read);
          CHECK_FALSE(idle.active());
          CHECK(log.count("can't be watched") == 1);
          CHECK_THROWS_AS(watch(io_mask::read), std::system_error);
          give(all->pair.peer, "for the stream");
          CHECK(reading.join() == "for the stream");
        }
        event again = watch(io_mask::read);
        all->calls = 0;
        give(all->pair.peer, "x");
        next_turn();
        next_turn();
        CHECK(all->calls >= 1);
        again.cancel();
      },
      tested_reactor::options());
}

EVENT_TEST("an exception of a watch loses no event of the streams in its batch") {
  // The callback that throws is first, in the middle and last.
  for (std::size_t thrower = 0; thrower < 5; ++thrower) {
    event_loop loop(tested_reactor::options());
    const plain_pair loud = plain_socket_pair();
    std::vector<plain_pair> quiet;
    std::vector<eventer::join_handle<std::string>> readers;
    event watch = loop.watch(loud.ours.get(), io_mask::read,
                             [](io_mask) -> io_mask { throw std::runtime_error("from the watch"); });
    for (int i = 0; i < 4; ++i) {
      quiet.push_back(plain_socket_pair());
      // Edge-triggered: what is lost once does not come again.
      readers.push_back(loop.spawn([fd = ::dup(quiet.back().ours.get())] {
        auto stream = eventer::unix_stream::from_fd(fd).value();
        return read_text(stream, 5s);
      }));
    }
    turns(loop);
    for (std::size_t i = 0; i < 5; ++i) {
      if (i == thrower)
        give(loud.peer, "x");
      else
        give(quiet[i < thrower ? i : i - 1].peer, "text");
    }
    CHECK_THROWS_WITH(loop.run(), "from the watch");
    CHECK(watch.active());
    watch.cancel();
    loop.run();
    for (auto& each : readers) CHECK(each.join() == "text");
  }
}

EVENT_TEST("a descriptor moves from a callback into a stream of a coroutine, and back by release") {
  event_loop loop(tested_reactor::options());
  struct state {
    event_loop& loop;
    plain_pair pair = plain_socket_pair();
    std::string steps{};
    int left = 3;

    void watch() {
      loop.watch(pair.ours.get(), io_mask::read, [this](io_mask) {
        steps += "callback:" + take(pair.ours) + " ";
        (void)loop.spawn([this, fd = pair.ours.release()] { use(fd); });
        return io_mask::none;
      });
    }
    void use(int fd) {
      auto stream = eventer::unix_stream::from_fd(fd).value();
      give(pair.peer, "a");
      steps += "stream:" + read_text(stream) + " ";
      auto later = eventer::spawn([this] { give(pair.peer, "b"); });
      steps += "waited:" + read_text(stream) + " ";
      later.join();
      pair.ours.reset(stream.release());
      if (--left == 0) return;
      watch();
      give(pair.peer, "c");
    }
  } all{loop};
  all.watch();
  give(all.pair.peer, "c");
  loop.run();
  CHECK(all.steps == "callback:c stream:a waited:b callback:c stream:a waited:b callback:c stream:a waited:b ");
  CHECK(loop.stats().registrations == 0);
  CHECK(loop.stats().stale_events == 0);
}

// --- files ---

EVENT_TEST("a file that is always ready is called once a turn, and starves nobody") {
  for (const always_ready& each : files) {
    DYNAMIC_SECTION(each.name) {
      event_loop loop(tested_reactor::options());
      const auto file = each.open();
      std::uint64_t calls = 0;
      const auto first = loop.stats().turns;
      event watch = loop.watch(file.get(), io_mask::read | io_mask::write, [&calls](io_mask ready) {
        CHECK(ready == (io_mask::read | io_mask::write));
        ++calls;
        return ready;
      });
      int ticks = 0;
      event ticker = loop.every(1ms, [&] {
        if (++ticks < 5) return;
        ticker.cancel();
        watch.cancel();
      });
      auto sleeper = loop.spawn([] {
        auto pair = connected_pair();
        auto echoing = eventer::spawn(echo, std::move(pair.server));
        for (int i = 0; i < 10; ++i) {
          if (!pair.client.write_all("x") || read_text(pair.client) != "x") return i;
        }
        return 10;
      });
      loop.run();
      CHECK(ticks == 5);
      CHECK(sleeper.join() == 10);
      const auto passed = loop.stats().turns - first;
      CHECK(calls > 1);
      CHECK(calls <= passed);
    }
  }
}

EVENT_TEST("the watch of a file keeps the contract of the others") {
  for (const always_ready& each : files) {
    DYNAMIC_SECTION(each.name) {
      event_loop loop(tested_reactor::options());
      const auto file = each.open();
      io_mask answer = io_mask::read, told = io_mask::none;
      int calls = 0;
      bool throws = false;
      event watch = loop.watch(file.get(), io_mask::none, [&](io_mask ready) {
        told = ready & (io_mask::read | io_mask::write);
        ++calls;
        if (std::exchange(throws, false)) throw std::runtime_error("from a file's watch");
        return answer;
      });
      const auto calls_in_turns = [&] {
        calls = 0;
        told = io_mask::none;
        turns(loop, 4);
        return calls;
      };
      CHECK(calls_in_turns() == 0);
      watch.set_interest(io_mask::read);
      CHECK(calls_in_turns() >= 2);
      CHECK(told == io_mask::read);
      answer = io_mask::write;
      CHECK(calls_in_turns() >= 2);
      CHECK(told == io_mask::write);
      watch.set_interest(io_mask::none);
      CHECK(calls_in_turns() == 0);
      watch.set_interest(io_mask::read);
      throws = true;
      CHECK_THROWS_AS(turns(loop, 4), std::runtime_error);
      answer = io_mask::read | io_mask::write;
      CHECK(calls_in_turns() >= 2);
      CHECK(told == (io_mask::read | io_mask::write));
      answer = io_mask::error;
      CHECK(calls_in_turns() <= 1);  // nothing is wrong with it
      CHECK(calls_in_turns() == 0);
      CHECK(watch.active());
      watch.set_interest(io_mask::read);
      answer = io_mask::none;
      CHECK(calls_in_turns() == 1);
      CHECK_FALSE(watch.active());
      loop.run();
    }
  }
}

EVENT_TEST("a loop ends with the watch of a file in every state") {
  for (const int state : {0, 1, 2, 3}) {
    event_loop loop(tested_reactor::options());
    const auto file = temporary_file();
    event watch = loop.watch(file.get(), io_mask::read, [state](io_mask ready) {
      if (state == 3) throw std::runtime_error("from a file's watch");
      return ready;
    });
    if (state == 0) continue;
    try {
      turns(loop);
    } catch (const std::runtime_error&) {
    }
    if (state != 2) continue;
    watch.set_interest(io_mask::none);
    turns(loop);
  }
}

// --- what happens to numbers ---

EVENT_TEST(
    "a callback that closes its descriptor and wants to go on: a line in the log, the end of its event, no spinning") {
  for (const bool other_descriptor_too : {false, true}) {
    const captured_log log;
    event_loop loop(tested_reactor::options());
    plain_pair pair = plain_socket_pair(), other = plain_socket_pair();
    event watch = loop.watch(pair.ours.get(), io_mask::read, [&](io_mask ready) {
      pair.ours.reset();
      return ready;
    });
    give(pair.peer, "x");
    event bystander;
    if (other_descriptor_too) {
      bystander = loop.watch(other.ours.get(), io_mask::read, [](io_mask) { return io_mask::none; });
      give(other.peer, "x");
    }
    loop.run();
    CHECK_FALSE(watch.active());
    CHECK_FALSE(bystander.active());
    CHECK(log.lines().size() == 1);
    CHECK(log.count("can't be watched any more") == 1);
    CHECK(loop.stats().turns < 20);
  }
}

EVENT_TEST("an interest in a descriptor that was closed meanwhile: a line in the log, and the end of the event") {
  for (const io_mask before : {io_mask::none, io_mask::read}) {
    const captured_log log;
    event_loop loop(tested_reactor::options());
    plain_pair pair = plain_socket_pair();
    event watch = loop.watch(pair.ours.get(), before, [](io_mask ready) { return ready; });
    turns(loop);
    pair.ours.reset();
    watch.set_interest(io_mask::read);
    loop.run();
    CHECK_FALSE(watch.active());
    CHECK(log.count("can't be watched any more") == 1);
  }
}

EVENT_TEST("a number that is used again gets a watch of its own, and none of its predecessor's events") {
  event_loop loop(tested_reactor::options());
  for (int round = 0; round < 5; ++round) {
    plain_pair old = plain_socket_pair();
    event first = loop.watch(old.ours.get(), io_mask::read, [](io_mask) {
      FAIL("the old one was never readable");
      return io_mask::none;
    });
    turns(loop);
    first.cancel();
    const int number = old.ours.get();
    old.ours.reset();
    plain_pair fresh = plain_socket_pair();
    if (fresh.peer.get() == number) std::swap(fresh.ours, fresh.peer);
    REQUIRE(fresh.ours.get() == number);
    int calls = 0;
    event second = loop.watch(number, io_mask::read, [&](io_mask) {
      ++calls;
      CHECK(take(fresh.ours) == "new");
      return io_mask::none;
    });
    turns(loop);
    CHECK(calls == 0);
    give(fresh.peer, "new");
    loop.run();
    CHECK(calls == 1);
    CHECK_FALSE(second.active());
  }
}

EVENT_TEST(
    "a number that a callback closes and opens anew is not called for the old file, which was in the same batch") {
  for (const int first : {0, 1}) {
    event_loop loop(tested_reactor::options());
    plain_pair pairs[] = {plain_socket_pair(), plain_socket_pair()};
    event watches[2], renewed;
    plain_pair fresh;
    int calls = 0, calls_of_fresh = 0;
    for (const int i : {0, 1})
      watches[i] = loop.watch(pairs[i].ours.get(), io_mask::read, [&, i](io_mask) {
        ++calls;
        const int number = pairs[1 - i].ours.get();
        watches[1 - i].cancel();
        pairs[1 - i].ours.reset();
        fresh = plain_socket_pair();
        if (fresh.peer.get() == number) std::swap(fresh.ours, fresh.peer);
        CHECK(fresh.ours.get() == number);
        renewed = loop.watch(number, io_mask::read, [&](io_mask) {
          ++calls_of_fresh;
          return io_mask::read;
        });
        return io_mask::none;
      });
    for (const int i : {first, 1 - first}) give(pairs[i].peer, "x");
    turns(loop);
    CHECK(calls == 1);
    CHECK(calls_of_fresh == 0);
    give(fresh.peer, "x");
    turns(loop);
    CHECK(calls_of_fresh >= 1);
    renewed.cancel();
    loop.run();
  }
}

EVENT_TEST("what is left of a watch whose file lives on in a duplicate is not told to the next owner of its number") {
  event_loop loop(tested_reactor::options());
  plain_pair old = plain_socket_pair();
  const eventer::unique_fd duplicate(::fcntl(old.ours.get(), F_DUPFD_CLOEXEC, 100));
  event first = loop.watch(old.ours.get(), io_mask::read, [](io_mask) { return io_mask::none; });
  first.cancel();
  const int number = old.ours.get();
  old.ours.reset();
  plain_pair fresh = plain_socket_pair();
  if (fresh.peer.get() == number) std::swap(fresh.ours, fresh.peer);
  REQUIRE(fresh.ours.get() == number);
  int calls = 0;
  event second = loop.watch(number, io_mask::read, [&](io_mask) {
    ++calls;
    return io_mask::none;
  });
  give(old.peer, "for the duplicate");
  turns(loop);
  CHECK(calls == 0);
  give(fresh.peer, "new");
  loop.run();
  CHECK(calls == 1);
}

EVENT_TEST("watches survive when the kernel's set is made anew") {
  event_loop loop(tested_reactor::options());
  const plain_pair pair = plain_socket_pair();
  const auto file = temporary_file();
  int calls = 0, file_calls = 0;
  event watch = loop.watch(pair.ours.get(), io_mask::read, [&](io_mask ready) {
    ++calls;
    return ready;
  });
  event idle = loop.watch(pair.peer.get(), io_mask::none, [](io_mask ready) { return ready; });
  event of_file = loop.watch(file.get(), io_mask::read, [&](io_mask) {
    ++file_calls;
    return io_mask::read;
  });
  turns(loop);
  loop.after_fork_child();  // the same in the same process
  const int before = file_calls;
  give(pair.peer, "x");
  turns(loop);
  CHECK(calls >= 1);
  CHECK(file_calls > before);
  CHECK(idle.active());
  for (event* const each : {&watch, &idle, &of_file}) each->cancel();
  loop.run();
}
