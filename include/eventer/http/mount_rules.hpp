// mount_rules: the regexes under one mount point, tried in order. Many of them are searched for at once by RE2::Set;
// where that fails, as it may for want of memory, one after the other: the answer is the same.
#pragma once

#include <re2/re2.h>
#include <re2/set.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eventer/base/config.hpp"
#include "eventer/http/percent.hpp"
#include "eventer/http/route_match.hpp"
#include "eventer/http/route_method.hpp"
#include "eventer/http/route_regex.hpp"

namespace eventer::inline EVENTER_ABI::http::detail {

class mount_rules {
 public:
  explicit mount_rules(std::string_view mount) : mount_(mount) {}

  const std::string& mount() const noexcept { return mount_; }

  void add(std::string_view method, route_regex regex, std::size_t route) {
    set_.reset();
    rules_.push_back({std::string(method), std::move(regex), route});
  }

  // From now on, and until a rule is added, many rules are searched for at once. Without it they are found as well.
  void compile(const regex_options& options) {
    if (set_ != nullptr || rules_.size() <= options.set_above) return;
    auto set = std::make_unique<re2::RE2::Set>(re2_options(options, options.set_memory), re2::RE2::UNANCHORED);
    for (const rule& each : rules_)
      if (set->Add(each.regex.pattern(), nullptr) < 0) return;
    if (set->Compile()) set_ = std::move(set);
  }

  // The first rule in order that matches `text`, what the path says behind the mount, and serves the method.
  // Returns: its route, with the captures in `into`, or nothing.
  std::optional<std::size_t> find(std::string_view method, std::string_view text, route_match& into) const {
    const hits found = search(text);
    const auto first = [&](auto&& serves) -> std::optional<std::size_t> {
      for (std::size_t i = 0; i < found.size(rules_.size()); ++i) {
        const rule& each = rules_[found.index(i)];
        if (serves(fit_of(each.method, method)) && each.regex.match(text, into)) return each.route;
      }
      return std::nullopt;
    };
    if (method == "HEAD")
      if (const auto own = first([](method_fit fit) { return fit == method_fit::own; })) return own;
    return first([](method_fit fit) { return fit != method_fit::none; });
  }
  // The methods of all rules that match.
  void add_methods(std::string_view text, allow_list& to) const {
    const hits found = search(text);
    for (std::size_t i = 0; i < found.size(rules_.size()); ++i) {
      const rule& each = rules_[found.index(i)];
      if (found.by_set || each.regex.matches(text)) to.add(each.method);
    }
  }
  void add_all_methods(allow_list& to) const {
    for (const rule& each : rules_) to.add(each.method);
  }

 private:
  struct rule {
    std::string method;
    route_regex regex;
    std::size_t route;
  };
  // The rules to look at, in order: those that the Set has found, or all.
  struct hits {
    bool by_set = false;
    std::vector<int> indices;
    std::size_t size(std::size_t all) const noexcept { return by_set ? indices.size() : all; }
    std::size_t index(std::size_t i) const noexcept { return by_set ? static_cast<std::size_t>(indices[i]) : i; }
  };
  hits search(std::string_view text) const {
    hits result;
    if (set_ == nullptr) return result;
    re2::RE2::Set::ErrorInfo error{re2::RE2::Set::kNoError};
    const bool any = set_->Match(piece_of(text), &result.indices, &error);
    result.by_set = any || error.kind == re2::RE2::Set::kNoError;
    std::sort(result.indices.begin(), result.indices.end());
    return result;
  }

  std::string mount_;
  std::vector<rule> rules_;
  std::unique_ptr<re2::RE2::Set> set_;
};

// The mounts of a table, sorted. Each knows the longest other one that it begins with, so that the longest one of a
// path is found by one binary search.
class mount_list {
 public:
  mount_rules& at(std::string_view mount) {
    const auto place =
        std::lower_bound(mounts_.begin(), mounts_.end(), mount,
                         [](const entry& each, std::string_view text) { return each.rules->mount() < text; });
    if (place != mounts_.end() && place->rules->mount() == mount) return *place->rules;
    mount_rules& added = *mounts_.insert(place, {std::make_unique<mount_rules>(mount), none})->rules;
    for (std::size_t i = 0; i < mounts_.size(); ++i)
      mounts_[i].outer = i == 0 ? none : longest_from(i - 1, mounts_[i].rules->mount());
    return added;
  }
  // Returns: the longest mount that the path begins with, or null.
  const mount_rules* find(std::string_view path) const noexcept {
    const auto behind =
        std::upper_bound(mounts_.begin(), mounts_.end(), path,
                         [](std::string_view text, const entry& each) { return text < each.rules->mount(); });
    if (behind == mounts_.begin()) return nullptr;
    const std::size_t found = longest_from(static_cast<std::size_t>(behind - mounts_.begin()) - 1, path);
    return found == none ? nullptr : mounts_[found].rules.get();
  }
  void compile(const regex_options& options) {
    for (entry& each : mounts_) each.rules->compile(options);
  }
  void add_all_methods(allow_list& to) const {
    for (const entry& each : mounts_) each.rules->add_all_methods(to);
  }

 private:
  static constexpr std::size_t none = static_cast<std::size_t>(-1);
  struct entry {
    std::unique_ptr<mount_rules> rules;
    std::size_t outer;
  };
  // Requires: no mount behind this one is before the path. Each that the path begins with is this one or around it.
  std::size_t longest_from(std::size_t at, std::string_view path) const noexcept {
    while (at != none && !path.starts_with(mounts_[at].rules->mount())) at = mounts_[at].outer;
    return at;
  }
  std::vector<entry> mounts_;
};

}  // namespace eventer::inline EVENTER_ABI::http::detail
