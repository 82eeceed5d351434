// copy_stack: moves the used bytes of a stack, the innermost loop of the library.
//
// Whole 64-byte lines through 32-byte vectors up to 16 KiB (measured: at 200 bytes two thirds, from 3 KiB on half of
// what memcpy takes; beyond 16 KiB memcpy wins); where the machine has none, through 16-byte vectors up to 4 KiB. Call
// it from a frame on another stack than the one that is written.
#pragma once

#include <cstddef>
#include <cstring>

#include "eventer/base/config.hpp"

namespace eventer::inline EVENTER_ABI::detail {

using vector16 [[gnu::may_alias]] = char __attribute__((vector_size(16), aligned(16)));

#if EVENTER_ASAN
// Not instrumented and not memcpy: the bytes include red zones that belong to suspended frames.
__attribute__((no_sanitize("address"), noinline)) inline void copy_stack(char* to, const char* from,
                                                                         std::size_t bytes) {
#if defined(__x86_64__)
  asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes) : : "memory");
#else
  for (std::size_t i = 0; i < bytes; i += 16)
    *reinterpret_cast<volatile vector16*>(to + i) = *reinterpret_cast<const volatile vector16*>(from + i);
#endif
}
#else

#if defined(__x86_64__)
inline bool cpu_has_avx() noexcept {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx");
}
// Requires: bytes >= 64. Steps from the end on, where a stack's top is aligned to a line, then one that may overlap the
// last. The lowest bytes of a stack, pushed a few instructions ago, come last: a wide load of narrow stores that have
// not left the store buffer yet would stall. All vector registers are named as clobbered: vzeroupper clears the upper
// half of every one of them.
EVENTER_ALWAYS_INLINE void copy_lines_avx(char* to, const char* from, std::size_t bytes) {
  asm volatile(
      "1:\n\t"
      "vmovdqu -32(%[from],%[left]), %%ymm0\n\t"
      "vmovdqu -64(%[from],%[left]), %%ymm1\n\t"
      "vmovdqu %%ymm0, -32(%[to],%[left])\n\t"
      "vmovdqu %%ymm1, -64(%[to],%[left])\n\t"
      "subq $64, %[left]\n\t"
      "cmpq $64, %[left]\n\t"
      "jae 1b\n\t"
      "testq %[left], %[left]\n\t"
      "je 2f\n\t"
      "vmovdqu 32(%[from]), %%ymm0\n\t"
      "vmovdqu (%[from]), %%ymm1\n\t"
      "vmovdqu %%ymm0, 32(%[to])\n\t"
      "vmovdqu %%ymm1, (%[to])\n"
      "2:\n\t"
      "vzeroupper"
      : [left] "+r"(bytes)
      : [to] "r"(to), [from] "r"(from)
      : "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
        "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
}
#endif

// SSE2 or NEON, whatever sixteen bytes are on this machine. Requires: bytes is a multiple of 16, both addresses aligned
// to 16.
EVENTER_ALWAYS_INLINE void copy_lines(char* to, const char* from, std::size_t bytes) {
  std::size_t done = 0;
  for (; done + 64 <= bytes; done += 64) {
    const auto* const source = reinterpret_cast<const vector16*>(from + done);
    auto* const target = reinterpret_cast<vector16*>(to + done);
    const vector16 a = source[0], b = source[1], c = source[2], d = source[3];
    target[0] = a, target[1] = b, target[2] = c, target[3] = d;
  }
  for (; done < bytes; done += 16)
    *reinterpret_cast<vector16*>(to + done) = *reinterpret_cast<const vector16*>(from + done);
}

// Requires: bytes is a multiple of 16, both addresses aligned to 16, no overlap.
EVENTER_ALWAYS_INLINE void copy_stack(char* to, const char* from, std::size_t bytes, [[maybe_unused]] bool avx) {
#if defined(__x86_64__)
  if (EVENTER_LIKELY(avx && bytes - 64 <= (std::size_t{16} << 10) - 64)) return copy_lines_avx(to, from, bytes);
#endif
  if (EVENTER_UNLIKELY(bytes > 4096))
    std::memcpy(to, from, bytes);
  else
    copy_lines(to, from, bytes);
}
#endif

}  // namespace eventer::inline EVENTER_ABI::detail
