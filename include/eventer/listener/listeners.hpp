// listeners: a set of listeners that runs, on one loop or on all of a pool; how it is started, changed and drained.
//
//   auto all = eventer::start_listeners(config, functions);
//   ...
//   all.drain(10s);
//
// A listener's identity is its address: what keeps it keeps its socket and its connections, whatever else changes.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <type_traits>
#include <utility>
#include <vector>

#include "eventer/coro/sync/mutex.hpp"
#include "eventer/event/loop_pool.hpp"
#include "eventer/listener/active_listener.hpp"
#include "eventer/listener/listener_plan.hpp"

namespace eventer::inline EVENTER_ABI {

namespace detail {

// What gives a configuration whenever it is called.
template <class F>
concept reads_config = std::is_invocable_r_v < service_config,
        const std::decay_t<F>
& > ;

// Where a configuration comes from when it is read again.
class config_source {
 public:
  virtual ~config_source() = default;
  virtual service_config read() const = 0;
};
template <class F>
class typed_config_source final : public config_source {
 public:
  template <class From>
  explicit typed_config_source(From&& from) : read_(std::forward<From>(from)) {}
  service_config read() const override { return read_(); }

 private:
  F read_;
};

class listener_set : public std::enable_shared_from_this<listener_set> {
 public:
  listener_set(std::vector<event_loop*> loops, const listener_registry& functions)
      : loops_(std::move(loops)), functions_(functions) {}

  void set_source(std::shared_ptr<const config_source> from) { source_ = std::move(from); }

  // Makes the set what the configuration says, all of it or nothing. Errors: config_error.
  void apply(const service_config& config) {
    const std::lock_guard alone(control_);
    refuse_drained();
    auto plans = listener_planner::plan(config, functions_);
    std::vector<step> steps = steps_for(plans);
    wait_for_leaving(steps);
    open_sockets(steps);
    carry_out(steps, config);
  }
  void reload() {
    if (source_ == nullptr)
      throw std::logic_error("listeners::reload() of listeners that were not started from a file: reload(config)");
    apply(source_->read());
  }

  std::size_t drain(duration limit, duration idle) {
    ready_.store(false);
    drain_begun_.set();
    const std::lock_guard alone(control_);
    const time_point now = now_here();
    const time_point end = deadline_after(now, limit);
    const time_point idle_end = deadline_after(now, idle < limit / 2 ? idle : limit / 2);
    drained_ = true;
    const std::vector<std::shared_ptr<active_listener>> all = snapshot(active_);
    const std::vector<std::shared_ptr<retiring_listener>> leaving = snapshot(retiring_);
    join_all(all, [](active_listener& each) { return each.begin_draining(); });
    join_all(all, [](active_listener& each) { return each.leave(0); });
    for (const auto& each : leaving) each->sockets_gone.wait();
    std::vector<join_handle<std::size_t>> ends;
    for (const auto& each : all) take_handles(ends, each->finish(idle_end, end));
    for (const auto& each : leaving) take_handles(ends, each->listener->finish(idle_end, end));
    std::size_t cut = 0;
    for (auto& each : ends) cut += each.join();
    return cut;
  }
  bool ready() const noexcept { return ready_.load(); }
  shared_event drain_begun() const { return drain_begun_; }

  std::vector<listener_statistics> statistics() const {
    const std::lock_guard lock(mutex_);
    std::vector<listener_statistics> result;
    for (const auto& each : active_) result.push_back(each->statistics());
    return result;
  }
  // Any thread; does not wait.
  void abandon() {
    ready_.store(false);
    for (const auto& each : snapshot(active_)) each->abandon();
    for (const auto& each : snapshot(retiring_)) each->listener->abandon();
  }

 private:
  struct retiring_listener {
    std::shared_ptr<active_listener> listener;
    std::string key;
    shared_event sockets_gone;
  };
  // What becomes of one listener.
  struct step {
    const listener_plan* plan;
    std::shared_ptr<active_listener> kept;  // nullptr: it is new
    active_listener::sockets add;
    std::size_t wanted;  // sockets
  };

  void refuse_drained() const {
    if (drained_)
      throw std::system_error(make_error_code(errc::closed), "listeners that were drained can't be changed any more");
  }
  template <class F>
  void with_lock(const F& what) const {
    const std::lock_guard lock(mutex_);
    what();
  }
  static time_point now_here() noexcept {
    const scheduler* const here = scheduler::current();
    return here != nullptr ? here->now() : clock::now();
  }
  template <class T>
  std::vector<T> snapshot(const std::vector<T>& of) const {
    const std::lock_guard lock(mutex_);
    return of;
  }
  template <class R>
  static void take_handles(std::vector<join_handle<R>>& into, std::vector<join_handle<R>>&& from) {
    for (auto& each : from) into.push_back(std::move(each));
  }
  template <class F>
  static void join_all(const std::vector<std::shared_ptr<active_listener>>& of, const F& what) {
    std::vector<join_handle<void>> handles;
    for (const auto& each : of) take_handles(handles, what(*each));
    for (auto& each : handles) each.join();
  }

  std::shared_ptr<active_listener> find(const std::string& key) const {
    for (std::size_t i = 0; i < active_.size(); ++i)
      if (keys_[i] == key) return active_[i];
    return nullptr;
  }
  std::vector<step> steps_for(const std::vector<listener_plan>& plans) const {
    std::vector<step> steps;
    std::vector<config_problem> problems;
    for (const listener_plan& each : plans) {
      step next{&each, find(each.key), {}, each.hands_over ? 1 : loops_.size()};
      if (!each.inherited.empty()) next.wanted = each.inherited.size();
      if (next.kept != nullptr && next.kept->config().v6_only != each.config->v6_only)
        problems.push_back(listener_planner::problem(
            *each.config, "v6_only: can't be changed while the listener runs: remove it first, or start anew"));
      steps.push_back(std::move(next));
    }
    if (!problems.empty()) throw config_error(std::move(problems));
    return steps;
  }
  // An address that was given up a moment ago may still be in use by ourselves.
  void wait_for_leaving(const std::vector<step>& steps) const {
    for (const auto& each : snapshot(retiring_))
      for (const step& next : steps)
        if (next.plan->key == each->key) each->sockets_gone.wait();
  }

  // All that have to be opened, or none.
  void open_sockets(std::vector<step>& steps) const {
    std::vector<config_problem> problems;
    for (step& each : steps)
      if (const std::error_code error = open_sockets_of(each))
        problems.push_back(listener_planner::problem(
            *each.plan->config,
            "address: can't listen on " + detail::quoted(each.plan->config->address, 120) + ": " + error.message()));
    if (!problems.empty()) throw config_error(std::move(problems));
  }
  static std::error_code open_sockets_of(step& which) {
    const listener_config& config = *which.plan->config;
    if (which.kept == nullptr)
      for (const int fd : which.plan->inherited) {
        auto socket = listening_socket::duplicate(fd);
        if (!socket) return socket.error();
        which.add.push_back(std::move(*socket));
      }
    const std::size_t before = which.kept != nullptr ? which.kept->socket_count() : 0;
    while (before + which.add.size() < which.wanted) {
      listening_socket* const first = before > 0          ? &which.kept->socket(0)
                                      : which.add.empty() ? nullptr
                                                          : which.add.front().get();
      if (first != nullptr)
        if (const std::error_code error = first->admit_others()) return error;
      auto socket =
          listening_socket::open(first != nullptr ? first->local() : which.plan->where, config, first != nullptr);
      if (!socket) return socket.error();
      which.add.push_back(std::move(*socket));
    }
    return {};
  }

  // Nothing fails from here on.
  void carry_out(std::vector<step>& steps, const service_config& config) {
    std::vector<std::shared_ptr<active_listener>> now;
    std::vector<std::string> keys;
    std::vector<join_handle<void>> changes;
    for (step& each : steps) {
      auto rules = std::make_shared<const listener_rules>(*each.plan);
      std::shared_ptr<active_listener> listener = each.kept;
      if (listener == nullptr)
        listener = std::make_shared<active_listener>(loops_, std::move(rules), next_loop_++ % loops_.size());
      else
        take_handles(changes, listener->change(std::move(rules)));
      resize(*listener, each, changes);
      now.push_back(std::move(listener));
      keys.push_back(each.plan->key);
    }
    for (std::size_t i = 0; i < active_.size(); ++i) {
      bool stays = false;
      for (const auto& each : now) stays = stays || each == active_[i];
      if (!stays) retire(active_[i], keys_[i], config);
    }
    with_lock([&] {
      active_ = std::move(now);
      keys_ = std::move(keys);
    });
    for (auto& each : changes) each.join();
    ready_.store(true);
  }
  void resize(active_listener& which, step& how, std::vector<join_handle<void>>& changes) {
    if (which.socket_count() > how.wanted) {
      if (const std::error_code error = which.socket(0).take_all(true))
        log(log_level::warning, "listener %s: connections that come now may be lost: steering them: %s",
            how.plan->key.c_str(), error.message().c_str());
      take_handles(changes, which.leave(how.wanted));
    } else if (!how.add.empty()) {
      if (how.kept != nullptr) (void)which.socket(0).take_all(false);  // an error where it never took all
      which.start(std::move(how.add));
    }
  }
  // Its connections end in peace, while the others go on.
  void retire(const std::shared_ptr<active_listener>& which, const std::string& key, const service_config& config) {
    auto leaving = std::make_shared<retiring_listener>();
    leaving->listener = which;
    leaving->key = key;
    with_lock([&] { retiring_.push_back(leaving); });
    (void)loops_.front()->spawn(spawn_options{.name = "listener retires"}, [self = shared_from_this(), leaving,
                                                                            limit = config.drain_limit,
                                                                            idle = config.drain_idle] {
      const time_point now = now_here();
      active_listener& listener = *leaving->listener;
      std::vector<join_handle<void>> handles = listener.begin_draining();
      take_handles(handles, listener.leave(0));
      for (auto& each : handles) each.join();
      leaving->sockets_gone.set();
      auto ends = listener.finish(deadline_after(now, idle < limit / 2 ? idle : limit / 2), deadline_after(now, limit));
      for (auto& each : ends) (void)each.join();
      self->with_lock([&] { std::erase(self->retiring_, leaving); });
    });
  }

  const std::vector<event_loop*> loops_;
  const listener_registry functions_;
  std::shared_ptr<const config_source> source_;
  shared_mutex_handle control_;  // whoever changes something, over its waits
  mutable std::mutex mutex_;     // the lists, for a moment
  std::vector<std::shared_ptr<active_listener>> active_;
  std::vector<std::string> keys_;
  std::vector<std::shared_ptr<retiring_listener>> retiring_;
  std::size_t next_loop_ = 0;
  bool drained_ = false;
  std::atomic<bool> ready_{false};
  shared_event drain_begun_;
};

}  // namespace detail

// A handle to listeners that run. Requires: their loops outlive it.
class listeners {
 public:
  listeners() noexcept = default;  // none
  listeners(listeners&&) noexcept = default;
  listeners& operator=(listeners&& other) noexcept {
    std::swap(set_, other.set_);
    return *this;
  }
  // Stops at once, without waiting: what is still connected is cancelled. To end in peace: drain() first.
  ~listeners() {
    if (set_ != nullptr) set_->abandon();
  }

  // Reads the configuration again from where it came, or takes another one. Listeners whose address is still there keep
  // their sockets and connections; for connections that come when this has returned everything else holds that it says.
  // Added ones listen. Removed ones accept what has come, listen no more, and their connections drain within
  // drain_limit, while this returns. `loops` is not looked at.
  //
  // Errors: config_error with everything that is wrong; then nothing has changed. What the reading throws; errc::closed
  // after drain(). Requires: in a coroutine, or on a thread that runs none of the loops; the loops run.
  void reload() { set().reload(); }
  void reload(const service_config& config) { set().apply(config); }

  // Ends in peace: ready() turns false; what has come is accepted, and nothing listens any more; connections that are
  // idle (see any_stream) end after `idle`, each of the others as soon as it has answered what it has read; what is
  // left at `limit` is cancelled.
  //
  // Completes: when no connection is left. Returns: how many were cancelled. Requires: as reload().
  std::size_t drain(duration limit, duration idle = std::chrono::seconds(1)) { return set().drain(limit, idle); }
  // For a balancer's question whether to send connections here. Any thread.
  bool ready() const noexcept { return set_ != nullptr && set_->ready(); }
  // Set when drain() begins; for what does not wait in reads, but for something that its program sends.
  shared_event drain_begun() const { return set().drain_begun(); }

  // Of those that listen, in the order of the configuration. Any thread.
  std::vector<listener_statistics> statistics() const {
    return set_ != nullptr ? set_->statistics() : std::vector<listener_statistics>();
  }

  // For the library.
  explicit listeners(std::shared_ptr<detail::listener_set> set) noexcept : set_(std::move(set)) {}

 private:
  detail::listener_set& set() const {
    if (set_ == nullptr) throw std::logic_error("listeners that were never started, or moved from");
    return *set_;
  }

  std::shared_ptr<detail::listener_set> set_;
};

namespace detail {

inline listeners start_on(std::vector<event_loop*> loops, const service_config& config,
                          const listener_registry& functions, std::shared_ptr<const config_source> from = nullptr) {
  auto set = std::make_shared<listener_set>(std::move(loops), functions);
  set->set_source(std::move(from));
  set->apply(config);
  return listeners(std::move(set));
}
template <reads_config F>
listeners start_on(std::vector<event_loop*> loops, F&& read, const listener_registry& functions) {
  auto from = std::make_shared<typed_config_source<std::decay_t<F>>>(std::forward<F>(read));
  const service_config config = from->read();
  return start_on(std::move(loops), config, functions, std::move(from));
}
inline std::vector<event_loop*> loops_of(loop_pool& pool) {
  std::vector<event_loop*> all;
  for (unsigned i = 0; i < pool.size(); ++i) all.push_back(&pool[i]);
  return all;
}

}  // namespace detail

// Starts what the configuration says: everything is checked, then all sockets are opened, then connections are
// accepted. On the loop of this thread, or on those of a pool, which may start later. The configuration is a
// service_config, or a function that gives one and is called by reload() again (listeners.hpp adds: a file's path).
//
// Errors: config_error with everything that is wrong, also with what can't be listened on; then nothing listens. What
// the function throws.
inline listeners start_listeners(const service_config& config, const listener_registry& functions) {
  return detail::start_on({&event_loop::current()}, config, functions);
}
inline listeners start_listeners(const service_config& config, const listener_registry& functions, loop_pool& pool) {
  return detail::start_on(detail::loops_of(pool), config, functions);
}
template <detail::reads_config F>
listeners start_listeners(F&& read, const listener_registry& functions) {
  return detail::start_on({&event_loop::current()}, std::forward<F>(read), functions);
}
template <detail::reads_config F>
listeners start_listeners(F&& read, const listener_registry& functions, loop_pool& pool) {
  return detail::start_on(detail::loops_of(pool), std::forward<F>(read), functions);
}

}  // namespace eventer::inline EVENTER_ABI
