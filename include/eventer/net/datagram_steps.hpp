// The steps of a datagram socket's operations: each tries the kernel once (see descriptor_operation.hpp). Nothing here
// waits.
//
// What must not be broken: only EAGAIN says that nothing is left. A short datagram says nothing, and one of no bytes is
// a datagram like any other.
#pragma once

#include <sys/socket.h>

#include <cstddef>
#include <cstring>
#include <memory>
#include <span>
#include <utility>

#include "eventer/base/buffer.hpp"
#include "eventer/net/connect.hpp"
#include "eventer/net/endpoint.hpp"

namespace eventer::inline EVENTER_ABI {

// A datagram that was received.
struct datagram {
  std::size_t size = 0;    // bytes of it in the buffer
  endpoint from;           // without an address where the sender has none (an unbound unix socket)
  bool truncated = false;  // it was longer than the buffer, and the rest is lost
};

// Room for one datagram of several, and what was received into it.
struct datagram_slot {
  buffer into;
  std::size_t size = 0;
  endpoint from;
  bool truncated = false;
};

// One of several datagrams to send.
struct outgoing_datagram {
  const_buffer data;
  endpoint to;  // without an address: to the peer of a connected socket
};

namespace detail {

// The kernel takes and gives so many with one system call.
inline constexpr std::size_t datagrams_at_once = 64;

inline attempt nothing_received(descriptor& from) noexcept {
  if (!would_block(errno)) return attempt::failed(errno);
  from.note_read_would_block();
  return attempt::wait_readable();
}
// What the kernel has written about the sender, and whether it had to cut.
inline bool take_sender(const msghdr& message, endpoint& from) noexcept {
  if (message.msg_namelen == 0)
    from = endpoint();
  else
    from.resize(message.msg_namelen);
  return (message.msg_flags & MSG_TRUNC) != 0;
}

struct receive_step : step_of<std::size_t> {
  explicit receive_step(buffer b) noexcept : into(b) {}
  attempt try_once(descriptor& from) const {
    if (from.known_empty()) return attempt::wait_readable();
    const ssize_t got = syscalls::recv(from.fd(), into.data(), into.size(), 0);
    return EVENTER_LIKELY(got >= 0) ? attempt::done(static_cast<std::size_t>(got)) : nothing_received(from);
  }
  static result_type result(std::size_t size) noexcept { return size; }

  buffer into;
};

EVENTER_NOINLINE inline attempt receive_datagram(descriptor& from, buffer into, datagram& got) noexcept {
  if (from.known_empty()) return attempt::wait_readable();
  iovec part{into.data(), into.size()};
  msghdr message{};
  message.msg_name = got.from.data();
  message.msg_namelen = endpoint::capacity();
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  const ssize_t size = syscalls::recvmsg(from.fd(), &message, 0);
  if (size < 0) return nothing_received(from);
  got.size = static_cast<std::size_t>(size);
  got.truncated = take_sender(message, got.from);
  return attempt::done();
}

// Into a datagram of the caller's, who has to have one anyway: a parked stack then holds one address, not three.
struct receive_into_step : step_of<void> {
  receive_into_step(buffer b, datagram* d) noexcept : into(b), got(d) {}
  attempt try_once(descriptor& from) const noexcept { return receive_datagram(from, into, *got); }
  static result_type result(std::size_t) noexcept { return {}; }

  buffer into;
  datagram* got;
};
// Out of line, so that no temporary of theirs has room in a parked stack.
EVENTER_NOINLINE inline io_result<datagram> empty_datagram() noexcept { return datagram(); }
EVENTER_NOINLINE inline void set_error(io_result<datagram>& of, std::error_code error) noexcept { of = error; }

struct receive_from_step : step_of<datagram> {
  explicit receive_from_step(buffer b) noexcept : into(b) {}
  attempt try_once(descriptor& from) noexcept { return receive_datagram(from, into, got); }
  result_type result(std::size_t) const noexcept { return got; }

  buffer into;
  datagram got;
};

struct receive_batch_step : step_of<std::size_t> {
  explicit receive_batch_step(std::span<datagram_slot> s) noexcept
      : slots(s.first(s.size() < datagrams_at_once ? s.size() : datagrams_at_once)) {}
  attempt try_once(descriptor& from) const {
    if (slots.empty()) return attempt::done();
    return from.known_empty() ? attempt::wait_readable() : receive(from);
  }
  static result_type result(std::size_t count) noexcept { return count; }

 private:
  // One call: were there a second, its error would be lost beside the first one's datagrams.
  EVENTER_NOINLINE attempt receive(descriptor& from) const noexcept {
    mmsghdr messages[datagrams_at_once];
    iovec parts[datagrams_at_once];
    for (std::size_t i = 0; i < slots.size(); ++i) {
      parts[i] = {slots[i].into.data(), slots[i].into.size()};
      messages[i] = {};
      msghdr& each = messages[i].msg_hdr;
      each.msg_name = slots[i].from.data();
      each.msg_namelen = endpoint::capacity();
      each.msg_iov = &parts[i];
      each.msg_iovlen = 1;
    }
    const int got = syscalls::recvmmsg(from.fd(), messages, static_cast<unsigned>(slots.size()), 0);
    if (got < 0) return nothing_received(from);
    for (std::size_t i = 0; i < static_cast<std::size_t>(got); ++i) {
      slots[i].size = messages[i].msg_len;
      slots[i].truncated = take_sender(messages[i].msg_hdr, slots[i].from);
    }
    return attempt::done(static_cast<std::size_t>(got));
  }

  std::span<datagram_slot> slots;
};

struct send_step : step_of<std::size_t> {
  explicit send_step(const_buffer b) noexcept : from(b) {}
  attempt try_once(descriptor& to) const {
    const ssize_t sent = syscalls::send(to.fd(), from.data(), from.size(), MSG_NOSIGNAL);
    if (EVENTER_LIKELY(sent >= 0)) return attempt::done(static_cast<std::size_t>(sent));
    return would_block(errno) ? attempt::wait_writable() : attempt::failed(errno);
  }
  void before_waiting() { from = kept.keep(from); }
  static result_type result(std::size_t size) noexcept { return size; }

  const_buffer from;
  kept_bytes kept;
};

// No room in the socket's own buffer, which an event will end; or in a unix peer's queue, which none does.
inline attempt nothing_sent(const endpoint& to, time_point& resume) noexcept {
  if (!would_block(errno)) return attempt::failed(errno);
  if (to.family() != AF_UNIX) return attempt::wait_writable();
  resume = unix_retry_time();
  return attempt::again_at();
}

// `Peer`: an endpoint, or a pointer to one that lives as long as the step, which makes a parked stack smaller.
template <class Peer>
struct send_to_step : step_of<std::size_t> {
  send_to_step(const_buffer b, const Peer& p) noexcept : from(b), peer(p) {}
  EVENTER_NOINLINE attempt try_once(descriptor& to) noexcept {
    const endpoint& where = address(peer);
    iovec part{const_cast<char*>(from.data()), from.size()};
    msghdr message{};
    message.msg_name = const_cast<sockaddr*>(where.data());
    message.msg_namelen = where.size();
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    const ssize_t sent = syscalls::sendmsg(to.fd(), &message, MSG_NOSIGNAL);
    return sent >= 0 ? attempt::done(static_cast<std::size_t>(sent)) : nothing_sent(where, resume);
  }
  void before_waiting() { from = kept.keep(from); }
  static result_type result(std::size_t size) noexcept { return size; }
  time_point resume_at() const noexcept { return resume; }

 private:
  static const endpoint& address(const endpoint& value) noexcept { return value; }
  static const endpoint& address(const endpoint* pointer) noexcept { return *pointer; }

  const_buffer from;
  const Peer peer;
  time_point resume = no_deadline;
  kept_bytes kept;
};

struct send_batch_step : step_of<std::size_t> {
  // `done`: where the caller wants the count, also after an error; may be nullptr.
  explicit send_batch_step(std::span<const outgoing_datagram> all, std::size_t* done = nullptr) noexcept
      : left(all), count(done) {
    if (count != nullptr) *count = 0;
  }
  attempt try_once(descriptor& to) {
    for (;;) {
      if (count != nullptr) *count = sent;
      if (left.empty()) return attempt::done(sent);
      const attempt tried = send_some(to);
      if (!tried.is_done()) return tried;
      left = left.subspan(tried.value());
      sent += tried.value();
    }
  }
  void before_waiting() {
    scheduler* const here = scheduler::current();
    if (here == nullptr) return;
    bool borrowed = false;
    for (const outgoing_datagram& each : left)
      borrowed = borrowed || static_cast<event_loop*>(here)->in_scratch(each.data.data());
    if (borrowed) keep();
  }
  static result_type result(std::size_t number) noexcept { return number; }
  time_point resume_at() const noexcept { return resume; }

 private:
  EVENTER_NOINLINE attempt send_some(descriptor& to) noexcept {
    mmsghdr messages[datagrams_at_once];
    iovec parts[datagrams_at_once];
    std::size_t number = 0;
    for (; number < left.size() && number < datagrams_at_once; ++number) {
      const outgoing_datagram& each = left[number];
      parts[number] = {const_cast<char*>(each.data.data()), each.data.size()};
      messages[number] = {};
      msghdr& message = messages[number].msg_hdr;
      message.msg_name = each.to.size() > 0 ? const_cast<sockaddr*>(each.to.data()) : nullptr;
      message.msg_namelen = each.to.size();
      message.msg_iov = &parts[number];
      message.msg_iovlen = 1;
    }
    const int taken = syscalls::sendmmsg(to.fd(), messages, static_cast<unsigned>(number), MSG_NOSIGNAL);
    return taken >= 0 ? attempt::done(static_cast<std::size_t>(taken)) : nothing_sent(left.front().to, resume);
  }
  // What lies in the loop's scratch buffer does not survive a wait.
  EVENTER_NOINLINE void keep() {
    std::size_t bytes = 0;
    for (const outgoing_datagram& each : left) bytes += each.data.size();
    std::unique_ptr<char[]> data(new char[bytes]);
    std::unique_ptr<outgoing_datagram[]> all(new outgoing_datagram[left.size()]);
    char* next = data.get();
    for (std::size_t i = 0; i < left.size(); ++i) {
      const const_buffer from = left[i].data;
      if (from.size() > 0) std::memcpy(next, from.data(), from.size());
      all[i] = {const_buffer(next, from.size()), left[i].to};
      next += from.size();
    }
    left = {all.get(), left.size()};
    kept_data = std::move(data);
    kept_all = std::move(all);
  }

  std::span<const outgoing_datagram> left;
  std::size_t* count;
  std::size_t sent = 0;
  time_point resume = no_deadline;
  std::unique_ptr<char[]> kept_data;
  std::unique_ptr<outgoing_datagram[]> kept_all;
};

}  // namespace detail

}  // namespace eventer::inline EVENTER_ABI
