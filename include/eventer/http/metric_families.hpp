// What the library's parts tell as metrics: names, help texts and where the numbers come from. For metrics.hpp.
#pragma once

#include <cstdint>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "eventer/base/metric_text.hpp"
#include "eventer/coro/deadline_scope.hpp"
#include "eventer/event/event_loop.hpp"
#include "eventer/event/job_options.hpp"
#include "eventer/http/server.hpp"

namespace eventer::inline EVENTER_ABI::http {

namespace detail {

// Of a listener: what listener_statistics has, which HTTP alone does not need.
struct listener_numbers {
  std::size_t open = 0;
  std::uint64_t accepted = 0, refused = 0, denied = 0, shed = 0, failed = 0;
};

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

  void listeners(const rows<listener_numbers>& all) {
    gauge("eventer_connections_open", "Connections of the listener, open now.", all, &listener_numbers::open);
    counter("eventer_connections_accepted_total", "Connections accepted, also if refused then.", all,
            &listener_numbers::accepted);
    counter("eventer_connections_refused_total", "Connections beyond max_connections.", all,
            &listener_numbers::refused);
    counter("eventer_connections_denied_total", "Connections that an access list has turned away.", all,
            &listener_numbers::denied);
    counter("eventer_connections_shed_total", "Connections closed for want of descriptors or memory.", all,
            &listener_numbers::shed);
    counter("eventer_connections_failed_total", "Connections whose function has thrown.", all,
            &listener_numbers::failed);
  }

 private:
  template <class T, class Member>
  void gauge(const char* name, const char* help, const rows<T>& all, Member T::*which) {
    family(name, metric_kind::gauge, help, all, which);
  }
  template <class T, class Member>
  void counter(const char* name, const char* help, const rows<T>& all, Member T::*which) {
    family(name, metric_kind::counter, help, all, which);
  }
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

// A service_monitor.
class service_source {
 public:
  virtual ~service_source() = default;
  // Empty where they do not answer within the limit.
  virtual std::vector<loop_stats> loops(duration limit) const = 0;
  virtual metric_families::rows<listener_numbers> listeners() const = 0;
};
template <class Monitor>
class typed_service_source final : public service_source {
 public:
  explicit typed_service_source(const Monitor& monitor) : monitor_(monitor) {}
  std::vector<loop_stats> loops(duration limit) const override {
    const deadline_scope not_for_ever(limit);
    try {
      return monitor_.of_loops();
    } catch (const std::system_error& failure) {
      if (failure.code() != std::errc::timed_out) throw;
      return {};
    }
  }
  metric_families::rows<listener_numbers> listeners() const override {
    metric_families::rows<listener_numbers> result;
    for (const auto& each : monitor_.of_listeners()) {
      std::string labels = metric_text::label("type", each.type);
      labels.append(",").append(metric_text::label("address", each.local));
      result.emplace_back(std::move(labels), listener_numbers{each.open, each.accepted, each.refused, each.denied,
                                                              each.shed, each.failed});
    }
    return result;
  }

 private:
  const Monitor monitor_;
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

}  // namespace eventer::inline EVENTER_ABI::http
