// One awaitable, every kind of caller: the same operations from a stackful coroutine, from a C++20 task, from a
// coroutine type that knows nothing of the library, and from a plain thread.
#include <eventer/eventer.hpp>

#include <array>
#include <coroutine>
#include <cstdio>
#include <string>

using namespace std::chrono_literals;
using eventer::task;

// A task is lazy and runs on the coroutine that awaits it. Its frame is on the heap, so others may point at its locals.
// What is read beyond a line stays in `text` for the next one.
task<std::string> read_line(eventer::unix_stream& from, std::string& text) {
  const auto found = co_await from.async_read_until(text, "\n", 1000, 10s);
  if (!found) co_return found.error().message();
  const std::string line(found->substr(0, found->size() - 1));
  text.erase(0, found->size());
  co_return line;
}

task<int> count_lines(eventer::unix_stream from) {
  std::string text;
  int lines = 0;
  while (co_await read_line(from, text) != "end") ++lines;
  co_return lines;
}

// Any other promise type will do.
struct fire_and_forget {
  struct promise_type {
    fire_and_forget get_return_object() { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::terminate(); }
  };
};
fire_and_forget say_later(const char* text, eventer::duration when) {
  co_await eventer::after(when);
  std::printf("%s\n", text);
}

int main() {
  eventer::await(eventer::after(1ms));  // a plain thread blocks

  return eventer::run([] {
    auto [near, far] = eventer::unix_stream::pair().value();
    auto counting = eventer::spawn(count_lines(std::move(far)));
    near.write_all("one\ntwo\nend\n").value();
    std::printf("%d lines\n", counting.join());

    say_later("from another kind of coroutine", 1ms);
    eventer::sleep_for(5ms);

    // The first of several; what loses is over when this returns.
    auto other = eventer::unix_stream::pair().value();
    std::array<char, 16> bytes;
    const auto first = eventer::when_any(other.first.async_read_some(bytes), eventer::after(1ms));
    std::printf("%s came first\n", first.index == 0 ? "a byte" : "the time");

    // Both, at the same time.
    const auto length_of = [](std::string text) -> task<std::size_t> {
      co_await eventer::after(1ms);
      co_return text.size();
    };
    const auto [a, b] = eventer::when_all(length_of("four"), length_of("seven.."));
    std::printf("%zu and %zu\n", a, b);
  });
}
// Prints:
// 2 lines
// from another kind of coroutine
// the time came first
// 4 and 7
