// The client of bench/https.cpp: one request after the other on many TLS 1.3 connections, or a connection for each
// request, from one epoll loop.
//
// All servers are offered the same single suite, so that none wins by another cipher; certificates are not verified,
// which is the client's work alone. Nothing is resumed: a ticket from a server is an error.
#pragma once

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "servers.hpp"

namespace bench {

class tls_client {
 public:
  // A request, and the end of its answer's body. One is asked at once, to know how long answers are.
  tls_client(int port, std::string request, const std::string& body)
      : port_(port),
        set_(::epoll_create1(0)),
        context_(::SSL_CTX_new(::TLS_client_method())),
        asks_{std::move(request)} {
    check(set_ >= 0, "epoll_create1");
    require(context_ != nullptr && SSL_CTX_set_min_proto_version(context_.get(), TLS1_3_VERSION) == 1 &&
                ::SSL_CTX_set_ciphersuites(context_.get(), "TLS_AES_256_GCM_SHA384") == 1,
            "SSL_CTX");
    SSL_CTX_set_mode(context_.get(), SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(context_.get(), 1);  // a record with one call
    ::SSL_CTX_set_session_cache_mode(context_.get(), SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    ::SSL_CTX_sess_set_new_cb(context_.get(), [](SSL* of, SSL_SESSION*) {
      ++*static_cast<long*>(SSL_get_app_data(of));
      return 0;
    });
    asks_.answer_bytes = first_answer(body);
  }
  tls_client(const tls_client&) = delete;
  tls_client& operator=(const tls_client&) = delete;
  ~tls_client() { ::close(set_); }

  // Each has its first answer then.
  void open(std::size_t count) {
    while (all_.size() < count) {
      const std::size_t first = all_.size();
      all_.resize(std::min(count, first + 20));
      for (std::size_t i = first; i < all_.size(); ++i) start(i, false);
      finish(static_cast<long>(all_.size() - first));
    }
  }
  // Questions answered in about that many seconds, one at a time on each connection.
  long ping_pong(double seconds) {
    latencies_.clear();
    for (std::size_t i = 0; i < all_.size(); ++i) ask(i);
    long answered = 0;
    for (const double end = nanoseconds() + seconds * 1e9; nanoseconds() < end;)
      answered += turn([this](std::size_t i) { ask(i); });
    return answered + finish(static_cast<long>(all_.size()));
  }
  // Connections that were made, asked one question and closed by the server after its answer, so many at a time.
  // Requires: a request that says so.
  long one_each(double seconds, std::size_t at_once) {
    latencies_.clear();
    all_.clear();
    all_.resize(at_once);
    for (std::size_t i = 0; i < at_once; ++i) start(i, true);
    long done = 0;
    for (const double end = nanoseconds() + seconds * 1e9; nanoseconds() < end;)
      done += turn([this](std::size_t i) { start(i, true); });
    done += finish(static_cast<long>(at_once));
    all_.clear();
    return done;
  }
  // Of the last of these two: the time in nanoseconds within which so many of a hundred were answered.
  double latency(double percent) {
    if (latencies_.empty()) return 0;
    const auto at = static_cast<std::size_t>(static_cast<double>(latencies_.size() - 1) * percent / 100);
    std::nth_element(latencies_.begin(), latencies_.begin() + static_cast<std::ptrdiff_t>(at), latencies_.end());
    return latencies_[at];
  }
  // That servers gave so far.
  long tickets() const noexcept { return tickets_; }

 private:
  struct frees {
    void operator()(SSL_CTX* which) const noexcept { ::SSL_CTX_free(which); }
    void operator()(SSL* which) const noexcept { ::SSL_free(which); }
  };
  // Closing is all that ends it: the servers have to live with that, or have ended before.
  struct connection {
    connection() noexcept = default;
    connection(connection&& from) noexcept { swap(from); }
    connection& operator=(connection&& from) noexcept {
      swap(from);
      return *this;
    }
    ~connection() {
      tls.reset();
      if (fd >= 0) ::close(fd);
    }
    void swap(connection& other) noexcept {
      std::swap(fd, other.fd), std::swap(tls, other.tls);
      std::swap(missing, other.missing), std::swap(since, other.since), std::swap(to_its_end, other.to_its_end);
    }

    int fd = -1;
    std::unique_ptr<SSL, frees> tls;
    std::size_t missing = 0;  // bytes of the answer
    double since = 0;
    bool to_its_end = false;  // nothing is asked after that
  };

  static void require(bool good, const char* what) {
    if (good) return;
    const unsigned long code = ::ERR_get_error();
    check(code != 0, what);  // then errno says more
    char reason[256];
    ::ERR_error_string_n(code, reason, sizeof reason);
    throw std::runtime_error(std::string(what) + ": " + reason);
  }

  connection connected() {
    connection made;
    made.since = nanoseconds();
    made.fd = client::connected(port_);
    made.tls.reset(::SSL_new(context_.get()));
    require(made.tls != nullptr && ::SSL_set_fd(made.tls.get(), made.fd) == 1, "SSL_new");
    SSL_set_app_data(made.tls.get(), &tickets_);
    ::SSL_set_connect_state(made.tls.get());
    return made;
  }
  // Blocks, as the others do not.
  std::size_t first_answer(const std::string& body) {
    const connection once = connected();
    require(::SSL_write(once.tls.get(), asks_.bytes.data(), static_cast<int>(asks_.bytes.size())) > 0, "SSL_write");
    std::string answer;
    char bytes[4096];
    while (!answer.ends_with(body)) {
      const int got = ::SSL_read(once.tls.get(), bytes, sizeof bytes);
      require(got > 0, "the first answer");
      answer.append(bytes, static_cast<std::size_t>(got));
    }
    return answer.size();
  }

  void start(std::size_t i, bool to_its_end) {
    connection& made = all_[i] = connection();
    made = connected();
    made.to_its_end = to_its_end;
    made.missing = asks_.answer_bytes;
    check(::fcntl(made.fd, F_SETFL, O_NONBLOCK) == 0, "fcntl");
    epoll_event event{};
    event.events = EPOLLIN | EPOLLET;
    event.data.u64 = i;
    check(::epoll_ctl(set_, EPOLL_CTL_ADD, made.fd, &event) == 0, "epoll_ctl");
    (void)shake_hands(made);
  }
  void ask(std::size_t i) {
    all_[i].missing = asks_.answer_bytes;
    all_[i].since = nanoseconds();
    send(all_[i]);
  }
  void send(connection& on) {
    ::ERR_clear_error();
    require(::SSL_write(on.tls.get(), asks_.bytes.data(), static_cast<int>(asks_.bytes.size())) ==
                static_cast<int>(asks_.bytes.size()),
            "SSL_write");
  }
  // Whether it is over. The question goes out at its end.
  bool shake_hands(connection& on) {
    if (::SSL_is_init_finished(on.tls.get()) == 1) return true;
    ::ERR_clear_error();
    const int result = ::SSL_do_handshake(on.tls.get());
    if (result != 1) {
      require(::SSL_get_error(on.tls.get(), result) == SSL_ERROR_WANT_READ, "handshake");
      return false;
    }
    require(::SSL_session_reused(on.tls.get()) == 0, "a session was resumed");
    send(on);
    return true;
  }
  // Whether the answer is complete with that, and the connection ended where nothing follows.
  bool go_on(connection& on) {
    if (!shake_hands(on)) return false;
    static char bytes[65536];
    for (;;) {
      ::ERR_clear_error();
      const int got = ::SSL_read(on.tls.get(), bytes, sizeof bytes);
      if (got <= 0) {
        const int why = ::SSL_get_error(on.tls.get(), got);
        if (why == SSL_ERROR_WANT_READ) return false;
        require(why == SSL_ERROR_ZERO_RETURN && on.to_its_end && on.missing == 0, "an answer was cut or lost");
        return true;
      }
      if (static_cast<std::size_t>(got) > on.missing) throw std::runtime_error("an answer is too long");
      on.missing -= static_cast<std::size_t>(got);
      if (on.missing == 0 && !on.to_its_end) return true;
    }
  }
  // Calls `answered` for each connection that has its answer; how many those are.
  template <class F>
  long turn(F&& answered) {
    epoll_event events[256];
    const int ready = ::epoll_wait(set_, events, 256, 100);
    long result = 0;
    for (int i = 0; i < ready; ++i) {
      const auto which = static_cast<std::size_t>(events[i].data.u64);
      if (!go_on(all_[which])) continue;
      latencies_.push_back(nanoseconds() - all_[which].since);
      ++result;
      answered(which);
    }
    return result;
  }
  // Waits until so many have been answered.
  long finish(long waiting) {
    long done = 0;
    for (const double give_up = nanoseconds() + 5e9; done < waiting && nanoseconds() < give_up;)
      done += turn([](std::size_t) {});
    if (done < waiting) throw std::runtime_error("a request was not answered");
    return done;
  }

  const int port_, set_;
  const std::unique_ptr<SSL_CTX, frees> context_;
  question asks_;
  long tickets_ = 0;
  std::vector<connection> all_;
  std::vector<double> latencies_;
};

}  // namespace bench
