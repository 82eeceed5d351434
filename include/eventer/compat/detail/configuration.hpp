// What a program has said about its configuration before anything was read: which file, and the defaults of the
// eventer's properties. Kept here for those who start loops and listeners. Any thread.
#pragma once

#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "eventer/base/config.hpp"

namespace eventer::inline EVENTER_ABI::compat {

// Sets the properties that the file has, as far as the program has not; called by eventer_init. nullptr: files are not
// read (see EVENTER_ACO_WITH_LISTENERS).
using property_source = void (*)();
inline constinit property_source apply_configured_properties = nullptr;

struct eventer_default {
  std::string name;
  std::string value;
};

struct program_configuration {
  std::mutex mutex;
  std::string main_path;  // the file that mtev_main was given; empty: it was not called
  std::string path;       // the file that is in force; empty: none was loaded
  std::vector<eventer_default> defaults;
};

// Never destroyed: threads may outlive main.
inline program_configuration& configuration() {
  static auto& only = *new program_configuration();
  return only;
}

// The file that mtev_conf_load has found last; empty: there was none.
inline std::string configuration_path() {
  const std::lock_guard lock(configuration().mutex);
  return configuration().path;
}

// What eventer_init applies before the properties of the configuration file, each name once.
inline std::vector<eventer_default> eventer_defaults() {
  const std::lock_guard lock(configuration().mutex);
  return configuration().defaults;
}

// A name that is there already gets the new value.
inline void set_eventer_default(std::string name, std::string value) {
  const std::lock_guard lock(configuration().mutex);
  for (eventer_default& each : configuration().defaults)
    if (each.name == name) {
      each.value = std::move(value);
      return;
    }
  configuration().defaults.push_back({std::move(name), std::move(value)});
}

}  // namespace eventer::inline EVENTER_ABI::compat
