// join_handle<R>: asks a spawned coroutine for its result. Dropping it detaches the coroutine.
//
// A handle to a coroutine of this thread's loop points at its control block; one that came from another thread's spawn
// shares a remote_join with it. The first kind is used on its loop's thread only, but for cancel().
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include "eventer/base/result.hpp"
#include "eventer/coro/operation.hpp"
#include "eventer/coro/remote_join.hpp"

namespace eventer::inline EVENTER_ABI {

template <class R>
class join_handle;

namespace detail {

// The coroutine whose joiner a continuation is.
struct joined : wait_source {
  control_block* block = nullptr;
};

// join() as an operation. `Handle` is a reference, or the handle itself.
template <class R, class Handle>
class join_operation {
 public:
  explicit join_operation(Handle&& handle) noexcept : handle_(std::forward<Handle>(handle)) {
    source_.abandon = [](wait_source& source, wait_node&) noexcept {
      details_of(*static_cast<joined&>(source).block).joiner = nullptr;
    };
  }
  join_operation(join_operation&&) = default;
  join_operation& operator=(join_operation&&) = delete;
  // What was taken along and has lost, or whose combination has failed, keeps its result and its exception to itself.
  ~join_operation() {
    if constexpr (!std::is_reference_v<Handle>) handle_.detach(false);
  }

  void block() {}  // the join in result() does
  bool advance(continuation& who) {
    if (waiting_) {
      canceled_ = canceled_ || who.wake == wake_reason::canceled;
      if constexpr (!std::is_reference_v<Handle>)
        if (canceled_ && handle_.block_ != nullptr && !handle_.done()) {
          // The loop ends: what was taken along ends first. (Another loop's coroutine is only asked to.)
          handle_.cancel();
          return handle_.start_wait(who, source_, error_);
        }
      return true;
    }
    return !(waiting_ = !handle_.start_wait(who, source_, error_));
  }
  R result() {
    if (canceled_) join_handle<R>::give_up();
    if (error_) throw_error(error_, "co_await of a join_handle that is empty, or that another coroutine joins already");
    return handle_.join();
  }
  // It has lost a when_any. False: a coroutine that was taken along has to end first.
  bool lose() {
    if constexpr (!std::is_reference_v<Handle>) handle_.cancel();
    return std::is_reference_v<Handle>;
  }

 private:
  Handle handle_;  // a reference may be to a shared stack: it is looked at where the wait begins and ends, not between
  joined source_;
  std::error_code error_;
  bool waiting_ = false, canceled_ = false;
};

}  // namespace detail

template <class R>
class join_handle {
 public:
  join_handle() noexcept = default;
  join_handle(join_handle&& other) noexcept
      : block_(std::exchange(other.block_, nullptr)), remote_(std::move(other.remote_)) {}
  join_handle& operator=(join_handle&& other) noexcept {
    std::swap(block_, other.block_);
    remote_.swap(other.remote_);
    return *this;
  }
  ~join_handle() { detach(); }

  // Waits for the coroutine's end and gives its result.
  //
  // Completes: when the coroutine has ended. On a plain thread it blocks (for a coroutine of another thread's loop).
  // Returns: what the coroutine returned; rethrows what it threw. The handle is empty afterwards.
  // Errors: std::system_error(operation_canceled) if the coroutine was cancelled, (resource_deadlock_would_occur) for
  // oneself, (invalid_argument) for an empty handle, (busy) if another coroutine joins it already; `cancelled` if the
  // caller is cancelled while it waits.
  R join() {
    check_joinable();
    switch (wait({})) {
      case wake_reason::canceled:
        give_up();
      case wake_reason::timed_out:
        throw_error(make_error_code(errc::timed_out), "join() in a deadline_scope that has expired");
      default:
        return take();
    }
  }

  // await(handle), co_await handle: join(). Only a handle that is moved in takes its coroutine along: when_any cancels
  // and joins that one if it loses.
  auto async_wait() & noexcept { return detail::join_operation<R, join_handle&>(*this); }
  auto async_wait() && noexcept { return detail::join_operation<R, join_handle>(std::move(*this)); }

  // The same, not longer than `limit`: timed_out leaves the coroutine running and the handle as it was. An exception
  // that the coroutine threw comes as try_join gives it.
  io_result<R> join_for(time_limit limit) {
    check_joinable();
    switch (wait(limit)) {
      case wake_reason::timed_out:
        return errc::timed_out;
      case wake_reason::canceled:
#if EVENTER_EXCEPTIONS
        if (std::uncaught_exceptions() == 0) throw cancelled{};
#endif
        return errc::canceled;
      default:
        return take_without_exception();
    }
  }

  // join() without the coroutine's exceptions: a std::system_error becomes its code, any other errc::exception, its
  // cancellation operation_canceled. `cancelled` is thrown where the caller is cancelled while it waits.
  io_result<R> try_join() {
    check_joinable();
    return join_for({});
  }

  // Asks the coroutine to end: its await in progress, or its next one, throws `cancelled`; an await that has been
  // answered already still gives its answer. The coroutine has not ended yet when this returns: join it. Nothing
  // happens if it has ended already. From any thread, while the loop lives and
  // nobody else uses this handle at that moment.
  void cancel() {
    if (block_ != nullptr) {
      scheduler* const loop = control_block_store::of(*block_).owner;
      if (loop == nullptr) return;
      loop->is_on_this_thread() ? loop->cancel(*block_) : loop->cancel_from_outside(*block_);
    } else if (remote_ != nullptr) {
      remote_->request_cancel();
    }
  }

  // Whether the coroutine has ended, so that join() would not wait.
  bool done() const {
    if (block_ != nullptr) return block_->has(coroutine_flag::ended);
    return remote_ != nullptr && remote_->done();
  }
  // Unique among the coroutines of its loop; 0 for an empty handle.
  std::uint64_t id() const {
    if (block_ != nullptr) return block_->id();
    return remote_ != nullptr ? remote_->id() : 0;
  }
  // Whether there is a coroutine to join.
  bool joinable() const noexcept { return block_ != nullptr || remote_ != nullptr; }

  // For the spawning code alone.
  explicit join_handle(control_block& block) noexcept : block_(&block) {}
  control_block& block_for_remote() noexcept { return *block_; }
  explicit join_handle(std::shared_ptr<detail::remote_join<R>> remote) noexcept : remote_(std::move(remote)) {}

 private:
  void detach(bool tell = true) noexcept {
    if (remote_ != nullptr && !tell) remote_->keep_to_itself();
    remote_.reset();
    control_block* const block = std::exchange(block_, nullptr);
    if (block == nullptr) return;
    if (control_block_store::of(*block).owner != nullptr) return scheduler::of(*block).drop_handle(*block, tell);
    if (tell && scheduler::outcome_of(*block) == outcome::exception)
      detail::log_not_taken(block->id(), detail::stored<std::exception_ptr>::get(details_of(*block).storage));
    destroy_result(*block);
    scheduler::release_joined(*block);
  }
  static void destroy_result([[maybe_unused]] control_block& block) noexcept {
    if (scheduler::outcome_of(block) == outcome::exception)
      detail::stored<std::exception_ptr>::destroy(details_of(block).storage);
    else if constexpr (!std::is_void_v<R>)
      if (scheduler::outcome_of(block) == outcome::value) detail::result_storage<R>::destroy(details_of(block).storage);
  }

  void check_joinable() const {
    if (!joinable())
      throw_error(std::make_error_code(std::errc::invalid_argument),
                  "join of an empty join_handle (joined or moved from before)");
    if (block_ != nullptr && block_ == scheduler::running_block())
      throw_error(std::make_error_code(std::errc::resource_deadlock_would_occur), "a coroutine joins itself");
  }

  wake_reason wait(time_limit limit) {
    if (remote_ != nullptr) {
      const wake_reason reason = remote_->wait(limit);
      if (remote_ == nullptr) refuse_second();
      return reason;
    }
    // Who waits for its end stays its joiner until it has gone on: nobody else takes the result in between.
    if (block_->has(coroutine_flag::ended)) {
      if (details_of(*block_).joiner == nullptr) return wake_reason::ready;
      refuse_second();
    }
    scheduler& here = scheduler::of(*block_);
    if (scheduler::current() != &here)
      broken_rule(
          "a join_handle is joined on a thread that does not run its loop: use the handle that event_loop::spawn gives to other threads");
    if (here.running() == nullptr)
      broken_rule("join() outside a coroutine would block the loop: join from a coroutine, or spawn one that joins");
    if (details_of(*block_).joiner != nullptr) refuse_second();
    if (here.cancellation_due()) return wake_reason::canceled;
    here.arm_deadline(here.resolve(limit));  // which may throw: nobody has been told yet
    details_of(*block_).joiner = here.running();
    const wake_reason reason = here.park();
    details_of(*block_).joiner = nullptr;
    return reason;
  }

  [[noreturn]] EVENTER_NOINLINE static void refuse_second() {
    throw_error(make_error_code(errc::busy), "another coroutine joins this one already");
  }

  // Begins the wait of a continuation; true if there is nothing to wait for.
  bool start_wait(continuation& who, detail::joined& source, std::error_code& error) {
    if (done()) return true;
    if (!joinable() || (block_ != nullptr && details_of(*block_).joiner != nullptr)) {
      error = joinable() ? make_error_code(errc::busy) : std::make_error_code(std::errc::invalid_argument);
      return true;
    }
    if (remote_ != nullptr) {
      time_limit none;
      return remote_->start_wait(who, none);
    }
    scheduler& here = scheduler::of(*block_);
    if (scheduler::current() != &here)
      broken_rule(
          "a join_handle is awaited on a thread that does not run its loop: use the handle that event_loop::spawn gives to other threads");
    here.attach(who);
    details_of(*block_).joiner = &who;
    source.block = block_;
    who.waiting_on = &source;
    return false;
  }

  // The joining coroutine was cancelled.
  [[noreturn]] static void give_up() {
#if EVENTER_EXCEPTIONS
    if (std::uncaught_exceptions() == 0) throw cancelled{};
#endif
    throw_error(make_error_code(errc::canceled),
                "join() while the joining coroutine is cancelled; try_join answers an error");
  }

  outcome how() const noexcept { return block_ != nullptr ? scheduler::outcome_of(*block_) : remote_->how(); }

  R take() {
    switch (how()) {
      case outcome::value:
        return take_value();
#if EVENTER_EXCEPTIONS
      case outcome::exception:
        std::rethrow_exception(take_exception());
#endif
      default:
        detach();
        if (scheduler* const here = scheduler::current();
            here != nullptr && here->running() != nullptr && here->cancellation_requested())
          give_up();  // so are both, as where a program ends, and that is no failure
        throw_error(make_error_code(errc::canceled), "the joined coroutine was cancelled");
    }
  }
  io_result<R> take_without_exception() {
    switch (how()) {
      case outcome::value:
        if constexpr (std::is_void_v<R>) {
          take_value();
          return {};
        } else {
          return take_value();
        }
#if EVENTER_EXCEPTIONS
      case outcome::exception:
        try {
          std::rethrow_exception(take_exception());
        } catch (const std::system_error& failure) {
          return failure.code();
        } catch (...) {
          return errc::exception;
        }
#endif
      default:
        detach();
        return errc::canceled;
    }
  }

  R take_value() {
    struct release {
      join_handle* self;
      ~release() {
        if (self->block_ != nullptr) scheduler::release_joined(*std::exchange(self->block_, nullptr));
        self->remote_.reset();
      }
    } at_end{this};
    if constexpr (std::is_void_v<R>) {
      return;
    } else if (block_ != nullptr) {
      if constexpr (std::is_reference_v<R>)
        return *detail::result_storage<R>::take(details_of(*block_).storage);
      else
        return detail::result_storage<R>::take(details_of(*block_).storage);
    } else {
      if constexpr (std::is_reference_v<R>)
        return **remote_->value;
      else
        return std::move(*remote_->value);
    }
  }
  std::exception_ptr take_exception() {
    if (remote_ != nullptr) return std::exchange(remote_, nullptr)->take_exception();
    std::exception_ptr exception = detail::stored<std::exception_ptr>::take(details_of(*block_).storage);
    scheduler::release_joined(*std::exchange(block_, nullptr));
    return exception;
  }

  control_block* block_ = nullptr;
  std::shared_ptr<detail::remote_join<R>> remote_;

  template <class, class>
  friend class detail::join_operation;
};

}  // namespace eventer::inline EVENTER_ABI
