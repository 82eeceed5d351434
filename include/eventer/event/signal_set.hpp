// signal_set: signals that a coroutine waits for, instead of handlers that interrupt it.
//
//   eventer::signal_set ends{SIGINT, SIGTERM};   // before other threads are started
//   const int which = ends.next();
#pragma once

#include <signal.h>

#include <initializer_list>
#include <memory>

#include "eventer/coro/await.hpp"
#include "eventer/event/event_loop.hpp"

namespace eventer::inline EVENTER_ABI {

class signal_set;

namespace detail {

// Waiting for the next signal of a set, as an operation.
class signal_operation {
 public:
  signal_operation(signal_source& source, time_limit limit) noexcept : source_(source), limit_(limit) {}

  void block() {
    while (!taken()) {
      scheduler* const here = scheduler::current();
      if (here == nullptr)
        error_ = wait_on_thread(source_.fd(), io_mask::read, limit_.resolve(clock::now()));
      else if (here->running() == nullptr)
        broken_rule("waiting for a signal in a callback would block its loop: spawn a coroutine for it");
      else
        error_ = static_cast<event_loop*>(here)->foreign(source_.fd())->wait(*here, io_mask::read, limit_);
      if (error_) return;
    }
  }
  bool advance(continuation& who) {
    if (who.home != nullptr) error_ = foreign_descriptor::error_of(who.wake);
    if (error_ || taken()) return true;
    auto& here = static_cast<event_loop&>(scheduler_for_continuations());
    bool ready = false;  // never: epoll watches signals
    error_ = here.foreign(source_.fd())->start_wait(here, who, io_mask::read, limit_, ready);
    return static_cast<bool>(error_);
  }
  io_result<int> result() const {
    if (signal_ == 0) return error_;
    return signal_;
  }

 private:
  bool taken() noexcept { return (signal_ = source_.take()) != 0; }

  signal_source& source_;
  time_limit limit_;
  int signal_ = 0;
  std::error_code error_;
};

}  // namespace detail

// Blocks its signals in the constructing thread, so that they are kept for it, and gives them one by one. Threads that
// are started later inherit that; those that run already must have them blocked too, else the signal takes its usual
// way there. When it is destroyed, those that it has blocked are blocked no more; what is still pending then takes its
// usual way.
class signal_set {
 public:
  // Throws std::system_error: invalid_argument for a number that is no signal, or where no descriptor is left.
  explicit signal_set(std::initializer_list<int> signals) {
    sigset_t set;
    ::sigemptyset(&set);
    for (const int each : signals)
      if (::sigaddset(&set, each) != 0) throw_error(error_from_errno(errno), "signal_set: not a signal");
    sigset_t before;
    ::pthread_sigmask(SIG_BLOCK, &set, &before);
    ::sigemptyset(&blocked_here_);
    for (const int each : signals) {
      if (::sigismember(&before, each) == 0) ::sigaddset(&blocked_here_, each);
    }
#if EVENTER_EXCEPTIONS
    try {
#endif
      scheduler* const here = scheduler::current();
      source_ = here != nullptr ? static_cast<event_loop*>(here)->kernel().open_signals(set)
                                : make_default_reactor()->open_signals(set);
#if EVENTER_EXCEPTIONS
    } catch (...) {
      ::pthread_sigmask(SIG_UNBLOCK, &blocked_here_, nullptr);
      throw;
    }
#endif
  }
  signal_set(const signal_set&) = delete;
  signal_set& operator=(const signal_set&) = delete;
  ~signal_set() { ::pthread_sigmask(SIG_UNBLOCK, &blocked_here_, nullptr); }

  // Waits for the next signal and gives its number. A signal that is sent several times before it is taken may come
  // once. Errors: `cancelled`; std::system_error where waiting fails, busy where another coroutine waits for this set,
  // timed_out at the end of a deadline_scope.
  int next() {
    detail::signal_operation operation(*source_, {});
    operation.block();
    return operation.result().value();
  }
  // The same with a limit, and as something to await: co_await signals.async_next(), await(signals).
  io_result<int> next_for(time_limit limit) {
    detail::signal_operation operation(*source_, limit);
    operation.block();
    return operation.result();
  }
  auto async_next(time_limit limit = {}) { return detail::signal_operation(*source_, limit); }
  auto async_wait() & { return async_next(); }

 private:
  std::unique_ptr<signal_source> source_;
  sigset_t blocked_here_;  // and not by the program, or another set, before
};

}  // namespace eventer::inline EVENTER_ABI
