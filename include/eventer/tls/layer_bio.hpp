// layer_bio: what OpenSSL reads from and writes to, what lies below a layer. Its calls go through the one place for
// system calls, raise no SIGPIPE, never wait, and make none that is known to find nothing, all of which OpenSSL's own
// for sockets does not know.
#pragma once

#include <openssl/bio.h>

#include <cerrno>
#include <cstddef>

#include "eventer/net/layer.hpp"

namespace eventer::inline EVENTER_ABI::tls::detail {

class layer_bio : public layer {
 protected:
  // For one SSL, which owns it. nullptr: no memory. Requires: the layer outlives it.
  BIO* make_bio() noexcept {
    BIO* const made = method() != nullptr ? ::BIO_new(method()) : nullptr;
    if (made == nullptr) return nullptr;
    ::BIO_set_data(made, this);
    ::BIO_set_init(made, 1);
    return made;
  }
  // Whether the other side has ended, and with which errno a call has failed for good; 0: none.
  bool has_ended_below() const noexcept { return ended_; }
  int failure_below() const noexcept { return failure_; }

 private:
  static const BIO_METHOD* method() noexcept {
    static const BIO_METHOD* const made = [] {
      BIO_METHOD* const result = ::BIO_meth_new(::BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "eventer");
      if (result == nullptr) return result;
      ::BIO_meth_set_read_ex(result, &read_for);
      ::BIO_meth_set_write_ex(result, &write_for);
      ::BIO_meth_set_ctrl(result, &control_for);
      return result;
    }();
    return made;
  }
  static int read_for(BIO* bio, char* into, std::size_t size, std::size_t* got) noexcept {
    auto& self = *static_cast<layer_bio*>(::BIO_get_data(bio));
    BIO_clear_retry_flags(bio);
    const ssize_t result = self.read_below(into, size);
    *got = result > 0 ? static_cast<std::size_t>(result) : 0;
    if (result > 0) return 1;
    if (result == 0)
      self.ended_ = true;
    else if (eventer::detail::would_block(errno))
      BIO_set_retry_read(bio);
    else
      self.failure_ = errno;
    return result == 0 ? 0 : -1;
  }
  static int write_for(BIO* bio, const char* from, std::size_t size, std::size_t* put) noexcept {
    auto& self = *static_cast<layer_bio*>(::BIO_get_data(bio));
    BIO_clear_retry_flags(bio);
    const ssize_t result = self.write_below(from, size);
    *put = result > 0 ? static_cast<std::size_t>(result) : 0;
    if (result >= 0) return 1;
    if (eventer::detail::would_block(errno))
      BIO_set_retry_write(bio);
    else
      self.failure_ = errno;
    return -1;  // 0 would be taken for sent by SSL_shutdown
  }
  static long control_for(BIO* bio, int command, long, void*) noexcept {
    if (command == BIO_CTRL_EOF) return static_cast<layer_bio*>(::BIO_get_data(bio))->ended_ ? 1 : 0;
    return command == BIO_CTRL_FLUSH ? 1 : 0;
  }

  int failure_ = 0;
  bool ended_ = false;
};

}  // namespace eventer::inline EVENTER_ABI::tls::detail
