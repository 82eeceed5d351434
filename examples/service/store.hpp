// store: names and their values in an SQLite file.
#pragma once

#include <eventer/eventer.hpp>
#include <optional>
#include <string>
#include <utility>

#include "../sqlite.hpp"

// One connection, with its statements prepared. What fails throws std::system_error.
class entries {
 public:
  explicit entries(const std::string& path) : database_(path) {}

  void put(const std::string& name, const std::string& value) {
    (void)sqlite::statement::use(put_, name, value).step();
  }
  std::optional<std::string> get(const std::string& name) {
    sqlite::statement::use found(get_, name);
    if (!found.step()) return {};
    return found.text(0);
  }

 private:
  const sqlite::database& with_table() const {
    database_.run("CREATE TABLE IF NOT EXISTS entries (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID");
    return database_;
  }

  const sqlite::database database_;
  const sqlite::statement put_ = with_table().prepare(
      "INSERT INTO entries VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value");
  const sqlite::statement get_ = database_.prepare("SELECT value FROM entries WHERE name = ?1");
};

// A handle: copies are the same store.
class store {
 public:
  // Opens the file, and blocks meanwhile. Errors: std::system_error.
  store(eventer::job_queue queue, std::string path) : queue_(std::move(queue)), connections_(std::move(path)) {}

  // Errors: SQLite's; timed_out, backlog_full.
  eventer::io_result<void> put(std::string name, std::string value, eventer::duration limit) const {
    return queue_.run_for(limit, [in = connections_, name = std::move(name), value = std::move(value)] {
      pool::lease(in)->put(name, value);
    });
  }
  eventer::io_result<std::optional<std::string>> get(std::string name, eventer::duration limit) const {
    return queue_.run_for(limit, [in = connections_, name = std::move(name)] { return pool::lease(in)->get(name); });
  }

 private:
  using pool = sqlite::pool<entries>;
  eventer::job_queue queue_;
  pool connections_;
};
