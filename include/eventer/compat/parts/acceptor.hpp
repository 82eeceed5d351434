// Section 4 of eventer_aco.h, what a connection comes with: the acceptor's closure.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <cstdio>
#include <cstring>

#include "eventer/compat/detail/acceptor.hpp"
#include "eventer/compat/detail/needing_memory.hpp"
#include "eventer/compat/eventer_aco.h"

namespace eventer::inline EVENTER_ABI::compat {

inline std::int64_t microseconds_of(const timeval& time) noexcept {
  return std::int64_t{time.tv_sec} * 1'000'000 + time.tv_usec;
}
inline void mark_use(mtev_acceptor_closure_t& of, std::atomic<std::int64_t>& which, const timeval* now) noexcept {
  which.store(microseconds_of(now != nullptr ? *now : wall_clock()), std::memory_order_relaxed);
  if (of.idle != nullptr) of.idle->note_use();
}

}  // namespace eventer::inline EVENTER_ABI::compat

extern "C" {

void mtev_acceptor_closure_free(mtev_acceptor_closure_t* ac) {
  if (ac == nullptr) return;
  if (ac->belongs_to_coroutine) return ac->end_ctx();
  delete ac;
}
void* mtev_acceptor_closure_ctx(mtev_acceptor_closure_t* ac) { return ac->ctx; }
void mtev_acceptor_closure_set_ctx(mtev_acceptor_closure_t* ac, void* ctx, void (*free_ctx)(void*)) {
  ac->ctx = ctx;
  ac->free_ctx = free_ctx;
}
void mtev_acceptor_closure_ctx_free(mtev_acceptor_closure_t* ac) { ac->end_ctx(); }
mtev_hash_table* mtev_acceptor_closure_config(mtev_acceptor_closure_t* ac) { return ac->config; }
struct sockaddr* mtev_acceptor_closure_remote(mtev_acceptor_closure_t* ac) {
  return reinterpret_cast<sockaddr*>(&ac->remote);
}
const char* mtev_acceptor_closure_remote_cn(mtev_acceptor_closure_t* ac) {
  return ac->remote_cn.empty() ? nullptr : ac->remote_cn.c_str();
}
uint32_t mtev_acceptor_closure_cmd(mtev_acceptor_closure_t* ac) { return ac->cmd; }
eventer_func_t mtev_acceptor_closure_dispatch(mtev_acceptor_closure_t* ac) { return ac->dispatch; }
void mtev_acceptor_closure_mark_read(mtev_acceptor_closure_t* ac, struct timeval* now) {
  eventer::compat::mark_use(*ac, ac->last_read, now);
}
void mtev_acceptor_closure_mark_write(mtev_acceptor_closure_t* ac, struct timeval* now) {
  eventer::compat::mark_use(*ac, ac->last_write, now);
}
void mtev_acceptor_closure_readwrite_age(mtev_acceptor_closure_t* ac, struct timeval* now, struct timeval* age) {
  const std::int64_t read = ac->last_read.load(), written = ac->last_write.load();
  const std::int64_t at = eventer::compat::microseconds_of(now != nullptr ? *now : eventer::compat::wall_clock());
  const std::int64_t since = at - (read > written ? read : written);
  age->tv_sec = static_cast<time_t>(since > 0 ? since / 1'000'000 : 0);
  age->tv_usec = static_cast<suseconds_t>(since > 0 ? since % 1'000'000 : 0);
}
void mtev_listener_register_aco_function(const char* name, void (*func)(void)) {
  eventer::compat::needing_memory(
      [&] { eventer::compat::connection_types::of_process().add(name, {.function = func}); });
}
int mtev_convert_sockaddr_to_buff(char* buf, int len, struct sockaddr* sa) {
  if (len <= 0) return 0;
  const auto size = static_cast<socklen_t>(len);
  buf[0] = '\0';
  if (sa->sa_family == AF_INET) {
    (void)::inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(sa)->sin_addr, buf, size);
  } else if (sa->sa_family == AF_INET6) {
    (void)::inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6*>(sa)->sin6_addr, buf, size);
  } else if (sa->sa_family == AF_UNIX) {
    const char* const path = reinterpret_cast<const sockaddr_un*>(sa)->sun_path;
    std::snprintf(buf, size, "%.*s", static_cast<int>(sizeof(sockaddr_un::sun_path)), path);
  }
  return static_cast<int>(std::strlen(buf));
}

}  // extern "C"
