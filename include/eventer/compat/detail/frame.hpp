// What the C interface knows of a coroutine: what it was given, and how it is left.
#pragma once

#include <unwind.h>

#include <atomic>
#include <cerrno>

#include "eventer/compat/detail/event.hpp"
#include "eventer/coro/coroutine_local.hpp"

namespace eventer::inline EVENTER_ABI::compat {

// Lies in the frame of whoever calls a coroutine's C function; only that coroutine looks at it.
struct frame {
  void* argument = nullptr;
  eventer_t event = nullptr;  // that it was started for, a listener's connection say
  bool is_classic = false;    // a classic function that happens to be called on a coroutine: it must not wait
  bool may_be_abandoned = false;
  bool leaves = false;  // by aco_exit()
};

inline coroutine_local<frame*> present_frame;

// nullptr: a coroutine that C++ has started, or none.
inline frame* frame_here() { return in_coroutine() ? *present_frame : nullptr; }
inline bool may_wait() {
  if (!in_coroutine()) return false;
  const frame* const here = *present_frame;
  return here == nullptr || !here->is_classic;
}

// Calls a C function as what `mine` says; comes back when it returns, or leaves by aco_exit(). Requires: in a
// coroutine.
template <class F>
void call_in(frame& mine, F&& function) {
  frame*& present = *present_frame;
  frame* const outer = std::exchange(present, &mine);
#if EVENTER_EXCEPTIONS
  try {
    function();
  } catch (...) {
    present = outer;
    if (!mine.leaves) throw;
    return;
  }
#else
  function();
#endif
  present = outer;
}

// Leaves the C function of the present frame: destructors of C++ frames run. Where the frames can't be unwound (C that
// was compiled without unwind tables) they are left as they are.
[[noreturn]] inline void leave_frame() {
  frame* const mine = frame_here();
  if (mine == nullptr || mine->is_classic)
    refuse("aco_exit() outside of a coroutine of eventer_aco_start(): return instead");
  mine->leaves = true;
#if EVENTER_EXCEPTIONS
  auto* const leaving = new _Unwind_Exception{};
  leaving->exception_class = 0x6576656e74657200;  // "eventer": no C++ exception, which a handler could look into
  leaving->exception_cleanup = [](_Unwind_Reason_Code, _Unwind_Exception* which) { delete which; };
  (void)_Unwind_RaiseException(leaving);  // comes back where there is no way to the frame's handler
  delete leaving;
#endif
  if (!mine->may_be_abandoned)
    refuse(
        "aco_exit() in a function without unwind tables, called for a connection or a request: compile it with "
        "-fasynchronous-unwind-tables, which is usual, or return");
  event_loop::current().abandon_running();
}

// --- results ---

inline std::atomic<int> timeout_errno{ETIME};  // see eventer_propset("aco_timeout_errno", ...)

// errno for what a C++ call has answered; always -1.
EVENTER_NOINLINE inline int failed(std::error_code error) noexcept {
  int number = EIO;
  if (error == make_error_code(errc::timed_out))
    number = timeout_errno.load(std::memory_order_relaxed);
  else if (error == make_error_code(errc::canceled))
    number = ECANCELED;
  else if (error == make_error_code(errc::closed))
    number = EBADF;
  else if (error == make_error_code(errc::busy))
    number = EBUSY;
  else if (error.category() == std::generic_category() || error.category() == std::system_category())
    number = error.value();
  errno = number;
  return -1;
}

// What `call` gives, an io_result, as C calls answer it: no exception leaves.
template <class Call>
EVENTER_ALWAYS_INLINE ssize_t answer(const Call& call) {
#if EVENTER_EXCEPTIONS
  try {
#endif
    const auto result = call();
    if (EVENTER_LIKELY(static_cast<bool>(result))) return static_cast<ssize_t>(*result);
    if (result.error() == make_error_code(errc::end_of_stream)) return 0;
    return failed(result.error());
#if EVENTER_EXCEPTIONS
  } catch (const cancelled&) {
    return failed(make_error_code(errc::canceled));
  } catch (const std::bad_alloc&) {
    return failed(std::make_error_code(std::errc::not_enough_memory));
  }
#endif
}

}  // namespace eventer::inline EVENTER_ABI::compat
