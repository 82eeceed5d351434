// loop_options: how an event_loop is made. Use designated initialisers; members are only ever appended.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>

#include "eventer/coro/scheduler.hpp"
#include "eventer/event/reactor/default_reactor.hpp"

namespace eventer::inline EVENTER_ABI {

struct loop_options {
  unsigned shared_stacks = 16;  // coroutines are bound to one of them at their first run; made when first needed
  std::size_t shared_stack_bytes = default_shared_stack_bytes;
  std::size_t own_stack_bytes = std::size_t{256} << 10;  // of coroutines spawned with stack_kind::own
  std::size_t max_coroutines = SIZE_MAX;                 // beyond it spawn throws std::system_error(not_enough_memory)
  std::size_t max_saved_bytes = SIZE_MAX;                // of save stacks; the same
  // Receives what leaves a coroutine that nobody can join any more (default: the coroutine's name and what(), then
  // std::terminate), and what a handle of this thread was dropped without asking for (default: a line in the log; it
  // must not throw then).
  void (*unhandled_exception)(const char* coroutine, std::exception_ptr) = nullptr;
  // When no parked coroutine can be copied out for want of memory. Must not return. Default: a message, then abort.
  void (*out_of_memory)() = nullptr;
  // A message with the coroutine's name when a stack overflows: installs a SIGSEGV and SIGBUS handler where there is
  // none. Under AddressSanitizer: both names where a waiting coroutine's stack is touched, by the error report callback
  // of the process.
  bool fault_reports = false;
  bool private_stacks = false;  // every coroutine on a stack of its own
  bool evict_always = false;    // copy at every suspension; for tests (also EVENTER_EVICT_ALWAYS=1)

  manual_clock* clock = nullptr;  // time goes by it instead of by the steady clock; must outlive the loop
  std::uint64_t seed = 0;         // not 0: ready coroutines run in an order drawn from it, the same for the same seed
  reactor_factory reactor = &make_default_reactor;

  // Above zero: a coroutine or a callback that holds the loop longer is reported, with its name and a backtrace, while
  // it does. Costs a thread for the process and 1-2 ns a resume.
  duration stall_threshold = duration::zero();

  // When the loop is destroyed: how long a coroutine in a cancel_shield may go on before it is cancelled too.
  duration shutdown_grace = std::chrono::seconds(1);

  // Once the coroutines of a spawn name or entry function have copied 256 KiB each, on average over at least eight, the
  // next ones get stacks of their own, up to 1,024 at a time. loop.stacks() shows which it does so for, or would.
  bool adaptive_stacks = false;

  // For tests (also EVENTER_STRICT=1): every coroutine that would be on a shared stack has one of its own, which nobody
  // can touch while it waits. Whoever does, also in the kernel for a stream, is reported with both names: at the guilty
  // instruction, which ends the program, or as EFAULT. Costs microseconds a resume and two mappings a coroutine. Not
  // with the sanitizers.
  bool strict = false;
  // What is done about a closure given to spawn or post that may hold the address of a local on a shared stack (also
  // EVENTER_CHECKS=off, report or abort). In builds without NDEBUG; between threads in all.
  capture_checks checks = capture_checks::report;

  scheduler_options for_scheduler() const noexcept {
    return {.shared_stacks = shared_stacks,
            .shared_stack_bytes = shared_stack_bytes,
            .own_stack_bytes = own_stack_bytes,
            .max_coroutines = max_coroutines,
            .max_saved_bytes = max_saved_bytes,
            .private_stacks = private_stacks,
            .evict_always = evict_always,
            .adaptive_stacks = adaptive_stacks,
            .strict = strict,
            .checks = checks,
            .out_of_memory = out_of_memory,
            .clock = clock,
            .seed = seed};
  }
};

}  // namespace eventer::inline EVENTER_ABI
