// route_template: "/users/{id}/files/{path...}" taken apart. What could be meant otherwise is refused with its place.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "eventer/base/config.hpp"
#include "eventer/http/bad_argument.hpp"
#include "eventer/http/percent.hpp"

namespace eventer::inline EVENTER_ABI::http::detail {

// What can't lie in a path as routes see it, and why; null for what can. `text` is a mount or a literal segment.
inline const char* why_never_in_path(std::string_view text) noexcept {
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (is_control(text[i])) return "a path has no control characters";
    if (text[i] != '%') continue;
    const std::string_view escape = text.substr(i, 3);
    if (escape != "%2F" && escape != "%25")
      return "paths are compared decoded: write the character itself, but %2F and %25 as such";
  }
  return nullptr;
}

struct route_segment {
  enum class kind : std::uint8_t { literal, parameter, rest };
  kind what = kind::literal;
  std::string text;  // as it stands in the path, or the parameter's name
};

class route_template {
 public:
  static constexpr std::size_t most_segments = 64;

  // `rule` begins the sentence that says what is wrong.
  static std::vector<route_segment> parse(std::string_view text, const std::string& rule) {
    route_template parser(text, rule);
    if (!text.starts_with('/')) parser.refuse(0, "a template begins with a slash");
    for (std::size_t begin = 1; begin <= text.size();) {
      const std::size_t end = std::min(text.find('/', begin), text.size());
      parser.add(begin, text.substr(begin, end - begin), end == text.size());
      begin = end + 1;
    }
    return std::move(parser.segments_);
  }

 private:
  route_template(std::string_view text, const std::string& rule) : text_(text), rule_(rule) {}

  void add(std::size_t at, std::string_view segment, bool is_last) {
    if (segments_.size() == most_segments) refuse(at, "a template has at most 64 segments");
    if (segment.find_first_of("{}") != std::string_view::npos)
      add_parameter(at, segment, is_last);
    else
      add_literal(at, segment, is_last);
  }
  void add_literal(std::size_t at, std::string_view segment, bool is_last) {
    if (segment.empty() && !is_last) refuse(at, "two slashes in a row");
    if (segment == "." || segment == "..") refuse(at, "paths are matched without dot segments");
    if (const std::size_t query = segment.find_first_of("?#"); query != std::string_view::npos)
      refuse(at + query, "a template is a path, without query and fragment");
    if (const char* why = why_never_in_path(segment)) refuse(at, why);
    segments_.push_back({route_segment::kind::literal, std::string(segment)});
  }
  void add_parameter(std::size_t at, std::string_view segment, bool is_last) {
    constexpr std::string_view dots = "...";
    if (segment.front() != '{' || segment.back() != '}' || segment.find_first_of("{}", 1) != segment.size() - 1)
      refuse(at, "a parameter fills its segment: {name} between slashes");
    std::string_view name = segment.substr(1, segment.size() - 2);
    const bool is_rest = name.ends_with(dots);
    if (is_rest) name.remove_suffix(dots.size());
    if (is_rest && !is_last) refuse(at, "{name...} takes the rest of the path: nothing can follow it");
    if (!is_name(name)) refuse(at + 1, "a parameter's name has letters, digits and _, and begins with no digit");
    for (const route_segment& each : segments_)
      if (each.what != route_segment::kind::literal && each.text == name) refuse(at + 1, "this name is there twice");
    segments_.push_back({is_rest ? route_segment::kind::rest : route_segment::kind::parameter, std::string(name)});
  }
  static bool is_name(std::string_view name) noexcept {
    if (name.empty() || (name.front() >= '0' && name.front() <= '9')) return false;
    for (const char each : name)
      if (!is_letter_or_digit(each) && each != '_') return false;
    return true;
  }
  [[noreturn]] void refuse(std::size_t at, std::string_view why) const {
    refuse_argument(rule_ + ": at character " + std::to_string(at + 1) + ": " + std::string(why));
  }

  std::string_view text_;
  const std::string& rule_;
  std::vector<route_segment> segments_;
};

}  // namespace eventer::inline EVENTER_ABI::http::detail
