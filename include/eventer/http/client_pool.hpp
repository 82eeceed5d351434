// client_pool: the connections of one client on one loop. Those in use are counted, and whoever wants one too many
// waits in line; those that are idle are kept for a while.
//
// What must not be broken: a connection comes back only by lease::give_back, which its exchange calls when it has read
// the whole answer to a whole request. On every other way, errors, time-outs and cancellations among them, it is
// closed.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eventer/base/process_mark.hpp"
#include "eventer/coro/sync/semaphore.hpp"
#include "eventer/http/client_connection.hpp"
#include "eventer/http/input.hpp"

namespace eventer::inline EVENTER_ABI::http {

struct client_statistics {
  std::size_t idle = 0;      // connections that are kept
  std::size_t in_use = 0;    // those in use, and requests that wait for one
  std::uint64_t opened = 0;  // all
  std::uint64_t reused = 0;  // requests that were sent on one that had been kept
};

namespace detail {

class client_pool;

// The pools of one client; any thread.
class client_pools : public std::enable_shared_from_this<client_pools> {
 public:
  explicit client_pools(std::shared_ptr<const client_settings> with) : with_(std::move(with)) {}
  client_pools(const client_pools&) = delete;
  client_pools& operator=(const client_pools&) = delete;
  ~client_pools();

  client_pool& on_this_loop();
  void forget(const client_pool& which);  // its loop ends

 private:
  struct pool_of_loop {
    const scheduler* loop;
    std::shared_ptr<client_pool> pool;
  };
  const std::shared_ptr<const client_settings> with_;
  std::mutex mutex_;
  std::vector<pool_of_loop> pools_;
};

// Lives as long as anybody has a lease. It does not keep its loop running, and hears of its end. But for
// end_from_anywhere and is_at_home all of it is its loop's.
class client_pool : continuation, public std::enable_shared_from_this<client_pool> {
  struct origin {
    origin(std::string_view text, std::size_t units) : name(text), free(units) {}
    const std::string name;
    semaphore free;
    std::size_t users = 0;  // leases, and those who wait for one
    std::size_t idle = 0;
  };

 public:
  client_pool(std::shared_ptr<const client_settings> with, std::weak_ptr<client_pools> all)
      : continuation(&on_wake),
        with_(std::move(with)),
        all_(std::move(all)),
        home_(scheduler::current()),
        loop_(scheduler::current()) {
    set(node_flag::background);
    spare_.reserve(spares_at_most);
    loop_->attach(*this);
  }
  client_pool(const client_pool&) = delete;
  client_pool& operator=(const client_pool&) = delete;
  ~client_pool() { scheduler::forget(*this); }

  const client_settings& settings() const noexcept { return *with_; }
  // Any thread: whether it is the one that runs its loop.
  bool is_at_home() const noexcept { return scheduler::current() == home_; }

  // The right to one connection to an origin, and that connection once there is one. Its loop's; only send_home is for
  // others, and behind the loop's end it may be destroyed anywhere.
  class lease {
   public:
    lease(client_pool& pool, std::string_view origin_name)
        : pool_(pool.shared_from_this()),
          origin_(pool.find_or_add(origin_name)),
          home_(scheduler::current()->mailbox()) {
      ++origin_->users;
      home_.expect();  // send_home, from wherever it is destroyed
    }
    lease(const lease&) = delete;
    lease& operator=(const lease&) = delete;
    ~lease() {
      connection_.reset();
      if (is_too_late_) return;  // nobody counts any more
      home_.no_longer_expected();
      if (has_unit_) origin_->free.release();
      if (--origin_->users == 0 && origin_->idle == 0) pool_->forget_origin(*origin_);
    }

    // Any thread: whether it is the one that runs its loop. Behind the loop's end there is none.
    bool is_at_home() const noexcept {
      scheduler* const here = scheduler::current();
      if (here != pool_->home_) return false;
      // Another loop may lie where it lay, but not another mailbox. A forked child's loop goes on with a new one.
      return &here->mailbox() == &home_ || process_.forked();
    }
    // Any thread but its loop's: the loop finishes `what`, which destroys this. False: it has ended, and `what` is the
    // caller's to destroy.
    bool send_home(post_queue::message& what) noexcept {
      if (home_.deliver(what)) return true;
      is_too_late_ = true;
      return false;
    }

    // Waits until it is one of the client_options::max_connections. Errors: timed_out; canceled.
    std::error_code wait(time_point deadline) {
      if (const auto got = origin_->free.acquire_for(deadline); !got) return got.error();
      has_unit_ = true;
      return {};
    }
    // Takes an idle connection, or opens one. `fresh`: opens one, as those that are kept are probably closed, too.
    std::error_code connect(const url& to, bool fresh, time_point deadline) {
      connection_ = fresh ? (pool_->close_idle(*origin_), nullptr) : pool_->take_idle(*origin_);
      if (connection_ != nullptr) {
        ++pool_->counts_.reused;
        return {};
      }
      auto opened = client_connection::open(pool_->settings(), to, deadline);
      if (!opened) return opened.error();
      connection_ = std::make_unique<client_connection>(std::move(*opened));
      ++pool_->counts_.opened;
      return {};
    }
    client_connection& connection() const noexcept { return *connection_; }
    void close() noexcept { connection_.reset(); }
    // For the next request; closed where there is no memory to keep it. `idle`: how long the server keeps it at least,
    // if it has said so.
    void give_back(duration idle) noexcept {
      connection_->note_answered();
      try {
        pool_->keep(*origin_, std::move(connection_), idle);
      } catch (...) {
        connection_.reset();
      }
    }

   private:
    const std::shared_ptr<client_pool> pool_;
    origin* const origin_;
    eventer::detail::mailbox& home_;
    const process_mark process_;
    bool has_unit_ = false, is_too_late_ = false;
    std::unique_ptr<client_connection> connection_;
  };

  // Any thread: nobody uses it any more, but for the leases that there are.
  void end_from_anywhere() {
    const std::lock_guard lock(mutex_);
    if (loop_ == nullptr) return;
    if (scheduler::current() == loop_) return end();
    loop_->post([self = shared_from_this()] { self->end(); });
  }
  // On its loop.
  client_statistics statistics() const {
    client_statistics result = counts_;
    result.idle = idle_.size();
    for (const auto& [name, each] : origins_) result.in_use += each->users;
    return result;
  }
  void close_idle() { idle_.clear(), forget_idle_origins(); }

  // Buffers for an exchange, and back, from any thread.
  std::unique_ptr<input> take_buffers() {
    if (spare_.empty()) return std::make_unique<input>();
    auto last = std::move(spare_.back());
    spare_.pop_back();
    return last;
  }
  void give_back(std::unique_ptr<input> buffers) noexcept {
    if (!is_at_home()) return;
    buffers->reset();
    if (spare_.size() < spares_at_most) spare_.push_back(std::move(buffers));  // there is room: see the constructor
  }

 private:
  static constexpr std::size_t spares_at_most = 32;

  struct idle_connection {
    origin* to;
    std::unique_ptr<client_connection> connection;
    time_point end;
  };

  origin* find_or_add(std::string_view name) {
    const auto found = origins_.find(name);
    if (found != origins_.end()) return found->second.get();
    const std::size_t most = with_->options.max_connections;
    auto made = std::make_unique<origin>(name, most != 0 ? most : SIZE_MAX / 2);
    return origins_.emplace(std::string(name), std::move(made)).first->second.get();
  }
  void forget_origin(const origin& which) { origins_.erase(origins_.find(which.name)); }
  void forget_idle_origins() {
    for (auto each = origins_.begin(); each != origins_.end();) {
      each->second->idle = 0;
      each = each->second->users == 0 ? origins_.erase(each) : std::next(each);
    }
  }

  // The one that was used last: the others get the chance to grow old.
  std::unique_ptr<client_connection> take_idle(origin& of) {
    if (EVENTER_UNLIKELY(process_.forked())) {  // both processes would speak on them
      process_.renew();
      close_idle();
    }
    const time_point now = scheduler::current()->now();
    for (std::size_t i = idle_.size(); i > 0 && of.idle > 0; --i) {
      if (idle_[i - 1].to != &of) continue;
      const bool in_time = now < idle_[i - 1].end;
      auto taken = remove(i - 1);
      if (in_time && taken->is_quiet()) return taken;
    }
    return nullptr;
  }
  void close_idle(origin& of) noexcept {
    for (std::size_t i = idle_.size(); i > 0 && of.idle > 0; --i)
      if (idle_[i - 1].to == &of) remove(i - 1);
  }
  void keep(origin& of, std::unique_ptr<client_connection> what, duration server_idle) {
    const client_options& options = with_->options;
    const duration limit = std::min(client_settings::without_zero(options.idle), server_idle);
    if (has_ended_ || limit <= duration::zero() || options.max_idle == 0 || options.max_idle_of_all == 0) return;
    if (!what->stream().is_open() || !what->has_nothing_left()) return;  // all else is seen when it is taken
    const auto is_of = [&of](const idle_connection& each) { return each.to == &of; };
    if (of.idle >= options.max_idle) remove(index_of(std::find_if(idle_.begin(), idle_.end(), is_of)));
    if (idle_.size() >= options.max_idle_of_all) drop(0);
    const time_point end = deadline_after(scheduler::current()->now(), limit);
    idle_.push_back({&of, std::move(what), end});
    ++of.idle;
    if (!has(node_flag::timed) || end < wakes_at_) wake_at(end);
  }
  std::size_t index_of(std::vector<idle_connection>::iterator which) const noexcept {
    return static_cast<std::size_t>(which - idle_.begin());
  }
  std::unique_ptr<client_connection> remove(std::size_t index) noexcept {
    auto taken = std::move(idle_[index].connection);
    --idle_[index].to->idle;
    idle_.erase(idle_.begin() + static_cast<std::ptrdiff_t>(index));
    return taken;
  }
  // The same where its origin may have nobody else.
  void drop(std::size_t index) {
    origin& of = *idle_[index].to;
    remove(index);
    if (of.users == 0 && of.idle == 0) forget_origin(of);
  }

  // --- on the loop's native stack ---

  void wake_at(time_point when) {
    loop_->disarm(*this);
    wakes_at_ = when;
    loop_->arm(*this, when);
  }
  static void on_wake(continuation& who) {
    auto& self = static_cast<client_pool&>(who);
    if (who.wake == wake_reason::timed_out) return self.close_old();
    const auto alive = self.shared_from_this();
    if (const auto all = self.all_.lock()) all->forget(self);
    const std::lock_guard lock(self.mutex_);
    self.end();
  }
  void close_old() {
    loop_->attach(*this);
    const time_point now = loop_->now();
    time_point earliest = no_deadline;
    for (std::size_t i = idle_.size(); i > 0; --i) {
      if (idle_[i - 1].end <= now)
        drop(i - 1);
      else
        earliest = std::min(earliest, idle_[i - 1].end);
    }
    if (earliest != no_deadline) wake_at(earliest);
  }
  void end() {
    scheduler::forget(*this);
    has_ended_ = true;
    loop_ = nullptr;
    close_idle();
  }

  const std::shared_ptr<const client_settings> with_;
  const std::weak_ptr<client_pools> all_;
  const scheduler* const home_;
  std::mutex mutex_;  // so that the loop does not end while another thread posts to it
  scheduler* loop_;   // nullptr once it has ended
  std::map<std::string, std::unique_ptr<origin>, std::less<>> origins_;
  std::vector<idle_connection> idle_;  // the one that was used last is the last
  std::vector<std::unique_ptr<input>> spare_;
  time_point wakes_at_ = no_deadline;
  client_statistics counts_;
  process_mark process_;
  bool has_ended_ = false;
};

inline client_pools::~client_pools() {
  for (const pool_of_loop& each : pools_) each.pool->end_from_anywhere();
}
inline client_pool& client_pools::on_this_loop() {
  scheduler* const here = scheduler::current();
  if (here == nullptr || here->running() == nullptr)
    broken_rule("an http client is used outside of a coroutine: spawn one for it, or start with eventer::run");
  const std::lock_guard lock(mutex_);
  for (const pool_of_loop& each : pools_)
    if (each.loop == here) return *each.pool;
  return *pools_.emplace_back(pool_of_loop{here, std::make_shared<client_pool>(with_, weak_from_this())}).pool;
}
inline void client_pools::forget(const client_pool& which) {
  const std::lock_guard lock(mutex_);
  for (std::size_t i = 0; i < pools_.size(); ++i)
    if (pools_[i].pool.get() == &which) return void(pools_.erase(pools_.begin() + static_cast<std::ptrdiff_t>(i)));
}

}  // namespace detail

}  // namespace eventer::inline EVENTER_ABI::http
