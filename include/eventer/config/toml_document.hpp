// toml_document: TOML text into toml++'s tree, with guards in front: what toml++ 3.3 takes for granted about depth and
// length must not be in the hands of who writes the text. Needs toml++ (Debian: libtomlplusplus-dev).
#pragma once

#include "eventer/base/config.hpp"

#if !EVENTER_EXCEPTIONS
#error "configuration files need exceptions: an error in one is thrown, as config_error. Fill a service_config in code"
#endif
#if !__has_include(<toml++/toml.h>)
#error "configuration files need toml++ 3.3 or newer: on Debian apt-get install libtomlplusplus-dev"
#endif

// Where toml++ is no system header its warnings would be the user's.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wold-style-cast"
#pragma GCC diagnostic ignored "-Wpedantic"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#include <toml++/toml.h>
#pragma GCC diagnostic pop

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include "eventer/base/quoted.hpp"
#include "eventer/listener/config_error.hpp"

namespace eventer::inline EVENTER_ABI::detail {

inline constexpr std::size_t longest_config = 1 << 20;

// Looks for what toml++ would follow with recursion (values in values, and in 3.3 tables made by dotted keys, which it
// does not count) or search linearly (dotted keys, each among all before). It has to see strings and comments as toml++
// does, up to the first error.
class toml_guard {
 public:
  explicit toml_guard(std::string_view text) noexcept : text_(text) {}

  // Returns: what is wrong, at at(), or nullptr.
  const char* refusal() noexcept {
    for (; at_ < text_.size(); ++at_) switch (text_[at_]) {
        case '#':
          skip_to_line_end();
          break;
        case '"':
        case '\'':
          skip_string();
          break;
        case '[':
        case '{':
          dots_ = 0;
          if (++depth_ > deepest) return "values are nested too deeply: at most 8 levels";
          break;
        case ']':
        case '}':
          if (depth_ > 0) --depth_;
          break;
        case '.':
          if (++dots_ > deepest) return "a key has too many parts: at most 9";
          if (++all_dots_ > most_dots) return "too many dots outside of strings: at most 10000";
          break;
        case '\n':
        case '=':
        case ',':
          dots_ = 0;
          break;
        default:
          break;
      }
    return nullptr;
  }
  std::size_t at() const noexcept { return at_; }

 private:
  static constexpr std::size_t deepest = 8, most_dots = 10'000;

  // Stops on the last character that belongs to it.
  void skip_to_line_end() noexcept {
    while (at_ + 1 < text_.size() && text_[at_ + 1] != '\n') ++at_;
  }
  void skip_string() noexcept {
    const char quote = text_[at_];
    const bool escapes = quote == '"';
    const std::string_view three = escapes ? "\"\"\"" : "'''";
    const bool many_lines = text_.substr(at_, 3) == three;
    at_ += many_lines ? 3 : 1;
    for (; at_ < text_.size(); ++at_) {
      if (escapes && text_[at_] == '\\') {
        ++at_;
      } else if (many_lines && text_.substr(at_, 3) == three) {
        at_ += 2;
        for (int more = 0; more < 2 && at_ + 1 < text_.size() && text_[at_ + 1] == quote; ++more) ++at_;  // part of it
        return;
      } else if (!many_lines && (text_[at_] == quote || text_[at_] == '\n')) {
        return;
      }
    }
  }

  std::string_view text_;
  std::size_t at_ = 0, depth_ = 0, dots_ = 0, all_dots_ = 0;
};

[[noreturn]] inline void refuse_config(const std::string& file, std::size_t line, std::size_t column,
                                       std::string message) {
  throw config_error({config_problem{file, line, column, {}, std::move(message)}});
}
[[noreturn]] inline void refuse_config_at(const std::string& file, std::string_view before, std::string message) {
  std::size_t line = 1, column = 1;
  for (const char each : before) {
    if (each == '\n') ++line, column = 0;
    if ((static_cast<unsigned char>(each) & 0xc0) != 0x80) ++column;  // characters, not bytes
  }
  refuse_config(file, line, column, std::move(message));
}

// toml++'s own messages quote what they found, perhaps with control characters in it.
inline std::string printable(std::string_view text) {
  std::string quoted_text = quoted(text, text.size());
  std::string result;
  for (std::size_t i = 1; i + 1 < quoted_text.size(); ++i) {
    const bool plain = quoted_text[i] == '\\' && (quoted_text[i + 1] == '"' || quoted_text[i + 1] == '\\');
    result += quoted_text[plain ? ++i : i];
  }
  return result;
}

// Where toml++ was told not to throw it answers an object with either inside.
template <class Parsed>
toml::table table_of(Parsed&& parsed, const std::string& file) {
  if constexpr (std::is_same_v<std::decay_t<Parsed>, toml::table>) {
    return std::forward<Parsed>(parsed);
  } else {
    if (parsed) return std::move(parsed).table();
    const auto& error = parsed.error();
    refuse_config(file, error.source().begin.line, error.source().begin.column, printable(error.description()));
  }
}

// Errors: config_error with one problem, as nothing behind a syntax error can be relied upon.
inline toml::table parse_toml(std::string_view text, const std::string& file) {
  if (text.size() > longest_config) refuse_config(file, 0, 0, "longer than 1 MiB: this is no configuration file");
  toml_guard guard(text);
  if (const char* const refusal = guard.refusal()) refuse_config_at(file, text.substr(0, guard.at()), refusal);
  try {
    return table_of(toml::parse(text), file);
  } catch (const toml::parse_error& error) {
    refuse_config(file, error.source().begin.line, error.source().begin.column, printable(error.description()));
  }
}

}  // namespace eventer::inline EVENTER_ABI::detail
