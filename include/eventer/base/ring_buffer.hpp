// ring_buffer<T>: a growing first-in first-out queue of small trivial values in one array, so that a reader can look
// ahead.
//
// The ready queue rests on it: looking 24 entries ahead is what makes prefetching possible. It never shrinks by itself.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <new>
#include <type_traits>

#include "eventer/base/config.hpp"

namespace eventer::inline EVENTER_ABI {

template <class T>
class ring_buffer {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  ring_buffer() noexcept = default;
  ring_buffer(const ring_buffer&) = delete;
  ring_buffer& operator=(const ring_buffer&) = delete;
  ~ring_buffer() { std::free(data_); }

  bool empty() const noexcept { return head_ == tail_; }
  std::size_t size() const noexcept { return tail_ - head_; }
  std::size_t capacity() const noexcept { return data_ == nullptr ? 0 : mask_ + 1; }

  // Throws std::bad_alloc (without exceptions: ends the process) where the array can't grow; nothing is lost then.
  EVENTER_ALWAYS_INLINE void push_back(T value) {
    if (EVENTER_UNLIKELY(size() == capacity())) resize(capacity() == 0 ? 64 : capacity() * 2);
    data_[tail_++ & mask_] = value;
  }
  // As push_back, to the other end; tickets stay valid.
  void push_front(T value) {
    if (EVENTER_UNLIKELY(size() == capacity())) resize(capacity() == 0 ? 64 : capacity() * 2);
    data_[--head_ & mask_] = value;
  }
  EVENTER_ALWAYS_INLINE T pop_front() noexcept { return data_[head_++ & mask_]; }
  // Requires: offset < size().
  T& operator[](std::size_t offset) noexcept { return data_[(head_ + offset) & mask_]; }
  // The ticket of the next push_back: with it the value is found again for as long as it is in the queue.
  std::size_t next_ticket() const noexcept { return tail_; }
  T& at_ticket(std::size_t ticket) noexcept { return data_[ticket & mask_]; }
  std::size_t ticket_of(std::size_t offset) const noexcept { return head_ + offset; }

  void clear() noexcept { head_ = tail_ = 0; }
  // Gives memory back that a peak has left behind.
  void shrink() noexcept {
    if (empty() && capacity() > 1024) {
      std::free(data_);
      data_ = nullptr;
      head_ = tail_ = mask_ = 0;
    }
  }

 private:
  EVENTER_NOINLINE void resize(std::size_t capacity) {
    T* const grown = static_cast<T*>(std::malloc(capacity * sizeof(T)));
    if (grown == nullptr) {
#if EVENTER_EXCEPTIONS
      throw std::bad_alloc();
#else
      std::abort();
#endif
    }
    for (std::size_t i = head_; i != tail_; ++i) grown[i & (capacity - 1)] = data_[i & mask_];  // tickets stay valid
    std::free(data_);
    data_ = grown;
    mask_ = capacity - 1;
  }

  T* data_ = nullptr;
  std::size_t head_ = 0, tail_ = 0, mask_ = 0;
};

}  // namespace eventer::inline EVENTER_ABI
