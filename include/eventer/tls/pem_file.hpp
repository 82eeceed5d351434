// What PEM files hold, put into OpenSSL's objects, with messages that name the file, what was expected in it and what
// OpenSSL says.
#pragma once

#include <openssl/bio.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eventer/base/read_file.hpp"
#include "eventer/tls/error.hpp"

namespace eventer::inline EVENTER_ABI::tls::detail {

template <auto Free>
struct freed_by {
  template <class T>
  void operator()(T* what) const noexcept {
    Free(what);
  }
};
using ssl_context = std::unique_ptr<SSL_CTX, freed_by<&::SSL_CTX_free>>;
using certificate = std::unique_ptr<X509, freed_by<&::X509_free>>;
using private_key = std::unique_ptr<EVP_PKEY, freed_by<&::EVP_PKEY_free>>;
using memory_bio = std::unique_ptr<BIO, freed_by<&::BIO_free_all>>;

// Throws std::system_error: "certificate file cert.pem: expected ...: what OpenSSL says".
[[noreturn]] inline void refuse(std::error_code error, const std::string& what) {
  if (!error) error = std::make_error_code(std::errc::invalid_argument);
  throw_error(error, what.c_str());
}
// After a call of OpenSSL's that has failed.
[[noreturn]] inline void refuse(const std::string& what) { refuse(take_error(), what); }

class pem_file {
 public:
  // `kind`: how messages call it.
  pem_file(std::string_view kind, const std::string& path) : name_(std::string(kind).append(" file ").append(path)) {
    constexpr std::size_t most = std::size_t{4} << 20;  // with whom a system trusts there are hundreds in a file
    auto text = read_file(path, most);
    if (!text) refuse(text.error(), name_ + ": can't be read");
    text_ = std::move(*text);
  }
  const std::string& name() const noexcept { return name_; }
  const std::string& text() const noexcept { return text_; }

  // The certificate, and those in between behind it.
  std::vector<certificate> certificates() const {
    ::ERR_clear_error();
    const memory_bio from = open();
    std::vector<certificate> all;
    while (X509* const next = ::PEM_read_bio_X509(from.get(), nullptr, &no_password, nullptr)) all.emplace_back(next);
    const std::error_code end = take_error();
    const bool is_end = ERR_GET_REASON(static_cast<unsigned>(end.value())) == PEM_R_NO_START_LINE;
    if (all.empty() || (end && !is_end))
      refuse(end, name_ + ": expected certificates in PEM form (-----BEGIN CERTIFICATE-----)");
    return all;
  }
  private_key key() const {
    ::ERR_clear_error();
    const memory_bio from = open();
    private_key result(::PEM_read_bio_PrivateKey(from.get(), nullptr, &no_password, nullptr));
    if (result == nullptr)
      refuse(name_ + ": expected a private key in PEM form, without a password (-----BEGIN PRIVATE KEY-----)");
    return result;
  }
  void trust_in(SSL_CTX* context) const {
    X509_STORE* const store = ::SSL_CTX_get_cert_store(context);
    for (const certificate& each : certificates())
      if (::X509_STORE_add_cert(store, each.get()) != 1) refuse(name_ + ": can't be trusted");
  }

 private:
  memory_bio open() const {
    memory_bio result(::BIO_new_mem_buf(text_.data(), static_cast<int>(text_.size())));
    if (result == nullptr) throw_error(std::make_error_code(std::errc::not_enough_memory), name_.c_str());
    return result;
  }
  // Nobody is there who could type one.
  static int no_password(char*, int, int, void*) { return -1; }

  std::string name_, text_;
};

// Gives the context a certificate and its key. Errors, thrown: a file that can't be read or is no PEM; a key that does
// not belong to it; a certificate that is not valid now.
inline void use_certificate(SSL_CTX* context, const std::string& certificate_file, const std::string& key_file,
                            bool allow_expired) {
  const pem_file certificates("certificate", certificate_file), keys("key", key_file);
  const std::vector<certificate> chain = certificates.certificates();
  X509* const own = chain.front().get();
  ::ERR_clear_error();
  if (!allow_expired && ::X509_cmp_current_time(::X509_get0_notAfter(own)) < 0)
    refuse(verification_error(X509_V_ERR_CERT_HAS_EXPIRED), certificates.name());
  if (!allow_expired && ::X509_cmp_current_time(::X509_get0_notBefore(own)) > 0)
    refuse(verification_error(X509_V_ERR_CERT_NOT_YET_VALID), certificates.name());
  if (::SSL_CTX_use_certificate(context, own) != 1) refuse(certificates.name() + ": can't be used");
  for (std::size_t i = 1; i < chain.size(); ++i)
    if (SSL_CTX_add1_chain_cert(context, chain[i].get()) != 1) refuse(certificates.name() + ": can't be used");
  const private_key key = keys.key();
  if (::X509_check_private_key(own, key.get()) != 1)
    refuse(keys.name() + ": expected the key of " + certificates.name());
  if (::SSL_CTX_use_PrivateKey(context, key.get()) != 1) refuse(keys.name() + ": can't be used");
}

// The DNS names of a certificate.
inline std::vector<std::string> names_of(X509* which) {
  std::vector<std::string> result;
  using names = std::unique_ptr<GENERAL_NAMES, freed_by<&::GENERAL_NAMES_free>>;
  const names all(static_cast<GENERAL_NAMES*>(::X509_get_ext_d2i(which, NID_subject_alt_name, nullptr, nullptr)));
  for (int i = 0; all != nullptr && i < sk_GENERAL_NAME_num(all.get()); ++i) {
    const GENERAL_NAME* const each = sk_GENERAL_NAME_value(all.get(), i);
    if (each->type != GEN_DNS) continue;
    const auto* const text = reinterpret_cast<const char*>(::ASN1_STRING_get0_data(each->d.dNSName));
    result.emplace_back(text, static_cast<std::size_t>(::ASN1_STRING_length(each->d.dNSName)));
  }
  return result;
}

}  // namespace eventer::inline EVENTER_ABI::tls::detail
