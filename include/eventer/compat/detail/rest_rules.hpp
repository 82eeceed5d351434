// rest_rules: the rules of the process, which may be added while requests are answered.
//
// Requests are matched with a table that never changes. Each thread keeps the newest one, and looks whether it still is
// that by a number; the first request behind a new rule has a new table made. Requests for WebSockets have rules of
// their own: those that have a handler for messages.
#pragma once

#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eventer/compat/detail/http_session.hpp"
#include "eventer/http/route_table.hpp"

namespace eventer::inline EVENTER_ABI::compat {

class rest_rules {
 public:
  using rule = rest_url_dispatcher;
  static constexpr std::string_view websocket_method = "WS";  // of a rule that serves WebSockets alone

  static rest_rules& of_process() {
    static rest_rules& all = *new rest_rules;
    return all;
  }

  // Rules stay, so that pointers to them hold. Errors: std::invalid_argument with a sentence.
  rule& add(const char* method, const char* base, const char* expression, rest_request_handler handler,
            rest_authorize_func_t authorizes, void* closure, rest_websocket_message_handler on_message,
            const char* protocol) {
    (void)http::route_table().add(method, base, expression);
    const std::lock_guard lock(mutex_);
    rule& added = all_.emplace_back(method, base, expression, handler, authorizes, closure);
    added.websocket_protocol = protocol;
    added.websocket_handler = on_message;
    version_.fetch_add(1, std::memory_order_release);
    return added;
  }
  // From now on the rule serves WebSockets of this protocol; with nullptr for a handler, none.
  void set_websocket(rule& of, std::string_view protocol, rest_websocket_message_handler handler) {
    const std::lock_guard lock(mutex_);
    of.websocket_protocol.assign(protocol);
    of.websocket_handler = handler;
    version_.fetch_add(1, std::memory_order_release);
  }
  // nullptr: none; then `into` says why.
  const rule* find(std::string_view method, std::string_view path, http::route_match& into) {
    const table& newest = table_here();
    newest.routes.match(method, path, into);
    return into ? newest.rules[into.route()] : nullptr;
  }
  // The rule for WebSockets of this protocol on this path, with its handler. nullptr: none.
  std::pair<const rule*, rest_websocket_message_handler> find_websocket(std::string_view protocol,
                                                                        std::string_view path,
                                                                        http::route_match& into) {
    const table& newest = table_here();
    const auto found = newest.websockets.find(protocol);
    if (found == newest.websockets.end()) return {};
    found->second.routes.match("GET", path, into);
    return into ? found->second.rules[into.route()] : std::pair<const rule*, rest_websocket_message_handler>();
  }
  // Whether there is one of any protocol.
  bool is_websocket(std::string_view path) {
    for (const auto& [protocol, each] : table_here().websockets)
      if (each.routes.match("GET", path)) return true;
    return false;
  }
  // Calls function(const rule&) for each, in the order of adding; it must not add.
  template <class F>
  void visit(const F& function) const {
    const std::lock_guard lock(mutex_);
    for (const rule& each : all_) function(each);
  }

 private:
  struct websocket_table {
    http::route_table routes{};
    std::vector<std::pair<const rule*, rest_websocket_message_handler>> rules{};
  };
  struct table {
    std::uint64_t version;
    http::route_table routes{};
    std::vector<const rule*> rules{};
    std::map<std::string, websocket_table, std::less<>> websockets{};  // by their protocols
  };

  const table& table_here() {
    thread_local std::shared_ptr<const table> mine;
    if (mine == nullptr || mine->version != version_.load(std::memory_order_acquire)) mine = newest();
    return *mine;
  }
  std::shared_ptr<const table> newest() {
    const std::lock_guard lock(mutex_);
    const std::uint64_t now = version_.load(std::memory_order_relaxed);
    if (newest_ == nullptr || newest_->version != now) {
      auto made = std::make_shared<table>(table{.version = now});
      for (const rule& each : all_) {
        if (each.websocket_handler != nullptr) {
          websocket_table& of = made->websockets[each.websocket_protocol];
          (void)of.routes.add("GET", each.base, each.expression);
          of.rules.emplace_back(&each, each.websocket_handler);
        }
        if (each.method == websocket_method) continue;
        (void)made->routes.add(each.method, each.base, each.expression);
        made->rules.push_back(&each);
      }
      made->routes.compile();
      for (auto& [protocol, each] : made->websockets) each.routes.compile();
      newest_ = std::move(made);
    }
    return newest_;
  }

  mutable std::mutex mutex_;
  std::deque<rule> all_;
  std::atomic<std::uint64_t> version_{0};
  std::shared_ptr<const table> newest_;
};

}  // namespace eventer::inline EVENTER_ABI::compat
