// kqueue on Linux, for tests: the kqueue reactor compiles against this <sys/event.h> and runs the cases that the epoll
// reactor runs. It imitates FreeBSD over epoll, timerfd, signalfd and eventfd; EVFILT_EXCEPT is macOS's.
//
// What it keeps, because a reactor can go wrong there: a knote per (ident, filter); EV_ADD on one that exists changes
// udata and fflags, but neither EV_CLEAR nor EV_ONESHOT; EV_DELETE answers ENOENT; EV_RECEIPT; EV_EOF beside data that
// is still unread; writing to a pipe without a reader can't be watched (EPIPE), nor writing to a kqueue (EINVAL);
// regular files are ready, but at their end only with NOTE_FILE_POLL; a signal that is announced stays pending; a
// kqueue's descriptor can itself be polled; and closing a number ends its knotes although a duplicate lives on, for
// which this header replaces close().
//
// What it does not model: dup2() and other ways to close; fork() (a kqueue is not inherited); one's own shutdown();
// fflags with EV_EOF is ECONNRESET whatever the error, since reading SO_ERROR here would take it away; `data` of a
// writer or a listener is 1; low-water marks, but for a socket's writer, where any is taken for one that is never
// reached; timers other than relative ones in nanoseconds; idents above 2^32 for user events and timers; all other
// filters; more than some 250 watched duplicates of one file, which nested epoll sets refuse (EINVAL).
#pragma once
#pragma GCC system_header  // as a system's own: a struct and a function of one name are -Wshadow's business

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <utility>

#define EVFILT_READ (-1)
#define EVFILT_WRITE (-2)
#define EVFILT_SIGNAL (-6)
#define EVFILT_TIMER (-7)
#define EVFILT_USER (-11)
#define EVFILT_EXCEPT (-15)

#define EV_ADD 0x0001
#define EV_DELETE 0x0002
#define EV_ENABLE 0x0004
#define EV_ONESHOT 0x0010
#define EV_CLEAR 0x0020
#define EV_RECEIPT 0x0040
#define EV_ERROR 0x4000
#define EV_EOF 0x8000

#define NOTE_LOWAT 0x0001
#define NOTE_FILE_POLL 0x0002
#define NOTE_OOB 0x0002
#define NOTE_NSECONDS 0x0008
#define NOTE_FFNOP 0x00000000
#define NOTE_TRIGGER 0x01000000

struct kevent {
  std::uintptr_t ident;
  short filter;
  unsigned short flags;
  unsigned int fflags;
  std::int64_t data;
  void* udata;
  std::uint64_t ext[4];
};
#define EV_SET(target, ident_, filter_, flags_, fflags_, data_, udata_) \
  (*(target) = kevent{(ident_), (filter_), (flags_), (fflags_), (data_), (udata_), {}})

namespace fake_kqueue {

using change = struct ::kevent;
using key = std::pair<std::uintptr_t, short>;

inline int really_close(int fd) { return static_cast<int>(::syscall(SYS_close, fd)); }

// A descriptor that only the imitation knows.
class inner_fd {
 public:
  inner_fd() noexcept = default;
  explicit inner_fd(int fd) noexcept : fd_(fd) {}
  inner_fd(inner_fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  inner_fd& operator=(inner_fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~inner_fd() {
    if (fd_ >= 0) really_close(fd_);
  }
  int get() const noexcept { return fd_; }
  explicit operator bool() const noexcept { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

struct knote {
  change made;         // flags as they were at EV_ADD
  inner_fd stand_in;   // what epoll watches, where that is not ident itself
  bool later = false;  // a signal's: to be watched when it is not pending any more
};

// One kqueue: its descriptor is an epoll set that holds further sets, one a filter, because a descriptor can be in a
// set only once; and directly whatever is not about a descriptor.
struct queue {
  int outer = -1;
  inner_fd sets[3];  // read, write, except: made when first needed
  std::map<key, knote> knotes;
};

inline std::mutex lock;
// A child has whatever state the lock is in when its parent's thread forks, and none of the other threads that could
// give it up. A kernel has no such lock: a child's calls must not wait for one.
inline const int lock_is_free_in_children =
    ::pthread_atfork([] { lock.lock(); }, [] { lock.unlock(); }, [] { lock.unlock(); });
inline std::atomic<int> open_queues{0};
inline std::map<int, queue>& queues() {
  static auto* const all = new std::map<int, queue>;  // never destroyed: close() may be called at the very end
  return *all;
}

inline bool about_descriptor(short filter) {
  return filter == EVFILT_READ || filter == EVFILT_WRITE || filter == EVFILT_EXCEPT;
}
inline inner_fd& set_of(queue& where, short filter) {
  return where.sets[filter == EVFILT_READ ? 0 : filter == EVFILT_WRITE ? 1 : 2];
}
inline bool is_socket(int fd) {
  struct stat status {};
  return ::fstat(fd, &status) == 0 && S_ISSOCK(status.st_mode);
}

// What comes back from an epoll set: the filter and the low half of ident. A descriptor's filter with ident 0 in the
// outer set stands for that filter's own set.
inline std::uint64_t pack(std::uintptr_t ident, short filter) {
  return std::uint64_t{static_cast<std::uint16_t>(filter)} << 32 | static_cast<std::uint32_t>(ident);
}
inline key unpack(std::uint64_t packed) {
  return {static_cast<std::uint32_t>(packed), static_cast<short>(static_cast<std::uint16_t>(packed >> 32))};
}

// Puts fd into a set, or asks about it anew if it is there.
inline int watch(int set, int fd, std::uint32_t events, std::uint64_t packed) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = packed;
  if (::epoll_ctl(set, EPOLL_CTL_ADD, fd, &event) == 0) return 0;
  return errno == EEXIST && ::epoll_ctl(set, EPOLL_CTL_MOD, fd, &event) == 0 ? 0 : errno;
}

inline int attach_descriptor(queue& where, knote& note) {
  const int fd = static_cast<int>(note.made.ident);
  const short filter = note.made.filter;
  pollfd state{fd, POLLOUT, 0};
  struct stat status {};
  if (::fstat(fd, &status) != 0) return EBADF;
  if (filter == EVFILT_WRITE && queues().count(fd) != 0) return EINVAL;
  if (filter == EVFILT_WRITE && S_ISFIFO(status.st_mode) && ::poll(&state, 1, 0) == 1 && (state.revents & POLLERR) != 0)
    return EPIPE;
  if (filter == EVFILT_EXCEPT && !S_ISSOCK(status.st_mode)) return EINVAL;
  inner_fd& set = set_of(where, filter);
  if (!set) {
    set = inner_fd(::epoll_create1(EPOLL_CLOEXEC));
    if (!set || watch(where.outer, set.get(), EPOLLIN, pack(0, filter)) != 0) return errno;
  }
  // A one-shot is taken out when it is delivered. Urgent data is an edge in any case: epoll adds hang-ups to it.
  std::uint32_t events = filter == EVFILT_READ ? EPOLLIN | EPOLLRDHUP : filter == EVFILT_WRITE ? EPOLLOUT : EPOLLPRI;
  if (filter == EVFILT_WRITE && (note.made.fflags & NOTE_LOWAT) != 0 && is_socket(fd)) events = 0;
  if ((note.made.flags & EV_CLEAR) != 0 || filter == EVFILT_EXCEPT) events |= EPOLLET;
  const int error = watch(set.get(), note.stand_in ? note.stand_in.get() : fd, events, pack(note.made.ident, filter));
  if (error != EPERM) return error;
  const bool at_end = ::lseek(fd, 0, SEEK_CUR) >= status.st_size;
  if (filter == EVFILT_READ && at_end && (note.made.fflags & NOTE_FILE_POLL) == 0) return 0;
  note.stand_in = inner_fd(::eventfd(1, EFD_CLOEXEC));
  return note.stand_in ? watch(set.get(), note.stand_in.get(), events, pack(note.made.ident, filter)) : errno;
}

inline int attach_timer(queue& where, knote& note) {
  if (note.made.fflags != NOTE_NSECONDS || note.made.data < 0) return EINVAL;
  if (!note.stand_in) note.stand_in = inner_fd(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  itimerspec time{};
  const std::int64_t nanoseconds = note.made.data > 0 ? note.made.data : 1;
  time.it_value = {nanoseconds / 1'000'000'000, nanoseconds % 1'000'000'000};
  if ((note.made.flags & EV_ONESHOT) == 0) time.it_interval = time.it_value;
  if (!note.stand_in || ::timerfd_settime(note.stand_in.get(), 0, &time, nullptr) != 0) return errno;
  return watch(where.outer, note.stand_in.get(), EPOLLIN, pack(note.made.ident, EVFILT_TIMER));
}

inline bool is_pending(int signal) {
  sigset_t pending;
  return ::sigpending(&pending) == 0 && ::sigismember(&pending, signal) == 1;
}
inline int attach_signal(queue& where, knote& note) {
  sigset_t one;
  const int signal = static_cast<int>(note.made.ident);
  ::sigemptyset(&one);
  if (::sigaddset(&one, signal) != 0) return EINVAL;
  if (!note.stand_in) note.stand_in = inner_fd(::signalfd(-1, &one, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!note.stand_in) return errno;
  note.later = is_pending(signal);  // what was sent before is not announced by a kqueue
  return note.later ? 0
                    : watch(where.outer, note.stand_in.get(), EPOLLIN | EPOLLET, pack(note.made.ident, EVFILT_SIGNAL));
}

inline int attach(queue& where, knote& note) {
  switch (note.made.filter) {
    case EVFILT_READ:
    case EVFILT_WRITE:
    case EVFILT_EXCEPT:
      return attach_descriptor(where, note);
    case EVFILT_TIMER:
      return attach_timer(where, note);
    case EVFILT_SIGNAL:
      return attach_signal(where, note);
    case EVFILT_USER:
      if (!note.stand_in) note.stand_in = inner_fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
      if (!note.stand_in) return errno;
      return watch(where.outer, note.stand_in.get(), EPOLLIN, pack(note.made.ident, EVFILT_USER));
    default:
      return EINVAL;
  }
}

inline void detach(queue& where, const knote& note) {
  if (note.stand_in || !about_descriptor(note.made.filter)) return;  // closing what stands in ends it
  ::epoll_ctl(set_of(where, note.made.filter).get(), EPOLL_CTL_DEL, static_cast<int>(note.made.ident), nullptr);
}

// Answers an errno.
inline int make(queue& where, const change& wanted) {
  const bool descriptor = about_descriptor(wanted.filter);
  if (descriptor && ::fcntl(static_cast<int>(wanted.ident), F_GETFD) < 0) return EBADF;
  const auto found = where.knotes.find({wanted.ident, wanted.filter});
  const bool exists = found != where.knotes.end();
  if ((wanted.flags & EV_ADD) == 0 && !exists) return ENOENT;
  if ((wanted.flags & EV_DELETE) != 0) {
    detach(where, found->second);
    where.knotes.erase(found);
    return 0;
  }
  if (wanted.filter == EVFILT_USER && (wanted.fflags & NOTE_TRIGGER) != 0) {
    const std::uint64_t one = 1;
    return ::write(found->second.stand_in.get(), &one, sizeof one) == sizeof one ? 0 : errno;
  }
  if (exists) {
    const unsigned short kept = found->second.made.flags;
    found->second.made = wanted;
    found->second.made.flags = kept;
    return attach(where, found->second);
  }
  knote fresh{};
  fresh.made = wanted;
  fresh.made.flags = static_cast<unsigned short>(wanted.flags & ~(EV_ADD | EV_ENABLE));
  const int error = attach(where, fresh);
  if (error == 0) where.knotes.emplace(key{wanted.ident, wanted.filter}, std::move(fresh));
  return error;
}

// Fills in what is to be told of one knote; false if it is nothing after all.
inline bool describe(const knote& note, std::uint32_t events, change& out) {
  const int fd = static_cast<int>(note.made.ident);
  const bool hung_up = (events & EPOLLHUP) != 0, failed = (events & EPOLLERR) != 0;
  std::uint64_t count = 1;
  out = note.made;
  out.fflags = 0;
  out.data = 1;
  switch (note.made.filter) {
    case EVFILT_READ: {
      int unread = 0;
      if (::ioctl(fd, FIONREAD, &unread) == 0) out.data = unread;
      if (hung_up || (events & EPOLLRDHUP) != 0) out.flags |= EV_EOF;
      break;
    }
    case EVFILT_WRITE:
      if (hung_up || (failed && !is_socket(fd))) out.flags |= EV_EOF;
      break;
    case EVFILT_EXCEPT:
      out.fflags = NOTE_OOB;
      return (events & EPOLLPRI) != 0;
    case EVFILT_SIGNAL:
      return true;
    case EVFILT_TIMER:
      if (::read(note.stand_in.get(), &count, sizeof count) != sizeof count) return false;
      out.data = static_cast<std::int64_t>(count);
      return true;
    default:  // a user event without EV_CLEAR stays
      return (note.made.flags & EV_CLEAR) == 0 || ::read(note.stand_in.get(), &count, sizeof count) == sizeof count;
  }
  if ((out.flags & EV_EOF) != 0 && failed) out.fflags = ECONNRESET;
  return true;
}

inline void attach_late(queue& where) {
  for (auto& [which, note] : where.knotes)
    if (note.later) attach_signal(where, note);
}

inline int collect_from(queue& where, int set, change* out, int room) {
  epoll_event ready[64];
  const int count = ::epoll_wait(set, ready, room < 64 ? room : 64, 0);
  int told = 0;
  for (int i = 0; i < count; ++i) {
    const key which = unpack(ready[i].data.u64);
    if (which.first == 0 && about_descriptor(which.second) && set == where.outer) {
      told += collect_from(where, set_of(where, which.second).get(), out + told, room - told - (count - i - 1));
      continue;
    }
    const auto found = where.knotes.find(which);
    if (found == where.knotes.end() || !describe(found->second, ready[i].events, out[told])) continue;
    ++told;
    if ((found->second.made.flags & EV_ONESHOT) == 0) continue;
    detach(where, found->second);
    where.knotes.erase(found);
  }
  return told;
}

inline void forget(int closed) {
  const std::lock_guard<std::mutex> hold(lock);
  for (auto& [number, each] : queues())
    for (const short filter : {short{EVFILT_READ}, short{EVFILT_WRITE}, short{EVFILT_EXCEPT}}) {
      const auto found = each.knotes.find({static_cast<std::uintptr_t>(closed), filter});
      if (found == each.knotes.end()) continue;
      detach(each, found->second);
      each.knotes.erase(found);
    }
  queues().erase(closed);
  open_queues = static_cast<int>(queues().size());
}

}  // namespace fake_kqueue

inline int kqueue() {
  const int fd = ::epoll_create1(0);
  if (fd < 0) return -1;
  const std::lock_guard<std::mutex> hold(fake_kqueue::lock);
  fake_kqueue::queues()[fd].outer = fd;
  fake_kqueue::open_queues = static_cast<int>(fake_kqueue::queues().size());
  return fd;
}

inline int kevent(int kq, const struct kevent* changes, int change_count, struct kevent* events, int room,
                  const timespec* limit) {
  using namespace std::chrono;
  const auto fail = [](int error) {
    errno = error;
    return -1;
  };
  int answers = 0;
  if (change_count > 0) {
    const std::lock_guard<std::mutex> hold(fake_kqueue::lock);
    const auto found = fake_kqueue::queues().find(kq);
    if (found == fake_kqueue::queues().end()) return fail(EBADF);
    for (int i = 0; i < change_count; ++i) {
      const struct kevent one = changes[i];  // `events` may be the same array
      const int error = fake_kqueue::make(found->second, one);
      if (error == 0 && (one.flags & EV_RECEIPT) == 0) continue;
      if (answers == room) {
        if (error != 0) return fail(error);
        continue;
      }
      events[answers] = one;
      events[answers].flags = EV_ERROR;
      events[answers++].data = error;
    }
  }
  if (answers > 0 || room == 0) return answers;
  if (limit != nullptr && (limit->tv_sec < 0 || limit->tv_nsec < 0 || limit->tv_nsec >= 1'000'000'000))
    return fail(EINVAL);
  const auto begin = steady_clock::now();
  for (;;) {
    {
      const std::lock_guard<std::mutex> hold(fake_kqueue::lock);
      const auto found = fake_kqueue::queues().find(kq);
      if (found == fake_kqueue::queues().end()) return fail(EBADF);
      fake_kqueue::attach_late(found->second);
      if (const int told = fake_kqueue::collect_from(found->second, kq, events, room); told > 0) return told;
    }
    timespec left{};
    if (limit != nullptr) {
      const auto rest = seconds(limit->tv_sec) + nanoseconds(limit->tv_nsec) - (steady_clock::now() - begin);
      if (rest <= nanoseconds::zero()) return 0;
      left = {duration_cast<seconds>(rest).count(), (rest % seconds(1)).count()};
    }
    pollfd one{kq, POLLIN, 0};
    if (::ppoll(&one, 1, limit != nullptr ? &left : nullptr, nullptr) < 0) return -1;
  }
}

// In the place of the C library's. Weak, since every unit that includes this has one.
extern "C" __attribute__((weak)) int close(int fd) {
  if (fake_kqueue::open_queues.load(std::memory_order_relaxed) > 0) fake_kqueue::forget(fd);
  return fake_kqueue::really_close(fd);
}
