// access_list: who may connect, by address.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "eventer/net/endpoint.hpp"

namespace eventer::inline EVENTER_ABI {

// To be written: see listener_config.
class access_list {
 public:
  bool empty() const noexcept { return true; }
};

}  // namespace eventer::inline EVENTER_ABI
