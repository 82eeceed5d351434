// health: the two questions that whoever looks after a process asks. Does it live, or must it be started again? Is it
// ready, or should clients be sent elsewhere?
//
//   http::health state;
//   state.set_ready(false, "warming up");
//   state.check("database", [database] { return database.ping(); });      // a coroutine: it may wait, for 1 s here
//   http::mount_liveness(routes, "/livez");
//   http::mount_readiness(routes, "/readyz", state);
//   ...
//   server.drain(10s, 1s, 5s);          // not ready from now on; accepts for 5 s more
//
// What must not be broken: liveness depends on nothing but the loop. A process that is started again because its
// database is away serves nobody better.
#pragma once

#include <algorithm>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include "eventer/coro/spawn.hpp"
#include "eventer/http/router.hpp"
#include "eventer/http/server.hpp"
#include "eventer/http/wants_json.hpp"

namespace eventer::inline EVENTER_ABI::http {

namespace detail {

// Something that readiness depends on.
class health_check {
 public:
  health_check(std::string name, duration limit) : name_(std::move(name)), limit_(limit) {}
  virtual ~health_check() = default;
  // Empty where all is well, else why not.
  virtual std::string ask() const = 0;
  const std::string& name() const noexcept { return name_; }
  duration limit() const noexcept { return limit_; }

 private:
  const std::string name_;
  const duration limit_;
};

template <class F>
class typed_health_check final : public health_check {
 public:
  template <class From>
  typed_health_check(std::string name, duration limit, From&& function)
      : health_check(std::move(name), limit), function_(std::forward<From>(function)) {}
  std::string ask() const override {
    const auto call = [this]() -> decltype(auto) { return function_(); };
    auto&& answer = eventer::detail::call_unwrapped(call);
    if constexpr (std::is_same_v<std::decay_t<decltype(answer)>, bool>)
      return answer ? "" : "says no";
    else if constexpr (std::is_convertible_v<decltype(answer), std::string>)
      return std::forward<decltype(answer)>(answer);
    else if constexpr (std::is_same_v<std::decay_t<decltype(answer)>, std::error_code>)
      return answer ? answer.message() : "";
    else
      return answer ? "" : answer.error().message();
  }

 private:
  const F function_;
};

}  // namespace detail

// A handle: copies are the same state. All members but reasons() from any thread.
class health {
 public:
  // What the program knows itself; ready where it says nothing.
  void set_ready(bool ready, std::string reason = "not ready") const {
    const std::lock_guard lock(state_->mutex);
    if (ready)
      state_->reason.reset();
    else
      state_->reason = std::move(reason);
  }
  // Asked each time, by whoever asks for readiness, on the loop that answers: so also on several threads at the same
  // time. It answers true, an empty std::string (else: the reason), a std::error_code of no error, or an io_result with
  // a value; what it throws is a reason too. It is a coroutine of its own, beside the other checks (a
  // task<> that it returns is awaited); when `limit` is over that is the reason, and it is cancelled.
  template <class F>
  void check(std::string name, F&& function, duration limit = std::chrono::seconds(1)) const {
    using type = detail::typed_health_check<std::decay_t<F>>;
    auto made = std::make_shared<const type>(std::move(name), limit, std::forward<F>(function));
    const std::lock_guard lock(state_->mutex);
    state_->checks.push_back(std::move(made));
  }
  // Not ready from the server's drain() on. It is looked at, and not kept: the server keeps its handlers.
  void watch(const server& which) const {
    const std::lock_guard lock(state_->mutex);
    state_->servers.push_back(which.view());
  }

  // Why it is not ready; empty where it is. Completes: when all checks have answered, or their limits are over.
  // Requires: a coroutine.
  std::vector<std::string> reasons() const {
    std::vector<std::string> result;
    std::vector<std::shared_ptr<const detail::health_check>> checks;
    {
      const std::lock_guard lock(state_->mutex);
      if (state_->reason) result.push_back(*state_->reason);
      for (const server_view& each : state_->servers)
        if (each.draining()) result.emplace_back("draining");
      checks = state_->checks;
    }
    ask(checks, result);
    return result;
  }

 private:
  struct state {
    std::mutex mutex;  // for a moment
    std::optional<std::string> reason;
    std::vector<std::shared_ptr<const detail::health_check>> checks;
    std::vector<server_view> servers;
  };
  struct asked_check {
    std::shared_ptr<const detail::health_check> what;
    join_handle<std::string> answer;
    time_point deadline;
  };
  // Cancels what runs still.
  struct asked_checks : std::vector<asked_check> {
    ~asked_checks() {
      for (asked_check& each : *this)
        if (each.answer.joinable()) each.answer.cancel();
    }
  };

  static void ask(const std::vector<std::shared_ptr<const detail::health_check>>& checks,
                  std::vector<std::string>& reasons) {
    const auto asked = std::make_unique<asked_checks>();
    const time_point now = scheduler::current()->now();
    for (const auto& each : checks)
      asked->push_back({each, spawn(spawn_options{.name = "health check"}, [each] { return text_of(*each); }),
                        deadline_after(now, each->limit())});
    for (asked_check& each : *asked) {
      const auto answer = each.answer.join_for(each.deadline);
      if (answer && answer->empty()) continue;
      const bool late = !answer && answer.error() == std::errc::timed_out;
      reasons.push_back(each.what->name() + ": " + (answer ? *answer : late ? "no answer in time" : "was cancelled"));
    }
  }
  static std::string text_of(const detail::health_check& which) {
    try {
      return which.ask();
    } catch (const cancelled&) {
      throw;
    } catch (const std::exception& failure) {
      return *failure.what() != '\0' ? failure.what() : "has thrown an exception";
    }
    EVENTER_REFUSE_THREAD_EXIT
    catch (...) {
      return "has thrown an exception";
    }
  }

  std::shared_ptr<state> state_ = std::make_shared<state>();
};

// GET `path` is answered with 200 as long as the loop turns that has its connection: who gets no answer in time knows
// enough. For clients of this machine alone: see route::anywhere. Returns: the route.
inline route& mount_liveness(router& on, std::string_view path = "/livez") {
  return on
      .get(path,
           [](request& asked, response& answer) {
             answer.header("Cache-Control", "no-store");
             if (detail::wants_json(asked))
               answer.json("{\"alive\":true}\n");
             else
               answer.text("alive\n");
           })
      .loopback_only();
}

namespace detail {

class readiness_handler {
 public:
  explicit readiness_handler(health state) noexcept : state_(std::move(state)) {}

  void operator()(request& asked, response& answer) const {
    std::vector<std::string> reasons = state_.reasons();
    if (asked.draining() && std::find(reasons.begin(), reasons.end(), "draining") == reasons.end())
      reasons.emplace_back("draining");
    answer.status(reasons.empty() ? 200 : 503).header("Cache-Control", "no-store");
    if (wants_json(asked))
      answer.json(json_of(reasons));
    else
      answer.text(text_of(reasons));
  }

 private:
  static std::string text_of(const std::vector<std::string>& reasons) {
    std::string result = reasons.empty() ? "ready\n" : "not ready\n";
    for (const std::string& each : reasons) result.append(each).append("\n");
    return result;
  }
  static std::string json_of(const std::vector<std::string>& reasons) {
    std::string result = reasons.empty() ? "{\"ready\":true,\"reasons\":[" : "{\"ready\":false,\"reasons\":[";
    for (std::size_t i = 0; i < reasons.size(); ++i)
      result.append(i == 0 ? "" : ",").append(eventer::detail::json_text(reasons[i]));
    return result.append("]}\n");
  }

  const health state_;
};

}  // namespace detail

// GET `path`: 200, or 503 with the reasons, a line each, or as {"ready":false,"reasons":["database: says no"]}. Not
// ready is what `state` says, and, whatever it says, a server that drains and has told its connections so. Behind
// run_service: state.check("service", [monitor] { return monitor.ready(); }). For clients of this machine alone: see
// route::anywhere. Returns: the route.
inline route& mount_readiness(router& on, std::string_view path = "/readyz", health state = {}) {
  return on.get(path, detail::readiness_handler(std::move(state))).loopback_only();
}

}  // namespace eventer::inline EVENTER_ABI::http
