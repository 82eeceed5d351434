// PostgreSQL from coroutines: libpq in its non-blocking mode on this loop. query() reads as if it blocked, but only its
// coroutine waits.
//
//   postgres "host=/var/run/postgresql dbname=postgres" --connections 5
//
// Connects, asks over several connections at once, sends a parameter of some megabytes, hears a notification, and shows
// what an error and a time limit look like. It changes nothing in the database.
#include <libpq-fe.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <eventer/eventer.hpp>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using namespace std::chrono_literals;

class result {
 public:
  explicit result(PGresult* rows = nullptr) : rows_(rows, &PQclear) {}
  PGresult* get() const { return rows_.get(); }
  std::string text(int row, int column) const { return PQgetvalue(get(), row, column); }

 private:
  std::unique_ptr<PGresult, void (*)(PGresult*)> rows_;
};

// One connection, used by one coroutine at a time. Errors: std::runtime_error in the server's words, std::system_error
// (timed_out). After a time-out the server may still be at work: drop the connection.
class connection {
 public:
  // Host names in `conninfo` are looked up by libpq, and the whole loop waits: give a path or an address (hostaddr=).
  connection(const std::string& conninfo, eventer::duration limit)
      : handle_(PQconnectStart(conninfo.c_str()), &PQfinish) {
    const auto deadline = eventer::clock::now() + limit;
    if (PQstatus(get()) == CONNECTION_BAD) fail();
    for (auto step = PGRES_POLLING_WRITING; step != PGRES_POLLING_OK; step = PQconnectPoll(get())) {
      if (step == PGRES_POLLING_FAILED) fail();
      if (step == PGRES_POLLING_READING)
        wait<eventer::readable>(deadline);
      else
        wait<eventer::writable>(deadline);
    }
    if (PQsetnonblocking(get(), 1) != 0) fail();
  }

  // Parameters are $1, $2, ... of `sql`, as text.
  result query(const char* sql, const std::vector<std::string>& parameters = {}, eventer::duration limit = 10s) {
    const auto deadline = eventer::clock::now() + limit;
    std::vector<const char*> values;
    for (const std::string& each : parameters) values.push_back(each.c_str());
    if (PQsendQueryParams(get(), sql, static_cast<int>(values.size()), nullptr, values.data(), nullptr, nullptr, 0) !=
        1)
      fail();
    flush(deadline);
    result last;
    for (;;) {
      while (PQisBusy(get()) == 1) read(deadline);
      result next(PQgetResult(get()));
      if (next.get() == nullptr) break;
      last = std::move(next);
      const auto status = PQresultStatus(last.get());
      if (status == PGRES_COPY_IN || status == PGRES_COPY_OUT) throw std::runtime_error("query() can't do COPY");
    }
    const auto status = PQresultStatus(last.get());
    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) fail(PQresultErrorMessage(last.get()));
    return last;
  }

  // The next notification of a channel that this connection listens to.
  std::string notification(eventer::duration limit = 10s) {
    const auto deadline = eventer::clock::now() + limit;
    for (;;) {
      const std::unique_ptr<PGnotify, void (*)(void*)> next(PQnotifies(get()), &PQfreemem);
      if (next != nullptr) return next->extra;
      read(deadline);
    }
  }

 private:
  PGconn* get() const { return handle_.get(); }

  // The socket is asked for each time: while it connects, libpq goes from one to the next.
  template <class Readiness>
  void wait(eventer::time_point deadline) {
    const auto ready = eventer::await(Readiness(PQsocket(get()), deadline));
    if (!ready) throw std::system_error(ready.error(), "waiting for the server");
  }

  void read(eventer::time_point deadline) {
    wait<eventer::readable>(deadline);
    if (PQconsumeInput(get()) != 1) fail();
  }

  // A server that can't get rid of its answers stops reading: so whoever waits to write also reads.
  void flush(eventer::time_point deadline) {
    int left = PQflush(get());
    for (; left == 1; left = PQflush(get())) {
      const int socket = PQsocket(get());
      const auto first = eventer::when_any(eventer::readable(socket, deadline), eventer::writable(socket, deadline));
      const auto ready = std::visit([](const auto& each) { return each; }, first.results);
      if (!ready) throw std::system_error(ready.error(), "waiting for the server");
      if (first.index == 0 && PQconsumeInput(get()) != 1) fail();
    }
    if (left != 0) fail();
  }

  [[noreturn]] void fail() const { fail(PQerrorMessage(get())); }
  [[noreturn]] static void fail(std::string words) {
    while (words.ends_with('\n')) words.pop_back();
    throw std::runtime_error(words);
  }

  std::unique_ptr<PGconn, void (*)(PGconn*)> handle_;
};

struct server {
  std::string conninfo = "dbname=postgres";
  double limit_seconds = 10;

  connection connect() const {
    const auto limit = std::chrono::duration_cast<eventer::duration>(std::chrono::duration<double>(limit_seconds));
    try {
      return connection(conninfo, limit);
    } catch (const std::exception& failure) {
      throw std::runtime_error(std::string("cannot connect: ") + failure.what() +
                               "\nSay where a server runs: postgres \"host=127.0.0.1 user=me dbname=postgres\"");
    }
  }
};

std::string square(server where, int number) {
  const auto rows = where.connect().query("select pg_sleep(0.2), $1::int * $1::int", {std::to_string(number)});
  return rows.text(0, 1);
}

void ask_at_once(const server& where, int connections) {
  const auto start = eventer::clock::now();
  std::vector<eventer::join_handle<std::string>> all;
  for (int number = 1; number <= connections; ++number) all.push_back(eventer::spawn(square, where, number));
  int number = 0;
  for (auto& each : all) {
    ++number;
    std::printf("connection %d: %d * %d = %s\n", number, number, number, each.join().c_str());
  }
  const std::chrono::duration<double> seconds = eventer::clock::now() - start;
  std::printf("%d queries of 0.2 s each took %.2f s together\n", connections, seconds.count());
}

// Whether the query ended with an error, as it should.
bool is_refused(connection database, const char* sql, eventer::duration limit) {
  try {
    database.query(sql, {}, limit);
    return false;
  } catch (const std::exception& failure) {
    std::printf("%s: %s\n", sql, failure.what());
    return true;
  }
}

int demonstrate(const server& where, int connections) {
  auto database = where.connect();
  std::printf("connected to PostgreSQL %s\n", database.query("show server_version").text(0, 0).c_str());
  ask_at_once(where, connections);

  const auto length = database.query("select octet_length($1)", {std::string(8'000'000, 'x')}).text(0, 0);
  std::printf("a parameter of %s bytes has arrived\n", length.c_str());

  database.query("listen eventer_example");
  eventer::spawn([where] { where.connect().query("select pg_notify('eventer_example', 'hello')"); }).join();
  std::printf("notified: %s\n", database.notification().c_str());

  const bool good = is_refused(where.connect(), "select 1 / 0", 10s) &&
                    is_refused(where.connect(), "select pg_sleep(5)", 100ms) && length == "8000000";
  return good ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  server where;
  int connections = 5;
  CLI::App app{"Asks a PostgreSQL server, each connection in a coroutine."};
  app.add_option("conninfo", where.conninfo, "where the server is, in libpq's words")->capture_default_str();
  app.add_option("-n,--connections", connections, "how many at once")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("-t,--limit", where.limit_seconds, "seconds that connecting may take")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    return eventer::run([=] { return demonstrate(where, connections); });
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "postgres: %s\n", failure.what());
    return 1;
  }
}
