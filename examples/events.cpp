// Classic events beside coroutines in one loop: callbacks for descriptors, times and turns, and signals that a
// coroutine waits for.
#include <eventer/eventer.hpp>

#include <csignal>
#include <cstdio>
#include <memory>
#include <string>

using namespace std::chrono_literals;
using eventer::io_mask;

int main() {
  eventer::signal_set ends{SIGTERM, SIGINT};  // before there are other threads

  return eventer::run([&ends] {
    auto& loop = eventer::event_loop::current();
    auto [near, far] = eventer::unix_stream::pair().value();

    // The callback answers what to go on with. At the first line it lets go of the descriptor, and a coroutine takes
    // it.
    const int fd = far.release();
    loop.watch(fd, io_mask::read, [&loop, fd](io_mask) {
      std::printf("readable\n");
      loop.spawn([fd] {
        auto stream = eventer::unix_stream::from_fd(fd).value();
        std::string text;
        const auto line = stream.read_until(text, "\n", 100).value();
        std::printf("a coroutine reads: %.*s", static_cast<int>(line.size()), line.data());
      });
      return io_mask::none;
    });
    near.write_all("hello\n").value();

    const auto ticks = std::make_shared<int>(0);
    eventer::event clock = loop.every(1ms, [ticks] { ++*ticks; });
    while (*ticks < 3) eventer::sleep_for(1ms);
    clock.cancel();
    std::printf("three ticks, and %s\n", clock.active() ? "more" : "no more");

    loop.after(1ms, [] { std::raise(SIGTERM); });
    std::printf("signal %d\n", ends.next() == SIGTERM ? SIGTERM : 0);
  });
}
// Prints:
// readable
// a coroutine reads: hello
// three ticks, and no more
// signal 15
