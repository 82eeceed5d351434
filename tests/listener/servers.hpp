// Listeners for tests, and clients as other programs are: plain blocking sockets, with time limits.
#pragma once

#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "../catch.hpp"
#include "eventer/eventer.hpp"
#include "eventer/listener/listeners.hpp"

using namespace std::chrono_literals;

// One connection of a plain program. A read waits at most ten seconds.
class plain_client {
 public:
  plain_client() = default;
  explicit plain_client(const std::string& address, const char* from = nullptr) {
    const auto peer = eventer::endpoint::parse(address).value();
    fd_.reset(::socket(peer.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
    const timeval limit{10, 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    if (from != nullptr) {
      const auto mine = eventer::endpoint::from_host(from, 0).value();
      (void)::bind(fd_.get(), mine.data(), mine.size());
    }
    if (::connect(fd_.get(), peer.data(), peer.size()) != 0) fd_.reset();
  }

  bool connected() const { return static_cast<bool>(fd_); }
  int fd() const { return fd_.get(); }
  bool send(std::string_view text) const {
    return ::send(fd_.get(), text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size());
  }
  // Up to the line feed, without it; "<end>" at the end, "<error>" where the connection was reset.
  std::string line() {
    for (;;) {
      if (const std::size_t end = unread_.find('\n'); end != std::string::npos) {
        std::string result = unread_.substr(0, end);
        unread_.erase(0, end + 1);
        return result;
      }
      char part[512];
      const ssize_t got = ::recv(fd_.get(), part, sizeof part, 0);
      if (got == 0) return "<end>";
      if (got < 0) return errno == EAGAIN ? "<nothing for ten seconds>" : "<error>";
      unread_.append(part, static_cast<std::size_t>(got));
    }
  }
  std::string ask(std::string_view question) {
    if (!send(std::string(question).append("\n"))) return "<error>";
    return line();
  }
  void close() { fd_.reset(); }

 private:
  eventer::unique_fd fd_;
  std::string unread_;
};

// Answers each line by itself with `prefix` before it.
struct line_server {
  std::string prefix;
  void operator()(eventer::any_stream peer) const {
    std::string text;
    while (const auto line = peer.read_until(text, "\n", 4096)) {
      if (!peer.write_all(prefix + std::string(*line))) return;
      text.erase(0, line->size());
    }
  }
};
// Answers each line with the number of the loop that it runs on.
struct loop_teller {
  std::shared_ptr<std::vector<eventer::event_loop*>> loops;
  void operator()(eventer::any_stream peer) const {
    std::string text;
    while (const auto line = peer.read_until(text, "\n", 4096)) {
      text.erase(0, line->size());
      std::string answer = "none";
      for (std::size_t i = 0; i < loops->size(); ++i)
        if ((*loops)[i] == &eventer::event_loop::current()) answer = std::to_string(i);
      if (!peer.write_all(answer + "\n")) return;
    }
  }
};

inline eventer::listener_config at(std::string address, std::string type = "lines") {
  eventer::listener_config result;
  result.type = std::move(type);
  result.address = std::move(address);
  return result;
}
inline eventer::service_config service_of(std::vector<eventer::listener_config> listeners) {
  eventer::service_config result;
  result.listeners = std::move(listeners);
  return result;
}
inline eventer::listener_registry line_registry() {
  eventer::listener_registry result;
  result.add("lines", line_server{"1 "});
  result.add("others", line_server{"2 "});
  return result;
}

// A pool that runs, and listeners on it. Used on the test's thread, which is none of its loops'.
struct running_service {
  explicit running_service(const eventer::service_config& config,
                           const eventer::listener_registry& functions = line_registry(), unsigned loops = 2)
      : pool(loops), all(eventer::start_listeners(config, functions, pool)) {
    pool.start();
  }
  std::string address(std::size_t which = 0) const { return all.statistics().at(which).local; }
  // A connection counts as open until its coroutine has ended, which is a little later than its peer sees the end.
  bool open_becomes(std::size_t wanted, std::size_t which = 0) const {
    return eventually([&] { return all.statistics().at(which).open == wanted; });
  }
  template <class F>
  static bool eventually(const F& condition) {
    const auto give_up = std::chrono::steady_clock::now() + 20s;
    while (!condition()) {
      if (std::chrono::steady_clock::now() > give_up) return false;
      std::this_thread::sleep_for(1ms);
    }
    return true;
  }

  eventer::loop_pool pool;
  eventer::listeners all;
};

// A folder of its own, gone with what is in it.
class scratch_folder {
 public:
  scratch_folder() {
    char name[] = "/tmp/eventer-listener-XXXXXX";
    if (::mkdtemp(name) == nullptr) std::abort();
    path_ = name;
  }
  scratch_folder(const scratch_folder&) = delete;
  scratch_folder& operator=(const scratch_folder&) = delete;
  ~scratch_folder() {
    for (const char* const name : files) ::unlink((path_ + "/" + name).c_str());
    ::rmdir(path_.c_str());
  }
  std::string file(const char* name) const { return path_ + "/" + name; }
  std::string address(const char* name) const { return "unix:" + file(name); }

 private:
  static constexpr const char* files[] = {"a", "b", "c", "service.toml"};
  std::string path_;
};
