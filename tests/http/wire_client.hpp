// A client without a connection: the scanner, the head and the bodies' framing in the order in which a client uses
// them, fed in pieces. Every piece moves all that is kept to another address. Also for fuzzing: it knows nothing of
// Catch.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>

#include "eventer/http/answer_head.hpp"
#include "eventer/http/chunk_decoder.hpp"

namespace wire {

// What a client makes of a connection's bytes, of which the first is a HEAD request's answer where `to_head` says so:
// for each whole answer STATUS [close] [<BODY>] and a bar behind it.
struct heard {
  std::string answers;
  int status = 0;  // it was refused with this
  std::string why, left, heads;
};

class listening_client {
 public:
  listening_client(const eventer::http::limits& with, bool to_head) : with_(with), to_head_(to_head) {}

  void feed(std::string_view piece) {
    if (result_.status != 0) return;
    auto moved = std::make_unique<char[]>(size_ + piece.size());
    std::copy_n(bytes_.get(), size_, moved.get());
    std::copy_n(piece.data(), piece.size(), moved.get() + size_);
    bytes_ = std::move(moved);
    size_ += piece.size();
    while (has_head_ ? read_body() : read_head()) {
    }
  }
  // The server has closed.
  const heard& end() {
    if (has_head_ && head_.body() == eventer::http::body_kind::until_close && result_.status == 0) describe();
    result_.left.assign(bytes_.get(), size_);
    return result_;
  }

 private:
  using scanned = eventer::http::answer_scanner::state;
  using decoded = eventer::http::chunk_decoder::state;
  using kind = eventer::http::body_kind;

  std::string_view received() const { return {bytes_.get(), size_}; }
  bool refuse(eventer::http::refusal why) {
    result_.status = why.status != 0 && why.why != nullptr ? why.status : -1;
    if (why.why != nullptr) result_.why = why.why;
    return false;
  }
  void consume(std::size_t count) {
    auto rest = std::make_unique<char[]>(size_ - count);
    std::copy_n(bytes_.get() + count, size_ - count, rest.get());
    bytes_ = std::move(rest);
    size_ -= count;
  }
  // False: more has to come first.
  bool read_head() {
    const scanned is = scanner_.scan(received(), with_);
    if (is == scanned::refused) return refuse(scanner_.why());
    if (is == scanned::incomplete) return false;
    head_bytes_.assign(received().substr(0, scanner_.size()));
    if (const auto why = head_.parse(received().substr(0, scanner_.size()), to_head_)) return refuse(why);
    head_.rebase(head_bytes_.data());
    consume(scanner_.size());
    scanner_.reset();
    decoder_.reset();
    body_.clear();
    has_head_ = true;
    left_ = head_.body() == kind::length ? head_.content_length() : 0;
    result_.heads.append(head_.reason()).append("\n");
    for (std::size_t i = 0; i < head_.field_count(); ++i)
      result_.heads.append(head_.field(i).name).append("=").append(head_.field(i).value).append("\n");
    return true;
  }
  bool read_body() {
    if (head_.body() == kind::until_close) {
      body_ += received();
      consume(size_);
      return false;
    }
    if (head_.body() == kind::chunked) {
      const auto piece = decoder_.next(received(), with_);
      body_ += piece.data;
      consume(piece.consumed);
      if (piece.is == decoded::refused) return refuse(decoder_.why());
      if (piece.is != decoded::end) return piece.is == decoded::data;
    } else {
      const std::size_t size = static_cast<std::size_t>(std::min<std::uint64_t>(left_, size_));
      body_ += received().substr(0, size);
      consume(size);
      left_ -= size;
      if (left_ > 0) return false;
    }
    has_head_ = false;
    describe();
    return true;
  }
  void describe() {
    std::string& to = result_.answers;
    to.append(std::to_string(head_.status()));
    if (!head_.keep_alive()) to += " close";
    if (head_.body() != kind::none) to.append(" <").append(body_).append(">");
    to += "|";
    to_head_ = to_head_ && head_.is_interim();
  }

  const eventer::http::limits with_;
  bool to_head_;
  std::unique_ptr<char[]> bytes_ = std::make_unique<char[]>(0);
  std::size_t size_ = 0;
  eventer::http::answer_scanner scanner_;
  eventer::http::answer_head head_;
  eventer::http::chunk_decoder decoder_;
  std::string head_bytes_, body_;
  std::uint64_t left_ = 0;
  bool has_head_ = false;  // a head was read, its body not yet
  heard result_;
};

}  // namespace wire
