// What AddressSanitizer, ThreadSanitizer, LeakSanitizer and valgrind must be told about stacks that are not the
// thread's own. Without them every function here is empty.
//
// Under ASan and TSan coroutines have private stacks unless EVENTER_SANITIZE_SHARED=1 is set; then a stack's shadow
// moves with its bytes.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "eventer/base/config.hpp"
#include "eventer/base/leak_roots.hpp"

#if !defined(EVENTER_NO_VALGRIND) && __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#define EVENTER_VALGRIND 1
#else
#define EVENTER_VALGRIND 0
#endif

#if EVENTER_ASAN
#include <pthread.h>
extern "C" {
void __sanitizer_start_switch_fiber(void** fake_stack_save, const void* bottom, std::size_t size);
void __sanitizer_finish_switch_fiber(void* fake_stack_save, const void** bottom_old, std::size_t* size_old);
void __asan_poison_memory_region(const volatile void* address, std::size_t size);
void __asan_unpoison_memory_region(const volatile void* address, std::size_t size);
void* __asan_get_report_address();
void __asan_set_error_report_callback(void (*callback)(const char* report));
void __asan_get_shadow_mapping(std::size_t* scale, std::size_t* offset);
}
#endif
#if EVENTER_TSAN
#include <unistd.h>

#include <vector>
extern "C" {
void* __tsan_get_current_fiber();
void* __tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void* fiber);
void __tsan_switch_to_fiber(void* fiber, unsigned flags);
}
#endif

namespace eventer::inline EVENTER_ABI::context {

#if EVENTER_ASAN
// Before a switch to a stack; `fake_stack_save` keeps the leaving context's fake stack, nullptr if it never comes back.
EVENTER_ALWAYS_INLINE void before_switch(void** fake_stack_save, const void* bottom, std::size_t size) {
  __sanitizer_start_switch_fiber(fake_stack_save, bottom, size);
}
// First thing after it, with what was saved there; tells where the context came from that was left.
EVENTER_ALWAYS_INLINE void after_switch(void* fake_stack_save, const void** old_bottom, std::size_t* old_size) {
  __sanitizer_finish_switch_fiber(fake_stack_save, old_bottom, old_size);
}
inline void poison_memory(const void* memory, std::size_t bytes) { __asan_poison_memory_region(memory, bytes); }
inline void unpoison_memory(const void* memory, std::size_t bytes) { __asan_unpoison_memory_region(memory, bytes); }

// One shadow byte describes eight.
constexpr std::size_t shadow_bytes(std::size_t bytes) noexcept { return bytes / 8; }
inline unsigned char* shadow_of(const void* memory) {
  std::size_t scale = 0, offset = 0;
  __asan_get_shadow_mapping(&scale, &offset);
  return reinterpret_cast<unsigned char*>((reinterpret_cast<std::size_t>(memory) >> scale) + offset);
}
__attribute__((no_sanitize("address"))) inline void copy_shadow_out(const void* memory, std::size_t bytes,
                                                                    unsigned char* to) {
  const volatile unsigned char* const from = shadow_of(memory);
  for (std::size_t i = 0; i < shadow_bytes(bytes); ++i) to[i] = from[i];
}
__attribute__((no_sanitize("address"))) inline void copy_shadow_in(const void* memory, std::size_t bytes,
                                                                   const unsigned char* from) {
  volatile unsigned char* const to = shadow_of(memory);
  for (std::size_t i = 0; i < shadow_bytes(bytes); ++i) to[i] = from[i];
}

// LeakSanitizer looks for pointers on the stack on which a thread runs. While that is a coroutine's, the frames on the
// thread's own stack have to be named too: exit() may be called there.
class native_frames {
 public:
  native_frames() noexcept {
    thread_local const bounds mine = this_threads_stack();
    if (const char* const here = frame(); here >= mine.low && here < mine.high) {
      from_ = here;
      bytes_ = static_cast<std::size_t>(mine.high - here);
      add_leak_root(from_, bytes_);
    }
  }
  native_frames(const native_frames&) = delete;
  native_frames& operator=(const native_frames&) = delete;
  ~native_frames() {
    if (from_ != nullptr) remove_leak_root(from_, bytes_);
  }

 private:
  struct bounds {
    const char *low = nullptr, *high = nullptr;
  };
  static bounds this_threads_stack() noexcept {
    pthread_attr_t attributes;
    if (::pthread_getattr_np(::pthread_self(), &attributes) != 0) return {};
    void* low = nullptr;
    std::size_t size = 0;
    ::pthread_attr_getstack(&attributes, &low, &size);
    ::pthread_attr_destroy(&attributes);
    return {static_cast<const char*>(low), static_cast<const char*>(low) + size};
  }
  // Below the locals of whoever has made the object.
  EVENTER_NOINLINE static const char* frame() noexcept { return static_cast<const char*>(__builtin_frame_address(0)); }

  const char* from_ = nullptr;
  std::size_t bytes_ = 0;
};
#else
class native_frames {};
inline void unpoison_memory(const void*, std::size_t) noexcept {}
constexpr std::size_t shadow_bytes(std::size_t) noexcept { return 0; }
#endif

#if EVENTER_TSAN
inline void* current_fiber() { return __tsan_get_current_fiber(); }
// ThreadSanitizer has room for about 8,000 fibers, so ended ones are used again, on the thread that had them: what one
// of another thread has seen would hide races between the two. Not in a forked child: there races with the parent's
// past would be found.
class fiber_pool {
 public:
  static void* take() {
    if (of_thread_.process_ != ::getpid()) of_thread_.begin_anew();
    if (of_thread_.free_.empty()) return __tsan_create_fiber(0);
    void* const fiber = of_thread_.free_.back();
    of_thread_.free_.pop_back();
    return fiber;
  }
  static void give_back(void* fiber) {
    if (fiber == nullptr) return;
    if (thread_ends_)
      __tsan_destroy_fiber(fiber);
    else if (of_thread_.process_ == ::getpid())
      of_thread_.free_.push_back(fiber);
  }

 private:
  ~fiber_pool() {
    thread_ends_ = true;
    if (process_ != ::getpid()) return;
    for (void* const each : free_) __tsan_destroy_fiber(each);
  }

  void begin_anew() {
    free_.clear();
    process_ = ::getpid();
  }

  std::vector<void*> free_;
  pid_t process_ = ::getpid();
  static thread_local fiber_pool of_thread_;
  static inline constinit thread_local bool thread_ends_ = false;
};
inline thread_local fiber_pool fiber_pool::of_thread_;
// Flags 0: the switch orders what was done before it.
EVENTER_ALWAYS_INLINE void switch_fiber(void* fiber) { __tsan_switch_to_fiber(fiber, 0); }
#endif

#if EVENTER_VALGRIND
inline unsigned valgrind_register_stack(const void* low, const void* high) {
  return VALGRIND_STACK_REGISTER(low, high);
}
inline void valgrind_deregister_stack(unsigned id) { VALGRIND_STACK_DEREGISTER(id); }
inline bool running_on_valgrind() { return RUNNING_ON_VALGRIND != 0; }
inline void mark_defined(const void* memory, std::size_t size) { VALGRIND_MAKE_MEM_DEFINED(memory, size); }
// What lies below the stack pointer may be used again, its content is unspecified.
inline void mark_accessible(const void* memory, std::size_t size) { VALGRIND_MAKE_MEM_UNDEFINED(memory, size); }
#else
inline unsigned valgrind_register_stack(const void*, const void*) noexcept { return 0; }
inline void valgrind_deregister_stack(unsigned) noexcept {}
inline bool running_on_valgrind() noexcept { return false; }
inline void mark_defined(const void*, std::size_t) noexcept {}
inline void mark_accessible(const void*, std::size_t) noexcept {}
#endif

// Whether coroutines get stacks of their own unless the environment says otherwise.
inline bool prefers_private_stacks() {
  if (!EVENTER_ASAN && !EVENTER_TSAN && !running_on_valgrind()) return false;
  const char* const shared = std::getenv("EVENTER_SANITIZE_SHARED");
  return shared == nullptr || std::strcmp(shared, "1") != 0;
}

}  // namespace eventer::inline EVENTER_ABI::context
