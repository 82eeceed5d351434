// response::send_file: a file as an answer, or the parts of it that were asked for. Small ones leave together with the
// head; of larger ones the kernel takes the bytes from the file itself, a slice at a time, where the stream is a plain
// socket, and the rest is read and written in pieces.
//
// What must not be broken: what the head has announced is sent, or the connection is cut. A file that becomes shorter
// meanwhile is not padded.
#pragma once

#include <algorithm>
#include <charconv>
#include <ctime>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "eventer/base/log.hpp"
#include "eventer/base/quoted.hpp"
#include "eventer/coro/this_coroutine.hpp"
#include "eventer/http/byte_ranges.hpp"
#include "eventer/http/conditions.hpp"
#include "eventer/http/open_beneath.hpp"
#include "eventer/http/response.hpp"
#include "eventer/http/served_file.hpp"

namespace eventer::inline EVENTER_ABI::http {

namespace detail {

// The answer to a file that can't be opened, or of which nothing can be read. What is the server's fault is a line in
// the log.
[[noreturn]] inline void refuse_file(int error, std::string_view path) {
  int status = 500;
  switch (error) {
    case ENOENT:
    case ENOTDIR:
    case EISDIR:
    case ELOOP:
    case ENAMETOOLONG:
    case ENXIO:   // a socket, or what is no regular file
    case ENODEV:  // a device without a driver
    case EXDEV:   // it would lead out of the directory
      throw http::error(404);
    case EACCES:
    case EPERM:
      throw http::error(403);
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case EAGAIN:
      status = 503;
      break;
    default:
      break;
  }
  log(log_level::error, "http: the file %s can't be read: %s", eventer::detail::quoted(path).c_str(),
      error_from_errno(error).message().c_str());
  throw http::error(status);
}

// What parts the ranges of one answer: nobody can have put it into the file.
inline std::string new_boundary() {
  std::uint64_t numbers[2] = {};
  if (!syscalls::random_bytes(numbers, sizeof numbers))
    numbers[0] = static_cast<std::uint64_t>(clock::now().time_since_epoch().count());
  char text[40], *at = text;
  for (const std::uint64_t each : numbers) at = std::to_chars(at, at + 16, each, 16).ptr;
  return {text, at};
}

// Whether sendfile has failed for the sake of the socket, and not of the file, or of a sandbox.
inline bool is_about_socket(std::error_code error) {
  return error == std::errc::broken_pipe || error == std::errc::connection_reset || error == std::errc::timed_out ||
         error == std::errc::operation_canceled || error == eventer::errc::closed;
}

// "bytes 0-99/1000"
inline std::string content_range(const byte_range& part, std::uint64_t size) {
  return "bytes " + std::to_string(part.begin) + "-" + std::to_string(part.end() - 1) + "/" + std::to_string(size);
}

}  // namespace detail

inline io_result<void> response::send_file(unique_fd file, std::string_view name, const file_options& with) {
  const auto opened = std::make_shared<detail::served_file>(std::move(file));
  if (const int error = opened->examine()) detail::refuse_file(error, name);
  return send_examined(opened, name, with);
}
inline io_result<void> response::send_examined(const std::shared_ptr<detail::served_file>& opened,
                                               std::string_view name, const file_options& with) {
  if (ended_ || head_sent_) return make_error_code(errc::answered);
  body_.clear();
  const std::string etag(fields_.has("etag") ? std::string(fields_.find("etag")) : opened->etag());
  // RFC 9110, section 8.8.2.1: no later than the answer's Date.
  std::optional<std::time_t> modified = std::min(opened->modified(), std::time(nullptr));
  if (fields_.has("last-modified")) modified = parse_date(fields_.find("last-modified"));
  auto known = precondition::holds;
  byte_ranges ranges;
  const bool is_get = asked_->method() == "GET";
  if (status_ == 200 && (is_get || is_head_)) {
    const validators content{etag, modified};
    known = evaluate_conditions(*asked_, content);
    if (known == precondition::failed) throw http::error(412);
    if (known == precondition::holds && is_get && with.max_ranges > 0 && asked_->count("Range") == 1 &&
        if_range_holds(*asked_, content))
      ranges = byte_ranges::parse(*asked_->find("Range"), opened->size(), with.max_ranges);
    if (ranges.what() == byte_ranges::status::unsatisfiable) {
      refuse_range(opened->size(), with);
      return {};
    }
  }
  if (!fields_.has("etag")) fields_.add("ETag", etag);
  if (!fields_.has("last-modified")) {
    char date[30];
    format_date(*modified, date);
    fields_.add("Last-Modified", date);
  }
  if (!fields_.has("accept-ranges")) fields_.add("Accept-Ranges", with.max_ranges > 0 ? "bytes" : "none");
  if (!fields_.has("x-content-type-options")) fields_.add("X-Content-Type-Options", "nosniff");
  if (!with.cache_control.empty() && !fields_.has("cache-control")) fields_.add("Cache-Control", with.cache_control);
  has_body(with.type_of(name));
  if (known == precondition::not_modified) status(304);
  if (has_no_body(status_)) {
    leave_content_out();
    return {};
  }
  if (ranges.what() == byte_ranges::status::some) return send_ranges(*opened, name, ranges, with);
  return send_whole(*opened, name, with);
}
inline io_result<void> response::send_file(unique_fd file, std::string_view name) {
  static const file_options usual;
  return send_file(std::move(file), name, usual);
}
inline io_result<void> response::send_file(const std::string& path, const file_options& with) {
  if (path.find('\0') != std::string::npos) detail::refuse_file(ENOENT, path);
  unique_fd file = detail::open_cached(AT_FDCWD, path);
  if (!file && errno != EAGAIN) detail::refuse_file(errno, path);
  if (!file) {
    const auto opened = std::make_shared<unique_fd>();
    const int failed = detail::run_as_job(with.jobs(), [opened, path] {
      opened->reset(syscalls::open(path.c_str(), detail::open_flags));
      return *opened ? 0 : errno;
    });
    if (failed != 0) detail::refuse_file(failed, path);
    file = std::move(*opened);
  }
  return send_file(std::move(file), path, with);
}
inline io_result<void> response::send_file(const std::string& path) {
  static const file_options usual;
  return send_file(path, usual);
}

// What the file is like is of no use to who asked for what it has not. What middleware has set stays.
inline void response::refuse_range(std::uint64_t size, const file_options& with) {
  leave_content_out();
  status(416).header("Content-Range", "bytes */" + std::to_string(size));
  if (with.max_ranges > 0 && !fields_.has("accept-ranges")) fields_.add("Accept-Ranges", "bytes");
  text("416 Range Not Satisfiable\n");
}
// Nothing is said about a content that is not sent.
inline void response::leave_content_out() {
  type_.clear();
  for (const char* each : {"content-type", "content-encoding", "content-language", "content-disposition"})
    fields_.remove(each);
}

inline io_result<void> response::send_whole(detail::served_file& file, std::string_view name,
                                            const file_options& with) {
  content_length(file.size());
  if (is_head_) return {};
  const byte_range all{0, file.size()};
  const file_start start = begin_reading(file, all, name, with);
  begin_pieces();
  const auto sent = write_from(file, all, with, start);
  to_->send_when_waiting();
  return sent;
}

inline io_result<void> response::send_ranges(detail::served_file& file, std::string_view name, const byte_ranges& asked,
                                             const file_options& with) {
  const file_start start = begin_reading(file, asked.ranges().front(), name, with);
  status(206);
  const std::uint64_t size = file.size();
  if (asked.ranges().size() == 1) {
    const byte_range only = asked.ranges().front();
    header("Content-Range", detail::content_range(only, size));
    content_length(only.size);
    begin_pieces();
    const auto sent = write_from(file, only, with, start);
    to_->send_when_waiting();
    return sent;
  }
  const std::string boundary = detail::new_boundary();
  std::string type(fields_.has("content-type") ? fields_.find("content-type") : std::string_view(type_));
  fields_.remove("content-type");
  type_ = "multipart/byteranges; boundary=" + boundary;
  const auto head_of = [&](const byte_range& each) {
    return "\r\n--" + boundary + "\r\nContent-Type: " + type +
           "\r\nContent-Range: " + detail::content_range(each, size) + "\r\n\r\n";
  };
  const std::string end = "\r\n--" + boundary + "--\r\n";
  std::uint64_t total = end.size();
  for (const byte_range& each : asked.ranges()) total += head_of(each).size() + each.size;
  content_length(total);
  begin_pieces();
  for (const byte_range& each : asked.ranges()) {
    const bool is_first = &each == &asked.ranges().front();
    const std::string head = head_of(each);
    to_->bytes().append(head);
    written_ += head.size();
    if (const auto sent = write_from(file, each, with, is_first ? start : file_start()); !sent) return sent;
  }
  to_->bytes().append(end);
  written_ += end.size();
  to_->send_when_waiting();
  return {};
}

inline bool response::goes_by_kernel(const byte_range& part) const noexcept {
  return part.size > detail::served_file::piece_bytes && stream_->file() != nullptr && stream_->file()->is_socket();
}
// Before a head says that all is well: the first bytes of what is sent are read, or brought into the page cache. Where
// that fails, the error is the answer. What was read must not wait: it may lie in the loop's scratch buffer.
inline response::file_start response::begin_reading(detail::served_file& file, const byte_range& part,
                                                    std::string_view name, const file_options& with) {
  file_start result;
  if (goes_by_kernel(part)) {
    const auto slice = static_cast<std::size_t>(std::min<std::uint64_t>(part.size, detail::served_file::slice_bytes));
    if (file.bring_in(part.begin, slice, with.jobs())) result.brought_in_to = part.begin + slice;
  } else if (part.size > 0) {
    const auto most = static_cast<std::size_t>(std::min<std::uint64_t>(part.size, detail::served_file::piece_bytes));
    result.piece = file.read(part.begin, most, with.jobs());
  }
  if (const int error = file.failure()) detail::refuse_file(error, name);
  return result;
}

inline io_result<void> response::write_from(detail::served_file& file, byte_range part, const file_options& with,
                                            file_start start) {
  constexpr std::size_t read_at_most = detail::served_file::piece_bytes;
  constexpr std::size_t slice_bytes = detail::served_file::slice_bytes;  // then others have their turn
  bool by_kernel = goes_by_kernel(part);
  std::uint64_t brought_in = std::max(part.begin, start.brought_in_to), since_turn = 0;
  while (part.size > 0) {
    std::size_t done = 0;
    if (by_kernel) {
      if (part.begin >= brought_in) {
        const auto slice = static_cast<std::size_t>(std::min<std::uint64_t>(part.size, slice_bytes));
        if (!file.bring_in(part.begin, slice, with.jobs())) return cut_short(file);
        brought_in = part.begin + slice;
      }
      if (const std::error_code failure = to_->send_before_more(stall_)) return fail(failure);
      const auto asked = static_cast<std::size_t>(brought_in - part.begin);
      const auto sent = stream_->send_file(file.fd(), part.begin, asked, stall_);
      if (!sent && !detail::is_about_socket(sent.error())) {  // who reads meets the file's error, and can say so
        by_kernel = false;
        continue;
      }
      if (!sent) return fail(sent.error());
      done = *sent;
      if (done < asked) brought_in = part.begin + done;  // the peer is slow: meanwhile the kernel may drop the rest
    } else {
      const std::string_view piece =
          !start.piece.empty()
              ? std::exchange(start.piece, {})
              : file.read(part.begin, static_cast<std::size_t>(std::min<std::uint64_t>(part.size, read_at_most)),
                          with.jobs());
      done = piece.size();
      if (piece.size() <= copied_at_most)
        to_->bytes().append(piece);
      else if (const std::error_code failure = to_->send_borrowed(piece, stall_))
        return fail(failure);
      if (to_->unsent() >= detail::output::held_at_most)
        if (const std::error_code failure = to_->send(stall_)) return fail(failure);
    }
    if (EVENTER_UNLIKELY(done == 0)) return cut_short(file);
    written_ += done;
    part = {part.begin + done, part.size - done};
    since_turn += done;
    if (since_turn >= slice_bytes && part.size > 0) {
      since_turn = 0;
      yield();
    }
  }
  return {};
}

inline io_result<void> response::cut_short(const detail::served_file& file) {
  const int error = file.failure();
  log(log_level::error, "http: the answer to %s %s is cut off: %s", std::string(asked_->method()).c_str(),
      eventer::detail::quoted(asked_->target()).c_str(),
      error != 0 ? error_from_errno(error).message().c_str() : "the file has become shorter");
  cut();
  return failure_;
}

}  // namespace eventer::inline EVENTER_ABI::http
