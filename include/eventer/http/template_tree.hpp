// template_tree: the templates of a route table, a level for each segment. A path leads to each node by one way only,
// so that a lookup visits a node at most once, whatever the path.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eventer/base/config.hpp"
#include "eventer/http/route_method.hpp"
#include "eventer/http/route_template.hpp"

namespace eventer::inline EVENTER_ABI::http::detail {

class template_tree {
 public:
  static constexpr std::size_t none = static_cast<std::size_t>(-1);

  // Returns: none, or the route that was added before for the same paths and method; then nothing is added.
  std::size_t add(std::string_view method, const std::vector<route_segment>& segments, std::size_t route) {
    std::size_t at = 0;
    for (const route_segment& each : segments)
      if (each.what != route_segment::kind::rest) at = child_of(at, each);
    const bool is_rest = segments.back().what == route_segment::kind::rest;
    std::vector<ending>& endings = is_rest ? nodes_[at].rests : nodes_[at].ends;
    for (const ending& each : endings)
      if (each.method == method) return each.route;
    endings.push_back({std::string(method), route});
    return none;
  }

  // Of the templates that match the path and serve the method the most specific: at the first segment where two differ
  // a literal goes before a parameter, and that before the rest. Returns: its route, or none.
  std::size_t find(std::string_view method, std::string_view path) const noexcept {
    std::size_t found = none;
    visit(nodes_.front(), path.substr(1), [&](const std::vector<ending>& endings) {
      method_fit best = method_fit::none;
      for (const ending& each : endings) {
        const method_fit fit = fit_of(each.method, method);
        // GET stands in for HEAD before * does.
        if (fit > best || (fit == best && fit == method_fit::stands_in && each.method != "*")) {
          best = fit;
          found = each.route;
        }
      }
      return found != none;
    });
    return found;
  }
  // The methods of all templates that match the path.
  void add_methods(std::string_view path, allow_list& to) const {
    visit(nodes_.front(), path.substr(1), [&](const std::vector<ending>& endings) {
      for (const ending& each : endings) to.add(each.method);
      return false;
    });
  }
  void add_all_methods(allow_list& to) const {
    for (const node& each : nodes_) {
      for (const ending& end : each.ends) to.add(end.method);
      for (const ending& end : each.rests) to.add(end.method);
    }
  }

 private:
  struct ending {
    std::string method;
    std::size_t route;
  };
  struct node {
    std::vector<std::pair<std::string, std::size_t>> literals;  // sorted
    std::size_t parameter = none;
    std::vector<ending> ends, rests;  // of templates that end here, or take the rest behind this node's slash
  };

  static auto place_of(const node& at, std::string_view segment) noexcept {
    return std::lower_bound(at.literals.begin(), at.literals.end(), segment,
                            [](const auto& each, std::string_view text) { return each.first < text; });
  }
  std::size_t child_of(std::size_t parent, const route_segment& segment) {
    const std::size_t added = nodes_.size();
    node& at = nodes_[parent];
    if (segment.what == route_segment::kind::parameter) {
      if (at.parameter != none) return at.parameter;
      at.parameter = added;
    } else {
      const auto place = place_of(at, segment.text);
      if (place != at.literals.end() && place->first == segment.text) return place->second;
      at.literals.emplace(place, segment.text, added);
    }
    nodes_.emplace_back();
    return added;
  }

  // Calls f with what ends at each way through the tree that the path can take, the most specific first, until it
  // returns true. `rest` is what lies behind the node's slash.
  template <class F>
  bool visit(const node& at, std::string_view rest, F&& f) const {
    const std::size_t end = rest.find('/');
    const std::string_view segment = rest.substr(0, end);
    const auto go_on = [&](std::size_t child) {
      if (end != std::string_view::npos) return visit(nodes_[child], rest.substr(end + 1), f);
      return !nodes_[child].ends.empty() && f(nodes_[child].ends);
    };
    const auto literal = place_of(at, segment);
    if (literal != at.literals.end() && literal->first == segment && go_on(literal->second)) return true;
    if (at.parameter != none && !segment.empty() && go_on(at.parameter)) return true;
    return !at.rests.empty() && f(at.rests);
  }

  std::vector<node> nodes_{1};
};

}  // namespace eventer::inline EVENTER_ABI::http::detail
