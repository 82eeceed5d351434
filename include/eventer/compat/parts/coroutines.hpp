// Section 3 of eventer_aco.h but for jobs and gates: coroutines, and input and output that wait.
#pragma once

#include <sys/uio.h>

#include <climits>
#include <span>

#include "eventer/compat/detail/frame.hpp"
#include "eventer/compat/eventer_aco.h"
#include "eventer/compat/parts/io.hpp"

namespace eventer::inline EVENTER_ABI::compat {

// A coroutine of eventer_aco_start.
inline void run_function(void (*function)(void), void* closure) {
  frame mine{.argument = closure, .may_be_abandoned = true};
  call_in(mine, function);
}
inline void start_here(void (*function)(void), void* closure) {
#if EVENTER_EXCEPTIONS
  try {
#endif
    detail::run_here_at_once(this_loop->loop, {.entry = reinterpret_cast<const void*>(function)}, &run_function,
                             function, closure);
#if EVENTER_EXCEPTIONS
  } catch (const std::exception& failure) {
    mtev_log_and_end(mtev_true, mtev_error, "eventer", 0, "eventer_aco_start(): %s\n", failure.what());
  }
#endif
}

struct adopted : stream {
  static io_result<any_stream> from(int fd) {
    auto owned = adopt(fd);
    if (!owned) return owned.error();
    return any_stream::over(std::move(*owned));
  }
};

// Makes a descriptor's event one that coroutines use. Its connection is closed with eventer_aco_close alone.
inline void convert(_event& which) {
  if (which.is_aco) return;
  if (which.is_added()) (void)remove_added(which);
  if (which.io == nullptr) {
    which.io = std::make_shared<event_io>();
    if (which.fd >= 0) {
      auto opened = adopted::from(which.fd);
      if (opened) which.io->stream = std::move(*opened);
      which.io->not_adopted = !opened;
    }
  }
  which.io->idle = which.idle;
  which.owner.store(this_loop);
  which.is_aco = true;
}
inline _event& event_of(eventer_aco_t which) noexcept { return *reinterpret_cast<_event*>(which); }
inline eventer_aco_t aco_of(_event& which) noexcept { return reinterpret_cast<eventer_aco_t>(&which); }
inline time_limit limit_or(const timeval* given, time_limit otherwise) noexcept {
  return given == nullptr ? otherwise : limit_of(given);
}

struct accept_step : detail::step_of<std::size_t> {
  accept_step(sockaddr* a, socklen_t* l) noexcept : address(a), length(l) {}
  detail::attempt try_once(descriptor& socket) const {
    const int fd = syscalls::accept4(socket.fd(), address, length, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (EVENTER_LIKELY(fd >= 0)) return detail::attempt::done(static_cast<std::size_t>(fd));
    if (errno == ECONNABORTED || errno == EINTR) return detail::attempt::again_at();
    return detail::would_block(errno) ? detail::attempt::wait_readable() : detail::attempt::failed(errno);
  }
  static result_type result(std::size_t fd) noexcept { return fd; }
  static time_point resume_at() noexcept { return {}; }  // at once

  sockaddr* address;
  socklen_t* length;
};
struct connect_step : detail::step_of<std::size_t> {
  connect_step(const sockaddr* a, socklen_t l) noexcept : address(a), length(l) {}
  detail::attempt try_once(descriptor& socket) {
    if (std::exchange(begun, true)) {
      int error = 0;
      socklen_t size = sizeof error;
      if (::getsockopt(socket.fd(), SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
      if (error != 0) return detail::attempt::failed(error);
      sockaddr_storage peer{};
      size = sizeof peer;
      if (::getpeername(socket.fd(), reinterpret_cast<sockaddr*>(&peer), &size) == 0) return detail::attempt::done();
      return detail::attempt::wait_writable();  // woken in vain
    }
    if (syscalls::connect(socket.fd(), address, length) == 0) return detail::attempt::done();
    return errno == EINPROGRESS || errno == EALREADY || errno == EINTR ? detail::attempt::wait_writable()
                                                                       : detail::attempt::failed(errno);
  }
  static result_type result(std::size_t) noexcept { return std::size_t{0}; }

  const sockaddr* address;
  socklen_t length;
  bool begun = false;
};

// Adds what was written to `done`. Each step counts as use where that is asked for: a connection on which something
// moves is not idle.
inline std::error_code write_whole(event_io& io, const_buffer from, time_limit limit, std::size_t& done) {
  if (io.idle == nullptr) {
    const auto all = io.stream.write_all(from, limit);
    if (all) done += *all;
    return all ? std::error_code() : all.error();
  }
  for (std::size_t sent = 0; sent < from.size();) {
    const auto some = io.stream.write_some(const_buffer(from.data() + sent, from.size() - sent), limit);
    if (!some) return some.error();
    io.note_use();
    sent += *some;
    done += *some;
  }
  return {};
}

inline std::size_t stop_everything(duration grace) {
  runtime& all = runtime::of_process();
  const time_point end = deadline_after(clock::now(), grace);
  all.begin_to_stop();
  for (;;) {
    for (const auto& each : all.threads())
      each->loop.post([&loop = each->loop] { loop.for_each_living([&loop](auto& which) { loop.cancel(which); }); });
    std::size_t left = 0;
    for (eventer_pool_t& pool : all.pools())
      for (const loop_stats& each : pool.loops->stats()) left += each.coroutines;
    if (left == 0 || clock::now() >= end) {
      all.stop();
      return left;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

}  // namespace eventer::inline EVENTER_ABI::compat

extern "C" {

void eventer_aco_start(void (*func)(void), void* closure) {
  namespace compat = eventer::compat;
  if (compat::this_loop != nullptr) return compat::start_here(func, closure);
  compat::runtime::of_process().first().loop.post([func, closure] { compat::start_here(func, closure); });
}
void eventer_aco_start_stack(void (*func)(void), void* closure, size_t) { eventer_aco_start(func, closure); }
void* eventer_aco_arg(void) {
  const eventer::compat::frame* const here = eventer::compat::frame_here();
  return here == nullptr ? nullptr : here->argument;
}
void aco_exit(void) { eventer::compat::leave_frame(); }
mtev_boolean eventer_is_aco(eventer_t e) {
  return (e == nullptr ? eventer::compat::may_wait() : e->is_aco) ? mtev_true : mtev_false;
}
eventer_t eventer_get_this_event(void) {
  const eventer::compat::frame* const here = eventer::compat::frame_here();
  return here != nullptr && !here->is_classic ? here->event : eventer::compat::this_event;
}

eventer_aco_t eventer_set_eventer_aco(eventer_t e) {
  if (!eventer::compat::may_wait())
    eventer::compat::refuse("eventer_set_eventer_aco() outside of a coroutine: see eventer_aco_start()");
  eventer::compat::convert(*e);
  return eventer::compat::aco_of(*e);
}
eventer_t eventer_unset_eventer_aco(eventer_aco_t e) {
  _event& which = eventer::compat::event_of(e);
  which.is_aco = false;
  if (which.io != nullptr && which.io->stream.is_open()) {
    if (which.io->stream.file()->other() != nullptr) {
      (void)which.io->stream.detach();  // a layer stays
    } else {
      which.fd = which.io->stream.release();
      which.io.reset();
    }
  }
  return &which;
}
void* eventer_aco_get_closure(eventer_aco_t e) { return eventer::compat::event_of(e).closure; }
void eventer_aco_set_closure(eventer_aco_t e, void* closure) { eventer::compat::event_of(e).closure = closure; }

void eventer_aco_sleep(struct timeval* duration) {
  const eventer::duration time = eventer::compat::duration_of(*duration);
  (void)eventer::compat::answer([time] {
    eventer::sleep_for(time);
    return eventer::io_result<std::size_t>(std::size_t{0});
  });
}
void mtev_aco_sleep(struct timeval* duration) { eventer_aco_sleep(duration); }

int eventer_aco_accept(eventer_aco_t e, struct sockaddr* addr, socklen_t* len, struct timeval* timeout) {
  namespace compat = eventer::compat;
  compat::event_io& io = *compat::event_of(e).io;
  const eventer::time_limit limit = compat::limit_or(timeout, io.accept_limit);
  return static_cast<int>(compat::answer(
      [&] { return eventer::detail::perform<compat::accept_step>(io.stream.owned(), limit, addr, len); }));
}
int eventer_aco_connect(eventer_aco_t e, const struct sockaddr* addr, socklen_t len, struct timeval* timeout) {
  namespace compat = eventer::compat;
  compat::event_io& io = *compat::event_of(e).io;
  return static_cast<int>(compat::answer([&] {
    return eventer::detail::perform<compat::connect_step>(io.stream.owned(), compat::limit_of(timeout), addr, len);
  }));
}
int eventer_aco_read(eventer_aco_t e, void* buff, size_t len, struct timeval* timeout) {
  namespace compat = eventer::compat;
  compat::event_io& io = *compat::event_of(e).io;
  const eventer::buffer into(static_cast<char*>(buff), compat::at_most_int(len));
  const eventer::time_limit limit = compat::limit_or(timeout, io.read_limit);
  const ssize_t got = compat::answer([&] { return io.stream.read_some(into, limit); });
  if (got > 0) io.note_use();  // after an error the event may be gone
  return static_cast<int>(got);
}
int eventer_aco_write(eventer_aco_t e, const void* buff, size_t len, struct timeval* timeout) {
  namespace compat = eventer::compat;
  compat::event_io& io = *compat::event_of(e).io;
  const eventer::const_buffer from(static_cast<const char*>(buff), compat::at_most_int(len));
  const eventer::time_limit limit = compat::limit_or(timeout, io.write_limit);
  const ssize_t written = compat::answer([&] { return io.stream.write_some(from, limit); });
  if (written > 0) io.note_use();
  return static_cast<int>(written);
}
ssize_t eventer_aco_write_all(eventer_aco_t e, const void* buff, size_t len, struct timeval* timeout) {
  namespace compat = eventer::compat;
  compat::event_io& io = *compat::event_of(e).io;
  const eventer::const_buffer from(static_cast<const char*>(buff), len);
  const eventer::time_limit limit = eventer::detail::fixed(compat::limit_or(timeout, io.write_limit));
  return compat::answer([&]() -> eventer::io_result<std::size_t> {
    std::size_t done = 0;
    if (const std::error_code failure = compat::write_whole(io, from, limit, done)) return failure;
    return done;
  });
}
ssize_t eventer_aco_readv(eventer_aco_t e, const struct iovec* parts, int count, struct timeval* timeout) {
  namespace compat = eventer::compat;
  if (count < 0 || count > IOV_MAX) return errno = EINVAL, -1;
  compat::event_io& io = *compat::event_of(e).io;
  const eventer::time_limit limit = compat::limit_or(timeout, io.read_limit);
  const ssize_t got = compat::answer([&] {
    // On the heap, beside the descriptor: frames of parked coroutines are small.
    std::vector<eventer::buffer> into;
    into.reserve(static_cast<std::size_t>(count));
    for (int i = 0; i < count; ++i) into.emplace_back(static_cast<char*>(parts[i].iov_base), parts[i].iov_len);
    return io.stream.read_some(std::span<const eventer::buffer>(into), limit);
  });
  if (got > 0) io.note_use();
  return got;
}
ssize_t eventer_aco_writev(eventer_aco_t e, const struct iovec* parts, int count, struct timeval* timeout) {
  namespace compat = eventer::compat;
  if (count < 0 || count > IOV_MAX) return errno = EINVAL, -1;
  compat::event_io& io = *compat::event_of(e).io;
  const eventer::time_limit limit = eventer::detail::fixed(compat::limit_or(timeout, io.write_limit));
  return compat::answer([&]() -> eventer::io_result<std::size_t> {
    std::size_t done = 0;
    if (io.idle == nullptr) {
      std::vector<eventer::const_buffer> from;
      from.reserve(static_cast<std::size_t>(count));
      for (int i = 0; i < count; ++i) from.emplace_back(static_cast<const char*>(parts[i].iov_base), parts[i].iov_len);
      return io.stream.write_all(std::span<const eventer::const_buffer>(from), limit);
    }
    for (int i = 0; i < count; ++i) {
      const eventer::const_buffer part(static_cast<const char*>(parts[i].iov_base), parts[i].iov_len);
      if (const std::error_code failure = compat::write_whole(io, part, limit, done)) return failure;
    }
    return done;
  });
}
int eventer_aco_close(eventer_aco_t e) {
  _event& which = eventer::compat::event_of(e);
  const int fd = std::exchange(which.fd, -1);
  if (fd < 0) {
    errno = EBADFD;
    return -1;
  }
  if (which.io->not_adopted) return eventer::syscalls::close(fd);
  which.io->stream.close();
  return 0;
}
void eventer_aco_free(eventer_aco_t e) { (void)eventer::compat::drop_reference(&eventer::compat::event_of(e)); }
void eventer_aco_set_accept_timeout(eventer_aco_t e, struct timeval* d) {
  eventer::compat::event_of(e).io->accept_limit = eventer::compat::limit_of(d);
}
void eventer_aco_set_read_timeout(eventer_aco_t e, struct timeval* d) {
  eventer::compat::event_of(e).io->read_limit = eventer::compat::limit_of(d);
}
void eventer_aco_set_write_timeout(eventer_aco_t e, struct timeval* d) {
  eventer::compat::event_of(e).io->write_limit = eventer::compat::limit_of(d);
}

}  // extern "C"
