// any_stream: a stream of whatever kind a listener has accepted, TCP or unix, with TLS or in the clear, for code that
// does not care which.
//
// It also knows that its server is about to go away. A connection is idle while a read waits and everything that was
// read is answered: since the last write nothing was read, and read_until holds no part of a next request. When a
// server drains, the reads of idle connections answer end_of_stream after a while, so that a loop of reads and writes
// ends by itself, between two requests. Protocols in which reads and writes alternate in another way say
// begin_request() and end_request().
#pragma once

#include <memory>
#include <utility>

#include "eventer/net/tcp.hpp"
#include "eventer/net/unix.hpp"

namespace eventer::inline EVENTER_ABI {

// All members of stream; like every stream it is a handle to what lies on the heap, to be moved.
class any_stream : public stream {
 public:
  any_stream() noexcept = default;
  any_stream(stream&& from) noexcept : stream(std::move(from)) {}  // tcp_stream, unix_stream, tls::stream

  // The address of the other side as it was announced, where a proxy has announced one, else the kernel's.
  endpoint peer() const { return announced_ != nullptr ? *announced_ : stream::peer(); }
  // For who reads what a proxy says (proxy_header.hpp).
  void announce_peer(const endpoint& who) { announced_ = std::make_unique<endpoint>(who); }

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

  std::unique_ptr<endpoint> announced_;  // few have one
};

}  // namespace eventer::inline EVENTER_ABI
