// Standard error, for the life of the object, is a file without a name, whose text can be read.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

class stderr_file {
 public:
  stderr_file() : file_(::memfd_create("stderr", MFD_CLOEXEC)), former_(::dup(STDERR_FILENO)) {
    if (file_ < 0 || former_ < 0 || ::fcntl(file_, F_SETFL, O_APPEND) != 0 || ::dup2(file_, STDERR_FILENO) < 0)
      throw std::runtime_error("standard error can't be redirected");
  }
  stderr_file(const stderr_file&) = delete;
  stderr_file& operator=(const stderr_file&) = delete;
  ~stderr_file() {
    ::dup2(former_, STDERR_FILENO);
    ::close(former_);
    ::close(file_);
  }

  std::string text() const {
    std::string all;
    char part[4096];
    for (ssize_t got; (got = ::pread(file_, part, sizeof part, static_cast<off_t>(all.size()))) > 0;)
      all.append(part, static_cast<std::size_t>(got));
    return all;
  }
  std::vector<std::string> lines() const {
    std::istringstream stream(text());
    std::vector<std::string> all;
    for (std::string line; std::getline(stream, line);) all.push_back(line);
    return all;
  }

 private:
  int file_;
  int former_;
};
