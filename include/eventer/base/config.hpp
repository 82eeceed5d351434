// Version, platform and build-setting macros. Everything else includes this; it includes nothing of ours.
//
// All names live in `eventer::EVENTER_ABI`, an inline namespace whose name spells out every setting that changes a
// layout or generated code. Two units built differently then use two libraries side by side instead of one broken one.
// NDEBUG is not among them: no layout may depend on it.
#pragma once

#define EVENTER_VERSION_MAJOR 0
#define EVENTER_VERSION_MINOR 1
#define EVENTER_VERSION_PATCH 0
#define EVENTER_VERSION "0.1.0"

#if !defined(__GNUC__)
#error "eventer needs g++ 12 or clang++ 14, or newer"
#endif
#if defined(__cplusplus) && __cplusplus < 202002L
#error "eventer needs C++20: compile with -std=c++20"
#endif
#if !defined(__linux__)
#error \
    "eventer runs on Linux only: its kqueue reactor is there, but no BSD or macOS has run it, and base/syscalls.hpp makes Linux's calls"
#endif
#if !(defined(__x86_64__) && !defined(__ILP32__)) && !defined(__aarch64__)
#error "eventer has a context switch for x86-64 and AArch64 (64-bit Linux) only; see asm/"
#endif

// Sanitizers: gcc defines __SANITIZE_*, clang answers __has_feature.
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define EVENTER_ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define EVENTER_TSAN 1
#endif
#if __has_feature(memory_sanitizer)
#error "eventer does not support MemorySanitizer; AddressSanitizer, ThreadSanitizer, UBSan and valgrind work"
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) && !defined(EVENTER_ASAN)
#define EVENTER_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__) && !defined(EVENTER_TSAN)
#define EVENTER_TSAN 1
#endif
#if !defined(EVENTER_ASAN)
#define EVENTER_ASAN 0
#endif
#if !defined(EVENTER_TSAN)
#define EVENTER_TSAN 0
#endif

#if defined(__cpp_exceptions)
#define EVENTER_EXCEPTIONS 1
#else
#define EVENTER_EXCEPTIONS 0
#endif

// Define EVENTER_SAVE_FP_CONTROL to 1 to switch the floating-point control registers with every coroutine (13-15 ns a
// round trip on x86-64); by default they stay with the thread. See docs/switch.md.
#if !defined(EVENTER_SAVE_FP_CONTROL)
#define EVENTER_SAVE_FP_CONTROL 0
#endif

// The inline form of the switch, half the cost of the out-of-line stub, is used where the compiler can be told every
// register that it changes: x86-64 without register files newer than AVX-512. Define it to 0 to use the stub
// everywhere.
#if !defined(EVENTER_INLINE_SWITCH)
#if defined(__x86_64__) && !EVENTER_ASAN && !EVENTER_TSAN && !defined(__APX_F__) && !defined(__AMX_TILE__)
#define EVENTER_INLINE_SWITCH 1
#else
#define EVENTER_INLINE_SWITCH 0
#endif
#endif

#define EVENTER_JOIN_(a, b, c, d, e, f) a##b##c##d##e##f
#define EVENTER_JOIN(a, b, c, d, e, f) EVENTER_JOIN_(a, b, c, d, e, f)
#if EVENTER_EXCEPTIONS
#define EVENTER_ABI_EXCEPTIONS
#else
#define EVENTER_ABI_EXCEPTIONS _noexceptions
#endif
#if EVENTER_ASAN
#define EVENTER_ABI_ASAN _asan
#else
#define EVENTER_ABI_ASAN
#endif
#if EVENTER_TSAN
#define EVENTER_ABI_TSAN _tsan
#else
#define EVENTER_ABI_TSAN
#endif
#if EVENTER_SAVE_FP_CONTROL
#define EVENTER_ABI_FP _fp
#else
#define EVENTER_ABI_FP
#endif
#if EVENTER_INLINE_SWITCH
#define EVENTER_ABI_SWITCH
#else
#define EVENTER_ABI_SWITCH _stub
#endif
#define EVENTER_ABI \
  EVENTER_JOIN(v0, EVENTER_ABI_EXCEPTIONS, EVENTER_ABI_ASAN, EVENTER_ABI_TSAN, EVENTER_ABI_FP, EVENTER_ABI_SWITCH)

// For the few names that an executable and its shared libraries must agree on, also under -fvisibility=hidden.
#define EVENTER_API __attribute__((visibility("default")))
#define EVENTER_ALWAYS_INLINE inline __attribute__((always_inline))
#define EVENTER_NOINLINE __attribute__((noinline))
#define EVENTER_LIKELY(x) __builtin_expect(static_cast<bool>(x), 1)
#define EVENTER_UNLIKELY(x) __builtin_expect(static_cast<bool>(x), 0)
