// JSON for handlers, as Boost.JSON's values: http::json_body reads a request's, http::send_json answers with one.
//
//   struct note { std::string text; int page; };
//   BOOST_DESCRIBE_STRUCT(note, (), (text, page))
//
//   routes.post("/notes", [](http::request& asked, http::response& answer) {
//     const auto sent = http::json_body<note>(asked);       // answers a bad body with 400, another shape with 422
//     http::send_json(answer, {{"id", keep(sent)}}, 201);
//   });
//
// Outside http.hpp because it needs Boost.JSON (1.81, -lboost_json). response::json takes text, and needs nothing.
#pragma once

#include <boost/json/conversion.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value_from.hpp>
#include <boost/json/value_to.hpp>
#include <boost/system/system_error.hpp>
#include <cmath>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>

#include "eventer/http/json_parser.hpp"
#include "eventer/http/request.hpp"
#include "eventer/http/response.hpp"

namespace eventer::inline EVENTER_ABI::http {

// Use designated initialisers; members are only ever appended.
struct json_options {
  std::size_t depth = json_depth;  // of arrays and objects in one another; deepest_json at most
  // Also where Content-Type does not say JSON. Then a form on somebody else's page can send one in the name of whoever
  // looks at it, without its browser asking first.
  bool any_type = false;
};

// Whether a Content-Type says JSON: application/json, or one that ends in +json; parameters are not looked at, as JSON
// is UTF-8 in any case.
inline bool is_json_type(std::string_view type) noexcept {
  type = type.substr(0, type.find(';'));
  while (!type.empty() && (type.back() == ' ' || type.back() == '\t')) type.remove_suffix(1);
  constexpr std::string_view plain = "application/json", suffix = "+json";
  if (type.size() > suffix.size() && type.find('/') != std::string_view::npos &&
      detail::equals_any_case(type.substr(type.size() - suffix.size()), suffix))
    return true;
  return detail::equals_any_case(type, plain);
}

// The request's body as a value. See parse_json for what is read and what is refused: beside what is no JSON, numbers
// that no double can hold, keys that come twice in one object, what is not UTF-8.
//
// Its size is bounded by limits::body, or route::body_limit; in memory a hostile one takes up to 25 times as much. It
// is read on the loop, in about 5 ms for 1 MB: where a route allows more, take body() and call parse_json in a job.
//
// Completes: when the body has come. Errors: http::error, with which the request is answered unless the handler catches
// it: 415 where Content-Type says something else, or nothing; 400 for what is refused, with the offset and the reason;
// 413, 408 and 400 where the body is too large, or does not come. Requires: nobody has read a part of the body.
inline boost::json::value json_body(request& asked, const json_options& options = {}) {
  if (!options.any_type && !is_json_type(asked.header("Content-Type")))
    throw error(415, "this takes JSON, with Content-Type: application/json\n");
  const auto text = asked.body();
  if (!text) {
    const int status = status_of(text.error());
    throw error(status != 0 ? status : text.error() == std::errc::timed_out ? 408 : 400);
  }
  boost::json::value result;
  if (const std::string why = parse_json(*text, result, options.depth); !why.empty())
    throw error(400, "the body is not the JSON that it should be: " + why + "\n");
  return result;
}
inline boost::json::value json_body(request& asked, std::size_t depth) {
  return json_body(asked, json_options{.depth = depth});
}

// The same as the program's own type, by Boost.JSON's value_to: numbers, strings, containers, described structs, and
// whatever has a tag_invoke. Errors: also http::error(422) where the JSON is of another shape; what else a tag_invoke
// throws, an http::error of its own say, is passed on.
template <class T>
T json_body(request& asked, const json_options& options = {}) {
  const boost::json::value value = json_body(asked, options);
  const char* const other = "the body is JSON, but not what is taken here: ";
  try {
    return boost::json::value_to<T>(value);
  } catch (const boost::system::system_error& failure) {
    throw error(422, other + failure.code().message() + "\n");
  } catch (const std::logic_error&) {  // at() and as_string() in a tag_invoke
    throw error(422, std::string(other) + "a member is missing, or of another type\n");
  }
}

namespace detail {

// JSON has no infinity; Boost.JSON would write 1e99999.
inline void refuse_infinite(const boost::json::value& value) {
  if (const double* const number = value.if_double(); number != nullptr && !std::isfinite(*number))
    refuse_argument("an answer has a number in it that is infinite or none (NaN), which JSON can't say");
  if (const auto* const array = value.if_array(); array != nullptr)
    for (const boost::json::value& each : *array) refuse_infinite(each);
  if (const auto* const object = value.if_object(); object != nullptr)
    for (const auto& each : *object) refuse_infinite(each.value());
}

}  // namespace detail

// Answers with the value, as application/json (a type that was set stays) and with the status that was set.
// Errors: std::invalid_argument for a number that JSON can't say, which the client sees as 500. Strings are sent as
// they are: what is not UTF-8 in them is the caller's mistake.
inline void send_json(response& answer, const boost::json::value& value) {
  detail::refuse_infinite(value);
  answer.json(boost::json::serialize(value));
}
inline void send_json(response& answer, const boost::json::value& value, int status) {
  send_json(answer, value);
  answer.status(status);
}
// With a value of the program's own types, by Boost.JSON's value_from.
template <class T>
requires(!std::is_convertible_v<const T&, boost::json::value> &&
         boost::json::has_value_from<T>::value) void send_json(response& answer, const T& value) {
  send_json(answer, boost::json::value_from(value));
}
template <class T>
requires(!std::is_convertible_v<const T&, boost::json::value> &&
         boost::json::has_value_from<T>::value) void send_json(response& answer, const T& value, int status) {
  send_json(answer, boost::json::value_from(value), status);
}

}  // namespace eventer::inline EVENTER_ABI::http
