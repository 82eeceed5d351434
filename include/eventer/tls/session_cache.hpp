// session_cache: what a client has been given to come back with, by host. Each is used once, so that nobody can tell by
// it who comes again (RFC 8446, C.4).
#pragma once

#include <openssl/ssl.h>

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "eventer/tls/pem_file.hpp"

namespace eventer::inline EVENTER_ABI::tls::detail {

using session = std::unique_ptr<SSL_SESSION, freed_by<&::SSL_SESSION_free>>;

class session_cache {
 public:
  void keep(const std::string& host, session which) {
    const std::lock_guard lock(mutex_);
    if (sessions_.size() >= most_hosts && !sessions_.contains(host)) sessions_.erase(sessions_.begin());
    sessions_[host] = std::move(which);
  }
  session take(const std::string& host) {
    const std::lock_guard lock(mutex_);
    const auto found = sessions_.find(host);
    if (found == sessions_.end()) return nullptr;
    session result = std::move(found->second);
    sessions_.erase(found);
    return result;
  }

 private:
  static constexpr std::size_t most_hosts = 1000;
  std::mutex mutex_;
  std::map<std::string, session> sessions_;
};

}  // namespace eventer::inline EVENTER_ABI::tls::detail
