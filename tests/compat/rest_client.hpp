// Connections for tests of the C interface's HTTP: a plain blocking socket whose other end is served on a loop of the
// runtime, as a listener would have it.
#pragma once

#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../catch.hpp"
#include "../http/answer_text.hpp"
#include "eventer/compat/detail/acceptor.hpp"
#include "eventer/compat/detail/configuration.hpp"
#include "eventer/compat/eventer_aco.h"
#include "eventer/eventer.hpp"

namespace rest_test {

// Closures of rules live as long as the process, as rules do.
template <class T>
T& kept() {
  return *new T();
}
template <class T>
T& of(mtev_http_rest_closure_t* rest) {
  return *static_cast<T*>(rest->closure);
}

using namespace std::string_literals;
using http_test::answer;

// http_implementation.cpp
extern const eventer::compat::serve_connection rest_type;
extern eventer::unique_fd (*const open_beneath)(const std::string& root, std::string path, bool may_use_openat2);

// Something that happens once, on whichever thread.
class once {
 public:
  void give() {
    const std::lock_guard lock(mutex_);
    given_ = true;
    changed_.notify_all();
  }
  bool given() const {
    const std::lock_guard lock(mutex_);
    return given_;
  }
  // False: not within any reason.
  bool wait() const {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(100), [this] { return given_; });
  }

 private:
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  bool given_ = false;
};

struct client_options {
  mtev_hash_table* config = nullptr;
  std::string common_name{};
  int buffer_bytes = 0;  // of both sockets; 0: what the kernel has
  eventer::duration idle_timeout{};
};

class client {
 public:
  explicit client(const client_options& options = {}) {
    if (eventer_init() != 0) throw std::runtime_error("eventer_init");
    // Other tests of this process have had configurations.
    static const bool without_configuration = [] { return eventer::compat::configuration().path.clear(), true; }();
    (void)without_configuration;
    const eventer::unique_fd listens(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const auto any_port = eventer::endpoint::parse("127.0.0.1:0").value();
    if (::bind(listens.get(), any_port.data(), any_port.size()) != 0) throw std::runtime_error("bind");
    fd_ = eventer::unique_fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (options.buffer_bytes != 0) {
      ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVBUF, &options.buffer_bytes, sizeof options.buffer_bytes);
      ::setsockopt(listens.get(), SOL_SOCKET, SO_SNDBUF, &options.buffer_bytes, sizeof options.buffer_bytes);
    }
    if (::listen(listens.get(), 1) != 0) throw std::runtime_error("listen");
    const auto where = eventer::endpoint::local_of(listens.get());
    be_patient();
    if (::connect(fd_.get(), where.data(), where.size()) != 0) throw std::runtime_error("connect");
    const int on = 1;
    ::setsockopt(fd_.get(), IPPROTO_TCP, 1, &on, sizeof on);  // TCP_NODELAY
    serve(::accept4(listens.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK), options);
  }
  // Of a connection to somebody else's listener.
  explicit client(eventer::unique_fd connected) : fd_(std::move(connected)), is_served_(false) { be_patient(); }
  client(const client&) = delete;
  client& operator=(const client&) = delete;
  ~client() {
    close();
    wait_for_server();
  }

  bool send(std::string_view text) {
    while (!text.empty()) {
      const ssize_t sent = ::send(fd_.get(), text.data(), text.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      text.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
  }
  // The next answer; status 0: there is none.
  answer read(bool to_head = false) {
    for (;;) {
      answer result;
      std::size_t used = 0;
      const auto how = http_test::answer_parser::parse(unread, to_head, ended_, result, used);
      if (how == http_test::parsed::whole) {
        unread.erase(0, used);
        return result;
      }
      if (how == http_test::parsed::malformed || (!more() && !ended_)) return {};
    }
  }
  // The same for one that has so many bytes at least, and is not looked at before.
  answer read_large(std::size_t bytes) {
    while (unread.size() < bytes && more(64 << 10)) {
    }
    return read();
  }
  answer ask(std::string_view request, bool to_head = false) { return send(request) ? read(to_head) : answer(); }
  answer get(std::string_view target, std::string_view fields = {}) {
    return ask("GET " + std::string(target) + " HTTP/1.1\r\nHost: a\r\n" + std::string(fields) + "\r\n");
  }
  // False: nothing more comes.
  bool more(std::size_t most = 16 << 10) {
    std::string part(most, '\0');
    const ssize_t got = ::recv(fd_.get(), part.data(), part.size(), 0);
    if (got == 0) ended_ = true;
    if (got <= 0) return false;
    unread.append(part, 0, static_cast<std::size_t>(got));
    return true;
  }
  // Whether the server has closed, with nothing said that was not read.
  bool ends() {
    while (!ended_ && unread.empty() && more()) {
    }
    return ended_ && unread.empty();
  }
  void close() { fd_ = eventer::unique_fd(); }
  // For another client, on the same connection.
  eventer::unique_fd release() { return std::move(fd_); }
  // The server learns of it at once.
  void reset() {
    const linger how{1, 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_LINGER, &how, sizeof how);
    close();
  }
  // The coroutine that serves it is cancelled, and ends.
  void cancel_server() {
    served_.cancel();
    wait_for_server();
  }
  void wait_for_server() {
    if (std::exchange(is_served_, false)) (void)served_.try_join();
  }

  std::string unread;

 private:
  void be_patient() {
    const timeval limit{100, 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  }
  void serve(int fd, const client_options& options) {
    auto from = std::make_shared<mtev_acceptor_closure_t>();
    from->config = options.config;
    from->remote_cn = options.common_name;
    from->idle_timeout = options.idle_timeout;
    const auto who = eventer::endpoint::peer_of(fd);
    std::memcpy(&from->remote, who.data(), who.size());
    pthread_t thread = eventer_choose_owner(0);
    auto& loop = eventer::compat::runtime::of_process().find(thread)->loop;
    served_ = loop.spawn([fd, from] {
      auto stream = eventer::tcp_stream::from_fd(fd);
      if (stream) rest_type(eventer::any_stream(std::move(*stream)), *from);
    });
  }

  eventer::unique_fd fd_;
  eventer::join_handle<void> served_;
  bool is_served_ = true;
  bool ended_ = false;
};

// A listener's configuration, as texts.
class config_table {
 public:
  config_table(std::initializer_list<std::pair<std::string, std::string>> from) : texts_(from) {
    for (auto& [key, value] : texts_)
      (void)mtev_hash_store(&table_, key.c_str(), static_cast<int>(key.size()), value.data());
  }
  config_table(const config_table&) = delete;
  config_table& operator=(const config_table&) = delete;
  ~config_table() { mtev_hash_destroy(&table_, nullptr, nullptr); }
  mtev_hash_table* get() noexcept { return &table_; }

 private:
  std::vector<std::pair<std::string, std::string>> texts_;
  mtev_hash_table table_{};
};

// The lines of the log, in place of standard error.
class log_lines {
 public:
  log_lines() {
    present = this;
    mtev_log_set_writer([](const char* stream, const char* line, size_t size) {
      const std::lock_guard lock(present->mutex_);
      present->text_.append(stream).append(": ").append(line, size);
    });
  }
  ~log_lines() { mtev_log_set_writer(nullptr); }
  std::string text() const {
    const std::lock_guard lock(mutex_);
    return text_;
  }
  bool has(std::string_view part) const { return text().find(part) != std::string::npos; }

 private:
  static inline log_lines* present = nullptr;
  mutable std::mutex mutex_;
  std::string text_;
};

// Request bodies.
inline std::string some_bytes(std::size_t size) {
  std::string result(size, '\0');
  for (std::size_t i = 0; i < size; ++i) result[i] = static_cast<char>('a' + i * 7 % 26 + (i / 26) % 3);
  return result;
}
inline std::string in_chunks(std::string_view body, std::size_t chunk) {
  std::string result;
  while (!body.empty()) {
    const std::string_view piece = body.substr(0, chunk);
    char size[20];
    std::snprintf(size, sizeof size, "%zx\r\n", piece.size());
    result.append(size).append(piece).append("\r\n");
    body.remove_prefix(piece.size());
  }
  return result.append("0\r\n\r\n");
}
inline std::string post(std::string_view target, std::string_view body) {
  return "POST " + std::string(target) + " HTTP/1.1\r\nHost: a\r\nContent-Length: " + std::to_string(body.size()) +
         "\r\n\r\n" + std::string(body);
}
inline std::string post_chunks(std::string_view target, std::string_view chunks) {
  return "POST " + std::string(target) + " HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" +
         std::string(chunks);
}

inline void say(mtev_http_rest_closure_t* rest, std::string_view text) {
  mtev_http_response_ok(rest->http_ctx, "text/plain");
  (void)mtev_http_response_append(rest->http_ctx, text.data(), text.size());
  (void)mtev_http_response_end(rest->http_ctx);
}
// A rule whose handler is a lambda without captures.
inline mtev_rest_mountpoint_t* rule(const char* method, const char* base, const char* expression,
                                    rest_request_handler handler, void* closure = nullptr, bool is_aco = false) {
  mtev_rest_mountpoint_t* const made = mtev_http_rest_new_rule(method, base, expression, handler);
  if (made == nullptr) throw std::runtime_error("rule");
  mtev_rest_mountpoint_set_closure(made, closure);
  mtev_rest_mountpoint_set_aco(made, is_aco ? mtev_true : mtev_false);
  return made;
}

}  // namespace rest_test
