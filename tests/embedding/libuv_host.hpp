// libuv's loop, as Node.js has it.
#pragma once

#include <uv.h>

#include "hosts.hpp"

class libuv_host final : public host {
 public:
  libuv_host(eventer::event_loop& loop, mode how) : host(loop, how) {
    uv_loop_init(&main_loop_);
    init(handle_, uv_poll_init(&main_loop_, &handle_, loop.native_handle()));
    init(deadline_, uv_timer_init(&main_loop_, &deadline_));
    init(net_, uv_timer_init(&main_loop_, &net_));
    init(prepare_, uv_prepare_init(&main_loop_, &prepare_));
    init(idle_, uv_idle_init(&main_loop_, &idle_));
    uv_poll_start(&handle_, UV_READABLE, [](uv_poll_t* which, int, int) { of(which).poll(); });
    if (how == mode::with_deadline) uv_prepare_start(&prepare_, [](uv_prepare_t* which) { of(which).set_timer(); });
  }
  ~libuv_host() override {
    uv_walk(
        &main_loop_, [](uv_handle_t* which, void*) { uv_close(which, nullptr); }, nullptr);
    uv_run(&main_loop_, UV_RUN_DEFAULT);
    uv_loop_close(&main_loop_);
  }
  void call_repeatedly(std::function<bool()> function) override {
    own_work_ = std::move(function);
    uv_idle_start(&idle_, [](uv_idle_t* which) {
      if (!of(which).own_work_()) uv_idle_stop(which);
      of(which).check_done();
    });
  }

 private:
  template <class Handle>
  void init(Handle& which, int error) {
    if (error != 0) throw std::runtime_error(uv_strerror(error));
    which.data = this;
  }
  template <class Handle>
  static libuv_host& of(Handle* which) {
    return *static_cast<libuv_host*>(which->data);
  }
  void set_timer() {
    const int limit = milliseconds_to_deadline();
    if (limit < 0) return (void)uv_timer_stop(&deadline_);
    uv_update_time(&main_loop_);
    uv_timer_start(
        &deadline_, [](uv_timer_t* which) { of(which).poll(); }, static_cast<std::uint64_t>(limit), 0);
  }
  void run(std::chrono::seconds give_up_after) override {
    uv_update_time(&main_loop_);
    uv_timer_start(
        &net_, [](uv_timer_t* which) { of(which).give_up(); }, static_cast<std::uint64_t>(give_up_after.count()) * 1000,
        0);
    uv_run(&main_loop_, UV_RUN_DEFAULT);
    uv_timer_stop(&net_);
  }
  void quit() override { uv_stop(&main_loop_); }

  uv_loop_t main_loop_;
  uv_poll_t handle_;
  uv_timer_t deadline_, net_;
  uv_prepare_t prepare_;
  uv_idle_t idle_;
  std::function<bool()> own_work_;
};
