// run_service: a whole server program, for those who want no more: a pool of loops, listeners, signals, and what a
// service manager wants to hear.
//
//   int main() {
//     eventer::listener_registry functions;
//     functions.add("lines", serve_lines);
//     return eventer::run_service("service.toml", functions);
//   }
#pragma once

#include <signal.h>
#include <unistd.h>

#include <exception>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "eventer/event/run.hpp"
#include "eventer/event/signal_set.hpp"
#include "eventer/listener/listeners.hpp"
#include "eventer/net/service_notice.hpp"

namespace eventer::inline EVENTER_ABI {

namespace detail {
class service;
}

// What the functions of a service may ask about it: made before run_service(), given to it in the options, and captured
// by the functions. A handle; before the service listens, and after its end, there is nothing to tell.
class service_monitor {
  struct state {
    template <class F>
    auto with_lock(const F& what) {
      const std::lock_guard lock(mutex);
      return what(*this);
    }
    std::mutex mutex;  // for a moment
    const listeners* all = nullptr;
    loop_pool* pool = nullptr;  // outlives the coroutines that may ask for it
  };

 public:
  // Of those that listen, in the order of the configuration. Any thread.
  std::vector<listener_statistics> of_listeners() const {
    return state_->with_lock([](const state& now) {
      return now.all != nullptr ? now.all->statistics() : std::vector<listener_statistics>();
    });
  }
  // Of each loop, in order; waits until all have answered, as loop_pool::stats() does. Requires: in a coroutine of the
  // service.
  std::vector<loop_stats> of_loops() const {
    loop_pool* const pool = state_->with_lock([](const state& now) { return now.pool; });
    return pool != nullptr ? pool->stats() : std::vector<loop_stats>();
  }
  // As listeners::ready(). Any thread.
  bool ready() const {
    return state_->with_lock([](const state& now) { return now.all != nullptr && now.all->ready(); });
  }

 private:
  friend class detail::service;
  void watch(const listeners* all, loop_pool* pool) const {
    state_->with_lock([&](state& now) {
      now.all = all;
      now.pool = pool;
    });
  }

  std::shared_ptr<state> state_ = std::make_shared<state>();
};

// Use designated initialisers; members are only ever appended.
struct service_options {
  loop_options loops = {};  // of each loop of the pool
  // Called when everything listens: on the main thread, in its coroutine, which handles the signals.
  void (*started)(listeners&) = nullptr;
  service_monitor monitor = {};
};

namespace detail {

// On the heap, as others than its coroutine reach it.
class service : public std::enable_shared_from_this<service> {
 public:
  service(std::shared_ptr<const config_source> from, const listener_registry& functions, const service_options& options)
      : from_(std::move(from)), functions_(functions), options_(options) {}

  int run() {
    signals_ = std::make_unique<signal_set>(std::initializer_list<int>{SIGHUP, SIGINT, SIGTERM});  // before any thread
    const int result = start_and_serve();
    watchdog_.cancel();
    if (watchdog_.joinable()) (void)watchdog_.try_join();
    options_.monitor.watch(nullptr, nullptr);
    listeners_ = listeners();
    pool_.reset();
    return result;
  }

 private:
  static constexpr int exit_failed = 1;
  static constexpr int exit_by_signal = 128;  // and the signal's number, as shells say it

  int start_and_serve() {
    try {
      start();
    } catch (const std::exception& failure) {
      log_lines("can't start", failure.what());
      return exit_failed;
    }
    for (;;) {
      const int which = signals_->next();
      if (which != SIGHUP) return end(which);
      reload();
    }
  }
  void start() {
    config_ = from_->read();
    loop_options of_pool = options_.loops;
    of_pool.fault_reports = true;
    pool_ = std::make_unique<loop_pool>(config_.loops, of_pool);
    listeners_ = start_on(loops_of(*pool_), config_, functions_);
    options_.monitor.watch(&listeners_, pool_.get());
    pool_->start();
    say_what_listens("listens");
    if (options_.started != nullptr) options_.started(listeners_);
    notice_.ready(std::to_string(config_.listeners.size()) + " listeners on " + std::to_string(pool_->size()) +
                  " loops");
    if (notice_.watchdog_limit() > duration::zero())
      watchdog_ = spawn(spawn_options{.name = "watchdog"}, [self = shared_from_this()] { self->watch(); });
  }
  // The old configuration stays where the new one has errors.
  void reload() {
    notice_.reloading();
    std::string status;
    try {
      service_config next = from_->read();
      listeners_.reload(next);
      if (next.loops != config_.loops)
        log(log_level::warning, "service: loops is looked at when the program is started: it stays as it was");
      config_ = std::move(next);
      say_what_listens("has reloaded its configuration: listens");
      status = "reloaded: " + std::to_string(config_.listeners.size()) + " listeners";
    } catch (const std::exception& failure) {
      log_lines("can't reload, and goes on as before", failure.what());
      status = "can't reload: ";
      status += failure.what();
    }
    notice_.ready(status);
  }
  int end(int which) {
    notice_.stopping("draining");
    log(log_level::info, "service: signal %d: drains, for at most %lld ms", which,
        static_cast<long long>(std::chrono::duration_cast<std::chrono::milliseconds>(config_.drain_limit).count()));
    auto second =
        spawn(spawn_options{.name = "second signal"}, [self = shared_from_this()] { self->exit_at_second(); });
    const std::size_t cut = listeners_.drain(config_.drain_limit, config_.drain_idle);
    second.cancel();
    (void)second.try_join();
    log(log_level::info, "service: ends; %zu connections were cancelled", cut);
    return 0;
  }
  // Who asks again does not want to wait.
  void exit_at_second() {
    int which = SIGHUP;
    while (which == SIGHUP) which = signals_->next();
    log(log_level::warning, "service: signal %d while it drains: exits at once", which);
    std::fflush(nullptr);
    ::_exit(exit_by_signal + which);
  }
  // Says that it lives as long as every loop answers.
  void watch() {
    const duration half = notice_.watchdog_limit() / 2;
    for (;;) {
      const time_point next = deadline_after(event_loop::current().now(), half);
      std::vector<join_handle<void>> answers;
      for (event_loop* const each : loops_of(*pool_)) answers.push_back(each->spawn([] {}));
      bool all = true;
      for (auto& each : answers) all = each.join_for(next).has_value() && all;
      if (all) notice_.watchdog();
      if (!all) log(log_level::error, "service: a loop does not answer: the watchdog is not told that all is well");
      sleep_until(next);
    }
  }

  void say_what_listens(const char* how) const {
    log(log_level::info, "service: %s, %zu listeners on %zu loops", how, config_.listeners.size(),
        static_cast<std::size_t>(pool_->size()));
    for (const listener_statistics& each : listeners_.statistics())
      log(log_level::info, "service: %s on %s", each.type.c_str(), each.local.c_str());
  }
  static void log_lines(const char* what, std::string_view text) {
    while (!text.empty()) {
      const std::size_t end = text.find('\n');
      log(log_level::error, "service: %s: %.*s", what,
          static_cast<int>(end == std::string_view::npos ? text.size() : end), text.data());
      text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
    }
  }

  const std::shared_ptr<const config_source> from_;
  const listener_registry functions_;
  const service_options options_;
  const service_notice notice_;
  std::unique_ptr<signal_set> signals_;
  service_config config_;
  std::unique_ptr<loop_pool> pool_;
  listeners listeners_;  // goes before its loops
  join_handle<void> watchdog_;
};

inline int run_service_from(std::shared_ptr<const config_source> from, const listener_registry& functions,
                            const service_options& options) {
  (void)inherited_sockets::of_process();  // while this is the only thread
  auto all = std::make_shared<service>(std::move(from), functions, options);
  return eventer::run([all = std::move(all)] { return all->run(); });
}

}  // namespace detail

// Runs listeners on a pool of loops until the process is told to end. `read` gives the configuration, at the start and
// whenever it is read again (listeners.hpp adds: a file's path).
//
//   SIGHUP            reads the configuration again; where it has errors they are logged, and the old one stays
//   SIGTERM, SIGINT   drains, within the configuration's drain_limit; a second one exits at once
//
// systemd, or whoever has set NOTIFY_SOCKET, is told READY, RELOADING, STOPPING and, where it asks for it, WATCHDOG, as
// long as every loop answers. Changes of state are one line each in the log (level info).
//
// Returns: 0 after a drain; 1 where it could not start, with the reasons in the log. With the second signal the process
// exits with 128 + its number. Requires: called before other threads are started, not in a coroutine.
template <detail::reads_config F>
int run_service(F&& read, const listener_registry& functions, const service_options& options = {}) {
  return detail::run_service_from(std::make_shared<detail::typed_config_source<std::decay_t<F>>>(std::forward<F>(read)),
                                  functions, options);
}

}  // namespace eventer::inline EVENTER_ABI
