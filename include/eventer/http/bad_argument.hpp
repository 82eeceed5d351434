// refuse_argument: how the http headers answer a program's own mistake, such as a route that can't be meant so.
#pragma once

#include <stdexcept>
#include <string>

#include "eventer/base/config.hpp"
#include "eventer/base/result.hpp"

namespace eventer::inline EVENTER_ABI::http::detail {

// Throws std::invalid_argument; without exceptions the process ends with the sentence.
[[noreturn]] inline void refuse_argument(const std::string& sentence) {
#if EVENTER_EXCEPTIONS
  throw std::invalid_argument(sentence);
#else
  broken_rule(sentence.c_str());
#endif
}

}  // namespace eventer::inline EVENTER_ABI::http::detail
