// Section 1 of eventer_aco.h: start and stop, allocation, what events hold, scheduling, threads and pools.
#pragma once

#include <fcntl.h>
#include <sys/resource.h>

#include <csignal>
#include <cstdio>
#include <cstring>

#include "eventer/compat/detail/configuration.hpp"
#include "eventer/compat/detail/frame.hpp"
#include "eventer/compat/detail/layered_watch.hpp"
#include "eventer/compat/detail/library_log.hpp"
#include "eventer/compat/eventer_aco.h"

namespace eventer::inline EVENTER_ABI::compat {

// Descriptors: as many as the machine lets us have, or as rlim_nofiles says.
inline void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  rlim_t wanted = limit.rlim_max;
  if (const auto text = properties::of_process().find("rlim_nofiles"))
    if (const auto number = number_in(*text); number && *number < limit.rlim_max) wanted = *number;
  if (limit.rlim_cur == wanted) return;
  limit.rlim_cur = wanted;
  (void)::setrlimit(RLIMIT_NOFILE, &limit);
}

inline bool is_known_property(std::string_view key) noexcept {
  for (const char* const each :
       {"concurrency", "default_queue_threads", "default_jobq_ordering", "rlim_nofiles", "debugging",
        "show_loop_callbacks_threshold", "show_jobq_callbacks_threshold", "default_ca_chain", "ssl_ctx_cache_expiry",
        "aco_timeout_errno", "http_upload_limit", "websocket_queue_limit"})
    if (key == each) return true;
  return key.starts_with("loop_") || key.starts_with("jobq_");
}

// --- what other parts do ---

void make_configured_queues();
bool configure_queue(const std::string& name, std::string_view value);
bool is_queue_thread() noexcept;
std::size_t stop_everything(duration grace);

inline std::mutex& start_lock() {
  static std::mutex& lock = *new std::mutex;
  return lock;
}

}  // namespace eventer::inline EVENTER_ABI::compat

extern "C" {

// --- start and stop ---

int eventer_init(void) {
  namespace compat = eventer::compat;
  const std::lock_guard lock(compat::start_lock());
  compat::runtime& all = compat::runtime::of_process();
  if (all.has_loops()) return 0;
  if (compat::apply_configured_properties != nullptr) compat::apply_configured_properties();
  for (const auto& [name, value] : compat::eventer_defaults())
    if (!compat::properties::of_process().find(name)) (void)eventer_propset(name.c_str(), value.c_str());
  compat::raise_descriptor_limit();
  struct sigaction before {};
  if (::sigaction(SIGPIPE, nullptr, &before) == 0 && before.sa_handler == SIG_DFL) (void)std::signal(SIGPIPE, SIG_IGN);
  compat::route_library_log();
#if EVENTER_EXCEPTIONS
  try {
#endif
    all.start();
    compat::make_configured_queues();
#if EVENTER_EXCEPTIONS
  } catch (const std::exception& failure) {
    mtevL(mtev_error, "eventer_init: %s\n", failure.what());
    all.give_up();
    return -1;
  }
#endif
  return 0;
}
void eventer_loop(void) {
  if (eventer::compat::this_loop != nullptr)
    eventer::compat::refuse("eventer_loop() on the thread of a loop: call it where main() is, after eventer_init()");
  (void)eventer::compat::runtime::of_process().first();
  eventer::compat::runtime::of_process().wait_until_stopped();
}
void eventer_loop_return(void) { (void)eventer::compat::runtime::of_process().first(); }
int eventer_choose(const char* name) {
  for (const char* const known : {"epoll", "kqueue", "ports"})
    if (std::strcmp(name, known) == 0) return 0;
  return -1;
}
int eventer_impl_propset(const char* key, const char* value) {
  namespace compat = eventer::compat;
  const std::string_view name = key, text = value;
  const bool of_loops = name == "concurrency" || name.starts_with("loop_");
  if (of_loops && compat::runtime::of_process().has_loops()) {
    mtevL(mtev_error, "eventer_propset(%s): the loops run already; set it before eventer_init()\n", key);
    return -1;
  }
  if (!compat::is_known_property(name)) {
    mtevL(mtev_error, "eventer_propset(%s): there is no such property, and it is ignored\n", key);
    return 0;
  }
  const bool counts = name == "concurrency" || name == "rlim_nofiles" || name == "default_queue_threads" ||
                      name == "http_upload_limit" || name == "websocket_queue_limit";
  const bool threads = name.starts_with("loop_") || name.starts_with("jobq_");
  const std::string_view number = threads ? text.substr(0, text.find(',')) : text;
  if ((counts || threads) && !compat::number_in(number)) {
    mtevL(mtev_error, "eventer_propset(%s, \"%s\"): a number is needed%s\n", key, value, threads ? " first" : "");
    return -1;
  }
  if (name == "aco_timeout_errno") {
    if (text != "ETIME" && text != "ETIMEDOUT") {
      mtevL(mtev_error, "eventer_propset(aco_timeout_errno, \"%s\"): ETIME or ETIMEDOUT\n", value);
      return -1;
    }
    compat::timeout_errno.store(text == "ETIME" ? ETIME : ETIMEDOUT, std::memory_order_relaxed);
  }
  compat::properties::of_process().set(name, text);
  if (name.starts_with("jobq_") && compat::runtime::of_process().has_loops())
    return compat::configure_queue(std::string(name.substr(5)), text) ? 0 : -1;
  return 0;
}
int eventer_propset(const char* key, const char* value) { return eventer_impl_propset(key, value); }
size_t eventer_stop(const struct timeval* grace) {
  namespace compat = eventer::compat;
  if (compat::this_loop != nullptr)
    compat::refuse("eventer_stop() on the thread of a loop, which would wait for itself");
  compat::runtime& all = compat::runtime::of_process();
  (void)all.first();
  return compat::stop_everything(grace == nullptr ? std::chrono::seconds(5) : compat::duration_of(*grace));
}

// --- threads, pools, time ---

int eventer_loop_concurrency(void) {
  eventer_pool_t* const pool = eventer_pool("default");
  return pool == nullptr ? 0 : static_cast<int>(pool->threads.size());
}
int eventer_is_loop(pthread_t tid) {
  const eventer::compat::loop_thread* const found = eventer::compat::runtime::of_process().find(tid);
  return found == nullptr ? -1 : static_cast<int>(found->index);
}
mtev_boolean eventer_in_loop(void) { return eventer::compat::this_loop != nullptr ? mtev_true : mtev_false; }
const char* eventer_get_thread_name(void) {
  if (eventer::compat::this_loop != nullptr) return eventer::compat::this_loop->name.c_str();
  static thread_local char name[20] = "";
  char own[16] = "";
  if (eventer::compat::is_queue_thread() && ::pthread_getname_np(::pthread_self(), own, sizeof own) == 0)
    std::snprintf(name, sizeof name, "q:%s", own);
  return name;
}
int eventer_get_epoch(struct timeval* epoch) {
  if (!eventer::compat::runtime::of_process().has_loops()) return -1;
  *epoch = eventer::compat::runtime::of_process().epoch();
  return 0;
}
pthread_t eventer_choose_owner(int n) {
  (void)eventer::compat::runtime::of_process().first();
  const auto& threads = eventer_pool("default")->threads;
  const std::size_t others = threads.size() - 1;
  const std::size_t index = n == 0 || others == 0 ? 0 : 1 + static_cast<unsigned>(n) % others;
  return threads[index]->thread;
}
pthread_t eventer_choose_owner_pool(eventer_pool_t* pool, int n) {
  if (pool == nullptr || pool->name == "default") return eventer_choose_owner(n);
  return pool->threads[static_cast<unsigned>(n) % pool->threads.size()]->thread;
}
eventer_pool_t* eventer_pool(const char* name) { return eventer::compat::runtime::of_process().find_pool(name); }
const char* eventer_pool_name(eventer_pool_t* pool) { return pool->name.c_str(); }
uint32_t eventer_pool_concurrency(eventer_pool_t* pool) { return static_cast<uint32_t>(pool->threads.size()); }
int eventer_gettimeofcallback(eventer_impl_data_t*, struct timeval* now, void*) {
  *now = eventer::compat::this_event != nullptr ? eventer::compat::this_call_began : eventer::compat::wall_clock();
  return 0;
}
uint64_t eventer_callback_us(void) {
  timeval now{};
  (void)eventer_gettimeofcallback(nullptr, &now, nullptr);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000 + static_cast<uint64_t>(now.tv_usec);
}
uint64_t eventer_callback_ms(void) { return eventer_callback_us() / 1000; }

// --- allocate ---

eventer_t eventer_alloc(void) { return eventer::compat::make_event(nullptr, nullptr, -1, 0); }
eventer_t eventer_alloc_copy(eventer_t src) {
  _event* const copy = eventer::compat::make_event(src->callback, src->closure, src->fd, src->mask.load());
  copy->whence = src->whence;
  copy->owner.store(src->owner.load());
  copy->io = src->io;
  copy->idle = src->idle;
  return copy;
}
eventer_t eventer_alloc_fd(eventer_func_t f, void* closure, int fd, int mask) {
  return eventer::compat::make_event(f, closure, fd, mask);
}
eventer_t eventer_alloc_timer(eventer_func_t f, void* closure, struct timeval* whence) {
  const eventer_t made = eventer::compat::make_event(f, closure, -1, EVENTER_TIMER);
  made->whence = *whence;
  return made;
}
eventer_t eventer_alloc_recurrent(eventer_func_t f, void* closure) {
  return eventer::compat::make_event(f, closure, -1, EVENTER_RECURRENT);
}
eventer_t eventer_alloc_asynch(eventer_func_t f, void* closure) {
  return eventer::compat::make_event(f, closure, -1, EVENTER_ASYNCH);
}
eventer_t eventer_alloc_asynch_timeout(eventer_func_t f, void* closure, struct timeval* deadline) {
  const eventer_t made = eventer_alloc_asynch(f, closure);
  if (deadline != nullptr) made->whence = *deadline;
  return made;
}
mtev_boolean eventer_free(eventer_t e) { return eventer::compat::drop_reference(e) ? mtev_true : mtev_false; }
mtev_boolean eventer_deref(eventer_t e) { return eventer_free(e); }
void eventer_ref(eventer_t e) { eventer::compat::refer(e); }
int64_t eventer_allocations_current(void) { return eventer::compat::events_now.load(); }
int64_t eventer_allocations_total(void) { return eventer::compat::events_ever.load(); }

// --- what an event holds ---

int eventer_get_fd(eventer_t e) { return e->fd; }
int eventer_get_mask(eventer_t e) { return e->mask.load(std::memory_order_relaxed); }
void eventer_set_mask(eventer_t e, int mask) { e->mask.store(mask, std::memory_order_relaxed); }
struct timeval eventer_get_whence(eventer_t e) {
  return e->whence;
}
void eventer_update_whence(eventer_t e, struct timeval w) {
  // Removed first, so that its thread does not look at the time while it changes.
  const bool was_set = (e->mask.load() & EVENTER_TIMER) != 0 && eventer::compat::remove_added(*e) != nullptr;
  e->whence = w;
  if (was_set) eventer::compat::add_timer(*e);
}
pthread_t eventer_get_owner(eventer_t e) { return e->loop_thread().thread; }
void eventer_set_owner(eventer_t e, pthread_t loop_thread) {
  if (e->is_aco) return;
  eventer::compat::loop_thread* const found = eventer::compat::runtime::of_process().find(loop_thread);
  if (found == nullptr)
    eventer::compat::refuse("eventer_set_owner(): the thread is no loop's; see eventer_choose_owner()");
  e->owner.store(found);
}
eventer_func_t eventer_get_callback(eventer_t e) { return e->callback; }
void eventer_set_callback(eventer_t e, eventer_func_t f) { e->callback = f; }
void* eventer_get_closure(eventer_t e) { return e->closure; }
void eventer_set_closure(eventer_t e, void* closure) { e->closure = closure; }
eventer_fd_opset_t eventer_get_fd_opset(eventer_t e) { return reinterpret_cast<eventer_fd_opset_t>(e->io.get()); }
eventer_pool_t* eventer_get_pool_for_event(eventer_t e) { return &e->loop_thread().pool; }
int eventer_thread_check(eventer_t e) { return &e->loop_thread() == eventer::compat::this_loop ? 1 : 0; }

// --- schedule ---

void eventer_add(eventer_t e) {
  const int mask = e->mask.load();
  if ((mask & EVENTER_ASYNCH) != 0) return eventer_add_asynch(nullptr, e);
  if ((mask & EVENTER_RECURRENT) != 0) return eventer_add_recurrent(e);
  if ((mask & EVENTER_TIMER) != 0) return eventer_add_timed(e);
  if ((mask & _event::kinds) == 0)
    eventer::compat::refuse("eventer_add() of an event whose mask says nothing to wait for");
  if (e->is_aco)
    eventer::compat::refuse("eventer_add() of an event that a coroutine has converted: eventer_unset_eventer_aco()");
  eventer::compat::add_descriptor(*e);
}
eventer_t eventer_remove(eventer_t e) {
  if ((e->mask.load() & EVENTER_ASYNCH) != 0)
    eventer::compat::refuse("eventer_remove() of an asynchronous event: it ends by itself");
  return eventer::compat::remove_added(*e);
}
void eventer_update(eventer_t e, int mask) {
  e->mask.store(mask);
  if (!e->is_added()) return;
  eventer::compat::on_thread_of(e->loop_thread(), [mine = eventer::compat::held_event(e), mask] {
    // It may have moved since: its new loop has found the mask.
    if (mine->is_added() && &mine->loop_thread() == eventer::compat::this_loop)
      eventer::compat::set_interest(*mine, mask);
  });
}
eventer_t eventer_find_fd(int fd) { return eventer::compat::descriptor_table::find(fd); }
eventer_t eventer_remove_fd(int fd) {
  const auto found = eventer::compat::descriptor_table::hold(fd);
  return found ? eventer::compat::remove_added(**found) : nullptr;
}
void eventer_add_timed(eventer_t e) { eventer::compat::add_timer(*e); }
eventer_t eventer_remove_timed(eventer_t e) { return eventer::compat::remove_added(*e); }
void eventer_add_recurrent(eventer_t e) { eventer::compat::add_recurrent(*e); }
eventer_t eventer_remove_recurrent(eventer_t e) { return eventer::compat::remove_added(*e); }
eventer_t eventer_at(eventer_func_t f, void* closure, struct timeval whence) {
  return eventer_alloc_timer(f, closure, &whence);
}
eventer_t eventer_in(eventer_func_t f, void* closure, struct timeval diff) {
  timeval when{};
  add_timeval(eventer::compat::wall_clock(), diff, &when);
  return eventer_at(f, closure, when);
}
eventer_t eventer_in_s_us(eventer_func_t f, void* closure, unsigned long s, unsigned long us) {
  timeval diff{};
  diff.tv_sec = static_cast<time_t>(s + us / 1'000'000);
  diff.tv_usec = static_cast<suseconds_t>(us % 1'000'000);
  return eventer_in(f, closure, diff);
}
eventer_t eventer_add_at(eventer_func_t f, void* closure, struct timeval whence) {
  const eventer_t made = eventer_at(f, closure, whence);
  eventer_add(made);
  return made;
}
eventer_t eventer_add_in(eventer_func_t f, void* closure, struct timeval diff) {
  const eventer_t made = eventer_in(f, closure, diff);
  eventer_add(made);
  return made;
}
eventer_t eventer_add_in_s_us(eventer_func_t f, void* closure, unsigned long s, unsigned long us) {
  const eventer_t made = eventer_in_s_us(f, closure, s, us);
  eventer_add(made);
  return made;
}
eventer_t eventer_alloc_timer_next_opportunity(eventer_func_t f, void* closure, pthread_t owner) {
  timeval never{};
  const eventer_t made = eventer_alloc_timer(f, closure, &never);
  eventer_set_owner(made, owner);
  return made;
}
eventer_t eventer_add_timer_next_opportunity(eventer_func_t f, void* closure, pthread_t owner) {
  const eventer_t made = eventer_alloc_timer_next_opportunity(f, closure, owner);
  eventer_add(made);
  return made;
}
void eventer_trigger(eventer_t e, int mask) {
  namespace compat = eventer::compat;
  auto now = [mine = compat::held_event(e), mask, was_added_then = e->is_added()] {
    _event& which = *mine;
    if (was_added_then && !which.is_added()) return;                                      // it has ended since
    if (&which.loop_thread() != compat::this_loop) return eventer_trigger(&which, mask);  // it has moved since
    if (!which.is_for_descriptor()) {
      // What is not for a descriptor is called as if its time had come.
      const int kind = which.mask.load() & (EVENTER_TIMER | EVENTER_RECURRENT);
      (void)compat::remove_added(which);
      if ((compat::call_back(which, mask).next & kind) != 0)
        eventer_add(&which);
      else
        compat::drop_reference(&which);
      return;
    }
    if (which.fd >= 0 && !compat::descriptor_table::put(which.fd, &which)) return;  // another event has it
    std::uint64_t state = which.state.load();
    const bool was_added = (state & 1) != 0;
    if (!was_added) state = compat::begin_to_be_added(which);
    const int fd = which.fd;
    const int next = compat::settle(which, state, fd, compat::call_back(which, mask));
    if (next == 0) {
      if (was_added && !which.is_added()) compat::unregister(which, *compat::this_loop, fd);
    } else if (was_added)
      compat::set_interest(which, next);
    else
      compat::register_descriptor(mine, state);
  };
  compat::loop_thread& there = e->loop_thread();
  if (compat::this_loop != &there) return there.loop.post(std::move(now));
  if (!eventer::in_coroutine()) return now();
  compat::frame classic{.is_classic = true};  // its callback must not wait
  compat::call_in(classic, now);
}
void eventer_wakeup(eventer_t e) {
  (e == nullptr ? eventer::compat::runtime::of_process().first() : e->loop_thread()).loop.post([] {});
}
void eventer_foreach_fdevent(void (*f)(eventer_t, void*), void* closure) {
  std::vector<eventer::compat::held_event> all;
  eventer::compat::descriptor_table::visit([&all](_event* which) { all.emplace_back(which); });
  for (const auto& each : all) f(each.get(), closure);
}
void eventer_foreach_timedevent(void (*f)(eventer_t, void*), void* closure) {
  std::vector<eventer::compat::held_event> all;
  for (const auto& each : eventer::compat::runtime::of_process().threads()) {
    const std::lock_guard lock(each->mutex);
    for (_event* const which : each->timed) all.emplace_back(which);
  }
  for (const auto& each : all) f(each.get(), closure);
}
int eventer_run_callback(eventer_func_t f, eventer_t e, int m, void* c, struct timeval* n, uint64_t* dur) {
  const mtev_hrtime_t begun = mtev_gethrtime();
  timeval now = n != nullptr ? *n : eventer::compat::wall_clock();
  const int next = f(e, m, c, &now);
  if (dur != nullptr) *dur = mtev_gethrtime() - begun;
  return next;
}

}  // extern "C"
