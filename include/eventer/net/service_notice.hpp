// service_notice: tells systemd, or whoever else has set NOTIFY_SOCKET, how the service is doing (sd_notify(3)). No
// library of theirs is needed; where nobody has set it nothing is sent.
#pragma once

#include <charconv>
#include <cstdlib>
#include <string>
#include <string_view>

#include "eventer/base/clock.hpp"
#include "eventer/base/log.hpp"
#include "eventer/base/unique_fd.hpp"
#include "eventer/net/endpoint.hpp"

namespace eventer::inline EVENTER_ABI {

// Sending never waits: a notice that the manager has no room for is lost, with a line in the log. Any thread.
class service_notice {
 public:
  // Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID.
  service_notice() {
    const char* const where = std::getenv("NOTIFY_SOCKET");
    if (where == nullptr) return;
    const auto address = endpoint::parse(std::string("unix:").append(where));
    if (!address || (where[0] != '/' && where[0] != '@')) {
      log(log_level::error, "NOTIFY_SOCKET=%s is neither a path nor @name: no notices are sent", where);
      return;
    }
    to_ = *address;
    const char* const pid = std::getenv("WATCHDOG_PID");
    const char* const period = std::getenv("WATCHDOG_USEC");
    if (period != nullptr && (pid == nullptr || number(pid) == syscalls::process_id()) && number(period) > 0)
      watchdog_ = std::chrono::microseconds(number(period));
  }

  bool wanted() const noexcept { return to_.family() != AF_UNSPEC; }
  // The manager kills the service when it hears nothing for so long: say watchdog() twice in that time. 0: it does not.
  duration watchdog_limit() const noexcept { return watchdog_; }

  void ready(std::string_view status = {}) const { send("READY=1", status); }
  // To be followed by ready().
  void reloading() const {
    const auto now = std::chrono::duration_cast<std::chrono::microseconds>(clock::now().time_since_epoch());
    send("RELOADING=1\nMONOTONIC_USEC=" + std::to_string(now.count()), {});
  }
  void stopping(std::string_view status = {}) const { send("STOPPING=1", status); }
  void status(std::string_view text) const { send({}, text); }
  void watchdog() const { send("WATCHDOG=1", {}); }
  // Where another process than the one that was started is the service.
  void main_process(pid_t which) const { send("MAINPID=" + std::to_string(which), {}); }

 private:
  void send(std::string state, std::string_view status) const {
    if (!wanted()) return;
    if (!status.empty()) {
      if (!state.empty()) state += '\n';
      state += "STATUS=";
      for (const char each : status) state += each == '\n' ? ' ' : each;
    }
    const unique_fd socket(syscalls::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!socket || syscalls::connect(socket.get(), to_.data(), to_.size()) != 0 ||
        syscalls::send(socket.get(), state.data(), state.size(), MSG_NOSIGNAL) < 0)
      log(log_level::error, "a notice to %s: %s", to_.to_string().c_str(), error_from_errno(errno).message().c_str());
  }
  static long long number(std::string_view text) noexcept {
    long long value = -1;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc() && end == text.data() + text.size() ? value : -1;
  }

  endpoint to_;
  duration watchdog_ = duration::zero();
};

}  // namespace eventer::inline EVENTER_ABI
