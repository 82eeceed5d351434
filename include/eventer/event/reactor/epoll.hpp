// epoll_reactor: the reactor over epoll, with an eventfd for wake-ups. Sub-millisecond deadlines use epoll_pwait2 where
// the kernel has it.
#pragma once

#include <array>

#include "eventer/base/result.hpp"
#include "eventer/base/unique_fd.hpp"
#include "eventer/event/reactor/reactor.hpp"

namespace eventer::inline EVENTER_ABI {

class epoll_reactor final : public reactor {
 public:
  // Throws std::system_error where the process has no descriptors left.
  epoll_reactor() {
    wakeup_.reset(system::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!wakeup_) throw_error(error_from_errno(errno), "eventfd for a loop");
    if (const std::error_code error = rebuild()) throw_error(error, "epoll_create1 for a loop");
  }

  std::error_code add(int fd, std::uint64_t token) override {
    constexpr std::uint32_t events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET;
    const std::error_code error = control(EPOLL_CTL_ADD, fd, events, token);
    // Whoever watched this file under this number before, as a foreign descriptor say, does not any more.
    return error == std::errc::file_exists ? control(EPOLL_CTL_MOD, fd, events, token) : error;
  }

  std::error_code arm_once(int fd, std::uint64_t token, io_mask interest) override {
    // A half-close is a reader's business: telling a writer, who waits on, again and again would keep the loop busy.
    std::uint32_t events = EPOLLONESHOT;
    if (any(interest & io_mask::read)) events |= EPOLLIN | EPOLLPRI | EPOLLRDHUP;
    if (any(interest & io_mask::write)) events |= EPOLLOUT;
    // The number may have been closed and opened again by a foreign library since the last time: both answers are
    // ordinary.
    std::error_code error = control(EPOLL_CTL_MOD, fd, events, token);
    if (error == std::errc::no_such_file_or_directory) error = control(EPOLL_CTL_ADD, fd, events, token);
    if (error == std::errc::file_exists) error = control(EPOLL_CTL_MOD, fd, events, token);
    return error;
  }

  void remove(int fd) noexcept override {
    epoll_event ignored{};
    system::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, &ignored);
  }

  std::span<const reactor_event> wait(time_point deadline) override {
    const int count = wait_for_events(deadline);
    if (count < 0) {
      if (errno == EINTR) return {};
      throw_error(error_from_errno(errno), "epoll_wait");
    }
    std::size_t reported = 0;
    for (int i = 0; i < count; ++i) {
      const epoll_event& event = events_[static_cast<std::size_t>(i)];
      if (EVENTER_UNLIKELY(event.data.u64 == wakeup_token))
        drain_wakeup();
      else
        reported_[reported++] = {event.data.u64, translate(event.events)};
    }
    return {reported_.data(), reported};
  }

  void wake() noexcept override {
    const std::uint64_t one = 1;
    system::write(wakeup_.get(), &one, sizeof one);
  }

  std::error_code rebuild() override {
    unique_fd fresh(system::epoll_create1(EPOLL_CLOEXEC));
    if (!fresh) return error_from_errno(errno);
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = wakeup_token;
    if (system::epoll_ctl(fresh.get(), EPOLL_CTL_ADD, wakeup_.get(), &event) != 0) return error_from_errno(errno);
    epoll_ = std::move(fresh);
    return {};
  }

  int native_handle() const noexcept override { return epoll_.get(); }

 private:
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

  std::error_code control(int operation, int fd, std::uint32_t events, std::uint64_t token) noexcept {
    epoll_event event{};
    event.events = events;
    event.data.u64 = token;
    return system::epoll_ctl(epoll_.get(), operation, fd, &event) == 0 ? std::error_code() : error_from_errno(errno);
  }

  int wait_for_events(time_point deadline) noexcept {
    const int room = static_cast<int>(events_.size());
    if (deadline == no_deadline) return system::epoll_wait(epoll_.get(), events_.data(), room, -1);
    const time_point now = deadline == time_point::min() ? deadline : clock::now();
    if (deadline <= now) return system::epoll_wait(epoll_.get(), events_.data(), room, 0);
    const duration left = deadline - now;
    if (has_pwait2_) {
      const int count = system::epoll_pwait2(epoll_.get(), events_.data(), room, left);
      if (count >= 0 || (errno != ENOSYS && errno != EPERM)) return count;
      // Before Linux 5.11, under qemu-user, and where an old container's filter does not know the call.
      has_pwait2_ = false;
    }
    // Rounded up: waking early would only mean waiting once more.
    const auto milliseconds = std::chrono::ceil<std::chrono::milliseconds>(left).count();
    constexpr int longest = 1'000'000'000;
    return system::epoll_wait(epoll_.get(), events_.data(), room,
                              milliseconds > longest ? longest : static_cast<int>(milliseconds));
  }

  void drain_wakeup() noexcept {
    std::uint64_t count = 0;
    system::read(wakeup_.get(), &count, sizeof count);
  }

  unique_fd epoll_, wakeup_;
  bool has_pwait2_ = true;
  std::array<epoll_event, batch> events_{};
  std::array<reactor_event, batch> reported_{};
};

}  // namespace eventer::inline EVENTER_ABI
