// any_stream: a stream of whatever kind a listener has accepted, TCP or unix, for code that does not care which.
#pragma once

#include <utility>

#include "eventer/net/tcp.hpp"
#include "eventer/net/unix.hpp"

namespace eventer::inline EVENTER_ABI {

// All members of stream; like every stream it is a handle to what lies on the heap, to be moved.
class any_stream : public stream {
 public:
  any_stream() noexcept = default;
  any_stream(tcp_stream&& from) noexcept : stream(std::move(from)) {}
  any_stream(unix_stream&& from) noexcept : stream(std::move(from)) {}

  // The address of the other side as it was announced, where a proxy has announced one, else the kernel's.
  endpoint peer() const { return announced_.family() != AF_UNSPEC ? announced_ : stream::peer(); }
  // For who reads what a proxy says (proxy_header.hpp).
  void announce_peer(const endpoint& who) noexcept { announced_ = who; }

 private:
  endpoint announced_;
};

}  // namespace eventer::inline EVENTER_ABI
