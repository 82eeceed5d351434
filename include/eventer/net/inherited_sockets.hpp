// inherited_sockets: the listening sockets that systemd, or systemd-socket-activate, has given to this process
// (sd_listen_fds(3)), by name. No library of theirs is needed.
#pragma once

#include <charconv>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "eventer/base/log.hpp"
#include "eventer/base/syscalls.hpp"

namespace eventer::inline EVENTER_ABI {

// They stay open, and the manager's, for the life of the process: use duplicates.
class inherited_sockets {
 public:
  struct socket {
    std::string name;  // of the socket unit, or its FileDescriptorName=; "unknown" where none was given
    int fd = -1;
  };

  // Looked for at the first call, once for the process: the variables LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES are
  // unset, so that children do not take them for theirs, and the sockets are set close-on-exec. Requires: at the first
  // call no other thread uses the environment.
  static const inherited_sockets& of_process() {
    static const inherited_sockets& all = *new inherited_sockets;
    return all;
  }

  const std::vector<socket>& all() const noexcept { return sockets_; }
  // Several sockets may have one name.
  std::vector<int> named(std::string_view name) const {
    std::vector<int> result;
    for (const socket& each : sockets_)
      if (each.name == name) result.push_back(each.fd);
    return result;
  }
  // For messages: "web, admin", or "none".
  std::string names() const {
    std::string text;
    for (const socket& each : sockets_) text.append(text.empty() ? "" : ", ").append(each.name);
    return text.empty() ? "none" : text;
  }

  // Why `fd` can't be accepted on; nullptr if it can.
  static const char* why_not_listening(int fd) noexcept {
    int type = 0, listens = 0;
    socklen_t size = sizeof type;
    if (syscalls::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) != 0) return "it is no socket";
    if (type != SOCK_STREAM) return "it is no stream socket";
    size = sizeof listens;
    if (syscalls::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) != 0 || listens == 0)
      return "it does not listen (a unit with Accept=yes gives connections, not the socket)";
    return nullptr;
  }

 private:
  static constexpr int first_fd = 3;  // SD_LISTEN_FDS_START
  static constexpr long most = 1000;

  inherited_sockets() {
    const char* const pid = std::getenv("LISTEN_PID");
    const char* const count = std::getenv("LISTEN_FDS");
    const char* const names = std::getenv("LISTEN_FDNAMES");
    if (pid != nullptr && count != nullptr && number(pid) == syscalls::process_id()) take(number(count), names);
    for (const char* const each : {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}) ::unsetenv(each);
  }
  void take(long count, const char* names) {
    if (count < 0 || count > most) return log(log_level::error, "LISTEN_FDS is no number of sockets: none is used");
    std::string_view rest = names == nullptr ? "" : names;
    for (int fd = first_fd; fd < first_fd + count; ++fd) {
      const std::size_t colon = rest.find(':');
      std::string_view name = rest.substr(0, colon);
      rest = colon == std::string_view::npos ? std::string_view() : rest.substr(colon + 1);
      if (name.empty()) name = "unknown";
      const int flags = syscalls::fcntl(fd, F_GETFD);
      if (flags < 0 || syscalls::fcntl(fd, F_SETFD, flags | FD_CLOEXEC) != 0) {
        log(log_level::error, "LISTEN_FDS names descriptor %d, which is not open", fd);
        continue;
      }
      sockets_.push_back({std::string(name), fd});
    }
  }
  static long number(std::string_view text) noexcept {
    long value = -1;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc() && end == text.data() + text.size() ? value : -1;
  }

  std::vector<socket> sockets_;
};

}  // namespace eventer::inline EVENTER_ABI
