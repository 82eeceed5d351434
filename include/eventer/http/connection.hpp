// connection: a coroutine's work for one client, from its first request to its end. Between requests it waits here, and
// this is what an idle client costs: its closure, the two outermost frames, and the descriptor.
#pragma once

#include <concepts>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>

#include "eventer/http/server_state.hpp"

namespace eventer::inline EVENTER_ABI::http {

// What is put over a connection before HTTP is spoken on it, in the connection's own coroutine, which may wait: a
// tls::context. A handle: each connection keeps a copy. HTTP knows no more of it, so that it needs no library for it.
template <class T>
concept connection_security = std::copy_constructible<T> && requires(const T& with, any_stream& peer) {
  { with.accept(peer) } -> std::same_as<io_result<void>>;
};

namespace detail {

struct in_the_clear {};

// Requires: the server outlives it; and it lies on the heap while it serves.
class connection : public eventer::detail::connection_set::member {
 public:
  connection(share& here, any_stream&& stream) noexcept : here_(&here), stream_(std::move(stream)) {}
  connection(connection&& other) noexcept  // before it serves
      : member(std::move(other)), here_(std::exchange(other.here_, nullptr)), stream_(std::move(other.stream_)) {}

 protected:
  share* here() const noexcept { return here_; }  // nullptr: moved from

  // `Set` is what it is one of. Whatever lived across the wait would be in every parked stack.
  template <eventer::detail::connection_set share::*Set, class Security = in_the_clear>
  EVENTER_ALWAYS_INLINE void serve(const Security& with = {}) {
    if (!(here_->*Set).enter(*this, stream_)) return;
    if constexpr (!std::is_same_v<Security, in_the_clear>)
      if (!secure(here_->*Set, with)) return;
    for (;;) {
      const auto received = stream_.read_borrowed();
      if (!received) return;
      const outcome then = answer(here_->*Set, received->data(), received->size());
      if (EVENTER_UNLIKELY(then.next != nullptr)) return hand_over(then.next);
      if (!then.goes_on) return;
    }
  }

 private:
  // False: the handshake has failed. It has a time limit of its own: the one for idle connections may be shorter.
  template <class Security>
  EVENTER_NOINLINE bool secure(eventer::detail::connection_set& all, const Security& with) {
    all.note_busy(*this);
    const endpoint peer = stream_.peer();  // the kernel forgets it when the peer resets the connection
    const io_result<void> done = with.accept(stream_);
    if (!done) here_->note_failed_handshake(done.error(), peer);
    all.note_idle(*this);
    return done.has_value();
  }
  struct outcome {
    bool goes_on;  // false: the connection has ended, but for its heir, if there is one
    heir* next;
  };
  EVENTER_NOINLINE outcome answer(eventer::detail::connection_set& all, const char* received, std::size_t size) {
    all.note_busy(*this);
    afterwards then = afterwards::close;
    std::unique_ptr<heir> next;
    {
      const std::uint32_t before = requests_;
      const share::lent_exchange work(*here_);
      then = work->serve(here_->owner.serves(), stream_, requests_, {received, size});
      here_->requests.fetch_add(requests_ - before, std::memory_order_relaxed);
      if (EVENTER_UNLIKELY(then == afterwards::inherited)) next = work->take_heir();
    }
    if (then == afterwards::close_slowly) close_slowly();
    if (next == nullptr) all.note_idle(*this);  // what an heir waits for is its own matter
    return {then == afterwards::idle, next.release()};
  }
  // Beside this, nothing of the connection's is on the stack while its heir waits.
  EVENTER_NOINLINE static void hand_over(heir* to) {
    const std::unique_ptr<heir> next(to);
    next->run();
  }
  // RFC 9112, 9.6: bytes that nobody reads would make the kernel reset the connection, and the client lose the answer.
  void close_slowly() {
    if (!stream_.shutdown_write()) return;
    stream_.end_request();  // a server that drains waits for nothing more
    const time_point end = deadline_after(scheduler::current()->now(), std::chrono::seconds(2));
    while (scheduler::current()->now() < end && stream_.read_borrowed(end)) {
    }
  }

  std::uint32_t requests_ = 0;
  share* here_;
  any_stream stream_;
};

// One that a server's own acceptor has taken. It is a closure, which is on the heap.
template <class Security>
class accepted_connection : connection {
 public:
  accepted_connection(share& here, any_stream&& stream, const Security& with)
      : connection(here, std::move(stream)), with_(with) {
    here.count_connection();
  }
  accepted_connection(accepted_connection&&) noexcept = default;
  ~accepted_connection() {
    if (here() == nullptr) return;
    if (has_entered()) here()->connections.leave(*this);
    here()->discount_connection();
  }

  void operator()() { serve<&share::connections>(with_); }

 private:
  [[no_unique_address]] Security with_;
};

// One that somebody else has accepted, a listener say, who also ends it.
class guest_connection : connection {
 public:
  guest_connection(share& here, any_stream&& stream) noexcept : connection(here, std::move(stream)) {
    here.guests.count_one();
  }
  guest_connection(guest_connection&&) = delete;
  ~guest_connection() {
    if (has_entered()) here()->guests.leave(*this);
    here()->guests.discount_one();
  }

  void operator()() { serve<&share::guests>(); }
};

}  // namespace detail

}  // namespace eventer::inline EVENTER_ABI::http
