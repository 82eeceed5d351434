// loop_pool: event loops on threads of their own, one for each CPU that the process may use.
//
//   eventer::loop_pool pool;
//   pool.start([](eventer::event_loop&, unsigned) { eventer::spawn(serve); });
//   ends.next();                     // a signal_set, made before
//   pool.stop();
//   pool.join();
//
// A coroutine stays on the loop that it was spawned on. See docs/loops.md for what may go from one loop to another.
#pragma once

#include <atomic>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#include "eventer/base/usable_cpus.hpp"
#include "eventer/coro/spawn.hpp"
#include "eventer/event/loop_threads.hpp"
#include "eventer/event/run.hpp"

namespace eventer::inline EVENTER_ABI {

class loop_pool {
 public:
  // 0 loops: as many as usable_cpus(). All are made with `options`, whose clock, if any, they share. No thread is made
  // yet; spawn and post may be called already. Throws std::system_error: as event_loop's constructor.
  explicit loop_pool(unsigned loops = 0, const loop_options& options = {})
      : threads_(std::make_unique<detail::loop_threads>(loops != 0 ? loops : usable_cpus(), options)) {}
  loop_pool(const loop_pool&) = delete;
  loop_pool& operator=(const loop_pool&) = delete;
  // Stops the pool; then all loops cancel their coroutines and run them to their ends, each on its own thread, all at
  // the same time, within loop_options::shutdown_grace; then they are destroyed. Parks a coroutine of another loop.
  // Requires: not on one of the pool's own threads.
  ~loop_pool() {
    if (threads_->forked()) threads_.release()->leave_behind();
  }

  unsigned size() const noexcept { return threads_->size(); }
  event_loop& operator[](unsigned index) {
    if (EVENTER_UNLIKELY(index >= size())) broken_rule("a loop_pool has no loop of that number: see size()");
    return threads_->loop(index);
  }
  // Any thread: each loop in its turn.
  event_loop& next() noexcept { return threads_->loop(next_.fetch_add(1, std::memory_order_relaxed) % size()); }

  // Runs every loop on its thread until stop(), also without anything to do. The loops are the threads' then.
  //
  // Completes: when all run. Parks a coroutine of another loop; it is not cancelled meanwhile.
  // Errors: the first, when no loop runs any more: std::system_error where there is no thread; what `on_each` has
  // thrown, or a loop at once. std::system_error(busy) if the pool was started and not joined since.
  void start() { threads_->start(nullptr); }
  // Before any loop runs: `on_each(loop, index)` on each loop's thread, as a callback of it (so that spawn() is to this
  // loop, and nothing may wait); one after the other, in order. It is moved to the heap, and destroyed when start()
  // returns. What it has spawned before another one threw stays on its loop.
  template <class F>
  requires std::is_invocable_v < std::decay_t<F>
  &, event_loop&, unsigned > void start(F&& on_each) {
    using starter = detail::typed_loop_starter<std::decay_t<F>>;
    auto mine = std::make_unique<starter>(std::forward<F>(on_each));
    detail::check_captures_always(mine->function, "loop_pool::start");
    threads_->start(std::move(mine));
  }
  // start(), and join(). Meanwhile std::terminate prints the coroutine's name, as with eventer::run. A coroutine that
  // is cancelled here stops the pool first.
  void run() {
    const detail::terminate_message names_coroutines;
    threads_->start(nullptr);
    threads_->join(true);
  }
  template <class F>
  requires std::is_invocable_v < std::decay_t<F>
  &, event_loop&, unsigned > void run(F&& on_each) {
    const detail::terminate_message names_coroutines;
    start(std::forward<F>(on_each));
    threads_->join(true);
  }

  // Any thread, and signal handlers. Every loop leaves run() after its turn; what is parked stays parked, and goes on
  // when the pool is started again. A stop that comes before start() is not lost: the loops return as soon as they run.
  // (A loop of the pool that is stopped by itself is run again.)
  void stop() noexcept { threads_->stop(); }
  // Waits until all loops have left run() after a stop(); at once if the pool was not started. Then it may be started
  // again, and what stop() has asked for so far is done. The threads stay, asleep, until the pool is destroyed.
  //
  // Completes: parks a coroutine of another loop, blocks a plain thread.
  // Errors: the first exception that has left a loop since start(), which has stopped all; the loops stay usable.
  // std::system_error(resource_deadlock_would_occur) on the pool's own threads; `cancelled`, or timed_out at the end of
  // a deadline_scope, which leave the pool as it is.
  void join() { threads_->join(false); }

  // As event_loop::spawn, on the next() loop.
  template <class F, class... Arguments>
  requires detail::spawnable<F, Arguments...>
  auto spawn(F&& function, Arguments&&... arguments) {
    return next().spawn(std::forward<F>(function), std::forward<Arguments>(arguments)...);
  }
  template <class F, class... Arguments>
  requires detail::spawnable<F, Arguments...>
  auto spawn(const spawn_options& options, F&& function, Arguments&&... arguments) {
    return next().spawn(options, std::forward<F>(function), std::forward<Arguments>(arguments)...);
  }
  template <class T>
  join_handle<T> spawn(task<T> what) {
    return next().spawn(std::move(what));
  }
  template <class T>
  join_handle<T> spawn(const spawn_options& options, task<T> what) {
    return next().spawn(options, std::move(what));
  }

  // Of each loop, in order; any thread. A loop that runs is asked: a message to each, which wakes it, and waiting until
  // the slowest has come to the end of its turn. Where nobody asks, the loops pay nothing for it. Errors: as join().
  std::vector<loop_stats> stats() { return threads_->stats(); }

 private:
  std::unique_ptr<detail::loop_threads> threads_;  // on the heap: the pool may lie on a coroutine's shared stack
  std::atomic<unsigned> next_{0};
};

}  // namespace eventer::inline EVENTER_ABI
