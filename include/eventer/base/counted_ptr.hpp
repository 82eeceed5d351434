// counted_ptr<T>: shared ownership of an object that carries its own count, in one word.
//
// The count is a plain number where all owners are on one thread, an atomic one where they are not; the object chooses
// by what it derives from.
#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

#include "eventer/base/config.hpp"

namespace eventer::inline EVENTER_ABI {

template <class Counter>
struct counted {
  Counter owners{0};
};

template <class T>
class counted_ptr {
 public:
  counted_ptr() noexcept = default;
  explicit counted_ptr(T* object) noexcept : object_(object) {
    if (object_ != nullptr) ++object_->owners;
  }
  counted_ptr(const counted_ptr& other) noexcept : counted_ptr(other.object_) {}
  counted_ptr(counted_ptr&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  counted_ptr& operator=(counted_ptr other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~counted_ptr() {
    if (object_ != nullptr && --object_->owners == 0) destroy(object_);
  }

  T* get() const noexcept { return object_; }
  T* operator->() const noexcept { return object_; }
  T& operator*() const noexcept { return *object_; }
  explicit operator bool() const noexcept { return object_ != nullptr; }
  bool operator==(const counted_ptr&) const noexcept = default;

 private:
  // Out of line: else g++ 12 warns of uses after a deletion that the count rules out.
  EVENTER_NOINLINE static void destroy(T* object) noexcept { delete object; }

  T* object_ = nullptr;
};

template <class T, class... Arguments>
counted_ptr<T> make_counted(Arguments&&... arguments) {
  return counted_ptr<T>(new T(std::forward<Arguments>(arguments)...));
}

}  // namespace eventer::inline EVENTER_ABI
