// ticket_keys: the keys under which a server gives its session state to clients (RFC 5077, TLS 1.3 tickets), so that
// they come back without a full handshake.
//
// A handle; all contexts that are to accept each other's tickets hold the same one. The key changes every 12 hours and
// its predecessor is still accepted for as long; neither ever leaves the process.
#pragma once

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>

#include <cstring>
#include <memory>
#include <mutex>
#include <system_error>

#include "eventer/base/clock.hpp"
#include "eventer/tls/error.hpp"

namespace eventer::inline EVENTER_ABI::tls {

class ticket_keys {
 public:
  static constexpr duration lifetime = std::chrono::hours(12);

  // Throws std::system_error where there is no randomness.
  ticket_keys() : state_(std::make_shared<state>()) { require(state_->current.renew()); }

  // A new key from now on; the present one is accepted still, the one before no more. Any thread.
  void rotate() const {
    const std::lock_guard lock(state_->mutex);
    require(rotate(*state_, clock::now()));
  }

  // For OpenSSL, as SSL_CTX_set_tlsext_ticket_key_evp_cb wants it: 1 with the key's name, the vector and both ciphers
  // set up; 2 where it is one of ours, and a new one
  // is to follow; 0 for an unknown key; -1.
  int use(unsigned char* name, unsigned char* vector, EVP_CIPHER_CTX* cipher, EVP_MAC_CTX* mac, bool encrypt,
          time_point now = clock::now()) const noexcept {
    const std::lock_guard lock(state_->mutex);
    state& keys = *state_;
    if (now - keys.current.born >= 2 * lifetime && !keys.current.renew()) return -1;  // nobody has come for a day
    if (now - keys.current.born >= lifetime && !rotate(keys, keys.current.born + lifetime)) return -1;
    const key* which = &keys.current;
    if (encrypt) {
      if (::RAND_bytes(vector, ::EVP_CIPHER_get_iv_length(::EVP_aes_256_cbc())) != 1) return -1;
      std::memcpy(name, keys.current.name, sizeof keys.current.name);
    } else if (std::memcmp(name, keys.current.name, sizeof keys.current.name) != 0) {
      which = &keys.previous;
      const bool known = which->exists && std::memcmp(name, which->name, sizeof which->name) == 0;
      if (!known || now - which->born >= 2 * lifetime) return 0;
    }
    char digest[] = "SHA256";
    const OSSL_PARAM parameters[] = {::OSSL_PARAM_construct_octet_string(
                                         OSSL_MAC_PARAM_KEY, const_cast<unsigned char*>(which->mac), sizeof which->mac),
                                     ::OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
                                     ::OSSL_PARAM_construct_end()};
    if (::EVP_CipherInit_ex(cipher, ::EVP_aes_256_cbc(), nullptr, which->cipher, vector, encrypt ? 1 : 0) != 1)
      return -1;
    if (::EVP_MAC_CTX_set_params(mac, parameters) != 1) return -1;
    return encrypt ? 1 : 2;  // clients use each once
  }

 private:
  struct key {
    unsigned char name[16], cipher[32], mac[32];
    bool exists = false;
    time_point born;

    key() noexcept = default;
    key(const key&) noexcept = default;
    key& operator=(const key&) noexcept = default;
    ~key() {
      ::OPENSSL_cleanse(cipher, sizeof cipher);
      ::OPENSSL_cleanse(mac, sizeof mac);
    }
    bool renew() noexcept {
      exists = ::RAND_bytes(name, sizeof name) == 1 && ::RAND_priv_bytes(cipher, sizeof cipher) == 1 &&
               ::RAND_priv_bytes(mac, sizeof mac) == 1;
      born = clock::now();
      return exists;
    }
  };
  struct state {
    std::mutex mutex;  // for a moment
    key current, previous;
  };
  static bool rotate(state& keys, time_point born) noexcept {
    key next;
    if (!next.renew()) return false;
    next.born = born;
    keys.previous = keys.current;
    keys.current = next;
    return true;
  }
  static void require(bool renewed) {
    if (!renewed) throw_error(detail::take_error(), "tls::ticket_keys: no randomness for a key");
  }

  std::shared_ptr<state> state_;
};

}  // namespace eventer::inline EVENTER_ABI::tls
