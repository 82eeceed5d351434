// client_settings: what a client was made with; the same for all of its loops, and never changed.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>

#include "eventer/coro/scheduler.hpp"
#include "eventer/http/client_options.hpp"
#include "eventer/http/client_security.hpp"
#include "eventer/http/fields.hpp"
#include "eventer/http/limits.hpp"

namespace eventer::inline EVENTER_ABI::http::detail {

struct client_settings {
  client_settings(client_options&& given, std::unique_ptr<const any_client_security> own_security)
      : options(std::move(given)), own(std::move(own_security)) {
    fields::check("the user agent of a client", options.user_agent);
    bounds.header_bytes = options.header_bytes;
    bounds.header_count = options.header_count;
    bounds.body = UINT64_MAX;  // body() has a limit, who reads in pieces needs none
    bounds.body_idle = without_zero(options.body_idle);
  }
  const any_client_security* security() const {
    if (own != nullptr) return own.get();
    const auto made = default_client_security().load();
    return made != nullptr ? &made() : nullptr;
  }

  static duration without_zero(duration limit) noexcept { return limit <= duration::zero() ? duration::max() : limit; }
  // When a wait that begins now has to end.
  static time_point end_of(duration limit, time_point at_last) {
    return std::min(at_last, deadline_after(scheduler::current()->now(), without_zero(limit)));
  }

  const client_options options;
  const std::unique_ptr<const any_client_security> own;
  limits bounds;
};

}  // namespace eventer::inline EVENTER_ABI::http::detail
