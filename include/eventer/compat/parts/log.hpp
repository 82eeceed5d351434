// Section 0.2 of eventer_aco.h: log streams.
#pragma once

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>

#include "eventer/compat/detail/library_log.hpp"
#include "eventer/compat/detail/log_line.hpp"
#include "eventer/compat/detail/log_streams.hpp"
#include "eventer/compat/eventer_aco.h"

namespace eventer::inline EVENTER_ABI::compat {

inline log_stream* stream_of(mtev_log_stream_t stream) noexcept { return static_cast<log_stream*>(stream); }

inline bool is_on(const log_stream* stream) noexcept {
  return stream != nullptr && stream->on.load(std::memory_order_relaxed);
}

}  // namespace eventer::inline EVENTER_ABI::compat

extern "C" {

constinit mtev_log_stream_t mtev_stderr = &eventer::compat::stderr_stream;
constinit mtev_log_stream_t mtev_error = &eventer::compat::error_stream;
constinit mtev_log_stream_t mtev_notice = &eventer::compat::notice_stream;
constinit mtev_log_stream_t mtev_debug = &eventer::compat::debug_stream;

mtev_log_stream_t mtev_log_stream_find(const char* name) {
  return name == nullptr ? nullptr : eventer::compat::find_stream(name);
}

mtev_log_stream_t mtev_log_stream_findf(const char* format, ...) {
  std::va_list arguments;
  char* name = nullptr;
  va_start(arguments, format);
  const int length = ::vasprintf(&name, format, arguments);
  va_end(arguments);
  if (length < 0) return nullptr;
  eventer::compat::log_stream* const stream = eventer::compat::find_stream(name);
  std::free(name);
  return stream;
}

mtev_boolean mtev_log_stream_exists(const char* name) {
  return name != nullptr && eventer::compat::existing_stream(name) != nullptr ? mtev_true : mtev_false;
}

mtev_boolean mtev_log_enabled(mtev_log_stream_t stream) {
  return eventer::compat::is_on(eventer::compat::stream_of(stream)) ? mtev_true : mtev_false;
}

void mtev_log_stream_set_enabled(mtev_log_stream_t stream, mtev_boolean on) {
  if (stream != nullptr) eventer::compat::turn_stream(*eventer::compat::stream_of(stream), on != mtev_false);
}

void mtev_log_set_writer(void (*writer)(const char* stream, const char* line, size_t length)) {
  eventer::compat::chosen_writer.store(writer);
}

int mtev_vlog(mtev_log_stream_t stream, const struct timeval* when, const char*, int, const char* format,
              va_list arguments) {
  const eventer::compat::log_stream* const to = eventer::compat::stream_of(stream);
  if (!eventer::compat::is_on(to)) return 0;
  const int error = errno;
  const std::size_t written = eventer::compat::log_line(*to, when, nullptr, format, arguments).write();
  errno = error;
  return static_cast<int>(written);
}

int mtev_log(mtev_log_stream_t stream, const struct timeval* when, const char* file, int line, const char* format,
             ...) {
  std::va_list arguments;
  va_start(arguments, format);
  const int written = mtev_vlog(stream, when, file, line, format, arguments);
  va_end(arguments);
  return written;
}

void mtev_log_and_end(mtev_boolean aborts, mtev_log_stream_t stream, const char* file, int line, const char* format,
                      ...) {
  const eventer::compat::log_stream* const to =
      stream == nullptr ? &eventer::compat::error_stream : eventer::compat::stream_of(stream);
  const eventer::compat::source_place place{file, line};
  // Not of all files: that waits where another thread is reading one.
  std::fflush(stdout);
  std::fflush(stderr);
  std::va_list arguments;
  va_start(arguments, format);
  eventer::compat::log_line(*to, nullptr, &place, format, arguments).write();
  va_end(arguments);
  if (aborts != mtev_false) std::abort();
  std::exit(2);
}

}  // extern "C"
