// conditions: what a client knows already decides whether it gets the content (RFC 9110, section 13), in the order in
// which its section 13.2.2 asks.
#pragma once

#include <cstdint>
#include <ctime>
#include <optional>
#include <string_view>

#include "eventer/http/date_parser.hpp"
#include "eventer/http/request_head.hpp"

namespace eventer::inline EVENTER_ABI::http {

// What is known of the content. `etag`: as it is sent, with its quotes; W/"..." is a weak one. `modified`: as it is
// sent, nothing where that is not known: no date of a request is compared then.
struct validators {
  std::string_view etag;
  std::optional<std::time_t> modified = {};
};

enum class precondition : std::uint8_t { holds, not_modified, failed };  // 200 or 206, 304, 412

namespace detail {

class entity_tags {
 public:
  // Of all fields of that name, which are lists. Strong: as for writing and ranges; weak: as for reading again.
  static bool name(const request_head& asked, std::string_view field, std::string_view etag, bool is_strong) noexcept {
    for (std::size_t i = 0; i < asked.field_count(); ++i)
      if (const header_field each = asked.field(i); equals_any_case(each.name, field))
        if (is_in(each.value, etag, is_strong)) return true;
    return false;
  }
  // Up to the first thing that is no tag.
  static bool is_in(std::string_view list, std::string_view etag, bool is_strong) noexcept {
    if (list == "*") return true;
    while (!list.empty()) {
      if (list.front() == ' ' || list.front() == '\t' || list.front() == ',') {
        list.remove_prefix(1);
        continue;
      }
      const std::size_t quote = list.starts_with("W/\"") ? 2 : 0;
      if (list[quote] != '"') return false;
      const std::size_t end = list.find('"', quote + 1);
      if (end == std::string_view::npos) return false;
      if (are_same(list.substr(0, end + 1), etag, is_strong)) return true;
      list.remove_prefix(end + 1);
    }
    return false;
  }
  static bool are_same(std::string_view a, std::string_view b, bool is_strong) noexcept {
    if (is_strong) return a == b && !is_weak(a);
    return opaque(a) == opaque(b);
  }

 private:
  static bool is_weak(std::string_view tag) noexcept { return tag.starts_with("W/"); }
  static std::string_view opaque(std::string_view tag) noexcept { return is_weak(tag) ? tag.substr(2) : tag; }
};

// Nothing where it is no date, or there are several.
inline std::optional<std::time_t> date_of(const request_head& asked, std::string_view field) noexcept {
  std::optional<std::string_view> found;
  for (std::size_t i = 0; i < asked.field_count(); ++i)
    if (const header_field each = asked.field(i); equals_any_case(each.name, field)) {
      if (found) return std::nullopt;
      found = each.value;
    }
  return found ? parse_date(*found) : std::nullopt;
}

}  // namespace detail

// For GET and HEAD.
inline precondition evaluate_conditions(const request_head& asked, const validators& content) noexcept {
  using detail::entity_tags;
  if (asked.find("If-Match")) {
    if (!entity_tags::name(asked, "If-Match", content.etag, true)) return precondition::failed;
  } else if (const auto unmodified = detail::date_of(asked, "If-Unmodified-Since")) {
    if (content.modified && *content.modified > *unmodified) return precondition::failed;
  }
  if (asked.find("If-None-Match"))
    return entity_tags::name(asked, "If-None-Match", content.etag, false) ? precondition::not_modified
                                                                          : precondition::holds;
  const auto since = detail::date_of(asked, "If-Modified-Since");
  return since && content.modified && *content.modified <= *since ? precondition::not_modified : precondition::holds;
}

// Whether a range may be sent, and not the whole: nothing has changed, as far as If-Range asks. A date of the present
// second tells nothing: the content may have changed within it already, or may still.
inline bool if_range_holds(const request_head& asked, const validators& content,
                           std::time_t now = std::time(nullptr)) noexcept {
  const auto field = asked.find("If-Range");
  if (!field) return true;
  if (field->starts_with('"') || field->starts_with("W/"))
    return detail::entity_tags::are_same(*field, content.etag, true);
  return content.modified && *content.modified + 1 < now && detail::date_of(asked, "If-Range") == content.modified;
}

}  // namespace eventer::inline EVENTER_ABI::http
