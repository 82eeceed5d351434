// process_mark: tells a forked child from its parent without a system call.
//
// It is a word in a page that the kernel clears in a child (MADV_WIPEONFORK, Linux 4.14). A handler of pthread_atfork
// clears it too, which helps where the kernel can't, but misses children that were not made by fork(3).
#pragma once

#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>

#include "eventer/base/syscalls.hpp"

namespace eventer::inline EVENTER_ABI {

class process_mark {
 public:
  // Of the process that made this object, or renewed it.
  process_mark() noexcept : word_(word()), mine_(word_->load(std::memory_order_relaxed)) {
    if (mine_ == 0) renew();
  }
  // Whether this is another process by now.
  bool forked() const noexcept { return word_->load(std::memory_order_relaxed) != mine_; }
  void renew() noexcept {
    std::uint64_t none = 0;
    word_->compare_exchange_strong(none, static_cast<std::uint64_t>(::getpid()));
    mine_ = word_->load(std::memory_order_relaxed);
  }

 private:
  using mark = std::atomic<std::uint64_t>;

  static mark* word() noexcept {
    static mark* const made = make();  // never unmapped: children of children look at it too
    return made;
  }
  static mark* make() noexcept {
    static constinit mark without_page{0};
    void* const page = syscalls::map_memory(syscalls::page_size());
    mark* const result = page == nullptr ? &without_page : ::new (page) mark(0);
    if (page != nullptr) (void)syscalls::advise(page, syscalls::page_size(), MADV_WIPEONFORK);
    // Beside it: emulators, as qemu-user, say that they do it and do not.
    cleared_by_handler_ = result;
    ::pthread_atfork(nullptr, nullptr, [] { cleared_by_handler_->store(0); });
    result->store(static_cast<std::uint64_t>(::getpid()));
    return result;
  }

  mark* word_;
  std::uint64_t mine_;
  static inline constinit mark* cleared_by_handler_ = nullptr;
};

}  // namespace eventer::inline EVENTER_ABI
