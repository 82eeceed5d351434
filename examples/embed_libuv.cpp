// Coroutines in a libuv program, whose loop runs ours, and work of libuv's thread pool that comes back to a coroutine.
//
//   c++ -std=c++20 -O2 -Iinclude examples/embed_libuv.cpp $(pkg-config --cflags --libs libuv) -pthread && ./a.out
#include <uv.h>

#include <cstdio>
#include <eventer/eventer.hpp>

using namespace std::chrono_literals;

// All that it takes: libuv waits for the loop's handle, which also tells of its timers, and lets it do what is ready.
// What a callback of the loop throws must not go through libuv's frames: noexcept.
void run_inside_libuv(eventer::event_loop& loop, uv_loop_t* main_loop, uv_poll_t* handle) {
  uv_poll_init(main_loop, handle, loop.native_handle());
  handle->data = &loop;
  uv_poll_start(handle, UV_READABLE,
                [](uv_poll_t* which, int, int) noexcept { static_cast<eventer::event_loop*>(which->data)->poll(); });
}

// A request of libuv's as something to wait for: eventer::await moves it to the heap, where its address stays.
class answer_of_pool {
 public:
  explicit answer_of_pool(uv_loop_t* main_loop) noexcept : main_loop_(main_loop) {}
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> waiting) noexcept {
    waiting_ = waiting;
    request_.data = this;
    uv_queue_work(
        main_loop_, &request_, [](uv_work_t* request) { static_cast<answer_of_pool*>(request->data)->answer_ = 42; },
        [](uv_work_t* request, int) { static_cast<answer_of_pool*>(request->data)->waiting_.resume(); });
  }
  int await_resume() const noexcept { return answer_; }

 private:
  uv_loop_t* main_loop_;
  uv_work_t request_{};
  std::coroutine_handle<> waiting_;
  int answer_ = 0;
};

int main() {
  eventer::event_loop loop;
  uv_loop_t* const main_loop = uv_default_loop();
  uv_poll_t handle;
  run_inside_libuv(loop, main_loop, &handle);

  auto ticking = loop.spawn([] {
    for (int number = 1; number <= 3; ++number) {
      eventer::sleep_for(10ms);
      std::printf("tick %d\n", number);
    }
  });
  (void)loop.spawn([main_loop, &handle, ticking = std::move(ticking)]() mutable {
    ticking.join();
    std::printf("libuv's thread pool says %d\n", eventer::await(answer_of_pool(main_loop)));
    uv_close(reinterpret_cast<uv_handle_t*>(&handle), nullptr);  // nothing is left for libuv to wait for
  });
  uv_run(main_loop, UV_RUN_DEFAULT);
  return uv_loop_close(main_loop);
}
// It prints: tick 1, tick 2, tick 3, libuv's thread pool says 42
