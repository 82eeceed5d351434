// What a route calls: handlers and middleware, with their types erased. One object serves all loops, so that it is
// called as const, on several threads at the same time.
#pragma once

#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#include "eventer/coro/spawn.hpp"
#include "eventer/coro/sync/manual_reset_event.hpp"
#include "eventer/http/request.hpp"
#include "eventer/http/response.hpp"

namespace eventer::inline EVENTER_ABI::http {

// A handler that is a callback takes one of these as its third argument, and returns before there is an answer. The
// request and the answer are its own until it calls this, on whichever thread; who drops the last copy without a call
// has forgotten to answer.
//
//   routes.get("/soon", [](http::request&, http::response& answer, http::done done) {
//     event_loop::current().after(1s, [&answer, done] { answer.text("now\n"); done(); });
//   });
class done {
 public:
  void operator()() const {
    if (state_->was_called.exchange(true, std::memory_order_acq_rel)) return;
    state_->event.set();
  }

  // For the library: waits until it is called. Nothing cuts the wait short, as the callback holds references.
  template <class Start>
  static void wait_for(const Start& start) {
    const shared_event event;
    { start(done(std::make_shared<state>(event))); }
    const cancel_shield until_it_has_answered;
    shared_event(event).wait();
  }

 private:
  struct state {
    explicit state(shared_event to) noexcept : event(std::move(to)) {}
    ~state() { event.set(); }
    shared_event event;
    std::atomic<bool> was_called{false};
  };
  explicit done(std::shared_ptr<state> s) noexcept : state_(std::move(s)) {}
  std::shared_ptr<state> state_;
};

namespace detail {

class handler {
 public:
  virtual ~handler() = default;
  virtual void call(request& asked, response& answer) const = 0;
};

template <class F>
class typed_handler final : public handler {
 public:
  template <class From>
  explicit typed_handler(From&& from) : function_(std::forward<From>(from)) {}
  void call(request& asked, response& answer) const override {
    if constexpr (std::is_invocable_v<const F&, request&, response&, done>) {
      done::wait_for([&](done when) { function_(asked, answer, std::move(when)); });
    } else {
      const auto call = [&] { return function_(asked, answer); };
      (void)eventer::detail::call_unwrapped(call);
    }
  }

 private:
  F function_;
};

}  // namespace detail

// (request&, response&): runs as a coroutine, which may wait; a task<> that it returns is awaited. Or with a `done`.
template <class F>
concept handles_requests = std::is_invocable_v < const std::decay_t<F>
&, request&, response& > || std::is_invocable_v<const std::decay_t<F>&, request&, response&, done>;

// What runs around a handler, in the order in which it was added: (request&, response&, const next&). It calls next()
// for the rest, once; or does not, and answers itself.
class next {
 public:
  void operator()() const;

  // For the library.
  class step {
   public:
    virtual ~step() = default;
    virtual void call(request& asked, response& answer, const next& rest) const = 0;
  };
  using chain = std::vector<std::shared_ptr<const step>>;
  next(const chain& all, std::size_t at, const detail::handler& last, request& asked, response& answer) noexcept
      : all_(&all), at_(at), last_(&last), asked_(&asked), answer_(&answer) {}

 private:
  const chain* all_;
  std::size_t at_;
  const detail::handler* last_;
  request* asked_;
  response* answer_;
};

inline void next::operator()() const {
  if (at_ == all_->size()) return last_->call(*asked_, *answer_);
  (*all_)[at_]->call(*asked_, *answer_, next(*all_, at_ + 1, *last_, *asked_, *answer_));
}

template <class F>
concept is_middleware = std::is_invocable_v < const std::decay_t<F>
&, request&, response&, const next& > ;

namespace detail {

template <class F>
class typed_step final : public next::step {
 public:
  template <class From>
  explicit typed_step(From&& from) : function_(std::forward<From>(from)) {}
  void call(request& asked, response& answer, const next& rest) const override { function_(asked, answer, rest); }

 private:
  F function_;
};

}  // namespace detail

}  // namespace eventer::inline EVENTER_ABI::http
