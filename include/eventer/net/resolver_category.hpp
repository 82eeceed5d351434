// resolver_category: what goes wrong when a name is looked up: getaddrinfo's errors (EAI_NONAME, ...) and one of ours.
//
// Ask for std::errc where it does not matter how the names are looked up: no_such_device_or_address for a name that
// does not exist or has no address, resource_unavailable_try_again for what may work later.
#pragma once

#include <netdb.h>

#include <string>
#include <system_error>

#include "eventer/base/result.hpp"

namespace eventer::inline EVENTER_ABI {

// So many names are being looked up that one more may not wait for its turn.
inline constexpr int resolver_queue_full = 10'000;

class EVENTER_API resolver_error_category final : public std::error_category {
 public:
  const char* name() const noexcept override { return "eventer.resolver"; }

  std::string message(int code) const override {
    if (code == resolver_queue_full)
      return "too many names are being looked up: try again later, or give the resolver a longer queue (resolver_options)";
    return std::string(::gai_strerror(code)).append(advice(code));
  }

  std::error_condition default_error_condition(int code) const noexcept override {
    switch (code) {
      case EAI_NONAME:
#if defined(EAI_NODATA) && EAI_NODATA != EAI_NONAME
      case EAI_NODATA:
#endif
#if defined(EAI_ADDRFAMILY)
      case EAI_ADDRFAMILY:
#endif
        return std::errc::no_such_device_or_address;
      case EAI_AGAIN:
      case resolver_queue_full:
        return std::errc::resource_unavailable_try_again;
      case EAI_MEMORY:
        return std::errc::not_enough_memory;
      case EAI_FAMILY:
        return std::errc::address_family_not_supported;
      case EAI_SERVICE:
        return std::errc::invalid_argument;
      default:
        return {code, *this};
    }
  }

 private:
  static const char* advice(int code) noexcept {
    switch (code) {
      case EAI_NONAME:
        return ": check the spelling, /etc/hosts and the search domains";
#if defined(EAI_NODATA) && EAI_NODATA != EAI_NONAME
      case EAI_NODATA:
        return ": the name exists, but it has neither an IPv4 nor an IPv6 address";
#endif
      case EAI_AGAIN:
        return ": no name server has answered; check the network and /etc/resolv.conf, or try again";
      case EAI_FAIL:
        return ": the name server can't answer this; compare with `getent ahosts NAME`";
      case EAI_SERVICE:
        return ": /etc/services does not know it; write the port as a number";
      default:
        return " (see getaddrinfo(3))";
    }
  }
};

// Made at first use and never destroyed, as eventer_category().
EVENTER_API inline const std::error_category& resolver_category() noexcept {
  static const resolver_error_category& instance = *new resolver_error_category;
  return instance;
}

// From what getaddrinfo has answered. Requires: not 0; errno as getaddrinfo has left it.
inline std::error_code error_from_getaddrinfo(int code) noexcept {
  if (code == EAI_SYSTEM) return error_from_errno(errno);
  return {code, resolver_category()};
}

}  // namespace eventer::inline EVENTER_ABI
