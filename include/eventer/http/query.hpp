// query_view: the parameters in a query string or in a body of type application/x-www-form-urlencoded, as the URL
// standard of WHATWG reads them: "a=1&b=x+y". Anything is such a text; what is no escape stands for itself.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "eventer/base/config.hpp"
#include "eventer/http/percent.hpp"

namespace eventer::inline EVENTER_ABI::http {

// Returns: the bytes meant, '+' being a space. They may be anything, NULs and no UTF-8 too.
inline std::string form_decode(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    const int byte = detail::escaped_byte(text, i);
    result += byte >= 0 ? static_cast<char>(byte) : text[i] == '+' ? ' ' : text[i];
    if (byte >= 0) i += 2;
  }
  return result;
}

// A view: the text must outlive it. Nothing is decoded but what is asked for; each call reads the text anew, which is
// meant for a few parameters. Who needs many of them takes one for_each().
class query_view {
 public:
  // What comes behind so many is not looked at: a body may hold millions. Who must know asks has_too_many().
  static constexpr std::size_t most_parameters = 1000;

  query_view() = default;
  explicit query_view(std::string_view text) noexcept : text_(text) {}  // without the question mark

  // The first of that name, decoded; "a" and "a=" have an empty value.
  std::optional<std::string> find(std::string_view name) const {
    std::optional<std::string> result;
    visit([&](std::string_view raw_name, std::string_view raw_value) {
      if (!says(raw_name, name)) return true;
      result = form_decode(raw_value);
      return false;
    });
    return result;
  }
  // All of that name, in their order.
  std::vector<std::string> find_all(std::string_view name) const {
    std::vector<std::string> result;
    visit([&](std::string_view raw_name, std::string_view raw_value) {
      if (says(raw_name, name)) result.push_back(form_decode(raw_value));
      return true;
    });
    return result;
  }
  bool contains(std::string_view name) const noexcept {
    bool found = false;
    visit([&](std::string_view raw_name, std::string_view) { return !(found = says(raw_name, name)); });
    return found;
  }

  // Calls f(std::string name, std::string value), decoded, for each in order; where f returns bool, until it is false.
  template <class F>
  void for_each(F&& f) const {
    visit([&](std::string_view raw_name, std::string_view raw_value) {
      if constexpr (std::is_same_v<std::invoke_result_t<F&, std::string, std::string>, bool>) {
        return f(form_decode(raw_name), form_decode(raw_value));
      } else {
        f(form_decode(raw_name), form_decode(raw_value));
        return true;
      }
    });
  }
  // Calls f(std::string_view name, std::string_view value) for each, as they were sent; data() of a value is null where
  // there is no '='.
  template <class F>
  void for_each_raw(F&& f) const {
    visit([&](std::string_view raw_name, std::string_view raw_value) {
      f(raw_name, raw_value);
      return true;
    });
  }

  bool has_too_many() const noexcept {
    return !visit([](std::string_view, std::string_view) { return true; });
  }
  std::string_view raw() const noexcept { return text_; }

 private:
  // Calls f for each that is not empty. Returns: false where there were more than are looked at.
  template <class F>
  bool visit(F&& f) const {
    std::size_t count = 0;
    for (std::size_t begin = 0; begin < text_.size();) {
      const std::string_view rest = text_.substr(begin);
      const std::string_view pair = rest.substr(0, rest.find('&'));
      begin += pair.size() + 1;
      if (pair.empty()) continue;
      if (count++ == most_parameters) return false;
      const std::size_t equals = pair.find('=');
      const std::string_view value = equals == std::string_view::npos ? std::string_view() : pair.substr(equals + 1);
      if (!f(pair.substr(0, equals), value)) return true;
    }
    return true;
  }
  static bool says(std::string_view raw, std::string_view name) noexcept {
    std::size_t at = 0;
    for (std::size_t i = 0; i < raw.size(); ++i, ++at) {
      const int byte = detail::escaped_byte(raw, i);
      const char meant = byte >= 0 ? static_cast<char>(byte) : raw[i] == '+' ? ' ' : raw[i];
      if (at == name.size() || name[at] != meant) return false;
      if (byte >= 0) i += 2;
    }
    return at == name.size();
  }

  std::string_view text_;
};

}  // namespace eventer::inline EVENTER_ABI::http
