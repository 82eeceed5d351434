// parse_json: a JSON text (RFC 8259) from somebody who is not trusted, into Boost.JSON's values: either a value that
// says what the text says, or a sentence that says where and why not.
//
// What must not be broken: nothing is mended silently. Boost.JSON alone reads 1e400 as infinity, and of a key that
// comes twice takes the last; here both are refused, as two readers of such a text would read two things. A number is
// the double that is nearest to what was written.
#pragma once

#include <algorithm>
#include <boost/json/basic_parser_impl.hpp>
#include <boost/json/value.hpp>
#include <boost/json/value_stack.hpp>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eventer/base/quoted.hpp"
#include "eventer/http/bad_argument.hpp"

namespace eventer::inline EVENTER_ABI::http {

namespace detail {

// Of the objects that are open, the keys that have come: they go when their object ends.
class open_keys {
 public:
  void add_part(std::string_view text) { text_.append(text); }
  void end_key() {
    const std::size_t begin = keys_.empty() ? 0 : keys_.back().end;
    keys_.push_back({begin, text_.size()});
  }
  // The last `count` are those of one object. Whether one of them comes twice; then `which` is it.
  bool end_object(std::size_t count, std::string& which) {
    const auto first = keys_.end() - static_cast<std::ptrdiff_t>(count);
    const std::size_t begin = count == 0 ? text_.size() : first->begin;
    std::sort(first, keys_.end(), [this](const key& a, const key& b) { return text_of(a) < text_of(b); });
    const auto twice =
        std::adjacent_find(first, keys_.end(), [this](const key& a, const key& b) { return text_of(a) == text_of(b); });
    const bool found = twice != keys_.end();
    if (found) which = text_of(*twice);
    keys_.erase(first, keys_.end());
    text_.resize(begin);
    return found;
  }

 private:
  struct key {
    std::size_t begin, end;
  };
  std::string_view text_of(const key& which) const noexcept {
    return std::string_view(text_).substr(which.begin, which.end - which.begin);
  }
  std::string text_;
  std::vector<key> keys_;
};

// What Boost's parser tells, put together; false ends it.
class json_builder {
  using error_code = boost::json::error_code;
  using text = boost::json::string_view;

 public:
  static constexpr std::size_t max_object_size = boost::json::object::max_size();
  static constexpr std::size_t max_array_size = boost::json::array::max_size();
  static constexpr std::size_t max_key_size = boost::json::string::max_size();
  static constexpr std::size_t max_string_size = boost::json::string::max_size();

  boost::json::value_stack values;
  std::string why;  // empty where Boost knows it

  bool on_document_begin(error_code&) { return true; }
  bool on_document_end(error_code&) { return true; }
  bool on_object_begin(error_code&) { return true; }
  bool on_object_end(std::size_t count, error_code& error) {
    std::string twice;
    if (keys_.end_object(count, twice))
      return refuse("the object that ends here has the key " + eventer::detail::quoted(twice) + " twice", error);
    values.push_object(count);
    return true;
  }
  bool on_array_begin(error_code&) { return true; }
  bool on_array_end(std::size_t count, error_code&) {
    values.push_array(count);
    return true;
  }
  bool on_key_part(text part, std::size_t, error_code&) {
    keys_.add_part({part.data(), part.size()});
    values.push_chars(part);
    return true;
  }
  bool on_key(text part, std::size_t, error_code&) {
    keys_.add_part({part.data(), part.size()});
    keys_.end_key();
    values.push_key(part);
    return true;
  }
  bool on_string_part(text part, std::size_t, error_code&) {
    values.push_chars(part);
    return true;
  }
  bool on_string(text part, std::size_t, error_code&) {
    values.push_string(part);
    return true;
  }
  bool on_number_part(text part, error_code&) {
    number_.append(part.data(), part.size());
    return true;
  }
  bool on_int64(std::int64_t number, text, error_code&) {
    number_.clear();
    values.push_int64(number);
    return true;
  }
  bool on_uint64(std::uint64_t number, text, error_code&) {
    number_.clear();
    values.push_uint64(number);
    return true;
  }
  bool on_double(double number, text part, error_code& error) {
    number_.append(part.data(), part.size());
    number = nearest(number);
    number_.clear();
    if (!std::isfinite(number)) return refuse("the number that ends here is too large", error);
    values.push_double(number);
    return true;
  }
  bool on_bool(bool value, error_code&) {
    values.push_bool(value);
    return true;
  }
  bool on_null(error_code&) {
    values.push_null();
    return true;
  }
  bool on_comment_part(text, error_code&) { return true; }
  bool on_comment(text, error_code&) { return true; }

 private:
  // Boost.JSON 1.81 is up to some units in the last place off.
  double nearest(double estimate) const noexcept {
    double exact = 0;
    const char* const end = number_.data() + number_.size();
    const auto [stop, error] = std::from_chars(number_.data(), end, exact);
    if (stop != end) return estimate;
    if (error == std::errc()) return exact;
    return std::abs(estimate) < 1 ? 0 : std::numeric_limits<double>::infinity();
  }
  bool refuse(std::string sentence, error_code& error) {
    why = std::move(sentence);
    error = boost::json::error::exception;
    return false;
  }
  open_keys keys_;
  std::string number_;
};

}  // namespace detail

// How deep arrays and objects of a JSON text may lie in one another, where nothing else is said.
inline constexpr std::size_t json_depth = 32;
// The most that can be asked for: reading them recurses, on the caller's stack.
inline constexpr std::size_t deepest_json = 256;

// Reads one value; only blanks may follow it. Integers are std::int64_t or std::uint64_t, and double where they don't
// fit there.
//
// Stack: 100 to 200 bytes a level. Returns: an empty string, or what is wrong as a sentence that begins with the
// offset: "byte 17: syntax error"; then `into` stays as it was. Errors: std::bad_alloc; std::invalid_argument for a
// depth beyond deepest_json.
[[nodiscard]] inline std::string parse_json(std::string_view text, boost::json::value& into,
                                            std::size_t depth = json_depth) {
  if (depth > deepest_json)
    detail::refuse_argument("JSON is read to a depth of 256 at most, and " + std::to_string(depth) + " was asked for");
  boost::json::parse_options options;
  options.max_depth = depth;
  boost::json::basic_parser<detail::json_builder> parser(options);
  detail::json_builder& builder = parser.handler();
  builder.values.reset();
  boost::json::error_code error;
  const std::size_t read = parser.write_some(false, text.data(), text.size(), error);
  if (!error && read < text.size()) error = boost::json::error::extra_data;
  if (!error) {
    into = builder.values.release();
    return {};
  }
  std::string why = std::move(builder.why);
  if (why.empty() && error == boost::json::error::too_deep)
    why = "more than " + std::to_string(depth) + " arrays and objects in one another";
  if (why.empty()) why = error.message();
  return "byte " + std::to_string(read) + ": " + why;
}

}  // namespace eventer::inline EVENTER_ABI::http
