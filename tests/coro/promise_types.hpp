// Coroutine types as they are written elsewhere. They know nothing of the library.
#pragma once

#include <atomic>
#include <coroutine>
#include <cstddef>
#include <cstdlib>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <utility>

// Common to those that give a T: what has come of it.
template <class T>
class outcome_of {
 public:
  void return_value(T value) { value_.emplace(std::move(value)); }
  void unhandled_exception() noexcept { failure_ = std::current_exception(); }
  T& get() {
    if (failure_ != nullptr) std::rethrow_exception(failure_);
    return *value_;
  }

 private:
  std::optional<T> value_;
  std::exception_ptr failure_;
};

// A lazy task that its awaiter owns, with symmetric transfer both ways: cppcoro::task, folly::coro::Task and the like.
// As there, an rvalue gives T&&, which points into the frame.
template <class T>
class [[nodiscard]] lazy_task {
 public:
  struct promise_type : outcome_of<T> {
    lazy_task get_return_object() noexcept {
      return lazy_task(std::coroutine_handle<promise_type>::from_promise(*this));
    }
    std::suspend_always initial_suspend() const noexcept { return {}; }
    auto final_suspend() const noexcept {
      struct transfer {
        bool await_ready() const noexcept { return false; }
        std::coroutine_handle<> await_suspend(std::coroutine_handle<promise_type> self) const noexcept {
          return self.promise().continuation;
        }
        void await_resume() const noexcept {}
      };
      return transfer{};
    }
    std::coroutine_handle<> continuation = std::noop_coroutine();
  };

  lazy_task(lazy_task&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  lazy_task& operator=(lazy_task&&) = delete;
  ~lazy_task() {
    if (handle_) handle_.destroy();
  }
  void start_by_hand() { handle_.resume(); }
  bool done() const { return handle_.done(); }

  auto operator co_await() && noexcept {
    struct awaiter {
      bool await_ready() const noexcept { return false; }
      std::coroutine_handle<> await_suspend(std::coroutine_handle<> waiting) noexcept {
        of.promise().continuation = waiting;
        return of;
      }
      T&& await_resume() { return std::move(of.promise().get()); }
      std::coroutine_handle<promise_type> of;
    };
    return awaiter{handle_};
  }

 private:
  explicit lazy_task(std::coroutine_handle<promise_type> handle) noexcept : handle_(handle) {}
  std::coroutine_handle<promise_type> handle_;
};

// Starts at once; several may await it, each by its own copy, and see the same value: cppcoro::shared_task. One waiter
// at a time, on one thread.
template <class T>
class [[nodiscard]] shared_task {
 public:
  struct promise_type : outcome_of<T> {
    shared_task get_return_object() noexcept { return shared_task(*this); }
    std::suspend_never initial_suspend() const noexcept { return {}; }
    auto final_suspend() const noexcept {
      struct wake {
        bool await_ready() const noexcept { return false; }
        void await_suspend(std::coroutine_handle<promise_type> self) const noexcept {
          auto& here = self.promise();
          here.done = true;
          if (auto next = std::exchange(here.waiting, nullptr)) next.resume();
          here.release();
        }
        void await_resume() const noexcept {}
      };
      return wake{};
    }
    void release() noexcept {
      if (--owners == 0) std::coroutine_handle<promise_type>::from_promise(*this).destroy();
    }
    unsigned owners = 1;  // the coroutine itself
    bool done = false;
    std::coroutine_handle<> waiting;
  };

  shared_task(const shared_task& other) noexcept : shared_task(*other.promise_) {}
  shared_task& operator=(const shared_task&) = delete;
  ~shared_task() { promise_->release(); }

  auto operator co_await() const noexcept {
    struct awaiter {
      bool await_ready() const noexcept { return of.done; }
      void await_suspend(std::coroutine_handle<> who) noexcept { of.waiting = who; }
      const T& await_resume() { return of.get(); }
      promise_type& of;
    };
    return awaiter{*promise_};
  }

 private:
  explicit shared_task(promise_type& promise) noexcept : promise_(&promise) { ++promise.owners; }
  promise_type* promise_;
};

// Runs until it yields, and goes on when it is asked for the next one.
template <class T>
class generator {
 public:
  struct promise_type {
    generator get_return_object() noexcept {
      return generator(std::coroutine_handle<promise_type>::from_promise(*this));
    }
    std::suspend_always initial_suspend() const noexcept { return {}; }
    std::suspend_always final_suspend() const noexcept { return {}; }
    std::suspend_always yield_value(T value) {
      current = std::move(value);
      return {};
    }
    void return_void() noexcept {}
    void unhandled_exception() { throw; }
    std::optional<T> current;
  };

  generator(generator&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  generator& operator=(generator&&) = delete;
  ~generator() {
    if (handle_) handle_.destroy();
  }
  std::optional<T> next() {
    handle_.promise().current.reset();
    handle_.resume();
    return std::move(handle_.promise().current);
  }

 private:
  explicit generator(std::coroutine_handle<promise_type> handle) noexcept : handle_(handle) {}
  std::coroutine_handle<promise_type> handle_;
};

// Starts at once and destroys itself. It hands on whatever is awaited, and takes its frames from an allocator that is
// its first argument.
struct counting_allocator {
  struct counts {
    std::size_t allocated = 0, freed = 0;
  };
  std::shared_ptr<counts> of = std::make_shared<counts>();
};
struct with_allocator {
  struct promise_type {
    // Not inline, or g++ 12 takes `operator delete` for another class's.
    [[gnu::noinline]] static void* operator new(std::size_t size, const counting_allocator& from,
                                                const std::shared_ptr<int>&) {
      void* const memory = std::malloc(size + header);
      ::new (memory) std::shared_ptr<counting_allocator::counts>(from.of);
      ++from.of->allocated;
      return static_cast<char*>(memory) + header;
    }
    static void operator delete(void* frame, std::size_t) {
      void* const memory = static_cast<char*>(frame) - header;
      auto* const counts = static_cast<std::shared_ptr<counting_allocator::counts>*>(memory);
      ++(*counts)->freed;
      std::destroy_at(counts);
      std::free(memory);
    }
    with_allocator get_return_object() const noexcept { return {}; }
    std::suspend_never initial_suspend() const noexcept { return {}; }
    std::suspend_never final_suspend() const noexcept { return {}; }
    void return_void() noexcept {}
    void unhandled_exception() noexcept { std::terminate(); }
    template <class A>
    decltype(auto) await_transform(A&& what) const noexcept {
      return std::forward<A>(what);
    }

   private:
    static constexpr std::size_t header = alignof(std::max_align_t) * 2;
  };
};
