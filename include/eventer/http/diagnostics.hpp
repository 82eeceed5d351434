// stacks_handler: what the coroutines of the loops cost, as loop.stacks() tells it, for people and for programs.
//
//   http::mount_stacks(routes, "/debug/stacks", http::stacks_handler(pool));      // ?format=json, or Accept
//
// Making a report visits every living coroutine, on its loop: 100,000 of them hold it up for milliseconds.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eventer/event/ask_loops.hpp"
#include "eventer/event/loop_pool.hpp"
#include "eventer/http/router.hpp"
#include "eventer/http/wants_json.hpp"

namespace eventer::inline EVENTER_ABI::http {

class stacks_handler {
 public:
  // How long a loop may take to answer; one that is held up for longer, or does not run, is reported as that.
  static constexpr duration patience = std::chrono::seconds(1);

  // Of the loop that answers.
  stacks_handler() noexcept = default;
  // Of all loops of the pool, in order. Requires: it outlives the servers that have this mounted.
  explicit stacks_handler(loop_pool& pool) {
    for (unsigned i = 0; i < pool.size(); ++i) loops_.push_back(&pool[i]);
  }

  // Completes: when all loops have answered, or after `patience`. Requires: a coroutine.
  void operator()(request& asked, response& answer) const {
    answer.header("Cache-Control", "no-store");
    const bool as_json = detail::wants_json(asked);
    const auto reports = eventer::detail::ask_loops(loops_.empty() ? std::vector{&event_loop::current()} : loops_,
                                                    patience, [as_json](event_loop& each) {
                                                      const stack_report report = each.stacks();
                                                      return as_json ? report.to_json() : report.to_string();
                                                    });
    if (as_json)
      answer.json(json_of(reports));
    else
      answer.text(text_of(reports));
  }

 private:
  using reports_of_loops = std::vector<std::optional<std::string>>;

  // {"loops":[{...},null]}: null has not answered.
  static std::string json_of(const reports_of_loops& reports) {
    std::string result = "{\"loops\":[";
    for (const auto& each : reports) result.append(each.value_or("null")).append(",");
    result.back() = ']';
    return result.append("}\n");
  }
  static std::string text_of(const reports_of_loops& reports) {
    if (reports.size() == 1) return reports[0].value_or("the loop does not answer\n");
    std::string result;
    for (std::size_t i = 0; i < reports.size(); ++i)
      result.append(i == 0 ? "loop " : "\nloop ")
          .append(std::to_string(i))
          .append(reports[i] ? "\n" : ": does not answer: it is held up, or does not run\n")
          .append(reports[i].value_or(""));
    return result;
  }

  std::vector<event_loop*> loops_;
};

// GET `path`, for clients of this machine alone: see route::anywhere. Returns: the route.
inline route& mount_stacks(router& on, std::string_view path = "/debug/stacks", stacks_handler what = {}) {
  return on.get(path, std::move(what)).loopback_only();
}

}  // namespace eventer::inline EVENTER_ABI::http
