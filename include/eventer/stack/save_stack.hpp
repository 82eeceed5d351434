// save_stack_pool: right-sized blocks for the bytes of parked coroutines, in size classes from 64 KiB chunks; one
// thread, no locks.
//
// Classes are 16 bytes apart up to 512, 64 up to 1 KiB (blocks of these and larger ones begin at a cache line: from
// there on copying lines that straddle costs more than the bytes are worth), then four per doubling up to 16 KiB; still
// larger blocks are mapped one by one. An empty chunk goes back to its source, so a peak does not stay. Nothing may
// allocate from here but code on a native stack.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include "eventer/base/chunk_source.hpp"

namespace eventer::inline EVENTER_ABI {

class save_stack_pool {
 public:
  using size_class = std::uint8_t;
  static constexpr std::size_t line = 64;
  static constexpr std::size_t largest_class_bytes = 16 << 10;
  static constexpr size_class no_class = 0;        // no block
  static constexpr size_class mapped_class = 127;  // larger than the largest class

  explicit save_stack_pool(chunk_source& source) noexcept : source_(source) {}
  save_stack_pool(const save_stack_pool&) = delete;
  save_stack_pool& operator=(const save_stack_pool&) = delete;

  // What a stack of `bytes` is rounded up to where it is saved.
  static constexpr std::size_t grain_of(std::size_t bytes) noexcept { return bytes <= 512 ? 16 : line; }

  // The class of the smallest block that holds `bytes` (at least 1).
  static constexpr size_class class_of(std::size_t bytes) noexcept {
    if (bytes <= 512) return static_cast<size_class>((bytes + 15) / 16);
    if (bytes <= 1024) return static_cast<size_class>(32 + (bytes - 512 + line - 1) / line);
    if (bytes > largest_class_bytes) return mapped_class;
    const auto doubling =
        static_cast<unsigned>(std::bit_width(bytes - 1)) - 1;         // bytes in (2^doubling, 2^(doubling+1)]
    const std::size_t quarter = ((bytes - 1) >> (doubling - 2)) & 3;  // which quarter of that range
    return static_cast<size_class>(41 + (doubling - 10) * 4 + quarter);
  }
  // Usable bytes of a block of a class below mapped_class.
  static constexpr std::size_t class_bytes(size_class which) noexcept {
    if (which <= 32) return which * std::size_t{16};
    if (which <= 40) return 512 + (which - 32u) * line;
    const int doubling = 10 + (which - 41) / 4;
    return (std::size_t{1} << doubling) + (static_cast<std::size_t>((which - 41) % 4 + 1) << (doubling - 2));
  }
  static std::size_t block_bytes(const char* block, size_class which) noexcept {
    return which == mapped_class ? mapping_of(block)->bytes - mapping_header : class_bytes(which);
  }

  // A block of at least `bytes`, 16-byte aligned; nullptr where the kernel has no memory.
  char* allocate(std::size_t bytes) noexcept {
    const size_class which = class_of(bytes);
    char* const block = which == mapped_class ? map(bytes) : carve(which);
    if (block != nullptr) bytes_in_use_ += block_bytes(block, which);
    return block;
  }

  void release(char* block, size_class which) noexcept {
    bytes_in_use_ -= block_bytes(block, which);
    if (which == mapped_class) {
      mapping* const header = mapping_of(block);
      return syscalls::unmap_memory(header, header->bytes);
    }
    chunk& here = *static_cast<chunk*>(chunk_source::chunk_of(block));
    *reinterpret_cast<char**>(block) = here.free;
    here.free = block;
    if (here.live-- == capacity(which)) link(here, which);
    if (EVENTER_UNLIKELY(here.live == 0) && (here.next != nullptr || here.previous != nullptr)) {
      unlink(here, which);
      source_.give_back(&here);
    }
  }

  std::size_t bytes_in_use() const noexcept { return bytes_in_use_; }

 private:
  struct chunk {
    char* free;
    chunk *next, *previous;
    std::uint32_t live, carved;
  };
  static constexpr std::size_t header_bytes = 64;
  static constexpr std::size_t classes = 41 + 4 * 4;
  struct mapping {
    std::size_t bytes;
  };
  static constexpr std::size_t mapping_header = 64;

  static constexpr std::uint32_t capacity(size_class which) noexcept {
    return static_cast<std::uint32_t>((chunk_source::chunk_bytes - header_bytes) / class_bytes(which));
  }
  static mapping* mapping_of(const char* block) noexcept {
    return reinterpret_cast<mapping*>(const_cast<char*>(block) - mapping_header);
  }

  char* map(std::size_t bytes) noexcept {
    const std::size_t page = syscalls::page_size();
    const std::size_t total = (bytes + mapping_header + page - 1) / page * page;
    void* const memory = syscalls::map_memory(total);
    if (memory == nullptr) return nullptr;
    ::new (memory) mapping{total};
    return static_cast<char*>(memory) + mapping_header;
  }

  char* carve(size_class which) noexcept {
    if (EVENTER_UNLIKELY(partial_[which] == nullptr)) {
      void* const memory = source_.take();
      if (memory == nullptr) return nullptr;
      link(*::new (memory) chunk{nullptr, nullptr, nullptr, 0, 0}, which);
    }
    chunk& here = *partial_[which];
    char* block = here.free;
    if (block != nullptr)
      here.free = *reinterpret_cast<char**>(block);
    else
      block = reinterpret_cast<char*>(&here) + header_bytes + here.carved++ * class_bytes(which);
    if (++here.live == capacity(which)) unlink(here, which);
    return block;
  }

  void link(chunk& here, size_class which) noexcept {
    here.previous = nullptr;
    here.next = partial_[which];
    if (here.next != nullptr) here.next->previous = &here;
    partial_[which] = &here;
  }
  void unlink(chunk& here, size_class which) noexcept {
    (here.previous != nullptr ? here.previous->next : partial_[which]) = here.next;
    if (here.next != nullptr) here.next->previous = here.previous;
    here.next = here.previous = nullptr;
  }

  chunk_source& source_;
  chunk* partial_[classes] = {};
  std::size_t bytes_in_use_ = 0;
};

}  // namespace eventer::inline EVENTER_ABI
