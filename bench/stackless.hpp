// A C++20 coroutine that does nothing by itself, with its frame from malloc: what coroutines without a stack cost.
#pragma once

#include <coroutine>
#include <cstdlib>

namespace bench {

struct stackless {
  struct promise_type {
    stackless get_return_object() { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
    std::suspend_always initial_suspend() noexcept { return {}; }
    std::suspend_always final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::abort(); }
  };
  std::coroutine_handle<promise_type> handle;
};

}  // namespace bench
