// A program with one mistake in it, chosen by its argument, for scripts/check-planted-bugs: the tools must report it,
// at the function whose name says what it does, and nothing where there is none.
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <thread>

#include "eventer/eventer.hpp"

namespace {

// So that the coroutine's bytes move, where stacks are shared.
void let_others_use_the_stack() {
  auto other = eventer::spawn([] {
    volatile char frame[2000];
    std::memset(const_cast<char*>(frame), 0x5a, sizeof frame);
    eventer::yield();
  });
  eventer::yield();
  other.join();
}

[[gnu::noinline]] void writes_behind_its_local() {
  volatile char local[40] = {};
  let_others_use_the_stack();
  volatile int index = 40;
  local[index] = 1;
}

[[gnu::noinline]] void writes_behind_its_block() {
  auto* const block = static_cast<volatile char*>(std::malloc(40));
  let_others_use_the_stack();
  volatile int index = 40;
  block[index] = 1;
  std::free(const_cast<char*>(block));
}

[[gnu::noinline]] void loses_its_block() {
  void* volatile block = std::malloc(1234);
  let_others_use_the_stack();
  block = nullptr;
}

[[gnu::noinline]] void branches_on_nothing() {
  volatile int* const block = new int[4];
  const int local = block[2];
  let_others_use_the_stack();
  if (local == 7) std::puts("seven");
  delete[] const_cast<int*>(block);
}

int counter = 0;
std::atomic<int> arrived{0}, counted{0};
[[gnu::noinline]] void counts_without_a_lock() {
  let_others_use_the_stack();
  // One counts behind the other, as ThreadSanitizer may miss what happens at the very same time. Relaxed: it orders
  // nothing; and neither loop goes on in between, which might order something.
  const int turn = arrived.fetch_add(1, std::memory_order_relaxed);
  while (arrived.load(std::memory_order_relaxed) < 2 || counted.load(std::memory_order_relaxed) < turn) {
  }
  ++counter;
  counted.fetch_add(1, std::memory_order_relaxed);
  while (counted.load(std::memory_order_relaxed) < 2) {
  }
}

[[gnu::noinline]] void overflows_an_int() {
  volatile int most = 0x7fffffff;
  let_others_use_the_stack();
  most = most + 1;
}

// What a program may do: none of it may be reported.
void is_right() {
  auto kept = std::make_unique<std::string>(100, 'x');
  auto waits = eventer::spawn([] {
    const std::string local(100, 'y');
    eventer::sleep_for(std::chrono::hours(1));
  });
  let_others_use_the_stack();
  try {
    throw std::string(100, 'z');
  } catch (const std::string&) {
    let_others_use_the_stack();
  }
  eventer::call_on_own_stack([] {
    int local = 0;
    eventer::spawn([&local] { ++local; }).join();
  });
  std::exit(0);  // with both of them alive
}

}  // namespace

int main(int, char** arguments) {
  const std::string what = arguments[1];
  const auto run = [&what] {
    eventer::run([&what] {
      if (what == "local") writes_behind_its_local();
      if (what == "block") writes_behind_its_block();
      if (what == "leak") loses_its_block();
      if (what == "nothing") branches_on_nothing();
      if (what == "race") counts_without_a_lock();
      if (what == "int") overflows_an_int();
      if (what == "right") is_right();
    });
  };
  std::thread other;
  if (what == "race") other = std::thread(run);
  run();
  if (other.joinable()) other.join();
}
