// The two worlds in which a program may wait: a stackful coroutine that calls, and a C++20 coroutine of a type that the
// library does not know, which says co_await. A test is a template over them: World::perform starts an operation in
// either form, and the `pending` that it gives is asked by the test's own coroutine.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "eventer/eventer.hpp"
#include "foreign_coroutines.hpp"

// The result of something that goes on elsewhere on this loop. Copies share it.
template <class R>
class pending {
 public:
  pending() : state_(std::make_shared<state>()) {
    // An event that any coroutine can wait for: its end.
    state_->gate = eventer::spawn({.name = "gate"}, [] { eventer::sleep_for(eventer::duration::max()); });
  }

  void end(R value) const {
    state_->result.emplace(std::move(value));
    state_->gate.cancel();
  }
  bool done() const { return state_->result.has_value(); }
  // Waits until it has ended. Once.
  R get() const {
    if (!done()) (void)state_->gate.try_join();
    if (!done()) throw eventer::cancelled{};  // the loop ends
    return std::move(*state_->result);
  }

 private:
  struct state {
    std::optional<R> result;
    eventer::join_handle<void> gate;
  };
  std::shared_ptr<state> state_;
};

// `call()` is the blocking form, `async()` gives the operation; `convert` makes of its result what the test looks at.
struct stackful {
  static constexpr const char* name = "stackful";
  template <class Call, class Async, class Convert>
  static auto perform(Call call, Async, Convert convert) {
    pending<decltype(convert(call()))> result;
    (void)eventer::spawn([result, call, convert]() mutable { result.end(convert(call())); });
    return result;
  }
};

struct foreign {
  static constexpr const char* name = "co_await";
  template <class Call, class Async, class Convert>
  static auto perform(Call call, Async async, Convert convert) {
    pending<decltype(convert(call()))> result;
    // Later, as a spawned coroutine begins: a callback starts it.
    eventer::event_loop::current().post([result, async, convert]() mutable { drive(result, async, convert); });
    return result;
  }

 private:
  template <class Result, class Async, class Convert>
  static fire_and_forget drive(Result result, Async async, Convert convert) {
    result.end(convert(co_await async()));
  }
};

// --- operations, with results as text: what was read, "ok", or the error's message in angle brackets ---

inline std::string text_of(std::error_code error) { return error ? "<" + error.message() + ">" : "ok"; }

template <class Stream>
auto shared(Stream&& stream) {
  return std::make_shared<std::decay_t<Stream>>(std::forward<Stream>(stream));
}

template <class World, class Stream>
pending<std::string> start_read(std::shared_ptr<Stream> from, eventer::time_limit limit = {}, std::size_t most = 256) {
  auto bytes = std::make_shared<std::string>(most, ' ');
  return World::perform(
      [=] { return from->read_some(*bytes, limit); }, [=] { return from->async_read_some(*bytes, limit); },
      [=](const eventer::io_result<std::size_t>& got) { return got ? bytes->substr(0, *got) : text_of(got.error()); });
}
template <class World, class Stream>
pending<std::string> start_read_exact(std::shared_ptr<Stream> from, std::size_t size, eventer::time_limit limit = {}) {
  auto bytes = std::make_shared<std::string>(size, ' ');
  auto done = std::make_shared<std::size_t>(0);
  return World::perform([=] { return from->read_exact(*bytes, *done, limit); },
                        [=] { return from->async_read_exact(*bytes, *done, limit); },
                        [=](const eventer::io_result<std::size_t>& got) {
                          return bytes->substr(0, *done) + (got ? "" : text_of(got.error()));
                        });
}
// What was read stays in `into`.
template <class World, class Stream>
pending<std::string> start_read_until(std::shared_ptr<Stream> from, std::shared_ptr<std::string> into,
                                      std::string delimiter, std::size_t most, eventer::time_limit limit = {}) {
  auto kept = std::make_shared<std::string>(std::move(delimiter));
  return World::perform(
      [=] { return from->read_until(*into, *kept, most, limit); },
      [=] { return from->async_read_until(*into, *kept, most, limit); },
      [=](const eventer::io_result<std::string_view>& got) { return got ? std::string(*got) : text_of(got.error()); });
}
template <class World, class Stream>
pending<std::string> start_write(std::shared_ptr<Stream> to, std::string text, eventer::time_limit limit = {}) {
  auto bytes = std::make_shared<std::string>(std::move(text));
  return World::perform([=] { return to->write_all(*bytes, limit); },
                        [=] { return to->async_write_all(*bytes, limit); },
                        [bytes](const eventer::io_result<std::size_t>& put) { return text_of(put.error()); });
}
template <class World, class Acceptor>
auto start_accept(std::shared_ptr<Acceptor> on, eventer::time_limit limit = {}) {
  return World::perform([=] { return on->accept(limit); }, [=] { return on->async_accept(limit); },
                        [](auto&& accepted) {
                          using stream = std::decay_t<decltype(*accepted)>;
                          return std::pair(text_of(accepted.error()),
                                           accepted ? shared(std::move(*accepted)) : std::shared_ptr<stream>());
                        });
}
template <class World>
pending<std::string> start_readable(int fd, eventer::time_limit limit = {}) {
  return World::perform([=] { return eventer::await(eventer::readable(fd, limit)); },
                        [=] { return eventer::readable(fd, limit); },
                        [](const eventer::io_result<void>& ready) { return text_of(ready.error()); });
}
template <class World>
pending<std::string> start_writable(int fd, eventer::time_limit limit = {}) {
  return World::perform([=] { return eventer::await(eventer::writable(fd, limit)); },
                        [=] { return eventer::writable(fd, limit); },
                        [](const eventer::io_result<void>& ready) { return text_of(ready.error()); });
}
