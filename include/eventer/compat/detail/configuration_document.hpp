// The program's configuration as a parsed document, for those who look for their part of it: listeners, properties,
// access rules. Needs toml++.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "eventer/compat/detail/configuration.hpp"
#include "eventer/compat/eventer_aco.h"
#include "eventer/config/service_file.hpp"

namespace eventer::inline EVENTER_ABI::compat {

struct parsed_configuration {
  std::string path;
  std::shared_ptr<const toml::table> root;
};

class configuration_documents {
 public:
  static configuration_documents& of_process() {
    static configuration_documents& all = *new configuration_documents;
    return all;
  }

  // Of the file that is in force: read once, or `again`. Without a root where there is none, or it has errors, of which
  // the log has told when it was read.
  parsed_configuration get(bool again) {
    const std::string path = configuration_path();
    const std::lock_guard lock(mutex_);
    if (path.empty()) return {};
    if (again || path != last_.path) {
      last_ = {path, nullptr};
      try {
        last_.root = std::make_shared<const toml::table>(detail::parse_toml(detail::read_config_text(path), path));
      } catch (const config_error& error) {
        for (const config_problem& each : error.errors())
          mtevL(mtev_error, "configuration: %s\n", each.to_string().c_str());
      }
    }
    return last_;
  }

 private:
  std::mutex mutex_;
  parsed_configuration last_;
};

// Any thread. Blocks it while the file is read.
inline parsed_configuration configuration_document(bool again = false) {
  return configuration_documents::of_process().get(again);
}

// The text that a value stands for, as attributes of libmtev's have them; nothing for a table, an array or a date.
inline std::optional<std::string> text_of_value(const toml::node& node) {
  if (const auto* const text = node.as_string()) return text->get();
  if (const auto* const number = node.as_integer()) return std::to_string(number->get());
  if (const auto* const decimal = node.as_floating_point()) return detail::toml_reader::decimal(decimal->get());
  if (const auto* const flag = node.as_boolean()) return flag->get() ? "true" : "false";
  return std::nullopt;
}

}  // namespace eventer::inline EVENTER_ABI::compat
