// In-memory streams: what the network may do to a connection, by seed and in virtual time, in both worlds.
#include <algorithm>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "../catch.hpp"
#include "../sockets.hpp"
#include "../two_worlds.hpp"
#include "eventer/eventer.hpp"

using namespace std::chrono_literals;
using eventer::duration;
using eventer::errc;
using eventer::event_loop;
using eventer::manual_clock;
using eventer::memory_stream_options;
using eventer::memory_stream_pair;
using eventer::tcp_stream;
using eventer::time_point;

#define WORLDS_TEST(name) TEMPLATE_TEST_CASE(name, "[memory_stream]", stackful, foreign)

namespace {

const std::string reset_text = "<" + std::make_error_code(std::errc::connection_reset).message() + ">";
const std::string broken_pipe_text = "<" + std::make_error_code(std::errc::broken_pipe).message() + ">";

struct ends {
  std::shared_ptr<tcp_stream> near, far;
  eventer::memory_link link;
};
ends make(const memory_stream_options& options = {}) {
  auto pair = memory_stream_pair(options);
  return {shared(std::move(pair.near)), shared(std::move(pair.far)), std::move(pair.link)};
}

template <class Test>
void in_virtual_time(Test test, std::uint64_t seed = 0) {
  manual_clock time;
  eventer::run([test, clock = &time] { test(*clock); }, {.clock = &time, .seed = seed});
}

std::span<const eventer::const_buffer> gathered(std::span<const eventer::const_buffer> parts) { return parts; }

std::string pattern(std::size_t bytes) {
  std::string result(bytes, ' ');
  unsigned state = 1;
  for (char& each : result) each = static_cast<char>((state = state * 1664525 + 1013904223) >> 24);
  return result;
}

// Until the end or an error, whose text comes last.
template <class World>
std::string read_all(const std::shared_ptr<tcp_stream>& from) {
  std::string all;
  for (;;) {
    const std::string part = start_read<World>(from).get();
    all += part;
    if (part.starts_with('<')) return all;
  }
}

}  // namespace

WORLDS_TEST("bytes go both ways, as through a socket") {
  in_virtual_time([](const manual_clock&) {
    auto pair = make();
    auto waiting = start_read<TestType>(pair.far);
    next_turn();
    CHECK_FALSE(waiting.done());
    CHECK(start_write<TestType>(pair.near, "there").get() == "ok");
    CHECK(waiting.get() == "there");
    CHECK(start_write<TestType>(pair.far, "and back").get() == "ok");
    CHECK(start_read<TestType>(pair.near, {}, 3).get() == "and");
    CHECK(start_read<TestType>(pair.near).get() == " back");
    CHECK(start_read<TestType>(pair.near, 1s).get() == timed_out_text);
    CHECK(pair.link.bytes_moved() == 13);
    CHECK(pair.near->native_handle() == -1);
    CHECK(pair.near->is_open());
  });
}

WORLDS_TEST("reads and writes may be short, and lose nothing") {
  for (const auto& [name, options] :
       {std::pair{"reads", memory_stream_options{.short_reads = 90}},
        std::pair{"writes", memory_stream_options{.short_writes = 90}},
        std::pair{"both", memory_stream_options{.short_reads = 90, .short_writes = 90}}}) {
    DYNAMIC_SECTION(name) {
      in_virtual_time([options = options](const manual_clock&) {
        auto pair = make(options);
        const std::string text = pattern(10'000);
        auto writing = start_write<TestType>(pair.near, text);
        std::string got;
        std::size_t reads = 0, shortest = 10'000, longest = 0;
        for (; got.size() < text.size(); ++reads) {
          const std::string part = start_read<TestType>(pair.far, {}, 1000).get();
          shortest = std::min(shortest, part.size());
          longest = std::max(longest, part.size());
          got += part;
        }
        CHECK(got == text);
        CHECK(writing.get() == "ok");
        if (options.short_reads == 0) return;
        CHECK(reads > 15);
        CHECK(shortest < 300);
        CHECK(longest > 300);
      });
    }
  }
}

WORLDS_TEST("calls may say that they would block, also each of them, and go on in the next turn") {
  for (const unsigned percent : {1u, 50u, 100u}) {
    DYNAMIC_SECTION(percent << " percent") {
      in_virtual_time([percent](const manual_clock& clock) {
        auto pair = make({.would_blocks = percent});
        const time_point start = clock.now();
        for (int i = 0; i < 50; ++i) {
          CHECK(start_write<TestType>(pair.near, "ping", 10s).get() == "ok");
          CHECK(start_read<TestType>(pair.far, 10s).get() == "ping");
        }
        CHECK(clock.now() == start);
        if (percent < 100) return;
        // A read that would block does not take what a second try finds.
        CHECK(start_write<TestType>(pair.near, "last").get() == "ok");
        CHECK(start_read<TestType>(pair.far, 0s).get() == timed_out_text);
        CHECK(start_read<TestType>(pair.far, 1s).get() == "last");
      });
    }
  }
}

WORLDS_TEST("a write waits at the capacity, and goes on as the reader makes room") {
  in_virtual_time([](const manual_clock& clock) {
    auto pair = make({.capacity = 1000});
    const std::string text = pattern(3500);
    auto writing = start_write<TestType>(pair.near, text);
    next_turn();
    CHECK_FALSE(writing.done());
    CHECK(pair.link.bytes_moved() == 1000);
    CHECK(start_write<TestType>(pair.far, "the other way").get() == "ok");
    std::string got = start_read<TestType>(pair.far, {}, 600).get();
    CHECK(got.size() == 600);
    next_turn();
    CHECK(pair.link.bytes_moved() == 1600 + 13);
    while (got.size() < text.size()) got += start_read<TestType>(pair.far, 1s).get();
    CHECK(got == text);
    CHECK(writing.get() == "ok");
    const time_point start = clock.now();
    CHECK(start_write<TestType>(pair.near, text, 5s).get() == timed_out_text);
    CHECK(clock.now() - start == 5s);
  });
}

WORLDS_TEST("bytes arrive after the latency and in their order, however many are written at once") {
  for (std::uint64_t seed = 0; seed < 6; ++seed) {
    DYNAMIC_SECTION("seed " << seed) {
      in_virtual_time(
          [](const manual_clock& clock) {
            auto pair = make({.capacity = 100'000, .latency = 50ms});
            const time_point start = clock.now();
            std::string sent;
            for (int i = 0; i < 200; ++i) {
              const std::string word = std::to_string(i) + " ";
              sent += word;
              CHECK(pair.near->write_all(word).has_value());
            }
            CHECK(pair.near->shutdown_write().has_value());
            auto reading = start_read<TestType>(pair.far, 49ms);
            CHECK(reading.get() == timed_out_text);
            CHECK(read_all<TestType>(pair.far) == sent + end_of_stream_text);
            CHECK(clock.now() - start == 50ms);
          },
          seed);
    }
  }
}

WORLDS_TEST("with latency a question and its answer take twice the time") {
  in_virtual_time([](const manual_clock& clock) {
    auto pair = make({.latency = 30ms});
    auto echoing = eventer::spawn([far = pair.far] { echo(std::move(*far)); });
    const time_point start = clock.now();
    for (int i = 1; i <= 10; ++i) {
      CHECK(start_write<TestType>(pair.near, "x").get() == "ok");
      CHECK(start_read<TestType>(pair.near, 100ms).get() == "x");
      CHECK(clock.now() - start == i * 60ms);
    }
  });
}

WORLDS_TEST("a half-close ends the other's reading after the last byte, and nothing else") {
  for (const duration latency : {duration(0), duration(10ms)}) {
    in_virtual_time([latency](const manual_clock&) {
      auto pair = make({.latency = latency});
      CHECK(start_write<TestType>(pair.near, "question").get() == "ok");
      CHECK(pair.near->shutdown_write().has_value());
      CHECK(pair.near->shutdown_write().has_value());
      CHECK(start_write<TestType>(pair.near, "more").get() == broken_pipe_text);
      CHECK(start_read<TestType>(pair.far).get() == "question");
      CHECK(start_read<TestType>(pair.far).get() == end_of_stream_text);
      CHECK(start_read<TestType>(pair.far).get() == end_of_stream_text);
      auto waiting = start_read<TestType>(pair.near);
      next_turn();
      CHECK(start_write<TestType>(pair.far, "answer").get() == "ok");
      CHECK(waiting.get() == "answer");
    });
  }
}

WORLDS_TEST("a close ends the peer's reading after the last byte, and breaks its writing") {
  for (const duration latency : {duration(0), duration(10ms)}) {
    for (const bool waiting : {false, true}) {
      DYNAMIC_SECTION("latency " << latency.count() << (waiting ? ", while it reads" : "")) {
        in_virtual_time([latency, waiting](const manual_clock&) {
          auto pair = make({.latency = latency});
          CHECK(start_write<TestType>(pair.far, "last words").get() == "ok");
          pending<std::string> reading;
          if (waiting) {
            CHECK(start_read<TestType>(pair.near).get() == "last words");
            reading = start_read<TestType>(pair.near);
            next_turn();
          }
          pair.far->close();
          CHECK(start_write<TestType>(pair.near, "x").get() == broken_pipe_text);
          CHECK((waiting ? reading : start_read<TestType>(pair.near)).get() ==
                (waiting ? end_of_stream_text : "last words"));
          CHECK(start_read<TestType>(pair.near).get() == end_of_stream_text);
          CHECK(start_read<TestType>(pair.near).get() == end_of_stream_text);
        });
      }
    }
  }
}

WORLDS_TEST("a close breaks a write that waits for room") {
  for (const duration latency : {duration(0), duration(10ms)}) {
    in_virtual_time([latency](const manual_clock&) {
      auto pair = make({.capacity = 10, .latency = latency});
      auto writing = start_write<TestType>(pair.near, std::string(15, '+'));
      next_turn();
      CHECK_FALSE(writing.done());
      pair.far->close();
      // What has arrived unread resets the connection.
      CHECK(writing.get() == (latency == 0s ? reset_text : broken_pipe_text));
    });
  }
}

WORLDS_TEST("a close with bytes unread resets the connection") {
  in_virtual_time([](const manual_clock&) {
    auto pair = make();
    CHECK(start_write<TestType>(pair.near, "unread").get() == "ok");
    auto reading = start_read<TestType>(pair.near);
    next_turn();
    pair.far->close();
    CHECK(reading.get() == reset_text);
    CHECK(start_write<TestType>(pair.near, "x").get() == reset_text);
  });
}

WORLDS_TEST("a reset is told to both ends, whether they wait or not, and what was under way is lost") {
  for (const duration latency : {duration(0), duration(10ms)}) {
    in_virtual_time([latency](const manual_clock&) {
      auto pair = make({.capacity = 10, .latency = latency});
      CHECK(start_write<TestType>(pair.near, "0123456789").get() == "ok");
      auto writing = start_write<TestType>(pair.near, "x");
      auto reading = start_read<TestType>(pair.near);
      next_turn();
      CHECK_FALSE(writing.done());
      CHECK_FALSE(reading.done());
      pair.link.reset();
      CHECK(writing.get() == reset_text);
      CHECK(reading.get() == reset_text);
      eventer::sleep_for(1s);
      CHECK(start_read<TestType>(pair.far).get() == reset_text);
      CHECK(start_write<TestType>(pair.far, "x").get() == reset_text);
      CHECK_FALSE(pair.far->shutdown_write().has_value());
      pair.link.reset();  // twice is harmless
      pair.far->close();
      pair.near->close();
    });
  }
}

WORLDS_TEST("a connection is reset after so many bytes, and not before") {
  in_virtual_time([](const manual_clock&) {
    auto pair = make({.reset_after = 10});
    CHECK(start_write<TestType>(pair.near, "01234").get() == "ok");
    CHECK(start_read<TestType>(pair.far).get() == "01234");
    CHECK(start_write<TestType>(pair.far, "56789").get() == "ok");
    CHECK(start_read<TestType>(pair.near).get() == "56789");
    CHECK(start_write<TestType>(pair.near, "x").get() == reset_text);
    CHECK(start_read<TestType>(pair.far).get() == reset_text);
  });
}

WORLDS_TEST("read_until, read_exact and several buffers work over pieces of every size") {
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    in_virtual_time([seed](const manual_clock&) {
      auto pair = make({.seed = seed, .short_reads = 70, .short_writes = 70, .would_blocks = 30, .capacity = 16});
      auto writing = eventer::spawn([near = pair.near] {
        const eventer::const_buffer parts[] = {"fir", "", "st\r", "\nsecond\r\n", "exactly", "rest"};
        return near->write_all(gathered(parts)).value();
      });
      auto text = std::make_shared<std::string>();
      CHECK(start_read_until<TestType>(pair.far, text, "\r\n", 100).get() == "first\r\n");
      text->erase(0, 7);
      CHECK(start_read_until<TestType>(pair.far, text, "\r\n", 100).get() == "second\r\n");
      text->erase(0, 8);
      const std::string exactly = *text + start_read_exact<TestType>(pair.far, 11 - text->size()).get();
      CHECK(exactly == "exactlyrest");
      CHECK(writing.join() == 26);
    });
  }
}

TEST_CASE(
    "a second reader of an in-memory stream is busy, a close wakes the first, and a release says that it has no number") {
  in_virtual_time([](const manual_clock&) {
    auto pair = make();
    auto first = start_read<stackful>(pair.near);
    next_turn();
    std::array<char, 4> bytes;
    CHECK(pair.near->read_some(bytes).error() == errc::busy);
    pair.near->close();
    CHECK(first.get() == closed_text);
    CHECK(pair.far->release() == -1);
    CHECK_FALSE(pair.far->is_open());
  });
}

TEST_CASE("in-memory streams that outlive their loop, or never saw one, are harmless") {
  for (const duration latency : {duration(0), duration(10ms)}) {
    for (const int state : {0, 1, 2}) {
      auto pair = memory_stream_pair({.latency = latency});
      if (state > 0) {
        manual_clock time;
        eventer::run(
            [&pair, state] {
              CHECK(pair.near.write_all("unread").has_value());
              if (state == 1) return;
              CHECK(read_text(pair.far, 1s) == "unread");
              CHECK(read_text(pair.far, 1ms) == timed_out_text);
            },
            {.clock = &time});
      }
      SECTION("the near end goes first") { pair.near.close(); }
      SECTION("the far end goes first") { pair.far.close(); }
      SECTION("a half-close") { (void)pair.near.shutdown_write(); }
      SECTION("a reset") { pair.link.reset(); }
    }
  }
}

TEST_CASE(
    "in-memory streams are closed by a callback, by coroutines that a loop's end unwinds, and by closures that never ran") {
  manual_clock time;
  auto pair = memory_stream_pair({.latency = 10ms});
  auto never_ran = memory_stream_pair({.latency = 10ms});
  event_loop loop({.clock = &time});
  (void)loop.spawn([near = std::move(pair.near)]() mutable { (void)read_text(near, 1h); });
  loop.after(1s, [far = std::move(pair.far), &loop]() mutable {
    far.close();
    loop.stop();
  });
  loop.run();
  (void)loop.spawn([near = std::move(never_ran.near)] {});
  loop.post([far = std::move(never_ran.far)] {});
}

// --- the sweep ---

namespace {

// A server that answers lines and then echoes a block, and its client. What they exchange must not depend on the seed.
template <class World>
pending<std::string> start_server(std::shared_ptr<tcp_stream> stream);
template <>
pending<std::string> start_server<stackful>(std::shared_ptr<tcp_stream> stream) {
  pending<std::string> result;
  (void)eventer::spawn([result, stream] {
    std::string text, log;
    for (;;) {
      const auto line = stream->read_until(text, "\r\n", 1000);
      if (!line) return result.end(log + text_of(line.error()));
      const std::string answer = "<" + std::string(*line) + ">";
      text.erase(0, line->size());
      log += answer;
      const eventer::const_buffer parts[] = {"answer ", "", answer};
      if (!stream->write_all(gathered(parts))) return result.end(log + "broken");
    }
  });
  return result;
}
fire_and_forget serve(pending<std::string> result, std::shared_ptr<tcp_stream> stream) {
  std::string text, log;
  for (;;) {
    const auto line = co_await stream->async_read_until(text, "\r\n", 1000);
    if (!line) break;
    const std::string answer = "<" + std::string(*line) + ">";
    text.erase(0, line->size());
    log += answer;
    const eventer::const_buffer parts[] = {"answer ", "", answer};
    const auto written = co_await stream->async_write_all(gathered(parts));
    if (!written) break;
  }
  result.end(log + end_of_stream_text);
}
template <>
pending<std::string> start_server<foreign>(std::shared_ptr<tcp_stream> stream) {
  pending<std::string> result;
  event_loop::current().post([result, stream] { serve(result, stream); });
  return result;
}

}  // namespace

WORLDS_TEST("two hundred seeds of short reads, short writes, would-blocks and latency give the same bytes") {
  std::string expected_log, expected_answers;
  for (int i = 0; i < 10; ++i) {
    const std::string line = "<line " + std::string(static_cast<std::size_t>(i * i), 'x') + "\r\n>";
    expected_log += line;
    expected_answers += "answer " + line;
  }
  expected_log += end_of_stream_text;
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    CAPTURE(seed);
    in_virtual_time(
        [&, seed](const manual_clock&) {
          auto pair = make({.seed = seed,
                            .short_reads = static_cast<unsigned>(seed % 90),
                            .short_writes = static_cast<unsigned>(seed * 7 % 90),
                            .would_blocks = static_cast<unsigned>(seed * 11 % 90),
                            .capacity = 1 + seed * 13 % 200,
                            .latency = seed % 3 == 0 ? duration(1ms) : duration(0)});
          auto server = start_server<TestType>(pair.far);
          auto sending = eventer::spawn([near = pair.near] {
            for (int i = 0; i < 10; ++i)
              if (!near->write_all("line " + std::string(static_cast<std::size_t>(i * i), 'x') + "\r\n", 1min))
                return false;
            return near->shutdown_write().has_value();
          });
          const std::string got = start_read_exact<TestType>(pair.near, expected_answers.size(), 1min).get();
          CHECK(sending.join());
          CHECK(got == expected_answers);
          CHECK(server.get() == expected_log);
        },
        seed % 2 == 0 ? seed : 0);
  }
}

TEST_CASE("the same seed gives the same pieces, and others give others") {
  const auto pieces = [](std::uint64_t seed) {
    std::string all;
    in_virtual_time([&all, seed](const manual_clock&) {
      auto pair = make({.seed = seed, .short_reads = 60, .short_writes = 60, .would_blocks = 30});
      auto writing = start_write<stackful>(pair.near, pattern(2000));
      for (std::size_t got = 0; got < 2000;) {
        const std::string part = start_read<stackful>(pair.far).get();
        got += part.size();
        all += std::to_string(part.size()) + " ";
      }
    });
    return all;
  };
  std::vector<std::string> all;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    all.push_back(pieces(seed));
    CHECK(all.back() == pieces(seed));
  }
  CHECK(all[0] == all[1]);  // a seed of 0 stands for 1
  std::sort(all.begin(), all.end());
  CHECK(std::unique(all.begin(), all.end()) - all.begin() == 19);
}
