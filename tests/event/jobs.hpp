// What the tests of job queues share: jobs that wait to be released, and a count of who lives.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>

#include "eventer/eventer.hpp"

// Threads wait at it until it is opened. On the heap, as jobs outlive who brought them.
class barrier {
 public:
  // In a job.
  void wait() {
    std::unique_lock lock(mutex_);
    ++waiting_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return open_; });
    ++passed_;
    changed_.notify_all();
  }
  void open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  // Blocks the thread until so many are there, or have been.
  void until_waiting(int count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return waiting_ >= count; });
  }
  void until_passed(int count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return passed_ >= count; });
  }
  int passed() {
    const std::lock_guard lock(mutex_);
    return passed_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
  int waiting_ = 0, passed_ = 0;
};
inline std::shared_ptr<barrier> make_barrier() { return std::make_shared<barrier>(); }

// Tells where it was destroyed, and how often it lives.
class witness {
 public:
  struct record {
    std::atomic<int> alive{0}, destroyed{0};
    std::atomic<std::thread::id> where{};
  };
  explicit witness(std::shared_ptr<record> to) : to_(std::move(to)) { ++to_->alive; }
  witness(witness&& other) noexcept : to_(std::move(other.to_)) {}
  witness(const witness& other) : to_(other.to_) {
    if (to_) ++to_->alive;
  }
  ~witness() {
    if (!to_) return;
    to_->where = std::this_thread::get_id();
    --to_->alive;
    ++to_->destroyed;
  }

 private:
  std::shared_ptr<record> to_;
};

// Lets the loop run until something has happened, without time.
template <class Condition>
void yield_until(Condition&& happened) {
  while (!happened()) eventer::yield();
}
