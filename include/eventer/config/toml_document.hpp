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

// Looks at the text as a sequence of names, values, strings and brackets, and refuses what toml++ would follow with
// recursion (values in values, and tables made by dotted keys, which it does not count), search linearly (dotted keys,
// each among all before) or take for granted. Version 3.3 asserts that a table's name begins as one, that what looks
// like a time is one and that brackets match, and where it looks for blanks it has no answer for most letters beyond
// ASCII; without assertions all that is undefined. The guard has to see where strings and comments begin and end as
// toml++ does, up to the first error.
class toml_guard {
 public:
  explicit toml_guard(std::string_view text) noexcept : text_(text) {}

  // Returns: what is wrong, at at(), or nullptr.
  const char* refusal() noexcept {
    if (text_.starts_with("\xef\xbb\xbf")) at_ = 3;
    for (; at_ < text_.size(); ++at_) {
      const char each = text_[at_];
      if (const char* const refused = refusal_of(each)) return refused;
      if (!is_blank(each)) previous_ = each;
    }
    return nullptr;
  }
  std::size_t at() const noexcept { return at_; }

 private:
  static constexpr std::size_t deepest = 8, most_dots = 10'000;
  static constexpr const char* not_separated = "expected a new line, a comma, = or an opening bracket before this";

  const char* refusal_of(char each) noexcept {
    switch (each) {
      case ' ':
      case '\t':
      case '\r':
        return nullptr;
      case '\n':
        dots_ = 0;
        if (depth_ == 0) assigned_ = false;
        return nullptr;
      case '#':
        while (at_ + 1 < text_.size() && text_[at_ + 1] != '\n') ++at_;
        return nullptr;
      case '"':
      case '\'':
        if (!may_begin()) return not_separated;
        return skip_string() ? nullptr : "expected an escape behind the backslash, or a line that goes on with ASCII";
      case '[':
      case '{':
        return opened(each);
      case ']':
      case '}':
        return closed(each);
      case '=':
        dots_ = 0;
        if (in_value()) return "expected a name before the =";
        assigned_ = true;
        return nullptr;
      case ',':
        dots_ = 0;
        if (innermost() == '{') assigned_ = false;
        return nullptr;
      case '.':
        if (++dots_ > deepest) return "a key has too many parts: at most 9";
        return ++all_dots_ > most_dots ? "too many dots outside of strings: at most 10000" : nullptr;
      case ':':  // only times have one
        return "expected quotes around what has a colon in it";
      default:
        if (!is_ascii(each)) return "expected ASCII outside of strings and comments: put it in quotes";
        return may_begin() || goes_on() ? nullptr : not_separated;
    }
  }
  const char* opened(char bracket) noexcept {
    if (!may_begin()) return not_separated;
    const bool is_header = bracket == '[' && !assigned_ && (depth_ == 0 || innermost() == header);
    if (is_header && depth_ == 0 && !has_table_name()) return "expected a table's name behind the bracket";
    dots_ = 0;
    if (depth_ == deepest) return "values are nested too deeply: at most 8 levels";
    brackets_[depth_++] = is_header ? header : bracket;
    if (bracket == '{') assigned_ = false;
    return nullptr;
  }
  const char* closed(char bracket) noexcept {
    if (depth_ == 0 || (bracket == '}') != (innermost() == '{')) return "a bracket is closed that was not opened";
    --depth_;
    assigned_ = true;  // of which this was the value; nothing follows a header either
    return nullptr;
  }
  char innermost() const noexcept { return depth_ > 0 ? brackets_[depth_ - 1] : '\0'; }
  bool in_value() const noexcept { return assigned_ || innermost() == '['; }
  // Whether a name or a value may begin behind what was before.
  bool may_begin() const noexcept {
    return std::string_view("\n=,[{").find(previous_) != std::string_view::npos || (previous_ == '.' && !in_value());
  }
  // Whether this is one more letter of a name or a number.
  bool goes_on() const noexcept {
    return !is_blank(text_[at_ - 1]) && std::string_view("\"']}").find(previous_) == std::string_view::npos;
  }
  static bool is_blank(char each) noexcept { return each == ' ' || each == '\t' || each == '\r'; }
  static bool is_ascii(char each) noexcept { return static_cast<unsigned char>(each) < 0x80; }
  // What has no name at all toml++ sees itself.
  bool has_table_name() const noexcept {
    std::size_t at = text_.find_first_not_of(" \t", at_ + 1);
    if (at < text_.size() && text_[at] == '[') at = text_.find_first_not_of(" \t", at + 1);
    if (at >= text_.size()) return true;
    const char first = text_[at];
    return (first >= 'a' && first <= 'z') || (first >= 'A' && first <= 'Z') || (first >= '0' && first <= '9') ||
           std::string_view("-_\"']").find(first) != std::string_view::npos;
  }
  // Stops on the last character that belongs to it.
  bool skip_string() noexcept {
    const char quote = text_[at_];
    const bool escapes = quote == '"';
    const std::string_view three = escapes ? "\"\"\"" : "'''";
    const bool many_lines = text_.substr(at_, 3) == three;
    at_ += many_lines ? 3 : 1;
    for (; at_ < text_.size(); ++at_) {
      if (escapes && text_[at_] == '\\') {
        if (many_lines && !is_ascii_behind_blanks(at_ + 1)) return false;
        ++at_;
      } else if (many_lines && text_.substr(at_, 3) == three) {
        at_ += 2;
        for (int more = 0; more < 2 && at_ + 1 < text_.size() && text_[at_ + 1] == quote; ++more) ++at_;  // part of it
        return true;
      } else if (!many_lines && (text_[at_] == quote || text_[at_] == '\n')) {
        return true;
      }
    }
    return true;
  }
  bool is_ascii_behind_blanks(std::size_t at) const noexcept {
    at = text_.find_first_not_of(" \t\r\n", at);
    return at == std::string_view::npos || is_ascii(text_[at]);
  }

  static constexpr char header = 'h';  // an opening bracket of [table] or [[array]]

  std::string_view text_;
  std::size_t at_ = 0, depth_ = 0, dots_ = 0, all_dots_ = 0;
  char brackets_[deepest] = {};
  char previous_ = '\n';   // the last one that was no blank
  bool assigned_ = false;  // behind the = of this line, or of this name in an inline table
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
  std::string quoted_text = detail::quoted(text, text.size());
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
