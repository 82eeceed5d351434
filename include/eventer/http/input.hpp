// input: the bytes of a connection that have come and are not used yet.
//
// A request's head lies in `front` and stays where it is until the request is answered, as its handler has views of
// it. Body bytes that came with it follow it there; what is read while a handler runs goes into `back`. An idle
// connection has neither: it waits on the loop's scratch buffer.
#pragma once

#include <cstddef>
#include <cstring>
#include <string_view>
#include <vector>

#include "eventer/net/any_stream.hpp"

namespace eventer::inline EVENTER_ABI::http::detail {

class input {
 public:
  // What has come and is not used. Valid until the next call of anything else here.
  std::string_view view() const noexcept { return EVENTER_LIKELY(front_.size() > 0) ? front_.view() : back_.view(); }
  void consume(std::size_t bytes) noexcept { (front_.size() > 0 ? front_ : back_).consume(bytes); }
  bool empty() const noexcept { return front_.size() == 0 && back_.size() == 0; }
  std::size_t size() const noexcept { return front_.size() + back_.size(); }
  // Where the head of the present request lies, also when it is used.
  const char* head() const noexcept { return front_.first(); }

  // Between requests: what was left is where the next head begins.
  void begin_request() {
    front_.begin_here();
    if (EVENTER_LIKELY(back_.size() == 0)) return;
    front_.append(back_.view());
    back_.consume(back_.size());
  }
  // More of a head, which may move.
  void append(std::string_view bytes) { front_.append(bytes); }
  // More of what follows a head, which stays where it is.
  void append_body(std::string_view bytes) { back_.append(bytes); }
  // Reads more of a head, which may move.
  io_result<std::size_t> read_head(any_stream& from, time_limit limit) { return front_.read(from, limit); }
  // Reads more of a body. Requires: empty().
  io_result<std::size_t> read_body(any_stream& from, time_limit limit) { return back_.read(from, limit); }

  // Forgets everything; small buffers are kept for the next connection.
  void reset() noexcept {
    front_.reset();
    back_.reset();
  }

 private:
  class piece {
   public:
    std::size_t size() const noexcept { return end_ - begin_; }
    std::string_view view() const noexcept { return {bytes_.data() + begin_, size()}; }
    void consume(std::size_t count) noexcept { begin_ += count; }
    const char* first() const noexcept { return bytes_.data() + first_; }
    // What is used makes room only where room is needed: of many small requests none is moved.
    void begin_here() noexcept {
      if (size() == 0) begin_ = end_ = 0;
      first_ = begin_;
    }
    void append(std::string_view more) {
      make_room(more.size());
      std::memcpy(bytes_.data() + end_, more.data(), more.size());
      end_ += more.size();
    }
    io_result<std::size_t> read(any_stream& from, time_limit limit) {
      if (size() == 0) begin_here();
      make_room(read_at_once);
      const auto got = from.read_some(buffer(bytes_.data() + end_, bytes_.size() - end_), limit);
      if (got) end_ += *got;
      return got;
    }
    void reset() noexcept {
      first_ = begin_ = end_ = 0;
      if (bytes_.size() > kept_at_most) bytes_ = std::vector<char>();
    }

   private:
    void to_the_beginning() noexcept {
      if (begin_ == 0) return;
      if (size() > 0) std::memmove(bytes_.data(), bytes_.data() + begin_, size());
      end_ -= begin_;
      first_ = begin_ = 0;
    }
    void make_room(std::size_t more) {
      if (bytes_.size() - end_ >= more) return;
      to_the_beginning();
      if (bytes_.size() - end_ < more) bytes_.resize(end_ + more > 2 * bytes_.size() ? end_ + more : 2 * bytes_.size());
    }

    std::vector<char> bytes_;
    std::size_t first_ = 0;  // of the present request
    std::size_t begin_ = 0, end_ = 0;
  };
  static constexpr std::size_t read_at_once = 4 << 10;
  static constexpr std::size_t kept_at_most = 16 << 10;

  piece front_, back_;
};

}  // namespace eventer::inline EVENTER_ABI::http::detail
