// Scopes: coroutines that end with the block that started them, a limit of time for all that a block waits for, and
// what they hand to each other.
#include <eventer/eventer.hpp>

#include <cstdio>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>

using namespace std::chrono_literals;

// Three at a time fetch, whatever number of names there is; the first failure ends all of them.
std::size_t fetch_all(std::size_t names, bool one_fails) {
  eventer::semaphore room(3);
  auto bytes = std::make_shared<std::size_t>(0);  // on the heap: its coroutines reach it, this stack they could not
  eventer::task_group all;
  for (std::size_t i = 0; i < names; ++i)
    all.spawn([room, bytes, i, one_fails]() mutable {
      room.acquire();
      eventer::sleep_for(1ms);
      if (one_fails && i == 4) throw std::runtime_error("number 4 does not answer");
      *bytes += 100;
      room.release();
    });
  all.join();
  return *bytes;
}

// Two workers and a limit: a channel's handle is copied into each, and is the same channel.
void work() {
  eventer::channel<std::string> jobs(2);
  eventer::mutex printer;
  eventer::task_group workers;
  for (const char* name : {"ann", "bob"})
    workers.spawn([jobs, printer, name]() mutable {
      while (const auto job = jobs.receive()) {
        const std::lock_guard held(printer);
        std::printf("%s does %s\n", name, job->c_str());
        eventer::yield();
      }
    });
  for (const char* job : {"one", "two", "three", "four"}) jobs.send(job).value();
  jobs.close();
  workers.join();
}

// Whichever comes first.
void choose() {
  eventer::channel<int> numbers(0);
  eventer::channel<std::string> words(0);
  eventer::task_group senders;
  senders.spawn([numbers]() mutable {
    eventer::sleep_for(2ms);
    (void)numbers.send(42);
  });
  senders.spawn([words]() mutable {
    eventer::sleep_for(1ms);
    (void)words.send("hello");
  });
  for (;;) {
    const auto which = eventer::select(
        20ms, eventer::on_receive(numbers, [](eventer::io_result<int> n) { std::printf("number %d\n", n.value()); }),
        eventer::on_receive(words,
                            [](const eventer::io_result<std::string>& w) { std::printf("word %s\n", w->c_str()); }));
    if (!which) return void(std::printf("nothing more: %s\n", which.error().message().c_str()));
  }
}

int main() {
  return eventer::run([] {
    std::printf("%zu bytes\n", fetch_all(10, false));
    try {
      fetch_all(10, true);
    } catch (const std::runtime_error& failure) {
      std::printf("%s; nothing of it runs any more\n", failure.what());
    }

    {
      const eventer::deadline_scope soon(2ms);
      eventer::task_group slow;
      slow.spawn([] { eventer::sleep_for(1h); });
      const auto done = slow.try_join();
      std::printf("%s, and the slow one has ended: %zu left\n", done.error().message().c_str(), slow.size());
    }

    work();
    choose();

    // A farewell that a cancellation does not cut off.
    auto guest = eventer::spawn([] {
      try {
        eventer::sleep_for(1h);
      } catch (const eventer::cancelled&) {
        const eventer::cancel_shield farewell;
        eventer::sleep_for(1ms);
        std::printf("goodbye\n");
        throw;
      }
    });
    eventer::yield();
    guest.cancel();
    std::printf("%s\n", guest.try_join().error().message().c_str());
  });
}
// Prints:
// 1000 bytes
// number 4 does not answer; nothing of it runs any more
// timed out, and the slow one has ended: 0 left
// ann does one
// bob does two
// ann does three
// bob does four
// word hello
// number 42
// nothing more: timed out
// goodbye
// operation canceled
