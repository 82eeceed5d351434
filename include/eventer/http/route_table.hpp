// route_table: which route serves a method and a path, with what it has captured. It knows nothing of handlers: a route
// is the number that adding it returned. Once compiled it is immutable, and any number of threads may match.
#pragma once

#include <cstddef>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eventer/base/config.hpp"
#include "eventer/base/quoted.hpp"
#include "eventer/http/bad_argument.hpp"
#include "eventer/http/mount_rules.hpp"
#include "eventer/http/route_match.hpp"
#include "eventer/http/route_method.hpp"
#include "eventer/http/route_regex.hpp"
#include "eventer/http/route_template.hpp"
#include "eventer/http/template_tree.hpp"

namespace eventer::inline EVENTER_ABI::http {

// Two kinds of routes, in this order:
//   1. Templates: of those that match the whole path and serve the method, the most specific one, whatever the order of
//      adding. At the first segment where two differ a literal goes before {name}, and that before {name...}.
//   2. Regexes: only those under the longest mount that the path begins with, in the order of adding; the first that
//      matches what lies behind the mount and serves the method.
// Where no route serves the method, but one of either kind matches the path, the method is not allowed.
//
// A method is such as "GET", or "*" for all. HEAD is served by a route for GET or * unless one of its own matches.
class route_table {
 public:
  explicit route_table(regex_options options = {}) : options_(options) {}

  // add("GET", "/", "^hello$") serves "/hello", add("GET", "/api/", "^users/(\\d+)$") "/api/users/7". A mount begins
  // and ends with a slash. A pattern without "^" and "$" matches anywhere behind it.
  // Returns: the route's number, counted from 0 over both kinds.
  // Errors: std::invalid_argument with a sentence that names the rule and says what to do. Patterns are RE2's: no
  // back-references and no look-around.
  std::size_t add(std::string_view method, std::string_view mount, std::string_view regex) {
    const std::string rule = name_of(method, mount) + " " + eventer::detail::quoted(regex, most_shown);
    detail::check_method(method, rule);
    check_mount(mount, rule);
    detail::route_regex compiled(regex, options_, rule);
    routes_.push_back({compiled.names(), {}, {}});
    mounts_.at(mount).add(method, std::move(compiled), routes_.size() - 1);
    is_compiled_ = false;
    return routes_.size() - 1;
  }

  // add_template("GET", "/users/{id}/posts/{post}"): {name} is one segment that is not empty, {name...} at the end all
  // that is left, perhaps nothing: "/files/{path...}" serves "/files/" and "/files/a/b", not "/files".
  // Returns, Errors: as above; also where a template for the same paths and method is there already.
  std::size_t add_template(std::string_view method, std::string_view path) {
    const std::string rule = name_of(method, path);
    detail::check_method(method, rule);
    std::vector<detail::route_segment> segments = detail::route_template::parse(path, rule);
    std::vector<std::string> names{""};
    for (const detail::route_segment& each : segments)
      if (each.what != detail::route_segment::kind::literal) names.push_back(each.text);
    routes_.push_back({std::move(names), std::move(segments), std::string(path)});
    const std::size_t added = routes_.size() - 1;
    const std::size_t other = templates_.add(method, routes_.back().segments, added);
    if (other == detail::template_tree::none) return added;
    routes_.pop_back();
    refuse_twice(rule, other);
  }

  // Also without the slash before its {name...}: "/files" for "/files/{path...}", which captures nothing there.
  // Errors: as above. Requires: `route` is such a template, with a segment before its last one.
  void add_without_rest(std::size_t route, std::string_view method) {
    std::vector<detail::route_segment> segments = routes_[route].segments;
    segments.pop_back();
    const std::string path = routes_[route].path.substr(0, routes_[route].path.rfind('/'));
    const std::size_t other = templates_.add(method, segments, route);
    if (other != detail::template_tree::none) refuse_twice(name_of(method, path), other);
  }

  // Done by the first match otherwise, if that is not const. Adding a route takes it back.
  void compile() {
    if (!is_compiled_) mounts_.compile(options_);
    is_compiled_ = true;
  }

  // `path` is a target's path(): decoded, without dot segments. What is no such path is not found.
  // Requires: the table and the text of the path outlive the answer, and no route is added meanwhile.
  route_match match(std::string_view method, std::string_view path) {
    compile();
    return std::as_const(*this).match(method, path);
  }
  // Any thread. Without compile() the answer is the same, but takes longer where a mount has many rules.
  route_match match(std::string_view method, std::string_view path) const {
    route_match result;
    match(method, path, result);
    return result;
  }
  // The same into one that was used before, and keeps its memory.
  void match(std::string_view method, std::string_view path, route_match& result) const {
    result.reset();
    if (path.starts_with('/')) {
      if (const std::size_t route = templates_.find(method, path); route != detail::template_tree::none) {
        found(route, result);
        capture(routes_[route].segments, path, result);
        return;
      }
      const detail::mount_rules* mount = mounts_.find(path);
      if (mount != nullptr)
        if (const auto route = mount->find(method, path.substr(mount->mount().size()), result)) {
          found(*route, result);
          return;
        }
    }
    refuse(method, path, result);
  }

  std::size_t size() const noexcept { return routes_.size(); }

 private:
  static constexpr std::size_t most_shown = 200;
  struct known_route {
    std::vector<std::string> names;               // of the captures
    std::vector<detail::route_segment> segments;  // of a template
    std::string path;
  };

  static std::string name_of(std::string_view method, std::string_view path) {
    return "route " + eventer::detail::quoted(method) + " " + eventer::detail::quoted(path, most_shown);
  }
  [[noreturn]] void refuse_twice(const std::string& rule, std::size_t other) const {
    detail::refuse_argument(rule + ": the same paths are served by " +
                            eventer::detail::quoted(routes_[other].path, most_shown) + " already");
  }
  static void check_mount(std::string_view mount, const std::string& rule) {
    if (!mount.starts_with('/') || !mount.ends_with('/'))
      detail::refuse_argument(rule + ": a mount begins and ends with a slash, such as / or /api/");
    if (mount.find("/./") != std::string_view::npos || mount.find("/../") != std::string_view::npos)
      detail::refuse_argument(rule + ": paths are matched without dot segments");
    if (const char* why = detail::why_never_in_path(mount)) detail::refuse_argument(rule + ": " + why);
  }

  void found(std::size_t number, route_match& into) const noexcept {
    into.what_ = route_match::status::found;
    into.route_ = number;
    into.names_ = &routes_[number].names;
  }
  // Requires: the template matches.
  static void capture(const std::vector<detail::route_segment>& segments, std::string_view path, route_match& into) {
    std::size_t count = 1;
    for (const auto& each : segments) count += each.what != detail::route_segment::kind::literal;
    into.set_captures(count);
    into.set_capture(0, path);
    std::string_view rest = path.substr(1);
    std::size_t index = 1;
    for (const auto& each : segments) {
      const std::size_t end = std::min(rest.find('/'), rest.size());
      if (each.what == detail::route_segment::kind::parameter) into.set_capture(index++, rest.substr(0, end));
      if (each.what == detail::route_segment::kind::rest) return into.set_capture(index, rest);
      rest.remove_prefix(std::min(end + 1, rest.size()));
    }
  }
  void refuse(std::string_view method, std::string_view path, route_match& into) const {
    detail::allow_list allowed;
    if (path.starts_with('/')) {
      templates_.add_methods(path, allowed);
      if (const detail::mount_rules* mount = mounts_.find(path))
        mount->add_methods(path.substr(mount->mount().size()), allowed);
    } else if (path == "*" && method == "OPTIONS") {  // the server as a whole
      templates_.add_all_methods(allowed);
      mounts_.add_all_methods(allowed);
    }
    if (allowed.empty()) return;
    into.what_ = method == "OPTIONS" ? route_match::status::options : route_match::status::method_not_allowed;
    into.allow_ = allowed.to_string();
  }

  regex_options options_;
  std::deque<known_route> routes_;  // stay where they are
  detail::template_tree templates_;
  detail::mount_list mounts_;
  bool is_compiled_ = false;
};

}  // namespace eventer::inline EVENTER_ABI::http
