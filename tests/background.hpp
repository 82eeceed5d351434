// A program or a function that runs in a child process beside the test, which reads what it prints and sends it
// signals.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

class background {
 public:
  // Standard output and error come together. The child dies with the object.
  template <class F>
  explicit background(F&& function) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) std::abort();
    child_ = ::fork();
    if (child_ == 0) {
      ::dup2(ends[1], 1);
      ::dup2(ends[1], 2);
      for (const int number : {SIGTERM, SIGINT, SIGABRT, SIGSEGV}) ::signal(number, SIG_DFL);
      function();
      std::fflush(nullptr);
      ::_exit(0);
    }
    ::close(ends[1]);
    output_ = ends[0];
  }
  static background program(const std::vector<std::string>& words) {
    return background([&words] {
      std::vector<char*> arguments;
      for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
      arguments.push_back(nullptr);
      ::execv(arguments[0], arguments.data());
      std::perror(arguments[0]);
      ::_exit(127);
    });
  }
  background(const background&) = delete;
  background& operator=(const background&) = delete;
  ~background() {
    if (child_ > 0) {
      ::kill(child_, SIGKILL);
      ::waitpid(child_, nullptr, 0);
    }
    ::close(output_);
  }

  // The next line that it prints, without its line feed; empty after five seconds of silence, or at its end.
  std::string line() {
    for (;;) {
      const std::size_t end = unread_.find('\n');
      if (end != std::string::npos) {
        std::string result = unread_.substr(0, end);
        unread_.erase(0, end + 1);
        return result;
      }
      if (!more()) return {};
    }
  }
  void signal(int number) const { ::kill(child_, number); }

  struct ending {
    int status = -1;     // -1 if it was a signal, or if it does not end within ten seconds
    std::string output;  // what was not read yet
    double cpu_seconds = 0;
  };
  ending wait() {
    while (more()) {
    }
    ending result;
    result.output = std::move(unread_);
    int status = 0;
    rusage usage{};
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (::wait4(child_, &status, WNOHANG, &usage) == 0) {
      if (std::chrono::steady_clock::now() > give_up) return result;
      ::poll(nullptr, 0, 1);
    }
    child_ = -1;
    if (WIFEXITED(status)) result.status = WEXITSTATUS(status);
    const auto seconds = [](const timeval& time) {
      return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
    };
    result.cpu_seconds = seconds(usage.ru_utime) + seconds(usage.ru_stime);
    return result;
  }

 private:
  bool more() {
    pollfd ready{output_, POLLIN, 0};
    if (::poll(&ready, 1, 5000) != 1) return false;
    char part[4096];
    const ssize_t got = ::read(output_, part, sizeof part);
    if (got > 0) unread_.append(part, static_cast<std::size_t>(got));
    return got > 0;
  }

  pid_t child_ = -1;
  int output_ = -1;
  std::string unread_;
};
