// await: waits for anything awaitable, from a coroutine of a loop or from a plain thread, which blocks then.
//
// An awaitable has a member await_here(), which waits and answers. Nothing of it is reached by anybody else meanwhile,
// so it may lie on a shared stack.
#pragma once

#include <type_traits>
#include <utility>

#include "eventer/coro/this_coroutine.hpp"

namespace eventer::inline EVENTER_ABI {

template <class A>
concept awaitable = requires(std::remove_cvref_t<A>& what) {
  what.await_here();
};

// Waits for `what` and gives what it gives: await(readable(fd)), await(after(10ms)), await(handle).
//
// Completes, errors: those of the awaitable. Every await of a cancelled coroutine throws `cancelled`.
// Requires: not in a callback of this thread's running loop, which it would block.
template <awaitable A>
decltype(auto) await(A&& what) {
  return what.await_here();
}

// So much time, from the await on.
class after {
 public:
  explicit after(duration time) noexcept : time_(time) {}
  void await_here() const { sleep_for(time_); }

 private:
  duration time_;
};

}  // namespace eventer::inline EVENTER_ABI
