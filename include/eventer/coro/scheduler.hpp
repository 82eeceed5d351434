// scheduler: the ready queue, the stacks and the one flat loop that resumes coroutines. It knows of no descriptors.
//
// It rests on the switch (context/) and on shared stacks (stack/). The rule that must not be broken: `resume` is called
// from the native stack only, from the loop in `run_ready`; whoever wakes a coroutine only enqueues it.
#pragma once

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <memory>
#include <mutex>
#include <vector>

#include "eventer/base/log.hpp"
#include "eventer/base/manual_clock.hpp"
#include "eventer/base/ring_buffer.hpp"
#include "eventer/base/syscalls.hpp"
#include "eventer/context/exception_state.hpp"
#include "eventer/context/fp_environment.hpp"
#include "eventer/context/shadow_stack.hpp"
#include "eventer/coro/control_block.hpp"
#include "eventer/coro/entry.hpp"
#include "eventer/coro/entry_table.hpp"
#include "eventer/coro/held_locks.hpp"
#include "eventer/coro/local_values.hpp"
#include "eventer/coro/mailbox.hpp"
#include "eventer/coro/post_queue.hpp"
#include "eventer/coro/stack_set.hpp"
#include "eventer/coro/wait_node.hpp"

namespace eventer::inline EVENTER_ABI {

// Where the control blocks of a scheduler are. It outlives its scheduler while join handles still hold blocks of it.
class scheduler;
namespace detail {
using mailbox = basic_mailbox<scheduler>;
}

struct control_block_store {
  explicit control_block_store(scheduler& self) noexcept : blocks(chunks, this), owner(&self) {}
  static control_block_store& of(const control_block& block) noexcept {
    return *static_cast<control_block_store*>(control_block_slab::owner_of(&block));
  }

  chunk_source chunks;
  control_block_slab blocks;
  scheduler* owner;         // nullptr once the scheduler is gone
  std::size_t orphans = 0;  // blocks that handles still hold then
};

// What is done about a closure that may hold the address of a local on a shared stack.
enum class capture_checks : std::uint8_t { off, report, abort };

struct scheduler_options {
  unsigned shared_stacks = 16;
  std::size_t shared_stack_bytes = default_shared_stack_bytes;
  std::size_t own_stack_bytes = std::size_t{256} << 10;  // reserved, not touched
  std::size_t max_coroutines = SIZE_MAX;
  std::size_t max_saved_bytes = SIZE_MAX;
  bool private_stacks = false;   // every coroutine gets a stack of its own, as under the sanitizers
  bool evict_always = false;     // copy a coroutine out at every suspension: for tests
  bool adaptive_stacks = false;  // see loop_options
  bool strict = false;           // likewise
  capture_checks checks = capture_checks::report;
  // Called when no parked coroutine can be saved; must not return. Default: a message, then abort.
  void (*out_of_memory)() = nullptr;
  manual_clock* clock = nullptr;  // in the place of the steady clock; must outlive the scheduler
  std::uint64_t seed = 0;         // not 0: ready coroutines run in an order drawn from it
};

// A part of a coroutine that runs on a stack of its own, while the frame that waits for it lies on the shared one.
struct own_call {
  context::resume_point outer;
  void* sp = nullptr;
  [[no_unique_address]] context::sanitizer_notes notes;
  const stack_memory* memory = nullptr;
  const void* frame = nullptr;  // of the function that waits for it
  own_call* around = nullptr;   // in which that function runs
};

// What is to be done when the running coroutine has come back to the loop, because it waits or has ended: once, on the
// native stack. Belongs to whoever asks for it, and not on a shared stack; destroying it takes the wish back.
class slice_end {
 public:
  explicit slice_end(void (*call)(slice_end&) noexcept) noexcept : call_(call) {}
  slice_end(const slice_end&) = delete;
  slice_end& operator=(const slice_end&) = delete;
  ~slice_end() { forget(); }

  bool is_due() const noexcept { return link_ != nullptr; }
  void forget() noexcept {
    if (link_ == nullptr) return;
    *link_ = next_;
    if (next_ != nullptr) next_->link_ = link_;
    link_ = nullptr;
  }

 private:
  friend class scheduler;
  void (*call_)(slice_end&) noexcept;
  slice_end* next_ = nullptr;
  slice_end** link_ = nullptr;
};

class EVENTER_API scheduler {
 public:
  explicit scheduler(const scheduler_options& options)
      : options_(with_environment(options)),
        store_(new control_block_store(*this)),
        saves_(save_chunks_),
        stacks_(saves_, options_.shared_stacks, options_.shared_stack_bytes),
        guards_stacks_(options_.strict || (EVENTER_ASAN && options_.private_stacks)),
        handles_suspended_(options_.evict_always || guards_stacks_) {
    if (const char* const refusal = context::shadow_stack_refusal(); refusal != nullptr)
      throw_error(std::make_error_code(std::errc::not_supported), refusal);
    look_at_log_again();
    steps_after_ = handles_suspended_;
    if (guards_stacks_) guarding_schedulers::add(*this);
  }
  scheduler(const scheduler&) = delete;
  scheduler& operator=(const scheduler&) = delete;

  // Stands for the thread, also in a program of several images.
  static const void* this_thread() noexcept { return &current_; }
  // The scheduler whose loop runs on this thread now; nullptr if none does.
  static scheduler* current() noexcept { return current_; }
  // The coroutine that is running on this thread; nullptr on a native stack.
  static control_block* running_block() noexcept { return current_ == nullptr ? nullptr : current_->running_; }
  static scheduler& of(const control_block& block) noexcept { return *control_block_store::of(block).owner; }

  const scheduler_options& options() const noexcept { return options_; }
  control_block* running() const noexcept { return running_; }
  // For code that runs something else on a stack of its own inside a coroutine.
  control_block* exchange_running(control_block* block) noexcept { return std::exchange(running_, block); }
  std::size_t living() const noexcept { return living_; }
  std::size_t ready_count() const noexcept { return ready_.size(); }
  bool stopping() const noexcept { return stopping_; }
  // Whether one of its coroutines or callbacks runs, or code that they have called.
  bool is_entered() const noexcept { return entered_ != 0; }
  // Whether the loop is being destroyed and those that wait for each other have to be torn apart.
  bool unwinding_is_stuck() const noexcept { return EVENTER_EXCEPTIONS && unwinding_rounds_ >= 500; }
  const char* name_of(control_block& block) noexcept { return entries_[block.entry].name; }
  const entry_table& entries() const noexcept { return entries_; }
  entry_record& entry_of(control_block& block) noexcept { return entries_[block.entry]; }
  const stack_set& stacks_in_use() const noexcept { return stacks_; }
  save_stack_pool& saves() noexcept { return saves_; }
  const save_stack_pool& saves() const noexcept { return saves_; }
  detail::local_table& locals() noexcept { return locals_; }
  std::uint64_t resumes() const noexcept { return resumes_; }
  // Whether resumes are logged is asked when the scheduler is made. Whoever turns log_level::debug on or off later has
  // this called; on the loop's thread only.
  void look_at_log_again() noexcept { observed_ = on_step_ != nullptr || watches_resumes(); }

  // --- starting ---

  // A control block for a coroutine that is not ready yet; the caller puts its callable in and calls make_ready.
  // Throws std::system_error(not_enough_memory) at the limits of the options or of the machine.
  control_block& create(const callable_operations& operations, const void* key, const char* name, std::uint16_t flags,
                        std::size_t own_stack_bytes) {
    if (EVENTER_UNLIKELY(living_ >= options_.max_coroutines))
      throw_error(std::make_error_code(std::errc::not_enough_memory), "spawn: loop_options::max_coroutines is reached");
    if (EVENTER_UNLIKELY(saves_.bytes_in_use() > options_.max_saved_bytes))
      throw_error(std::make_error_code(std::errc::not_enough_memory),
                  "spawn: loop_options::max_saved_bytes is reached");
    control_block* const memory = store_->blocks.allocate();
    if (EVENTER_UNLIKELY(memory == nullptr))
      throw_error(std::make_error_code(std::errc::not_enough_memory), "spawn: no memory for a control block");
    control_block& block = *::new (static_cast<void*>(memory)) control_block;
    ::new (static_cast<void*>(&details_of(block))) control_block_details;
    block.flags = static_cast<std::uint16_t>(flags | coroutine_flag::has_callable);
#if EVENTER_EXCEPTIONS
    try {
#endif
      block.entry = entries_.index_of(operations, key, name);
      if (EVENTER_UNLIKELY(running_ != nullptr && running_->has(coroutine_flag::has_locals)))
        locals_.inherit(block, *running_);
      if (EVENTER_UNLIKELY(options_.private_stacks || options_.strict || block.has(coroutine_flag::own_stack))) {
        if (guards_stacks_ && !block.has(coroutine_flag::own_stack)) block.set(coroutine_flag::guarded);
        block.set(coroutine_flag::own_stack);
        block.stack = stacks_.take_own(own_stack_bytes != 0 ? own_stack_bytes : options_.own_stack_bytes);
      } else if (EVENTER_UNLIKELY(entries_[block.entry].own_stacks)) {
        adapt(block);
      }
#if EVENTER_EXCEPTIONS
    } catch (...) {
      drop_locals(block);
      block.flags = coroutine_flag::ended;
      store_->blocks.release(&block);
      throw;
    }
#endif
    block.number = ++last_number_;
    ++living_;
    ++entries_[block.entry].spawned;
    return block;
  }

  // Undoes `create` where the callable could not be put in.
  void discard(control_block& block) noexcept {
    --entry_of(block).spawned;
    drop_locals(block);
    release_stack(block);
    --living_;
    block.flags = coroutine_flag::ended;
    store_->blocks.release(&block);
  }

  // --- waiting ---

  // Whether the caller is on the thread that runs this loop, or that made it or ran it last.
  bool is_on_this_thread() const noexcept { return thread_.load(std::memory_order_relaxed) == &current_; }

  // The time by which this loop's timers go.
  EVENTER_ALWAYS_INLINE time_point now() const noexcept {
    return EVENTER_LIKELY(options_.clock == nullptr) ? clock::now() : options_.clock->now();
  }
  time_point resolve(time_limit& limit) const noexcept {
    return limit.resolve(limit.needs_clock() ? now() : time_point());
  }

  EVENTER_ALWAYS_INLINE void make_ready(wait_node& node, wake_reason reason) {
    node.wake = reason;
    if (EVENTER_UNLIKELY(node.has(node_flag::continuation))) {
      node.set(node_flag::queued);
      static_cast<continuation&>(node).ticket = ready_.next_ticket();
    }
    ready_.push_back(&node);
  }

  // Runs a new coroutine, which is in no queue, to its first wait: from a native frame there and then; a running
  // coroutine goes on directly behind it, which is no cancellation point. Requires: the loop's thread, inside
  // `entered`.
  void run_at_once(control_block& block) {
    block.wake = wake_reason::ready;
    if (running_ == nullptr) {
      const context::exceptions_set_aside callers(exceptions_);
      const std::size_t before = first_in_order_;
      ++resumes_;
      if (EVENTER_UNLIKELY(!resume(block))) return make_ready(block, wake_reason::ready);  // no memory now
      if (block.has(coroutine_flag::ended)) finish(block);
      while (first_in_order_ > before) run_ready(1);  // what it has started in its turn, and then the rest of it
      return;
    }
    running_->wake = wake_reason::ready;
    ready_.push_front(running_);
    ready_.push_front(&block);
    first_in_order_ += 2;
    switch_out(*running_);
  }

  // Ends a wait; nothing if it has ended already. Whoever calls this and forgets the node clears its `waiting_on`.
  // Requires: the loop's thread.
  void wake(wait_node& node, wake_reason reason) {
    if (node.wake != wake_reason::parked) return;
    disarm(node);
    make_ready(node, reason);
    if (EVENTER_UNLIKELY(wakes_when_touched_)) touched();
  }
  // Ends a wait from outside: whatever it waited on forgets it.
  void end_wait(wait_node& node, wake_reason reason) {
    if (node.wake != wake_reason::parked) return;
    if (node.waiting_on != nullptr) node.waiting_on->abandon(*node.waiting_on, node);
    node.waiting_on = nullptr;
    wake(node, reason);
  }
  // The wait of `node` that is about to begin ends at `deadline` with timed_out.
  void arm(wait_node& node, time_point deadline) {
    if (deadline == no_deadline) return;
    timers_.arm(node.timer, deadline);
    node.set(node_flag::timed);
    if (EVENTER_UNLIKELY(wakes_when_touched_)) touched();
  }

  // Takes arm() back, if it was called.
  void disarm(wait_node& node) noexcept {
    if (!node.has(node_flag::timed)) return;
    timers_.cancel(node.timer);
    node.clear(node_flag::timed);
  }

  // Suspends the running coroutine until it is woken. Before, the caller has stored where the wake-up will come from.
  // No cancellation is looked at here.
  EVENTER_ALWAYS_INLINE wake_reason park() {
    running_->wake = wake_reason::parked;
    switch_out(*running_);
    // Read anew: a pointer kept over the switch would be one more word of stack in every parked coroutine.
    return running_->wake;
  }
  // The same, but not longer than to `deadline`; no_deadline arms nothing.
  EVENTER_ALWAYS_INLINE wake_reason park_until(time_point deadline) {
    arm_deadline(deadline);
    return park();
  }
  // The running coroutine's next park() ends at `deadline`, or with its deadline_scope if that is earlier.
  EVENTER_ALWAYS_INLINE void arm_deadline(time_point deadline) { arm(*running_, within_scope(deadline)); }
  EVENTER_ALWAYS_INLINE time_point within_scope(time_point deadline) const noexcept {
    if (EVENTER_LIKELY(!running_->has(coroutine_flag::scoped))) return deadline;
    const time_point scope = details_of(*running_).scope_deadline;
    return scope < deadline ? scope : deadline;
  }

  // A continuation begins to wait here. Whoever will wake it has been told, or is told before the loop goes on.
  void attach(continuation& who) noexcept {
    who.wake = wake_reason::parked;
    if (who.home != nullptr) return;
    who.home = this;
    who.next = continuations_;
    who.link = &continuations_;
    if (continuations_ != nullptr) continuations_->link = &who.next;
    continuations_ = &who;
    if (!who.has(node_flag::background)) ++continuation_count_;
  }
  // It has come to its end, or is about to be destroyed: nobody calls it any more. What it waits on must have forgotten
  // it, or be told by its `abandon`, which this calls.
  static void forget(continuation& who) noexcept {
    if (who.home == nullptr) return;
    scheduler& home = *who.home;
    home.disarm(who);
    if (who.waiting_on != nullptr) who.waiting_on->abandon(*who.waiting_on, who);
    who.waiting_on = nullptr;
    if (who.has(node_flag::queued)) home.ready_.at_ticket(who.ticket) = &home.forgotten_;
    who.clear(node_flag::queued);
    *who.link = who.next;
    if (who.next != nullptr) who.next->link = who.link;
    who.home = nullptr;
    if (!who.has(node_flag::background)) --home.continuation_count_;
  }
  // Those that keep the loop alive.
  std::size_t continuation_count() const noexcept { return continuation_count_; }

  // Where a select begins to look, so that none of its cases starves.
  std::size_t next_select() noexcept { return selects_++; }

  // A wait for something that another thread will do has begun or ended: virtual time stands still meanwhile.
  void count_outside_wait(bool begins) noexcept { begins ? ++outside_waits_ : --outside_waits_; }
  std::size_t outside_waits() const noexcept { return outside_waits_; }
  // What another thread does for a coroutine or continuation that is cancelled, and that has to wait for its end.
  void count_unfinished(bool begins) noexcept { begins ? ++unfinished_ : --unfinished_; }
  // The same where it may be another thread that does it, or may not: virtual time goes on.
  void count_shared_wait(bool begins) noexcept { begins ? ++shared_waits_ : --shared_waits_; }
  std::size_t shared_waits() const noexcept { return shared_waits_; }

  // Counts an operation that is tried before it waits. True after many in a row that did not have to: let_others_run()
  // is due, so that who always finds something to do can't starve the others.
  EVENTER_ALWAYS_INLINE bool count_operation() noexcept {
    return EVENTER_UNLIKELY(++operations_ >= operations_per_slice);
  }
  // Errors: canceled, or the exception `cancelled`: who never waits would never hear of it.
  EVENTER_NOINLINE std::error_code let_others_run() {
    operations_ = 0;
    if (running_ == nullptr) return {};
    if (cancellation_due()) return make_error_code(errc::canceled);
    gave_way_ = true;
    yield();
    return {};
  }
  EVENTER_ALWAYS_INLINE void operation_waited() noexcept { operations_ = 0; }

  // --- calls on own stacks (own_stack_call.hpp) ---

  // The call that the running coroutine is in; nullptr: none.
  const own_call* running_call() const noexcept { return own_call_; }
  // Whether the running coroutine's frames may be copied away while it waits.
  bool is_on_shared_stack() const noexcept { return own_call_ == nullptr && shares_stack(*running_); }
  // Whether nobody else may use what lies on a coroutine's stack while it waits.
  static bool shares_stack(const control_block& block) noexcept {
    return !block.has(coroutine_flag::own_stack) || block.has(coroutine_flag::guarded);
  }
  // Whether an address lies on a shared stack, or on the running coroutine's where that would be a shared one but for
  // strict mode or adaptive_stacks.
  bool lies_on_shared_stack(const void* address) const noexcept {
    if (stacks_.contains(address)) return true;
    return running_ != nullptr && running_->has(coroutine_flag::guarded | coroutine_flag::adapted) &&
           running_->stack->memory().contains(address);
  }
  // Whether it lies on the stack that the running coroutine is on now.
  bool lies_on_running_stack(const void* address) const noexcept {
    if (running_ == nullptr) return false;
    return (own_call_ != nullptr ? *own_call_->memory : running_->stack->memory()).contains(address);
  }
  shared_stack* take_own_stack(std::size_t bytes) {
    return stacks_.take_own(bytes != 0 ? bytes : options_.own_stack_bytes);
  }
  void give_back_own_stack(shared_stack* stack) noexcept { stacks_.give_back_own(stack); }
  // The frame around a call: goes on with it until it waits or has ended.
  EVENTER_NOINLINE void enter_call(own_call& call) {
    call.around = own_call_;
    own_call_ = &call;
    running_->set(coroutine_flag::in_own_call);
    call.outer.enter(call.sp, call.notes, call.memory->bottom(), call.memory->size());
    own_call_ = call.around;
    if (own_call_ == nullptr) running_->clear(coroutine_flag::in_own_call);
  }
  // The same frame, while the call waits.
  EVENTER_NOINLINE void suspend_around_call() { leave_stack(*running_); }
  // How much is left below `frame` on the running coroutine's stack, if it asked for one of its own; else 0.
  std::size_t room_on_own_stack(const void* frame) const noexcept {
    if (is_on_shared_stack() || (own_call_ == nullptr && running_->has(coroutine_flag::adapted))) return 0;
    const stack_memory& memory = own_call_ != nullptr ? *own_call_->memory : running_->stack->memory();
    return static_cast<std::size_t>(static_cast<const char*>(frame) - memory.bottom());
  }

  // Lets everything else that is ready run first.
  void yield() {
    running_->wake = wake_reason::ready;
    ready_.push_back(running_);
    switch_out(*running_);
  }

  // Ends the running coroutine where it is. What lies on its stack is not destroyed.
  [[noreturn]] EVENTER_NOINLINE void abandon_running() {
    control_block& block = *running_;
    entry_of(block).operations->destroy_callable(block);
    end(block, outcome::value);
    switch_out(block);
    __builtin_unreachable();
  }

  // Whether an await of the running coroutine has to end with operation_canceled instead of waiting. Throws `cancelled`
  // where it may.
  bool cancellation_due() {
    if (EVENTER_LIKELY(!cancellation_requested())) return false;
    return deliver_cancellation();
  }
  bool cancellation_requested() const noexcept {
    return EVENTER_UNLIKELY(running_->has(coroutine_flag::cancel_requested)) &&
           !running_->has(coroutine_flag::shielded);
  }

  // Cancels a coroutine: its await in progress, or its next one, throws `cancelled`. Requires: the loop's thread.
  void cancel(control_block& block) {
    if (block.has(coroutine_flag::ended)) return;
    block.set(coroutine_flag::cancel_requested);
    if (block.wake == wake_reason::parked && !block.has(coroutine_flag::shielded))
      end_wait(block, wake_reason::canceled);
  }

  // The same from another thread, while the loop lives. Nothing if it has ended before the loop hears of it.
  void cancel_from_outside(control_block& block) {
    post([this, which = &block, id = block.id()] {
      if (store_->blocks.owns(which) && !which->has(coroutine_flag::ended) && which->id() == id) cancel(*which);
    });
  }

  const timer_heap& timers() const noexcept { return timers_; }
  std::size_t timer_count() const noexcept { return timers_.size(); }

  // --- the loop's side ---

  // Makes this the current scheduler of the thread, for the time of the object.
  class entered {
   public:
    explicit entered(scheduler& self) noexcept
        : self_(self), outer_(current_), caller_exceptions_(context::thread_exception_state()) {
      current_ = &self;
      ++self.entered_;
      self.thread_.store(&current_, std::memory_order_relaxed);
      self.wakes_when_touched_ = false;
      self.exceptions_ = context::thread_exception_state();
      self.errno_ = &errno;
    }
    entered(const entered&) = delete;
    entered& operator=(const entered&) = delete;
    ~entered() {
      current_ = outer_;
      --self_.entered_;
      detail::held_locks::of_thread() = callers_locks_;
    }

   private:
    scheduler& self_;
    scheduler* outer_;
    const detail::held_locks callers_locks_ = std::exchange(detail::held_locks::of_thread(), {});
    context::exceptions_set_aside caller_exceptions_;  // a loop may be run in a catch block
    [[no_unique_address, maybe_unused]] context::native_frames native_frames_;
  };

  // Resumes at most `budget` ready coroutines, fewer where one of them has done many operations and gives way: what it
  // does takes time, and the loop is to look at the clock. Answers how many. Requires: a native stack, inside
  // `entered`.
  std::size_t run_ready(std::size_t budget) {
    std::size_t resumed = 0;
    const bool seeded = options_.seed != 0;
    gave_way_ = false;
    while (resumed < budget && !ready_.empty() && EVENTER_LIKELY(!gave_way_)) {
      if (EVENTER_UNLIKELY(first_in_order_ > 0))
        --first_in_order_;
      else if (EVENTER_UNLIKELY(seeded))
        draw_next();
      if (EVENTER_UNLIKELY(ready_.size() >= prefetch_from && saves_.bytes_in_use() > prefetch_footprint)) prefetch();
      wait_node* const node = ready_.pop_front();
      ++resumed;
      if (EVENTER_UNLIKELY(node->has(node_flag::continuation))) {
        run_continuation(*static_cast<continuation*>(node));
        continue;
      }
      control_block& block = *static_cast<control_block*>(node);
      if (EVENTER_UNLIKELY(!resume(block))) {
        // No memory to save the present occupant: what else is ready may free some.
        ready_.push_back(&block);
        if (++refused_ > ready_.size()) out_of_memory();
        continue;
      }
      refused_ = 0;
      if (EVENTER_UNLIKELY(block.has(coroutine_flag::ended))) finish(block);
    }
    resumes_ += resumed;
    return resumed;
  }

  // Does `what` as soon as the running coroutine is back. Requires: the loop's thread.
  void at_slice_end(slice_end& what) noexcept {
    if (what.is_due()) return;
    what.next_ = slice_ends_;
    what.link_ = &slice_ends_;
    if (what.next_ != nullptr) what.next_->link_ = &what.next_;
    slice_ends_ = &what;
    steps_after_ = true;
  }

  // Wakes the coroutines whose time limit has passed, at most `budget` of them.
  void expire_timers(time_point now, std::size_t budget) {
    while (budget-- > 0) {
      timer_node* const node = timers_.take_expired(now);
      if (node == nullptr) return;
      end_wait(wait_node::of_timer(*node), wake_reason::timed_out);
    }
  }

  // Any thread: runs `function` on the loop's thread, outside any coroutine. `looked_at` sees it where it stays, before
  // anybody runs it.
  template <class F, class Look = post_queue::not_looked_at>
  void post(F&& function, Look looked_at = {}) {
    if (posts_.push(std::forward<F>(function), looked_at)) wake_loop();
  }
  // The same with a message that belongs to the caller until it is finished.
  void post_message(post_queue::message& message) noexcept {
    if (posts_.push(message)) wake_loop();
  }
  post_queue& posts() noexcept { return posts_; }
  const post_queue& posts() const noexcept { return posts_; }
  // For messages of others that may come after this loop's end. Requires: the loop's thread.
  detail::mailbox& mailbox() {
    if (EVENTER_UNLIKELY(mailbox_ == nullptr)) {
      mailbox_ = new detail::mailbox(*this);
      if (hears_nobody_) mailbox_->close();
    }
    return *mailbox_;
  }

  // For the capture check: the closure of a `call` of the running coroutine holds `address` at `offset`.
  EVENTER_NOINLINE void report_capture(const char* call, const char* closure, std::size_t offset, const void* address) {
    log(log_level::warning,
        "%s in coroutine \"%s\": the closure (%s) may hold the address of a local at its byte %zu (%p, on a shared stack): when it runs, "
        "other frames lie there. Pass the value, put it on the heap (shared_ptr), or give the coroutine a stack of its own "
        "(call_on_own_stack, spawn_options{.stack = stack_kind::own}); unchecked(f) says that it is all right",
        call, display_name(*running_), closure, offset, address);
    if (options_.checks == capture_checks::abort) std::abort();
  }
  // For the fault handler: whose suspended stack an address lies in; nullptr: nobody's. Async-signal-safe.
  control_block* owner_of_guarded(const void* address) {
    control_block* found = nullptr;
    for_each_living([&](control_block& block) {
      if (block.has(coroutine_flag::guarded) && &block != running_ && block.stack != nullptr &&
          block.stack->memory().contains(address))
        found = &block;
    });
    return found;
  }
  // Those that guard the stacks of who waits, of all threads.
  class guarding_schedulers {
   public:
    static void add(scheduler& which) {
      const std::lock_guard guard(lock_);
      syscalls::on_bad_address.store(&report_bad_address);
      which.next_guarding_ = first_.load();
      first_.store(&which);
    }
    static void remove(scheduler& which) {
      const std::lock_guard guard(lock_);
      if (first_.load() == &which) return first_.store(which.next_guarding_);
      for (scheduler* each = first_.load(); each != nullptr; each = each->next_guarding_)
        if (each->next_guarding_ == &which) each->next_guarding_ = which.next_guarding_;
    }
    // From a fault handler, which can't wait for a lock: the program ends in any case.
    template <class F>
    static void visit(F&& function) {
      for (scheduler* each = first_.load(); each != nullptr; each = each->next_guarding_) function(*each);
    }

   private:
    // The kernel has refused an address: that of a stack that nobody may touch now? Looks at this thread's loop alone,
    // as others may be changing theirs.
    static void report_bad_address(const void* data) {
      if (current_ == nullptr) return;
      control_block* const owner = current_->owner_of_guarded(data);
      if (owner == nullptr) return;
      control_block* const caller = current_->running_;
      log(log_level::error,
          "a system call of %s%s%s was given an address in the stack of coroutine \"%s\", which waits, and is refused (EFAULT): give it "
          "a buffer on the heap, or one in call_on_own_stack",
          caller != nullptr ? "coroutine \"" : "a callback", caller != nullptr ? current_->display_name(*caller) : "",
          caller != nullptr ? "\"" : "", current_->display_name(*owner));
    }

    static inline std::mutex lock_;
    static inline constinit std::atomic<scheduler*> first_{nullptr};
  };

  // An exception of a part of a coroutine that nobody can take.
  void report_unhandled(control_block& block, const std::exception_ptr& exception) {
    unhandled_exception(display_name(block), exception);
  }

  // The handle of `block` is gone: nobody will ask for the result. `tell`: of an exception that it was. Requires: the
  // loop's thread.
  void drop_handle(control_block& block, bool tell) noexcept {
    block.clear(coroutine_flag::has_handle);
    if (!block.has(coroutine_flag::ended)) return;
    if (EVENTER_UNLIKELY(outcome_of(block) == outcome::exception && tell))
      exception_not_taken(display_name(block), detail::stored<std::exception_ptr>::get(details_of(block).storage));
    entry_of(block).operations->destroy_result(block);
    release_joined(block);
  }
  // The result was taken or destroyed. Also after the scheduler's end.
  static void release_joined(control_block& block) noexcept {
    control_block_store& store = control_block_store::of(block);
    block.flags = coroutine_flag::ended;  // whoever visits all blocks must see that nobody holds this one
    store.blocks.release(&block);
    if (store.owner == nullptr && --store.orphans == 0) delete &store;
  }

  // The loop has nothing to do: what a peak of ready coroutines has left goes back.
  void release_peak_memory() noexcept { ready_.shrink(); }

  // Visits every coroutine that has not ended.
  template <class Visitor>
  void for_each_living(Visitor&& visit) {
    store_->blocks.for_each([&](control_block& block) {
      if (!block.has(coroutine_flag::ended)) visit(block);
    });
  }

 protected:
  // Called before each coroutine (with its name) and each continuation goes on; nullptr: not called.
  void set_step_observer(void (*observer)(scheduler&, const char* what)) noexcept {
    on_step_ = observer;
    look_at_log_again();
  }
  // The loop sleeps inside another one, whose code may end a wait or arm a timer: then wake_loop() is called, once.
  void wake_when_touched() noexcept { wakes_when_touched_ = true; }

  ~scheduler() {
    if (guards_stacks_) guarding_schedulers::remove(*this);
    store_->blocks.for_each([this](control_block& block) {
      if (block.has(coroutine_flag::has_handle)) ++store_->orphans;
    });
    store_->owner = nullptr;
    if (store_->orphans == 0) delete store_;
    if (mailbox_ != nullptr) mailbox_->leave();
  }

  // Called when an exception has left a coroutine, and nobody can take it any more.
  virtual void unhandled_exception(const char* coroutine, const std::exception_ptr& exception) = 0;
  // Called when the handle of a coroutine that an exception has left is dropped without asking for it.
  virtual void exception_not_taken(const char* coroutine, const std::exception_ptr& exception) noexcept = 0;
  // From any thread: the loop may be asleep.
  virtual void wake_loop() noexcept = 0;

  // The loop ends: whatever is not in a shield is cancelled, and so is what is spawned from now on. Requires: a native
  // stack, inside `entered`.
  void begin_to_end() {
    stopping_ = true;
    for_each_living([this](control_block& block) { cancel(block); });
    end_continuations();
  }
  bool has_shielded() {
    bool found = unfinished_ > 0;
    for_each_living([&found](const control_block& block) { found = found || block.has(coroutine_flag::shielded); });
    return found;
  }
  // Cancels every coroutine, shielded or not, and runs them to their ends. Requires: a native stack.
  void unwind_all() {
    const entered here(*this);
    begin_to_end();
    for (unwinding_rounds_ = 0; living_ > 0 || continuations_ != nullptr; ++unwinding_rounds_) {
      if (unwinding_rounds_ == 1000) return give_up_unwinding();
      for_each_living([this](control_block& block) {
        block.clear(coroutine_flag::shielded);
        cancel(block);
      });
      end_continuations();
      // One turn each: whoever swallows its cancellation gets it again in the next round.
      at_end([this] { run_ready(ready_.size()); });
      at_end([this] { posts_.run_all(); });
    }
    posts_.discard();
  }

  // No message comes from elsewhere any more; those that have come are destroyed. Not in a forked child, where a thread
  // that is not there may have been delivering.
  void close_mailbox() {
    hears_nobody_ = true;  // what is destroyed now may bring a job
    if (mailbox_ != nullptr) mailbox_->close();
    posts_.discard();
    if (mailbox_ != nullptr) std::exchange(mailbox_, nullptr)->leave();
  }
  // The parent's threads, as this process sees them, use it for ever.
  void renew_mailbox() noexcept { mailbox_ = nullptr; }

  // Nobody is left who could catch what a callback or a posted function throws now.
  template <class F>
  void at_end(const F& run) {
#if EVENTER_EXCEPTIONS
    try {
      run();
    } catch (const std::exception& failure) {
      log(log_level::error, "a function of a loop that is being destroyed has thrown: %s", failure.what());
    } catch (...) {
      log(log_level::error, "a function of a loop that is being destroyed has thrown");
    }
#else
    run();
#endif
  }

  bool stopping_ = false;

 private:
  static constexpr unsigned operations_per_slice = 64;
  static constexpr unsigned swallowed_before_report = 8;
  static constexpr std::size_t most_adapted = 1024;
  static constexpr std::size_t prefetch_from = 64;
  static constexpr std::size_t prefetch_footprint = std::size_t{512} << 10;  // what a common L2 holds
  static constexpr std::size_t prefetch_block_ahead = 24;
  static constexpr std::size_t prefetch_save_ahead = 12;

  static scheduler_options with_environment(scheduler_options options) {
    if (const char* const text = std::getenv("EVENTER_EVICT_ALWAYS"); text != nullptr && *text == '1')
      options.evict_always = true;
    if (const char* const text = std::getenv("EVENTER_SHARED_STACKS"); text != nullptr && std::atoi(text) > 0)
      options.shared_stacks = static_cast<unsigned>(std::atoi(text));
    if (context::prefers_private_stacks()) options.private_stacks = true;
    if (const char* const text = std::getenv("EVENTER_STRICT"); text != nullptr) options.strict = *text == '1';
    if (EVENTER_ASAN || EVENTER_TSAN || context::running_on_valgrind()) options.strict = false;
    if (const char* const text = std::getenv("EVENTER_CHECKS"); text != nullptr)
      options.checks = *text == 'a'   ? capture_checks::abort
                       : *text == 'o' ? capture_checks::off
                                      : capture_checks::report;
    return options;
  }

  // --- resuming ---

  EVENTER_ALWAYS_INLINE bool resume(control_block& block) {
    if (EVENTER_UNLIKELY(block.sp == nullptr)) {
      if (EVENTER_UNLIKELY(!start(block))) return false;
      if (EVENTER_UNLIKELY(block.sp == nullptr)) return true;  // cancelled before it began
    } else if (EVENTER_UNLIKELY(!block.stack->occupy(block))) {
      return false;
    }
    block.stack->last_used = resumes_;
    if (EVENTER_UNLIKELY(observed_)) observe(block);
    running_ = &block;
    native_.enter(block.sp, block.notes, block.stack->memory().bottom(), block.stack->memory().size());
    running_ = nullptr;
    block.stack->mark(block);
    if (EVENTER_UNLIKELY(steps_after_)) after_step(block);
    return true;
  }

  EVENTER_NOINLINE void after_step(control_block& block) {
    while (slice_end* const first = slice_ends_) {
      first->forget();
      first->call_(*first);
    }
    steps_after_ = handles_suspended_;
    if (!handles_suspended_ || block.has(coroutine_flag::ended)) return;
    if (block.has(coroutine_flag::guarded)) return guard(block, true);
    if (options_.evict_always && !block.has(coroutine_flag::own_stack)) block.stack->evict();
  }
  // Nobody may touch the stack of a coroutine that waits, where it would be a shared one but for strict mode or
  // AddressSanitizer.
  void guard(control_block& block, bool closed) const noexcept {
    stack_memory& stack = block.stack->memory();
    if (closed ? stack.close(block.sp) : stack.open()) return;
    broken_rule(
        "strict mode can't protect one more stack (two mappings a coroutine, see vm.max_map_count): run it with fewer coroutines, or raise "
        "the limit");
  }
  // But not the parts of a coroutine's when_any or when_all: it ends them itself, when its own cancellation comes.
  void end_continuations() {
    for (continuation* each = continuations_; each != nullptr; each = each->next)
      if (!each->has(node_flag::deferred)) end_wait(*each, wake_reason::canceled);
  }

  // The coroutine's side. Cancellation is handled by whoever calls this, after it has returned.
  EVENTER_ALWAYS_INLINE void switch_out(control_block& block) {
    const int saved_errno = *errno_;
#if !defined(NDEBUG)
    if (EVENTER_UNLIKELY(detail::held_locks::of_thread().count != 0)) return switch_out_with_lock(block);
    if (EVENTER_UNLIKELY(context::fp_environment::current() != native_fp_) && !switches_fp(block))
      report_fp_change(block);
#endif
    if (EVENTER_UNLIKELY(switches_state(block) || context::exceptions_in_use(exceptions_)))
      switch_out_with_state(block);
    else
      native_.suspend(&block.sp, block.notes);
    *errno_ = saved_errno;
  }
  // What belongs to the coroutine but lies with the thread stays on the coroutine's stack meanwhile.
  EVENTER_NOINLINE void switch_out_with_state(control_block& block) {
    const context::exceptions_set_aside my_exceptions(exceptions_);
    if (!switches_fp(block)) return leave_stack(block);
    const context::fp_environment mine = context::fp_environment::current();
    native_fp_.load();
    leave_stack(block);
    mine.load();
  }
  // In a call on an own stack the frame around it suspends the coroutine.
  EVENTER_ALWAYS_INLINE void leave_stack(control_block& block) {
    if (own_call* const call = own_call_; call != nullptr)
      call->outer.suspend(&call->sp, call->notes);
    else
      native_.suspend(&block.sp, block.notes);
  }
  static bool switches_state(const control_block& block) noexcept {
    return EVENTER_SAVE_FP_CONTROL != 0 || block.has(coroutine_flag::own_fp | coroutine_flag::in_own_call);
  }
  static bool switches_fp([[maybe_unused]] const control_block& block) noexcept {
    return EVENTER_SAVE_FP_CONTROL != 0 || block.has(coroutine_flag::own_fp);
  }
  EVENTER_NOINLINE void switch_out_with_lock(control_block& block) {
    const int saved_errno = *errno_;
    detail::held_locks& held = detail::held_locks::of_thread();
    if (!std::exchange(held.reported, true))
      log(log_level::warning,
          "coroutine \"%s\" suspends with a lock held that blocks threads (blocking_lock_guard at %s:%u): whoever else wants it on this "
          "thread stops the thread that must resume the holder. Release it before you wait, or use eventer::mutex",
          display_name(block), held.file, held.line);
    const unsigned count = std::exchange(held.count, 0);  // the others of the thread hold none
    *errno_ = saved_errno;
    switch_out(block);
    held.count = count;
  }
  EVENTER_NOINLINE void report_fp_change(control_block& block) {
    if (fp_change_reported_) return;
    fp_change_reported_ = true;
    log(log_level::warning,
        "coroutine \"%s\" suspends with a changed floating-point environment (rounding, exceptions masks), which every other coroutine "
        "of this thread now runs with: restore it before you wait, or spawn it with spawn_options{.own_fp_environment = true}",
        display_name(block));
  }

  // First run: binds a stack and lays the first frame. False where the stack's occupant can't be saved.
  EVENTER_NOINLINE bool start(control_block& block) {
    if (EVENTER_UNLIKELY(block.has(coroutine_flag::cancel_requested))) {
      entry_of(block).operations->destroy_callable(block);
      end(block, outcome::canceled);
      return true;
    }
    if (block.stack == nullptr) block.stack = stacks_.choose();
    if (!block.stack->occupy(block)) {
      block.stack = nullptr;
      return false;
    }
#if EVENTER_TSAN
    block.notes.fiber = context::fiber_pool::take();
#endif
    native_fp_ = context::fp_environment::current();
    context::unpoison_memory(block.stack->memory().bottom(),
                             block.stack->memory().size());  // what an ended one has left
    const callable_operations& operations = *entry_of(block).operations;
    block.sp = context::make_context(
        block.stack->top(), detached(block) && !wants_exceptions() ? operations.run_detached : operations.run, &block);
    return true;
  }

  EVENTER_ALWAYS_INLINE void release_stack(control_block& block) noexcept {
    if (block.stack == nullptr) return;
    block.stack->forget(block);
    if (EVENTER_UNLIKELY(block.has(coroutine_flag::own_stack)))
      give_back_own_stack_of(block);
    else
      stacks_.now_free(block.stack);
  }

  EVENTER_NOINLINE void give_back_own_stack_of(control_block& block) noexcept {
    if (block.has(coroutine_flag::guarded)) guard(block, false);
    stacks_.give_back_own(block.stack);
    if (block.has(coroutine_flag::adapted)) --adapted_now_;
  }
  // Gives it a stack of its own, if there is one.
  EVENTER_NOINLINE void adapt(control_block& block) {
    if (adapted_now_ >= most_adapted) return;
#if EVENTER_EXCEPTIONS
    try {
#endif
      block.stack = stacks_.take_own(options_.own_stack_bytes);
#if EVENTER_EXCEPTIONS
    } catch (const std::exception& failure) {
      log(log_level::warning, "loop_options::adaptive_stacks: no stack for \"%s\", which stays on a shared one: %s",
          display_name(block), failure.what());
      return;
    }
#endif
    block.set(coroutine_flag::own_stack | coroutine_flag::adapted);
    ++adapted_now_;
    ++entry_of(block).adapted;
  }

  // --- ending ---

 public:
  // The first thing on a new coroutine.
  EVENTER_ALWAYS_INLINE static void begin() { current_->native_.arrive(); }
  // The last: answers what the context's function is to return.
  EVENTER_ALWAYS_INLINE static void* leave(control_block& block) {
    scheduler& self = *current_;
    if (EVENTER_UNLIKELY(switches_fp(block))) self.native_fp_.load();
    return self.native_.leave(&block.sp);
  }

  // Called by the entry code, on the coroutine or instead of its run: what remains is to be done on the native stack by
  // `finish`.
  EVENTER_ALWAYS_INLINE static void end(control_block& block, outcome how) noexcept {
    if (EVENTER_UNLIKELY(block.has(coroutine_flag::has_locals))) drop_locals_at_end(block);
    block.set(coroutine_flag::ended);
    block.clear(coroutine_flag::has_callable);
    block.wake = static_cast<wake_reason>(how);
  }
  static outcome outcome_of(const control_block& block) noexcept { return static_cast<outcome>(block.wake); }
  static bool detached(const control_block& block) noexcept { return !block.has(coroutine_flag::has_handle); }
  virtual bool wants_exceptions() const noexcept = 0;

  // Both ways: what went out came back, but for what is out now. Counts up to 64 GiB a coroutine.
  static std::uint64_t bytes_copied(const control_block& block) noexcept {
    return std::uint64_t{block.copied_units} * 32 - block.saved_bytes;
  }
  // What messages call a coroutine. Async-signal-safe.
  const char* display_name(control_block& block) noexcept { return entry_of(block).display; }

 private:
  // As a part of the coroutine: what their destructors wait for is waited for. They must not throw, so that waits
  // answer a cancellation as they do while an exception is in flight. Out of line, and static: its frame and what it
  // needs are in no parked stack.
  EVENTER_NOINLINE static void drop_locals_at_end(control_block& block) noexcept {
#if EVENTER_EXCEPTIONS
    ++context::thread_exception_state()->uncaught;
    of(block).drop_locals(block);
    --context::thread_exception_state()->uncaught;
#else
    of(block).drop_locals(block);
#endif
  }
  EVENTER_NOINLINE void drop_locals(control_block& block) noexcept {
    if (block.has(coroutine_flag::has_locals)) locals_.drop(block);
  }

  EVENTER_ALWAYS_INLINE void finish(control_block& block) {
    entry_record& record = entries_[block.entry];
    record.swaps += block.copies;
    record.bytes_copied += bytes_copied(block);
    if (block.high_water_mark > record.high_water_mark) record.high_water_mark = block.high_water_mark;
    if (EVENTER_UNLIKELY(options_.adaptive_stacks))
      record.own_stacks = record.own_stacks || entry_record::copies_much(record.spawned, record.bytes_copied);
    release_stack(block);
#if EVENTER_TSAN
    context::fiber_pool::give_back(block.notes.fiber);
#endif
    --living_;
    if (block.has(coroutine_flag::has_handle)) {
      wait_node*& joiner = details_of(block).joiner;
      if (joiner == nullptr) return;
      wait_node& node = *joiner;
      if (EVENTER_UNLIKELY(node.has(node_flag::continuation))) joiner = nullptr;  // a coroutine does it itself
      node.waiting_on = nullptr;
      wake(node, wake_reason::ready);
      return;
    }
    if (EVENTER_UNLIKELY(outcome_of(block) == outcome::exception))
      unhandled_exception(display_name(block), detail::stored<std::exception_ptr>::get(details_of(block).storage));
    entry_of(block).operations->destroy_result(block);  // looked up again: the handler may have spawned
    store_->blocks.release(&block);
  }

  EVENTER_NOINLINE void touched() noexcept {
    wakes_when_touched_ = false;
    wake_loop();
  }

  // Through the ready queue first, so that a coroutine that swallows cancellations in a loop can't stop the others.
  EVENTER_NOINLINE bool deliver_cancellation() {
    if (running_->swallowed < 255 && ++running_->swallowed == swallowed_before_report)
      log(log_level::warning,
          "coroutine \"%s\" (id %llu) was cancelled, and has awaited %u times since: let `eventer::cancelled` leave it (catch (...) "
          "{ throw; }), or put what it has to do first into a cancel_shield",
          display_name(*running_), static_cast<unsigned long long>(running_->id()), swallowed_before_report);
    yield();
#if EVENTER_EXCEPTIONS
    if (std::uncaught_exceptions() == 0) throw cancelled{};
#endif
    return true;
  }

  // Coroutines are left that go on waiting, however often they are cancelled.
  EVENTER_NOINLINE void give_up_unwinding() {
    while (continuations_ != nullptr) forget(*continuations_);
    std::vector<control_block*> left;
    for_each_living([&left](control_block& block) { left.push_back(&block); });
#if EVENTER_EXCEPTIONS
    for (control_block* const block : left)
      log(log_level::error,
          "coroutine \"%s\" (id %llu) swallowed 1,000 cancellations while its loop was being destroyed",
          display_name(*block), static_cast<unsigned long long>(block->id()));
    broken_rule(
        "a coroutine goes on waiting after it was cancelled: let `eventer::cancelled` leave it (catch (...) { throw; })");
#else
    // Nothing can unwind them. Their callables are destroyed, their locals are not.
    ready_.clear();
    for (control_block* const block : left) {
      log(log_level::warning,
          "coroutine \"%s\" (id %llu) is dropped without running its destructors: it goes on waiting after its loop's end",
          display_name(*block), static_cast<unsigned long long>(block->id()));
      disarm(*block);
      if (block->waiting_on != nullptr) block->waiting_on->abandon(*block->waiting_on, *block);
      details_of(*block).joiner = nullptr;
      if (block->has(coroutine_flag::has_callable)) entry_of(*block).operations->destroy_callable(*block);
      end(*block, outcome::canceled);
      finish(*block);
    }
    posts_.discard();
#endif
  }

  [[noreturn]] EVENTER_NOINLINE void out_of_memory() {
    if (options_.out_of_memory != nullptr) options_.out_of_memory();
    broken_rule(
        "out of memory: no parked coroutine can be copied to a save stack, so nothing can run; set loop_options::max_coroutines or "
        "max_saved_bytes below what the machine has");
  }

  EVENTER_NOINLINE void run_continuation(continuation& who) {
    who.clear(node_flag::queued);
    if (EVENTER_UNLIKELY(on_step_ != nullptr)) on_step_(*this, nullptr);
    who.run(who);  // which may destroy it, or throw: the loop is as it should be in either case
  }
  // Puts one of the ready ones, drawn from the seed, to the front.
  EVENTER_NOINLINE void draw_next() noexcept {
    // splitmix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
    std::uint64_t z = draws_ += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    const std::size_t chosen = static_cast<std::size_t>((z ^ (z >> 31)) % ready_.size());
    std::swap(ready_[0], ready_[chosen]);
    for (const std::size_t offset : {std::size_t{0}, chosen})
      if (wait_node* const node = ready_[offset]; node->has(node_flag::continuation))
        static_cast<continuation*>(node)->ticket = ready_.ticket_of(offset);
  }

  bool watches_resumes() const noexcept {
    return guards_stacks_ || context::running_on_valgrind() || log_enabled(log_level::debug);
  }
  EVENTER_NOINLINE void observe(control_block& block) {
    if (block.has(coroutine_flag::guarded)) guard(block, false);
    // Where the stack pointer jumps, memcheck does not see that what lies below may be used.
    const char* const bottom = block.stack->memory().bottom();
    context::mark_accessible(bottom, static_cast<std::size_t>(static_cast<const char*>(block.sp) - bottom));
    if (on_step_ != nullptr) on_step_(*this, display_name(block));
    if (!log_enabled(log_level::debug)) return;
    log(log_level::debug, "resume \"%s\" (id %llu): %zu stack bytes", display_name(block),
        static_cast<unsigned long long>(block.id()), block.stack->used_by(block));
  }

  EVENTER_ALWAYS_INLINE void prefetch() noexcept {
    const std::size_t count = ready_.size();
    if (EVENTER_LIKELY(count > prefetch_block_ahead)) __builtin_prefetch(ready_[prefetch_block_ahead], 1);
    const wait_node* const node = ready_[count > prefetch_save_ahead ? prefetch_save_ahead : count - 1];
    if (EVENTER_UNLIKELY(node->has(node_flag::continuation))) return;
    const auto* const block = static_cast<const control_block*>(node);
    // Every line of it: a block may begin and end within one.
    const std::size_t bytes = block->saved_bytes < 512 ? block->saved_bytes : 512;
    const std::size_t offset = reinterpret_cast<std::uintptr_t>(block->saved) % 64;
    for (std::size_t i = 0; i < offset + bytes; i += 64) __builtin_prefetch(block->saved - offset + i, 1);
  }

  scheduler_options options_;

  // What resuming touches.
  control_block* running_ = nullptr;
  own_call* own_call_ = nullptr;  // of the running coroutine
  context::resume_point native_;
  context::exception_state* exceptions_ = nullptr;  // of the thread that runs the loop
  int* errno_ = nullptr;                            // likewise
  std::uint64_t resumes_ = 0;                       // counted once a batch
  unsigned operations_ = 0;                         // in a row that did not have to wait
  unsigned entered_ = 0;
  bool observed_ = false;
  bool steps_after_ = false;  // handles_suspended_, or somebody waits for a slice's end
  bool wakes_when_touched_ = false;
  bool hears_nobody_ = false;  // any more
  void (*on_step_)(scheduler&, const char* what) = nullptr;
  ring_buffer<wait_node*> ready_;
  control_block_store* store_;
  chunk_source save_chunks_;
  save_stack_pool saves_;
  timer_heap timers_;
  post_queue posts_;

  stack_set stacks_;
  const bool guards_stacks_;      // of coroutines that wait
  const bool handles_suspended_;  // something is done with the stack of each coroutine that suspends
  slice_end* slice_ends_ = nullptr;
  entry_table entries_;
  detail::local_table locals_;
  continuation* continuations_ = nullptr;         // those that wait or are ready
  std::size_t continuation_count_ = 0;            // of them, those that keep the loop alive
  continuation forgotten_{[](continuation&) {}};  // stands in the ready queue for one that was forgotten
  std::size_t outside_waits_ = 0, shared_waits_ = 0, unfinished_ = 0;
  detail::mailbox* mailbox_ = nullptr;
  std::size_t selects_ = 0;
  std::size_t adapted_now_ = 0;
  unsigned unwinding_rounds_ = 0;
  std::size_t living_ = 0;
  bool gave_way_ = false;  // in the present run_ready(), let_others_run() was called
  std::size_t refused_ = 0;
  std::size_t first_in_order_ = 0;  // of the ready ones, that no seed moves: see run_at_once
  std::uint64_t draws_ = options_.seed;
  std::uint32_t last_number_ = 0;
  context::fp_environment native_fp_ = context::fp_environment::current();
  bool fp_change_reported_ = false;

  scheduler* next_guarding_ = nullptr;

  static inline constinit thread_local scheduler* current_ = nullptr;
  std::atomic<scheduler**> thread_{&current_};  // stands for the thread
};

// pthread_exit, or the thread's cancellation, in a coroutine: it unwinds the coroutine alone, and would end the thread
// without a word to its loop and the others.
#if EVENTER_EXCEPTIONS && defined(__GLIBCXX__)
namespace detail {
[[noreturn]] EVENTER_NOINLINE inline void refuse_thread_exit() noexcept {
  scheduler& here = *scheduler::current();
  log(log_level::error, "coroutine \"%s\" has called pthread_exit, or its thread was cancelled",
      here.display_name(*here.running()));
  broken_rule("pthread_exit in a coroutine would end its thread with the loop: return, or call event_loop::stop()");
}
}  // namespace detail
#define EVENTER_REFUSE_THREAD_EXIT                        \
  catch (const abi::__forced_unwind&) {                   \
    ::eventer::EVENTER_ABI::detail::refuse_thread_exit(); \
  }
#else
#define EVENTER_REFUSE_THREAD_EXIT
#endif

}  // namespace eventer::inline EVENTER_ABI
