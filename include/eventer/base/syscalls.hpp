// The one place where layers 0-5 make system calls. Each call retries EINTR where the kernel says it may be retried.
//
// A test can put a function into `syscalls::fault_hook` that makes a chosen call fail with a chosen errno, or that
// counts calls. The hook is one thread-local pointer; looking at it costs less than a nanosecond beside a system call.
#pragma once

#include <fcntl.h>
#include <linux/futex.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/sendfile.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <new>

// Elsewhere the other calls here would have to be ported first (config.hpp says so). Tests bring an imitation of
// kqueue, see tests/fake_kqueue/sys/event.h.
#if !defined(__linux__) || defined(EVENTER_TEST_KQUEUE)
#define EVENTER_HAS_KQUEUE 1
#include <sys/event.h>
#else
#define EVENTER_HAS_KQUEUE 0
#endif

#include "eventer/base/clock.hpp"
#include "eventer/base/leak_roots.hpp"

namespace eventer::inline EVENTER_ABI::syscalls {

// clang-format off
enum class call {
  accept4, bind, chmod, close, connect, epoll_create1, epoll_ctl, epoll_wait, eventfd, fcntl, fstat, getpeername,
  getrandom, getsockname, getsockopt, kevent, kqueue, listen, lstat, madvise, mmap, mprotect, munmap, open, openat,
  openat2, pipe2, poll, pread, preadv2, pthread_create, read, readv, recv, recvmmsg, recvmsg, sched_getaffinity, send,
  sendfile, sendmmsg, sendmsg, setsockopt, shutdown, signalfd, socket, socketpair, timerfd_create, timerfd_settime,
  unlink, write, writev,
};
// clang-format on

// Answers 0 to let the call happen, or the errno with which it is to fail instead.
using fault_function = int (*)(call);
inline constinit thread_local fault_function fault_hook = nullptr;

// Told of each call that the kernel has refused with EFAULT, before its caller is; nullptr: nobody is.
inline constinit std::atomic<void (*)(const void* data)> on_bad_address{nullptr};

namespace detail {

EVENTER_NOINLINE inline void report_bad_address(const void* data) noexcept {
  const int error = errno;
  if (const auto report = on_bad_address.load(); report != nullptr) report(data);
  errno = error;
}
EVENTER_ALWAYS_INLINE bool injected(call which) noexcept {
  if (EVENTER_LIKELY(fault_hook == nullptr)) return false;
  const int error = fault_hook(which);
  if (error != 0) errno = error;
  return error != 0;
}

// Makes the call until it ends in something else than EINTR. An injected fault counts as the kernel's answer. `data` is
// what the kernel reads or writes.
template <class Call>
EVENTER_ALWAYS_INLINE auto retrying(call which, Call make, const void* data = nullptr) noexcept -> decltype(make()) {
  for (;;) {
    const auto result = injected(which) ? decltype(make())(-1) : make();
    if (EVENTER_LIKELY(result != decltype(make())(-1))) return result;
    if (EVENTER_UNLIKELY(errno == EFAULT)) report_bad_address(data);
    if (errno != EINTR) return result;
  }
}
inline const void* first_of(const iovec* parts, std::size_t count) noexcept {
  return count == 0 ? nullptr : parts->iov_base;
}

}  // namespace detail

inline ssize_t read(int fd, void* data, std::size_t size) noexcept {
  return detail::retrying(
      call::read, [=] { return ::read(fd, data, size); }, data);
}
inline ssize_t write(int fd, const void* data, std::size_t size) noexcept {
  return detail::retrying(
      call::write, [=] { return ::write(fd, data, size); }, data);
}
inline ssize_t recv(int fd, void* data, std::size_t size, int flags) noexcept {
  return detail::retrying(
      call::recv, [=] { return ::recv(fd, data, size, flags); }, data);
}
inline ssize_t send(int fd, const void* data, std::size_t size, int flags) noexcept {
  return detail::retrying(
      call::send, [=] { return ::send(fd, data, size, flags); }, data);
}
inline int accept4(int fd, sockaddr* address, socklen_t* size, int flags) noexcept {
  return detail::retrying(call::accept4, [=] { return ::accept4(fd, address, size, flags); });
}
inline ssize_t readv(int fd, const iovec* parts, int count) noexcept {
  return detail::retrying(
      call::readv, [=] { return ::readv(fd, parts, count); }, detail::first_of(parts, static_cast<std::size_t>(count)));
}
inline ssize_t writev(int fd, const iovec* parts, int count) noexcept {
  return detail::retrying(
      call::writev, [=] { return ::writev(fd, parts, count); },
      detail::first_of(parts, static_cast<std::size_t>(count)));
}
inline ssize_t sendmsg(int fd, const msghdr* message, int flags) noexcept {
  return detail::retrying(
      call::sendmsg, [=] { return ::sendmsg(fd, message, flags); },
      detail::first_of(message->msg_iov, message->msg_iovlen));
}
inline ssize_t recvmsg(int fd, msghdr* message, int flags) noexcept {
  return detail::retrying(
      call::recvmsg, [=] { return ::recvmsg(fd, message, flags); },
      detail::first_of(message->msg_iov, message->msg_iovlen));
}
inline int sendmmsg(int fd, mmsghdr* messages, unsigned count, int flags) noexcept {
  return detail::retrying(call::sendmmsg, [=] { return ::sendmmsg(fd, messages, count, flags); });
}
// Without a time limit: the kernel looks at that one only between two messages.
inline int recvmmsg(int fd, mmsghdr* messages, unsigned count, int flags) noexcept {
  return detail::retrying(call::recvmmsg, [=] { return ::recvmmsg(fd, messages, count, flags, nullptr); });
}
// Not retried: an interrupted connect goes on by itself, and asking again would answer EALREADY.
inline int connect(int fd, const sockaddr* address, socklen_t size) noexcept {
  return detail::injected(call::connect) ? -1 : ::connect(fd, address, size);
}
inline int socket(int family, int type, int protocol) noexcept {
  return detail::injected(call::socket) ? -1 : ::socket(family, type, protocol);
}
inline int socketpair(int family, int type, int protocol, int* ends) noexcept {
  return detail::injected(call::socketpair) ? -1 : ::socketpair(family, type, protocol, ends);
}
inline int pipe2(int* ends, int flags) noexcept { return detail::injected(call::pipe2) ? -1 : ::pipe2(ends, flags); }
inline int bind(int fd, const sockaddr* address, socklen_t size) noexcept {
  return detail::injected(call::bind) ? -1 : ::bind(fd, address, size);
}
inline int listen(int fd, int backlog) noexcept { return detail::injected(call::listen) ? -1 : ::listen(fd, backlog); }
inline int shutdown(int fd, int how) noexcept { return detail::injected(call::shutdown) ? -1 : ::shutdown(fd, how); }
inline int setsockopt(int fd, int level, int name, const void* value, socklen_t size) noexcept {
  return detail::injected(call::setsockopt) ? -1 : ::setsockopt(fd, level, name, value, size);
}
inline int getsockopt(int fd, int level, int name, void* value, socklen_t* size) noexcept {
  return detail::injected(call::getsockopt) ? -1 : ::getsockopt(fd, level, name, value, size);
}
inline int getsockname(int fd, sockaddr* address, socklen_t* size) noexcept {
  return detail::injected(call::getsockname) ? -1 : ::getsockname(fd, address, size);
}
inline int getpeername(int fd, sockaddr* address, socklen_t* size) noexcept {
  return detail::injected(call::getpeername) ? -1 : ::getpeername(fd, address, size);
}
inline int open(const char* path, int flags, mode_t mode = 0) noexcept {
  return detail::retrying(call::open, [=] { return ::open(path, flags, mode); });
}
inline int openat(int at, const char* path, int flags) noexcept {
  return detail::retrying(call::openat, [=] { return ::openat(at, path, flags); });
}
// How a path may be looked up; the values of <linux/openat2.h>, which systems older than Linux 5.6 do not have.
enum resolve : std::uint64_t { no_magic_links = 0x02, beneath = 0x08, only_cached = 0x20 };
// `how`: of resolve. ENOSYS before Linux 5.6, EPERM in sandboxes that do not know it, EINVAL for what this kernel does
// not know.
inline int openat2(int at, const char* path, int flags, std::uint64_t how) noexcept {
  struct {
    std::uint64_t flags, mode, resolve;
  } const asked{static_cast<std::uint64_t>(flags), 0, how};
  constexpr long number = 437;  // SYS_openat2, the same for every processor
  return detail::retrying(call::openat2,
                          [&] { return static_cast<int>(::syscall(number, at, path, &asked, sizeof asked)); });
}
inline ssize_t pread(int fd, void* data, std::size_t size, off_t offset) noexcept {
  return detail::retrying(
      call::pread, [=] { return ::pread(fd, data, size, offset); }, data);
}
// `flags`: RWF_NOWAIT, say. EOPNOTSUPP where the file's system does not know them.
inline ssize_t preadv2(int fd, void* data, std::size_t size, off_t offset, int flags) noexcept {
  iovec part{data, size};
  return detail::retrying(
      call::preadv2, [&] { return ::preadv2(fd, &part, 1, offset, flags); }, data);
}
// From a file to a socket; the file's own position is left alone. Raises SIGPIPE, unlike send with MSG_NOSIGNAL.
inline ssize_t sendfile(int to, int from, off_t offset, std::size_t size) noexcept {
  return detail::retrying(call::sendfile, [=] {
    off_t at = offset;
    return ::sendfile(to, from, &at, size);
  });
}
inline int fstat(int fd, struct stat* status) noexcept {
  return detail::injected(call::fstat) ? -1 : ::fstat(fd, status);
}
inline int lstat(const char* path, struct stat* status) noexcept {
  return detail::injected(call::lstat) ? -1 : ::lstat(path, status);
}
inline int unlink(const char* path) noexcept { return detail::injected(call::unlink) ? -1 : ::unlink(path); }
inline int chmod(const char* path, mode_t mode) noexcept {
  return detail::injected(call::chmod) ? -1 : ::chmod(path, mode);
}
inline int fcntl(int fd, int command, int argument = 0) noexcept {
  return detail::injected(call::fcntl) ? -1 : ::fcntl(fd, command, argument);
}
// Never retried: on Linux the descriptor is gone after EINTR too.
inline int close(int fd) noexcept {
  const int result = ::close(fd);
  return detail::injected(call::close) ? -1 : result;
}
inline int poll(pollfd* fds, nfds_t count, int milliseconds) noexcept {
  return detail::injected(call::poll) ? -1 : ::poll(fds, count, milliseconds);
}
// Bytes that nobody can guess. False: the kernel has refused.
inline bool random_bytes(void* into, std::size_t size) noexcept {
  const ssize_t got = detail::retrying(
      call::getrandom, [=] { return ::getrandom(into, size, 0); }, into);
  return got == static_cast<ssize_t>(size);
}
inline int eventfd(unsigned initial, int flags) noexcept {
  return detail::injected(call::eventfd) ? -1 : ::eventfd(initial, flags);
}
inline int epoll_create1(int flags) noexcept {
  return detail::injected(call::epoll_create1) ? -1 : ::epoll_create1(flags);
}
inline int epoll_ctl(int epoll, int operation, int fd, epoll_event* event) noexcept {
  return detail::injected(call::epoll_ctl) ? -1 : ::epoll_ctl(epoll, operation, fd, event);
}
inline int epoll_wait(int epoll, epoll_event* events, int count, int milliseconds) noexcept {
  return detail::injected(call::epoll_wait) ? -1 : ::epoll_wait(epoll, events, count, milliseconds);
}

// epoll_wait with a nanosecond limit. ENOSYS where the kernel, or the C library's headers, do not have it.
inline int epoll_pwait2(int epoll, epoll_event* events, int count, duration limit) noexcept {
  if (detail::injected(call::epoll_wait)) return -1;
#if defined(SYS_epoll_pwait2)
  timespec time{};
  time.tv_sec = std::chrono::duration_cast<std::chrono::seconds>(limit).count();
  time.tv_nsec = std::chrono::duration_cast<std::chrono::nanoseconds>(limit % std::chrono::seconds(1)).count();
  return static_cast<int>(::syscall(SYS_epoll_pwait2, epoll, events, count, &time, nullptr, 0));
#else
  (void)epoll, (void)events, (void)count, (void)limit;
  errno = ENOSYS;
  return -1;
#endif
}

inline int signalfd(int fd, const sigset_t* which, int flags) noexcept {
  return detail::injected(call::signalfd) ? -1 : ::signalfd(fd, which, flags);
}
inline int timerfd_create(clockid_t clock, int flags) noexcept {
  return detail::injected(call::timerfd_create) ? -1 : ::timerfd_create(clock, flags);
}
inline int timerfd_settime(int fd, int flags, const itimerspec* time) noexcept {
  return detail::injected(call::timerfd_settime) ? -1 : ::timerfd_settime(fd, flags, time, nullptr);
}
#if EVENTER_HAS_KQUEUE
inline int kqueue() noexcept { return detail::injected(call::kqueue) ? -1 : ::kqueue(); }
// Not retried: an interrupted wait has to look at the clock, and interrupted changes may have been made already.
inline int kevent(int queue, const struct ::kevent* changes, int change_count, struct ::kevent* events, int room,
                  const timespec* limit) noexcept {
  return detail::injected(call::kevent) ? -1 : ::kevent(queue, changes, change_count, events, room, limit);
}
#endif

// Anonymous private memory, or nullptr with errno set.
inline void* map_memory(std::size_t bytes, int flags = 0) noexcept {
  if (detail::injected(call::mmap)) return nullptr;
  void* const memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  add_leak_root(memory, bytes);
  return memory;
}
inline void unmap_memory(void* memory, std::size_t bytes) noexcept {
  remove_leak_root(memory, bytes);
  ::munmap(memory, bytes);
}
inline int protect(void* memory, std::size_t bytes, int protection) noexcept {
  return detail::injected(call::mprotect) ? -1 : ::mprotect(memory, bytes, protection);
}
inline int advise(void* memory, std::size_t bytes, int advice) noexcept {
  return detail::injected(call::madvise) ? -1 : ::madvise(memory, bytes, advice);
}

namespace detail {

// What a thread of the library begins with.
struct thread_start {
  void* (*run)(void*);
  void* argument;
  sigset_t signals;  // blocked in the program's own thread that it goes back to
};
// Of this thread, if it is one of those.
inline constinit thread_local const thread_start* started_as = nullptr;

// In a child that such a thread has forked, and which would go on with every signal blocked.
inline void give_back_signals() noexcept {
  if (started_as != nullptr) ::pthread_sigmask(SIG_SETMASK, &started_as->signals, nullptr);
  started_as = nullptr;
}
inline void* run_thread(void* start) noexcept {
  auto* const given = static_cast<thread_start*>(start);
  const thread_start mine = *given;
  delete given;
  started_as = &mine;
  void* const result = mine.run(mine.argument);
  started_as = nullptr;
  return result;
}
inline int create_thread(pthread_t& thread, int detach_state, void* (*run)(void*), void* argument) noexcept {
  if (injected(call::pthread_create)) return errno;
  static const int once = ::pthread_atfork(nullptr, nullptr, &give_back_signals);
  (void)once;
  auto* const start = new (std::nothrow) thread_start{run, argument, {}};
  if (start == nullptr) return ENOMEM;
  // But what a thread does to itself, which would end the program without its handler, and a profiler's clock.
  sigset_t blocked, before;
  ::sigfillset(&blocked);
  for (const int each : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGPROF}) ::sigdelset(&blocked, each);
  ::pthread_sigmask(SIG_SETMASK, &blocked, &before);
  start->signals = started_as != nullptr ? started_as->signals : before;
  pthread_attr_t attributes;
  ::pthread_attr_init(&attributes);
  ::pthread_attr_setdetachstate(&attributes, detach_state);
  const int error = ::pthread_create(&thread, &attributes, &run_thread, start);
  ::pthread_attr_destroy(&attributes);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (error != 0) delete start;
  return error;
}

}  // namespace detail

// A thread that nobody joins, with the signals blocked that are sent to the process: handlers run on the program's own
// threads. A child that it forks gets back what the program's thread had blocked that started it. Answers 0, or the
// error.
inline int start_thread(void* (*run)(void*), void* argument) noexcept {
  pthread_t thread;
  return detail::create_thread(thread, PTHREAD_CREATE_DETACHED, run, argument);
}
// The same, to be joined.
inline int start_thread(pthread_t& thread, void* (*run)(void*), void* argument) noexcept {
  return detail::create_thread(thread, PTHREAD_CREATE_JOINABLE, run, argument);
}
inline void join_thread(pthread_t thread) noexcept { ::pthread_join(thread, nullptr); }
// Of the calling thread, for top and debuggers: 15 characters at most.
inline void name_thread(const char* name) noexcept { ::pthread_setname_np(::pthread_self(), name); }

inline int sched_getaffinity(std::size_t bytes, cpu_set_t* cpus) noexcept {
  return detail::injected(call::sched_getaffinity) ? -1 : ::sched_getaffinity(0, bytes, cpus);
}
inline unsigned online_cpus() noexcept {
  const long count = ::sysconf(_SC_NPROCESSORS_ONLN);
  return count > 0 ? static_cast<unsigned>(count) : 1;
}

// Sleeps while the word has this value, but not longer than to `deadline`. Wakes up without a reason now and then.
inline void sleep_while(const std::atomic<std::uint32_t>& word, std::uint32_t value, time_point deadline) noexcept {
  timespec time{};
  if (deadline != no_deadline) {
    const duration since = deadline.time_since_epoch();  // of CLOCK_MONOTONIC, as FUTEX_WAIT_BITSET has it
    time.tv_sec = std::chrono::duration_cast<std::chrono::seconds>(since).count();
    time.tv_nsec = std::chrono::duration_cast<std::chrono::nanoseconds>(since % std::chrono::seconds(1)).count();
  }
  ::syscall(SYS_futex, &word, FUTEX_WAIT_BITSET_PRIVATE, value, deadline != no_deadline ? &time : nullptr, nullptr,
            FUTEX_BITSET_MATCH_ANY);
}
// After the word was changed.
inline void wake_sleeper(const std::atomic<std::uint32_t>& word) noexcept {
  ::syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
}

// Cannot fail; tells a forked child from its parent.
inline pid_t process_id() noexcept { return ::getpid(); }

// Never hard-coded: AArch64 kernels use 4, 16 or 64 KiB.
inline std::size_t page_size() noexcept {
  static const std::size_t size = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  return size;
}

}  // namespace eventer::inline EVENTER_ABI::syscalls
