// loaded_context: OpenSSL's objects behind a context, made from its options and files; never changed afterwards.
// Connections hold the one that they began with.
//
// Its callbacks run inside of SSL_* calls, where nothing may wait: they only look up what is here.
#pragma once

#include <openssl/sha.h>
#include <openssl/ssl.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "eventer/tls/options.hpp"
#include "eventer/tls/pem_file.hpp"
#include "eventer/tls/server_names.hpp"
#include "eventer/tls/session_cache.hpp"

namespace eventer::inline EVENTER_ABI::tls::detail {

// A connection of a client, as the callback for new sessions finds it.
class session_receiver {
 public:
  virtual void take_session(session given) noexcept = 0;

 protected:
  ~session_receiver() = default;
};

class loaded_context {
 public:
  // Both throw std::system_error: for a file, with its name, what was expected, and OpenSSL's reason.
  loaded_context(const certificate_files& first, const server_options& options)
      : tickets_(std::make_unique<ticket_keys>(options.tickets)), alpn_(wire_form(options.alpn)) {
    std::vector<certificate_files> all{first};
    all.insert(all.end(), options.certificates.begin(), options.certificates.end());
    for (const certificate_files& each : all) add(each, options);
  }
  explicit loaded_context(const client_options& options)
      : alpn_(wire_form(options.alpn)), sessions_(options.resume ? std::make_unique<session_cache>() : nullptr) {
    SSL_CTX* const made = make(::TLS_client_method(), options.min_version, options.max_version, options.ciphers);
    if (options.verify) {
      ::SSL_CTX_set_verify(made, SSL_VERIFY_PEER, nullptr);
      if (!options.ca_file.empty())
        pem_file("ca", options.ca_file).trust_in(made);
      else if (::SSL_CTX_set_default_verify_paths(made) != 1)
        refuse("tls::context::client: whom the system trusts");
    }
    if (!options.certificate.empty()) use_certificate(made, options.certificate, options.key, true);
    if (!alpn_.empty() && ::SSL_CTX_set_alpn_protos(made, alpn_.data(), static_cast<unsigned>(alpn_.size())) != 0)
      refuse("tls::context::client: alpn");
    if (sessions_ == nullptr) return;
    ::SSL_CTX_set_session_cache_mode(made, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    ::SSL_CTX_sess_set_new_cb(made, &on_session);
  }
  loaded_context(const loaded_context&) = delete;
  loaded_context& operator=(const loaded_context&) = delete;

  SSL_CTX* get() const noexcept { return all_.front().get(); }
  // Of a client; nullptr where none are kept.
  session_cache* sessions() const noexcept { return sessions_.get(); }

 private:
  static constexpr const char* sound_ciphers = "ECDHE+AESGCM:ECDHE+CHACHA20";

  SSL_CTX* make(const SSL_METHOD* method, version least, version most, const std::string& ciphers) {
    ::ERR_clear_error();
    ssl_context made(::SSL_CTX_new(method));
    if (made == nullptr) refuse("tls::context");
    SSL_CTX* const context = made.get();
    if (SSL_CTX_set_min_proto_version(context, number_of(least)) != 1 ||
        SSL_CTX_set_max_proto_version(context, number_of(most)) != 1)
      refuse("tls::context: versions");
    if (least > most)
      refuse(std::make_error_code(std::errc::invalid_argument), "tls::context: min_version is beyond max_version");
    if (::SSL_CTX_set_cipher_list(context, ciphers.empty() ? sound_ciphers : ciphers.c_str()) != 1)
      refuse("tls::context: ciphers \"" + ciphers + "\"");
    // What a write has begun goes on from wherever the caller's bytes lie by then; idle connections hold no buffers.
    SSL_CTX_set_mode(context,
                     SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    // The end of the connection without close_notify is told by us (connection.hpp), so that writing can go on.
    ::SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_read_ahead(context, 1);
    ::SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_app_data(context, this);
    all_.push_back(std::move(made));
    return context;
  }

  void add(const certificate_files& files, const server_options& options) {
    SSL_CTX* const made = make(::TLS_server_method(), options.min_version, options.max_version, options.ciphers);
    ::SSL_CTX_set_options(made, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    use_certificate(made, files.certificate, files.key, options.allow_expired);
    const std::size_t index = all_.size() - 1;
    const std::vector<std::string> own = names_of(::SSL_CTX_get0_certificate(made));
    for (const std::string& name : files.names.empty() ? own : files.names) names_.add(name, index);
    ask_clients(made, options);
    if (!alpn_.empty()) ::SSL_CTX_set_alpn_select_cb(made, &choose_protocol, this);
    // OpenSSL's macros for these two are casts in C's way.
    ::SSL_CTX_callback_ctrl(made, SSL_CTRL_SET_TLSEXT_SERVERNAME_CB, reinterpret_cast<void (*)()>(&choose_certificate));
    ::SSL_CTX_ctrl(made, SSL_CTRL_SET_TLSEXT_SERVERNAME_ARG, 0, this);
    if (!options.session_tickets) {
      ::SSL_CTX_set_options(made, SSL_OP_NO_TICKET);
      ::SSL_CTX_set_num_tickets(made, 0);
    } else if (::SSL_CTX_set_tlsext_ticket_key_evp_cb(made, &use_ticket_key) != 1) {
      refuse("tls::context::server: tickets");
    }
    ::SSL_CTX_set_timeout(made, std::chrono::duration_cast<std::chrono::seconds>(ticket_keys::lifetime).count());
  }
  void ask_clients(SSL_CTX* made, const server_options& options) {
    std::string policy = std::to_string(static_cast<int>(options.clients));
    if (options.clients != client_certificates::none) {
      if (options.client_ca.empty())
        refuse(std::make_error_code(std::errc::invalid_argument),
               "tls::context::server: client certificates are asked for, and client_ca does not say whom to trust");
      const pem_file trusted("client_ca", options.client_ca);
      trusted.trust_in(made);
      for (const certificate& each : trusted.certificates())
        if (::SSL_CTX_add_client_CA(made, each.get()) != 1) refuse(trusted.name() + ": can't be used");
      const bool required = options.clients == client_certificates::required;
      ::SSL_CTX_set_verify(made, SSL_VERIFY_PEER | (required ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0), nullptr);
      policy += trusted.text();
    }
    // A ticket holds only where clients were asked for the same.
    unsigned char digest[SHA256_DIGEST_LENGTH];
    ::SHA256(reinterpret_cast<const unsigned char*>(policy.data()), policy.size(), digest);
    ::SSL_CTX_set_session_id_context(made, digest, sizeof digest);
  }

  static int number_of(version which) noexcept { return which == version::tls_1_2 ? TLS1_2_VERSION : TLS1_3_VERSION; }
  // Each name behind its length.
  static std::vector<unsigned char> wire_form(const std::vector<std::string>& protocols) {
    std::vector<unsigned char> result;
    for (const std::string& each : protocols) {
      if (each.empty() || each.size() > 255)
        refuse(std::make_error_code(std::errc::invalid_argument), "tls::context: an ALPN name has 1 to 255 bytes");
      result.push_back(static_cast<unsigned char>(each.size()));
      result.insert(result.end(), each.begin(), each.end());
    }
    return result;
  }

  static int choose_certificate(SSL* connection, int*, void* self) noexcept {
    const auto& here = *static_cast<const loaded_context*>(self);
    const char* const asked = ::SSL_get_servername(connection, TLSEXT_NAMETYPE_host_name);
    if (asked == nullptr) return SSL_TLSEXT_ERR_NOACK;
    const std::size_t which = here.names_.find(asked, 0);
    if (which != 0) ::SSL_set_SSL_CTX(connection, here.all_[which].get());
    return SSL_TLSEXT_ERR_OK;
  }
  static int choose_protocol(SSL*, const unsigned char** chosen, unsigned char* size, const unsigned char* offered,
                             unsigned offered_size, void* self) noexcept {
    const std::vector<unsigned char>& ours = static_cast<const loaded_context*>(self)->alpn_;
    unsigned char* match = nullptr;
    const int found =
        ::SSL_select_next_proto(&match, size, ours.data(), static_cast<unsigned>(ours.size()), offered, offered_size);
    *chosen = match;
    return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
  }
  static int use_ticket_key(SSL* connection, unsigned char* name, unsigned char* vector, EVP_CIPHER_CTX* cipher,
                            EVP_MAC_CTX* mac, int encrypt) noexcept {
    const auto* const here = static_cast<const loaded_context*>(SSL_CTX_get_app_data(::SSL_get_SSL_CTX(connection)));
    return here->tickets_->use(name, vector, cipher, mac, encrypt != 0);
  }
  static int on_session(SSL* connection, SSL_SESSION* given) noexcept {
    static_cast<session_receiver*>(SSL_get_app_data(connection))->take_session(session(given));
    return 1;  // it is ours
  }

  const std::unique_ptr<const ticket_keys> tickets_;  // nullptr: a client
  const std::vector<unsigned char> alpn_;
  const std::unique_ptr<session_cache> sessions_;
  std::vector<ssl_context> all_;  // one for each certificate
  server_names names_;
};

}  // namespace eventer::inline EVENTER_ABI::tls::detail
