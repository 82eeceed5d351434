// task<T>: a lazy C++20 coroutine. It runs on the coroutine or the thread that awaits it.
//
// `await(task)` and `spawn(task)` give it a host: a stackful coroutine (or a plain thread) that waits wherever the task
// awaits something, and that carries its name, its cancellation and its deadline scopes. So everything that may be
// called in a coroutine may be called in a hosted task. A task that a foreign C++20 coroutine awaits has no host: it
// suspends like any other, and goes on on the loop's native stack.
#pragma once

#include <coroutine>
#include <exception>
#include <optional>
#include <type_traits>
#include <utility>

#include "eventer/coro/await.hpp"

namespace eventer::inline EVENTER_ABI {

namespace detail {

class task_promise_base {
 public:
  std::suspend_always initial_suspend() noexcept { return {}; }
  auto final_suspend() noexcept {
    struct to_the_awaiting_one {
      bool await_ready() noexcept { return false; }
      std::coroutine_handle<> await_suspend(std::coroutine_handle<>) noexcept { return next; }
      void await_resume() noexcept {}
      std::coroutine_handle<> next;
    };
    return to_the_awaiting_one{continuation_ != nullptr ? continuation_ : std::noop_coroutine()};
  }
  void unhandled_exception() noexcept { failure_ = std::current_exception(); }

  template <class A>
  auto await_transform(A&& what);

  void set_host(bool hosted) noexcept { hosted_ = hosted; }
  void set_continuation(std::coroutine_handle<> next) noexcept { continuation_ = next; }

 protected:
  void rethrow() const {
#if EVENTER_EXCEPTIONS
    if (failure_ != nullptr) std::rethrow_exception(failure_);
#endif
  }

 private:
  std::coroutine_handle<> continuation_;
  std::exception_ptr failure_;
  bool hosted_ = false;
};

template <class T>
class task_promise : public task_promise_base {
  using value_type = typename result_of_reference<T>::type;

 public:
  task<T> get_return_object() noexcept;
  template <class U>
  requires std::is_convertible_v<U, T>
  void return_value(U&& value) {
    if constexpr (std::is_reference_v<T>)
      value_.emplace(std::addressof(value));
    else
      value_.emplace(std::forward<U>(value));
  }
  T take() {
    rethrow();
    if constexpr (std::is_reference_v<T>)
      return static_cast<T>(**value_);
    else
      return std::move(*value_);
  }

 private:
  std::optional<value_type> value_;
};

template <>
class task_promise<void> : public task_promise_base {
 public:
  task<void> get_return_object() noexcept;
  void return_void() noexcept {}
  void take() { rethrow(); }
};

// co_await of a task: control goes there and back without a loop or a deeper stack.
template <class T>
class task_awaiter {
 public:
  task_awaiter(task<T>&& what, bool hosted) noexcept : task_(std::move(what)) { task_.promise().set_host(hosted); }
  bool await_ready() const noexcept { return false; }
  std::coroutine_handle<> await_suspend(std::coroutine_handle<> waiting) noexcept {
    task_.promise().set_continuation(waiting);
    return task_.handle();
  }
  T await_resume() { return task_.promise().take(); }

 private:
  task<T> task_;
};

// co_await of somebody else's awaitable in a task: the host waits for it, or the task suspends.
template <class A>
class foreign_awaiter {
  using R = foreign_result<A>;
  using inner = decltype(get_awaiter(std::declval<A>()));

 public:
  foreign_awaiter(A&& what, bool hosted) noexcept : what_(static_cast<A&&>(what)), hosted_(hosted) {}

  bool await_ready() {
    if (!hosted_) {
      awaiter_.emplace(make{static_cast<A&&>(what_)});
      return get().await_ready();
    }
    if constexpr (std::is_void_v<R>)
      await_foreign(static_cast<A&&>(what_));
    else if constexpr (std::is_reference_v<R>)
      value_.emplace(std::addressof(await_foreign(static_cast<A&&>(what_))));
    else
      value_.emplace(await_foreign(static_cast<A&&>(what_)));
    return true;
  }
  template <class Promise>
  auto await_suspend(std::coroutine_handle<Promise> waiting) {
    return get().await_suspend(waiting);
  }
  R await_resume() {
    if (!hosted_) return get().await_resume();
    if constexpr (std::is_reference_v<R>)
      return static_cast<R>(**value_);
    else if constexpr (!std::is_void_v<R>)
      return std::move(*value_);
  }

 private:
  // An awaiter is made in its place, as it need not be movable; one that is the awaitable itself stays where it is.
  struct make {
    A&& what;
    operator inner() const { return get_awaiter(static_cast<A&&>(what)); }
  };
  struct reference {
    explicit reference(const make& from) : at(std::addressof(from.what)) {}
    std::remove_reference_t<inner>* at;
  };
  struct value {
    explicit value(const make& from) : at(from) {}
    inner at;
  };
  auto& get() noexcept {
    if constexpr (std::is_reference_v<inner>)
      return *awaiter_->at;
    else
      return awaiter_->at;
  }

  A&& what_;
  const bool hosted_;
  std::optional<std::conditional_t<std::is_reference_v<inner>, reference, value>> awaiter_;
  std::optional<typename foreign_completion<R>::value_type> value_;
};

template <class A>
auto task_promise_base::await_transform(A&& what) {
  if constexpr (is_task<std::remove_cvref_t<A>>) {
    static_assert(!std::is_lvalue_reference_v<A>, "a task is awaited once: co_await std::move(task)");
    return std::move(what).awaited(hosted_);
  } else if constexpr (own_awaitable<A>) {
    return co_awaiter<operation_type<A>>(operation_of(std::forward<A>(what)), hosted_);
  } else {
    static_assert(foreign_awaitable<A>, "co_await of something that is not awaitable");
    return foreign_awaiter<A>(std::forward<A>(what), hosted_);
  }
}

}  // namespace detail

// The return type of a C++20 coroutine that gives a T. It does nothing before it is awaited or spawned, and is awaited
// once: co_await in another C++20 coroutine, await() in a stackful coroutine or on a plain thread, spawn().
//
// Errors: what leaves its body comes out of the await; `cancelled` too. Destroying one that has not run destroys its
// arguments. Its frame is on the heap, so its locals have stable addresses. Requires: arguments that it takes by
// reference outlive it.
template <class T = void>
class [[nodiscard]] task {
 public:
  using promise_type = detail::task_promise<T>;
  using value_type = T;

  task() noexcept = default;  // none
  task(task&& other) noexcept : address_(std::exchange(other.address_, nullptr)) {}
  task& operator=(task&& other) noexcept {
    std::swap(address_, other.address_);
    return *this;
  }
  ~task() {
    if (address_ != nullptr) handle().destroy();
  }
  bool valid() const noexcept { return address_ != nullptr; }

  // co_await in a coroutine that is no task.
  auto operator co_await() && { return std::move(*this).awaited(false); }

  // --- for the library ---
  explicit task(std::coroutine_handle<promise_type> self) noexcept : address_(hidden(self.address())) {}
  detail::task_awaiter<T> awaited(bool hosted) && {
    if (!valid()) broken_rule("co_await or await of an empty task: it was moved from, or awaited before");
    return {std::move(*this), hosted};
  }
  std::coroutine_handle<promise_type> handle() const noexcept {
    return std::coroutine_handle<promise_type>::from_address(address_);
  }
  promise_type& promise() const noexcept { return handle().promise(); }

 private:
  // The compiler must not see that this is the frame it has allocated: clang would put the frame onto the caller's
  // stack, which may be a shared one (decided by experiment, at -O1 to -O3).
  static void* hidden(void* address) noexcept {
    asm volatile("" : "+r"(address));
    return address;
  }

  void* address_ = nullptr;
};

namespace detail {

template <class T>
task<T> task_promise<T>::get_return_object() noexcept {
  return task<T>(std::coroutine_handle<task_promise>::from_promise(*this));
}
inline task<void> task_promise<void>::get_return_object() noexcept {
  return task<void>(std::coroutine_handle<task_promise>::from_promise(*this));
}

// Every co_await inside parks the caller, so the task has ended when its frame is left for the first time.
template <class T>
T run_task(task<T>&& what) {
  task<T> mine = std::move(what);
  if (!mine.valid()) broken_rule("await of an empty task: it was moved from, or awaited before");
  mine.promise().set_host(true);
  mine.handle().resume();
  return mine.promise().take();
}

}  // namespace detail

}  // namespace eventer::inline EVENTER_ABI
