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

#include "eventer/base/metric_text.hpp"
#include "eventer/coro/deadline_scope.hpp"
#include "eventer/event/ask_loops.hpp"
#include "eventer/event/job_queue.hpp"
#include "eventer/event/loop_pool.hpp"
#include "eventer/http/router.hpp"
#include "eventer/http/server.hpp"

namespace eventer::inline EVENTER_ABI::http {

namespace detail {

// The families of the library's own parts, each with a row for every one of them.
class metric_families {
 public:
  template <class T>
  using rows = std::vector<std::pair<std::string, T>>;  // labels and numbers

  explicit metric_families(metric_text& to) noexcept : to_(&to) {}

  void loops(const rows<loop_stats>& all) {
    gauge("eventer_loop_coroutines", "Coroutines alive, of each loop.", all, &loop_stats::coroutines);
    gauge("eventer_loop_parked_bytes", "Bytes of save stacks in use.", all, &loop_stats::parked_bytes);
    gauge("eventer_loop_timers", "Timers armed.", all, &loop_stats::timers);
    gauge("eventer_loop_descriptors", "Descriptors registered.", all, &loop_stats::registrations);
    counter("eventer_loop_resumes_total", "Resumes of coroutines.", all, &loop_stats::resumes);
    counter("eventer_loop_turns_total", "Turns of the loop.", all, &loop_stats::turns);
    counter("eventer_loop_events_total", "Events that the kernel has reported.", all, &loop_stats::events);
    counter("eventer_loop_swaps_total", "Coroutines that came in on a shared stack.", all, &loop_stats::swaps);
    counter("eventer_loop_copied_bytes_total", "Stack bytes copied, both ways.", all, &loop_stats::bytes_copied);
    counter("eventer_loop_stalls_total", "Stalls; none without loop_options::stall_threshold.", all,
            &loop_stats::stalls);
  }
  void servers(const rows<server_statistics>& all) {
    gauge("eventer_http_connections", "Connections that the server has accepted itself, open now.", all,
          &server_statistics::open);
    counter("eventer_http_accepted_total", "Connections accepted, also if refused then.", all,
            &server_statistics::accepted);
    counter("eventer_http_refused_total", "Connections beyond max_connections.", all, &server_statistics::refused);
    counter("eventer_http_requests_total", "Requests that were answered, refusals included.", all,
            &server_statistics::requests);
  }
  void queues(const rows<job_stats>& all) {
    gauge("eventer_jobs_queued", "Jobs that wait for a thread.", all, &job_stats::queued);
    gauge("eventer_jobs_running", "Jobs on a thread.", all, &job_stats::running);
    gauge("eventer_job_threads", "Threads of the queue.", all, &job_stats::threads);
    gauge("eventer_jobs_waiting_for_room", "Jobs that wait to be queued.", all, &job_stats::waiting_for_room);
    gauge("eventer_jobs_oldest_seconds", "How long the oldest of the jobs that wait has waited.", all,
          &job_stats::oldest);
    counter("eventer_jobs_completed_total", "Jobs that have run to their end.", all, &job_stats::completed);
    counter("eventer_jobs_refused_total", "Jobs for which there was no room.", all, &job_stats::refused);
    counter("eventer_jobs_withdrawn_total", "Jobs that were given up before they began.", all, &job_stats::withdrawn);
    counter("eventer_jobs_abandoned_total", "Jobs that were left behind after they had begun.", all,
            &job_stats::abandoned);
    histogram("eventer_job_wait_seconds", "From a job's submission to its begin.", all, &job_stats::waited);
    histogram("eventer_job_run_seconds", "From a job's begin to its end.", all, &job_stats::ran);
  }

  template <class T, class Member>
  void gauge(const char* name, const char* help, const rows<T>& all, Member T::*which) {
    family(name, metric_kind::gauge, help, all, which);
  }
  template <class T, class Member>
  void counter(const char* name, const char* help, const rows<T>& all, Member T::*which) {
    family(name, metric_kind::counter, help, all, which);
  }

 private:
  template <class T, class Member>
  void family(const char* name, metric_kind kind, const char* help, const rows<T>& all, Member T::*which) {
    if (all.empty()) return;
    to_->family(name, kind, help);
    for (const auto& [labels, row] : all) to_->add(labels, row.*which);
  }
  void histogram(const char* name, const char* help, const rows<job_stats>& all, duration_histogram job_stats::*which) {
    if (all.empty()) return;
    to_->family(name, metric_kind::histogram, help);
    for (const auto& [labels, row] : all) to_->add_histogram(labels, row.*which);
  }

  metric_text* to_;
};

// Of the program.
class metric_source {
 public:
  virtual ~metric_source() = default;
  virtual void write(metric_text& to) const = 0;
};
template <class F>
class typed_metric_source final : public metric_source {
 public:
  explicit typed_metric_source(F&& function) : function_(std::move(function)) {}
  void write(metric_text& to) const override { function_(to); }

 private:
  const F function_;
};

}  // namespace detail

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
    add_loops(all->loops, result);
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
