// foreign_descriptor: waiting for a descriptor that other code reads, writes and closes (libpq's socket, hiredis's).
//
// Nothing is known of what that code leaves unread, so each wait arms one event anew. The number may stand for another
// file each time. It may have a reader, a writer and a watch (a classic event, see event.hpp) at the same time.
#pragma once

#include <utility>

#include "eventer/base/result.hpp"
#include "eventer/coro/this_coroutine.hpp"
#include "eventer/event/reactor/reactor.hpp"

namespace eventer::inline EVENTER_ABI {

class foreign_descriptor : wait_source {
 public:
  // A classic event: told of everything that it is interested in, again and again.
  struct watcher {
    io_mask interest = io_mask::none;
    bool always_ready = false;  // a file or a device, of which the kernel tells nothing: see watch()
    void (*on_ready)(watcher&, io_mask ready) = nullptr;   // may change the interest, or end the watch
    void (*on_lost)(watcher&, std::error_code) = nullptr;  // the kernel refuses to watch it any longer
  };

  // `token` comes back with the events; 31 bits of it are counted on.
  foreign_descriptor(reactor& where, int fd, std::uint64_t token) noexcept : reactor_(where), fd_(fd), token_(token) {
    abandon = [](wait_source& source, wait_node& who) noexcept {
      auto& self = static_cast<foreign_descriptor&>(source);
      (self.reader_ == &who ? self.reader_ : self.writer_) = nullptr;
    };
  }

  // Suspends the running coroutine until the descriptor is ready. Errors: busy if another one waits for the same;
  // timed_out; canceled; what epoll_ctl answers. A regular file is always ready.
  std::error_code wait(scheduler& here, io_mask interest, time_limit& limit) {
    if (here.cancellation_due()) return make_error_code(errc::canceled);
    bool ready = false;
    wait_node& me = *here.running();
    if (const std::error_code error = add_waiter(here, me, here.within_scope(here.resolve(limit)), interest, ready);
        error || ready)
      return error;
    const wake_reason reason = here.park();
    detail::throw_if_canceled(reason);
    return error_of(reason);
  }
  // The same for a continuation, which is called when the wait has ended unless `ready` says that it has already.
  std::error_code start_wait(scheduler& here, continuation& who, io_mask interest, time_limit& limit, bool& ready) {
    const std::error_code error = add_waiter(here, who, here.resolve(limit), interest, ready);
    if (!error && !ready) here.attach(who);
    return error;
  }
  static std::error_code error_of(wake_reason reason) {
    switch (reason) {
      case wake_reason::timed_out:
        return make_error_code(errc::timed_out);
      case wake_reason::canceled:
        return make_error_code(errc::canceled);
      default:
        return {};
    }
  }

  // Begins a watch, or goes on with one whose interest has changed. Where the kernel does not watch that kind of file
  // it sets `always_ready`, and calls nothing. Errors: busy if it is watched already; what epoll_ctl answers.
  std::error_code watch(watcher& who) {
    if (watcher_ != nullptr && watcher_ != &who) return make_error_code(errc::busy);
    const std::uint64_t before = token_;
    if (watcher_ == nullptr) begin_generation();
    watcher_ = &who;
    const std::error_code error = arm();
    if (!error) return {};
    if (error == std::errc::operation_not_permitted) return who.always_ready = true, std::error_code();
    watcher_ = nullptr;
    token_ = before;  // under which the kernel still knows whoever waits
    return error;
  }
  // The kernel may have one event of it left, which finds nobody.
  void unwatch(const watcher& who) noexcept {
    if (watcher_ == &who) watcher_ = nullptr;
  }

  // A stream of this loop has this number, and its registration the kernel's only place for it. Nobody may be waiting
  // here then: who would be told would depend on who came last.
  void set_streamed(bool now) noexcept { streamed_ = now; }
  bool in_use() const noexcept {
    const bool watched = watcher_ != nullptr && !watcher_->always_ready && any(watcher_->interest);
    return watched || reader_ != nullptr || writer_ != nullptr;
  }

  // Errors: busy where a stream has the number; what epoll_ctl answers.
  std::error_code arm() {
    io_mask interest = watcher_ != nullptr && !watcher_->always_ready ? watcher_->interest : io_mask::none;
    if (reader_ != nullptr) interest = interest | io_mask::read;
    if (writer_ != nullptr) interest = interest | io_mask::write;
    if (!any(interest)) return {};
    if (EVENTER_UNLIKELY(streamed_)) return make_error_code(errc::busy);
    return reactor_.arm_once(fd_, token_, interest);
  }

  void on_event(scheduler& here, const reactor_event& event) {
    if (EVENTER_UNLIKELY(event.token != token_)) return;  // of a file that had this number before
    const io_mask ready = event.ready;
    if (any(ready & (io_mask::read | io_mask::special))) wake(here, reader_);
    if (any(ready & (io_mask::write | io_mask::error))) wake(here, writer_);
    if (watcher_ == nullptr || !any(watcher_->interest))
      return arm_again(here);  // for the other side, if it still waits
    // An error, or the peer's end, is news for whoever is interested in anything.
    io_mask news = ready & (watcher_->interest | io_mask::error);
    if (any(ready & io_mask::special)) news = news | (watcher_->interest & io_mask::read);
    if (!any(news)) return arm_again(here);
    struct also_after_an_exception {
      foreign_descriptor& self;
      scheduler& here;
      ~also_after_an_exception() { self.arm_again(here); }
    } at_end{*this, here};
    watcher_->on_ready(*watcher_, news);
  }
  // Arms it for whoever is left. Where the kernel refuses, the coroutines try again, and are told why.
  void arm_again(scheduler& here) {
    const std::error_code error = arm();
    if (!error) return;
    wake(here, reader_);
    wake(here, writer_);
    if (watcher_ == nullptr || watcher_->always_ready) return;
    watcher* const lost = std::exchange(watcher_, nullptr);
    lost->on_lost(*lost, error);
  }

 private:
  // A watch with level semantics must not be called for what another file under this number was ready for: coroutines
  // may be woken in vain, a callback might block. Whatever the kernel still has to say about earlier arming is ignored
  // from now on, so `arm` has to follow.
  void begin_generation() noexcept {
    constexpr std::uint64_t bits = std::uint64_t{0x7fffffff} << 32;
    token_ = (token_ & ~bits) | ((token_ + (std::uint64_t{1} << 32)) & bits);
  }

  std::error_code add_waiter(scheduler& here, wait_node& who, time_point deadline, io_mask interest, bool& ready) {
    wait_node*& mine = any(interest & io_mask::read) ? reader_ : writer_;
    if (mine != nullptr) return make_error_code(errc::busy);
    here.arm(who, deadline);  // which may throw: nobody has been told yet
    mine = &who;
    if (const std::error_code error = arm()) {
      mine = nullptr;
      here.disarm(who);
      ready = error == std::errc::operation_not_permitted;
      return ready ? std::error_code() : error;
    }
    who.waiting_on = this;
    return {};
  }
  static void wake(scheduler& here, wait_node*& waiter) {
    if (waiter == nullptr) return;
    wait_node& node = *std::exchange(waiter, nullptr);
    node.waiting_on = nullptr;
    here.wake(node, wake_reason::ready);
  }

  reactor& reactor_;
  int fd_;
  std::uint64_t token_;
  wait_node* reader_ = nullptr;
  wait_node* writer_ = nullptr;
  watcher* watcher_ = nullptr;
  bool streamed_ = false;
};

}  // namespace eventer::inline EVENTER_ABI
