// server_names: which of several certificates is for the name that a client asks for (SNI). Exact names first, then
// "*.example.org", which stands for one label.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <string_view>

#include "eventer/base/config.hpp"

namespace eventer::inline EVENTER_ABI::tls::detail {

class server_names {
 public:
  // Of two for one name the first counts.
  void add(std::string_view name, std::size_t which) { names_.emplace(folded(name), which); }
  // `none` where no name matches.
  std::size_t find(std::string_view asked, std::size_t none) const {
    const std::string name = folded(asked);
    if (const auto exact = names_.find(name); exact != names_.end()) return exact->second;
    const std::size_t dot = name.find('.');
    if (dot == 0 || dot == std::string::npos) return none;
    const auto wild = names_.find("*" + name.substr(dot));
    return wild != names_.end() ? wild->second : none;
  }
  bool empty() const noexcept { return names_.empty(); }

 private:
  // Names are compared without regard to case, and without the dot of a name that is written to the root.
  static std::string folded(std::string_view name) {
    if (name.ends_with('.')) name.remove_suffix(1);
    std::string result(name);
    for (char& each : result)
      if (each >= 'A' && each <= 'Z') each = static_cast<char>(each - 'A' + 'a');
    return result;
  }

  std::map<std::string, std::size_t> names_;
};

}  // namespace eventer::inline EVENTER_ABI::tls::detail
