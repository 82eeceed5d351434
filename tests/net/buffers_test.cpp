// read_until and several buffers at a time, in both worlds: over real sockets, cut into pieces at every place.
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "../catch.hpp"
#include "../faults.hpp"
#include "../sockets.hpp"
#include "../two_worlds.hpp"
#include "eventer/eventer.hpp"

using namespace std::chrono_literals;
using eventer::buffer;
using eventer::const_buffer;
using eventer::tcp_stream;
using eventer::unix_stream;
using call = faults::call;

#define WORLDS_TEST(name) TEMPLATE_TEST_CASE(name, "[buffers]", stackful, foreign)

namespace {

const std::string would_not_fit_text = text_of(make_error_code(eventer::errc::would_not_fit));

struct unix_ends {
  std::shared_ptr<unix_stream> near, far;
};
unix_ends unix_pair() {
  auto pair = unix_stream::pair().value();
  return {shared(std::move(pair.first)), shared(std::move(pair.second))};
}
std::shared_ptr<std::string> text(std::string what = "") { return std::make_shared<std::string>(std::move(what)); }

template <class World>
pending<std::string> start_write_parts(std::shared_ptr<unix_stream> to,
                                       std::shared_ptr<std::vector<const_buffer>> parts,
                                       std::shared_ptr<std::size_t> done = std::make_shared<std::size_t>(),
                                       eventer::time_limit limit = {}) {
  const auto view = [parts] { return std::span<const const_buffer>(*parts); };
  return World::perform([=] { return to->write_all(view(), *done, limit); },
                        [=] { return to->async_write_all(view(), *done, limit); },
                        [=](const eventer::io_result<std::size_t>& put) {
                          return put ? "ok" + std::to_string(*put) : text_of(put.error());
                        });
}
template <class World>
pending<std::string> start_read_parts(std::shared_ptr<unix_stream> from, std::shared_ptr<std::vector<std::string>> into,
                                      eventer::time_limit limit = {}) {
  auto parts = std::make_shared<std::vector<buffer>>(into->begin(), into->end());
  const auto view = [parts] { return std::span<const buffer>(*parts); };
  return World::perform([=] { return from->read_some(view(), limit); },
                        [=] { return from->async_read_some(view(), limit); },
                        [into](const eventer::io_result<std::size_t>& got) {
                          std::string all = std::to_string(got.value_or(0u));
                          for (const std::string& each : *into) all += "|" + each;
                          return got ? all : text_of(got.error());
                        });
}
std::string pattern(std::size_t bytes) {
  std::string result(bytes, ' ');
  for (std::size_t i = 0; i < bytes; ++i) result[i] = static_cast<char>('a' + (i * 7 + i / 26) % 26);
  return result;
}
// Everything up to the end.
std::string read_to_end(unix_stream& from) {
  std::string all;
  std::vector<char> part(1 << 16);
  while (const auto got = from.read_some(part, 5s)) all.append(part.data(), *got);
  return all;
}

}  // namespace

// --- read_until ---

WORLDS_TEST("a line is found wherever its delimiter is cut into pieces, and what follows stays") {
  for (const std::string delimiter : {"\n", "\r\n", "\r\n\r\n", "aab", "abab"}) {
    const std::string message = "first a ab aa" + delimiter + "next";
    for (std::size_t cut = 1; cut < message.size(); ++cut) {
      CAPTURE(delimiter, cut);
      eventer::run([&] {
        auto pair = unix_pair();
        auto into = text();
        auto reading = start_read_until<TestType>(pair.far, into, delimiter, 1000);
        for (const std::string& piece : {message.substr(0, cut), message.substr(cut)}) {
          REQUIRE(pair.near->write_all(piece).has_value());
          next_turn();
        }
        const std::string line = reading.get();
        const std::size_t expected = message.find(delimiter) + delimiter.size();
        REQUIRE(line == message.substr(0, expected));
        CHECK(message.starts_with(*into));
        into->erase(0, expected);
        pair.near->close();
        CHECK(start_read_until<TestType>(pair.far, into, delimiter, 1000).get() == end_of_stream_text);
        CHECK(*into == message.substr(expected));
      });
    }
  }
}

WORLDS_TEST("a line that comes byte by byte is found, and lines that come at once are given one by one") {
  eventer::run([] {
    auto pair = unix_pair();
    auto into = text();
    auto reading = start_read_until<TestType>(pair.far, into, "--", 100);
    for (const char each : std::string("a-b---c")) {
      REQUIRE(pair.near->write_all(std::string(1, each)).has_value());
      next_turn();
    }
    CHECK(reading.get() == "a-b--");
    into->erase(0, 5);
    REQUIRE(pair.near->write_all("--d--e").has_value());
    for (const std::string expected : {"-c--", "d--"}) {
      CHECK(start_read_until<TestType>(pair.far, into, "--", 100).get() == expected);
      into->erase(0, expected.size());
    }
    CHECK(start_read_until<TestType>(pair.far, into, "--", 100, 1ms).get() == timed_out_text);
    CHECK(*into == "e");
  });
}

WORLDS_TEST("what the text holds already is looked at first, without a system call") {
  eventer::run([] {
    auto pair = unix_pair();
    const faults counted;
    auto into = text("one\ntwo\n");
    CHECK(start_read_until<TestType>(pair.far, into, "\n", 100).get() == "one\n");
    CHECK(start_read_until<TestType>(pair.far, into, "\n", 100).get() == "one\n");
    CHECK(*into == "one\ntwo\n");
    CHECK(start_read_until<TestType>(pair.far, into, "", 100).get().empty());
    CHECK(counted.calls(call::recv) == 0);
  });
}

WORLDS_TEST("a line may be as long as the limit and not longer, wherever that is met") {
  for (const std::size_t limit :
       {std::size_t{1}, std::size_t{5}, std::size_t{4095}, std::size_t{4096}, std::size_t{4097}, std::size_t{9000}}) {
    for (const int over : {-1, 0, 1}) {
      for (const bool held_already : {false, true}) {
        CAPTURE(limit, over, held_already);
        eventer::run([=] {
          auto pair = unix_pair();
          // `limit` + over bytes with the delimiter, and something behind it.
          const std::size_t size = limit + static_cast<std::size_t>(over + 1) - 1;
          const std::string line = size == 0 ? "" : std::string(size - 1, 'x') + "\n";
          auto into = text(held_already ? line + "more" : "");
          if (!held_already) REQUIRE(pair.near->write_all(line + "more").has_value());
          const std::string got = start_read_until<TestType>(pair.far, into, "\n", limit, 1s).get();
          if (size == 0)
            CHECK(got == would_not_fit_text);  // "more" has no end within one byte
          else
            CHECK(got == (over == 1 ? would_not_fit_text : line));
          if (!held_already) CHECK(into->size() <= limit);
          // Nothing was lost.
          pair.near->close();
          CHECK(*into + read_to_end(*pair.far) == line + "more");
        });
      }
    }
  }
}

WORLDS_TEST("the end before a delimiter, a time-out and a close leave the text that came") {
  eventer::run([] {
    for (const char* const ending : {"end", "time-out", "close"}) {
      CAPTURE(ending);
      auto pair = unix_pair();
      auto into = text("held ");
      const bool times_out = ending == std::string("time-out");
      auto reading = start_read_until<TestType>(pair.far, into, "\n", 1000, times_out ? eventer::time_limit(5ms) : 5s);
      REQUIRE(pair.near->write_all("part").has_value());
      next_turn();
      if (ending == std::string("end")) pair.near->close();
      if (ending == std::string("close")) pair.far->close();
      CHECK(reading.get() == (times_out                        ? timed_out_text
                              : ending == std::string("close") ? closed_text
                                                               : end_of_stream_text));
      CHECK(*into == "held part");
      if (!times_out) continue;
      REQUIRE(pair.near->write_all(" and rest\n").has_value());
      CHECK(start_read_until<TestType>(pair.far, into, "\n", 1000).get() == "held part and rest\n");
    }
  });
}

WORLDS_TEST("the limit of time is for the whole line, however often bytes come") {
  eventer::manual_clock time;
  eventer::run(
      [clock = &time] {
        auto pair = unix_pair();
        auto into = text();
        const auto start = clock->now();
        auto dripping = eventer::spawn([near = pair.near] {
          while (near->write_all(".").has_value()) eventer::sleep_for(100ms);
        });
        CHECK(start_read_until<TestType>(pair.far, into, "\n", 1000, 1s).get() == timed_out_text);
        CHECK(clock->now() - start == 1s);
        CHECK(into->size() >= 9);
        dripping.cancel();
      },
      {.clock = &time});
}

// --- several buffers ---

WORLDS_TEST("several buffers are written as one, whatever their number and sizes, in few system calls") {
  struct parts {
    const char* name;
    std::vector<std::size_t> sizes;
    int calls;
  };
  const parts all[] = {
      {"none", {}, 0},
      {"one", {5}, 1},
      {"only empty ones", {0, 0, 0}, 0},
      {"empty ones between", {0, 3, 0, 0, 4, 0}, 1},
      {"sixteen", std::vector<std::size_t>(16, 3), 1},
      {"seventeen", std::vector<std::size_t>(17, 3), 2},
      {"a hundred, with empty ones",
       [] {
         std::vector<std::size_t> sizes;
         for (std::size_t i = 0; i < 100; ++i) sizes.push_back(i % 5);
         return sizes;
       }(),
       5},
  };
  for (const parts& each : all) {
    CAPTURE(each.name);
    eventer::run([&each] {
      auto pair = unix_pair();
      std::size_t total = 0;
      for (const std::size_t size : each.sizes) total += size;
      const auto bytes = text(pattern(total));
      auto views = std::make_shared<std::vector<const_buffer>>();
      std::size_t at = 0;
      for (const std::size_t size : each.sizes) {
        views->push_back({bytes->data() + at, size});
        at += size;
      }
      const faults counted;
      auto done = std::make_shared<std::size_t>(99);
      CHECK(start_write_parts<TestType>(pair.near, views, done).get() == "ok" + std::to_string(total));
      CHECK(*done == total);
      CHECK(counted.calls(call::sendmsg) == each.calls);
      pair.near->close();
      CHECK(read_to_end(*pair.far) == *bytes);
    });
  }
}

WORLDS_TEST("a gathered write that the kernel takes in pieces goes on in the middle of a buffer") {
  for (const std::size_t size : {std::size_t{1000}, std::size_t{70'001}, std::size_t{300'000}}) {
    CAPTURE(size);
    eventer::run([size] {
      auto pair = unix_pair();
      const int small = 8 << 10;
      ::setsockopt(pair.near->native_handle(), SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
      constexpr std::size_t count = 20;
      const auto bytes = text(pattern(size * count));
      auto views = std::make_shared<std::vector<const_buffer>>();
      for (std::size_t i = 0; i < count; ++i) {
        views->push_back({bytes->data() + i * size, size});
        views->push_back({});
      }
      auto writing = start_write_parts<TestType>(pair.near, views);
      auto reading = start_read_exact<TestType>(pair.far, bytes->size());
      CHECK(reading.get() == *bytes);
      CHECK(writing.get() == "ok" + std::to_string(bytes->size()));
    });
  }
}

WORLDS_TEST("a gathered write that times out says how much it has written, not a byte more or less") {
  eventer::manual_clock time;
  eventer::run(
      [] {
        auto pair = unix_pair();
        const auto bytes = text(pattern(8 << 20));
        auto views = std::make_shared<std::vector<const_buffer>>();
        for (std::size_t at = 0; at < bytes->size(); at += 1 << 18) views->push_back({bytes->data() + at, 1 << 18});
        auto done = std::make_shared<std::size_t>(99);
        CHECK(start_write_parts<TestType>(pair.near, views, done, 1s).get() == timed_out_text);
        CHECK(*done > 0);
        CHECK(*done < bytes->size());
        pair.near->close();
        CHECK(read_to_end(*pair.far) == bytes->substr(0, *done));
      },
      {.clock = &time});
}

WORLDS_TEST("several buffers are filled in their order, as far as the bytes go") {
  eventer::run([] {
    auto pair = unix_pair();
    const auto sizes = [](std::initializer_list<std::size_t> all) {
      auto into = std::make_shared<std::vector<std::string>>();
      for (const std::size_t each : all) into->emplace_back(each, '.');
      return into;
    };
    REQUIRE(pair.near->write_all("abcdefgh").has_value());
    CHECK(start_read_parts<TestType>(pair.far, sizes({2, 0, 3})).get() == "5|ab||cde");
    CHECK(start_read_parts<TestType>(pair.far, sizes({2, 4})).get() == "3|fg|h...");
    auto waiting = start_read_parts<TestType>(pair.far, sizes({0, 2, 2}));
    next_turn();
    CHECK_FALSE(waiting.done());
    CHECK(start_read_parts<TestType>(pair.far, sizes({0, 0})).get() == "0||");
    CHECK(start_read_parts<TestType>(pair.far, sizes({})).get() == "0");
    REQUIRE(pair.near->write_all("xyz").has_value());
    CHECK(waiting.get() == "3||xy|z.");
    CHECK(start_read_parts<TestType>(pair.far, sizes({1}), 1ms).get() == timed_out_text);
    auto many = std::make_shared<std::vector<std::string>>(40, "..");
    const auto bytes = pattern(80);
    REQUIRE(pair.near->write_all(bytes).has_value());
    std::size_t got = 0;
    for (int reads = 0; got < 80 && reads < 10; ++reads) {
      many->assign(40, "..");
      got += static_cast<std::size_t>(std::stoi(start_read_parts<TestType>(pair.far, many).get()));
    }
    CHECK(got == 80);
    pair.near->close();
    CHECK(start_read_parts<TestType>(pair.far, sizes({1})).get() == end_of_stream_text);
  });
}

WORLDS_TEST("several buffers go through a pipe and a file too") {
  eventer::run([] {
    auto pipe = unix_stream::pipe().value();
    auto reader = shared(std::move(pipe.first)), writer = shared(std::move(pipe.second));
    auto views = std::make_shared<std::vector<const_buffer>>(std::vector<const_buffer>{"ab", "", "cd"});
    auto into = std::make_shared<std::vector<std::string>>(std::vector<std::string>{"...", "..."});
    auto reading = start_read_parts<TestType>(reader, into);
    next_turn();
    CHECK(start_write_parts<TestType>(writer, views).get() == "ok4");
    CHECK(reading.get() == "4|abc|d..");
    const eventer::unique_fd file(::open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    if (!file) return;
    auto stream = shared(unix_stream::from_fd(::dup(file.get())).value());
    CHECK(start_write_parts<TestType>(stream, views).get() == "ok4");
    CHECK(::lseek(file.get(), 1, SEEK_SET) == 1);
    CHECK(start_read_parts<TestType>(stream, into).get() == "3|bcd|d..");
  });
}

WORLDS_TEST("a gathered write may contain what was borrowed, also when it has to wait") {
  eventer::run([] {
    auto slow = unix_pair(), noisy = unix_pair();
    const std::string block(64 << 10, 'f');
    std::size_t filled = 0;
    for (ssize_t sent; (sent = ::send(slow.near->native_handle(), block.data(), block.size(), MSG_DONTWAIT)) > 0;)
      filled += static_cast<std::size_t>(sent);
    const std::string bytes = pattern(5000);
    REQUIRE(slow.far->write_all(bytes).has_value());
    auto head = text("head "), tail = text(" tail");
    const auto views = std::make_shared<std::vector<const_buffer>>();
    auto borrowing = TestType::perform(
        [=] {
          const auto view = slow.near->read_borrowed().value();
          *views = {*head, view, *tail};
          return slow.near->write_all(std::span<const const_buffer>(*views));
        },
        [=] {
          const auto view = slow.near->read_borrowed().value();  // it is there: no wait
          *views = {*head, view, *tail};
          return slow.near->async_write_all(std::span<const const_buffer>(*views));
        },
        [](const eventer::io_result<std::size_t>& put) { return text_of(put.error()); });
    next_turn();
    CHECK_FALSE(borrowing.done());
    // Meanwhile other bytes come into the same scratch buffer.
    REQUIRE(noisy.near->write_all(std::string(6000, '#')).has_value());
    CHECK(noisy.far->read_borrowed(1s).value().size() == 6000);
    const std::string all = start_read_exact<TestType>(slow.far, filled + bytes.size() + 10, 5s).get();
    CHECK(all.substr(filled) == "head " + bytes + " tail");
    CHECK(borrowing.get() == "ok");
  });
}

namespace {
template <class Parts>
concept gathers = requires(unix_stream& to, Parts& parts) {
  to.write_all(parts);
  to.async_write_all(parts);
};
template <class Parts>
concept scatters = requires(unix_stream& from, Parts& parts) {
  from.read_some(parts);
  from.async_read_some(parts);
};
}  // namespace

TEST_CASE("several buffers may be an array, a std::array, a vector or a span of them, constant or not") {
  CHECK(gathers<const_buffer[3]>);
  CHECK(gathers<const const_buffer[3]>);
  CHECK(gathers<std::array<const_buffer, 3>>);
  CHECK(gathers<const std::array<const_buffer, 3>>);
  CHECK(gathers<std::vector<const_buffer>>);
  CHECK(gathers<std::span<const_buffer>>);
  CHECK(gathers<std::span<const const_buffer>>);
  CHECK(gathers<std::span<const const_buffer, 3>>);
  CHECK(scatters<buffer[3]>);
  CHECK(scatters<const buffer[3]>);
  CHECK(scatters<std::array<buffer, 3>>);
  CHECK(scatters<std::vector<buffer>>);
  CHECK(scatters<std::span<buffer>>);
  CHECK(scatters<std::span<const buffer>>);
  // What they are made of must not be taken for bytes.
  CHECK_FALSE(std::is_convertible_v<std::vector<const_buffer>&, const_buffer>);
  CHECK_FALSE(std::is_convertible_v<std::vector<buffer>&, const_buffer>);
  CHECK_FALSE(std::is_convertible_v<std::vector<buffer>&, buffer>);
}
