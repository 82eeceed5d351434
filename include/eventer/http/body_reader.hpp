// body_reader: reads the body of one request, or of one answer, as its head frames it, in pieces that nobody needs to
// store.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

#include "eventer/base/buffer.hpp"
#include "eventer/http/chunk_decoder.hpp"
#include "eventer/http/error.hpp"
#include "eventer/http/framing.hpp"
#include "eventer/http/input.hpp"
#include "eventer/http/limits.hpp"
#include "eventer/http/output.hpp"

namespace eventer::inline EVENTER_ABI::http::detail {

class body_reader {
 public:
  // `out`: where a 100 (Continue) is sent; nullptr where none ever is.
  body_reader(input& in, output* out) noexcept : in_(&in), out_(out) {}

  // Of a request_head or an answer_head. Requires: the head is used up in the input. `bounds` lives as long as the body
  // is read.
  template <class Head>
  void begin(any_stream& from, const Head& head, const limits& bounds, time_point deadline) {
    from_ = &from;
    bounds_ = &bounds;
    deadline_ = deadline;
    kind_ = head.body();
    left_ = kind_ == body_kind::length ? head.content_length() : 0;
    ended_ = kind_ == body_kind::none || (kind_ == body_kind::length && left_ == 0);
    failure_ = {};
    rest_ = {};
    continue_due_ = false;
    if (kind_ == body_kind::until_close) left_ = UINT64_MAX;
    if (kind_ == body_kind::chunked) chunks_.reset();
  }

  // The client waits for leave to send it.
  void expect_continue() noexcept { continue_due_ = !ended_; }

  // There is none.
  void forget() noexcept {
    ended_ = true;
    failure_ = {};
    rest_ = {};
  }

  bool is_too_large() const noexcept { return left_ > bounds_->body; }
  // Every byte of it has come. Who reads it in small pieces may not have been given all of the last one: is_used_up.
  bool ended() const noexcept { return ended_; }
  bool is_used_up() const noexcept { return ended_ && rest_.empty(); }
  // Whether the rest can be read and forgotten, for the sake of the next request: it is no more than `most` bytes, as
  // far as one can know, and the client does not wait for leave to send it.
  bool can_be_discarded(std::uint64_t most) const noexcept {
    return !failure_ && left_ <= most && !(continue_due_ && in_->empty());
  }
  std::error_code failure() const noexcept { return failure_; }

  // The next bytes, at least one, where they lie: valid until the next call. What read_some has left of a piece comes
  // first. Errors: end_of_stream at its end; timed_out after limits::body_idle without a byte, and at the deadline and
  // the end of a deadline_scope even where bytes come; body_too_large, bad_body, body_cut_off; the stream's. After an
  // error it stays with that.
  io_result<std::string_view> next() {
    for (;;) {
      if (EVENTER_UNLIKELY(!rest_.empty())) return std::exchange(rest_, {});
      if (ended_) return eventer::errc::end_of_stream;
      if (failure_) return failure_;
      if (in_->empty())
        if (const std::error_code error = fill()) return fail_or_end(error);
      if (const std::string_view piece = decode(); EVENTER_LIKELY(!piece.empty())) return piece;
    }
  }
  // The same into a buffer; what is long goes there directly. A buffer of size 0 answers 0.
  io_result<std::size_t> read_some(buffer into) {
    if (into.size() == 0) return std::size_t{0};
    if (rest_.empty()) {
      if (kind_ != body_kind::chunked && !ended_ && !failure_ && in_->empty()) return read_directly(into);
      const auto piece = next();
      if (!piece) return piece.error();
      rest_ = *piece;
    }
    const std::size_t count = std::min(rest_.size(), into.size());
    std::memcpy(into.data(), rest_.data(), count);
    rest_.remove_prefix(count);
    return count;
  }
  // All that was not read yet, behind what `into` holds. Errors: as above; body_too_large where `into` would grow
  // beyond `most`.
  std::error_code read_all(std::string& into, std::uint64_t most = UINT64_MAX) {
    for (;;) {
      const auto piece = next();
      if (!piece) return ended_ ? std::error_code() : piece.error();
      if (piece->size() > most || into.size() > most - piece->size())
        return fail(make_error_code(errc::body_too_large));
      into.append(*piece);
    }
  }
  // What is left of it, if that is known before it is read.
  std::uint64_t left() const noexcept { return left_; }
  // Reads and forgets the rest. False: it is more than `most` bytes, or they do not come within limits::body_idle.
  bool discard(std::uint64_t most) {
    deadline_ = std::min(deadline_, deadline_after(scheduler::current()->now(), bounds_->body_idle));
    for (std::uint64_t dropped = 0; !ended_ && dropped <= most;) {
      const auto piece = next();
      if (piece)
        dropped += piece->size();
      else if (!ended_)
        return false;
    }
    return ended_;
  }

  // Forgets what of it has come already, and never waits. True: that was the rest of it.
  bool drop_what_came() noexcept {
    rest_ = {};
    while (!ended_ && !failure_ && !in_->empty()) (void)decode();
    return ended_;
  }

 private:
  // The next bytes of those that have come. None: it has ended or failed, or more has to come. Requires: something has.
  std::string_view decode() noexcept {
    if (EVENTER_LIKELY(kind_ != body_kind::chunked)) return take(in_->view().substr(0, left_));
    const auto piece = chunks_.next(in_->view(), *bounds_);
    in_->consume(piece.consumed);
    switch (piece.is) {
      case chunk_decoder::state::data:
        return piece.data;
      case chunk_decoder::state::end:
        ended_ = true;
        break;
      case chunk_decoder::state::refused:
        failure_ = make_error_code(chunks_.why().status == 413 ? errc::body_too_large : errc::bad_body);
        break;
      case chunk_decoder::state::more:
        break;
    }
    return {};
  }
  std::string_view take(std::string_view bytes) noexcept {
    in_->consume(bytes.size());
    left_ -= bytes.size();
    ended_ = left_ == 0;
    return bytes;
  }
  io_result<std::size_t> read_directly(buffer into) {
    if (const std::error_code error = permit()) return fail(error);
    if (is_late()) return fail(make_error_code(eventer::errc::timed_out));
    const auto got = from_->read_some(
        buffer(into.data(), static_cast<std::size_t>(std::min<std::uint64_t>(into.size(), left_))), limit());
    if (!got) return fail_or_end(cut_off(got.error()));
    left_ -= *got;
    ended_ = left_ == 0;
    return *got;
  }
  std::error_code fill() {
    if (const std::error_code error = permit()) return error;
    if (is_late()) return make_error_code(eventer::errc::timed_out);
    const auto got = in_->read_body(*from_, limit());
    return got ? std::error_code() : cut_off(got.error());
  }
  // 100 Continue, if that is what the client waits for, and not for the rest of its answer.
  std::error_code permit() {
    if (EVENTER_LIKELY(!continue_due_ || out_->has_begun_answer())) return {};
    continue_due_ = false;
    out_->bytes().append("HTTP/1.1 100 Continue\r\n\r\n");
    return out_->send(bounds_->response_stall);
  }
  // A read that finds something does not look at its limit: whoever never stops sending would never be late. Nor at the
  // reader's deadline_scope.
  bool is_late() const noexcept {
    const scheduler* const here = scheduler::current();
    if (here == nullptr) return false;
    const time_point end = here->running() != nullptr ? here->within_scope(deadline_) : deadline_;
    return EVENTER_UNLIKELY(end != no_deadline) && here->now() >= end;
  }
  time_limit limit() const noexcept {
    if (EVENTER_LIKELY(deadline_ == no_deadline)) return bounds_->body_idle;
    return std::min(deadline_, deadline_after(scheduler::current()->now(), bounds_->body_idle));
  }
  std::error_code cut_off(std::error_code error) const noexcept {
    if (error != eventer::errc::end_of_stream || kind_ == body_kind::until_close) return error;
    return make_error_code(errc::body_cut_off);
  }
  std::error_code fail_or_end(std::error_code error) noexcept {
    if (kind_ != body_kind::until_close || error != eventer::errc::end_of_stream) return fail(error);
    ended_ = true;
    return error;
  }
  std::error_code fail(std::error_code error) noexcept { return failure_ = error; }

  input* in_;
  output* out_;
  any_stream* from_ = nullptr;
  const limits* bounds_ = nullptr;
  time_point deadline_ = no_deadline;
  body_kind kind_ = body_kind::none;
  bool ended_ = true, continue_due_ = false;
  std::uint64_t left_ = 0;  // of a body whose length is known
  std::error_code failure_;
  std::string_view rest_;  // of the last piece, for read_some
  chunk_decoder chunks_;
};

}  // namespace eventer::inline EVENTER_ABI::http::detail
