// deadline_scope: a time limit for everything that is awaited inside it.
//
//   eventer::deadline_scope all(2s);
//   stream.write_all(query);         // every wait inside ends at the same time
//   auto n = stream.read_some(answer);  // timed_out if two seconds have passed
#pragma once

#include "eventer/coro/cancelled.hpp"
#include "eventer/coro/scheduler.hpp"

namespace eventer::inline EVENTER_ABI {

// While one lives, no wait of this coroutine goes on past its deadline: calls that answer an io_result answer
// timed_out, a sleep returns early, join() throws std::system_error(timed_out); what does not have to wait still
// succeeds. Nests: the earliest deadline counts. Lives on the coroutine's own stack, and only there: scopes end in the
// reverse order of their beginning, and are not handed on. What is spawned inside is not in it. Requires: in a
// coroutine.
class deadline_scope {
 public:
  // So long from now on, or until a time of the loop's clock.
  explicit deadline_scope(time_limit limit) {
    scheduler* const here = scheduler::current();
    if (here == nullptr || here->running() == nullptr)
      broken_rule("a deadline_scope outside a coroutine: give the calls a time limit of their own instead");
    control_block& block = *here->running();
    deadline_ = here->resolve(limit);
    outer_ = details_of(block).scope_deadline;
    if (deadline_ < outer_) details_of(block).scope_deadline = deadline_;
    if (details_of(block).scope_deadline != no_deadline) block.set(coroutine_flag::scoped);
  }
  deadline_scope(const deadline_scope&) = delete;
  deadline_scope& operator=(const deadline_scope&) = delete;
  ~deadline_scope() {
    control_block* const block = scheduler::running_block();
    details_of(*block).scope_deadline = outer_;
    if (outer_ == no_deadline) block->clear(coroutine_flag::scoped);
  }

  // Whether its time is over.
  bool expired() const { return scheduler::current()->now() >= deadline_; }

 private:
  time_point deadline_, outer_;
};

}  // namespace eventer::inline EVENTER_ABI
