// What a server is told, beside its routes.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

#include "eventer/http/limits.hpp"
#include "eventer/http/request.hpp"
#include "eventer/http/response.hpp"

namespace eventer::inline EVENTER_ABI::http {

// One request that was answered, or refused. Valid during the call.
struct access_entry {
  const request& asked;    // with an empty method and target where it could not be read
  const response& answer;  // status(), body_bytes(), failure()
  duration took;           // from the end of the request's head to the end of the answer
};

namespace detail {

// A function of the program, shared by all loops; empty, or called as const.
template <class... Arguments>
class shared_function {
 public:
  shared_function() noexcept = default;
  template <class F>
  requires std::is_invocable_v < const std::decay_t<F>
  &, Arguments... > shared_function(F&& function)
      : target_(std::make_shared<const typed<std::decay_t<F>>>(std::forward<F>(function))) {}

  explicit operator bool() const noexcept { return target_ != nullptr; }
  void operator()(Arguments... arguments) const { target_->call(arguments...); }

 private:
  struct any {
    virtual ~any() = default;
    virtual void call(Arguments... arguments) const = 0;
  };
  template <class F>
  struct typed final : any {
    template <class From>
    explicit typed(From&& from) : function(std::forward<From>(from)) {}
    void call(Arguments... arguments) const override { function(arguments...); }
    F function;
  };
  std::shared_ptr<const any> target_;
};

}  // namespace detail

// Use designated initialisers; members are only ever appended.
struct server_options {
  http::limits limits = {};
  // Open at a time on all loops; further ones are answered with 503 and closed. 0: no limit.
  std::size_t max_connections = 10'000;
  // Called for every answer, on the loop of its connection, when it is complete; must not wait.
  detail::shared_function<const access_entry&> access_log = {};
  // Makes the body for a status that is answered by the server itself: 404, 405, 413, 500, ... It may set the type and
  // further fields; the status and the framing are settled. Called as part of the connection's coroutine.
  detail::shared_function<const request&, response&, int> error_page = {};
};

}  // namespace eventer::inline EVENTER_ABI::http
