// Coroutines in a Boost.Asio program, whose io_context runs our loop; each side's coroutines wait for the other's.
//
//   c++ -std=c++20 -O2 -Iinclude examples/embed_asio.cpp -pthread && ./a.out
#include <unistd.h>

#include <cstdio>
#include <utility>  // Boost 1.74 forgets it

#include <boost/asio.hpp>
#include <eventer/eventer.hpp>

namespace asio = boost::asio;
using namespace std::chrono_literals;

// All that it takes: Asio waits for the loop's handle, which also tells of its timers, and lets it do what is ready.
class inside_asio {
 public:
  inside_asio(eventer::event_loop& loop, asio::io_context& io)
      : loop_(loop), handle_(io, ::dup(loop.native_handle())) {  // Asio closes what it is given
    wait();
  }
  void stop() { handle_.close(); }

 private:
  void wait() {
    handle_.async_wait(asio::posix::descriptor_base::wait_read, [this](boost::system::error_code error) {
      if (error) return;
      loop_.poll();
      wait();
    });
  }
  eventer::event_loop& loop_;
  asio::posix::stream_descriptor handle_;
};

// A timer of Asio's as something to wait for: eventer::await moves it to the heap, where its address stays.
class asio_sleep {
 public:
  asio_sleep(asio::io_context& io, std::chrono::milliseconds time) : timer_(io, time) {}
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> waiting) {
    timer_.async_wait([waiting](boost::system::error_code) { waiting.resume(); });
  }
  void await_resume() const noexcept {}

 private:
  asio::steady_timer timer_;
};

int main() {
  asio::io_context io;
  eventer::event_loop loop;
  inside_asio embedded(loop, io);

  auto pair = eventer::unix_stream::pair().value();
  auto echo = loop.spawn([far = std::move(pair.second)]() mutable {
    std::array<char, 64> bytes;
    while (const auto got = far.read_some(bytes)) far.write_all({bytes.data(), *got}).value();
  });
  (void)loop.spawn([&io, &embedded, near = std::move(pair.first), echo = std::move(echo)]() mutable {
    eventer::await(asio_sleep(io, 10ms));
    std::printf("a timer of Asio's has woken a coroutine\n");
    std::array<char, 64> answer;
    near.write_all("and the echo is ours").value();
    std::printf("%.*s\n", static_cast<int>(near.read_some(answer).value()), answer.data());
    near.close();
    echo.join();
    embedded.stop();  // nothing is left for Asio to wait for
  });
  io.run();
}
// It prints: a timer of Asio's has woken a coroutine
//            and the echo is ours
