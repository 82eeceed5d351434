// A whole service: a line server on all cores whose put and get block on an SQLite file in jobs, with numbers on
// request, reload and drain.
//
//   service --config examples/service/service.toml
//
//   nc 127.0.0.1 7777         put NAME VALUE, get NAME, stats, quit: see lines.hpp
//   nc -U service-metrics     the numbers for Prometheus, and the end
//   kill -HUP PID             reads service.toml again: listeners come, go and change, connections stay
//   kill -TERM PID            answers what was read, and ends; a second one ends it at once
//
// eventer-service.service and eventer-service.socket are for systemd. scripts/check-service does all of it.
#include <CLI/CLI.hpp>
#include <cstdlib>
#include <eventer/listeners.hpp>
#include <memory>
#include <string>
#include <vector>

#include "lines.hpp"
#include "metrics.hpp"
#include "stores.hpp"

namespace {

// Reads and checks the file, also what it says to our own functions: a database that can't be opened is found before
// anything listens, and at a reload before anything changes.
class read_config {
 public:
  read_config(std::string file, std::string database, std::shared_ptr<stores> all)
      : file_(std::move(file)), database_(std::move(database)), stores_(std::move(all)) {}

  eventer::service_config operator()() const {
    eventer::service_config config = eventer::read_service_file(file_);
    std::vector<eventer::config_problem> problems;
    for (auto& listener : config.listeners) {
      if (listener.type != "lines") continue;
      if (!database_.empty()) {
        std::erase_if(listener.settings, [](const auto& setting) { return setting.first == "database"; });
        listener.settings.emplace_back("database", database_);
      }
      const line_settings settings(listener, problems);
      if (problems.empty()) open(settings.database, listener.source, problems);
    }
    if (!problems.empty()) throw eventer::config_error(std::move(problems));
    return config;
  }

 private:
  void open(const std::string& path, const std::string& where, std::vector<eventer::config_problem>& problems) const {
    try {
      stores_->open(path);
    } catch (const std::system_error& failure) {
      problems.push_back({.file = where, .key = "settings.database", .message = failure.what()});
    }
  }

  std::string file_, database_;
  std::shared_ptr<stores> stores_;
};

}  // namespace

int main(int argc, char** argv) {
  std::string config = "service.toml", database;
  CLI::App app{"Answers lines on all cores, and keeps names and their values in an SQLite file."};
  app.add_option("-c,--config", config, "the listeners")->capture_default_str();
  app.add_option("-d,--database", database, "the SQLite file, whatever the configuration says");
  CLI11_PARSE(app, argc, argv);
  if (std::getenv("EVENTER_LOG") == nullptr) eventer::set_log_level(eventer::log_level::info);

  // SQLite writes one transaction at a time: more threads would only wait for each other. Where the disk can't follow,
  // who comes is told so at once.
  const eventer::job_queue queue("sqlite",
                                 {.max_concurrency = 4, .max_backlog = 1000, .when_full = eventer::when_full::refuse});
  const auto databases = std::make_shared<stores>(queue);
  const eventer::service_monitor monitor;
  const metrics numbers({queue, eventer::job_queue::files(), eventer::job_queue::shared()}, monitor);

  eventer::listener_registry functions;
  functions.add("lines", serve_lines(databases, numbers));
  functions.on_refuse("lines", &serve_lines::refuse);
  functions.add("metrics", [numbers](eventer::any_stream peer) {
    (void)peer.write_all(numbers.as_prometheus(), std::chrono::seconds(5));
  });
  return eventer::run_service(read_config(config, database, databases), functions, {.monitor = monitor});
}
