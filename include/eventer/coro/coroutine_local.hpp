// coroutine_local<T>: one value a coroutine, as thread_local is one a thread.
//
//   inline eventer::coroutine_local<std::string> request_id{eventer::inherited};
//   ...
//   *request_id = "4711";                        // in the coroutine that serves a request
//   eventer::spawn([] { log("%s", request_id->c_str()); });   // 4711: it has a copy
#pragma once

#include <atomic>
#include <concepts>
#include <optional>
#include <type_traits>
#include <utility>

#include "eventer/coro/local_values.hpp"
#include "eventer/coro/scheduler.hpp"

namespace eventer::inline EVENTER_ABI {

struct inherited_t {};
// Of a coroutine_local: who is spawned by a coroutine begins with a copy of its value.
inline constexpr inherited_t inherited{};

// `*local` is the running coroutine's value: made when it is first asked for, destroyed on the coroutine when it ends,
// after its function, its locals and its callable, the newest first (of one that never ran, where it is dropped). What
// its destructor waits for answers operation_canceled where the coroutine was cancelled. It lies on the heap and stays
// where it is, so others may be given its address for so long. Outside of coroutines (a callback, a C++20 coroutine of
// another library, a plain thread, a bare `coroutine`) it is the thread's value.
//
// A value is inherited by what a coroutine spawns on its own loop, as it is at that moment; not over event_loop::spawn
// from another thread. Any thread may use one coroutine_local; it may be destroyed before the values are, which nobody
// reaches then. Costs: an allocation a value and one a coroutine, a look-up in a hash table at each use: keep the
// reference in a loop. Errors: what T's constructor throws; std::bad_alloc.
template <class T>
class coroutine_local {
  static_assert(std::is_object_v<T> && !std::is_const_v<T> && !std::is_array_v<T>,
                "coroutine_local holds a value: an object that is not const and no array");

 public:
  // Values begin as T().
  constexpr coroutine_local() noexcept requires std::default_initializable<T> : kind_(&of_default) {}
  // Values begin as copies of `initial`.
  constexpr explicit coroutine_local(T initial) requires std::copy_constructible<T> : initial_(std::move(initial)),
                                                                                      kind_(&of_copies) {}
  constexpr explicit coroutine_local(inherited_t, T initial = T()) requires std::copy_constructible<T>
      : initial_(std::move(initial)), kind_(&of_inherited) {}
  coroutine_local(const coroutine_local&) = delete;
  coroutine_local& operator=(const coroutine_local&) = delete;

  T& operator*() const {
    detail::local_list& mine = list_here();
    void* const found = mine.find(number_.load(std::memory_order_relaxed));
    return found != nullptr ? *static_cast<T*>(found) : make(mine);
  }
  T* operator->() const { return std::addressof(**this); }

 private:
  static void* make_default(const void*) { return new T(); }
  static void* make_copy(const void* initial) { return new T(**static_cast<const std::optional<T>*>(initial)); }
  static void destroy(void* value) noexcept { delete static_cast<T*>(value); }
  static void* copy(const void* value) { return new T(*static_cast<const T*>(value)); }
  static constexpr detail::local_kind of_default{&make_default, &destroy, nullptr};
  static constexpr detail::local_kind of_copies{&make_copy, &destroy, nullptr};
  static constexpr detail::local_kind of_inherited{&make_copy, &destroy, &copy};

  static detail::local_list& list_here() {
    scheduler* const here = scheduler::current();
    if (here == nullptr || here->running() == nullptr) return detail::local_list::of_thread();
    return here->locals().of(*here->running());
  }
  EVENTER_NOINLINE T& make(detail::local_list& mine) const {
    std::uint32_t number = number_.load(std::memory_order_relaxed);
    if (number == 0) {
      const std::uint32_t next = detail::local_list::next_number();
      if (number_.compare_exchange_strong(number, next, std::memory_order_relaxed)) number = next;
    }
    void* const value = kind_->make(&initial_);
    mine.add(number, *kind_, value);
    return *static_cast<T*>(value);
  }

  mutable std::atomic<std::uint32_t> number_{0};  // 0: it was never used
  std::optional<T> initial_;
  const detail::local_kind* kind_;
};

}  // namespace eventer::inline EVENTER_ABI
