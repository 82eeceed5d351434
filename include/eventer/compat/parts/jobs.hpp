// Section 2 of eventer_aco.h: job queues, and events whose work is done there.
#pragma once

#include <cstring>
#include <string_view>

#include "eventer/compat/detail/jobs.hpp"
#include "eventer/compat/eventer_aco.h"

namespace eventer::inline EVENTER_ABI::compat {

// What a property jobq_<name> says.
struct queue_settings {
  std::uint32_t threads = 1, min = 0, max = 0, backlog = 0;
  std::optional<eventer_jobq_memory_safety_t> memory_safety;
  std::optional<bool> is_lifo;

  // nullptr, or what is wrong with it.
  const char* read(std::string_view text) {
    enum field { of_threads, of_min, of_max, of_safety, of_backlog, of_order };
    for (int which = of_threads;; ++which) {
      const std::string_view one = text.substr(0, text.find(','));
      if (which == of_safety) {
        if (one == "none")
          memory_safety = EVENTER_JOBQ_MS_NONE;
        else if (one == "cs")
          memory_safety = EVENTER_JOBQ_MS_CS;
        else if (one == "gc")
          memory_safety = EVENTER_JOBQ_MS_GC;
        else
          return "the fourth part is none, cs or gc";
      } else if (which == of_order) {
        if (one != "fifo" && one != "lifo") return "the sixth part is fifo or lifo";
        is_lifo = one == "lifo";
      } else if (which > of_order) {
        return "there are six parts at most";
      } else {
        const std::optional<unsigned> number = number_in(one);
        if (!number) return "the first, second, third and fifth part are numbers";
        (which == of_threads ? threads : which == of_min ? min : which == of_max ? max : backlog) = *number;
      }
      if (one.size() == text.size()) return nullptr;
      text.remove_prefix(one.size() + 1);
    }
  }
};

// Makes a queue, or changes one that there is. False: the value is wrong, and a line in the log says how.
inline bool configure_queue(const std::string& name, std::string_view value) {
  queue_settings wanted;
  const char* wrong = name.empty() ? "the name of the queue is missing" : wanted.read(value);
  eventer_jobq_t* queue = nullptr;
  if (wrong == nullptr) {
    queue = queue_table::of_process().make(name, wanted.memory_safety);
    if (queue == nullptr) wrong = "the queue is in use with another class of memory safety";
  }
  if (wrong != nullptr) {
    mtevL(mtev_error,
          "eventer_propset(jobq_%s, \"%.*s\"): %s; the form is jobq_NAME = "
          "threads[,min[,max[,none|cs|gc[,backlog[,fifo|lifo]]]]], such as \"4,1,8,none,1000,fifo\"\n",
          name.c_str(), static_cast<int>(value.size()), value.data(), wrong);
    return false;
  }
  queue->max_backlog.store(wanted.backlog, std::memory_order_relaxed);
  const std::lock_guard lock(queue->mutex);
  if (wanted.is_lifo) queue->set_lifo(*wanted.is_lifo);
  queue->min = wanted.min;
  queue->max = wanted.max;
  queue->wanted = wanted.threads;
  queue->set_concurrency();
  return true;
}

// What eventer_init makes: the default queue, and those that properties speak of.
inline void make_configured_queues() {
  const properties& set = properties::of_process();
  eventer_jobq_t& of_all = queue_table::of_process().default_queue();
  if (const auto order = set.find("default_jobq_ordering")) {
    if (order != "fifo" && order != "lifo")
      mtevL(mtev_error, "eventer_propset(default_jobq_ordering, \"%s\"): it is fifo or lifo; fifo is used\n",
            order->c_str());
    eventer_jobq_set_lifo(&of_all, order == "lifo" ? mtev_true : mtev_false);
  }
  if (const auto threads = number_in(set.find("default_queue_threads").value_or("")))
    eventer_jobq_set_concurrency(&of_all, *threads);
  for (const auto& [name, value] : set.beginning("jobq_")) (void)configure_queue(name, value);
}

}  // namespace eventer::inline EVENTER_ABI::compat

extern "C" {

eventer_jobq_t* eventer_jobq_create(const char* name) { return eventer::compat::queue_table::of_process().make(name); }
eventer_jobq_t* eventer_jobq_create_ms(const char* name, eventer_jobq_memory_safety_t ms) {
  return eventer::compat::queue_table::of_process().make(name, ms);
}
eventer_jobq_t* eventer_jobq_retrieve(const char* name) {
  eventer::compat::queue_table& all = eventer::compat::queue_table::of_process();
  return std::strcmp(name, all.default_name) == 0 ? &all.default_queue() : all.find(name);
}
void eventer_jobq_process_each(mtev_boolean (*f)(eventer_jobq_t*, void*), void* closure) {
  for (eventer_jobq_t* const each : eventer::compat::queue_table::of_process().all())
    if (f(each, closure) == mtev_false) return;
}
void eventer_jobq_drain_and_shutdown(eventer_jobq_t* q) {
  if (q->jobs.workers().is_mine())
    eventer::compat::refuse(
        "eventer_jobq_drain_and_shutdown() in one of the queue's own jobs, which would wait for itself");
  q->is_shut.store(true, std::memory_order_release);
  q->jobs.workers().drain_shielded();
}
void eventer_jobq_destroy(eventer_jobq_t* q) {
  if (q == &eventer::compat::queue_table::of_process().default_queue())
    eventer::compat::refuse("eventer_jobq_destroy() of the default queue, which others use");
  eventer_jobq_drain_and_shutdown(q);
  eventer::compat::queue_table::of_process().destroy(*q);
}

// --- what is set and asked ---

void eventer_jobq_set_concurrency(eventer_jobq_t* q, uint32_t n) {
  const std::lock_guard lock(q->mutex);
  q->wanted = n;
  q->set_concurrency();
}
void eventer_jobq_set_min_max(eventer_jobq_t* q, uint32_t min, uint32_t max) {
  const std::lock_guard lock(q->mutex);
  q->min = min;
  q->max = max;
  q->set_concurrency();
}
void eventer_jobq_set_floor(eventer_jobq_t* q, uint32_t n) {
  const std::lock_guard lock(q->mutex);
  q->floor = n;
  q->set_concurrency();
}
void eventer_jobq_set_max_backlog(eventer_jobq_t* q, uint32_t max) {
  q->max_backlog.store(max, std::memory_order_relaxed);
}
void eventer_jobq_set_lifo(eventer_jobq_t* q, mtev_boolean lifo) {
  const std::lock_guard lock(q->mutex);
  q->set_lifo(lifo != mtev_false);
}
void eventer_jobq_set_shortname(eventer_jobq_t* q, const char* name) {
  const std::lock_guard lock(q->mutex);
  q->short_name.assign(name, ::strnlen(name, q->longest_short_name));
  q->renamed.fetch_add(1, std::memory_order_relaxed);
}
mtev_boolean eventer_jobq_get_lifo(eventer_jobq_t* q) {
  const std::lock_guard lock(q->mutex);
  return q->is_lifo ? mtev_true : mtev_false;
}
const char* eventer_jobq_get_queue_name(eventer_jobq_t* q) { return q->name.c_str(); }
uint32_t eventer_jobq_get_concurrency(eventer_jobq_t* q) { return static_cast<uint32_t>(q->jobs.stats().threads); }
uint32_t eventer_jobq_get_backlog(eventer_jobq_t* q) { return static_cast<uint32_t>(q->jobs.workers().queued()); }
void eventer_jobq_get_min_max(eventer_jobq_t* q, uint32_t* min, uint32_t* max) {
  const std::lock_guard lock(q->mutex);
  if (min != nullptr) *min = q->min;
  if (max != nullptr) *max = q->max;
}
uint32_t eventer_jobq_get_floor(eventer_jobq_t* q) {
  const std::lock_guard lock(q->mutex);
  return q->floor;
}
eventer_jobq_memory_safety_t eventer_jobq_get_memory_safety(eventer_jobq_t* q) {
  const std::lock_guard lock(q->mutex);
  return q->memory_safety;
}
eventer_job_t* eventer_jobq_inflight(void) { return eventer::compat::this_job; }

// --- events ---

void eventer_add_asynch(eventer_jobq_t* q, eventer_t e) {
  eventer_add_asynch_subqueue(q, e, eventer::compat::inherited_subqueue());
}
void eventer_add_asynch_subqueue(eventer_jobq_t* q, eventer_t e, uint64_t id) {
  eventer::compat::add_asynch(q, e, id, eventer::compat::job_kind::free);
}
void eventer_add_asynch_dep(eventer_jobq_t* q, eventer_t e) {
  eventer_add_asynch_dep_subqueue(q, e, eventer::compat::inherited_subqueue());
}
void eventer_add_asynch_dep_subqueue(eventer_jobq_t* q, eventer_t e, uint64_t id) {
  eventer::compat::add_asynch(q, e, id, eventer::compat::job_kind::dependent);
}
mtev_boolean eventer_try_add_asynch(eventer_jobq_t* q, eventer_t e) {
  return eventer_try_add_asynch_subqueue(q, e, eventer::compat::inherited_subqueue());
}
mtev_boolean eventer_try_add_asynch_subqueue(eventer_jobq_t* q, eventer_t e, uint64_t id) {
  return eventer::compat::try_add_asynch(q, e, id, eventer::compat::job_kind::free) ? mtev_true : mtev_false;
}
mtev_boolean eventer_try_add_asynch_dep(eventer_jobq_t* q, eventer_t e) {
  return eventer_try_add_asynch_dep_subqueue(q, e, eventer::compat::inherited_subqueue());
}
mtev_boolean eventer_try_add_asynch_dep_subqueue(eventer_jobq_t* q, eventer_t e, uint64_t id) {
  return eventer::compat::try_add_asynch(q, e, id, eventer::compat::job_kind::dependent) ? mtev_true : mtev_false;
}

}  // extern "C"
