// toml_reader: values of a parsed document into members of a struct, collecting what is wrong instead of stopping at
// it.
#pragma once

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "eventer/config/toml_document.hpp"
#include "eventer/listener/duration_text.hpp"

namespace eventer::inline EVENTER_ABI::detail {

// A value and the name under which messages speak of it: "listener[1].backlog".
struct toml_value {
  const toml::node& node;
  const std::string& name;
};

template <class Enum>
struct toml_choice {
  std::string_view text;
  Enum value;
};

struct duration_range {
  duration most, step;
  std::string_view expected;
};

class toml_reader {
 public:
  explicit toml_reader(std::string file) : file_(std::move(file)) {}

  const std::string& file() const noexcept { return file_; }
  void complain(const toml::source_position& at, const std::string& name, std::string message) {
    problems_.push_back({file_, at.line, at.column, name, std::move(message)});
  }
  void complain(const toml_value& about, std::string message) {
    complain(about.node.source().begin, about.name, std::move(message));
  }
  void expected(const toml_value& about, std::string_view what) {
    complain(about, std::string("expected ").append(what).append(", got ").append(described(about.node)));
  }
  // Errors: config_error with all that was complained of, in the order of the file.
  void finish() {
    if (problems_.empty()) return;
    std::stable_sort(problems_.begin(), problems_.end(), [](const config_problem& a, const config_problem& b) {
      return std::tie(a.line, a.column) < std::tie(b.line, b.column);
    });
    throw config_error(std::move(problems_));
  }

  // Each leaves `into` as it is where the value is none of its kind.
  template <class Number>
  void number(const toml_value& from, std::int64_t least, std::int64_t most, Number& into) {
    const auto* const value = from.node.as_integer();
    if (value != nullptr && value->get() >= least && value->get() <= most) {
      into = static_cast<Number>(value->get());
      return;
    }
    expected(from, "a whole number from " + std::to_string(least) + " to " + std::to_string(most));
  }
  void flag(const toml_value& from, bool& into) {
    if (const auto* const value = from.node.as_boolean())
      into = value->get();
    else
      expected(from, "true or false");
  }
  void time(const toml_value& from, const duration_range& range, duration& into) {
    const auto* const value = from.node.as_string();
    const auto parsed = value != nullptr ? parse_duration(value->get()) : std::nullopt;
    if (parsed && *parsed <= range.most && *parsed % range.step == duration::zero())
      into = *parsed;
    else
      expected(from, range.expected);
  }
  template <class Enum, std::size_t Count>
  void choice(const toml_value& from, const toml_choice<Enum> (&choices)[Count], Enum& into) {
    const auto* const value = from.node.as_string();
    std::string all;
    for (std::size_t i = 0; i < Count; ++i) {
      if (value != nullptr && value->get() == choices[i].text) {
        into = choices[i].value;
        return;
      }
      all.append(i == 0 ? "" : i + 1 < Count ? ", " : " or ").append("\"").append(choices[i].text).append("\"");
    }
    expected(from, all);
  }
  // Calls add(text) for each text of an array; what that answers is wrong with it, unless it is empty.
  template <class Add>
  void texts(const toml_value& from, std::string_view what, Add add) {
    const toml::array* const array = from.node.as_array();
    if (array == nullptr) return expected(from, what);
    for (std::size_t i = 0; i < array->size(); ++i) {
      const std::string name = element_name(from.name, i);
      const toml_value element{(*array)[i], name};
      const auto* const value = element.node.as_string();
      if (value == nullptr)
        expected(element, "text in quotes");
      else if (std::string error = add(value->get()); !error.empty())
        complain(element, std::move(error));
    }
  }

  static std::string element_name(std::string_view array, std::size_t index) {
    return std::string(array).append("[").append(std::to_string(index)).append("]");
  }
  // A name that would need quotes in TOML has them in messages too.
  static std::string member_name(const std::string& table, std::string_view key) {
    const bool bare = !key.empty() && key.find_first_not_of(
                                          "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                          "_-") == std::string_view::npos;
    return std::string(table)
        .append(table.empty() ? "" : ".")
        .append(bare && key.size() <= 60 ? std::string(key) : detail::quoted(key));
  }
  static std::string decimal(double value) {
    std::array<char, 32> text;
    const auto end = std::to_chars(text.data(), text.data() + text.size(), value).ptr;
    return std::string(text.data(), end);
  }

 private:
  static std::string described(const toml::node& node) {
    if (const auto* const text = node.as_string()) return detail::quoted(text->get());
    if (const auto* const number = node.as_integer()) return std::to_string(number->get());
    if (const auto* const number = node.as_floating_point()) return decimal(number->get());
    if (const auto* const flag = node.as_boolean()) return flag->get() ? "true" : "false";
    if (node.is_array()) return node.is_array_of_tables() ? "an array of tables" : "an array";
    return node.is_table() ? "a table" : "a date";
  }

  const std::string file_;
  std::vector<config_problem> problems_;
};

}  // namespace eventer::inline EVENTER_ABI::detail
