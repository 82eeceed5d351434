// entry_table: the statistics of a loop's coroutines, a record for each spawn name or entry function.
//
// A spawn finds its record by comparing with the last one, or in a hash table; a coroutine keeps the record's index.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "eventer/base/symbol.hpp"
#include "eventer/coro/entry.hpp"

namespace eventer::inline EVENTER_ABI {

// Statistics of all coroutines that were spawned with the same name, or with the same entry function.
struct entry_record {
  const callable_operations* operations;
  const void* key;      // the function, where the callable is a pointer to one
  const char* name;     // as spawned; may be nullptr
  const char* display;  // what reports and messages show: the name, else the function's symbol, else the type
  std::uint64_t spawned = 0;
  // Sums and maxima of those that have ended; the report adds the living ones.
  std::uint64_t swaps = 0, bytes_copied = 0;
  std::uint32_t high_water_mark = 0;
  std::uint64_t adapted = 0;  // how many were given stacks of their own by loop_options::adaptive_stacks
  bool own_stacks = false;    // and so will the next ones

  // Whether stacks of their own would cost less than what they copy. One that is not in the pool costs 4-5 us and two
  // pages or more, as much as copying a quarter of a megabyte in small pieces (bench_own_stacks). The mean is taken
  // over all, so that a few busy ones among many that are idle do not count.
  static constexpr std::uint64_t adapt_after = 8, adapt_bytes = std::uint64_t{256} << 10;
  static bool copies_much(std::uint64_t spawned, std::uint64_t bytes_copied) noexcept {
    return spawned >= adapt_after && bytes_copied / spawned >= adapt_bytes;
  }
};

class entry_table {
 public:
  // The record of this spawn, made if it is the first of its kind. Throws std::bad_alloc.
  EVENTER_ALWAYS_INLINE std::uint16_t index_of(const callable_operations& operations, const void* key,
                                               const char* name) {
    if (EVENTER_LIKELY(last_ < records_.size()) && matches(records_[last_], operations, key, name)) return last_;
    return find(operations, key, name);
  }

  entry_record& operator[](std::size_t index) noexcept { return records_[index]; }
  auto begin() const noexcept { return records_.begin(); }
  auto end() const noexcept { return records_.end(); }

 private:
  static bool matches(const entry_record& record, const callable_operations& operations, const void* key,
                      const char* name) noexcept {
    return record.operations == &operations && record.key == key && record.name == name;
  }
  EVENTER_NOINLINE std::uint16_t find(const callable_operations& operations, const void* key, const char* name) {
    const std::size_t slots = slots_.size();
    for (std::size_t slot = hash_of(operations, key, name), tried = 0; tried < slots; ++slot, ++tried) {
      const std::uint32_t index = slots_[slot & (slots - 1)];
      if (index == 0) break;
      if (matches(records_[index - 1], operations, key, name)) return last_ = static_cast<std::uint16_t>(index - 1);
    }
    // A program that makes names by the thousand: the rest is counted by function.
    if (EVENTER_UNLIKELY(records_.size() >= named_records) && name != nullptr) return find(operations, key, nullptr);
    return last_ = add(operations, key, name);
  }
  std::uint16_t add(const callable_operations& operations, const void* key, const char* name) {
    displays_.push_back(name != nullptr  ? name
                        : key != nullptr ? detail::name_of_address(key)
                                         : detail::type_in_signature(operations.signature()));
    records_.push_back({&operations, key, name, displays_.back().c_str()});
    if (records_.size() * 2 > slots_.size()) {
      slots_.assign(slots_.empty() ? 16 : slots_.size() * 2, 0);
      for (std::uint32_t i = 0; i < records_.size(); ++i) place(i);
    } else {
      place(static_cast<std::uint32_t>(records_.size() - 1));
    }
    return static_cast<std::uint16_t>(records_.size() - 1);
  }
  void place(std::uint32_t index) noexcept {
    const entry_record& record = records_[index];
    std::size_t slot = hash_of(*record.operations, record.key, record.name);
    while (slots_[slot & (slots_.size() - 1)] != 0) ++slot;
    slots_[slot & (slots_.size() - 1)] = index + 1;
  }
  static std::size_t hash_of(const callable_operations& operations, const void* key, const char* name) noexcept {
    return ((reinterpret_cast<std::uintptr_t>(&operations) ^ (reinterpret_cast<std::uintptr_t>(key) * 31) ^
             (reinterpret_cast<std::uintptr_t>(name) * 131)) *
            0x9E3779B97F4A7C15u) >>
           16;
  }

  std::vector<entry_record> records_;
  std::deque<std::string> displays_;  // they stay where they are: another thread may be reading one
  std::vector<std::uint32_t> slots_;  // a record's index + 1, or 0
  std::uint16_t last_ = 0;
  static constexpr std::size_t named_records = 50'000;  // a block has 16 bits for its record
};

}  // namespace eventer::inline EVENTER_ABI
