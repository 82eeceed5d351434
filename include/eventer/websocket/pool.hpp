// lent<T>: a T of those that a thread keeps for whoever needs one for a while, as a WebSocket does that is in the midst
// of a frame. T has reset(), which answers whether it may be lent again.
#pragma once

#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "eventer/base/config.hpp"

namespace eventer::inline EVENTER_ABI::http::detail {

template <class T>
class lent {
 public:
  lent() noexcept = default;  // of none
  lent(lent&& other) noexcept = default;
  lent& operator=(lent&& other) noexcept {
    give_back();
    what_ = std::move(other.what_);
    return *this;
  }
  ~lent() { give_back(); }

  static lent take() {
    lent result;
    if (auto& all = spares(); !all.empty()) {
      result.what_ = std::move(all.back());
      all.pop_back();
    } else {
      result.what_ = std::make_unique<T>();
    }
    return result;
  }
  void give_back() noexcept {
    if (what_ == nullptr) return;
    auto& all = spares();
    if (what_->reset() && all.size() < all.capacity()) all.push_back(std::move(what_));
    what_.reset();
  }

  explicit operator bool() const noexcept { return what_ != nullptr; }
  T* operator->() const noexcept { return what_.get(); }
  T& operator*() const noexcept { return *what_; }

 private:
  // Not inlined: the address of a thread's own variable must not be kept where a coroutine has waited.
  EVENTER_NOINLINE static std::vector<std::unique_ptr<T>>& spares() {
    thread_local std::vector<std::unique_ptr<T>> all = [] {
      std::vector<std::unique_ptr<T>> result;
      result.reserve(at_most);
      return result;
    }();
    return all;
  }
  static constexpr std::size_t at_most = 16;

  std::unique_ptr<T> what_;
};

}  // namespace eventer::inline EVENTER_ABI::http::detail
