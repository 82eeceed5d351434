// spawn: starts a coroutine on this loop. The callable and its arguments are moved into it, the result out of it.
#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>

#include "eventer/coro/capture_check.hpp"
#include "eventer/coro/join_handle.hpp"
#include "eventer/coro/task.hpp"

namespace eventer::inline EVENTER_ABI {

enum class stack_kind { shared, own };

struct spawn_options {
  const char* name = nullptr;  // shown in reports and messages; must outlive the loop (a literal does)
  stack_kind stack = stack_kind::shared;
  std::size_t own_stack_bytes = 0;  // with stack_kind::own; 0: the loop's default
  bool own_fp_environment = false;  // rounding mode and masks are the coroutine's: 13-15 ns a resume and suspend
  const void* entry = nullptr;      // the function by which reports know it, where it is called through another one
};

namespace detail {

#if EVENTER_EXCEPTIONS
EVENTER_NOINLINE inline void keep_exception(control_block& block) {
  stored<std::exception_ptr>::create(details_of(block).storage, std::current_exception());
  scheduler::end(block, outcome::exception);
}
#endif

// What a callable gives in the end: a task that it returns is awaited, on the coroutine.
template <class R>
struct unwrapped {
  using type = R;
  static constexpr bool is_task = false;
};
template <class T>
struct unwrapped<task<T>> {
  using type = T;
  static constexpr bool is_task = true;
};

template <class Call>
EVENTER_ALWAYS_INLINE typename unwrapped<std::invoke_result_t<Call&>>::type call_unwrapped(Call& call) {
  if constexpr (unwrapped<std::invoke_result_t<Call&>>::is_task)
    return run_task(call());
  else
    return call();
}

template <class T>
struct task_call {
  task<T> what;
  task<T> operator()() { return std::move(what); }
};

template <class Call>
struct operations_of {
  using result_type = typename unwrapped<std::invoke_result_t<Call&>>::type;

  struct destroy_at_end {
    control_block& block;
    ~destroy_at_end() { destroy_callable(block); }
  };
  EVENTER_ALWAYS_INLINE static result_type call(control_block& block) {
    const destroy_at_end callable{block};
    return call_unwrapped(stored<Call>::get(details_of(block).storage));
  }
  EVENTER_ALWAYS_INLINE static void call_and_keep(control_block& block) {
    if constexpr (std::is_void_v<result_type>) {
      call(block);
    } else if constexpr (std::is_reference_v<result_type>) {
      auto* const result = std::addressof(call(block));
      result_storage<result_type>::create(details_of(block).storage, result);
    } else {
      result_type result = call(block);
      result_storage<result_type>::create(details_of(block).storage, std::move(result));
    }
    scheduler::end(block, outcome::value);
  }

  // The outermost function of a coroutine. Its frame is part of every parked stack, so what need not be in it is called
  // out of line.
  static void* run(void* argument) {
    control_block& block = *static_cast<control_block*>(argument);
    scheduler::begin();
#if EVENTER_EXCEPTIONS
    try {
      call_and_keep(block);
    } catch (const cancelled&) {
      scheduler::end(block, outcome::canceled);
    }
    EVENTER_REFUSE_THREAD_EXIT
    catch (...) {
      keep_exception(block);
    }
#else
    call_and_keep(block);
#endif
    return scheduler::leave(block);
  }
  // Nobody can receive an exception: it is not caught, so that the backtrace at terminate still shows where it came
  // from.
  static void* run_detached(void* argument) {
    control_block& block = *static_cast<control_block*>(argument);
    scheduler::begin();
#if EVENTER_EXCEPTIONS
    try {
      call_and_keep(block);
    } catch (const cancelled&) {
      scheduler::end(block, outcome::canceled);
    }
    EVENTER_REFUSE_THREAD_EXIT
#else
    call_and_keep(block);
#endif
    return scheduler::leave(block);
  }

  // Out of line for the sake of the frame of run().
  EVENTER_NOINLINE static void destroy_callable(control_block& block) noexcept {
    block.clear(coroutine_flag::has_callable);
    stored<Call>::destroy(details_of(block).storage);
  }
  static void destroy_result(control_block& block) noexcept {
    if (scheduler::outcome_of(block) == outcome::exception)
      stored<std::exception_ptr>::destroy(details_of(block).storage);
    else if constexpr (!std::is_void_v<result_type>)
      if (scheduler::outcome_of(block) == outcome::value)
        result_storage<result_type>::destroy(details_of(block).storage);
  }

  static constexpr callable_operations table{&run, &run_detached, &destroy_callable, &destroy_result,
                                             &signature_of<Call>};
};

template <class F, class... Arguments>
using call_type = std::conditional_t<sizeof...(Arguments) == 0 && !std::is_pointer_v<std::decay_t<F>>, std::decay_t<F>,
                                     bound_call<std::decay_t<F>, std::decay_t<Arguments>...>>;

template <class F, class... Arguments>
concept spawnable = std::is_invocable_v<std::decay_t<F>, std::decay_t<Arguments>...>;

template <class F, class... Arguments>
using spawn_result = typename unwrapped<std::invoke_result_t<std::decay_t<F>, std::decay_t<Arguments>...>>::type;

// On the loop's thread: makes the coroutine, which is not ready yet. `flag`: has_handle, or 0.
template <class F, class... Arguments>
control_block& make_here(scheduler& here, const spawn_options& options, std::uint16_t flag, F&& function,
                         Arguments&&... arguments) {
  using call = call_type<F, Arguments...>;
  const void* key = options.entry;
  if constexpr (std::is_pointer_v<std::decay_t<F>>)
    if (key == nullptr) key = reinterpret_cast<const void*>(static_cast<std::decay_t<F>>(function));
  const std::uint16_t flags =
      static_cast<std::uint16_t>(flag | (options.stack == stack_kind::own ? coroutine_flag::own_stack : 0) |
                                 (options.own_fp_environment ? coroutine_flag::own_fp : 0));
  control_block& block = here.create(operations_of<call>::table, key, options.name, flags, options.own_stack_bytes);
#if EVENTER_EXCEPTIONS
  try {
#endif
    if constexpr (std::is_same_v<call, std::decay_t<F>>)
      stored<call>::create(details_of(block).storage, std::forward<F>(function));
    else
      stored<call>::create(details_of(block).storage, std::in_place, std::forward<F>(function),
                           std::forward<Arguments>(arguments)...);
#if EVENTER_EXCEPTIONS
  } catch (...) {
    here.discard(block);
    throw;
  }
#endif
  check_captures(stored<call>::get(details_of(block).storage), "spawn");
  // On a loop that is being destroyed it does not run any more: the callable is destroyed once, and joining says
  // canceled.
  if (EVENTER_UNLIKELY(here.stopping())) block.set(coroutine_flag::cancel_requested);
  return block;
}

// The same, and its handle; it is ready.
template <class F, class... Arguments>
join_handle<spawn_result<F, Arguments...>> spawn_here(scheduler& here, const spawn_options& options, F&& function,
                                                      Arguments&&... arguments) {
  control_block& block = make_here(here, options, coroutine_flag::has_handle, std::forward<F>(function),
                                   std::forward<Arguments>(arguments)...);
  here.make_ready(block, wake_reason::ready);
  return join_handle<spawn_result<F, Arguments...>>(block);
}

// It runs to its first wait before this returns, and nobody can join it.
template <class F, class... Arguments>
void run_here_at_once(scheduler& here, const spawn_options& options, F&& function, Arguments&&... arguments) {
  here.run_at_once(make_here(here, options, 0, std::forward<F>(function), std::forward<Arguments>(arguments)...));
}

// What another thread has spawned: the callable of its coroutine.
template <class R, class Call>
struct remote_body {
  // Answers when the callable is gone: `canceled` where it was destroyed without having run to its end.
  struct answer_at_end {
    std::shared_ptr<remote_join<R>> join;
    outcome how = outcome::canceled;
    std::exception_ptr failure;
    explicit answer_at_end(std::shared_ptr<remote_join<R>> j) noexcept : join(std::move(j)) {}
    answer_at_end(answer_at_end&&) noexcept = default;
    ~answer_at_end() {
      if (join != nullptr) join->end(how, std::move(failure));
    }
  };
  answer_at_end answer;
  Call call;

  void operator()() {
#if EVENTER_EXCEPTIONS
    if (nobody_asks()) return run();  // not caught: the backtrace at terminate shows where it came from
    try {
      run();
    } catch (const cancelled&) {
      throw;
    }
    EVENTER_REFUSE_THREAD_EXIT
    catch (...) {
      if (nobody_asks()) throw;
      answer.how = outcome::exception;
      answer.failure = std::current_exception();
    }
#else
    run();
#endif
  }

 private:
  // The handle is gone: what is thrown goes the way of any detached coroutine's exception.
  bool nobody_asks() const noexcept { return answer.join.use_count() == 1; }
  void run() {
    remote_join<R>& state = *answer.join;
    if constexpr (std::is_void_v<R>)
      call_unwrapped(call);
    else if constexpr (std::is_reference_v<R>)
      state.value.emplace(std::addressof(call_unwrapped(call)));
    else
      state.value.emplace(call_unwrapped(call));
    answer.how = outcome::value;
  }
};

// The message that makes that coroutine, on the loop's thread.
template <class R, class Call>
struct remote_start {
  scheduler& there;
  spawn_options options;
  std::shared_ptr<remote_join<R>> join;
  remote_body<R, Call> body;

  void operator()() {
#if EVENTER_EXCEPTIONS
    try {
#endif
      auto handle = spawn_here(there, options, std::move(body));
      control_block& block = handle.block_for_remote();
      if (join->started(there, block)) there.cancel(block);
#if EVENTER_EXCEPTIONS
    } catch (...) {
      join->fail(std::current_exception());
    }
#endif
  }
};

// From another thread: a message on the heap carries the callable; the coroutine is made on the loop's thread.
template <class F, class... Arguments>
join_handle<spawn_result<F, Arguments...>> spawn_remote(scheduler& there, const spawn_options& options, F&& function,
                                                        Arguments&&... arguments) {
  using R = spawn_result<F, Arguments...>;
  using call = bound_call<std::decay_t<F>, std::decay_t<Arguments>...>;
  auto join = std::make_shared<remote_join<R>>(there);
  there.post(
      remote_start<R, call>{there,
                            options,
                            join,
                            {typename remote_body<R, call>::answer_at_end(join),
                             call(std::in_place, std::forward<F>(function), std::forward<Arguments>(arguments)...)}},
      [](const remote_start<R, call>& message) { check_captures_always(message.body.call, "event_loop::spawn"); });
  return join_handle<R>(std::move(join));
}

}  // namespace detail

// Starts `function(arguments...)` as a coroutine on this thread's loop; it runs when the caller next waits or returns
// to the loop.
//
// Everything is decayed and moved (copied) off the caller's stack: references into the caller's frame must not be
// passed, as that frame may be swapped out when the coroutine runs. Pass values, or something on the heap. Returns: a
// handle; drop it to detach. Errors: std::system_error(not_enough_memory) at loop_options::max_coroutines,
// max_saved_bytes or the machine's end. Requires: a loop runs on this thread. From other threads: event_loop::spawn.
//
// A function that returns a task runs that task (and lives until it ends), so a capturing lambda may be a C++20
// coroutine: spawn([socket]() -> task<int> { ... co_return 1; }).
template <class F, class... Arguments>
requires detail::spawnable<F, Arguments...>
auto spawn(F&& function, Arguments&&... arguments) {
  return spawn(spawn_options{}, std::forward<F>(function), std::forward<Arguments>(arguments)...);
}

template <class F, class... Arguments>
requires detail::spawnable<F, Arguments...>
auto spawn(const spawn_options& options, F&& function, Arguments&&... arguments) {
  scheduler* const here = scheduler::current();
  if (here == nullptr)
    broken_rule("spawn() on a thread without a running loop: use event_loop::spawn, or eventer::run");
  return detail::spawn_here(*here, options, std::forward<F>(function), std::forward<Arguments>(arguments)...);
}

// Runs a task as a coroutine.
template <class T>
join_handle<T> spawn(task<T> what) {
  return spawn(detail::task_call<T>{std::move(what)});
}
template <class T>
join_handle<T> spawn(const spawn_options& options, task<T> what) {
  return spawn(options, detail::task_call<T>{std::move(what)});
}

}  // namespace eventer::inline EVENTER_ABI
