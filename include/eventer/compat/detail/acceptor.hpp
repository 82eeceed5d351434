// mtev_acceptor_closure_t: what every connection of a listener comes with; and the functions that serve connections, by
// the names that configurations use as `type`.
#pragma once

#include <sys/socket.h>

#include <atomic>
#include <memory>
#include <string>

#include "eventer/compat/detail/event.hpp"
#include "eventer/compat/eventer_aco.h"

// Made for a connection by its listener; ended by mtev_acceptor_closure_free, or with the coroutine that serves it.
struct mtev_acceptor_closure_t {
  mtev_hash_table* config = nullptr;  // the listener's, and shared by its connections: texts
  sockaddr_storage remote{};
  std::string remote_cn;  // of the client's certificate; empty without
  std::uint32_t cmd = 0;
  eventer_func_t dispatch = nullptr;
  void* ctx = nullptr;
  void (*free_ctx)(void*) = nullptr;
  timeval last_read{}, last_write{};

  ~mtev_acceptor_closure_t() {
    if (ctx != nullptr && free_ctx != nullptr) free_ctx(ctx);
  }
};

namespace eventer::inline EVENTER_ABI::compat {

// Serves a connection on its coroutine, in which C++ may wait; the connection ends when it returns.
using serve_connection = void (*)(any_stream&& peer, mtev_acceptor_closure_t& from);

// For mtev_listener_init, which comes after. Of two with one name the first counts.
void add_connection_type(const char* name, serve_connection serve);

}  // namespace eventer::inline EVENTER_ABI::compat
