// metrics_handler: the library's numbers and the program's own, for Prometheus.
//
//   http::metrics_handler numbers;
//   numbers.watch(pool).watch(job_queue::shared());
//   numbers.add("notes_total", "Notes that were kept.", [kept] { return kept->load(); });
//   http::mount_metrics(routes, "/metrics", numbers);
//   http::server server(std::move(routes));
//   numbers.watch(server, "public");                          // which there was not before
//
// Nothing is counted for it: it asks when it is asked, and no loop waits for another.
#pragma once

#include <concepts>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "eventer/event/ask_loops.hpp"
#include "eventer/event/job_queue.hpp"
#include "eventer/event/loop_pool.hpp"
#include "eventer/http/metric_families.hpp"

namespace eventer::inline EVENTER_ABI::http {

// A handle: copies are the same, so that more can be given to it while it is mounted. All members from any thread.
class metrics_handler {
  using rows_of_loops = detail::metric_families::rows<loop_stats>;

 public:
  // How long a loop may take to answer; one that is held up for longer, or does not run, is eventer_loop_answers 0, and
  // its other numbers are left out.
  static constexpr duration patience = std::chrono::seconds(1);

  // All loops of the pool, in order: loop="0", "1", ... Without any, there are numbers of the loop that answers alone:
  // loop="current". Requires: it outlives the servers that have this mounted.
  const metrics_handler& watch(loop_pool& pool) const {
    const std::lock_guard lock(state_->mutex);
    for (unsigned i = 0; i < pool.size(); ++i) state_->loops.push_back(&pool[i]);
    return *this;
  }
  // Over all its loops. It is looked at, and not kept: the server keeps its handlers.
  const metrics_handler& watch(const server& which, std::string name = "http") const {
    const std::lock_guard lock(state_->mutex);
    state_->servers.emplace_back(metric_text::label("server", name), which.view());
    return *this;
  }
  // Loops and listeners of a service: a service_monitor, where run_service() has made the pool. Where one of the loops
  // is held up, none of them tells its numbers.
  template <class Monitor>
  requires requires(const Monitor& monitor) { monitor.of_loops(), monitor.of_listeners(); }
  const metrics_handler& watch(const Monitor& which) const {
    auto made = std::make_shared<const detail::typed_service_source<Monitor>>(which);
    const std::lock_guard lock(state_->mutex);
    state_->services.push_back(std::move(made));
    return *this;
  }
  // It is kept.
  const metrics_handler& watch(const job_queue& which) const {
    const std::lock_guard lock(state_->mutex);
    state_->queues.push_back(which);
    return *this;
  }

  // A number of the program: `function()` is called for each request, on the loop that answers, so also on several
  // threads at the same time; it may wait. A name that ends in _total is a counter, else it is a gauge. What it throws
  // is a line in the log, and the number is left out. Errors: std::invalid_argument for a bad name.
  template <class F>
  requires(std::is_arithmetic_v<std::invoke_result_t<const std::decay_t<F>&>>) const metrics_handler& add(
      std::string name, std::string help, F&& function) const {
    check(name);
    const metric_kind kind = name.ends_with("_total") ? metric_kind::counter : metric_kind::gauge;
    return write([name = std::move(name), help = std::move(help), kind,
                  function = std::decay_t<F>(std::forward<F>(function))](metric_text& to) {
      const auto value = function();
      to.family(name, kind, help);
      to.add("", value);
    });
  }
  // Whole families: `function(metric_text&)` writes them. Otherwise as add().
  template <class F>
  requires(std::is_invocable_v<const std::decay_t<F>&, metric_text&>) const metrics_handler& write(F&& function) const {
    using source = detail::typed_metric_source<std::decay_t<F>>;
    auto made = std::make_shared<const source>(std::decay_t<F>(std::forward<F>(function)));
    const std::lock_guard lock(state_->mutex);
    state_->sources.push_back(std::move(made));
    return *this;
  }

  // What it answers. Completes: when all loops have answered, or after `patience`. Requires: a coroutine.
  std::string text() const {
    const std::unique_ptr<const lists> all = copy();
    metric_text result;
    detail::metric_families families(result);
    if (all->services.empty() || !all->loops.empty()) add_loops(all->loops, result);
    for (const auto& each : all->services) add_service(*each, families);
    detail::metric_families::rows<server_statistics> servers;
    for (const auto& [labels, view] : all->servers)
      if (auto now = view.statistics()) servers.emplace_back(labels, *now);
    families.servers(servers);
    detail::metric_families::rows<job_stats> queues;
    for (const job_queue& each : all->queues)
      queues.emplace_back(metric_text::label("queue", each.name()), each.stats());
    families.queues(queues);
    for (const auto& each : all->sources) add_source(*each, result);
    return result.take();
  }
  void operator()(request&, response& answer) const {
    answer.header("Cache-Control", "no-store").body(metric_text::content_type, text());
  }

 private:
  struct lists {
    std::vector<event_loop*> loops;
    std::vector<std::pair<std::string, server_view>> servers;
    std::vector<job_queue> queues;
    std::vector<std::shared_ptr<const detail::service_source>> services;
    std::vector<std::shared_ptr<const detail::metric_source>> sources;
  };
  struct state : lists {
    std::mutex mutex;  // for a moment
  };

  static void check(const std::string& name) {
    if (!metric_text::is_name(name))
      detail::refuse_argument("the name of a metric has letters, digits, '_' and ':', and this is " +
                              eventer::detail::quoted(name));
  }
  std::unique_ptr<const lists> copy() const {
    const std::lock_guard lock(state_->mutex);
    return std::make_unique<const lists>(*state_);
  }
  static void add_loops(const std::vector<event_loop*>& loops, metric_text& to) {
    rows_of_loops rows;
    if (loops.empty()) {
      rows.emplace_back(metric_text::label("loop", "current"), event_loop::current().stats());
    } else {
      const auto answers = eventer::detail::ask_loops(loops, patience, [](event_loop& each) { return each.stats(); });
      to.family("eventer_loop_answers", metric_kind::gauge, "Whether the loop has told its numbers in time.");
      for (std::size_t i = 0; i < answers.size(); ++i) {
        const std::string label = metric_text::label("loop", std::to_string(i));
        to.add(label, answers[i].has_value());
        if (answers[i]) rows.emplace_back(label, *answers[i]);
      }
    }
    detail::metric_families(to).loops(rows);
  }
  static void add_service(const detail::service_source& which, detail::metric_families& to) {
    rows_of_loops rows;
    for (const loop_stats& each : which.loops(patience))
      rows.emplace_back(metric_text::label("loop", std::to_string(rows.size())), each);
    to.loops(rows);
    to.listeners(which.listeners());
  }
  // All or nothing of one.
  static void add_source(const detail::metric_source& which, metric_text& to) {
    metric_text own;
    try {
      which.write(own);
    } catch (const cancelled&) {
      throw;
    }
    EVENTER_REFUSE_THREAD_EXIT
    catch (...) {
      return log(log_level::error, "metrics: a number of the program's own is left out%s",
                 eventer::detail::text_of(std::current_exception()).c_str());
    }
    to.append(own);
  }

  std::shared_ptr<state> state_ = std::make_shared<state>();
};

// GET `path`, for clients of this machine alone: see route::anywhere. Returns: the route.
inline route& mount_metrics(router& on, std::string_view path = "/metrics", metrics_handler what = {}) {
  return on.get(path, std::move(what)).loopback_only();
}

}  // namespace eventer::inline EVENTER_ABI::http
