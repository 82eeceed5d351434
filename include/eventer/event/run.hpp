// run: the one-line main program, a loop on this thread with a function as its first coroutine.
#pragma once

#include <atomic>
#include <exception>
#include <mutex>
#include <type_traits>
#include <utility>

#include "eventer/event/event_loop.hpp"

namespace eventer::inline EVENTER_ABI {

namespace detail {

// Names the coroutine before the program's own terminate handler runs. Several threads may run loops at once: the first
// of them installs it, the last puts back what was there.
class terminate_message {
 public:
  terminate_message() {
    const std::lock_guard lock(mutex_);
    if (users_++ == 0) previous_.store(std::set_terminate(&on_terminate));
  }
  terminate_message(const terminate_message&) = delete;
  terminate_message& operator=(const terminate_message&) = delete;
  ~terminate_message() {
    const std::lock_guard lock(mutex_);
    if (--users_ == 0 && std::get_terminate() == &on_terminate) std::set_terminate(previous_.load());
  }

 private:
  [[noreturn]] static void on_terminate() {
    if (control_block* const block = scheduler::running_block(); block != nullptr)
      std::fprintf(stderr, "eventer: terminate in coroutine \"%s\"\n", scheduler::current()->display_name(*block));
    const std::terminate_handler next = previous_.load();
    if (next != nullptr && next != &on_terminate) next();
    std::abort();
  }

  static inline std::mutex mutex_;
  static inline constinit int users_ = 0;
  static inline constinit std::atomic<std::terminate_handler> previous_{nullptr};
};

}  // namespace detail

// Makes a loop, runs `function` as its first coroutine and ends with it: what still runs then is cancelled and unwound.
//
// Returns: the function's result if it is an int, else 0. What it throws comes out of here. Reports stack overflows by
// name. Errors: std::system_error where a loop can't be made.
template <class F>
int run(F&& function, loop_options options = {}) {
  options.fault_reports = true;
  const detail::terminate_message names_coroutines;
  event_loop loop(options);
  auto handle = loop.run_main(std::forward<F>(function));
  const bool ended = handle.done();
  loop.unwind_all();
  if (!ended) return 0;  // stop() came first
  using result = decltype(handle.join());
  if constexpr (std::is_convertible_v<result, int>) {
    return static_cast<int>(handle.join());
  } else {
    handle.join();
    return 0;
  }
}

}  // namespace eventer::inline EVENTER_ABI
