// Certificates for tests, made when they are asked for, in a folder that goes with its object.
#pragma once

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <stdexcept>
#include <string>

#include "eventer/tls.hpp"

class certificates {
 public:
  struct wish {
    std::string names = "DNS:localhost,IP:127.0.0.1";  // of the subject, as openssl.cnf has them
    std::string common_name = "server";
    int from_day = -1, to_day = 30;
    bool by_itself = false;  // self-signed
  };

  certificates() {
    char name[] = "/tmp/eventer-tls-XXXXXX";
    if (::mkdtemp(name) == nullptr) throw std::runtime_error("mkdtemp");
    folder_ = name;
    key_.reset(::EVP_EC_gen("P-256"));
    ca_ = issue(key_.get(), key_.get(), nullptr, {.names = "", .common_name = "test ca " + folder_}, true);
    save(path("ca.pem"), ca_.get(), nullptr);
    make("server");
  }
  certificates(const certificates&) = delete;
  certificates& operator=(const certificates&) = delete;
  ~certificates() { std::filesystem::remove_all(folder_); }

  std::string path(const std::string& name) const { return folder_ + "/" + name; }
  std::string ca() const { return path("ca.pem"); }
  std::string certificate(const std::string& name = "server") const { return path(name + ".pem"); }
  std::string key(const std::string& name = "server") const { return path(name + ".key"); }
  // NAME.pem and NAME.key, again where they are there.
  void make(const std::string& name, const wish& what) const {
    const private_key own(::EVP_EC_gen("P-256"));
    const auto made =
        issue(own.get(), what.by_itself ? own.get() : key_.get(), what.by_itself ? nullptr : ca_.get(), what, false);
    save(certificate(name), made.get(), nullptr);
    save(key(name), nullptr, own.get());
  }
  void make(const std::string& name) const { make(name, wish()); }
  void write(const std::string& name, const std::string& text) const { std::ofstream(path(name)) << text; }

  eventer::tls::context server(eventer::tls::server_options options = {}) const {
    return eventer::tls::context::server(certificate(), key(), std::move(options));
  }
  eventer::tls::context client(eventer::tls::client_options options = {}) const {
    if (options.ca_file.empty()) options.ca_file = ca();
    return eventer::tls::context::client(std::move(options));
  }

 private:
  using private_key = eventer::tls::detail::private_key;
  using certificate_ptr = eventer::tls::detail::certificate;

  static certificate_ptr issue(EVP_PKEY* key, EVP_PKEY* issuer_key, X509* issuer, const wish& what, bool is_ca) {
    static long serial = 1;
    certificate_ptr made(::X509_new());
    X509* const x = made.get();
    ::X509_set_version(x, 2);
    ::ASN1_INTEGER_set(::X509_get_serialNumber(x), ++serial);
    constexpr long day = 24L * 3600;
    ::X509_gmtime_adj(::X509_getm_notBefore(x), what.from_day * day);
    ::X509_gmtime_adj(::X509_getm_notAfter(x), what.to_day * day);
    ::X509_set_pubkey(x, key);
    ::X509_NAME_add_entry_by_txt(::X509_get_subject_name(x), "CN", MBSTRING_UTF8,
                                 reinterpret_cast<const unsigned char*>(what.common_name.c_str()), -1, -1, 0);
    ::X509_set_issuer_name(x, ::X509_get_subject_name(issuer != nullptr ? issuer : x));
    X509V3_CTX context{};
    ::X509V3_set_ctx(&context, issuer != nullptr ? issuer : x, x, nullptr, nullptr, 0);
    const auto add = [&](int which, const std::string& value) {
      X509_EXTENSION* const extension = ::X509V3_EXT_conf_nid(nullptr, &context, which, value.c_str());
      if (extension == nullptr) throw std::runtime_error("certificate extension " + value);
      ::X509_add_ext(x, extension, -1);
      ::X509_EXTENSION_free(extension);
    };
    add(NID_basic_constraints, is_ca ? "critical,CA:TRUE" : "CA:FALSE");
    if (!what.names.empty()) add(NID_subject_alt_name, what.names);
    if (::X509_sign(x, issuer_key, ::EVP_sha256()) == 0) throw std::runtime_error("X509_sign");
    return made;
  }
  static void save(const std::string& path, X509* certificate, EVP_PKEY* key) {
    const std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(path.c_str(), "w"), &std::fclose);
    if (file == nullptr) throw std::runtime_error(path);
    if (certificate != nullptr) ::PEM_write_X509(file.get(), certificate);
    if (key != nullptr) ::PEM_write_PrivateKey(file.get(), key, nullptr, nullptr, 0, nullptr, nullptr);
  }

  std::string folder_;
  private_key key_;
  certificate_ptr ca_;
};

// One for all tests that change nothing in it.
inline const certificates& test_certificates() {
  static const certificates all;
  return all;
}
