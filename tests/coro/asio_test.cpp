// Boost.Asio's coroutines beside ours: asio::awaitable that awaits what eventer does, and stackful coroutines that
// await what Asio does. The two adapters are what a user would copy.
#include "../catch.hpp"

#if !__has_include(<boost/asio.hpp>)
TEST_CASE("coroutines of Boost.Asio beside ours", "[asio]") { EVENTER_SKIP("built without Boost.Asio (libboost-dev)"); }
#else

#include <array>
#include <coroutine>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "eventer/eventer.hpp"

// Boost 1.74 knows clang's coroutines only as they were before C++20.
#if defined(__clang__) && !defined(BOOST_ASIO_HAS_CO_AWAIT)
#define BOOST_ASIO_HAS_CO_AWAIT 1
#define BOOST_ASIO_HAS_STD_COROUTINE 1
#endif
// Its fences are unknown to ThreadSanitizer; the mutex of its queue suffices.
#if EVENTER_TSAN
#define BOOST_ASIO_DISABLE_FENCED_BLOCK 1
#endif
#include <boost/asio.hpp>

namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {

// --- eventer for Asio ---

// Runs `function` as a coroutine of `loop`, which may be on this thread or on another one, and gives what it returns or
// throws to a completion token of Asio's:
//
//   const auto read = [stream, bytes] { return stream->read_some(*bytes, 10s); };
//   const auto got = co_await async_in(loop, read, asio::use_awaitable);
//
// (g++ 12 destroys twice what a lambda has captured that is written inside a co_await: give it a name.)
template <class F, class Token>
auto async_in(eventer::event_loop& loop, F function, Token&& token) {
  using R = std::invoke_result_t<F&>;
  const auto start = [&loop](auto handler, F body) {
    auto executor = asio::prefer(asio::get_associated_executor(handler), asio::execution::outstanding_work.tracked);
    auto run = [handler = std::move(handler), body = std::move(body), executor]() mutable {
      std::exception_ptr failure;
      std::optional<R> result;
      try {
        result.emplace(body());
      } catch (...) {
        failure = std::current_exception();
      }
      asio::post(executor, [handler = std::move(handler), failure, result = std::move(result)]() mutable {
        std::move(handler)(failure, result ? std::move(*result) : R());
      });
    };
    (void)loop.spawn(std::move(run));
  };
  return asio::async_initiate<Token, void(std::exception_ptr, R)>(start, token, std::move(function));
}

// --- Asio for eventer ---

// An operation of Asio's for eventer::await, and for co_await in any C++20 coroutine; `start` gets the handler:
//
//   auto n = await(from_asio<std::size_t>([=](auto done) { socket->async_read_some(asio::buffer(*bytes), done); }));
//
// What the operation reads or writes must not be on a shared stack, and lives until it ends: let `start` hold it.
template <class T, class Start>
class asio_operation {
 public:
  explicit asio_operation(Start start) : start_(std::move(start)) {}
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> waiting) {
    start_([this, waiting](auto error, auto... values) {
      if constexpr (std::is_same_v<decltype(error), std::exception_ptr>)
        failure_ = error;
      else if (error)
        failure_ = std::make_exception_ptr(boost::system::system_error(error));
      if (failure_ == nullptr) result_.emplace(std::move(values)...);
      waiting.resume();
    });
  }
  T await_resume() {
    if (failure_ != nullptr) std::rethrow_exception(failure_);
    return std::move(*result_);
  }

 private:
  Start start_;
  std::exception_ptr failure_;
  std::optional<T> result_;
};
struct nothing {};
template <class T = nothing, class Start>
auto from_asio(Start start) {
  return asio_operation<T, Start>(std::move(start));
}

// --- our loop in an io_context ---

class embedded {
 public:
  embedded() { wait(); }
  void run_until_ended(const eventer::join_handle<void>& last) {
    while (!last.done()) io.run_one();
  }

  asio::io_context io;
  eventer::event_loop loop;

 private:
  void wait() {
    handle_.async_wait(asio::posix::descriptor_base::wait_read, [this](boost::system::error_code error) {
      if (error) return;
      loop.poll();
      wait();
    });
  }
  asio::posix::stream_descriptor handle_{io, ::dup(loop.native_handle())};
};

class io_thread {
 public:
  ~io_thread() {
    work_.reset();
    thread_.join();
  }
  asio::io_context io;

 private:
  asio::executor_work_guard<asio::io_context::executor_type> work_{io.get_executor()};
  std::thread thread_{[this] { io.run(); }};
};

asio::awaitable<int> square_after(int number, std::chrono::milliseconds time) {
  asio::steady_timer timer(co_await asio::this_coro::executor, time);
  co_await timer.async_wait(asio::use_awaitable);
  if (number < 0) throw std::runtime_error("negative");
  co_return number* number;
}

}  // namespace

TEST_CASE("an asio::awaitable awaits what eventer does, in an io_context that runs our loop", "[asio]") {
  embedded here;
  std::string log;
  const auto talk = [](eventer::event_loop& loop, std::string& to) -> asio::awaitable<void> {
    auto pair = eventer::unix_stream::pair().value();
    const auto near = std::make_shared<eventer::unix_stream>(std::move(pair.first));
    (void)loop.spawn([far = std::move(pair.second)]() mutable {
      eventer::sleep_for(1ms);
      (void)far.write_all("hello");
    });
    const auto read = [near] {
      std::array<char, 16> bytes;
      const auto got = near->read_some(bytes);
      return std::string(bytes.data(), got.value_or(0u));
    };
    to += co_await async_in(loop, read, asio::use_awaitable);
    const auto first = co_await async_in(
        loop, [] { return eventer::when_any(eventer::after(1h), eventer::after(1ms)).index; }, asio::use_awaitable);
    to += " " + std::to_string(first);
    try {
      (void)co_await async_in(
          loop, []() -> int { throw std::runtime_error("thrown"); }, asio::use_awaitable);
    } catch (const std::runtime_error& failure) {
      to += std::string(" ") + failure.what();
    }
    to += eventer::scheduler::current() == nullptr ? " outside" : " inside";
  };
  auto done = asio::co_spawn(here.io, talk(here.loop, log), asio::use_future);
  while (done.wait_for(0s) != std::future_status::ready) here.io.run_one();
  done.get();
  CHECK(log == "hello 1 thrown outside");
}

TEST_CASE("an asio::awaitable on one thread awaits a coroutine of a loop on another", "[asio]") {
  eventer::event_loop loop;
  std::thread runner([&loop] {
    const eventer::work_guard guard(loop);
    loop.run();
  });
  asio::io_context io;
  const auto ask = [](eventer::event_loop& there) -> asio::awaitable<int> {
    int sum = 0;
    for (int i = 0; i < 100; ++i) {
      const auto next = [i] {
        eventer::yield();
        return i;
      };
      sum += co_await async_in(there, next, asio::use_awaitable);
    }
    co_return sum;
  };
  auto result = asio::co_spawn(io, ask(loop), asio::use_future);
  io.run();
  CHECK(result.get() == 4950);
  loop.stop();
  runner.join();
}

TEST_CASE("a loop that ends answers the asio::awaitable that waits for it", "[asio]") {
  asio::io_context io;
  auto loop = std::make_unique<eventer::event_loop>();
  const auto ask = [](eventer::event_loop& there) -> asio::awaitable<int> {
    co_return co_await async_in(
        there,
        [] {
          eventer::sleep_for(1h);
          return 1;
        },
        asio::use_awaitable);
  };
  auto result = asio::co_spawn(io, ask(*loop), asio::use_future);
  io.poll();
  loop->poll();
  loop.reset();
  io.run();
  CHECK_THROWS_AS(result.get(), eventer::cancelled);
}

TEST_CASE("a stackful coroutine and a task await operations of Asio on another thread", "[asio]") {
  io_thread there;
  const auto wait_for = [&io = there.io](std::chrono::milliseconds time) {
    const auto timer = std::make_shared<asio::steady_timer>(io, time);
    return from_asio([timer](auto done) { timer->async_wait(std::move(done)); });
  };
  eventer::run([&] {
    const auto thread = std::this_thread::get_id();
    eventer::await(wait_for(1ms));
    CHECK(std::this_thread::get_id() == thread);
    auto task = [](auto operation) -> eventer::task<int> {
      co_await std::move(operation);
      co_return 2;
    };
    CHECK(eventer::await(task(wait_for(1ms))) == 2);
    CHECK(std::this_thread::get_id() == thread);

    std::vector<eventer::join_handle<void>> all;
    for (int i = 0; i < 100; ++i)
      all.push_back(eventer::spawn([wait_for, i] { eventer::await(wait_for(std::chrono::milliseconds(i % 5))); }));
    for (auto& each : all) each.join();
  });
}

TEST_CASE("bytes come through a socket of Asio's into a coroutine, and errors as exceptions", "[asio]") {
  io_thread there;
  eventer::run([&io = there.io] {
    struct connection {
      explicit connection(asio::io_context& on) : near(on), far(on) { asio::local::connect_pair(near, far); }
      asio::local::stream_protocol::socket near, far;
      std::array<char, 16> bytes{};
    };
    const auto shared = std::make_shared<connection>(io);
    const auto read = [shared] {
      return from_asio<std::size_t>(
          [shared](auto done) { shared->near.async_read_some(asio::buffer(shared->bytes), std::move(done)); });
    };
    asio::write(shared->far, asio::buffer(std::string("hello")));
    CHECK(eventer::await(read()) == 5);
    CHECK(std::string(shared->bytes.data(), 5) == "hello");
    asio::post(io, [shared] { shared->far.close(); });
    CHECK_THROWS_AS(eventer::await(read()), boost::system::system_error);
  });
}

TEST_CASE("a stackful coroutine awaits operations of Asio in an io_context that runs its loop", "[asio]") {
  embedded here;
  int sum = 0;
  auto last = here.loop.spawn([&io = here.io, &sum] {
    const auto thread = std::this_thread::get_id();
    for (int i = 0; i < 10; ++i) {
      const auto timer = std::make_shared<asio::steady_timer>(io, 1ms);
      eventer::await(from_asio([timer](auto done) { timer->async_wait(std::move(done)); }));
      sum += eventer::await(
          from_asio<int>([&io, i](auto done) { asio::co_spawn(io, square_after(i, 0ms), std::move(done)); }));
    }
    CHECK(std::this_thread::get_id() == thread);
  });
  here.run_until_ended(last);
  last.join();
  CHECK(sum == 285);
}

TEST_CASE("what an asio::awaitable gives is waited for by a stackful coroutine and by a plain thread", "[asio]") {
  io_thread there;
  CHECK(asio::co_spawn(there.io, square_after(3, 1ms), asio::use_future).get() == 9);
  const auto squared = [&io = there.io](int number) {
    return from_asio<int>([&io, number](auto done) { asio::co_spawn(io, square_after(number, 1ms), std::move(done)); });
  };
  CHECK(eventer::await(squared(4)) == 16);
  eventer::run([&] {
    CHECK(eventer::await(squared(5)) == 25);
    CHECK_THROWS_WITH(eventer::await(squared(-1)), "negative");
  });
}

TEST_CASE("a cancelled coroutine and one out of time leave an operation of Asio to end on its own", "[asio]") {
  const auto token = std::make_shared<int>(0);
  {
    io_thread there;
    eventer::run([&io = there.io, token] {
      const auto timer = std::make_shared<asio::steady_timer>(io, 1h);
      const auto wait = [timer, token] {
        return from_asio([timer, token](auto done) { timer->async_wait(std::move(done)); });
      };
      auto waiter = eventer::spawn([wait] { eventer::await(wait()); });
      eventer::yield();
      waiter.cancel();
      CHECK(waiter.try_join().error() == std::errc::operation_canceled);
      {
        const eventer::deadline_scope soon(1ms);
        CHECK_THROWS_AS(eventer::await(wait()), std::system_error);
      }
      CHECK(token.use_count() > 2);
      asio::post(io, [timer] { timer->cancel(); });
    });
  }
  CHECK(token.use_count() == 1);
}

#endif
