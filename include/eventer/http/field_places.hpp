// field_places: where the fields of a parsed head lie in it. What request_head and answer_head have in common.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "eventer/http/characters.hpp"

namespace eventer::inline EVENTER_ABI::http {

struct header_field {
  std::string_view name, value;  // as they were sent; the value without blanks around it
};

namespace detail {

// Keeps places, not bytes: those stay the caller's, and may move (rebase). All views end when they do. One object
// serves head after head, and then doesn't allocate.
class field_places {
 public:
  // The head lies at `bytes` from now on.
  void rebase(const char* bytes) noexcept { bytes_ = bytes; }

  std::size_t field_count() const noexcept { return field_count_; }
  // In the order in which they were sent. Requires: i < field_count().
  header_field field(std::size_t i) const noexcept {
    const places& at = i < first_fields_.size() ? first_fields_[i] : more_fields_[i - first_fields_.size()];
    return {{bytes_ + at.name, at.name_size}, {bytes_ + at.value, at.value_size}};
  }
  // The first field of this name, in any case.
  std::optional<std::string_view> find(std::string_view name) const noexcept {
    for (std::size_t i = 0; i < field_count_; ++i)
      if (const header_field each = field(i); equals_any_case(each.name, name)) return each.value;
    return std::nullopt;
  }
  // Whether one of the fields of this name, which are lists of tokens, names it, in any case and without parameters:
  // has_token("Upgrade", "websocket").
  bool has_token(std::string_view name, std::string_view token) const noexcept {
    for (std::size_t i = 0; i < field_count_; ++i)
      if (const header_field each = field(i); equals_any_case(each.name, name) && is_in(each.value, token)) return true;
    return false;
  }

 protected:
  field_places() noexcept = default;
  ~field_places() = default;
  field_places(const field_places&) = default;
  field_places& operator=(const field_places&) = default;
  field_places(field_places&&) noexcept = default;
  field_places& operator=(field_places&&) noexcept = default;

  // For the next head, of at most 64 KiB.
  void clear(const char* bytes) noexcept {
    bytes_ = bytes;
    field_count_ = 0;
    more_fields_.clear();
  }
  // Both lie in the head.
  void add(std::string_view name, std::string_view value) {
    const places at{place(name), static_cast<std::uint16_t>(name.size()), place(value),
                    static_cast<std::uint16_t>(value.size())};
    if (field_count_ < first_fields_.size())
      first_fields_[field_count_] = at;
    else
      more_fields_.push_back(at);
    ++field_count_;
  }
  const char* bytes() const noexcept { return bytes_; }
  std::uint16_t place(std::string_view of) const noexcept { return static_cast<std::uint16_t>(of.data() - bytes_); }
  // Where it is folded Beast puts it together elsewhere, or passes over the line's end.
  static bool is_on_one_line(std::string_view name, std::string_view value) noexcept {
    const char* p = name.data() + name.size() + 1;
    while (p != value.data() && (*p == ' ' || *p == '\t')) ++p;
    return p == value.data();
  }

 private:
  struct places {
    std::uint16_t name, name_size, value, value_size;
  };

  static bool is_in(std::string_view list, std::string_view token) noexcept {
    while (!list.empty())
      if (equals_any_case(take_element(list), token)) return true;
    return false;
  }

  const char* bytes_ = "";
  std::vector<places> more_fields_;      // behind the first ones; keeps its memory
  std::array<places, 16> first_fields_;  // more than what browsers send
  std::uint16_t field_count_ = 0;
};

}  // namespace detail

}  // namespace eventer::inline EVENTER_ABI::http
