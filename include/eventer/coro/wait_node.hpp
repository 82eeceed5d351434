// wait_node: whoever waits on a loop. A coroutine's control block is one; a `continuation` is the other kind: a
// function that goes on on the loop's native stack, such as a callback or a C++20 coroutine's co_await.
//
// Descriptors, timers, handles and queues know nobody but wait nodes. A node is in a control block, on the heap or in
// the frame of a C++20 coroutine, never on a shared stack, because the loop reaches it while that stack is elsewhere.
#pragma once

#include <cstddef>
#include <cstdint>

#include "eventer/base/timer_heap.hpp"

namespace eventer::inline EVENTER_ABI {

struct wait_node;
class scheduler;

// Why a wait has ended.
enum class wake_reason : std::uint8_t {
  parked,     // it has not
  ready,      // what it waited for has come
  timed_out,  // its time limit has passed
  closed,     // what it waited on was closed here
  canceled,   // somebody cancelled it, or its loop ends
};

// Something that can be waited on and that must forget a waiter when a time limit or a cancellation comes first.
struct wait_source {
  // Called on the loop's thread, never on a coroutine's stack.
  void (*abandon)(wait_source&, wait_node&) noexcept = nullptr;
};

namespace node_flag {
inline constexpr std::uint16_t timed = 1;         // its timer is armed
inline constexpr std::uint16_t continuation = 2;  // else it is a control block
inline constexpr std::uint16_t queued = 4;        // a continuation in the ready queue
inline constexpr std::uint16_t background = 16;   // a continuation that does not keep its loop alive
inline constexpr std::uint16_t deferred = 8;      // what it waits for goes on later, on a coroutine's own stack
}  // namespace node_flag

struct wait_node {
  std::uint16_t flags = 0;
  wake_reason wake = wake_reason::ready;
  std::uint8_t swallowed = 0;  // of a coroutine: cancellations that it was thrown again, or answered again
  timer_node timer;
  wait_source* waiting_on = nullptr;

  static wait_node& of_timer(timer_node& node) noexcept {
    return *reinterpret_cast<wait_node*>(reinterpret_cast<char*>(&node) - offsetof(wait_node, timer));
  }

  bool has(std::uint16_t flag) const noexcept { return (flags & flag) != 0; }
  void set(std::uint16_t flag) noexcept { flags = static_cast<std::uint16_t>(flags | flag); }
  void clear(std::uint16_t flag) noexcept { flags = static_cast<std::uint16_t>(flags & ~flag); }
};
static_assert(sizeof(wait_node) == 16);

// A wait that ends in a call of `run` from the ready queue, on the loop's native stack; `wake` says why. It may wait
// again. Between scheduler::attach and scheduler::forget the loop knows it, tells it of its end, and is kept alive by
// it, unless it is in the background: that flag is set before it is attached, and stays.
struct continuation : wait_node {
  explicit continuation(void (*function)(continuation&)) noexcept : run(function) { flags = node_flag::continuation; }
  continuation(const continuation&) = delete;
  continuation& operator=(const continuation&) = delete;

  void (*run)(continuation&);
  scheduler* home = nullptr;  // whose loop it waits on; nullptr: none yet
  continuation* next = nullptr;
  continuation** link = nullptr;  // what points at it in its home's list
  std::size_t ticket = 0;         // of its place in the ready queue
};

}  // namespace eventer::inline EVENTER_ABI
