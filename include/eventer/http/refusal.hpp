// refusal: why a request is answered with an error before any handler sees it.
#pragma once

#include "eventer/base/config.hpp"

namespace eventer::inline EVENTER_ABI::http {

struct refusal {
  int status = 0;
  const char* why = nullptr;
  explicit operator bool() const noexcept { return status != 0; }
};

}  // namespace eventer::inline EVENTER_ABI::http
