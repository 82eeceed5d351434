// access_log: a line for each answer of a server, in a file or wherever the program wants it.
//
//   const http::access_log log("/var/log/app/access.log");
//   http::server server(std::move(routes), {.access_log = log});
//   ...
//   while (hangups.next() == SIGHUP) (void)log.reopen();          // the file was moved away
//   ...
//   (void)log.flush(5s);                                          // at the program's end
//
// A request pays for its line's text, for asking the kernel who the peer is, and for a lock that is held for a moment.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "eventer/http/access_line.hpp"
#include "eventer/http/line_writer.hpp"
#include "eventer/http/server_options.hpp"
#include "eventer/http/status.hpp"

namespace eventer::inline EVENTER_ABI::http {

// Use designated initialisers; members are only ever appended.
struct access_log_options {
  access_format format = access_format::combined;
  // Bytes that may wait for the disk, beside as many that are being written; further lines are lost.
  std::size_t waiting_bytes = std::size_t{1} << 20;
};

// A handle: copies are the same log, which several servers may have. It goes when the last one does and all is written.
class access_log {
 public:
  // To a file, which is made where it is not there (with mode 0640), and appended to. Blocks while it opens it. Errors:
  // std::system_error.
  explicit access_log(const std::string& path, const access_log_options& options = {})
      : access_log(std::make_unique<detail::file_sink>(path), options) {
    if (const std::error_code error = writer_->reopen_here())
      throw_error(error, ("access log " + eventer::detail::quoted(path)).c_str());
  }
  // To `sink(std::string_view lines)`: one or more whole lines, each with its line feed. It is called on a thread of
  // job_queue::files(), where it may block, once at a time; what it throws is a line in the log, and the lines are
  // lost.
  template <class F>
  requires(std::is_invocable_v<std::decay_t<F>&, std::string_view>) explicit access_log(
      F&& sink, const access_log_options& options = {})
      : access_log(std::make_unique<detail::function_sink<std::decay_t<F>>>(std::forward<F>(sink)), options) {}

  // For server_options::access_log. Any thread; never waits.
  void operator()(const access_entry& entry) const {
    const request& asked = entry.asked;
    const response& answer = entry.answer;
    const bool has_body = asked.method() != "HEAD" && !has_no_body(answer.status());
    const std::string failure = answer.failure() ? answer.failure().message() : std::string();
    const auto since = std::chrono::duration_cast<std::chrono::system_clock::duration>(entry.took);
    const detail::access_line line{.time = std::chrono::system_clock::now() - since,
                                   .peer = asked.peer(),
                                   .method = asked.method(),
                                   .target = asked.target(),
                                   .minor_version = asked.minor_version(),
                                   .status = answer.status(),
                                   .body_bytes = has_body ? answer.body_bytes() : 0,
                                   .took = entry.took,
                                   .referer = asked.header("Referer"),
                                   .user_agent = asked.header("User-Agent"),
                                   .failure = failure};
    std::string text;
    text.reserve(256);
    if (format_ == access_format::json)
      detail::append_json_line(text, line);
    else
      detail::append_combined_line(text, line);
    writer_->add(text);
  }

  // Opens the file at its path anew, for who has moved it away. What is being written meanwhile may still go to the old
  // one. Completes: when a thread has opened it; blocks a plain thread. Errors: the kernel's; then it goes on with the
  // old one. A sink of the program has nothing to open, and it answers well. Requires: not in a callback.
  io_result<void> reopen() const { return io_result<void>(writer_->reopen()); }
  // Completes: when nothing waits to be written. Errors: timed_out.
  io_result<void> flush(time_limit limit = {}) const { return writer_->flush(limit); }
  // Lines so far: for want of room, or because they could not be written.
  std::uint64_t lost() const noexcept { return writer_->lost(); }

 private:
  access_log(std::unique_ptr<detail::line_sink> to, const access_log_options& options)
      : writer_(std::make_shared<detail::line_writer>(std::move(to), options.waiting_bytes)), format_(options.format) {}

  std::shared_ptr<detail::line_writer> writer_;
  access_format format_;
};

}  // namespace eventer::inline EVENTER_ABI::http
