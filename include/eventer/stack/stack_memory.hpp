// stack_memory: one mapped stack with an inaccessible guard below it, so that an overflow stops instead of running into
// a neighbour. It can be closed while its coroutine waits, so that whoever touches it is found.
//
// The guard is several pages: a frame of up to 64 KiB that skips bytes still hits it (use -fstack-clash-protection for
// larger ones).
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include "eventer/base/result.hpp"
#include "eventer/base/syscalls.hpp"
#include "eventer/context/sanitizer.hpp"
#include "eventer/stack/copy.hpp"

namespace eventer::inline EVENTER_ABI {

class stack_memory {
 public:
  static constexpr std::size_t guard_bytes = std::size_t{64} << 10;

  stack_memory() noexcept = default;

  // `bytes` usable ones, rounded up to pages; they cost memory when touched. Throws std::system_error: the kernel
  // refuses the mapping (not_enough_memory also when the process has reached vm.max_map_count: a guarded stack takes
  // two mappings).
  explicit stack_memory(std::size_t bytes) {
    const std::size_t page = syscalls::page_size();
    guard_ = (guard_bytes + page - 1) / page * page;
    bytes_ = (bytes + page - 1) / page * page;
    memory_ = static_cast<char*>(syscalls::map_memory(mapped(), MAP_NORESERVE | MAP_STACK));
    if (memory_ == nullptr) throw_error(error_from_errno(errno), "mapping a coroutine stack");
    if (syscalls::protect(memory_, guard_, PROT_NONE) != 0) {
      const int error = errno;
      syscalls::unmap_memory(memory_, mapped());
      memory_ = nullptr;
      throw_error(error_from_errno(error), "protecting the guard of a coroutine stack (see vm.max_map_count)");
    }
    valgrind_id_ = context::valgrind_register_stack(bottom(), top());
  }
  stack_memory(stack_memory&& other) noexcept
      : memory_(std::exchange(other.memory_, nullptr)),
        bytes_(other.bytes_),
        guard_(other.guard_),
        valgrind_id_(other.valgrind_id_) {}
  stack_memory& operator=(stack_memory&& other) noexcept {
    std::swap(memory_, other.memory_);
    std::swap(bytes_, other.bytes_);
    std::swap(guard_, other.guard_);
    std::swap(valgrind_id_, other.valgrind_id_);
    return *this;
  }
  ~stack_memory() {
    if (memory_ == nullptr) return;
    context::valgrind_deregister_stack(valgrind_id_);
    context::unpoison_memory(bottom(), bytes_);
    syscalls::unmap_memory(memory_, mapped());
  }

  char* bottom() const noexcept { return memory_ + guard_; }
  char* top() const noexcept { return memory_ + guard_ + bytes_; }
  std::size_t size() const noexcept { return bytes_; }
  explicit operator bool() const noexcept { return memory_ != nullptr; }

  bool contains(const void* address) const noexcept { return address >= bottom() && address < top(); }
  // Whether a fault at `address` is an overflow of this stack.
  bool guard_contains(const void* address) const noexcept {
    return memory_ != nullptr && address >= memory_ && address < bottom();
  }

  // Its coroutine waits at `sp`: until open(), whoever touches the stack faults; under AddressSanitizer, what lies from
  // `sp` on is poisoned. False where the kernel protects no more stacks (vm.max_map_count).
  bool close([[maybe_unused]] const void* sp) noexcept {
#if EVENTER_ASAN
    char* const low = const_cast<char*>(static_cast<const char*>(sp));
    const auto bytes = kept().bytes = static_cast<std::size_t>(top() - low);
    detail::copy_stack(kept().contents(bytes_), low, bytes);
    context::copy_shadow_out(low, bytes, kept().shadow);
    context::poison_memory(low, bytes);
    return true;
#else
    return syscalls::protect(bottom(), bytes_, PROT_NONE) == 0;
#endif
  }
  bool open() noexcept {
#if EVENTER_ASAN
    const std::size_t bytes = std::exchange(kept().bytes, 0);
    context::copy_shadow_in(top() - bytes, bytes, kept().shadow);
    std::memset(kept().contents(bytes_), 0, bytes);
    return true;
#else
    return syscalls::protect(bottom(), bytes_, PROT_READ | PROT_WRITE) == 0;
#endif
  }

 private:
#if EVENTER_ASAN
  // Behind the top: what a closed stack's shadow was, and a copy of its bytes, as LeakSanitizer does not look for
  // pointers in poisoned memory.
  struct what_is_kept {
    std::size_t bytes;
    std::size_t unused;  // the bytes begin at a multiple of 16
    unsigned char shadow[16];

    char* contents(std::size_t stack_bytes) noexcept {
      return reinterpret_cast<char*>(shadow) + context::shadow_bytes(stack_bytes);
    }
  };
  std::size_t mapped() const noexcept {
    return guard_ + bytes_ + sizeof(what_is_kept) + context::shadow_bytes(bytes_) + bytes_;
  }
  what_is_kept& kept() const noexcept { return *reinterpret_cast<what_is_kept*>(top()); }
#else
  std::size_t mapped() const noexcept { return guard_ + bytes_; }
#endif

  char* memory_ = nullptr;
  std::size_t bytes_ = 0;
  std::size_t guard_ = 0;
  unsigned valgrind_id_ = 0;
};

}  // namespace eventer::inline EVENTER_ABI
