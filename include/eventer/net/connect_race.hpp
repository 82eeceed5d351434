// connect_race: connects to whichever of several addresses answers first ("Happy Eyeballs", RFC 8305).
//
// It rests on connect_step; its attempts are continuations on the heap, so nothing of them lies on the stack of whoever
// waits. What must not be broken: when the race has ended, however it ended, every socket but the winner's is closed.
#pragma once

#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "eventer/coro/this_coroutine.hpp"
#include "eventer/net/connect.hpp"

namespace eventer::inline EVENTER_ABI::detail {

// How long an attempt is waited for alone, before the next one begins beside it (RFC 8305, 5).
inline constexpr duration connect_attempt_delay = std::chrono::milliseconds(250);

using connected_socket = io_result<std::unique_ptr<descriptor>>;

// The families take turns, beginning with the first address's (RFC 8305, 4): one that is broken costs one delay, not
// one for each of its addresses.
inline std::vector<endpoint> families_in_turn(std::span<const endpoint> from) {
  std::vector<endpoint> result;
  result.reserve(from.size());
  const auto take = [&](std::size_t& at, bool first_family) {
    while (at < from.size() && (from[at].family() == from.front().family()) != first_family) ++at;
    if (at < from.size()) result.push_back(from[at++]);
  };
  for (std::size_t same = 0, other = 0; result.size() < from.size();) {
    take(same, true);
    take(other, false);
  }
  return result;
}

// What is said when all have failed: of several errors the last one that says something about the peer, or about this
// process, rather than that this machine has no way to such addresses.
class telling_error {
 public:
  void note(std::error_code error) noexcept {
    if (!error_ || !is_about_routes(error) || is_about_routes(error_)) error_ = error;
  }
  // bad_address where there was not even an address.
  std::error_code get() const noexcept { return error_ ? error_ : make_error_code(errc::bad_address); }

 private:
  static bool is_about_routes(std::error_code error) noexcept {
    return error == std::errc::network_unreachable || error == std::errc::address_not_available ||
           error == std::errc::address_family_not_supported;
  }
  std::error_code error_;
};

class connect_race : wait_source {
 public:
  explicit connect_race(std::vector<endpoint> to) : to_(std::move(to)), delay_(*this) {
    abandon = [](wait_source& source, wait_node&) noexcept { static_cast<connect_race&>(source).waiter_ = nullptr; };
  }
  connect_race(const connect_race&) = delete;
  connect_race& operator=(const connect_race&) = delete;

  // Begins. True: it has ended. False: `who` is woken when it has; if something else wakes him, he destroys the race.
  // Requires: a loop runs on this thread.
  bool start(wait_node& who) {
    begin_next();
    if (ended_) return true;
    waiter_ = &who;
    who.waiting_on = this;
    return false;
  }
  bool has_ended() const noexcept { return ended_; }
  // Requires: it has ended.
  connected_socket result() {
    if (winner_ == nullptr) return error_.get();
    return std::move(winner_);
  }

 private:
  struct contestant : continuation {
    contestant(connect_race& r, std::unique_ptr<descriptor> s, const endpoint& peer, std::unique_ptr<contestant> b)
        : continuation(&on_wake),
          before(std::move(b)),
          race(r),
          socket(std::move(s)),
          operation(socket, connect_step(peer), {}) {}
    ~contestant() { scheduler::forget(*this); }
    static void on_wake(continuation& who) {
      auto& self = static_cast<contestant&>(who);
      connect_race& in = self.race;
      if (!in.go_on(self) && !in.ended_) in.begin_next();  // with the end of the race `self` is gone
    }

    std::unique_ptr<contestant> before;
    connect_race& race;
    std::unique_ptr<descriptor> socket;
    descriptor_operation<connect_step> operation;
  };
  struct delay : continuation {
    explicit delay(connect_race& r) noexcept : continuation(&on_wake), race(r) {}
    ~delay() { scheduler::forget(*this); }
    static void on_wake(continuation& who) {
      connect_race& in = static_cast<delay&>(who).race;
      scheduler::forget(who);
      if (who.wake == wake_reason::canceled) return in.end_with(make_error_code(errc::canceled));  // the loop's end
      in.begin_next();
    }

    connect_race& race;
  };

  // Begins attempts until one has to wait.
  void begin_next() {
    while (next_ < to_.size()) {
      const endpoint& peer = to_[next_++];
      auto socket = make_stream_socket(peer.family());
      if (!socket) {
        error_.note(socket.error());
        continue;
      }
      last_ = std::make_unique<contestant>(*this, std::move(*socket), peer, std::move(last_));
      ++running_;
      if (go_on(*last_)) return wait_before_next();
      if (ended_) return;
    }
    if (running_ == 0) end();
  }
  // True: it has to wait (again).
  bool go_on(contestant& which) {
    if (!which.operation.advance(which)) return true;
    const io_result<void> how = which.operation.result();
    if (how) {
      winner_ = std::move(which.socket);
      end();
    } else if (how.error() == errc::canceled) {
      end_with(how.error());
    } else {
      error_.note(how.error());
      scheduler::forget(which);
      which.socket.reset();
      --running_;
    }
    return false;
  }
  void wait_before_next() {
    scheduler::forget(delay_);
    if (next_ == to_.size()) return;
    scheduler& here = scheduler_for_continuations();
    here.attach(delay_);
    here.arm(delay_, deadline_after(here.now(), connect_attempt_delay));
  }

  void end_with(std::error_code error) {
    error_ = {};
    error_.note(error);
    end();
  }
  void end() {
    ended_ = true;
    last_.reset();
    scheduler::forget(delay_);
    if (waiter_ == nullptr) return;
    wait_node& who = *std::exchange(waiter_, nullptr);
    who.waiting_on = nullptr;
    scheduler_for_continuations().wake(who, wake_reason::ready);
  }

  const std::vector<endpoint> to_;
  std::size_t next_ = 0;
  std::unique_ptr<contestant> last_;  // the last one that has begun; it owns those before it
  std::size_t running_ = 0;           // how many of them have not failed
  delay delay_;
  wait_node* waiter_ = nullptr;
  std::unique_ptr<descriptor> winner_;
  telling_error error_;
  bool ended_ = false;
};

// The same on a thread without a loop, which waits in poll(2).
class connect_race_on_thread {
 public:
  explicit connect_race_on_thread(std::vector<endpoint> to) : to_(std::move(to)) {}

  connected_socket run(time_point deadline) {
    for (;;) {
      const time_point now = clock::now();
      if (next_ < to_.size() && now >= next_begins_) begin_next(now);
      // Asking each costs little, and is safe where it can't know yet.
      polled_.clear();
      for (contestant* each = last_.get(); each != nullptr; each = each->before.get()) {
        if (each->socket == nullptr) continue;
        const attempt tried = each->step.try_once(*each->socket);
        if (tried.is_done()) return std::move(each->socket);
        if (tried.is_final())
          fail(*each, tried.error());
        else
          polled_.push_back({each->socket->fd(), POLLOUT, 0});
      }
      const bool more = next_ < to_.size();
      if (polled_.empty() && !more) return errors_.get();
      if (now >= deadline) return errc::timed_out;
      if (more && now >= next_begins_) continue;
      if (const std::error_code error = wait_until(more && next_begins_ < deadline ? next_begins_ : deadline))
        return error;
    }
  }

 private:
  struct contestant {
    std::unique_ptr<contestant> before;
    std::unique_ptr<descriptor> socket;
    connect_step step;
  };

  void begin_next(time_point now) {
    const endpoint& peer = to_[next_++];
    auto socket = make_stream_socket(peer.family());
    if (!socket) return errors_.note(socket.error());
    last_.reset(new contestant{std::move(last_), std::move(*socket), connect_step(peer)});
    next_begins_ = now + connect_attempt_delay;
  }
  void fail(contestant& which, std::error_code error) noexcept {
    errors_.note(error);
    which.socket.reset();
    next_begins_ = time_point::min();
  }
  std::error_code wait_until(time_point until) noexcept {
    int milliseconds = -1;
    if (until != no_deadline) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - clock::now()).count();
      milliseconds = left < 0 ? 0 : left > 1'000'000 ? 1'000'000 : static_cast<int>(left);
    }
    if (syscalls::poll(polled_.data(), polled_.size(), milliseconds) >= 0 || errno == EINTR) return {};
    return error_from_errno(errno);
  }

  const std::vector<endpoint> to_;
  std::size_t next_ = 0;
  time_point next_begins_ = time_point::min();
  std::unique_ptr<contestant> last_;  // as above
  std::vector<pollfd> polled_;
  telling_error errors_;
};

// Connects to whichever of these answers first.
//
// Completes: when one has answered, or all have failed. Errors: of the last address that failed, one about its route
// being less telling than any other; timed_out for all together; bad_address where there is none.
EVENTER_NOINLINE inline connected_socket connect_any(std::span<const endpoint> to, time_limit limit) {
  if (to.size() == 1) return connect_socket(to.front(), limit);
  scheduler* const here = scheduler::current();
  if (here == nullptr) return connect_race_on_thread(families_in_turn(to)).run(limit.resolve(clock::now()));
  if (here->running() == nullptr)
    broken_rule("connecting in a callback would block its loop: spawn a coroutine for it, or co_await async_connect");
  if (here->cancellation_due()) return errc::canceled;
  const auto race = std::make_unique<connect_race>(families_in_turn(to));
  if (!race->start(*here->running())) {
    const wake_reason reason = here->park_until(here->resolve(limit));
    throw_if_canceled(reason);
    if (reason == wake_reason::canceled) return errc::canceled;
    if (!race->has_ended()) return errc::timed_out;
  }
  return race->result();
}

}  // namespace eventer::inline EVENTER_ABI::detail
