// fields: the header fields of an answer, as the bytes that are sent. A name or a value that would end a line early is
// refused with a sentence: whatever text comes from outside, it stays in its field.
#pragma once

#include <string>
#include <string_view>

#include "eventer/base/quoted.hpp"
#include "eventer/http/bad_argument.hpp"
#include "eventer/http/characters.hpp"

namespace eventer::inline EVENTER_ABI::http::detail {

class fields {
 public:
  void add(std::string_view name, std::string_view value) {
    using eventer::detail::quoted;
    if (name.empty() || !is_all(http_class::token, name))
      refuse_argument("the name of a header field is a word such as Cache-Control, and this is " + quoted(name));
    check(name, value);
    lines_.append(name).append(": ").append(value).append("\r\n");
  }
  // Throws where the value would not stay in its line.
  static void check(std::string_view name, std::string_view value) {
    const char* const end = value.data() + value.size();
    if (detail::find_not_text(value.data(), end) != end)
      refuse_argument("the value of " + std::string(name) +
                      " has a line feed or another control character in it: " + eventer::detail::quoted(value));
  }
  void remove(std::string_view name) {
    for (std::size_t begin = 0; begin < lines_.size();) {
      const line each = line_at(begin);
      if (equals_any_case(each.name, name))
        lines_.erase(begin, each.end - begin);
      else
        begin = each.end;
    }
  }
  // The first of that name, valid until something changes; no data where there is none.
  std::string_view find(std::string_view name) const noexcept {
    for (std::size_t begin = 0; begin < lines_.size();) {
      const line each = line_at(begin);
      if (equals_any_case(each.name, name)) return each.value;
      begin = each.end;
    }
    return {};
  }
  bool has(std::string_view name) const noexcept { return !lines_.empty() && find(name).data() != nullptr; }
  const std::string& lines() const noexcept { return lines_; }
  void clear() noexcept { lines_.clear(); }

 private:
  struct line {
    std::string_view name, value;
    std::size_t end;  // where the next one begins
  };
  line line_at(std::size_t begin) const noexcept {
    const std::string_view all = lines_;
    const std::size_t colon = all.find(':', begin), end = all.find('\r', begin);
    return {all.substr(begin, colon - begin), all.substr(colon + 2, end - colon - 2), end + 2};
  }

  std::string lines_;
};

}  // namespace eventer::inline EVENTER_ABI::http::detail
