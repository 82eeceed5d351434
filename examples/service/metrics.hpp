// The service's numbers: as text for people, and for Prometheus.
#pragma once

#include <chrono>
#include <cstdio>
#include <eventer/base/metric_text.hpp>
#include <eventer/eventer.hpp>
#include <eventer/listeners.hpp>
#include <string>
#include <utility>
#include <vector>

class metrics {
 public:
  metrics(std::vector<eventer::job_queue> queues, eventer::service_monitor monitor)
      : queues_(std::move(queues)), monitor_(std::move(monitor)) {}

  // A line for each queue, loop and listener. In a coroutine of the service: the loops are asked, and waited for.
  std::string as_text() const {
    std::string text;
    for (const auto& queue : queues_) {
      const eventer::job_stats now = queue.stats();
      add(text, "queue %s: %zu queued, the oldest for %.0f us; %zu running, %zu threads; %llu done, %llu refused; ",
          queue.name().c_str(), now.queued, microseconds(now.oldest), now.running, now.threads, big(now.completed),
          big(now.refused));
      add(text, "waited p50 %.0f us, p99 %.0f us; ran p50 %.0f us, p99 %.0f us\n",
          microseconds(now.waited.quantile(0.5)), microseconds(now.waited.quantile(0.99)),
          microseconds(now.ran.quantile(0.5)), microseconds(now.ran.quantile(0.99)));
    }
    std::size_t number = 0;
    for (const auto& loop : monitor_.of_loops())
      add(text, "loop %zu: %zu coroutines, %zu timers; %llu resumes, %llu turns\n", number++, loop.coroutines,
          loop.timers, big(loop.resumes), big(loop.turns));
    for (const auto& listener : monitor_.of_listeners())
      add(text, "listener %s on %s: %zu open; %llu accepted, %llu refused, %llu failed\n", listener.type.c_str(),
          listener.local.c_str(), listener.open, big(listener.accepted), big(listener.refused), big(listener.failed));
    return text;
  }

  // In the text exposition format. Likewise.
  std::string as_prometheus() const {
    rows<eventer::job_stats> queues;
    for (const auto& each : queues_)
      queues.emplace_back(eventer::metric_text::label("queue", each.name()), each.stats());
    rows<eventer::loop_stats> loops;
    for (const auto& each : monitor_.of_loops())
      loops.emplace_back(eventer::metric_text::label("loop", std::to_string(loops.size())), each);
    rows<eventer::listener_statistics> listeners;
    for (const auto& each : monitor_.of_listeners())
      listeners.emplace_back(
          eventer::metric_text::label("type", each.type) + "," + eventer::metric_text::label("address", each.local),
          each);

    using eventer::metric_kind;
    eventer::metric_text text;
    family(text, metric_kind::gauge, "jobs_queued", "Jobs that wait for a thread.", queues,
           [](auto& q) { return q.queued; });
    family(text, metric_kind::gauge, "jobs_running", "Jobs on a thread.", queues, [](auto& q) { return q.running; });
    family(text, metric_kind::gauge, "job_threads", "Threads of a queue.", queues, [](auto& q) { return q.threads; });
    family(text, metric_kind::gauge, "jobs_oldest_seconds", "How long the oldest job waits.", queues,
           [](auto& q) { return q.oldest; });
    family(text, metric_kind::counter, "jobs_completed_total", "Jobs that have run.", queues,
           [](auto& q) { return q.completed; });
    family(text, metric_kind::counter, "jobs_refused_total", "Jobs without room.", queues,
           [](auto& q) { return q.refused; });
    summary(text, "job_wait_seconds", "From a job's submission to its begin.", queues, &eventer::job_stats::waited);
    summary(text, "job_run_seconds", "From a job's begin to its end.", queues, &eventer::job_stats::ran);
    family(text, metric_kind::gauge, "loop_coroutines", "Coroutines alive.", loops,
           [](auto& l) { return l.coroutines; });
    family(text, metric_kind::counter, "loop_resumes_total", "Resumes of coroutines.", loops,
           [](auto& l) { return l.resumes; });
    family(text, metric_kind::gauge, "connections_open", "Connections.", listeners, [](auto& l) { return l.open; });
    family(text, metric_kind::counter, "connections_accepted_total", "Accepted, also if refused then.", listeners,
           [](auto& l) { return l.accepted; });
    family(text, metric_kind::counter, "connections_refused_total", "Beyond max_connections.", listeners,
           [](auto& l) { return l.refused; });
    return text.take();
  }

 private:
  template <class... Values>
  static void add(std::string& to, const char* format, Values... values) {
    const auto size = static_cast<std::size_t>(std::snprintf(nullptr, 0, format, values...));
    const std::size_t before = to.size();
    to.resize(before + size + 1);
    (void)std::snprintf(to.data() + before, size + 1, format, values...);
    to.resize(before + size);
  }
  static unsigned long long big(std::uint64_t value) { return value; }
  static double seconds(eventer::duration time) { return std::chrono::duration<double>(time).count(); }
  static double microseconds(eventer::duration time) { return seconds(time) * 1e6; }

  template <class T>
  using rows = std::vector<std::pair<std::string, T>>;  // labels and numbers

  template <class Rows, class F>
  static void family(eventer::metric_text& to, eventer::metric_kind kind, const char* name, const char* help,
                     const Rows& all, F value) {
    to.family(std::string("eventer_") + name, kind, help);
    for (const auto& [labels, row] : all) to.add(labels, value(row));
  }
  static void summary(eventer::metric_text& to, const char* name, const char* help, const rows<eventer::job_stats>& all,
                      eventer::duration_histogram eventer::job_stats::*which) {
    to.family(std::string("eventer_") + name, eventer::metric_kind::summary, help);
    for (const auto& [labels, row] : all) to.add_summary(labels, row.*which);
  }

  std::vector<eventer::job_queue> queues_;
  eventer::service_monitor monitor_;
};
