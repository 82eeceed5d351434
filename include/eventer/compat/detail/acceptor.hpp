// mtev_acceptor_closure_t: what every connection of a listener comes with; and the functions that serve connections, by
// the names that configurations use as `type`.
#pragma once

#include <sys/socket.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eventer/compat/detail/callback_names.hpp"
#include "eventer/compat/detail/event.hpp"
#include "eventer/compat/eventer_aco.h"
#include "eventer/net/any_stream.hpp"

// Made for a connection by its listener, on the heap; ended by mtev_acceptor_closure_free, or with the coroutine that
// serves it. One thread's at a time, but for the times.
struct mtev_acceptor_closure_t {
  mtev_hash_table* config = nullptr;  // the listener's, and shared by its connections: texts
  sockaddr_storage remote{};
  std::string remote_cn;  // of the client's certificate; empty without
  std::uint32_t cmd = 0;
  eventer_func_t dispatch = nullptr;
  void* ctx = nullptr;
  void (*free_ctx)(void*) = nullptr;
  std::atomic<std::int64_t> last_read{0}, last_write{0};  // microseconds of the wall clock

  eventer::duration idle_timeout{};                   // of the listener's [config]; zero: none
  std::shared_ptr<eventer::compat::idle_watch> idle;  // nullptr: nobody looks
  // A coroutine's: mtev_acceptor_closure_free ends the program's part of it alone.
  bool belongs_to_coroutine = false;

  mtev_acceptor_closure_t() = default;
  mtev_acceptor_closure_t(const mtev_acceptor_closure_t&) = delete;
  mtev_acceptor_closure_t& operator=(const mtev_acceptor_closure_t&) = delete;
  ~mtev_acceptor_closure_t() {
    if (idle != nullptr) idle->end();
    end_ctx();
  }

  void end_ctx() {
    void* const ended = std::exchange(ctx, nullptr);
    if (ended != nullptr && free_ctx != nullptr) free_ctx(ended);
  }
};

namespace eventer::inline EVENTER_ABI::compat {

// The other side, as it was when the connection was accepted.
inline endpoint remote_of(const mtev_acceptor_closure_t& from) noexcept {
  const sa_family_t family = from.remote.ss_family;
  const socklen_t size = family == AF_INET    ? sizeof(sockaddr_in)
                         : family == AF_INET6 ? sizeof(sockaddr_in6)
                                              : sizeof family;
  return {reinterpret_cast<const sockaddr*>(&from.remote), size};
}

// Serves a connection on its coroutine, in which C++ may wait; the connection ends when it returns. The closure ends
// with it, so that nobody may free it; its idle_timeout is for this function to see to.
using serve_connection = void (*)(any_stream&& peer, mtev_acceptor_closure_t& from);

// What a `type` stands for: one of the three.
struct connection_type {
  eventer_func_t callback = nullptr;  // a classic event for each connection
  void (*function)(void) = nullptr;   // a coroutine for each
  serve_connection serve = nullptr;

  explicit operator bool() const noexcept { return callback != nullptr || function != nullptr || serve != nullptr; }
};

class connection_types {
 public:
  static connection_types& of_process() {
    static connection_types& all = *new connection_types;
    return all;
  }

  // Of two with one name the first counts.
  void add(const char* name, const connection_type& what) {
    const std::lock_guard lock(mutex_);
    if (!find_added(name)) types_.emplace_back(name, what);
  }
  // A named callback counts before what was added.
  connection_type find(std::string_view name) const {
    if (const eventer_func_t callback = find_callback(name); callback != nullptr) return {.callback = callback};
    const std::lock_guard lock(mutex_);
    return find_added(name);
  }
  // For messages.
  std::vector<std::string> names() const {
    std::vector<std::string> all;
    {
      const std::lock_guard lock(callback_names_mutex);
      for (const callback_name* each = callback_names; each != nullptr; each = each->next) all.emplace_back(each->name);
    }
    const std::lock_guard lock(mutex_);
    for (const auto& [name, what] : types_) all.push_back(name);
    return all;
  }

 private:
  connection_type find_added(std::string_view name) const {
    for (const auto& [known, what] : types_)
      if (known == name) return what;
    return {};
  }

  mutable std::mutex mutex_;
  std::vector<std::pair<std::string, connection_type>> types_;
};

// For mtev_listener_init, which comes after. Of two with one name the first counts.
inline void add_connection_type(const char* name, serve_connection serve) {
  connection_types::of_process().add(name, {.serve = serve});
}

}  // namespace eventer::inline EVENTER_ABI::compat
