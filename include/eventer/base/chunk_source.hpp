// chunk_source: 64 KiB chunks at 64 KiB boundaries, the raw memory of every slab of the library; one thread, no locks.
//
// A block's chunk is found by masking its address. Chunks come from mapped arenas; beyond 16 MiB these ask for huge
// pages (a million parked coroutines touch memory at random: that saves their TLB misses; with less, the unused rest of
// a huge page would be a large part of all). Of the chunks that are given back a few are kept; the pages of the rest
// return to the kernel at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "eventer/base/syscalls.hpp"

namespace eventer::inline EVENTER_ABI {

class chunk_source {
 public:
  static constexpr std::size_t chunk_bytes = std::size_t{64} << 10;

  chunk_source() = default;
  chunk_source(const chunk_source&) = delete;
  chunk_source& operator=(const chunk_source&) = delete;
  ~chunk_source() {
    for (const arena& each : arenas_) syscalls::unmap_memory(each.memory, each.bytes);
  }

  // The chunk that holds a block of it.
  static void* chunk_of(const void* block) noexcept {
    return reinterpret_cast<void*>(reinterpret_cast<std::uintptr_t>(block) & ~(chunk_bytes - 1));
  }

  // A chunk of unspecified content, or nullptr where the kernel has no memory.
  void* take() noexcept {
    if (!reserve_.empty()) return pop(reserve_);
    if (!returned_.empty()) return pop(returned_);
    if (next_ == end_ && !map_arena()) return nullptr;
    void* const chunk = next_;
    next_ += chunk_bytes;
    return chunk;
  }

  void give_back(void* chunk) noexcept {
    if (reserve_.size() < reserve_chunks) return push(reserve_, chunk);
    syscalls::advise(chunk, chunk_bytes, MADV_DONTNEED);
    push(returned_, chunk);
  }

 private:
  static constexpr std::size_t reserve_chunks = 4;
  static constexpr std::size_t small_arena = 8 * chunk_bytes;
  static constexpr std::size_t huge_page = std::size_t{2} << 20;
  static constexpr std::size_t huge_pages_from = std::size_t{16} << 20;

  struct arena {
    void* memory;
    std::size_t bytes;
  };

  static void* pop(std::vector<void*>& chunks) noexcept {
    void* const chunk = chunks.back();
    chunks.pop_back();
    return chunk;
  }
  // The vectors get room for every chunk when an arena is mapped, so that giving back never allocates.
  static void push(std::vector<void*>& chunks, void* chunk) noexcept { chunks.push_back(chunk); }

  EVENTER_NOINLINE bool map_arena() noexcept {
    const bool large = mapped_bytes_ >= huge_pages_from;
    const std::size_t bytes = large ? 2 * huge_page : small_arena;
    const std::size_t alignment = large ? huge_page : chunk_bytes;
    const std::size_t chunks = (mapped_bytes_ + bytes) / chunk_bytes;
#if EVENTER_EXCEPTIONS
    try {
#endif
      arenas_.reserve(arenas_.size() + 1);
      if (chunks > returned_.capacity()) {
        returned_.reserve(2 * chunks);
        reserve_.reserve(reserve_chunks);
      }
#if EVENTER_EXCEPTIONS
    } catch (...) {
      return false;
    }
#endif
    // Over-allocate by the alignment; the untouched rest costs address space alone.
    void* const memory = syscalls::map_memory(bytes + alignment, MAP_NORESERVE);
    if (memory == nullptr) return false;
    const auto start = (reinterpret_cast<std::uintptr_t>(memory) + alignment - 1) & ~(alignment - 1);
    next_ = reinterpret_cast<char*>(start);
    end_ = next_ + bytes;
    if (large) syscalls::advise(next_, bytes, MADV_HUGEPAGE);
    arenas_.push_back({memory, bytes + alignment});
    mapped_bytes_ += bytes;
    return true;
  }

  std::vector<arena> arenas_;
  std::vector<void*> reserve_, returned_;
  char *next_ = nullptr, *end_ = nullptr;
  std::size_t mapped_bytes_ = 0;
};

}  // namespace eventer::inline EVENTER_ABI
