// listener_registry: the functions that serve connections, by the names that configurations use.
//
//   eventer::listener_registry functions;
//   functions.add("lines", [](eventer::any_stream peer) { ... });
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "eventer/coro/spawn.hpp"
#include "eventer/listener/connection_layer.hpp"
#include "eventer/listener/listener_config.hpp"
#include "eventer/net/any_stream.hpp"

namespace eventer::inline EVENTER_ABI {

namespace detail {

// What serves a connection; on several loops at the same time.
class connection_function {
 public:
  virtual ~connection_function() = default;
  virtual void call(any_stream&& peer, const listener_config& config) const = 0;
};

template <class F>
class typed_connection_function final : public connection_function {
 public:
  template <class From>
  explicit typed_connection_function(From&& from) : function_(std::forward<From>(from)) {}
  void call(any_stream&& peer, const listener_config& config) const override {
    if constexpr (std::is_invocable_v<const F&, any_stream, const listener_config&>)
      call_here([&] { return function_(std::move(peer), config); });
    else
      call_here([&] { return function_(std::move(peer)); });
  }

 private:
  template <class Call>
  EVENTER_ALWAYS_INLINE static void call_here(const Call& call) {
    (void)call_unwrapped(call);
  }
  F function_;
};

}  // namespace detail

// What may serve connections: callable as const, because all loops share the one copy.
template <class F>
concept serves_connections = std::is_invocable_v < const std::decay_t<F>
&, any_stream, const listener_config& > || std::is_invocable_v<const std::decay_t<F>&, any_stream>;

// Filled before listeners are started, which take a copy; copies share the functions.
class listener_registry {
 public:
  // `function(any_stream)` or `function(any_stream, const listener_config&)` is called as the body of a coroutine for
  // each connection, on the loop that serves it; the connection ends when it returns. A task that it returns is
  // awaited. What it throws is logged, and ends the connection. The configuration is valid while it runs. Of two with
  // one name the later counts.
  //
  // Requires: it may be called on several loops at the same time. What it captures is shared by all of them.
  template <serves_connections F>
  void add(std::string name, F&& function) {
    entry_of(name).serve = made(std::forward<F>(function));
  }
  // Called in the same way for connections beyond max_connections of a listener of this type, to say so to the peer:
  // its waits end after a second. Without one, and when many are refused at the same time, they are just closed.
  template <serves_connections F>
  void on_refuse(std::string name, F&& function) {
    entry_of(name).refuse = made(std::forward<F>(function));
  }

  std::vector<std::string> names() const {
    std::vector<std::string> result;
    for (const entry& each : entries_)
      if (each.serve != nullptr) result.push_back(each.name);
    return result;
  }

  // For the library: what speaks TLS (eventer/tls.hpp); nullptr where nothing does.
  void set_tls(std::shared_ptr<const connection_layer_factory> from) noexcept { tls_ = std::move(from); }
  const connection_layer_factory* tls() const noexcept { return tls_.get(); }
  struct entry {
    std::string name;
    std::shared_ptr<const detail::connection_function> serve, refuse;
  };
  // nullptr: nothing serves connections under this name.
  const entry* find(std::string_view name) const noexcept {
    for (const entry& each : entries_)
      if (each.name == name && each.serve != nullptr) return &each;
    return nullptr;
  }

 private:
  entry& entry_of(std::string& name) {
    for (entry& each : entries_)
      if (each.name == name) return each;
    return entries_.emplace_back(entry{std::move(name), nullptr, nullptr});
  }
  template <class F>
  static std::shared_ptr<const detail::connection_function> made(F&& function) {
    return std::make_shared<detail::typed_connection_function<std::decay_t<F>>>(std::forward<F>(function));
  }

  std::vector<entry> entries_;
  std::shared_ptr<const connection_layer_factory> tls_;
};

}  // namespace eventer::inline EVENTER_ABI
