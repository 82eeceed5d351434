// kqueue_signals: the signal_source over EVFILT_SIGNAL, in a kqueue of its own.
//
// That filter tells of each signal that is sent from now on, and leaves it pending. What must not be broken: a signal
// that was taken is pending no more, or it would act when it is unblocked.
#pragma once

#include "eventer/base/syscalls.hpp"

#if EVENTER_HAS_KQUEUE

#include <signal.h>

#include "eventer/event/reactor/kernel_queue.hpp"
#include "eventer/event/reactor/signal_source.hpp"

namespace eventer::inline EVENTER_ABI::detail {

class kqueue_signals final : public signal_source {
 public:
  explicit kqueue_signals(const sigset_t& which) : which_(which) {
    std::error_code error = queue_.open();
    for (int number = 1; !error && number < NSIG; ++number)
      if (::sigismember(&which_, number) == 1)
        error = queue_.change(make_change(static_cast<std::uintptr_t>(number), EVFILT_SIGNAL, EV_ADD));
    // Those that were sent before are announced by hand.
    if (!error) error = queue_.change(make_change(0, EVFILT_USER, EV_ADD | EV_CLEAR, NOTE_FFNOP));
    if (!error && first_pending() != 0) error = announce_pending();
    if (error) throw_error(error, "a kqueue for signals");
  }

  int fd() const noexcept override { return queue_.get(); }

  int take() noexcept override {
    for (;;) {
      knote_change event{};
      const timespec now{};
      const int count = syscalls::kevent(queue_.get(), nullptr, 0, &event, 1, &now);
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) return 0;
      int number = static_cast<int>(event.ident);
      if (event.filter != EVFILT_SIGNAL) {
        number = first_pending();
        if (number == 0) continue;
        announce_pending();  // there may be more
      }
      forget(number);
      return number;
    }
  }

 private:
  std::error_code announce_pending() noexcept { return queue_.change(make_change(0, EVFILT_USER, 0, NOTE_TRIGGER)); }

  int first_pending() const noexcept {
    sigset_t pending;
    if (::sigpending(&pending) != 0) return 0;
    for (int number = 1; number < NSIG; ++number)
      if (::sigismember(&which_, number) == 1 && ::sigismember(&pending, number) == 1) return number;
    return 0;
  }

  static void forget(int number) noexcept {
    sigset_t one;
    ::sigemptyset(&one);
    ::sigaddset(&one, number);
#if defined(__APPLE__) || defined(__OpenBSD__)
    sigset_t pending;  // no sigtimedwait there
    int ignored = 0;
    if (::sigpending(&pending) == 0 && ::sigismember(&pending, number) == 1) ::sigwait(&one, &ignored);
#else
    const timespec now{};
    while (::sigtimedwait(&one, nullptr, &now) > 0) {
    }
#endif
  }

  sigset_t which_;
  kernel_queue queue_;
};

}  // namespace eventer::inline EVENTER_ABI::detail

#endif
