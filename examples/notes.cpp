// A JSON service: notes in an SQLite file behind a job queue.
//
//   notes [--listen 127.0.0.1:8080] [--database notes.db]
//
//   curl -d '{"text": "buy milk"}' -H 'Content-Type: application/json' http://127.0.0.1:8080/notes     adds one
//   curl http://127.0.0.1:8080/notes?about=milk&page=0                                                  20 at a time
//   curl http://127.0.0.1:8080/notes/1        curl -X DELETE http://127.0.0.1:8080/notes/1
//   curl http://127.0.0.1:8080/metrics        from this machine only; /health/live, /health/ready, /stacks too
//
// SIGTERM and SIGINT drain it: what has begun is answered.
#include <signal.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdio>
#include <eventer/eventer.hpp>
#include <eventer/http.hpp>
#include <eventer/http/diagnostics.hpp>
#include <eventer/http/health.hpp>
#include <eventer/http/metrics.hpp>
#include <eventer/http_json.hpp>
#include <optional>
#include <string>

#include "sqlite.hpp"

namespace {

namespace http = eventer::http;
namespace json = boost::json;

// One connection, used by one job at a time.
class note_table {
 public:
  explicit note_table(const std::string& path) : database_(path) {}

  std::int64_t add(const std::string& text) {
    (void)sqlite::statement::use(add_, text).step();
    return database_.last_id();
  }
  std::optional<json::value> find(std::int64_t id) const {
    sqlite::statement::use found(find_, id);
    if (!found.step()) return {};
    return json::value{{"id", id}, {"text", found.text(0)}};
  }
  bool remove(std::int64_t id) const { return sqlite::statement::use(remove_, id).step(); }
  json::array list(const std::string& about, std::int64_t page) const {
    json::array all;
    for (sqlite::statement::use rows(list_, about, page * 20); rows.step();)
      all.push_back({{"id", rows.integer(0)}, {"text", rows.text(1)}});
    return all;
  }

 private:
  const sqlite::database& with_table() const {
    database_.run("CREATE TABLE IF NOT EXISTS notes (id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT NOT NULL)");
    return database_;
  }

  const sqlite::database database_;
  const sqlite::statement add_ = with_table().prepare("INSERT INTO notes (text) VALUES (?1)"),
                          find_ = database_.prepare("SELECT text FROM notes WHERE id = ?1"),
                          remove_ = database_.prepare("DELETE FROM notes WHERE id = ?1 RETURNING id"),
                          list_ = database_.prepare(
                              "SELECT id, text FROM notes WHERE instr(text, ?1) ORDER BY id LIMIT 20 OFFSET ?2");
};

// Runs `work(table)` in a job, for two seconds at most. What goes wrong is an answer, or the server's 500 and its log.
class notes {
 public:
  notes(const eventer::job_queue& queue, const std::string& path) : queue_(queue), connections_(path) {}

  template <class Work>
  auto with_table(Work work) const {
    auto result = queue_.run_for(std::chrono::seconds(2), [in = connections_, work = std::move(work)] {
      return work(*sqlite::pool<note_table>::lease(in).operator->());
    });
    if (!result && (result.error() == std::errc::timed_out || result.error() == eventer::errc::backlog_full))
      throw http::error(503, "the database is busy\n");
    return std::move(result).value();
  }

 private:
  eventer::job_queue queue_;
  sqlite::pool<note_table> connections_;
};

std::int64_t number_of(http::value text, const char* what) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number < 0 || number > 1'000'000'000)
    throw http::error(400, std::string(what) + " is a number\n");
  return number;
}

http::router routes_for(const notes& all) {
  http::router routes;
  routes.get("/notes", [all](http::request& asked, http::response& answer) {
    const std::int64_t page = asked.query("page") ? number_of(asked.query("page"), "page") : 0;
    const std::string about(asked.query("about"));
    http::send_json(answer, all.with_table([=](note_table& table) { return table.list(about, page); }));
  });
  routes
      .post("/notes",
            [all](http::request& asked, http::response& answer) {
              const json::value sent = http::json_body(asked);
              const json::value* const text = sent.is_object() ? sent.get_object().if_contains("text") : nullptr;
              if (text == nullptr || !text->is_string() || text->get_string().empty())
                throw http::error(422, "a note is {\"text\": \"...\"}\n");
              const std::int64_t id = all.with_table(
                  [text = std::string(text->get_string())](note_table& table) { return table.add(text); });
              answer.header("Location", "/notes/" + std::to_string(id));
              http::send_json(answer, {{"id", id}, {"text", *text}}, 201);
            })
      .body_limit(64 << 10);
  routes.get("/notes/{id}", [all](http::request& asked, http::response& answer) {
    const std::int64_t id = number_of(asked.parameter("id"), "a note's id");
    const auto found = all.with_table([id](note_table& table) { return table.find(id); });
    if (!found) throw http::error(404, "there is no such note\n");
    http::send_json(answer, *found);
  });
  routes.del("/notes/{id}", [all](http::request& asked, http::response& answer) {
    const std::int64_t id = number_of(asked.parameter("id"), "a note's id");
    if (!all.with_table([id](note_table& table) { return table.remove(id); }))
      throw http::error(404, "there is no such note\n");
    answer.status(204);
  });
  return routes;
}

int serve(const std::string& address, const std::string& database) {
  eventer::signal_set ends{SIGTERM, SIGINT};
  const eventer::job_queue queue("sqlite",
                                 {.max_concurrency = 4, .max_backlog = 1000, .when_full = eventer::when_full::refuse});
  const notes all(queue, database);
  http::router routes = routes_for(all);
  const http::health health;
  health.check("database", [all] { return all.with_table([](note_table&) { return true; }); });
  const http::metrics_handler numbers;
  numbers.watch(queue);
  http::mount_metrics(routes, "/metrics", numbers);
  http::mount_liveness(routes, "/health/live");
  http::mount_readiness(routes, "/health/ready", health);
  http::mount_stacks(routes, "/stacks");
  const http::server server(std::move(routes));
  numbers.watch(server);
  health.watch(server);

  auto acceptor = std::make_shared<eventer::tcp_acceptor>(eventer::tcp_acceptor::listen(address).value());
  std::printf("listening on %s\n", acceptor->local().to_string().c_str());
  std::fflush(stdout);
  auto serving = eventer::spawn([server, acceptor] { return server.serve(*acceptor); });
  (void)ends.next();
  const std::size_t left = server.drain(std::chrono::seconds(10));
  if (left > 0) std::fprintf(stderr, "notes: %zu connections were cancelled\n", left);
  return serving.join() ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  std::string address = "127.0.0.1:8080", database = "notes.db";
  CLI::App app{"Keeps notes in an SQLite file, and answers JSON."};
  app.add_option("-l,--listen", address, "where, such as 127.0.0.1:8080")->capture_default_str();
  app.add_option("-d,--database", database, "the SQLite file")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    return eventer::run([&address, &database] { return serve(address, database); });
  } catch (const std::exception& failure) {
    return std::fprintf(stderr, "notes: %s\n", failure.what()), 1;
  }
}
