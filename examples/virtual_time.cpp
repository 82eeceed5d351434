// Testing what has to do with time and with bad networks: a loop on a manual clock, and streams in memory that
// misbehave by a seed. Nothing here takes longer than its computing.
#include <eventer/eventer.hpp>

#include <array>
#include <cstdio>
#include <string>

using namespace std::chrono_literals;

// The code under test: a line server that gives up after ten seconds of silence.
std::string serve_one(eventer::tcp_stream client) {
  std::string text;
  for (;;) {
    const auto line = client.read_until(text, "\n", 1000, 10s);
    if (!line) return line.error().message();
    if (!client.write_all(*line)) return "gone";
    text.erase(0, line->size());
  }
}

int main() {
  // A ten-second time-out, at once.
  eventer::manual_clock time;
  eventer::run(
      [&time] {
        auto [near, far, link] = eventer::memory_stream_pair();
        auto server = eventer::spawn(serve_one, std::move(far));
        const auto start = time.now();
        std::printf("%s", server.join().c_str());
        std::printf(" after %d s\n", static_cast<int>((time.now() - start) / 1s));
      },
      {.clock = &time});

  // A thousand orders of events: short reads, calls that would block, coroutines that run in another order.
  int right = 0;
  for (std::uint64_t seed = 1; seed <= 1000; ++seed) {
    eventer::manual_clock each;
    eventer::run(
        [seed, &right] {
          auto [near, far, link] = eventer::memory_stream_pair(
              {.seed = seed, .short_reads = 50, .short_writes = 50, .would_blocks = 30, .latency = 5ms});
          eventer::spawn(serve_one, std::move(far));
          near.write_all("first\nsecond\n").value();
          std::array<char, 13> answer;
          near.read_exact(answer).value();
          right += std::string(answer.data(), answer.size()) == "first\nsecond\n";
        },
        {.clock = &each, .seed = seed});
  }
  std::printf("%d of 1000 seeds give the right answer\n", right);
  return right == 1000 ? 0 : 1;
}
// Prints:
// timed out after 10 s
// 1000 of 1000 seeds give the right answer
