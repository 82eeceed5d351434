// kqueue_reactor: the reactor over kqueue, for FreeBSD, NetBSD, DragonFly and macOS.
//
// It needs EV_RECEIPT, EVFILT_USER and NOTE_NSECONDS, which these have in common. Where there is no EVFILT_EXCEPT, as
// on FreeBSD, urgent data is not told. What must not be broken: an existing knote keeps the EV_CLEAR or EV_ONESHOT that
// it was made with, so whoever wants it otherwise deletes it first; and wake() reads kqueue_ on other threads, so it
// changes under in_use_ alone. That may have been set for ever where a process forked: the child looks at mark_ first.
#pragma once

#include "eventer/base/syscalls.hpp"

#if EVENTER_HAS_KQUEUE

#include <algorithm>
#include <array>
#include <atomic>
#include <climits>
#include <mutex>
#include <vector>

#include "eventer/base/process_mark.hpp"
#include "eventer/base/result.hpp"
#include "eventer/event/reactor/kernel_queue.hpp"
#include "eventer/event/reactor/kqueue_signals.hpp"
#include "eventer/event/reactor/reactor.hpp"

namespace eventer::inline EVENTER_ABI {

class kqueue_reactor final : public reactor {
 public:
  // Throws std::system_error where the process has no descriptors left.
  kqueue_reactor() {
    if (const std::error_code error = rebuild()) throw_error(error, "kqueue for a loop");
  }

  std::error_code add(int fd, std::uint64_t token) override {
    return watch(fd, token, io_mask::read | io_mask::write, EV_CLEAR);
  }

  std::error_code arm_once(int fd, std::uint64_t token, io_mask interest) override {
    return watch(fd, token, interest, EV_ONESHOT);
  }

  void remove(int fd) noexcept override {
    forget_owed(fd);
    changes answers{};
    const std::size_t count = take_back(answers, fd);
    (void)kqueue_.change(answers, count);
  }

  std::span<const reactor_event> wait(time_point deadline) override {
    timespec limit{};
    const bool limited = time_left(deadline, limit);
    const std::size_t owed = std::min(owed_.size(), batch / 2);
    const int room = static_cast<int>(batch - owed);
    const int count = syscalls::kevent(kqueue_.get(), nullptr, 0, events_.data(), room, limited ? &limit : nullptr);
    if (count < 0 && errno != EINTR) throw_error(error_from_errno(errno), "kevent");
    reported_count_ = 0;
    for (int i = 0; i < count; ++i) take(events_[static_cast<std::size_t>(i)]);
    // What is left is nothing new, which an edge-triggered parent would not hear of.
    if (EVENTER_UNLIKELY(count == room) && has_parent_) wake();
    if (EVENTER_UNLIKELY(owed > 0)) pay(owed);
    return {reported_.data(), reported_count_};
  }

  void wake() noexcept override {
    if (EVENTER_UNLIKELY(mark_.forked())) return;  // this process has no kqueue yet
    const std::lock_guard<flag_lock> hold(in_use_);
    (void)kqueue_.change(detail::make_change(0, EVFILT_USER, 0, NOTE_TRIGGER));
  }

  std::error_code rebuild() override {
    detail::kernel_queue fresh;
    if (const std::error_code error = fresh.open()) return error;
    if (const std::error_code error = fresh.change(detail::make_change(0, EVFILT_USER, EV_ADD | EV_CLEAR, NOTE_FFNOP)))
      return error;
    const bool first_here = !kqueue_.is_ours();  // just made, or in a forked child
    if (!first_here) {
      // Somebody may have woken the old one, and nobody has seen it yet.
      if (const std::error_code error = fresh.change(detail::make_change(0, EVFILT_USER, 0, NOTE_TRIGGER)))
        return error;
      if (const std::error_code error = set_timer(fresh, announced_)) return error;
    }
    if (mark_.forked()) {
      mark_.renew();
      in_use_.unlock();  // whoever held it is a thread of the parent's; here there is none
    }
    {
      const std::lock_guard<flag_lock> hold(in_use_);
      kqueue_ = std::move(fresh);
    }
    owed_.clear();
    if (first_here) announced_ = no_deadline;
    return {};
  }

  int native_handle() override {
    has_parent_ = true;
    return kqueue_.get();
  }

  void announce(time_point deadline) override {
    if (EVENTER_LIKELY(deadline == announced_)) return;
    announced_ = no_deadline;
    if (const std::error_code error = set_timer(kqueue_, deadline)) throw_error(error, "a kqueue's timer");
    announced_ = deadline;
  }

  std::unique_ptr<signal_source> open_signals(const sigset_t& which) override {
    return std::make_unique<detail::kqueue_signals>(which);
  }

 private:
  static constexpr std::size_t batch = 256;
  static constexpr duration longest = std::chrono::seconds(1'000'000);  // FreeBSD refuses what overflows its clock
  using changes = std::array<detail::knote_change, 6>;

  // A mutex that may also be unlocked by a forked child, which has not locked it.
  class flag_lock {
   public:
    void lock() noexcept {
      while (set_.test_and_set(std::memory_order_acquire)) set_.wait(true, std::memory_order_relaxed);
    }
    void unlock() noexcept {
      set_.clear(std::memory_order_release);
      set_.notify_one();
    }

   private:
    std::atomic_flag set_;
  };

  // A regular file at its end is silent for kqueue, where poll and epoll's users expect it to be readable.
#if defined(NOTE_FILE_POLL)
  static constexpr unsigned also_at_end = NOTE_FILE_POLL;
#elif defined(NOTE_EOF)
  static constexpr unsigned also_at_end = NOTE_EOF;
#else
  static constexpr unsigned also_at_end = 0;
#endif

  static std::size_t take_back(changes& list, int fd) noexcept {
    std::size_t count = 0;
    const auto ident = static_cast<std::uintptr_t>(fd);
    list[count++] = detail::make_change(ident, EVFILT_READ, EV_DELETE);
    list[count++] = detail::make_change(ident, EVFILT_WRITE, EV_DELETE);
#if defined(EVFILT_EXCEPT)
    list[count++] = detail::make_change(ident, EVFILT_EXCEPT, EV_DELETE);
#endif
    return count;
  }

  // One call: whatever was there goes, and each direction wanted comes.
  std::error_code watch(int fd, std::uint64_t token, io_mask wanted, int how) {
    forget_owed(fd);
    changes answers{};
    const std::size_t taken_back = take_back(answers, fd);
    std::size_t count = taken_back;
    const auto want = [&](int filter, unsigned fflags, std::int64_t data = 0) {
      answers[count++] =
          detail::make_change(static_cast<std::uintptr_t>(fd), filter, EV_ADD | how, fflags, data, token);
    };
    if (any(wanted & io_mask::read)) want(EVFILT_READ, also_at_end);
    if (any(wanted & io_mask::write)) want(EVFILT_WRITE, 0);
    // Errors alone: a writer that never has room enough. A pipe of FreeBSD does not look at the mark.
    if (wanted == io_mask::error) want(EVFILT_WRITE, NOTE_LOWAT, INT_MAX);
#if defined(EVFILT_EXCEPT)
    if (any(wanted & io_mask::read)) want(EVFILT_EXCEPT, NOTE_OOB);
#endif
    if (const std::error_code error = kqueue_.change(answers, count)) return error;

    bool any_direction = false;
    std::error_code refusal, failure;
    for (std::size_t i = taken_back; i < count; ++i) {
      const std::error_code error = detail::kernel_queue::error_of(answers[i]);
      if (answers[i].filter != EVFILT_READ && answers[i].filter != EVFILT_WRITE) continue;  // urgent data is an extra
      if (error == std::errc::broken_pipe)
        owe(fd, {token, io_mask::write | io_mask::error | io_mask::special});
      else if (error == std::errc::invalid_argument)
        refusal = error;  // this kind of file has no such direction, as a kqueue none for writing
      else if (error)
        failure = error;
      if (!error || error == std::errc::broken_pipe) any_direction = true;
    }
    if (!failure && !any_direction) failure = refusal;
    if (failure) remove(fd);
    return failure;
  }

  // Where a pipe has no reader any more, kqueue refuses to watch it instead of reporting it: wait() makes up for that.
  struct debt {
    int fd;
    reactor_event event;
  };
  void owe(int fd, reactor_event event) {
    owed_.push_back({fd, event});
    wake();
  }
  void forget_owed(int fd) noexcept {
    if (EVENTER_UNLIKELY(!owed_.empty())) std::erase_if(owed_, [fd](const debt& each) { return each.fd == fd; });
  }
  EVENTER_NOINLINE void pay(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) report(owed_[i].event.token, owed_[i].event.ready);
    owed_.erase(owed_.begin(), owed_.begin() + static_cast<std::ptrdiff_t>(count));
    if (!owed_.empty()) wake();
  }

  void take(const detail::knote_change& event) noexcept {
    // Our own two knotes: being reported is what clears them.
    if (EVENTER_UNLIKELY(event.filter == EVFILT_USER)) return;
    if (EVENTER_UNLIKELY(event.filter == EVFILT_TIMER)) {
      announced_ = no_deadline;
      return;
    }
    report(reinterpret_cast<std::uint64_t>(event.udata), translate(event));
  }

  static io_mask translate(const detail::knote_change& event) noexcept {
    const bool at_end = (event.flags & EV_EOF) != 0;
    if (EVENTER_UNLIKELY((event.flags & EV_ERROR) != 0))
      return io_mask::read | io_mask::write | io_mask::error | io_mask::special;
    if (event.filter == EVFILT_READ) {
      if (!at_end) return io_mask::read;
      return io_mask::read | io_mask::special | (event.fflags != 0 ? io_mask::error : io_mask::none);
    }
    if (event.filter == EVFILT_WRITE)
      return at_end ? io_mask::write | io_mask::error | io_mask::special : io_mask::write;
    return io_mask::special;  // EVFILT_EXCEPT
  }

  // Reading and writing are knotes of their own, and come as one report. places_ finds it by the token; an entry counts
  // only where the report that it names points back at it, so that nothing needs to be cleared between calls.
  void report(std::uint64_t token, io_mask ready) noexcept {
    std::size_t place = (token * 0x9e3779b97f4a7c15u) >> 55;
    static_assert(std::size_t{1} << (64 - 55) == 2 * batch);
    for (;; place = (place + 1) % places_.size()) {
      const std::size_t index = places_[place];
      if (index >= reported_count_ || place_of_[index] != place) break;
      if (reported_[index].token != token) continue;
      reported_[index].ready = reported_[index].ready | ready;
      return;
    }
    places_[place] = static_cast<std::uint16_t>(reported_count_);
    place_of_[reported_count_] = static_cast<std::uint16_t>(place);
    reported_[reported_count_++] = {token, ready};
  }

  // False: without limit.
  static bool time_left(time_point deadline, timespec& left) noexcept {
    if (deadline == no_deadline) return false;
    const time_point now = deadline == time_point::min() ? deadline : clock::now();
    if (deadline <= now) return true;
    const duration limit = std::min(deadline - now, longest);
    left.tv_sec = static_cast<decltype(left.tv_sec)>(std::chrono::floor<std::chrono::seconds>(limit).count());
    left.tv_nsec =
        static_cast<decltype(left.tv_nsec)>(std::chrono::nanoseconds(limit % std::chrono::seconds(1)).count());
    return true;
  }

  // Relative, because an absolute EVFILT_TIMER means the wall clock, on FreeBSD as on macOS. Deleted before it is set:
  // setting again what has fired is not the same everywhere.
  static std::error_code set_timer(const detail::kernel_queue& queue, time_point deadline) noexcept {
    std::array<detail::knote_change, 2> answers{detail::make_change(0, EVFILT_TIMER, EV_DELETE)};
    const bool wanted = deadline != no_deadline;
    if (wanted) {
      const time_point now = clock::now();
      const duration left = deadline <= now ? duration(1) : std::min(deadline - now, longest);
      answers[1] = detail::make_change(0, EVFILT_TIMER, EV_ADD | EV_ONESHOT, NOTE_NSECONDS,
                                       std::chrono::nanoseconds(left).count());
    }
    if (const std::error_code error = queue.change(answers, wanted ? 2 : 1)) return error;
    return wanted ? detail::kernel_queue::error_of(answers[1]) : std::error_code();
  }

  detail::kernel_queue kqueue_;
  process_mark mark_;
  flag_lock in_use_;
  time_point announced_ = no_deadline;  // what the timer is set to, until wait() has seen it
  bool has_parent_ = false;
  std::vector<debt> owed_;
  std::size_t reported_count_ = 0;
  std::array<detail::knote_change, batch> events_{};
  std::array<reactor_event, batch> reported_{};
  std::array<std::uint16_t, 2 * batch> places_{};
  std::array<std::uint16_t, batch> place_of_{};
};

inline std::unique_ptr<reactor> make_kqueue_reactor() { return std::make_unique<kqueue_reactor>(); }

}  // namespace eventer::inline EVENTER_ABI

#endif
