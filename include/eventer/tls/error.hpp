// tls_category: what goes wrong in TLS. Its codes are OpenSSL's own (an error of its queue, or the result of verifying
// a certificate, which are told apart by their size) and the few of tls::errc.
//
// What the system answers below TLS (connection_reset, ...) keeps its errno value in std::system_category().
#pragma once

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>

#include <cstdio>
#include <cstring>
#include <string>
#include <system_error>

#include "eventer/base/result.hpp"

namespace eventer::inline EVENTER_ABI::tls {

enum class errc {
  truncated = 1001,  // the peer has closed without close_notify: what came may not be all. Equals
                     // std::errc::connection_aborted. Writing goes on, if somebody reads. A protocol that knows by
                     // itself where its messages end may take it for end_of_stream
  cut_off,  // a write timed out or was cancelled when a part of its record was sent: nothing can be written any more.
            // Equals std::errc::broken_pipe
};

class EVENTER_API error_category final : public std::error_category {
 public:
  const char* name() const noexcept override { return "eventer.tls"; }

  std::string message(int code) const override {
    switch (static_cast<errc>(code)) {
      case errc::truncated:
        return "the peer has closed the connection without TLS's close_notify: what came may not be all";
      case errc::cut_off:
        return "a write was given up in the middle of a TLS record: nothing can be written any more";
    }
    if (is_verification(code))
      return std::string("the peer's certificate: ").append(X509_verify_cert_error_string(code)).append(advice(code));
    const auto packed = static_cast<unsigned>(code);
    const char* const reason = ::ERR_reason_error_string(packed);
    if (reason != nullptr) return std::string("TLS: ").append(reason).append(advice_on_protocol(packed));
    char number[32];
    std::snprintf(number, sizeof number, "TLS: OpenSSL's error %08x", packed);
    return number;
  }

  std::error_condition default_error_condition(int code) const noexcept override {
    if (code == static_cast<int>(errc::truncated)) return std::errc::connection_aborted;
    if (code == static_cast<int>(errc::cut_off)) return std::errc::broken_pipe;
    if (is_verification(code)) return {code, *this};
    return std::errc::protocol_error;
  }

  static bool is_verification(int code) noexcept { return code > 0 && code < static_cast<int>(errc::truncated); }

 private:
  static const char* advice(int code) noexcept {
    switch (code) {
      case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
      case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
      case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
      case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
        return ": who has signed it is not trusted here (client_options::ca_file names others; a server has to send the "
               "certificates in between)";
      case X509_V_ERR_HOSTNAME_MISMATCH:
      case X509_V_ERR_IP_ADDRESS_MISMATCH:
        return ": it is for another name than was asked for";
      default:
        return "";
    }
  }
  static const char* advice_on_protocol(unsigned code) noexcept {
    if (ERR_GET_LIB(code) != ERR_LIB_SSL) return "";
    switch (ERR_GET_REASON(code)) {
      case SSL_R_HTTP_REQUEST:
        return ": plain HTTP came where TLS is spoken; is it https://?";
      case SSL_R_WRONG_VERSION_NUMBER:
        return ": the peer does not speak TLS";
      case SSL_R_UNSUPPORTED_PROTOCOL:
        return ": the two sides have no version of TLS in common";
      case SSL_R_NO_SHARED_CIPHER:
        return ": the two sides have no cipher in common that goes with the certificate";
      default:
        return "";
    }
  }
};

// Made at first use and never destroyed, as eventer_category().
EVENTER_API inline const std::error_category& tls_category() noexcept {
  static const error_category& instance = *new error_category;
  return instance;
}

inline std::error_code make_error_code(errc code) noexcept { return {static_cast<int>(code), tls_category()}; }
inline bool operator==(const std::error_code& left, errc right) noexcept {
  return left.value() == static_cast<int>(right) &&
         (left.category() == tls_category() || std::strcmp(left.category().name(), "eventer.tls") == 0);
}

// A result of X509_verify_cert (X509_V_ERR_CERT_HAS_EXPIRED, ...) as an error, and whether one is such a result.
inline std::error_code verification_error(long result) noexcept { return {static_cast<int>(result), tls_category()}; }
inline bool is_verification_error(const std::error_code& error) noexcept {
  return error.category() == tls_category() && error_category::is_verification(error.value());
}

namespace detail {

// What OpenSSL has to say about the call that has just failed; its queue is empty then. Zero: nothing. It is the first
// of several, which is the cause of the others; of a connection the first that is about TLS, as others tell of details
// within (a signature that is wrong, where the certificate is another one's).
inline std::error_code take_error(int about = 0) noexcept {
  unsigned long code = ::ERR_get_error();
  for (unsigned long next = code; next != 0 && about != 0; next = ::ERR_get_error())
    if (ERR_GET_LIB(next) == about) {
      code = next;
      break;
    }
  ::ERR_clear_error();
  if (code == 0) return {};
  if (ERR_SYSTEM_ERROR(code)) return error_from_errno(ERR_GET_REASON(code));
  return {static_cast<int>(code), tls_category()};
}

}  // namespace detail

}  // namespace eventer::inline EVENTER_ABI::tls

template <>
struct std::is_error_code_enum<eventer::tls::errc> : std::true_type {};
