// Static files against nginx with sendfile: 1 KB, 100 KB and 16 MB from the page cache, over keep-alive.
#pragma once

#include <stdlib.h>

#include <eventer/eventer.hpp>
#include <eventer/http.hpp>
#include <filesystem>
#include <fstream>

#include "figures.hpp"
#include "nginx.hpp"

namespace bench {

// Goes with its object; the server's processes are to find it.
class files_to_serve {
 public:
  files_to_serve() {
    char name[] = "/tmp/bench_files_XXXXXX";
    check(::mkdtemp(name) != nullptr, "mkdtemp");
    path() = name;
    for (const auto& [file, bytes] : all) {
      std::ofstream into(path() + "/" + file, std::ios::binary);
      for (std::size_t i = 0; i < bytes / 1024; ++i) into << std::string(1024, static_cast<char>('a' + i % 26));
    }
    std::filesystem::permissions(path(), std::filesystem::perms(0755));  // nginx may become another user
  }
  files_to_serve(const files_to_serve&) = delete;
  files_to_serve& operator=(const files_to_serve&) = delete;
  ~files_to_serve() {
    std::error_code ignored;
    std::filesystem::remove_all(path(), ignored);
  }
  static std::string& path() {
    static std::string where;
    return where;
  }

  static constexpr std::pair<const char*, std::size_t> all[] = {
      {"small", 1 << 10}, {"middle", 100 << 10}, {"large", 16 << 20}};
};

[[noreturn]] inline void serve_files() {
  eventer::syscalls::fault_hook = [](eventer::syscalls::call) {
    shared->system_calls.fetch_add(1, std::memory_order_relaxed);
    return 0;
  };
  eventer::run([] {
    eventer::http::router routes;
    routes.files("/", files_to_serve::path());
    eventer::http::server serving(std::move(routes), {.limits = {.requests_per_connection = 0}, .max_connections = 0});
    auto acceptor = eventer::tcp_acceptor::listen("127.0.0.1:0").value();
    shared->port = acceptor.local().port();
    (void)serving.serve(acceptor);
  });
  ::_exit(0);
}
[[noreturn]] inline void serve_nginx_files() {
  run_nginx("", "sendfile on; tcp_nopush on; root " + files_to_serve::path() + ";");
}

// A question for a file, and how long an answer is.
inline question question_for(int port, const std::string& file) {
  question result;
  result.bytes = "GET /" + file + " HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n";
  const int fd = client::connected(port);
  check(::send(fd, result.bytes.data(), result.bytes.size(), MSG_NOSIGNAL) > 0, "send");
  std::string answer;
  char bytes[4096];
  std::size_t head = std::string::npos;
  while ((head = answer.find("\r\n\r\n")) == std::string::npos) {
    const ssize_t got = ::recv(fd, bytes, sizeof bytes, 0);
    check(got > 0, "the first answer");
    answer.append(bytes, static_cast<std::size_t>(got));
  }
  ::close(fd);
  const std::size_t length = answer.find("Content-Length: ");
  if (!answer.starts_with("HTTP/1.1 200") || length >= head) throw std::runtime_error("no answer with a file");
  result.answer_bytes = head + 4 + std::strtoull(answer.c_str() + length + 16, nullptr, 10);
  return result;
}

class file_figures {
 public:
  // One round of all; without `keep` it only warms up.
  void measure(double seconds, bool keep) {
    for (std::size_t which = 0; which < count; ++which) {
      measure(which, ours_[which], &serve_files, seconds, keep);
      if (has_nginx()) measure(which, nginx_[which], &serve_nginx_files, seconds, keep);
    }
  }
  void print() const {
    for (std::size_t which = 0; which < count; ++which) {
      std::vector<figures_of_server> rows{{"eventer, files", &ours_[which], true}};
      if (has_nginx()) rows.push_back({"nginx, sendfile", &nginx_[which], false});
      const auto& [name, bytes] = files_to_serve::all[which];
      const double megabytes = static_cast<double>(bytes) / 1e6;
      bench::print("a file of " + std::to_string(bytes / 1024) + " KB, " + std::to_string(connections[which]) +
                       " connections, " + number(ours_[which].rate.middle() * megabytes, 0) + " MB/s" +
                       (has_nginx() ? ", nginx " + number(nginx_[which].rate.middle() * megabytes, 0) : ""),
                   "request", rows);
    }
    if (!has_nginx()) return;
    for (std::size_t which = 0; which < count; ++which)
      goal((std::string("CPU to nginx, the ") + files_to_serve::all[which].first + " file").c_str(),
           ours_[which].cpu.ratio_to(nginx_[which].cpu), 1.0, "x");
    goal("system calls a request, the small file", ours_[0].calls.middle(), 6.2, "");
  }

 private:
  static constexpr std::size_t count = std::size(files_to_serve::all);
  static constexpr std::size_t connections[count] = {50, 50, 4};

  static void measure(std::size_t which, figures& into, void (*serve)(), double seconds, bool keep) {
    const server running(serve, server_core);
    pin_to_core(client_core);
    client peer(running.port, question_for(running.port, files_to_serve::all[which].first));
    peer.open(connections[which]);
    peer.ping_pong(0.05);
    figures unused;
    (keep ? into : unused).measure(running, peer, [&] { return peer.ping_pong(seconds); });
  }

  figures ours_[count], nginx_[count];
};

}  // namespace bench
