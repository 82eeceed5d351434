// active_listener: one listener that runs, its sockets and its connections, spread over the loops.
//
// What a loop has to do with it is a share, which only that loop touches, but for the counts. Connections and acceptors
// are coroutines that keep the whole alive. Nobody waits for room: beyond max_connections a connection is accepted and
// refused, so that no queue is stranded.
#pragma once

#include <atomic>
#include <exception>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "eventer/coro/deadline_scope.hpp"
#include "eventer/listener/listener_plan.hpp"
#include "eventer/listener/listening_socket.hpp"
#include "eventer/net/connection_set.hpp"
#include "eventer/net/proxy_header.hpp"

namespace eventer::inline EVENTER_ABI {

struct listener_statistics {
  std::string type;
  std::string address;  // as it was configured
  std::string local;    // as the kernel says: with the port that it has chosen
  std::size_t open = 0;
  std::uint64_t accepted = 0;           // all, also those that were refused or denied then
  std::uint64_t refused = 0;            // beyond max_connections
  std::uint64_t denied = 0;             // by an access list, or for want of a PROXY header that is believed
  std::uint64_t shed = 0;               // closed unserved for want of descriptors or memory
  std::uint64_t failed = 0;             // whose function has thrown
  std::uint64_t failed_handshakes = 0;  // of TLS
};

namespace detail {

// Coroutine names must outlive their loop: each is kept once, for ever.
inline const char* lasting_name(const std::string& name) {
  static std::mutex& mutex = *new std::mutex;
  static std::set<std::string>& all = *new std::set<std::string>;
  const std::lock_guard lock(mutex);
  return all.insert(name).first->c_str();
}

// What holds for connections that come from now on; replaced as a whole.
struct listener_rules {
  listener_config config;
  std::shared_ptr<const connection_function> serve, refuse;
  std::shared_ptr<const connection_layer> layer;  // over each connection first; nullptr: none
  const char* name;                               // of its coroutines
  bool hands_over;                                // to whichever loop is least busy; else the loop that accepts serves

  explicit listener_rules(const listener_plan& from)
      : config(*from.config),
        serve(from.entry->serve),
        refuse(from.entry->refuse),
        layer(from.layer),
        name(lasting_name(config.type)),
        hands_over(from.hands_over) {}
};

class active_listener : public std::enable_shared_from_this<active_listener> {
 public:
  using sockets = std::vector<std::unique_ptr<listening_socket>>;

  // The sockets listen already, but nobody accepts before start(). Socket i is accepted on loop (first + i).
  active_listener(const std::vector<event_loop*>& loops, std::shared_ptr<const listener_rules> rules, std::size_t first)
      : first_(first), rules_(rules) {
    for (event_loop* const each : loops) shares_.push_back(std::make_unique<share>(*each, rules));
  }

  // --- by whoever controls it, one at a time; but for config(), socket() and start(), also from any thread ---

  const listener_config& config() const noexcept { return rules_->config; }
  std::size_t socket_count() const {
    const std::lock_guard lock(mutex_);
    return places_.size();
  }
  listening_socket& socket(std::size_t which) const noexcept { return *places_[which]->socket; }

  void start(sockets add) {
    const std::lock_guard lock(mutex_);
    if (!add.empty() && places_.empty()) local_ = add.front()->local();
    for (auto& each : add) {
      const std::size_t on = (first_ + places_.size()) % shares_.size();
      places_.push_back(std::make_shared<place>(std::move(each), on));
      (void)shares_[on]->loop.spawn(spawn_options{.name = "acceptor"}, accept_body{shared_from_this(), places_.back()});
    }
  }
  // Gives up its last sockets, so that `left` stay. Returns: a handle for each, to be joined.
  std::vector<join_handle<void>> leave(std::size_t left) {
    const std::lock_guard lock(mutex_);
    std::vector<join_handle<void>> all;
    for (; places_.size() > left; places_.pop_back()) {
      const std::shared_ptr<place>& last = places_.back();
      all.push_back(shares_[last->on]->loop.spawn(spawn_options{.name = "acceptor leaves"},
                                                  leave_body{shared_from_this(), last, left == 0}));
    }
    return all;
  }
  std::vector<join_handle<void>> change(std::shared_ptr<const listener_rules> to) {
    const std::lock_guard lock(mutex_);
    rules_ = to;
    for (const auto& each : places_) each->socket->apply(to->config);
    return on_each_loop([to](share& here) { here.rules = to; });
  }
  // Connections may learn that they should end.
  std::vector<join_handle<void>> begin_draining() {
    return on_each_loop([](share& here) { here.connections.begin_draining(); });
  }
  // Ends idle connections at a time, cancels the rest at a second, and waits for their end. Returns: for each loop, how
  // many were cancelled. Requires: nobody accepts any more.
  std::vector<join_handle<std::size_t>> finish(time_point idle, time_point limit) {
    std::vector<join_handle<std::size_t>> all;
    for (const auto& each : shares_)
      all.push_back(each->loop.spawn(
          spawn_options{.name = "listener drains"}, [self = shared_from_this(), here = each.get(), idle, limit] {
            return here->connections.finish(idle, limit, ("listener " + here->rules->config.address).c_str());
          }));
    return all;
  }
  // Closes everything, without waiting. A loop that does not run does its part when it runs again, or ends.
  void abandon() {
    const std::lock_guard lock(mutex_);
    for (const auto& each : shares_) {
      std::vector<std::shared_ptr<place>> here;
      for (const auto& one : places_)
        if (shares_[one->on] == each) here.push_back(one);
      auto close_here = [self = shared_from_this(), on = each.get(), here = std::move(here)] {
        for (const auto& one : here) one->socket->close();
        on->connections.cancel_all();
      };
      if (scheduler::current() == &each->loop)
        close_here();
      else
        each->loop.post(std::move(close_here));
    }
  }

  listener_statistics statistics() const {
    const std::lock_guard lock(mutex_);
    listener_statistics result;
    result.type = config().type;
    result.address = config().address;
    result.local = local_.to_string();
    result.open = open_.load(std::memory_order_relaxed);
    for (const auto& each : places_) result.shed += each->socket->shed();
    for (const auto& each : shares_) {
      result.accepted += each->accepted.load(std::memory_order_relaxed);
      result.refused += each->refused.load(std::memory_order_relaxed);
      result.denied += each->denied.load(std::memory_order_relaxed);
      result.shed += each->shed.load(std::memory_order_relaxed);
      result.failed += each->failed.load(std::memory_order_relaxed);
      result.failed_handshakes += each->failed_handshakes.load(std::memory_order_relaxed);
    }
    return result;
  }

 private:
  using count = std::atomic<std::uint64_t>;
  static void add_to(count& which) noexcept { which.fetch_add(1, std::memory_order_relaxed); }

  struct share {
    share(event_loop& l, std::shared_ptr<const listener_rules> r) : loop(l), rules(std::move(r)), connections(l) {}

    event_loop& loop;
    count accepted{0}, refused{0}, denied{0}, shed{0}, failed{0}, failed_handshakes{0};
    // Of the loop's thread:
    std::shared_ptr<const listener_rules> rules;
    connection_set connections;
    std::size_t turn = 0;      // of handing over
    std::size_t refusing = 0;  // politely, now
    time_point next_report = time_point::min();
  };
  struct place {
    place(std::unique_ptr<listening_socket> s, std::size_t index) : socket(std::move(s)), on(index) {}
    std::unique_ptr<listening_socket> socket;
    std::size_t on;  // the loop that accepts
    shared_event left;
  };
  static constexpr duration quiet_time = std::chrono::seconds(10);  // between two lines about the same
  static constexpr duration refusal_time = std::chrono::seconds(1);
  static constexpr duration proxy_header_time = std::chrono::seconds(5);
  static constexpr std::size_t refusals_at_once = 64;

  // A connection's place among those that are open, from its admission to its end, wherever it is.
  class admission {
   public:
    admission(std::shared_ptr<active_listener> l, share& s) noexcept : listener_(std::move(l)), share_(&s) {
      share_->connections.count_one();
    }
    admission(admission&&) noexcept = default;
    ~admission() {
      if (listener_ == nullptr) return;
      listener_->open_.fetch_sub(1);
      share_->connections.discount_one();
    }
    active_listener& listener() const noexcept { return *listener_; }
    share& here() const noexcept { return *share_; }

   private:
    std::shared_ptr<active_listener> listener_;
    share* share_;
  };

  struct accept_body {
    std::shared_ptr<active_listener> listener;
    std::shared_ptr<place> at;

    void operator()() const {
      struct at_end {
        place& from;
        ~at_end() {
          from.socket->close();
          from.left.set();
        }
      } const end{*at};
      endpoint peer;
      while (auto stream = at->socket->accept(peer)) listener->take(at->on, std::move(*stream), peer);
    }
  };
  struct leave_body {
    std::shared_ptr<active_listener> listener;
    std::shared_ptr<place> at;
    bool is_last;  // else others with the same address take what comes

    void operator()() const {
      const duration time = is_last ? at->socket->refuse_new() : listening_socket::handshake_time;
      if (time > duration::zero()) sleep_for(time);
      at->socket->end_when_empty();
      at->left.wait();
      listener->shares_[at->on]->shed.fetch_add(at->socket->shed());
    }
  };
  struct connection_body {
    admission in;
    std::shared_ptr<const listener_rules> rules;
    any_stream stream;
    connection_set::member me;

    connection_body(admission a, std::shared_ptr<const listener_rules> r, any_stream s) noexcept
        : in(std::move(a)), rules(std::move(r)), stream(std::move(s)) {}
    connection_body(connection_body&& other) noexcept  // before it runs
        : in(std::move(other.in)), rules(std::move(other.rules)), stream(std::move(other.stream)) {}

    void operator()() {
      connection_set& all = in.here().connections;
      if (!all.enter(me, stream)) return;
      struct at_end {
        connection_set& all;
        connection_set::member& me;
        ~at_end() { all.leave(me); }
      } const end{all, me};
      if (rules->config.proxy != proxy_protocol::off && !read_announcement()) return;
      try {
        if (rules->layer != nullptr && !put_layer()) return;
        rules->serve->call(std::move(stream), rules->config);
      } catch (const cancelled&) {
        throw;
      }
      EVENTER_REFUSE_THREAD_EXIT
      catch (...) {
        failed(std::current_exception());
      }
    }

   private:
    EVENTER_NOINLINE bool read_announcement() {
      const auto said = read_proxy_header(stream, proxy_header_time);
      if (said && said->names_addresses()) stream.announce_peer(said->source);
      const bool allowed = said.has_value() && rules->config.access.allows(stream.peer());
      stream.end_request();  // which the header was not
      if (!allowed)
        in.listener().deny(in.here(), said ? "access is denied" : said.error().message().c_str(), stream.peer());
      return allowed;
    }
    EVENTER_NOINLINE bool put_layer() {
      const endpoint peer = stream.peer();  // the kernel forgets it when the peer resets the connection
      const io_result<void> done = rules->layer->accept(stream);
      if (!done) in.listener().end_handshake(in.here(), done.error(), peer);
      return done.has_value();
    }
    EVENTER_NOINLINE void failed(const std::exception_ptr& failure) {
      add_to(in.here().failed);
      log(log_level::error, "a connection of listener %s (%s) has ended with an exception%s",
          rules->config.address.c_str(), rules->name, text_of(failure).c_str());
    }
  };
  struct refusal_body {
    std::shared_ptr<active_listener> listener;
    share* here;
    std::shared_ptr<const listener_rules> rules;
    any_stream stream;

    void operator()() {
      struct at_end {
        share& here;
        ~at_end() { --here.refusing; }
      };
      ++here->refusing;
      const at_end end{*here};
      const deadline_scope short_time(refusal_time);
      try {
        if (rules->layer != nullptr && !put_layer()) return;
        rules->refuse->call(std::move(stream), rules->config);
      } catch (const cancelled&) {
        throw;
      }
      EVENTER_REFUSE_THREAD_EXIT
      catch (...) {
        add_to(here->failed);
      }
    }
    // What is said in the clear to who waits for TLS, he does not understand.
    EVENTER_NOINLINE bool put_layer() {
      const bool announced = rules->config.proxy == proxy_protocol::off || read_proxy_header(stream, refusal_time);
      return announced && rules->layer->accept(stream);
    }
  };

  // A connection has come, on loop `on`.
  void take(std::size_t on, any_stream stream, const endpoint& peer) {
    share& here = *shares_[on];
    const std::shared_ptr<const listener_rules> rules = here.rules;
    const listener_config& config = rules->config;
    add_to(here.accepted);
    // Behind a proxy the list is for who was announced.
    const access_list& who = config.proxy == proxy_protocol::off ? config.access : config.trusted_proxies;
    if (!who.allows(peer)) return deny(here, "access is denied", peer);
    if (!count_one_more(config.max_connections)) return refuse(here, rules, std::move(stream));
    share& there = rules->hands_over ? *shares_[least_busy(here)] : here;
    serve(here, connection_body(admission(shared_from_this(), there), rules, std::move(stream)));
  }
  // False: there are so many already.
  bool count_one_more(std::size_t most) noexcept {
    std::size_t now = open_.load(std::memory_order_relaxed);
    do
      if (most != 0 && now >= most) return false;
    while (!open_.compare_exchange_weak(now, now + 1));
    return true;
  }
  void serve(share& here, connection_body body) {
    share& there = body.in.here();
    const spawn_options options{.name = body.rules->name};
    try {
      (void)there.loop.spawn(options, std::move(body));
    } catch (const std::system_error& failure) {
      add_to(here.shed);
      if (may_report(here))
        log(log_level::error, "listener %s: %s: connections are closed unserved", config_text(here),
            failure.code().message().c_str());
    }
  }
  EVENTER_NOINLINE void refuse(share& here, const std::shared_ptr<const listener_rules>& rules, any_stream stream) {
    add_to(here.refused);
    if (may_report(here))
      log(log_level::warning, "listener %s: more than %zu connections: others are refused", config_text(here),
          rules->config.max_connections);
    if (rules->refuse == nullptr || here.refusing >= refusals_at_once) return;
    try {
      (void)here.loop.spawn(spawn_options{.name = "refusal"},
                            refusal_body{shared_from_this(), &here, rules, std::move(stream)});
    } catch (const std::system_error&) {
      add_to(here.shed);
    }
  }
  EVENTER_NOINLINE void deny(share& here, const char* why, const endpoint& peer) {
    add_to(here.denied);
    if (may_report(here))
      log(log_level::warning, "listener %s: %s is closed: %s", config_text(here), peer.to_string().c_str(), why);
  }

  EVENTER_NOINLINE void end_handshake(share& here, std::error_code why, const endpoint& peer) {
    add_to(here.failed_handshakes);
    if (may_report(here))
      log(log_level::warning, "listener %s: the handshake with %s has failed: %s", config_text(here),
          peer.to_string().c_str(), why.message().c_str());
  }

  // The loop with the fewest connections of this listener; of several the next one in turn.
  std::size_t least_busy(share& here) const noexcept {
    const std::size_t from = here.turn++ % shares_.size();
    std::size_t best = from;
    for (std::size_t i = 1; i < shares_.size(); ++i) {
      const std::size_t each = (from + i) % shares_.size();
      if (shares_[each]->connections.open() < shares_[best]->connections.open()) best = each;
    }
    return best;
  }

  template <class F>
  std::vector<join_handle<void>> on_each_loop(const F& change) {
    std::vector<join_handle<void>> all;
    for (const auto& each : shares_)
      all.push_back(each->loop.spawn(spawn_options{.name = "listener"},
                                     [self = shared_from_this(), here = each.get(), change] { change(*here); }));
    return all;
  }
  static bool may_report(share& here) noexcept {
    const time_point now = here.loop.now();
    if (now < here.next_report) return false;
    here.next_report = now + quiet_time;
    return true;
  }
  static const char* config_text(const share& here) noexcept { return here.rules->config.address.c_str(); }

  const std::size_t first_;
  std::vector<std::unique_ptr<share>> shares_;  // one for each loop
  mutable std::mutex mutex_;                    // of the next three
  endpoint local_;
  std::shared_ptr<const listener_rules> rules_;
  std::vector<std::shared_ptr<place>> places_;
  std::atomic<std::size_t> open_{0};
};

}  // namespace detail

}  // namespace eventer::inline EVENTER_ABI
