// stall_detector: names the function that has held a loop too long, while it still does, with a backtrace.
//
// One thread for the process looks at every watched loop now and then. A loop only counts: each coroutine and callback
// that it goes on with is one step. If the count stands still while the loop is not asleep, the thread sends the loop's
// thread a signal (SIGURG, which is ignored by default and which no library expects), whose handler writes down where
// it was. Everything that the handler does is async-signal-safe, but for backtrace(), which is made so by a first call
// beforehand.
#pragma once

#include <execinfo.h>
#include <pthread.h>
#include <signal.h>
#include <ucontext.h>

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "eventer/base/clock.hpp"
#include "eventer/base/log.hpp"
#include "eventer/base/process_mark.hpp"
#include "eventer/base/symbol.hpp"

namespace eventer::inline EVENTER_ABI {

// What one loop tells the detector. Written by the loop's thread.
class loop_progress {
 public:
  // Goes on with something: the name of a coroutine, or what kind of callback it is. The text must stay.
  void step(const char* what) noexcept {
    what_.store(what, std::memory_order_relaxed);
    steps_.store((steps_.load(std::memory_order_relaxed) & ~asleep_bit) + 1, std::memory_order_relaxed);
  }
  void awake() noexcept { step(nullptr); }
  void asleep() noexcept {
    steps_.store(steps_.load(std::memory_order_relaxed) | asleep_bit, std::memory_order_relaxed);
  }

  // Stalls that were reported so far.
  std::uint64_t stalls() const noexcept { return stalls_.load(std::memory_order_relaxed); }

 private:
  friend class stall_detector;
  static constexpr std::uint64_t asleep_bit = std::uint64_t{1} << 63;

  std::atomic<std::uint64_t> steps_{asleep_bit};
  std::atomic<const char*> what_{nullptr};
  std::atomic<std::uint64_t> stalls_{0};

  // The detector's own.
  pthread_t thread_{};
  duration threshold_{};
  std::uint64_t seen_ = 0;
  time_point since_{};
  bool reported_ = false;
};

namespace detail {

// Where a held loop was, written by its signal handler.
struct stall_trace {
  std::atomic<bool> wanted{false};
  int count = 0;
  std::array<void*, 48> frames{};
};

}  // namespace detail

class stall_detector {
 public:
  // Watches the calling thread's loop for the life of the object, but not in a forked child; reports what takes longer
  // than `threshold`, once for each time. Throws std::system_error where no thread can be made.
  class watch {
   public:
    watch(loop_progress& loop, duration threshold) : loop_(loop) {
      loop.thread_ = ::pthread_self();
      loop.threshold_ = threshold;
      loop.seen_ = 0;
      loop.reported_ = false;
      // Threads of the library have it blocked.
      if (detector_.add(loop)) blocked_again_ = mask(SIG_UNBLOCK);
    }
    watch(const watch&) = delete;
    watch& operator=(const watch&) = delete;
    ~watch() {
      loop_.asleep();
      detector_.remove(loop_);
      if (blocked_again_) (void)mask(SIG_BLOCK);
    }

   private:
    // Answers whether it was blocked before.
    static bool mask(int how) noexcept {
      sigset_t signal, before;
      ::sigemptyset(&signal);
      ::sigaddset(&signal, SIGURG);
      ::pthread_sigmask(how, &signal, &before);
      return ::sigismember(&before, SIGURG) == 1;
    }

    loop_progress& loop_;
    stall_detector& detector_ = instance();
    bool blocked_again_ = false;
  };

 private:
  explicit stall_detector(stall_detector* before) noexcept : before_fork_(before) {}

  // Never destroyed: its thread may outlive static destruction. A forked child gets one of its own.
  static stall_detector& instance() {
    static std::atomic<stall_detector*> present{nullptr};
    stall_detector* here = present.load(std::memory_order_acquire);
    while (here == nullptr || here->process_.forked()) {
      auto fresh = std::unique_ptr<stall_detector>(new stall_detector(here));
      if (present.compare_exchange_strong(here, fresh.get(), std::memory_order_acq_rel)) here = fresh.release();
    }
    return *here;
  }

  // Answers whether the detector's signal is its own.
  bool add(loop_progress& loop) {
    const std::lock_guard lock(mutex_);
    install_handler();
    if (!running_) start_thread();
    loops_.push_back(&loop);
    changed_.notify_all();
    return has_handler_;
  }
  void remove(loop_progress& loop) {
    if (process_.forked()) return;  // the thread is the parent's, and may have held the lock
    std::unique_lock lock(mutex_);
    std::erase(loops_, &loop);
    if (!loops_.empty()) return;
    running_ = false;
    ++generation_;
    changed_.notify_all();
    std::thread ended = std::move(thread_);
    lock.unlock();
    ended.join();
  }

  // Threads of the library block all signals: they are for the program's own.
  void start_thread() {
    sigset_t all, old;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &old);
#if EVENTER_EXCEPTIONS
    try {
#endif
      thread_ = std::thread([this, mine = generation_] { look_now_and_then(mine); });
      running_ = true;
#if EVENTER_EXCEPTIONS
    } catch (...) {
      ::pthread_sigmask(SIG_SETMASK, &old, nullptr);
      throw;
    }
#endif
    ::pthread_sigmask(SIG_SETMASK, &old, nullptr);
  }

  // A thread that is told to end may find that another one has been started.
  void look_now_and_then(std::uint64_t generation) {
    std::unique_lock lock(mutex_);
    while (generation_ == generation) {
      duration pause = std::chrono::seconds(1);
      const time_point now = clock::now();
      for (loop_progress* const loop : loops_) {
        look_at(*loop, now);
        // Twice in the time of a threshold: a stall is seen at most half of it too late.
        pause = std::min(pause, std::max(loop->threshold_ / 2, duration(std::chrono::milliseconds(1))));
      }
      changed_.wait_for(lock, pause);
    }
  }
  void look_at(loop_progress& loop, time_point now) {
    const std::uint64_t steps = loop.steps_.load(std::memory_order_relaxed);
    if (steps != loop.seen_ || (steps & loop_progress::asleep_bit) != 0) {
      loop.seen_ = steps;
      loop.since_ = now;
      loop.reported_ = false;
      return;
    }
    if (loop.reported_ || now - loop.since_ < loop.threshold_) return;
    loop.reported_ = true;
    report(loop, now);
  }

  void report(loop_progress& loop, time_point now) {
    const char* const what = loop.what_.load(std::memory_order_relaxed);
    trace_.wanted.store(true, std::memory_order_release);
    if (has_handler_ && ::pthread_kill(loop.thread_, SIGURG) == 0)
      for (int i = 0; i < 100 && trace_.wanted.load(std::memory_order_acquire); ++i)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    const bool taken = !trace_.wanted.exchange(false, std::memory_order_acq_rel);
    if (!taken && loop.steps_.load(std::memory_order_relaxed) != loop.seen_) return;  // it has just gone on
    loop.stalls_.fetch_add(1, std::memory_order_relaxed);
    log(log_level::warning,
        "a loop has been held for %lld ms (limit %lld ms) by %s: what blocks belongs on another thread, what computes should yield()",
        milliseconds(now - loop.since_), milliseconds(loop.threshold_),
        what != nullptr ? what : "a callback or a posted function");
    for (int i = 0; taken && i < trace_.count; ++i)
      log(log_level::warning, "  %2d %s", i,
          detail::name_of_address(trace_.frames[static_cast<std::size_t>(i)]).c_str());
  }
  static long long milliseconds(duration time) noexcept {
    return std::chrono::duration_cast<std::chrono::milliseconds>(time).count();
  }

  // Only where the program does not use the signal itself: then a report has no backtrace.
  void install_handler() {
    struct sigaction present {};
    if (has_handler_ || ::sigaction(SIGURG, nullptr, &present) != 0 || (present.sa_flags & SA_SIGINFO) != 0 ||
        present.sa_handler != SIG_DFL)
      return;
    void* first[2];
    ::backtrace(first, 2);  // loads what it needs now, not in the handler
    struct sigaction ours {};
    ours.sa_sigaction = &on_signal;
    ours.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
    ::sigemptyset(&ours.sa_mask);
    has_handler_ = ::sigaction(SIGURG, &ours, nullptr) == 0;
  }
  static void on_signal(int, siginfo_t*, void* context) {
    detail::stall_trace& to = trace_;
    if (!to.wanted.load(std::memory_order_acquire)) return;
    const int saved_errno = errno;
    to.count = ::backtrace(to.frames.data(), static_cast<int>(to.frames.size()));
    // The handler's own frames go: the interrupted function comes first.
    const void* const interrupted = interrupted_at(context);
    for (int i = 0; i < to.count; ++i) {
      if (to.frames[static_cast<std::size_t>(i)] != interrupted) continue;
      for (int k = i; k < to.count; ++k)
        to.frames[static_cast<std::size_t>(k - i)] = to.frames[static_cast<std::size_t>(k)];
      to.count -= i;
      break;
    }
    errno = saved_errno;
    to.wanted.store(false, std::memory_order_release);
  }
  static const void* interrupted_at(const void* context) noexcept {
    const auto* const machine = &static_cast<const ucontext_t*>(context)->uc_mcontext;
#if defined(__x86_64__)
    return reinterpret_cast<const void*>(machine->gregs[REG_RIP]);
#else
    return reinterpret_cast<const void*>(machine->pc);
#endif
  }

  const process_mark process_;
  [[maybe_unused]] stall_detector* const before_fork_;  // so that leak checkers find it

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<loop_progress*> loops_;
  std::thread thread_;
  bool running_ = false;
  std::uint64_t generation_ = 0;  // of the thread
  bool has_handler_ = false;
  static inline constinit detail::stall_trace trace_{};
};

}  // namespace eventer::inline EVENTER_ABI
