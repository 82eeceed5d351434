// Log lines: rare, one at a time, to a sink that the program may replace; by default to standard error.
//
// EVENTER_LOG=error|warning|info|debug in the environment sets the level at first use; debug prints each resume of a
// coroutine with the bytes of its stack. Below the level a line costs one comparison.
#pragma once

#include <atomic>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "eventer/base/config.hpp"

namespace eventer::inline EVENTER_ABI {

enum class log_level : int { none = 0, error, warning, info, debug };

// Receives one line without its line feed; may be called from any thread, and must not await.
using log_sink = void (*)(log_level, const char* line);

namespace detail {

inline void log_to_standard_error(log_level level, const char* line) {
  static constexpr const char* names[] = {"", "error", "warning", "info", "debug"};
  std::fprintf(stderr, "eventer %s: %s\n", names[static_cast<int>(level)], line);
}

inline log_level log_level_from_environment() noexcept {
  const char* const text = std::getenv("EVENTER_LOG");
  if (text == nullptr) return log_level::warning;
  constexpr struct {
    const char* name;
    log_level level;
  } levels[] = {{"none", log_level::none},
                {"error", log_level::error},
                {"warning", log_level::warning},
                {"info", log_level::info},
                {"debug", log_level::debug}};
  for (const auto& [name, level] : levels)
    if (std::strcmp(text, name) == 0) return level;
  std::fprintf(stderr, "eventer: EVENTER_LOG=%s is no level: none, error, warning, info or debug\n", text);
  return log_level::warning;
}

inline constinit std::atomic<int> log_threshold{-1};  // -1: the environment was not looked at yet
inline constinit std::atomic<log_sink> log_target{&log_to_standard_error};

}  // namespace detail

inline void set_log_sink(log_sink sink) noexcept {
  detail::log_target.store(sink == nullptr ? &detail::log_to_standard_error : sink);
}
inline void set_log_level(log_level level) noexcept { detail::log_threshold.store(static_cast<int>(level)); }

inline bool log_enabled(log_level level) noexcept {
  int threshold = detail::log_threshold.load(std::memory_order_relaxed);
  if (EVENTER_UNLIKELY(threshold < 0)) {
    threshold = static_cast<int>(detail::log_level_from_environment());
    detail::log_threshold.store(threshold, std::memory_order_relaxed);
  }
  return static_cast<int>(level) <= threshold;
}

// printf-style; a line is cut at 511 characters.
__attribute__((format(printf, 2, 3), cold)) inline void log(log_level level, const char* format, ...) {
  if (!log_enabled(level)) return;
  char line[512];
  std::va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(line, sizeof line, format, arguments);
  va_end(arguments);
  detail::log_target.load()(level, line);
}

}  // namespace eventer::inline EVENTER_ABI
