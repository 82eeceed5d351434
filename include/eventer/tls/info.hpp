// tls::info: what a TLS connection has agreed on, for whoever holds its stream, also as an any_stream.
#pragma once

#include <openssl/ssl.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "eventer/tls/context.hpp"

namespace eventer::inline EVENTER_ABI::tls {

// Of a connection whose handshake has ended; valid as long as its stream is open.
class info {
 public:
  // The protocol that was agreed on, such as "h2"; empty where none was.
  std::string_view alpn() const noexcept {
    const unsigned char* name = nullptr;
    unsigned size = 0;
    ::SSL_get0_alpn_selected(ssl_.get(), &name, &size);
    return {reinterpret_cast<const char*>(name), size};
  }
  // The host that the client has asked for (SNI); empty where it has not said.
  std::string_view server_name() const noexcept {
    return text(::SSL_get_servername(ssl_.get(), TLSEXT_NAMETYPE_host_name));
  }
  tls::version version() const noexcept {
    return ::SSL_version(ssl_.get()) >= TLS1_3_VERSION ? version::tls_1_3 : version::tls_1_2;
  }
  // As OpenSSL writes it: "TLS_AES_256_GCM_SHA384".
  std::string_view cipher() const noexcept { return text(SSL_get_cipher_name(ssl_.get())); }
  // Whom the peer's certificate is for, as "CN=client,O=Example"; empty where it has sent none. The other side of a
  // session that was resumed has sent it when that began.
  std::string peer_certificate_subject() const {
    X509* const which = ::SSL_get0_peer_certificate(ssl_.get());
    if (which == nullptr) return {};
    const detail::memory_bio to(::BIO_new(::BIO_s_mem()));
    if (to == nullptr) return {};
    ::X509_NAME_print_ex(to.get(), ::X509_get_subject_name(which), 0, XN_FLAG_RFC2253);
    const char* bytes = nullptr;
    const long size = BIO_get_mem_data(to.get(), &bytes);
    return size > 0 ? std::string(bytes, static_cast<std::size_t>(size)) : std::string();
  }
  // Whether it has gone on with an earlier one, without a full handshake.
  bool session_reused() const noexcept { return ::SSL_session_reused(ssl_.get()) == 1; }
  // With which it began.
  const tls::context& context() const noexcept { return context_; }
  // For what is not here.
  SSL* native_handle() const noexcept { return ssl_.get(); }

 protected:
  using ssl = std::unique_ptr<SSL, detail::freed_by<&::SSL_free>>;
  info(tls::context with, std::shared_ptr<const detail::loaded_context> loaded)
      : context_(std::move(with)), loaded_(std::move(loaded)), ssl_(::SSL_new(loaded_->get())) {}
  ~info() = default;

  static std::string_view text(const char* from) noexcept { return from != nullptr ? from : std::string_view(); }

  const tls::context context_;
  const std::shared_ptr<const detail::loaded_context> loaded_;  // outlives the connection, which points into it
  const ssl ssl_;
};

}  // namespace eventer::inline EVENTER_ABI::tls
