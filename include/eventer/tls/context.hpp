// tls::context: who we are and whom we trust, for all connections of a server or a client.
//
//   auto server = eventer::tls::context::server("cert.pem", "key.pem", {.alpn = {"http/1.1"}});
//   auto client = eventer::tls::context::client();        // verifies, against whom the system trusts
//
// A handle: copies share everything, on any thread.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

#include "eventer/net/any_stream.hpp"
#include "eventer/tls/loaded_context.hpp"

namespace eventer::inline EVENTER_ABI::tls {

class context {
 public:
  // For connections that are accepted: PEM files, the certificate's with those in between behind it. They are read at
  // once, which blocks the thread.
  //
  // Errors: std::system_error, with the file's name, what was expected in it and OpenSSL's reason: one that can't be
  // read or is no PEM, a key with a password or of another certificate, a certificate that is not valid now.
  static context server(std::string certificate_file, std::string key_file, server_options options = {}) {
    return context(std::make_shared<server_source>(
        certificate_files{std::move(certificate_file), std::move(key_file), {}}, std::move(options)));
  }
  // For connections that are made. Errors: as above.
  static context client(client_options options = {}) {
    return context(std::make_shared<client_source>(std::move(options)));
  }

  // Reads the files again; connections that begin from then on have what is in them, the others keep what they began
  // with. Errors: as above; then nothing has changed. Any thread.
  void reload() const { from_->reload(); }

  // Puts TLS over a connection that was accepted, and makes the handshake, as tls::stream::accept does; it stays the
  // caller's. For whoever has connections of any kind to secure, such as http::server. Requires:
  // eventer/tls/stream.hpp.
  io_result<void> accept(any_stream& peer, time_limit limit = {}) const;
  // The same with a server, as tls::stream::connect does: for http::client.
  io_result<void> connect(any_stream& peer, std::string_view host, time_limit limit = {}) const;

  bool is_server() const noexcept { return from_->server; }
  duration handshake_timeout() const noexcept { return from_->handshake_timeout; }
  // Whether both are the same.
  friend bool operator==(const context&, const context&) noexcept = default;

  // For the library.
  std::shared_ptr<const detail::loaded_context> loaded() const { return from_->loaded(); }

 private:
  // What can be loaded again.
  class source {
   public:
    source(bool is_server, duration timeout) noexcept : server(is_server), handshake_timeout(timeout) {}
    virtual ~source() = default;
    void reload() {
      auto next = load();
      const std::lock_guard lock(mutex_);
      now_ = std::move(next);
    }
    std::shared_ptr<const detail::loaded_context> loaded() const {
      const std::lock_guard lock(mutex_);
      return now_;
    }
    const bool server;
    const duration handshake_timeout;

   private:
    virtual std::shared_ptr<const detail::loaded_context> load() const = 0;
    mutable std::mutex mutex_;  // for a moment
    std::shared_ptr<const detail::loaded_context> now_;
  };
  class server_source final : public source {
   public:
    server_source(certificate_files files, server_options options)
        : source(true, options.handshake_timeout), files_(std::move(files)), options_(std::move(options)) {}

   private:
    std::shared_ptr<const detail::loaded_context> load() const override {
      return std::make_shared<const detail::loaded_context>(files_, options_);
    }
    const certificate_files files_;
    const server_options options_;
  };
  class client_source final : public source {
   public:
    explicit client_source(client_options options)
        : source(false, options.handshake_timeout), options_(std::move(options)) {}

   private:
    std::shared_ptr<const detail::loaded_context> load() const override {
      return std::make_shared<const detail::loaded_context>(options_);
    }
    const client_options options_;
  };

  explicit context(std::shared_ptr<source> from) : from_(std::move(from)) { from_->reload(); }

  std::shared_ptr<source> from_;
};

}  // namespace eventer::inline EVENTER_ABI::tls
