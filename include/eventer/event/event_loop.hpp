// event_loop: one thread's scheduler joined to a reactor. It runs coroutines, fires time limits, hears other threads.
//
// One turn: what was posted, what is ready (bounded), what the kernel reports, whose time has come. A loop is used on
// the thread that runs it, which is the one that made it until another begins to run it; post, spawn and stop may be
// called from any thread, and the loop outlives such calls.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "eventer/base/brief_wait.hpp"
#include "eventer/base/process_mark.hpp"
#include "eventer/coro/spawn.hpp"
#include "eventer/coro/this_coroutine.hpp"
#include "eventer/event/descriptor.hpp"
#include "eventer/event/event.hpp"
#include "eventer/event/fault_reports.hpp"
#include "eventer/event/foreign_descriptor.hpp"
#include "eventer/event/loop_options.hpp"
#include "eventer/event/reactor/reactor.hpp"
#include "eventer/event/stack_report.hpp"
#include "eventer/event/stall_detector.hpp"
#include "eventer/event/wait_on_thread.hpp"

namespace eventer::inline EVENTER_ABI {

struct loop_stats {
  std::size_t coroutines = 0;      // living
  std::uint64_t resumes = 0;       // of coroutines
  std::uint64_t turns = 0;         // of the loop
  std::uint64_t waits = 0;         // calls of the reactor
  std::uint64_t events = 0;        // what they reported
  std::uint64_t stale_events = 0;  // for descriptors that were closed before
  std::uint64_t rebuilds = 0;      // of the kernel's registration set, because stale events did not end
  std::size_t registrations = 0;   // descriptors registered now
  std::size_t timers = 0;          // armed now
  std::uint64_t stalls = 0;        // reported so far; see loop_options::stall_threshold
  std::size_t parked_bytes = 0;    // save stacks in use now (their capacity)
  std::uint64_t swaps = 0;         // of coroutines on the shared stacks
  std::uint64_t bytes_copied = 0;  // for them, both ways
};

class EVENTER_API event_loop final : public scheduler {
 public:
  // Throws std::system_error: no descriptor left for the reactor, or a machine setting forbids switching stacks (the
  // text says which).
  explicit event_loop(const loop_options& options = {})
      : scheduler(options.for_scheduler()), options_(options), reactor_(options.reactor()) {
    if (options.fault_reports || scheduler::options().strict) faults_.emplace();
    if (watched_)
      set_step_observer([](scheduler& self, const char* what) { static_cast<event_loop&>(self).progress_.step(what); });
    if (options.clock != nullptr)
      options.clock->attach({this, [](void* loop) { static_cast<event_loop*>(loop)->wake_loop(); }});
  }
  // Cancels every coroutine and runs it to its end: destructors run, then waiting handles answer operation_canceled.
  // Requires: not called from a coroutine or a callback of this loop.
  ~event_loop() {
    if (is_entered())
      broken_rule(
          "an event_loop is destroyed inside itself, by a coroutine or a callback of its own (or by exit(), where it is static): call stop(), and let run() return first");
    // Another thread may be advancing the clock, and would wake what is half destroyed.
    if (options_.clock != nullptr) options_.clock->detach(this);
    unwind_all();
    const entered here(*this);
    // Before the mailbox closes: who finds it closed may destroy a descriptor of this loop on another thread.
    orphan_descriptors();
    if (!process_.forked()) close_mailbox();
    orphan_descriptors();  // of what was destroyed with the last messages
  }

  // Runs until stop(), or until no coroutine lives, no event is active, nothing is posted, no job is out and no
  // work_guard is held.
  // What a callback or a posted function throws leaves run(); the loop stays usable, and what else was to be called
  // then is called when it runs again. Errors: as above, or std::system_error from the reactor.
  void run() {
    run_while([this] {
      return living() > 0 || continuation_count() > 0 || events_.holding > 0 || !posts().empty() ||
             outside_waits() > 0 || guards_.load(std::memory_order_relaxed) > 0;
    });
  }
  // Any thread. Ends run() after the present turn; the loop can be run again.
  void stop() noexcept {
    stop_.store(true, std::memory_order_release);  // what the caller has written before is seen behind run()
    reactor_->wake();
  }
  // Runs until no coroutine lives any more and nothing is posted (what posts itself again and again keeps it going),
  // but not longer than `limit`, and not beyond stop(). Returns: how many live still. The other way to end is to
  // destroy the loop, which cancels them.
  std::size_t drain(time_limit limit = {}) {
    alarm at(*this, resolve(limit));
    run_while([&] { return (living() > 0 || !posts().empty()) && !at.over; });
    return living();
  }
  // Does what is ready now, and answers how many coroutines and callbacks went on. Never blocks. What a callback throws
  // leaves it, as it leaves run().
  std::size_t poll() {
    refuse_inside();
    const std::uint64_t before = resumes();
    const published_after at_end(*this);
    const entered here(*this);
    turn([] { return false; });
    return static_cast<std::size_t>(resumes() - before);
  }

  // --- to run it inside another loop ---

  // A descriptor that is readable, under level- and edge-triggered parents, whenever poll() has something to do: call
  // poll() then. It is the loop's own: only wait for it. after_fork_child() changes it. Throws std::system_error where
  // the process has no descriptors left.
  int native_handle() {
    embedded_ = true;
    if (scheduler::current() != this) publish();
    return reactor_->native_handle();
  }
  // When poll() has something to do that no descriptor announces: now, at the next timer, or never.
  std::optional<time_point> next_deadline() const {
    if (ready_count() > 0 || !posts().empty() || !reported_.empty()) return now();
    if (timer_count() > 0) return timers().earliest();
    return std::nullopt;
  }

  // In a child after fork(): a reactor of its own, with everything registered again. Other threads, and what they were
  // to answer, are not in the child. Without this call every use of a loop that was made before the fork throws there.
  // Errors: std::system_error where no descriptors are left.
  void after_fork_child() {
    if (const std::error_code error = rebuild_reactor()) throw_error(error, "event_loop::after_fork_child");
    process_.renew();
    renew_mailbox();
    publish();
  }

  // From any thread; as eventer::spawn. Outside this loop (another thread, or before run) the coroutine starts at the
  // loop's next turn, which is now if it sleeps; its handle may be joined on any thread, and an error of the spawn
  // comes out of the join.
  template <class F, class... Arguments>
  requires detail::spawnable<F, Arguments...>
  auto spawn(F&& function, Arguments&&... arguments) {
    return spawn(spawn_options{}, std::forward<F>(function), std::forward<Arguments>(arguments)...);
  }
  template <class F, class... Arguments>
  requires detail::spawnable<F, Arguments...>
  auto spawn(const spawn_options& options, F&& function, Arguments&&... arguments) {
    if (scheduler::current() == this)
      return detail::spawn_here(*this, options, std::forward<F>(function), std::forward<Arguments>(arguments)...);
    return detail::spawn_remote(*this, options, std::forward<F>(function), std::forward<Arguments>(arguments)...);
  }
  template <class T>
  join_handle<T> spawn(task<T> what) {
    return spawn(detail::task_call<T>{std::move(what)});
  }
  template <class T>
  join_handle<T> spawn(const spawn_options& options, task<T> what) {
    return spawn(options, detail::task_call<T>{std::move(what)});
  }
  // From any thread: runs `function()` on the loop's thread, outside any coroutine, at its next turn.
  template <class F>
  void post(F&& function) {
    scheduler::post(std::forward<F>(function), [this](const auto& closure) {
      if (scheduler::current() == this)
        detail::check_captures(closure, "post");
      else
        detail::check_captures_always(closure, "post");
    });
  }

  // --- classic events; from coroutines, callbacks and other threads. They keep run() from returning, but each_turn ---

  // Calls `function(io_mask ready)` whenever the descriptor is ready for what is wanted (level semantics), or has an
  // error; it answers what to go on with, none to release the event. A descriptor has one watch, and coroutines may
  // wait for it beside it. The descriptor stays the caller's: cancel the event, or answer none, before it is closed.
  // Errors: std::system_error(busy) if it is watched already, (bad_file_descriptor), what epoll_ctl answers; from
  // another thread than the loop's they become a line in the log.
  template <class F>
  event watch(int fd, io_mask wanted, F&& function) {
    if (fd < 0) throw_error(std::make_error_code(std::errc::bad_file_descriptor), "event_loop::watch");
    const auto find = [](scheduler& loop, int number) { return static_cast<event_loop&>(loop).foreign(number); };
    return start(*new detail::watch_event<F>(*this, events_, find, fd, wanted, std::forward<F>(function)));
  }
  // Calls `function()` once: at a time of the loop's clock, or after so long.
  template <class F>
  event at(time_point when, F&& function) {
    return start(*new detail::timer_event<F>(*this, events_, when, duration::zero(), std::forward<F>(function)));
  }
  template <class F>
  event after(duration time, F&& function) {
    return at(deadline_after(now(), time), std::forward<F>(function));
  }
  // Calls it in this rhythm from now on. Ticks that are missed are one tick. Requires: a period above zero.
  template <class F>
  event every(duration period, F&& function) {
    if (period <= duration::zero())
      throw_error(std::make_error_code(std::errc::invalid_argument),
                  "event_loop::every needs a period above zero; for every turn there is each_turn");
    return start(
        *new detail::timer_event<F>(*this, events_, deadline_after(now(), period), period, std::forward<F>(function)));
  }
  // Calls it in every turn of the loop, which it neither keeps alive nor awake.
  template <class F>
  event each_turn(F&& function) {
    return start(*new detail::typed_turn_event<F>(*this, events_, std::forward<F>(function)));
  }

  // The loop that runs on this thread. Requires: there is one.
  static event_loop& current() {
    scheduler* const here = scheduler::current();
    if (here == nullptr)
      broken_rule(
          "event_loop::current() on a thread without a running loop (in a plugin: link the executable with -rdynamic, so that both see one "
          "loop)");
    return static_cast<event_loop&>(*here);
  }

  loop_stats stats() const noexcept {
    loop_stats result = stats_;
    result.coroutines = living();
    result.resumes = resumes();
    result.timers = timer_count();
    result.stalls = progress_.stalls();
    result.parked_bytes = saves().bytes_in_use();
    for (const auto& stack : stacks_in_use().shared()) {
      const stack_stats one = stack->stats();
      result.swaps += one.swaps;
      result.bytes_copied += one.bytes_copied;
    }
    return result;
  }
  // What the stacks of this loop cost; see stack_report. Requires: the loop's thread, or a loop that does not run.
  stack_report stacks() { return make_stack_report(*this); }

  // --- for eventer::run, for descriptors and for signals ---

  reactor& kernel() noexcept { return *reactor_; }

  // Runs `function` as the loop's first coroutine until it has ended, or stop().
  template <class F>
  auto run_main(F&& function) {
    auto handle = [&] {
      const entered here(*this);
      return detail::spawn_here(*this, spawn_options{.name = "main"}, std::forward<F>(function));
    }();
    run_while([&handle] { return !handle.done(); });
    return handle;
  }
  // The first half of unwind_all(): nothing runs yet, and what is spawned from now on does not run either.
  void cancel_all() {
    const entered here(*this);
    begin_to_end();
  }
  // Cancels what still runs and runs it to its end, as the destructor does: what is in a cancel_shield may go on for
  // loop_options::shutdown_grace, with the loop's events and timers, before it is cancelled too. The events end with
  // it.
  void unwind_all() {
    wind_down();
    scheduler::unwind_all();
    const entered here(*this);
    while (events_.first != nullptr) events_.first->stop();
  }

  std::error_code add(descriptor& owner) {
    refuse_forked();
    foreign_descriptor* const also = record_of(owner.fd_);
    if (EVENTER_UNLIKELY(also != nullptr && also->in_use())) return make_error_code(errc::busy);
    const std::uint32_t index = take_slot();
    slots_[index].owner = &owner;
    if (const std::error_code error =
            owner.is_watched() ? reactor_->add(owner.fd_, token_of(index)) : std::error_code()) {
      release_slot(index);
      return error;
    }
    owner.slot_ = index;
    if (EVENTER_UNLIKELY(also != nullptr)) also->set_streamed(true);
    ++stats_.registrations;
    return {};
  }
  // `explicitly`: the kernel's registration has to be taken back too, because a duplicate may keep the file open.
  void remove(descriptor& owner, bool explicitly) noexcept {
    if (explicitly && !process_.forked()) reactor_->remove(owner.fd_);  // in a child the parent's would go
    if (foreign_descriptor* const also = record_of(owner.fd_); EVENTER_UNLIKELY(also != nullptr))
      also->set_streamed(false);
    release_slot(owner.slot_);
    --stats_.registrations;
  }
  // The record of a descriptor that foreign code reads, writes and closes; see foreign_descriptor.hpp. nullptr for a
  // number that can't be one.
  foreign_descriptor* foreign(int fd) {
    if (fd < 0) return nullptr;
    refuse_forked();
    const auto index = static_cast<std::size_t>(fd);
    if (foreign_.size() <= index) {
      if (syscalls::fcntl(fd, F_GETFD) < 0) return nullptr;  // any number would do to ask for that much memory
      foreign_.resize(index + 1);
    }
    if (foreign_[index] == nullptr) {
      foreign_[index] = std::make_unique<foreign_descriptor>(*reactor_, fd, foreign_token | index);
      for (const slot& each : slots_)  // once for a number; a bit for each stream would cost every stream
        if (each.owner != nullptr && each.owner->fd_ == fd) foreign_[index]->set_streamed(true);
    }
    return foreign_[index].get();
  }
  // The loop's scratch buffer for reads without a buffer of the caller's: valid until the next await.
  static constexpr std::size_t scratch_bytes = std::size_t{64} << 10;
  char* scratch() {
    if (scratch_ == nullptr) scratch_ = std::make_unique<char[]>(scratch_bytes);
    return scratch_.get();
  }
  bool in_scratch(const void* data) const noexcept {
    return scratch_ != nullptr && data >= scratch_.get() && data < scratch_.get() + scratch_bytes;
  }
  // A running coroutine's hold on a descriptor: on the heap, and used again and again.
  class idle_place {
   public:
    idle_place(event_loop& loop, descriptor* which) : loop_(loop), hold_(loop.take_idle_hold()) {
      if (which != nullptr) hold_->hold(*which);
    }
    idle_place(const idle_place&) = delete;
    idle_place& operator=(const idle_place&) = delete;
    ~idle_place() {
      (void)hold_->let_go();
      loop_.idle_holds_.push_back(std::move(hold_));  // never grows: there was room when it was taken
    }
    bool is_there() const noexcept { return hold_->held() != nullptr; }

   private:
    event_loop& loop_;
    std::unique_ptr<descriptor::idle_hold> hold_;
  };

  void hold() noexcept { guards_.fetch_add(1, std::memory_order_relaxed); }
  void let_go() noexcept {
    if (guards_.fetch_sub(1, std::memory_order_relaxed) == 1) reactor_->wake();
  }

  bool wants_exceptions() const noexcept override { return options_.unhandled_exception != nullptr; }

 private:
  static constexpr std::size_t resume_batch = 64;
  static constexpr unsigned batches_of_a_turn = 32;  // where a run is to be repeated
  static constexpr std::size_t timer_budget = 1024;
  static constexpr unsigned stale_events_before_rebuild = 100;
  static constexpr duration turn_time = std::chrono::microseconds(100);

  // One registration: the generation, 31 bits that go into the token, tells its events from those of a predecessor in
  // the same place.
  struct slot {
    descriptor* owner = nullptr;
    std::uint32_t generation = 0;
    std::uint32_t next_free = 0;
  };
  static constexpr std::uint64_t foreign_token = std::uint64_t{1}
                                                 << 63;  // with a generation and the number: a foreign one

  event start(detail::event_state& state) {
    event handle(state);
    if (is_on_this_thread()) {
      if (const std::error_code error = state.start()) throw_error(error, "event_loop::watch");
      return handle;
    }
    state.hold();
    post([held = std::unique_ptr<detail::event_state, event::begun_or_ended>(&state)] {
      if (const std::error_code error = held->start())
        log(log_level::error, "event_loop::watch from another thread: %s", error.message().c_str());
    });
    return handle;
  }

  std::unique_ptr<descriptor::idle_hold> take_idle_hold() {
    if (idle_holds_.empty()) {
      auto made = std::make_unique<descriptor::idle_hold>();
      idle_holds_.reserve(++idle_hold_count_);
      return made;
    }
    std::unique_ptr<descriptor::idle_hold> taken = std::move(idle_holds_.back());
    idle_holds_.pop_back();
    return taken;
  }

  void refuse_inside() const {
    if (scheduler::current() == this)
      broken_rule("event_loop::run() or poll() inside this loop: a coroutine or callback of it is running");
  }
  void refuse_forked() const {
    if (EVENTER_UNLIKELY(process_.forked()))
      throw_error(
          std::make_error_code(std::errc::operation_not_permitted),
          "this event_loop was made before fork(), and its kernel side belongs to the parent: call after_fork_child() in the child");
  }

  // Wakes the loop at a time.
  struct alarm : continuation {
    alarm(event_loop& loop, time_point when)
        : continuation([](continuation& who) { static_cast<alarm&>(who).over = true; }) {
      loop.arm(*this, when);  // which may throw
      loop.attach(*this);
    }
    ~alarm() { forget(*this); }
    bool over = false;
  };

  void wind_down() {
    if (process_.forked()) return;
    const entered here(*this);
    begin_to_end();
    if ((living() == 0 && continuation_count() == 0) || options_.shutdown_grace <= duration::zero()) return;
    const time_point end = deadline_after(now(), options_.shutdown_grace);
    const alarm at(*this, end);
    // Where nobody would advance the clock meanwhile, only what is ready goes on.
    const bool time_passes = options_.clock == nullptr || options_.clock->jumps_when_idle();
    // But other threads go on in any case, in real time.
    if (options_.clock != nullptr) outside_end_ = deadline_after(clock::now(), options_.shutdown_grace);
    const auto may_go_on = [&] {
      if (!has_shielded()) return false;
      if (options_.clock != nullptr && outside_waits() > 0) return clock::now() < outside_end_;
      return time_passes && !at.over && now() < end;
    };
    do at_end([&] { turn(may_go_on); });
    while (may_go_on() || (!time_passes && has_shielded() && ready_count() > 0));
    outside_end_ = no_deadline;
  }

  template <class Condition>
  void run_while(const Condition& wanted) {
    refuse_inside();
    const published_after at_end(*this);
    const entered here(*this);
    const fault_reports::on_this_thread watch(faults_ ? &*faults_ : nullptr);
    std::optional<stall_detector::watch> stalls;
    if (EVENTER_UNLIKELY(watched_)) stalls.emplace(progress_, options_.stall_threshold);
    while (!stop_.load(std::memory_order_acquire) && wanted()) turn(wanted);
    stop_.store(false, std::memory_order_relaxed);
  }

  // `may_block` is asked when everything that was ready has run.
  template <class Condition>
  void turn(const Condition& may_block) {
    ++stats_.turns;
    looked_ = false;
    refuse_forked();
    if (EVENTER_UNLIKELY(!reported_.empty())) dispatch();  // a callback has thrown in the last turn
    posts().run_all();
    if (EVENTER_UNLIKELY(events_.first_turn != nullptr)) detail::turn_event::call_all(events_);
    run_ready_for_a_while();
    if (EVENTER_UNLIKELY(outside_waits() > 0)) go_on_with_what_comes_soon(may_block);
    refuse_forked();  // one of them may have forked: what the child took from the kernel its parent would miss
    const time_point until = next_wait(may_block());
    if (EVENTER_UNLIKELY(watched_)) progress_.asleep();
    reported_ = reactor_->wait(until);
    looked_ = true;
    if (EVENTER_UNLIKELY(watched_)) progress_.awake();
    posts().announce_awake();
    stats_.events += reported_.size();
    if (EVENTER_UNLIKELY(jump_to_ != no_deadline)) jump();
    dispatch();
    if (timer_count() > 0) expire_timers(now(), timer_budget);
  }

  // Virtual time goes on if the look at the kernel has found nothing to do.
  EVENTER_NOINLINE void jump() {
    const time_point to = std::exchange(jump_to_, no_deadline);
    if (reported_.empty() && ready_count() == 0 && posts().empty()) options_.clock->advance_to(to, this);
  }
  EVENTER_NOINLINE time_point next_wait_of_manual_clock() {
    if (timers().earliest() <= now()) return time_point::min();
    if (!options_.clock->jumps_when_idle() || outside_waits() > 0) return outside_end_;
    jump_to_ = timers().earliest();
    return time_point::min();
  }

  // For a parent loop: what is left to do, or to look at after an exception, makes the handle readable, now or at the
  // next timer's time.
  void publish() noexcept {
    if (EVENTER_LIKELY(!embedded_) || process_.forked()) return;
    if (!looked_ || ready_count() > 0 || !reported_.empty() || !posts().announce_sleep()) return reactor_->wake();
    wake_when_touched();
#if EVENTER_EXCEPTIONS
    try {
      announce_timer();
    } catch (const std::exception& failure) {
      log(log_level::error, "a loop inside another one can't announce its next timer: %s", failure.what());
      reactor_->wake();  // the parent calls poll() again and again: nothing is lost
    }
#else
    announce_timer();
#endif
  }
  struct published_after {
    explicit published_after(event_loop& which) noexcept : loop(which) {}
    published_after(const published_after&) = delete;
    published_after& operator=(const published_after&) = delete;
    ~published_after() { loop.publish(); }
    event_loop& loop;
  };
  void announce_timer() {
    if (options_.clock == nullptr || timer_count() == 0)
      reactor_->announce(timer_count() > 0 ? timers().earliest() : no_deadline);
    else if (timers().earliest() <= now() || options_.clock->jumps_when_idle())
      reactor_->wake();
  }

  // The ready ones, also those that become ready meanwhile; but a chain that never ends gets a bounded time before the
  // kernel is asked.
  void run_ready_for_a_while() {
    run_ready(resume_batch);
    if (EVENTER_LIKELY(ready_count() == 0)) return;
    if (EVENTER_UNLIKELY(options_.seed != 0 || options_.clock != nullptr)) {
      // What is to happen again in the same order must not depend on how fast the machine is.
      for (unsigned batches = 1; ready_count() > 0 && batches < batches_of_a_turn; ++batches) run_ready(resume_batch);
      return;
    }
    const time_point end = clock::now() + turn_time;
    do run_ready(resume_batch);
    while (ready_count() > 0 && clock::now() < end);
  }

  // Others do something for coroutines of this loop, jobs say: where that takes microseconds only, they go on without
  // the kernel, but not for longer than a turn may take.
  template <class Condition>
  EVENTER_NOINLINE void go_on_with_what_comes_soon(const Condition& may_block) {
    if (options_.seed != 0 || options_.clock != nullptr) return;
    time_point end = no_deadline;
    while (ready_count() == 0 && may_block() && brief_.until([this] { return !posts().empty(); })) {
      const time_point now = clock::now();
      if (end == no_deadline) end = now + turn_time;
      posts().run_all();
      run_ready_for_a_while();
      if (now >= end) return;
    }
  }

  // How long the reactor may wait: not at all where there is something to do already.
  time_point next_wait(bool may_block) {
    ++stats_.waits;
    if (!may_block || ready_count() > 0) {
      // A parent loop waits for this one, so that its virtual time has to go on in poll().
      if (EVENTER_UNLIKELY(embedded_ && options_.clock != nullptr) && ready_count() == 0 && timer_count() > 0)
        (void)next_wait_of_manual_clock();
      return time_point::min();
    }
    release_peak_memory();
    if ((stop_.load(std::memory_order_relaxed) && !stopping()) || !posts().announce_sleep()) return time_point::min();
    if (timer_count() > 0)
      return EVENTER_LIKELY(options_.clock == nullptr) ? timers().earliest() : next_wait_of_manual_clock();
    if (EVENTER_UNLIKELY(stats_.registrations == 0 && foreign_.empty() && living() > 0 &&
                         outside_waits() + shared_waits() == 0 && !deadlock_reported_))
      report_deadlock();
    return outside_end_;
  }

  void dispatch() {
    while (!reported_.empty()) {
      const reactor_event event = reported_.front();
      reported_ = reported_.subspan(1);
      const auto index = static_cast<std::uint32_t>(event.token);
      if (EVENTER_UNLIKELY((event.token & foreign_token) != 0)) {
        if (EVENTER_UNLIKELY(watched_)) progress_.step(nullptr);
        foreign_[index]->on_event(*this, event);
        continue;
      }
      const auto generation = static_cast<std::uint32_t>(event.token >> 32);
      if (EVENTER_UNLIKELY(index >= slots_.size() || slots_[index].generation != generation)) {
        ++stats_.stale_events;
        ++stale_since_rebuild_;
        continue;
      }
      if (slots_[index].owner != nullptr) slots_[index].owner->on_event(event.ready);
    }
    if (EVENTER_UNLIKELY(stale_since_rebuild_ >= stale_events_before_rebuild) && !rebuild_reactor()) ++stats_.rebuilds;
  }

  // Somebody holds a duplicate of a file that was closed here, and the kernel goes on reporting it: start with a fresh
  // set.
  EVENTER_NOINLINE std::error_code rebuild_reactor() {
    stale_since_rebuild_ = 0;
    if (const std::error_code error = reactor_->rebuild()) {
      log(log_level::error, "rebuilding the reactor: %s", error.message().c_str());
      return error;
    }
    reported_ = {};
    for (std::uint32_t index = 0; index < slots_.size(); ++index) {
      descriptor* const owner = slots_[index].owner;
      if (owner == nullptr || !owner->is_watched() || !reactor_->add(owner->fd_, token_of(index))) continue;
      remove(*owner, false);
      owner->lose_registration();
    }
    for (const auto& each : foreign_)
      if (each != nullptr) each->arm_again(*this);
    return {};
  }

  // nullptr: nobody has ever waited for that number as a foreign one.
  foreign_descriptor* record_of(int fd) const noexcept {
    const auto index = static_cast<std::size_t>(fd);  // -1 is an in-memory stream
    return fd >= 0 && index < foreign_.size() ? foreign_[index].get() : nullptr;
  }

  std::uint32_t take_slot() {
    if (free_slot_ == no_slot) {
      slots_.emplace_back();
      return static_cast<std::uint32_t>(slots_.size() - 1);
    }
    const std::uint32_t index = free_slot_;
    free_slot_ = slots_[index].next_free;
    return index;
  }
  void release_slot(std::uint32_t index) noexcept {
    slot& here = slots_[index];
    here.owner = nullptr;
    here.generation = (here.generation + 1) & 0x7fffffff;
    here.next_free = free_slot_;
    free_slot_ = index;
  }
  void orphan_descriptors() noexcept {
    for (slot& each : slots_)
      if (each.owner != nullptr) std::exchange(each.owner, nullptr)->forget_loop();
  }
  std::uint64_t token_of(std::uint32_t index) const noexcept {
    return (std::uint64_t{slots_[index].generation} << 32) | index;
  }

  EVENTER_NOINLINE void report_deadlock() {
    deadlock_reported_ = true;
    log(log_level::warning,
        "%zu coroutines wait, and nothing on this loop can wake them: no descriptor, no timer (a post from another thread still could)",
        living());
    for_each_living([this](control_block& block) { log(log_level::info, "waiting: %s", display_name(block)); });
  }

  void unhandled_exception(const char* coroutine, const std::exception_ptr& exception) override {
#if EVENTER_EXCEPTIONS
    if (options_.unhandled_exception != nullptr) return options_.unhandled_exception(coroutine, exception);
    log(log_level::error, "an exception left coroutine \"%s\", which nobody can join any more%s", coroutine,
        detail::text_of(exception).c_str());
    std::terminate();
#else
    (void)coroutine, (void)exception;
#endif
  }
  // The handle could still have been asked, so that this is not the end of the program.
  void exception_not_taken(const char* coroutine, const std::exception_ptr& exception) noexcept override {
    if (options_.unhandled_exception != nullptr) return options_.unhandled_exception(coroutine, exception);
    log(log_level::error, "an exception left coroutine \"%s\", whose handle was dropped without joining it%s",
        coroutine, detail::text_of(exception).c_str());
  }
  void wake_loop() noexcept override { reactor_->wake(); }

  loop_options options_;
  const bool watched_ = options_.stall_threshold > duration::zero();
  loop_progress progress_;
  brief_wait brief_;
  std::unique_ptr<reactor> reactor_;
  std::vector<slot> slots_;
  static constexpr std::uint32_t no_slot = ~std::uint32_t{0};
  std::uint32_t free_slot_ = no_slot;
  unsigned stale_since_rebuild_ = 0;
  bool deadlock_reported_ = false;
  std::atomic<bool> stop_{false};
  std::atomic<std::size_t> guards_{0};
  loop_stats stats_;
  std::vector<std::unique_ptr<foreign_descriptor>> foreign_;
  std::span<const reactor_event> reported_;  // and not dispatched yet
  detail::event_registry events_;
  bool embedded_ = false;  // native_handle() was asked for
  bool looked_ = false;    // at the kernel, in the last turn
  time_point jump_to_ = no_deadline;
  time_point outside_end_ = no_deadline;  // to which a loop of a manual clock that ends waits for other threads
  process_mark process_;
  std::unique_ptr<char[]> scratch_;
  std::vector<std::unique_ptr<descriptor::idle_hold>> idle_holds_;  // that nobody uses now
  std::size_t idle_hold_count_ = 0;                                 // with those in use
  std::optional<fault_reports> faults_;
};

// Keeps run() from returning although nothing is left to do, for somebody who will post later. May be held, and
// dropped, on any thread. Requires: the loop outlives it.
class work_guard {
 public:
  explicit work_guard(event_loop& loop) noexcept : loop_(&loop) { loop.hold(); }
  work_guard(work_guard&& other) noexcept : loop_(std::exchange(other.loop_, nullptr)) {}
  work_guard& operator=(work_guard&& other) noexcept {
    std::swap(loop_, other.loop_);
    return *this;
  }
  ~work_guard() {
    if (loop_ != nullptr) loop_->let_go();
  }

 private:
  event_loop* loop_;
};

// --- descriptor members that need the loop ---

inline std::error_code descriptor::bind_to_loop(scheduler& here) {
  auto& loop = static_cast<event_loop&>(here);
  if (loop_ == &loop) return {};
  if (loop_ != nullptr) return make_error_code(errc::busy);
  if (const std::error_code error = loop.add(*this)) return error;
  loop_ = &loop;
  return {};
}

inline scheduler* descriptor::scheduler_of_waiters() const noexcept { return loop_; }

inline std::error_code descriptor::add_waiter(direction which, scheduler& here, wait_node& who, time_point deadline) {
  if (EVENTER_UNLIKELY(waiter(which) != nullptr)) return make_error_code(errc::busy);
  if (EVENTER_UNLIKELY(loop_ != &here))
    if (const std::error_code error = bind_to_loop(here)) return error;
  if (who.has(node_flag::continuation)) {
    here.attach(static_cast<continuation&>(who));
  } else if (EVENTER_UNLIKELY(here.cancellation_due())) {
    return make_error_code(errc::canceled);
  }
  static_cast<event_loop&>(here).operation_waited();
  here.arm(who, deadline);  // which may throw: nobody has been told yet
  waiter(which) = &who;
  who.waiting_on = this;
  return {};
}

EVENTER_NOINLINE inline descriptor::prepared descriptor::prepare_wait(direction which, time_point deadline) {
  const auto answer = [](std::error_code error) { return prepared{false, error.value(), &error.category()}; };
  if (!is_usable()) return answer(make_error_code(errc::closed));
  scheduler* const here = scheduler::current();
  if (here == nullptr) {
    drained_ = false;
    if (unwatched_) broken_rule("an in-memory stream waits for its other end: use both in coroutines of one loop");
    io_mask interest = which == direction::read ? io_mask::read : io_mask::write;
    if (layered_) interest = transport_->waits_for(interest);
    const std::error_code error = detail::wait_on_thread(fd_, interest, deadline);
    if (layered_ && !error) (void)transport_->became_ready(io_mask::read | io_mask::write);
    return answer(error);
  }
  if (EVENTER_UNLIKELY(here->running() == nullptr))
    broken_rule("waiting for a descriptor in a callback would block its loop: spawn a coroutine for it");
  if (const std::error_code error = add_waiter(which, *here, *here->running(), here->within_scope(deadline)))
    return answer(error);
  return {true, 0, nullptr};
}

inline std::error_code descriptor::start_wait(direction which, continuation& who, time_limit& limit) {
  if (!is_usable()) return make_error_code(errc::closed);
  scheduler& here = *scheduler::current();
  return add_waiter(which, here, who, here.resolve(limit));
}

EVENTER_NOINLINE inline std::error_code descriptor::finish_wait(direction which, wait_node& who) {
  switch (who.wake) {
    case wake_reason::timed_out:
      return make_error_code(errc::timed_out);
    case wake_reason::closed:
      return make_error_code(errc::closed);  // this descriptor may be destroyed by now
    case wake_reason::canceled:
      if (!who.has(node_flag::continuation)) detail::throw_if_canceled(wake_reason::canceled);
      return make_error_code(errc::canceled);
    default:
      waiter(which) = nullptr;
      who.waiting_on = nullptr;
      return {};
  }
}

inline void descriptor::unregister(bool explicitly) noexcept {
  if (loop_ != nullptr) loop_->remove(*this, explicitly && !unwatched_);
}

// Whoever waits hears `closed`; the number is the caller's.
inline int descriptor::let_go(bool explicitly) noexcept {
  unregister(explicitly);
  open_ = false;
  tell_closed(reader_);
  tell_closed(writer_);
  tell_idle();
  loop_ = nullptr;
  return std::exchange(fd_, -1);
}

inline void descriptor::close() noexcept {
  if (!open_) return;
  if (layered_) transport_->closing();
  // A socket that only we know leaves the kernel's set with its close; anything else might live on in a duplicate.
  const int fd = let_go(adopted_);
  if (fd >= 0 && !unwatched_) syscalls::close(fd);
  transport_.reset();
}

inline int descriptor::release() noexcept {
  if (!open_) return -1;
  if (transport_ != nullptr) fd_ = transport_->release(fd_);
  const int fd = let_go(true);
  transport_.reset();
  return fd;
}

inline std::error_code descriptor::detach() noexcept {
  if (reader_ != nullptr || writer_ != nullptr) return make_error_code(errc::busy);
  if (transport_ != nullptr && transport_->is_busy()) return make_error_code(errc::busy);
  unregister(true);
  lose_followers();  // they are on the old loop's thread
  loop_ = nullptr;
  drained_ = special_ = orphaned_ = false;
  if (layered_) (void)transport_->became_ready(io_mask::read | io_mask::write);  // nothing is known of the next loop
  return {};
}

}  // namespace eventer::inline EVENTER_ABI
