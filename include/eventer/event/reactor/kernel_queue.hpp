// kernel_queue: one kqueue descriptor, and how its knotes are changed. The kqueue reactor and its signals rest on it.
//
// What must not be broken: it does not survive fork(). In the child the number is free, or a stranger's by now, and
// must not be closed.
#pragma once

#include "eventer/base/syscalls.hpp"

#if EVENTER_HAS_KQUEUE

#include <array>
#include <cstddef>
#include <cstdint>
#include <system_error>

#include "eventer/base/result.hpp"
#include "eventer/base/unique_fd.hpp"

namespace eventer::inline EVENTER_ABI::detail {

static_assert(sizeof(void*) == sizeof(std::uint64_t), "udata carries the token");

using knote_change = struct ::kevent;

inline knote_change make_change(std::uintptr_t ident, int filter, int flags, unsigned fflags = 0, std::int64_t data = 0,
                                std::uint64_t token = 0) noexcept {
  knote_change change{};  // EV_SET's casts are not for our warning flags, and its fields' types differ by system
  change.ident = ident;
  change.filter = static_cast<decltype(change.filter)>(filter);
  // Each change is answered by itself: else the first refusal would hide the fate of the rest.
  change.flags = static_cast<decltype(change.flags)>(flags | EV_RECEIPT);
  change.fflags = fflags;
  change.data = static_cast<decltype(change.data)>(data);
  change.udata = reinterpret_cast<decltype(change.udata)>(token);
  return change;
}

class kernel_queue {
 public:
  kernel_queue() noexcept = default;
  kernel_queue& operator=(kernel_queue&& other) noexcept {
    leave_to_parent();
    fd_ = std::move(other.fd_);
    owner_ = other.owner_;
    return *this;
  }
  ~kernel_queue() { leave_to_parent(); }

  int get() const noexcept { return fd_.get(); }
  bool is_ours() const noexcept { return fd_ && owner_ == syscalls::process_id(); }

  std::error_code open() noexcept {
    owner_ = syscalls::process_id();
    fd_.reset(syscalls::kqueue());
    const bool opened = fd_ && syscalls::fcntl(fd_.get(), F_SETFD, FD_CLOEXEC) == 0;
    return opened ? std::error_code() : error_from_errno(errno);
  }

  // Makes the changes; each is overwritten by its answer, whose `data` is 0 or an errno.
  template <std::size_t N>
  std::error_code change(std::array<knote_change, N>& changes, std::size_t count = N) const noexcept {
    for (;;) {
      const int size = static_cast<int>(count);
      if (syscalls::kevent(fd_.get(), changes.data(), size, changes.data(), size, nullptr) >= 0) return {};
      if (errno != EINTR) return error_from_errno(errno);
    }
  }
  std::error_code change(knote_change one) const noexcept {
    std::array<knote_change, 1> changes{one};
    if (const std::error_code error = change(changes)) return error;
    return error_of(changes[0]);
  }
  static std::error_code error_of(const knote_change& answer) noexcept {
    return (answer.flags & EV_ERROR) != 0 && answer.data != 0 ? error_from_errno(static_cast<int>(answer.data))
                                                              : std::error_code();
  }

 private:
  void leave_to_parent() noexcept {
    if (fd_ && !is_ours()) fd_.release();
  }

  unique_fd fd_;
  pid_t owner_ = 0;
};

}  // namespace eventer::inline EVENTER_ABI::detail

#endif
