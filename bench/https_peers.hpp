// What HTTPS is compared with: nginx, and the price of OpenSSL and the kernel, a bare epoll loop that reads no request
// and has OpenSSL read and write its sockets. TLS 1.3, no tickets, one thread.
#pragma once

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <string>
#include <string_view>

#include "nginx.hpp"

namespace bench {

// Without `NumTickets 0` it gives tickets in TLS 1.3 although both are off.
[[noreturn]] inline void run_nginx_tls(const std::string& certificate, const std::string& key) {
  run_nginx("ssl",
            "ssl_protocols TLSv1.3; ssl_session_tickets off; ssl_session_cache off; ssl_conf_command NumTickets 0; "
            "ssl_certificate " +
                certificate + "; ssl_certificate_key " + key + ";");
}

class bare_https {
 public:
  bare_https(const std::string& certificate, const std::string& key)
      : context_(::SSL_CTX_new(::TLS_server_method())), set_(::epoll_create1(0)) {
    check(SSL_CTX_set_min_proto_version(context_, TLS1_3_VERSION) == 1 &&
              ::SSL_CTX_use_certificate_chain_file(context_, certificate.c_str()) == 1 &&
              ::SSL_CTX_use_PrivateKey_file(context_, key.c_str(), SSL_FILETYPE_PEM) == 1,
          "SSL_CTX");
    ::SSL_CTX_set_session_cache_mode(context_, SSL_SESS_CACHE_OFF);
    ::SSL_CTX_set_num_tickets(context_, 0);
    SSL_CTX_set_mode(context_, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(context_, 1);
  }
  [[noreturn]] void run() {
    int port = 0;
    const int listener = listening_socket(port);
    watch(listener, nullptr);
    shared->port = port;
    for (epoll_event events[256];;) {
      const int ready = ::epoll_wait(set_, events, 256, -1);
      for (int i = 0; i < ready; ++i) {
        if (events[i].data.ptr != nullptr)
          serve(static_cast<SSL*>(events[i].data.ptr));
        else
          for (int fd; (fd = ::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK)) >= 0;) take(fd);
      }
    }
  }

 private:
  void watch(int fd, SSL* of) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = of;
    check(::epoll_ctl(set_, EPOLL_CTL_ADD, fd, &event) == 0, "epoll_ctl");
  }
  void take(int fd) {
    const int on = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    SSL* const made = ::SSL_new(context_);
    check(made != nullptr && ::SSL_set_fd(made, fd) == 1, "SSL_new");
    ::SSL_set_accept_state(made);
    watch(fd, made);
  }
  // A request comes in one record.
  void serve(SSL* with) {
    static constexpr std::string_view answer =
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello world.\n";
    char bytes[4096];
    ::ERR_clear_error();
    const int got = ::SSL_read(with, bytes, sizeof bytes);
    if (got <= 0) {
      if (::SSL_get_error(with, got) != SSL_ERROR_WANT_READ) end(with);
      return;
    }
    (void)::SSL_write(with, answer.data(), static_cast<int>(answer.size()));
    if (std::string_view(bytes, static_cast<std::size_t>(got)).find("\nConnection: close") == std::string_view::npos)
      return;
    (void)::SSL_shutdown(with);
    end(with);
  }
  static void end(SSL* which) {
    const int fd = ::SSL_get_fd(which);
    ::SSL_free(which);
    ::close(fd);
  }

  SSL_CTX* const context_;
  const int set_;
};

}  // namespace bench
