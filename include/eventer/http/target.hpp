// target: what a request asks for, cut into path and query; the path also in the one form that routes are matched with.
// Whoever matches anything against path() may rely on it: no control character, no dot segment, not even behind an
// encoded slash, and two different paths never look the same.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "eventer/base/config.hpp"
#include "eventer/http/percent.hpp"
#include "eventer/http/refusal.hpp"

namespace eventer::inline EVENTER_ABI::http {

namespace detail {

enum class target_byte : std::uint8_t { plain, slash, escape, question, refused };
inline constexpr std::array<target_byte, 256> target_bytes = [] {
  std::array<target_byte, 256> result{};
  for (std::size_t i = 0; i <= ' '; ++i) result[i] = target_byte::refused;
  result[0x7f] = result['#'] = target_byte::refused;
  result['/'] = target_byte::slash;
  result['%'] = target_byte::escape;
  result['?'] = target_byte::question;
  return result;
}();

}  // namespace detail

// A view: the text that was parsed must outlive it. A path without escapes and dot segments is not copied.
//
// path() is decoded but for two escapes, that stay as "%2F" and "%25": an encoded slash does not part segments, and as
// the percent sign stays too, "%252F" can't pass for one. percent_decode(segment) gives what a segment says.
class target {
 public:
  // Takes "/path?query", "http://authority/path?query" and "*". Authority form (CONNECT) is none of these.
  // Returns: no refusal, or 400 and why; then `into`, whose memory is used again, is as one that was never parsed.
  static refusal parse(std::string_view text, target& into) {
    into.reset(text);
    const refusal why = into.take(text);
    if (why) into.reset({});
    return why;
  }

  std::string_view raw() const noexcept { return raw_; }
  std::string_view raw_path() const noexcept { return raw_path_; }    // empty in "http://host"
  std::string_view raw_query() const noexcept { return raw_query_; }  // without the question mark
  bool has_query() const noexcept { return has_query_; }              // "/path?" has an empty one
  std::string_view authority() const noexcept { return authority_; }  // "host:80" of an absolute form, otherwise empty
  bool is_asterisk() const noexcept { return raw_ == "*"; }

  // Begins with a slash, or is "*". Valid while this object lives, is not moved, copied to or parsed into.
  std::string_view path() const noexcept {
    if (is_decoded_) return decoded_;
    return raw_path_.empty() ? std::string_view("/") : raw_path_;
  }

 private:
  using kind = detail::target_byte;
  static kind of(char c) noexcept { return detail::target_bytes[static_cast<unsigned char>(c)]; }
  static constexpr refusal bad_byte{400, "the target has a control character, a space or a fragment"};
  static constexpr refusal encoded_dots{400, "the path has a dot segment beside an encoded slash"};

  static std::size_t scheme_bytes(std::string_view text) noexcept {
    for (const std::string_view scheme : {std::string_view("http://"), std::string_view("https://")}) {
      if (text.size() < scheme.size()) continue;
      bool same = true;
      for (std::size_t i = 0; i < scheme.size() && same; ++i)
        same = (text[i] >= 'A' && text[i] <= 'Z' ? text[i] - 'A' + 'a' : text[i]) == scheme[i];
      if (same) return scheme.size();
    }
    return 0;
  }
  // "." or "..", up to the next slash.
  static bool is_dot_segment(std::string_view segment) noexcept {
    std::size_t dots = 0;
    while (dots < segment.size() && segment[dots] == '.') ++dots;
    if (dots == 0 || dots > 2) return false;
    return dots == segment.size() || segment[dots] == '/' || segment[dots] == '?';
  }

  void reset(std::string_view text) noexcept {
    raw_ = text;
    raw_path_ = raw_query_ = authority_ = {};
    decoded_.clear();
    has_query_ = is_decoded_ = false;
  }
  refusal take(std::string_view text) {
    if (text == "*") {
      raw_path_ = text;
      return {};
    }
    if (text.starts_with('/')) return cut(text);
    const std::size_t begin = scheme_bytes(text);
    if (begin == 0) return {400, "the target begins with neither a slash nor http://"};
    const std::size_t end = std::min(text.find_first_of("/?#", begin), text.size());
    authority_ = text.substr(begin, end - begin);
    if (authority_.empty()) return {400, "the target names no host"};
    for (const char each : authority_)
      if (each == '@' || of(each) == kind::refused) return {400, "the target's host is none"};
    return cut(text.substr(end));
  }
  refusal cut(std::string_view text) {
    bool as_it_is = true;
    std::size_t end = 0;
    for (; end < text.size() && of(text[end]) != kind::question; ++end) {
      const kind what = of(text[end]);
      if (what == kind::plain) continue;
      if (what == kind::refused) return bad_byte;
      if (what == kind::escape || is_dot_segment(text.substr(end + 1))) as_it_is = false;
    }
    raw_path_ = text.substr(0, end);
    if (end < text.size()) {
      has_query_ = true;
      raw_query_ = text.substr(end + 1);
      for (const char each : raw_query_)
        if (of(each) == kind::refused) return bad_byte;
    }
    return as_it_is ? refusal{} : decode();
  }

  // Decodes and removes dot segments (RFC 3986, 5.2.4) as it goes: decoded_ ends in a slash before each segment.
  refusal decode() {
    is_decoded_ = true;
    decoded_.reserve(raw_path_.size());
    decoded_ = '/';
    for (std::size_t begin = 1;;) {
      const std::size_t end = std::min(raw_path_.find('/', begin), raw_path_.size());
      const bool is_last = end == raw_path_.size();
      const std::size_t segment = decoded_.size();
      if (const refusal why = append_segment(raw_path_.substr(begin, end - begin))) return why;
      if (is_dots(segment)) {
        const bool up = decoded_.size() - segment == 2;
        decoded_.resize(segment);
        if (up && segment > 1) decoded_.resize(decoded_.rfind('/', segment - 2) + 1);  // never above the root
      } else if (!is_last) {
        decoded_ += '/';
      }
      if (is_last) return {};
      begin = end + 1;
    }
  }
  // A dot segment that only an encoded slash parts from the rest is one for whoever decodes once more: nobody gets it.
  refusal append_segment(std::string_view segment) {
    std::size_t piece = decoded_.size();  // begin of what lies between two slashes, encoded or not
    bool has_encoded_slash = false;
    for (std::size_t i = 0; i < segment.size(); ++i) {
      if (segment[i] != '%') {
        decoded_ += segment[i];
        continue;
      }
      const int byte = detail::escaped_byte(segment, i);
      if (byte < 0) return {400, "a percent sign in the path has not two hexadecimal digits behind it"};
      i += 2;
      const char meant = static_cast<char>(byte);
      if (detail::is_control(meant)) return {400, "the path has an encoded control character"};
      if (meant == '/') {
        if (is_dots(piece)) return encoded_dots;
        has_encoded_slash = true;
        decoded_ += "%2F";
        piece = decoded_.size();
      } else if (meant == '%') {
        decoded_ += "%25";
      } else {
        decoded_ += meant;
      }
    }
    return has_encoded_slash && is_dots(piece) ? encoded_dots : refusal{};
  }
  bool is_dots(std::size_t from) const noexcept {
    const std::string_view text = std::string_view(decoded_).substr(from);
    return text == "." || text == "..";
  }

  std::string_view raw_, raw_path_, raw_query_, authority_;
  std::string decoded_;
  bool has_query_ = false, is_decoded_ = false;
};

}  // namespace eventer::inline EVENTER_ABI::http
