// A client without memory: a read that gets none throws bad_alloc, or does without, and nothing stays half done.
#include <cstdlib>
#include <new>

#include "../plain_descriptors.hpp"
#include "../virtual_run.hpp"
#include "scripted_server.hpp"

using namespace http_test;

#if !EVENTER_ASAN && !EVENTER_TSAN  // they have an operator new of their own

namespace {
thread_local int allocations_left = -1;  // below zero: there is memory
}

__attribute__((noinline)) void* operator new(std::size_t bytes) {
  if (allocations_left == 0) throw std::bad_alloc();
  if (allocations_left > 0) --allocations_left;
  if (void* const memory = std::malloc(bytes == 0 ? 1 : bytes); memory != nullptr) return memory;
  throw std::bad_alloc();
}
__attribute__((noinline)) void operator delete(void* memory) noexcept { std::free(memory); }
__attribute__((noinline)) void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

TEST_CASE("a body is read, and read again behind its end, wherever memory has come to its end") {
  const auto before = open_descriptors();
  run_virtually([] {
    const scripted_server server([](scripted_peer& peer, int) {
      while (!peer.request().empty()) peer.send(ok_with("0123456789"));
    });
    const auto part = std::make_unique<std::array<char, 64>>();
    (void)make_error_code(eventer::errc::end_of_stream);  // its category is made at the first use
    for (int left = 0; left < 20; ++left) {
      CAPTURE(left);
      const http::client ask;
      auto answer = ask.get(server.url()).value();
      std::size_t total = 0;
      std::error_code end;
      const auto read = [&] {
        const auto got = answer.read_some(*part);
        if (got) total += *got;
        if (!got) end = got.error();
      };
      allocations_left = left;
      try {
        while (!end) read();
      } catch (const std::bad_alloc&) {
      }
      allocations_left = -1;
      while (!end) read();
      CHECK(total == 10);
      CHECK(end == eventer::errc::end_of_stream);
      CHECK(ask.statistics().in_use == 0);
      CHECK(told(ask.get(server.url())) == "200 0123456789");
    }
  });
  CHECK(open_descriptors() == before);
}

#endif
