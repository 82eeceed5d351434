// layered_watch: calls back for a classic event whose connection has a layer, TLS, when a read or a write can go on.
//
// The descriptor says when that is, as it does to coroutines, and only once for what has come. A classic event is to be
// called again as long as there is something: so a direction counts as ready until a try in it has found nothing.
// What must not be broken: the event, its connection and the watch itself may end in each call.
#pragma once

#include <memory>

#include "eventer/compat/detail/event.hpp"

namespace eventer::inline EVENTER_ABI::compat {

class layered_watch final : public layered_registration, public std::enable_shared_from_this<layered_watch> {
 public:
  layered_watch(const held_event& which, std::uint64_t state)
      : which_(which.get()),
        state_(state),
        reader_(*this, descriptor::direction::read),
        writer_(*this, descriptor::direction::write) {}
  ~layered_watch() override { end_waits(); }

  void set_interest(int mask) override {
    if (has_ended_) return;
    wanted_ = mask;
    const event_io& io = *which_->io;
    const bool reads = (mask & EVENTER_READ) != 0;
    follow(reader_, reads || (mask & EVENTER_EXCEPTION) != 0, !reads || io.read_is_dry);
    follow(writer_, (mask & EVENTER_WRITE) != 0, io.write_is_dry);
  }
  void end() noexcept override {
    has_ended_ = true;
    end_waits();
  }

 private:
  struct side : continuation {
    side(layered_watch& w, descriptor::direction d) noexcept : continuation(&woken), watch(&w), direction(d) {}
    static void woken(continuation& who) {
      side& mine = static_cast<side&>(who);
      const std::shared_ptr<layered_watch> alive = mine.watch->shared_from_this();
      alive->woken(mine);
    }
    layered_watch* const watch;
    const descriptor::direction direction;
    bool is_due = false;   // it is called at the loop's next turn, or
    bool is_told = false;  // when the descriptor is ready
  };

  void follow(side& which, bool is_wanted, bool is_dry) {
    // Who waits to be told of an edge would miss what has come already.
    if (!is_wanted || (is_dry ? which.is_due : which.is_told)) stop(which);
    if (!is_wanted || which.is_due || which.is_told) return;
    descriptor* const file = which_->io->stream.file();
    time_limit none;
    if (is_dry && file != nullptr && !file->start_wait(which.direction, which, none)) {
      which.is_told = true;
      return;
    }
    // A try says what is wrong, where it can't wait.
    which.is_due = true;
    this_loop->loop.attach(which);
    this_loop->loop.make_ready(which, wake_reason::ready);
  }
  static void stop(side& which) noexcept {
    scheduler::forget(which);
    which.is_due = which.is_told = false;
  }
  void end_waits() noexcept {
    stop(reader_);
    stop(writer_);
  }

  void woken(side& who) {
    const bool was_told = std::exchange(who.is_told, false);
    who.is_due = false;
    if (has_ended_ || who.wake != wake_reason::ready) return stop(who);  // closed here, or the loop ends
    const bool reads = &who == &reader_;
    if (was_told) (void)which_->io->stream.file()->finish_wait(who.direction, who);
    stop(who);
    (reads ? which_->io->read_is_dry : which_->io->write_is_dry) = false;
    if (which_->state.load(std::memory_order_acquire) != state_) return;
    const int fd = which_->fd;
    const int ready = !reads ? EVENTER_WRITE : (wanted_ & EVENTER_READ) != 0 ? EVENTER_READ : EVENTER_EXCEPTION;
    const int next = settle(*which_, state_, fd, call_back(*which_, ready));
    if (next != 0) set_interest(next);  // else whoever has ended it has ended this, and it may be another loop's by now
  }

  const held_event which_;
  const std::uint64_t state_;
  int wanted_ = 0;
  bool has_ended_ = false;
  side reader_, writer_;
};

inline void register_layered(const held_event& which, std::uint64_t state) {
  end_layered(*which);
  auto made = std::make_shared<layered_watch>(which, state);
  which->layered = made;
  made->set_interest(which->mask.load(std::memory_order_relaxed));
}

}  // namespace eventer::inline EVENTER_ABI::compat
