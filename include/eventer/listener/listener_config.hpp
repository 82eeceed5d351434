// listener_config: what one listener is to be, from code or from a file (config/service_file.hpp reads TOML into it).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eventer/base/clock.hpp"
#include "eventer/listener/tls_config.hpp"
#include "eventer/net/access_list.hpp"

namespace eventer::inline EVENTER_ABI {

// Who accepts. `automatic`: each loop of a pool on a socket of its own (SO_REUSEPORT), but for unix sockets and
// inherited ones, where one loop accepts and hands over.
enum class accept_mode : std::uint8_t { automatic, per_loop, hand_over };

// The header that a proxy in front sends first (HAProxy's PROXY protocol, versions 1 and 2). `required`: who does not
// send one is closed.
enum class proxy_protocol : std::uint8_t { off, required };

// Of a TCP listener's connections. Members are only ever appended.
struct tcp_options {
  bool no_delay = true;                    // TCP_NODELAY
  duration keep_alive = duration::zero();  // probes after so long without traffic; 0: none
  duration user_timeout =
      duration::zero();  // who takes nothing for so long is cut off (TCP_USER_TIMEOUT); 0: the kernel's
  duration defer_accept = duration::zero();  // accepted when the first byte is there (TCP_DEFER_ACCEPT); 0: at once
  int send_buffer = 0, receive_buffer = 0;   // bytes (SO_SNDBUF, SO_RCVBUF); 0: the kernel's
};

// Members are only ever appended.
struct listener_config {
  std::string type;     // the name under which the registry knows its function
  std::string address;  // "127.0.0.1:7777", "[::1]:80", "unix:/run/x", "unix:@name", "fd:NAME" for an inherited socket
  int backlog = 4096;
  std::size_t max_connections = 0;  // at a time, over all loops; 0: no limit
  accept_mode accept = accept_mode::automatic;
  access_list access;  // who may connect; empty: everybody
  bool v6_only = false;
  tcp_options tcp;
  unsigned unix_mode = 0;  // permissions of a unix socket's file, such as 0660; 0: as the umask says
  proxy_protocol proxy = proxy_protocol::off;
  access_list trusted_proxies;  // whose PROXY header is believed; others are closed. Empty: everybody's
  std::string source;           // where it was written, "service.toml:12", for messages
  std::vector<std::pair<std::string, std::string>>
      settings;                   // the function's own, by name; what they mean is its matter
  std::optional<tls_config> tls;  // none: in the clear. Needs tls::enable() of eventer/tls.hpp

  // The text of a setting, valid as long as the settings are; nullptr where there is none of this name.
  const std::string* find_setting(std::string_view name) const noexcept {
    for (const auto& [key, value] : settings)
      if (key == name) return &value;
    return nullptr;
  }
};

struct service_config {
  std::vector<listener_config> listeners;
  unsigned loops = 0;                               // of the pool; 0: one for each usable CPU
  duration drain_limit = std::chrono::seconds(10);  // after it what is still connected is cancelled
  duration drain_idle = std::chrono::seconds(1);    // after it those connections are closed that have nothing begun
};

}  // namespace eventer::inline EVENTER_ABI
