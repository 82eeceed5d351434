// Section 7 of eventer_aco.h: the frame of a program. The file itself is read where listeners are made.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <mutex>
#include <string>

#include "eventer/base/quoted.hpp"
#include "eventer/base/syscalls.hpp"
#include "eventer/base/unique_fd.hpp"
#include "eventer/compat/detail/configuration.hpp"
#include "eventer/compat/detail/log_streams.hpp"
#include "eventer/compat/detail/needing_memory.hpp"
#include "eventer/compat/eventer_aco.h"

namespace eventer::inline EVENTER_ABI::compat {

// Returns 0, or the errno that says why the file can't be read.
inline int why_unreadable(const std::string& path) noexcept {
  // A FIFO without a writer would block in open().
  const unique_fd file(syscalls::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat status {};
  if (!file || syscalls::fstat(file.get(), &status) != 0) return errno;
  if (S_ISDIR(status.st_mode)) return EISDIR;
  return S_ISREG(status.st_mode) ? 0 : EINVAL;
}

// What it was asked for and does not do, as a list; empty: nothing.
inline std::string ignored_in_main(int foreground, mtev_lock_op_t lock, const char* glider, const char* drop_to_user,
                                   const char* drop_to_group) {
  const struct {
    bool given;
    const char* what;
  } all[] = {{foreground == 0, "foreground = 0 (it stays in the foreground)"},
             {lock != MTEV_LOCK_OP_NONE, "lock"},
             {glider != nullptr, "glider"},
             {drop_to_user != nullptr, "drop_to_user"},
             {drop_to_group != nullptr, "drop_to_group"}};
  std::string list;
  for (const auto& [given, what] : all)
    if (given) list.append(list.empty() ? "" : ", ").append(what);
  return list;
}

}  // namespace eventer::inline EVENTER_ABI::compat

extern "C" {

int mtev_conf_load(const char* path) {
  return eventer::compat::needing_memory([&] {
    auto& known = eventer::compat::configuration();
    std::string file = path == nullptr ? "" : path;
    if (path == nullptr) {
      const std::lock_guard lock(known.mutex);
      file = known.main_path.empty() ? known.path : known.main_path;
    }
    const int error = file.empty() ? ENOENT : eventer::compat::why_unreadable(file);
    if (error != 0) {
      mtevL(mtev_error, "configuration: cannot read %s: %s\n", eventer::detail::quoted(file, 200).c_str(),
            std::strerror(error));
      errno = error;
      return -1;
    }
    const std::lock_guard lock(known.mutex);
    known.path = std::move(file);
    return 0;
  });
}

int mtev_main(const char* appname, const char* config_filename, int debug, int foreground, mtev_lock_op_t lock,
              const char* glider, const char* drop_to_user, const char* drop_to_group, int (*child_main)(void)) {
  if (debug != 0) mtev_log_stream_set_enabled(mtev_debug, mtev_true);
  eventer::compat::needing_memory([&] {
    const std::string ignored = eventer::compat::ignored_in_main(foreground, lock, glider, drop_to_user, drop_to_group);
    if (!ignored.empty()) mtevL(mtev_notice, "mtev_main: not done here: %s\n", ignored.c_str());
    std::string path = config_filename != nullptr ? config_filename : std::string(appname) + ".toml";
    const std::lock_guard guard(eventer::compat::configuration().mutex);
    eventer::compat::configuration().main_path = std::move(path);
  });
  return mtev_conf_load(nullptr) == 0 ? child_main() : -1;
}

void mtev_main_eventer_config(const char* name, const char* value) {
  eventer::compat::needing_memory([&] { eventer::compat::set_eventer_default(name, value); });
}

void mtev_main_enable_log(const char* name) { mtev_log_stream_set_enabled(mtev_log_stream_find(name), mtev_true); }

void mtev_main_disable_log(const char* name) { mtev_log_stream_set_enabled(mtev_log_stream_find(name), mtev_false); }

void mtev_memory_init(void) {}

}  // extern "C"
