// ask_loops: has every one of some loops compute something, each on its own thread, and waits for the answers; but not
// for longer than for a loop that is held up.
#pragma once

#include <mutex>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "eventer/coro/sync/manual_reset_event.hpp"
#include "eventer/event/event_loop.hpp"

namespace eventer::inline EVENTER_ABI::detail {

template <class R>
class loop_answers {
 public:
  explicit loop_answers(std::size_t loops) : answers_(loops), missing_(loops) {}

  void set(std::size_t index, R&& answer) {
    const std::lock_guard lock(mutex_);
    answers_[index] = std::move(answer);
    if (--missing_ == 0) all_.set();
  }
  // What has come until then.
  std::vector<std::optional<R>> wait(time_limit limit) {
    (void)shared_event(all_).wait(limit);
    const std::lock_guard lock(mutex_);
    return answers_;  // a loop that is late writes into its place still
  }

 private:
  std::mutex mutex_;  // for a moment
  std::vector<std::optional<R>> answers_;
  std::size_t missing_;
  shared_event all_;
};

// `function(event_loop&)` is copied to each loop's next turn; on the loop that runs here it is called at once. Returns:
// the answers in the order of the loops, nothing from one that has not answered in time: it is held up, or does not
// run. Errors: `cancelled`. Requires: a coroutine; loops that outlive the call.
template <class F>
auto ask_loops(const std::vector<event_loop*>& loops, duration limit, const F& function) {
  using answer = std::invoke_result_t<const F&, event_loop&>;
  const auto answers = std::make_shared<loop_answers<answer>>(loops.size());
  for (std::size_t i = 0; i < loops.size(); ++i) {
    event_loop* const each = loops[i];
    if (each == scheduler::current())
      answers->set(i, function(*each));
    else
      each->post([answers, i, each, function] { answers->set(i, function(*each)); });
  }
  return loops.empty() ? std::vector<std::optional<answer>>() : answers->wait(limit);
}

}  // namespace eventer::inline EVENTER_ABI::detail
