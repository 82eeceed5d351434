// session_cache: what a client has been given to come back with, by host. Each is used once, so that nobody can tell by
// it who comes again (RFC 8446, C.4); a few are kept, as a server gives two a time and a client may come several times
// at once.
#pragma once

#include <openssl/ssl.h>

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "eventer/tls/pem_file.hpp"

namespace eventer::inline EVENTER_ABI::tls::detail {

using session = std::unique_ptr<SSL_SESSION, freed_by<&::SSL_SESSION_free>>;

class session_cache {
 public:
  void keep(const std::string& host, session which) {
    const std::lock_guard lock(mutex_);
    if (sessions_.size() >= most_hosts && !sessions_.contains(host)) sessions_.erase(sessions_.begin());
    std::vector<session>& here = sessions_[host];
    if (here.size() >= most_of_a_host) here.erase(here.begin());  // the oldest
    here.push_back(std::move(which));
  }
  // The latest; nullptr where there is none.
  session take(const std::string& host) {
    const std::lock_guard lock(mutex_);
    const auto found = sessions_.find(host);
    if (found == sessions_.end()) return nullptr;
    session result = std::move(found->second.back());
    found->second.pop_back();
    if (found->second.empty()) sessions_.erase(found);
    return result;
  }

 private:
  static constexpr std::size_t most_hosts = 1000, most_of_a_host = 8;
  std::mutex mutex_;  // for a moment
  std::map<std::string, std::vector<session>> sessions_;
};

}  // namespace eventer::inline EVENTER_ABI::tls::detail
