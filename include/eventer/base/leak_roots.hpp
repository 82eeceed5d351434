// What LeakSanitizer is told: it looks for pointers on the heap and on the stacks that threads run on, not in memory
// that was mapped. Without it every function here is empty.
#pragma once

#include <cstddef>

#include "eventer/base/config.hpp"

#if EVENTER_ASAN
extern "C" {
void __lsan_register_root_region(const void* region, std::size_t size);
void __lsan_unregister_root_region(const void* region, std::size_t size);
}
#endif

namespace eventer::inline EVENTER_ABI {

#if EVENTER_ASAN
inline void add_leak_root(const void* memory, std::size_t bytes) noexcept {
  __lsan_register_root_region(memory, bytes);
}
// Requires: the same as was added.
inline void remove_leak_root(const void* memory, std::size_t bytes) noexcept {
  __lsan_unregister_root_region(memory, bytes);
}
#else
inline void add_leak_root(const void*, std::size_t) noexcept {}
inline void remove_leak_root(const void*, std::size_t) noexcept {}
#endif

}  // namespace eventer::inline EVENTER_ABI
