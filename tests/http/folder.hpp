// A folder of files for tests, which goes with its object.
#pragma once

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <stdexcept>
#include <string>
#include <string_view>

#include "eventer/base/unique_fd.hpp"

class folder {
 public:
  folder() {
    char name[] = "/tmp/eventer-files-XXXXXX";
    if (::mkdtemp(name) == nullptr) throw std::runtime_error("mkdtemp");
    path_ = name;
  }
  folder(const folder&) = delete;
  folder& operator=(const folder&) = delete;
  ~folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  const std::string& path() const { return path_; }
  std::string path(const std::string& name) const { return path_ + "/" + name; }
  void file(const std::string& name, std::string_view text) const {
    const eventer::unique_fd made(::open(path(name).c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    if (!made) throw std::runtime_error(name);
    while (!text.empty()) {
      const ssize_t written = ::write(made.get(), text.data(), text.size());
      if (written <= 0) throw std::runtime_error(name);
      text.remove_prefix(static_cast<std::size_t>(written));
    }
  }
  // With so many bytes that are all zero, and take no room.
  void sparse(const std::string& name, off_t bytes) const {
    file(name, "");
    truncate(name, bytes);
  }
  void truncate(const std::string& name, off_t bytes) const {
    if (::truncate(path(name).c_str(), bytes) != 0) throw std::runtime_error("truncate");
  }
  void folder_in(const std::string& name) const {
    if (::mkdir(path(name).c_str(), 0755) != 0) throw std::runtime_error(name);
  }
  void link(const std::string& name, const std::string& to) const {
    if (::symlink(to.c_str(), path(name).c_str()) != 0) throw std::runtime_error(name);
  }
  // When it was changed, in seconds since the epoch.
  void date(const std::string& name, time_t when) const {
    const timespec both[2] = {{when, 0}, {when, 0}};
    if (::utimensat(AT_FDCWD, path(name).c_str(), both, 0) != 0) throw std::runtime_error("utimensat");
  }

 private:
  std::string path_;
};

// The same bytes each time, and no two pieces alike.
inline std::string some_content(std::size_t bytes) {
  std::string result(bytes, '\0');
  std::uint64_t state = 88172645463325252u;
  for (char& each : result) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    each = static_cast<char>(state >> 32);
  }
  return result;
}
