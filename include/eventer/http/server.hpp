// server: answers HTTP/1.0 and 1.1 on connections, from wherever they come: its own acceptors, a listener's, a pair.
//
//   http::router routes;
//   routes.add("GET", "/", "^hello$", [](http::request&, http::response& answer) { answer.text("Hello world.\n"); });
//   http::server server(std::move(routes));
//   server.serve("127.0.0.1:8080").value();              // waits until it is drained or cancelled
//
// or, with listeners: registry.add("web", server).
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
  std::size_t open = 0;        // connections
  std::uint64_t accepted = 0;  // by acceptors of its own, all
  std::uint64_t refused = 0;   // of them, beyond max_connections
  std::uint64_t requests = 0;  // answered, refusals included
};

namespace detail {

// What a server keeps for one loop; but for the counts, used on its thread.
class share {
 public:
  explicit share(event_loop& on) : connections(on) { spare_.reserve(spares_at_most); }

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
      if (none_accepts_.wait(limit)) continue;
      for (const auto& each : acceptors_)
        if (descriptor* const file = each->held()) file->close();
      limit = no_deadline;
    }
  }
  // Any thread. False: its loop has nothing to do with the server, and may be gone.
  bool is_used() const noexcept { return accepting_.load() > 0 || connections.open() > 0; }

  eventer::detail::connection_set connections;
  std::atomic<std::uint64_t> accepted{0}, refused{0}, requests{0};

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
};

// Says so to a client that is one too many, if that goes at once.
inline void refuse_connection(any_stream& client) {
  static constexpr std::string_view answer =
      "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 1\r\nConnection: close\r\n\r\n";
  (void)eventer::detail::try_write(*client.file(), answer.data(), answer.size());
  (void)client.shutdown_write();
}

// What the copies of a server share.
class server_state : public std::enable_shared_from_this<server_state> {
 public:
  server_state(router&& routes, server_options&& options) : serves_(std::move(routes), std::move(options)) {}

  const service& serves() const noexcept { return serves_; }
  share& on_this_loop() {
    event_loop& here = event_loop::current();
    const std::lock_guard lock(mutex_);
    for (const auto& each : shares_)
      if (&each->connections.loop() == &here) return *each;
    return *shares_.emplace_back(std::make_unique<share>(here));
  }
  std::vector<share*> all() const {
    const std::lock_guard lock(mutex_);
    std::vector<share*> result;
    for (const auto& each : shares_) result.push_back(each.get());
    return result;
  }

  std::atomic<std::size_t> open{0};
  std::atomic<bool> draining{false};
  const shared_event drained;

 private:
  const service serves_;
  mutable std::mutex mutex_;
  std::vector<std::unique_ptr<share>> shares_;
};

// Serves one connection to its end. Its outermost frame is that of each parked one: what is done with requests is out
// of line.
class connection {
 public:
  connection(std::shared_ptr<server_state> server, share& here, any_stream&& stream) noexcept
      : server_(std::move(server)), here_(&here), stream_(std::move(stream)) {}

  EVENTER_ALWAYS_INLINE void operator()() {
    for (;;) {
      const auto received = stream_.read_borrowed(server_->serves().options.limits.keep_alive_idle);
      if (!received || !answer({received->data(), received->size()})) return;
    }
  }
  any_stream& stream() noexcept { return stream_; }

 private:
  // False: the connection has ended.
  EVENTER_NOINLINE bool answer(std::string_view received) {
    afterwards then = afterwards::close;
    {
      const std::uint64_t before = requests_;
      const share::lent_exchange work(*here_);
      then = work->serve(server_->serves(), stream_, requests_, received);
      here_->requests.fetch_add(requests_ - before, std::memory_order_relaxed);
    }
    if (then == afterwards::close_slowly) close_slowly();
    return then == afterwards::idle;
  }
  // RFC 9112, 9.6: bytes that nobody reads would make the kernel reset the connection, and the client lose the answer.
  void close_slowly() {
    if (!stream_.shutdown_write()) return;
    stream_.end_request();  // a server that drains waits for nothing more
    const time_point end = deadline_after(scheduler::current()->now(), std::chrono::seconds(2));
    while (stream_.read_borrowed(end)) {
    }
  }

  std::shared_ptr<server_state> server_;
  share* here_;
  any_stream stream_;
  std::uint64_t requests_ = 0;
};

// A connection that a server's own acceptor has taken: it counts, and is told when the server ends.
class accepted_connection {
 public:
  accepted_connection(std::shared_ptr<server_state> server, share& here, any_stream&& stream) noexcept
      : all_(&here.connections), server_(server.get()), serve_(std::move(server), here, std::move(stream)) {
    all_->count_one();
  }
  accepted_connection(accepted_connection&& other) noexcept  // before it runs
      : all_(std::exchange(other.all_, nullptr)), server_(other.server_), serve_(std::move(other.serve_)) {}
  ~accepted_connection() {
    if (all_ == nullptr) return;
    server_->open.fetch_sub(1);
    all_->discount_one();
  }

  void operator()() {
    if (!all_->enter(me_, serve_.stream())) return;
    struct at_end {
      accepted_connection& self;
      ~at_end() { self.all_->leave(self.me_); }
    } const end{*this};
    serve_();
  }

 private:
  eventer::detail::connection_set* all_;
  server_state* server_;
  connection serve_;
  eventer::detail::connection_set::member me_;
};

}  // namespace detail

// A handle: copies are the same server. It serves any number of loops; what a handler captures is shared by them.
class server {
 public:
  // Throws std::bad_alloc; bad routes were refused when they were added.
  explicit server(router routes, server_options options = {})
      : state_(std::make_shared<detail::server_state>(std::move(routes), std::move(options))) {}

  // Accepts connections and serves each in a coroutine of its own, on this loop. Completes: when the server is drained,
  // or the acceptor is closed. Errors: bad_address, address_in_use, ... where an address is given.
  // Requires: a coroutine.
  io_result<void> serve(std::string_view address, const listen_options& options = {}) {
    const auto where = endpoint::parse(address);
    if (!where) return where.error();
    if (where->family() == AF_UNIX) return serve_on<unix_acceptor>(*where, options);
    return serve_on<tcp_acceptor>(*where, options);
  }
  template <class Stream>
  io_result<void> serve(basic_acceptor<Stream>& acceptor) {
    if (!acceptor.is_open()) return eventer::errc::closed;
    detail::share& here = state_->on_this_loop();
    if (const auto failure = accept_all(here, acceptor)) return failure;
    if (state_->draining.load()) shared_event(state_->drained).wait();
    return {};
  }

  // One connection, to its end: what a listener calls, and a test with a stream in memory.
  void operator()(any_stream client) const {
    detail::connection serve(state_, state_->on_this_loop(), std::move(client));
    serve();
  }

  // Ends it: nothing more is accepted, requests that have begun are answered with Connection: close, idle connections
  // are closed after `idle`, and what is open at `limit` is cancelled. Returns: how many were cancelled. Only for
  // connections of its own acceptors; those of listeners are drained with them. Requires: a coroutine, of any loop.
  std::size_t drain(duration limit = std::chrono::seconds(10), duration idle = std::chrono::seconds(1)) const {
    state_->draining.store(true);
    struct at_end {
      const detail::server_state& state;
      ~at_end() { shared_event(state.drained).set(); }
    } const end{*state_};
    const time_point now = scheduler::current()->now();
    std::vector<join_handle<std::size_t>> all;
    for (detail::share* const each : state_->all())
      if (each->is_used())
        all.push_back(each->connections.loop().spawn(
            spawn_options{.name = "server drains"},
            [self = state_, each, idle = deadline_after(now, idle), limit = deadline_after(now, limit)] {
              each->connections.begin_draining();
              each->close_acceptors(idle);
              return each->connections.finish(idle, limit, "http");
            }));
    std::size_t left = 0;
    for (join_handle<std::size_t>& each : all) left += each.join();
    return left;
  }
  bool draining() const noexcept { return state_->draining.load(std::memory_order_relaxed); }

  // Any thread.
  server_statistics statistics() const {
    server_statistics result;
    for (const detail::share* const each : state_->all()) {
      result.open += each->connections.open();
      result.accepted += each->accepted.load(std::memory_order_relaxed);
      result.refused += each->refused.load(std::memory_order_relaxed);
      result.requests += each->requests.load(std::memory_order_relaxed);
    }
    return result;
  }

 private:
  template <class Acceptor>
  io_result<void> serve_on(const endpoint& where, const listen_options& options) {
    auto acceptor = Acceptor::listen(where, options);
    if (!acceptor) return acceptor.error();
    return serve(*acceptor);
  }
  // Until it is closed, or the server drains and nobody is left who has connected.
  template <class Acceptor>
  std::error_code accept_all(detail::share& here, Acceptor& acceptor) {
    const detail::share::acceptor_place known(here, acceptor);
    if (state_->draining.load()) acceptor.file()->end_when_idle();
    for (;;) {
      auto client = acceptor.accept();
      if (client) {
        take(here, std::move(*client));
        continue;
      }
      if (client.error() == eventer::errc::end_of_stream) acceptor.close();  // it drains, and has taken all
      return acceptor.is_open() ? client.error() : std::error_code();
    }
  }
  void take(detail::share& here, any_stream client) {
    here.accepted.fetch_add(1, std::memory_order_relaxed);
    const std::size_t most = state_->serves().options.max_connections;
    if (state_->open.fetch_add(1) >= most && most != 0) {
      state_->open.fetch_sub(1);
      here.refused.fetch_add(1, std::memory_order_relaxed);
      return detail::refuse_connection(client);
    }
    detail::accepted_connection body(state_, here, std::move(client));
    try {
      (void)spawn(spawn_options{.name = "http connection"}, std::move(body));
    } catch (const std::system_error& failure) {
      log(log_level::error, "http: %s: a connection is closed unserved", failure.code().message().c_str());
    }
  }

  std::shared_ptr<detail::server_state> state_;
};

}  // namespace eventer::inline EVENTER_ABI::http
