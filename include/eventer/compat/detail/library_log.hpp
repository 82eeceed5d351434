// The library's own log lines as lines of streams: errors and warnings go to "error", what is worth to know to
// "notice", and each resume of a coroutine, with its stack's bytes, to "debug/eventer/aco".
//
// That last stream decides whether such lines are made at all: they cost every resume something.
#pragma once

#include <atomic>
#include <mutex>

#include "eventer/base/config.hpp"
#include "eventer/base/log.hpp"
#include "eventer/compat/detail/log_streams.hpp"
#include "eventer/compat/eventer_aco.h"

namespace eventer::inline EVENTER_ABI::compat {

// Called on any thread when the lines about resumes were turned on or off; loops that run have to look at the log's
// level again (scheduler::look_at_log_again). nullptr: nobody has loops yet.
inline constinit std::atomic<void (*)() noexcept> resume_log_changed{nullptr};

struct library_log_state {
  std::mutex mutex;
  log_stream* resumes = nullptr;                 // nullptr: the log is not routed
  log_level level_without = log_level::warning;  // while resumes are logged: the level before
  bool raised = false;
};
inline constinit library_log_state library_log;

inline void library_line(log_level level, const char* line) {
  log_stream* stream = &error_stream;
  if (level == log_level::info) stream = &notice_stream;
  if (level == log_level::debug) stream = library_log.resumes;
  (void)mtev_log(stream, nullptr, "", 0, "%s\n", line);
}

// The level that the log has, below the one that tells of resumes.
inline log_level level_without_resumes() noexcept {
  for (const log_level each : {log_level::info, log_level::warning, log_level::error})
    if (log_enabled(each)) return each;
  return log_level::none;
}

inline void follow_resume_stream() noexcept {
  {
    const std::lock_guard lock(library_log.mutex);
    const bool wanted = library_log.resumes->on.load();
    if (wanted == library_log.raised) return;
    library_log.raised = wanted;
    if (wanted) library_log.level_without = level_without_resumes();
    set_log_level(wanted ? log_level::debug : library_log.level_without);
  }
  if (const auto call = resume_log_changed.load(); call != nullptr) call();
}

// From here on the library's lines go to the streams. Once: a second call does nothing. EVENTER_LOG=debug in the
// environment turns "debug/eventer/aco" on.
inline void route_library_log() noexcept {
  {
    const std::lock_guard lock(library_log.mutex);
    if (library_log.resumes != nullptr) return;
    library_log.resumes = find_stream("debug/eventer/aco");
    if (library_log.resumes == nullptr) return;  // no memory: the lines stay as they are
    set_log_sink(&library_line);
    streams_changed.store(&follow_resume_stream);
  }
  if (log_enabled(log_level::debug)) turn_stream(*library_log.resumes, true);
  follow_resume_stream();
}

}  // namespace eventer::inline EVENTER_ABI::compat
