// _event: what an eventer_t points to.
//
// References belong to the program, and to the eventer for what was added. The memory stays as long as anybody uses it:
// the references together are one holder, each registration and message to a loop is another. What must not be broken:
// a registration is its owner's thread's alone, and calls nobody unless `state` is still as it was when it was made, so
// that whoever has removed an event, on any thread, is not surprised by it.
#pragma once

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <utility>

#include "eventer/compat/detail/idle_watch.hpp"
#include "eventer/compat/detail/loops.hpp"
#include "eventer/compat/detail/timeval.hpp"
#include "eventer/event/event_loop.hpp"
#include "eventer/net/any_stream.hpp"

namespace eventer::inline EVENTER_ABI::compat {

// The connection, or what else is open, behind an event that a coroutine uses, or that speaks TLS. Copies of an event
// share it.
struct event_io {
  any_stream stream;
  time_limit accept_limit, read_limit, write_limit;  // where a call gives none; durations
  std::shared_ptr<idle_watch> idle;                  // nullptr: it may be idle for ever
  bool not_adopted = false;  // a coroutine's event whose descriptor can't be used: its calls answer EBADF
  // Whether the last try of a classic event has found nothing, so that trying again needs news; see layered_watch.
  bool read_is_dry = false, write_is_dry = false;

  void note_use() const noexcept {
    if (EVENTER_UNLIKELY(idle != nullptr)) idle->note_use();
  }
};

// What calls back for an event whose connection has a layer, in the place of its registration; its owner's thread's.
class layered_registration {
 public:
  virtual ~layered_registration() = default;
  virtual void set_interest(int mask) = 0;
  // It calls nobody any more. It may be calling right now.
  virtual void end() noexcept = 0;
};

}  // namespace eventer::inline EVENTER_ABI::compat

struct _event {
  static constexpr int kinds = EVENTER_READ | EVENTER_WRITE | EVENTER_EXCEPTION;

  std::atomic<std::int64_t> references{1};
  std::atomic<std::uint32_t> holders{1};
  // Twice the number of times that it was added and removed, plus one while it is added.
  std::atomic<std::uint64_t> state{0};

  int fd = -1;
  std::atomic<int> mask{0};
  eventer_func_t callback = nullptr;
  void* closure = nullptr;
  timeval whence{};
  std::atomic<eventer::compat::loop_thread*> owner{nullptr};  // nullptr: the first loop, when there is one

  bool is_aco = false;
  std::shared_ptr<eventer::compat::event_io> io;
  std::shared_ptr<eventer::compat::idle_watch> idle;  // of a listener's connection; for who converts it

  // The owner's thread's.
  eventer::event registration, wakes;
  std::shared_ptr<eventer::compat::layered_registration> layered;

  // Also where it is watched for nothing, for a while.
  bool is_for_descriptor() const noexcept {
    return (mask.load(std::memory_order_relaxed) & (EVENTER_TIMER | EVENTER_RECURRENT | EVENTER_ASYNCH)) == 0;
  }
  // Whether its connection speaks TLS, say: then the descriptor alone does not tell when it is ready.
  bool has_layer() const noexcept {
    return io != nullptr && io->stream.is_open() && io->stream.file()->other() != nullptr;
  }
  bool is_added() const noexcept { return (state.load(std::memory_order_acquire) & 1) != 0; }
  eventer::compat::loop_thread& loop_thread() {
    eventer::compat::loop_thread* const known = owner.load(std::memory_order_relaxed);
    if (known != nullptr) return *known;
    eventer::compat::loop_thread& first = eventer::compat::runtime::of_process().first();
    owner.store(&first, std::memory_order_relaxed);
    return first;
  }
};

namespace eventer::inline EVENTER_ABI::compat {

inline std::atomic<std::int64_t> events_now{0}, events_ever{0};

// Events that were freed are kept for a while, so that freeing one twice is told from freeing another one.
class freed_events {
 public:
  static constexpr std::size_t kept = EVENTER_ASAN ? 0 : 64;  // AddressSanitizer has a better one
  static void put(_event* which) noexcept {
    if (kept == 0) return delete which;
    const std::lock_guard lock(mutex_);
    std::swap(which, ring_[next_++ % ring_.size()]);
    delete which;
  }

 private:
  static inline constinit std::mutex mutex_;
  static inline constinit std::array<_event*, kept == 0 ? 1 : kept> ring_{};
  static inline constinit std::size_t next_ = 0;
};

// Keeps an event's memory.
class held_event {
 public:
  explicit held_event(eventer_t which) noexcept : which_(which) {
    which->holders.fetch_add(1, std::memory_order_relaxed);
  }
  held_event(held_event&& other) noexcept : which_(std::exchange(other.which_, nullptr)) {}
  held_event& operator=(held_event&&) = delete;
  ~held_event() {
    if (which_ != nullptr) let_go(which_);
  }
  _event& operator*() const noexcept { return *which_; }
  _event* operator->() const noexcept { return which_; }
  _event* get() const noexcept { return which_; }

  static void let_go(_event* which) noexcept {
    if (which->holders.fetch_sub(1, std::memory_order_acq_rel) == 1) freed_events::put(which);
  }

 private:
  _event* which_;
};

inline _event* make_event(eventer_func_t callback, void* closure, int fd, int mask) {
  _event* const made = new _event;
  made->fd = fd;
  made->mask.store(mask, std::memory_order_relaxed);
  made->callback = callback;
  made->closure = closure;
  made->owner.store(this_loop, std::memory_order_relaxed);
  events_now.fetch_add(1, std::memory_order_relaxed);
  events_ever.fetch_add(1, std::memory_order_relaxed);
  return made;
}
inline void refer(eventer_t which) noexcept { which->references.fetch_add(1, std::memory_order_relaxed); }
// Runs on the thread of a loop: now where that is this one, else at its next turn.
template <class F>
void on_thread_of(loop_thread& where, F&& function) {
  if (this_loop == &where) return function();
  where.loop.post(std::forward<F>(function));
}

// True: that was the last reference.
inline bool drop_reference(eventer_t which) {
  const std::int64_t before = which->references.fetch_sub(1, std::memory_order_acq_rel);
  if (before < 1) refuse("eventer_free() of an event that was freed already: each reference is dropped once");
  if (before != 1) return false;
  if (which->is_added()) refuse("eventer_free() of an event that is added: eventer_remove() hands its reference back");
  // On its loop, which may be at it, and behind what it was told before.
  if (which->io != nullptr) on_thread_of(which->loop_thread(), [mine = held_event(which)] { mine->io.reset(); });
  events_now.fetch_sub(1, std::memory_order_release);  // who sees the count sees what its callback has done
  held_event::let_go(which);
  return true;
}

// --- who is registered for a descriptor: one event in the whole process ---

class descriptor_table {
 public:
  // False: another event has the number.
  static bool put(int fd, _event* which) {
    part& mine = part_of(fd);
    const std::lock_guard lock(mine.mutex);
    return mine.events.emplace(fd, which).first->second == which;
  }
  static _event* find(int fd) {
    part& mine = part_of(fd);
    const std::lock_guard lock(mine.mutex);
    const auto found = mine.events.find(fd);
    return found == mine.events.end() ? nullptr : found->second;
  }
  // The same, and it stays while the caller looks at it.
  static std::optional<held_event> hold(int fd) {
    part& mine = part_of(fd);
    const std::lock_guard lock(mine.mutex);
    const auto found = mine.events.find(fd);
    if (found == mine.events.end()) return std::nullopt;
    return held_event(found->second);
  }
  static bool take(int fd, const _event* which) {
    part& mine = part_of(fd);
    const std::lock_guard lock(mine.mutex);
    const auto found = mine.events.find(fd);
    if (found == mine.events.end() || found->second != which) return false;
    mine.events.erase(found);
    return true;
  }
  // `function` must not add or remove.
  template <class F>
  static void visit(const F& function) {
    for (part& each : parts()) {
      const std::lock_guard lock(each.mutex);
      for (const auto& [fd, which] : each.events) function(which);
    }
  }

 private:
  struct part {
    std::mutex mutex;
    std::unordered_map<int, _event*> events;
  };
  static std::array<part, 64>& parts() {
    static std::array<part, 64>& all = *new std::array<part, 64>;
    return all;
  }
  static part& part_of(int fd) { return parts()[static_cast<unsigned>(fd) % 64]; }
};

// --- calling back ---

inline thread_local eventer_t this_event = nullptr;
inline thread_local bool is_this_removed = false;  // by its callback, which is running
inline thread_local timeval this_call_began{};

// What a callback has answered, and whether it has removed its event: then it has the reference, and gives it up with
// an answer of 0.
struct called {
  int next;
  bool removed;
};
inline called call_back(_event& which, int mask) {
  timeval now = this_call_began = wall_clock();
  const eventer_t outer = std::exchange(this_event, &which);
  const bool outer_is_removed = std::exchange(is_this_removed, false);
  const int next = which.callback(&which, mask, which.closure, &now);
  this_event = outer;
  return {next, std::exchange(is_this_removed, outer_is_removed)};
}

constexpr io_mask to_io(int mask) noexcept {
  return ((mask & EVENTER_READ) != 0 ? io_mask::read : io_mask::none) |
         ((mask & EVENTER_WRITE) != 0 ? io_mask::write : io_mask::none) |
         ((mask & EVENTER_EXCEPTION) != 0 ? io_mask::error : io_mask::none);
}
constexpr int from_io(io_mask ready) noexcept {
  return (any(ready & io_mask::read) ? EVENTER_READ : 0) | (any(ready & io_mask::write) ? EVENTER_WRITE : 0) |
         (any(ready & io_mask::error) ? EVENTER_EXCEPTION : 0);
}

// --- adding and removing ---

// Adds; answers the state that the registration is for, 0 where it is added already.
inline std::uint64_t begin_to_be_added(_event& which) noexcept {
  std::uint64_t now = which.state.load(std::memory_order_relaxed);
  do
    if ((now & 1) != 0) return 0;
  while (!which.state.compare_exchange_weak(now, now + 3, std::memory_order_acq_rel));
  return now + 3;
}
// False: it was not added, or not for `only` where that is given.
inline bool end_to_be_added(_event& which, std::uint64_t only = 0) noexcept {
  std::uint64_t now = only != 0 ? only : which.state.load(std::memory_order_relaxed);
  do
    if ((now & 1) == 0) return false;
  while (!which.state.compare_exchange_strong(now, now + 1, std::memory_order_acq_rel) && only == 0);
  return only == 0 || now == only;
}

void register_descriptor(const held_event& which, std::uint64_t state);
// See layered_watch.hpp.
void register_layered(const held_event& which, std::uint64_t state);

// On the owner's thread.
inline void end_layered(_event& which) noexcept {
  if (which.layered == nullptr) return;
  which.layered->end();
  which.layered.reset();
}
inline void set_interest(_event& which, int mask) {
  if (EVENTER_UNLIKELY(which.layered != nullptr)) return which.layered->set_interest(mask);
  which.registration.set_interest(to_io(mask));
}

inline void forget_watched(const _event& which, loop_thread& here, int fd) noexcept {
  if (const auto found = here.watched.find(fd); found != here.watched.end() && found->second == &which)
    here.watched.erase(found);
}

// The end of a callback for a descriptor: goes on as it has answered. Answers what is to be watched for.
// `fd` is the number that it had: its callback may have closed it.
inline int settle(_event& which, std::uint64_t state, int fd, called answer) {
  const int next = answer.next;
  const bool still_added = which.state.load(std::memory_order_acquire) == state;
  // Its owner may have changed before it was removed, and the new one has nothing to forget.
  if (!still_added && (!which.is_added() || &which.loop_thread() != this_loop)) forget_watched(which, *this_loop, fd);
  if ((next & _event::kinds) == 0) {
    if (still_added && end_to_be_added(which, state)) {
      descriptor_table::take(fd, &which);
      forget_watched(which, *this_loop, fd);
      end_layered(which);
      drop_reference(&which);
    } else if (answer.removed) {
      drop_reference(&which);
    }
    return 0;
  }
  if (!still_added) return 0;
  which.mask.store(next, std::memory_order_relaxed);
  if (&which.loop_thread() == this_loop) return next;
  // Its callback has given it to another loop.
  forget_watched(which, *this_loop, fd);
  which.registration.cancel();
  if (which.layered != nullptr) {
    end_layered(which);
    (void)which.io->stream.detach();
  }
  which.loop_thread().loop.post([mine = held_event(&which), state] { register_descriptor(mine, state); });
  return 0;
}

// What a loop calls for an event with a descriptor.
struct descriptor_call {
  held_event which;
  std::uint64_t state;

  io_mask operator()(io_mask ready) const {
    if (which->state.load(std::memory_order_acquire) != state) return io_mask::none;
    const int fd = which->fd;
    return to_io(settle(*which, state, fd, call_back(*which, from_io(ready))));
  }
};

// The same where the kernel has no room for another registration (/proc/sys/fs/epoll/max_user_watches): the callback is
// told EVENTER_EXCEPTION. If it answers a mask, that is tried again.
struct refused_call {
  static constexpr std::chrono::milliseconds pause{10};  // who tries again does not keep the processor busy
  held_event which;
  std::uint64_t state;

  inline void operator()() const;
};

// On the owner's thread.
inline void unregister(_event& which, loop_thread& here, int fd) noexcept {
  which.registration.cancel();
  which.wakes.cancel();
  end_layered(which);
  forget_watched(which, here, fd);
}
inline void register_descriptor(const held_event& which, std::uint64_t state) {
  if (which->state.load(std::memory_order_acquire) != state) return;
  if (which->has_layer()) return register_layered(which, state);
  loop_thread& here = *this_loop;
  // Another thread may have removed the one that had this number, and closed it, a moment ago.
  if (const auto found = here.watched.find(which->fd); found != here.watched.end())
    found->second->registration.cancel();
  here.watched[which->fd] = which.get();
  const io_mask wanted = to_io(which->mask.load(std::memory_order_relaxed));
#if EVENTER_EXCEPTIONS
  try {
    which->registration = here.loop.watch(which->fd, wanted, descriptor_call{held_event(which.get()), state});
  } catch (const std::system_error& failure) {
    constexpr const char* what = "eventer_add() of descriptor %d: %s\n";
    if (failure.code().value() == EBADF || failure.code().value() == EPERM)  // it is the program's mistake
      mtev_log_and_end(mtev_true, mtev_error, "eventer", 0, what, which->fd, failure.what());
    mtevL(mtev_error, what, which->fd, failure.what());
    which->registration = here.loop.after(refused_call::pause, refused_call{held_event(which.get()), state});
  }
#else
  which->registration = here.loop.watch(which->fd, wanted, descriptor_call{held_event(which.get()), state});
#endif
}
inline void refused_call::operator()() const {
  if (which->state.load(std::memory_order_acquire) != state) return;
  const int fd = which->fd;
  if (settle(*which, state, fd, call_back(*which, EVENTER_EXCEPTION)) != 0) register_descriptor(which, state);
}

// Takes the reference of who calls it.
inline void add_descriptor(_event& which) {
  if (which.fd < 0) refuse("eventer_add() of an event without a descriptor: it was closed, or made by eventer_alloc()");
  if (!descriptor_table::put(which.fd, &which))
    refuse("eventer_add() of a descriptor that another event is registered for: remove that one first");
  const std::uint64_t state = begin_to_be_added(which);
  if (state == 0) refuse("eventer_add() of an event that is added already");
  if (this_event == &which) is_this_removed = false;
  on_thread_of(which.loop_thread(), [mine = held_event(&which), state] { register_descriptor(mine, state); });
}

// Gives the reference to who calls it; nullptr: it was not there.
inline eventer_t remove_added(_event& which) {
  if (which.is_for_descriptor() && which.fd >= 0 && !descriptor_table::take(which.fd, &which)) return nullptr;
  if (!end_to_be_added(which)) return nullptr;
  if (this_event == &which) is_this_removed = true;
  loop_thread& there = which.loop_thread();
  if (!which.is_for_descriptor()) {
    const std::lock_guard lock(there.mutex);
    there.timed.erase(&which);
  }
  on_thread_of(there, [mine = held_event(&which), there = &there, fd = which.fd, io = which.io] {
    unregister(*mine, *there, fd);
    // With a layer it may go on on another loop; where somebody else uses the connection it stays here.
    if (io != nullptr && !mine->is_aco && io->stream.is_open()) (void)io->stream.detach();
  });
  return &which;
}

// --- timers ---

void register_timer(const held_event& which, std::uint64_t state);

inline void add_timer(_event& which) {
  loop_thread& there = which.loop_thread();
  std::uint64_t state;
  {
    const std::lock_guard lock(there.mutex);  // whoever removes it finds it there
    state = begin_to_be_added(which);
    if (state == 0) refuse("eventer_add() of a timer that is set already: eventer_update_whence() changes its time");
    there.timed.insert(&which);
  }
  on_thread_of(there, [mine = held_event(&which), state] { register_timer(mine, state); });
}

struct timer_call {
  held_event which;
  std::uint64_t state;

  void operator()() const {
    if (!end_to_be_added(*which, state)) return;
    {
      const std::lock_guard lock(this_loop->mutex);
      this_loop->timed.erase(which.get());
    }
    if ((call_back(*which, EVENTER_TIMER).next & EVENTER_TIMER) != 0)
      add_timer(*which);
    else
      drop_reference(which.get());
  }
};
inline void register_timer(const held_event& which, std::uint64_t state) {
  if (which->state.load(std::memory_order_acquire) != state) return;
  which->registration.cancel();
  which->registration = this_loop->loop.after(until(which->whence), timer_call{held_event(which.get()), state});
}

// --- once in each turn ---

void add_recurrent(_event& which);

struct turn_call {
  held_event which;
  std::uint64_t state;

  void operator()() const {
    if (which->state.load(std::memory_order_acquire) != state) return;
    const called answer = call_back(*which, EVENTER_RECURRENT);
    const bool goes_on = (answer.next & EVENTER_RECURRENT) != 0;
    if (goes_on && &which->loop_thread() == this_loop) return;
    const bool was_added = end_to_be_added(*which, state);
    if (was_added) unregister(*which, *this_loop, -1);
    if (goes_on && was_added) return add_recurrent(*which);  // its callback has given it to another loop
    if (!goes_on && (was_added || answer.removed)) drop_reference(which.get());
  }
};
// A loop that sleeps has no turns: recurrent events are called five times a second at least.
inline constexpr duration longest_pause = std::chrono::milliseconds(200);

inline void add_recurrent(_event& which) {
  const std::uint64_t state = begin_to_be_added(which);
  if (state == 0) return;  // twice is once
  on_thread_of(which.loop_thread(), [mine = held_event(&which), state] {
    if (mine->state.load(std::memory_order_acquire) != state) return;
    mine->registration = this_loop->loop.each_turn(turn_call{held_event(mine.get()), state});
    mine->wakes = this_loop->loop.every(longest_pause, [] {});
  });
}

}  // namespace eventer::inline EVENTER_ABI::compat
