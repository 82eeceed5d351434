// What the benchmarks with servers share: the server's process with what it has used, and a client that plays ping-pong
// on many connections.
#pragma once

#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "measure.hpp"

namespace bench {

inline constexpr std::size_t message_bytes = 64;

// Shared between the processes.
struct counters {
  std::atomic<std::uint64_t> system_calls{0};
  std::atomic<int> port{0};          // of the server, when it listens
  std::atomic<int> waiting_port{0};  // for the server alone
};
inline counters* shared = nullptr;

inline void check(bool good, const char* what) {
  if (!good) throw std::system_error(errno, std::generic_category(), what);
}

// Before any server is started.
inline void share_counters() {
  void* const memory = ::mmap(nullptr, sizeof(counters), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  check(memory != MAP_FAILED, "mmap");
  shared = ::new (memory) counters;
}

// Of this machine alone, on a port that is free. Does not block.
inline int listening_socket(int& port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  check(fd >= 0, "socket");
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  check(::bind(fd, reinterpret_cast<sockaddr*>(&address), size) == 0, "bind");
  check(::listen(fd, 4096) == 0, "listen");
  check(::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0, "getsockname");
  port = ntohs(address.sin_port);
  return fd;
}

// The price of the kernel: one edge-triggered registration a connection, read until short, one write of what
// `answer(bytes)` says, no state. Counts its system calls.
template <class F>
[[noreturn]] void serve_bare_epoll(F answer) {
  int port = 0;
  const int listener = listening_socket(port);
  const int set = ::epoll_create1(0);
  epoll_event event{}, events[256];
  event.events = EPOLLIN;
  event.data.fd = listener;
  ::epoll_ctl(set, EPOLL_CTL_ADD, listener, &event);
  shared->port = port;
  static char bytes[65536];
  const auto count = [] { shared->system_calls.fetch_add(1, std::memory_order_relaxed); };
  for (;;) {
    const int ready = ::epoll_wait(set, events, 256, -1);
    count();
    for (int i = 0; i < ready; ++i) {
      const int fd = events[i].data.fd;
      if (fd == listener) {
        for (int client; (client = ::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK)) >= 0;) {
          const int on = 1;
          ::setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
          event.events = EPOLLIN | EPOLLRDHUP | EPOLLET;
          event.data.fd = client;
          ::epoll_ctl(set, EPOLL_CTL_ADD, client, &event);
        }
        continue;
      }
      const ssize_t got = ::recv(fd, bytes, sizeof bytes, 0);
      count();
      if (got <= 0) {
        if (got == 0 || errno != EAGAIN) ::close(fd);
        continue;
      }
      const std::string_view said = answer(std::string_view(bytes, static_cast<std::size_t>(got)));
      (void)!::send(fd, said.data(), said.size(), MSG_NOSIGNAL);
      count();
    }
  }
}

// A child process that puts its port into `shared`.
class server {
 public:
  // On this core, or on all.
  explicit server(void (*serve)(), int core = -1) {
    shared->port = 0;
    child_ = ::fork();
    check(child_ >= 0, "fork");
    if (child_ == 0) {
      if (core >= 0) pin_to_core(core);
      serve();
      ::_exit(0);
    }
    while (shared->port == 0 && ::waitpid(child_, nullptr, WNOHANG) == 0) ::usleep(1000);
    port = shared->port;
    if (port == 0) throw std::runtime_error("a server did not start");
  }
  server(const server&) = delete;
  server& operator=(const server&) = delete;
  ~server() {
    ::kill(child_, SIGKILL);
    ::waitpid(child_, nullptr, 0);
  }

  // Nanoseconds that the server's threads have run so far.
  double cpu() const {
    const std::string tasks = "/proc/" + std::to_string(child_) + "/task";
    double result = 0;
    DIR* const folder = ::opendir(tasks.c_str());
    check(folder != nullptr, tasks.c_str());
    while (const dirent* const each = ::readdir(folder))
      if (each->d_name[0] != '.') result += first_number_of(tasks + "/" + each->d_name + "/schedstat", 0);
    ::closedir(folder);
    return result;
  }
  double user_cpu() const {
    return first_number("/proc/%d/stat", 13) * 1e9 / static_cast<double>(::sysconf(_SC_CLK_TCK));
  }
  std::size_t resident() const {
    return static_cast<std::size_t>(first_number("/proc/%d/statm", 1)) * static_cast<std::size_t>(::getpagesize());
  }

  int port = 0;

 private:
  double first_number(const char* pattern, int skip) const {
    char path[64];
    std::snprintf(path, sizeof path, pattern, child_);
    return first_number_of(path, skip);
  }
  static double first_number_of(const std::string& path, int skip) {
    char text[1024];
    std::FILE* const file = std::fopen(path.c_str(), "r");
    check(file != nullptr, path.c_str());
    const std::size_t got = std::fread(text, 1, sizeof text - 1, file);
    std::fclose(file);
    text[got] = '\0';
    const char* at = text;
    for (int i = 0; i < skip && at != nullptr; ++i) {
      at = std::strchr(at, ' ');
      if (at != nullptr) ++at;
    }
    return at == nullptr ? 0 : std::strtod(at, nullptr);
  }
  pid_t child_ = -1;
};

// One question and its answer, of so many bytes each time.
struct question {
  std::string bytes = std::string(message_bytes, '\0');
  std::size_t answer_bytes = message_bytes;
  std::size_t at_once = 1;    // questions that are sent together, with one call
  std::string greeting = {};  // what comes first on a connection, and is answered with a head of HTTP
};

// The client: ping-pong on every connection from one epoll loop.
class client {
 public:
  explicit client(int port, const question& what = {}) : port_(port), set_(::epoll_create1(0)), what_(what) {
    check(set_ >= 0, "epoll_create1");
    for (std::size_t i = 0; i < what.at_once; ++i) sent_ += what.bytes;
  }
  client(const client&) = delete;
  client& operator=(const client&) = delete;
  ~client() {
    for (const int fd : fds_) ::close(fd);
    ::close(set_);
  }

  // Each has its first answer then.
  void open(std::size_t count) {
    std::string bytes(what_.answer_bytes, '\0');
    while (fds_.size() < count) {
      const int fd = connected(port_);
      fds_.push_back(fd);
      if (!what_.greeting.empty()) greet(fd);
      check(::send(fd, what_.bytes.data(), what_.bytes.size(), MSG_NOSIGNAL) > 0, "send");
      check(::recv(fd, bytes.data(), bytes.size(), MSG_WAITALL) == static_cast<ssize_t>(bytes.size()), "recv");
    }
  }
  static int connected(int port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
    check(fd >= 0, "socket");
    int status = -1;
    for (int tries = 0; (status = ::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address)) != 0; ++tries) {
      check(errno == ECONNREFUSED && tries < 5000, "connect");  // it is about to listen
      ::usleep(1000);
    }
    const int on = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
  }

  void greet(int fd) const {
    check(::send(fd, what_.greeting.data(), what_.greeting.size(), MSG_NOSIGNAL) > 0, "send");
    for (std::string head; !head.ends_with("\r\n\r\n");) {
      char byte;
      check(::recv(fd, &byte, 1, 0) == 1, "the head of an answer");
      head += byte;
    }
  }

  // Questions answered in about that many seconds.
  long ping_pong(double seconds) {
    states_.assign(fds_.size(), {});
    latencies_.clear();
    for (std::size_t i = 0; i < fds_.size(); ++i) {
      epoll_event event{};
      event.events = EPOLLIN | EPOLLET;
      event.data.u64 = i;
      check(::epoll_ctl(set_, EPOLL_CTL_ADD, fds_[i], &event) == 0, "epoll_ctl");
      send(i);
    }
    long answered = 0;
    const double end = nanoseconds() + seconds * 1e9;
    while (nanoseconds() < end) answered += turn(true);
    long waiting = static_cast<long>(fds_.size());
    for (const double give_up = nanoseconds() + 5e9; waiting > 0 && nanoseconds() < give_up;) {
      const long got = turn(false);
      answered += got, waiting -= got;
    }
    for (const int fd : fds_) ::epoll_ctl(set_, EPOLL_CTL_DEL, fd, nullptr);
    if (waiting > 0) throw std::runtime_error("a message was not answered");
    return answered * static_cast<long>(what_.at_once);
  }
  // Of the last ping_pong: the time in nanoseconds within which so many of a hundred were answered.
  double latency(double percent) {
    if (latencies_.empty()) return 0;
    const auto at = static_cast<std::size_t>(static_cast<double>(latencies_.size() - 1) * percent / 100);
    std::nth_element(latencies_.begin(), latencies_.begin() + static_cast<std::ptrdiff_t>(at), latencies_.end());
    return latencies_[at];
  }

 private:
  struct state {
    std::size_t missing = 0;  // bytes of answers
    double since = 0;
  };

  void send(std::size_t i) {
    states_[i] = {what_.answer_bytes * what_.at_once, nanoseconds()};
    check(::send(fds_[i], sent_.data(), sent_.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(sent_.size()), "send");
  }
  long turn(bool go_on) {
    epoll_event events[256];
    const int ready = ::epoll_wait(set_, events, 256, 100);
    long answered = 0;
    static char bytes[65536];
    for (int i = 0; i < ready; ++i) {
      const auto which = static_cast<std::size_t>(events[i].data.u64);
      state& of = states_[which];
      while (of.missing > 0) {
        const ssize_t got = ::recv(fds_[which], bytes, sizeof bytes, MSG_DONTWAIT);
        if (got < 0 && errno == EAGAIN) break;
        if (got <= 0 || static_cast<std::size_t>(got) > of.missing)
          throw std::runtime_error("an answer was cut or lost");
        of.missing -= static_cast<std::size_t>(got);
        if (static_cast<std::size_t>(got) < sizeof bytes) break;  // the next bytes are announced
      }
      if (of.missing > 0) continue;
      latencies_.push_back(nanoseconds() - of.since);
      ++answered;
      if (go_on) send(which);
    }
    return answered;
  }

  int port_, set_;
  question what_;
  std::string sent_;
  std::vector<int> fds_;
  std::vector<state> states_;
  std::vector<double> latencies_;
};

// As many connections as the process may have, up to `wanted`.
inline std::size_t possible_connections(std::size_t wanted) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return wanted;
  const rlim_t need = wanted + 64;
  rlimit raised{need, std::max(limit.rlim_max, need)};
  if (limit.rlim_cur < need && ::setrlimit(RLIMIT_NOFILE, &raised) != 0) {
    raised = {limit.rlim_max, limit.rlim_max};
    ::setrlimit(RLIMIT_NOFILE, &raised);
  }
  ::getrlimit(RLIMIT_NOFILE, &limit);
  return std::min<std::size_t>(wanted, limit.rlim_cur - 64);
}

}  // namespace bench
