// stack_memory: one mapped stack with an inaccessible guard below it, so that an overflow stops instead of running into
// a neighbour.
//
// The guard is several pages: a frame of up to 64 KiB that skips bytes still hits it (use -fstack-clash-protection for
// larger ones).
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "eventer/base/result.hpp"
#include "eventer/base/system.hpp"
#include "eventer/context/sanitizer.hpp"

namespace eventer::inline EVENTER_ABI {

class stack_memory {
 public:
  static constexpr std::size_t guard_bytes = std::size_t{64} << 10;

  stack_memory() noexcept = default;

  // `bytes` usable ones, rounded up to pages; they cost memory when touched. Throws std::system_error: the kernel
  // refuses the mapping (not_enough_memory also when the process has reached vm.max_map_count: a guarded stack takes
  // two mappings).
  explicit stack_memory(std::size_t bytes) {
    const std::size_t page = system::page_size();
    guard_ = (guard_bytes + page - 1) / page * page;
    bytes_ = (bytes + page - 1) / page * page;
    memory_ = static_cast<char*>(system::map_memory(guard_ + bytes_, MAP_NORESERVE | MAP_STACK));
    if (memory_ == nullptr) throw_error(error_from_errno(errno), "mapping a coroutine stack");
    if (system::protect(memory_, guard_, PROT_NONE) != 0) {
      const int error = errno;
      system::unmap_memory(memory_, guard_ + bytes_);
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
    system::unmap_memory(memory_, guard_ + bytes_);
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

 private:
  char* memory_ = nullptr;
  std::size_t bytes_ = 0;
  std::size_t guard_ = 0;
  unsigned valgrind_id_ = 0;
};

}  // namespace eventer::inline EVENTER_ABI
