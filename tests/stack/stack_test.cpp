// Save-stack size classes and memory, stack memory and its guard.
#include <cstring>
#include <random>
#include <vector>

#include "../catch.hpp"
#include "../child.hpp"
#include "eventer/stack/shared_stack.hpp"

using eventer::chunk_source;
using eventer::save_stack_pool;

TEST_CASE("size classes hold what is asked for and waste little") {
  for (std::size_t bytes = 1; bytes <= save_stack_pool::largest_class_bytes; ++bytes) {
    const auto which = save_stack_pool::class_of(bytes);
    const std::size_t room = save_stack_pool::class_bytes(which);
    REQUIRE(room >= bytes);
    if (bytes <= 512)
      REQUIRE(room < bytes + 16);
    else if (bytes <= 1024)
      REQUIRE(room < bytes + 64);
    else
      REQUIRE(room <= bytes + bytes / 4);
    REQUIRE(save_stack_pool::class_of(room) == which);
  }
  CHECK(save_stack_pool::class_of(save_stack_pool::largest_class_bytes + 1) == save_stack_pool::mapped_class);
}

TEST_CASE("blocks of random sizes keep their bytes, and everything comes back") {
  chunk_source source;
  save_stack_pool pool(source);
  struct held {
    char* block;
    std::size_t bytes;
    char fill;
  };
  std::vector<held> all;
  std::mt19937 random(7);
  for (int i = 0; i < 20000; ++i) {
    if (all.size() > 500 || (!all.empty() && random() % 3 == 0)) {
      const std::size_t index = random() % all.size();
      const held gone = all[index];
      for (std::size_t b = 0; b < gone.bytes; b += 61) REQUIRE(gone.block[b] == gone.fill);
      pool.release(gone.block, save_stack_pool::class_of(gone.bytes));
      all[index] = all.back();
      all.pop_back();
    } else {
      const std::size_t bytes = random() % 8 == 0 ? random() % 60000 + 1 : random() % 1500 + 1;
      char* const block = pool.allocate(bytes);
      REQUIRE(block != nullptr);
      REQUIRE(reinterpret_cast<std::uintptr_t>(block) % save_stack_pool::grain_of(bytes) == 0);
      const char fill = static_cast<char>(random());
      std::memset(block, fill, bytes);
      all.push_back({block, bytes, fill});
    }
  }
  for (const held& each : all) pool.release(each.block, save_stack_pool::class_of(each.bytes));
  CHECK(pool.bytes_in_use() == 0);
}

namespace {
[[maybe_unused]] std::size_t resident_pages() {
  std::size_t total = 0, resident = 0;
  std::FILE* const file = std::fopen("/proc/self/statm", "r");
  if (file != nullptr) {
    if (std::fscanf(file, "%zu %zu", &total, &resident) != 2) resident = 0;
    std::fclose(file);
  }
  return resident;
}
}  // namespace

TEST_CASE("memory of a peak goes back to the system") {
#if EVENTER_ASAN || EVENTER_TSAN
  EVENTER_SKIP("a sanitizer's own memory hides it");
#else
  if (resident_pages() == 0) EVENTER_SKIP("no /proc/self/statm here");
  chunk_source source;
  save_stack_pool pool(source);
  std::vector<char*> blocks(100'000);
  const std::size_t before = resident_pages();
  for (char*& block : blocks) {
    block = pool.allocate(300);
    std::memset(block, 1, 300);
  }
  const std::size_t peak = resident_pages();
  for (char* const block : blocks) pool.release(block, save_stack_pool::class_of(300));
  const std::size_t after = resident_pages();
  CHECK((peak - before) * eventer::syscalls::page_size() > 25'000'000);
  CHECK((after - before) * eventer::syscalls::page_size() < 3'000'000);
#endif
}

TEST_CASE("copies of every size are exact") {
  alignas(64) static char from[20000], to[20000];
  for (std::size_t i = 0; i < sizeof from; ++i) from[i] = static_cast<char>(i * 31 + 7);
  for (std::size_t bytes = 16; bytes <= 16384; bytes += bytes < 1100 ? 16 : 1008) {
    for (const bool fast : {false, true}) {
      std::memset(to, 0, sizeof to);
#if EVENTER_ASAN
      (void)fast;
      eventer::detail::copy_stack(to + 16, from + 32, bytes);
#else
#if defined(__x86_64__)
      eventer::detail::copy_stack(to + 16, from + 32, bytes, fast && eventer::detail::cpu_has_avx());
#else
      eventer::detail::copy_stack(to + 16, from + 32, bytes, fast);
#endif
#endif
      REQUIRE(std::memcmp(to + 16, from + 32, bytes) == 0);
      REQUIRE(to[15] == 0);
      REQUIRE(to[16 + bytes] == 0);
    }
  }
}

TEST_CASE("a stack ends in an inaccessible guard") {
  eventer::stack_memory stack(std::size_t{32} << 10);
  CHECK(stack.size() >= (std::size_t{32} << 10));
  stack.bottom()[0] = 1;
  stack.top()[-1] = 1;
  CHECK(stack.contains(stack.bottom()));
  CHECK_FALSE(stack.contains(stack.top()));
  CHECK(stack.guard_contains(stack.bottom() - 1));
  const auto result = run_in_child([&] { *const_cast<volatile char*>(stack.bottom() - 1) = 1; });
  CHECK((result.signal == SIGSEGV || result.signal == SIGBUS || result.exit_status > 0));
}
