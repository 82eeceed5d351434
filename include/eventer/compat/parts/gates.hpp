// Section 3 of eventer_aco.h: coroutines that wait for jobs, one at a time or several through a gate.
//
// A job is waited for to its end, also by a coroutine that eventer_stop() has cancelled, and whatever time limits are
// around the call: what it uses may be the caller's.
#pragma once

#include "eventer/compat/detail/jobs.hpp"
#include "eventer/compat/eventer_aco.h"

namespace eventer::inline EVENTER_ABI::compat {

inline void refuse_to_wait_in_callbacks(const char* sentence) {
  if (scheduler::current() != nullptr && !may_wait()) refuse(sentence);
}

// In a coroutine, or on a plain thread, which blocks.
inline void wait_for(const gate_part& gate) {
  detail::sync_wait<_event_aco_gate, detail::wait_kind::uncancellable>(gate, {}).block();
  scheduler* const here = scheduler::current();
  if (here != nullptr && here->cancellation_requested()) errno = ECANCELED;
}

// A job that whoever calls waits for.
inline void run_and_wait(eventer_job_t* which) {
  const gate_part gate = make_counted<_event_aco_gate>();
  let_through(*which, gate);
  // One of its own jobs would wait for the thread that it is on.
  if (EVENTER_UNLIKELY(which->queue.jobs.workers().is_mine()))
    which->run_here();
  else
    submit(which);
  wait_for(gate);
}

inline eventer_job_t* job_of(eventer_asynch_simple_func_t function, void* closure, eventer_jobq_t* to,
                             std::uint64_t subqueue) {
  check_closure(closure, "eventer_aco_simple_asynch() or a call of its kind");
  auto* const made = new eventer_job_t(queue_or_default(to), subqueue);
  made->simple = function;
  made->closure = closure;
  return made;
}
inline eventer_job_t* job_of(eventer_asynch_func_t function, void* closure, eventer_jobq_t* to, std::uint64_t subqueue,
                             const timeval* deadline) {
  check_closure(closure, "eventer_aco_asynch() or a call of its kind");
  auto* const made = new eventer_job_t(queue_or_default(to), subqueue);
  made->function = function;
  made->closure = closure;
  made->completes_on = this_loop != nullptr ? this_loop : &runtime::of_process().first();
  if (deadline != nullptr) made->deadline = *deadline;
  return made;
}
inline void submit_gated(eventer_aco_gate_t gate, eventer_job_t* which) {
  let_through(*which, gate_part(gate));
  submit(which);
}

}  // namespace eventer::inline EVENTER_ABI::compat

extern "C" {

eventer_aco_gate_t eventer_aco_gate(void) {
  auto* const made = new _event_aco_gate;
  made->owners = 1;
  return made;
}
void eventer_aco_gate_wait(eventer_aco_gate_t g) {
  eventer::compat::refuse_to_wait_in_callbacks(
      "eventer_aco_gate_wait() in a callback would block its loop: wait in a coroutine, see eventer_aco_start()");
  const eventer::compat::gate_part mine(g);
  --mine->owners;  // the program's
  eventer::compat::wait_for(mine);
}

void eventer_aco_simple_asynch_queue_subqueue(eventer_asynch_simple_func_t f, void* c, eventer_jobq_t* q, uint64_t id) {
  eventer::compat::refuse_to_wait_in_callbacks(
      "eventer_aco_simple_asynch() in a callback would block its loop: wait in a coroutine, see eventer_aco_start()");
  eventer::compat::run_and_wait(eventer::compat::job_of(f, c, q, id));
}
void eventer_aco_simple_asynch_queue_subqueue_gated(eventer_aco_gate_t g, eventer_asynch_simple_func_t f, void* c,
                                                    eventer_jobq_t* q, uint64_t id) {
  eventer::compat::submit_gated(g, eventer::compat::job_of(f, c, q, id));
}
void eventer_aco_asynch_queue_subqueue_deadline(eventer_asynch_func_t f, void* c, eventer_jobq_t* q, uint64_t id,
                                                struct timeval* whence) {
  eventer::compat::refuse_to_wait_in_callbacks(
      "eventer_aco_asynch() in a callback would block its loop: wait in a coroutine, see eventer_aco_start()");
  eventer::compat::run_and_wait(eventer::compat::job_of(f, c, q, id, whence));
}
void eventer_aco_asynch_queue_subqueue_deadline_gated(eventer_aco_gate_t g, eventer_asynch_func_t f, void* c,
                                                      eventer_jobq_t* q, uint64_t id, struct timeval* whence) {
  eventer::compat::submit_gated(g, eventer::compat::job_of(f, c, q, id, whence));
}
void eventer_aco_run_asynch_queue_subqueue(eventer_jobq_t* q, eventer_t e, uint64_t id) {
  namespace compat = eventer::compat;
  compat::refuse_to_wait_in_callbacks(
      "eventer_aco_run_asynch() in a callback would block its loop: add the event, its COMPLETE is called there");
  compat::run_and_wait(compat::job_of(compat::queue_or_default(q), e, id));
}
void eventer_aco_run_asynch_queue_subqueue_gated(eventer_aco_gate_t g, eventer_jobq_t* q, eventer_t e, uint64_t id) {
  eventer::compat::submit_gated(g, eventer::compat::job_of(eventer::compat::queue_or_default(q), e, id));
}
mtev_boolean eventer_aco_try_run_asynch_queue_subqueue(eventer_jobq_t* q, eventer_t e, uint64_t id) {
  namespace compat = eventer::compat;
  compat::refuse_to_wait_in_callbacks(
      "eventer_aco_try_run_asynch() in a callback would block its loop: eventer_try_add_asynch() does not wait");
  const compat::gate_part gate = eventer::make_counted<_event_aco_gate>();
  if (!compat::try_add_asynch(q, e, id, compat::job_kind::free, gate)) return mtev_false;
  compat::wait_for(gate);
  return mtev_true;
}
mtev_boolean eventer_aco_try_run_asynch_queue_subqueue_gated(eventer_aco_gate_t g, eventer_jobq_t* q, eventer_t e,
                                                             uint64_t id) {
  namespace compat = eventer::compat;
  return compat::try_add_asynch(q, e, id, compat::job_kind::free, compat::gate_part(g)) ? mtev_true : mtev_false;
}

}  // extern "C"
