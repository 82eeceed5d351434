// route_regex: one pattern of a route, compiled by RE2, which takes time linear in the path whatever the pattern is.
// It matches anywhere in its text, as PCRE does: "^" and "$" say where it begins and ends.
#pragma once

#include <re2/re2.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "eventer/base/config.hpp"
#include "eventer/http/bad_argument.hpp"
#include "eventer/http/percent.hpp"
#include "eventer/http/route_match.hpp"

namespace eventer::inline EVENTER_ABI::http {

struct regex_options {
  // Patterns and paths are bytes rather than UTF-8: "." is one byte, and matches bytes that are no UTF-8, as with PCRE.
  bool latin1 = false;
  std::int64_t rule_memory = 1 << 20;  // bytes that RE2 may use for one pattern, its caches included
  std::int64_t set_memory = 8 << 20;   // and for all patterns of a mount together
  std::size_t set_above = 8;           // up to so many rules under a mount are tried one by one
};

namespace detail {

inline re2::RE2::Options re2_options(const regex_options& options, std::int64_t memory) {
  re2::RE2::Options result;
  result.set_log_errors(false);  // what is wrong is thrown
  result.set_max_mem(memory);
  result.set_encoding(options.latin1 ? re2::RE2::Options::EncodingLatin1 : re2::RE2::Options::EncodingUTF8);
  return result;
}
inline re2::StringPiece piece_of(std::string_view text) noexcept { return {text.data(), text.size()}; }

class route_regex {
 public:
  // `rule` begins the sentence that says what RE2 does not take, and what to write instead.
  route_regex(std::string_view pattern, const regex_options& options, const std::string& rule)
      : regex_(std::make_unique<re2::RE2>(piece_of(pattern), re2_options(options, options.rule_memory))) {
    if (!regex_->ok()) refuse_argument(rule + ": RE2 says \"" + regex_->error() + "\"" + advice(pattern));
    const std::string_view inner = pattern.size() < 2 ? pattern : pattern.substr(1, pattern.size() - 2);
    is_literal_ = pattern.size() >= 2 && pattern.front() == '^' && pattern.back() == '$' && is_plain(inner);
    if (is_literal_) literal_ = inner;
  }

  const std::string& pattern() const noexcept { return regex_->pattern(); }

  // The names of the groups by number, empty where a group has none.
  std::vector<std::string> names() const {
    std::vector<std::string> result(static_cast<std::size_t>(regex_->NumberOfCapturingGroups()) + 1);
    for (const auto& [number, name] : regex_->CapturingGroupNames()) result[static_cast<std::size_t>(number)] = name;
    return result;
  }

  bool matches(std::string_view text) const {
    if (is_literal_) return text == literal_;
    return regex_->Match(piece_of(text), 0, text.size(), re2::RE2::UNANCHORED, nullptr, 0);
  }
  // Also writes the captures, where it matches.
  bool match(std::string_view text, route_match& into) const {
    if (is_literal_) {
      if (text != literal_) return false;
      into.set_captures(1);
      into.set_capture(0, text);
      return true;
    }
    const std::size_t groups = static_cast<std::size_t>(regex_->NumberOfCapturingGroups()) + 1;
    std::array<re2::StringPiece, route_match::inline_captures> few;
    if (groups <= few.size()) return match(text, few.data(), groups, into);
    std::vector<re2::StringPiece> many(groups);
    return match(text, many.data(), groups, into);
  }

 private:
  bool match(std::string_view text, re2::StringPiece* pieces, std::size_t groups, route_match& into) const {
    if (!regex_->Match(piece_of(text), 0, text.size(), re2::RE2::UNANCHORED, pieces, static_cast<int>(groups)))
      return false;
    into.set_captures(groups);
    for (std::size_t i = 0; i < groups; ++i) into.set_capture(i, {pieces[i].data(), pieces[i].size()});
    return true;
  }

  // "^hello$" needs no regex.
  static bool is_plain(std::string_view text) noexcept {
    for (const char each : text)
      if (!is_letter_or_digit(each) && each != '/' && each != '_' && each != '-') return false;
    return true;
  }
  std::string advice(std::string_view pattern) const {
    const std::string_view what(regex_->error_arg().data(), regex_->error_arg().size());
    const bool is_back_reference = what.size() == 2 && what[0] == '\\' && what[1] >= '1' && what[1] <= '9';
    if (const std::size_t group = pattern.find("(?<");
        what == "(?<" && group + 3 < pattern.size() && is_letter_or_digit(pattern[group + 3]))
      return ": a group with a name is written (?P<name>...)";
    if (is_back_reference || what == "(?=" || what == "(?!" || what == "(?<" || what == "(?>" || what == "(?P")
      return ": it has neither back-references nor look-around, as PCRE has; write the rule as two, or look closer in "
             "the handler";
    if (regex_->error_code() == re2::RE2::ErrorRepeatOp)
      return ": it has no possessive quantifiers, and needs none, as it never backtracks; leave out the second sign";
    if (regex_->error_code() == re2::RE2::ErrorBadUTF8)
      return ": write the pattern in UTF-8, or set regex_options::latin1 where patterns and paths are bytes";
    if (regex_->error_code() == re2::RE2::ErrorPatternTooLarge)
      return ": write a smaller pattern, or give it more by regex_options::rule_memory";
    return ": its syntax is at github.com/google/re2/wiki/Syntax";
  }

  std::unique_ptr<re2::RE2> regex_;
  bool is_literal_ = false;
  std::string literal_;
};

}  // namespace detail
}  // namespace eventer::inline EVENTER_ABI::http
