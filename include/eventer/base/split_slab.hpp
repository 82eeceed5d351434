// split_slab<Hot, Cold>: fixed-size blocks in two parts, one aligned cache line that a hot path touches and the rest
// beside it.
//
// In each 64 KiB chunk stand all hot lines, then all cold parts: a pair costs sizeof(Hot) + sizeof(Cold), without
// padding the pair to a whole number of lines (a block that straddles lines costs 10-20 ns when it is cold). One
// thread; nothing is constructed here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <vector>

#include "eventer/base/chunk_source.hpp"

namespace eventer::inline EVENTER_ABI {

template <class Hot, class Cold>
class split_slab {
  struct chunk {
    void* owner;
    Hot* free;               // through the first word of each free hot part
    chunk *next, *previous;  // among those with room
    std::uint32_t live, carved;
    std::size_t place;  // in `all_`
  };
  static constexpr std::size_t header_bytes = 64;
  static_assert(sizeof(chunk) <= header_bytes && alignof(Hot) <= 64 && sizeof(Hot) >= sizeof(void*));

 public:
  static constexpr std::size_t blocks_per_chunk =
      (chunk_source::chunk_bytes - header_bytes) / (sizeof(Hot) + sizeof(Cold));

  // `owner` is what owner_of answers for each block.
  split_slab(chunk_source& source, void* owner) noexcept : source_(source), owner_(owner) {}
  split_slab(const split_slab&) = delete;
  split_slab& operator=(const split_slab&) = delete;

  // Uninitialised; nullptr where the kernel has no memory.
  EVENTER_ALWAYS_INLINE Hot* allocate() noexcept {
    if (EVENTER_UNLIKELY(partial_ == nullptr) && !add_chunk()) return nullptr;
    chunk& here = *partial_;
    Hot* block = here.free;
    if (EVENTER_LIKELY(block != nullptr))
      here.free = next_of(block);
    else
      block = hot_of(&here) + here.carved++;
    if (EVENTER_UNLIKELY(++here.live == blocks_per_chunk)) unlink(here);
    return block;
  }

  EVENTER_ALWAYS_INLINE void release(Hot* block) noexcept {
    chunk& here = chunk_of(block);
    next_of(block) = here.free;
    here.free = block;
    if (EVENTER_UNLIKELY(here.live-- == blocks_per_chunk)) link(here);
    // The last partial chunk stays: a loop that starts and ends one coroutine at a time must not map and unmap.
    if (EVENTER_UNLIKELY(here.live == 0) && (here.next != nullptr || here.previous != nullptr)) {
      unlink(here);
      all_.back()->place = here.place;
      all_[here.place] = all_.back();
      all_.pop_back();
      source_.give_back(&here);
    }
  }

  static Cold& cold_of(const Hot* block) noexcept {
    chunk& here = chunk_of(block);
    return cold_start(&here)[block - hot_of(&here)];
  }
  static Hot* hot_of_cold(const Cold* cold) noexcept {
    chunk& here = chunk_of(cold);
    return hot_of(&here) + (cold - cold_start(&here));
  }
  static void* owner_of(const Hot* block) noexcept { return chunk_of(block).owner; }

  // Whether it is a block of a chunk that is still here.
  bool owns(const Hot* block) const noexcept {
    for (const chunk* const each : all_)
      if (chunk_source::chunk_of(block) == each) return true;
    return false;
  }

  // Visits every block that was ever handed out from a chunk still in use: whoever visits must know a released one when
  // it sees it.
  template <class Visitor>
  void for_each(Visitor&& visit) {
    for (std::size_t i = 0; i < all_.size(); ++i)
      for (std::uint32_t block = 0; block < all_[i]->carved; ++block) visit(hot_of(all_[i])[block]);
  }

 private:
  static chunk& chunk_of(const void* block) noexcept { return *static_cast<chunk*>(chunk_source::chunk_of(block)); }
  static Hot* hot_of(chunk* here) noexcept {
    return reinterpret_cast<Hot*>(reinterpret_cast<char*>(here) + header_bytes);
  }
  static Cold* cold_start(chunk* here) noexcept { return reinterpret_cast<Cold*>(hot_of(here) + blocks_per_chunk); }
  static Hot*& next_of(Hot* block) noexcept { return *reinterpret_cast<Hot**>(block); }

  EVENTER_NOINLINE bool add_chunk() noexcept {
#if EVENTER_EXCEPTIONS
    try {
#endif
      if (all_.size() == all_.capacity()) all_.reserve(2 * all_.size() + 8);
#if EVENTER_EXCEPTIONS
    } catch (...) {
      return false;
    }
#endif
    void* const memory = source_.take();
    if (memory == nullptr) return false;
    chunk* const here = ::new (memory) chunk{owner_, nullptr, nullptr, nullptr, 0, 0, all_.size()};
    all_.push_back(here);
    link(*here);
    return true;
  }
  void link(chunk& here) noexcept {
    here.previous = nullptr;
    here.next = partial_;
    if (partial_ != nullptr) partial_->previous = &here;
    partial_ = &here;
  }
  void unlink(chunk& here) noexcept {
    (here.previous != nullptr ? here.previous->next : partial_) = here.next;
    if (here.next != nullptr) here.next->previous = here.previous;
    here.next = here.previous = nullptr;
  }

  chunk_source& source_;
  void* owner_;
  chunk* partial_ = nullptr;
  std::vector<chunk*> all_;
};

}  // namespace eventer::inline EVENTER_ABI
