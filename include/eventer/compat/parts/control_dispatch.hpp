// Section 4 of eventer_aco.h, the listener type control_dispatch: the first four bytes say whose a connection is. They
// are a number in network order, or the beginning of an HTTP request.
#pragma once

#include <algorithm>
#include <array>
#include <iterator>
#include <mutex>
#include <vector>

#include "eventer/compat/detail/acceptor.hpp"
#include "eventer/compat/detail/needing_memory.hpp"
#include "eventer/compat/detail/returned_bytes.hpp"
#include "eventer/compat/detail/served_connection.hpp"
#include "eventer/compat/eventer_aco.h"
#include "eventer/compat/parts/coroutines.hpp"

namespace eventer::inline EVENTER_ABI::compat {

// Who gets the connections that begin with a command, where a listener's callback leaves it to us.
class command_delegates {
 public:
  static command_delegates& of_process() {
    static command_delegates& all = *new command_delegates;
    return all;
  }
  // The latest counts.
  void set(eventer_func_t dispatch, std::uint32_t command, eventer_func_t callback) {
    const std::lock_guard lock(mutex_);
    for (entry& each : entries_)
      if (each.dispatch == dispatch && each.command == command) {
        each.callback = callback;
        return;
      }
    entries_.push_back({dispatch, command, callback});
  }
  eventer_func_t find(eventer_func_t dispatch, std::uint32_t command) const {
    const std::lock_guard lock(mutex_);
    for (const entry& each : entries_)
      if (each.dispatch == dispatch && each.command == command) return each.callback;
    return nullptr;
  }

 private:
  struct entry {
    eventer_func_t dispatch;
    std::uint32_t command;
    eventer_func_t callback;
  };
  mutable std::mutex mutex_;
  std::vector<entry> entries_;
};

inline bool begins_http(std::uint32_t command) noexcept {
  static constexpr std::uint32_t patch = 0x50415443;
  static constexpr std::uint32_t verbs[] = {
      MTEV_CONTROL_OPTIONS, MTEV_CONTROL_GET,    MTEV_CONTROL_HEAD,  MTEV_CONTROL_POST,
      MTEV_CONTROL_PUT,     MTEV_CONTROL_DELETE, MTEV_CONTROL_MERGE, patch};
  return std::find(std::begin(verbs), std::end(verbs), command) != std::end(verbs);
}

// The four bytes, on the heap, as it waits for them. Errors: of the read.
struct command_bytes {
  std::array<char, returned_bytes::most> bytes{};

  std::uint32_t number() const noexcept {
    std::uint32_t value = 0;
    for (const char each : bytes) value = value << 8 | static_cast<unsigned char>(each);
    return value;
  }
};

// In a coroutine.
inline void dispatch_connection(any_stream peer, owned_closure from) {
  const auto command = std::make_unique<command_bytes>();
  const time_limit limit = from->idle_timeout > duration::zero() ? time_limit(from->idle_timeout) : time_limit();
  if (!peer.read_exact(command->bytes, limit)) return;
  from->cmd = command->number();
  if (const eventer_func_t callback = command_delegates::of_process().find(from->dispatch, from->cmd);
      callback != nullptr)
    return hand_to_callback(std::move(peer), std::move(from), callback);
  const connection_type http = connection_types::of_process().find("http_rest_api");
  if (begins_http(from->cmd) && http) {
    returned_bytes::give_back(peer, command->bytes.data(), command->bytes.size());
    return serve_as(http, std::move(peer), std::move(from));
  }
  char who[64];
  (void)mtev_convert_sockaddr_to_buff(who, sizeof who, mtev_acceptor_closure_remote(from.get()));
  mtevL(mtev_error, "control_dispatch: %s is closed: nobody serves the command 0x%08x%s\n", who, from->cmd,
        begins_http(from->cmd) ? ", which is HTTP: see mtev_http_rest_init()" : "");
}
// A classic event's connection goes on in a coroutine.
struct dispatch_body {
  any_stream peer;
  owned_closure from;

  void operator()() { dispatch_connection(std::move(peer), std::move(from)); }
};

}  // namespace eventer::inline EVENTER_ABI::compat

extern "C" {

int mtev_control_dispatch(eventer_t e, int, void* closure, struct timeval*) {
  namespace compat = eventer::compat;
  eventer_remove_fde(e);
  compat::needing_memory([&] {
    compat::owned_closure from(static_cast<mtev_acceptor_closure_t*>(closure));
    eventer::any_stream peer;
    if (e->io != nullptr) {
      peer = std::move(e->io->stream);
    } else if (auto adopted = compat::adopted::from(e->fd)) {
      peer = std::move(*adopted);
    }
    e->fd = -1;
    if (from->dispatch == nullptr) from->dispatch = e->callback;
    if (const auto idle = std::exchange(from->idle, nullptr)) idle->end();
    (void)compat::this_loop->loop.spawn(eventer::spawn_options{.name = "control_dispatch"},
                                        compat::dispatch_body{std::move(peer), std::move(from)});
  });
  return 0;
}
void mtev_control_dispatch_delegate(eventer_func_t listener_dispatch, uint32_t cmd, eventer_func_t delegate) {
  eventer::compat::needing_memory(
      [&] { eventer::compat::command_delegates::of_process().set(listener_dispatch, cmd, delegate); });
}

}  // extern "C"
