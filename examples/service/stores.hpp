// What [listener.settings] may say for "lines" listeners, and the databases that they name.
#pragma once

#include <eventer/listener/duration_text.hpp>
#include <eventer/listeners.hpp>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "store.hpp"

struct line_settings {
  eventer::duration limit = std::chrono::seconds(10);    // how long a peer may be silent
  eventer::duration patience = std::chrono::seconds(2);  // how long it waits for the database
  std::string database = "service.db";

  // Of a configuration that was checked.
  explicit line_settings(const eventer::listener_config& from) {
    std::vector<eventer::config_problem> ignored;
    read(from, ignored);
  }
  // Of one that comes from the file; adds what is wrong to `problems`.
  line_settings(const eventer::listener_config& from, std::vector<eventer::config_problem>& problems) {
    read(from, problems);
  }

 private:
  void read(const eventer::listener_config& from, std::vector<eventer::config_problem>& problems) {
    for (const auto& setting : from.settings) {
      const std::string &name = setting.first, &text = setting.second;
      const auto refuse = [&](const char* why) {
        problems.push_back({.file = from.source, .key = "settings." + name, .message = why});
      };
      if (name == "database") {
        database = text;
      } else if (name == "limit" || name == "patience") {
        const auto given = eventer::parse_duration(text);
        if (!given || *given <= eventer::duration::zero())
          refuse("expected a duration with its unit, such as \"10s\"");
        else
          (name == "limit" ? limit : patience) = *given;
      } else {
        refuse("unknown: there are limit, patience and database");
      }
    }
  }
};

// The databases by their paths, each opened once, when a configuration that names it is read. Any thread.
class stores {
 public:
  explicit stores(eventer::job_queue queue) : queue_(std::move(queue)) {}

  // Blocks while the file is opened, but nobody else. Errors: std::system_error.
  void open(const std::string& path) {
    if (is_open(path)) return;
    store opened(queue_, path);
    const std::lock_guard lock(mutex_);
    all_.emplace(path, std::move(opened));
  }
  // Requires: it was opened.
  store find(const std::string& path) const {
    const std::lock_guard lock(mutex_);
    return all_.at(path);
  }

 private:
  bool is_open(const std::string& path) const {
    const std::lock_guard lock(mutex_);
    return all_.contains(path);
  }

  eventer::job_queue queue_;
  mutable std::mutex mutex_;
  std::map<std::string, store> all_;
};
