// Loops of others that run ours. Each knows two calls of it, native_handle() and poll(), and no timer; in the other
// mode it also sleeps by next_deadline().
#pragma once

#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <exception>
#include <functional>
#include <memory>
#include <system_error>
#include <utility>
#include <vector>

#include "eventer/eventer.hpp"

enum class mode { handle_only, with_deadline };

class host {
 public:
  host(eventer::event_loop& loop, mode how) : loop_(loop), how_(how) {}
  host(const host&) = delete;
  host& operator=(const host&) = delete;
  virtual ~host() = default;

  // Runs the host's loop until `done`, which it asks whenever ours was polled. False: ten seconds were not enough.
  bool run_until(std::function<bool()> done) {
    done_ = std::move(done);
    give_up_ = eventer::clock::now() + safety_net;
    quit_ = expired_ = false;
    if (!done_()) run(safety_net);
    return !expired_;
  }
  // The host's own work: called by its loop again and again, beside everything else, until it answers false.
  virtual void call_repeatedly(std::function<bool()> function) = 0;

  unsigned polls() const noexcept { return polls_; }
  // What has left poll(). A host in C can't let it through.
  std::vector<std::exception_ptr> failures;

 protected:
  static constexpr auto safety_net = std::chrono::seconds(10);

  virtual void run(std::chrono::seconds give_up_after) = 0;
  virtual void quit() = 0;  // on the host's thread, while it runs

  void poll() {
    ++polls_;
    try {
      loop_.poll();
    } catch (...) {
      failures.push_back(std::current_exception());
    }
    check_done();
  }
  // After the host's own work.
  void check_done() {
    if (quit_ || done_ == nullptr || !done_()) return;
    quit_ = true;
    quit();
  }
  void give_up() {
    expired_ = true;
    quit();
  }
  bool is_over() const noexcept { return quit_ || expired_; }
  // How long the host may sleep; -1: until it is told.
  int milliseconds_to_deadline() const {
    if (how_ == mode::handle_only) return -1;
    const auto deadline = loop_.next_deadline();
    if (!deadline) return -1;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(*deadline - loop_.now()).count();
    return static_cast<int>(std::clamp<std::int64_t>(left, 0, 1'000'000));
  }
  bool is_due() const {
    if (how_ == mode::handle_only) return false;
    const auto deadline = loop_.next_deadline();
    return deadline && *deadline <= loop_.now();
  }

  eventer::event_loop& loop_;
  const mode how_;
  eventer::time_point give_up_{};

 private:
  std::function<bool()> done_;
  unsigned polls_ = 0;
  bool quit_ = false, expired_ = false;
};

// A loop as one writes it by hand. `Flags`: EPOLLET, where each change is told once, or 0.
template <std::uint32_t Flags>
class epoll_host final : public host {
 public:
  epoll_host(eventer::event_loop& loop, mode how) : host(loop, how) {
    epoll_event event{};
    event.events = EPOLLIN | Flags;
    if (::epoll_ctl(set_.get(), EPOLL_CTL_ADD, loop.native_handle(), &event) != 0)
      throw std::system_error(errno, std::generic_category(), "epoll_ctl");
  }
  void call_repeatedly(std::function<bool()> function) override { own_work_ = std::move(function); }

 private:
  void run(std::chrono::seconds) override {
    while (!is_over()) {
      if (eventer::clock::now() > give_up_) return give_up();
      int limit = own_work_ != nullptr ? 0 : milliseconds_to_deadline();
      if (limit < 0 || limit > 1000) limit = 1000;  // so that it gives up in the end
      epoll_event event;
      if (::epoll_wait(set_.get(), &event, 1, limit) == 1 || is_due()) poll();
      if (own_work_ == nullptr) continue;
      if (!own_work_()) own_work_ = nullptr;
      check_done();
    }
  }
  void quit() override {}

  eventer::unique_fd set_{::epoll_create1(EPOLL_CLOEXEC)};
  std::function<bool()> own_work_;
};
// A loop of ours in a coroutine of another one.
class eventer_host final : public host {
 public:
  using host::host;
  void call_repeatedly(std::function<bool()> function) override { own_work_ = std::move(function); }

 private:
  void run(std::chrono::seconds) override {
    outer_ = std::make_unique<eventer::event_loop>();
    (void)outer_->spawn([this] {
      while (!is_over()) {
        const auto limit = milliseconds_to_deadline();
        const auto ready = eventer::await(
            eventer::readable(handle_, limit < 0 ? eventer::time_limit() : std::chrono::milliseconds(limit)));
        if (ready || is_due()) poll();
      }
    });
    if (own_work_ != nullptr)
      (void)outer_->spawn([this] {
        for (bool goes_on = true; goes_on && !is_over(); eventer::yield()) {
          goes_on = own_work_();
          check_done();
        }
        own_work_ = nullptr;
      });
    auto net = outer_->after(safety_net, [this] { give_up(); });
    outer_->run();
    outer_.reset();
  }
  void quit() override { outer_->stop(); }

  const int handle_ = loop_.native_handle();  // asking for it anew would help the loop along
  std::unique_ptr<eventer::event_loop> outer_;
  std::function<bool()> own_work_;
};
