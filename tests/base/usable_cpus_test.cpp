// usable_cpus: what the affinity mask and the files of control groups say, in made-up trees of files.
#include "eventer/base/usable_cpus.hpp"

#include <sched.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <fstream>
#include <map>
#include <string>

#include "../catch.hpp"
#include "../child.hpp"
#include "../faults.hpp"
#include "../one_cpu.hpp"

using namespace eventer::detail;

namespace {

// Files in a folder of their own, which goes with them.
class file_tree {
 public:
  explicit file_tree(const std::map<std::string, std::string>& files) {
    char name[] = "/tmp/eventer-cpus-XXXXXX";
    if (::mkdtemp(name) == nullptr) std::abort();
    root_ = name;
    for (const auto& [path, text] : files) {
      for (std::size_t slash = path.find('/', 1); slash != std::string::npos; slash = path.find('/', slash + 1))
        ::mkdir((root_ + path.substr(0, slash)).c_str(), 0700);
      std::ofstream(root_ + path) << text;
    }
  }
  file_tree(const file_tree&) = delete;
  file_tree& operator=(const file_tree&) = delete;
  ~file_tree() {
    if (std::system(("rm -rf " + root_).c_str()) != 0) std::abort();
  }
  const std::string& root() const { return root_; }

 private:
  std::string root_;
};

const std::string v2 = "35 24 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
const std::string v1_memory = "36 24 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
const std::string v1_cpu =
    "37 24 0:32 / /sys/fs/cgroup/cpu,cpuacct rw shared:10 master:3 - cgroup cgroup rw,cpu,cpuacct\n";
const std::string others = "22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n23 1 0:5 / /proc rw - proc proc rw\n";

}  // namespace

TEST_CASE("a quota is rounded up to whole CPUs, and what is no quota limits nothing") {
  const struct {
    const char *quota, *period;
    unsigned cpus;
  } cases[] = {{"100000", "100000", 1},
               {"150000", "100000", 2},
               {"1000", "100000", 1},
               {"400000", "100000", 4},
               {"400001", "100000", 5},
               {"max", "100000", 0},
               {"-1", "100000", 0},
               {"0", "100000", 0},
               {"100000", "0", 0},
               {"100000", "", 0},
               {"", "", 0},
               {"100000x", "100000", 0},
               {"99999999999999999999999", "1", 0},
               {"9223372036854775807", "1", 0},
               {"9223372036854775807", "9223372036854775807", 1}};
  for (const auto& each : cases) {
    INFO(each.quota << " of " << each.period);
    CHECK(cpus_of_quota(each.quota, each.period) == each.cpus);
  }
  CHECK(cpus_of_cpu_max("250000 100000\n") == 3);
  CHECK(cpus_of_cpu_max("max 100000\n") == 0);
  CHECK(cpus_of_cpu_max("") == 0);
  CHECK(cpus_of_cpu_max("max") == 0);
  CHECK(cpus_of_cpu_max("1 2 3\n") == 0);
}

TEST_CASE("only hierarchies with CPU quotas are taken from mountinfo, with names as they are") {
  const auto found = cgroup_mounts(others + v1_memory + v1_cpu + "no mount\n" +
                                   "40 24 0:33 /a\\040b /mnt/c\\134d rw - cgroup2 none rw\n" +
                                   "41 24 0:34 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n");
  REQUIRE(found.size() == 2);
  CHECK_FALSE(found[0].version_2);
  CHECK(found[0].group == "/");
  CHECK(found[0].place == "/sys/fs/cgroup/cpu,cpuacct");
  CHECK(found[1].version_2);
  CHECK(found[1].group == "/a b");
  CHECK(found[1].place == "/mnt/c\\d");
  CHECK(cgroup_mounts("").empty());
}

TEST_CASE("the process's group is found in both versions, and under what its mount shows") {
  const std::string text = "12:memory:/m\n4:cpu,cpuacct:/one:two\n1:name=systemd:/s\n0::/unified\n";
  CHECK(cgroup_of_process(text, true) == "/unified");
  CHECK(cgroup_of_process(text, false) == "/one:two");
  CHECK(cgroup_of_process("0::/\n", false) == std::nullopt);
  CHECK(cgroup_of_process("", true) == std::nullopt);
  const auto folder = [](const char* path, const char* group) {
    return folder_in_mount(path, {true, group, "/sys/fs/cgroup"});
  };
  CHECK(folder("/", "/").empty());
  CHECK(folder("/a/b", "/") == "/a/b");
  CHECK(folder("/docker/x", "/docker/x").empty());
  CHECK(folder("/docker/x/a", "/docker/x") == "/a");
  CHECK(folder("/docker/xy", "/docker/x").empty());
  CHECK(folder("/elsewhere", "/docker/x").empty());
  CHECK(folder("/../outside", "/").empty());
}

TEST_CASE("the smallest quota of a group and of those around it counts") {
  const struct {
    const char* name;
    std::map<std::string, std::string> files;
    unsigned cpus;
  } cases[] = {
      {"none at all", {}, 0},
      {"no quota",
       {{"/proc/self/mountinfo", v2}, {"/proc/self/cgroup", "0::/a\n"}, {"/sys/fs/cgroup/a/cpu.max", "max 100000\n"}},
       0},
      {"its own",
       {{"/proc/self/mountinfo", others + v2},
        {"/proc/self/cgroup", "0::/a/b\n"},
        {"/sys/fs/cgroup/a/cpu.max", "800000 100000\n"},
        {"/sys/fs/cgroup/a/b/cpu.max", "250000 100000\n"}},
       3},
      {"an outer one",
       {{"/proc/self/mountinfo", v2},
        {"/proc/self/cgroup", "0::/a/b/c\n"},
        {"/sys/fs/cgroup/a/cpu.max", "200000 100000\n"},
        {"/sys/fs/cgroup/a/b/c/cpu.max", "max 100000\n"}},
       2},
      {"in a container, which sees its group as the root",
       {{"/proc/self/mountinfo", v2}, {"/proc/self/cgroup", "0::/\n"}, {"/sys/fs/cgroup/cpu.max", "50000 100000\n"}},
       1},
      {"in a container that sees its group under the name outside",
       {{"/proc/self/mountinfo", "37 24 0:32 /docker/x /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"},
        {"/proc/self/cgroup", "4:cpu:/docker/x\n"},
        {"/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "350000\n"},
        {"/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"}},
       4},
      {"version 1",
       {{"/proc/self/mountinfo", others + v1_memory + v1_cpu},
        {"/proc/self/cgroup", "5:memory:/m\n4:cpu,cpuacct:/a/b\n"},
        {"/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "600000\n"},
        {"/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us", "100000\n"},
        {"/sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_quota_us", "-1\n"},
        {"/sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_period_us", "100000\n"}},
       6},
      {"both versions",
       {{"/proc/self/mountinfo", v1_cpu + v2},
        {"/proc/self/cgroup", "4:cpu,cpuacct:/a\n0::/b\n"},
        {"/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "700000\n"},
        {"/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us", "100000\n"},
        {"/sys/fs/cgroup/b/cpu.max", "500000 100000\n"}},
       5},
      {"odd files",
       {{"/proc/self/mountinfo", "x\n - \n" + v2},
        {"/proc/self/cgroup", "::\n0\n0::/a\n"},
        {"/sys/fs/cgroup/a/cpu.max", "lots\n"},
        {"/sys/fs/cgroup/cpu.max", ""}},
       0},
  };
  for (const auto& each : cases) {
    INFO(each.name);
    const file_tree files(each.files);
    CHECK(cpus_of_cgroups(files.root()) == each.cpus);
  }
}

TEST_CASE("usable_cpus follows the affinity mask, and is never 0") {
  CHECK(eventer::usable_cpus() >= 1);
  const auto result = run_in_child([] {
    if (use_one_cpu()) std::printf("%u", eventer::usable_cpus());
  });
  CHECK(result.output == "1");
}

TEST_CASE("a mask that is too short for the machine is asked for again, longer") {
  faults kernel;
  kernel.fail(faults::call::sched_getaffinity, EINVAL, 3);
  CHECK(cpus_of_affinity() >= 1);
  CHECK(kernel.calls(faults::call::sched_getaffinity) == 4);
}

TEST_CASE("without a mask the machine's CPUs count, and an endless refusal ends") {
  faults kernel;
  kernel.fail(faults::call::sched_getaffinity, ENOSYS);
  CHECK(eventer::usable_cpus() >= 1);
  kernel.fail(faults::call::sched_getaffinity, EINVAL, 1000);
  CHECK(cpus_of_affinity() == 0);
}
