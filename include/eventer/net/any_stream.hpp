// any_stream: a stream of whatever kind a listener has accepted, TCP or unix, with TLS or in the clear, for code that
// does not care which.
//
// It also knows that its server is about to go away. A connection is idle while a read waits and everything that was
// read is answered: since the last write nothing was read, and read_until holds no part of a next request. When a
// server drains, the reads of idle connections answer end_of_stream after a while, so that a loop of reads and writes
// ends by itself, between two requests. Protocols in which reads and writes alternate in another way say
// begin_request() and end_request().
#pragma once

#include <sys/socket.h>

#include <atomic>
#include <memory>
#include <new>
#include <utility>

#include "eventer/net/tcp.hpp"
#include "eventer/net/unix.hpp"

namespace eventer::inline EVENTER_ABI {

namespace detail {

// Who the peer is, once somebody has asked. Like other const calls those of peer() may meet on several threads.
class known_peer {
 public:
  known_peer() noexcept = default;
  known_peer(known_peer&& other) noexcept : known_(other.known_.exchange(nullptr)) {}
  known_peer& operator=(known_peer&& other) noexcept {
    delete known_.exchange(other.known_.exchange(nullptr));
    return *this;
  }
  ~known_peer() { delete known_.load(); }

  // Nobody else may ask meanwhile.
  void set(const endpoint& who) { delete known_.exchange(new endpoint(who)); }
  // Asks the kernel the first time. It has no answer any more once the peer has reset the connection.
  endpoint of(int fd) const noexcept {
    if (const endpoint* const known = known_.load(std::memory_order_acquire)) return *known;
    const endpoint who = endpoint::peer_of(fd);
    if (who.family() == AF_UNSPEC) return who;
    const endpoint* none = nullptr;
    auto* const kept = new (std::nothrow) endpoint(who);
    if (!known_.compare_exchange_strong(none, kept, std::memory_order_acq_rel)) delete kept;
    return who;
  }

 private:
  mutable std::atomic<const endpoint*> known_ = nullptr;
};

}  // namespace detail

// All members of stream; like every stream it is a handle to what lies on the heap, to be moved.
class any_stream : public stream {
 public:
  any_stream() noexcept = default;
  any_stream(stream&& from) noexcept : stream(std::move(from)) {}  // tcp_stream, unix_stream, tls::stream

  // The address of the other side as it was announced, where a proxy has announced one, else the kernel's, which is
  // asked once.
  endpoint peer() const { return peer_.of(native_handle()); }
  // For who reads what a proxy says (proxy_header.hpp).
  void announce_peer(const endpoint& who) { peer_.set(who); }

  // Whether the server drains: say so to the peer where the protocol can, and begin nothing that lasts.
  bool draining() const noexcept { return descriptor_ != nullptr && descriptor_->is_draining(); }
  // From here to end_request() the connection is not idle, whatever is read and written. end_request() alone says that
  // what was read needs no answer.
  void begin_request() noexcept {
    if (descriptor_ != nullptr) descriptor_->hold_request(true);
  }
  void end_request() noexcept {
    if (descriptor_ == nullptr) return;
    descriptor_->hold_request(false);
    descriptor_->note_answered();
  }

  // For the library: a stream over a descriptor that is connected, and what it is over.
  static any_stream over(std::unique_ptr<descriptor> owned) noexcept { return any_stream(std::move(owned)); }
  descriptor* file() const noexcept { return descriptor_.get(); }
  const std::unique_ptr<descriptor>& owned() const noexcept { return descriptor_; }

 private:
  explicit any_stream(std::unique_ptr<descriptor> owned) noexcept : stream(std::move(owned)) {}

  detail::known_peer peer_;  // on the heap: few are asked for it
};

}  // namespace eventer::inline EVENTER_ABI
