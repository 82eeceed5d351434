// Waiting allocates nothing: once a connection is served, its awaits take no memory from the heap.
#include <atomic>
#include <cstdlib>
#include <new>

#include "../catch.hpp"
#include "../sockets.hpp"
#include "eventer/eventer.hpp"

using namespace std::chrono_literals;

#if !EVENTER_ASAN && !EVENTER_TSAN  // they have an operator new of their own

namespace {
std::atomic<long> allocations{0};
}

__attribute__((noinline)) void* operator new(std::size_t bytes) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  if (void* const memory = std::malloc(bytes == 0 ? 1 : bytes); memory != nullptr) return memory;
  throw std::bad_alloc();
}
__attribute__((noinline)) void operator delete(void* memory) noexcept { std::free(memory); }
__attribute__((noinline)) void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

TEST_CASE("awaits of every kind allocate nothing once their coroutine runs") {
  eventer::run([] {
    auto pair = connected_pair();
    auto echo = eventer::spawn([server = std::move(pair.server)]() mutable {
      std::array<char, 64> bytes;
      while (auto n = server.read_some(bytes, 10s))
        if (!server.write_all({bytes.data(), *n}, 10s)) break;
    });
    auto ticker = eventer::spawn([] {
      for (;;) eventer::sleep_for(20us);
    });
    auto yielder = eventer::spawn([] {
      for (;;) eventer::yield();
    });
    std::array<char, 64> bytes{};
    const auto talk = [&](int times) {
      for (int i = 0; i < times; ++i) {
        REQUIRE(pair.client.write_all(bytes, 10s));
        REQUIRE(pair.client.read_exact(bytes, 10s));
        REQUIRE(pair.client.read_some(bytes, 1us).error() == std::errc::timed_out);
      }
    };
    talk(50);
    long after = 0;
    {
      const long before = allocations;
      for (int i = 0; i < 200; ++i) {
        (void)pair.client.write_all(bytes, 10s);
        (void)pair.client.read_exact(bytes, 10s);
        (void)pair.client.read_some(bytes, 1us);
      }
      after = allocations - before;
    }
    CHECK(after == 0);
    for (auto* each : {&echo, &ticker, &yielder}) each->cancel();
  });
}

#endif
