// How a client speaks https without HTTP knowing any TLS: by whatever can put it over a connection, a tls::context.
#pragma once

#include <atomic>
#include <concepts>
#include <memory>
#include <string_view>
#include <utility>

#include "eventer/net/any_stream.hpp"

namespace eventer::inline EVENTER_ABI::http {

// Makes the handshake with `host`, whom the certificate has to be for, in the calling coroutine. A handle: clients keep
// a copy, and use it on all of their loops.
template <class T>
concept client_security = std::copy_constructible<T> &&
    requires(const T& with, any_stream& peer, std::string_view host, time_limit limit) {
  { with.connect(peer, host, limit) } -> std::same_as<io_result<void>>;
};

namespace detail {

class any_client_security {
 public:
  virtual ~any_client_security() = default;
  virtual io_result<void> connect(any_stream& peer, std::string_view host, time_limit limit) const = 0;
};
template <class Security>
class typed_client_security final : public any_client_security {
 public:
  explicit typed_client_security(Security with) : with_(std::move(with)) {}
  io_result<void> connect(any_stream& peer, std::string_view host, time_limit limit) const override {
    return with_.connect(peer, host, limit);
  }

 private:
  const Security with_;
};

// Of clients that were given none: what https_client.hpp has put here, nullptr where no unit includes it.
EVENTER_API inline std::atomic<const any_client_security& (*)()>& default_client_security() noexcept {
  static constinit std::atomic<const any_client_security& (*)()> instance{nullptr};
  return instance;
}

}  // namespace detail

}  // namespace eventer::inline EVENTER_ABI::http
