// The entry side of a coroutine: how its callable and its result are kept off the stack.
//
// A callable of up to 16 bytes lies in the control block, a larger one on the heap. It is destroyed exactly once: on
// the coroutine after it has run, or by the scheduler if it never ran. The result takes its place.
#pragma once

#include <cstdint>
#include <exception>
#include <new>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

#include "eventer/base/log.hpp"
#include "eventer/coro/control_block.hpp"

namespace eventer::inline EVENTER_ABI {

// Thrown by the await in progress, or the next one, of a coroutine that was cancelled; unwinds it. Not a
// std::exception, so that handlers for failures do not take it for one. Whoever swallows it gets it again from the next
// await.
class EVENTER_API cancelled {};

namespace detail {

// A value in 16 bytes: itself if it fits, else a pointer to it on the heap.
template <class T>
struct stored {
  static constexpr bool is_inline =
      sizeof(T) <= control_block_details::inline_bytes && alignof(T) <= 8 && std::is_nothrow_move_constructible_v<T>;

  template <class... Arguments>
  static void create(unsigned char* storage, Arguments&&... arguments) {
    if constexpr (is_inline)
      ::new (static_cast<void*>(storage)) T(std::forward<Arguments>(arguments)...);
    else
      ::new (static_cast<void*>(storage)) T*(new T(std::forward<Arguments>(arguments)...));
  }
  static T& get(unsigned char* storage) noexcept {
    if constexpr (is_inline)
      return *std::launder(reinterpret_cast<T*>(storage));
    else
      return **std::launder(reinterpret_cast<T**>(storage));
  }
  static void destroy(unsigned char* storage) noexcept {
    if constexpr (is_inline)
      get(storage).~T();
    else
      delete &get(storage);
  }
  static T take(unsigned char* storage) {
    struct destroy_at_end {
      unsigned char* storage;
      ~destroy_at_end() { destroy(storage); }
    } guard{storage};
    return std::move(get(storage));
  }
};

template <class R>
struct result_of_reference {
  using type = R;
};
template <class R>
struct result_of_reference<R&> {
  using type = R*;
};
// How a result is kept: a reference as the pointer that it is.
template <class R>
using result_storage = stored<typename result_of_reference<R>::type>;

// A function and its arguments, decayed and moved in.
template <class F, class... Arguments>
struct bound_call {
  using result_type = std::invoke_result_t<F, Arguments...>;

  template <class G, class... Values>
  explicit bound_call(std::in_place_t, G&& function, Values&&... values)
      : parts(std::forward<G>(function), std::forward<Values>(values)...) {}

  result_type operator()() {
    return std::apply(
        [](F& function, Arguments&... arguments) -> result_type {
          return std::apply(std::move(function), std::forward_as_tuple(std::move(arguments)...));
        },
        parts);
  }
  std::tuple<F, Arguments...> parts;
};

// What an exception says, for a message.
inline std::string text_of(const std::exception_ptr& exception) {
#if EVENTER_EXCEPTIONS
  try {
    std::rethrow_exception(exception);
  } catch (const std::exception& failure) {
    return std::string(": ") + failure.what();
  } catch (...) {
  }
#else
  (void)exception;
#endif
  return {};
}
// A handle that could have been asked for it is gone, and so is the loop with the coroutine's name, or it is another
// thread's.
EVENTER_NOINLINE inline void log_not_taken(std::uint64_t id, const std::exception_ptr& exception) {
  log(log_level::error, "an exception left coroutine %llu, whose handle was dropped without joining it%s",
      static_cast<unsigned long long>(id), text_of(exception).c_str());
}

template <class Call>
const char* signature_of() noexcept {
  return __PRETTY_FUNCTION__;
}

}  // namespace detail

// What the scheduler does with a callable whose type it does not know.
struct callable_operations {
  void* (*run)(void* block);  // the coroutine's first function: calls, destroys the callable, keeps the result, leaves
  void* (*run_detached)(void* block);                 // the same where nobody can receive an exception
  void (*destroy_callable)(control_block&) noexcept;  // it was never run
  void (*destroy_result)(control_block&) noexcept;    // nobody asked for it
  const char* (*signature)() noexcept;                // the callable's type as text
};

}  // namespace eventer::inline EVENTER_ABI
