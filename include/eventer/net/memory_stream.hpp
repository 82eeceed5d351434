// memory_stream_pair: two streams that are connected in memory, for tests. They behave as the network may: bytes come
// in pieces and late, calls that could go on say they would block, and connections break.
//
//   auto [near, far, link] = eventer::memory_stream_pair({.seed = 7, .short_reads = 50, .would_blocks = 20});
//   eventer::spawn(serve, std::move(far));      // takes a tcp_stream
//
// The same seed gives the same pieces. Both ends are used on one loop.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <utility>

#include "eventer/event/event_loop.hpp"
#include "eventer/net/tcp.hpp"

namespace eventer::inline EVENTER_ABI {

// Members are only ever appended; probabilities are in percent.
struct memory_stream_options {
  std::uint64_t seed = 1;
  unsigned short_reads = 0;                // of the reads: a part of what is there
  unsigned short_writes = 0;               // of the writes: a part is taken
  unsigned would_blocks = 0;               // of the calls: would block first, and go on in the loop's next turn
  std::size_t capacity = 64 << 10;         // bytes under way in each direction before a write would block
  duration latency = duration::zero();     // from a write to the peer's read, by the loop's clock
  std::uint64_t reset_after = UINT64_MAX;  // bytes in both directions; then the connection is reset
};

namespace detail {

class memory_connection : public std::enable_shared_from_this<memory_connection> {
 public:
  explicit memory_connection(const memory_stream_options& options) noexcept
      : options_(options), draws_(options.seed != 0 ? options.seed : 1) {}

  class end final : public transport {
   public:
    end(std::shared_ptr<memory_connection> connection, int side) noexcept
        : connection_(std::move(connection)), side_(side) {}
    ~end() override { connection_->close(side_); }
    void attach(descriptor* owner) noexcept override { connection_->owners_[side_] = owner; }
    ssize_t read(void* into, std::size_t size) noexcept override { return connection_->read(side_, into, size); }
    ssize_t write(const void* from, std::size_t size) noexcept override {
      return connection_->write(side_, from, size);
    }
    int shutdown_write() noexcept override { return connection_->shutdown_write(side_); }

   private:
    std::shared_ptr<memory_connection> connection_;
    const int side_;
  };

  // Both ends get connection_reset, and what is under way is lost.
  void reset() {
    reset_ = true;
    for (direction& each : directions_) each = direction();
    for (const int side : {0, 1}) tell(side, io_mask::read | io_mask::write | io_mask::error | io_mask::special);
  }
  std::uint64_t bytes_moved() const noexcept { return moved_; }

 private:
  struct piece {
    std::string bytes;
    bool last;
  };
  // What one end has written and the other has not read yet.
  struct direction {
    std::string arrived;
    std::deque<piece> pieces;   // that arrive later
    std::size_t under_way = 0;  // their bytes
    bool ended = false;         // after them
    bool end_arrived = false;
  };
  direction& from(int side) noexcept { return directions_[side]; }

  ssize_t fail(int error) noexcept {
    errno = error;
    return -1;
  }
  ssize_t read(int side, void* into, std::size_t size) {
    direction& incoming = from(1 - side);
    if (reset_) return fail(ECONNRESET);
    if (incoming.arrived.empty()) return incoming.end_arrived ? 0 : fail(EAGAIN);
    if (blocks_first(side, io_mask::read)) return fail(EAGAIN);
    std::size_t count = std::min(size, incoming.arrived.size());
    if (count > 1 && drawn(options_.short_reads)) count = 1 + draw() % (count - 1);
    incoming.arrived.copy(static_cast<char*>(into), count);
    incoming.arrived.erase(0, count);
    tell(1 - side, io_mask::write);
    return static_cast<ssize_t>(count);
  }
  ssize_t write(int side, const void* data, std::size_t size) {
    direction& outgoing = from(side);
    if (reset_) return fail(ECONNRESET);
    if (outgoing.ended || closed_[1 - side]) return fail(EPIPE);
    const std::size_t queued = outgoing.arrived.size() + outgoing.under_way;
    if (queued >= options_.capacity) return fail(EAGAIN);
    if (blocks_first(side, io_mask::write)) return fail(EAGAIN);
    std::size_t count = std::min(size, options_.capacity - queued);
    if (count > 1 && drawn(options_.short_writes)) count = 1 + draw() % (count - 1);
    moved_ += count;
    if (moved_ > options_.reset_after) {
      reset();
      return fail(ECONNRESET);
    }
    deliver(side, std::string(static_cast<const char*>(data), count), false);
    return static_cast<ssize_t>(count);
  }
  int shutdown_write(int side) {
    if (reset_) return static_cast<int>(fail(ENOTCONN));
    if (!std::exchange(from(side).ended, true)) deliver(side, {}, true);
    return 0;
  }
  // A close with bytes unread resets, as TCP's does.
  void close(int side) {
    owners_[side] = nullptr;
    closed_[side] = true;
    if (reset_) return;
    if (!from(1 - side).arrived.empty()) return reset();
    if (!std::exchange(from(side).ended, true)) deliver(side, {}, true);
    tell(1 - side, io_mask::write | io_mask::error);  // whoever writes learns that nobody reads
  }

  void deliver(int side, std::string bytes, bool last) {
    // Outside a loop there is no time that could pass.
    if (options_.latency == duration::zero() || scheduler::current() == nullptr) return arrive(side, bytes, last);
    from(side).under_way += bytes.size();
    from(side).pieces.push_back({std::move(bytes), last});
    // Whichever of the timers for one time comes first delivers the first piece.
    event_loop::current().after(options_.latency, [self = shared_from_this(), side] {
      if (self->reset_) return;
      const piece next = std::move(self->from(side).pieces.front());
      self->from(side).pieces.pop_front();
      self->from(side).under_way -= next.bytes.size();
      self->arrive(side, next.bytes, next.last);
    });
  }
  void arrive(int side, const std::string& bytes, bool last) {
    direction& outgoing = from(side);
    outgoing.arrived += bytes;
    outgoing.end_arrived = outgoing.end_arrived || last;
    tell(1 - side, last ? io_mask::read | io_mask::special : io_mask::read);
  }
  void tell(int side, io_mask what) {
    if (owners_[side] != nullptr) owners_[side]->on_event(what);
  }
  // The call would block, this once: it goes on in the loop's next turn.
  bool blocks_first(int side, io_mask what) {
    bool& blocked = blocked_[side][what == io_mask::write];
    if (std::exchange(blocked, false) || scheduler::current() == nullptr || !drawn(options_.would_blocks)) return false;
    blocked = true;
    event_loop::current().post([self = shared_from_this(), side, what] { self->tell(side, what); });
    return true;
  }

  bool drawn(unsigned percent) noexcept { return percent > 0 && draw() % 100 < percent; }
  std::size_t draw() noexcept {
    // xorshift64*: Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled", 2016.
    draws_ ^= draws_ >> 12;
    draws_ ^= draws_ << 25;
    draws_ ^= draws_ >> 27;
    return static_cast<std::size_t>((draws_ * 0x2545f4914f6cdd1du) >> 33);
  }

  const memory_stream_options options_;
  std::uint64_t draws_;
  direction directions_[2];
  descriptor* owners_[2] = {nullptr, nullptr};
  bool closed_[2] = {false, false};
  bool blocked_[2][2] = {};
  bool reset_ = false;
  std::uint64_t moved_ = 0;
};

}  // namespace detail

// The connection itself, for the test to break.
class memory_link {
 public:
  explicit memory_link(std::shared_ptr<detail::memory_connection> connection) noexcept
      : connection_(std::move(connection)) {}
  // Both ends get connection_reset from now on. Requires: the thread of their loop.
  void reset() { connection_->reset(); }
  // Written so far, in both directions.
  std::uint64_t bytes_moved() const noexcept { return connection_->bytes_moved(); }

 private:
  std::shared_ptr<detail::memory_connection> connection_;
};

template <class Stream>
struct memory_streams {
  Stream near, far;
  memory_link link;
};

// They are tcp_streams, so that code which takes those can be tested; `Stream` may be another one. Their calls must
// come from coroutines of one loop.
template <class Stream = tcp_stream>
memory_streams<Stream> memory_stream_pair(const memory_stream_options& options = {}) {
  const auto connection = std::make_shared<detail::memory_connection>(options);
  const auto end = [&](int side) {
    return Stream::over(
        std::make_unique<descriptor>(std::make_unique<detail::memory_connection::end>(connection, side)));
  };
  return {end(0), end(1), memory_link(connection)};
}

}  // namespace eventer::inline EVENTER_ABI
