// io_result<T>: what a call that talks to the outside world answers, a value or a std::error_code; and the library's
// own codes.
//
// It is shaped like std::expected<T, std::error_code>, which the supported compilers lack (and stays our own type in
// C++23). Comparing an error with an `errc` goes by the category's name, so that it holds across shared libraries that
// each have a copy.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>

#include "eventer/base/config.hpp"

namespace eventer::inline EVENTER_ABI {

// The library's own errors. What the kernel answers keeps its errno value in std::system_category().
enum class errc {
  end_of_stream = 1,  // the peer has closed its side and every byte was read; an error so that `while (auto n =
                      // read_some(...))` ends
  busy,    // someone else already waits here: a second reader, a second writer, a stream that belongs to another loop
  closed,  // the object was closed here, perhaps while we waited
  would_not_fit,     // the limit or the buffer that was given is too small
  timed_out,         // equals std::errc::timed_out
  canceled,          // equals std::errc::operation_canceled
  bad_address,       // text that is no endpoint
  exception,         // a coroutine ended with an exception that carries no error code; join() rethrows it
  bad_proxy_header,  // what came first is no PROXY protocol header; equals std::errc::protocol_error
};

class EVENTER_API error_category final : public std::error_category {
 public:
  const char* name() const noexcept override { return "eventer"; }

  std::string message(int code) const override {
    switch (static_cast<errc>(code)) {
      case errc::end_of_stream:
        return "end of stream: the peer has closed its side";
      case errc::busy:
        return "busy: another coroutine already waits for this, or the stream belongs to another loop";
      case errc::closed:
        return "closed on this side";
      case errc::would_not_fit:
        return "does not fit into the limit or the buffer given";
      case errc::timed_out:
        return "timed out";
      case errc::canceled:
        return "operation canceled";
      case errc::exception:
        return "the coroutine ended with an exception; join() rethrows it";
      case errc::bad_proxy_header:
        return "what came first is no PROXY protocol header, version 1 or 2: is it switched on in the proxy?";
      case errc::bad_address:
        return "not an address for this: write 127.0.0.1:80, [::1]:80 or unix:/path (port 0 lets the kernel choose), and where names are looked up name:80";
    }
    return "unknown eventer error";
  }

  std::error_condition default_error_condition(int code) const noexcept override {
    switch (static_cast<errc>(code)) {
      case errc::timed_out:
        return std::errc::timed_out;
      case errc::canceled:
        return std::errc::operation_canceled;
      case errc::bad_address:
        return std::errc::invalid_argument;
      case errc::bad_proxy_header:
        return std::errc::protocol_error;
      default:
        return {code, *this};
    }
  }
};

// Made at first use and never destroyed: a header must not bring static constructors or destructors into its users'
// units.
EVENTER_API inline const std::error_category& eventer_category() noexcept {
  static const error_category& instance = *new error_category;
  return instance;
}

inline std::error_code make_error_code(errc code) noexcept { return {static_cast<int>(code), eventer_category()}; }

inline bool operator==(const std::error_code& left, errc right) noexcept {
  return left.value() == static_cast<int>(right) &&
         (left.category() == eventer_category() || std::strcmp(left.category().name(), "eventer") == 0);
}

inline std::error_code error_from_errno(int number) noexcept { return {number, std::system_category()}; }

// Throws std::system_error; without exceptions ends the process with the same sentence.
[[noreturn]] EVENTER_NOINLINE inline void throw_error(std::error_code code, const char* what) {
#if EVENTER_EXCEPTIONS
  throw std::system_error(code, what);
#else
  std::fprintf(stderr, "eventer: %s: %s\n", what, code.message().c_str());
  std::abort();
#endif
}

// The caller broke a rule that no program can recover from at run time. `sentence` says what to do instead.
[[noreturn]] EVENTER_NOINLINE inline void broken_rule(const char* sentence) {
  std::fprintf(stderr, "eventer: %s\n", sentence);
  std::abort();
}

template <class T>
class [[nodiscard]] io_result {
  static_assert(!std::is_same_v<T, std::error_code> && !std::is_same_v<T, errc>,
                "an error can't be the value of an io_result: return io_result<void>, or a bool");

 public:
  using value_type = T;

  io_result(T value) noexcept(std::is_nothrow_move_constructible_v<T>) : value_(std::move(value)), has_value_(true) {}
  io_result(std::error_code error) noexcept : error_(error), has_value_(false) {}
  io_result(errc error) noexcept : io_result(make_error_code(error)) {}

  io_result(io_result&& other) noexcept(std::is_nothrow_move_constructible_v<T>) : has_value_(other.has_value_) {
    if (has_value_)
      ::new (static_cast<void*>(&value_)) T(std::move(other.value_));
    else
      ::new (static_cast<void*>(&error_)) std::error_code(other.error_);
  }
  io_result(const io_result& other) requires std::is_copy_constructible_v<T> : has_value_(other.has_value_) {
    if (has_value_)
      ::new (static_cast<void*>(&value_)) T(other.value_);
    else
      ::new (static_cast<void*>(&error_)) std::error_code(other.error_);
  }
  io_result& operator=(io_result other) noexcept(std::is_nothrow_move_constructible_v<T>) {
    if (has_value_ && other.has_value_) {
      value_ = std::move(other.value_);
      return *this;
    }
    if (has_value_) value_.~T();
    has_value_ = other.has_value_;
    if (has_value_)
      ::new (static_cast<void*>(&value_)) T(std::move(other.value_));
    else
      ::new (static_cast<void*>(&error_)) std::error_code(other.error_);
    return *this;
  }
  ~io_result() {
    if (has_value_) value_.~T();
  }

  bool has_value() const noexcept { return has_value_; }
  explicit operator bool() const noexcept { return has_value_; }

  T& operator*() & noexcept { return value_; }
  const T& operator*() const& noexcept { return value_; }
  T&& operator*() && noexcept { return std::move(value_); }
  T* operator->() noexcept { return &value_; }
  const T* operator->() const noexcept { return &value_; }

  // The value, or std::system_error with the error's message.
  T& value() & { return check(), value_; }
  const T& value() const& { return check(), value_; }
  T&& value() && { return check(), std::move(value_); }

  template <class U>
  T value_or(U&& other) && {
    return has_value_ ? std::move(value_) : static_cast<T>(std::forward<U>(other));
  }
  template <class U>
  T value_or(U&& other) const& {
    return has_value_ ? value_ : static_cast<T>(std::forward<U>(other));
  }

  // Zero (no error) where there is a value.
  std::error_code error() const noexcept { return has_value_ ? std::error_code() : error_; }

 private:
  void check() const {
    if (!has_value_) throw_error(error_, "io_result::value() of a failed call");
  }

  // In one place: a result lies on the stack of many a parked coroutine.
  union {
    T value_;
    std::error_code error_;
  };
  bool has_value_;
};

template <>
class [[nodiscard]] io_result<void> {
 public:
  using value_type = void;

  io_result() noexcept = default;
  io_result(std::error_code error) noexcept : error_(error) {}
  io_result(errc error) noexcept : error_(make_error_code(error)) {}

  bool has_value() const noexcept { return !error_; }
  explicit operator bool() const noexcept { return !error_; }
  void operator*() const noexcept {}
  void value() const {
    if (error_) throw_error(error_, "io_result::value() of a failed call");
  }
  std::error_code error() const noexcept { return error_; }

 private:
  std::error_code error_;
};

}  // namespace eventer::inline EVENTER_ABI

template <>
struct std::is_error_code_enum<eventer::errc> : std::true_type {};
