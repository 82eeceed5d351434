// coroutine: a stackful coroutine without a loop, for those who bring their own scheduler, or measure: what libaco is.
//
// It rests on shared_stack and the switch alone. resume() runs it until it suspends or ends, on the stack it was made
// for; coroutines of one shared_stack may be resumed in any order, each resume copies only where another one lies in
// the way.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#include "eventer/coro/entry.hpp"
#include "eventer/coro/scheduler.hpp"

namespace eventer::inline EVENTER_ABI {

namespace detail {

template <class F>
concept callable = std::is_invocable_v<std::add_lvalue_reference_t<std::decay_t<F>>>;

struct bare_block;

struct bare_operations {
  void (*run)(bare_block&);
  void (*destroy)(bare_block&) noexcept;
  std::size_t bytes;  // of the block with its function
};

// The control block of a coroutine without a loop: one cache line; the function stands behind it.
struct alignas(64) bare_block : stack_segment {
  std::uint8_t flags = 0;
  std::uint8_t swallowed = 0;
  const bare_operations* table = nullptr;
  [[no_unique_address]] context::sanitizer_notes notes;
};
#if !EVENTER_ASAN && !EVENTER_TSAN
static_assert(sizeof(bare_block) == 64);
#endif

// The running coroutine of this thread, and where its resumer went on.
struct bare_state {
  bare_block* current = nullptr;
  context::resume_point caller;
  context::exception_state* exceptions = nullptr;
};

}  // namespace detail

// Asks for a stack that is never copied. The bytes are reserved; they cost memory when touched.
struct own_stack {
  std::size_t bytes = std::size_t{256} << 10;
};

class coroutine {
 public:
  coroutine() noexcept = default;  // none: done() is true

  // Created suspended. `function` is moved to the heap. The stack must outlive the coroutine, and both stay on one
  // thread. Errors: std::system_error(not_enough_memory).
  template <detail::callable F>
  coroutine(shared_stack& stack, F&& function) : block_(make(stack, std::forward<F>(function))) {}

  // The same with a stack of its own.
  template <detail::callable F>
  coroutine(own_stack size, F&& function) {
    auto stack = std::make_unique<shared_stack>(size.bytes);
    block_ = make(*stack, std::forward<F>(function));
    block_->flags = static_cast<std::uint8_t>(block_->flags | owns_stack);
    stack.release();
  }

  coroutine(coroutine&& other) noexcept : block_(std::exchange(other.block_, nullptr)) {}
  coroutine& operator=(coroutine&& other) noexcept {
    std::swap(block_, other.block_);
    return *this;
  }
  // A suspended coroutine is unwound first: its suspend() throws `cancelled`, its locals are destroyed. One that was
  // never resumed only loses its function. Requires: as for resume().
  ~coroutine() {
    if (block_ != nullptr) destroy();
  }

  // Runs the coroutine until it suspends or ends. Returns: then; rethrows what left the coroutine.
  // Errors: std::system_error(not_enough_memory) if the stack's occupant can't be saved; the coroutine has not run
  // then. Requires: not done(); called on the thread's own stack or on an own stack, not on a shared one.
  EVENTER_ALWAYS_INLINE void resume() {
    if (EVENTER_UNLIKELY(state_.current != nullptr || scheduler::current() != nullptr)) return resume_inside();
    resume_here();
  }

  // Inside: back to whoever has called resume().
  // Completes: at the next resume(). Errors: throws `cancelled` where the coroutine is being destroyed.
  // Requires: called by a coroutine of this class.
  EVENTER_ALWAYS_INLINE static void suspend() {
    block* const self = state_.current;
    if (EVENTER_UNLIKELY(self == nullptr))
      broken_rule(
          "coroutine::suspend() outside a coroutine: only the function given to a coroutine, and what it calls, may suspend");
    if (EVENTER_UNLIKELY(context::exceptions_in_use(state_.exceptions)))
      switch_out_of_catch(*self);
    else
      state_.caller.suspend(&self->sp, self->notes);
    if (EVENTER_UNLIKELY((state_.current->flags & unwinding) != 0)) unwind(*state_.current);
  }

  // Whether the caller runs in a coroutine of this class, on a stack that others use too.
  static bool is_on_shared_stack() noexcept {
    return state_.current != nullptr && (state_.current->flags & owns_stack) == 0;
  }

  // Whether it has ended, so that resume() must not be called any more.
  bool done() const noexcept { return block_ == nullptr || (block_->flags & ended) != 0; }
  // Bytes of the stack in use at the last suspension: what a switch to another coroutine of the stack copies. 0 before
  // the first.
  std::size_t stack_bytes() const noexcept { return done() ? 0 : block_->stack->used_by(*block_); }
  // The deepest suspension so far, bytes.
  std::size_t high_water_mark() const noexcept { return block_ == nullptr ? 0 : block_->high_water_mark; }
  // How often its bytes were copied out.
  std::uint64_t copies() const noexcept { return block_ == nullptr ? 0 : block_->copies; }

 private:
  static constexpr std::uint8_t ended = 1;
  static constexpr std::uint8_t unwinding = 2;
  static constexpr std::uint8_t owns_stack = 4;
  static constexpr std::uint8_t failed = 8;

  using block = detail::bare_block;
  using operations = detail::bare_operations;

  template <class F>
  static F& function_of(block& self) noexcept {
    // A function without state may stand anywhere.
    auto* const place = std::is_empty_v<F> ? reinterpret_cast<char*>(&self.flags) : reinterpret_cast<char*>(&self + 1);
    return *std::launder(reinterpret_cast<F*>(place));
  }

  template <class F>
  struct operations_of {
    static void run(block& self) { function_of<F>(self)(); }
    static void destroy(block& self) noexcept {
      if constexpr (!std::is_empty_v<F>) function_of<F>(self).~F();
    }
    static constexpr operations table{&run, &destroy,
                                      sizeof(block) + (std::is_empty_v<F> ? 0 : (sizeof(F) + 63) / 64 * 64)};
  };

  template <class F>
  static block* make(shared_stack& stack, F&& function) {
    using function_type = std::decay_t<F>;
    static_assert(alignof(function_type) <= 64, "an over-aligned function object: keep it on the heap");
    if (const char* const refusal = context::shadow_stack_refusal(); EVENTER_UNLIKELY(refusal != nullptr))
      throw_error(std::make_error_code(std::errc::not_supported), refusal);
    const operations& table = operations_of<function_type>::table;
    void* const memory = stack.pool().allocate(table.bytes);
    if (memory == nullptr) throw_error(std::make_error_code(std::errc::not_enough_memory), "no memory for a coroutine");
    block* const self = ::new (memory) block;
    self->stack = &stack;
    self->table = &table;
#if EVENTER_EXCEPTIONS
    try {
#endif
      if constexpr (!std::is_empty_v<function_type>)
        ::new (static_cast<void*>(self + 1)) function_type(std::forward<F>(function));
#if EVENTER_EXCEPTIONS
    } catch (...) {
      stack.pool().release(static_cast<char*>(memory), save_stack_pool::class_of(table.bytes));
      throw;
    }
#endif
    return self;
  }

  EVENTER_NOINLINE static void switch_out_of_catch(block& self) {
    const context::exceptions_set_aside mine(state_.exceptions);
    state_.caller.suspend(&self.sp, self.notes);
  }

  EVENTER_ALWAYS_INLINE void resume_here() {
    block& self = *block_;
    if (EVENTER_UNLIKELY(self.sp == nullptr)) prepare_first_run(self);  // or it has ended
    if (EVENTER_UNLIKELY(!self.stack->occupy(self))) out_of_memory();
    if (EVENTER_UNLIKELY(context::exceptions_in_use(state_.exceptions))) return switch_in_from_catch(self);
    switch_in(self);
  }
  EVENTER_NOINLINE void switch_in_from_catch(block& self) {
    const context::exceptions_set_aside callers(state_.exceptions);
    switch_in(self);
  }

  // Inside another coroutine. One of a loop is not the running one meanwhile: an await on this stack must not suspend
  // it.
  EVENTER_NOINLINE void resume_inside() {
    check_resumable_here();
    struct outer_coroutine {
      scheduler* loop = scheduler::current();
      control_block* running = loop == nullptr ? nullptr : loop->exchange_running(nullptr);
      detail::bare_state bare = state_;
      ~outer_coroutine() {
        bare.exceptions = state_.exceptions;  // the thread's, found at the first run of all
        state_ = bare;
        if (loop != nullptr) loop->exchange_running(running);
      }
    } outer;
    resume_here();
  }

  // Lays the first frame, for which nobody else's bytes may be on the stack.
  EVENTER_NOINLINE static void prepare_first_run(block& self) {
    if ((self.flags & ended) != 0) broken_rule("resume() of a coroutine that has ended: ask done() first");
    if (!self.stack->occupy(self)) out_of_memory();
#if EVENTER_TSAN
    self.notes.fiber = context::fiber_pool::take();
#endif
    context::unpoison_memory(self.stack->memory().bottom(), self.stack->memory().size());  // what an ended one has left
    self.sp = context::make_context(self.stack->top(), &entry, &self);
    state_.exceptions = context::thread_exception_state();
  }

  EVENTER_ALWAYS_INLINE void switch_in(block& self) {
    state_.current = &self;
    state_.caller.enter(self.sp, self.notes, self.stack->memory().bottom(), self.stack->memory().size());
    self.stack->mark(self);
    state_.current = nullptr;
    if (EVENTER_UNLIKELY((self.flags & ended) != 0)) after_end(self);
  }

  static void* entry(void* argument) {
    block& self = *static_cast<block*>(argument);
    state_.caller.arrive();
#if EVENTER_EXCEPTIONS
    try {
      self.table->run(self);
    } catch (const cancelled&) {
    } catch (...) {
      keep_failure(self);
    }
#else
    self.table->run(self);
#endif
    self.flags = static_cast<std::uint8_t>(self.flags | ended);
    return state_.caller.leave(&self.sp);
  }

#if EVENTER_EXCEPTIONS
  EVENTER_NOINLINE static void keep_failure(block& self) {
    self.flags = static_cast<std::uint8_t>(self.flags | failed);
    failure_ = new std::exception_ptr(std::current_exception());
  }
#endif

  EVENTER_NOINLINE static void after_end(block& self) {
    self.stack->forget(self);
    self.sp = nullptr;
#if EVENTER_TSAN
    context::fiber_pool::give_back(std::exchange(self.notes.fiber, nullptr));
#endif
#if EVENTER_EXCEPTIONS
    if ((self.flags & failed) == 0) return;
    const std::unique_ptr<std::exception_ptr> failure(std::exchange(failure_, nullptr));
    if ((self.flags & unwinding) == 0) std::rethrow_exception(*failure);
#endif
  }

  EVENTER_NOINLINE static void unwind([[maybe_unused]] block& self) {
#if EVENTER_EXCEPTIONS
    if (std::uncaught_exceptions() > 0) return;  // it suspends in a destructor, on its way out
    if (++self.swallowed == 255)
      broken_rule("a coroutine that is being destroyed goes on suspending: let `eventer::cancelled` leave it");
    throw cancelled{};
#endif
  }

  EVENTER_NOINLINE void destroy() {
    block& self = *block_;
    shared_stack& stack = *self.stack;
    if (&self == state_.current) broken_rule("a coroutine destroys itself while it runs: return from it instead");
#if EVENTER_EXCEPTIONS
    if (self.sp != nullptr && (self.flags & ended) == 0) {
      self.flags = static_cast<std::uint8_t>(self.flags | unwinding);
      while ((self.flags & ended) == 0) resume();
    }
#endif
    stack.forget(self);
    const operations& table = *self.table;
    table.destroy(self);
    const bool own = (self.flags & owns_stack) != 0;
    stack.pool().release(reinterpret_cast<char*>(&self), save_stack_pool::class_of(table.bytes));
    if (own) delete &stack;
    block_ = nullptr;
  }

  EVENTER_NOINLINE static void check_resumable_here() {
    const bool in_loop = state_.current == nullptr && scheduler::running_block() != nullptr;
    if (is_on_shared_stack() || (in_loop && scheduler::current()->is_on_shared_stack()))
      broken_rule(
          "coroutine::resume() or its destructor on a shared stack, whose bytes it may have to copy: call it from the thread's own stack, or "
          "from a coroutine with an own stack, or in call_on_own_stack");
  }
  [[noreturn]] EVENTER_NOINLINE static void out_of_memory() {
    throw_error(std::make_error_code(std::errc::not_enough_memory),
                "no memory to save the coroutine that occupies the stack");
  }

  block* block_ = nullptr;
  static inline constinit thread_local detail::bare_state state_{};
  static inline constinit thread_local std::exception_ptr* failure_ = nullptr;
};

}  // namespace eventer::inline EVENTER_ABI
