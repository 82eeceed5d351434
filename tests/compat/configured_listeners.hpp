// For tests of the C interface's listeners: a configuration file that is in force, its clients, and the log.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "eventer/base/unique_fd.hpp"
#include "eventer/compat/eventer_aco.h"

// Keeps the streams' lines for its life, instead of printing them.
class captured_streams {
 public:
  captured_streams() {
    const std::lock_guard lock(mutex_);
    lines_.clear();
    mtev_log_set_writer([](const char*, const char* line, size_t length) {
      const std::lock_guard inner(mutex_);
      lines_.emplace_back(line, length);
    });
  }
  captured_streams(const captured_streams&) = delete;
  captured_streams& operator=(const captured_streams&) = delete;
  ~captured_streams() { mtev_log_set_writer(nullptr); }

  std::string text() const {
    const std::lock_guard lock(mutex_);
    std::string all;
    for (const std::string& each : lines_) all += each;
    return all;
  }
  bool has(std::string_view part) const { return text().find(part) != std::string::npos; }

 private:
  static inline std::mutex mutex_;
  static inline std::vector<std::string>& lines_ = *new std::vector<std::string>;  // loops run to the very end
};

class test_folder {
 public:
  test_folder() {
    char name[] = "/tmp/eventer-listen-XXXXXX";
    if (::mkdtemp(name) == nullptr) throw std::runtime_error("mkdtemp");
    path_ = name;
  }
  test_folder(const test_folder&) = delete;
  test_folder& operator=(const test_folder&) = delete;
  ~test_folder() {
    ::unlink(file("service.toml").c_str());
    ::unlink(file("socket").c_str());
    ::rmdir(path_.c_str());
  }
  std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

// Starts what `text` says. The folder of the file goes, once it is read.
inline void start_configured(const std::string& text) {
  const test_folder folder;
  std::ofstream(folder.file("service.toml")) << text;
  if (mtev_conf_load(folder.file("service.toml").c_str()) != 0) throw std::runtime_error("mtev_conf_load");
  if (eventer_init() != 0) throw std::runtime_error("eventer_init");
  mtev_listener_init("tests");
}
// A listener of this type on a port that the kernel chooses, with more lines of its own.
inline std::string stanza(const std::string& type, const std::string& more = {}) {
  return "[[listeners.listener]]\ntype = \"" + type + "\"\naddress = \"127.0.0.1\"\nport = 0\n" + more + "\n";
}

// This program anew, with its hidden cases of a tag, for what holds for a whole process.
inline int run_alone(const char* tag) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::execl("/proc/self/exe", "test", tag, static_cast<char*>(nullptr));
    ::_exit(99);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 100 + WTERMSIG(status);
}

// A client, with plain blocking calls that end in any case.
class test_client {
 public:
  explicit test_client(const char* type) : test_client(mtev_listener_port(type)) {}
  explicit test_client(int port) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<std::uint16_t>(port));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    begin(reinterpret_cast<const sockaddr*>(&to), sizeof to);
  }
  explicit test_client(const std::string& path) : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un to{};
    to.sun_family = AF_UNIX;
    path.copy(to.sun_path, sizeof to.sun_path - 1);
    begin(reinterpret_cast<const sockaddr*>(&to), sizeof to);
  }

  void send(std::string_view text) const {
    if (::send(fd_.get(), text.data(), text.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(text.size()))
      throw std::runtime_error("send");
  }
  // So many bytes, or fewer before the end.
  std::string read(std::size_t count) const {
    std::string text(count, '\0');
    std::size_t done = 0;
    while (done < count) {
      const ssize_t got = ::recv(fd_.get(), text.data() + done, count - done, 0);
      if (got <= 0) break;
      done += static_cast<std::size_t>(got);
    }
    text.resize(done);
    return text;
  }
  std::string ask(std::string_view text, std::size_t count) const {
    send(text);
    return read(count);
  }
  // All up to the end; "<none>" behind it where no end comes.
  std::string read_rest() const {
    std::string text;
    char some[4096];
    for (;;) {
      const ssize_t got = ::recv(fd_.get(), some, sizeof some, 0);
      if (got == 0 || (got < 0 && errno == ECONNRESET)) return text;
      if (got < 0) return text + "<none>";
      text.append(some, static_cast<std::size_t>(got));
    }
  }
  int fd() const noexcept { return fd_.get(); }

 private:
  void begin(const sockaddr* to, socklen_t size) const {
    const timeval limit{30, 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (::connect(fd_.get(), to, size) != 0) throw std::runtime_error("connect");
  }
  eventer::unique_fd fd_;
};

// Whether it comes true, soon.
template <class Condition>
bool comes_true(const Condition& condition) {
  for (int i = 0; i < 15'000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return false;
}
