// connection: TLS as a layer over a stream's descriptor. All members of streams work over it, since it answers like the
// system calls: SSL_read and SSL_write are called here, never wait, and whoever has to wait does so outside of them,
// with none of OpenSSL's frames on its stack.
//
// What must not be broken: OpenSSL's queue of errors is the thread's, which all coroutines share: it is emptied before
// each call and read directly after it. A record that was begun is sent to its end with the same bytes, or nothing is
// written any more.
#pragma once

#include <openssl/ssl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "eventer/base/process_mark.hpp"
#include "eventer/tls/info.hpp"
#include "eventer/tls/layer_bio.hpp"

namespace eventer::inline EVENTER_ABI::tls::detail {

using eventer::detail::attempt;

class connection final : public layer_bio, public info, private session_receiver {
 public:
  // `host`: whom a client wants to reach, a name or an address; not looked at for a server. Errors: not_enough_memory,
  // invalid_argument for what can't be a host.
  static io_result<std::unique_ptr<connection>> make(const tls::context& with, std::string_view host) {
    ::ERR_clear_error();
    std::unique_ptr<connection> made(new connection(with));
    if (!made->is_made()) return std::make_error_code(std::errc::not_enough_memory);
    if (with.is_server())
      ::SSL_set_accept_state(made->ssl_.get());
    else if (!made->aim_at(host))
      return std::make_error_code(std::errc::invalid_argument);
    return made;
  }

  // One try to go on with the handshake.
  attempt shake_hands() noexcept {
    ::ERR_clear_error();
    const int result = [&] {
      const inside here(*this);
      return ::SSL_do_handshake(ssl_.get());
    }();
    if (result == 1) {
      // In TLS 1.3 what to come back with is told later, in TLS 1.2 only where it is another one than before.
      if (host_ != nullptr && version() == version::tls_1_2) take_session(session(::SSL_get1_session(ssl_.get())));
      return attempt::done();
    }
    switch (::SSL_get_error(ssl_.get(), result)) {
      case SSL_ERROR_WANT_READ:
        return attempt::wait_readable();
      case SSL_ERROR_WANT_WRITE:
        return attempt::wait_writable();
      default:
        note_failure(result);
        return attempt::failed(errno);
    }
  }

  // --- transport ---

  ssize_t read(void* into, std::size_t size) noexcept override {
    if (broken_) return fail(broken_);
    std::size_t got = 0;
    ::ERR_clear_error();
    const int result = [&] {
      const inside here(*this);
      return ::SSL_read_ex(ssl_.get(), into, size, &got);
    }();
    if (EVENTER_LIKELY(result == 1)) return static_cast<ssize_t>(got);
    switch (::SSL_get_error(ssl_.get(), result)) {
      case SSL_ERROR_WANT_READ:
        read_wants_ = io_mask::read;
        // A server that drains does not cut off a request of which a part of a record is here.
        if (EVENTER_UNLIKELY(owner().is_draining()) && ::SSL_has_pending(ssl_.get()) == 1) owner().note_unanswered();
        return would_block();
      case SSL_ERROR_WANT_WRITE:
        read_wants_ = io_mask::write;
        return would_block();
      case SSL_ERROR_ZERO_RETURN:
        if (!has_ended_below()) return 0;
        [[fallthrough]];
      default:
        return note_failure(result);
    }
  }
  ssize_t write(const void* from, std::size_t size) noexcept override {
    if (broken_) return fail(broken_);
    if (begun_.bytes > 0 && !begun_.is_begin_of(from, size)) cut_off_ = true;
    if (cut_off_) return fail(make_error_code(errc::cut_off));
    if (said_goodbye_) {
      errno = EPIPE;
      return -1;
    }
    std::size_t put = 0;
    ::ERR_clear_error();
    const int result = [&] {
      const inside here(*this);
      return ::SSL_write_ex(ssl_.get(), from, size, &put);
    }();
    if (EVENTER_LIKELY(result == 1)) {
      begun_ = {};
      return static_cast<ssize_t>(put);
    }
    switch (::SSL_get_error(ssl_.get(), result)) {
      case SSL_ERROR_WANT_READ:
        write_wants_ = io_mask::read;
        return would_block();
      case SSL_ERROR_WANT_WRITE:
        write_wants_ = io_mask::write;
        if (begun_.bytes == 0) begun_ = record(from, size);
        return would_block();
      default:
        return note_failure(result);
    }
  }
  // What goes into one record goes with one call; head and body of an answer, mostly.
  ssize_t write_parts(const const_buffer* parts, std::size_t count) noexcept override {
    if (count == 1 || parts->size() >= record_bytes) return write(parts->data(), parts->size());
    static thread_local const std::unique_ptr<char[]> gathered(new (std::nothrow) char[record_bytes]);
    if (gathered == nullptr) return write(parts->data(), parts->size());
    std::size_t size = 0;
    for (const const_buffer* each = parts; each != parts + count && size < record_bytes; ++each) {
      const std::size_t taken = std::min(each->size(), record_bytes - size);
      std::memcpy(gathered.get() + size, each->data(), taken);
      size += taken;
    }
    return write(gathered.get(), size);
  }
  // Says that nothing follows; the connection below stays as it is. Where there is no room now it is sent as soon as
  // there is. In the middle of a record it can't be said: then the peer sees that something is missing.
  int shutdown_write() noexcept override {
    if (::SSL_is_init_finished(ssl_.get()) == 0) {
      errno = ENOTCONN;
      return -1;
    }
    if (begun_.bytes > 0) cut_off_ = true;
    say_goodbye();
    return 0;
  }
  void writer_left() noexcept override { cut_off_ = cut_off_ || begun_.bytes > 0; }
  std::error_code error_of(int number) const noexcept override {
    return number == EPROTO && failure_ ? failure_ : error_below(number);
  }
  const void* kind() const noexcept override { return kind_of_all(); }
  static const void* kind_of_all() noexcept {
    static const char here = 0;
    return &here;
  }

  io_mask became_ready(io_mask ready) noexcept override {
    io_mask told = layer::became_ready(ready);
    if (EVENTER_UNLIKELY(goodbye_waits_) && any(told & io_mask::write) && !inside_) finish_goodbye();
    const io_mask came = told;
    if (any(came & read_wants_ & io_mask::write)) told = told | io_mask::read;
    if (any(came & write_wants_ & io_mask::read)) told = told | io_mask::write;
    return told;
  }
  io_mask waits_for(io_mask wanted) const noexcept override {
    const bool finished = ::SSL_is_init_finished(ssl_.get()) == 1;  // else the handshake says itself what it wants
    if (finished) wanted = any(wanted & io_mask::read) ? read_wants_ : write_wants_;
    return layer::waits_for(wanted);
  }
  void closing() noexcept override {
    // In a forked child the connection is its parent's.
    if (!process_.forked() && ::SSL_is_init_finished(ssl_.get()) == 1) say_goodbye();
    layer::closing();
  }

 private:
  static constexpr std::size_t record_bytes = SSL3_RT_MAX_PLAIN_LENGTH;

  // Bytes of a record that is partly sent. OpenSSL has them already, and would take whatever is given next for them.
  struct record {
    record() noexcept = default;
    record(const void* from, std::size_t size) noexcept
        : bytes(std::min(size, record_bytes)), hash(hash_of(from, bytes)) {}
    bool is_begin_of(const void* from, std::size_t size) const noexcept {
      return size >= bytes && hash_of(from, bytes) == hash;
    }
    static std::size_t hash_of(const void* from, std::size_t size) noexcept {
      return std::hash<std::string_view>()({static_cast<const char*>(from), size});
    }
    std::size_t bytes = 0, hash = 0;
  };
  // While one of OpenSSL's calls runs: what is below may tell of events from within.
  class inside {
   public:
    explicit inside(connection& which) noexcept : which_(which) { which_.inside_ = true; }
    inside(const inside&) = delete;
    inside& operator=(const inside&) = delete;
    ~inside() { which_.inside_ = false; }

   private:
    connection& which_;
  };

  explicit connection(const tls::context& with) : info(with, with.loaded()) {
    BIO* const made = ssl_ != nullptr ? make_bio() : nullptr;
    if (made == nullptr) return;
    ::SSL_set_bio(ssl_.get(), made, made);
    SSL_set_app_data(ssl_.get(), static_cast<session_receiver*>(this));
  }
  bool is_made() const noexcept { return ssl_ != nullptr && ::SSL_get_rbio(ssl_.get()) != nullptr; }

  // A client: which certificate to expect, what to ask for, and what to come back with.
  bool aim_at(std::string_view host) {
    ::SSL_set_connect_state(ssl_.get());
    if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
    if (host.ends_with('.')) host.remove_suffix(1);
    if (host.empty() || host.find('\0') != std::string_view::npos) return false;
    host_ = std::make_unique<const std::string>(host);
    X509_VERIFY_PARAM* const expected = ::SSL_get0_param(ssl_.get());
    if (::X509_VERIFY_PARAM_set1_ip_asc(expected, host_->c_str()) != 1) {  // no address: a name
      ::X509_VERIFY_PARAM_set_hostflags(expected, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
      if (::X509_VERIFY_PARAM_set1_host(expected, host_->data(), host_->size()) != 1) return false;
      // SSL_set_tlsext_host_name, which is a cast in C's way.
      void* const name = const_cast<char*>(host_->c_str());
      if (::SSL_ctrl(ssl_.get(), SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name, name) != 1) return false;
    }
    if (loaded_->sessions() != nullptr)
      if (const session kept = loaded_->sessions()->take(*host_)) (void)::SSL_set_session(ssl_.get(), kept.get());
    ::ERR_clear_error();
    return true;
  }
  void take_session(session given) noexcept override {
    if (host_ == nullptr || loaded_->sessions() == nullptr) return;
#if EVENTER_EXCEPTIONS
    try {
      loaded_->sessions()->keep(*host_, std::move(given));
    } catch (...) {  // no memory: without it, then
    }
#else
    loaded_->sessions()->keep(*host_, std::move(given));
#endif
  }

  ssize_t fail(std::error_code why) noexcept {
    failure_ = why;
    errno = EPROTO;
    return -1;
  }
  // After a call that has failed for good. Answers -1, with errno.
  ssize_t note_failure(int result) noexcept {
    const int kind = ::SSL_get_error(ssl_.get(), result);
    std::error_code why = take_error(ERR_LIB_SSL);
    if (kind == SSL_ERROR_ZERO_RETURN || (!why && has_ended_below())) return fail(make_error_code(errc::truncated));
    if (kind == SSL_ERROR_SYSCALL && !why) {
      failure_ = {};
      errno = failure_below() != 0 ? failure_below() : ECONNRESET;
      return -1;
    }
    const bool is_ours = why.category() == tls_category();
    if (is_ours && ERR_GET_REASON(static_cast<unsigned>(why.value())) == SSL_R_CERTIFICATE_VERIFY_FAILED)
      if (const long verified = ::SSL_get_verify_result(ssl_.get()); verified != X509_V_OK)
        why = verification_error(verified);
    if (!why) why = std::make_error_code(std::errc::protocol_error);
    return fail(broken_ = why);
  }

  void say_goodbye() noexcept {
    if (std::exchange(said_goodbye_, true) || broken_ || cut_off_ || begun_.bytes > 0) return;
    finish_goodbye();
  }
  // Not again once it is sent: another call would read, and throw away what comes.
  void finish_goodbye() noexcept {
    ::ERR_clear_error();
    const int result = [&] {
      const inside here(*this);
      return ::SSL_shutdown(ssl_.get());
    }();
    goodbye_waits_ = result < 0 && ::SSL_get_error(ssl_.get(), result) == SSL_ERROR_WANT_WRITE;
    ::ERR_clear_error();
  }

  std::unique_ptr<const std::string> host_;  // of a client
  record begun_;
  std::error_code failure_;  // of the last call, where errno can't say it
  std::error_code broken_;   // nothing can be read or written any more
  io_mask read_wants_ = io_mask::read, write_wants_ = io_mask::write;
  bool cut_off_ = false;
  bool said_goodbye_ = false, goodbye_waits_ = false;
  bool inside_ = false;
  const process_mark process_;
};

}  // namespace eventer::inline EVENTER_ABI::tls::detail
