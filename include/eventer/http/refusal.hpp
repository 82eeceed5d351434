// refusal: why a request is not served, as the wire layer found it: the status to answer with, and a sentence for the
// log. After a refusal nobody knows where the next request begins: answer, then close.
#pragma once

#include "eventer/base/config.hpp"

namespace eventer::inline EVENTER_ABI::http {

// 400 malformed, 413 body too large, 414 request line too long, 417 expectation unknown, 431 head or trailers too
// large, 501 transfer coding or method that is not there, 505 version of HTTP. `why` is static text that quotes nothing
// of what the client sent.
struct refusal {
  int status = 0;  // 0: nothing is wrong
  const char* why = nullptr;

  constexpr explicit operator bool() const noexcept { return status != 0; }
};

}  // namespace eventer::inline EVENTER_ABI::http
