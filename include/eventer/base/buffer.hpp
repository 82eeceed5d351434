// buffer and const_buffer: (pointer, size) views of bytes, made from arrays, vectors, strings, spans and string
// literals' views. They own nothing: what they view must live until the call that they are given to returns.
#pragma once

#include <concepts>
#include <cstddef>
#include <iterator>
#include <string_view>
#include <type_traits>

#include "eventer/base/config.hpp"

namespace eventer::inline EVENTER_ABI {

class buffer;
class const_buffer;

namespace detail {

template <class C>
using element_of = std::remove_reference_t<decltype(*std::data(std::declval<C&>()))>;

// Several buffers are no bytes.
template <class T>
concept is_buffer = std::same_as<std::remove_cv_t<T>, buffer> || std::same_as<std::remove_cv_t<T>, const_buffer>;

template <class C>
concept byte_range = !is_buffer<element_of<C>> && std::is_trivially_copyable_v<element_of<C>> &&
                     std::convertible_to<decltype(std::size(std::declval<C&>())), std::size_t>;

template <class C>
concept source_of_buffer =
    byte_range<C> && !std::is_const_v<element_of<C>> && !std::same_as<std::remove_cvref_t<C>, buffer>;

// Text goes through std::string_view, so that the NUL behind a literal is not taken for a byte of it.
template <class C>
concept source_of_const_buffer =
    byte_range<C> && !std::same_as<C, const_buffer> && !std::same_as<C, buffer> && !std::convertible_to<C, const char*>;

}  // namespace detail

// Bytes to read into.
class buffer {
 public:
  constexpr buffer() noexcept = default;
  buffer(void* data, std::size_t size) noexcept : data_(static_cast<char*>(data)), size_(size) {}
  template <detail::source_of_buffer C>
  buffer(C&& range) noexcept : buffer(std::data(range), std::size(range) * sizeof(*std::data(range))) {}

  char* data() const noexcept { return data_; }
  std::size_t size() const noexcept { return size_; }
  buffer after(std::size_t bytes) const noexcept { return {data_ + bytes, size_ - bytes}; }

 private:
  char* data_ = nullptr;
  std::size_t size_ = 0;
};

// Bytes to write. The NUL that ends a string literal is not one of them.
class const_buffer {
 public:
  constexpr const_buffer() noexcept = default;
  const_buffer(const void* data, std::size_t size) noexcept : data_(static_cast<const char*>(data)), size_(size) {}
  const_buffer(const buffer& other) noexcept : const_buffer(other.data(), other.size()) {}
  const_buffer(const char* text) noexcept : const_buffer(std::string_view(text)) {}
  template <detail::source_of_const_buffer C>
  const_buffer(const C& range) noexcept
      : const_buffer(std::data(range), std::size(range) * sizeof(*std::data(range))) {}

  const char* data() const noexcept { return data_; }
  std::size_t size() const noexcept { return size_; }
  const_buffer after(std::size_t bytes) const noexcept { return {data_ + bytes, size_ - bytes}; }

 private:
  const char* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace eventer::inline EVENTER_ABI
