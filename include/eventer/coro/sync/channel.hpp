// channel<T>: a bounded queue between coroutines; of capacity 0 a rendezvous, where each send waits for its receiver.
//
//   eventer::channel<job> jobs(16);                  // a handle: copies are the same channel
//   spawn([jobs]() mutable { while (auto j = jobs.receive()) work(*j); });
//   jobs.send(std::move(j)).value();
//   jobs.close();                                    // what is in it can still be received
//
// A value goes from the sender to the receiver who has waited longest, without passing by anybody else.
#pragma once

#include <deque>
#include <optional>
#include <utility>

#include "eventer/coro/sync/wait_list.hpp"

namespace eventer::inline EVENTER_ABI {

namespace detail {

// The one among several waits of a select that is granted.
class selection : public wait_source {
 public:
  static constexpr std::uint32_t nobody = ~std::uint32_t{0};

  // `contended`: threads may claim it at the same time.
  explicit selection(bool contended) noexcept : contended_(contended) {}

  // Whether it was free, and is for the case `index` from now on.
  bool claim(std::uint32_t index) noexcept {
    std::uint32_t expected = nobody;
    if (contended_) return claimed_.compare_exchange_strong(expected, index);
    if (claimed_.load(std::memory_order_relaxed) != nobody) return false;
    claimed_.store(index, std::memory_order_relaxed);
    return true;
  }
  std::uint32_t claimed() const noexcept { return claimed_.load(); }

 private:
  std::atomic<std::uint32_t> claimed_{nobody};
  const bool contended_;
};

template <class T, class Domain>
struct channel_state : sync_state<Domain> {
  struct request {
    bool sends;
    std::optional<T> value;  // to be sent, or received
    std::error_code error = {};
    selection* select = nullptr;  // of which this is the case `index`
    std::uint32_t index = 0;
  };
  using waiter_type = waiter<channel_state>;
  using list_type = wait_list<channel_state>;

  explicit channel_state(std::size_t most) : capacity(most) {}

  bool try_now(request& what) { return what.sends ? try_send(what) : try_receive(what); }
  list_type& begin_wait(request& what) noexcept { return what.sends ? senders : receivers; }
  void left(request&) noexcept {}
  void take_back(request& what) {
    if (what.sends || !what.value) return;
    if (waiter_type* const next = claim_first(receivers))
      hand_over(what.value, *next);
    else
      items.push_front(*std::exchange(what.value, std::nullopt));
  }

  bool try_send(request& what) {
    if (closed) {
      what.error = make_error_code(errc::closed);
      return true;
    }
    if (!put(*what.value)) return false;
    what.value.reset();
    return true;
  }
  // False, with nothing changed: there is no room. Requires: not closed.
  bool put(T& value) {
    if (waiter_type* const receiver = claim_first(receivers)) {
      receiver->what.value.emplace(std::move(value));
      receiver->grant();
      return true;
    }
    if (items.size() >= capacity) return false;
    items.push_back(std::move(value));
    return true;
  }
  bool try_receive(request& what) {
    if (!items.empty()) {
      // Where one was put back there are more than fit, and no room for another one yet.
      if (waiter_type* const sender = items.size() > capacity ? nullptr : claim_first(senders)) {
        items.push_back(std::move(*sender->what.value));  // which may throw: nothing has changed then
        sender->what.value.reset();
        sender->grant();
      }
      what.value.emplace(std::move(items.front()));
      items.pop_front();
      return true;
    }
    if (waiter_type* const sender = claim_first(senders)) {
      what.value = std::exchange(sender->what.value, std::nullopt);
      sender->grant();
      return true;
    }
    if (!closed) return false;
    what.error = make_error_code(errc::closed);
    return true;
  }
  void close() {
    closed = true;
    for (list_type* const list : {&receivers, &senders})
      while (waiter_type* const each = claim_first(*list)) {
        each->what.error = make_error_code(errc::closed);
        each->grant();
      }
  }

  // Whoever has waited longest and is not served elsewhere.
  waiter_type* claim_first(list_type& list) noexcept {
    while (waiter_type* const first = list.front()) {
      if (first->what.select == nullptr || first->what.select->claim(first->what.index)) return first;
      list.remove(*first);
    }
    return nullptr;
  }
  static void hand_over(std::optional<T>& value, waiter_type& receiver) {
    receiver.what.value = std::exchange(value, std::nullopt);
    receiver.grant();
  }

  const std::size_t capacity;
  bool closed = false;
  std::deque<T> items;
  list_type senders, receivers;
};

template <class State>
class send_operation : public sync_wait<State> {
 public:
  using sync_wait<State>::sync_wait;
  io_result<void> result() {
    if (const std::error_code error = this->error()) return error;
    if (const std::error_code error = this->answer().error) return error;
    return {};
  }
};
template <class State, class T>
class receive_operation : public sync_wait<State> {
 public:
  using sync_wait<State>::sync_wait;
  io_result<T> result() {
    if (const std::error_code error = this->error()) return error;
    typename State::request& got = this->answer();
    if (got.error) return got.error;
    return std::move(*got.value);
  }
};

}  // namespace detail

// For the coroutines of one loop; shared_channel is the same for all loops and plain threads. Copies are handles to one
// channel. A value is moved, and may be of any movable type; a pointer in it must not point into a coroutine's stack.
template <class T, class Domain>
class basic_channel {
  using state_type = detail::channel_state<T, Domain>;

 public:
  using value_type = T;

  // Holds so many values; 0: none, a send waits until its value is received.
  explicit basic_channel(std::size_t capacity) : state_(make_counted<state_type>(capacity)) {}

  // Waits until there is room, or a receiver. Errors: closed; timed_out; operation_canceled where `cancelled` can't be
  // thrown. The value is gone then; try_send leaves it.
  io_result<void> send(T value, time_limit limit = {}) {
    return detail::wait_with_limit(async_send(std::move(value), limit));
  }
  // Waits for a value. Errors: closed, once it is empty; timed_out; operation_canceled where `cancelled` can't be
  // thrown.
  io_result<T> receive(time_limit limit = {}) {
    auto operation = async_receive(limit);
    operation.block();
    return operation.result();
  }
  // Without waiting; from callbacks too. False: there is no room, or it is closed; the value is untouched.
  bool try_send(T& value) {
    const std::lock_guard guard(state_->lock);
    return !state_->closed && state_->put(value);
  }
  bool try_send(T&& value) { return try_send(value); }
  std::optional<T> try_receive() {
    const std::lock_guard guard(state_->lock);
    typename state_type::request what{.sends = false, .value = std::nullopt};
    (void)state_->try_now(what);
    return std::move(what.value);
  }
  // No value goes in any more: who waits to send gets `closed`, and so does who receives once it is empty. May be
  // called again.
  void close() {
    const std::lock_guard guard(state_->lock);
    state_->close();
  }
  bool is_closed() const {
    const std::lock_guard guard(state_->lock);
    return state_->closed;
  }
  std::size_t size() const {
    const std::lock_guard guard(state_->lock);
    return state_->items.size();
  }
  std::size_t capacity() const noexcept { return state_->capacity; }

  // To await. A receive that loses a when_any has received nothing; a send that loses may have been done: select() does
  // exactly one of several.
  auto async_send(T value, time_limit limit = {}) {
    return detail::send_operation<state_type>(state_, {.sends = true, .value = std::move(value)}, limit);
  }
  auto async_receive(time_limit limit = {}) {
    return detail::receive_operation<state_type, T>(state_, {.sends = false, .value = std::nullopt}, limit);
  }

  const counted_ptr<state_type>& state() const noexcept { return state_; }  // for select

 private:
  counted_ptr<state_type> state_;
};

template <class T>
using channel = basic_channel<T, detail::one_loop>;
template <class T>
using shared_channel = basic_channel<T, detail::any_thread>;

}  // namespace eventer::inline EVENTER_ABI
