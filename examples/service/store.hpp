// store: names and their values in an SQLite file. SQLite blocks its thread, so that all of it happens in jobs.
//
// A connection of SQLite is used by one job at a time: a job takes a free one, or opens another, and there are never
// more of them than the queue has threads.
#pragma once

#include <sqlite3.h>

#include <chrono>
#include <eventer/eventer.hpp>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

// SQLite's result codes as error codes.
class sqlite_category final : public std::error_category {
 public:
  const char* name() const noexcept override { return "sqlite"; }
  std::string message(int code) const override { return ::sqlite3_errstr(code); }
  static const sqlite_category& instance() {
    static const sqlite_category& only = *new sqlite_category;
    return only;
  }
};

// One connection, with its statements prepared. What fails throws std::system_error.
class sqlite_connection {
 public:
  explicit sqlite_connection(const std::string& path) : database_(opened(path)) {
    ::sqlite3_busy_timeout(database_.get(), 1000);  // milliseconds, while another connection writes
    run("PRAGMA journal_mode = WAL");               // who reads does not wait for who writes
    run("PRAGMA synchronous = NORMAL");
    run("CREATE TABLE IF NOT EXISTS entries (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID");
    put_ = prepared("INSERT INTO entries VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value");
    get_ = prepared("SELECT value FROM entries WHERE name = ?1");
  }

  void put(const std::string& name, const std::string& value) {
    const in_use until_reset(*put_);
    bind(*put_, 1, name);
    bind(*put_, 2, value);
    (void)step(*put_);
  }
  std::optional<std::string> get(const std::string& name) {
    const in_use until_reset(*get_);
    bind(*get_, 1, name);
    if (!step(*get_)) return {};
    const auto* const text = static_cast<const char*>(::sqlite3_column_blob(get_.get(), 0));
    return std::string(text != nullptr ? text : "", static_cast<std::size_t>(::sqlite3_column_bytes(get_.get(), 0)));
  }

 private:
  struct closes {
    void operator()(sqlite3* which) const noexcept { ::sqlite3_close(which); }
    void operator()(sqlite3_stmt* which) const noexcept { ::sqlite3_finalize(which); }
  };
  using database = std::unique_ptr<sqlite3, closes>;
  using statement = std::unique_ptr<sqlite3_stmt, closes>;
  // A statement that is not reset keeps its locks, also after an error.
  struct in_use {
    explicit in_use(sqlite3_stmt& s) noexcept : which(s) {}
    in_use(const in_use&) = delete;
    in_use& operator=(const in_use&) = delete;
    ~in_use() {
      ::sqlite3_reset(&which);
      ::sqlite3_clear_bindings(&which);
    }
    sqlite3_stmt& which;
  };

  static database opened(const std::string& path) {
    sqlite3* made = nullptr;
    const int code = ::sqlite3_open_v2(path.c_str(), &made,
                                       SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
    database result(made);  // also after an error
    if (code != SQLITE_OK) throw std::system_error(code, sqlite_category::instance(), path);
    return result;
  }
  void check(int code) const {
    if (code == SQLITE_OK || code == SQLITE_DONE || code == SQLITE_ROW) return;
    const char* const details = ::sqlite3_errmsg(database_.get());
    eventer::log(eventer::log_level::error, "sqlite: %s", details);
    throw std::system_error(code, sqlite_category::instance(), details);
  }
  void run(const char* text) const { check(::sqlite3_exec(database_.get(), text, nullptr, nullptr, nullptr)); }
  statement prepared(const char* text) const {
    sqlite3_stmt* made = nullptr;
    check(::sqlite3_prepare_v3(database_.get(), text, -1, SQLITE_PREPARE_PERSISTENT, &made, nullptr));
    return statement(made);
  }
  void bind(sqlite3_stmt& to, int index, const std::string& value) const {
    check(::sqlite3_bind_text(&to, index, value.data(), static_cast<int>(value.size()), SQLITE_STATIC));
  }
  // Whether there is a row.
  bool step(sqlite3_stmt& which) const {
    const int code = ::sqlite3_step(&which);
    check(code);
    return code == SQLITE_ROW;
  }

  const database database_;
  statement put_, get_;  // go before it
};

// A handle: copies are the same store. Jobs hold one by value, so that one which nobody waits for any more, because the
// disk is stuck, still finds its connection.
class store {
 public:
  // Opens the file, and blocks meanwhile. Errors: std::system_error.
  store(eventer::job_queue queue, std::string path) : queue_(std::move(queue)) {
    shared_->path = std::move(path);
    (void)lease(*shared_);
  }

  // Errors: SQLite's; timed_out, backlog_full.
  eventer::io_result<void> put(std::string name, std::string value, eventer::duration limit) const {
    return queue_.run_for(
        limit, [in = shared_, name = std::move(name), value = std::move(value)] { lease(*in)->put(name, value); });
  }
  eventer::io_result<std::optional<std::string>> get(std::string name, eventer::duration limit) const {
    return queue_.run_for(limit, [in = shared_, name = std::move(name)] { return lease(*in)->get(name); });
  }

 private:
  using connection = std::unique_ptr<sqlite_connection>;
  struct connections {
    std::string path;
    std::mutex mutex;  // for a moment
    std::vector<connection> free;
  };
  // A connection for as long as a job runs.
  class lease {
   public:
    explicit lease(connections& from) : from_(from) {
      {
        const std::lock_guard lock(from_.mutex);
        if (!from_.free.empty()) {
          mine_ = std::move(from_.free.back());
          from_.free.pop_back();
        }
      }
      if (mine_ == nullptr) mine_ = std::make_unique<sqlite_connection>(from_.path);
    }
    lease(const lease&) = delete;
    lease& operator=(const lease&) = delete;
    ~lease() {
      const std::lock_guard lock(from_.mutex);
      from_.free.push_back(std::move(mine_));
    }
    sqlite_connection* operator->() const noexcept { return mine_.get(); }

   private:
    connections& from_;
    connection mine_;
  };

  eventer::job_queue queue_;
  std::shared_ptr<connections> shared_ = std::make_shared<connections>();
};
