// lookup_pool: the lookups of names that are under way. They are jobs on threads of their own, because getaddrinfo
// blocks and can't be interrupted.
//
// A lookup belongs to everybody who waits for it, and to the pool until it has ended: who is tired of waiting leaves,
// and nothing that the thread still uses goes with him. What must not be broken: the pool's lock is never held while
// something is looked up, or while a lookup's waiters are told.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eventer/coro/completion.hpp"
#include "eventer/event/job_workers.hpp"
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
  // Under the pool's lock.
  bool begun = false;     // a thread has it
  job* queued = nullptr;  // what will begin it

 private:
  completed_by who_completes(const scheduler&) const noexcept override { return completed_by::another_thread; }

  addresses found_ = errc::canceled;
};

class lookup_pool : public counted<std::atomic<std::uint32_t>> {
 public:
  // `before` is the pool of the process that this one was forked from, so that leak checkers find it.
  lookup_pool(const resolver_options& options, std::shared_ptr<name_source> source, const lookup_pool* before = nullptr)
      : source_(std::move(source)),
        before_fork_(before),
        workers_(new job_workers("names", {.max_concurrency = options.threads > 0 ? options.threads : 1,
                                           .max_backlog = options.queue,
                                           .when_full = when_full::refuse,
                                           .idle = options.idle})) {}
  lookup_pool(const lookup_pool&) = delete;
  lookup_pool& operator=(const lookup_pool&) = delete;

  // In a forked child, where the threads are not, and a lock may be held by one of them for ever: no other member may
  // be called then, and the pool stays as it is.
  bool forked() const noexcept { return workers_->forked(); }

  // The lookup of this name that is under way, or a new one. Errors: resolver_queue_full; what pthread_create answers.
  io_result<std::shared_ptr<lookup>> find_or_start(std::string_view host, std::string_view service) {
    const std::lock_guard lock(mutex_);
    for (const auto& each : in_flight_)
      if (each->host == host && each->service == service) return ++stats_.joined, each;
    if (in_flight_.size() == in_flight_.capacity()) in_flight_.reserve(in_flight_.size() * 2 + 8);
    const auto made = std::make_shared<lookup>(host, service);
    std::error_code error = start(made);
    if (error == errc::backlog_full && drop_abandoned()) error = start(made);
    if (!error) {
      in_flight_.push_back(made);  // before its thread can look, which needs the lock
      return made;
    }
    if (error != errc::backlog_full) return error;
    ++stats_.refused;
    return std::error_code(resolver_queue_full, resolver_category());
  }

  resolver_stats stats() const {
    const std::lock_guard lock(mutex_);
    resolver_stats result = stats_;
    result.threads = workers_->stats().threads;
    for (const auto& each : in_flight_) ++(each->begun ? result.running : result.queued);
    return result;
  }

  // The last call from outside. What waits for a thread is answered `canceled`; the threads end by themselves.
  void close() {
    std::vector<std::shared_ptr<lookup>> left;
    {
      const std::lock_guard lock(mutex_);
      for (std::size_t i = in_flight_.size(); i-- > 0;)
        if (!in_flight_[i]->begun) left.push_back(take(i));
    }
    workers_->close();
    for (const auto& each : left) each->finish(errc::canceled);
  }

 private:
  // What runs on a thread.
  struct call {
    counted_ptr<lookup_pool> pool;
    std::shared_ptr<lookup> which;
    void operator()() const { pool->work(*which); }
  };

  std::error_code start(const std::shared_ptr<lookup>& which) {
    auto made = std::make_unique<typed_job<call>>(call{counted_ptr(this), which});
    made->nobody_waits = true;
    made->kept = false;
    if (const std::error_code error = workers_->submit(*made, 0, false)) return error;
    which->queued = made.release();
    return {};
  }
  // Nobody can join a lookup but under the lock, so one that only the pool and its job have is wanted by nobody.
  static bool is_abandoned(const std::shared_ptr<lookup>& which) noexcept {
    return !which->begun && which.use_count() == 2;
  }
  // True: there is room by now.
  bool drop_abandoned() {
    bool dropped = false;
    for (std::size_t i = in_flight_.size(); i-- > 0;) {
      if (!is_abandoned(in_flight_[i]) || !workers_->withdraw(*in_flight_[i]->queued)) continue;
      job* const unwanted = in_flight_[i]->queued;
      ++stats_.abandoned;
      take(i);
      unwanted->destroy(unwanted);
      dropped = true;
    }
    return dropped;
  }
  std::shared_ptr<lookup> take(std::size_t place) {
    std::shared_ptr<lookup> result = std::move(in_flight_[place]);
    in_flight_.erase(in_flight_.begin() + static_cast<std::ptrdiff_t>(place));
    return result;
  }

  // On a thread.
  void work(lookup& which) {
    {
      const std::lock_guard lock(mutex_);
      const std::size_t place = place_of(which);
      if (place == in_flight_.size()) return;
      if (is_abandoned(in_flight_[place])) {
        ++stats_.abandoned;
        take(place);
        return;
      }
      which.begun = true;
      ++stats_.lookups;
    }
    addresses found = look_up(which);
    std::unique_lock lock(mutex_);
    const std::shared_ptr<lookup> ended = take(place_of(which));
    lock.unlock();
    ended->finish(std::move(found));
  }
  std::size_t place_of(const lookup& which) const noexcept {
    std::size_t place = 0;
    while (place < in_flight_.size() && in_flight_[place].get() != &which) ++place;
    return place;
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

  const std::shared_ptr<name_source> source_;
  [[maybe_unused]] const lookup_pool* const before_fork_;
  const counted_ptr<job_workers> workers_;

  mutable std::mutex mutex_;
  std::vector<std::shared_ptr<lookup>> in_flight_;  // oldest first: those on a thread, and those that wait for one
  resolver_stats stats_;
};

}  // namespace detail

}  // namespace eventer::inline EVENTER_ABI
