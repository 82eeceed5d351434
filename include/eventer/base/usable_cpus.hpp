// usable_cpus: how many CPUs this process may really use, which in a container is less than the machine has.
//
// It is the smallest of: the affinity mask, and the CPU quotas of the process's control group and of all groups around
// it, in both versions of control groups. Files that can't be read, or say something odd, limit nothing.
#pragma once

#include <sched.h>

#include <cerrno>
#include <charconv>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "eventer/base/syscalls.hpp"
#include "eventer/base/unique_fd.hpp"

namespace eventer::inline EVENTER_ABI {

namespace detail {

// --- what the files say; 0 stands for "no limit" ---

// What stands before the first `separator`, which is taken off `rest` with it; all of it where there is none.
inline std::string_view take_until(std::string_view& rest, char separator) noexcept {
  const std::size_t end = rest.find(separator);
  const std::string_view part = rest.substr(0, end);
  rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
  return part;
}
inline std::string_view take_line(std::string_view& rest) noexcept { return take_until(rest, '\n'); }
inline std::string_view take_word(std::string_view& rest) noexcept { return take_until(rest, ' '); }

// Both in microseconds: of the CPU, and of the clock. A part of a CPU counts as one.
inline unsigned cpus_of_quota(std::string_view quota, std::string_view period) noexcept {
  const auto number_of = [](std::string_view text) {
    std::int64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    return error == std::errc() && end == text.data() + text.size() && number > 0 ? number : 0;
  };
  const std::int64_t used = number_of(quota), of = number_of(period);  // "max", and -1, are no limit
  if (used == 0 || of == 0) return 0;
  const std::int64_t cpus = used / of + (used % of != 0 ? 1 : 0);
  return cpus < 1'000'000 ? static_cast<unsigned>(cpus) : 0;
}
// cpu.max of version 2: "150000 100000", or "max 100000".
inline unsigned cpus_of_cpu_max(std::string_view text) noexcept {
  std::string_view line = take_line(text);
  const std::string_view quota = take_word(line);
  return cpus_of_quota(quota, line);
}

// Where a hierarchy of control groups that may hold quotas is mounted.
struct cgroup_mount {
  bool version_2 = false;
  std::string group;  // that is seen at `place`; "/" but in some containers
  std::string place;
};

inline bool is_in_list(std::string_view list, std::string_view word) noexcept {
  while (!list.empty())
    if (take_until(list, ',') == word) return true;
  return false;
}
// Spaces and their like in names are \040 in mountinfo.
inline std::string without_escapes(std::string_view text) {
  const auto digit = [&](std::size_t at) { return at < text.size() && text[at] >= '0' && text[at] <= '7'; };
  std::string result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && digit(i + 1) && digit(i + 2) && digit(i + 3)) {
      result += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
      i += 3;
    } else {
      result += text[i];
    }
  }
  return result;
}
// From /proc/self/mountinfo: "36 25 0:30 /group /place options... - cgroup2 source options".
inline std::vector<cgroup_mount> cgroup_mounts(std::string_view mountinfo) {
  std::vector<cgroup_mount> found;
  while (!mountinfo.empty()) {
    std::string_view line = take_line(mountinfo);
    const std::size_t dash = line.find(" - ");
    if (dash == std::string_view::npos) continue;
    std::string_view about = line.substr(dash + 3);
    const std::string_view type = take_word(about);
    (void)take_word(about);
    if (type != "cgroup2" && !(type == "cgroup" && is_in_list(about, "cpu"))) continue;
    for (int i = 0; i < 3; ++i) (void)take_word(line);
    const std::string_view group = take_word(line);
    found.push_back({type == "cgroup2", without_escapes(group), without_escapes(take_word(line))});
  }
  return found;
}
// From /proc/self/cgroup: "0::/path" for version 2, "4:cpu,cpuacct:/path" for version 1.
inline std::optional<std::string> cgroup_of_process(std::string_view text, bool version_2) {
  while (!text.empty()) {
    std::string_view line = take_line(text);
    const std::string_view number = take_until(line, ':'), controllers = take_until(line, ':');
    if (version_2 ? number == "0" && controllers.empty() : is_in_list(controllers, "cpu")) return std::string(line);
  }
  return std::nullopt;
}
// The group's folder under the mount's place; empty, the mount itself, where the group is not seen there.
inline std::string folder_in_mount(std::string_view path, const cgroup_mount& mount) {
  if (mount.group != "/") {
    if (path.substr(0, mount.group.size()) != mount.group) return {};
    path.remove_prefix(mount.group.size());
  }
  if (path.empty() || path[0] != '/' || path.find("/..") != std::string_view::npos) return {};
  while (!path.empty() && path.back() == '/') path.remove_suffix(1);
  return std::string(path);
}

// --- reading them ---

inline std::string text_of_file(const std::string& path) {
  constexpr std::size_t most = std::size_t{4} << 20;
  std::string text;
  const unique_fd file(syscalls::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return text;
  for (std::size_t size = 0;;) {
    text.resize(size + 4096);
    const ssize_t got = syscalls::read(file.get(), text.data() + size, 4096);
    text.resize(size += got > 0 ? static_cast<std::size_t>(got) : 0);
    if (got <= 0 || size > most) return text;
  }
}

inline unsigned smaller_limit(unsigned one, unsigned other) noexcept {
  if (one == 0 || other == 0) return one + other;
  return one < other ? one : other;
}
inline unsigned cpus_of_folder(const std::string& folder, bool version_2) {
  if (version_2) return cpus_of_cpu_max(text_of_file(folder + "/cpu.max"));
  const std::string quota = text_of_file(folder + "/cpu.cfs_quota_us");
  const std::string period = text_of_file(folder + "/cpu.cfs_period_us");
  std::string_view quota_line = quota, period_line = period;
  return cpus_of_quota(take_line(quota_line), take_line(period_line));
}
// The smallest quota of the process's groups. `root` goes before every path: for tests.
inline unsigned cpus_of_cgroups(const std::string& root = {}) {
  const std::string groups = text_of_file(root + "/proc/self/cgroup");
  unsigned limit = 0;
  for (const cgroup_mount& mount : cgroup_mounts(text_of_file(root + "/proc/self/mountinfo"))) {
    const std::optional<std::string> mine = cgroup_of_process(groups, mount.version_2);
    if (!mine) continue;
    std::string folder = folder_in_mount(*mine, mount);
    for (;;) {
      limit = smaller_limit(limit, cpus_of_folder(root + mount.place + folder, mount.version_2));
      if (folder.empty()) break;
      folder.resize(folder.rfind('/'));
    }
  }
  return limit;
}

inline unsigned cpus_of_affinity() {
  // The kernel refuses a mask that is shorter than its own.
  for (std::size_t words = 16; words <= std::size_t{1} << 14; words *= 2) {
    std::vector<unsigned long> mask(words);
    auto* const set = reinterpret_cast<cpu_set_t*>(mask.data());
    const std::size_t bytes = words * sizeof mask[0];
    if (syscalls::sched_getaffinity(bytes, set) == 0) return static_cast<unsigned>(CPU_COUNT_S(bytes, set));
    if (errno != EINVAL) break;
  }
  return 0;
}

}  // namespace detail

// At least 1; a quota of one and a half CPUs counts as two. Reads some small files: some 0.1 ms.
inline unsigned usable_cpus() {
  unsigned cpus = detail::cpus_of_affinity();
  if (cpus == 0) cpus = syscalls::online_cpus();
  return detail::smaller_limit(cpus, detail::cpus_of_cgroups());
}

}  // namespace eventer::inline EVENTER_ABI
