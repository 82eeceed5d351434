// fault_reports: a stack overflow ends in a message that names the coroutine, and so does a touch of the stack of a
// coroutine that waits, where these are guarded.
//
// Installs handlers for SIGSEGV and SIGBUS only where the program has none, and puts the default back when it is
// destroyed. Everything in the handler is async-signal-safe; after its message the fault happens again with the default
// action, so core files and exit status stay.
#pragma once

#include <signal.h>

#include <atomic>
#include <cstring>
#include <memory>

#include "eventer/coro/scheduler.hpp"

namespace eventer::inline EVENTER_ABI {

class fault_reports {
 public:
  fault_reports() noexcept {
    if (users_.fetch_add(1) > 0) return;
#if EVENTER_ASAN
    // There is no way to ask for the program's own: one that it sets later takes the place of this one, for good.
    static const bool once = [] {
      __asan_set_error_report_callback([](const char*) { report_touch(__asan_get_report_address()); });
      return true;
    }();
    (void)once;
#endif
    for (const int signal : {SIGSEGV, SIGBUS}) {
      struct sigaction present {};
      if (::sigaction(signal, nullptr, &present) != 0 || (present.sa_flags & SA_SIGINFO) != 0 ||
          present.sa_handler != SIG_DFL)
        continue;
      struct sigaction ours {};
      ours.sa_sigaction = &on_fault;
      ours.sa_flags = SA_SIGINFO | SA_ONSTACK;
      ::sigemptyset(&ours.sa_mask);
      ::sigaction(signal, &ours, nullptr);
    }
  }
  fault_reports(const fault_reports&) = delete;
  fault_reports& operator=(const fault_reports&) = delete;
  ~fault_reports() {
    if (users_.fetch_sub(1) > 1) return;
    for (const int signal : {SIGSEGV, SIGBUS}) {
      struct sigaction present {};
      if (::sigaction(signal, nullptr, &present) == 0 && (present.sa_flags & SA_SIGINFO) != 0 &&
          present.sa_sigaction == &on_fault)
        ::signal(signal, SIG_DFL);
    }
  }

  // A signal stack for this thread while its loop runs, unless it has one: an overflowed stack can't run a handler.
  class on_this_thread {
   public:
    explicit on_this_thread(const fault_reports* wanted) {
      stack_t present{};
      if (wanted == nullptr || ::sigaltstack(nullptr, &present) != 0 || (present.ss_flags & SS_DISABLE) == 0) return;
      memory_ = std::make_unique<char[]>(bytes);
      stack_t ours{};
      ours.ss_sp = memory_.get();
      ours.ss_size = bytes;
      ::sigaltstack(&ours, nullptr);
    }
    on_this_thread(const on_this_thread&) = delete;
    on_this_thread& operator=(const on_this_thread&) = delete;
    ~on_this_thread() {
      if (memory_ == nullptr) return;
      stack_t none{};
      none.ss_flags = SS_DISABLE;
      ::sigaltstack(&none, nullptr);
    }

   private:
    static constexpr std::size_t bytes = std::size_t{64} << 10;
    std::unique_ptr<char[]> memory_;
  };

 private:
  static void on_fault(int signal, siginfo_t* info, void*) {
    if (control_block* const block = scheduler::running_block(); block != nullptr && block->stack != nullptr) {
      const own_call* const call = scheduler::current()->running_call();
      const stack_memory& stack = call != nullptr ? *call->memory : block->stack->memory();
      if (stack.guard_contains(info->si_addr)) {
        say("eventer: stack overflow in coroutine \"");
        say(scheduler::current()->display_name(*block));
        say("\": its stack of ");
        say_number(stack.size());
        say(call != nullptr ? " bytes is full; give it more with call_on_own_stack(bytes, function)\n"
            : block->has(coroutine_flag::own_stack)
                ? " bytes is full; give it more with spawn_options::own_stack_bytes\n"
                : " bytes is full; give the loop more with loop_options::shared_stack_bytes, or look for endless recursion\n");
      }
    }
    report_touch(info->si_addr);
    ::signal(signal, SIG_DFL);  // the fault happens again, now for real
  }
  // Is it the stack of a coroutine that waits which somebody has touched?
  static void report_touch(const void* address) {
    scheduler::guarding_schedulers::visit([address](scheduler& each) { report_touch(each, address); });
  }
  static void report_touch(scheduler& of, const void* address) {
    control_block* const owner = of.owner_of_guarded(address);
    if (owner == nullptr) return;
    say("eventer: ");
    say_who_runs(of);
    say(" has touched the stack of coroutine \"");
    say(of.display_name(*owner));
    say("\", which waits, ");
    const auto* const sp = static_cast<const char*>(owner->sp);
    say_number(static_cast<std::size_t>(static_cast<const char*>(address) >= sp
                                            ? static_cast<const char*>(address) - sp
                                            : sp - static_cast<const char*>(address)));
    say(static_cast<const char*>(address) >= sp ? " bytes above" : " bytes below");
    say(" its stack pointer. A local of a coroutine is its own while it waits: pass the value, put it on the heap, or use "
        "call_on_own_stack\n");
  }
  static void say_who_runs(scheduler& of) {
    scheduler* const here = scheduler::current();
    if (here == nullptr) return say("a thread that runs no loop");
    if (here->running() == nullptr) return say("a callback");
    say(here == &of ? "coroutine \"" : "on another loop, coroutine \"");
    say(here->display_name(*here->running()));
    say("\"");
  }
  static void say(const char* text) noexcept {
    [[maybe_unused]] const auto written = ::write(2, text, std::strlen(text));
  }
  static void say_number(std::size_t number) noexcept {
    char digits[24];
    char* at = digits + sizeof digits;
    *--at = '\0';
    do *--at = static_cast<char>('0' + number % 10);
    while ((number /= 10) != 0);
    say(at);
  }

  static inline constinit std::atomic<int> users_{0};
};

}  // namespace eventer::inline EVENTER_ABI
