// wants_json: in which form the library's own handlers answer.
#pragma once

#include <string_view>

#include "eventer/http/request.hpp"

namespace eventer::inline EVENTER_ABI::http::detail {

// ?format=json, else an Accept that names application/json; all else gets text, which people can read.
inline bool wants_json(request& asked) {
  if (const value format = asked.query("format")) return format == "json";
  for (std::size_t i = 0; i < asked.header_count(); ++i) {
    const header_field each = asked.header(i);
    if (!equals_any_case(each.name, "accept")) continue;
    for (std::string_view list = each.value; !list.empty();) {
      const std::string_view element = take_element(list);
      if (equals_any_case(element.substr(0, element.find_first_of("; \t")), "application/json")) return true;
    }
  }
  return false;
}

}  // namespace eventer::inline EVENTER_ABI::http::detail
