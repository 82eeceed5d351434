// What the copies of a server share, and what it keeps for each loop.
//
// What must not be broken: a loop's share is used on that loop's thread alone, but for its counts; and all of it lives
// as long as there are connections.
#pragma once

#include <atomic>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <string_view>
#include <utility>
#include <vector>

#include "eventer/event/run.hpp"
#include "eventer/http/exchange.hpp"
#include "eventer/net/connection_set.hpp"

namespace eventer::inline EVENTER_ABI::http {

struct server_statistics {
  std::size_t open = 0;                 // connections, of listeners too
  std::uint64_t accepted = 0;           // by acceptors of its own, all
  std::uint64_t refused = 0;            // of them, beyond max_connections
  std::uint64_t requests = 0;           // answered, refusals included
  std::uint64_t failed_handshakes = 0;  // of TLS, on connections of its own acceptors
};

namespace detail {

class share;

// What the copies of a server share.
class server_state : public std::enable_shared_from_this<server_state> {
 public:
  server_state(router&& routes, server_options&& options);
  ~server_state();

  const service& serves() const noexcept { return serves_; }
  share& on_this_loop();
  std::vector<share*> all() const;
  server_statistics statistics() const;  // any thread

  std::atomic<std::size_t> open{0};   // connections, of its own acceptors
  std::atomic<bool> leaving{false};   // it has said that it will drain
  std::atomic<bool> draining{false};  // it accepts nothing more
  const shared_event drained;

 private:
  const service serves_;
  mutable std::mutex mutex_;
  std::vector<std::unique_ptr<share>> shares_;
};

// What a server keeps for one loop; but for the counts, used on its thread.
class share {
 public:
  share(server_state& server, event_loop& on) : owner(server), connections(on), guests(on) {
    const duration idle = server.serves().options.limits.keep_alive_idle;
    connections.end_when_idle_for(idle);
    guests.end_when_idle_for(idle);
    spare_.reserve(spares_at_most);
  }

  // The server lives as long as it has connections.
  void count_connection() {
    owner.open.fetch_add(1, std::memory_order_relaxed);
    if (connections.open() == 0) kept_ = owner.shared_from_this();
    connections.count_one();
  }
  void discount_connection() {
    owner.open.fetch_sub(1, std::memory_order_relaxed);
    const std::shared_ptr<server_state> until_the_end = connections.open() == 1 ? std::move(kept_) : nullptr;
    connections.discount_one();
  }

  // Anybody can make one fail at any rate: the log gets a line now and then.
  EVENTER_NOINLINE void note_failed_handshake(std::error_code why, const endpoint& peer) {
    failed_handshakes.fetch_add(1, std::memory_order_relaxed);
    const time_point now = connections.loop().now();
    if (now < next_report_) return;
    next_report_ = deadline_after(now, std::chrono::seconds(10));
    log(log_level::warning, "http: the handshake with %s has failed: %s", peer.to_string().c_str(),
        why.message().c_str());
  }

  // Gives itself back at its end, for the next connection.
  class lent_exchange {
   public:
    explicit lent_exchange(share& from) : from_(from), what_(from.take()) {}
    lent_exchange(const lent_exchange&) = delete;
    lent_exchange& operator=(const lent_exchange&) = delete;
    ~lent_exchange() { from_.give_back(std::move(what_)); }
    exchange* operator->() const noexcept { return what_.get(); }

   private:
    share& from_;
    std::unique_ptr<exchange> what_;
  };

  // An acceptor of a server while it accepts. The descriptor is known to whoever ends the server; the place is on the
  // heap, as the acceptor's coroutine waits.
  class acceptor_place {
   public:
    template <class Acceptor>
    acceptor_place(share& here, const Acceptor& acceptor)
        : here_(here), place_(here.acceptors_.insert(here.acceptors_.end(), nullptr)) {
      here_.accepting_.fetch_add(1);
      *place_ = std::make_unique<descriptor::idle_hold>();
      (*place_)->follow(*acceptor.file());
    }
    acceptor_place(const acceptor_place&) = delete;
    acceptor_place& operator=(const acceptor_place&) = delete;
    ~acceptor_place() {
      here_.acceptors_.erase(place_);
      if (here_.accepting_.fetch_sub(1) == 1) here_.none_accepts_.set();
    }

   private:
    share& here_;
    std::list<std::unique_ptr<descriptor::idle_hold>>::iterator place_;
  };
  // Connections that have come are accepted still; then, or at `limit`, nothing listens any more.
  void close_acceptors(time_point limit) {
    for (const auto& each : acceptors_)
      if (descriptor* const file = each->held()) file->end_when_idle();
    while (accepting_.load() > 0) {
      none_accepts_.reset();
      if (accepting_.load() == 0 || none_accepts_.wait(limit)) continue;
      for (const auto& each : acceptors_)
        if (descriptor* const file = each->held()) file->close();
      limit = no_deadline;
    }
  }
  // Any thread. False: its loop has nothing to do with the server, and may be gone.
  bool is_used() const noexcept { return accepting_.load() > 0 || connections.open() > 0; }

  server_state& owner;
  eventer::detail::connection_set connections;  // of the server's own acceptors
  eventer::detail::connection_set guests;       // of others
  std::atomic<std::uint64_t> accepted{0}, refused{0}, requests{0}, failed_handshakes{0};

 private:
  std::unique_ptr<exchange> take() {
    if (EVENTER_UNLIKELY(spare_.empty())) return std::make_unique<exchange>();
    std::unique_ptr<exchange> last = std::move(spare_.back());
    spare_.pop_back();
    return last;
  }
  void give_back(std::unique_ptr<exchange> what) noexcept {
    what->reset();
    if (spare_.size() < spares_at_most) spare_.push_back(std::move(what));
  }

  static constexpr std::size_t spares_at_most = 64;
  std::vector<std::unique_ptr<exchange>> spare_;
  std::list<std::unique_ptr<descriptor::idle_hold>> acceptors_;
  std::atomic<std::size_t> accepting_{0};  // as many
  shared_event none_accepts_;
  std::shared_ptr<server_state> kept_;
  time_point next_report_ = time_point::min();  // of a handshake
};

// Behind `share`, which clang wants to know in C++23 wherever a vector of them could be destroyed.
inline server_state::server_state(router&& routes, server_options&& options)
    : serves_(std::move(routes), std::move(options)) {}
inline server_state::~server_state() = default;

inline share& server_state::on_this_loop() {
  event_loop& here = event_loop::current();
  const std::lock_guard lock(mutex_);
  for (const auto& each : shares_)
    if (&each->connections.loop() == &here) return *each;
  return *shares_.emplace_back(std::make_unique<share>(*this, here));
}
inline server_statistics server_state::statistics() const {
  server_statistics result;
  for (const share* const each : all()) {
    result.open += each->connections.open() + each->guests.open();
    result.accepted += each->accepted.load(std::memory_order_relaxed);
    result.refused += each->refused.load(std::memory_order_relaxed);
    result.requests += each->requests.load(std::memory_order_relaxed);
    result.failed_handshakes += each->failed_handshakes.load(std::memory_order_relaxed);
  }
  return result;
}
inline std::vector<share*> server_state::all() const {
  const std::lock_guard lock(mutex_);
  std::vector<share*> result;
  for (const auto& each : shares_) result.push_back(each.get());
  return result;
}

// Says so to a client that is one too many, if that goes at once.
inline void refuse_connection(any_stream& client) {
  static constexpr std::string_view answer =
      "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 1\r\nConnection: close\r\n\r\n";
  (void)eventer::detail::try_write(*client.file(), answer.data(), answer.size());
  (void)client.shutdown_write();
}

}  // namespace detail

}  // namespace eventer::inline EVENTER_ABI::http
