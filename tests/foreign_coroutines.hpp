// C++20 coroutine types and awaitables that know nothing of the library.
#pragma once

#include <coroutine>
#include <exception>
#include <thread>
#include <utility>

// Runs at once and destroys itself.
struct fire_and_forget {
  struct promise_type {
    fire_and_forget get_return_object() noexcept { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() noexcept {}
    void unhandled_exception() noexcept { std::terminate(); }
  };
};

// Lazy; started by hand, and kept by its owner.
struct by_hand {
  struct promise_type {
    by_hand get_return_object() noexcept { return by_hand(std::coroutine_handle<promise_type>::from_promise(*this)); }
    std::suspend_always initial_suspend() noexcept { return {}; }
    std::suspend_always final_suspend() noexcept { return {}; }
    void return_void() noexcept {}
    void unhandled_exception() noexcept { failure = std::current_exception(); }
    std::exception_ptr failure;
  };
  explicit by_hand(std::coroutine_handle<promise_type> h) noexcept : handle(h) {}
  by_hand(by_hand&& other) noexcept : handle(std::exchange(other.handle, nullptr)) {}
  by_hand& operator=(by_hand&&) = delete;
  ~by_hand() {
    if (handle) handle.destroy();
  }
  std::coroutine_handle<promise_type> handle;
};

// An awaitable that another thread resumes, and whose address that thread holds meanwhile.
class resumed_elsewhere {
 public:
  explicit resumed_elsewhere(int value) noexcept : value_(value) {}
  resumed_elsewhere(resumed_elsewhere&&) noexcept = default;
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> waiting) {
    std::thread([this, waiting] {
      answer_ = value_;
      waiting.resume();
    }).detach();
  }
  int await_resume() const noexcept { return answer_; }

 private:
  int value_, answer_ = 0;
};
