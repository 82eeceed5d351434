// A TCP echo server from coroutines against a bare epoll loop: CPU and system calls per message, memory per idle
// connection.
//
//   echo [--connections 50] [--idle 10000] [--rounds 5] [--seconds 1] [--json FILE]
//
// Servers are child processes on one core, the client is this process on the other; rounds alternate between the
// servers. System calls are counted at the library's seam, for the bare loop by itself. Only loopback is used.
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <cstring>
#include <eventer/eventer.hpp>

#include "measure.hpp"
#include "stackless.hpp"

namespace {

constexpr std::size_t message_bytes = 64;
constexpr int server_core = 0, client_core = 1;

// Shared between the processes.
struct counters {
  std::atomic<std::uint64_t> system_calls{0};
  std::atomic<int> port{0};
};
counters* shared = nullptr;

void check(bool good, const char* what) {
  if (!good) throw std::system_error(errno, std::generic_category(), what);
}

int listening_socket(int& port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
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

// The floor: one edge-triggered registration a connection, read until short, one write, no state.
[[noreturn]] void serve_bare() {
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
      (void)!::send(fd, bytes, static_cast<std::size_t>(got), MSG_NOSIGNAL);
      count();
    }
  }
}

int count_call(eventer::system::call) {
  shared->system_calls.fetch_add(1, std::memory_order_relaxed);
  return 0;
}

// A coroutine a connection. `Borrowed`: reads into the loop's buffer, so that a waiting connection holds none.
template <bool Borrowed>
void echo(eventer::tcp_stream client) {
  if constexpr (Borrowed) {
    while (auto bytes = client.read_borrowed())
      if (!client.write_all(*bytes)) break;
  } else {
    std::array<char, 128> bytes;
    while (auto n = client.read_some(bytes))
      if (!client.write_all({bytes.data(), *n})) break;
  }
}

// The same in a coroutine type of somebody else's, which only has its frame.
bench::detached echo_stackless(eventer::tcp_stream client) {
  for (;;) {
    const auto bytes = co_await client.async_read_borrowed();
    if (!bytes || !co_await client.async_write_all(*bytes)) break;
  }
}

template <class Start>
[[noreturn]] void serve(Start start) {
  eventer::system::fault_hook = count_call;
  eventer::run([start] {
    auto acceptor = eventer::tcp_acceptor::listen("127.0.0.1:0").value();
    shared->port = acceptor.local().port();
    while (auto client = acceptor.accept()) start(std::move(*client));
  });
  ::_exit(0);
}
template <bool Borrowed>
[[noreturn]] void serve_coroutines() {
  serve([](eventer::tcp_stream client) { eventer::spawn({.name = "echo"}, echo<Borrowed>, std::move(client)); });
}
[[noreturn]] void serve_stackless() {
  serve([](eventer::tcp_stream client) { echo_stackless(std::move(client)); });
}

class server {
 public:
  explicit server(void (*serve)()) {
    shared->port = 0;
    child_ = ::fork();
    check(child_ >= 0, "fork");
    if (child_ == 0) {
      bench::pin_to_core(server_core);
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

  // Nanoseconds that the server has run so far.
  double cpu() const { return first_number("/proc/%d/schedstat", 0); }
  double user_cpu() const {
    return first_number("/proc/%d/stat", 13) * 1e9 / static_cast<double>(::sysconf(_SC_CLK_TCK));
  }
  std::size_t resident() const {
    return static_cast<std::size_t>(first_number("/proc/%d/statm", 1)) * static_cast<std::size_t>(::getpagesize());
  }

  int port = 0;

 private:
  double first_number(const char* pattern, int skip) const {
    char path[64], text[1024];
    std::snprintf(path, sizeof path, pattern, child_);
    std::FILE* const file = std::fopen(path, "r");
    check(file != nullptr, path);
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

// The client: ping-pong on every connection from one epoll loop.
class client {
 public:
  explicit client(int port) : port_(port), set_(::epoll_create1(0)) { check(set_ >= 0, "epoll_create1"); }
  client(const client&) = delete;
  client& operator=(const client&) = delete;
  ~client() {
    for (const int fd : fds_) ::close(fd);
    ::close(set_);
  }

  void open(std::size_t count) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port_));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    while (fds_.size() < count) {
      const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
      check(fd >= 0, "socket");
      check(::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0, "connect");
      const int on = 1;
      ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      char bytes[message_bytes] = {};
      check(::send(fd, bytes, sizeof bytes, 0) == sizeof bytes, "send");
      check(::recv(fd, bytes, sizeof bytes, MSG_WAITALL) == sizeof bytes, "recv");
      fds_.push_back(fd);
    }
  }

  // Messages answered in about that many seconds.
  long ping_pong(double seconds) {
    for (const int fd : fds_) {
      epoll_event event{};
      event.events = EPOLLIN | EPOLLET;
      event.data.fd = fd;
      check(::epoll_ctl(set_, EPOLL_CTL_ADD, fd, &event) == 0, "epoll_ctl");
      send(fd);
    }
    long answered = 0;
    const double end = bench::nanoseconds() + seconds * 1e9;
    while (bench::nanoseconds() < end) answered += turn(true);
    long waiting = static_cast<long>(fds_.size());
    for (const double give_up = bench::nanoseconds() + 5e9; waiting > 0 && bench::nanoseconds() < give_up;) {
      const long got = turn(false);
      answered += got, waiting -= got;
    }
    for (const int fd : fds_) ::epoll_ctl(set_, EPOLL_CTL_DEL, fd, nullptr);
    if (waiting > 0) throw std::runtime_error("a message was not answered");
    return answered;
  }

 private:
  static void send(int fd) {
    static const char bytes[message_bytes] = {};
    check(::send(fd, bytes, sizeof bytes, MSG_NOSIGNAL) == sizeof bytes, "send");
  }
  long turn(bool go_on) {
    epoll_event events[256];
    const int ready = ::epoll_wait(set_, events, 256, 100);
    long answered = 0;
    char bytes[4096];
    for (int i = 0; i < ready; ++i) {
      const ssize_t got = ::recv(events[i].data.fd, bytes, sizeof bytes, MSG_DONTWAIT);
      if (got < 0 && errno == EAGAIN) continue;
      if (got != static_cast<ssize_t>(message_bytes)) throw std::runtime_error("an echo was cut or lost");
      ++answered;
      if (go_on) send(events[i].data.fd);
    }
    return answered;
  }

  int port_, set_;
  std::vector<int> fds_;
};

struct contestant {
  const char* name;
  void (*serve)();
  bench::measurement cpu, user, calls;
  double idle_bytes = 0;
};

std::size_t possible_connections(std::size_t wanted) {
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

}  // namespace

int main(int argc, char** argv) {
  std::size_t connections = 50, idle = 10'000;
  int rounds = 5;
  double seconds = 1;
  std::string json;
  CLI::App app{"TCP echo from coroutines against a bare epoll loop."};
  app.add_option("--connections", connections, "at once, in ping-pong")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--idle", idle, "idle connections whose memory is measured; 0: none")
      ->check(CLI::Range(0, 20'000))
      ->capture_default_str();
  app.add_option("--rounds", rounds, "measured rounds, interleaved")->check(CLI::Range(1, 100))->capture_default_str();
  app.add_option("--seconds", seconds, "of each round")->check(CLI::Range(0.01, 60.0))->capture_default_str();
  app.add_option("--json", json, "write the figures to this file");
  CLI11_PARSE(app, argc, argv);
  try {
    void* const memory = ::mmap(nullptr, sizeof(counters), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    check(memory != MAP_FAILED, "mmap");
    shared = ::new (memory) counters;
    const std::size_t idle_possible = idle == 0 ? 0 : possible_connections(idle);
    if (idle_possible < idle)
      std::printf("only %zu idle connections: the limit of descriptors does not allow more\n", idle_possible);

    contestant all[] = {{"bare epoll loop", serve_bare, {}, {}, {}},
                        {"coroutine, 128-byte buffer", serve_coroutines<false>, {}, {}, {}},
                        {"coroutine, borrowed buffer", serve_coroutines<true>, {}, {}, {}},
                        {"C++20 coroutine, co_await", serve_stackless, {}, {}, {}}};
    // A server forks before the client has threads or connections: each child has its own counters only through
    // `shared`.
    for (int round = -1; round < rounds; ++round)
      for (contestant& each : all) {
        const server running(each.serve);
        bench::pin_to_core(client_core);
        client peer(running.port);
        peer.open(connections);
        peer.ping_pong(0.05);
        const std::uint64_t calls = shared->system_calls;
        const double cpu = running.cpu(), user = running.user_cpu();
        const auto answered = static_cast<double>(peer.ping_pong(seconds));
        if (round < 0) continue;
        each.calls.samples.push_back(static_cast<double>(shared->system_calls - calls) / answered);
        each.cpu.samples.push_back((running.cpu() - cpu) / answered);
        each.user.samples.push_back((running.user_cpu() - user) / answered);
      }
    if (idle_possible > 0)
      for (contestant& each : all) {
        const server running(each.serve);
        client peer(running.port);
        peer.open(std::min<std::size_t>(100, idle_possible));
        const std::size_t before = running.resident();
        peer.open(idle_possible);
        each.idle_bytes = static_cast<double>(running.resident() - before) /
                          static_cast<double>(idle_possible - std::min<std::size_t>(100, idle_possible - 1));
      }

    std::printf("TCP echo of 64 bytes, %zu connections, one server thread\n", connections);
    bench::table table(
        {"server", "CPU ns/message", "to bare loop", "of it user", "system calls/message", "bytes/idle connection"});
    for (const contestant& each : all)
      table.row({each.name, bench::number(each.cpu.middle(), 0), bench::times(each.cpu.ratio_to(all[0].cpu)),
                 bench::number(each.user.middle(), 0), bench::number(each.calls.middle(), 2),
                 idle_possible == 0 ? "-" : bench::number(each.idle_bytes, 0)});
    table.print();
    std::printf("\n");
    for (const contestant& each : all) {
      if (&each == &all[0]) continue;
      bench::goal((std::string(each.name) + ": CPU to the bare loop").c_str(), each.cpu.ratio_to(all[0].cpu), 1.15,
                  "x");
      if (connections >= 50)
        bench::goal((std::string(each.name) + ": system calls a message").c_str(), each.calls.middle(), 2.3, "");
      if (idle_possible > 0)
        bench::goal((std::string(each.name) + ": bytes an idle connection").c_str(), each.idle_bytes, 500, " B");
    }
    if (json.empty()) return 0;
    std::FILE* const file = std::fopen(json.c_str(), "w");
    check(file != nullptr, json.c_str());
    std::fprintf(file, "{\"connections\":%zu,\"servers\":[", connections);
    for (const contestant& each : all)
      std::fprintf(
          file,
          "%s{\"name\":\"%s\",\"cpu_ns\":%.0f,\"cpu_ratio\":%.3f,\"user_ns\":%.0f,\"system_calls\":%.3f,\"idle_bytes\":%.0f}",
          &each == &all[0] ? "" : ",", each.name, each.cpu.middle(), each.cpu.ratio_to(all[0].cpu), each.user.middle(),
          each.calls.middle(), each.idle_bytes);
    std::fprintf(file, "]}\n");
    return std::fclose(file) == 0 ? 0 : 1;
  } catch (const std::exception& failure) {
    return std::fprintf(stderr, "echo: %s\n", failure.what()), 1;
  }
}
