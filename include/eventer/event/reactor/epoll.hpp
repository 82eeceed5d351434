// epoll_reactor: the reactor over epoll, with an eventfd for wake-ups and, once a deadline is announced, a timerfd.
// Sub-millisecond deadlines use epoll_pwait2 where the kernel has it.
//
// What must not be broken: wakeup_ stays the same descriptor while other threads may write to it; only a forked child,
// which has no other threads, gets another one. A parent loop waits for outer_, which holds epoll_, so that a rebuild
// can replace that; nobody ever takes an event from outer_.
#pragma once

#include <algorithm>
#include <array>

#include "eventer/base/result.hpp"
#include "eventer/base/unique_fd.hpp"
#include "eventer/event/reactor/reactor.hpp"

namespace eventer::inline EVENTER_ABI {

namespace detail {

class signalfd_source final : public signal_source {
 public:
  explicit signalfd_source(const sigset_t& which) : fd_(syscalls::signalfd(-1, &which, SFD_NONBLOCK | SFD_CLOEXEC)) {
    if (!fd_) throw_error(error_from_errno(errno), "signalfd");
  }
  int fd() const noexcept override { return fd_.get(); }
  int take() noexcept override {
    signalfd_siginfo one;
    return syscalls::read(fd_.get(), &one, sizeof one) == sizeof one ? static_cast<int>(one.ssi_signo) : 0;
  }

 private:
  unique_fd fd_;
};

}  // namespace detail

class epoll_reactor final : public reactor {
 public:
  // Throws std::system_error where the process has no descriptors left.
  epoll_reactor() {
    if (const std::error_code error = rebuild()) throw_error(error, "epoll_create1 and eventfd for a loop");
  }

  std::error_code add(int fd, std::uint64_t token) override {
    constexpr std::uint32_t events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET;
    const std::error_code error = control(epoll_, EPOLL_CTL_ADD, fd, events, token);
    // Whoever watched this file under this number before, as a foreign descriptor say, does not any more.
    return error == std::errc::file_exists ? control(epoll_, EPOLL_CTL_MOD, fd, events, token) : error;
  }

  std::error_code arm_once(int fd, std::uint64_t token, io_mask interest) override {
    // A half-close is a reader's business: telling a writer, who waits on, again and again would keep the loop busy.
    std::uint32_t events = EPOLLONESHOT;
    if (any(interest & io_mask::read)) events |= EPOLLIN | EPOLLPRI | EPOLLRDHUP;
    if (any(interest & io_mask::write)) events |= EPOLLOUT;
    // The number may have been closed and opened again by a foreign library since the last time: both answers are
    // ordinary.
    std::error_code error = control(epoll_, EPOLL_CTL_MOD, fd, events, token);
    if (error == std::errc::no_such_file_or_directory) error = control(epoll_, EPOLL_CTL_ADD, fd, events, token);
    if (error == std::errc::file_exists) error = control(epoll_, EPOLL_CTL_MOD, fd, events, token);
    return error;
  }

  void remove(int fd) noexcept override {
    epoll_event ignored{};
    syscalls::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, &ignored);
  }

  std::span<const reactor_event> wait(time_point deadline) override {
    const int count = wait_for_events(deadline);
    if (count < 0) {
      if (errno == EINTR) return {};
      throw_error(error_from_errno(errno), "epoll_wait");
    }
    // What is left is nothing new, which an edge-triggered parent would not hear of.
    if (EVENTER_UNLIKELY(count == static_cast<int>(batch)) && outer_) wake();
    std::size_t reported = 0;
    for (int i = 0; i < count; ++i) {
      const epoll_event& event = events_[static_cast<std::size_t>(i)];
      if (EVENTER_UNLIKELY(event.data.u64 >= timer_token))
        take_own(event.data.u64);
      else
        reported_[reported++] = {event.data.u64, translate(event.events)};
    }
    return {reported_.data(), reported};
  }

  void wake() noexcept override {
    const std::uint64_t one = 1;
    syscalls::write(wakeup_.get(), &one, sizeof one);
  }

  std::error_code rebuild() override {
    const pid_t here = syscalls::process_id();
    const bool first_here = owner_ != here;  // just made, or in a forked child: its parent goes on using the eventfd
    unique_fd fresh(syscalls::epoll_create1(EPOLL_CLOEXEC)), wakeup;
    if (!fresh) return error_from_errno(errno);
    if (first_here) {
      wakeup.reset(syscalls::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
      if (!wakeup) return error_from_errno(errno);
    }
    if (const std::error_code error =
            control(fresh, EPOLL_CTL_ADD, (first_here ? wakeup : wakeup_).get(), EPOLLIN, wakeup_token))
      return error;
    if (timer_ && !first_here)
      if (const std::error_code error = control(fresh, EPOLL_CTL_ADD, timer_.get(), EPOLLIN | EPOLLET, timer_token))
        return error;
    if (outer_ && !first_here)
      if (const std::error_code error = control(outer_, EPOLL_CTL_ADD, fresh.get(), EPOLLIN, 0)) return error;
    epoll_ = std::move(fresh);
    if (first_here) {
      outer_.reset();
      wakeup_ = std::move(wakeup);
      timer_.reset();
      announced_ = no_deadline;
      owner_ = here;
    }
    return {};
  }

  int native_handle() override {
    if (!outer_) {
      unique_fd fresh(syscalls::epoll_create1(EPOLL_CLOEXEC));
      const std::error_code error =
          fresh ? control(fresh, EPOLL_CTL_ADD, epoll_.get(), EPOLLIN, 0) : error_from_errno(errno);
      if (error) throw_error(error, "epoll_create1 for a loop inside another one");
      outer_ = std::move(fresh);
    }
    return outer_.get();
  }

  void announce(time_point deadline) override {
    if (EVENTER_LIKELY(deadline == announced_)) return;
    if (!timer_) make_timer();
    itimerspec time{};  // all zero disarms: a deadline of zero becomes the first nanosecond
    if (deadline != no_deadline) {
      const duration since_boot = std::max(deadline.time_since_epoch(), duration(1));
      time.it_value.tv_sec = std::chrono::duration_cast<std::chrono::seconds>(since_boot).count();
      time.it_value.tv_nsec = std::chrono::nanoseconds(since_boot % std::chrono::seconds(1)).count();
    }
    if (syscalls::timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &time) != 0)
      throw_error(error_from_errno(errno), "timerfd_settime for a loop's deadline");
    announced_ = deadline;
  }

  std::unique_ptr<signal_source> open_signals(const sigset_t& which) override {
    return std::make_unique<detail::signalfd_source>(which);
  }

 private:
  static constexpr std::uint64_t timer_token = ~std::uint64_t{0} - 1;
  static constexpr std::uint64_t wakeup_token = ~std::uint64_t{0};
  static constexpr std::size_t batch = 256;

  static io_mask translate(std::uint32_t events) noexcept {
    io_mask ready = io_mask::none;
    if ((events & EPOLLIN) != 0) ready = ready | io_mask::read;
    if ((events & EPOLLOUT) != 0) ready = ready | io_mask::write;
    if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLPRI | EPOLLERR)) != 0) ready = ready | io_mask::special;
    if ((events & (EPOLLERR | EPOLLHUP)) != 0) ready = ready | io_mask::error;
    return ready;
  }

  static std::error_code control(const unique_fd& set, int operation, int fd, std::uint32_t events,
                                 std::uint64_t token) noexcept {
    epoll_event event{};
    event.events = events;
    event.data.u64 = token;
    return syscalls::epoll_ctl(set.get(), operation, fd, &event) == 0 ? std::error_code() : error_from_errno(errno);
  }

  int wait_for_events(time_point deadline) noexcept {
    const int room = static_cast<int>(events_.size());
    if (deadline == no_deadline) return syscalls::epoll_wait(epoll_.get(), events_.data(), room, -1);
    const time_point now = deadline == time_point::min() ? deadline : clock::now();
    if (deadline <= now) return syscalls::epoll_wait(epoll_.get(), events_.data(), room, 0);
    const duration left = deadline - now;
    if (has_pwait2_) {
      const int count = syscalls::epoll_pwait2(epoll_.get(), events_.data(), room, left);
      if (count >= 0 || (errno != ENOSYS && errno != EPERM)) return count;
      // Before Linux 5.11, under qemu-user, and where an old container's filter does not know the call.
      has_pwait2_ = false;
    }
    // Rounded up: waking early would only mean waiting once more.
    const auto milliseconds = std::chrono::ceil<std::chrono::milliseconds>(left).count();
    constexpr int longest = 1'000'000'000;
    return syscalls::epoll_wait(epoll_.get(), events_.data(), room,
                                milliseconds > longest ? longest : static_cast<int>(milliseconds));
  }

  // Edge-triggered: being reported to wait() is all that it takes to make it unreadable, and setting it anew makes
  // another edge.
  EVENTER_NOINLINE void make_timer() {
    unique_fd fresh(syscalls::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
    const std::error_code error =
        fresh ? control(epoll_, EPOLL_CTL_ADD, fresh.get(), EPOLLIN | EPOLLET, timer_token) : error_from_errno(errno);
    if (error) throw_error(error, "timerfd for a loop's deadline");
    timer_ = std::move(fresh);
  }

  void take_own(std::uint64_t token) noexcept {
    if (token == timer_token) {
      announced_ = no_deadline;
      return;
    }
    std::uint64_t count = 0;
    syscalls::read(wakeup_.get(), &count, sizeof count);
  }

  unique_fd epoll_, wakeup_, timer_, outer_;
  time_point announced_ = no_deadline;  // what timer_ is set to, until wait() has seen it
  pid_t owner_ = 0;
  bool has_pwait2_ = true;
  std::array<epoll_event, batch> events_{};
  std::array<reactor_event, batch> reported_{};
};

inline std::unique_ptr<reactor> make_epoll_reactor() { return std::make_unique<epoll_reactor>(); }

}  // namespace eventer::inline EVENTER_ABI
