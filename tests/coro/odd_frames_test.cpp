// What odd things a frame may hold while its coroutine waits and others lie in its place: memory of alloca, aligned
// locals, jump buffers, lists of arguments, what registers and the thread keep.
#include <alloca.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/time.h>

#include <array>
#include <cerrno>
#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "../catch.hpp"
#include "eventer/eventer.hpp"
#include "waits.hpp"

using namespace std::chrono_literals;

namespace {

constexpr int coroutines = 5;

// Five at once, in an order drawn from each of the seeds; each answers whether all was as it should be.
template <class Body>
void five_at_once(Body body, std::uint64_t seeds = 5) {
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    int right = 0;
    run_crowded(
        [&] {
          eventer::task_group all;
          for (int who = 0; who < coroutines; ++who) all.spawn([&right, body, who] { right += body(who); });
          all.join();
        },
        {.seed = seed});
    CHECK(right == coroutines);
  }
}

// Neither compiler may reckon with what the memory holds.
void forget_bytes(void* memory) { asm volatile("" : : "r"(memory) : "memory"); }

// Fills memory with bytes that belong to `who`, and looks whether they are still there.
void fill(char* memory, std::size_t bytes, int who) {
  for (std::size_t i = 0; i < bytes; ++i) memory[i] = static_cast<char>(i * 7 + static_cast<std::size_t>(who) * 31);
  forget_bytes(memory);
}
bool is_filled(char* memory, std::size_t bytes, int who) {
  forget_bytes(memory);
  for (std::size_t i = 0; i < bytes; ++i)
    if (memory[i] != static_cast<char>(i * 7 + static_cast<std::size_t>(who) * 31)) return false;
  return true;
}

}  // namespace

// --- sizes and places ---

TEST_CASE("memory of alloca keeps its place and its bytes over waits, whatever its size") {
  five_at_once([](int who) {
    std::mt19937 random(static_cast<unsigned>(who));
    std::uniform_int_distribution<std::size_t> sizes(1, 3000);
    struct block {
      char* at;
      std::size_t bytes;
    } blocks[8];
    bool good = true;
    for (block& each : blocks) {
      each.bytes = sizes(random);
      each.at = static_cast<char*>(alloca(each.bytes));
      fill(each.at, each.bytes, who);
      eventer::yield();
      for (const block* earlier = blocks; earlier <= &each; ++earlier)
        good = good && is_filled(earlier->at, earlier->bytes, who);
    }
    return good;
  });
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wvla"
TEST_CASE("an array of variable length keeps its place, its length and its bytes over waits") {
  five_at_once([](int who) {
    bool good = true;
    for (std::size_t length = 1; length < 3000; length = length * 3 + static_cast<std::size_t>(who)) {
      char bytes[length];
      fill(bytes, length, who);
      const char* const place = bytes;
      eventer::yield();
      good = good && bytes == place && sizeof bytes == length && is_filled(bytes, length, who);
    }
    return good;
  });
}
#pragma GCC diagnostic pop

namespace {

template <std::size_t Alignment>
struct aligned {
  static constexpr std::size_t alignment = Alignment;
};

// Between frames of other sizes, so that the stack pointer is anywhere when the aligned frame is made.
template <std::size_t Alignment>
EVENTER_NOINLINE bool waits_aligned(int who, std::size_t odd_bytes) {
  char* const odd = static_cast<char*>(alloca(odd_bytes));
  fill(odd, odd_bytes, who);
  struct alignas(Alignment) block {
    char bytes[Alignment];
  } local;
  fill(local.bytes, Alignment, who);
  const auto place = reinterpret_cast<std::uintptr_t>(&local);
  bool good = place % Alignment == 0;
  for (int i = 0; i < 3; ++i) {
    eventer::yield();
    block* again = &local;
    asm volatile("" : "+r"(again));
    good = good && reinterpret_cast<std::uintptr_t>(again) == place && is_filled(again->bytes, Alignment, who);
  }
  return good && is_filled(odd, odd_bytes, who);
}

}  // namespace

TEMPLATE_TEST_CASE("an over-aligned local is aligned, and keeps its place and its bytes over waits", "", aligned<32>,
                   aligned<64>, aligned<256>, aligned<4096>) {
  five_at_once([](int who) {
    return waits_aligned<TestType::alignment>(who, 1) &&
           waits_aligned<TestType::alignment>(who, static_cast<std::size_t>(100 + 48 * who));
  });
}

TEST_CASE("a frame of 40 KiB waits among others as large") {
  five_at_once([](int who) {
    char large[40 << 10];
    fill(large, sizeof large, who);
    bool good = true;
    for (int i = 0; i < 3; ++i) {
      disturb<(60 << 10)>();
      eventer::yield();
      good = good && is_filled(large, sizeof large, who);
    }
    return good;
  });
}

namespace {

// A list through all frames of a recursion: each node is in its frame.
struct frame_node {
  frame_node* outer;
  std::size_t depth;
  int who;
};

std::size_t sum_of_depths(const frame_node* innermost, int who) {
  std::size_t sum = 0;
  for (const frame_node* each = innermost; each != nullptr; each = each->outer)
    sum += each->who == who ? each->depth : 0;
  return sum;
}

EVENTER_NOINLINE bool descend(frame_node* outer, std::size_t depth, int who) {
  frame_node mine{outer, depth, who};
  forget_bytes(&mine);
  bool good = true;
  if (depth == 200) {
    for (int i = 0; i < 3; ++i) {
      disturb<(60 << 10)>();
      eventer::yield();
      good = good && sum_of_depths(&mine, who) == 200 * 201 / 2;
    }
  } else {
    good = descend(&mine, depth + 1, who);
    if (depth % 50 == 0) {  // and on the way back
      eventer::yield();
      good = good && sum_of_depths(&mine, who) == depth * (depth + 1) / 2;
    }
  }
  forget_bytes(&mine);
  return good && mine.depth == depth && mine.outer == outer;
}

}  // namespace

TEST_CASE("a recursion that waits at its bottom finds every frame above it, and their list") {
  five_at_once([](int who) { return descend(nullptr, 1, who); });
}

TEST_CASE("a std::vector of pointers to locals, a std::string and a std::set are right after waits") {
  five_at_once([](int who) {
    const std::string long_text(100, static_cast<char>('a' + who));
    std::string texts[3] = {std::to_string(who), long_text, "short"};
    std::vector<std::string*> pointers;
    for (std::string& each : texts) pointers.push_back(&each);
    std::set<int> numbers{who};
    bool good = true;
    for (int i = 0; i < 5; ++i) {
      eventer::yield();
      numbers.insert(who + i);
      *pointers[0] += 'x';
      std::swap(texts[1], texts[2]);
      good = good && pointers[0] == &texts[0] && numbers.count(who + i) == 1;
    }
    return good && texts[0] == std::to_string(who) + "xxxxx" && texts[1] == "short" && texts[2] == long_text &&
           numbers.size() == 5;
  });
}

// --- control ---

TEST_CASE("longjmp comes back to a setjmp of the same coroutine, with waits between them and before and after") {
  five_at_once([](int who) {
    jmp_buf place;
    volatile int jumps = 0;
    char around[500];
    fill(around, sizeof around, who);
    eventer::yield();
    const int came = setjmp(place);
    if (came != jumps) return false;
    if (came < 4) {
      jumps = jumps + 1;
      eventer::yield();
      // From frames below.
      const auto jump = [&place](int value) {
        char deeper[300];
        fill(deeper, sizeof deeper, value);
        eventer::yield();
        if (is_filled(deeper, sizeof deeper, value)) longjmp(place, value);
      };
      jump(jumps);
      return false;
    }
    eventer::yield();
    return jumps == 4 && is_filled(around, sizeof around, who);
  });
}

namespace {

// Takes `count` pairs of an int and a double, and a text, waiting before each argument.
EVENTER_NOINLINE std::string join_arguments(int count, ...) {
  std::string text;
  va_list arguments, again;
  va_start(arguments, count);
  va_copy(again, arguments);
  for (int i = 0; i < count; ++i) {
    eventer::yield();
    text += std::to_string(va_arg(arguments, int)) + ' ';
    eventer::yield();
    text += std::to_string(static_cast<int>(va_arg(arguments, double) * 2)) + ' ';
  }
  eventer::yield();
  text += va_arg(arguments, const char*);
  va_end(arguments);
  eventer::yield();
  text += std::to_string(va_arg(again, int));  // from the beginning
  va_end(again);
  return text;
}

}  // namespace

TEST_CASE("a function with variable arguments may wait between them, those in registers and those on the stack") {
  five_at_once([](int who) {
    const std::string name = "n" + std::to_string(who);
    const std::string got = join_arguments(8, who, 0.5, who + 1, 1.5, who + 2, 2.5, who + 3, 3.5, who + 4, 4.5, who + 5,
                                           5.5, who + 6, 6.5, who + 7, 7.5, name.c_str());
    std::string expected;
    for (int i = 0; i < 8; ++i) expected += std::to_string(who + i) + ' ' + std::to_string(2 * i + 1) + ' ';
    return got == expected + name + std::to_string(who);
  });
}

// --- registers ---

namespace {

using four_floats = float __attribute__((vector_size(16)));

// Hides what a variable holds, and leaves it in whatever register it is in.
template <class T>
void hide(T& value) {
#if defined(__x86_64__)
  if constexpr (std::is_same_v<T, long double>)
    asm volatile("" : "+t"(value));
  else
    asm volatile("" : "+x"(value));
#else
  if constexpr (std::is_same_v<T, long double>)
    asm volatile("" : "+m"(value));
  else
    asm volatile("" : "+w"(value));
#endif
}

// Leaves other values in the floating-point registers, among them those that a call keeps.
void use_other_floats() {
  double others[16];
  for (int i = 0; i < 16; ++i) others[i] = -i - 0.25;
  asm volatile("" : : "r"(others) : "memory");
#if defined(__aarch64__)
  asm volatile("ldp d8, d9, [%0]\n ldp d10, d11, [%0, #16]\n ldp d12, d13, [%0, #32]\n ldp d14, d15, [%0, #48]"
               :
               : "r"(others)
               : "d8", "d9", "d10", "d11", "d12", "d13", "d14", "d15", "memory");
#elif defined(__x86_64__)
  asm volatile("movupd (%0), %%xmm6\n movupd 16(%0), %%xmm7\n movupd 32(%0), %%xmm8\n movupd 48(%0), %%xmm15"
               :
               : "r"(others)
               : "xmm6", "xmm7", "xmm8", "xmm15", "memory");
#endif
}

}  // namespace

TEST_CASE("doubles, long doubles and vectors in use are the same after each kind of wait") {
  for (const wait_kind& each : every_wait) {
    INFO(each.name);
    bool good = true;
    run_crowded([&good, wait = each.wait] {
      (void)eventer::spawn([] {
        for (int i = 0; i < 3; ++i) {
          use_other_floats();
          eventer::yield();
        }
      });
      double a = 1.5, b = 2.5, c = 3.5, d = 4.5, e = 5.5, f = 6.5, g = 7.5, h = 8.5;
      long double x = 1.25L, y = 1e300L;
      four_floats v{1, 2, 3, 4}, w{5, 6, 7, 8};
      hide(a), hide(b), hide(c), hide(d), hide(e), hide(f), hide(g), hide(h), hide(x), hide(y), hide(v), hide(w);
      wait();
      hide(a), hide(b), hide(c), hide(d), hide(e), hide(f), hide(g), hide(h), hide(x), hide(y), hide(v), hide(w);
      good = a + b + c + d + e + f + g + h == 40.0 && a == 1.5 && h == 8.5 && x == 1.25L && y == 1e300L;
      for (int i = 0; i < 4; ++i) good = good && v[i] == static_cast<float>(1 + i) && w[i] == static_cast<float>(5 + i);
    });
    CHECK(good);
  }
}

// --- what the thread keeps ---

TEST_CASE("errno is the coroutine's own over each kind of wait") {
  for (const wait_kind& each : every_wait) {
    INFO(each.name);
    int seen = 0;
    run_crowded([&seen, wait = each.wait] {
      errno = ERANGE;
      wait();  // others set it to EDOM meanwhile
      seen = errno;
    });
    CHECK(seen != EDOM);
    if (!each.calls_the_kernel) CHECK(seen == ERANGE);
  }
}

namespace {

thread_local int of_the_thread = 0;

}  // namespace

TEST_CASE("a thread_local variable is the thread's: the same one before and after a wait, and everybody's") {
  of_the_thread = 0;
  for (const wait_kind& each : every_wait) {
    INFO(each.name);
    of_the_thread = 1;
    int added = 0;
    bool good = true;
    run_crowded([&, wait = each.wait] {
      const int* const before = &of_the_thread;
      (void)eventer::spawn([&added] {
        of_the_thread += 10;
        added += 10;
      });
      ++of_the_thread;
      wait();
      good = before == &of_the_thread && added == 10 && of_the_thread == 12;
    });
    CHECK(good);
    CHECK(of_the_thread == 12);
  }
}

// --- signals ---

namespace {

struct {
  volatile sig_atomic_t all, on_shared_stacks;
} signals_seen;

// Uses some of the stack that it interrupts.
void on_signal(int) {
  const int saved = errno;
  volatile char bytes[2048];
  for (volatile char& each : bytes) each = 0x33;
  errno = EINTR;
  signals_seen.all = signals_seen.all + 1;
  const eventer::scheduler* const loop = eventer::scheduler::current();
  if (loop != nullptr && loop->lies_on_shared_stack(__builtin_frame_address(0)))
    signals_seen.on_shared_stacks = signals_seen.on_shared_stacks + 1;
  errno = saved;
}

class signal_handler {
 public:
  explicit signal_handler(int number) : number_(number) {
    struct sigaction ours {};
    ours.sa_handler = &on_signal;
    ours.sa_flags = SA_RESTART;  // on the stack that runs
    ::sigaction(number, &ours, &before_);
    signals_seen.all = 0;
    signals_seen.on_shared_stacks = 0;
  }
  signal_handler(const signal_handler&) = delete;
  signal_handler& operator=(const signal_handler&) = delete;
  ~signal_handler() { ::sigaction(number_, &before_, nullptr); }

 private:
  int number_;
  struct sigaction before_ {};
};

}  // namespace

TEST_CASE("a signal's handler runs on the stack of the coroutine that raised it, and nothing there changes") {
  const signal_handler handler(SIGUSR1);
  const bool shared = !eventer::context::prefers_private_stacks();
  five_at_once(
      [](int who) {
        char bytes[300];
        fill(bytes, sizeof bytes, who);
        bool good = true;
        for (int i = 0; i < 5; ++i) {
          errno = who;
          ::raise(SIGUSR1);
          good = good && errno == who;
          eventer::yield();
          good = good && errno == who && is_filled(bytes, sizeof bytes, who);
        }
        return good;
      },
      2);
  CHECK(signals_seen.all == 2 * coroutines * 5);
  if (shared) CHECK(signals_seen.on_shared_stacks == 2 * coroutines * 5);
}

TEST_CASE("signals may come at any time, also while coroutines are copied and switched") {
  if (EVENTER_TSAN || eventer::context::running_on_valgrind()) EVENTER_SKIP("here signals are delivered late");
  const signal_handler handler(SIGALRM);
  const itimerval often{{0, 50}, {0, 50}}, never{};
  int wrong = 0;
  ::setitimer(ITIMER_REAL, &often, nullptr);
  run_crowded([&] {
    eventer::task_group all;
    for (int who = 0; who < coroutines; ++who)
      all.spawn([&wrong, who] {
        char bytes[1000];
        while (signals_seen.all < 300) {
          fill(bytes, sizeof bytes, who);
          eventer::yield();
          wrong += !is_filled(bytes, sizeof bytes, who);
        }
      });
    all.join();
  });
  ::setitimer(ITIMER_REAL, &never, nullptr);
  CHECK(wrong == 0);
  CHECK(signals_seen.all >= 300);
}
