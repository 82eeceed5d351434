// The bare switch: what it must keep, and what a first frame must look like.
#include "eventer/context/switch.hpp"

#include <setjmp.h>
#include <signal.h>
#include <sys/time.h>
#include <unwind.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <vector>

#include "../catch.hpp"
#include "eventer/stack/stack_memory.hpp"

namespace {

namespace context = eventer::context;

struct stub_form {
  EVENTER_ALWAYS_INLINE static void switch_context(void** save, void* to) { context::stub::switch_context(save, to); }
  static void* make_context(void* top, void* (*function)(void*), void* argument) {
    return context::stub::make_context(top, function, argument);
  }
};
#if defined(__x86_64__)
struct inline_form {
  EVENTER_ALWAYS_INLINE static void switch_context(void** save, void* to) {
    context::inlined::switch_context(save, to);
  }
  static void* make_context(void* top, void* (*function)(void*), void* argument) {
    return context::inlined::make_context(top, function, argument);
  }
};
#define EVERY_FORM stub_form, inline_form
#else
#define EVERY_FORM stub_form
#endif

// A stack with one function on it, and the way back, by one form of the switch.
template <class Form>
struct basic_fiber {
  using fiber = basic_fiber;
  explicit basic_fiber(void (*body)(basic_fiber&))
      : function(body), sp(Form::make_context(stack.top(), &enter, this)) {}
  void resume() { Form::switch_context(&caller, sp); }
  void suspend() { Form::switch_context(&sp, caller); }
  static void* enter(void* self) {
    auto& me = *static_cast<basic_fiber*>(self);
    me.function(me);
    me.ended = true;
    return me.caller;
  }
  eventer::stack_memory stack{std::size_t{64} << 10};
  void (*function)(basic_fiber&);
  void* sp;
  void* caller = nullptr;
  bool ended = false;
  std::uintptr_t value = 0;
};

}  // namespace

#if !EVENTER_ASAN && \
    !EVENTER_TSAN  // they would have to be told of each switch here; the layers above do, and are tested so

TEMPLATE_TEST_CASE("a context is entered with its argument and can be left and resumed", "", EVERY_FORM) {
  using fiber = basic_fiber<TestType>;
  fiber f([](fiber& self) {
    for (int i = 1; i <= 3; ++i) {
      self.value = static_cast<std::uintptr_t>(i);
      self.suspend();
    }
  });
  for (std::uintptr_t i = 1; i <= 3; ++i) {
    f.resume();
    CHECK(f.value == i);
  }
  f.resume();
  CHECK(f.ended);
}

TEMPLATE_TEST_CASE("the first frame is aligned as the ABI wants", "", EVERY_FORM) {
  using fiber = basic_fiber<TestType>;
  fiber f([](fiber& self) {
    alignas(16) char vector[16];
    asm volatile("" : : "r"(vector) : "memory");
    self.value = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
    self.suspend();
  });
  f.resume();
  CHECK(f.value % 16 == 0);
}

TEMPLATE_TEST_CASE("callee-saved registers are kept over a switch", "", EVERY_FORM) {
  using fiber = basic_fiber<TestType>;
  // Many live values over the switch on both sides: the compiler keeps them in every callee-saved register there is.
  fiber f([](fiber& self) {
    std::uintptr_t v[12];
    double d[12];
    for (unsigned i = 0; i < 12; ++i) v[i] = i * 7 + self.value, d[i] = i * 0.5 + static_cast<double>(self.value);
    for (;;) {
      self.suspend();
      bool good = true;
      for (unsigned i = 0; i < 12; ++i) good = good && v[i] == i * 7 + 1 && d[i] == i * 0.5 + 1.0;
      self.value = good ? 2 : 3;
    }
  });
  f.value = 1;
  std::uintptr_t a = 11, b = 12, c = 13, d = 14, e = 15, g = 16;
  double x = 1.5, y = 2.5, z = 3.5;
  asm volatile("" : "+r"(a), "+r"(b), "+r"(c), "+r"(d), "+r"(e), "+r"(g));
  for (int i = 0; i < 10; ++i) {
    f.resume();
    x += 1, y += x, z += y;
  }
  CHECK(f.value == 2);
  CHECK(a + b + c + d + e + g == 81);
  CHECK(x == 11.5);
  CHECK(y == 72.5);
  CHECK(z == 331.0);
}

#if defined(__aarch64__)
TEMPLATE_TEST_CASE("d8 to d15 are kept over a switch", "", EVERY_FORM) {
  using fiber = basic_fiber<TestType>;
  fiber f([](fiber& self) {
    for (;;) {
      asm volatile("fmov d8, xzr\n fmov d9, xzr\n fmov d15, xzr" : : : "d8", "d9", "d15");
      self.suspend();
    }
  });
  double out8 = 0, out15 = 0;
  register double d8 asm("d8") = 8.25;
  register double d15 asm("d15") = 15.25;
  asm volatile("" : "+w"(d8), "+w"(d15));
  f.resume();
  asm volatile("" : "+w"(d8), "+w"(d15));
  out8 = d8, out15 = d15;
  CHECK(out8 == 8.25);
  CHECK(out15 == 15.25);
}
#endif

#if defined(__x86_64__)
TEMPLATE_TEST_CASE("doubles that live over a switch are kept, in whatever register the compiler had them", "",
                   EVERY_FORM) {
  using fiber = basic_fiber<TestType>;
  fiber f([](fiber& self) {
    for (;;) {
      const double other = static_cast<double>(self.value);
#if defined(__AVX512F__)
      asm volatile(
          "vbroadcastsd %0, %%zmm16\n\tvmovaps %%zmm16, %%zmm17\n\tvmovaps %%zmm16, %%zmm18\n\tvmovaps %%zmm16, %%zmm19"
          :
          : "x"(other)
          : "xmm16", "xmm17", "xmm18", "xmm19");
#endif
      asm volatile("movapd %0, %%xmm6\n\tmovapd %0, %%xmm7\n\tmovapd %0, %%xmm8\n\tmovapd %0, %%xmm15"
                   :
                   : "x"(other)
                   : "xmm6", "xmm7", "xmm8", "xmm15");
      self.suspend();
    }
  });
  f.value = 99;
  double a = 1.5, b = 2.5, c = 3.5, d = 4.5, e = 5.5, g = 6.5, h = 7.5, i = 8.5, j = 9.5, k = 10.5, l = 11.5, m = 12.5;
  double n = 13.5, o = 14.5, p = 15.5, q = 16.5, r = 17.5, s = 18.5, t = 19.5, u = 20.5;
  const auto hide = [&] {
    asm volatile("" : "+v"(a), "+v"(b), "+v"(c), "+v"(d), "+v"(e), "+v"(g), "+v"(h), "+v"(i), "+v"(j), "+v"(k));
    asm volatile("" : "+v"(l), "+v"(m), "+v"(n), "+v"(o), "+v"(p), "+v"(q), "+v"(r), "+v"(s), "+v"(t), "+v"(u));
  };
  hide();
  f.resume();
  hide();
  CHECK(a + b + c + d + e + g + h + i + j + k + l + m + n + o + p + q + r + s + t + u == 220.0);
  CHECK(a == 1.5);
  CHECK(q == 16.5);
  CHECK(u == 20.5);
}
#endif

TEMPLATE_TEST_CASE("exceptions are thrown and caught inside a context", "", EVERY_FORM) {
  using fiber = basic_fiber<TestType>;
  fiber f([](fiber& self) {
    for (;;) {
      try {
        throw std::runtime_error("inside");
      } catch (const std::runtime_error& e) {
        self.value = std::strlen(e.what());
      }
      self.suspend();
    }
  });
  for (int i = 0; i < 3; ++i) {
    f.value = 0;
    f.resume();
    CHECK(f.value == 6);
  }
}

TEMPLATE_TEST_CASE("an unwinder stops at the first frame", "", EVERY_FORM) {
  using fiber = basic_fiber<TestType>;
  fiber f([](fiber& self) {
    struct walk {
      unsigned frames = 0;
    } counted;
    _Unwind_Backtrace(
        [](_Unwind_Context*, void* data) {
          return ++static_cast<walk*>(data)->frames < 1000 ? _URC_NO_REASON : _URC_NORMAL_STOP;
        },
        &counted);
    self.value = counted.frames;
    self.suspend();
  });
  f.resume();
  CHECK(f.value >= 1);
  CHECK(f.value < 20);
}

TEMPLATE_TEST_CASE("setjmp and longjmp work within a context", "", EVERY_FORM) {
  using fiber = basic_fiber<TestType>;
  fiber f([](fiber& self) {
    jmp_buf place;
    volatile int jumps = 0;
    if (setjmp(place) < 3) {
      jumps = jumps + 1;
      self.suspend();
      longjmp(place, jumps);
    }
    self.value = static_cast<std::uintptr_t>(jumps);
  });
  while (!f.ended) f.resume();
  CHECK(f.value == 3);
}

namespace {
volatile sig_atomic_t signals_seen = 0;
}

TEMPLATE_TEST_CASE("a signal may arrive at any instruction of a switch", "", EVERY_FORM) {
  using fiber = basic_fiber<TestType>;
  struct sigaction action {
  }, old_action{};
  action.sa_handler = [](int) { signals_seen = signals_seen + 1; };
  action.sa_flags = SA_RESTART;
  ::sigaction(SIGALRM, &action, &old_action);
  const itimerval often{{0, 50}, {0, 50}}, never{};
  ::setitimer(ITIMER_REAL, &often, nullptr);
  fiber f([](fiber& self) {
    for (;;) {
      ++self.value;
      self.suspend();
    }
  });
  std::uintptr_t rounds = 0;
  while (signals_seen < 200) {
    f.resume();
    REQUIRE(f.value == ++rounds);
  }
  ::setitimer(ITIMER_REAL, &never, nullptr);
  ::sigaction(SIGALRM, &old_action, nullptr);
}

TEMPLATE_TEST_CASE("a thousand contexts in turn", "", EVERY_FORM) {
  using fiber = basic_fiber<TestType>;
  std::vector<std::unique_ptr<fiber>> all;
  for (int i = 0; i < 1000; ++i)
    all.push_back(std::make_unique<fiber>([](fiber& self) {
      for (;;) {
        ++self.value;
        self.suspend();
      }
    }));
  for (int round = 0; round < 10; ++round)
    for (auto& each : all) each->resume();
  for (auto& each : all) REQUIRE(each->value == 10);
}

#endif
