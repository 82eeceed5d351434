// A server without a connection: the scanner, the head and the bodies' framing in the order in which a server uses
// them, fed in pieces. Every piece moves all that is kept to another address. Also for fuzzing: it knows nothing of
// Catch.
#pragma once

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "eventer/http/chunk_decoder.hpp"
#include "eventer/http/head_scanner.hpp"
#include "eventer/http/request_head.hpp"

namespace wire {

// What a server makes of a connection's bytes: for each whole request
//   METHOD TARGET @HOST [close] [continue] [upgrade] [<BODY>]
// and a bar behind it; then how it ended.
struct outcome {
  std::string requests;
  int status = 0;       // it was refused with this
  std::string why;      // and this sentence
  std::string left;     // what belongs to a request that is not whole yet
  std::string heads;    // all fields of all heads, refused bodies' included
  std::size_t fed = 0;  // bytes given until it was refused
  friend bool operator==(const outcome& a, const outcome& b) {
    return a.requests == b.requests && a.status == b.status && a.left == b.left && a.heads == b.heads;
  }
};

class server {
 public:
  explicit server(const eventer::http::limits& with) : with_(with) {}

  void feed(std::string_view piece) {
    if (result_.status != 0) return;
    result_.fed += piece.size();
    // Exactly so large, and elsewhere: a look beyond its end, or at where it was, is found by AddressSanitizer.
    auto moved = std::make_unique<char[]>(size_ + piece.size());
    std::copy_n(bytes_.get(), size_, moved.get());
    std::copy_n(piece.data(), piece.size(), moved.get() + size_);
    bytes_ = std::move(moved);
    size_ += piece.size();
    while (step()) {
    }
  }
  const outcome& end() {
    result_.left.assign(bytes_.get(), size_);
    return result_;
  }

 private:
  using scanned = eventer::http::head_scanner::state;
  using decoded = eventer::http::chunk_decoder::state;
  using eventer_body = eventer::http::body_kind;

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
  bool step() { return head_ ? read_body() : read_head(); }

  bool read_head() {
    const scanned is = scanner_.scan(received(), with_);
    if (is == scanned::refused) return refuse(scanner_.why());
    if (is == scanned::incomplete) return false;
    const std::string_view found = received().substr(scanner_.skipped(), scanner_.size() - scanner_.skipped());
    head_bytes_.assign(found);
    if (const auto why = parsed_.parse(found, with_)) return refuse(why);
    parsed_.rebase(head_bytes_.data());
    consume(scanner_.size());
    scanner_.reset();
    decoder_.reset();
    body_.clear();
    head_ = true;
    rest_ = parsed_.body() == eventer_body::length ? parsed_.content_length() : 0;
    for (std::size_t i = 0; i < parsed_.field_count(); ++i) {
      result_.heads.append(parsed_.field(i).name).append("=").append(parsed_.field(i).value).append("\n");
    }
    return true;
  }

  bool read_body() {
    if (parsed_.body() == eventer_body::chunked) {
      const auto piece = decoder_.next(received(), with_);
      body_ += piece.data;
      consume(piece.consumed);
      if (piece.is == decoded::refused) return refuse(decoder_.why());
      if (piece.is != decoded::end) return piece.is == decoded::data;
    } else {
      const std::size_t size = std::min<std::uint64_t>(rest_, size_);
      body_ += received().substr(0, size);
      consume(size);
      rest_ -= size;
      if (rest_ > 0) return false;
    }
    head_ = false;
    describe();
    return true;
  }
  void describe() {
    std::string& to = result_.requests;
    to.append(parsed_.method()).append(" ").append(parsed_.target()).append(" @").append(parsed_.host());
    if (!parsed_.keep_alive()) to += " close";
    if (parsed_.expects_continue()) to += " continue";
    if (parsed_.wants_upgrade()) to += " upgrade";
    if (parsed_.body() != eventer_body::none) to.append(" <").append(body_).append(">");
    to += "|";
  }

  const eventer::http::limits with_;
  std::unique_ptr<char[]> bytes_ = std::make_unique<char[]>(0);
  std::size_t size_ = 0;
  eventer::http::head_scanner scanner_;
  eventer::http::request_head parsed_;
  eventer::http::chunk_decoder decoder_;
  std::string head_bytes_, body_;
  std::uint64_t rest_ = 0;
  bool head_ = false;  // a head was read, its body not yet
  outcome result_;
};

inline outcome serve_whole(std::string_view bytes, const eventer::http::limits& with = {}) {
  server one(with);
  one.feed(bytes);
  return one.end();
}
inline outcome serve_bytewise(std::string_view bytes, const eventer::http::limits& with = {}) {
  server one(with);
  for (std::size_t i = 0; i < bytes.size(); ++i) one.feed(bytes.substr(i, 1));
  return one.end();
}
inline outcome serve_split(std::string_view bytes, std::size_t at, const eventer::http::limits& with = {}) {
  server one(with);
  one.feed(bytes.substr(0, at));
  one.feed(bytes.substr(at));
  return one.end();
}

}  // namespace wire
