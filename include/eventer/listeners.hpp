// Listeners from a configuration file: named functions, started by a TOML file, on one loop or a pool; changed and
// drained while they run. See docs/listeners.md.
//
// Outside eventer.hpp because it needs toml++. Without files, and without toml++: eventer/listener/run_service.hpp.
#pragma once

#include <string>

#include "eventer/config/service_file.hpp"
#include "eventer/listener/run_service.hpp"

namespace eventer::inline EVENTER_ABI {

namespace detail {

struct file_config {
  std::string path;
  service_config operator()() const { return read_service_file(path); }
};

}  // namespace detail

// As start_listeners() with a configuration; reload() reads the file again. Blocks the thread while it is read.
inline listeners start_listeners(const std::string& path, const listener_registry& functions) {
  return start_listeners(detail::file_config{path}, functions);
}
inline listeners start_listeners(const std::string& path, const listener_registry& functions, loop_pool& pool) {
  return start_listeners(detail::file_config{path}, functions, pool);
}
// As run_service() with a function.
inline int run_service(const std::string& path, const listener_registry& functions,
                       const service_options& options = {}) {
  return run_service(detail::file_config{path}, functions, options);
}

}  // namespace eventer::inline EVENTER_ABI
