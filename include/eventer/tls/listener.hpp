// tls::enable: listeners whose configuration has [listener.tls] speak TLS.
//
//   eventer::listener_registry functions;
//   eventer::tls::enable(functions);
#pragma once

#include <memory>
#include <utility>

#include "eventer/listener/listener_registry.hpp"
#include "eventer/tls/stream.hpp"

namespace eventer::inline EVENTER_ABI::tls {

namespace detail {

class listener_layer final : public connection_layer {
 public:
  explicit listener_layer(tls::context with) noexcept : context_(std::move(with)) {}
  io_result<void> accept(any_stream& peer) const override { return context_.accept(peer); }

 private:
  const tls::context context_;
};

class listener_layers final : public connection_layer_factory {
 public:
  std::shared_ptr<const connection_layer> make(const listener_config& config) const override {
    const tls_config& wanted = *config.tls;
    server_options options;
    for (const tls_certificate& each : wanted.certificates)
      options.certificates.push_back({each.certificate, each.key, each.names});
    options.alpn = wanted.alpn;
    options.clients = clients_of(wanted.client_certificates);
    options.client_ca = wanted.client_ca;
    options.min_version = wanted.min_version == tls_min_version::tls_1_2 ? version::tls_1_2 : version::tls_1_3;
    options.handshake_timeout = wanted.handshake_timeout;
    options.ciphers = wanted.ciphers;
    options.tickets = tickets_;
    return std::make_shared<listener_layer>(
        context::server(wanted.main.certificate, wanted.main.key, std::move(options)));
  }

 private:
  static client_certificates clients_of(tls_client_certificates wanted) noexcept {
    switch (wanted) {
      case tls_client_certificates::optional:
        return client_certificates::optional;
      case tls_client_certificates::required:
        return client_certificates::required;
      default:
        return client_certificates::none;
    }
  }

  const ticket_keys tickets_;  // of all listeners, on all loops, and over all reloads
};

}  // namespace detail

// Before the listeners are started, which take a copy. Certificates are read at the start and at each reload; what is
// wrong with them is a config_error like everything else, and then nothing changes. The handshake is made in a
// connection's own coroutine before its function is called, behind a PROXY header; tls::info_of() tells the function
// what was agreed on. Connections keep the certificates that they began with.
inline void enable(listener_registry& functions) {
  functions.set_tls(std::make_shared<const detail::listener_layers>());
}

}  // namespace eventer::inline EVENTER_ABI::tls
