// Keeps the library's log lines for the life of the object, instead of printing them.
#pragma once

#include <mutex>
#include <string>
#include <vector>

#include "eventer/base/log.hpp"

class captured_log {
 public:
  captured_log() {
    const std::lock_guard lock(mutex_);
    lines_.clear();
    eventer::set_log_sink([](eventer::log_level, const char* line) {
      const std::lock_guard inner(mutex_);
      lines_.emplace_back(line);
    });
  }
  captured_log(const captured_log&) = delete;
  captured_log& operator=(const captured_log&) = delete;
  ~captured_log() { eventer::set_log_sink(before_); }

  // Any thread.
  std::vector<std::string> lines() const {
    const std::lock_guard lock(mutex_);
    return lines_;
  }
  std::size_t count(const std::string& part) const {
    std::size_t found = 0;
    for (const std::string& line : lines()) found += line.find(part) != std::string::npos;
    return found;
  }

 private:
  const eventer::log_sink before_ = eventer::detail::log_target.load();
  static inline std::mutex mutex_;
  static inline std::vector<std::string> lines_;
};
