// What the examples with SQLite share: its database and statements as C++ objects, and a pool of connections. SQLite
// blocks its thread, so that all of it happens in jobs.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <eventer/eventer.hpp>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace sqlite {

// SQLite's result codes as error codes.
class category final : public std::error_category {
 public:
  const char* name() const noexcept override { return "sqlite"; }
  std::string message(int code) const override { return ::sqlite3_errstr(code); }
  static const category& instance() {
    static const category& only = *new category;
    return only;
  }
};

// A statement, prepared once and used by one thread at a time. What fails throws std::system_error.
class statement {
 public:
  statement(sqlite3* database, const char* text) {
    sqlite3_stmt* made = nullptr;
    check(database, ::sqlite3_prepare_v3(database, text, -1, SQLITE_PREPARE_PERSISTENT, &made, nullptr));
    prepared_.reset(made);
  }

  // From its values to its rows. One that is not reset keeps its locks, also after an error.
  class use {
   public:
    template <class... Values>
    explicit use(const statement& which, const Values&... values) : prepared_(which.prepared_.get()) {
      int index = 0;
      (bind(++index, values), ...);
    }
    use(const use&) = delete;
    use& operator=(const use&) = delete;
    ~use() {
      ::sqlite3_reset(prepared_);
      ::sqlite3_clear_bindings(prepared_);
    }
    // Whether there is a row, or another one.
    bool step() {
      const int code = ::sqlite3_step(prepared_);
      check(::sqlite3_db_handle(prepared_), code);
      return code == SQLITE_ROW;
    }
    std::string text(int column) const {
      const auto* const bytes = static_cast<const char*>(::sqlite3_column_blob(prepared_, column));
      return {bytes != nullptr ? bytes : "", static_cast<std::size_t>(::sqlite3_column_bytes(prepared_, column))};
    }
    std::int64_t integer(int column) const { return ::sqlite3_column_int64(prepared_, column); }

   private:
    void bind(int index, std::string_view value) {
      check(::sqlite3_db_handle(prepared_),
            ::sqlite3_bind_text(prepared_, index, value.data(), static_cast<int>(value.size()), SQLITE_TRANSIENT));
    }
    void bind(int index, std::int64_t value) {
      check(::sqlite3_db_handle(prepared_), ::sqlite3_bind_int64(prepared_, index, value));
    }
    sqlite3_stmt* prepared_;
  };

 private:
  friend class database;
  static void check(sqlite3* database, int code) {
    if (code == SQLITE_OK || code == SQLITE_DONE || code == SQLITE_ROW) return;
    const char* const details = ::sqlite3_errmsg(database);
    eventer::log(eventer::log_level::error, "sqlite: %s", details);
    throw std::system_error(code, category::instance(), details);
  }
  struct finalizes {
    void operator()(sqlite3_stmt* which) const noexcept { ::sqlite3_finalize(which); }
  };
  std::unique_ptr<sqlite3_stmt, finalizes> prepared_;
};

// One connection to a file, which is made where there is none.
class database {
 public:
  explicit database(const std::string& path) {
    sqlite3* made = nullptr;
    const int code = ::sqlite3_open_v2(path.c_str(), &made,
                                       SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
    opened_.reset(made);  // also after an error
    if (code != SQLITE_OK) throw std::system_error(code, category::instance(), path);
    ::sqlite3_busy_timeout(made, 1000);  // milliseconds, while another connection writes
    run("PRAGMA journal_mode = WAL");    // who reads does not wait for who writes
    run("PRAGMA synchronous = NORMAL");
  }
  void run(const char* text) const {
    statement::check(opened_.get(), ::sqlite3_exec(opened_.get(), text, nullptr, nullptr, nullptr));
  }
  statement prepare(const char* text) const { return {opened_.get(), text}; }
  std::int64_t last_id() const { return ::sqlite3_last_insert_rowid(opened_.get()); }

 private:
  struct closes {
    void operator()(sqlite3* which) const noexcept { ::sqlite3_close(which); }
  };
  std::unique_ptr<sqlite3, closes> opened_;
};

// Connections, each used by one job at a time: a job takes a free one, or opens another, so that there are never more
// of them than their queue has threads. A handle: jobs hold one by value, so that one which nobody waits for any more,
// because the disk is stuck, still finds its connection.
template <class Connection>
class pool {
  struct connections {
    std::string path;
    std::mutex mutex;  // for a moment
    std::vector<std::unique_ptr<Connection>> free;
  };

 public:
  // Opens the first one, and blocks meanwhile. Errors: std::system_error.
  explicit pool(std::string path) {
    shared_->path = std::move(path);
    (void)lease(*this);
  }

  // A connection for as long as a job runs.
  class lease {
   public:
    explicit lease(const pool& from) : from_(from.shared_) {
      {
        const std::lock_guard lock(from_->mutex);
        if (!from_->free.empty()) {
          mine_ = std::move(from_->free.back());
          from_->free.pop_back();
        }
      }
      if (mine_ == nullptr) mine_ = std::make_unique<Connection>(from_->path);
    }
    lease(const lease&) = delete;
    lease& operator=(const lease&) = delete;
    ~lease() {
      const std::lock_guard lock(from_->mutex);
      from_->free.push_back(std::move(mine_));
    }
    Connection* operator->() const noexcept { return mine_.get(); }

   private:
    std::shared_ptr<connections> from_;
    std::unique_ptr<Connection> mine_;
  };

 private:
  std::shared_ptr<connections> shared_ = std::make_shared<connections>();
};

}  // namespace sqlite
