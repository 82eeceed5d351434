// lookup_pool: the threads on which names are looked up, because getaddrinfo blocks and can't be interrupted.
//
// A lookup belongs to everybody who waits for it, and to the pool until it has ended: who is tired of waiting leaves,
// and nothing that the thread still uses goes with him. What must not be broken: the pool's lock is never held while
// something is looked up, or while a lookup's waiters are told.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eventer/base/process_mark.hpp"
#include "eventer/coro/completion.hpp"
#include "eventer/net/endpoint.hpp"
#include "eventer/net/resolver_category.hpp"

namespace eventer::inline EVENTER_ABI {

// Members are only ever appended.
struct resolver_options {
  unsigned threads = 4;                      // at most; they are made when they are needed
  std::size_t queue = 1000;                  // lookups that may wait for a thread
  duration idle = std::chrono::seconds(10);  // after which a thread that has nothing to do ends
};

struct resolver_stats {
  std::size_t threads = 0;      // now
  std::size_t running = 0;      // lookups on a thread now
  std::size_t queued = 0;       // that wait for one
  std::uint64_t lookups = 0;    // begun on a thread so far
  std::uint64_t joined = 0;     // requests that found theirs under way already
  std::uint64_t refused = 0;    // because the queue was full
  std::uint64_t abandoned = 0;  // dropped from the queue, as nobody waited for them any more
};

namespace detail {

using addresses = io_result<std::vector<endpoint>>;

// Where names come from. Called on several threads at once; may block.
class name_source {
 public:
  virtual ~name_source() = default;
  virtual addresses look_up(const std::string& host, const std::string& service) = 0;
};

// One name with one service, for all who ask for it meanwhile.
class lookup final : public completion {
 public:
  lookup(std::string_view h, std::string_view s) : host(h), service(s) {}
  void finish(addresses&& found) {
    complete([&] { found_ = std::move(found); });
  }
  // Requires: it is done.
  const addresses& found() const noexcept { return found_; }

  const std::string host, service;
  bool begun = false;  // a thread has it; under the pool's lock

 private:
  completed_by who_completes(const scheduler&) const noexcept override { return completed_by::another_thread; }

  addresses found_ = errc::canceled;
};

class lookup_pool {
 public:
  // `before` is the pool of the process that this one was forked from, so that leak checkers find it.
  lookup_pool(const resolver_options& options, std::shared_ptr<name_source> source, const lookup_pool* before = nullptr)
      : options_(options), source_(std::move(source)), before_fork_(before) {
    if (options_.threads == 0) options_.threads = 1;
  }
  lookup_pool(const lookup_pool&) = delete;
  lookup_pool& operator=(const lookup_pool&) = delete;

  // In a forked child, where the threads are not, and a lock may be held by one of them for ever: no other member may
  // be called then, and the pool stays as it is.
  bool forked() const noexcept { return process_.forked(); }

  // The lookup of this name that is under way, or a new one. Errors: resolver_queue_full; what pthread_create answers.
  io_result<std::shared_ptr<lookup>> find_or_start(std::string_view host, std::string_view service) {
    const std::lock_guard lock(mutex_);
    for (const auto& each : in_flight_)
      if (each->host == host && each->service == service) return ++stats_.joined, each;
    if (is_full()) drop_abandoned();
    if (is_full()) {
      ++stats_.refused;
      return std::error_code(resolver_queue_full, resolver_category());
    }
    in_flight_.push_back(std::make_shared<lookup>(host, service));
    ++queued_;
    if (const int error = start_thread_if_needed(); error != 0 && threads_ == 0) {
      --queued_;
      in_flight_.pop_back();
      return error_from_errno(error);
    }
    wake_.notify_one();
    return in_flight_.back();
  }

  resolver_stats stats() const {
    const std::lock_guard lock(mutex_);
    resolver_stats result = stats_;
    result.threads = threads_;
    result.queued = queued_;
    result.running = in_flight_.size() - queued_;
    return result;
  }

  // The last call from outside. What waits for a thread is answered `canceled`; the threads end by themselves, and the
  // pool goes with the last of them.
  void close() {
    std::vector<std::shared_ptr<lookup>> left;
    std::unique_lock lock(mutex_);
    closed_ = true;
    queued_ = 0;
    for (std::size_t i = in_flight_.size(); i-- > 0;)
      if (!in_flight_[i]->begun) left.push_back(take(i));
    wake_.notify_all();
    const bool last = threads_ == 0;
    lock.unlock();
    for (const auto& each : left) each->finish(errc::canceled);
    if (last) delete this;
  }

 private:
  ~lookup_pool() = default;

  bool is_full() const noexcept { return in_flight_.size() >= options_.threads + options_.queue; }
  // Nobody can join a lookup but under the lock, so one that has a single owner is wanted by nobody.
  static bool is_abandoned(const std::shared_ptr<lookup>& which) noexcept {
    return !which->begun && which.use_count() == 1;
  }
  void drop_abandoned() {
    for (std::size_t i = in_flight_.size(); i-- > 0;)
      if (is_abandoned(in_flight_[i])) drop(i);
  }
  void drop(std::size_t place) {
    ++stats_.abandoned;
    --queued_;
    take(place);
  }
  std::shared_ptr<lookup> take(std::size_t place) {
    std::shared_ptr<lookup> result = std::move(in_flight_[place]);
    in_flight_.erase(in_flight_.begin() + static_cast<std::ptrdiff_t>(place));
    return result;
  }

  // --- threads ---

  int start_thread_if_needed() {
    if (queued_ <= idle_ || threads_ >= options_.threads) return 0;
    const int error = system::start_thread(
        [](void* self) -> void* {
          static_cast<lookup_pool*>(self)->work();
          return nullptr;
        },
        this);
    if (error == 0) ++threads_;
    return error;
  }

  void work() {
    std::unique_lock lock(mutex_);
    while (wait_for_work(lock)) {
      std::size_t next = 0;
      while (in_flight_[next]->begun) ++next;
      if (is_abandoned(in_flight_[next])) {
        drop(next);
        continue;
      }
      lookup& which = *in_flight_[next];
      which.begun = true;
      --queued_;
      ++stats_.lookups;
      lock.unlock();
      addresses found = look_up(which);
      lock.lock();
      for (next = 0; in_flight_[next].get() != &which;) ++next;
      std::shared_ptr<lookup> ended = take(next);
      lock.unlock();
      ended->finish(std::move(found));
      ended.reset();
      lock.lock();
    }
    const bool last = --threads_ == 0 && closed_;
    lock.unlock();
    if (last) delete this;
  }
  bool wait_for_work(std::unique_lock<std::mutex>& lock) {
    if (queued_ > 0) return true;
    ++idle_;
    wake_.wait_until(lock, deadline_after(clock::now(), options_.idle), [this] { return closed_ || queued_ > 0; });
    --idle_;
    return queued_ > 0;
  }
  addresses look_up(const lookup& which) const {
#if EVENTER_EXCEPTIONS
    try {
      return source_->look_up(which.host, which.service);
    } catch (const std::system_error& failure) {
      return failure.code();
    } catch (...) {
      return errc::exception;
    }
#else
    return source_->look_up(which.host, which.service);
#endif
  }

  const process_mark process_;
  resolver_options options_;
  const std::shared_ptr<name_source> source_;
  [[maybe_unused]] const lookup_pool* const before_fork_;

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<std::shared_ptr<lookup>> in_flight_;  // oldest first: those on a thread, and those that wait for one
  std::size_t queued_ = 0;                          // how many of them wait
  std::size_t threads_ = 0, idle_ = 0;
  bool closed_ = false;
  resolver_stats stats_;
};

}  // namespace detail

}  // namespace eventer::inline EVENTER_ABI
